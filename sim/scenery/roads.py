"""Roads, pavements, medians, kerbs, verges and bridges of a map as triangles."""

from __future__ import annotations

import dataclasses

import numpy as np

from roadloop.maps.road_map import LaneKind, RoadMap
from roadloop.semantics import SemanticClass
from sim.scenery.bridges import BRIDGE, CONCRETE_RGB, bridge_meshes
from sim.scenery.edges import Side, outer_edges, strip_ends, wall
from sim.scenery.mesh import Mesh, Surface, joined, mesh_of
from sim.scenery.paving import LAP, RAISED, STEP, Paving
from sim.scenery.ribbons import ribbon
from sim.scenery.terrain import DRY, GRASS_RGB, Terrain

Array = np.ndarray

ASPHALT_RGB = {
    LaneKind.DRIVING: (0.086, 0.087, 0.090),
    LaneKind.BIDIRECTIONAL: (0.086, 0.087, 0.090),
    LaneKind.SHOULDER: (0.103, 0.103, 0.102),
    LaneKind.PARKING: (0.118, 0.116, 0.112),
    LaneKind.BIKING: (0.200, 0.075, 0.055),
    LaneKind.BORDER: (0.125, 0.123, 0.118),
    LaneKind.RESTRICTED: (0.110, 0.110, 0.108),
    LaneKind.OTHER: (0.094, 0.094, 0.095),
}
"""linear reflectance; asphalt has about 0.05 when new and 0.15 when worn"""
PAVEMENT_RGB = (0.300, 0.290, 0.270)
KERB_RGB = (0.400, 0.395, 0.380)
SPREAD = 0.07
"""roads differ by up to this share in brightness"""
KERBSTONE = 0.15
"""m, width of the stone at the edge of a raised lane"""
MIN_STONED = 0.5
"""m, narrower lanes have no stones of their own"""
GREEN = 1.2
"""m, a median at least this wide is planted"""

LAWN_RGB = GRASS_RGB * (1.0 + 0.5 * DRY)
LAWN = 0.05
"""how much pieces of verge and median differ in brightness, standard deviation"""
VERGE = 0.9
"""m of grass from the edge of a road down to the land"""
BANK = 0.8
"""m; where the land lies further down there is a wall instead"""
BURIED = 0.1
"""m that verges and walls reach into the land"""


