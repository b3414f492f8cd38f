"""Euro NCAP's car-to-car and vulnerable-road-user tests of emergency braking, as families.

The car under test (VUT, the ego) starts at its test speed `LEAD` s before it would hit the target
if it did not react; targets move by time alone. Seed 0 is the test as prescribed; every other seed
moves the time to contact by up to `LEAD_SPREAD` s and the impact by up to `ASIDE_SPREAD` m.

``impact`` is where the target's reference point meets the front of the VUT, as a share of its
width: 0.5 is its middle. It counts from the near side (the kerb), for targets that cross from the
side they come from; below 0 and above 1 the target overlaps beyond a corner.

Source of speeds, distances and sizes: the protocols Crash Avoidance - Frontal Collisions v1.1
(2026) and AEB/LSS VRU v4.5.1, as the parameter files of github.com/vectorgrp/OSC-NCAP-scenarios
(ee7aa11) state them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.generate import generate_map
from roadloop.maps.road_map import RoadMap
from roadloop.types import AgentKind, Behaviour, Route, VehicleParameters
from sim.places import straight_lane
from sim.population import RoadUser, pose_on, replayed
from sim.scene import Family, Parameter, Scene, kmh
from sim.scripted_motion import motion_on, times, travelled

LEAD = 6.0
"""s from the start to the contact of a VUT that does not react"""
LEAD_SPREAD = 0.5
ASIDE_SPREAD = 0.05
START = 10.0
"""m along the lane where the VUT's rear axle starts"""
BEYOND = 60.0
"""m of road after the contact, at least"""
DURATION = 15.0

VUT = VehicleParameters()
FRONT = VUT.length - VUT.rear_overhang
"""m from the VUT's rear axle to its front"""


@dataclass(frozen=True)
class Body:
    """A test target; its reference point is ``ahead`` m before the middle of its box."""

    kind: AgentKind
    length: float
    width: float
    height: float
    ahead: float = 0.0


GVT = Body(AgentKind.CAR, 4.023, 1.712, 1.427)
"""global vehicle target"""
ADULT = Body(AgentKind.PEDESTRIAN, 0.6, 0.5, 1.8, 0.6 / 2.0 - 0.36)
CHILD = Body(AgentKind.PEDESTRIAN, 0.711, 0.298, 1.154, 0.711 / 2.0 - 0.396)
CYCLIST = Body(AgentKind.CYCLIST, 1.89, 0.5, 1.2, 0.62 - 0.605)
"""its reference point is the crank shaft"""
SMALL_CAR = Body(AgentKind.STATIC, 4.316, 1.79, 1.48)
LARGE_CAR = Body(AgentKind.STATIC, 4.418, 1.82, 1.533)


@dataclass(frozen=True)
class Approach:
    """How the VUT drives if nobody reacts."""

    lane: int
    near: float
    """sign of "left of the centreline" on the near side: -1 where traffic keeps right"""
    speed: float
    time: float
    """s until the contact"""
    s: float
    """m along the lane where the VUT's front then is"""
    lateral: float
    """m left of the centreline where the target's reference point then is"""
    t: np.ndarray
    """(steps,) s of the whole drive"""

    def target(
        self,
        scene: Scene,
        body: Body,
        s: np.ndarray,
        lateral: np.ndarray | float,
        speed: np.ndarray | float,
        course: float = 0.0,
    ) -> RoadUser:
        """A road user whose box centre moves like that along the lane; see ``motion_on``."""
        motion = motion_on(scene.road_map, self.lane, s, lateral, speed, course)
        z = pose_on(scene.road_map, self.lane, self.s)[2]
        return replayed(body.kind, motion, body.length, body.width, body.height, z)


def approach(scene: Scene, *, time: float = 0.0, far_side: bool = False) -> Approach:
    """Puts the VUT on a straight lane at its test speed.

    Args:
        time: s until the contact at least.
        far_side: whether ``impact`` counts from the far side.
    """
    m, speed = scene.road_map, scene.parameters["ego_speed"]
    room = START + FRONT + speed * max(LEAD + LEAD_SPREAD, time) + BEYOND
    lane = straight_lane(m, scene.rng, room)
    shift, aside = scene.rng.uniform(-1.0, 1.0, 2) if scene.seed > 0 else (0.0, 0.0)
    time = max(LEAD + LEAD_SPREAD * shift, time)
    scene.route = Route(np.array([lane], np.int32), START, float(m.lane_length[lane]) - 8.0)
    scene.speed = speed
    near = 1.0 if m.left_hand else -1.0
    origin = -near if far_side else near
    lateral = origin * (0.5 - scene.parameters["impact"]) * VUT.width
    return Approach(
        lane, near, speed, time, START + FRONT + speed * time,
        float(lateral + ASIDE_SPREAD * aside), times(scene.duration, scene.dt),
    )  # fmt: skip


