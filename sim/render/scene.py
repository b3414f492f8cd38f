"""A map's scenery and the actors' models on a device, and what of them views have to draw."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import warp as wp

from roadloop.maps.road_map import RoadMap
from sim.actors.models import MODELS
from sim.render.cull import Eye, Piece, Placed, look, make_chunks
from sim.render.frame import Frame
from sim.render.geometry import CHUNK, Chunk, Triangle
from sim.render.records import Records
from sim.scenery.mesh import Mesh
from sim.scenery.scenery import scenery_of

Array = np.ndarray

FAR = 250.0
"""m along the view, from where nothing is drawn"""
DETAIL_FAR = 110.0
"""m, from where small things (``Mesh.detail``) are not drawn"""


@dataclass(frozen=True)
class Views:
    """From where a batch is looked at; fields ``(views, ...)``."""

    world: Array
    """int, row of the frame"""
    world_from_view: Array
    """(views, 4, 4) float64; the view's axes are x right, y down, z forward"""
    tangents: Array | None
    """(views, 4) of the left, right, upper and lower edge of the picture; None: sees all round"""
    hide: int = 0
    """row of an actor that is not drawn (the ego, in its own sensors), -1: none"""


@dataclass(frozen=True)
class Work:
    """What a set of views has to draw."""

    chunks: wp.array
    """(chunks,) Chunk, ordered by phase, then view, then from near to far"""
    phase: Array
    """(phases + 1,) where the chunks of each phase begin"""


