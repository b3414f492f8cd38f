"""Bird's-eye frames of a drive without a display, in the look of the HTML report.

The ground is painted once, tile by tile as the view reaches it, at twice the final size and shrunk
(that is its anti-aliasing); a frame copies tiles and draws only what moves. North is up, or the
ego's heading with ``heading_up``. Pixel (u, v) has its centre at the whole numbers u, v.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.road_map import RoadMap
from roadloop.types import AgentKind, LightState, Rollout, at
from roadloop.viz.drive import braking, check_drive, top_speed
from roadloop.viz.ground import Ground, Paint, ground_of
from roadloop.viz.hud import Hud
from roadloop.viz.palette import AGENT, DARK, LAMP, PLAN, mixed, rgb
from roadloop.viz.shapes import Parts, agent_shape, car_shape

if TYPE_CHECKING:
    from roadloop.scoring.result import Score

Array = np.ndarray
Colour = tuple[int, int, int]

TILE = 512
"""px, edge of a ground tile"""
FINER = 2
"""tiles are painted this much larger and shrunk"""
TILES_KEPT = 64
"""tiles in memory, 0.8 MB each"""
KERBED = (Paint.PARKING, Paint.SHOULDER, Paint.BIKING, Paint.JUNCTION, Paint.ROAD)
KERB_DEPTH = 2
"""layers: a kerb line is hidden by every surface of about its own height"""
KERB_WIDTH = 0.5
"""m, half of it is covered by the surface"""
TRAIL = 6.0
"""s of the ego's past that stay on the picture"""
PLAN_POINTS = 21
"""points of a plan that are drawn"""
SHIFT = 4
"""OpenCV's fractional bits: coordinates are sixteenths of a pixel"""

_HOUSING = rgb(DARK["outline"])
_LAMPS = [rgb(LAMP[state]) for state in LightState]
_FADE = [mixed(DARK["trail"], DARK[Paint.ROAD.name], 0.2 + 0.8 * i / 31) for i in range(32)]
_SPEEDS = [mixed(PLAN[i], PLAN[i + 1], j / 16) for i in range(len(PLAN) - 1) for j in range(16)]


def draw_frame(
    rollout: Rollout,
    road_map: RoadMap,
    step: int,
    *,
    width: int = 1280,
    height: int = 720,
    metres: float = 110.0,
    score: Score | None = None,
    heading_up: bool = False,
) -> Array:
    """(height, width, 3) uint8 RGB picture of one step; for many steps keep a FrameRenderer."""
    renderer = FrameRenderer(
        rollout,
        road_map,
        width=width,
        height=height,
        metres=metres,
        score=score,
        heading_up=heading_up,
    )
    return renderer.frame(step)


def write_png(path: str | Path, image: Array) -> Path:
    """Write an RGB uint8 image ``(height, width, 3)`` as PNG and return its path."""
    from PIL import Image

    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, format="PNG")
    except OSError as error:
        raise RoadloopError(f"cannot write the picture to {path}: {error.strerror}") from error
    return path


