"""The learned forecaster: what it reads, what it may not depend on, and how it is asked."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hand_map import HandLane, HandMap, HandSign, straight
from safetensors.torch import save_file

from perception.checkpoint import FORMAT
from perception.forecast_checkpoint import (
    KIND,
    WEIGHTS,
    export_forecaster,
    load_forecaster,
    load_forecaster_weights,
)
from perception.forecast_config import Demand, ForecastConfig, PieceKind
from perception.forecast_inputs import (
    FAST,
    MapPieces,
    cut_map,
    forecast_inputs,
    lit,
    rows_for,
)
from perception.forecast_loss import ForecastLoss
from perception.forecast_network import ForecastNetwork, directions
from perception.forecast_paths import along_points, headings_along, linear
from perception.learned_forecaster import LearnedForecaster
from roadloop.errors import RoadloopError
from roadloop.maps.road_map import LaneKind, RoadMap, SignalKind
from roadloop.types import (
    AgentKind,
    AgentStates,
    EgoState,
    Forecasts,
    LightState,
    Observation,
    Scenario,
    Tracks,
)

Array = np.ndarray

TINY = ForecastConfig(
    agents=6, history=5, polylines=8, points=4, width=16, heads=2, layers=1, decoder_layers=1,
    modes=3, horizon=2.0,
)  # fmt: skip
COLUMN = {"demand": len(PieceKind) + 5, "place": len(PieceKind) + 4, "junction": len(PieceKind)}


def network(config: ForecastConfig = TINY, seed: int = 0) -> ForecastNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = ForecastNetwork(config)
        for parameter in made.parameters():  # zeros would hide mistakes
            parameter.data += 0.05 * torch.randn_like(parameter)
    return made.eval()


def road() -> RoadMap:
    """Two lanes of opposite ways, a pavement, a light at 40 m, a crosswalk."""
    lanes = [
        HandLane(straight((0.0, 0.0), (80.0, 0.0)), opposite=1),
        HandLane(straight((80.0, 3.5), (0.0, 3.5)), number=1, opposite=0),
        HandLane(straight((0.0, -4.0), (80.0, -4.0)), kind=LaneKind.SIDEWALK, number=-2),
        HandLane(straight((80.0, 0.0), (90.0, 0.0)), junction=0),
    ]
    signs = [HandSign(SignalKind.TRAFFIC_LIGHT, 0, 40.0), HandSign(SignalKind.STOP, 1, 80.0)]
    walk = np.array([[42.0, -2.0], [45.0, -2.0], [45.0, 6.0], [42.0, 6.0]])
    return HandMap(lanes, junctions=1, signs=signs, crosswalks=[walk]).build()


def people(count: int = 4, steps: int = 5, seed: int = 0) -> AgentStates:
    """(steps, count) road users that go straight on; the first two are cars."""
    rng = np.random.default_rng(seed)
    heading = rng.uniform(-3.0, 3.0, count)
    speed = rng.uniform(1.0, 12.0, count)
    x, y = rng.uniform(0.0, 60.0, (2, count))
    t = 0.1 * np.arange(1 - steps, 1)[:, None]
    vx, vy = speed * np.cos(heading), speed * np.sin(heading)
    kind = np.array([0, 0, 6, 5, 2, 0, 7, 7, 0, 0], np.uint8)[:count]

    def same(value: Array) -> Array:
        return np.repeat(np.asarray(value)[None], steps, axis=0)

    return AgentStates(
        id=same(np.arange(count) + 10), kind=same(kind), x=x + vx * t, y=y + vy * t,
        z=np.zeros((steps, count)), heading=same(heading), vx=same(vx), vy=same(vy),
        length=same(np.full(count, 4.5)), width=same(np.full(count, 1.9)),
        height=same(np.full(count, 1.5)), valid=np.ones((steps, count), bool),
    )  # fmt: skip


def turned(states: AgentStates, angle: float, x: float, y: float) -> AgentStates:
    """The same, were the world turned about its origin and then moved."""
    c, s = math.cos(angle), math.sin(angle)
    return dataclasses.replace(
        states,
        x=c * states.x - s * states.y + x, y=s * states.x + c * states.y + y,
        vx=c * states.vx - s * states.vy, vy=s * states.vx + c * states.vy,
        heading=np.angle(np.exp(1j * (states.heading + angle))),
    )  # fmt: skip


def turned_map(pieces: MapPieces, angle: float, x: float, y: float) -> MapPieces:
    c, s = math.cos(angle), math.sin(angle)
    points = pieces.points @ np.array([[c, s], [-s, c]]) + (x, y)
    return dataclasses.replace(pieces, points=points)


def arrays(config: ForecastConfig = TINY, past: AgentStates | None = None, **kw) -> dict:
    past = people() if past is None else past
    pieces = kw.pop("pieces", cut_map(road(), config.points, config.spacing))
    rows = kw.pop("rows", np.arange(past.valid.shape[1]))
    return forecast_inputs(config, past, rows, pieces, **kw)


def asked(net: ForecastNetwork, inputs: dict[str, Array]) -> dict[str, Array]:
    with torch.inference_mode():
        outputs = net({name: torch.from_numpy(v)[None] for name, v in inputs.items()})
    return {name: value[0].numpy() for name, value in outputs.items()}


# --- what is read -------------------------------------------------------------------------------


def test_the_map_is_cut_evenly_along_the_lanes() -> None:
    pieces = cut_map(road(), 4, 2.5)
    kinds = pieces.features[:, : len(PieceKind)].argmax(1)
    counts = np.bincount(kinds)
    # 80 m in pieces of at most 7.5 m: 11; 10 m: 2; once round the crosswalk: 22 m
    assert counts.tolist() == [11 + 11 + 2, 0, 11, 3]
    lane = pieces.points[:11]
    assert np.allclose(lane[1:, 0], lane[:-1, -1]) and np.allclose(lane[..., 1], 0.0)
    assert np.allclose(np.diff(lane[..., 0], axis=1), 80.0 / 33.0)
    assert pieces.features[22 + 11 :, COLUMN["junction"]].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_a_stop_line_says_where_it_is_and_what_it_asks_for() -> None:
    pieces = cut_map(road(), 4, 2.5)
    lamp = np.flatnonzero(pieces.signal >= 0)
    assert lamp.tolist() == [5] and pieces.signal[5] == 0
    assert pieces.features[5, COLUMN["place"]] == pytest.approx(40.0 / (80.0 / 11.0) - 5.0)
    sign = pieces.features[21, COLUMN["demand"] :]  # at the end of the other lane
    assert sign.tolist() == np.eye(len(Demand))[Demand.STOP].tolist()
    for light, demand in ((LightState.RED, Demand.RED), (LightState.GREEN, Demand.GREEN),
                          (LightState.OFF, Demand.DARK)):  # fmt: skip
        seen = lit(pieces, np.array([light, LightState.OFF]))
        assert seen[5, COLUMN["demand"] :].argmax() == demand
        assert np.array_equal(np.delete(seen, 5, 0), np.delete(pieces.features, 5, 0))
    assert lit(pieces, None)[5, COLUMN["demand"] :].argmax() == Demand.DARK


def test_the_nearest_are_forecast_and_what_moves_comes_first() -> None:
    past = people(10)
    now = AgentStates(**{f.name: getattr(past, f.name)[-1] for f in dataclasses.fields(past)})
    rows = rows_for(TINY, now, float(now.x[6]), float(now.y[6]))
    distance = np.hypot(now.x - now.x[6], now.y - now.y[6])
    movers = [r for r in np.argsort(distance) if now.kind[r] != AgentKind.STATIC]
    assert rows.tolist() == movers[:6]
    everybody = rows_for(dataclasses.replace(TINY, agents=20), now, 0.0, 0.0)
    assert len(everybody) == 10 and set(everybody[-2:]) == {6, 7}
    now.valid[movers[0]] = False
    assert movers[0] not in rows_for(TINY, now, float(now.x[6]), float(now.y[6]))


def test_arrays_are_in_the_frame_of_each_agent() -> None:
    past = people()
    found = arrays(past=past)
    assert {k: v.shape for k, v in found.items()} == TINY.inputs()
    assert all(v.dtype == np.float32 for v in found.values())
    speed = np.hypot(past.vx[-1], past.vy[-1])
    last = found["history"][:4, -1]
    zero, one = 0.0 * speed, 1.0 + 0.0 * speed
    wanted = np.stack([zero, zero, one, zero, speed / FAST, zero, one], -1)
    assert np.allclose(last, wanted, atol=1e-6)
    assert found["agent_valid"].tolist() == [1, 1, 1, 1, 0, 0]
    pairs = found["pairs"]
    assert np.allclose(pairs[..., 6], pairs[..., 6].T) and np.allclose(
        pairs[:4, :4, 6].diagonal(), 0
    )
    # the place of agent 1 as agent 0 sees it, by hand
    dx, dy, h = past.x[-1, 1] - past.x[-1, 0], past.y[-1, 1] - past.y[-1, 0], past.heading[-1, 0]
    assert 20.0 * pairs[0, 1, 0] == pytest.approx(dx * math.cos(h) + dy * math.sin(h), abs=1e-4)
    past.valid[:2, 0] = False
    assert not arrays(past=past)["history"][0, :2].any()


@pytest.mark.parametrize("angle, x, y", [(0.0, 2e5, -7e5), (2.1, 0.0, 0.0), (-1.3, 500.0, 4e5)])
def test_where_the_world_lies_changes_nothing(angle: float, x: float, y: float) -> None:
    past, pieces = people(), cut_map(road(), TINY.points, TINY.spacing)
    before = arrays(past=past, pieces=pieces)
    after = arrays(past=turned(past, angle, x, y), pieces=turned_map(pieces, angle, x, y))
    for name in before:
        assert np.allclose(before[name], after[name], atol=1e-5), name


def test_nobody_and_no_map_are_fine() -> None:
    nobody = arrays(past=people(0), rows=np.zeros(0, np.int64))
    assert not any(value.any() for value in nobody.values())
    bare = arrays(pieces=cut_map(None, TINY.points, TINY.spacing))
    assert not bare["map_valid"].any()
    for inputs in (nobody, bare):
        assert all(np.isfinite(value).all() for value in asked(network(), inputs).values())


# --- the network --------------------------------------------------------------------------------


def test_shapes_and_size() -> None:
    outputs = asked(network(), arrays())
    assert {k: v.shape for k, v in outputs.items()} == TINY.outputs()
    assert (outputs["scale"] > 0).all() and all(np.isfinite(v).all() for v in outputs.values())
    count = sum(p.numel() for p in ForecastNetwork(ForecastConfig()).parameters())
    assert 0.4e6 < count < 0.6e6


def test_padding_changes_nothing() -> None:
    weights = network().state_dict()
    small = network(dataclasses.replace(TINY, agents=4))
    small.load_state_dict(weights)  # nothing in it depends on how many there may be
    one, inputs = asked(small, arrays(small.config)), arrays()
    two = asked(network(), inputs)
    rng = np.random.default_rng(3)
    for key in ("history", "traits", "pairs", "map"):
        hidden = np.ones(inputs[key].shape, bool)
        hidden[:4] = False
        if key == "pairs":
            hidden[:, 4:] = True
        if key == "map":
            hidden |= inputs["map_valid"][..., None] == 0.0
        inputs[key] = np.where(hidden, rng.normal(size=hidden.shape), inputs[key]).astype("f4")
    three = asked(network(), inputs)
    for name in one:
        assert np.allclose(one[name], two[name][:4], atol=1e-6), name
        assert np.array_equal(two[name][:4], three[name][:4]), name


def test_the_order_of_agents_and_pieces_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    order = rng.permutation(4)
    one = asked(network(), arrays())
    two = asked(network(), arrays(rows=order))
    inputs = arrays()
    mixed = rng.permutation(TINY.polylines)
    inputs["map"], inputs["map_valid"] = inputs["map"][:, mixed], inputs["map_valid"][:, mixed]
    three = asked(network(), inputs)
    for name in one:
        assert np.allclose(one[name][order], two[name][:4], atol=1e-5), name
        assert np.allclose(one[name], three[name], atol=1e-5), name


def test_others_lights_and_map_count() -> None:
    config = dataclasses.replace(TINY, polylines=40)  # all of the map
    net, past = network(config), people()
    base = asked(net, arrays(config))["position"]
    bare = cut_map(None, TINY.points, TINY.spacing)
    green = np.array([LightState.GREEN, LightState.OFF])
    for changed in ({"rows": np.array([0])}, {"pieces": bare}, {"lights": green}):
        other = asked(net, arrays(config, past, **changed))["position"]
        assert np.abs(base - other)[0].max() > 1e-4, changed


def test_it_begins_with_going_on_as_now() -> None:
    net = network()
    net.future[-1].weight.data.zero_()
    net.future[-1].bias.data.zero_()
    past = people()
    found = asked(net, arrays(past=past))["position"][:4]
    speed = np.hypot(past.vx[-1], past.vy[-1])
    times = 0.5 * np.arange(1, 5)
    assert np.allclose(found[..., 0], (speed[:, None] * times)[:, None], atol=1e-4)
    assert np.allclose(found[..., 1], 0.0, atol=1e-4)


@pytest.mark.parametrize(
    "bad, told",
    [
        ({"agents": 0}, "agents is 0"),
        ({"horizon": 9.0}, "horizon is 9.0"),
        ({"step": 0.25}, "multiple of 0.1"),
        ({"horizon": 2.2}, "multiple of 0.5"),
        ({"points": 1}, "points is 1"),
    ],
)
def test_a_wrong_size_is_told(bad: dict, told: str) -> None:
    with pytest.raises(RoadloopError, match=told) as error:
        ForecastConfig(**bad)
    assert "\n" not in str(error.value)


# --- the loss -----------------------------------------------------------------------------------


def test_only_the_nearest_future_learns() -> None:
    position = torch.tensor([[[[1.0, 0.0], [2.0, 0.0]], [[1.0, 3.0], [2.0, 6.0]]]])[None]
    position = position[0].requires_grad_()[None]
    scale = torch.full((1, 1, 2, 2, 2), 0.5)
    logit = torch.zeros(1, 1, 2)
    truth = {"future": torch.tensor([[[[1.5, 0.0], [2.0, 0.25]]]]),
             "future_valid": torch.ones(1, 1, 2), "weight": torch.ones(1, 1)}  # fmt: skip
    outputs = {"position": position, "scale": scale, "logit": logit}
    terms = ForecastLoss(distance=0.0, mode=1.0, everybody=0.0).terms(outputs, truth, 0.0)
    # log(2 b) = 0; the errors are 0.5 along, then 0.25 across
    assert terms["likelihood"].item() == pytest.approx((0.5 + 0.25) / 0.5 / 2, abs=1e-5)
    assert float(terms["mode"]) == pytest.approx(math.log(2.0))
    assert float(terms["distance"]) == pytest.approx(0.375, abs=1e-3)
    (gradient,) = torch.autograd.grad(terms["likelihood"], position)
    assert gradient[0, 0, 0].abs().sum() > 0 and not gradient[0, 0, 1].any()
    early = ForecastLoss(everybody=0.5).terms(outputs, truth, 0.0)["likelihood"]
    (gradient,) = torch.autograd.grad(early, position)
    assert gradient[0, 0, 1].abs().sum() > 0
    truth["future_valid"] = torch.tensor([[[0.0, 1.0]]])
    late = ForecastLoss(distance=0.0).terms(outputs, truth, 1.0)
    assert float(late["likelihood"]) == pytest.approx(0.5, abs=1e-5)


def test_nobody_to_learn_from_is_no_loss() -> None:
    outputs = {k: torch.ones(1, *shape) for k, shape in TINY.outputs().items()}
    truth = {"future": torch.zeros(1, 6, 4, 2), "future_valid": torch.zeros(1, 6, 4),
             "weight": torch.ones(1, 6)}  # fmt: skip
    assert float(ForecastLoss().terms(outputs, truth, 0.0)["total"]) == 0.0


def test_directions_follow_the_path_and_who_stands_looks_ahead() -> None:
    path = torch.tensor([[0.0, 4.0], [0.0, 8.0], [0.0, 8.0]])
    found = directions(path).numpy()
    assert np.allclose(found[:2], [[0.0, 1.0]] * 2, atol=0.03)
    assert np.allclose(found[2], [1.0, 0.0])


# --- paths --------------------------------------------------------------------------------------


def test_even_motion_is_met_at_any_time() -> None:
    velocity = np.array([[5.0, -1.0]])
    position = velocity[:, None, None] * (0.5 * np.arange(1, 5))[:, None]
    times = np.arange(0.0, 4.01, 0.2)  # twice as long as the forecast
    found = along_points(position, velocity, times, 0.5)
    assert np.allclose(found[0, 0], times[:, None] * velocity)


def test_a_path_meets_its_points_and_is_smooth() -> None:
    angle = 0.3 * np.arange(1, 5)
    position = 10.0 * np.stack([np.sin(angle), 1.0 - np.cos(angle)], -1)[None, None]
    velocity = np.array([[6.0, 0.0]])
    assert np.allclose(along_points(position, velocity, 0.5 * np.arange(1, 5), 0.5), position)
    times = np.arange(0.0, 2.0, 0.1)
    path = along_points(position, velocity, times, 0.5)
    off = np.abs(np.hypot(path[0, 0, :, 0], path[0, 0, :, 1] - 10.0) - 10.0)
    assert off[:15].max() < 0.02 and off.max() < 0.1  # the last piece does not know what follows
    heading = headings_along(path, times, np.array([False]))
    assert heading[0, 0, 0] == 0.0 and np.allclose(heading[0, 0], 0.6 * times, atol=0.05)


def test_who_stops_keeps_looking_the_same_way_and_who_reverses_looks_back() -> None:
    times = 0.2 * np.arange(6)
    path = np.zeros((1, 1, 6, 2))
    path[0, 0, :, 1] = [0.0, 1.0, 2.0, 2.0, 2.0, 2.01]
    assert np.allclose(headings_along(path, times, np.array([False]))[0, 0, 1:], np.pi / 2)
    back = np.zeros((1, 1, 6, 2))
    back[..., 0] = -times
    heading = headings_along(back, times, np.array([True]))
    assert np.allclose(np.cos(heading), 1.0)


def test_spread_goes_on_growing_beyond_the_last_point() -> None:
    values = np.array([0.0, 1.0, 3.0])[None, None, :, None] * np.ones(2)
    found = linear(values, np.array([0.0, 0.5, 2.0, 3.0]))
    assert found[0, 0, :, 0].tolist() == [0.0, 0.5, 3.0, 5.0]


# --- as a part of the driver --------------------------------------------------------------------


def checkpoint(folder: Path, **header) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    about = {"format": FORMAT, "kind": KIND, "config": dataclasses.asdict(TINY)} | header
    weights = {k: v.contiguous() for k, v in network().state_dict().items()}
    save_file(weights, folder / WEIGHTS, metadata={"roadloop": json.dumps(about)})
    return folder / WEIGHTS


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("forecaster")).parent


def scenario(road_map: RoadMap) -> Scenario:
    unused = dict.fromkeys(f.name for f in dataclasses.fields(Scenario))
    return Scenario(**{**unused, "road_map": road_map})  # type: ignore[arg-type]


def ego_at(x: float, y: float, heading: float = 0.0) -> EgoState:
    values = (x, y, 0.0, heading, 3.0, 0.0, 0.0, 0.0)
    return EgoState(*(np.float64(v) for v in values))


def drive(
    forecaster: LearnedForecaster,
    past: AgentStates,
    ego: EgoState | None = None,
    road_map: RoadMap | None = None,
    rng: np.random.Generator | None = None,
    horizon: float = 2.0,
    dt: float = 0.1,
) -> tuple[Forecasts, AgentStates]:
    """The forecast after all steps, and the states it is of; ``rng`` shuffles rows each step."""
    forecaster.reset(scenario(road() if road_map is None else road_map))
    for step in range(len(past.valid)):
        order = np.arange(past.valid.shape[1]) if rng is None else rng.permutation(past.x.shape[1])
        now = AgentStates(
            **{f.name: getattr(past, f.name)[step][order] for f in dataclasses.fields(past)}
        )
        count = len(order)
        tracks = Tracks(now, np.full(count, 0.3), np.full(count, step))
        observation = Observation(
            step=step, time=0.1 * step, dt=0.1, ego=ego or ego_at(20.0, 0.0), tracks=tracks,
            lights=np.array([LightState.RED, LightState.OFF]),
        )  # fmt: skip
        found = forecaster.forecast(observation, tracks, horizon, dt)
    return found, now


def test_a_forecast_is_what_the_planner_expects(run_folder: Path) -> None:
    past = people(10)
    found, now = drive(LearnedForecaster(run_folder), past, horizon=6.0, dt=0.2)
    shape = (10, TINY.modes, 31)
    for name in ("x", "y", "heading", "along_std", "across_std"):
        value = getattr(found, name)
        assert value.shape == shape and np.isfinite(value).all(), name
    assert found.probability.shape == shape[:2] and found.dt == 0.2
    assert np.allclose(found.probability.sum(-1), 1.0)
    assert (np.diff(found.probability, axis=1) <= 0.0).all()
    for name in ("x", "y", "heading"):
        assert np.allclose(getattr(found, name)[..., 0], getattr(now, name)[:, None]), name
    assert np.allclose(found.along_std[..., 0], 0.3)
    still = now.kind == AgentKind.STATIC
    assert still.sum() == 2 and np.allclose(np.ptp(found.x[still], axis=-1), 0.0)


def test_who_is_beyond_its_number_goes_straight_on(run_folder: Path) -> None:
    past = people(10)
    found, now = drive(LearnedForecaster(run_folder), past)
    times = 0.1 * np.arange(21)
    straight_on = now.x[:, None, None] + now.vx[:, None, None] * times
    plain = np.isclose(found.x, straight_on, atol=1e-9).all((1, 2))
    away = np.hypot(now.x - 21.35, now.y)  # from the ego's box
    movers = np.flatnonzero(now.kind != AgentKind.STATIC)
    far = movers[np.argsort(away[movers])][TINY.agents - 1 :]  # the ego takes a place
    assert set(np.flatnonzero(plain & (now.kind != AgentKind.STATIC))) == set(far) and len(far) == 3


def test_everybody_is_forecast_where_that_is_asked_for(run_folder: Path) -> None:
    past = people(10)
    near, now = drive(LearnedForecaster(run_folder), past)
    all_of_them, _ = drive(LearnedForecaster(run_folder, everybody=True), past)
    times = 0.1 * np.arange(21)
    straight_on = now.x[:, None, None] + now.vx[:, None, None] * times
    plain = np.isclose(all_of_them.x, straight_on, atol=1e-9).all((1, 2))
    assert not plain[now.kind != AgentKind.STATIC].any()
    was = np.isclose(near.x, straight_on, atol=1e-9).all((1, 2))
    assert np.array_equal(all_of_them.x[~was], near.x[~was])  # the nearest as ever


def test_what_is_only_observed_is_remembered(run_folder: Path) -> None:
    asked, shown = LearnedForecaster(run_folder), LearnedForecaster(run_folder)
    past = people(5)
    one, _ = drive(asked, past)
    shown.reset(scenario(road()))
    for step in range(len(past.valid)):
        now = AgentStates(**{f.name: getattr(past, f.name)[step] for f in dataclasses.fields(past)})
        tracks = Tracks(now, np.full(5, 0.3), np.full(5, step))
        observation = Observation(
            step=step, time=0.1 * step, dt=0.1, ego=ego_at(20.0, 0.0), tracks=tracks,
            lights=np.array([LightState.RED, LightState.OFF]),
        )  # fmt: skip
        if step < len(past.valid) - 1:
            shown.observe(observation, tracks)
    two = shown.forecast(observation, tracks, 2.0, 0.1)
    assert np.array_equal(one.x, two.x)


def test_tracks_are_known_by_their_id(run_folder: Path) -> None:
    forecaster, past = LearnedForecaster(run_folder), people(5)
    one, first = drive(forecaster, past)
    two, second = drive(forecaster, past, rng=np.random.default_rng(0))
    order = [int(np.flatnonzero(second.id == i)[0]) for i in first.id]
    for name in ("x", "y", "heading", "probability", "along_std"):
        assert np.allclose(getattr(one, name), getattr(two, name)[order], atol=1e-5), name
    short = dataclasses.replace(past, valid=past.valid.copy())
    short.valid[:-1, 0] = False
    three, _ = drive(forecaster, short)
    assert np.abs(three.x[0] - one.x[0]).max() > 1e-4  # the history counts


def test_forecasts_turn_with_the_world(run_folder: Path) -> None:
    forecaster, past, angle, x, y = LearnedForecaster(run_folder), people(5), 1.9, 3e4, -5e5
    m, c, s = road(), math.cos(1.9), math.sin(1.9)

    def moved(xyz: Array) -> Array:
        flat = xyz[:, :2] @ np.array([[c, s], [-s, c]]) + (x, y)
        return np.column_stack([flat, xyz[:, 2]])

    turned_road = dataclasses.replace(
        m, point_xyz=moved(m.point_xyz), crosswalk_xyz=moved(m.crosswalk_xyz)
    )
    one, _ = drive(forecaster, past)
    ego = ego_at(c * 20.0 + x, s * 20.0 + y, angle)
    two, _ = drive(forecaster, turned(past, angle, x, y), ego, turned_road)
    assert np.allclose(c * one.x - s * one.y + x, two.x, atol=1e-3)
    assert np.allclose(s * one.x + c * one.y + y, two.y, atol=1e-3)
    assert np.allclose(np.cos(one.heading + angle - two.heading), 1.0, atol=1e-4)
    assert np.allclose(one.probability, two.probability, atol=1e-5)


def test_a_new_scenario_begins_without_memory(run_folder: Path) -> None:
    forecaster, past = LearnedForecaster(run_folder), people(5)
    one, _ = drive(forecaster, past)
    drive(forecaster, people(5, seed=4))
    two, _ = drive(forecaster, past)
    assert np.array_equal(one.x, two.x) and np.array_equal(one.probability, two.probability)


def test_no_tracks_no_forecasts(run_folder: Path) -> None:
    found, _ = drive(LearnedForecaster(run_folder), people(0))
    assert found.x.shape == (0, TINY.modes, 21) and found.probability.shape == (0, TINY.modes)


def test_onnx_runtime_says_the_same(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    file = checkpoint(tmp_path)
    past = people(5)
    by_torch, _ = drive(LearnedForecaster(file), past)
    made = export_forecaster(tmp_path)
    assert made == tmp_path / "forecaster.onnx"
    import onnxruntime

    session = onnxruntime.InferenceSession(str(made), providers=["CPUExecutionProvider"])
    inputs = {name: value[None] for name, value in arrays().items()}
    found = session.run(list(TINY.outputs()), inputs)
    for (name, value), other in zip(asked(load_forecaster(file)[0], arrays()).items(), found):
        assert np.abs(value - other[0]).max() < 1e-4, name
    by_onnx, _ = drive(LearnedForecaster(file), past)
    for name in ("x", "y", "probability", "along_std", "across_std"):
        assert np.abs(getattr(by_torch, name) - getattr(by_onnx, name)).max() < 1e-4, name
    weights = {k: v + 0.01 for k, v in load_forecaster_weights(file)[1].items()}
    save_file(weights, file, metadata={"roadloop": json.dumps(
        {"format": FORMAT, "kind": KIND, "config": dataclasses.asdict(TINY)})})  # fmt: skip
    with pytest.raises(RoadloopError, match=r"was not made of the weights in forecaster\.safe"):
        LearnedForecaster(tmp_path)
    import onnx

    save_file(load_forecaster_weights(file)[1], file, metadata={"roadloop": json.dumps(
        {"format": FORMAT, "kind": KIND, "config": dataclasses.asdict(TINY)})})  # fmt: skip
    model = onnx.load(export_forecaster(tmp_path))
    assert LearnedForecaster(tmp_path).config == TINY
    for entry in model.metadata_props:
        if entry.key == "config":
            entry.value = '{"wings": 2}'
    onnx.save(model, made)
    with pytest.raises(RoadloopError, match="another version of roadloop"):
        LearnedForecaster(tmp_path)
    made.write_bytes(b"no network")
    with pytest.raises(RoadloopError, match="cannot be read") as error:
        LearnedForecaster(tmp_path)
    assert "\n" not in str(error.value)


def test_files_that_are_no_forecaster_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "f.pt").write_bytes(pickle.dumps({}))
    (tmp_path / "empty").mkdir()
    checkpoint(tmp_path / "other", kind="detector")
    checkpoint(tmp_path / "newer", format=9)
    checkpoint(tmp_path / "strange", config={"wings": 2})
    for path, told in (("f.pt", "pickled"), ("empty", "holds no forecaster.safetensors"),
                       ("missing", "no such file"), ("other", 'a "detector"'),
                       ("newer", "format 9"), ("strange", "another version")):  # fmt: skip
        with pytest.raises(RoadloopError, match=told) as error:
            LearnedForecaster(tmp_path / path)
        assert "\n" not in str(error.value)


def test_mistakes_in_asking_are_told(run_folder: Path) -> None:
    with pytest.raises(RoadloopError, match="threads is 0"):
        LearnedForecaster(run_folder, threads=0)
    with pytest.raises(RoadloopError, match="forecast of"):
        drive(LearnedForecaster(run_folder), people(), horizon=0.0)