class Scene:
    """Everything of a map that does not change, on one device.

    Attributes:
        mesh: the static triangles, corners relative to ``origin``.
        triangles: ``(T,)`` Triangle; the static ones first, then the models'.
        static: how many of them are static.
        origin: (3,) float64, world position that stored coordinates are relative to.
    """

    def __init__(self, road_map: RoadMap, device: str = "cpu", seed: int = 0) -> None:
        scenery = scenery_of(road_map, seed)
        self.origin = scenery.origin
        self.device = device
        self.mesh = scenery.mesh
        rows, pieces = _pieces(scenery.mesh)
        parts, first = [rows], len(rows)
        self.model_first = np.zeros(len(MODELS), np.int32)
        self.model_count = np.zeros(len(MODELS), np.int32)
        self.model_half = np.zeros((len(MODELS), 3))
        for k, model in enumerate(MODELS):
            self.model_first[k], self.model_count[k] = first, model.mesh.triangles
            self.model_half[k] = model.length / 2.0, model.width / 2.0, model.height / 2.0
            parts.append(_records(model.mesh, np.zeros((model.mesh.triangles, 3))))
            first += model.mesh.triangles
        self.static = len(rows)
        self.triangles = wp.array(np.concatenate(parts), dtype=Triangle, device=device)
        self._pieces = wp.array(pieces, dtype=Piece, device=device)
        self._model_first = wp.array(self.model_first, dtype=wp.int32, device=device)
        self._model_count = wp.array(self.model_count, dtype=wp.int32, device=device)
        self._eyes = Records(Eye, device)
        self._placed = Records(Placed, device)

    def cull(self, frame: Frame, views: Views, phases: tuple[float, ...] = ()) -> Work:
        """What the views have to draw.

        Args:
            phases: m; things nearer than the first are in phase 0, and so on.
        """
        eyes = self._opened(views)
        placed = self.placed(frame)
        n, (_, actors) = self._pieces.shape[0], frame.actors.model.shape
        shape = (len(views.world), n + actors)
        near_array = wp.empty(shape, dtype=wp.float32, device=self.device)
        inputs = [eyes, self._pieces, placed, views.hide, FAR, near_array]
        wp.launch(look, dim=shape, inputs=inputs, device=self.device)
        near = near_array.numpy()
        view, thing = np.nonzero(np.isfinite(near))
        depth = near[view, thing]
        # an actor of many triangles is several chunks
        model = frame.actors.model[views.world[view], np.maximum(thing - n, 0)]
        parts = np.where(thing < n, 1, -(-self.model_count[model] // CHUNK))
        owner = np.repeat(np.arange(len(view)), parts)
        nth = np.arange(len(owner)) - np.repeat(np.cumsum(parts) - parts, parts)
        phase = np.searchsorted(np.array(phases), depth, side="right")[owner]
        order = np.lexsort((depth[owner], view[owner], phase))
        wanted = np.stack([view[owner], thing[owner], nth], axis=1)[order].astype(np.int32)
        chunks = wp.empty(len(wanted), dtype=Chunk, device=self.device)
        if len(wanted):
            rows = wp.array(wanted, dtype=wp.int32, device=self.device)
            inputs = [eyes, self._pieces, placed, self._model_first, self._model_count, rows]
            wp.launch(make_chunks, dim=len(wanted), inputs=[*inputs, chunks], device=self.device)
        start = np.searchsorted(phase[order], np.arange(len(phases) + 2))
        return Work(chunks=chunks, phase=start)

    def placed(self, frame: Frame) -> wp.array:
        """(worlds, actors) Placed; valid until the next call."""
        a = frame.actors
        rows = self._placed.rows(*a.model.shape)
        pose = a.world_from_actor
        half = self.model_half[np.maximum(a.model, 0)] * a.scale
        rows["model"], rows["turn"], rows["scale"] = a.model, pose[..., :3, :3], a.scale
        rows["place"] = pose[..., :3, 3] - self.origin
        rows["middle"] = rows["place"] + pose[..., :3, 2] * half[..., 2:]
        rows["radius"] = np.sqrt((half * half).sum(-1)) + 1e-3
        return self._placed.sent()

    def _opened(self, views: Views) -> wp.array:
        """(views,) Eye; valid until the next call."""
        eyes = self._eyes.rows(len(views.world))
        eyes["turn"] = np.swapaxes(views.world_from_view[:, :3, :3], 1, 2)
        eyes["place"] = views.world_from_view[:, :3, 3] - self.origin
        eyes["world"], eyes["around"] = views.world, views.tangents is None
        if views.tangents is not None:
            # the plane through the eye and the edge x = tangent * z; outwards is -x on the left
            for k, (axis, sign) in enumerate(((0, -1.0), (0, 1.0), (1, -1.0), (1, 1.0))):
                tangent = views.tangents[:, k]
                size = np.sqrt(1.0 + tangent * tangent)
                eyes["planes"][:, k] = 0.0
                eyes["planes"][:, k, axis] = sign / size
                eyes["planes"][:, k, 2] = -sign * tangent / size
        return self._eyes.sent()


_scenes: weakref.WeakKeyDictionary[RoadMap, dict[tuple[str, int], Scene]] = (
    weakref.WeakKeyDictionary()
)


def scene_of(road_map: RoadMap, device: str = "cpu", seed: int = 0) -> Scene:
    """The scene of a map, built once per map, device and seed."""
    kept = _scenes.setdefault(road_map, {})
    if (device, seed) not in kept:
        kept[device, seed] = Scene(road_map, device, seed)
    return kept[device, seed]


def _records(mesh: Mesh, origin: Array) -> Array:
    """(T,) Triangle records; ``origin`` (T, 3) is taken from the corners."""
    rows = np.zeros(mesh.triangles, Triangle.numpy_dtype())
    corners = mesh.corners - origin[:, None]
    rows["a"], rows["b"], rows["c"] = corners[:, 0], corners[:, 1], corners[:, 2]
    rows["colour"], rows["instance"] = mesh.colour, mesh.instance
    rows["tag"] = (
        mesh.surface.astype(np.int32)
        | mesh.semantic.astype(np.int32) << 8
        | (mesh.slot.astype(np.int32) + 1) << 16
        | mesh.detail.astype(np.int32) << 24
    )
    return rows


def _pieces(mesh: Mesh) -> tuple[Array, Array]:
    """Triangle and Piece records of a static mesh that is ordered by place and detail."""
    n = mesh.triangles
    # a new piece every CHUNK triangles, and where small things begin or end
    change = np.flatnonzero(np.diff(mesh.detail.astype(np.int8))) + 1
    runs = np.concatenate([[0], change, [n]])
    first = np.concatenate([np.arange(a, b, CHUNK) for a, b in pairwise(runs)])
    first = first.astype(np.int64)
    count = np.diff(np.append(first, n))
    owner = np.repeat(np.arange(len(first)), count)
    low = np.minimum.reduceat(mesh.corners.min(1), first)
    high = np.maximum.reduceat(mesh.corners.max(1), first)
    # multiples of 1/8 m: differences to it are exact in float32, so that both ways of looking at
    # a triangle, in pieces and as a whole, meet the same corners
    origin = np.round((low + high) / 2.0 * 8.0) / 8.0
    centre = (low + high) / 2.0
    away = np.linalg.norm(mesh.corners - centre[owner][:, None], axis=-1).max(1)
    pieces = np.zeros(len(first), Piece.numpy_dtype())
    pieces["first"], pieces["count"] = first, count
    pieces["origin"], pieces["centre"] = origin, centre
    pieces["radius"] = np.maximum.reduceat(away, first) + 1e-3
    pieces["reach"] = np.where(mesh.detail[first], DETAIL_FAR, FAR)
    return _records(mesh, origin[owner]), pieces
