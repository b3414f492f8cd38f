"""Scenarios to learn from: everyday ones with more people, riders, parked cars and things about.

What the families of ``sim.scenarios`` put on a street is made for driving: a handful of cars, one
pedestrian per crosswalk, hardly a cyclist, nothing that stands about. Here the rest of a street is
added at random, where it stops nobody.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.road_map import LaneKind, RoadMap
from roadloop.types import AgentKind, Agents, Behaviour, Scenario, Trigger
from sim.actors.props import PROPS
from sim.population import RoadUser, agents_from, pose_on, user_on
from sim.scenarios import FAMILIES, build_scenario
from training.simulated_data import SceneShare, StreetLife

Array = np.ndarray

STANDING = 0.3
"""share of the people on pavements who stand"""
MOTORCYCLES = 0.3
"""share of motorcycles among the riders"""
WALK = (8.0, 40.0)
"""m people walk to and fro along a pavement"""
PARKED_AT = 1.05
"""m from the edge of the lane to the middle of a parked car, at least: it is beside the lane"""
THINGS = {"cone": 0.4, "plank": 0.15, "concrete barrier": 0.15, "carton": 0.15, "crate": 0.15}
"""shares of what stands about"""
STRAIGHT = 0.15
"""rad, by which a pavement may turn where somebody walks straight along it"""


def street_scenario(
    scene: SceneShare, seed: int, map_seed: int, seconds: float, life: StreetLife
) -> Scenario:
    """A scenario of a mix; ``map_seed`` is that of generated maps.

    Raises RoadloopError as ``sim.scenarios.build_scenario`` and for a map that cannot be read.
    """
    scenario = build_scenario(
        scene.family,
        seed=seed,
        road_map=scene_map(scene.family, scene.map, map_seed),
        agents=scene.agents,
        duration=seconds,
    )
    rng = np.random.default_rng([seed, *b"street life"])
    return dataclasses.replace(scenario, agents=_enlivened(scenario, life, rng))


@lru_cache(maxsize=32)
def scene_map(family: str, file: str, seed: int) -> RoadMap:
    """The map of a scenario; those used last are kept, and with them their scenes."""
    from roadloop.maps.cache import load_map

    if file:
        return load_map(file)
    if family not in FAMILIES:
        raise RoadloopError(f'unknown scenario "{family}": see roadloop list')
    kind = FAMILIES[family]
    return kind.road_map(seed, kind.values(family, {}))


def _enlivened(scenario: Scenario, life: StreetLife, rng: np.random.Generator) -> Agents:
    """The road users of a scenario, some now riders, and those that are added."""
    m, agents = scenario.road_map, scenario.agents
    plain = (agents.behaviour == Behaviour.TRAFFIC) & (agents.trigger == Trigger.NEVER)
    plain &= (agents.route[:, 0] < 0) & (agents.lane >= 0)
    riding = plain & (rng.random(len(plain)) < life.riders)
    users: list[RoadUser] = []
    for row in np.flatnonzero(riding).tolist():
        kind = AgentKind.MOTORCYCLE if rng.random() < MOTORCYCLES else AgentKind.CYCLIST
        speed = float(min(agents.states.speed[row], 4.0))
        users.append(
            user_on(m, int(agents.lane[row]), float(agents.s[row]), kind, rng=rng, speed=speed)
        )
    standing: list[RoadUser] = []
    _park(standing, m, rng, life.parked)
    _leave_things(standing, m, rng, life.things)
    users += standing + _walkers(m, rng, life.walkers, standing)
    return _with_users(agents, ~riding, users)


def _walkers(
    m: RoadMap, rng: np.random.Generator, density: float, standing: Sequence[RoadUser]
) -> list[RoadUser]:
    """People who walk to and fro along pavements, or stand there, but not within ``standing``."""
    users: list[RoadUser] = []
    pavements = np.flatnonzero((m.lane_kind == LaneKind.SIDEWALK) & (m.lane_length > 2.0 * WALK[0]))
    for lane in _along(m, rng, pavements, density):
        s = rng.uniform(0.0, m.lane_length[lane] - WALK[0])
        way = min(rng.uniform(*WALK), m.lane_length[lane] - s)
        wide = max(0.5 * float(m.point_width[m.points_of(lane)].min()) - 0.5, 0.0)
        lateral = rng.uniform(-wide, wide)
        x, y, z, heading = pose_on(m, lane, s, lateral)
        to_x, to_y, _, end = pose_on(m, lane, s + way, lateral)
        stands = rng.random() < STANDING
        if stands:
            heading, to_x, to_y = rng.uniform(-np.pi, np.pi), x, y
        elif abs(np.angle(np.exp(1j * (end - heading)))) > STRAIGHT:
            continue
        if any(np.hypot(u.x - x, u.y - y) < 0.5 * np.hypot(u.length, u.width) + 0.4
               for u in standing):  # fmt: skip
            continue
        size = 1.0 + 0.06 * float(np.clip(rng.standard_normal(), -2.0, 2.0))
        users.append(
            RoadUser(
                AgentKind.PEDESTRIAN, x, y, float(heading), 0.5, 0.5, 1.7 * size, z=z,
                behaviour=Behaviour.WALK, walk_to=(to_x, to_y),
                max_speed=float(np.clip(rng.normal(1.35, 0.2), 0.9, 1.8)),
            )
        )  # fmt: skip
    return users


def _park(users: list[RoadUser], m: RoadMap, rng: np.random.Generator, density: float) -> None:
    """Adds cars and vans beside the road, with their wheels on the pavement or shoulder."""
    for lane in _along(m, rng, _kerb_lanes(m), density):
        kind = AgentKind.VAN if rng.random() < 0.2 else AgentKind.CAR
        lateral = PARKED_AT + rng.uniform(0.0, 0.3)
        s = rng.uniform(8.0, max(m.lane_length[lane] - 8.0, 8.1))
        _put(users, m, rng, lane, s, lateral, user_on(m, lane, s, kind, rng=rng))


def _leave_things(
    users: list[RoadUser], m: RoadMap, rng: np.random.Generator, density: float
) -> None:
    """Adds cones, barriers and boxes at the road's edge."""
    names, shares = list(THINGS), list(THINGS.values())
    for lane in _along(m, rng, _kerb_lanes(m), density):
        length, width, height = PROPS[names[rng.choice(len(names), p=shares)]]
        lateral = 0.5 * width + rng.uniform(-0.05, 1.2)
        s = rng.uniform(3.0, max(m.lane_length[lane] - 3.0, 3.1))
        thing = RoadUser(AgentKind.STATIC, 0.0, 0.0, 0.0, length, width, height)
        _put(users, m, rng, lane, s, lateral, thing)


