"""The whole static world of a map: ground, marks, things beside the road; built once and kept.

Within a process it is kept with its map; between processes in the folder of compiled maps, under a
name made of the map's arrays, the seed and the code that builds it, so that it cannot be stale.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import sys
import weakref
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from roadloop.maps.cache import cache_directory, code_fingerprint, store_arrays
from roadloop.maps.road_map import RoadMap
from sim.scenery.markings import marking_meshes
from sim.scenery.mesh import Mesh, Surface, joined, picked
from sim.scenery.objects import object_meshes
from sim.scenery.roads import road_meshes
from sim.scenery.terrain import Terrain

TILE = 32.0
"""m, edge of the tiles by which triangles are ordered"""


@dataclass(frozen=True)
class Scenery:
    """All static triangles of a map."""

    mesh: Mesh
    """corners relative to ``origin`` and rounded to float32, ordered by place and detail"""
    origin: np.ndarray
    """(3,) float64, world position of the mesh's origin"""


_kept: weakref.WeakKeyDictionary[RoadMap, dict[int, Scenery]] = weakref.WeakKeyDictionary()


def scenery_of(road_map: RoadMap, seed: int = 0) -> Scenery:
    """The scenery of a map; the same map and seed give the same bytes."""
    kept = _kept.setdefault(road_map, {})
    if seed not in kept:
        kept[seed] = _stored_or_built(road_map, seed)
    return kept[seed]


def _stored_or_built(road_map: RoadMap, seed: int) -> Scenery:
    digest = hashlib.sha256(f"{seed} {code_fingerprint(Path(__file__).parent)}".encode())
    for name, values in sorted(road_map.arrays().items()):
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    stored = cache_directory() / f"scenery-{digest.hexdigest()[:32]}.npz"
    try:
        with np.load(stored, allow_pickle=False) as file:
            fields = {f.name: file[f.name] for f in dataclasses.fields(Mesh)}
            fields["corners"] = fields["corners"].astype(np.float64)
            return Scenery(mesh=Mesh(**fields), origin=file["origin"])
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        print(f"roadloop: rebuilding the damaged scenery {stored} ({error})", file=sys.stderr)
    scenery = _build(road_map, seed)
    # a folder that cannot be written costs only time
    with contextlib.suppress(OSError):
        fields = dict(vars(scenery.mesh), origin=scenery.origin)
        fields["corners"] = scenery.mesh.corners.astype(np.float32)  # they are rounded to it
        store_arrays(stored, fields)
    return scenery


def _build(road_map: RoadMap, seed: int) -> Scenery:
    ground, beside = (np.random.default_rng([seed, k]) for k in (0x6E0, 0x0B7))
    terrain = Terrain.of(road_map)
    mesh = joined(
        [
            terrain.mesh(),
            road_meshes(road_map, ground),
            marking_meshes(road_map),
            object_meshes(road_map, terrain, beside),
        ]
    )
    return arranged(mesh, road_map)


def arranged(mesh: Mesh, road_map: RoadMap) -> Scenery:
    """Triangles without area dropped, the rest ordered by tile, detail and place within it."""
    xy = road_map.point_xyz[:, :2]
    origin = np.append(np.round((xy.min(0) + xy.max(0)) / 2.0), 0.0)
    corners = (mesh.corners - origin).astype(np.float32).astype(np.float64)
    a, b, c = np.moveaxis(corners, 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=-1)
    keep = area > 1e-6
    middle = corners.mean(1)
    tile = np.floor(middle[:, :2] / TILE).astype(np.int64)
    cell = np.floor(middle[:, :2] / TILE * 8.0).astype(np.int64) % 8
    order = np.lexsort((_interleaved(cell), mesh.detail, tile[:, 0], tile[:, 1]))
    order = order[keep[order]]
    fields = dict(vars(mesh), corners=corners, slot=_inhabited(mesh))
    return Scenery(mesh=picked(Mesh(**fields), order), origin=origin)


def _interleaved(cell: np.ndarray) -> np.ndarray:
    """(n,) Morton number of (n, 2) cells in [0, 8): near in it is near in place."""
    bits = [(cell[:, k] >> b & 1) << (2 * b + k) for k in range(2) for b in range(3)]
    return np.sum(bits, axis=0)


def _inhabited(mesh: Mesh) -> np.ndarray:
    """(T,) int8 slots with a third of the windows lit; the two triangles of one share a corner."""
    window = mesh.surface == Surface.WINDOW
    number = np.round(mesh.corners[window, 0] * 8.0).astype(np.int64) @ (73, 179, 283)
    slot = mesh.slot.copy()
    slot[window] = np.where((number * 1103515245 >> 16) % 256 < 85, 0, -1)
    return slot
