"""What makes a road above the land a bridge: underside, parapets, piers."""

from __future__ import annotations

import numpy as np

from roadloop.maps.road_map import RoadMap
from roadloop.semantics import SemanticClass
from sim.scenery.edges import Side
from sim.scenery.mesh import Mesh, Surface, box, mesh_of
from sim.scenery.paving import STEP, Paving
from sim.scenery.ribbons import ribbon
from sim.scenery.terrain import Terrain

Array = np.ndarray

CONCRETE_RGB = (0.330, 0.325, 0.310)
BRIDGE = 2.0
"""m over the land: higher edges have a parapet, and the road an underside"""
PARAPET_HEIGHT, PARAPET_WIDTH = 0.9, 0.3
"""m"""
DECK = 0.9
"""m, thickness of a bridge"""
PIER, PIER_SPACING, PIER_HEIGHT = 1.2, 24.0, 3.5
"""m: thickness of a pier, distance between two, and the least height of a road that has them"""
HEADROOM = 2.5
"""m below the road: what is paved below that keeps piers away"""


def bridge_meshes(
    road_map: RoadMap, paving: Paving, sides: tuple[Side, Side], terrain: Terrain
) -> list[Mesh]:
    """Undersides, sides, parapets and piers of all pieces more than BRIDGE over the land."""
    i = paving.piece
    # one level underside, also where pavements stand above the carriageway
    deck = DECK + STEP * paving.raised[paving.strip]
    shell, rails = [], []
    for side in sides:
        drop = side.drop(terrain)
        high = i[np.maximum(drop[i], drop[i + 1]) >= BRIDGE]
        if not len(high):
            continue
        free = np.intersect1d(high, side.open)
        railed = side.clear(paving, free, PARAPET_WIDTH + 0.1)
        shell.append(side.faces(free, side.moved(0.0, -deck)))
        low, top = side.moved(0.0), side.moved(0.0, PARAPET_HEIGHT)
        far = side.moved(PARAPET_WIDTH, PARAPET_HEIGHT)
        rails.append(side.faces(railed, top, low))
        rails.append(side.faces(railed, far, top))
        rails.append(side.faces(railed, side.moved(PARAPET_WIDTH, -deck), far))
        # the underside of what stands out beyond the edge, seen from below
        under = side.faces(railed, side.moved(PARAPET_WIDTH, -deck), side.moved(0.0, -deck))
        shell.append(under[:, ::-1])
    if not shell:
        return []
    left, right = paving.lapped
    middle = (left + right) / 2.0
    over = middle[:, 2] - terrain.height(middle[:, :2])
    high = i[np.maximum(over[i], over[i + 1]) >= BRIDGE]
    down = np.outer(deck, [0.0, 0.0, 1.0])
    shell.append(ribbon(left - down, right - down, high)[0][:, ::-1])
    shell.append(_piers(road_map, paving, middle, over, terrain))
    return [
        mesh_of(np.concatenate(shell), CONCRETE_RGB, Surface.CONCRETE, SemanticClass.BRIDGE),
        mesh_of(np.concatenate(rails), CONCRETE_RGB, Surface.CONCRETE, SemanticClass.WALL),
    ]


def _piers(
    road_map: RoadMap, paving: Paving, middle: Array, over: Array, terrain: Terrain
) -> Array:
    """(T, 3, 3) columns below the middle lane of high roads, where nothing runs beneath them."""
    tall = np.maximum.reduceat(over, paving.start[:-1]) > PIER_HEIGHT
    tall &= road_map.is_travel[paving.lane] & (road_map.lane_junction[paving.lane] < 0)
    of_section: dict[tuple[str, int], list[int]] = {}
    for strip in np.flatnonzero(tall).tolist():
        lane = int(paving.lane[strip])
        section = (str(road_map.lane_road[lane]), int(road_map.lane_section[lane]))
        of_section.setdefault(section, []).append(strip)
    feet = []
    for strips in of_section.values():
        strips.sort(key=lambda strip: int(road_map.lane_number[paving.lane[strip]]))
        middle_strip = strips[len(strips) // 2]
        line = middle[paving.start[middle_strip] : paving.start[middle_strip + 1]]
        s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
        at = np.arange(PIER_SPACING / 2.0, s[-1], PIER_SPACING)
        feet.append(np.column_stack([np.interp(at, s, line[:, k]) for k in range(3)]))
    if not feet:
        return np.zeros((0, 3, 3))
    foot = np.concatenate(feet)
    corner = PIER * np.array([[0, 0], [-1, -1], [1, -1], [1, 1], [-1, 1]], float)
    probes = (foot[:, None, :2] + corner).reshape(-1, 2)
    probe, _, z = paving.tops.under(probes)
    blocked = np.zeros(len(foot), bool)
    blocked[probe[z < foot[probe // 5, 2] - HEADROOM] // 5] = True
    ground = terrain.height(foot[:, :2])
    stands = ~blocked & (foot[:, 2] - ground > PIER_HEIGHT)
    piers = [np.zeros((0, 3, 3))]
    for (x, y, z), low in zip(foot[stands], ground[stands], strict=True):
        r = PIER / 2.0
        piers.append(box((x - r, y - r, low - 1.0), (x + r, y + r, z - DECK), bottom=False)[2:])
    return np.concatenate(piers)
