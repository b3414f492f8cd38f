"""Traffic lights and signs where the map has them, on poles that stand beside the lanes.

Maps give a light's place as the foot of its pole, as its head, or anywhere near; here the pole goes
to the nearest free ground, the head to where it is seen from the stop line. A light far beyond its
junction hangs on a mast arm towards its lanes, one beside the stop line has a second head across
the junction, as drivers who wait at the line could not see the first.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.semantics import SemanticClass
from sim.scenery.mesh import Mesh, Surface, box, cylinder, joined, mesh_of
from sim.scenery.sign_faces import HEAD_DEPTH, light_head, sign_face
from sim.scenery.site import Site
from sim.scenery.stamp import stamped
from sim.scenery.terrain import Terrain

Array = np.ndarray

LAMP_HEIGHT = 3.2
"""m above the road, middle lamp of a head on a pole"""
ARM_LAMP_HEIGHT = 5.4
"""m, of a head over the road: its underside leaves 4.7 m, more than the 4.5 m of tall trucks"""
SIGN_HEIGHT = 2.4
"""m above the road, middle of a sign"""
ARM_LENGTH = 9.0
"""m at most"""
LIGHT_FREE, SIGN_FREE = 0.9, 0.9
"""m from a pole to lanes vehicles use: half a head or a sign, and 0.45 m beside a mirror (0.5 m to
the pole is what is usual in towns)"""
MOVED = 20.0
"""m at most from the map's place to the pole"""
POLE_RADIUS = 0.075

_POLE_RGB = (0.23, 0.24, 0.245)
_LAMP_TRIANGLES = 6  # of an octagon
_ROUGH = 0.3  # m, error of the distance map
_SHARED = 0.6  # m, signals nearer than that share a pole


class _Roads:
    """Distances to lanes, to 4 cm where it matters, and their heights."""

    def __init__(self, road_map: RoadMap, terrain: Terrain) -> None:
        from scipy.spatial import KDTree

        travel = np.repeat(road_map.is_travel, np.diff(road_map.point_start))
        self._site = Site.of(road_map, terrain)
        self._edge = KDTree(self._site.vehicle_edge)
        self._travel = KDTree(road_map.point_xyz[travel])
        self._xyz = road_map.point_xyz[travel]
        self._all = KDTree(road_map.point_xyz[:, :2])
        self._all_half, self._all_z = road_map.point_width / 2.0, road_map.point_xyz[:, 2]

    def gap(self, xy: Array) -> float:
        """m from a place (2,) to the nearest lane vehicles use, at most 0 on it."""
        rough = float(self._site.vehicle_gap(xy[None])[0])
        return rough if rough < 0.0 else float(self._edge.query(xy)[0])

    def lacking(self, xy: Array, gap: float) -> Array:
        """(n, 2) -> (n,) m that places lack of ``gap`` m to those lanes, on the safe side."""
        return np.maximum(gap + _ROUGH - self._site.vehicle_gap(xy), 0.0)

    def level(self, xyz: Array) -> float:
        """Height of the travel lane nearest to a point (3,)."""
        return float(self._xyz[self._travel.query(xyz)[1], 2])

    def ground(self, xy: Array, level: float, terrain: Terrain) -> float:
        """Height of what is under a pole at ``xy`` (2,) beside a road at ``level``."""
        distance, row = self._all.query(xy, k=min(8, self._all.n))
        on = distance < self._all_half[row]
        heights = self._all_z[row][on]
        near = heights[np.abs(heights - level) < 2.0]
        if len(near):
            return float(near[0])
        land = float(terrain.height(xy[None])[0])
        return land if abs(land - level) < 4.0 else level - 0.3


@dataclass
class _Pole:
    foot: Array  # (2,)
    level: float  # m, height of the road
    top: float  # m above the road
    shared: list[float] = field(default_factory=list)  # heights of the plates it carries
    light: bool = False


@dataclass
class _Plan:
    """What is to be built, collected signal by signal."""

    poles: list[_Pole] = field(default_factory=list)
    arms: list[tuple[Array, float, float, float]] = field(default_factory=list)
    """(3,) foot end, heading, length, radius"""
    heads: list[tuple[Array, float, int]] = field(default_factory=list)
    """(3,) middle lamp, heading it looks to, signal"""
    faces: list[tuple[Array, float, int]] = field(default_factory=list)

    def pole(self, foot: Array, level: float) -> _Pole:
        """The pole at ``foot``, or the one that stands there already."""
        for pole in self.poles:
            if np.hypot(*(pole.foot - foot)) < _SHARED and abs(pole.level - level) < 2.0:
                return pole
        self.poles.append(_Pole(foot, level, 0.0))
        return self.poles[-1]


