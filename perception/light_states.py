"""From heads that were found to states of the map's traffic lights, as a planner asks for them.

Of the whole map only the next stop line on the ego's route is looked after. What stands there:

========= ========================================================================================
red       as soon as it is seen (after green: twice in a row), until green was seen for 0.3 s
yellow    likewise; red after 2 s without being seen
green     once seen for 0.3 s; unknown again when it has not been seen for 1 s on the way to the
          line, or for 3 s close to it
unknown   RED where the ego can still stop in comfort, YELLOW where it no longer can, OFF (go on)
          while the line is further than 45 m away
========= ========================================================================================

Red that is not seen stays red however long: a driver who sees no light does not go. The second head
across the junction is in view from the line; where nothing was seen for 20 s ``faults`` says so.
Once the front axle has crossed the line the approach is over.

Lights of other approaches are OFF: nobody is taken to wait at one, the planner yields as without
lights. But while the ego's own is seen to be green or yellow those of crossing roads at the same
junction are RED, since no junction shows green to both; so they are for 4 s after the line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perception.detector_config import DetectorConfig, LampState, light_rows
from perception.lights import HEAD_HEIGHT
from perception.percept import LightHeads, Percept
from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.maps.path import Path, route_path
from roadloop.maps.road_map import ConflictKind, RoadMap, SignalKind
from roadloop.types import EgoState, LightState, Scenario
from roadloop.virtual_camera import VirtualCameras

Array = np.ndarray

GREEN_FOR = 0.3
"""s green must be seen before it counts"""
DARK_FOR = 1.0
"""s all lamps must be seen dark before the light counts as switched off"""
LOST_GREEN = 1.0
"""s without being seen after which green on the way to the line is no longer relied on"""
LOST = 3.0
"""s after which nothing but red and yellow is, wherever the ego is"""
LOST_YELLOW = 2.0
"""s after which yellow must have become red"""
AT_LINE = 6.0
"""m from the front axle to the line within which heads may be out of the pictures"""
STOP_WITHIN = 45.0
"""m to the line within which an unknown light stops the ego"""
COMFORT = 2.0
"""m/s^2: faster ones have to begin earlier"""
YELLOW_BRAKING = 3.5
"""m/s^2 up to which a yellow light is obeyed, ``planning.right_of_way``"""
SAME_LINE = 3.0
"""m between lights of one line"""
ACROSS = 50.0
"""m behind the line, the farthest head of a junction"""
RANGE_ERROR = 0.3
"""of a distance that was worked out from a head's height, as a share"""
CROSSING = np.radians([60.0, 120.0])
"""between the directions of two roads that cross"""
CLEARING = 4.0
"""s after the line for which crossing traffic is held: less than yellow and all red together"""
ASIDE = 10.0
"""m from the path near the last place from which on the whole path is searched"""
STANDING = 0.3
"""m/s"""
FAULT_AFTER = 20.0
"""s at a line without a light in sight"""


@dataclass(frozen=True)
class _Line:
    """A stop line on the route."""

    s: float
    """m along the path"""
    signals: Array
    """those that govern it"""
    crossing: Array
    """those of the roads it crosses"""


