"""PDM-Closed: proposals, whom they follow, how they are scored, and the planner in closed loop."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hand_map import HandLane, HandMap, HandSign, arc, straight
from planner_scene import (
    CAR,
    LIMIT,
    NOBODY_THERE,
    along,
    both,
    driven,
    observe,
    ready,
    refuses_what_cannot_be_driven,
    tracks,
    two_way,
    users,
)

from planning.pdm_closed import NAMES, OFFSETS, SPEED_SHARES, PdmClosed
from planning.pdm_idm import IdmPolicy
from planning.pdm_proposals import (
    DT,
    HELD,
    LIGHT,
    NOBODY,
    STEPS,
    constant_velocity,
    in_corridor,
    objects_near,
    roll_out,
)
from planning.pdm_route import compile_route_lines, route_areas
from planning.pdm_scores import OBSERVED, driving_direction, scene_around, score_proposals
from roadloop.geometry import box_corners, box_distance
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.scoring.navsim import pdm_scores_v1
from roadloop.scoring.pdm_tracker import State, simulate_proposals
from roadloop.types import (
    AgentKind,
    AgentStates,
    LightState,
    Route,
    at,
)

FRONT = CAR.length - CAR.rear_overhang


def planner(road_map: RoadMap, route: Route | None = None, **options) -> PdmClosed:
    return ready(PdmClosed(**options), road_map, route)


def drive(made, states: AgentStates, *, seconds: float, speed: float, lights=None):
    """(n, 4) x, y, heading, speed: plans followed by the tracker, a new one every 0.3 s."""
    row, every = np.zeros(len(State)), 3
    row[State.X], row[State.SPEED] = 10.0, speed
    log = []
    for step in range(0, round(seconds / DT), every):
        names = ("x", "y", "heading", "speed", "acceleration", "steering", "yaw_rate")
        values = dict(zip(names, row[[0, 1, 2, 3, 5, 7, 9]], strict=True))
        seen = dataclasses.replace(observe(**values, lights=lights, step=step), dt=every * DT)
        plan = made.plan(seen, tracks(states))
        poses = np.column_stack([plan.x, plan.y, plan.heading])[None, : 15 + every]
        row = simulate_proposals(row, poses, CAR, dt=plan.dt, true_differences=True)[0, every]
        log.append(row[:4])
    return np.array(log)


# --- the policy ---------------------------------------------------------------------------------


def test_idm_by_hand():
    policy = IdmPolicy()
    speed, target, gap, leader = (np.array([v]) for v in (8.0, 10.0, 20.0, 5.0))
    wanted = 1.0 + 8.0 * 1.5 + 8.0 * 3.0 / (2.0 * np.sqrt(1.5 * 3.0))
    by_hand = 1.5 * (1.0 - 0.8**10 - (wanted / 20.0) ** 2)
    assert policy.accelerate(speed, target, gap, leader)[0] == pytest.approx(by_hand)
    assert policy.accelerate(speed, target, np.zeros(1), leader)[0] == -3.0
    assert policy.accelerate(np.zeros(1), target, np.array([np.inf]), leader)[0] == 1.5


# --- lines and lights ---------------------------------------------------------------------------


def test_lines_beside_a_bend_have_their_own_metres():
    quarter = HandMap([HandLane(arc((0.0, 50.0), 50.0, -np.pi / 2, 0.0))]).build()
    lines = compile_route_lines(quarter, along(goal=78.0), OFFSETS).lines
    length = lines.s[:, -1]
    ratio = length / length[0]
    np.testing.assert_allclose(ratio, [1.0, 51.0 / 50.0, 49.0 / 50.0], rtol=1e-3)
    for line, offset in enumerate(OFFSETS):
        x, y, heading = lines.pose(np.full(5, line), np.linspace(0.0, length[line], 5))
        np.testing.assert_allclose(np.hypot(x, y - 50.0), 50.0 - offset, atol=2e-3)
        np.testing.assert_allclose(np.arctan2(y - 50.0, x) + np.pi / 2, heading, atol=2e-3)
        place = 0.37 * length[line]
        x, y, _ = lines.pose(np.array(line), np.array(place))
        found = lines.project(float(x), float(y), lines.rows(0.0, 80.0))
        assert found[line] == pytest.approx(place, abs=2e-3)


def test_red_light_closes_the_road_up_to_the_end_of_its_junction():
    lanes = [
        HandLane(straight((0.0, 0.0), (100.0, 0.0)), successors=(1,)),
        HandLane(straight((100.0, 0.0), (120.0, 0.0)), junction=0, successors=(2,)),
        HandLane(straight((120.0, 0.0), (400.0, 0.0))),
    ]
    sign = HandSign(SignalKind.TRAFFIC_LIGHT, 0, 97.0)
    road_map = HandMap(lanes, junctions=1, signs=[sign]).build()
    route = Route(np.array([0, 1, 2], np.int32), 0.0, 100.0)
    lights = compile_route_lines(road_map, route, OFFSETS).lights
    np.testing.assert_allclose(lights.begin, 97.0, atol=0.01)
    np.testing.assert_allclose(lights.end, 120.0, atol=0.01)
    for state, red in ((LightState.RED, True), (LightState.YELLOW, False)):
        assert lights.red(observe(lights=np.array([state]))).tolist() == [red]


# --- others -------------------------------------------------------------------------------------


def test_only_the_nearest_of_a_class_and_those_on_this_level_are_seen():
    lines = compile_route_lines(two_way(), along(), OFFSETS).lines
    rows = [(20.0 + 0.3 * k, 8.0, 0.0, 1.0) for k in range(40)]
    people = users(*rows, kind=AgentKind.PEDESTRIAN, length=0.5, width=0.5)
    far = users((80.0, 0.0, 0.0, 0.0), (10.0, 0.0, 0.0, 0.0))
    far.z[1] = 5.0
    seen = objects_near(both(people, far), 0.0, 0.0, 50.0, lines, lines.rows(0.0, 50.0))
    assert sorted(seen.id.tolist()) == list(range(1, 26))
    parked = users((10.0, 3.0, 0.0, 0.0), kind=AgentKind.STATIC)
    assert objects_near(parked, 0.0, 0.0, 50.0, lines, lines.rows(0.0, 50.0)).kind[0] == 0


def test_others_go_on_along_their_box_also_backwards():
    states = users((0.0, 0.0, np.pi / 2, 3.0), (0.0, 5.0, 0.0, -2.0))
    states.vx[0] = 0.4  # it slips sideways: published is the box's heading at the whole speed
    ahead = constant_velocity(states, 11)
    time = np.arange(11) // HELD * HELD * DT
    np.testing.assert_allclose(ahead.x[:, 0], 0.0, atol=1e-9)
    np.testing.assert_allclose(ahead.y[:, 0], np.hypot(3.0, 0.4) * time)
    np.testing.assert_allclose(ahead.x[:, 1], -2.0 * time, atol=1e-12)


def test_corridor_agrees_with_polygons():
    """Boxes drawn at random around a bend, against the buffered line."""
    import shapely

    bend = np.vstack(
        [straight((0.0, 0.0), (30.0, 0.0))[:-1], arc((30.0, 30.0), 30.0, -np.pi / 2, 0.0)[:, :2]]
    )
    route = compile_route_lines(HandMap([HandLane(bend)]).build(), along(goal=70.0), OFFSETS)
    lines, rng = route.lines, np.random.default_rng(0)
    n = 150
    rows = np.column_stack(
        [rng.uniform(-5, 65, n), rng.uniform(-8, 35, n), rng.uniform(-3, 3, n), np.zeros(n)]
    )
    states = users(*rows, length=3.0, width=1.2)
    found = in_corridor(lines, lines.rows(5.0, 60.0), 0.95, constant_velocity(states, 1), 1)
    inside = np.zeros((3, n), bool)
    inside[:, found.row] = np.isfinite(found.progress[:, 0])
    corners = box_corners(states.x, states.y, states.heading, states.length, states.width)
    boxes = shapely.polygons(corners)
    rows = lines.rows(5.0, 60.0)
    for line in range(3):
        string = shapely.LineString(np.column_stack([lines.x[line, rows], lines.y[line, rows]]))
        away = shapely.distance(string, boxes)
        clear = np.abs(away - 0.95) > 0.04
        assert (inside[line] == (away <= 0.95))[clear].all()
        assert inside[line].sum() > 10
    on = found.row[np.isfinite(found.progress[0, 0])]
    string = shapely.LineString(np.column_stack([lines.x[0], lines.y[0]]))
    s = shapely.line_locate_point(string, shapely.points(states.x[on], states.y[on]))
    mine = found.progress[0, 0][np.isfinite(found.progress[0, 0])]
    np.testing.assert_allclose(mine, s, atol=0.1)


# --- proposals ----------------------------------------------------------------------------------


def proposals_of(states, speed, closed=None, targets=SPEED_SHARES * LIMIT, s=0.0, **options):
    lines = compile_route_lines(two_way(), along(), OFFSETS).lines
    agents = at(constant_velocity(states, OBSERVED), slice(STEPS + 1))
    corridor = in_corridor(lines, lines.rows(s, s + 120.0), CAR.width / 2.0, agents, HELD)
    none = np.zeros((3, 0)), np.zeros((3, 0))
    start = np.full(3, s)
    return roll_out(
        lines, start, speed, targets, corridor, closed or none, CAR, IdmPolicy(), **options
    )


def test_free_proposals_reach_their_speeds_beside_the_centreline():
    made = proposals_of(NOBODY_THERE, 5.0)
    assert made.poses.shape == (15, STEPS + 1, 3) and len(NAMES) == 15
    np.testing.assert_allclose(made.poses[:, :, 1], np.repeat(OFFSETS, 5)[:, None] * np.ones(41))
    slow = made.speed[::5, -1]
    np.testing.assert_allclose(slow, 0.2 * LIMIT, rtol=0.05)
    fast = made.speed[4::5, -1]
    assert (fast > 9.5).all() and (fast < 5.0 + 1.5 * 4.0).all()
    assert (made.leader == NOBODY).all()


def test_roll_out_is_idm_behind_the_nearest_box_by_hand():
    """One proposal, step by step with the geometry functions of the ground floor."""
    states = users((25.0, 0.2, 0.1, 4.0), (45.0, 0.0, 0.0, 1.0))
    made = proposals_of(states, 9.0, targets=np.array([12.0]))
    policy, s, v, end, speed = IdmPolicy(), 0.0, 9.0, 0.0, 0.0
    for k in range(1, STEPS + 1):
        if k == 1 or k % 2 == 0:
            time = k // HELD * HELD * DT
            x, y = states.x + states.vx * time, states.y + states.vy * time
            theirs = box_corners(x, y, states.heading, states.length, states.width)
            zero = np.zeros(1)
            mine = box_corners(zero + s + CAR.centre_offset, zero, zero, CAR.length, CAR.width)
            gap = box_distance(mine, theirs)
            gap[x <= s] = np.inf
            first = int(gap.argmin())
            end, speed = s + gap[first], states.speed[first] * np.cos(states.heading[first])
        a = policy.accelerate(*(np.array(value) for value in (v, 12.0, end - s, speed)))
        s, v = s + v * DT, max(v + float(a) * DT, 0.0)
        assert made.poses[0, k, 0] == pytest.approx(s, abs=1e-6)
        assert made.speed[0, k] == pytest.approx(v, abs=1e-6)
    assert made.leader[0, 1] == 0


def test_red_light_is_a_standing_obstacle_until_the_ego_is_past_its_middle():
    closed = np.full((3, 1), 40.0), np.full((3, 1), 60.0)
    before = proposals_of(NOBODY_THERE, 8.0, closed, s=5.0)
    assert (before.leader[:, 1:] == LIGHT).all()
    assert (before.poses[:, :, 0] + FRONT < 40.0).all()
    behind = proposals_of(NOBODY_THERE, 8.0, closed, s=51.0)
    assert (behind.leader == NOBODY).all()


def test_the_published_first_step_brakes_for_nobody():
    ours = proposals_of(NOBODY_THERE, 8.0)
    published = proposals_of(NOBODY_THERE, 8.0, published_first_step=True)
    np.testing.assert_allclose(published.speed[:, 1], 8.0 - 3.0 * DT)
    assert (ours.speed[4::5, 1] > 8.0).all()


# --- scores -------------------------------------------------------------------------------------


def judged(states: AgentStates, start: np.ndarray, poses: np.ndarray):
    route = compile_route_lines(two_way(), along(), OFFSETS)
    simulated = simulate_proposals(start, poses, CAR, true_differences=True)
    agents = constant_velocity(states, OBSERVED)
    centreline = route.lines.rows(0.0, 120.0)
    areas = route_areas(two_way(), route)
    scene = scene_around(areas, route.lines, centreline, start, agents, CAR, simulated)
    return scene, simulated, score_proposals(scene, simulated)


def test_terms_equal_those_of_the_score_on_the_ground_floor():
    states = both(
        users((32.0, 0.0, 0.0, 2.0), (60.0, 3.5, np.pi, 9.0), (18.0, -1.9, 0.0, 0.0)),
        users((25.0, -6.0, np.pi / 2, 1.5), kind=AgentKind.PEDESTRIAN, length=0.5, width=0.5),
    )
    start = np.zeros(len(State))
    start[State.SPEED], start[State.X] = 9.0, 5.0
    time = np.arange(STEPS + 1) * DT
    rng = np.random.default_rng(1)
    poses = np.zeros((40, STEPS + 1, 3))
    poses[..., 0] = 5.0 + rng.uniform(0.0, 14.0, (40, 1)) * time
    side = rng.uniform(-3.0, 5.0, (40, 1)) * (time / 4.0) ** 2
    poses[..., 1] = side
    poses[..., 2] = np.arctan2(np.gradient(side, axis=1), np.gradient(poses[..., 0], axis=1))
    scene, simulated, mine = judged(states, start, poses)
    theirs = pdm_scores_v1(scene, simulated, true_bearing=True)
    np.testing.assert_array_equal(mine.no_collision, theirs.no_at_fault_collisions)
    np.testing.assert_array_equal(mine.first_at_fault, theirs.first_at_fault)
    np.testing.assert_array_equal(mine.drivable_area, theirs.drivable_area_compliance)
    np.testing.assert_array_equal(mine.time_to_collision, theirs.time_to_collision)
    np.testing.assert_array_equal(mine.comfort, theirs.comfort)
    for term in (mine.no_collision, mine.drivable_area, mine.time_to_collision):
        assert 0.0 < term.mean() < 1.0  # the cases above do tell something
    gate = mine.no_collision * mine.drivable_area * mine.driving_direction
    progress = theirs.progress_raw * gate
    np.testing.assert_allclose(mine.progress, progress / progress.max())
    weighted = 5.0 * mine.progress + 5.0 * mine.time_to_collision + 2.0 * mine.comfort
    np.testing.assert_allclose(mine.score, gate * weighted / 12.0)


def test_metres_against_the_traffic_add_up_over_a_stretch():
    centre = np.zeros((4, 41, 2))
    centre[..., 0] = np.arange(41) * 0.4
    oncoming = np.zeros((4, 41), bool)
    oncoming[1, 5:9] = True  # 1.6 m
    oncoming[2, 5:15] = True  # 4 m
    oncoming[2, 20:30] = True  # and once more, which is another stretch
    oncoming[3, 5:25] = True  # 8 m
    assert driving_direction(centre, oncoming).tolist() == [1.0, 1.0, 0.5, 0.0]


def test_standing_where_nobody_can_drive_costs_no_progress():
    start = np.zeros(len(State))
    start[State.X] = 10.0
    poses = np.zeros((3, STEPS + 1, 3))
    poses[..., 0] = 10.0
    _, _, scores = judged(NOBODY_THERE, start, poses)
    np.testing.assert_array_equal(scores.progress, 1.0)
    np.testing.assert_array_equal(scores.score, 1.0)


# --- the planner --------------------------------------------------------------------------------


def test_empty_road_is_driven_at_the_limit():
    log = drive(planner(two_way()), NOBODY_THERE, seconds=6.0, speed=10.0)
    assert log[-1, 3] == pytest.approx(LIMIT, abs=0.4)
    assert log[:, 3].max() < LIMIT + 0.01
    assert np.abs(log[:, 1]).max() < 0.1


def test_stops_behind_a_standing_car():
    car = users((60.0, 0.0, 0.0, 0.0))
    made = planner(two_way())
    log = drive(made, car, seconds=11.0, speed=8.0)
    gap = 60.0 - 2.25 - (log[-1, 0] + FRONT)
    assert log[-1, 3] < 0.3
    assert 0.3 < gap < 3.0
    assert made.reason == "following car 1"
    assert made.explanation is not None and made.explanation.limit_id == 1


def test_stops_at_a_red_light():
    road_map = two_way(kind=SignalKind.TRAFFIC_LIGHT, lane=0, s=60.0)
    red = np.array([LightState.RED], np.uint8)
    made = planner(road_map)
    log = drive(made, NOBODY_THERE, seconds=11.0, speed=8.0, lights=red)
    assert log[-1, 3] < 0.3
    assert 57.0 < log[-1, 0] + FRONT < 60.0
    assert made.reason == "red light"


def test_takes_the_line_that_clears_a_car_that_protrudes_a_little():
    """Its side is 0.6 m into the lane's middle metres: 1 m to the left leaves 0.35 m."""
    parked = users((45.0, -1.5, 0.0, 0.0), kind=AgentKind.STATIC)
    made = planner(two_way())
    plan = made.plan(observe(speed=9.0), tracks(parked))
    assert made.explanation is not None
    assert made.explanation.names[made.explanation.chosen].startswith("1 m left")
    assert plan.y[-1] == pytest.approx(1.0, abs=1e-6)
    log = drive(planner(two_way()), parked, seconds=5.0, speed=9.0)
    beside = (log[:, 0] > 38.0) & (log[:, 0] < 50.0)
    assert beside.any() and log[beside, 1].min() > 0.45
    assert log[:, 3].min() > 5.0


