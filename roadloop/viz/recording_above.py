"""A recording seen from above: map, LiDAR points, boxes with their past and their future, the ego.

The ego looks up the picture. Everything is drawn where it was in the world at the step, with the
trails of what was recorded before (solid) and after (thin).
"""

from __future__ import annotations

import numpy as np

from roadloop.geometry import box_corners
from roadloop.logs.recording import Recording
from roadloop.maps.road_map import RoadMap
from roadloop.types import AgentKind, LightState, at
from roadloop.viz.draw import KERB_WIDTH, KERBED
from roadloop.viz.ground import Ground, Paint, ground_of
from roadloop.viz.palette import AGENT, DARK, LAMP, mixed, rgb
from roadloop.viz.projected import BOX
from roadloop.viz.readings import colour_bar, viridis, write
from roadloop.viz.recording_moment import Moment
from roadloop.viz.sensor_marks import radar_colours
from roadloop.viz.shapes import agent_shape, car_shape

Array = np.ndarray
Colour = tuple[int, int, int]

TRAIL = 4.0
"""s of road users' past and future that are drawn"""
EGO_TRAIL = 8.0
"""s, of the ego's"""
LOW, HIGH = -0.5, 5.0
"""m above the ego's wheels, ends of the colours of points"""
AHEAD = 0.62
"""share of the picture's height that lies ahead of the ego"""
SHIFT = 4
"""OpenCV's fractional bits: coordinates are sixteenths of a pixel"""


