"""NAVSIM's scores on scenes drawn by hand: what must not change them, what must, bad input."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hand_map import HandLane, HandMap, HandSign, straight
from hypothesis import given, settings
from hypothesis import strategies as st

from roadloop.errors import RoadloopError
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.scoring import navsim_comfort as comfort
from roadloop.scoring.navsim import pdm_score, pdm_scores_v1, pdm_scores_v2
from roadloop.scoring.navsim_aggregate import Stages, follow_up_weights, two_stage_scores
from roadloop.scoring.navsim_scene import (
    OBSERVED,
    PAST_TIMES,
    STEPS,
    PdmScene,
    past_states,
    pdm_scene,
    reference_poses,
    without_overlapping_agents,
)
from roadloop.scoring.navsim_scores import PdmScoresV2, forgive_human, proposal_score
from roadloop.scoring.pdm_tracker import State, curvature_profile, simulate_proposals, speed_profile
from roadloop.types import (
    AgentKind,
    AgentStates,
    Control,
    EgoState,
    LightState,
    Rollout,
    Route,
    VehicleParameters,
)

LANE = 3.5
SPEED = 8.0
TIME = np.arange(STEPS) * 0.1
POSE = [State.X, State.Y, State.HEADING]

# --- a road along +x: the ego's lane below y = 0, one against it above, a junction 25 to 45 m ----


def objects(*items: object) -> np.ndarray:
    column = np.empty(len(items), dtype=object)
    column[:] = items
    return column


def agents(*given: tuple[AgentKind, float, float, float, float]) -> AgentStates:
    """Kind, x, y, heading, speed each; they drive straight on for 5 s."""
    kind, x, y, heading, speed = (np.array(column) for column in zip(*given)) if given else (
        np.zeros((5, 0))
    )  # fmt: skip
    time = np.arange(OBSERVED)[:, None] * 0.1
    shape = (OBSERVED, len(given))
    vx, vy = speed * np.cos(heading), speed * np.sin(heading)
    car = kind == AgentKind.CAR
    return AgentStates(
        id=np.broadcast_to(np.arange(len(given)), shape),
        kind=np.broadcast_to(kind.astype(np.uint8), shape),
        x=x + vx * time, y=y + vy * time, z=np.zeros(shape),
        heading=np.broadcast_to(heading, shape),
        vx=np.broadcast_to(vx, shape), vy=np.broadcast_to(vy, shape),
        length=np.broadcast_to(np.where(car, 4.6, 0.6), shape),
        width=np.broadcast_to(np.where(car, 1.9, 0.6), shape),
        height=np.ones(shape), valid=np.ones(shape, dtype=bool),
    )  # fmt: skip


def scene(*given: tuple, speed: float = SPEED, red: bool = False, past: bool = True) -> PdmScene:
    import shapely

    ends = ((-60.0, 25.0), (25.0, 45.0), (45.0, 150.0))
    lanes = [shapely.box(a, y, b, y + LANE) for a, b in ends for y in (-LANE, 0.0)]
    across = shapely.box(30.0, -40.0, 33.5, 40.0)
    reds = np.zeros((OBSERVED, 7), dtype=bool)
    reds[:, 2] = red
    start = np.zeros(11)
    start[[State.Y, State.SPEED]] = -LANE / 2.0, speed
    before = np.tile(start, (len(PAST_TIMES), 1))
    before[:, State.X] = speed * PAST_TIMES
    return PdmScene(
        lane_polygon=objects(*lanes, across),
        lane_on_route=np.array([True, False, True, False, True, False, False]),
        drivable=objects(
            shapely.box(-60.0, -LANE, 25.0, LANE), shapely.box(45.0, -LANE, 150.0, LANE),
            shapely.box(25.0, -20.0, 45.0, 20.0),
        ),
        intersections=objects(shapely.box(25.0, -20.0, 45.0, 20.0)),
        centreline=np.array([[-60.0, -LANE / 2.0], [40.0, -LANE / 2.0], [150.0, -LANE / 2.0]]),
        start=start,
        agents=agents(*given),
        red=reds,
        past=before if past else None,
    )  # fmt: skip


def ahead(speed: float = SPEED, to_left: float = 0.0) -> np.ndarray:
    """(41, 3) straight on from the scene's start at a constant speed, shifted to the left."""
    share = TIME / TIME[-1]
    blend = share**3 * (10.0 - 15.0 * share + 6.0 * share**2)
    y = to_left * blend - LANE / 2.0
    x = speed * TIME
    heading = np.arctan2(np.gradient(y), np.gradient(x)) if to_left else np.zeros(STEPS)
    return np.column_stack([x, y, heading])