# --- car to car rear ----------------------------------------------------------------------------


def ahead_at_constant_speed(scene: Scene, body: Body, speed: float) -> None:
    """A target on the VUT's lane that keeps its speed; the VUT runs into its rear."""
    a = approach(scene)
    if speed >= a.speed:
        raise RoadloopError(
            f"target_speed {speed:g} m/s must be below ego_speed {a.speed:g} m/s to be caught up"
        )
    s = a.s + 0.5 * body.length + speed * (a.t - a.time)
    scene.users.append(a.target(scene, body, s, a.lateral, speed))


def ccrs(scene: Scene) -> None:
    ahead_at_constant_speed(scene, GVT, 0.0)


def ccrm(scene: Scene) -> None:
    ahead_at_constant_speed(scene, GVT, scene.parameters["target_speed"])


def ccrb(scene: Scene) -> None:
    p = scene.parameters
    v, gap, rate = p["ego_speed"], p["ego_speed"] * p["headway"], p["deceleration"]
    # A VUT that does not react closes the gap by the square while the target still moves, then
    # at its own speed.
    after = np.sqrt(2.0 * gap / rate)
    if after > v / rate:
        after = (gap + 0.5 * v * v / rate) / v
    a = approach(scene, time=1.0 + after)
    brakes = a.time - after
    way, speed = travelled(a.t, v, [(brakes, -rate), (brakes + v / rate, 0.0)])
    rear = START + FRONT + gap + v * brakes + way
    s = rear + 0.5 * GVT.length
    scene.users.append(a.target(scene, GVT, s, a.lateral, speed))


# --- road users who cross -----------------------------------------------------------------------


def crossing(
    scene: Scene,
    body: Body,
    *,
    start: float,
    run_up: float,
    beyond: float,
    far_side: bool = False,
) -> Approach:
    """A target that crosses the VUT's path at a right angle, with the side of its box to the VUT.

    Args:
        start: m from the middle of the VUT's path where it stands at first.
        run_up: m within which it reaches its speed, and within which it stops again.
        beyond: m from the middle of the VUT's path where it then stands.
    """
    a = approach(scene, far_side=far_side)
    origin = -a.near if far_side else a.near
    speed = scene.parameters["target_speed"]
    impact = start - origin * a.lateral - body.ahead  # m its centre has gone at the contact
    rate = 0.5 * speed * speed / run_up
    begin = a.time - (impact + run_up) / speed
    cruise = begin + speed / rate
    brakes = cruise + (start + beyond - 2.0 * run_up) / speed
    phases = [(begin, rate), (cruise, 0.0), (brakes, -rate), (brakes + speed / rate, 0.0)]
    way, now = travelled(a.t, 0.0, phases)
    lateral = origin * (start - way)
    s = np.full_like(way, a.s + 0.5 * body.width)
    course = -origin * 0.5 * np.pi
    scene.users.append(a.target(scene, body, s, lateral, now, course))
    return a


def cpna(scene: Scene) -> None:
    crossing(scene, ADULT, start=4.0, run_up=1.0, beyond=6.0)


def cpfa(scene: Scene) -> None:
    crossing(scene, ADULT, start=6.0, run_up=1.5, beyond=4.0, far_side=True)


def cpnco(scene: Scene) -> None:
    a = crossing(scene, CHILD, start=4.0, run_up=1.0, beyond=6.0)
    front = a.s - 1.0  # 1 m from the child's side to the small car, and to the large one behind
    for car in (SMALL_CAR, LARGE_CAR):
        s = front - 0.5 * car.length
        lateral = a.near * (0.5 * VUT.width + 1.0 + 0.5 * car.width)
        x, y, z, heading = pose_on(scene.road_map, a.lane, s, lateral)
        scene.users.append(
            RoadUser(
                car.kind, x, y, heading, car.length, car.width, car.height, z=z,
                behaviour=Behaviour.STATIC,
            )
        )  # fmt: skip
        front -= car.length + 1.0