class LightStates:
    """States of a map's signals as far as the ego has seen them.

    Attributes:
        faults: one line while the ego waits and sees no light.
    """

    def __init__(self, config: DetectorConfig) -> None:
        cameras = VirtualCameras(config.rig, config.size)
        rows = light_rows(config)
        self._focal = np.array([cameras.lenses[k].fy for k in rows])
        self._forward = float(cameras.mounts[rows, 0, 3].mean()) if rows else 0.0
        self._path: Path | None = None

    def reset(self, scenario: Scenario) -> None:
        """Start a scenario; of it the map and the route are used."""
        road_map = scenario.road_map
        self._path = route_path(road_map, scenario.route)
        self._lines = _lines(road_map, self._path)
        self._none = np.full(len(road_map.signal_id), LightState.OFF, np.uint8)
        self._s = 0.0
        self._time: float | None = None
        self._held: tuple[Array, float] | None = None
        self._next = -1
        self._forget(0.0)

    def update(self, percept: Percept, ego: EgoState) -> Array:
        """(signals,) `LightState` as uint8 at the time of ``percept``, where the ego is ``ego``.

        Raises RoadloopError before `reset`.
        """
        if self._path is None:
            raise RoadloopError("LightStates knows no route yet: call reset(scenario) first")
        time, speed = percept.time, max(float(ego.speed), 0.0)
        step = 0.0 if self._time is None else max(time - self._time, 0.0)
        self._time = time
        self._s = _place(self._path, float(ego.x), float(ego.y), self._s)
        axle = self._s + ego.vehicle.wheelbase
        upcoming = next((k for k, line in enumerate(self._lines) if line.s > axle), -1)
        if upcoming != self._next:
            if self._next >= 0 and self._lamp in (LampState.GREEN, LampState.YELLOW):
                self._held = self._lines[self._next].crossing, time + CLEARING
            self._next = upcoming
            self._forget(time)
        states = self._none.copy()
        if self._held is not None and time < self._held[1]:
            states[self._held[0]] = LightState.RED
        self.faults = ()
        if upcoming < 0:
            return states
        line = self._lines[upcoming]
        self._remember(self._read(percept.lights, line.s - self._s - self._forward), time, step)
        self._let_go(time, line.s - axle, speed)
        bumper = self._s + ego.vehicle.length - ego.vehicle.rear_overhang
        if self._lamp in (LampState.GREEN, LampState.YELLOW):
            states[line.crossing] = LightState.RED
        states[line.signals] = self._asked(line.s - axle, line.s - bumper, speed)
        self._complain(time, step, line.s - axle, speed)
        return states

    def _forget(self, time: float) -> None:
        self._lamp: LampState | None = None
        self._seen = time  # when anything was last seen
        self._candidate: LampState | None = None
        self._candidate_for = 0.0
        self._waited = 0.0
        self.faults: tuple[str, ...] = ()

    def _read(self, heads: LightHeads, ahead: float) -> LampState | None:
        """What the heads of a line ``ahead`` m before the cameras show; None: nothing clear.

        Heads whose height fits that distance vote, near ones more than far ones. Where none fits
        any may say that the ego has to stop, none that it may go.
        """
        if not len(heads.score):
            return None
        away = HEAD_HEIGHT * self._focal[heads.camera] / np.maximum(heads.height, 1.0)
        near = (1.0 - RANGE_ERROR) * ahead - 4.0
        fits = (away > near) & (away < (1.0 + RANGE_ERROR) * (ahead + ACROSS))
        usable = fits if fits.any() else np.ones(len(away), bool)
        votes = ((heads.score * heads.height)[usable, None] * heads.state[usable]).sum(0)
        lamp = LampState(int(np.argmax(votes)))
        if votes[lamp] < 0.5 * votes.sum():
            return None
        stops = lamp in (LampState.RED, LampState.YELLOW)
        return lamp if stops or fits.any() else None

    def _remember(self, lamp: LampState | None, time: float, step: float) -> None:
        """One reading into the memory of the approach."""
        if lamp is None:
            return
        again = lamp == self._candidate and time - self._seen < LOST_GREEN
        self._candidate_for = self._candidate_for + step if again else 0.0
        self._candidate, self._seen = lamp, time
        if lamp == LampState.GREEN:
            sure = self._candidate_for >= GREEN_FOR - 1e-6
        elif lamp == LampState.OFF:
            sure = self._lamp != LampState.RED and self._candidate_for >= DARK_FOR - 1e-6
        elif lamp == LampState.YELLOW and self._lamp == LampState.RED:
            sure = False
        else:
            sure = again or self._lamp != LampState.GREEN
        if sure:
            self._lamp = lamp

    def _let_go(self, time: float, ahead: float, speed: float) -> None:
        """What has not been seen for long is no longer relied on."""
        unseen = time - self._seen
        if self._lamp == LampState.YELLOW and unseen > LOST_YELLOW:
            self._lamp = LampState.RED
        elif self._lamp in (LampState.GREEN, LampState.OFF):
            on_the_way = speed > STANDING and ahead > AT_LINE
            if unseen > (LOST_GREEN if on_the_way else LOST):
                self._lamp, self._candidate = None, None

    def _asked(self, ahead: float, room: float, speed: float) -> LightState:
        """What the planner is told of the line ``ahead`` m before the axle, ``room`` the bumper."""
        if self._lamp is not None:
            return _STATE_OF[self._lamp]
        if ahead > max(STOP_WITHIN, speed * speed / (2.0 * COMFORT)):
            return LightState.OFF
        needed = speed * speed / (2.0 * max(room - 0.2, 0.01))
        too_late = needed > YELLOW_BRAKING and speed > 2.0
        return LightState.YELLOW if too_late else LightState.RED

    def _complain(self, time: float, step: float, ahead: float, speed: float) -> None:
        waits = speed < STANDING and ahead < STOP_WITHIN and time - self._seen > STANDING
        self._waited = self._waited + step if waits else 0.0
        if self._waited > FAULT_AFTER:
            self.faults = (
                f"no traffic light seen for {self._waited:.0f} s at the line {ahead:.0f} m ahead",
            )