class FrameRenderer:
    """Draws any step of one drive: ``FrameRenderer(rollout, road_map).frame(step)``.

    ``width`` x ``height`` pixels show ``metres`` from left to right. Raises RoadloopError where
    the rollout is empty or does not belong to the map.
    """

    def __init__(
        self,
        rollout: Rollout,
        road_map: RoadMap,
        *,
        width: int = 1280,
        height: int = 720,
        metres: float = 110.0,
        score: Score | None = None,
        heading_up: bool = False,
    ) -> None:
        check_drive(rollout, road_map, score)
        if width < 64 or height < 64 or not metres > 0:
            raise RoadloopError(
                f"frame of {width} x {height} px for {metres} m: needs at least 64 px each way "
                "and a positive number of metres"
            )
        self.rollout = rollout
        self.width = width
        self.height = height
        self.scale = width / metres
        self.heading_up = heading_up
        reach = float(np.hypot(width, height)) / self.scale
        x, y = rollout.ego.x, rollout.ego.y
        self._ground = ground_of(
            road_map,
            (
                float(x.min()) - reach,
                float(y.min()) - reach,
                float(x.max()) + reach,
                float(y.max()) + reach,
            ),
        )
        self._tiles = _Tiles(self._ground, self.scale)
        self._braking = braking(rollout)
        self._top_speed = top_speed(rollout)
        self._hud = Hud(rollout, score, width, height)

    def frame(self, step: int) -> Array:
        """(height, width, 3) uint8 RGB picture of ``step``."""
        steps = len(self.rollout.time)
        if not 0 <= step < steps:
            raise RoadloopError(f"step {step} of a drive of {steps} steps: give 0 to {steps - 1}")
        image, px_from_world = self._background(step)
        view = _View(image, px_from_world, self.scale)
        self._draw_lights(view, step)
        self._draw_trail(view, step)
        self._draw_plan(view, step)
        self._draw_agents(view, step)
        self._draw_ego(view, step)
        self._hud.draw(image, step)
        return image

    def _background(self, step: int) -> tuple[Array, Array]:
        """The ground around the ego, and the ``(2, 3)`` matrix from world metres to its pixels."""
        import cv2

        s, ego = self.scale, at(self.rollout.ego, step)
        w, h = self.width, self.height
        here = np.array([float(ego.x), float(ego.y)])
        if not self.heading_up:
            # whole pixels: the picture moves under the ego by copying alone
            x0, y0 = round(here[0] * s - w / 2), round(-here[1] * s - h / 2)
            return self._tiles.cut(x0, y0, w, h), np.array([[s, 0.0, -x0], [0.0, -s, -y0]])
        turn = np.pi / 2 - float(ego.heading)
        c, d = s * np.cos(turn), s * np.sin(turn)
        linear = np.array([[c, -d], [-d, -c]])
        offset = np.array([w / 2, h * 0.66]) - linear @ here
        corners = np.array([[0, 0], [w, 0], [0, h], [w, h]]) - offset
        # where the corners lie on the tiles, whose pixel of a world point is (s x, -s y)
        on_tiles = corners @ np.linalg.inv(linear).T * [s, -s]
        x0, y0 = np.floor(on_tiles.min(axis=0)).astype(int) - 2
        x1, y1 = np.ceil(on_tiles.max(axis=0)).astype(int) + 2
        world_from_cut = np.array([[1 / s, 0, x0 / s], [0, -1 / s, -y0 / s], [0, 0, 1]])
        px_from_world = np.column_stack([linear, offset])
        image = cv2.warpAffine(
            self._tiles.cut(x0, y0, x1 - x0, y1 - y0), px_from_world @ world_from_cut, (w, h)
        )
        return image, px_from_world

    def _draw_lights(self, view: _View, step: int) -> None:
        lights, ground = self.rollout.lights[step], self._ground
        bars = ground.bar.reshape(-1, 2, 2)
        view.lines(bars, [_LAMPS[lights[signal]] for signal in ground.bar_signal], 0.6)
        view.discs(ground.lamp, [_HOUSING] * len(ground.lamp), 0.9)
        view.discs(ground.lamp, [_LAMPS[lights[signal]] for signal in ground.lamp_signal], 0.6)

    def _draw_trail(self, view: _View, step: int) -> None:
        """The way driven, fading into the colour of the road, oldest piece first."""
        rollout = self.rollout
        stride = max(1, round(0.3 / rollout.dt))
        steps = np.arange(step, max(-1, step - int(TRAIL / rollout.dt)), -stride)[::-1]
        xy = np.stack([rollout.ego.x[steps], rollout.ego.y[steps]], axis=1)
        age = (step - steps[:-1]) * rollout.dt / TRAIL
        colours = [_FADE[int(a * (len(_FADE) - 1))] for a in np.clip(age, 0, 1)]
        view.lines(np.stack([xy[:-1], xy[1:]], axis=1), colours, 0.35)

    def _draw_plan(self, view: _View, step: int) -> None:
        plan = self.rollout.plan[step]
        plan = plan[np.isfinite(plan).all(axis=-1)]
        if len(plan) < 2:
            return
        plan = plan[np.unique(np.linspace(0, len(plan) - 1, PLAN_POINTS).round().astype(int))]
        share = np.clip(plan[1:, 2] / self._top_speed, 0, 1) * (len(_SPEEDS) - 1)
        colours = [_SPEEDS[int(i)] for i in share]
        view.lines(np.stack([plan[:-1, :2], plan[1:, :2]], axis=1), colours, 0.8)

    def _draw_agents(self, view: _View, step: int) -> None:
        agents = at(self.rollout.agents, step)
        for i in np.flatnonzero(agents.valid):
            size = float(agents.length[i]), float(agents.width[i])
            x, y = float(agents.x[i]), float(agents.y[i])
            if view.sees(x, y, size[0]):
                kind = AgentKind(int(agents.kind[i]))
                parts = agent_shape(kind, *size, AGENT[kind], bool(self._braking[step, i]))
                view.shape(parts, x, y, float(agents.heading[i]))

    def _draw_ego(self, view: _View, step: int) -> None:
        ego = at(self.rollout.ego, step)
        x, y = ego.box_centre()
        parts = car_shape(
            ego.vehicle.length,
            ego.vehicle.width,
            DARK["ego"],
            outline=DARK["ego_outline"],
            line=0.28,
            braking=bool(ego.acceleration < -0.7),
        )
        view.shape(parts, float(x), float(y), float(ego.heading))


