"""Pictures of a scene: the kernels in order, and the buffers they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import warp as wp

from roadloop.camera import Pinhole
from roadloop.weather import Weather
from sim.render.contact import contact_shadows
from sim.render.detailed import Contact, detail
from sim.render.frame import PALETTE, Frame
from sim.render.geometry import CHUNK
from sim.render.lens_table import LensTables
from sim.render.light import Air, air_of
from sim.render.raster import TILE, View, farthest, rasterise
from sim.render.raster_lens import Lens, rasterise_lens, resolve_lens
from sim.render.raycast import Caster
from sim.render.records import Records
from sim.render.resolve import FOG_STEPS, ROW, pack, resolve
from sim.render.scene import DETAIL_FAR, FAR, Scene, Views, Work
from sim.render.shade import SKY_STEPS, shade_slots, shade_static, tabulate_sky
from sim.render.surfaces import HeadLights

Array = np.ndarray

PHASES = (40.0,)
"""m, up to where things are drawn before the tiles are looked at again"""
HEADLIGHT_HEIGHT = 0.65
"""m above the ground"""
FARTHEST = int(np.float32(1.0 / FAR).view(np.int32)) << 32
"""the least key of a pinhole's pixel that shows something"""
CLEAR = 0.99
"""share of light from which air counts as clear in plain pictures: most pixels are near"""
WEATHERS_KEPT = 64
"""weathers whose colours are kept; more where a batch has more"""


@dataclass(frozen=True)
class Look:
    """How much of light and matter a picture shows."""

    detailed: bool = False
    """every pixel lit on its own, with textures and headlights, instead of one colour a triangle"""
    shadows: bool = False
    """cast shadows of the sun and soft contact shadows; only where ``detailed``"""


PLAIN = Look()


@dataclass(frozen=True)
class Images:
    """Pictures of several views, one after the other."""

    rgb: Array
    """(pixels, 3) uint8"""
    semantic: Array
    """(pixels,) uint8"""
    depth: Array
    """(pixels,) float32, m along the view, inf: sky"""
    instance: Array
    """(pixels,) int32"""
    start: Array
    """(views,) where the pixels of each view begin"""


