"""From heads in pictures to what the planner is told of the lights on its route."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from hand_map import HandLane, HandMap, HandSign, straight

from perception.detector_config import DetectorConfig, LampState
from perception.light_states import CLEARING, FAULT_AFTER, LOST, STOP_WITHIN, LightStates
from perception.lights import HEAD_HEIGHT
from perception.percept import LightHeads
from planning.right_of_way import RightOfWay
from planning.route_rules import compile_route
from roadloop.errors import RoadloopError
from roadloop.maps.generate import generate_map
from roadloop.maps.path import route_path
from roadloop.maps.road_map import ConflictKind, RoadMap, SignalKind
from roadloop.types import EgoState, LightState, Route, VehicleParameters
from sim.lights import light_programme

CONFIG = DetectorConfig()
FOCAL = {0: 478.0, 1: 128.0}
LINE, NEXT_LINE = 100.0, 200.0
VEHICLE = VehicleParameters()
OWN, NEXT, CROSS, ONCOMING = range(4)
STEP = 0.1
RED, YELLOW, GREEN, OFF = LampState.RED, LampState.YELLOW, LampState.GREEN, LampState.OFF


def town() -> RoadMap:
    """East past lights at x = 100 and 200; at the first one across and one from ahead."""
    light = SignalKind.TRAFFIC_LIGHT
    lanes = [
        HandLane(straight((0, 0), (100, 0)), successors=(1,)),
        HandLane(straight((100, 0), (130, 0)), junction=0, successors=(2,)),
        HandLane(straight((130, 0), (200, 0)), successors=(3,)),
        HandLane(straight((200, 0), (300, 0)), junction=1),
        HandLane(straight((115, -20), (115, 20)), junction=0),
        HandLane(straight((130, 4), (100, 4)), junction=0),
    ]
    signs = [HandSign(light, lane, 0.0) for lane in (1, 3, 4, 5)]
    made = HandMap(lanes, junctions=2, signs=signs).build()
    return dataclasses.replace(
        made,
        signal_heading=np.array([0.0, 0.0, np.pi / 2, np.pi]),
        conflict_start=np.array([0, 0, 2, 2, 2, 3, 4], np.int32),  # lane 1 crosses 4 and 5
        conflict_lane=np.array([4, 5, 1, 1], np.int32),
        conflict_kind=np.full(4, ConflictKind.CROSS, np.uint8),
        conflict_yield=np.zeros(4, np.int8),
        **{
            f"conflict_{side}{end}": np.full(4, value)
            for side in ("", "other_")
            for end, value in (("from", 10.0), ("to", 20.0))
        },
    )


MAP = town()
ROUTE = Route(np.array([0, 1, 2, 3]), 0.0, 90.0)


def states_of_route() -> LightStates:
    states = LightStates(CONFIG)
    states.reset(SimpleNamespace(road_map=MAP, route=ROUTE))
    return states


def heads(*found: tuple[LampState, float], score: float = 0.9, camera: int = 0) -> LightHeads:
    """Heads (lamp, m before the camera), one clear as the other."""
    lamps = np.array([lamp for lamp, _ in found], int).reshape(-1)
    away = np.array([distance for _, distance in found], float)
    none = np.zeros(len(found))
    height = HEAD_HEIGHT * FOCAL[camera] / away
    state = 0.9 * np.eye(len(LampState))[lamps] + 0.025
    order = np.full(len(found), camera)
    return LightHeads(order, none, none, height / 2.2, height, none + score, state)


class Drive:
    """An ego on the route that is asked again and again."""

    def __init__(self, x: float = 30.0, speed: float = 10.0) -> None:
        self.states, self.x, self.speed, self.time = states_of_route(), x, speed, 0.0

    def see(self, seen: LightHeads, steps: int = 1) -> LightState:
        """``steps`` moments; what the own light is said to be after the last."""
        for _ in range(steps):
            level = np.float64(0.0)
            ego = EgoState(
                np.float64(self.x), level, level, level, np.float64(self.speed), level, level, level
            )
            percept = SimpleNamespace(lights=seen, time=self.time)
            self.all = self.states.update(percept, ego)  # type: ignore[arg-type]
            self.time += STEP
            self.x += self.speed * STEP
        return LightState(int(self.all[OWN]))

    def ahead(self, lamp: LampState, across: float = 0.0) -> LightHeads:
        """A head at the line, or ``across`` the junction."""
        return heads((lamp, max(LINE + across - self.x - 1.7, 1.0)))


NOTHING = heads()


def test_red_is_told_at_once_and_held_until_green_was_seen_for_a_while():
    drive = Drive(40.0, 0.0)
    assert drive.see(drive.ahead(RED)) == LightState.RED
    assert drive.see(NOTHING, 100) == LightState.RED
    assert drive.see(drive.ahead(GREEN), 3) == LightState.RED
    assert drive.see(drive.ahead(RED)) == LightState.RED
    assert drive.see(drive.ahead(GREEN), 3) == LightState.RED
    assert drive.see(drive.ahead(GREEN)) == LightState.GREEN
    assert drive.see(drive.ahead(YELLOW), 2) == LightState.YELLOW
    assert drive.see(drive.ahead(RED)) == LightState.RED
    assert drive.see(drive.ahead(YELLOW), 5) == LightState.RED  # no way back but over green


def test_one_wrong_look_at_a_green_light_does_not_brake():
    drive = Drive(40.0, 0.0)
    drive.see(drive.ahead(GREEN), 6)
    assert drive.see(drive.ahead(RED)) == LightState.GREEN
    assert drive.see(drive.ahead(GREEN)) == LightState.GREEN
    assert drive.see(drive.ahead(RED), 2) == LightState.RED


def test_green_that_is_lost_on_the_way_is_relied_on_for_a_second_only():
    drive = Drive(55.0, 5.0)
    drive.see(drive.ahead(GREEN), 6)
    assert drive.see(NOTHING, 9) == LightState.GREEN
    assert drive.see(NOTHING, 3) == LightState.RED  # 40 m before the line
    assert drive.see(drive.ahead(GREEN), 4) == LightState.GREEN


def test_at_the_line_green_is_kept_a_little_longer():
    drive = Drive(LINE - VEHICLE.wheelbase - 3.0, 0.5)
    drive.see(drive.ahead(GREEN), 6)
    assert drive.see(NOTHING, 20) == LightState.GREEN
    assert drive.see(NOTHING, round(LOST / STEP)) == LightState.RED


def test_yellow_that_is_lost_becomes_red():
    drive = Drive(60.0, 0.0)
    drive.see(drive.ahead(YELLOW), 3)
    assert drive.see(NOTHING, 15) == LightState.YELLOW
    assert drive.see(NOTHING, 10) == LightState.RED


@pytest.mark.parametrize("speed", [3.0, 8.0, 14.0])
def test_an_unknown_light_stops_the_ego_where_it_can_stop_in_comfort_and_not_before(speed):
    drive = Drive(5.0, speed)
    told = []
    while drive.x + VEHICLE.wheelbase < LINE:
        room = LINE - drive.x - (VEHICLE.length - VEHICLE.rear_overhang)
        told.append((LINE - drive.x - VEHICLE.wheelbase, room, drive.see(NOTHING)))
    for ahead, room, state in told:
        if ahead > STOP_WITHIN + 5.0:
            assert state == LightState.OFF
        elif ahead <= STOP_WITHIN:
            comfortable = speed**2 / (2.0 * max(room - 0.2, 0.01)) <= 3.5
            assert state == (LightState.RED if comfortable else LightState.YELLOW)
    first = next(ahead for ahead, _, state in told if state != LightState.OFF)
    assert speed**2 / (2.0 * first) < 3.5


def test_waiting_without_a_light_in_sight_never_runs_it_but_complains():
    drive = Drive(LINE - 5.0, 0.0)
    for _ in range(round((FAULT_AFTER - 1.0) / STEP)):
        assert drive.see(NOTHING) == LightState.RED
    assert drive.states.faults == ()
    drive.see(NOTHING, 50)
    assert "no traffic light seen for 2" in drive.states.faults[0]
    assert drive.see(heads((GREEN, 40.0)), 4) == LightState.GREEN  # the head across the junction
    assert drive.states.faults == ()


def test_green_of_the_junction_behind_does_not_count_but_red_of_anywhere_does():
    drive = Drive(60.0, 0.0)
    for distance in (5.0, 140.0):
        assert drive.see(heads((GREEN, distance)), 10) == LightState.RED
    assert drive.see(heads((GREEN, 38.0)), 4) == LightState.GREEN
    assert drive.see(heads((RED, 140.0)), 2) == LightState.RED


def test_the_near_head_outvotes_the_far_one_and_a_draw_says_nothing():
    drive = Drive(60.0, 0.0)
    assert drive.see(heads((RED, 38.0), (GREEN, 110.0)), 10) == LightState.RED
    other = Drive(60.0, 0.0)
    assert other.see(heads((GREEN, 38.0), (RED, 110.0)), 10) == LightState.GREEN
    both = heads((GREEN, 38.0))
    vague = dataclasses.replace(both, state=np.array([[0.2, 0.4, 0.0, 0.4]]))
    other.see(NOTHING, 40)
    assert other.see(vague, 10) == LightState.RED  # unknown


def test_the_wide_camera_tells_distances_by_its_own_focal_length():
    drive = Drive(90.0, 0.0)
    assert drive.see(heads((GREEN, 20.0), camera=1), 4) == LightState.GREEN


def test_a_dark_light_counts_after_a_second_unless_it_was_red():
    drive = Drive(80.0, 0.0)
    assert drive.see(drive.ahead(OFF), 8) == LightState.RED
    assert drive.see(drive.ahead(OFF), 5) == LightState.OFF
    drive.see(drive.ahead(RED), 2)
    assert drive.see(drive.ahead(OFF), 50) == LightState.RED


def test_behind_the_line_the_next_light_counts_and_crossing_traffic_is_held_for_a_while():
    drive = Drive(70.0, 10.0)
    drive.see(drive.ahead(GREEN), 10)
    assert drive.all.tolist() == [LightState.GREEN, LightState.OFF, LightState.RED, LightState.OFF]
    while drive.x + VEHICLE.wheelbase <= LINE:
        drive.see(drive.ahead(GREEN))
    crossed = drive.time
    drive.speed = 0.0
    drive.see(NOTHING)
    assert drive.all.tolist() == [LightState.OFF, LightState.OFF, LightState.RED, LightState.OFF]
    drive.see(NOTHING, round((CLEARING - 0.5) / STEP))
    assert drive.all[CROSS] == LightState.RED
    drive.see(NOTHING, 10)
    assert drive.time > crossed + CLEARING and drive.all[CROSS] == LightState.OFF
    drive.speed = 10.0
    drive.see(NOTHING, 60)
    assert drive.all[NEXT] == LightState.RED and drive.all[OWN] == LightState.OFF
    drive.x = 230.0
    assert not Drive(230.0, 0.0).see(NOTHING, 1)


def test_the_planner_stops_at_an_unknown_light_and_goes_at_green():
    path = route_path(MAP, ROUTE)
    rules = RightOfWay(MAP, compile_route(MAP, path))
    drive = Drive(60.0, 8.0)
    drive.see(NOTHING)
    front = drive.x + VEHICLE.length - VEHICLE.rear_overhang
    stop = rules.lines(drive.all, front, drive.speed, 80.0)
    assert stop is not None and stop.s == pytest.approx(LINE - 1.0, abs=0.1)
    drive.see(drive.ahead(GREEN), 5)
    front = drive.x + VEHICLE.length - VEHICLE.rear_overhang
    assert rules.lines(drive.all, front, drive.speed, 80.0) is None
    fast = Drive(LINE - 15.0, 14.0)  # too late: goes on as at a late yellow
    fast.see(NOTHING)
    front = fast.x + VEHICLE.length - VEHICLE.rear_overhang
    assert rules.lines(fast.all, front, fast.speed, 80.0) is None


@pytest.mark.parametrize("area,seed", [("four_way", 1), ("t_junction", 1), ("town", 1)])
def test_roads_that_are_held_never_have_green_together_with_the_own(area, seed):
    from perception.light_states import _crossing

    more = {"control": "lights"} if area == "t_junction" else {}
    road_map = generate_map(area, seed=seed, **more)
    programme = light_programme(road_map, 0)
    times = np.arange(0.0, 200.0, 0.5)[:, None]
    phase = np.mod(times + programme.offset, np.maximum(programme.cycle, 1e-9))
    go = (phase >= programme.green) & (phase < programme.red) & (programme.cycle > 0.0)
    held = 0
    for signal in np.flatnonzero(road_map.signal_kind == SignalKind.TRAFFIC_LIGHT).tolist():
        crossing = _crossing(road_map, np.array([signal]))
        held += len(crossing)
        assert not (go[:, [signal]] & go[:, crossing]).any()
    assert held > 0


def test_asked_too_early():
    with pytest.raises(RoadloopError, match="reset"):
        LightStates(CONFIG).update(SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
