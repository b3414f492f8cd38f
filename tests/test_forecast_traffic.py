"""Traffic led by a forecaster: it goes where it is told, on the road, and runs into nobody."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from deploy.traffic import TRAFFIC, make_traffic
from roadloop.errors import RoadloopError
from roadloop.maps.generate import generate_map
from roadloop.maps.locate import from_frenet, to_frenet
from roadloop.types import Behaviour, Control, Forecasts, Observation, Scenario, Tracks, Trigger
from sim.forecast_traffic import EVERY, HARDEST, OVER, ForecastTraffic, on_road
from sim.scenarios import build_scenario
from sim.simulator import SimWorld

COAST = Control(acceleration=np.float64(0.0), steering=np.float64(0.0))


class Straight:
    """Says that everybody goes straight on with a speed, by a second mode of no weight stops."""

    def __init__(self, speed: float | None = None) -> None:
        self.speed, self.asked, self.shown = speed, [], []

    def reset(self, scenario: Scenario) -> None:
        self.asked, self.shown = [], []

    def observe(self, observation: Observation, tracks: Tracks) -> None:
        self.shown.append(observation.step)

    def forecast(
        self, observation: Observation, tracks: Tracks, horizon: float, dt: float
    ) -> Forecasts:
        self.asked.append(observation.step)
        a, t = tracks.states, dt * np.arange(round(horizon / dt) + 1)
        speed = a.speed if self.speed is None else np.full(len(a.x), self.speed)
        x = a.x[:, None] + (speed * np.cos(a.heading))[:, None] * t
        y = a.y[:, None] + (speed * np.sin(a.heading))[:, None] * t
        heading = np.repeat(a.heading[:, None], len(t), axis=1)
        x, y = (np.stack([np.repeat(v[:, :1], len(t), 1), v], axis=1) for v in (x, y))
        heading = np.repeat(heading[:, None], 2, axis=1)
        zero = np.zeros_like(x)
        chance = np.tile([0.2, 0.8], (len(a.x), 1))
        return Forecasts(x=x, y=y, heading=heading, probability=chance, dt=dt, along_std=zero,
                         across_std=zero)  # fmt: skip


@pytest.fixture(scope="module")
def road() -> Scenario:
    """A straight road with some vehicles on it."""
    return build_scenario("lane_following", seed=3, agents=6, duration=20.0)


def run(world: SimWorld, scenario: Scenario, steps: int) -> list[np.ndarray]:
    """(agents,) records of every step."""
    world.reset(scenario, ("tracks", "lights"))
    kept = []
    for _ in range(steps):
        assert world.state is not None
        kept.append(world.state.agents.numpy()[0].copy())
        world.step(COAST)
    return kept


def test_the_most_probable_future_is_driven(road: Scenario) -> None:
    forecaster = Straight(5.0)
    kept = run(SimWorld(traffic=forecaster), road, 60)
    speed = np.array([a["speed"] for a in kept])
    led = np.flatnonzero(road.agents.behaviour == Behaviour.TRAFFIC) + 1
    there = led[kept[-1]["valid"][led] == 1]
    assert len(there) and np.allclose(speed[-1, there], 5.0, atol=0.6)
    change = np.diff(speed[:, there], axis=0) / 0.1
    assert change.max() < 3.01 and change.min() > HARDEST - 0.01
    # asked every 0.4 s, shown what is between
    stride = round(EVERY / 0.1)
    assert forecaster.asked == list(range(0, 60, stride))
    assert sorted(forecaster.asked + forecaster.shown) == list(range(60))


def test_again_and_without_a_forecaster_as_ever(road: Scenario) -> None:
    def end(world: SimWorld) -> bytes:
        last = run(world, road, 15)[-1]
        return b"".join(last[name].tobytes() for name in last.dtype.names)

    led = [end(SimWorld(traffic=make_traffic("lane-following"))) for _ in range(2)]
    plain = [end(SimWorld(traffic=make_traffic("rules"))), end(SimWorld())]
    assert led[0] == led[1] and plain[0] == plain[1] and led[0] != plain[0]


def test_who_stands_ahead_is_not_run_into(road: Scenario) -> None:
    """Told to go on at 10 m/s, vehicles stop behind those that are parked on their lane."""
    agents = road.agents
    parked = np.arange(len(agents.lane)) % 2 == 0
    states = dataclasses.replace(
        agents.states,
        vx=np.where(parked, 0.0, agents.states.vx),
        vy=np.where(parked, 0.0, agents.states.vy),
    )
    behaviour = np.where(parked, Behaviour.STATIC, agents.behaviour).astype(np.uint8)
    still = dataclasses.replace(agents, states=states, behaviour=behaviour)
    scenario = dataclasses.replace(road, agents=still)
    world = SimWorld(traffic=Straight(10.0))
    world.reset(scenario, ("tracks",))
    hits = 0
    for _ in range(120):
        world.step(COAST)
        assert world.state is not None
        hits += int((world.state.hit.numpy()[0, 1:] > 0).sum())
    assert hits == 0 and world.state is not None
    end = world.state.agents.numpy()[0]
    assert end["speed"][2] < 0.1 and end["s"][5] - end["s"][2] < 8.0  # it has come up to it


def test_vehicles_with_an_action_of_their_own_keep_it() -> None:
    scenario = build_scenario("lead_vehicle_brake", seed=1, duration=10.0)
    assert (scenario.agents.trigger != Trigger.NEVER).any()
    world = SimWorld(traffic=Straight())
    world.reset(scenario, ("tracks",))
    assert world.state is not None
    controlled = world.state.fixed.traits.numpy()[0]["controlled"]
    led = (scenario.agents.behaviour == Behaviour.TRAFFIC) & (
        scenario.agents.trigger == Trigger.NEVER
    )
    assert np.array_equal(controlled[1 : 1 + len(led)] == 1, led)


def test_where_the_map_ends_they_are_gone(road: Scenario) -> None:
    kept = run(SimWorld(traffic=Straight(30.0)), dataclasses.replace(road, duration=60.0), 150)
    gone = (kept[0]["valid"] == 1) & (kept[-1]["valid"] == 0)
    assert gone[1:].any() and not gone[0]


def test_paths_stay_on_the_road() -> None:
    m = generate_map("town", seed=0)
    lanes = np.flatnonzero(m.is_travel & (m.lane_length > 30.0) & (m.lane_left < 0))[:5]
    s, wide = np.linspace(5.0, 25.0, 9), np.full(len(lanes), 1.8)
    d = np.linspace(0.0, 3.0, 9)  # drifts over to the left, where there is no lane of this way
    x, y, heading = from_frenet(m, lanes[:, None], s, d)
    bent = on_road(m, x, y, heading, wide)
    _, lateral = to_frenet(m, lanes[:, None], *bent)
    half = 0.5 * m.point_width[m.point_start[lanes]][:, None]
    assert (lateral + 0.9 <= half + OVER + 0.02).all()
    small = d < 0.5
    assert np.allclose(bent[0][:, small], x[:, small], atol=1e-6)


def test_nobody_to_lead_is_fine() -> None:
    scenario = build_scenario("lane_following", seed=3, agents=0, duration=5.0)
    kept = run(SimWorld(traffic=Straight()), scenario, 5)
    assert len(kept) == 5


def test_names() -> None:
    assert make_traffic() is None and make_traffic("rules") is None
    assert ForecastTraffic(make_traffic("lane-following") or Straight()) is not None
    assert set(TRAFFIC) == {"rules", "learned", "lane-following"}
    for name, told in (("rulse", "rules"), ("rules:x", "takes nothing"),
                       ("lane-following:x", "takes nothing"),
                       ("learned:/nowhere", "no such file")):  # fmt: skip
        with pytest.raises(RoadloopError, match=told) as error:
            make_traffic(name)
        assert "\n" not in str(error.value)