_STATE_OF = {
    LampState.OFF: LightState.OFF,
    LampState.RED: LightState.RED,
    LampState.YELLOW: LightState.YELLOW,
    LampState.GREEN: LightState.GREEN,
}


def _place(path: Path, x: float, y: float, before: float) -> float:
    """m along the path, near ``before`` where the path is there (a route may meet itself)."""
    s = float(path.project(x, y, hint=before)[0])
    here = path.at(s)
    if np.hypot(x - here.x, y - here.y) > ASIDE:
        s = float(path.project(x, y)[0])
    return s


def _lines(road_map: RoadMap, path: Path) -> list[_Line]:
    """Lines of lights along the path, in its order."""
    light = np.flatnonzero(road_map.signal_kind[road_map.stop_signal] == SignalKind.TRAFFIC_LIGHT)
    first = np.flatnonzero(np.diff(path.lane, prepend=-1))
    last = np.append(first[1:], len(path.s)) - 1
    found: list[tuple[float, int]] = []
    for a, b in zip(first.tolist(), last.tolist()):
        for row in light[road_map.stop_lane[light] == path.lane[a]].tolist():
            at = float(road_map.stop_s[row])
            if path.lane_s[a] - 0.5 <= at <= path.lane_s[b] + 0.5:
                along = float(path.s[a] - path.lane_s[a] + at)
                found.append((along, int(road_map.stop_signal[row])))
    lines: list[_Line] = []
    for s, signal in sorted(found):
        if lines and s - lines[-1].s < SAME_LINE:
            signals = np.union1d(lines[-1].signals, [signal])
            lines[-1] = _Line(lines[-1].s, signals, _crossing(road_map, signals))
        else:
            signals = np.array([signal])
            lines.append(_Line(s, signals, _crossing(road_map, signals)))
    return lines


def _crossing(road_map: RoadMap, signals: Array) -> Array:
    """Lights of the roads that cross that of ``signals`` at its junction, lane over lane."""
    angle = np.abs(wrap_angle(road_map.signal_heading - road_map.signal_heading[signals[0]]))
    across = (road_map.signal_kind == SignalKind.TRAFFIC_LIGHT) & (angle > CROSSING[0])
    across &= angle < CROSSING[1]
    across[signals] = False
    met: set[int] = set()
    for lane in _junction_lanes(road_map, signals):
        rows = slice(int(road_map.conflict_start[lane]), int(road_map.conflict_start[lane + 1]))
        crosses = road_map.conflict_kind[rows] == ConflictKind.CROSS
        met.update(road_map.conflict_lane[rows][crosses].tolist())
    others = np.flatnonzero(across).tolist()
    found = [k for k in others if met.intersection(_junction_lanes(road_map, np.array([k])))]
    return np.array(found, np.int64)


def _junction_lanes(road_map: RoadMap, signals: Array) -> list[int]:
    """Lanes through a junction that ``signals`` lead into."""
    lanes: list[int] = []
    for lane in road_map.stop_lane[np.isin(road_map.stop_signal, signals)].tolist():
        onward = [lane] if road_map.lane_junction[lane] >= 0 else road_map.successors_of(lane)
        lanes += [int(k) for k in onward]
    return lanes