def signal_meshes(road_map: RoadMap, terrain: Terrain) -> Mesh:
    """Lights and signs with their poles; instance -(1 + signal) on heads, lamps and faces.

    Signals of kind OTHER that the map puts flat on a lane are road marks, and not built.
    """
    if len(road_map.signal_kind) == 0:
        return joined([])
    plan, roads = _Plan(), _Roads(road_map, terrain)
    order = np.argsort(road_map.signal_kind != SignalKind.TRAFFIC_LIGHT, kind="stable")
    for signal in order.tolist():
        if road_map.signal_kind[signal] == SignalKind.TRAFFIC_LIGHT:
            _plan_light(plan, road_map, roads, signal)
        else:
            _plan_sign(plan, road_map, roads, signal)
    return _built(plan, road_map, roads, terrain)


def sight_lines(road_map: RoadMap, signals: Mesh) -> Mesh:
    """Sheets without area from where traffic stops to the lamps of its lights: to be kept free.

    ``signals`` is what ``signal_meshes`` gave. The lines begin 20 m before the stop line.
    """
    lamps = np.flatnonzero(signals.surface == Surface.LAMP_YELLOW)[::_LAMP_TRIANGLES]
    lines = []
    for lamp in lamps:
        signal = -1 - int(signals.instance[lamp])
        ahead, _ = _axes(float(road_map.signal_heading[signal]))
        head = signals.corners[lamp, 0]
        for stop in stop_points(road_map, signal):
            before = stop - 20.0 * np.append(ahead, 0.0)
            lines += [(head, stop, stop), (head, before, before)]
    corners = np.array(lines).reshape(-1, 3, 3)
    return mesh_of(corners, (0.0, 0.0, 0.0), Surface.METAL, SemanticClass.NONE)


def stop_points(road_map: RoadMap, signal: int) -> Array:
    """(n, 3) where traffic that ``signal`` governs stops, on the lanes' centrelines."""
    rows = np.flatnonzero(road_map.stop_signal == signal)
    found = []
    for row in rows:
        points = road_map.points_of(int(road_map.stop_lane[row]))
        at = int(np.searchsorted(road_map.point_s[points], road_map.stop_s[row]))
        found.append(road_map.point_xyz[points][min(at, points.stop - points.start - 1)])
    return np.array(found).reshape(-1, 3)


def _axes(heading: float) -> tuple[Array, Array]:
    ahead = np.array([np.cos(heading), np.sin(heading)])
    return ahead, np.array([-ahead[1], ahead[0]])


def _free_foot(place: Array, heading: float, roads: _Roads, free: float) -> Array:
    """The nearest ground to ``place`` beside all lanes, rather to a side than along the road."""
    if roads.gap(place) >= free - 0.01:
        return place
    ahead, left = _axes(heading)
    spots, best = place[None], 0
    for reach, step in ((4.0, 0.5), (MOVED, 1.0)):
        steps = np.arange(-reach, reach + 0.1, step)
        along, aside = (a.ravel() for a in np.meshgrid(steps, steps))
        spots = place + along[:, None] * ahead + aside[:, None] * left
        short = roads.lacking(spots, free)
        best = int(np.argmin(np.hypot(2.0 * along, aside) + 100.0 * short))
        if short[best] == 0.0:
            break
    return spots[best]


def _across(stop: Array, heading: float, side: float, roads: _Roads) -> Array | None:
    """(2,) the free spot across the junction that is well seen from ``stop``, where there is one.

    ``side`` is -1 where the near pole stands on the right, 1 on the left.
    """
    ahead, left = _axes(heading)
    steps = np.meshgrid(np.arange(9.0, 46.0), np.arange(-14.0, 14.5))
    along, aside = (a.ravel() for a in steps)
    ahead_enough = np.abs(aside) < 0.45 * (along + 3.0)  # 24 degrees off the line of sight
    along, aside = along[ahead_enough], aside[ahead_enough]
    spots = stop[:2] + along[:, None] * ahead + aside[:, None] * left
    cost = along + 1.5 * np.abs(aside - 3.0 * side)
    cost[roads.lacking(spots, LIGHT_FREE) > 0.0] = np.inf
    best = int(np.argmin(cost))
    return spots[best] if np.isfinite(cost[best]) else None


