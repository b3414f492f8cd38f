"""How a batch of worlds looks: where every road user stands, its model and colours, its lamps.

A pure function of the simulator's state. What never changes about an agent (its model, its
colours) is worked out once per scenario; what does (pose, lamps, stride) by a kernel,
``sim.actors.dress``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import warp as wp

from roadloop.maps.road_map import RoadMap
from roadloop.types import AgentKind, Behaviour, Scenario
from sim.actors.dress import Look, dress, place
from sim.actors.models import mixed, model_index, model_table, palette
from sim.actors.turns import turning_side
from sim.render.frame import PALETTE, Actors, Frame
from sim.state import Fixed, SimState

Array = np.ndarray

STRIDE = 0.8
"""m walked per stride (two steps) and m of height"""
DEVELOPMENT = 5.0
"""m a bicycle rolls per turn of its pedals, in a middle gear"""

_kept: dict[int, tuple[weakref.ref, Any]] = {}


def _kept_for(key: Any) -> Any:
    """What was kept for this very object (many have no hash), or None."""
    found = _kept.get(id(key))
    return found[1] if found is not None and found[0]() is key else None


def _keep(key: Any, value: Any) -> Any:
    """``value``, kept for as long as ``key`` lives."""
    name = id(key)
    _kept[name] = (weakref.ref(key, lambda _gone: _kept.pop(name, None)), value)
    return value


def _once(key: Any, make: Callable[[Any], Any]) -> Any:
    found = _kept_for(key)
    return _keep(key, make(key)) if found is None else found


@dataclass(frozen=True)
class Looks:
    """What never changes about agents; fields ``(..., agents)``, of a scenario or a batch."""

    id: Array
    """int32"""
    look: Array
    """records of sim.actors.dress.Look"""
    scale: Array
    """(..., agents, 3) float32"""
    palette: Array
    """(..., agents, PALETTE, 3) float32"""


@dataclass(frozen=True)
class Ground:
    """What the kernels need of a map beyond its LaneGraph."""

    slope: wp.array
    """(P,) vec2: rise along the lane and to its left, m/m"""
    side: wp.array
    """(L,) int32, see ``turning_side``"""


def actors_of(state: SimState, previous: SimState | None = None) -> Actors:
    """Everybody of every world as they are drawn.

    Args:
        previous: the state one step before, for ``previous_world_from_actor``; where a world was
            restarted since, or without it, nobody has moved.
    """
    fixed, device = state.fixed, state.agents.device
    looks, look, dark = _once(fixed, _looks)
    ground = _ground_of(fixed.scenarios[0].road_map, device)
    shape = state.agents.shape
    pose = wp.empty(shape, dtype=wp.mat44d, device=device)
    model = wp.empty(shape, dtype=wp.int32, device=device)
    velocity = wp.empty(shape, dtype=wp.vec3, device=device)
    lamps = wp.empty(shape, dtype=wp.uint8, device=device)
    inputs = [fixed.graph, ground.slope, ground.side, state.agents, look, dark, fixed.begun]
    outputs = [pose, model, velocity, lamps]
    wp.launch(dress, shape, [*inputs, state.step, fixed.dt], outputs, device=device)
    before = pose
    if previous is not None and previous.agents.shape[0] == shape[0]:
        before = wp.empty(shape, dtype=wp.mat44d, device=device)
        inputs = [fixed.graph, ground.slope, previous.agents, previous.fixed.begun, state.agents]
        wp.launch(place, shape, [*inputs, fixed.begun, pose], [before], device=device)
    return Actors(
        id=looks.id,
        model=model.numpy(),
        world_from_actor=pose.numpy(),
        previous_world_from_actor=before.numpy(),
        scale=looks.scale,
        palette=looks.palette,
        lamps=lamps.numpy(),
        velocity=velocity.numpy(),
    )


def frame_of(state: SimState, previous: SimState | None = None) -> Frame:
    """What is to be seen of a batch at this moment; ``previous`` as in ``actors_of``."""
    fixed = state.fixed
    signals = len(fixed.scenarios[0].road_map.signal_id)
    return Frame(
        actors=actors_of(state, previous),
        lights=state.lights.numpy()[:, :signals].astype(np.uint8),
        weather=tuple(s.weather for s in fixed.scenarios),
        time=(state.step - fixed.begun.numpy()) * fixed.dt,
    )


def _looks(fixed: Fixed) -> tuple[Looks, wp.array, wp.array]:
    """Looks of a batch, ``(worlds, agents)``, with those on its device and which worlds are dark.

    Worlds with fewer agents are filled up.
    """
    shape, device = fixed.ids.shape, fixed.begun.device
    new = {id(s): s for s in fixed.scenarios if _kept_for(s) is None}
    for scenario, one in zip(new.values(), _scenario_looks(list(new.values())), strict=True):
        _keep(scenario, one)
    out = Looks(
        id=np.zeros(shape, np.int32),
        look=np.zeros(shape, Look.numpy_dtype()),
        scale=np.ones((*shape, 3), np.float32),
        palette=np.zeros((*shape, PALETTE, 3), np.float32),
    )
    for w, scenario in enumerate(fixed.scenarios):
        one: Looks = _kept_for(scenario)
        for name, whole in vars(out).items():
            part = getattr(one, name)
            whole[w, : len(part)] = part
    dark = np.array([s.weather.is_dark for s in fixed.scenarios], np.int32)
    return (
        out,
        wp.array(out.look, dtype=Look, device=device),
        wp.array(dark, dtype=wp.int32, device=device),
    )


def _scenario_looks(scenarios: Sequence[Scenario]) -> list[Looks]:
    """Looks of the ego and the agents of each scenario, ``(1 + agents,)``."""
    if not scenarios:
        return []
    agents = [1 + len(s.agents.lane) for s in scenarios]

    def column(name: str, dtype: type) -> Array:
        parts = []
        for s in scenarios:
            ego = {"kind": AgentKind.CAR, "id": 0}.get(name)
            first = getattr(s.ego.vehicle, name) if ego is None else ego
            parts += [[first], getattr(s.agents.states, name)]
        return np.concatenate(parts).astype(dtype)

    kind, ids = column("kind", np.int64), column("id", np.int64)
    size = np.stack([column(k, np.float64) for k in ("length", "width", "height")], axis=-1)
    driver = np.concatenate([[Behaviour.TRAFFIC, *s.agents.behaviour] for s in scenarios])
    number = mixed(np.repeat([s.seed for s in scenarios], agents), ids)
    length, width, height = size.T
    model = model_index(kind, length, width, height, number)
    table = model_table()
    look = np.zeros(len(kind), Look.numpy_dtype())
    look["model"], look["frames"] = model, table.frames[model]
    walks, rides = kind == AgentKind.PEDESTRIAN, kind == AgentKind.CYCLIST
    look["cycle"] = np.where(walks, STRIDE * size[:, 2], np.where(rides, DEVELOPMENT, 1.0))
    look["phase"] = (number >> np.uint64(40)).astype(np.float64) / 2.0**24
    look["driven"] = (kind <= AgentKind.MOTORCYCLE) & (driver != Behaviour.STATIC)
    whole = Looks(
        id=ids.astype(np.int32),
        look=look,
        scale=(size / table.size[model]).astype(np.float32),
        palette=palette(kind, number),
    )
    edges = np.cumsum([0, *agents])
    return [
        Looks(**{name: part[a:b].copy() for name, part in vars(whole).items()})
        for a, b in pairwise(edges)
    ]


def _ground_of(m: RoadMap, device: wp.Device) -> Ground:
    per_device: dict[str, Ground] = _once(m, lambda _map: {})
    if str(device) not in per_device:
        per_device[str(device)] = _ground(m, device)
    return per_device[str(device)]


def _ground(m: RoadMap, device: wp.Device) -> Ground:
    """Slopes by central differences inside a lane, by one-sided ones at its ends."""
    points = np.diff(m.point_start)
    spacing = np.repeat(m.lane_length / (points - 1), points)
    z = m.point_xyz[:, 2]
    row = np.arange(len(z))
    before = np.maximum(row - 1, np.repeat(m.point_start[:-1], points))
    after = np.minimum(row + 1, np.repeat(m.point_start[1:] - 1, points))
    rise = (z[after] - z[before]) / ((after - before) * spacing)
    slope = np.column_stack([rise, np.tan(m.point_bank)])
    return Ground(
        slope=wp.array(slope, dtype=wp.vec2, device=device),
        side=wp.array(turning_side(m), dtype=wp.int32, device=device),
    )
