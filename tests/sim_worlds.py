"""What the simulator's tests share: scenarios put together by hand, recorded runs, hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from roadloop.maps import load_map
from roadloop.maps.road_map import RoadMap
from roadloop.types import EgoState, LightProgramme, LightState, Route, Scenario, VehicleParameters
from sim.population import RoadUser, agents_from, pose_on
from sim.simulator import Simulator
from sim.state import HIT, OFF_ROAD, RED_LIGHT, WRONG_WAY, SimState

TOWNS = Path(__file__).resolve().parents[2] / "shared" / "data" / "carla_maps"
FAR = 1000.0
"""m from the map where an ego stands that is to meet nobody"""
LONG = 6.5
"""m, length from which a vehicle's ends swing out of its lane in corners"""
NO_FAULTS = {"hit": 0, "off road": 0, "wrong way": 0, "red light": 0}


def scenario_on(
    road_map: RoadMap,
    users: Sequence[RoadUser] = (),
    *,
    ego: tuple[int, float] | None = None,
    lateral: float = 0.0,
    turn: float = 0.0,
    speed: float = 0.0,
    steering: float = 0.0,
    vehicle: VehicleParameters | None = None,
    lights: LightProgramme | None = None,
    seed: int = 0,
    dt: float = 0.1,
) -> Scenario:
    """A scenario of exactly these road users.

    Args:
        ego: lane and s (m) of the ego's box centre; None: it stands far off the map.
        lateral, turn: m left of the centreline and rad off its direction.
        lights: every light is OFF where None.
    """
    vehicle = vehicle or VehicleParameters()
    if ego is None:
        low = road_map.point_xyz.min(0)
        x, y, z, heading = float(low[0]) - FAR, float(low[1]) - FAR, 0.0, 0.0
    else:
        x, y, z, heading = pose_on(road_map, *ego, lateral)
    heading += turn
    back = vehicle.centre_offset
    zero = np.float64(0.0)
    return Scenario(
        name="by-hand",
        family="by_hand",
        seed=seed,
        road_map=road_map,
        duration=60.0,
        dt=dt,
        ego=EgoState(
            x=np.float64(x - back * np.cos(heading)),
            y=np.float64(y - back * np.sin(heading)),
            z=np.float64(z),
            heading=np.float64(heading),
            speed=np.float64(speed),
            acceleration=zero,
            steering=np.float64(steering),
            yaw_rate=zero,
            vehicle=vehicle,
        ),
        route=Route(np.array([0 if ego is None else ego[0]], np.int32), 0.0, 1.0),
        agents=agents_from(users),
        lights=lights or all_lights(road_map, LightState.OFF),
    )


def all_lights(road_map: RoadMap, state: LightState) -> LightProgramme:
    """Every light in one state for ever."""
    n = len(road_map.signal_id)
    return LightProgramme(*np.zeros((5, n)), fixed=np.full(n, state, np.uint8))


class Recorded(NamedTuple):
    """States of consecutive steps, the first one included; axes (time, worlds, ...)."""

    agents: np.ndarray
    """(time, worlds, agents) records of sim.state.Agent"""
    events: np.ndarray
    lights: np.ndarray
    last: SimState


def record(
    simulator: Simulator, state: SimState, steps: int, control: np.ndarray | None = None
) -> Recorded:
    """Runs ``steps`` steps; ``control`` is (worlds, 2), the same in each step, or (steps, ...)."""
    if control is None:
        control = np.zeros((state.agents.shape[0], 2))
    control = np.broadcast_to(control, (steps, state.agents.shape[0], 2))
    states = [state]
    for k in range(steps):
        states.append(simulator.step(states[-1], control[k]))
    agents, events, lights = (
        np.stack([getattr(s, name).numpy() for s in states])
        for name in ("agents", "events", "lights")
    )
    return Recorded(agents, events, lights, states[-1])


def drive(road_map: RoadMap, users: Sequence[RoadUser], steps: int, **options: object) -> Recorded:
    """Runs one world; ``options`` are those of ``scenario_on``."""
    simulator = Simulator()
    state = simulator.reset([scenario_on(road_map, users, **options)])  # type: ignore[arg-type]
    return record(simulator, state, steps)


def faults(driven: Recorded) -> dict[str, int]:
    """How many agent steps of traffic (the ego left out) had each event.

    The corners of buses and trucks may swing over the kerb.
    """
    bits = {"hit": HIT, "off road": OFF_ROAD, "wrong way": WRONG_WAY, "red light": RED_LIGHT}
    events = driven.events[:, :, 1:].copy()
    events[:, driven.last.fixed.traits.numpy()["length"][:, 1:] > LONG] &= ~OFF_ROAD
    return {name: int(np.count_nonzero(events & bit)) for name, bit in bits.items()}


def digest(state: SimState, world: int | None = None, agents: int | None = None) -> str:
    """Hex SHA-256 of everything that changes in a state, or in one world's first ``agents``.

    Field by field, because the bytes between the fields of a record mean nothing.
    """
    found = hashlib.sha256(np.int64(state.step).tobytes())
    worlds = slice(None) if world is None else slice(world, world + 1)
    records = state.agents.numpy()[worlds, :agents]
    for name in records.dtype.names:
        found.update(np.ascontiguousarray(records[name]).tobytes())
    for array in (state.events, state.hit):
        found.update(np.ascontiguousarray(array.numpy()[worlds, :agents]).tobytes())
    found.update(np.ascontiguousarray(state.lights.numpy()[worlds]).tobytes())
    return found.hexdigest()


def lanes_outside_junctions(road_map: RoadMap) -> np.ndarray:
    """Indices of travel lanes."""
    return np.flatnonzero(road_map.is_travel & (road_map.lane_junction < 0))


def carla_town(name: str) -> RoadMap:
    """One of CARLA's towns; skips the test where the file is missing."""
    found = sorted(TOWNS.glob(f"{name}.xodr*"))
    if not found:
        pytest.skip(f"{TOWNS} has no {name}.xodr: this test needs that CARLA town")
    return load_map(found[0])
