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
from roadloop.types import Scenario
from sim.batch import put_light_record, put_replay
from sim.state import AHEAD, Agent, LightTiming, Pose, SimState, Traits

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
    if not worlds:
        return state
    for w, start in zip(worlds, starts):
        _check(state.fixed.scenarios[0], state.agents.device, w, count, start)
    width, hops = _room([state, *starts])
    new = _blank(state, count, width, hops)
    if (count, width, hops) == state.fixed.route.shape:
        for old, copy in zip(_arrays(state), _arrays(new)):
            wp.copy(copy, old)
    else:
        _put(state, new, 0, count)
    scenarios, ids = list(state.fixed.scenarios), np.zeros((count, width), np.int64)
    ids[:, : state.fixed.ids.shape[1]] = state.fixed.ids
    begun = state.fixed.begun.numpy().copy()
    for w in worlds:
        begun[w] = state.step
    return _with(new, scenarios, ids, begun, worlds, starts)


def joined(starts: Sequence[SimState]) -> SimState:
    """A batch of worlds from first states of one world each: as their scenarios reset together."""
    if not starts:
        raise RoadloopError("no world to join: give at least one first state")
    count, (width, hops) = len(starts), _room(starts)
    for w, start in enumerate(starts):
        _check(starts[0].fixed.scenarios[0], starts[0].agents.device, w, count, start)
    scenarios = [start.fixed.scenarios[0] for start in starts]
    ids, begun = np.zeros((count, width), np.int64), np.zeros(count, np.int32)
    new = _blank(starts[0], count, width, hops)
    return _with(new, scenarios, ids, begun, range(count), starts)


def _room(states: Sequence[SimState]) -> tuple[int, int]:
    """Agents and hops of a batch that has room for all of these."""
    shapes = [s.fixed.route.shape for s in states]
    return max(shape[1] for shape in shapes), max(shape[2] for shape in shapes)


def _blank(like: SimState, count: int, width: int, hops: int) -> SimState:
    """A state to be filled."""

    def empty(array: wp.array, *shape: int) -> wp.array:
        return wp.empty(shape, dtype=array.dtype, device=array.device)

    fixed, signals = like.fixed, like.lights.shape[1]
    return SimState(
        fixed=dataclasses.replace(
            fixed,
            traits=empty(fixed.traits, count, width),
            route=empty(fixed.route, count, width, hops),
            timing=empty(fixed.timing, count, signals),
        ),
        step=like.step,
        agents=empty(like.agents, count, width),
        lights=empty(like.lights, count, signals),
        events=empty(like.events, count, width),
        hit=empty(like.hit, count, width),
    )


def _with(
    new: SimState,
    scenarios: list[Scenario],
    ids: np.ndarray,
    begun: np.ndarray,
    worlds: Sequence[int],
    starts: Sequence[SimState],
) -> SimState:
    """``new`` with the starts in their worlds."""
    for w, start in zip(worlds, starts):
        _put(start, new, w, 1)
        scenarios[w] = start.fixed.scenarios[0]
        ids[w] = 0
        ids[w, : start.fixed.ids.shape[1]] = start.fixed.ids[0]
    fixed, replay = new.fixed, new.fixed.replay
    if any(len(state.fixed.replay) > 1 for state in (new, *starts)):  # one row where nobody is
        traits = fixed.traits.numpy()  # a view on the CPU, a copy elsewhere
        replay = wp.array(put_replay(scenarios, traits), dtype=Pose, device=replay.device)
        fixed.traits.assign(traits)
    record = fixed.light_record
    if any(len(state.fixed.light_record) > 1 for state in (new, *starts)):
        timing = fixed.timing.numpy()
        record = wp.array(put_light_record(scenarios, timing), dtype=wp.int32, device=record.device)
        fixed.timing.assign(timing)
    fixed = dataclasses.replace(
        fixed,
        scenarios=tuple(scenarios),
        ids=ids,
        replay=replay,
        light_record=record,
        begun=wp.array(begun, dtype=wp.int32, device=new.agents.device),
    )
    return dataclasses.replace(new, fixed=fixed)


def _check(ours: Scenario, device: wp.Device, world: int, count: int, start: SimState) -> None:
    if not 0 <= world < count:
        raise RoadloopError(f"restart of world {world}: the batch has worlds 0 to {count - 1}")
    if start.agents.shape[0] != 1 or start.step != 0:
        raise RoadloopError(
            f"restart of world {world} with {start.agents.shape[0]} worlds at step {start.step}: "
            "give a scenario, or the first state of one"
        )
    theirs = start.fixed.scenarios[0]
    if theirs.road_map is not ours.road_map or theirs.dt != ours.dt:
        raise RoadloopError(
            f"scenarios {ours.name} and {theirs.name} differ in map or dt: simulate them apart"
        )
    if start.agents.device != device:
        raise RoadloopError(
            f"restart of world {world} on {start.agents.device}, the batch is on {device}: reset "
            "both with the same Simulator"
        )


def _arrays(state: SimState) -> tuple[wp.array, ...]:
    fixed = state.fixed
    return (
        state.agents, fixed.traits, fixed.route, fixed.timing, state.lights, state.events,
        state.hit,
    )  # fmt: skip


def _put(source: SimState, target: SimState, first: int, worlds: int) -> None:
    """All of ``source`` into the worlds of ``target`` from ``first`` on."""
    inputs = [first, *_arrays(source), *_arrays(target)]
    dim = (worlds, target.agents.shape[1])
    wp.launch(put_worlds, dim=dim, inputs=inputs, device=target.agents.device)


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
