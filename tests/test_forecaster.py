"""Forecasters: physical truths, lanes and branches, leaders, lights, rotation, bad input."""

from __future__ import annotations

import dataclasses
import gc
import importlib.util
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from hand_map import HandLane, HandMap, HandSign, arc, straight

from perception.forecast_spread import Spread
from perception.forecaster import FORECASTERS, make_forecaster
from perception.kinematic_forecast import ConstantTurnRate, ConstantVelocity
from perception.lane_forecast import MODES, LaneFollowing
from perception.lane_paths import lane_ways
from perception.track_memory import FORGET, MotionHistory, TrackMemory
from roadloop.errors import RoadloopError
from roadloop.interfaces import Forecaster
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.types import (
    AgentKind,
    AgentStates,
    EgoState,
    Forecasts,
    LightState,
    Observation,
    Tracks,
)

HORIZON, DT = 6.0, 0.2
POINTS = 31


def tracks(*users, kind=AgentKind.CAR, std: float = 0.0, valid=True) -> Tracks:
    """Road users given by x, y, heading, speed; ids count from 1."""
    x, y, heading, speed = np.array(users, float).reshape(-1, 4).T
    n = len(x)
    states = AgentStates(
        id=np.arange(n) + 1,
        kind=np.broadcast_to(np.asarray(kind, np.uint8), n).copy(),
        x=x,
        y=y,
        z=np.zeros(n),
        heading=heading,
        vx=speed * np.cos(heading),
        vy=speed * np.sin(heading),
        length=np.full(n, 4.5),
        width=np.full(n, 1.8),
        height=np.full(n, 1.5),
        valid=np.broadcast_to(np.asarray(valid), n).copy(),
    )
    return Tracks(states, np.full(n, std), np.zeros(n, np.int64))


def observe(seen: Tracks, time: float = 0.0, lights=(), ego=(-500.0, 500.0, 0.0, 0.0)):
    x, y, heading, speed = (np.float64(v) for v in ego)
    zero = np.float64(0.0)
    state = EgoState(x, y, zero, heading, speed, zero, zero, zero)
    return Observation(
        step=round(time / 0.1), time=time, dt=0.1, ego=state, tracks=seen,
        lights=np.array(lights, np.uint8),
    )  # fmt: skip


def follower(road_map: RoadMap) -> LaneFollowing:
    forecaster = LaneFollowing()
    forecaster.reset(SimpleNamespace(road_map=road_map, name="by hand"))  # type: ignore[arg-type]
    return forecaster


def ahead(road_map: RoadMap, *users, lights=(), ego=(-500.0, 500.0, 0.0, 0.0), **more) -> Forecasts:
    """The lane-following forecast of road users just met."""
    seen = tracks(*users, **more)
    return follower(road_map).forecast(observe(seen, 0.0, lights, ego), seen, HORIZON, DT)


def road(length: float = 400.0, signs=()) -> RoadMap:
    return HandMap([HandLane(straight((0, 0), (length, 0)))], signs=list(signs)).build()


def fork() -> RoadMap:
    """A lane that goes on straight or turns left, with a radius of 15 m."""
    return HandMap(
        [
            HandLane(straight((0, 0), (60, 0)), successors=(1, 2)),
            HandLane(straight((60, 0), (200, 0)), junction=0),
            HandLane(arc((60, 15), 15, -np.pi / 2, 0.0), junction=0, successors=(3,)),
            HandLane(straight((75, 15), (75, 150))),
        ],
        junctions=1,
    ).build()


BY_RULE = [name for name in FORECASTERS if name != "learned"]


