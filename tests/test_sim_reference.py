"""The simulator's kernels against the plain NumPy reference of one step, over 60 steps."""

from __future__ import annotations

import numpy as np
import pytest
from sim_reference import Car, Centreline, step
from sim_worlds import record, scenario_on

from roadloop.maps.generate import generate_map
from roadloop.maps.road_map import RoadMap
from roadloop.types import AgentKind
from sim.population import RoadUser, user_on
from sim.simulator import Simulator
from sim.state import SimState

STEPS = 60
ROADS = {
    "straight": generate_map("straight"),
    "curve": generate_map("curve"),
    "tight curve": generate_map("curve", radius=35.0, approach=80.0, speed_limit=50.0 / 3.6),
}


def drawn_cars(road_map: RoadMap, seed: int) -> list[RoadUser]:
    """Five cars of different manners on each of the two lanes, some too close or off the line."""
    rng = np.random.default_rng(seed)
    users = []
    for lane in np.flatnonzero(road_map.is_travel):
        s = rng.uniform(5.0, 15.0)
        for _ in range(5):
            user = user_on(
                road_map,
                int(lane),
                s,
                rng.choice([AgentKind.CAR, AgentKind.VAN]),
                rng=rng,
                speed=rng.uniform(0.0, 14.0),
                lateral_offset=rng.choice([0.0, rng.uniform(-0.3, 0.3)]),
                max_speed=rng.uniform(4.0, 25.0),
            )
            # Negative politeness: it never changes lane.
            user.politeness = -1.0
            user.heading += rng.uniform(-0.02, 0.02)
            users.append(user)
            s += rng.uniform(14.0, 35.0)
    return users


def reference_cars(state: SimState) -> list[Car]:
    """The agents of a one-world state as the reference sees them."""
    now, traits = state.agents.numpy()[0, 1:], state.fixed.traits.numpy()[0, 1:]
    names = ("x", "y", "heading", "s", "lateral", "speed", "acceleration", "steering")
    return [
        Car(lane=int(a["lane"]), traits=t, **{n: float(a[n]) for n in names})
        for a, t in zip(now, traits, strict=True)
    ]


@pytest.mark.parametrize(
    ("road", "seed"),
    [(road, seed) for road in ("straight", "curve") for seed in range(4)]
    + [("tight curve", seed) for seed in range(5)],
)
def test_agrees_with_the_reference(road: str, seed: int) -> None:
    road_map = ROADS[road]
    simulator = Simulator()
    state = simulator.reset([scenario_on(road_map, drawn_cars(road_map, seed), seed=seed)])
    cars = reference_cars(state)
    lines = {car.lane: Centreline(road_map, car.lane) for car in cars}
    driven = record(simulator, state, STEPS).agents[:, 0, 1:]
    for now in driven[1:]:
        cars = step(cars, lines, state.fixed.dt)
        mine = {name: np.array([getattr(c, name) for c in cars]) for name in ("x", "y", "s")}
        away = np.hypot(mine["x"] - now["x"], mine["y"] - now["y"])
        assert away.max() < 1e-4  # m; about 1e-5 measured
        # s is float32: at 800 m it counts in steps of 6e-5 m
        np.testing.assert_allclose(now["s"], mine["s"], rtol=0.0, atol=3e-4)
    for name in ("speed", "acceleration", "steering"):
        mine = [getattr(c, name) for c in cars]
        # looser than positions: on a point's edge the two may read the bend's cap one point apart
        np.testing.assert_allclose(driven[-1][name], mine, rtol=0.0, atol=2e-3, err_msg=name)
    assert (driven["lane"] == driven["lane"][0]).all() and driven["valid"].all()
    assert (driven["acceleration"] < -2.0).any() and (driven["leader"] > 0).any()
    assert np.hypot(*(driven[-1][k] - driven[0][k] for k in "xy")).mean() > 20.0