def _put(
    users: list[RoadUser],
    m: RoadMap,
    rng: np.random.Generator,
    lane: int,
    s: float,
    lateral: float,
    what: RoadUser,
) -> None:
    """Adds something that stands ``lateral`` m outside a lane's kerb, where nothing else does."""
    half = 0.5 * float(np.interp(s, m.point_s[m.points_of(lane)], m.point_width[m.points_of(lane)]))
    side = 1.0 if m.left_hand else -1.0
    x, y, z, heading = pose_on(m, lane, s, side * (half + lateral))
    # clear of other lanes: at corners and where roads meet the roadside is another road
    gap = np.hypot(*(m.point_xyz[_driven(m), :2] - (x, y)).T)
    if gap.min() < half + lateral - 0.3:
        return
    if any(np.hypot(u.x - x, u.y - y) < 0.5 * (u.length + what.length) + 0.5 for u in users):
        return
    users.append(
        dataclasses.replace(
            what, kind=AgentKind.STATIC, behaviour=Behaviour.STATIC, x=x, y=y, z=z, lane=-1,
            heading=heading + rng.normal(0.0, 0.03), speed=0.0,
        )
    )  # fmt: skip


@lru_cache(maxsize=32)
def _driven(m: RoadMap) -> Array:
    """(P,) bool, centreline points of lanes that are travelled."""
    return np.repeat(m.is_travel, np.diff(m.point_start))


def _kerb_lanes(m: RoadMap) -> Array:
    """Driving lanes outside junctions that no other lane of their direction lies beside."""
    beside = m.lane_left if m.left_hand else m.lane_right
    driving = (m.lane_kind == LaneKind.DRIVING) & (m.lane_junction < 0)
    return np.flatnonzero(driving & (beside < 0) & (m.lane_length > 20.0))


def _along(m: RoadMap, rng: np.random.Generator, lanes: Array, density: float) -> list[int]:
    """Lanes for a Poisson number of things, ``density`` per 100 m; longer ones more often."""
    if not len(lanes):
        return []
    total = float(m.lane_length[lanes].sum())
    count = rng.poisson(density * total / 100.0)
    return rng.choice(lanes, count, p=m.lane_length[lanes] / total).tolist()


def _with_users(agents: Agents, keep: Array, users: Sequence[RoadUser]) -> Agents:
    """The agents that are kept and new ones after them; ids count from 1."""
    if keep.all() and not users:
        return agents
    new = agents_from(users)
    count = int(keep.sum()) + len(users)

    def both(a: Array, b: Array) -> Array:
        a = a[keep]
        if a.ndim > 1 and a.shape[1] != b.shape[1]:  # routes and motions of different lengths
            long = max(a.shape[1], b.shape[1])
            empty = -1 if a.dtype.kind == "i" else np.nan
            a, b = (
                np.concatenate([v, np.full((len(v), long - v.shape[1], *v.shape[2:]), empty)], 1)
                .astype(v.dtype)
                for v in (a, b)
            )  # fmt: skip
        return np.concatenate([a, b])

    fields = {
        f.name: both(getattr(agents, f.name), getattr(new, f.name))
        for f in dataclasses.fields(Agents)
        if f.name != "states"
    }
    states = {
        f.name: both(getattr(agents.states, f.name), getattr(new.states, f.name))
        for f in dataclasses.fields(agents.states)
    }
    states["id"] = np.arange(1, count + 1)
    return Agents(states=dataclasses.replace(agents.states, **states), **fields)
