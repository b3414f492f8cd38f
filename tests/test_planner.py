"""The route follower in closed loop: a kinematic car, scripted road users, hand-built maps."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np
import pytest
from hand_map import HandLane, HandMap, HandSign, arc, straight
from test_controllers import DT, LaggedBicycle

from planning.controllers import TrackingController
from planning.lateral_offset import LateralOffset, OffsetStep
from planning.longitudinal import DrivingStyle, Leaders, roll_out, speed_profile
from planning.route_follower import RouteFollower
from planning.route_line import build_route_line
from roadloop.errors import RoadloopError
from roadloop.idm import IdmParameters
from roadloop.maps.road_map import ConflictKind, RoadMap, SignalKind
from roadloop.types import AgentKind, AgentStates, LightState, Route, Scenario, Tracks

STYLE = DrivingStyle()
FRONT, REAR, HALF_WIDTH = 3.7, 1.0, 0.95  # of the default vehicle, from the rear axle


@dataclass
class Actor:
    """A scripted road user: ``at(t) -> x, y, heading, vx, vy``."""

    at: object
    kind: AgentKind = AgentKind.CAR
    length: float = 4.5
    width: float = 1.8


@dataclass
class Drive:
    """What happened, one entry per step."""

    x: list = field(default_factory=list)
    y: list = field(default_factory=list)
    s: list = field(default_factory=list)
    speed: list = field(default_factory=list)
    acceleration: list = field(default_factory=list)
    reason: list = field(default_factory=list)
    clearance: list = field(default_factory=list)
    """m to the nearest road user, box to box; negative where boxes overlap"""


def constant(x, y, vx=0.0, vy=0.0):
    heading = np.arctan2(vy, vx) if vx or vy else 0.0
    return lambda t: (x + vx * t, y + vy * t, heading, vx, vy)


def tracks_of(actors: list[Actor], time: float) -> Tracks:
    rows = np.array([a.at(time) for a in actors], dtype=float).reshape(-1, 5)
    n = len(actors)
    states = AgentStates(
        id=np.arange(n) + 1,
        kind=np.array([a.kind for a in actors], np.uint8),
        x=rows[:, 0],
        y=rows[:, 1],
        z=np.zeros(n),
        heading=rows[:, 2],
        vx=rows[:, 3],
        vy=rows[:, 4],
        length=np.array([a.length for a in actors]),
        width=np.array([a.width for a in actors]),
        height=np.full(n, 1.5),
        valid=np.ones(n, bool),
    )
    return Tracks(states, np.zeros(n), np.zeros(n, int))


def drive(
    road_map: RoadMap,
    route: Route,
    actors: list[Actor] = (),
    *,
    seconds: float = 30.0,
    speed: float = 0.0,
    lights=lambda t: np.zeros(8, np.uint8),
) -> Drive:
    """Closed loop of planner, controller and a bicycle with lags."""
    from roadloop.geometry import box_corners, box_distance, boxes_overlap
    from roadloop.maps.locate import pose_at

    unused = dict.fromkeys(f.name for f in dataclasses.fields(Scenario))
    planner, controller = RouteFollower(), TrackingController()
    planner.reset(Scenario(**(unused | {"road_map": road_map, "route": route})))
    x, y, _, heading = pose_at(road_map, int(route.lanes[0]), route.start_s)
    car, log = LaggedBicycle(float(x), float(y), float(heading), speed), Drive()
    for step in range(round(seconds / DT)):
        tracks = tracks_of(list(actors), step * DT)
        seen = dataclasses.replace(car.observe(step), tracks=tracks, lights=lights(step * DT))
        plan = planner.plan(seen, tracks)
        car.step(controller.control(seen, plan), substeps=5)
        log.x.append(car.x)
        log.y.append(car.y)
        log.s.append(planner._s)
        log.speed.append(car.speed)
        log.acceleration.append(car.acceleration)
        log.reason.append(planner.reason)
        if actors:
            a = tracks_of(list(actors), (step + 1) * DT).states
            theirs = box_corners(a.x, a.y, a.heading, a.length, a.width)
            cx, cy = car.observe(step).ego.box_centre()
            mine = box_corners(cx, cy, car.heading, 4.7, 1.9)
            hit = boxes_overlap(mine[None], theirs).any()
            log.clearance.append(-1.0 if hit else float(box_distance(mine[None], theirs).min()))
    return log


def two_way(length: float = 400.0, **sign) -> RoadMap:
    """Lane 0 eastwards on y = 0, lane 1 westwards on y = 3.5."""
    lanes = [
        HandLane(straight((0.0, 0.0), (length, 0.0)), opposite=1),
        HandLane(straight((length, 3.5), (0.0, 3.5)), number=1, opposite=0),
    ]
    return HandMap(lanes, signs=[HandSign(**sign)] if sign else []).build()


def along(lane: int = 0, start: float = 10.0, goal: float = 380.0) -> Route:
    return Route(np.array([lane], np.int32), start, goal)


# --- parts --------------------------------------------------------------------------------------


def test_speed_profile_brakes_comfortably_into_a_bend():
    s = np.arange(0.0, 100.0, 0.5)
    curvature = np.where(s >= 60.0, 0.1, 0.0)
    v = speed_profile(s, np.full(len(s), 15.0), curvature, STYLE)
    assert v[-1] == pytest.approx(np.sqrt(STYLE.lateral_acceleration / 0.1))
    assert v[0] <= 15.0
    deceleration = -np.diff(v**2) / (2.0 * 0.5)
    assert deceleration.max() == pytest.approx(STYLE.deceleration, abs=1e-6)


@pytest.mark.parametrize("speed", [5.0, 10.0, 20.0])
def test_roll_out_stops_at_the_place_and_never_reverses(speed):
    stop = speed**2 / (2.0 * STYLE.deceleration) + 20.0
    motion = roll_out(
        0.0, speed, 0.0, 0.0, 0.5, np.full(600, 25.0), stop,
        Leaders(np.zeros(0), np.zeros(0)), FRONT, STYLE, IdmParameters(), 150, 0.2,
    )  # fmt: skip
    assert stop - 1.0 <= motion.s[-1] <= stop + 0.05
    assert motion.v[-1] == 0.0
    assert (np.diff(motion.s) >= 0.0).all()
    assert motion.a.min() > -1.4 * STYLE.deceleration


def test_offset_step_reaches_its_width_with_the_stated_curvature():
    offset = LateralOffset([OffsetStep(10.0, 30.0, 2.0)])
    s = np.linspace(0.0, 40.0, 4001)
    d, slope, bend = offset.at(s)
    assert (d[0], d[-1]) == (0.0, 2.0)
    np.testing.assert_allclose(np.gradient(d, s), slope, atol=2e-5)
    assert np.abs(bend).max() == pytest.approx(10.0 / np.sqrt(3.0) * 2.0 / 20.0**2, rel=1e-4)


def test_undrivable_corner_is_widened_by_little():
    """90 degrees on 3.2 m radius: full lock gives 4.0 m."""
    points = np.vstack(
        [
            straight((-40.0, 0.0), (0.0, 0.0))[:-1],
            arc((0.0, 3.2), 3.2, -np.pi / 2, 0.0)[:, :2],
            straight((3.2, 3.2), (3.2, 43.2))[1:],
        ]
    )
    road_map = HandMap([HandLane(points)]).build()
    path, line = build_route_line(road_map, Route(np.array([0], np.int32), 0.0, 80.0))
    assert np.abs(path.curvature).max() > 0.28
    assert np.abs(line.curvature).max() < 0.235
    _, lateral = path.project(line.x, line.y)
    assert np.abs(lateral).max() < 0.6


# --- following and stopping ---------------------------------------------------------------------


def test_free_road_is_driven_at_the_limit_comfortably():
    log = drive(two_way(), along(), seconds=20.0)
    assert log.speed[-1] == pytest.approx(13.9, abs=0.3)
    assert max(log.speed) < 13.95
    assert log.reason[-1] == "free"
    assert max(log.acceleration) < 2.40
    assert np.abs(np.diff(log.acceleration) / DT).max() < 4.13


def test_slow_leader_is_followed_at_a_headway():
    leader = Actor(constant(60.0, 0.0, 6.0))
    log = drive(two_way(), along(), [leader], speed=12.0, seconds=18.0)
    assert log.speed[-1] == pytest.approx(6.0, abs=0.3)
    assert 2.5 < log.clearance[-1] < 16.0
    assert min(log.clearance) > 2.0
    assert min(log.acceleration) > -4.05
    assert log.reason[-1] == "following car 1"


def test_oncoming_car_on_its_own_lane_is_ignored():
    log = drive(two_way(), along(), [Actor(constant(300.0, 3.5, -12.0))], speed=12.0, seconds=15.0)
    assert min(log.speed) > 11.5


def test_pedestrian_stepping_out_is_seen_before_being_in_the_way():
    walker = Actor(constant(80.0, -8.0, 0.0, 1.4), AgentKind.PEDESTRIAN, 0.5, 0.5)
    log = drive(two_way(), along(), [walker], speed=10.0, seconds=14.0)
    assert min(log.clearance) > 0.4
    assert min(log.acceleration) > -6.0
    assert log.x[-1] > 90.0  # and goes on afterwards


def test_red_light_stops_before_the_line_and_green_lets_go():
    road_map = two_way(kind=SignalKind.TRAFFIC_LIGHT, lane=0, s=120.0)
    red_until = 20.0
    state = lambda t: np.array([LightState.RED if t < red_until else LightState.GREEN])  # noqa: E731
    log = drive(road_map, along(), speed=12.0, lights=state)
    front = np.array(log.x) + FRONT
    stopped = round(red_until / DT) - 1
    assert log.speed[stopped] < 0.05
    assert 117.5 < front[stopped] < 120.0
    assert "red light" in log.reason[stopped]
    assert min(log.acceleration) > -3.0
    assert front[-1] > 150.0


def test_yellow_is_passed_only_when_stopping_would_hurt():
    road_map = two_way(kind=SignalKind.TRAFFIC_LIGHT, lane=0, s=60.0)
    yellow = lambda t: np.array([LightState.YELLOW])  # noqa: E731
    late = drive(road_map, along(start=44.0), speed=12.0, seconds=3.0, lights=yellow)
    assert min(late.speed) > 11.0
    early = drive(road_map, along(start=10.0), speed=12.0, seconds=12.0, lights=yellow)
    assert early.speed[-1] < 0.05
    assert early.x[-1] + FRONT < 60.0


def test_stop_sign_is_served_once():
    road_map = two_way(kind=SignalKind.STOP, lane=0, s=80.0)
    log = drive(road_map, along(), speed=10.0)
    front, speed = np.array(log.x) + FRONT, np.array(log.speed)
    assert speed[(front > 78.0) & (front <= 80.0)].min() < 0.1
    assert speed[-1] > 10.0


# --- passing an obstruction ---------------------------------------------------------------------


def test_parked_car_is_passed_and_the_lane_taken_again():
    parked = Actor(constant(100.0, -0.4), AgentKind.STATIC)
    log = drive(two_way(), along(), [parked], speed=10.0, seconds=22.0)
    assert min(log.clearance) > 0.3
    assert max(log.y) > 1.0
    assert abs(log.y[-1]) < 0.1
    assert log.x[-1] > 150.0


def test_passing_waits_for_oncoming_traffic():
    parked = Actor(constant(100.0, -0.4), AgentKind.STATIC)
    stream = [Actor(constant(130.0 + 40.0 * k, 3.5, -10.0)) for k in range(6)]
    log = drive(two_way(), along(), [parked, *stream], speed=10.0, seconds=42.0)
    assert min(log.clearance) > 0.3
    assert min(log.speed) < 0.1
    assert any("blocked" in reason for reason in log.reason)
    assert log.x[-1] > 130.0


# --- giving way ---------------------------------------------------------------------------------


def crossing(rule: int) -> RoadMap:
    """Eastwards 0 -> 1 -> 2 through junction 0, crossed at x = 110 by 3 -> 4 -> 5 northwards.

    ``rule`` is conflict_yield of the eastbound lane.
    """
    lanes = [
        HandLane(straight((0.0, 0.0), (100.0, 0.0)), successors=(1,)),
        HandLane(straight((100.0, 0.0), (120.0, 0.0)), junction=0, successors=(2,)),
        HandLane(straight((120.0, 0.0), (300.0, 0.0))),
        HandLane(straight((110.0, -110.0), (110.0, -10.0)), successors=(4,)),
        HandLane(straight((110.0, -10.0), (110.0, 10.0)), junction=0, successors=(5,)),
        HandLane(straight((110.0, 10.0), (110.0, 100.0))),
    ]
    road_map = HandMap(lanes, junctions=1).build()
    return dataclasses.replace(
        road_map,
        conflict_start=np.array([0, 0, 1, 1, 1, 2, 2], np.int32),
        conflict_lane=np.array([4, 1], np.int32),
        conflict_kind=np.full(2, ConflictKind.CROSS, np.uint8),
        conflict_from=np.array([7.0, 7.0]),
        conflict_to=np.array([13.0, 13.0]),
        conflict_other_from=np.array([7.0, 7.0]),
        conflict_other_to=np.array([13.0, 13.0]),
        conflict_yield=np.array([rule, -rule], np.int8),
    )


ACROSS = Route(np.array([0, 1, 2], np.int32), 40.0, 150.0)


@pytest.mark.parametrize("start", np.linspace(-100.0, -20.0, 6))
def test_crossing_car_with_priority_is_never_hit(start):
    other = Actor(constant(110.0, float(start), 0.0, 10.0))
    log = drive(crossing(1), ACROSS, [other], speed=8.0, seconds=16.0)
    assert min(log.clearance) > 0.5
    assert log.x[-1] > 125.0


def test_yielding_is_said_and_ends():
    other = Actor(constant(110.0, -60.0, 0.0, 8.0))
    log = drive(crossing(1), ACROSS, [other], speed=8.0, seconds=16.0)
    assert "yielding to vehicle 1" in log.reason


def test_priority_is_used_where_the_other_can_still_wait():
    """A car that stands before the junction and owes the ego the way does not slow it down."""
    log = drive(crossing(-1), ACROSS, [Actor(constant(110.0, -14.0))], speed=8.0, seconds=10.0)
    assert min(log.speed) > 7.5


def test_two_who_wait_for_each_other_do_not_wait_for_ever():
    log = drive(crossing(0), ACROSS, [Actor(constant(110.0, -13.0))], speed=8.0, seconds=30.0)
    assert log.x[-1] > 125.0


def test_junction_is_kept_clear():
    """A car stands just behind the junction: the ego waits before it, not on it."""
    log = drive(crossing(-1), ACROSS, [Actor(constant(125.0, 0.0))], speed=8.0, seconds=13.0)
    assert log.speed[-1] < 0.05
    assert log.x[-1] + FRONT < 100.0
    assert log.reason[-1] == "no room behind the junction"


# --- lane changes -------------------------------------------------------------------------------


def side_by_side(length: float = 300.0) -> tuple[RoadMap, Route]:
    """Lane 1 is left of lane 0; the route changes from 0 to 1."""
    lanes = [
        HandLane(straight((0.0, 0.0), (length, 0.0)), left=1),
        HandLane(straight((0.0, 3.5), (length, 3.5)), right=0),
    ]
    return HandMap(lanes).build(), Route(np.array([0, 1], np.int32), 10.0, length - 10.0)


def test_lane_change_with_a_gap_happens_on_the_way():
    road_map, route = side_by_side()
    log = drive(road_map, route, speed=10.0, seconds=16.0)
    crossed = np.array(log.x)[np.array(log.y) > 1.75][0]
    assert 120.0 < crossed < 180.0
    assert log.y[-1] == pytest.approx(3.5, abs=0.1)
    assert min(log.speed) > 9.5


def test_lane_change_waits_for_a_gap_and_then_happens():
    """A column on the left keeps pace with the ego for a while, then is gone."""
    road_map, route = side_by_side()
    column = [Actor(constant(-60.0 + 12.0 * k, 3.5, 12.0)) for k in range(8)]
    log = drive(road_map, route, column, speed=12.0, seconds=36.0)
    assert min(log.clearance) > 0.8
    crossed = np.array(log.x)[np.array(log.y) > 1.75][0]
    assert crossed > 185.0  # a free lane is entered half-way, at 150 m
    assert log.y[-1] == pytest.approx(3.5, abs=0.15)


# --- contract -----------------------------------------------------------------------------------


def test_plan_is_five_seconds_from_now():
    log_map, route = two_way(), along()
    unused = dict.fromkeys(f.name for f in dataclasses.fields(Scenario))
    planner = RouteFollower()
    planner.reset(Scenario(**(unused | {"road_map": log_map, "route": route})))
    car = LaggedBicycle(x=10.0, y=0.2, speed=8.0)
    plan = planner.plan(car.observe(0), tracks_of([], 0.0))
    assert plan.x.shape == plan.speed.shape == (51,)
    assert (plan.x[0], plan.y[0]) == pytest.approx((10.0, 0.0), abs=1e-6)
    assert plan.speed[0] == pytest.approx(8.0)
    moved = np.hypot(np.diff(plan.x), np.diff(plan.y))
    mean_speed = (plan.speed[1:] + plan.speed[:-1]) / 2.0
    np.testing.assert_allclose(moved, mean_speed * plan.dt, atol=0.01)


def test_same_input_gives_the_same_bytes():
    actors = [Actor(constant(60.0, 0.0, 6.0))]
    first, second = (drive(two_way(), along(), actors, seconds=6.0) for _ in range(2))
    assert first.x == second.x


def test_mistakes_are_named():
    planner, car = RouteFollower(), LaggedBicycle()
    with pytest.raises(RoadloopError, match="call reset"):
        planner.plan(car.observe(0), tracks_of([], 0.0))
    unused = dict.fromkeys(f.name for f in dataclasses.fields(Scenario))
    lit = two_way(kind=SignalKind.TRAFFIC_LIGHT, lane=0, s=50.0)
    planner.reset(Scenario(**(unused | {"road_map": lit, "route": along()})))
    with pytest.raises(RoadloopError, match='declare the sensor "lights"'):
        planner.plan(car.observe(0), tracks_of([], 0.0))
    with pytest.raises(RoadloopError, match="no lanes"):
        empty = Route(np.zeros(0, np.int32), 0.0, 0.0)
        planner.reset(Scenario(**(unused | {"road_map": lit, "route": empty})))