def _plan_light(plan: _Plan, road_map: RoadMap, roads: _Roads, signal: int) -> None:
    place, heading = road_map.signal_xyz[signal], float(road_map.signal_heading[signal])
    ahead, left = _axes(heading)
    stops = stop_points(road_map, signal)
    level = float(stops[:, 2].mean()) if len(stops) else roads.level(place)
    level = roads.level(np.append(place[:2], level))
    foot = _free_foot(place[:2], heading, roads, LIGHT_FREE)
    pole = plan.pole(foot, level)
    foot = pole.foot
    given = place[2] - level  # of the foot or of the head
    lamp = float(np.clip(given, 2.9, 3.6)) if given > 2.0 else LAMP_HEIGHT
    _add_head(plan, pole, heading, lamp, signal)

    target, least = place[:2], 1.0
    beyond = np.inf
    if len(stops):
        middle = stops[:, :2].mean(axis=0)
        beyond = float((foot - middle) @ ahead)
        if beyond > 5.0:
            target, least = foot + left * ((middle - foot) @ left), 2.5
    reach = float((target - foot) @ left)
    arm = abs(reach) > least
    if arm:
        length = min(abs(reach), ARM_LENGTH)
        _add_arm(plan, pole, heading, float(np.sign(reach)) * length, signal)
    if beyond < (5.0 if arm else 8.0):
        nearest = stops[np.argmin(np.abs((stops[:, :2] - middle) @ left))]
        side = 1.0 if road_map.left_hand else -1.0
        across = _across(nearest, heading, side, roads)
        if across is not None:
            far = plan.pole(across, roads.level(np.append(across, level)))
            _add_head(plan, far, heading, LAMP_HEIGHT, signal)


def _add_head(plan: _Plan, pole: _Pole, heading: float, height: float, signal: int) -> None:
    ahead, _ = _axes(heading)
    in_front = pole.foot - ahead * (POLE_RADIUS + HEAD_DEPTH + 0.02)
    plan.heads.append((np.append(in_front, pole.level + height), heading + np.pi, signal))
    pole.light, pole.top = True, max(pole.top, height + 0.75)


def _add_arm(plan: _Plan, pole: _Pole, heading: float, reach: float, signal: int) -> None:
    """A mast arm ``reach`` m to the traffic's left (negative: right) with a head at its end."""
    ahead, left = _axes(heading)
    top = ARM_LAMP_HEIGHT + 0.25
    start = np.append(pole.foot, pole.level + top)
    plan.arms.append((start, heading + np.sign(reach) * np.pi / 2, abs(reach) + 0.4, 0.06))
    end = pole.foot + left * reach - ahead * (0.06 + HEAD_DEPTH + 0.02)
    plan.heads.append((np.append(end, pole.level + ARM_LAMP_HEIGHT), heading + np.pi, signal))
    pole.top = max(pole.top, top + 0.25)


def _plan_sign(plan: _Plan, road_map: RoadMap, roads: _Roads, signal: int) -> None:
    place, heading = road_map.signal_xyz[signal], float(road_map.signal_heading[signal])
    level = roads.level(place)
    other = road_map.signal_kind[signal] == SignalKind.OTHER
    if other and place[2] - level < 1.0 and roads.gap(place[:2]) < 0.2:
        return
    pole = plan.pole(_free_foot(place[:2], heading, roads, SIGN_FREE), level)
    given = float(place[2] - level)
    height = given if 2.0 < given < 3.2 else SIGN_HEIGHT
    if pole.light:  # below the head, or above it
        height = (2.05, 4.4, 5.3)[min(len(pole.shared), 2)]
    elif pole.shared:
        height = max(pole.shared) + 0.95
    pole.shared.append(height)
    pole.top = max(pole.top, height + 0.3)
    ahead, _ = _axes(heading)
    at = np.append(pole.foot - ahead * (POLE_RADIUS + 0.03), pole.level + height)
    plan.faces.append((at, heading + np.pi, signal))


def _built(plan: _Plan, road_map: RoadMap, roads: _Roads, terrain: Terrain) -> Mesh:
    parts = []
    upright = mesh_of(cylinder((0, 0, 0), 1.0, 1.0), _POLE_RGB, Surface.METAL, SemanticClass.POLE)
    if plan.poles:
        ground = np.array([roads.ground(p.foot, p.level, terrain) for p in plan.poles]) - 0.3
        foot = np.column_stack([[p.foot for p in plan.poles], ground])
        high = np.array([p.level + p.top for p in plan.poles]) - ground
        thick = np.where([p.light for p in plan.poles], POLE_RADIUS, 0.035)
        size = np.column_stack([thick, thick, high])
        parts.append(stamped(upright, foot, np.zeros(len(foot)), size))
    if plan.arms:
        bar = mesh_of(box((0, -1, -1), (1, 1, 1)), _POLE_RGB, Surface.METAL, SemanticClass.POLE)
        start, heading, length, thick = zip(*plan.arms, strict=True)
        size = np.column_stack([length, thick, thick])
        parts.append(stamped(bar, np.array(start), np.array(heading), size))
    if plan.heads:
        at, heading, signal = zip(*plan.heads, strict=True)
        instance = -(1 + np.array(signal))
        parts.append(stamped(light_head(), np.array(at), np.array(heading), instance=instance))
    for at, heading, signal in plan.faces:
        face = sign_face(int(road_map.signal_kind[signal]), float(road_map.signal_value[signal]))
        here = np.array([heading])
        parts.append(stamped(face, at, here, instance=np.array([-(1 + signal)])))
    return joined(parts)