def learned() -> Forecaster:
    """The forecaster that comes with roadloop, where what it needs is installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        pytest.importorskip("torch")
    return make_forecaster("learned")


# --- without a map --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_RULE)
def test_every_forecaster_goes_straight_on_a_straight_road(name: str) -> None:
    seen = tracks((50.0, 0.0, 0.0, 13.9), (20.0, 300.0, 1.0, 7.0))
    forecaster = make_forecaster(name)
    forecaster.reset(SimpleNamespace(road_map=road(), name="by hand"))  # type: ignore[arg-type]
    f = forecaster.forecast(observe(seen), seen, HORIZON, DT)
    t = np.arange(POINTS) * DT
    assert f.dt == DT and f.x.shape == f.y.shape == f.heading.shape and f.x.shape[-1] == POINTS
    np.testing.assert_allclose(f.x[0, 0], 50.0 + 13.9 * t, atol=0.05)
    np.testing.assert_allclose(f.y[0, 0], 0.0, atol=1e-6)
    np.testing.assert_allclose(f.x[1, 0], 20.0 + 7.0 * np.cos(1.0) * t)  # on no lane
    np.testing.assert_allclose(f.y[1, 0], 300.0 + 7.0 * np.sin(1.0) * t)
    np.testing.assert_allclose(f.probability.sum(1), 1.0)


@pytest.mark.parametrize("name", FORECASTERS)
def test_invalid_rows_are_finite_and_nothing_is_no_problem(name: str) -> None:
    seen = tracks((50.0, 0.0, 0.0, 10.0), (np.nan, np.inf, np.nan, np.nan), valid=[True, False])
    seen = dataclasses.replace(seen, position_std=np.array([0.3, np.nan]))
    forecaster = learned() if name == "learned" else make_forecaster(name)
    forecaster.reset(SimpleNamespace(road_map=road(), name="by hand"))  # type: ignore[arg-type]
    f = forecaster.forecast(observe(seen), seen, HORIZON, DT)
    for field in (f.x, f.y, f.heading, f.probability, f.along_std, f.across_std):
        assert field is not None and len(field) == 2 and np.isfinite(field).all()
    np.testing.assert_allclose(f.probability.sum(1), 1.0)
    nobody = tracks()
    f = forecaster.forecast(observe(nobody, 0.1), nobody, HORIZON, DT)
    assert f.x.shape[0] == 0 and f.x.shape[-1] == POINTS


@pytest.mark.parametrize("name", BY_RULE)
def test_spread_starts_at_that_of_the_track_and_grows(name: str) -> None:
    seen = tracks((50.0, 0.0, 0.0, 10.0), (80.0, 0.0, 0.0, 0.0), kind=[0, 7], std=0.4)
    forecaster = make_forecaster(name)
    forecaster.reset(SimpleNamespace(road_map=road(), name="by hand"))  # type: ignore[arg-type]
    f = forecaster.forecast(observe(seen), seen, HORIZON, DT)
    assert f.along_std is not None and f.across_std is not None
    for std in (f.along_std, f.across_std):
        assert std.shape == f.x.shape
        np.testing.assert_allclose(std[..., 0], 0.4)
        assert (np.diff(std[0], axis=-1) > 0.0).all()
        np.testing.assert_allclose(std[1], 0.4)  # what never moves has no more


def test_spread_adds_variances() -> None:
    spread = Spread(along=((1.0, 1.0),) * 3, across=((0.5, 2.0),) * 3)
    along, across = spread.at(tracks((0, 0, 0, 5.0), std=3.0), 5, 1.0)
    np.testing.assert_allclose(along[0], np.hypot(3.0, np.arange(5)))
    np.testing.assert_allclose(across[0], np.hypot(3.0, 0.5 * np.arange(5) ** 2))


def test_turn_rate_from_history_gives_a_circle() -> None:
    rate, speed = 0.3, 6.0
    forecaster = ConstantTurnRate(fading=np.inf)
    forecaster.reset(None)  # type: ignore[arg-type]

    def seen(t: float) -> Tracks:
        way = rate * t
        x, y = speed / rate * np.sin(way), speed / rate * (1.0 - np.cos(way))
        return tracks((x, y, way, speed), (0.0, 50.0, way, 0.0))

    for k in range(40):
        forecaster.observe(observe(seen(0.1 * k), 0.1 * k), seen(0.1 * k))
    f = forecaster.forecast(observe(seen(4.0), 4.0), seen(4.0), HORIZON, DT)
    radius = np.hypot(f.x[0, 0], f.y[0, 0] - speed / rate)
    np.testing.assert_allclose(radius, speed / rate, atol=0.05)
    steps = np.hypot(np.diff(f.x[0, 0]), np.diff(f.y[0, 0]))
    np.testing.assert_allclose(steps, speed * DT, rtol=1e-3)
    np.testing.assert_allclose(np.diff(np.unwrap(f.heading[0, 0])), rate * DT, atol=1e-3)
    assert (f.x[1] == 0.0).all() and (f.y[1] == 50.0).all()  # who stands stays
    faded = ConstantTurnRate()
    for k in range(41):
        g = faded.forecast(observe(seen(0.1 * k), 0.1 * k), seen(0.1 * k), HORIZON, DT)
    turned = np.unwrap(g.heading[0, 0])
    assert turned[-1] - turned[0] < 0.5 * rate * HORIZON
    assert turned[1] - turned[0] > 0.8 * rate * DT


def test_turn_rate_is_bounded_by_what_tyres_give() -> None:
    forecaster = ConstantTurnRate(fading=np.inf)
    for k in range(30):
        seen = tracks((2.0 * k, 0.0, 0.15 * k, 20.0))
        f = forecaster.forecast(observe(seen, 0.1 * k), seen, 2.0, DT)
    assert np.abs(np.diff(np.unwrap(f.heading[0, 0]))).max() <= 4.0 / 20.0 * DT + 1e-9


def test_memory_follows_ids_not_rows() -> None:
    memory = TrackMemory(lane=-1, s=0.0)
    memory.keep(np.array([7, 3]), 0.0, lane=np.array([1, 2]), s=np.array([1.5, 2.5]))
    memory.keep(np.array([5]), 0.1, lane=np.array([9]), s=np.array([9.5]))
    since, values = memory.recall(np.array([3, 4, 5, 7]), 0.2)
    np.testing.assert_allclose(since, [0.2, np.inf, 0.1, 0.2])
    assert values["lane"].tolist() == [2, -1, 9, 1] and values["lane"].dtype.kind == "i"
    assert values["s"].tolist() == [2.5, 0.0, 9.5, 1.5]
    assert np.isinf(memory.recall(np.array([3]), FORGET + 0.1)[0]).all()


def test_history_asked_twice_at_a_time_gives_the_same() -> None:
    history = MotionHistory()
    for k in range(10):
        seen = tracks((0.0, 0.0, 0.02 * k, 5.0 + 0.1 * k), (9.0, 9.0, 0.0, 0.0)).states
        once = history.update(seen, np.arange(2), 0.1 * k)
    again = history.update(seen, np.arange(2), 0.9)
    np.testing.assert_array_equal(once.turn_rate, again.turn_rate)
    assert once.turn_rate[0] == pytest.approx(0.2, rel=0.15)
    assert once.acceleration[0] == pytest.approx(1.0, rel=0.15)
    assert again.standing[1] == pytest.approx(0.9)


# --- along lanes ----------------------------------------------------------------------------------


def test_a_car_in_a_bend_stays_in_its_lane() -> None:
    bend = HandMap([HandLane(arc((0, 40), 40, -np.pi / 2, np.pi / 2))]).build()
    f = ahead(bend, (0.0, 0.5, 0.0, 8.0))
    off = 40.0 - np.hypot(f.x[0, 0], f.y[0, 0] - 40.0)
    assert off[0] == pytest.approx(0.5) and (np.abs(off) <= 0.52).all()
    along = np.arctan2(f.y[0, 0] - 40.0, f.x[0, 0]) + np.pi / 2
    # 0.5 m of offset settles by a third on the way: some degrees beside the lane's direction
    np.testing.assert_allclose(np.unwrap(f.heading[0, 0]), along, atol=0.06)
    plain = 40.0 - np.hypot(8.0 * HORIZON, 0.5 - 40.0)
    assert np.abs(off).max() < 0.1 * abs(plain)


def test_speed_gives_way_to_a_tight_bend() -> None:
    turn = HandMap(
        [
            HandLane(straight((0, 0), (60, 0)), successors=(1,)),
            HandLane(arc((60, 10), 10, -np.pi / 2, np.pi / 2)),
        ]
    ).build()
    f = ahead(turn, (20.0, 0.0, 0.0, 12.0))
    speed = np.hypot(np.diff(f.x[0, 0]), np.diff(f.y[0, 0])) / DT
    assert speed[0] > 11.0 and speed[-1] < np.sqrt(2.5 * 10.0) + 1.0


def test_a_follower_does_not_run_through_its_leader() -> None:
    f = ahead(road(), (40.0, 0.0, 0.0, 15.0), (70.0, 0.0, 0.0, 0.0), (20.0, 0.3, 0.0, 12.0))
    for mode in range(MODES):  # whatever the likelihood
        assert f.x[0, mode].max() < 70.0 - 4.5
    assert f.x[2, 0].max() < f.x[0, 0, -1] - 4.5 + 0.1
    assert (np.diff(f.x[..., :], axis=-1) >= -1e-9).all()  # nobody rolls back


def test_the_ego_and_parked_cars_are_minded_where_they_are_in_the_way() -> None:
    alone = ahead(road(), (40.0, 0.0, 0.0, 12.0))
    behind = ahead(road(), (40.0, 0.0, 0.0, 12.0), ego=(70.0, 0.0, 0.0, 0.0))
    assert behind.x[0, 0, -1] < 70.0 - 3.0 < alone.x[0, 0, -1]
    beside = ahead(road(), (40.0, 0.0, 0.0, 12.0), (70.0, -2.6, 0.0, 0.0))
    np.testing.assert_allclose(beside.x[0, 0], alone.x[0, 0])


@pytest.mark.parametrize(
    "state, stops",
    [(LightState.RED, True), (LightState.GREEN, False), (LightState.OFF, False)],
)
def test_a_red_light_stops(state: LightState, stops: bool) -> None:
    light = road(signs=[HandSign(SignalKind.TRAFFIC_LIGHT, 0, 100.0)])
    f = ahead(light, (50.0, 0.0, 0.0, 12.0), lights=[state])
    assert (f.x[0, 0].max() < 100.0 - 2.25) == stops
    if stops:
        assert f.x[0, 0, -1] > 90.0
    late = ahead(light, (94.0, 0.0, 0.0, 14.0), lights=[state])
    assert late.x[0, 0, -1] > 110.0  # too late to stop


def test_a_stop_sign_is_served_and_left_behind() -> None:
    sign = road(signs=[HandSign(SignalKind.STOP, 0, 80.0)])
    seen = tracks((55.0, 0.0, 0.0, 7.0))
    f = follower(sign).forecast(observe(seen), seen, 20.0, 0.2)
    speed = np.diff(f.x[0, 0]) / 0.2
    assert speed.min() < 0.4
    assert f.x[0, 0, int(np.argmin(speed))] < 80.0
    assert f.x[0, 0, -1] > 85.0


def test_branches_give_modes_that_end_on_different_lanes() -> None:
    f = ahead(fork(), (45.0, 0.0, 0.0, 5.0))
    assert f.x.shape == (1, MODES, POINTS)
    ends = f.heading[0, f.probability[0] > 0.0, -1]
    assert (np.abs(ends) < 0.05).any() and (ends > 0.5).any()
    assert f.probability[0].sum() == pytest.approx(1.0)
    assert (np.diff(f.probability[0]) <= 1e-12).all()  # likeliest first
    far = ahead(fork(), (5.0, 0.0, 0.0, 2.0))  # the branch is out of reach
    assert (np.abs(far.heading[0, :, -1]) < 0.05).all()


def test_who_has_turned_in_is_not_taken_to_go_straight() -> None:
    way = 0.4  # rad into the turn
    x, y = 60.0 + 15.0 * np.sin(way), 15.0 - 15.0 * np.cos(way)
    forecaster = follower(fork())
    seen = tracks((x, y, way, 6.0))
    f = forecaster.forecast(observe(seen), seen, HORIZON, DT)
    left = f.probability[0, np.abs(f.heading[0, :, -1] - np.pi / 2) < 0.2].sum()
    assert left > 0.95
    straight_on = tracks((66.0, 0.0, 0.0, 12.0))
    f = follower(fork()).forecast(observe(straight_on), straight_on, HORIZON, DT)
    assert f.probability[0, np.abs(f.heading[0, :, -1]) < 0.2].sum() > 0.9


def test_a_lane_change_that_has_begun_is_a_mode() -> None:
    two = HandMap(
        [
            HandLane(straight((0, 0), (300, 0)), left=1),
            HandLane(straight((0, 3.5), (300, 3.5)), number=-2, right=0),
        ]
    ).build()
    drifting = ahead(two, (40.0, 0.9, 0.08, 13.0))
    over = np.abs(drifting.y[0, :, -1] - 3.5) < 0.3
    assert drifting.probability[0, over].sum() > 0.4
    assert (np.abs(drifting.heading[0, over, -1]) < 0.02).all()
    keeping = ahead(two, (40.0, 0.3, 0.0, 13.0))
    assert (keeping.y[0, :, -1] < 1.0).all()


def test_a_vehicle_is_followed_from_lane_to_lane() -> None:
    forecaster = follower(fork())
    for k in range(60):
        way = max((6.0 * 0.1 * k - 15.0) / 15.0, 0.0)
        s = 45.0 + 6.0 * 0.1 * k
        seen = tracks((s, 0.0, 0.0, 6.0))
        if 0.0 < way < np.pi / 2:
            x, y = 60.0 + 15.0 * np.sin(way), 15.0 - 15.0 * np.cos(way)
            seen = tracks((x, y, way, 6.0))
        elif way >= np.pi / 2:
            seen = tracks((75.0, 15.0 + 15.0 * (way - np.pi / 2), np.pi / 2, 6.0))
        f = forecaster.forecast(observe(seen, 0.1 * k), seen, HORIZON, DT)
        assert f.x[0, 0, 0] == seen.states.x[0] and f.y[0, 0, 0] == seen.states.y[0]
        assert f.heading[0, 0, 0] == seen.states.heading[0]
    assert f.x[0, 0, -1] == pytest.approx(75.0, abs=0.1)  # on the lane after the turn by now
    assert f.y[0, 0, -1] > 40.0


def test_parked_cars_and_walkers_and_who_reverses() -> None:
    f = ahead(
        road(), (50.0, -2.8, 0.0, 0.0), (80.0, 0.0, np.pi / 2, 1.4), (150.0, 0.0, 0.0, -2.0),
        kind=[AgentKind.CAR, AgentKind.PEDESTRIAN, AgentKind.CAR],
    )  # fmt: skip
    assert f.x[0, 0, -1] == pytest.approx(50.0) and f.probability[0, 0] > 0.9
    assert f.y[1, 0, -1] == pytest.approx(1.4 * HORIZON)
    assert f.probability[1].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert f.x[2, 0, -1] == pytest.approx(150.0 - 2.0 * HORIZON)


def test_who_brakes_is_believed_to_brake() -> None:
    forecaster = follower(road())
    for k in range(20):
        speed = 14.0 - 0.3 * k
        seen = tracks((40.0 + 1.2 * k, 0.0, 0.0, speed))
        f = forecaster.forecast(observe(seen, 0.1 * k), seen, HORIZON, DT)
    steady = ahead(road(), (0.0, 0.0, 0.0, 14.0 - 0.3 * 19))
    assert f.x[0, 0, -1] - f.x[0, 0, 0] < 0.8 * (steady.x[0, 0, -1] - steady.x[0, 0, 0])


def test_turning_the_world_turns_the_forecast() -> None:
    angle, users = 0.7, [(45.0, 0.2, 0.02, 7.0), (20.0, -0.4, 0.0, 9.0), (62.0, 0.3, 0.1, 5.0)]
    rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    plain = ahead(fork(), *users)
    base = fork()
    xyz = base.point_xyz.copy()
    xyz[:, :2] = xyz[:, :2] @ rotate.T
    turned = dataclasses.replace(base, point_xyz=xyz, point_heading=base.point_heading + angle)
    moved = [(*(rotate @ [x, y]), heading + angle, v) for x, y, heading, v in users]
    ego = (*(rotate @ [-500.0, 500.0]), angle, 0.0)
    f = ahead(turned, *moved, ego=ego)
    both = np.stack([plain.x, plain.y], -1) @ rotate.T
    np.testing.assert_allclose(np.stack([f.x, f.y], -1), both, atol=1e-6)
    np.testing.assert_allclose(f.probability, plain.probability, atol=1e-9)
    around = np.angle(np.exp(1j * (f.heading - plain.heading - angle)))
    np.testing.assert_allclose(around, 0.0, atol=1e-6)
    assert (np.abs(f.heading) <= np.pi).all()


def test_the_same_again_and_after_a_reset() -> None:
    def run(forecaster: LaneFollowing) -> list[Forecasts]:
        said = []
        for k in range(12):
            seen = tracks((40.0 + 0.6 * k, 0.1, 0.0, 6.0), (15.0 + 0.8 * k, 0.0, 0.0, 8.0))
            said.append(forecaster.forecast(observe(seen, 0.1 * k), seen, HORIZON, DT))
        return said

    road_map = fork()
    first = follower(road_map)
    once = run(first)
    first.reset(SimpleNamespace(road_map=road_map, name="again"))  # type: ignore[arg-type]
    for again in (run(first), run(follower(fork()))):
        for a, b in zip(once, again, strict=True):
            for name in ("x", "y", "heading", "probability"):
                assert getattr(a, name).tobytes() == getattr(b, name).tobytes()


def test_ways_are_kept_no_longer_than_their_map() -> None:
    road_map = fork()
    assert lane_ways(road_map) is lane_ways(road_map)
    lane_ways(road_map).make(np.array([0, 0, 1]))
    assert lane_ways(road_map).count[0] == 2
    gone = weakref.ref(road_map)
    del road_map
    gc.collect()
    assert gone() is None


def test_the_shipped_network_has_learnt_to_drive() -> None:
    """On a straight road it goes on, in its lane, and says less the farther ahead."""
    forecaster = learned()
    forecaster.reset(SimpleNamespace(road_map=road(), name="by hand"))  # type: ignore[arg-type]
    for k in range(11):
        seen = tracks((50.0 + 1.2 * k, 0.0, 0.0, 12.0))
        f = forecaster.forecast(observe(seen, 0.1 * k), seen, HORIZON, DT)
    best = int(f.probability[0].argmax())
    assert best == 0 and np.abs(f.y[0, 0]).max() < 1.5  # within its lane
    assert 45.0 < f.x[0, 0, -1] - f.x[0, 0, 0] < 95.0
    assert (f.along_std[0, 0, -1] > f.along_std[0, 0, 1]) and np.isfinite(f.across_std).all()


def test_bad_input_is_refused_in_a_line() -> None:
    with pytest.raises(RoadloopError, match='did you mean "lane-following"'):
        make_forecaster("lane-folowing")
    with pytest.raises(RoadloopError, match="takes nothing"):
        make_forecaster("constant-velocity:model")
    seen = tracks((0.0, 0.0, 0.0, 1.0))
    with pytest.raises(RoadloopError, match="reset it first"):
        LaneFollowing().forecast(observe(seen), seen, HORIZON, DT)
    with pytest.raises(RoadloopError, match="has no map"):
        LaneFollowing().reset(SimpleNamespace(road_map=None, name="x"))  # type: ignore[arg-type]
    for horizon, dt in ((6.0, 0.0), (0.0, 0.2), (np.inf, 0.2)):
        with pytest.raises(RoadloopError, match="expected a step above 0 s"):
            ConstantVelocity().forecast(observe(seen), seen, horizon, dt)
    with pytest.raises(RoadloopError, match="fading"):
        ConstantTurnRate(fading=0.0)
