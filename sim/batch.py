"""Scenarios into a batch: the arrays a simulation starts from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import warp as wp

from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.types import AgentKind, Behaviour, Scenario
from sim.lane_graph import LaneGraph, lane_graph
from sim.path import locate, refill
from sim.population import check_motion
from sim.replay import settle_replayed
from sim.state import AHEAD, Agent, Fixed, LightTiming, Pose, Traits, lane_chain

wp.set_module_options({"enable_backward": False})

GRAVITY = 9.81
MOVED = (Behaviour.REPLAY, Behaviour.REACT)
"""behaviours with a motion in Agents.replay"""
TREMBLE = 0.2
"""m, recorded positions of somebody who stands wander about by less"""

# wheelbase and rear overhang as shares of the length, steering limit (rad), acceleration and
# deceleration limits (m/s^2): typical values of each kind.
VEHICLE = {
    AgentKind.CAR: (0.60, 0.21, 0.61, 4.0, 8.0),
    AgentKind.VAN: (0.60, 0.22, 0.61, 3.5, 8.0),
    AgentKind.TRUCK: (0.58, 0.25, 0.70, 2.0, 6.5),
    AgentKind.BUS: (0.52, 0.27, 0.75, 2.0, 6.5),
    AgentKind.MOTORCYCLE: (0.66, 0.17, 0.61, 5.0, 8.0),
    AgentKind.CYCLIST: (0.60, 0.20, 0.80, 1.5, 5.0),
    AgentKind.PEDESTRIAN: (0.60, 0.20, 0.61, 2.0, 5.0),
    AgentKind.STATIC: (0.60, 0.20, 0.61, 1.0, 8.0),
}


def make_batch(scenarios: Sequence[Scenario], device: str) -> tuple[Fixed, wp.array]:
    """What stays of a batch, and its agents before they have found their lanes.

    Raises:
        RoadloopError: no scenario, or scenarios on different maps or with different steps.
    """
    if not scenarios:
        raise RoadloopError("no scenario to simulate: give at least one")
    first = scenarios[0]
    for s in scenarios:
        if s.road_map is not first.road_map or s.dt != first.dt:
            raise RoadloopError(
                f"scenarios {first.name} and {s.name} differ in map or dt: simulate them apart"
            )
    graph = lane_graph(first.road_map, device)
    worlds = len(scenarios)
    width = 1 + max(len(s.agents.lane) for s in scenarios)
    hops = max(1, *(max(s.agents.route.shape[1], len(s.route.lanes)) for s in scenarios))
    agents = np.zeros((worlds, width), Agent.numpy_dtype())
    traits = np.zeros((worlds, width), Traits.numpy_dtype())
    route = np.full((worlds, width, hops), -1, np.int32)
    signals = len(first.road_map.signal_id)
    timing = np.zeros((worlds, max(signals, 1)), LightTiming.numpy_dtype())
    ids = np.zeros((worlds, width), np.int64)
    for w, s in enumerate(scenarios):
        n = 1 + len(s.agents.lane)
        _put_ego(s, agents[w], traits[w], route[w])
        _put_agents(s, agents[w, 1:n], traits[w, 1:n], route[w, 1:n])
        ids[w, 1:n] = s.agents.states.id
        seeds = np.random.SeedSequence([s.seed, 0x5EED]).generate_state(width)
        traits[w]["seed"] = (seeds & 0x7FFFFFFF).astype(np.int32)
        for name in ("cycle", "offset", "green", "yellow", "red", "fixed"):
            timing[name][w, :signals] = getattr(s.lights, name)
    agents["cos"], agents["sin"] = np.cos(agents["heading"]), np.sin(agents["heading"])
    agents["ahead"] = -1
    for name in ("from_lane", "granted", "stopping", "stopped_for", "script", "leader"):
        agents[name] = -1
    agents["change"] = 1.0
    poses = put_replay(scenarios, traits)
    record = put_light_record(scenarios, timing)
    fixed = Fixed(
        scenarios=tuple(scenarios),
        dt=first.dt,
        graph=graph,
        traits=wp.array(traits, dtype=Traits, device=device),
        route=wp.array(route, dtype=wp.int32, device=device),
        timing=wp.array(timing, dtype=LightTiming, device=device),
        replay=wp.array(poses, dtype=Pose, device=device),
        light_record=wp.array(record, dtype=wp.int32, device=device),
        ids=ids,
        begun=wp.zeros(worlds, dtype=wp.int32, device=device),
    )
    return fixed, wp.array(agents, dtype=Agent, device=device)


def _put_ego(s: Scenario, agents: np.ndarray, traits: np.ndarray, route: np.ndarray) -> None:
    a, t, v = agents[0], traits[0], s.ego.vehicle
    a["x"], a["y"] = s.ego.box_centre()
    for name in ("z", "heading", "speed", "acceleration", "steering"):
        a[name] = getattr(s.ego, name)
    a["valid"], a["lane"] = 1, -1
    t["kind"], t["controlled"] = AgentKind.CAR, 1
    if s.replay_ego:
        if s.expert is None:
            raise RoadloopError(f"scenario {s.name} has no recorded ego to replay")
        t["controlled"], t["behaviour"] = 0, Behaviour.REPLAY
    for name in (
        "length", "width", "height", "wheelbase", "centre_offset", "max_steering",
        "max_steering_rate", "max_acceleration", "max_deceleration", "steering_lag",
        "acceleration_lag",
    ):  # fmt: skip
        t[name] = getattr(v, name)
    t["grip"] = v.friction * GRAVITY
    t["speed_factor"], t["max_speed"], t["headway"], t["min_gap"] = 1.0, 100.0, 1.5, 2.0
    t["a"], t["b"] = 1.5, 2.0
    _blend(traits[:1], s.dt)
    route[0, : len(s.route.lanes)] = s.route.lanes


def _blend(traits: np.ndarray, dt: float) -> None:
    """What follows from other traits and the step: first-order lags over one step, 2 sqrt(a b)."""
    for actuator in ("steering", "acceleration"):
        lag = np.maximum(traits[f"{actuator}_lag"], 1e-3)
        traits[f"{actuator}_blend"] = 1.0 - np.exp(-dt / lag)
    traits["root_ab"] = 2.0 * np.sqrt(traits["a"] * traits["b"])


def _put_agents(s: Scenario, agents: np.ndarray, traits: np.ndarray, route: np.ndarray) -> None:
    g, start = s.agents, s.agents.states
    for name in ("x", "y", "z", "heading", "speed", "valid"):
        agents[name] = getattr(start, name)
    moved = np.flatnonzero(np.isin(g.behaviour, MOVED))
    if len(moved):
        _start_replayed(s, moved, agents)
    agents["lane"], agents["s"], agents["lateral"] = g.lane, g.s, g.lateral_offset
    for name in ("kind", "length", "width", "height"):
        traits[name] = getattr(start, name)
    for name in ("behaviour", "trigger", "action"):
        traits[name] = getattr(g, name)
    for name in (
        "speed_factor", "max_speed", "headway", "min_gap", "politeness", "lateral_offset",
        "trigger_value", "action_rate",
    ):  # fmt: skip
        traits[name] = getattr(g, name)
    traits["action_hold"] = np.minimum(g.action_hold, 1.0e9)
    traits["a"], traits["b"] = g.acceleration, g.deceleration
    table = np.array([VEHICLE[AgentKind(k)] for k in start.kind]).reshape(-1, 5)
    base, rear, steering, up, down = table.T
    traits["wheelbase"] = base * start.length
    traits["centre_offset"] = (0.5 - rear) * start.length
    traits["max_steering"], traits["max_steering_rate"] = steering, 1.0
    traits["max_acceleration"], traits["max_deceleration"] = up, down
    # In a bend of radius R the front bumper, f ahead of the rear axle, swings out by f^2 / (2 R):
    # traffic likes corners where that stays under 1.3 m.
    traits["turning"] = 2.6 / ((1.0 - rear) * start.length) ** 2
    traits["steering_lag"], traits["acceleration_lag"] = 0.1, 0.2
    _blend(traits, s.dt)
    traits["grip"] = 0.9 * GRAVITY
    traits["walk_x0"], traits["walk_y0"] = start.x, start.y
    traits["walk_x1"], traits["walk_y1"] = g.walk_to.T
    route[:, : g.route.shape[1]] = g.route
    traits["wanders"] = g.route[:, 0] < 0


def _start_replayed(s: Scenario, moved: np.ndarray, agents: np.ndarray) -> None:
    """Puts replayed agents to the first pose of their motion; invalid where they come later."""
    for row in moved:
        check_motion(s.agents.replay[row], f"scenario {s.name}: the replay of agent {row}")
    first = s.agents.replay[moved, 0]
    there = np.isfinite(first[:, 0])
    agents["valid"][moved] = there
    for k, name in enumerate(("x", "y", "heading", "speed")):
        values = first[there, k]
        agents[name][moved[there]] = wrap_angle(values) if name == "heading" else values


def put_replay(scenarios: Sequence[Scenario], traits: np.ndarray) -> np.ndarray:
    """The (poses,) Pose of all motions, and where each agent's are; worlds may share them.

    That of the recorded ego is there too: others know by it whether it drives as it did.
    """
    starts: dict[int, int] = {}
    parts, total = [np.zeros(1, Pose.numpy_dtype())], 1

    def put(key: object, motions: np.ndarray) -> int:
        nonlocal total
        if id(key) not in starts:
            starts[id(key)] = total
            parts.append(_poses(motions))
            total += len(parts[-1])
        return starts[id(key)]

    for w, s in enumerate(scenarios):
        if s.expert is not None:
            x, y = s.expert.box_centre()
            motion = np.stack([x, y, s.expert.heading, s.expert.speed], axis=-1)
            traits["replay"][w, 0] = put(s.expert, motion[None])
            traits["replay_steps"][w, 0] = len(motion)
        moved = np.flatnonzero(np.isin(s.agents.behaviour, MOVED))
        if len(moved):
            steps = s.agents.replay.shape[1]
            first = put(s.agents, s.agents.replay[moved])
            traits["replay"][w, 1 + moved] = first + np.arange(len(moved)) * steps
            traits["replay_steps"][w, 1 + moved] = steps
    poses = np.zeros(total, Pose.numpy_dtype())  # concatenating would drop its padding
    poses[:] = np.concatenate(parts)
    return poses


def _poses(motions: np.ndarray) -> np.ndarray:
    """(agents * steps,) Pose of motions (agents, steps, 4)."""
    poses = np.zeros(motions.shape[:2], Pose.numpy_dtype())
    poses["x"], poses["y"], poses["speed"] = motions[..., 0], motions[..., 1], motions[..., 3]
    poses["heading"] = wrap_angle(motions[..., 2])
    poses["along"] = _path_length(motions[..., :2])
    return poses.ravel()


def _path_length(xy: np.ndarray) -> np.ndarray:
    """(agents, steps) m driven so far on paths (agents, steps, 2), NaN where nobody is there.

    Trembling about a place is not driving, and while somebody is not there his path does not grow.
    """
    length = np.zeros(xy.shape[:2])
    anchor, total = np.full((len(xy), 2), np.nan), np.zeros(len(xy))
    for k in range(xy.shape[1]):
        here = xy[:, k]
        step = np.hypot(*(here - anchor).T)
        drove = step > TREMBLE
        total[drove] += step[drove]
        moved = drove | (np.isnan(anchor[:, 0]) & np.isfinite(here[:, 0]))
        anchor[moved] = here[moved]
        length[:, k] = total
    return length


def put_light_record(scenarios: Sequence[Scenario], timing: np.ndarray) -> np.ndarray:
    """The (states,) LightState of all recorded lights, and where each light's are; as motions are,
    they may be shared."""
    starts: dict[int, int] = {}
    parts, total = [np.zeros(1, np.int32)], 1
    for w, s in enumerate(scenarios):
        recorded = s.lights.recorded
        if recorded is None:
            continue
        signals, steps = recorded.shape
        if id(recorded) not in starts:
            starts[id(recorded)] = total
            parts.append(recorded.astype(np.int32).ravel())
            total += signals * steps
        timing["record"][w, :signals] = starts[id(recorded)] + np.arange(signals) * steps
        timing["records"][w, :signals] = steps
    return np.concatenate(parts)


@wp.kernel
def settle(
    g: LaneGraph,
    traits: wp.array2d(dtype=Traits),
    route: wp.array3d(dtype=wp.int32),
    first_world: wp.int32,
    agents: wp.array2d(dtype=Agent),
):
    """Agents find their lanes and the lanes ahead."""
    tid_w, i = wp.tid()
    w = first_world + tid_w
    a = agents[w, i]
    t = traits[w, i]
    if a.valid == 1 and (t.behaviour == Behaviour.TRAFFIC or t.controlled == 1):
        if t.controlled == 1:
            x = wp.float32(a.x - g.origin_x)
            y = wp.float32(a.y - g.origin_y)
            a, _heading, _width = locate(g, a, x, y, route, w, i)
        else:
            chain = lane_chain()
            for k in range(AHEAD):
                chain[k] = -1
            chain[0] = a.lane
            a.ahead = chain
            if route[w, i, 0] == a.lane:
                a.hop = 1
        if a.lane >= 0:
            a = refill(g, a, t, route, w, i)
    if a.valid == 1 and (t.behaviour == Behaviour.REPLAY or t.behaviour == Behaviour.REACT):
        a = settle_replayed(g, a, route, w, i)
    agents[w, i] = a
