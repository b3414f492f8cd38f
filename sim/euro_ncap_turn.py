"""Euro NCAP's turn across the path of an oncoming car (CCFtap).

The car under test turns at its test speed; the middle of its front meets the front corner of the
oncoming car `LEAD` s after the start if it does not react. Seeds as in ``sim.euro_ncap``. The turn
is the map's own, which the protocol prescribes as a clothoid and an arc of 9 m radius.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.generate import generate_map
from roadloop.maps.path import route_path
from roadloop.maps.road_map import ConflictKind, RoadMap
from roadloop.types import Route
from sim.euro_ncap import DURATION, FRONT, GVT, LEAD, LEAD_SPREAD
from sim.places import turn_of
from sim.population import pose_on, replayed
from sim.scene import Family, Parameter, Scene, kmh
from sim.scripted_motion import motion_on, times

STRAIGHT = 0.05
"""rad a lane may turn and still count as straight on"""


def turns_across(m: RoadMap) -> list[tuple[tuple[int, int, int], tuple[int, int]]]:
    """Every turn across oncoming traffic: lanes of the turn, lanes of who comes straight on."""
    inside = np.flatnonzero(m.is_travel & (m.lane_junction >= 0))
    side = -1.0 if m.left_hand else 1.0
    found = []
    for turn in (int(q) for q in inside if side * turn_of(m, int(q)) > 0.9):
        rows = np.arange(m.conflict_start[turn], m.conflict_start[turn + 1])
        rows = rows[(m.conflict_kind[rows] == ConflictKind.CROSS) & (m.conflict_yield[rows] > 0)]
        for other in m.conflict_lane[rows].tolist():
            mine, theirs = m.predecessors_of(turn), m.predecessors_of(other)
            beyond = m.successors_of(turn)
            if min(len(mine), len(theirs), len(beyond)) == 0:
                continue
            before, oncoming = int(mine[0]), int(theirs[0])
            turned = turn_of(m, other), turn_of(m, oncoming), turn_of(m, before)
            met = pose_on(m, before, float(m.lane_length[before]))[3] - pose_on(m, other, 0.0)[3]
            if np.abs(turned).max() < STRAIGHT and np.cos(met) < -0.9:
                found.append(((before, turn, int(beyond[0])), (oncoming, other)))
    return found


def meeting(m: RoadMap, lanes: tuple[int, int, int], oncoming: int) -> tuple[float, float]:
    """Where the middle of the VUT's front comes to the side of an oncoming GVT's path.

    Returns:
        m the rear axle has then gone from the start of ``lanes``, m along the oncoming lane.
    """
    ways = m.lane_length[list(lanes)]
    route = Route(np.array(lanes, np.int32), 0.0, 0.9 * float(ways[2]))
    u = np.arange(0.0, float(ways[:2].sum()), 0.01)
    at = route_path(m, route).at(u)
    x0, y0, _, heading = pose_on(m, oncoming, 0.0)
    dx, dy = at.x + FRONT * np.cos(at.heading) - x0, at.y + FRONT * np.sin(at.heading) - y0
    left = dy * np.cos(heading) - dx * np.sin(heading)
    k = int(np.argmax(np.abs(left) <= 0.5 * GVT.width))
    return float(u[k]), float(dx[k] * np.cos(heading) + dy[k] * np.sin(heading))


def ccftap(scene: Scene) -> None:
    m, speed = scene.road_map, scene.parameters["ego_speed"]
    pace = scene.parameters["target_speed"]
    far = LEAD + LEAD_SPREAD
    fitting = []
    for mine, (oncoming, _) in turns_across(m):
        gone, s = meeting(m, mine, oncoming)
        if gone > 3.0 + speed * far and s > GVT.length + pace * far:
            fitting.append((mine, oncoming, gone, s))
    if not fitting:
        raise RoadloopError(
            f"map {m.name} lacks a turn across oncoming traffic with {speed * far:.0f} m of lane "
            f"before it and {pace * far:.0f} m of straight oncoming lane: choose another map"
        )
    mine, oncoming, gone, s = fitting[scene.rng.integers(len(fitting))]
    time = LEAD + (LEAD_SPREAD * scene.rng.uniform(-1.0, 1.0) if scene.seed > 0 else 0.0)
    last = float(m.lane_length[mine[2]])
    scene.route = Route(np.array(mine, np.int32), gone - speed * time, last - 8.0)
    scene.speed = speed
    t = times(scene.duration, scene.dt)
    middle = s - 0.5 * GVT.length + pace * (t - time)
    motion = motion_on(m, oncoming, middle, 0.0, pace, 0.0)
    z = pose_on(m, oncoming, s)[2]
    scene.users.append(replayed(GVT.kind, motion, GVT.length, GVT.width, GVT.height, z))


def crossroads(seed: int, values: Mapping[str, float]) -> RoadMap:
    """A crossroads without lights or signs with the test speed as its limit, for any seed."""
    return generate_map(
        "four_way",
        arm_length=30.0 + (LEAD + LEAD_SPREAD) * values["target_speed"],
        control="none",
        crossings=False,
        speed_limit=values["ego_speed"],
        variation=0.0,
    )


CCFTAP = Family(
    "Euro NCAP car-to-car front: turn across the path of an oncoming car.",
    crossroads,
    ccftap,
    duration=DURATION,
    parameters={
        "ego_speed": Parameter(
            kmh(15), kmh(5), kmh(30), "m/s", "the car's speed at the start and the speed limit",
            "vut", 3.6,
        ),
        "target_speed": Parameter(
            kmh(45), kmh(20), kmh(90), "m/s", "the target's speed", "target", 3.6
        ),
    },
)  # fmt: skip