def road_meshes(road_map: RoadMap, rng: np.random.Generator) -> Mesh:
    """Everything paved, with what holds it up: down to the land of ``Terrain.of(road_map)``.

    ``rng`` shades roads differently. Surfaces face up or outwards. RoadloopError without lanes.
    """
    paving, terrain = Paving.of(road_map), Terrain.of(road_map)
    sides, shade = outer_edges(paving), _shades(road_map, rng)
    mesh = joined(
        [
            *_carriageway(road_map, paving, shade),
            *_raised(road_map, paving, sides, shade),
            *_edges(paving, sides, terrain),
            *bridge_meshes(road_map, paving, sides, terrain),
        ]
    )
    grass = np.repeat(1.0 + LAWN * rng.standard_normal((mesh.triangles + 1) // 2), 2)
    lit = np.where(mesh.surface == Surface.GRASS, grass[: mesh.triangles], 1.0)[:, None]
    return dataclasses.replace(mesh, colour=(mesh.colour * lit).astype(np.float32))


def _shades(road_map: RoadMap, rng: np.random.Generator) -> Array:
    """(L,) factor of brightness: one per road, and one per junction."""
    inside = road_map.lane_junction >= 0
    _, road = np.unique(road_map.lane_road, return_inverse=True)
    key = np.where(inside, road_map.lane_junction, len(road_map.junction_id) + road)
    return 1.0 + SPREAD * rng.uniform(-1.0, 1.0, int(key.max()) + 1)[key]


def _carriageway(road_map: RoadMap, paving: Paving, shade: Array) -> list[Mesh]:
    """Flush strips and the gaps of junctions."""
    left, right = paving.lapped
    lane = paving.lane[paving.strip[paving.piece]]
    kind = road_map.lane_kind[lane].copy()
    plain = ~np.isin(kind, (LaneKind.BIKING, *RAISED))
    kind[plain & (road_map.lane_junction[lane] >= 0)] = LaneKind.DRIVING  # one surface
    flush = ~paving.raised[paving.strip[paving.piece]]
    parts = []
    for one in np.unique(kind[flush]).tolist():
        piece = paving.piece[flush & (kind == one)]
        corners, row = ribbon(left, right, piece)
        walk = one in RAISED  # crossed by a carriageway
        rgb = np.array(PAVEMENT_RGB if walk else ASPHALT_RGB[LaneKind(one)])
        parts.append(
            mesh_of(
                corners,
                rgb * shade[paving.lane[paving.strip[row]]][:, None],
                Surface.PAVEMENT if walk else Surface.ASPHALT,
                SemanticClass.SIDEWALK if walk else SemanticClass.ROAD,
            )
        )
    of_junction = np.ones(len(road_map.junction_id))
    inside = road_map.lane_junction >= 0
    of_junction[road_map.lane_junction[inside]] = shade[inside]
    colour = np.array(ASPHALT_RGB[LaneKind.DRIVING]) * of_junction[paving.gap_junction][:, None]
    parts.append(mesh_of(paving.gaps, colour, Surface.ASPHALT, SemanticClass.ROAD))
    return parts


def _raised(
    road_map: RoadMap, paving: Paving, sides: tuple[Side, Side], shade: Array
) -> list[Mesh]:
    """Tops of pavements and medians with their kerbstones, and the faces down to the road."""
    left, right = paving.lapped
    piece = paving.piece[paving.raised[paving.strip[paving.piece]]]
    strip = paving.strip[piece]
    wide = np.maximum(np.linalg.norm(left - right, axis=1), 1e-6)
    narrow = np.minimum.reduceat(wide, paving.start[:-1])
    inner, faces, parts = [], [], []
    for side, other in zip(sides, sides[::-1], strict=True):
        met = np.intersect1d(piece, side.kerbed)
        # a strip has its stone along the whole side or not at all
        stony = np.isin(np.arange(len(paving.lane)), paving.strip[met]) & (narrow > MIN_STONED)
        share = np.where(stony, KERBSTONE, 0.0)[paving.strip] / wide
        inner.append(side.edge + share[:, None] * (other.edge - side.edge))
        pair = (side.edge, inner[-1]) if side.is_left else (inner[-1], side.edge)
        stone, _ = ribbon(*pair, piece[stony[strip]])
        parts.append(mesh_of(stone, KERB_RGB, Surface.KERB, SemanticClass.SIDEWALK))
        faces.append(side.faces(met, side.moved(0.0, -STEP - LAP)))
    for end in strip_ends(paving):
        met = paving.raised & (end.beyond < -STEP / 2.0) & (end.beyond > -np.inf)
        count = np.count_nonzero(met)
        faces.append(wall(end.left[met], end.right[met], np.full(count, STEP + LAP)))
    face = np.concatenate(faces)
    parts.append(mesh_of(face, KERB_RGB, Surface.KERB, SemanticClass.SIDEWALK, detail=True))

    green = (road_map.lane_kind[paving.lane] == LaneKind.MEDIAN) & (narrow >= GREEN)
    for rows, rgb, surface, semantic in (
        (piece[~green[strip]], PAVEMENT_RGB, Surface.PAVEMENT, SemanticClass.SIDEWALK),
        (piece[green[strip]], LAWN_RGB, Surface.GRASS, SemanticClass.TERRAIN),
    ):
        corners, row = ribbon(inner[0], inner[1], rows)
        colour = np.array(rgb) * shade[paving.lane[paving.strip[row]]][:, None]
        parts.append(mesh_of(corners, colour, surface, semantic))
    return parts


def _edges(paving: Paving, sides: tuple[Side, Side], terrain: Terrain) -> list[Mesh]:
    """What leads from the outer edges of the roads down to the land: verges, or walls.

    Edges that are higher than BRIDGE are left to the bridges.
    """
    verges, walls = [], []
    i = paving.piece
    for side in sides:
        beyond = side.moved(VERGE)
        beyond[:, 2] = terrain.height(beyond[:, :2]) - BURIED
        foot = side.edge.copy()
        foot[:, 2] = terrain.height(foot[:, :2]) - BURIED
        drop = side.drop(terrain)
        drop[i] = np.maximum(drop[i], drop[i + 1])
        free = side.open[drop[side.open] < BRIDGE]
        green = side.clear(paving, free[drop[free] < BANK], VERGE)
        verges.append(side.faces(green, beyond))
        walls.append(side.faces(np.setdiff1d(free, green), foot))
    for end in strip_ends(paving):  # of roads that lead nowhere
        middle = (end.left + end.right) / 2.0
        drop = middle[:, 2] - terrain.height(middle[:, :2])
        free = (end.beyond == -np.inf) & (drop < BRIDGE)
        walls.append(wall(end.left[free], end.right[free], drop[free] + BURIED))
    return [
        mesh_of(np.concatenate(verges), LAWN_RGB, Surface.GRASS, SemanticClass.TERRAIN),
        mesh_of(np.concatenate(walls), CONCRETE_RGB, Surface.CONCRETE, SemanticClass.WALL),
    ]
