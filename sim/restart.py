"""Some worlds of a batch begin again, each with a scenario of its own, while the others go on.

A restarted world is the same, byte for byte, as in a batch that was reset with its scenario: its
clock starts at 0, its random numbers are its scenario's. The state it came from stays valid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import warp as wp

from roadloop.errors import RoadloopError
from roadloop.types import Behaviour
from sim.batch import put_replay
from sim.state import AHEAD, Agent, Fixed, LightTiming, Pose, SimState, Traits

wp.set_module_options({"enable_backward": False})


def restarted(state: SimState, worlds: Sequence[int], starts: Sequence[SimState]) -> SimState:
    """The state with these worlds replaced by first states of one world each.

    Where a start has more agents or longer routes than the batch has room for, the batch's arrays
    grow; its other worlds do not notice.

    Raises:
        RoadloopError: a start that is not one world at its first step, or on another map, device or
            ``dt``; worlds the batch does not have, or one twice.
    """
    count = state.agents.shape[0]
    worlds = [int(w) for w in worlds]
    if len(worlds) != len(starts) or len(set(worlds)) != len(worlds):
        raise RoadloopError(
            f"restart of worlds {worlds} with {len(starts)} scenarios: give one per world, each "
            "world once"
        )
    for w, start in zip(worlds, starts):
        _check(state, w, count, start)
    fixed = _copied(state, starts)
    scenarios, ids = list(state.fixed.scenarios), fixed.ids
    begun = state.fixed.begun.numpy().copy()
    new = SimState(
        fixed=fixed,
        step=state.step,
        agents=_empty_like(state.agents, fixed.traits.shape),
        lights=wp.clone(state.lights),
        events=_empty_like(state.events, fixed.traits.shape),
        hit=_empty_like(state.hit, fixed.traits.shape),
    )
    if fixed.route.shape == state.fixed.route.shape:
        for name in ("agents", "events", "hit"):
            wp.copy(getattr(new, name), getattr(state, name))
    else:
        _put(state, new, 0, count)
    for w, start in zip(worlds, starts):
        _put(start, new, w, 1)
        scenarios[w] = start.fixed.scenarios[0]
        ids[w] = 0
        ids[w, : start.fixed.ids.shape[1]] = start.fixed.ids[0]
        begun[w] = state.step
    replay = fixed.replay
    if any((s.agents.behaviour == Behaviour.REPLAY).any() for s in scenarios):
        traits = fixed.traits.numpy()  # a view on the CPU, a copy elsewhere
        replay = wp.array(put_replay(scenarios, traits), dtype=Pose, device=replay.device)
        fixed.traits.assign(traits)
    fixed = dataclasses.replace(
        fixed,
        scenarios=tuple(scenarios),
        replay=replay,
        begun=wp.array(begun, dtype=wp.int32, device=fixed.begun.device),
    )
    return dataclasses.replace(new, fixed=fixed)


def _check(state: SimState, world: int, count: int, start: SimState) -> None:
    if not 0 <= world < count:
        raise RoadloopError(f"restart of world {world}: the batch has worlds 0 to {count - 1}")
    if start.agents.shape[0] != 1 or start.step != 0:
        raise RoadloopError(
            f"restart of world {world} with {start.agents.shape[0]} worlds at step {start.step}: "
            "give a scenario, or the first state of one"
        )
    ours, theirs = state.fixed.scenarios[0], start.fixed.scenarios[0]
    if theirs.road_map is not ours.road_map or theirs.dt != ours.dt:
        raise RoadloopError(
            f"scenarios {ours.name} and {theirs.name} differ in map or dt: simulate them apart"
        )
    if start.agents.device != state.agents.device:
        raise RoadloopError(
            f"restart of world {world} on {start.agents.device}, the batch is on "
            f"{state.agents.device}: reset both with the same Simulator"
        )


def _copied(state: SimState, starts: Sequence[SimState]) -> Fixed:
    """The batch's Fixed with arrays of its own, wide enough for the starts."""
    old = state.fixed
    count, width, hops = old.route.shape
    width = max([width, *(s.agents.shape[1] for s in starts)])
    hops = max([hops, *(s.fixed.route.shape[2] for s in starts)])
    if (count, width, hops) == old.route.shape:
        traits, route, ids = wp.clone(old.traits), wp.clone(old.route), old.ids.copy()
    else:
        traits = _empty_like(old.traits, (count, width))
        route = _empty_like(old.route, (count, width, hops))
        ids = np.zeros((count, width), np.int64)
        ids[:, : old.ids.shape[1]] = old.ids
    return dataclasses.replace(
        old, traits=traits, route=route, ids=ids, timing=wp.clone(old.timing)
    )


def _empty_like(array: wp.array, shape: tuple[int, ...]) -> wp.array:
    return wp.empty(shape, dtype=array.dtype, device=array.device)


def _put(source: SimState, target: SimState, first: int, worlds: int) -> None:
    """All of ``source`` into the worlds of ``target`` from ``first`` on."""
    arrays = [
        array
        for state in (source, target)
        for array in (
            state.agents, state.fixed.traits, state.fixed.route, state.fixed.timing, state.lights,
            state.events, state.hit,
        )
    ]  # fmt: skip
    dim = (worlds, target.agents.shape[1])
    wp.launch(put_worlds, dim=dim, inputs=[first, *arrays], device=target.agents.device)


@wp.kernel
def put_worlds(
    first: wp.int32,
    from_agents: wp.array2d(dtype=Agent),
    from_traits: wp.array2d(dtype=Traits),
    from_route: wp.array3d(dtype=wp.int32),
    from_timing: wp.array2d(dtype=LightTiming),
    from_lights: wp.array2d(dtype=wp.int32),
    from_events: wp.array2d(dtype=wp.int32),
    from_hit: wp.array2d(dtype=wp.int32),
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    route: wp.array3d(dtype=wp.int32),
    timing: wp.array2d(dtype=LightTiming),
    lights: wp.array2d(dtype=wp.int32),
    events: wp.array2d(dtype=wp.int32),
    hit: wp.array2d(dtype=wp.int32),
):
    """Copies worlds; agents the source does not have are not there."""
    v, i = wp.tid()
    w = first + v
    for k in range(i, timing.shape[1], agents.shape[1]):
        timing[w, k] = from_timing[v, k]
        lights[w, k] = from_lights[v, k]
    hops = from_route.shape[2]
    if i < from_agents.shape[1]:
        agents[w, i] = from_agents[v, i]
        traits[w, i] = from_traits[v, i]
        events[w, i] = from_events[v, i]
        hit[w, i] = from_hit[v, i]
        for h in range(route.shape[2]):
            lane = int(-1)
            if h < hops:
                lane = from_route[v, i, h]
            route[w, i, h] = lane
    else:
        nobody = Agent()
        nobody.cos = 1.0
        nobody.from_lane = -1
        nobody.granted = -1
        nobody.stopping = -1
        nobody.stopped_for = -1
        nobody.script = -1.0
        nobody.leader = -1
        nobody.change = 1.0
        for k in range(AHEAD):
            nobody.ahead[k] = -1
        agents[w, i] = nobody
        traits[w, i] = Traits()
        events[w, i] = 0
        hit[w, i] = -1
        for h in range(route.shape[2]):
            route[w, i, h] = -1
