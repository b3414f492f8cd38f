"""Proposals rolled out and scored at once: physics, and what road users, fault and room count."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from planning.corridor import PathWindow
from planning.forecast_boxes import MOST_ACROSS, FutureBoxes, future_boxes
from planning.lateral_offset import LateralOffset, OffsetStep
from planning.longitudinal import DrivingStyle, Leaders, following_acceleration, roll_out
from planning.proposal_scores import (
    LAST_CERTAINTY,
    WORST_SHARE,
    Surroundings,
    Weights,
    encounters,
    least_ttc,
    loss_shares,
    score_proposals,
    weighted,
)
from planning.proposals import FollowedAgents, Options, Proposals, lay_out, roll_out_all
from planning.track_memory import SURVIVES, TrackMemory
from roadloop.idm import IdmParameters
from roadloop.types import AgentKind, AgentStates, Forecasts, Tracks, VehicleParameters

CAR = VehicleParameters()
STYLE, IDM = DrivingStyle(), IdmParameters()
TIMES = np.arange(21) * 0.2
FRONT = 3.7
SAFE = np.zeros((3, len(TIMES)), dtype=bool)
"""nobody stands in the open"""


def options(count: int, *, stop=np.inf, pace=1.0, braking=0.0, led=None):
    full = lambda value: np.broadcast_to(np.asarray(value), (count,)).copy()  # noqa: E731
    return Options(
        names=tuple(f"way {i}" for i in range(count)),
        line=np.zeros(count, dtype=np.int64),
        pace=full(pace).astype(float),
        stop_at=full(stop).astype(float),
        braking=full(braking).astype(float),
        led=np.zeros((count, 0), dtype=bool) if led is None else led,
    )


NOBODY = FollowedAgents(np.zeros(0), np.zeros(0), np.zeros(0))


def rolled(choice, *, v, a=0.0, followed=NOBODY, limit=15.0, steps=25):
    profile = np.full((1, 600), limit)
    return roll_out_all(
        choice, 0.0, v, a, -40.0, 0.5, profile, followed, FRONT, STYLE, IDM, steps, 0.2
    )


def straight(speeds, y=0.0, headings=0.0) -> Proposals:
    """Constant speeds eastwards from the origin, one row each."""
    v = np.repeat(np.atleast_1d(np.asarray(speeds, float))[:, None], len(TIMES), axis=1)
    s = v * TIMES
    zero = np.zeros_like(s)
    return Proposals(TIMES, s, v, zero, zero + y, zero, zero, s, zero + y, zero + headings)


def others(x, y, vx, vy=0.0, *, heading=None, weights=((1.0,),), length=4.5, width=1.8):
    """Boxes at constant velocity; ``x`` ... ``vy`` (agents, modes)."""
    x, y, vx, vy = np.broadcast_arrays(
        *(np.atleast_2d(np.asarray(q, float)) for q in (x, y, vx, vy))
    )
    shape = (*x.shape, len(TIMES))
    direction = np.arctan2(vy, vx) if heading is None else np.full(x.shape, heading)
    full = lambda q: np.broadcast_to(np.asarray(q)[..., None], shape).copy()  # noqa: E731
    return FutureBoxes(
        row=np.arange(len(x)),
        kind=np.zeros(len(x), dtype=np.uint8),
        x=x[..., None] + vx[..., None] * TIMES,
        y=y[..., None] + vy[..., None] * TIMES,
        heading=full(direction),
        vx=full(vx),
        vy=full(vy),
        length=np.full(shape, length),
        width=np.full(shape, width),
        weight=np.asarray(weights, float),
    )


def around(count, *, half=1.75, left=False, junction=False) -> Surroundings:
    full = lambda value: np.full((count, len(TIMES)), value)  # noqa: E731
    room = 3.0 * half if left else half
    return Surroundings(
        full(14.0), full(half), full(left), full(False), full(room), full(half), full(junction)
    )


def tracks(ids, x, speed, *, kind=AgentKind.CAR) -> Tracks:
    n = len(ids)
    states = AgentStates(
        id=np.array(ids), kind=np.full(n, kind, np.uint8), x=np.array(x, float), y=np.zeros(n),
        z=np.zeros(n), heading=np.zeros(n), vx=np.array(speed, float), vy=np.zeros(n),
        length=np.full(n, 4.5), width=np.full(n, 1.8), height=np.full(n, 1.5),
        valid=np.ones(n, bool),
    )  # fmt: skip
    return Tracks(states, np.zeros(n), np.zeros(n, int))


# --- roll-out -----------------------------------------------------------------------------------


def test_rows_move_as_the_roll_out_of_one_where_nobody_brakes():
    """But for braking: it may begin with more jerk, and less of it is asked for close behind."""
    rng = np.random.default_rng(3)
    place, pace = rng.uniform(30.0, 60.0, 3), rng.uniform(8.0, 12.0, 3)
    led = rng.random((6, 3)) < 0.6
    stop = np.array([np.inf, 60.0, np.inf, 80.0, 45.0, np.inf])
    followed = FollowedAgents(place, pace, np.zeros(3))
    t, s, v, _ = rolled(options(6, stop=stop, led=led), v=9.0, a=0.4, followed=followed)
    profile = np.full(600, 15.0)
    for i in range(6):
        alone = roll_out(
            0.0, 9.0, 0.4, -40.0, 0.5, profile, float(stop[i]),
            Leaders(place[led[i]], pace[led[i]]), FRONT, STYLE, IDM, 25, 0.2,
        )  # fmt: skip
        np.testing.assert_allclose(t, alone.t)
        np.testing.assert_allclose(s[i], alone.s, atol=0.6)
        np.testing.assert_allclose(v[i], alone.v, atol=0.6)


def test_roll_out_follows_as_the_formula_of_many_leaders():
    """The loop in plain numbers asks what `following_acceleration` answers."""
    place, pace = np.array([12.0, 30.0, 9.0]), np.array([3.0, -2.0, 9.5])
    motion = roll_out(
        0.0, 9.0, -3.4, -40.0, 0.5, np.full(600, 15.0), np.inf, Leaders(place, pace), FRONT,
        dataclasses.replace(STYLE, jerk=1e3), IDM, 1, 0.2,
    )  # fmt: skip
    free = STYLE.acceleration * (1.0 - (9.0 / 15.0) ** 4)
    asked = following_acceleration(9.0, free, place - FRONT, pace, IDM).min()
    assert motion.a[1] == pytest.approx(max(asked, -STYLE.max_deceleration))


def test_who_is_farther_and_not_slower_decides_nothing():
    leaders = Leaders(np.array([30.0, 10.0, 20.0, 40.0]), np.array([5.0, 6.0, 7.0, -1.0]))
    assert leaders.decisive() == [(10.0, 6.0), (30.0, 5.0), (40.0, -1.0)]


def test_braking_leader_is_met_early_and_gently():
    """11 m/s, 20 m behind a car that brakes from 11 m/s with 6 m/s^2."""
    followed = FollowedAgents(np.array([FRONT + 20.0]), np.array([11.0]), np.array([-6.0]))
    steady = FollowedAgents(followed.s, followed.speed, np.zeros(1))
    choice = options(1, led=np.ones((1, 1), dtype=bool))
    _, s, v, a = rolled(choice, v=11.0, followed=followed)
    assert v[0, 5] < rolled(choice, v=11.0, followed=steady)[2][0, 5] - 1.0
    assert a.min() > -4.05
    assert s[0, -1] + FRONT < FRONT + 20.0 + 11.0**2 / 12.0


def test_who_is_followed_by_nobody_changes_nothing():
    followed = FollowedAgents(np.array([8.0]), np.array([0.0]), np.array([0.0]))
    alone = rolled(options(2), v=9.0)
    beside = rolled(options(2, led=np.zeros((2, 1), dtype=bool)), v=9.0, followed=followed)
    for mine, theirs in zip(beside, alone, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_lines_have_their_own_speeds():
    choice = dataclasses.replace(options(2), line=np.array([0, 1]))
    profiles = np.stack([np.full(600, 15.0), np.full(600, 6.0)])
    _, _, v, _ = roll_out_all(
        choice, 0.0, 6.0, 0.0, -40.0, 0.5, profiles, NOBODY, FRONT, STYLE, IDM, 25, 0.2
    )
    assert v[0, -1] > 10.0
    assert v[1].max() <= 6.01


def test_pace_and_braking_are_kept():
    _, _, v, a = rolled(options(2, pace=np.array([1.0, 0.5])), v=7.5)
    assert v[0, -1] > 12.0
    assert v[1].max() <= 7.6
    _, s, v, a = rolled(options(2, braking=np.array([2.0, 8.0])), v=10.0)
    assert v[1, -1] == 0.0
    assert s[1, -1] == pytest.approx(10.0**2 / 16.0, abs=1.0)
    assert a[0].min() == pytest.approx(-2.0)


def test_laid_out_proposals_are_on_their_offset():
    s = np.linspace(-40.0, 200.0, 481)
    radius = 100.0
    window = PathWindow(
        s, radius * np.sin(s / radius), radius * (1.0 - np.cos(s / radius)), np.zeros(len(s)),
        s / radius, np.full(len(s), 1.0 / radius),
    )  # fmt: skip
    aside = LateralOffset([OffsetStep(-20.0, -10.0, 2.0)])
    at = np.tile(np.linspace(0.0, 50.0, 26), (2, 1))
    speed = np.full_like(at, 10.0)
    t = np.arange(26) * 0.2
    laid = lay_out(window, [LateralOffset(), aside], np.array([0, 1]), t, at, speed, 0.0 * at)
    away = np.hypot(laid.x, laid.y - radius)
    np.testing.assert_allclose(away[0], radius, atol=1e-3)
    np.testing.assert_allclose(away[1], radius - 2.0, atol=1e-3)


# --- forecasts ----------------------------------------------------------------------------------


def test_boxes_without_forecasts_move_at_constant_velocity():
    boxes = future_boxes(tracks([1, 2], [10.0, 20.0], [5.0, 3.0]), None, np.array([0, 1]), TIMES)
    np.testing.assert_allclose(boxes.x[0, 0], 10.0 + 5.0 * TIMES)
    assert boxes.width[0, 0, 0] == pytest.approx(1.8)
    assert 1.8 < boxes.width[0, 0, -1] <= 1.8 + 2.0 * MOST_ACROSS
    still = future_boxes(
        tracks([1], [10.0], [5.0], kind=AgentKind.STATIC), None, np.array([0]), TIMES
    )
    np.testing.assert_allclose(still.x, 10.0)
    np.testing.assert_allclose(still.vx, 0.0)


def test_boxes_take_the_likeliest_modes_and_grow_by_what_is_uncertain():
    t = np.arange(31) * 0.2
    modes = np.array([0.05, 0.5, 0.1, 0.35])
    x = np.stack([10.0 + (i + 1.0) * t for i in range(4)])[None]
    zero = np.zeros_like(x)
    forecasts = Forecasts(x, zero, zero, modes[None], 0.2, zero + 50.0, zero + 0.2)
    boxes = future_boxes(tracks([1, 2], [10.0, 0.0], [5.0, 1.0]), forecasts, np.arange(2), TIMES)
    assert boxes.x.shape == (2, 3, len(TIMES))
    np.testing.assert_allclose(boxes.weight[0], np.array([0.5, 0.35, 0.1]) / 0.95)
    np.testing.assert_allclose(boxes.vx[0, 0], 2.0)
    np.testing.assert_allclose(boxes.length[0, 0], 4.5 + 2.0)  # bounded
    np.testing.assert_allclose(boxes.width[0, 0], 1.8 + 0.2)  # half a deviation on each side
    np.testing.assert_allclose(boxes.x[1, 0], TIMES)  # beyond the forecasts' rows


def test_tracks_survive_two_missed_frames():
    memory = TrackMemory()
    for k in range(4):
        memory.update(tracks([7, 8], [k * 1.0, 50.0], [10.0, 0.0]), 0.1)
    gaps = round(SURVIVES / 0.1)
    for k in range(gaps):
        seen = memory.update(tracks([8], [50.0], [0.0]), 0.1).tracks.states
        assert seen.id.tolist() == [8, 7]
        assert seen.x[1] == pytest.approx(3.0 + (k + 1) * 1.0)
    assert memory.update(tracks([8], [50.0], [0.0]), 0.1).tracks.states.id.tolist() == [8]


def test_a_track_seen_once_is_not_remembered():
    memory = TrackMemory()
    memory.update(tracks([1], [0.0], [0.0]), 0.1)
    assert len(memory.update(tracks([], [], []), 0.1).tracks.states.id) == 0


def test_braking_is_noticed_within_half_a_second():
    memory, speed = TrackMemory(), 12.0
    for _ in range(3):
        memory.update(tracks([1], [0.0], [speed]), 0.1)
    for _ in range(5):
        speed -= 0.5
        known = memory.update(tracks([1], [0.0], [speed]), 0.1)
    assert -5.0 < known.acceleration[0] < -3.0


# --- scores -------------------------------------------------------------------------------------


def test_collision_is_a_risk_that_fades_with_time_and_grows_with_its_worst_modes():
    ways = straight([10.0, 2.0])
    near = encounters(ways, others(20.0, 0.0, 0.0, heading=0.0), CAR, SAFE)
    assert near.risk[0, 0] == pytest.approx(1.0)
    assert near.first[0, 0] == pytest.approx(1.6)  # 14.05 m to its bumper at 10 m/s
    assert near.risk[1, 0] == 0.0
    late = encounters(ways, others(43.0, 0.0, 0.0, heading=0.0), CAR, SAFE)
    assert LAST_CERTAINTY < late.risk[0, 0] < 0.6
    two = others([[20.0, 20.0]], [[0.0, 30.0]], 0.0, heading=0.0, weights=((0.2, 0.8),))
    assert encounters(ways, two, CAR, SAFE).risk[0, 0] == pytest.approx(0.2 / WORST_SHARE)


def test_who_comes_from_behind_or_hits_a_standing_ego_is_no_risk():
    behind = others(-12.0, 0.0, 14.0)
    assert encounters(straight([8.0]), behind, CAR, SAFE).risk.max() == 0.0
    ahead = others(15.0, 0.0, -5.0)
    assert encounters(straight([0.0]), ahead, CAR, SAFE).risk.max() == 0.0
    assert encounters(straight([0.0]), ahead, CAR, ~SAFE).risk.max() > 0.5


def test_time_to_collision_is_that_of_the_score():
    """A standing car 30 m ahead: bumpers meet when 30 - 1.35 - 2.35 - 2.25 m are driven."""
    ways = straight([10.0])
    ttc = least_ttc(ways, others(30.0, 0.0, 0.0, heading=0.0), CAR, around(1))
    first = (30.0 - CAR.centre_offset - CAR.length / 2.0 - 2.25) / 10.0 - 0.4
    assert ttc[0, 0] == pytest.approx(first, abs=0.11)
    assert np.isinf(least_ttc(ways, others(30.0, 4.0, 0.0, heading=0.0), CAR, around(1))).all()


def test_free_way_scores_by_progress_and_a_sure_collision_scores_nothing():
    ways = straight([14.0, 7.0, 14.0])
    boxes = others(np.full((0, 1), 0.0), 0.0, 0.0, weights=np.zeros((0, 1)))
    met = encounters(ways, boxes, CAR, SAFE)
    met.room[:] = 9.0
    free = around(3)
    ones = np.ones(3)
    terms, score = score_proposals(
        ways, met, least_ttc(ways, boxes, CAR, free), free, ones, ones, ones, Weights(), CAR
    )
    assert score[0] == pytest.approx(1.0)
    assert score[1] < score[0]
    assert all((values >= 0.0).all() and (values <= 1.0).all() for values in terms.values())
    wall = others(20.0, 0.0, 0.0, heading=0.0)
    hit = encounters(ways, wall, CAR, SAFE)
    _, score = score_proposals(
        ways, hit, least_ttc(ways, wall, CAR, free), free, ones, ones, ones, Weights(), CAR
    )
    assert score[0] == 0.0


def test_share_of_a_term_is_what_the_score_loses_without_it():
    count = 2
    shares, weights = loss_shares(Weights()), Weights()
    names = [*shares]
    for name in names:
        terms = {k: np.ones(count) for k in names}
        terms[name] = np.array([1.0, 0.0])
        whole, less = weighted(terms, weights, count)
        assert whole - less == pytest.approx(shares[name])
