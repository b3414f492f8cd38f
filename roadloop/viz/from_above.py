"""LiDAR sweeps and radar scans seen from above, and sweeps as pictures of distance.

The ego looks up the picture: x forward is up, y left is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, transform_points
from roadloop.readings import LidarSweep, RadarScan
from roadloop.rig import LidarSensor, RadarSensor
from roadloop.types import AgentKind, Observation
from roadloop.viz.palette import AGENT, DARK, rgb
from roadloop.viz.readings import (
    FAINT,
    FIELD,
    PLATE,
    colour_bar,
    distance_colours,
    resized_labels,
    viridis,
    write,
)

Array = np.ndarray

LOW, HIGH = -0.5, 5.0
"""m above the ground under the ego, ends of the colours of heights"""
APPROACHING, RECEDING, STILL, FALSE = map(rgb, ("#ff7b4f", "#5cc8f2", "#c9d1d8", "#7a6590"))
"""radar targets by their radial speed over ground; clutter and ghosts"""
MOVES = 0.7
"""m/s over ground from which a radar target has an arrow and its speed beside it"""


@dataclass(frozen=True)
class Plan:
    """A piece of ground seen from above, in the ego frame."""

    front: float
    """m ahead of the rear axle at the upper edge"""
    rear: float
    """m, x at the lower edge"""
    left: float
    """m, y at the left edge; the right one is as far"""

    @property
    def aspect(self) -> float:
        """Width to height."""
        return 2.0 * self.left / (self.front - self.rear)

    def canvas(self, width: int, height: int) -> tuple[Array, float]:
        """An empty (height, width, 3) field with rings around the ego, and px per m."""
        import cv2

        picture = np.full((height, width, 3), FIELD, np.uint8)
        scale = height / (self.front - self.rear)
        u, v = (int(t) for t in np.rint(self.pixels(np.zeros((1, 2)), scale)[0]))
        for metres in (10, 20, 40, 80, 160):
            cv2.circle(picture, (u, v), round(metres * scale), (48, 55, 62), 1, cv2.LINE_AA)
            at = v - round(metres * scale)
            if 14 < at < height and metres * scale > 20:
                write(picture, f"{metres} m", u + 3, at + 2, 12, (120, 130, 140))
        return picture, scale

    def pixels(self, points: Array, scale: float) -> Array:
        """(..., 2) u, v of points (..., 2 or more) in the ego frame."""
        return np.stack([(self.left - points[..., 1]), (self.front - points[..., 0])], -1) * scale


def plan_for(sensors: Iterable[LidarSensor | RadarSensor]) -> Plan:
    """As far as is worth looking at: all around, or ahead where no sensor looks back."""
    sensors = list(sensors)
    reach = min(max(s.max_range for s in sensors), 100.0)
    if all(abs(s.mount.yaw) + 0.5 * opening(s) < 1.7 for s in sensors):
        reach = min(reach, 90.0)
        return Plan(front=reach, rear=-0.1 * reach, left=0.55 * reach)
    half = min(0.6 * reach, 50.0)
    return Plan(front=half + 2.0, rear=2.0 - half, left=half)


def opening(sensor: LidarSensor | RadarSensor) -> float:
    """rad, of the horizontal field of view."""
    if isinstance(sensor, RadarSensor):
        return sensor.fov
    turn = abs(sensor.fov[1] - sensor.fov[0])
    return float(np.radians(turn)) if sensor.beam_unit == "deg" else turn


def lidar_above(
    sweep: LidarSweep,
    plan: Plan,
    around: Observation,
    width: int,
    height: int,
    *,
    intensity: bool = False,
) -> Array:
    """(height, width, 3): the points in colours of their height or intensity, and agents' boxes."""
    picture, scale = plan.canvas(width, height)
    points = sweep.points[np.argsort(sweep.points[:, 2], kind="stable")]
    uv = np.floor(plan.pixels(points, scale)).astype(int)
    inside = ((uv >= 0) & (uv < (width - 1, height - 1))).all(1)
    uv, points = uv[inside], points[inside]
    share = points[:, 3] if intensity else (points[:, 2] - LOW) / (HIGH - LOW)
    colours = viridis(share)
    for du, dv in ((1, 1), (1, 0), (0, 1), (0, 0)) if scale > 4.0 else ((0, 0),):
        picture[uv[:, 1] + dv, uv[:, 0] + du] = colours
    _outlines(picture, plan, scale, around)
    heights = {f"{m:g}": (m - LOW) / (HIGH - LOW) for m in range(6)}
    marks = {"0": 0.0, "0.5": 0.5, "1": 1.0} if intensity else heights
    bar = viridis(np.linspace(0.0, 1.0, 140))
    colour_bar(picture, bar, marks, "intensity" if intensity else "m up")
    return picture