def braking(speed: float = SPEED, rate: float = 2.0) -> np.ndarray:
    x = np.where(speed / rate > TIME, speed * TIME - rate * TIME**2 / 2.0, speed**2 / rate / 2.0)
    return np.column_stack([x, np.full(STEPS, -LANE / 2.0), np.zeros(STEPS)])


def both(of: PdmScene, *proposals: np.ndarray, **switches: bool) -> tuple:
    states = simulate_proposals(of.start, np.stack(proposals), of.vehicle)
    return pdm_scores_v1(of, states, **switches), pdm_scores_v2(of, states, **switches)


def moved(of: PdmScene, proposals: np.ndarray, dx: float, dy: float, turn: float, mirror: bool):
    """Scene and proposals mirrored at the x axis where wanted, turned about 0, then shifted."""
    import shapely

    side = -1.0 if mirror else 1.0
    cos, sin = np.cos(turn), np.sin(turn)
    turned = np.array([[cos, -sin], [sin, cos]]) @ np.diag([1.0, side])

    def points(xy: np.ndarray) -> np.ndarray:
        return xy @ turned.T + (dx, dy)

    def polygons(column: np.ndarray) -> np.ndarray:
        return objects(*shapely.transform(column, points))

    def rows(states: np.ndarray) -> np.ndarray:
        out = states.copy()
        out[..., :2] = points(states[..., :2])
        out[..., 2] = side * states[..., 2] + turn
        if states.shape[-1] == len(State):
            signed = [c for c in State if c.name.startswith(("LATERAL", "STEERING", "YAW"))]
            out[..., signed] *= side
        return out

    a = of.agents
    xy, v = points(np.stack([a.x, a.y], -1)), np.stack([a.vx, a.vy], -1) @ turned.T
    users = replace(
        a, x=xy[..., 0], y=xy[..., 1], heading=side * a.heading + turn, vx=v[..., 0], vy=v[..., 1]
    )
    other = replace(
        of, lane_polygon=polygons(of.lane_polygon), drivable=polygons(of.drivable),
        intersections=polygons(of.intersections), centreline=points(of.centreline),
        start=rows(of.start), agents=users, past=None if of.past is None else rows(of.past),
    )  # fmt: skip
    return other, rows(proposals)


def assert_same(ours, theirs) -> None:
    for f in fields(ours):
        mine, other = getattr(ours, f.name), getattr(theirs, f.name)
        if isinstance(mine, np.ndarray):
            np.testing.assert_allclose(mine, other, rtol=0.0, atol=1e-7, err_msg=f.name)


BUSY = (
    (AgentKind.CAR, 27.0, -LANE / 2.0, 0.03, 2.0),
    (AgentKind.CAR, 35.0, LANE / 2.0, 3.1, 6.0),
    (AgentKind.PEDESTRIAN, 12.0, -6.0, 1.5, 1.2),
    (AgentKind.STATIC, 18.0, -0.3, 0.4, 0.0),
)


def many(count: int, seed: int) -> np.ndarray:
    """Proposals of all sorts, off the lines on which corners would just touch borders."""
    rng = np.random.default_rng(seed)
    return np.stack(
        [ahead(rng.uniform(0.5, 1.4) * SPEED, rng.uniform(-5.0, 5.0)) for _ in range(count)]
    )


# --- what changes nothing -----------------------------------------------------------------------


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    dx=st.floats(-3000.0, 3000.0), dy=st.floats(-3000.0, 3000.0), turn=st.floats(-3.1, 3.1),
    mirror=st.booleans(), seed=st.integers(0, 100),
)  # fmt: skip
def test_scores_do_not_depend_on_where_the_scene_lies(dx, dy, turn, mirror, seed):
    here, proposals = scene(*BUSY, red=seed % 2 == 0), many(12, seed)
    there, others = moved(here, proposals, dx, dy, turn, mirror)
    states = simulate_proposals(here.start, proposals)
    other = simulate_proposals(there.start, others)
    assert_same(pdm_scores_v1(here, states), pdm_scores_v1(there, other))
    # the reference's acceleration at the centre knows left from right, rigid-body kinematics do not
    for rigid in (True,) if mirror else (True, False):
        ours = pdm_scores_v2(here, states, rigid_body_centre=rigid)
        assert_same(ours, pdm_scores_v2(there, other, rigid_body_centre=rigid))


