"""Everything that stands beside the roads."""

from __future__ import annotations

import numpy as np

from roadloop.maps.road_map import RoadMap
from sim.scenery.buildings import building_meshes
from sim.scenery.furniture import furniture_meshes
from sim.scenery.mesh import Mesh, joined
from sim.scenery.plants import plant_meshes
from sim.scenery.signals import sight_lines, signal_meshes
from sim.scenery.terrain import Terrain


def object_meshes(road_map: RoadMap, terrain: Terrain, rng: np.random.Generator) -> Mesh:
    """Lights and signs, buildings, street furniture, plants; the same ``rng`` gives the same bytes.

    Each part has a generator of its own and leaves out what would stand in the way of the parts
    before it, or between a traffic light and those who wait for it.
    """
    of_buildings, of_furniture, of_plants = rng.spawn(3)
    signals = signal_meshes(road_map, terrain)
    parts = [signals]
    kept_free = [signals, sight_lines(road_map, signals)]
    for build, own in (
        (building_meshes, of_buildings),
        (furniture_meshes, of_furniture),
        (plant_meshes, of_plants),
    ):
        parts.append(build(road_map, terrain, own, joined(kept_free)))
        kept_free.append(parts[-1])
    return joined(parts)
