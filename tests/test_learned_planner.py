"""The learned planner without its network: proposals, what is shown, what answers come to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hand_map import HandLane, HandMap
from hand_map import straight as line_of
from test_controllers import LaggedBicycle
from test_planner import Actor, along, constant, tracks_of, two_way

from planning.learned import LearnedPlanner, likeness
from planning.learned_config import (
    ACCELERATIONS,
    CHANGE,
    MOMENTS,
    OFFSETS,
    PROPOSALS,
    TERMS,
    PlannerConfig,
)
from planning.learned_engine import planner_engine
from planning.learned_inputs import Watched
from planning.learned_proposals import TIMES
from roadloop.errors import RoadloopError
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.types import LightState, Route, Scenario

CONFIG = PlannerConfig(width=8, heads=2, layers=1, pair=4, agents=5, marks=6)
HOLD = ACCELERATIONS.index(0.0)


def liking(*rows: int):
    """A network that likes these proposals, all the same, and expects no harm."""
    logit = np.full(PROPOSALS, -30.0)
    logit[list(rows)] = 0.0
    return lambda inputs: {"logit": logit, "terms": np.full((PROPOSALS, len(TERMS)), 20.0)}


def ready(road_map: RoadMap, route: Route, engine=None) -> LearnedPlanner:
    unused = dict.fromkeys(f.name for f in dataclasses.fields(Scenario))
    planner = LearnedPlanner(engine or liking(HOLD), CONFIG)
    planner.reset(Scenario(**(unused | {"road_map": road_map, "route": route})))
    return planner


def seen(x=50.0, y=0.0, speed=8.0, heading=0.0, step=0, lights=8, **more):
    car = LaggedBicycle(x=x, y=y, speed=speed, heading=heading, **more)
    return dataclasses.replace(car.observe(step), lights=np.zeros(lights, np.uint8))


NOBODY = tracks_of([], 0.0)


def same(some: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> None:
    """Equal but for headings that are half a turn either way."""
    for name, values in some.items():
        other = others[name]
        if name == "futures":
            values, other = (
                np.concatenate([v[..., :2], np.cos(v[..., 2:3]), v[..., 3:]], -1)
                for v in (values, other)
            )
        np.testing.assert_allclose(other, values, atol=2e-3, err_msg=name)


# --- proposals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("speed", [0.0, 3.0, 13.0])
def test_proposals_are_motions_a_car_can_drive(speed):
    look = ready(two_way(), along()).look(seen(speed=speed), NOBODY)
    p = look.proposals
    step = TIMES[1] - TIMES[0]
    assert (np.diff(p.s, axis=1) >= -1e-9).all()
    assert (p.v >= 0.0).all() and (p.v <= 13.9 + 0.3).all()
    # what is driven is the integral of the speed, but in the step in which it comes to rest
    moving = p.v[:, 1:] > 0.0
    mean = 0.5 * (p.v[:, 1:] + p.v[:, :-1]) * step
    np.testing.assert_allclose(np.diff(p.s, axis=1)[moving], mean[moving], atol=1e-9)
    gentle = p.valid & ~p.stops & (np.abs(p.pull) < 2.0)
    jerk = np.abs(np.diff(p.a[gentle], axis=1)) / step
    assert jerk[p.v[gentle][:, 1:] > 0.0].max() < 4.2


def test_more_acceleration_gets_further_and_offsets_are_reached():
    look = ready(two_way(), along()).look(seen(speed=8.0), NOBODY)
    p, count = look.proposals, len(ACCELERATIONS)
    assert (np.diff(p.s[:count, -1]) > 0.5).all()
    for aim, offset in enumerate(OFFSETS):
        row = aim * count + HOLD
        assert p.d[row, -1] == pytest.approx(offset, abs=1e-6)
        assert p.slope[row, -1] == pytest.approx(0.0, abs=1e-6)
    assert not p.valid[p.aim == CHANGE].any()  # the route changes no lane


def test_stops_stand_before_a_line_and_behind_somebody():
    road_map = two_way(kind=SignalKind.STOP, lane=0, s=100.0)
    planner = ready(road_map, along())
    look = planner.look(seen(x=76.0, speed=8.0), tracks_of([Actor(constant(99.0, 0.0))], 0.0))
    p = look.proposals
    # m along the route count from x = 10
    front = 10.0 + p.s[:, -1] + look.start.front - look.start.s
    stops = np.flatnonzero(p.stops & p.valid)
    assert np.isclose(front[stops], 99.0, atol=0.6).any()
    assert front[-1] == pytest.approx(99.0 - 2.25 - 3.0, abs=0.4)  # 3 m behind its rear end


def test_a_late_stop_brakes_as_hard_as_it_must():
    look = ready(two_way(), along()).look(
        seen(x=60.0, speed=10.0), tracks_of([Actor(constant(82.0, 0.0))], 0.0)
    )
    p = look.proposals
    room = 82.0 - 2.25 - 3.0 - (look.start.front + 10.0)
    needed = 10.0**2 / (2.0 * room)
    assert p.a[-1].min() < -0.95 * needed
    assert p.v[-1, -1] == 0.0
    assert p.s[-1, -1] - p.s[-1, 0] < room + 1.0


def test_lane_changes_are_proposed_where_the_route_has_one():
    lanes = [
        HandLane(line_of((0.0, 0.0), (300.0, 0.0)), left=1),
        HandLane(line_of((0.0, 3.5), (300.0, 3.5)), number=-2, right=0),
    ]
    planner = ready(HandMap(lanes).build(), Route(np.array([0, 1], np.int32), 10.0, 250.0))
    guide = planner.guide
    start = float(guide._changes.start[0])
    assert not planner.look(seen(x=10.0), NOBODY).proposals.valid[CHANGE * 9 + HOLD]
    x = start + 20.0
    planner = ready(HandMap(lanes).build(), Route(np.array([0, 1], np.int32), x - 10.0, 250.0))
    start = float(planner.guide._changes.start[0])
    look = planner.look(seen(x=max(start + 12.0, x)), NOBODY)
    p = look.proposals
    if p.valid[CHANGE * 9 + HOLD]:
        left = look.arrays["poses"][[HOLD, CHANGE * 9 + HOLD], -1, 1]
        assert left[0] == pytest.approx(0.0, abs=0.05)
        assert left[1] > 2.0


# --- what is shown ------------------------------------------------------------------------------


def test_shapes_are_those_of_the_configuration_and_numbers_are_moderate():
    actors = [Actor(constant(80.0, 0.0, 5.0)), Actor(constant(110.0, 3.5, -9.0))]
    look = ready(two_way(), along()).look(seen(), tracks_of(actors, 0.0))
    assert {k: v.shape for k, v in look.arrays.items()} == CONFIG.inputs()
    for name in ("ego", "route", "marks", "agents", "proposals"):
        assert np.abs(look.arrays[name]).max() < 10.0, name
    assert look.arrays["agent_valid"].sum() == 2.0
    ahead = look.arrays["futures"][0]  # 5 m/s, from 30 m ahead
    np.testing.assert_allclose(ahead[:, 0], 30.0 + 5.0 * MOMENTS, atol=1e-4)
    np.testing.assert_allclose(ahead[:, 1], 0.0, atol=1e-4)
    assert look.agent_row.tolist() == [0, 1, -1, -1, -1]


def test_the_world_may_be_turned_and_moved():
    """The same scene elsewhere gives the same arrays."""

    def scene(turn: float, dx: float, dy: float) -> dict[str, np.ndarray]:
        c, s = np.cos(turn), np.sin(turn)

        def moved(x, y):
            return c * x - s * y + dx, s * x + c * y + dy

        lanes = [
            HandLane(line_of(moved(0.0, 0.0), moved(400.0, 0.0)), opposite=1),
            HandLane(line_of(moved(400.0, 3.5), moved(0.0, 3.5)), number=1, opposite=0),
        ]
        x, y = moved(50.0, 0.3)
        ax, ay = moved(80.0, 3.0)
        car = Actor(
            lambda t: (ax - 6.0 * c * t, ay - 6.0 * s * t, turn + np.pi, -6.0 * c, -6.0 * s)
        )
        planner = ready(HandMap(lanes).build(), along())
        return planner.look(seen(x=x, y=y, heading=turn), tracks_of([car], 0.0)).arrays

    same(scene(0.0, 0.0, 0.0), scene(2.0, 300.0, -120.0))


def test_left_hand_traffic_is_shown_mirrored():
    def scene(side: float) -> dict[str, np.ndarray]:
        lanes = [
            HandLane(line_of((0.0, 0.0), (400.0, 0.0)), opposite=1),
            HandLane(line_of((400.0, side * 3.5), (0.0, side * 3.5)), number=1, opposite=0),
        ]
        planner = ready(HandMap(lanes, left_hand=side < 0).build(), along())
        car = Actor(constant(80.0, side * 3.0, -6.0))
        return planner.look(seen(y=side * 0.3), tracks_of([car], 0.0)).arrays

    same(scene(1.0), scene(-1.0))


def test_a_map_may_have_no_signals_at_all():
    planner = ready(two_way(), along(goal=120.0))
    arrays = planner.look(seen(lights=0), NOBODY).arrays  # the goal is a mark
    assert arrays["mark_valid"].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_a_light_is_shown_by_its_state_and_a_served_stop_as_served():
    road_map = two_way(kind=SignalKind.TRAFFIC_LIGHT, lane=0, s=100.0)
    planner = ready(road_map, along())
    rows = []
    for state in (LightState.RED, LightState.GREEN):
        lights = np.array([state], np.uint8)
        arrays = planner.look(dataclasses.replace(seen(), lights=lights), NOBODY).arrays
        rows.append(arrays["marks"][0])
    changed = np.flatnonzero(rows[0] != rows[1])
    assert sorted((rows[0] - rows[1])[changed]) == [-1.0, 1.0]
    planner = ready(two_way(kind=SignalKind.STOP, lane=0, s=100.0), along())
    rolling = planner.look(seen(x=94.0, speed=3.0), NOBODY).arrays["marks"][0]
    planner.look(seen(x=95.0, speed=0.0), NOBODY)
    again = planner.look(seen(x=94.0, speed=3.0), NOBODY).arrays["marks"][0]
    assert ((again - rolling) == 1.0).sum() == 1


def test_watched_knows_where_somebody_was_and_how_long_it_stands():
    watched = Watched()
    moved = stood = np.zeros(0)
    for k in range(21):
        states = tracks_of(
            [Actor(constant(0.0, 0.0, 4.0)), Actor(constant(9.0, 1.0))], 0.1 * k
        ).states
        moved, stood = watched.update(states, 0.1 * k)
    np.testing.assert_allclose(moved[0, :, 0], [2.0, 4.0, 6.0], atol=1e-9)
    np.testing.assert_allclose(moved[1], 0.0)
    np.testing.assert_allclose(stood, [0.0, 2.0], atol=1e-9)


# --- what answers come to -----------------------------------------------------------------------


def test_the_plan_is_the_proposal_that_is_liked():
    planner = ready(two_way(), along(), liking(OFFSETS.index(1.6) * len(ACCELERATIONS) + HOLD))
    plan = planner.plan(seen(speed=8.0), NOBODY)
    assert plan.x.shape == (51,)
    np.testing.assert_allclose(plan.speed, 8.0, atol=1e-9)
    np.testing.assert_allclose(plan.x, 50.0 + 8.0 * 0.1 * np.arange(51), atol=0.2)
    assert plan.y[-1] == pytest.approx(1.6, abs=1e-3)
    why = planner.explanation
    assert why is not None and why.names[why.chosen] == "1.6 m left, hold speed"
    assert why.xy.shape == (len(why.names), 10, 2)
    assert set(why.terms) == set(TERMS)
    assert why.score.sum() == pytest.approx(1.0)


def test_neighbours_are_averaged_and_others_are_not():
    count = len(ACCELERATIONS)
    half = ready(two_way(), along(), liking(HOLD, HOLD + 1)).plan(seen(speed=6.0), NOBODY)
    hold, rise = (
        ready(two_way(), along(), liking(k)).plan(seen(speed=6.0), NOBODY) for k in (HOLD, HOLD + 1)
    )
    np.testing.assert_allclose(half.speed, 0.5 * (hold.speed + rise.speed), atol=1e-6)
    far = ready(two_way(), along(), liking(HOLD, 5 * count + HOLD)).plan(seen(speed=6.0), NOBODY)
    np.testing.assert_allclose(far.speed, hold.speed, atol=1e-6)
    assert np.abs(far.y).max() < 1e-6 or far.y[-1] == pytest.approx(3.2, abs=1e-3)


def test_standing_and_going_are_not_averaged_to_creeping():
    def network(inputs):
        logit = np.full(PROPOSALS, -30.0)
        logit[HOLD], logit[HOLD + 1] = 0.1, 0.0
        return {"logit": logit, "terms": np.full((PROPOSALS, len(TERMS)), 20.0)}

    plan = ready(two_way(), along(), network).plan(seen(speed=0.0), NOBODY)
    np.testing.assert_allclose(plan.speed, 0.0)


def test_what_is_expected_to_collide_is_avoided():
    def network(inputs):
        terms = np.full((PROPOSALS, len(TERMS)), 20.0)
        terms[HOLD, TERMS.index("no collision")] = -20.0
        logit = np.full(PROPOSALS, -30.0)
        logit[HOLD], logit[1] = 1.0, 0.0
        return {"logit": logit, "terms": terms}

    planner = ready(two_way(), along(), network)
    plan = planner.plan(seen(speed=8.0), tracks_of([Actor(constant(75.0, 0.0))], 0.0))
    assert plan.speed[-1] == 0.0
    why = planner.explanation
    assert why is not None and why.limit_id in (1, -1)


def test_sideways_motion_goes_on_where_the_plan_was():
    planner = ready(two_way(), along(), liking(OFFSETS.index(2.4) * len(ACCELERATIONS) + HOLD))
    y = [0.0]
    x = 50.0
    for k in range(40):  # a car that follows its plans exactly
        ego = seen(x=x, y=y[-1], speed=5.0, step=k)
        slope = 0.0 if len(y) < 2 else (y[-1] - y[-2]) / 0.5
        ego = dataclasses.replace(
            ego, ego=dataclasses.replace(ego.ego, heading=np.asarray(np.arctan(slope)))
        )
        plan = planner.plan(ego, NOBODY)
        assert np.abs(plan.y[0] - y[-1]) < 0.05
        x, y = float(plan.x[1]), [*y, float(plan.y[1])]
    assert y[-1] == pytest.approx(2.4, abs=0.1)
    assert np.abs(np.diff(y, 2)).max() < 0.05  # no jerk from one plan to the next


def test_likeness_is_zero_for_the_same_and_grows():
    s, d = 5.0 * MOMENTS, 0.0 * MOMENTS
    assert likeness(s, d, s, d) == 0.0
    small, large = (likeness(s + 0.5 * a * MOMENTS**2, d, s, d) for a in (0.3, 0.6))
    assert 0.3 < small < 2.0 and large == pytest.approx(4.0 * small)


# --- mistakes -----------------------------------------------------------------------------------


def test_mistakes_are_said_in_one_line(tmp_path):
    planner = LearnedPlanner(liking(HOLD), CONFIG)
    with pytest.raises(RoadloopError, match=r"call reset\(scenario\) first"):
        planner.plan(seen(), NOBODY)
    planner = ready(two_way(kind=SignalKind.TRAFFIC_LIGHT, lane=0, s=100.0), along())
    with pytest.raises(RoadloopError, match="holds no lights"):
        planner.plan(dataclasses.replace(seen(), lights=None), NOBODY)
    with pytest.raises(RoadloopError, match="no learned planner at"):
        planner_engine(tmp_path)
    (tmp_path / "planner.onnx").write_bytes(b"nonsense")
    with pytest.raises(RoadloopError, match="cannot be run by ONNX Runtime"):
        planner_engine(tmp_path)
    with pytest.raises(RoadloopError, match="no multiple of heads"):
        PlannerConfig(width=10, heads=4)