def test_mirrored_proposals_are_driven_mirrored():
    here, proposals = scene(), many(12, 1)
    there, others = moved(here, proposals, 0.0, 0.0, 0.0, mirror=True)
    mine = simulate_proposals(here.start, proposals)
    other = simulate_proposals(there.start, others)
    np.testing.assert_allclose(other[..., State.Y], -mine[..., State.Y], atol=1e-12)
    np.testing.assert_allclose(other[..., State.STEERING], -mine[..., State.STEERING], atol=1e-12)


def test_a_car_far_away_changes_nothing():
    proposals = many(12, 2)
    far = (AgentKind.CAR, 500.0, 500.0, 1.0, 10.0)
    for mine, other in zip(both(scene(*BUSY), *proposals), both(scene(*BUSY, far), *proposals)):
        assert_same(mine, other)


def test_a_proposal_is_judged_the_same_alone_and_among_many():
    here, proposals = scene(*BUSY), many(300, 3)  # more than are worked on at a time
    together = both(here, *proposals)
    for k in (0, 17, 299):
        for mine, alone in zip(together, both(here, proposals[k])):
            for f in fields(mine):
                value = getattr(mine, f.name)
                if f.name not in ("ego_progress", "score") and isinstance(value, np.ndarray):
                    assert np.array_equal(value[k], getattr(alone, f.name)[0]), f.name


def test_agents_that_are_not_valid_are_not_there():
    here = scene((AgentKind.CAR, 20.0, -LANE / 2.0, 0.0, 0.0))
    gone = replace(here.agents, valid=np.zeros_like(here.agents.valid), x=here.agents.x * np.nan)
    for scores in both(replace(here, agents=gone), ahead()):
        assert scores.no_at_fault_collisions[0] == scores.time_to_collision[0] == 1.0


# --- single terms -------------------------------------------------------------------------------


def test_the_free_road_is_perfect():
    v1, v2 = both(scene(), ahead())
    assert v1.score[0] == v2.score[0] == 1.0
    assert v2.progress_raw[0] == pytest.approx(4.0 * SPEED, abs=0.2)


def test_through_a_standing_car():
    standing = (AgentKind.CAR, 28.0, -LANE / 2.0, 0.0, 0.0)
    v1, v2 = both(scene(standing), braking(rate=4.0), ahead())
    for scores in (v1, v2):
        assert scores.no_at_fault_collisions.tolist() == [1.0, 0.0]
        assert scores.score[1] == 0.0
        # the front bumper is 4.05 m before the rear axle, the car's rear 2.3 m behind its centre
        assert scores.first_at_fault[1] == np.ceil((28.0 - 2.3 - 4.049) / SPEED / 0.1)
        assert scores.first_ttc[1] < scores.first_at_fault[1]


def test_into_a_cone_costs_half():
    scores = both(scene((AgentKind.STATIC, 20.0, -LANE / 2.0, 0.0, 0.0)), ahead())[1]
    assert scores.no_at_fault_collisions[0] == 0.5


def test_hit_from_behind_is_not_at_fault():
    for scores in both(scene((AgentKind.CAR, -10.0, -LANE / 2.0, 0.0, 14.0)), ahead()):
        assert scores.no_at_fault_collisions[0] == 1.0
        assert np.isinf(scores.first_at_fault[0])


def test_a_standing_ego_is_never_at_fault():
    crossing = scene((AgentKind.CAR, 3.0, -20.0, np.pi / 2.0, 8.0), speed=0.0)
    scores = both(crossing, ahead(0.0))[1]
    assert scores.no_at_fault_collisions[0] == scores.time_to_collision[0] == 1.0


def test_whether_a_car_stands_is_told_when_first_seen():
    """The ego's flank, within its lane, touches a car that moved at first and stands now."""
    here = scene((AgentKind.CAR, 0.46, 0.55, 0.0, 0.0))
    vx = here.agents.vx.copy()
    vx[0] = 1.0
    here = replace(here, agents=replace(here.agents, vx=vx))
    states = np.tile(here.start, (1, STEPS, 1))
    states[0, :, State.SPEED] = 1.0
    states[0, 20:, State.Y] += 0.3
    of_then = pdm_scores_v2(here, states)
    of_now = pdm_scores_v2(here, states, present_speed=True)
    assert of_then.no_at_fault_collisions[0] == 1.0
    assert of_now.no_at_fault_collisions[0] == 0.0
    assert of_now.first_at_fault[0] == 20.0
    assert of_now.version != of_then.version