def cbna(scene: Scene) -> None:
    # 17 m at its full speed, after a run-up of 7 m that begins before the drive does
    crossing(scene, CYCLIST, start=24.0, run_up=7.0, beyond=12.0)


# --- road users who go the same way -------------------------------------------------------------


def cpla(scene: Scene) -> None:
    ahead_at_constant_speed(scene, ADULT, scene.parameters["target_speed"])


def cbla(scene: Scene) -> None:
    ahead_at_constant_speed(scene, CYCLIST, scene.parameters["target_speed"])


# --- the families -------------------------------------------------------------------------------


def proving_ground(values: Mapping[str, float], pavement: bool) -> RoadMap:
    """A straight road, long enough for the whole drive, with the test speed as its limit."""
    return generate_map(
        "straight",
        length=START + FRONT + DURATION * values["ego_speed"] + BEYOND,
        speed_limit=values["ego_speed"],
        pavement=pavement,
        variation=0.0,
    )


def _family(
    description: str, arrange, *parameters: tuple[str, Parameter], pavement: bool = True
) -> Family:
    return Family(
        description,
        lambda seed, values: proving_ground(values, pavement),
        arrange,
        duration=DURATION,
        parameters=dict(parameters),
    )


def _ego_speed(default: float) -> tuple[str, Parameter]:
    doc = "the car's speed at the start and the speed limit"
    return "ego_speed", Parameter(kmh(default), kmh(5), kmh(130), "m/s", doc, "vut", 3.6)


def _target_speed(default: float, low: float, high: float) -> tuple[str, Parameter]:
    doc = "the target's speed"
    return (
        "target_speed",
        Parameter(kmh(default), kmh(low), kmh(high), "m/s", doc, "target", 3.6),
    )


def _impact(low: float = 0.0, high: float = 1.0, side: str = "near") -> tuple[str, Parameter]:
    doc = f"where the target meets the car's front, as a share of its width from the {side} side"
    return "impact", Parameter(0.5, low, high, "1", doc, "impact", 100.0)


EURO_NCAP: dict[str, Family] = {
    "ccrs": _family(
        "Euro NCAP car-to-car rear, stationary: a car stands in the lane.",
        ccrs,
        _ego_speed(50),
        _impact(-0.25, 1.25),
        pavement=False,
    ),
    "ccrm": _family(
        "Euro NCAP car-to-car rear, moving: a slower car drives ahead.",
        ccrm,
        _ego_speed(50),
        _target_speed(20, 0, 125),
        _impact(-0.25, 1.25),
        pavement=False,
    ),
    "ccrb": _family(
        "Euro NCAP car-to-car rear, braking: the car ahead brakes to a standstill.",
        ccrb,
        _ego_speed(50),
        (
            "headway",
            Parameter(1.0, 0.2, 5.0, "s", "time gap to the target at first", "headway"),
        ),
        (
            "deceleration",
            Parameter(4.0, 1.0, 9.0, "m/s^2", "how hard the target brakes", "brake"),
        ),
        _impact(-0.25, 1.25),
        pavement=False,
    ),
    "cpna": _family(
        "Euro NCAP car-to-pedestrian: an adult walks across from the near side.",
        cpna,
        _ego_speed(40),
        _target_speed(5, 2, 15),
        _impact(),
    ),
    "cpfa": _family(
        "Euro NCAP car-to-pedestrian: an adult runs across from the far side.",
        cpfa,
        _ego_speed(40),
        _target_speed(8, 2, 15),
        _impact(side="far"),
    ),
    "cpnco": _family(
        "Euro NCAP car-to-pedestrian: a child walks out from behind parked cars.",
        cpnco,
        _ego_speed(40),
        _target_speed(5, 2, 15),
        _impact(),
        pavement=False,
    ),
    "cpla": _family(
        "Euro NCAP car-to-pedestrian: an adult walks ahead along the lane.",
        cpla,
        _ego_speed(40),
        _target_speed(5, 2, 15),
        _impact(),
    ),
    "cbna": _family(
        "Euro NCAP car-to-bicyclist: a cyclist crosses from the near side.",
        cbna,
        _ego_speed(40),
        _target_speed(15, 5, 30),
        _impact(),
    ),
    "cbla": _family(
        "Euro NCAP car-to-bicyclist: a cyclist rides ahead along the lane.",
        cbla,
        _ego_speed(40),
        _target_speed(15, 5, 30),
        _impact(),
    ),
}
"""the families by name"""
