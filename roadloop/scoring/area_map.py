"""A map as the planning benchmarks see it: lanes and areas as polygons, in layers.

nuPlan and NAVSIM ask their questions of polygons (which lanes hold this corner? is it on drivable
ground?), so their scores are defined on this form of a map. Ours is turned into it by
``area_map_of``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class AreaMap:
    """L lanes and the areas around them, two-dimensional, m; polygons are shapely's.

    "Lane" includes the lane connectors, which are the lanes inside junctions.
    """

    lane_id: Array
    """(L,) str"""
    lane_polygon: Array
    """(L,) object"""
    lane_is_connector: Array
    """(L,) bool"""
    lane_roadblock: Array
    """(L,) int32, lanes with the same number run side by side in the same direction"""
    lane_speed_limit: Array
    """(L,) m/s, NaN where none is stated"""
    baseline_start: Array
    """(L + 1,) int32, CSR over the points of the centrelines"""
    baseline_xy: Array
    """(., 2) in the direction of travel"""
    outgoing_start: Array
    """(L + 1,) int32, CSR over lanes"""
    outgoing: Array
    """int32, lanes traffic may go on to, in the source's order"""
    incoming_start: Array
    incoming: Array
    """int32, lanes traffic comes from"""
    drivable: Array
    """(areas,) object, ground a car may be on; the lanes need not be repeated"""
    intersections: Array
    """(areas,) object"""