def test_what_is_exactly_in_line_may_be_neither_ahead_nor_behind():
    """From all around towards a standing car: the reference's arc cosine is undefined for some."""
    import shapely

    here = scene((AgentKind.CAR, 30.3, -57.1, 0.4, 0.0))
    everywhere = objects(shapely.box(-100.0, -150.0, 150.0, 50.0))
    here = replace(
        here, lane_polygon=everywhere, lane_on_route=np.ones(1, bool), drivable=everywhere,
        intersections=objects(), red=np.zeros((OBSERVED, 1), bool),
    )  # fmt: skip
    heading = np.linspace(-np.pi, np.pi, 500, endpoint=False)[:, None]
    states = np.zeros((500, STEPS, len(State)))
    states[..., State.X] = 30.3 - 10.0 * np.cos(heading)
    states[..., State.Y] = -57.1 - 10.0 * np.sin(heading)
    states[..., State.HEADING], states[..., State.SPEED] = heading, 10.0
    for score in (pdm_scores_v1, pdm_scores_v2):
        assert not score(here, states, true_bearing=True).time_to_collision.any()
        missed = score(here, states).time_to_collision
        assert 0.01 < missed.mean() < 0.2


def test_off_the_road():
    scores = both(scene(), ahead(to_left=-3.0), ahead())[1]
    assert scores.drivable_area_compliance.tolist() == [0.0, 1.0]
    assert scores.score[0] == 0.0


def test_against_the_traffic():
    """Metres beside the route within a second: none, some, many; v2 excuses the junction."""
    here = scene()
    y = np.array([-LANE / 2.0, LANE / 2.0])[:, None]
    for speed, expected in ((1.7, 1.0), (4.0, 0.5), (SPEED, 0.0)):
        states = np.zeros((2, STEPS, len(State)))
        states[..., State.X], states[..., State.Y] = speed * TIME - 20.0, y
        states[..., State.SPEED] = speed
        assert pdm_scores_v2(here, states).driving_direction_compliance.tolist() == [1.0, expected]
        states[..., State.X] += 45.6 - speed * TIME * 0.6  # within the junction all the time
        states[..., State.SPEED] *= 0.4
        assert pdm_scores_v2(here, states).driving_direction_compliance.tolist() == [1.0, 1.0]


def test_a_red_light_counts_on_the_route_only():
    green, red = both(scene(), ahead())[1], both(scene(red=True), ahead(), braking())[1]
    assert green.traffic_light_compliance.tolist() == [1.0]
    assert red.traffic_light_compliance.tolist() == [0.0, 1.0]
    beside = scene(red=True)
    beside = replace(beside, red=np.roll(beside.red, 1, axis=1))
    assert both(beside, ahead())[1].traffic_light_compliance.tolist() == [1.0]


def test_standing_still_makes_no_progress():
    moving, standing = both(scene(), ahead(), np.tile(ahead()[:1], (STEPS, 1)))[1].ego_progress
    assert moving == 1.0
    assert standing < 0.3  # it takes a while to stop from 8 m/s ...
    still = scene(speed=0.0)
    states = np.stack([np.tile(still.start, (STEPS, 1))] * 2)
    states[1, :, State.X] = SPEED * TIME
    for score in (pdm_scores_v1, pdm_scores_v2):
        assert score(still, states).ego_progress.tolist() == [0.0, 1.0]  # ... and none when stopped
        assert score(still, states[:1]).ego_progress.tolist() == [1.0]  # nobody gets anywhere


def test_progress_is_held_against_the_best_or_the_first():
    here = scene()
    proposals = ahead(4.0), ahead(6.0), ahead(SPEED)
    joint, pairs = both(here, *proposals)[1], both(here, *proposals, pairwise=True)[1]
    raw = joint.progress_raw
    np.testing.assert_allclose(joint.ego_progress, raw / raw.max())
    assert pairs.ego_progress.tolist() == [1.0, 1.0, 1.0]
    pairs = both(here, *proposals[::-1], pairwise=True)[1]
    np.testing.assert_allclose(pairs.ego_progress, raw[::-1] / raw.max())


def test_lane_keeping_takes_two_seconds_outside_junctions():
    """0.6 m beside the centreline: 19 steps are kept, 20 not, those in the junction skipped."""
    here = scene()
    for before, after, expected in ((19, 0, 1.0), (20, 0, 0.0), (10, 9, 1.0), (10, 10, 0.0)):
        states = np.tile(here.start, (1, STEPS, 1))
        off = np.zeros(STEPS, dtype=bool)
        junction = np.zeros(STEPS, dtype=bool)
        off[1 : 1 + before] = True
        junction[1 + before : 6 + before] = after > 0
        off[6 + before : 6 + before + after] = True
        states[0, off, State.Y] += 0.6
        states[0, junction, State.X] = 30.0
        assert pdm_scores_v2(here, states).lane_keeping.tolist() == [expected], (before, after)