class FromAbove:
    """Draws any step of a recording from above: ``FromAbove(recording).picture(moment, ...)``.

    Args:
        road_map: None where there is none.
    """

    def __init__(self, recording: Recording, road_map: RoadMap | None) -> None:
        self.recording = recording
        self._ground: Ground | None = None
        if road_map is not None:
            x, y = recording.ego.x, recording.ego.y
            reach = 150.0
            west, south = float(x.min()) - reach, float(y.min()) - reach
            east, north = float(x.max()) + reach, float(y.max()) + reach
            self._ground = ground_of(road_map, (west, south, east, north))
            self._bounds = self._ground.bounds() + np.array([-1, -1, 1, 1]) * KERB_WIDTH
            self._kerbed = np.isin(self._ground.paint, KERBED)

    def picture(self, moment: Moment, width: int, height: int, metres: float) -> Array:
        """(height, width, 3) uint8 RGB; ``metres`` from the upper to the lower edge."""
        canvas = _Canvas(self.recording, moment.step, width, height, metres)
        self._draw_ground(canvas)
        swept = any(frame.kind == "lidar" for frame in moment.frames.values())
        if swept:
            self._draw_points(canvas, moment)
        self._draw_lights(canvas, moment.step)
        self._draw_trails(canvas, moment)
        self._draw_agents(canvas, moment, filled=not swept)
        self._draw_radar(canvas, moment)
        self._draw_ego(canvas, moment.step)
        canvas.scale_bar()
        return canvas.image

    def _draw_ground(self, canvas: _Canvas) -> None:
        ground = self._ground
        if ground is None:
            canvas.rings()
            return
        x0, y0, x1, y1 = canvas.world_box()
        b = self._bounds
        near = (b[:, 0] <= x1) & (b[:, 2] >= x0) & (b[:, 1] <= y1) & (b[:, 3] >= y0)
        for i in np.flatnonzero(near & self._kerbed):
            xy = ground.xy[ground.start[i] : ground.start[i + 1]]
            canvas.line(xy, rgb(DARK["kerb"]), KERB_WIDTH, closed=True)
        for i in np.flatnonzero(near):
            xy = ground.xy[ground.start[i] : ground.start[i + 1]]
            colour = rgb(DARK[Paint(int(ground.paint[i])).name])
            if ground.width[i]:
                canvas.line(xy, colour, float(ground.width[i]))
            else:
                canvas.fill(xy, colour)

    def _draw_lights(self, canvas: _Canvas, step: int) -> None:
        ground, lights = self._ground, self.recording.lights
        if ground is None:
            return
        state = np.zeros(0) if lights is None else lights[step]

        def colour(signal: int) -> Colour:
            known = signal < len(state)
            return rgb(LAMP[LightState(int(state[signal]))] if known else "#dfe4e8")

        for ends, signal in zip(ground.bar.reshape(-1, 2, 2), ground.bar_signal, strict=True):
            canvas.line(ends, colour(int(signal)), 0.6)
        for xy, signal in zip(ground.lamp, ground.lamp_signal, strict=True):
            canvas.disc(xy, rgb(DARK["outline"]), 0.9)
            canvas.disc(xy, colour(int(signal)), 0.6)

    def _draw_points(self, canvas: _Canvas, moment: Moment) -> None:
        points = moment.points
        uv = np.floor(canvas.px(points[:, :2])).astype(int)
        inside = ((uv >= 0) & (uv < (canvas.width - 1, canvas.height - 1))).all(1)
        uv, z = uv[inside], points[inside, 2]
        order = np.argsort(z, kind="stable")
        uv, z = uv[order], z[order] - float(self.recording.ego.z[moment.step])
        colours = viridis((z - LOW) / (HIGH - LOW))
        size = 2 if canvas.scale > 5.0 else 1
        for du in range(size):
            for dv in range(size):
                canvas.image[uv[:, 1] + dv, uv[:, 0] + du] = colours
        marks = {f"{m:g}": (m - LOW) / (HIGH - LOW) for m in range(6)}
        colour_bar(canvas.image, viridis(np.linspace(0.0, 1.0, 140)), marks, "m up")

    def _draw_radar(self, canvas: _Canvas, moment: Moment) -> None:
        for frame in moment.frames.values():
            if frame.kind == "radar":
                scan = frame.read()
                local = np.stack([scan.x, scan.y, scan.z], axis=-1).astype(np.float64)
                pose = frame.world_from_ego
                world = local @ pose[:3, :3].T + pose[:3, 3]
                for xy, (r, g, b) in zip(world[:, :2], radar_colours(scan).tolist(), strict=True):
                    canvas.ring(xy, (r, g, b), 3)

    def _draw_trails(self, canvas: _Canvas, moment: Moment) -> None:
        recording, step = self.recording, moment.step
        if not recording.continuous:
            return
        t = (recording.timestamp_us - recording.timestamp_us[step]) * 1e-6
        ego = np.stack([recording.ego.x, recording.ego.y], axis=-1)
        past, future = (t <= 0) & (t >= -EGO_TRAIL), (t >= 0) & (t <= EGO_TRAIL)
        canvas.line(ego[future], rgb("#8fbcff"), 0.25)
        canvas.line(ego[past], rgb(DARK["trail"]), 0.45)
        agents = recording.agents
        if agents is None:
            return
        rows = np.flatnonzero((t >= -TRAIL) & (t <= TRAIL))
        for k in np.flatnonzero(agents.valid[step]):
            kind = AgentKind(int(agents.kind[step, k]))
            there = rows[agents.valid[rows, k]]
            xy = np.stack([agents.x[there, k], agents.y[there, k]], axis=-1)
            if not canvas.sees(xy) or np.ptp(xy, axis=0).max() < 1.0:
                continue
            canvas.line(xy[t[there] >= 0], mixed(BOX[kind], "#ffffff", 0.35), 0.1)
            canvas.line(xy[t[there] <= 0], mixed(BOX[kind], DARK["ground"], 0.35), 0.3)

    def _draw_agents(self, canvas: _Canvas, moment: Moment, *, filled: bool) -> None:
        states = moment.agents()
        if states is None:
            return
        for k in range(len(states.id)):
            kind = AgentKind(int(states.kind[k]))
            centre = np.array([[states.x[k], states.y[k]]])
            if not canvas.sees(centre):
                continue
            x, y, heading = (float(v[k]) for v in (states.x, states.y, states.heading))
            length, width = float(states.length[k]), float(states.width[k])
            if filled:
                for polygon, colour in agent_shape(kind, length, width, AGENT[kind], False):
                    canvas.fill(_turned(polygon, x, y, heading), colour)
                continue
            corners = box_corners(x, y, heading, length, width)
            colour = rgb(BOX[kind])
            canvas.thin(np.vstack([corners, corners[:1]]), colour)
            nose = np.array([x + np.cos(heading) * length / 2, y + np.sin(heading) * length / 2])
            canvas.thin(np.vstack([centre, nose]), colour)

    def _draw_ego(self, canvas: _Canvas, step: int) -> None:
        ego = at(self.recording.ego, step)
        x, y = (float(v) for v in ego.box_centre())
        size = ego.vehicle.length, ego.vehicle.width
        parts = car_shape(*size, DARK["ego"], outline=DARK["ego_outline"], line=0.28, braking=False)
        for polygon, colour in parts:
            canvas.fill(_turned(polygon, x, y, float(ego.heading)), colour)


def _turned(polygon: Array, x: float, y: float, heading: float) -> Array:
    c, s = np.cos(heading), np.sin(heading)
    return polygon @ np.array([[c, s], [-s, c]]) + [x, y]