class Renderer:
    """Draws one scene on its device."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._lighting = Lighting(scene)
        self._pixels = 0
        self._slots = 0
        self._tile_count = 0
        self._users = RoadUsers(scene.device)
        self._views = Records(View, scene.device)
        self._caster: Caster | None = None
        self._lens_tables: dict[tuple[Pinhole, ...], LensTables] = {}

    def render(
        self, frame: Frame, views: Views, cameras: Sequence[Pinhole], look: Look = PLAIN
    ) -> Images:
        """The pictures of ``views``, one camera for each: all pinholes or none of them."""
        lenses = None
        if views.tangents is None:
            lenses = self._lenses(tuple(cameras))
        scene, device = self.scene, self.scene.device
        # views begin at multiples of 4 pixels, as four of them are packed into words
        size = [-(-camera.width * camera.height // 4) * 4 for camera in cameras]
        start = np.concatenate([[0], np.cumsum(size)])
        n = int(start[-1])
        self._reserve_pixels(n)
        depth = wp.empty(n, dtype=wp.float32, device=device)
        instance = wp.empty(n, dtype=wp.int32, device=device)
        work = scene.cull(frame, views, PHASES)
        count = work.chunks.shape[0]
        self._reserve_slots(max(count, 1) * CHUNK)
        weathers = [frame.weather[w] for w in views.world]
        air = self._lighting.rows(weathers)
        records = self._views.rows(len(cameras))
        records["haze"] = [-np.log(CLEAR) / weather.extinction for weather in weathers]
        self._reserve_tiles(put_views(records, views, cameras, start, air, scene.origin))
        view_array = self._views.sent()
        highest = max(camera.height for camera in cameras)
        self._keys.zero_()
        self._tiles.zero_()
        self._drawn.zero_()
        lanes = 1 if device == "cpu" else CHUNK
        for phase, (first, last) in enumerate(pairwise(work.phase.tolist())):
            if phase and first < last:
                dim = (len(cameras), -(-highest // TILE))
                self._launch(farthest, dim, self._keys, view_array, self._tiles)
            if first == last:
                continue
            dim = (last - first, lanes)
            what = (scene.triangles, work.chunks, view_array)
            into = (self._tiles, self._keys, self._drawn)
            if lenses is None:
                self._launch(rasterise, dim, *what, first, lanes, DETAIL_FAR, *into)
            else:
                lens = (lenses.lenses, lenses.radius, lenses.rays)
                self._launch(
                    rasterise_lens, dim, *what, *lens, first, lanes, FAR, DETAIL_FAR, *into
                )
        users = self._users
        users.take(frame)
        if count:
            self._launch(
                shade_slots,
                (count, lanes),
                scene.triangles,
                work.chunks,
                view_array,
                self._drawn,
                lanes,
                self._lighting.airs,
                self._lighting.static_colour,
                users.lights,
                users.id,
                users.lamps,
                users.palette,
                self._looks,
            )
        rgb = wp.empty(3 * n // 4, dtype=wp.int32, device=device)
        semantic = wp.empty(n // 4, dtype=wp.int32, device=device)
        tables = (self._lighting.sky, self._lighting.fog, FOG_STEPS / FAR, depth, instance)
        if lenses is None:
            dim = (len(cameras), -(-max(size) // ROW))
            self._launch(
                resolve, dim, self._keys, FARTHEST, view_array, self._looks, *tables, rgb, semantic
            )
        else:
            dim = (len(cameras), highest)
            lens = (lenses.lenses, lenses.rays)
            self._launch(
                resolve_lens, dim, self._keys, view_array, *lens, self._looks, *tables, self._words
            )
        if look.detailed and count:
            dim = (len(cameras), highest)
            self._detail(frame, views.world, work, view_array, dim, lenses, users, look)
        if (look.detailed and count) or lenses is not None:
            self._launch(pack, -(-n // ROW), self._words, n // 4, rgb, semantic)
        return Images(
            rgb=rgb.numpy().view(np.uint8).reshape(n, 3),
            semantic=semantic.numpy().view(np.uint8),
            depth=depth.numpy(),
            instance=instance.numpy(),
            start=start[:-1],
        )

    def _detail(
        self,
        frame: Frame,
        viewed: Array,
        work: Work,
        view_array: wp.array,
        dim: tuple[int, int],
        lenses: LensTables | None,
        users: RoadUsers,
        look: Look,
    ) -> None:
        """Goes over the colours of the pictures just made."""
        scene, device = self.scene, self.scene.device
        worlds = len(frame.lights)
        if self._caster is None:
            self._caster = Caster(scene)
        bodies = np.zeros(worlds, np.uint64)
        contacts = np.zeros(worlds, Contact.numpy_dtype())
        shade = np.ones((worlds, 0, 0), np.float32)
        trees = []
        if look.shadows:
            half = scene.model_half[np.maximum(frame.actors.model, 0)] * frame.actors.scale
            wanted = np.unique(viewed)
            contacts, shade = contact_shadows(frame.actors, half, scene.origin, wanted)
            for w in wanted:
                tree, _, _ = self._caster.bodies(frame, w, hide=-1)
                if tree is not None:
                    trees.append(tree)
                    bodies[w] = tree.id
        empty = wp.zeros(1, dtype=wp.vec3, device=device)
        self._launch(
            detail,
            dim,
            self._keys,
            FARTHEST if lenses is None else 1,
            scene.triangles,
            work.chunks,
            view_array,
            0 if lenses is None else 1,
            wp.zeros(1, dtype=Lens, device=device) if lenses is None else lenses.lenses,
            empty if lenses is None else lenses.rays,
            self._lighting.airs,
            users.lights,
            users.lamps,
            users.palette,
            wp.array(self._headlights(frame), dtype=HeadLights, device=device),
            self._caster.scenery.id,
            wp.array(bodies, dtype=wp.uint64, device=device),
            int(look.shadows),
            wp.array(contacts, dtype=Contact, device=device),
            wp.array(shade, dtype=wp.float32, device=device),
            self._words,
        )

    def _headlights(self, frame: Frame) -> Array:
        """(worlds,) HeadLights of the egos, at the middle of the front."""
        pose = frame.actors.world_from_actor[:, 0]
        length = self.scene.model_half[np.maximum(frame.actors.model[:, 0], 0), 0]
        forward = pose[:, :3, 0]
        lamps = np.zeros(len(pose), HeadLights.numpy_dtype())
        lamps["position"] = (
            pose[:, :3, 3]
            + forward * (length * frame.actors.scale[:, 0, 0])[:, None]
            + pose[:, :3, 2] * HEADLIGHT_HEIGHT
            - self.scene.origin
        )
        lamps["direction"] = forward
        return lamps

    def _lenses(self, cameras: tuple[Pinhole, ...]) -> LensTables:
        if cameras not in self._lens_tables:
            self._lens_tables[cameras] = LensTables(cameras, self.scene.device)
        return self._lens_tables[cameras]

    def _launch(self, kernel: wp.Kernel, dim: int | tuple[int, int], *inputs: object) -> None:
        wp.launch(kernel, dim=dim, inputs=list(inputs), device=self.scene.device)

    def _reserve_pixels(self, pixels: int) -> None:
        if pixels <= self._pixels:
            return
        self._pixels, device = pixels, self.scene.device
        self._keys = wp.zeros(pixels, dtype=wp.int64, device=device)
        self._words = wp.zeros(pixels, dtype=wp.int32, device=device)

    def _reserve_tiles(self, tiles: int) -> None:
        if tiles > self._tile_count:
            self._tile_count = tiles
            self._tiles = wp.zeros(tiles, dtype=wp.float32, device=self.scene.device)

    def _reserve_slots(self, slots: int) -> None:
        if slots <= self._slots:
            return
        self._slots, device = slots * 3 // 2, self.scene.device
        self._drawn = wp.zeros(self._slots, dtype=wp.uint8, device=device)
        self._looks = wp.zeros(self._slots, dtype=wp.int64, device=device)


class RoadUsers:
    """Lights, and ids, lamps and colours of all actors of a batch, ``(worlds * actors, ...)``."""

    def __init__(self, device: str) -> None:
        self._lights, self._id = Records(wp.int32, device), Records(wp.int32, device)
        self._lamps, self._palette = Records(wp.int32, device), Records(wp.vec3, device)

    def take(self, frame: Frame) -> None:
        """Puts a frame's road users in place of the last one's."""
        actors, (worlds, signals) = frame.actors, frame.lights.shape
        n = actors.id.size
        self._lights.rows(worlds, max(signals, 1))[:, :signals] = frame.lights
        self._id.rows(n)[:] = actors.id.reshape(n)
        self._lamps.rows(n)[:] = actors.lamps.reshape(n)
        self._palette.rows(n, PALETTE)[:] = actors.palette.reshape(n, PALETTE, 3)
        self.lights, self.id = self._lights.sent(), self._id.sent()
        self.lamps, self.palette = self._lamps.sent(), self._palette.sent()


class Lighting:
    """Weathers as the kernels need them, and what follows from them alone."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._row: dict[Weather, int] = {}  # oldest use first
        self._reserve(2)

    def rows(self, weathers: Sequence[Weather]) -> Array:
        """(n,) row of each weather in the arrays; those that are new are worked out."""
        wanted = dict.fromkeys(weathers)
        room = len(self._row.keys() | wanted.keys())
        if room > self._capacity < max(WEATHERS_KEPT, len(wanted)):
            self._reserve(max(2 * self._capacity, len(wanted)))
        for weather in wanted:
            if weather in self._row:
                self._row[weather] = self._row.pop(weather)  # now the latest used
        for weather in wanted:
            if weather not in self._row:
                row = len(self._row)
                if row == self._capacity:
                    row = self._row.pop(next(w for w in self._row if w not in wanted))
                self._work_out(weather, row)
                self._row[weather] = row
        return np.array([self._row[weather] for weather in weathers], np.int32)

    def _work_out(self, weather: Weather, row: int) -> None:
        device = self._scene.device
        airs = self.airs.numpy()
        airs[row] = air_of(weather).numpy_value()
        self.airs.assign(airs)
        fog = self.fog.numpy()
        distance = (np.arange(FOG_STEPS) + 0.5) * FAR / FOG_STEPS
        fog[row] = np.round(256.0 * np.exp(-weather.extinction * distance))
        self.fog.assign(fog)
        static = self._scene.static
        if static:
            wp.launch(
                shade_static,
                dim=static,
                inputs=[self._scene.triangles, self.airs, row, self.static_colour],
                device=device,
            )
        wp.launch(tabulate_sky, dim=SKY_STEPS + 1, inputs=[self.airs, row, self.sky], device=device)

    def _reserve(self, capacity: int) -> None:
        """Makes room; what was worked out is done again when it is next asked for."""
        device = self._scene.device
        self._capacity, self._row = capacity, {}
        self.airs = wp.zeros(capacity, dtype=Air, device=device)
        self.static_colour = wp.zeros(
            (capacity, max(self._scene.static, 1)), dtype=wp.int32, device=device
        )
        self.sky = wp.zeros((capacity, SKY_STEPS + 1), dtype=wp.int32, device=device)
        self.fog = wp.zeros((capacity, FOG_STEPS), dtype=wp.int32, device=device)


def put_views(
    records: Array,
    views: Views,
    cameras: Sequence[Pinhole],
    start: Array,
    air: Array,
    origin: Array,
) -> int:
    """Fills (views,) View records; returns how many tiles they have in all."""
    for name in ("width", "height", "fx", "fy", "cx", "cy"):
        records[name] = [getattr(camera, name) for camera in cameras]
    records["pixels"] = start[:-1]
    tiles = -(-records["width"] // TILE) * -(-records["height"] // TILE)
    records["tiles"] = np.cumsum(tiles) - tiles
    records["world"], records["air"] = views.world, air
    records["turn"] = views.world_from_view[:, :3, :3]
    records["place"] = views.world_from_view[:, :3, 3] - origin
    records["up"] = views.world_from_view[:, 2, :3]  # view_from_world applied to (0, 0, 1)
    return int(tiles.sum())


def tangents(camera: Pinhole) -> Array:
    """(4,) tangents of the left, right, upper and lower edge of a pinhole's image."""
    x = (np.array([-0.5, camera.width - 0.5]) - camera.cx) / camera.fx
    y = (np.array([-0.5, camera.height - 0.5]) - camera.cy) / camera.fy
    return np.concatenate([x, y])