@pytest.mark.parametrize(("speed", "brakes"), [(4.0, True), (6.0, False)])
def test_emergency_brake_is_for_low_speeds(speed, brakes):
    """Somebody a metre ahead: every proposal collides by the ego's fault."""
    ahead = users((10.0 + FRONT + 2.25 + 0.6, 0.0, 0.0, 0.0))
    made = planner(two_way())
    plan = made.plan(observe(speed=speed), tracks(ahead))
    assert made.explanation is not None
    assert ("emergency brake" in made.reason) == brakes
    assert made.explanation.terms["no collision"].max() == 0.0
    if brakes:
        stopping = 4.0**2 / (2.0 * 4.05)
        assert plan.x[-1] == pytest.approx(10.0 + stopping, abs=1e-6)
        assert np.diff(plan.speed).min() / DT == pytest.approx(-4.05)


def test_who_was_run_into_is_ignored_from_then_on():
    inside = users((11.5, 0.5, 0.0, 0.0))
    made = planner(two_way())
    made.plan(observe(speed=3.0), tracks(inside))
    assert made.reason == "free"
    later = dataclasses.replace(inside, x=np.array([30.0]))
    made.plan(observe(x=10.3, speed=3.0, step=1), tracks(later))
    assert made.reason == "free"


def test_explanation_shows_what_was_compared():
    made = planner(two_way())
    made.plan(observe(speed=8.0), tracks(users((40.0, 0.0, 0.0, 3.0))))
    shown = made.explanation
    assert shown is not None
    assert len(shown.names) == 15 and shown.xy.shape == (15, 9, 2)
    assert all(value.shape == (15,) for value in shown.terms.values())
    assert all(((value >= 0.0) & (value <= 1.0)).all() for value in shown.terms.values())
    assert shown.chosen == int(shown.score.argmax())
    assert list(shown.weights) == list(shown.terms)
    np.testing.assert_array_equal(shown.xy[:, 0], np.tile([10.0, 0.0], (15, 1)))


def test_same_input_same_bytes_and_forecasts_do_not_matter():
    states = users((30.0, 0.3, 0.1, 3.0), (50.0, 3.5, np.pi, 8.0))
    plans = []
    for _ in range(2):
        made = planner(two_way())
        for step in range(2):
            seen = observe(x=10.0 + 0.8 * step, speed=8.0, step=step)
            plans.append(made.plan(seen, tracks(states), None))
    for a, b in zip(plans[:2], plans[2:], strict=True):
        for name in ("x", "y", "heading", "speed"):
            assert getattr(a, name).tobytes() == getattr(b, name).tobytes()


def test_mistakes_are_one_line():
    refuses_what_cannot_be_driven(PdmClosed)


# --- in the simulator ---------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["lane_following", "lead_vehicle_brake", "red_light"])
def test_drives_in_the_simulator(family):
    last = driven(PdmClosed(), family)
    assert float(last.ego.speed) > 15.0 if family == "lane_following" else last.ego.speed < 3.0
