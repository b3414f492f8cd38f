"""Motorway conflicts of UN Regulation 157 (automated lane keeping): cut-in, cut-out, braking ahead.

The ego starts at its set speed in a lane of a straight motorway; the others move by time alone.
Seed 0 is the plain case; every other seed moves ``front_gap`` by up to `GAP_SPREAD` m.

Source: UN R157 annex 4 appendix 3 (kinds of conflict and their parameters); cut-in geometry as in
github.com/ec-jrc/JRC-FSM: cars of 4.3 m x 1.9 m, 1.6 m from side to side at first, the cutter moves
sideways at constant speed from the start until it is in the lane.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.generate import generate_map
from roadloop.maps.road_map import RoadMap
from roadloop.types import AgentKind, Route, VehicleParameters
from sim.places import straight_lane
from sim.population import RoadUser, pose_on, replayed
from sim.scene import Family, Parameter, Scene, kmh
from sim.scripted_motion import motion_on, times, travelled

LENGTH, WIDTH, HEIGHT = 4.3, 1.9, 1.5
"""m, size of the other cars"""
GAP_SPREAD = 0.5
START = 10.0
"""m along the lane where the ego's rear axle starts"""
ACTION = 2.0
"""s until the car ahead cuts out or brakes"""
DURATION = 20.0

EGO = VehicleParameters()
FRONT = START + EGO.length - EGO.rear_overhang
"""m along the lane where the ego's front starts"""


def drive_on(scene: Scene, *, neighbour: bool) -> tuple[int, float]:
    """Puts the ego on a straight lane at its set speed; returns the lane and ``front_gap``."""
    m, p = scene.road_map, scene.parameters
    lane = straight_lane(m, scene.rng, FRONT + 10.0 * p["ego_speed"] + 20.0, neighbour=neighbour)
    shift = scene.rng.uniform(-1.0, 1.0) if scene.seed > 0 else 0.0
    scene.route = Route(np.array([lane], np.int32), START, float(m.lane_length[lane]) - 8.0)
    scene.speed = p["ego_speed"]
    return lane, max(p["front_gap"] + GAP_SPREAD * shift, 0.1)


def beside(scene: Scene, lane: int) -> float:
    """m left of the lane's centreline where a lane beside it has its own."""
    m = scene.road_map
    sides = [int(m.lane_left[lane])] if m.lane_change_left[lane] else []
    sides += [int(m.lane_right[lane])] if m.lane_change_right[lane] else []
    x, y, _, heading = pose_on(m, lane, START)
    other = pose_on(m, sides[scene.rng.integers(len(sides))], START)
    return float((other[1] - y) * np.cos(heading) - (other[0] - x) * np.sin(heading))


def car(
    scene: Scene,
    lane: int,
    s: np.ndarray,
    lateral: np.ndarray,
    speed: np.ndarray,
    aside: np.ndarray,
) -> RoadUser:
    """A car by the motion of its box centre: (steps,) positions and speeds along and across."""
    motion = motion_on(
        scene.road_map, lane, s, lateral, np.hypot(speed, aside), np.arctan2(aside, speed)
    )
    z = pose_on(scene.road_map, lane, START)[2]
    return replayed(AgentKind.CAR, motion, LENGTH, WIDTH, HEIGHT, z)