def test_a_jerk_in_the_past_is_uncomfortable_too():
    here = scene()
    assert here.past is not None
    past = here.past.copy()
    past[3:9, State.ACCELERATION] = -8.0
    assert both(here, ahead())[1].history_comfort[0] == 1.0
    assert both(replace(here, past=past), ahead())[1].history_comfort[0] == 0.0
    assert both(replace(here, past=None), ahead())[1].history_comfort[0] == 1.0


def test_comfort_signals_are_rounded_before_the_next_is_taken():
    states = np.zeros((STEPS, len(State)))
    states[:, State.ACCELERATION] = 4.9e-9 * np.sin(np.pi * TIME)
    for signals in (comfort.comfort_signals_v2(states, 1.461), comfort.comfort_signals_v1(states)):
        assert not signals.any()  # a jerk of 1.5e-8 is of an acceleration that rounds to 0


def test_batched_comfort_is_that_of_each():
    states = simulate_proposals(scene().start, many(5, 4))
    together = comfort.comfort_signals_v2(states, 1.461)
    for one, signals in zip(states, together):
        np.testing.assert_array_equal(comfort.comfort_signals_v2(one, 1.461), signals)


def test_rigid_body_centre_differs_where_the_car_turns_only():
    turning = simulate_proposals(scene().start, np.stack([ahead(), ahead(to_left=3.0)]))
    ours = comfort.comfort_signals_v2(turning, 1.461, rigid_body_centre=True)
    theirs = comfort.comfort_signals_v2(turning, 1.461)
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-9)
    assert np.abs(ours[1] - theirs[1])[:, 1].max() > 0.1


# --- tracker ------------------------------------------------------------------------------------


def test_true_differences_follow_steady_acceleration():
    """Penalising differences leaves a constant acceleration alone, penalising it does not."""
    x = SPEED * TIME + 0.75 * TIME**2
    poses = np.column_stack([x, np.zeros((STEPS, 2))])[None]
    true = SPEED + 1.5 * (TIME[:-1] + 0.05)
    np.testing.assert_allclose(speed_profile(poses, 0.1, true_differences=True)[0], true, atol=1e-3)
    assert np.abs(speed_profile(poses, 0.1)[0] - true).max() > 1e-3


def test_turning_on_the_spot_is_bounded_by_the_penalty_alone():
    """Creeping at v, turning w per step: c = 40 v dt w / (40 (v dt)^2 + penalty)."""
    poses = np.zeros((3, STEPS, 3))
    poses[..., 2] = 0.01 * np.arange(STEPS)
    speed = np.full((3, STEPS - 1), np.array([[1e-9], [1e-7], [1e-5]]))
    step = speed[:, :1] * 0.1
    expected = 40.0 * step * 0.01 / (40.0 * step**2 + 1e-10)
    curvature = curvature_profile(poses, speed, 0.1)
    np.testing.assert_allclose(curvature, np.tile(expected, 40), rtol=1e-7)


def test_half_a_turn_keeps_its_sign():
    poses = np.zeros((2, STEPS, 3))
    poses[:, 20:, 2] = np.array([[np.pi], [-np.pi]])
    left, right = curvature_profile(poses, np.full((2, STEPS - 1), 5.0), 0.1)
    np.testing.assert_array_equal(left, -right)
    assert left.max() > 0.1


def test_driven_headings_are_from_minus_pi_up_to_pi():
    start = np.zeros(11)
    start[[State.HEADING, State.SPEED]] = np.pi, 5.0
    poses = np.column_stack([-5.0 * TIME, np.zeros(STEPS), np.full(STEPS, np.pi)])
    heading = simulate_proposals(start, poses[None])[0, :, State.HEADING]
    assert heading[0] == np.pi
    np.testing.assert_array_equal(heading[1:], -np.pi)


def test_the_bicycle_follows_a_circle():
    radius = 20.0
    angle = SPEED * TIME / radius
    poses = np.column_stack([radius * np.sin(angle), radius * (1.0 - np.cos(angle)), angle])
    start = np.zeros(11)
    start[[State.SPEED, State.STEERING]] = SPEED, np.arctan(3.089 / radius)
    states = simulate_proposals(start, poses[None])[0]
    away = np.hypot(*(states[:, :2] - poses[:, :2]).T)
    assert away.max() < 0.3
    np.testing.assert_allclose(states[10:, State.YAW_RATE], SPEED / radius, atol=0.02)


