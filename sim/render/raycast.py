"""Exact ray casting through trees of all triangles: what a ray meets first, and how far away.

The slow and independent way to see: it uses Warp's bounding volume hierarchy and none of the
rasteriser's code but the rules of what is drawn, so each checks the other.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
import warp as wp

from sim.render.cull import NEAR, Placed
from sim.render.frame import Frame
from sim.render.geometry import Triangle
from sim.render.raster import one_sided
from sim.render.scene import DETAIL_FAR, Scene

wp.set_module_options({"enable_backward": False})

Array = np.ndarray

STEP = wp.constant(1e-4)
"""m past a hit that does not count, from where the ray goes on"""


@dataclass(frozen=True)
class Hits:
    """What rays met; fields ``(rays,)``."""

    distance: Array
    """float32, m along the unit direction; inf: nothing"""
    surface: Array
    """uint8 Surface, 0 where nothing was met"""
    semantic: Array
    """uint8 SemanticClass, SKY where nothing was met"""
    instance: Array
    """int32, as in camera images"""
    cosine: Array
    """float32, of the angle between the ray and the surface's normal, in [0, 1]"""


class Caster:
    """Casts rays in one scene, which it does not keep alive: casters are kept by their scenes.

    Attributes:
        scenery: the static triangles as a mesh, m from the scene's origin.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = weakref.proxy(scene)
        corners = np.ascontiguousarray(scene.mesh.corners.reshape(-1, 3), np.float32)
        points = wp.array(corners, dtype=wp.vec3, device=scene.device)
        indices = wp.array(np.arange(len(corners), dtype=np.int32), device=scene.device)
        self.scenery = wp.Mesh(points=points, indices=indices)

    def cast(
        self,
        frame: Frame,
        world: int,
        origins: Array,
        directions: Array,
        reach: float,
        *,
        forward: Array | None = None,
        hide: int = 0,
    ) -> Hits:
        """What rays of one world meet.

        Args:
            origins: (3,) or (rays, 3) m, world frame.
            directions: (rays, 3) unit vectors, world frame.
            reach: m; farther surfaces are not seen. Along the ray, or along ``forward`` (3,), the
                axis of a camera.
            hide: row of an actor that is not seen, -1: none.
        """
        scene, device = self.scene, self.scene.device
        n = len(directions)
        starts = np.broadcast_to(np.asarray(origins) - scene.origin, (n, 3)).astype(np.float32)
        bodies, rows, owners = self.bodies(frame, world, hide)
        ids = wp.array(frame.actors.id[world].astype(np.int32), dtype=wp.int32, device=device)
        distance = wp.empty(n, dtype=wp.float32, device=device)
        tag = wp.empty(n, dtype=wp.int32, device=device)
        instance = wp.empty(n, dtype=wp.int32, device=device)
        cosine = wp.empty(n, dtype=wp.float32, device=device)
        axis = np.zeros(3) if forward is None else np.asarray(forward)
        wp.launch(
            meet,
            dim=n,
            inputs=[
                self.scenery.id,
                bodies.id if bodies is not None else wp.uint64(0),
                scene.triangles,
                rows,
                owners,
                ids,
                wp.array(starts, dtype=wp.vec3, device=device),
                wp.array(directions.astype(np.float32), dtype=wp.vec3, device=device),
                wp.vec3(*axis.tolist()),
                0 if forward is None else 1,
                reach,
                DETAIL_FAR,
                distance,
                tag,
                instance,
                cosine,
            ],
            device=device,
        )
        tags = tag.numpy()
        return Hits(
            distance=distance.numpy(),
            surface=(tags & 255).astype(np.uint8),
            semantic=(tags >> 8 & 255).astype(np.uint8),
            instance=instance.numpy(),
            cosine=cosine.numpy(),
        )

    def bodies(
        self, frame: Frame, world: int, hide: int
    ) -> tuple[wp.Mesh | None, wp.array, wp.array]:
        """The actors of a world as one mesh, and of each triangle its row and its actor."""
        scene = self.scene
        model = frame.actors.model[world].copy()
        if hide >= 0:
            model[hide] = -1
        there = np.flatnonzero(model >= 0)
        count = scene.model_count[model[there]]
        owner = np.repeat(there, count).astype(np.int32)
        nth = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        row = (scene.model_first[model[owner]] + nth).astype(np.int32)
        device = scene.device
        rows = wp.array(row, dtype=wp.int32, device=device)
        owners = wp.array(owner, dtype=wp.int32, device=device)
        if len(row) == 0:
            return None, rows, owners
        corners = wp.empty(3 * len(row), dtype=wp.vec3, device=device)
        wp.launch(
            place,
            dim=len(row),
            inputs=[scene.triangles, rows, owners, scene.placed(frame), world, corners],
            device=device,
        )
        indices = wp.array(np.arange(3 * len(row), dtype=np.int32), device=device)
        return wp.Mesh(points=corners, indices=indices), rows, owners


@wp.kernel
def place(
    triangles: wp.array(dtype=Triangle),
    row: wp.array(dtype=wp.int32),
    owner: wp.array(dtype=wp.int32),
    actors: wp.array2d(dtype=Placed),
    world: wp.int32,
    corners: wp.array(dtype=wp.vec3),
):
    """Corners of the actors' triangles, m from the scene's origin."""
    i = wp.tid()
    a = actors[world, owner[i]]
    t = triangles[row[i]]
    corners[3 * i] = wp.vec3(a.turn * wp.cw_mul(a.scale, wp.vec3d(t.a)) + a.place)
    corners[3 * i + 1] = wp.vec3(a.turn * wp.cw_mul(a.scale, wp.vec3d(t.b)) + a.place)
    corners[3 * i + 2] = wp.vec3(a.turn * wp.cw_mul(a.scale, wp.vec3d(t.c)) + a.place)


@wp.func
def counts(tag: wp.int32, depth: wp.float32, facing: wp.float32, detail_far: wp.float32) -> bool:
    """Whether a surface that was met is drawn; ``facing`` < 0: its front."""
    if (tag >> 24) == 1 and depth > detail_far:
        return False
    return not (one_sided(tag & 255) and facing > 0.0)


@wp.kernel
def meet(
    scenery: wp.uint64,
    bodies: wp.uint64,
    triangles: wp.array(dtype=Triangle),
    row: wp.array(dtype=wp.int32),
    owner: wp.array(dtype=wp.int32),
    actor_id: wp.array(dtype=wp.int32),
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    forward: wp.vec3,
    along_forward: wp.int32,
    reach: wp.float32,
    detail_far: wp.float32,
    distance: wp.array(dtype=wp.float32),
    tag: wp.array(dtype=wp.int32),
    instance: wp.array(dtype=wp.int32),
    cosine: wp.array(dtype=wp.float32),
):
    """One ray."""
    i = wp.tid()
    origin = origins[i]
    ray = directions[i]
    share = float(1.0)  # depth per m of ray
    if along_forward == 1:
        share = wp.dot(ray, forward)
    best = float(reach / wp.max(share, 1.0e-6))
    found_tag = int(11 << 8)  # sky
    found_instance = int(0)
    found_cosine = float(0.0)
    met = int(0)
    for tree in range(2):
        mesh = scenery
        if tree == 1:
            mesh = bodies
        t = float(NEAR / wp.max(share, 1.0e-6))
        searching = bool(mesh != wp.uint64(0))
        while searching:
            q = wp.mesh_query_ray(mesh, origin + ray * t, ray, best - t)
            searching = False
            if q.result:
                at = t + q.t
                r = q.face
                if tree == 1:
                    r = row[q.face]
                facing = wp.dot(q.normal, ray)
                if counts(triangles[r].tag, at * share, facing, detail_far):
                    best = at
                    met = 1
                    found_tag = triangles[r].tag & 0xFFFF
                    found_cosine = wp.abs(facing)
                    if tree == 1:
                        found_instance = actor_id[owner[q.face]]
                    else:
                        found_instance = triangles[r].instance
                else:
                    t = at + STEP
                    searching = t < best
    if met == 1:
        distance[i] = best
    else:
        distance[i] = wp.inf
    tag[i] = found_tag
    instance[i] = found_instance
    cosine[i] = found_cosine