def _outlines(picture: Array, plan: Plan, scale: float, around: Observation) -> None:
    """The ego and, where the observation has tracks, the agents."""
    import cv2

    ego = around.ego
    v = ego.vehicle
    half = np.array([v.length, v.width]) / 2.0
    own = _rectangle(np.array([v.centre_offset, 0.0]), half, 0.0)
    cv2.fillPoly(picture, [_whole(plan.pixels(own, scale))], rgb(DARK["ego"]), cv2.LINE_AA)
    if around.tracks is None:
        return
    states = around.tracks.states
    turn = np.array(
        [[np.cos(ego.heading), -np.sin(ego.heading)], [np.sin(ego.heading), np.cos(ego.heading)]]
    )
    for k in np.flatnonzero(states.valid):
        at = np.array([states.x[k] - ego.x, states.y[k] - ego.y]) @ turn
        size = np.array([states.length[k], states.width[k]]) / 2.0
        box = _rectangle(at, size, float(states.heading[k] - ego.heading))
        colour = rgb(AGENT[AgentKind(int(states.kind[k]))])
        cv2.polylines(picture, [_whole(plan.pixels(box, scale))], True, colour, 1, cv2.LINE_AA)


def _rectangle(centre: Array, half: Array, yaw: float) -> Array:
    """(4, 2) corners."""
    ends = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) * half
    c, s = np.cos(yaw), np.sin(yaw)
    return centre + ends @ np.array([[c, s], [-s, c]])


def _whole(points: Array) -> Array:
    return np.rint(points).astype(np.int32)


# --- LiDAR and radar ----------------------------------------------------------------------------


def lidar_ranges(sweep: LidarSweep, sensor: LidarSensor, width: int, height: int) -> Array:
    """(height, width, 3): distances, one row per beam, the highest on top, the left side left.

    Raises:
        RoadloopError: a sweep whose points do not know their beams.
    """
    if sweep.ring is None:
        raise RoadloopError(f'the sweep of LiDAR "{sensor.name}" has no ring numbers')
    points = transform_points(inverse(sensor.mount.ego_from_sensor), sweep.points[:, :3])
    distance = np.linalg.norm(points, axis=1)
    turn = 1.0 if sensor.beam_unit == "rad" else np.pi / 180.0
    left, right = max(sensor.fov) * turn, min(sensor.fov) * turn
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    columns = min(sensor.columns, width)
    column = np.floor((left - azimuth) / (left - right) * columns).astype(int) % columns
    row = np.argsort(np.argsort(-np.array(sensor.beams), kind="stable"))[sweep.ring]
    nearest = np.full((len(sensor.beams), columns), np.inf)
    np.minimum.at(nearest, (row, column), distance)
    colours = distance_colours(nearest)
    colours[~np.isfinite(nearest)] = PLATE
    return resized_labels(colours, (width, height))


def radar_above(
    scans: Mapping[str, RadarScan],
    sensors: Mapping[str, RadarSensor],
    plan: Plan,
    around: Observation,
    width: int,
    height: int,
) -> Array:
    """(height, width, 3): fields of view, targets, and where they will be in a second.

    A dot's area grows with the target's cross-section in dB m^2.
    """
    import cv2

    picture, scale = plan.canvas(width, height)
    for name in scans:
        field = _whole(plan.pixels(_sector(sensors[name]), scale))
        veil = picture.copy()
        cv2.fillPoly(veil, [field], (38, 52, 60))
        picture[:] = veil // 2 + picture // 2
        cv2.polylines(picture, [field], True, (70, 86, 96), 1, cv2.LINE_AA)
    _outlines(picture, plan, scale, around)
    for name, scan in scans.items():
        told: set[int] = set()
        place = sensors[name].mount
        for k in np.argsort(-np.abs(scan.radial_speed), kind="stable"):
            speed, at = float(scan.radial_speed[k]), np.array([scan.x[k], scan.y[k]])
            who = 0 if scan.instance is None else int(scan.instance[k])
            away = at - (place.x, place.y)
            away = away / max(float(np.hypot(*away)), 1e-6)
            start, end = (_whole(plan.pixels(p, scale)) for p in (at, at + speed * away))
            moves = abs(speed) > MOVES and who >= 0
            colour = FALSE if who < 0 else (RECEDING if speed > 0 else APPROACHING)
            colour = colour if moves or who < 0 else STILL
            radius = int(np.clip(2.0 + 0.12 * (scan.rcs[k] + 10.0), 1.5, 6.0))
            u, v = (int(t) for t in start)
            cv2.circle(picture, (u, v), radius, colour, -1 if who >= 0 else 1, cv2.LINE_AA)
            if moves:
                cv2.arrowedLine(picture, (u, v), tuple(map(int, end)), colour, 1, cv2.LINE_AA)
            if moves and who not in told:
                told.add(who)
                write(picture, f"{speed:+.1f}", u + 7, v, 12, colour, "lm")
    write(picture, "numbers: m/s along the line of sight", 10, height - 10, 12, FAINT, "ls")
    return picture


def _sector(sensor: RadarSensor) -> Array:
    """(n, 2) outline of a radar's field of view in the ego frame."""
    angles = sensor.mount.yaw + np.linspace(-0.5, 0.5, 33) * sensor.fov
    arc = sensor.max_range * np.stack([np.cos(angles), np.sin(angles)], -1)
    return np.vstack([np.zeros(2), arc]) + np.array([sensor.mount.x, sensor.mount.y])