def test_poses_every_half_second_become_poses_every_tenth():
    start = np.zeros(11)
    start[POSE] = 3.0, 4.0, 3.0
    poses = np.zeros((1, 8, 3))
    poses[0, :, 0] = 4.0 * np.arange(1, 9)
    poses[0, :, 2] = 0.4  # over the seam at pi
    dense = reference_poses(start, poses)
    assert dense.shape == (1, 41, 3)
    np.testing.assert_allclose(dense[0, 5, :2], [3.0 + 4.0 * np.cos(3.0), 4.0 + 4.0 * np.sin(3.0)])
    np.testing.assert_allclose(np.diff(np.unwrap(dense[0, :6, 2])), 0.08)
    assert (np.abs(dense[..., 2]) <= np.pi).all()


# --- around the scores --------------------------------------------------------------------------


def test_the_human_filter_forgives_exact_zeros_only():
    here = scene(red=True)
    scores = both(here, ahead(), ahead(to_left=-3.0))[1]
    human = both(replace(here, past=None), ahead())[1]
    forgiven = forgive_human(scores, human)
    assert forgiven.traffic_light_compliance.tolist() == [1.0, 1.0]
    assert forgiven.drivable_area_compliance.tolist() == [1.0, 0.0]
    assert forgiven.score[0] == pytest.approx(
        (5.0 * scores.ego_progress[0] + 5.0 + 2.0 + 2.0) / 14.0
    )
    with pytest.raises(RoadloopError, match="alone"):
        forgive_human(scores, scores)


def test_extended_comfort_is_full_for_the_same_plan():
    here = scene()
    states = simulate_proposals(here.start, np.stack([ahead(), braking(rate=6.0)]))
    now, before = comfort.common_steps(states, states, 0.5)
    assert now.shape == before.shape == (2, 36, 11)
    assert comfort.extended_comfort(now[:1], now[:1]).tolist() == [1.0]
    assert comfort.extended_comfort(now[1:], now[:1]).tolist() == [0.0]
    with pytest.raises(RoadloopError, match="apart"):
        comfort.common_steps(states, states, 1.0)


def test_extended_comfort_enters_the_score_where_there_is_one():
    scores = both(scene(), ahead(), ahead(4.0))[1]
    with_and_without = scores.total(np.array([0.0, np.nan]))
    assert with_and_without[0] == pytest.approx(14.0 / 16.0)
    assert with_and_without[1] == pytest.approx(scores.score[1])


def test_two_stages():
    weights = follow_up_weights(np.zeros(2), np.array([[0.0, 0.0], [0.3, 0.0], [50.0, 0.0]]))
    assert weights.sum() == pytest.approx(1.0)
    assert weights[1] / weights[0] == pytest.approx(np.exp(-0.09 / 0.2))
    far = follow_up_weights(np.zeros(2), np.full((4, 2), 900.0))
    np.testing.assert_allclose(far, 0.25)
    one = Stages(np.array([0.8]), np.array([[1.0], [0.5]]), np.array([0.75, 0.25]))
    two = Stages(np.array([0.4]), np.array([[0.5]]), np.array([1.0]))
    result = two_stage_scores([(one, two)])
    assert result.combined[0] == pytest.approx((0.8 * 0.875 + 0.4 * 0.5) / 2.0)
    assert result.first[0] == pytest.approx(0.6)
    assert result.second[0] == pytest.approx((0.875 + 0.5) / 2.0)
    with pytest.raises(RoadloopError, match="no frames"):
        two_stage_scores([])
    with pytest.raises(RoadloopError, match="with a weight"):
        two_stage_scores([(one, replace(two, weights=np.zeros(1)))])


def test_follow_ups_two_metres_away_count_alike():
    """A sum of weights up to 1e-8 is taken for none."""
    for metres, alike in ((1.9, False), (1.95, True), (2.3, True), (30.0, True)):
        starts = np.array([[metres, 0.0], [0.0, metres + 0.3]])
        weights = follow_up_weights(np.zeros(2), starts)
        assert weights.sum() == pytest.approx(1.0)
        assert (weights[0] == weights[1] == 0.5) == alike


