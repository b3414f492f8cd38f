"""The nouns every part of roadloop speaks: plain frozen dataclasses of NumPy arrays.

Conventions, stated once. SI units and radians. Leading ``...`` axes are batch axes; time comes
before agents, agents before features. World frame: the map's local east-north-up frame. Ego frame:
x forward, y left, z up, origin on the ground under the rear axle. Camera frame: x right, y down,
z forward. Heading is counter-clockwise from +x in (-pi, pi]. Boxes are given by their *centre*.
A transform is named ``dst_from_src``. Masks are boolean ``valid`` arrays, never NaN or -1 rows.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from roadloop.readings import (
    CameraImage,
    GnssFix,
    ImuSamples,
    LidarSweep,
    RadarScan,
    WheelOdometry,
)
from roadloop.weather import Weather

if TYPE_CHECKING:
    from roadloop.maps.road_map import RoadMap

Array = np.ndarray
T = TypeVar("T")


def at(value: T, index: Any) -> T:
    """The same dataclass with every array field indexed by ``index`` (e.g. a time step)."""
    picked = {}
    for f in dataclasses.fields(value):  # type: ignore[arg-type]
        item = getattr(value, f.name)
        picked[f.name] = item[index] if isinstance(item, np.ndarray) else item
    return type(value)(**picked)


class AgentKind(IntEnum):
    """What a road user is; the number is what the simulator and the logs store."""

    CAR = 0
    VAN = 1
    TRUCK = 2
    BUS = 3
    MOTORCYCLE = 4
    CYCLIST = 5
    PEDESTRIAN = 6
    STATIC = 7  # parked vehicle, cone, barrier: anything that never moves


class LightState(IntEnum):
    """State of one traffic light."""

    OFF = 0
    RED = 1
    RED_YELLOW = 2
    YELLOW = 3
    GREEN = 4


@dataclass(frozen=True)
class VehicleParameters:
    """Geometry and actuator limits of a vehicle. Defaults: a mid-size passenger car."""

    length: float = 4.7
    """m, bumper to bumper"""
    width: float = 1.9
    """m, without mirrors"""
    height: float = 1.5
    """m"""
    wheelbase: float = 2.8
    """m, rear axle to front axle"""
    rear_overhang: float = 1.0
    """m, rear bumper to rear axle"""
    max_steering: float = 0.61
    """rad at the front wheels (35 degrees)"""
    max_steering_rate: float = 0.7
    """rad/s at the front wheels"""
    max_acceleration: float = 4.0
    """m/s^2, what the drive train gives"""
    max_deceleration: float = 8.0
    """m/s^2, full braking on dry asphalt"""
    steering_lag: float = 0.1
    """s, first-order time constant of the steering actuator"""
    acceleration_lag: float = 0.2
    """s, first-order time constant of drive train and brakes (NAVSIM's vehicle model uses 0.2)"""
    friction: float = 0.9
    """tyre-road friction coefficient: combined acceleration stays below friction * g"""

    @property
    def centre_offset(self) -> float:
        """m from the rear axle forward to the box centre."""
        return self.length / 2.0 - self.rear_overhang


@dataclass(frozen=True)
class EgoState:
    """The ego vehicle; every field ``(...)``, pose of the rear axle in the world frame."""

    x: Array
    y: Array
    z: Array
    heading: Array
    speed: Array
    """m/s along the heading, negative when reversing"""
    acceleration: Array
    """m/s^2 along the heading"""
    steering: Array
    """rad at the front wheels, left positive"""
    yaw_rate: Array
    """rad/s"""
    vehicle: VehicleParameters = field(default_factory=VehicleParameters)

    def box_centre(self) -> tuple[Array, Array]:
        """World x, y of the box centre, each ``(...)``."""
        d = self.vehicle.centre_offset
        return self.x + d * np.cos(self.heading), self.y + d * np.sin(self.heading)


@dataclass(frozen=True)
class AgentStates:
    """Other road users; every field ``(..., agents)``, box centres in the world frame."""

    id: Array
    kind: Array
    """AgentKind as uint8"""
    x: Array
    y: Array
    z: Array
    """m, height of the ground under the box centre"""
    heading: Array
    vx: Array
    """m/s, world frame"""
    vy: Array
    length: Array
    width: Array
    height: Array
    valid: Array

    @property
    def speed(self) -> Array:
        """m/s, magnitude of the velocity."""
        return np.hypot(self.vx, self.vy)


@dataclass(frozen=True)
class Detections:
    """What a detector found in one frame: boxes ``(..., detections)`` with a score in [0, 1]."""

    boxes: AgentStates
    score: Array


@dataclass(frozen=True)
class Tracks:
    """Road users followed over time, as the planner sees them; fields ``(..., tracks)``."""

    states: AgentStates
    position_std: Array
    """m, standard deviation of the box centre along each world axis; 0 for ground truth"""
    age: Array
    """steps since the track was born"""


@dataclass(frozen=True)
class Forecasts:
    """Predicted futures of box centres: ``x``, ``y``, ``heading`` are ``(..., tracks, modes,
    time)``, in the world frame at ``t = k * dt``, the first one is now. Rows are those of the
    `Tracks` they were made of, also where these are not valid."""

    x: Array
    y: Array
    heading: Array
    probability: Array
    """(..., tracks, modes), sums to 1 over modes"""
    dt: float
    along_std: Array | None = None
    """m, standard deviation of the position along the predicted heading, shaped as ``x``; None: the
    forecaster gives none"""
    across_std: Array | None = None
    """m, likewise to its left"""


@dataclass(frozen=True)
class Trajectory:
    """A plan: rear-axle poses in the world frame, fields ``(..., time)``, the first one is now."""

    x: Array
    y: Array
    heading: Array
    speed: Array
    dt: float


@dataclass(frozen=True)
class Control:
    """What a driver asks of the vehicle; fields ``(...)``."""

    acceleration: Array
    """m/s^2 along the heading, negative brakes"""
    steering: Array
    """rad at the front wheels, left positive"""


@dataclass(frozen=True)
class Observation:
    """What a driver gets each step. Fields it did not ask for are None or empty."""

    step: int
    time: float
    """s since the start; step * dt, never a wall clock"""
    dt: float
    ego: EgoState
    tracks: Tracks | None = None
    """ground truth, for drivers that declare the sensor ``"tracks"``"""
    lights: Array | None = None
    """(signals,) LightState per signal of the map, for drivers that declare ``"lights"``"""
    cameras: dict[str, CameraImage] = field(default_factory=dict)
    lidars: dict[str, LidarSweep] = field(default_factory=dict)
    radars: dict[str, RadarScan] = field(default_factory=dict)
    imus: dict[str, ImuSamples] = field(default_factory=dict)
    gnss: dict[str, GnssFix] = field(default_factory=dict)
    odometry: dict[str, WheelOdometry] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """Where the ego is to go: lanes in driving order on the map's lane graph.

    Consecutive lanes are successors or, where a lane change is due, neighbours.
    """

    lanes: Array
    """(lanes,) indices into RoadMap"""
    start_s: float
    """m along the first lane"""
    goal_s: float
    """m along the last lane"""


class Behaviour(IntEnum):
    """Who moves an agent."""

    TRAFFIC = 0  # IDM + MOBIL on the lane graph, obeys lights, signs and right of way
    STATIC = 1  # never moves
    WALK = 2  # pedestrian walking between two points, waiting at the kerb for a gap
    REPLAY = 3  # moved along Agents.replay, whatever the others do
    REACT = 4  # along Agents.replay as long as nobody is in its way; see sim.reactive


class Trigger(IntEnum):
    """When an agent's scripted action starts."""

    NEVER = 0
    TIME = 1  # value: s since the start
    EGO_DISTANCE = 2  # value: m between the ego's box centre and the agent's
    EGO_ARRIVAL = 3  # value: s until the ego, at its present speed, is nearest to the agent


class Action(IntEnum):
    """What an agent does when its trigger fires."""

    NONE = 0
    BRAKE = 1  # to a standstill; rate: m/s^2; stays for `hold` seconds
    CHANGE_LEFT = 2  # to the neighbour lane
    CHANGE_RIGHT = 3
    WALK = 4  # start walking to the other point without waiting for a gap


@dataclass(frozen=True)
class Agents:
    """The other road users of a scenario: start states and manners; fields ``(agents,)``."""

    states: AgentStates
    behaviour: Array
    """Behaviour as uint8"""
    lane: Array
    """int32 start lane, -1 for walkers and statics"""
    s: Array
    """m along that lane, of the box centre"""
    route: Array
    """(agents, hops) int32 lanes to follow in order, -1 padded; a row of -1 wanders by seed"""
    speed_factor: Array
    """desired speed as a multiple of the speed limit"""
    max_speed: Array
    """m/s, cap on the desired speed"""
    headway: Array
    """s, IDM time headway"""
    min_gap: Array
    """m, IDM standstill gap"""
    acceleration: Array
    """m/s^2, IDM maximum acceleration"""
    deceleration: Array
    """m/s^2, IDM comfortable deceleration"""
    politeness: Array
    """MOBIL politeness in [0, 1]; negative: never changes lane"""
    lateral_offset: Array
    """m left of the centreline the agent keeps"""
    walk_to: Array
    """(agents, 2) the far point of a walker"""
    trigger: Array
    """Trigger as uint8"""
    trigger_value: Array
    action: Array
    """Action as uint8"""
    action_rate: Array
    """m/s^2 for BRAKE"""
    action_hold: Array
    """s the action lasts, inf for ever"""
    replay: Array
    """(agents, steps, 4) x, y, heading, speed of the box centre at t = k * dt, for REPLAY, REACT.

    NaN where the agent is not there. After the last step it stands at its last pose; (agents, 0, 4)
    where nobody is replayed.
    """


@dataclass(frozen=True)
class LightProgramme:
    """Fixed-time programmes of a map's signals; every field ``(signals,)``, s within a cycle.

    At time t the phase is ``(t + offset) mod cycle``: red, green from ``green``, yellow from
    ``yellow``, red again from ``red``. A cycle of 0 keeps the light at ``fixed``.
    """

    cycle: Array
    offset: Array
    green: Array
    yellow: Array
    red: Array
    fixed: Array
    """LightState as uint8; OFF for signals that are no lights"""
    recorded: Array | None = None
    """(signals, steps) LightState as uint8 at t = k * dt in place of a programme, and the last one
    for ever; None: not recorded"""


@dataclass(frozen=True)
class Scenario:
    """One closed-loop problem: a map, a start, a route, other road users, a seed."""

    name: str
    family: str
    seed: int
    road_map: RoadMap
    duration: float
    """s"""
    dt: float
    """s per step"""
    ego: EgoState
    route: Route
    agents: Agents
    lights: LightProgramme
    description: str = ""
    parameters: dict[str, float] = field(default_factory=dict)
    """of the family, those that were given"""
    weather: Weather = field(default_factory=Weather)
    expert: EgoState | None = None
    """(steps,) the recorded ego at t = k * dt; None where nobody has driven it before"""
    replay_ego: bool = False
    """the ego is moved as ``expert`` was, whatever the driver asks for"""


@dataclass(frozen=True)
class Rollout:
    """What happened: arrays over time. A complete rollout can be scored without the simulator."""

    scenario: str
    family: str
    seed: int
    driver: str
    map_name: str
    map_hash: str
    dt: float
    time: Array
    """(time,) s"""
    ego: EgoState
    """(time,)"""
    control: Control
    """(time,) what the driver asked for at each step"""
    agents: AgentStates
    """(time, agents)"""
    lights: Array
    """(time, signals) LightState as uint8"""
    plan: Array
    """(time, points, 3) planned x, y, speed of the rear axle; NaN rows where there is no plan"""
    route: Route
    finished: bool
    """True when the run ended by itself, False when it was interrupted"""
    expert: EgoState | None = None
    """(steps,) the recorded ego of the scenario, as there"""
