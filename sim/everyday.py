"""Everyday scenario families: one function each says what the ego meets.

Each looks on its map for the place it needs (a lane with a neighbour, a junction lane under a
light, a crosswalk ...) and says what is missing where there is none. The seed draws the place,
speeds, distances and other road users.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.generate import generate_map
from roadloop.maps.road_map import ConflictKind, RoadMap, SignalKind
from roadloop.maps.routing import random_route
from roadloop.types import Action, AgentKind, Behaviour, Route, Trigger
from sim.lights import light_programme
from sim.places import lane_with_neighbour, long_lane, route_through, turn_of
from sim.population import pedestrians, user_on, walker_at
from sim.scene import Family, Parameter, Scene

LENGTH_SPREAD = 200.0
"""m by which a random route may be longer than its least length"""


def lane_following(scene: Scene) -> None:
    scene.route = longest_random_route(scene, (900.0, 500.0, 300.0, 150.0))


def random_route_in_traffic(scene: Scene) -> None:
    length = scene.parameters["length"]
    scene.route = random_route(
        scene.road_map, scene.rng, min_length=length, max_length=length + LENGTH_SPREAD
    )
    scene.speed = 0.0
    scene.users += pedestrians(scene.road_map, scene.rng, scene.background // 6)


def dense_town(scene: Scene) -> None:
    scene.route = longest_random_route(scene, (450.0, 300.0, 150.0))
    scene.speed = 0.0
    scene.users += pedestrians(scene.road_map, scene.rng, max(scene.background // 4, 2))


def lead_vehicle_brake(scene: Scene) -> None:
    lane = long_lane(scene.road_map, scene.rng, 150.0)
    s = 10.0
    scene.route = Route(
        np.array([lane], np.int32), s, float(scene.road_map.lane_length[lane]) - 8.0
    )
    scene.speed = min(0.9 * scene.limit(lane), 15.0)
    gap = scene.speed * scene.rng.uniform(1.0, 1.8) + 6.0
    scene.add(
        lane,
        s + gap,
        speed=scene.speed,
        politeness=-1.0,
        max_speed=scene.speed,
        trigger=Trigger.TIME,
        trigger_value=scene.rng.uniform(2.0, 4.0),
        action=Action.BRAKE,
        action_rate=scene.rng.uniform(3.0, 7.0),
        action_hold=scene.rng.uniform(4.0, 8.0),
    )


def cut_in(scene: Scene) -> None:
    m = scene.road_map
    lane, beside, side = lane_with_neighbour(m, scene.rng, 150.0)
    scene.route = Route(np.array([lane], np.int32), 10.0, float(m.lane_length[lane]) - 8.0)
    scene.speed = min(0.9 * scene.limit(lane), 20.0)
    share, start = scene.rng.uniform(0.75, 0.9), scene.rng.uniform(0.5, 2.0)
    closing = (1.0 - share) * scene.speed
    # Bumper to bumper 8 to 16 m when it starts across, plus what closes before.
    gap = 4.7 + scene.rng.uniform(8.0, 16.0) + closing * start
    scene.add(
        beside,
        10.0 + gap,
        speed=scene.speed * share,
        max_speed=scene.speed * share,
        politeness=-1.0,
        trigger=Trigger.TIME,
        trigger_value=start,
        action=Action.CHANGE_RIGHT if side == "left" else Action.CHANGE_LEFT,
    )


def red_light(scene: Scene) -> None:
    m = scene.road_map
    lit = m.stop_lane[m.signal_kind[m.stop_signal] == SignalKind.TRAFFIC_LIGHT]
    scene.route, via = route_through(m, scene.rng, lit, 80.0, 60.0, "a lane under a traffic light")
    scene.speed = min(0.8 * scene.limit(scene.start[0]), 12.0)
    programme = light_programme(m, scene.seed)
    mine = m.stop_signal[m.stop_lane == via][0]
    # Red when the ego gets there, green some seconds later: shift the whole junction's cycle.
    together = (programme.cycle == programme.cycle[mine]) & (
        programme.offset == programme.offset[mine]
    )
    turns_red = 80.0 / max(scene.speed, 1.0) - scene.rng.uniform(3.0, 6.0)
    green_again = turns_red + scene.rng.uniform(6.0, 14.0)
    offset = programme.green[mine] - green_again
    scene.lights = dataclasses.replace(
        programme, offset=np.where(together, offset % programme.cycle[mine], programme.offset)
    )


def stop_sign(scene: Scene) -> None:
    m = scene.road_map
    signed = m.stop_lane[m.signal_kind[m.stop_signal] == SignalKind.STOP]
    scene.route, _ = route_through(m, scene.rng, signed, 80.0, 60.0, "a lane under a stop sign")
    scene.speed = min(0.8 * scene.limit(scene.start[0]), 12.0)


def unprotected_left_turn(scene: Scene) -> None:
    m = scene.road_map
    inside = np.flatnonzero(m.is_travel & (m.lane_junction >= 0))
    far = -1.0 if m.left_hand else 1.0  # the turn that crosses oncoming traffic
    turning = [int(q) for q in inside if far * turn_of(m, int(q)) > 0.9 and _gives_way(m, int(q))]
    scene.route, via = route_through(
        m, scene.rng, np.array(turning, int), 60.0, 50.0, "a turn across oncoming traffic"
    )
    scene.speed = min(0.8 * scene.limit(scene.start[0]), 10.0)
    programme = light_programme(m, scene.seed)
    mine = m.stop_signal[m.stop_lane == via]
    if len(mine) and programme.cycle[mine[0]] > 0.0:  # green for the ego as it arrives
        arrive = 60.0 / max(scene.speed, 1.0) - 3.0
        scene.lights = dataclasses.replace(
            programme,
            offset=(programme.green[mine[0]] - arrive) % programme.cycle[mine[0]]
            + np.zeros_like(programme.offset),
        )
    # A stream of oncoming cars whose path crosses the turn.
    rows = np.arange(m.conflict_start[via], m.conflict_start[via + 1])
    rows = rows[(m.conflict_yield[rows] > 0) & (m.conflict_kind[rows] == ConflictKind.CROSS)]
    oncoming = int(m.conflict_lane[rows[0]])
    before = m.predecessors_of(oncoming)
    lane = int(before[0]) if len(before) else oncoming
    s = float(m.lane_length[lane]) - scene.rng.uniform(15.0, 30.0)
    for _ in range(4):
        if s < 8.0:
            break
        scene.add(
            lane, s, speed=min(scene.limit(lane), 10.0), route=(lane, oncoming), politeness=-1.0
        )
        s -= scene.rng.uniform(14.0, 30.0)


def pedestrian_crossing(scene: Scene) -> None:
    m = scene.road_map
    rows = np.arange(len(m.crossing_lane))
    free = rows[m.lane_junction[m.crossing_lane] < 0] if len(rows) else rows
    rows = free if len(free) else rows
    scene.route, via = route_through(
        m, scene.rng, m.crossing_lane[rows], 70.0, 50.0, "a crosswalk", at=m.crossing_from[rows]
    )
    scene.speed = min(0.9 * scene.limit(scene.start[0]), 13.0)
    row = int(rows[m.crossing_lane[rows] == via][0])
    for k in range(int(scene.rng.integers(1, 4))):
        scene.users.append(
            walker_at(
                m, row, scene.rng, far_side=bool(scene.rng.integers(2)), aside=0.9 * k,
                trigger=Trigger.EGO_ARRIVAL, trigger_value=scene.rng.uniform(3.0, 5.0) + 0.4 * k,
                action=Action.WALK,
            )
        )  # fmt: skip


def cyclist_ahead(scene: Scene) -> None:
    m = scene.road_map
    lane = long_lane(m, scene.rng, 150.0)
    scene.route = Route(np.array([lane], np.int32), 10.0, float(m.lane_length[lane]) - 8.0)
    scene.speed = min(0.8 * scene.limit(lane), 13.0)
    scene.add(lane, 10.0 + scene.rng.uniform(25.0, 45.0), AgentKind.CYCLIST, speed=4.5)


def parked_obstruction(scene: Scene) -> None:
    m = scene.road_map
    lane = long_lane(m, scene.rng, 150.0)
    scene.route = Route(np.array([lane], np.int32), 10.0, float(m.lane_length[lane]) - 8.0)
    scene.speed = min(0.8 * scene.limit(lane), 12.0)
    s = 10.0 + scene.rng.uniform(55.0, 90.0)
    kerb = 1.0 if m.left_hand else -1.0
    kind = AgentKind.VAN if scene.rng.random() < 0.3 else AgentKind.CAR
    user = user_on(
        m, lane, s, kind, rng=scene.rng, behaviour=Behaviour.STATIC,
        lateral_offset=kerb * scene.rng.uniform(0.3, 1.2),
    )  # fmt: skip
    scene.users.append(dataclasses.replace(user, kind=AgentKind.STATIC, lane=-1))
    opposite = int(m.lane_opposite[lane])
    if opposite >= 0:
        at = float(m.lane_length[opposite]) - s - scene.rng.uniform(20.0, 60.0)
        for _ in range(int(scene.rng.integers(1, 3))):
            if at > 8.0:
                scene.add(opposite, at, speed=min(scene.limit(opposite), 10.0))
            at -= scene.rng.uniform(15.0, 30.0)


def merge(scene: Scene) -> None:
    m = scene.road_map
    owes = np.zeros(m.lanes, bool)
    lane_of_row = np.repeat(np.arange(m.lanes), np.diff(m.conflict_start))
    rows = (m.conflict_kind == ConflictKind.MERGE) & (m.conflict_yield > 0)
    owes[lane_of_row[rows]] = True
    turns = np.array([abs(turn_of(m, int(q))) < 0.5 for q in range(m.lanes)])
    scene.route, via = route_through(
        m, scene.rng, np.flatnonzero(owes & turns), 250.0, 150.0, "a lane that merges into another"
    )
    scene.speed = min(0.8 * scene.limit(scene.start[0]), 20.0)
    # Traffic on the lane that has priority, in and before the merge.
    rows = np.arange(m.conflict_start[via], m.conflict_start[via + 1])
    rows = rows[(m.conflict_kind[rows] == ConflictKind.MERGE) & (m.conflict_yield[rows] > 0)]
    other = int(m.conflict_lane[rows[0]])
    before = m.predecessors_of(other)
    lane = int(before[0]) if len(before) else other
    s = float(m.lane_length[lane]) - scene.rng.uniform(5.0, 25.0)
    while s > 10.0 and len(scene.users) < 6:
        scene.add(lane, s, speed=0.7 * scene.limit(lane), speed_factor=0.8)
        s -= scene.rng.uniform(35.0, 70.0)


def roundabout(scene: Scene) -> None:
    m = scene.road_map
    ring = np.isin(m.lane_junction, np.flatnonzero(m.junction_is_roundabout)) & m.is_travel
    entries = [
        lane
        for lane in map(int, np.flatnonzero(ring))
        if _gives_way(m, lane) and not ring[m.predecessors_of(lane)].all()
    ]
    scene.route, _ = route_through(
        m, scene.rng, np.array(entries, int), 70.0, 110.0, "an entry to a roundabout"
    )
    scene.speed = min(0.8 * scene.limit(scene.start[0]), 8.0)


def uncontrolled_junction(scene: Scene) -> None:
    m = scene.road_map
    inside = np.flatnonzero(m.is_travel & (m.lane_junction >= 0) & (np.diff(m.conflict_start) > 0))
    held = np.isin(inside, m.stop_lane)
    held |= np.array([np.isin(m.predecessors_of(int(q)), m.stop_lane).any() for q in inside], bool)
    scene.route, _ = route_through(
        m, scene.rng, inside[~held], 70.0, 60.0, "a junction without lights or signs"
    )
    scene.speed = min(0.8 * scene.limit(scene.start[0]), 10.0)


def longest_random_route(scene: Scene, lengths: tuple[float, ...]) -> Route:
    """A random route of the first of these lengths (m) that the map has room for."""
    for length in lengths:
        try:
            return random_route(
                scene.road_map, scene.rng, min_length=length, max_length=1.4 * length
            )
        except RoadloopError:
            if length == lengths[-1]:
                raise
    raise AssertionError  # the loop returns or raises


def _gives_way(m: RoadMap, lane: int) -> bool:
    rows = slice(m.conflict_start[lane], m.conflict_start[lane + 1])
    return bool((m.conflict_yield[rows] > 0).any())


EVERYDAY: dict[str, Family] = {
    "lane_following": Family(
        "Follow an empty country road through an S-curve.",
        lambda seed, _: generate_map("curve", seed=seed),
        lane_following,
        duration=60.0,
    ),
    "lead_vehicle_brake": Family(
        "The car ahead brakes hard to a standstill and goes on after a while.",
        lambda seed, _: generate_map("straight", seed=seed, length=400.0),
        lead_vehicle_brake,
        duration=45.0,
    ),
    "cut_in": Family(
        "A slower car from the next lane pulls in close ahead.",
        lambda seed, _: generate_map("straight", seed=seed, length=400.0, lanes=2),
        cut_in,
        duration=45.0,
    ),
    "red_light": Family(
        "A light turns red on the way and green again some seconds later.",
        lambda seed, _: generate_map("four_way", seed=seed),
        red_light,
        duration=60.0,
        agents=8,
    ),
    "stop_sign": Family(
        "Stop at the sign, give way to the main road, go on.",
        lambda seed, _: generate_map("t_junction", seed=seed, arm_length=150.0),
        stop_sign,
        duration=60.0,
        agents=6,
    ),
    "unprotected_left_turn": Family(
        "Turn across a stream of oncoming cars that have the right of way.",
        lambda seed, _: generate_map("four_way", seed=seed, arm_length=150.0),
        unprotected_left_turn,
        duration=60.0,
        agents=2,
    ),
    "pedestrian_crossing": Family(
        "Pedestrians step onto a crosswalk as the car comes near.",
        lambda seed, _: generate_map("straight", seed=seed, length=300.0, crossings=1),
        pedestrian_crossing,
    ),
    "cyclist_ahead": Family(
        "A slow cyclist rides ahead at the edge of the lane.",
        lambda seed, _: generate_map("straight", seed=seed, length=400.0),
        cyclist_ahead,
        duration=90.0,
        agents=2,
    ),
    "parked_obstruction": Family(
        "A parked vehicle blocks the lane while traffic comes the other way.",
        lambda seed, _: generate_map("straight", seed=seed, length=300.0),
        parked_obstruction,
        duration=60.0,
    ),
    "merge": Family(
        "Join a motorway from its ramp among the cars already there.",
        lambda seed, _: generate_map("merge", seed=seed),
        merge,
        duration=60.0,
        agents=6,
    ),
    "roundabout": Family(
        "Enter a roundabout, give way to those on it, leave it.",
        lambda seed, _: generate_map("roundabout", seed=seed),
        roundabout,
        duration=60.0,
        agents=8,
    ),
    "uncontrolled_junction": Family(
        "Cross a junction without lights or signs, first come, first served.",
        lambda seed, _: generate_map("four_way", seed=seed, control="none"),
        uncontrolled_junction,
        duration=60.0,
        agents=6,
    ),
    "random_route": Family(
        "Drive 300 to 500 m (or as set) from anywhere on the map among thirty cars.",
        lambda seed, _: generate_map("town", seed=seed),
        random_route_in_traffic,
        duration=240.0,
        agents=30,
        parameters={
            "length": Parameter(300.0, 50.0, 5000.0, "m", "least length of the route", "route")
        },
    ),
    "dense_town": Family(
        "Drive across a town among thirty cars, lights, signs and pedestrians.",
        lambda seed, _: generate_map("town", seed=seed, rows=3, columns=4, block=120.0),
        dense_town,
        duration=60.0,
        agents=30,
    ),
}
"""the families by name"""