def test_agents_on_top_of_the_ego_are_left_out():
    here = scene((AgentKind.CAR, 2.0, -1.0, 0.3, 0.0), (AgentKind.CAR, 30.0, -1.0, 0.0, 0.0))
    assert without_overlapping_agents(here).agents.x[0].tolist() == [30.0]
    later = here.agents.valid.copy()
    later[0] = False  # who is not there yet overlaps nobody
    here = replace(here, agents=replace(here.agents, valid=later))
    assert without_overlapping_agents(here).agents.x.shape == (OBSERVED, 2)
    assert without_overlapping_agents(scene()).agents.x.shape == (OBSERVED, 0)


def test_one_proposal_as_a_score():
    scores = both(scene((AgentKind.CAR, 20.0, -LANE / 2.0, 0.0, 0.0)), ahead())
    for score, name in zip(scores, ("navsim-v1", "navsim-v2")):
        judged = proposal_score(score, 0)
        assert judged.name == name and judged.value == 0.0
        collision = judged.term("no_at_fault_collisions")
        assert collision.passed is False
        assert collision.lost_at == pytest.approx(score.first_at_fault[0] * 0.1)


def test_nothing_around():
    here = scene()
    nothing = replace(
        here, lane_polygon=objects(), lane_on_route=np.zeros(0, bool), drivable=objects(),
        intersections=objects(), red=np.zeros((OBSERVED, 0), bool),
    )  # fmt: skip
    v1, v2 = both(nothing, ahead(), ahead(0.5))
    assert v2.drivable_area_compliance.tolist() == v1.drivable_area_compliance.tolist() == [0, 0]
    assert v2.driving_direction_compliance[0] == 0.0
    assert v2.no_at_fault_collisions.tolist() == v2.time_to_collision.tolist() == [1.0, 1.0]
    assert v1.ego_progress.tolist() == [0.0, 0.0]  # v1: none without a multiplier
    assert v2.ego_progress.tolist() == [1.0, 1.0]


# --- from a rollout -----------------------------------------------------------------------------


def hand_road() -> RoadMap:
    """60 m, a junction lane of 20 m behind a light, 200 m; and a lane against it."""
    lanes = [
        HandLane(straight((0, 0), (60, 0)), successors=(1,), road="in", opposite=3),
        HandLane(straight((60, 0), (80, 0)), successors=(2,), road="j", junction=0),
        HandLane(straight((80, 0), (280, 0)), road="out"),
        HandLane(straight((60, 3.5), (0, 3.5)), road="in", number=1),
    ]
    return HandMap(lanes, 1, [HandSign(SignalKind.TRAFFIC_LIGHT, 1, 0.0)]).build()


def rollout(road_map: RoadMap, speed: float = 10.0, dt: float = 0.1, light=LightState.GREEN):
    """8 s along the road's middle from x = 5, a parked car 130 m on."""
    count = round(8.0 / dt) + 1
    time = np.arange(count) * dt
    zero, shape = np.zeros(count), (count, 1)
    return Rollout(
        scenario="by_hand", family="by_hand", seed=0, driver="hand", map_name=road_map.name,
        map_hash=road_map.content_hash, dt=dt, time=time,
        ego=EgoState(5.0 + speed * time, zero, zero, zero, zero + speed, zero, zero, zero,
                     VehicleParameters()),
        control=Control(zero, zero),
        agents=AgentStates(
            id=np.zeros(shape), kind=np.full(shape, AgentKind.STATIC, np.uint8),
            x=np.full(shape, 130.0), y=np.zeros(shape), z=np.zeros(shape),
            heading=np.zeros(shape), vx=np.zeros(shape), vy=np.zeros(shape),
            length=np.full(shape, 4.5), width=np.full(shape, 1.8), height=np.ones(shape),
            valid=np.ones(shape, dtype=bool),
        ),
        lights=np.full((count, 1), light, np.uint8), plan=np.zeros((count, 0, 3)),
        route=Route(np.array([0, 1, 2], np.int32), 5.0, 150.0), finished=True,
    )  # fmt: skip


def following(drive: Rollout, step: int) -> np.ndarray:
    """(1, 41, 3) what was driven from there on."""
    every = round(0.1 / drive.dt)
    rows = slice(step, step + STEPS * every, every)
    return np.stack([drive.ego.x[rows], drive.ego.y[rows], drive.ego.heading[rows]], axis=-1)[None]