class _View:
    """An image and where the world lies on it."""

    def __init__(self, image: Array, px_from_world: Array, scale: float) -> None:
        self._image = image
        self._linear = px_from_world[:, :2]
        self._offset = px_from_world[:, 2]
        self._rows = px_from_world[:, :2].tolist()
        self._scale = scale

    def _px(self, xy: Array) -> Array:
        """Pixels of world points ``(n, 2)``, in sixteenths."""
        px = xy @ self._linear.T + self._offset
        return np.rint(px * (1 << SHIFT)).astype(np.int32)

    def sees(self, x: float, y: float, reach: float) -> bool:
        """True where a circle of ``reach`` metres touches the image."""
        (a, b), (c, d) = self._rows
        u, v = a * x + b * y + self._offset[0], c * x + d * y + self._offset[1]
        r = reach * self._scale
        height, width = self._image.shape[:2]
        return bool(-r <= u <= width + r and -r <= v <= height + r)

    def _seen(self, px: Array) -> Array:
        """(n,) indices of the points ``(n, 2)``, in sixteenths, on the image or within 64 px."""
        height, width = self._image.shape[:2]
        low, high = -64 << SHIFT, np.array([width + 64, height + 64]) << SHIFT
        return np.flatnonzero(((px >= low) & (px <= high)).all(axis=-1))

    def lines(self, ends: Array, colours: list[Colour], metres: float) -> None:
        """Short lines ``(n, 2, 2)``, metres wide; one whose ends both lie outside is left out."""
        import cv2

        px = self._px(ends.reshape(-1, 2)).reshape(-1, 2, 2)
        thickness = max(1, round(metres * self._scale))
        for i in np.unique(self._seen(px.reshape(-1, 2)) // 2):
            cv2.polylines(self._image, [px[i]], False, colours[i], thickness, cv2.LINE_AA, SHIFT)

    def discs(self, xy: Array, colours: list[Colour], radius: float) -> None:
        """Discs about the points ``(n, 2)``, radius in metres, at least 2 px."""
        import cv2

        px = self._px(xy)
        r = max(2 << SHIFT, round(radius * self._scale * (1 << SHIFT)))
        for i in self._seen(px):
            cv2.circle(self._image, px[i].tolist(), r, colours[i], -1, cv2.LINE_AA, SHIFT)

    def shape(self, parts: Parts, x: float, y: float, heading: float) -> None:
        """Polygons given about (x, y), turned by ``heading``."""
        import cv2

        c, s = np.cos(heading), np.sin(heading)
        world_from_shape = np.array([[c, s], [-s, c]])
        for polygon, colour in parts:
            px = self._px(polygon @ world_from_shape + [x, y])
            cv2.fillConvexPoly(self._image, px, colour, cv2.LINE_AA, SHIFT)


class _Tiles:
    """The painted ground, cut into tiles; pixel of a world point: (scale x, -scale y)."""

    def __init__(self, ground: Ground, scale: float) -> None:
        self._ground = ground
        self._scale = scale
        self._kept: dict[tuple[int, int], Array] = {}
        self._bounds = ground.bounds() + np.array([-1, -1, 1, 1]) * KERB_WIDTH
        shapes = np.arange(len(ground.paint))
        kerbed = shapes[np.isin(ground.paint, KERBED)]
        # surfaces, lines and kerbs in painting order; kerbs have order -1
        self._shape = np.concatenate([shapes, kerbed])
        order = np.concatenate([ground.paint.astype(int), np.full(len(kerbed), -1)])
        layer = np.concatenate([ground.layer, ground.layer[kerbed] - KERB_DEPTH])
        painted = np.lexsort((order, layer))
        self._shape = self._shape[painted]
        self._kerb = order[painted] < 0

    def cut(self, x0: int, y0: int, width: int, height: int) -> Array:
        """A copy of the ground: pixels x0 to x0 + width, y0 to y0 + height."""
        image = np.empty((height, width, 3), np.uint8)
        for row in range(y0 // TILE, (y0 + height - 1) // TILE + 1):
            for column in range(x0 // TILE, (x0 + width - 1) // TILE + 1):
                left, top = column * TILE - x0, row * TILE - y0
                a, b = max(0, left), min(width, left + TILE)
                c, d = max(0, top), min(height, top + TILE)
                tile = self._tile(column, row)
                image[c:d, a:b] = tile[c - top : d - top, a - left : b - left]
        return image

    def _tile(self, column: int, row: int) -> Array:
        key = (column, row)
        tile = self._kept.pop(key, None)
        if tile is None:
            tile = self._paint(column, row)
            if len(self._kept) >= TILES_KEPT:
                del self._kept[next(iter(self._kept))]  # the one not used for longest
        self._kept[key] = tile
        return tile

    def _paint(self, column: int, row: int) -> Array:
        import cv2

        s = self._scale
        size = TILE * FINER
        image = np.empty((size, size, 3), np.uint8)
        image[:] = rgb(DARK["ground"])
        x0, x1 = column * TILE / s, (column + 1) * TILE / s
        y0, y1 = -(row + 1) * TILE / s, -row * TILE / s
        b = self._bounds[self._shape]
        near = (b[:, 0] <= x1) & (b[:, 2] >= x0) & (b[:, 1] <= y1) & (b[:, 3] >= y0)
        ground = self._ground
        for i in np.flatnonzero(near):
            shape = self._shape[i]
            xy = ground.xy[ground.start[shape] : ground.start[shape + 1]]
            px = (xy * [s, -s] - [column * TILE, row * TILE]) * FINER + 0.5
            points = [np.rint(px * (1 << SHIFT)).astype(np.int32)]
            name = "kerb" if self._kerb[i] else Paint(int(ground.paint[shape])).name
            width = KERB_WIDTH if self._kerb[i] else float(ground.width[shape])
            if width:
                thickness = max(FINER, round(width * s * FINER))
                closed = bool(self._kerb[i])
                cv2.polylines(image, points, closed, rgb(DARK[name]), thickness, cv2.LINE_8, SHIFT)
            else:
                cv2.fillPoly(image, points, rgb(DARK[name]), cv2.LINE_8, SHIFT)
        return cv2.resize(image, (TILE, TILE), interpolation=cv2.INTER_AREA)
