"""The planner `rule` in small worlds: each manoeuvre where it helps, and what it says about it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hand_map import HandLane, HandMap
from hand_map import straight as line_of
from test_controllers import DT, LaggedBicycle
from test_planner import ACROSS, Actor, along, constant, crossing, tracks_of, two_way

from planning.controllers import TrackingController
from planning.corridor import agents_on_path
from planning.occlusion import hidden_crossings
from planning.right_of_way import RightOfWay, locate_vehicles
from planning.route_line import build_route_line
from planning.route_rules import compile_route
from planning.rule_planner import RulePlanner
from planning.rule_style import RuleStyle, rule_style
from roadloop.errors import RoadloopError
from roadloop.geometry import box_corners, box_distance
from roadloop.maps.road_map import RoadMap
from roadloop.types import AgentKind, Forecasts, Route, Scenario

HALF_LANE = 1.75


def ready(road_map: RoadMap, route: Route, style: RuleStyle | None = None) -> RulePlanner:
    unused = dict.fromkeys(f.name for f in dataclasses.fields(Scenario))
    planner = RulePlanner(style)
    planner.reset(Scenario(**(unused | {"road_map": road_map, "route": route})))
    return planner


@dataclasses.dataclass
class Driven:
    x: list = dataclasses.field(default_factory=list)
    y: list = dataclasses.field(default_factory=list)
    speed: list = dataclasses.field(default_factory=list)
    acceleration: list = dataclasses.field(default_factory=list)
    clearance: list = dataclasses.field(default_factory=list)
    chosen: list = dataclasses.field(default_factory=list)


def drive(planner, car: LaggedBicycle, actors: list[Actor], seconds: float) -> Driven:
    """Closed loop of planner, controller and a bicycle with lags."""
    controller, log = TrackingController(), Driven()
    for step in range(round(seconds / DT)):
        tracks = tracks_of(actors, step * DT)
        seen = dataclasses.replace(car.observe(step), tracks=tracks, lights=np.zeros(8, np.uint8))
        car.step(controller.control(seen, planner.plan(seen, tracks)), substeps=2)
        log.x.append(car.x)
        log.y.append(car.y)
        log.speed.append(car.speed)
        log.acceleration.append(car.acceleration)
        explanation = planner.explanation
        log.chosen.append(explanation.names[explanation.chosen])
        a = tracks_of(actors, (step + 1) * DT).states
        theirs = box_corners(a.x, a.y, a.heading, a.length, a.width)
        cx, cy = car.observe(step).ego.box_centre()
        mine = box_corners(cx, cy, car.heading, 4.7, 1.9)
        log.clearance.append(float(box_distance(mine[None], theirs).min(initial=np.inf)))
    return log


def braking(x: float, speed: float, rate: float):
    """A car that brakes to a standstill from the start."""

    def at(t: float):
        t = min(t, speed / rate)
        return x + speed * t - 0.5 * rate * t * t, 0.0, 0.0, speed - rate * t, 0.0

    return at


# --- contract -----------------------------------------------------------------------------------


def test_plan_and_explanation_have_their_form():
    planner = ready(two_way(), along())
    car = LaggedBicycle(x=10.0, y=0.2, speed=8.0)
    plan = planner.plan(car.observe(0), tracks_of([Actor(constant(60.0, 0.0, 6.0))], 0.0))
    assert plan.x.shape == plan.speed.shape == (51,)
    assert (plan.x[0], plan.y[0]) == pytest.approx((10.0, 0.0), abs=1e-6)
    why = planner.explanation
    assert why is not None
    count = len(why.names)
    assert why.xy.shape == (count, 9, 2)  # 4 s
    np.testing.assert_allclose(why.xy[:, 0], [[10.0, 0.0]] * count, atol=1e-6)
    assert why.score.shape == (count,)
    assert all(v.shape == (count,) and v.min() >= 0 and v.max() <= 1 for v in why.terms.values())
    assert len(set(why.names)) == count
    assert why.names[why.chosen] == "keep lane"
    at = np.arange(9) * 5
    np.testing.assert_allclose(why.xy[why.chosen], np.stack([plan.x, plan.y], 1)[at], atol=0.02)


def test_what_limits_the_plan_is_named():
    planner = ready(two_way(), along())
    car = LaggedBicycle(x=10.0, y=0.0, speed=10.0)
    planner.plan(car.observe(0), tracks_of([Actor(constant(35.0, 0.0, 6.0))], 0.0))
    assert planner.explanation.limit_id == 1
    assert "following car 1" in planner.reason


def test_mistakes_are_named():
    with pytest.raises(RoadloopError, match="call reset"):
        RulePlanner().plan(LaggedBicycle().observe(0), tracks_of([], 0.0))
    with pytest.raises(RoadloopError, match="margin"):
        rule_style(["margin=-1"])
    with pytest.raises(RoadloopError, match="margn"):
        rule_style(["margn=1"])


def test_settings_reach_both_styles():
    style = rule_style(["time_headway=0.9", "margin=0.1", "passing.side_gap=0.8"])
    assert (style.driving.time_headway, style.margin, style.passing.side_gap) == (0.9, 0.1, 0.8)
    assert style.passing.least_gap == RuleStyle().passing.least_gap


def test_same_input_gives_the_same_bytes():
    plans = []
    for _ in range(2):
        planner = ready(two_way(), along())
        for step in range(3):
            actors = [Actor(constant(60.0, 0.0, 6.0)), Actor(constant(90.0, 3.5, -8.0))]
            seen = LaggedBicycle(x=10.0 + step, speed=8.0).observe(step)
            plan = planner.plan(seen, tracks_of(actors, step * DT))
        plans.append(plan.x.tobytes() + plan.speed.tobytes() + planner.explanation.score.tobytes())
    assert plans[0] == plans[1]


# --- manoeuvres ---------------------------------------------------------------------------------


def test_parked_car_is_passed_on_the_own_lane_where_a_hand_less_of_room_makes_that_possible():
    parked = Actor(constant(40.0, -0.8), AgentKind.STATIC, 4.5, 1.8)
    log = drive(ready(two_way(), along()), LaggedBicycle(x=10.0, speed=6.0), [parked], 10.0)
    assert log.x[-1] > 46.0
    assert 0.25 < min(log.clearance) < 0.5
    assert 1.0 < max(log.y) < HALF_LANE  # the opposite lane begins there
    assert "go around" in log.chosen


def test_opposite_lane_is_used_no_further_than_needed_and_the_slower_the_less_room_is_left():
    parked = Actor(constant(36.0, -0.2), AgentKind.STATIC, 4.5, 1.8)
    log = drive(ready(two_way(), along()), LaggedBicycle(x=12.0, speed=4.0), [parked], 12.0)
    x, y, speed = np.array(log.x), np.array(log.y), np.array(log.speed)
    assert x[-1] > 50.0
    assert 0.2 < min(log.clearance) < 0.5
    assert HALF_LANE < y.max() < 2.1  # 0.7 m is the car's side, 0.95 m half of the ego
    manners = RuleStyle().passing
    beside = speed[(x > 34.0) & (x < 38.0)]
    assert beside.max() < manners.passing_speed * manners.least_gap / manners.side_gap + 0.3
    assert beside.min() > 2.0


def test_leader_that_brakes_hard_is_met_comfortably():
    """12 m/s, 1.3 s behind a car that brakes with 6 m/s^2."""
    leader = Actor(braking(20.0 + 3.7 + 2.25, 12.0, 6.0))
    log = drive(ready(two_way(), along(start=4.0)), LaggedBicycle(x=4.0, speed=12.0), [leader], 6.0)
    assert min(log.acceleration) > -4.05
    assert min(log.clearance) > 0.8


def test_somebody_who_steps_out_close_ahead_is_braked_for_with_all_there_is():
    planner = ready(two_way(), along())
    car = LaggedBicycle(x=10.0, speed=10.0)
    walker = Actor(constant(26.0, -1.6, 0.0, 1.5), AgentKind.PEDESTRIAN, 0.5, 0.5)
    log = drive(planner, car, [walker], 2.5)
    assert min(log.clearance) > 0.0
    assert min(log.acceleration) < -4.05


def test_gap_at_a_junction_is_taken_when_forecasts_leave_it():
    """Braking late for a car with priority, which is forecast to stay where it is, or to come."""
    planner = ready(crossing(1), dataclasses.replace(ACROSS, start_s=88.0))
    car = LaggedBicycle(x=88.0, speed=7.0)
    other = Actor(constant(110.0, -40.0, 0.0, 9.0))
    tracks = tracks_of([other], 0.0)
    seen = dataclasses.replace(car.observe(0), tracks=tracks, lights=np.zeros(8, np.uint8))
    t = np.arange(31) * 0.2
    shape = (1, 1, len(t))
    stays = Forecasts(
        x=np.full(shape, 110.0), y=np.full(shape, -40.0), heading=np.full(shape, np.pi / 2),
        probability=np.ones((1, 1)), dt=0.2,
    )  # fmt: skip
    planner.plan(seen, tracks, stays)
    names = planner.explanation.names
    assert "take the gap" in names
    assert names[planner.explanation.chosen] == "take the gap"
    planner = ready(crossing(1), dataclasses.replace(ACROSS, start_s=88.0))
    comes = dataclasses.replace(stays, y=stays.y + 14.0 * t)
    planner.plan(seen, tracks, comes)
    assert planner.explanation.names[planner.explanation.chosen] != "take the gap"


@pytest.mark.parametrize(
    ("place", "answer"),
    [(85.0, "give up passing"), (115.0, "give up passing"), (150.0, "hurry past")],
)
def test_way_around_is_given_up_or_hurried_through_when_somebody_comes(place, answer):
    """The ego has begun to pull out when a fast car appears on the opposite lane."""
    parked = Actor(constant(36.0, 0.0), AgentKind.STATIC, 4.5, 1.8)
    comes = lambda t: place - 14.0 * (t - 2.0) if t > 2.0 else 500.0  # noqa: E731
    fast = Actor(lambda t: (comes(t), 3.5, np.pi, -14.0, 0.0))
    log = drive(
        ready(two_way(), along()), LaggedBicycle(x=12.0, speed=4.0), [parked, fast], place / 13.0
    )
    assert min(log.clearance) > 0.25
    assert log.chosen[10].startswith("go around")
    assert answer in log.chosen


def test_track_that_is_missed_for_two_frames_is_still_braked_for():
    planner = ready(two_way(), along())
    leader = Actor(constant(32.0, 0.0, 0.0), AgentKind.CAR)
    car = LaggedBicycle(x=10.0, speed=8.0)
    for step in range(4):
        planner.plan(car.observe(step), tracks_of([leader], 0.0))
    seen = planner.plan(car.observe(4), tracks_of([leader], 0.0))
    missed = planner.plan(car.observe(5), tracks_of([], 0.0))
    np.testing.assert_allclose(missed.speed, seen.speed, atol=0.2)


def test_crosswalk_behind_a_standing_van_is_come_to_slowly():
    road = HandMap([HandLane(line_of((0.0, 0.0), (200.0, 0.0)))]).build()
    route = Route(np.array([0], np.int32), 0.0, 190.0)
    path, line = build_route_line(road, route)
    rules = dataclasses.replace(
        compile_route(road, path), crossing_from=np.array([60.0]), crossing_to=np.array([64.0])
    )
    _, window = line.window(0.0, 150.0)
    van = Actor(constant(54.0, -2.6), AgentKind.VAN, 5.0, 2.0)
    far = Actor(constant(30.0, -2.6), AgentKind.VAN, 5.0, 2.0)
    for actor, expected in ((van, [60.0]), (far, [])):
        states = tracks_of([actor], 0.0).states
        agents = agents_on_path(window, states, np.array([0]))
        hidden = hidden_crossings(agents, states.length, rules, 0.95, 20.0)
        assert hidden.tolist() == expected


def test_who_is_sorted_out_before_a_junction_could_not_have_come_to_it():
    road = crossing(1)
    path, _ = build_route_line(road, ACROSS)
    rules = compile_route(road, path)
    rng = np.random.default_rng(5)
    at = [constant(*rng.uniform((-10, -120), (310, 110)), *rng.normal(0.0, 5.0, 2))
          for _ in range(400)]  # fmt: skip
    on_lanes = [constant(110.0 + rng.normal(0.0, 1.0), y, 0.0, 8.0) for y in range(-105, 60, 5)]
    states = tracks_of([Actor(a) for a in at + on_lanes], 0.0).states
    everybody, rows = np.arange(len(states.x)), np.arange(len(rules.conflict_visit))
    kept = RightOfWay(road, rules).concerned(rows, states, everybody)
    placed = locate_vehicles(road, states, everybody, np.zeros(len(everybody)))
    leads = np.isfinite(rules.conflict_reach).any(axis=0)
    there = placed.id[leads[placed.lane]] - 1  # ids count from 1
    assert len(there) > 20
    assert set(there.tolist()) <= set(kept.tolist())
    assert len(kept) < 0.5 * len(everybody)


def test_more_room_is_kept_to_who_is_not_seen_well():
    shifts = []
    for std in (0.0, 0.2):
        planner = ready(two_way(), along())
        tracks = tracks_of([Actor(constant(36.0, -0.8), AgentKind.STATIC, 4.5, 1.8)], 0.0)
        tracks = dataclasses.replace(tracks, position_std=np.full(1, std))
        car = LaggedBicycle(x=20.0, speed=3.0)
        plan = planner.plan(dataclasses.replace(car.observe(0), tracks=tracks), tracks)
        shifts.append(plan.y.max())
    assert shifts[1] - shifts[0] == pytest.approx(0.2, abs=0.02)


# --- to the side --------------------------------------------------------------------------------


def two_lanes(length: float = 600.0) -> RoadMap:
    """Lane 0 on y = 0 and lane 1 to its left, both eastwards."""
    lanes = [
        HandLane(line_of((0.0, 0.0), (length, 0.0)), left=1),
        HandLane(line_of((0.0, 3.5), (length, 3.5)), number=1, right=0),
    ]
    return HandMap(lanes).build()


def test_slow_leader_is_overtaken_where_there_is_a_lane_for_it():
    slow = Actor(constant(45.0, 0.0, 5.0), AgentKind.CYCLIST, 1.8, 0.6)
    planner = ready(two_lanes(), along(goal=580.0))
    log = drive(planner, LaggedBicycle(x=20.0, speed=9.0), [slow], 20.0)
    x, y = np.array(log.x), np.array(log.y)
    assert "overtake left" in log.chosen
    assert 3.2 < y.max() < 3.8
    assert x[-1] > 45.0 + 5.0 * 20.0 + 12.0
    assert abs(y[-1]) < 0.3  # back again
    assert min(log.clearance) > 1.5


def test_nobody_is_overtaken_on_the_opposite_lane_nor_where_the_other_lane_is_taken():
    slow = Actor(constant(45.0, 0.0, 5.0))
    log = drive(ready(two_way(), along()), LaggedBicycle(x=20.0, speed=9.0), [slow], 8.0)
    assert max(log.y) < 0.3
    beside = Actor(constant(20.0, 3.5, 5.0))
    planner = ready(two_lanes(), along(goal=580.0))
    log = drive(planner, LaggedBicycle(x=20.0, speed=5.0), [slow, beside], 8.0)
    assert max(log.y) < 0.3


def test_overtaking_is_aborted_when_somebody_fast_comes_from_behind():
    slow = Actor(constant(45.0, 0.0, 5.0))
    planner = ready(two_lanes(), along(goal=580.0))
    car, controller, chosen, begun = LaggedBicycle(x=20.0, speed=9.0), TrackingController(), [], 0.0
    fast = Actor(lambda t: (car.x - 30.0 if not begun else begun + 25.0 * t, 3.5, 0.0, 25.0, 0.0))
    for step in range(80):
        actors = [slow, fast] if begun else [slow]
        seen = dataclasses.replace(car.observe(step), tracks=tracks_of(actors, step * DT))
        plan = planner.plan(seen, seen.tracks)
        why = planner.explanation
        chosen.append(why.names[why.chosen])
        if chosen[-1].startswith("overtake") and not begun:
            begun = car.x - 22.0 - 25.0 * step * DT
        car.step(controller.control(seen, plan), substeps=2)
    assert "abort overtaking" in chosen
    assert abs(car.y) < 0.4


def test_more_room_is_kept_to_who_is_close_beside_the_lane():
    """A cyclist at the edge of a wide lane, and nobody."""
    edge = Actor(constant(40.0, -1.75, 3.0), AgentKind.CYCLIST, 1.8, 0.6)
    log = drive(ready(two_way(), along()), LaggedBicycle(x=15.0, speed=8.0), [edge], 9.0)
    assert "keep to the left" in log.chosen
    assert 0.2 < max(log.y) < HALF_LANE - 0.9
    assert abs(log.y[-1]) < 0.15


def test_pulls_over_when_asked_to():
    planner = ready(two_way(), along())
    planner.pull_over()
    log = drive(planner, LaggedBicycle(x=15.0, speed=9.0), [], 14.0)
    assert log.speed[-1] < 0.05
    assert log.y[-1] == pytest.approx(-(HALF_LANE - 0.95 - 0.2), abs=0.1)
    assert min(log.acceleration) > -2.2
    assert "pulling over" in planner.reason
    with pytest.raises(RoadloopError, match="call reset"):
        RulePlanner().pull_over()