def test_the_driven_way_of_a_rollout_scores_full():
    road_map = hand_road()
    for dt in (0.1, 0.05):
        drive = rollout(road_map, dt=dt)
        step = round(2.0 / dt)
        for version in ("v1", "v2"):
            scores = pdm_score(drive, road_map, step, following(drive, step), version)
            assert scores.score[0] == 1.0
            assert scores.progress_raw[0] == pytest.approx(40.0, abs=0.5)


def test_a_rollouts_red_light_and_parked_car():
    road_map = hand_road()
    red = rollout(road_map, light=LightState.RED)
    scores = pdm_score(red, road_map, 20, following(red, 20))
    assert isinstance(scores, PdmScoresV2)
    assert scores.traffic_light_compliance[0] == 0.0
    corrected = pdm_score(red, road_map, 20, following(red, 20), corrected=True)
    assert corrected.version.startswith("navsim 2.2, ")
    assert corrected.version.count(",") == 4
    fast = rollout(road_map, speed=25.0)
    scores = pdm_score(fast, road_map, 20, following(fast, 20))
    assert scores.no_at_fault_collisions[0] == 0.0  # a parked car is a vehicle, not a thing


def test_the_scene_of_a_rollout():
    road_map = hand_road()
    made = pdm_scene(rollout(road_map), road_map, 20)
    assert made.lane_on_route.tolist() == [True, True, True, False]
    assert made.agents.x.shape == (OBSERVED, 1)
    assert not made.red.any()
    np.testing.assert_allclose(made.start[POSE], [25.0, 0.0, 0.0])
    assert made.past is not None
    np.testing.assert_allclose(made.past[:, State.X], 25.0 + 10.0 * PAST_TIMES)
    assert np.abs(made.centreline[:, 1]).max() < 1e-9
    assert pdm_scene(rollout(road_map), road_map, 0, history=False).past is None


def test_ego_frame_poses_of_a_rollout():
    road_map = hand_road()
    drive = rollout(road_map)
    poses = np.zeros((1, 8, 3))
    poses[0, :, 0] = 5.0 * np.arange(1, 9)
    assert_same(
        pdm_score(drive, road_map, 20, poses), pdm_score(drive, road_map, 20, following(drive, 20))
    )


# --- bad input ----------------------------------------------------------------------------------


def test_bad_proposals_and_states_are_refused():
    here = scene()
    nan = np.stack([ahead(), ahead()])
    nan[1, 7, 2] = np.nan
    with pytest.raises(RoadloopError, match="proposal 1"):
        simulate_proposals(here.start, nan)
    with pytest.raises(RoadloopError, match="shape"):
        simulate_proposals(here.start, ahead())
    with pytest.raises(RoadloopError, match="start state"):
        simulate_proposals(here.start[:5], nan[:1])
    states = simulate_proposals(here.start, nan[:1])
    for score in (pdm_scores_v1, pdm_scores_v2):
        with pytest.raises(RoadloopError, match="shape"):
            score(here, states[:, :30])
        with pytest.raises(RoadloopError, match="proposal 0 are not finite"):
            score(here, states * np.nan)
    road_map = hand_road()
    with pytest.raises(RoadloopError, match="version"):
        pdm_score(rollout(road_map), road_map, 20, nan[:1], "v3")
    with pytest.raises(RoadloopError, match="shape"):
        pdm_score(rollout(road_map), road_map, 20, nan[:1, :9])


def test_bad_scenes_are_refused():
    here = scene((AgentKind.CAR, 20.0, 0.0, 0.0, 0.0))
    with pytest.raises(RoadloopError, match="not finite where it is valid"):
        replace(here, agents=replace(here.agents, x=here.agents.x * np.nan))
    with pytest.raises(RoadloopError, match="past"):
        replace(here, past=np.zeros((13, 11)))
    with pytest.raises(RoadloopError, match="centreline"):
        replace(here, centreline=np.zeros((1, 2)))
    with pytest.raises(RoadloopError, match="history does not cover"):
        past_states(np.array([-1.0, 0.0]), np.zeros((2, 11)))


def test_rollouts_too_short_are_refused():
    road_map = hand_road()
    drive = rollout(road_map)
    with pytest.raises(RoadloopError, match="choose an earlier step"):
        pdm_scene(drive, road_map, 41)
    with pytest.raises(RoadloopError, match="history=False"):
        pdm_scene(drive, road_map, 14)
    with pytest.raises(RoadloopError, match=r"4\.9 s ahead"):
        pdm_score(drive, road_map, 40, following(drive, 40), "v1")
    with pytest.raises(RoadloopError, match="another content"):
        pdm_scene(replace(drive, map_hash="other"), road_map, 20)