def across(t: np.ndarray, start: float, way: float, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """m and m/s to the left of a car that moves over by ``way`` m at ``rate`` from ``start``."""
    took = np.clip(t - start, 0.0, abs(way) / rate)
    moving = (t >= start) & (t < start + abs(way) / rate)
    return np.sign(way) * rate * took, np.sign(way) * rate * moving


def alks_cut_in(scene: Scene) -> None:
    p = scene.parameters
    lane, gap = drive_on(scene, neighbour=True)
    t, offset = times(scene.duration, scene.dt), beside(scene, lane)
    s = FRONT + gap + 0.5 * LENGTH + p["target_speed"] * t
    moved, aside = across(t, 0.0, -offset, p["lateral_speed"])
    speed = np.full_like(t, p["target_speed"])
    scene.users.append(car(scene, lane, s, offset + moved, speed, aside))


def alks_cut_out(scene: Scene) -> None:
    p = scene.parameters
    u, rate = p["ego_speed"], p["lateral_speed"]
    needs = u * (WIDTH + LENGTH * rate / u) / rate  # turned aside, its corners reach out
    if needs > p["obstacle_gap"]:
        raise RoadloopError(
            f"alks_cut_out: the car ahead needs {needs:.1f} m to get past the standing one, "
            f"obstacle_gap is {p['obstacle_gap']:g} m: raise it or lateral_speed"
        )
    lane, gap = drive_on(scene, neighbour=True)
    t, offset = times(scene.duration, scene.dt), beside(scene, lane)
    s = FRONT + gap + 0.5 * LENGTH + u * t
    moved, aside = across(t, ACTION, offset, rate)
    scene.users.append(car(scene, lane, s, moved, np.full_like(t, u), aside))
    stands = np.full_like(t, FRONT + gap + LENGTH + u * ACTION + p["obstacle_gap"] + 0.5 * LENGTH)
    still = np.zeros_like(t)
    scene.users.append(car(scene, lane, stands, still, still, still))


def alks_deceleration(scene: Scene) -> None:
    p = scene.parameters
    u, rate = p["ego_speed"], p["deceleration"]
    lane, gap = drive_on(scene, neighbour=False)
    t = times(scene.duration, scene.dt)
    way, speed = travelled(t, u, [(ACTION, -rate), (ACTION + u / rate, 0.0)])
    s = FRONT + gap + 0.5 * LENGTH + u * ACTION + way
    still = np.zeros_like(t)
    scene.users.append(car(scene, lane, s, still, speed, still))


def motorway(seed: int, values: Mapping[str, float]) -> RoadMap:
    """A straight road of two lanes per direction with the set speed as its limit, for any seed."""
    return generate_map(
        "straight",
        length=FRONT + DURATION * values["ego_speed"] + 100.0,
        lanes=2,
        speed_limit=values["ego_speed"],
        pavement=False,
        variation=0.0,
    )


def _ego_speed() -> Parameter:
    doc = "the car's speed at the start and the speed limit"
    return Parameter(kmh(60), kmh(10), kmh(130), "m/s", doc, "ego", 3.6)


def _front_gap(default: float, doc: str) -> Parameter:
    return Parameter(default, 1.0, 300.0, "m", doc, "gap")


def _lateral_speed() -> Parameter:
    doc = "how fast the other car moves sideways"
    return Parameter(1.0, 0.1, 3.0, "m/s", doc, "aside")


ALKS: dict[str, Family] = {
    "alks_cut_in": Family(
        "UN R157: a slower car from the next lane cuts in.",
        motorway,
        alks_cut_in,
        duration=DURATION,
        parameters={
            "ego_speed": _ego_speed(),
            "target_speed": Parameter(
                kmh(40), kmh(5), kmh(130), "m/s", "the other car's speed along the road", "target",
                3.6,
            ),
            "front_gap": _front_gap(20.0, "from the ego's front to the other car's rear at first"),
            "lateral_speed": _lateral_speed(),
        },
    ),
    "alks_cut_out": Family(
        "UN R157: the car ahead changes lane and leaves the ego before a standing car.",
        motorway,
        alks_cut_out,
        duration=DURATION,
        parameters={
            "ego_speed": _ego_speed(),
            "front_gap": _front_gap(30.0, "to the car ahead, which is as fast as the ego"),
            "lateral_speed": _lateral_speed(),
            "obstacle_gap": Parameter(
                50.0, 5.0, 300.0, "m",
                "from the car ahead to the standing one when it starts to move over", "obstacle",
            ),
        },
    ),
    "alks_deceleration": Family(
        "UN R157: the car ahead brakes to a standstill and stays there.",
        motorway,
        alks_deceleration,
        duration=DURATION,
        parameters={
            "ego_speed": _ego_speed(),
            "front_gap": _front_gap(30.0, "to the car ahead, which is as fast as the ego at first"),
            "deceleration": Parameter(
                6.0, 0.5, 9.0, "m/s^2", "how hard the car ahead brakes", "brake"
            ),
        },
    ),
}  # fmt: skip
"""the families by name"""