class _Canvas:
    """A picture and where the world lies on it: the ego's heading is up."""

    def __init__(
        self, recording: Recording, step: int, width: int, height: int, metres: float
    ) -> None:
        self.image = np.empty((height, width, 3), np.uint8)
        self.image[:] = rgb(DARK["ground"])
        self.width, self.height = width, height
        self.scale = height / metres
        turn = np.pi / 2 - float(recording.ego.heading[step])
        c, d = self.scale * np.cos(turn), self.scale * np.sin(turn)
        self._linear = np.array([[c, -d], [-d, -c]])
        self._here = np.array([float(recording.ego.x[step]), float(recording.ego.y[step])])
        self._middle = np.array([width / 2, height * AHEAD])

    def px(self, xy: Array) -> Array:
        """(n, 2) pixels of world points (n, 2)."""
        return (xy - self._here) @ self._linear.T + self._middle

    def world_box(self) -> tuple[float, float, float, float]:
        """x min, y min, x max, y max of what the picture shows."""
        corners = np.array(
            [[0, 0], [self.width, 0], [0, self.height], [self.width, self.height]], float
        )
        world = (corners - self._middle) @ np.linalg.inv(self._linear).T + self._here
        return (*world.min(0).tolist(), *world.max(0).tolist())

    def sees(self, xy: Array) -> bool:
        """Whether any of the points is in the picture, or just outside."""
        px = self.px(xy)
        return bool(((px > -30) & (px < (self.width + 30, self.height + 30))).all(-1).any())

    def _fine(self, xy: Array) -> Array:
        return np.rint(np.clip(self.px(xy), -8e3, 8e3) * (1 << SHIFT)).astype(np.int32)

    def fill(self, xy: Array, colour: Colour) -> None:
        """A polygon (n, 2)."""
        import cv2

        cv2.fillPoly(self.image, [self._fine(xy)], colour, cv2.LINE_AA, SHIFT)

    def line(self, xy: Array, colour: Colour, metres: float, *, closed: bool = False) -> None:
        """A polyline (n, 2) that many metres wide, at least one pixel."""
        import cv2

        if len(xy) >= 2:
            thick = max(1, round(metres * self.scale))
            cv2.polylines(self.image, [self._fine(xy)], closed, colour, thick, cv2.LINE_AA, SHIFT)

    def thin(self, xy: Array, colour: Colour) -> None:
        """A polyline (n, 2) of one or two pixels on a dark edge."""
        import cv2

        line, wide = [self._fine(xy)], 2 if self.scale > 7.0 else 1
        cv2.polylines(self.image, line, False, rgb(DARK["outline"]), wide + 2, cv2.LINE_AA, SHIFT)
        cv2.polylines(self.image, line, False, colour, wide, cv2.LINE_AA, SHIFT)

    def disc(self, xy: Array, colour: Colour, radius: float) -> None:
        """A disc, radius in metres, at least 2 px."""
        import cv2

        r = max(2 << SHIFT, round(radius * self.scale * (1 << SHIFT)))
        centre = self._fine(xy[None])[0].tolist()
        cv2.circle(self.image, centre, r, colour, -1, cv2.LINE_AA, SHIFT)

    def ring(self, xy: Array, colour: Colour, radius: int) -> None:
        """A circle of that many pixels."""
        import cv2

        centre = self._fine(xy[None])[0].tolist()
        cv2.circle(self.image, centre, radius << SHIFT, colour, 1, cv2.LINE_AA, SHIFT)

    def rings(self) -> None:
        """Circles around the ego, where there is no map to judge distances by."""
        import cv2

        u, v = (round(float(c)) for c in self._middle)
        for metres in (10, 20, 40, 80, 160):
            r = round(metres * self.scale)
            cv2.circle(self.image, (u, v), r, (48, 55, 62), 1, cv2.LINE_AA)
            if r > 20 and v - r > 14:
                write(self.image, f"{metres} m", u + 3, v - r + 2, 12, (120, 130, 140))

    def scale_bar(self) -> None:
        """A bar of a round number of metres in the lower right corner."""
        steps = (1, 2, 5, 10, 20, 50, 100, 200)
        metres = max((m for m in steps if m * self.scale < 0.2 * self.width), default=1)
        long, right, base = round(metres * self.scale), self.width - 14, self.height - 14
        self.image[base - 3 : base, right - long : right] = (232, 236, 239)
        write(self.image, f"{metres} m", right, base - 18, 12, (200, 208, 214), "ra")
