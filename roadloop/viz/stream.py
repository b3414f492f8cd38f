"""A drive step by step as a viewer shows it: what the rerun recording and the MCAP file both say.

    stream = Stream(subject_of_scenario(scenario, "rule", rig))
    view = stream.view(observation, control, plan)   # poses, boxes, lines, what sensors gave anew

Frames: ``world`` (the map's), ``ego``, and one per sensor with its own axes (a camera's: x right,
y down, z forward). Times are microseconds since the start of the drive, as in Observation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.geometry import rotation_from_euler, se3
from roadloop.logs.sensor_poses import level_pose
from roadloop.readings import CameraImage, GnssFix, ImuSamples, LidarSweep, RadarScan, WheelOdometry
from roadloop.rig import CameraSensor, OdometrySensor
from roadloop.types import AgentStates, Control, EgoState, Observation, Trajectory
from roadloop.viz.palette import PLAN, rgb
from roadloop.viz.sensor_marks import MOVES, kind_colours, kind_label
from roadloop.viz.subject import Subject

if TYPE_CHECKING:
    from roadloop.scoring.result import Score

Array = np.ndarray

TRAIL = 10.0
"""s of the ego's way that stay behind it"""


@dataclass(frozen=True)
class AgentBoxes:
    """Agents as boxes; fields ``(agents, ...)``."""

    id: Array
    kind: Array
    """AgentKind"""
    world_from_box: Array
    """(agents, 4, 4), origin at the box centre"""
    size: Array
    """(agents, 3) m, length, width, height"""
    velocity: Array
    """(agents, 3) m/s, world frame"""

    @property
    def labels(self) -> list[str]:
        """Kind and id."""
        return [kind_label(k, i) for k, i in zip(self.kind, self.id)]

    @property
    def colours(self) -> Array:
        """(agents, 3) uint8"""
        return kind_colours(self.kind)

    @property
    def moving(self) -> Array:
        """(agents,) bool"""
        return np.linalg.norm(self.velocity, axis=-1) >= MOVES


@dataclass(frozen=True)
class ColouredLine:
    """A line in the world frame with a colour per point; no points: there is none."""

    points: Array
    """(points, 3) m"""
    colours: Array
    """(points, 3) uint8"""


@dataclass(frozen=True)
class StepView:
    """What there is to show at one step. Readings: only those that are new since the last step."""

    step: int
    time_us: int
    world_from_ego: Array
    """(4, 4)"""
    trail: Array
    """(points, 3) m, where the rear axle was, the oldest first"""
    agents: AgentBoxes | None
    lights: Array | None
    """(signals,) LightState; None where nothing has changed"""
    plan: ColouredLine
    numbers: dict[str, float]
    """by name, each with its unit in it"""
    mounts: dict[str, Array] | None
    """(4, 4) ego_from_sensor of every sensor by name; None where none is new"""
    cameras: dict[str, CameraImage] = field(default_factory=dict)
    lidars: dict[str, LidarSweep] = field(default_factory=dict)
    radars: dict[str, RadarScan] = field(default_factory=dict)
    imus: dict[str, ImuSamples] = field(default_factory=dict)
    gnss: dict[str, GnssFix] = field(default_factory=dict)
    odometry: dict[str, WheelOdometry] = field(default_factory=dict)


class Stream:
    """Turns the steps of a drive, given in order, into what is to be shown of each."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._mounts: dict[str, Array] = {}
        self._mounts_shown = False
        self._newest: dict[str, int] = {}
        self._lights: Array | None = None
        self._trail: list[tuple[float, Array]] = []
        self._step: int | None = None
        path = subject.path
        self._top_speed = 50 / 3.6 if path is None else float(path.speed_limit.max())
        for sensor in () if subject.rig is None else subject.rig.sensors:
            if isinstance(sensor, CameraSensor):
                self._mounts[sensor.name] = sensor.ego_from_camera
            elif not isinstance(sensor, OdometrySensor):  # which sits nowhere
                self._mounts[sensor.name] = sensor.mount.ego_from_sensor

    def view(
        self,
        observation: Observation,
        control: Control | None = None,
        plan: Trajectory | Array | None = None,
        *,
        world_from_ego: Array | None = None,
        world_from_agent: Array | None = None,
    ) -> StepView:
        """The next step.

        Args:
            control: what the driver asked for.
            plan: what it planned, as a rollout has it also (points, 3) x, y, speed.
            world_from_ego: (4, 4), by default level at the ego's x, y, z and heading.
            world_from_agent: (agents, 4, 4) of the tracks' boxes with the origin on the ground
                under the centre, by default upright.

        Raises:
            RoadloopError: steps out of order.
        """
        step = int(observation.step)
        if self._step is not None and step <= self._step:
            raise RoadloopError(f"step {step} after step {self._step}; give them in order")
        self._step = step
        ego = observation.ego
        pose = level_pose(ego) if world_from_ego is None else np.asarray(world_from_ego, float)
        self._trail.append((observation.time, pose[:3, 3]))
        self._trail = [p for p in self._trail if p[0] >= observation.time - TRAIL - 1e-9]
        tracks = observation.tracks
        cameras = self._new(observation.cameras)
        self._mount({name: image.ego_from_camera for name, image in cameras.items()})
        mounts = None if self._mounts_shown else dict(self._mounts)
        self._mounts_shown = True
        return StepView(
            step=step,
            time_us=round(observation.time * 1e6),
            world_from_ego=pose,
            trail=np.stack([p for _, p in self._trail]),
            agents=None if tracks is None else agent_boxes(tracks.states, world_from_agent),
            lights=self._changed_lights(observation.lights),
            plan=self._plan_line(plan, pose),
            numbers=_numbers(ego, control),
            mounts=mounts,
            cameras=cameras,
            lidars=self._new(observation.lidars),
            radars=self._new(observation.radars),
            imus=self._new_samples(observation.imus),
            gnss=self._new(observation.gnss),
            odometry=self._new(observation.odometry),
        )

    def ego_from(self, sensor: str) -> Array:
        """(4, 4) ego_from_sensor; at the ego's origin where no rig says where it sits."""
        return self._mounts.get(sensor, np.eye(4))

    def _mount(self, seen: dict[str, Array]) -> None:
        for name, pose in seen.items():
            known = self._mounts.get(name)
            if known is None or not np.array_equal(known, pose):
                self._mounts[name] = np.asarray(pose, float)
                self._mounts_shown = False

    def _new(self, readings: dict[str, Any]) -> dict[str, Any]:
        """Readings with a later timestamp than the last of the same sensor."""
        new = {}
        for name, reading in readings.items():
            if reading.timestamp_us > self._newest.get(name, -1):
                self._newest[name] = reading.timestamp_us
                new[name] = reading
        return new

    def _new_samples(self, imus: dict[str, ImuSamples]) -> dict[str, ImuSamples]:
        new = {}
        for name, imu in imus.items():
            late = imu.timestamp_us > self._newest.get(name, -1)
            if late.any():
                self._newest[name] = int(imu.timestamp_us.max())
                new[name] = ImuSamples(
                    imu.timestamp_us[late], imu.acceleration[late], imu.angular_velocity[late]
                )
        return new

    def _changed_lights(self, lights: Array | None) -> Array | None:
        if lights is None or (self._lights is not None and np.array_equal(lights, self._lights)):
            return None
        self._lights = np.array(lights)
        return self._lights

    def _plan_line(self, plan: Trajectory | Array | None, world_from_ego: Array) -> ColouredLine:
        if plan is None:
            return ColouredLine(np.zeros((0, 3)), np.zeros((0, 3), np.uint8))
        if isinstance(plan, Trajectory):
            plan = np.stack([np.ravel(plan.x), np.ravel(plan.y), np.ravel(plan.speed)], axis=-1)
        plan = plan[np.isfinite(plan).all(-1)]
        height = self._height(plan[:, :2], world_from_ego)
        share = np.clip(plan[:, 2] / self._top_speed, 0.0, 1.0)
        points = np.concatenate([plan[:, :2], height[:, None]], axis=-1)
        return ColouredLine(points, _plan_colours(share))

    @cached_property
    def _road(self) -> tuple[Any, Array] | None:
        """A tree of points on the road that is driven, and their heights."""
        from scipy.spatial import KDTree

        if self.subject.path is not None:
            points = self.subject.path.xyz
        elif self.subject.road_map is not None:
            points = self.subject.road_map.point_xyz
        else:
            return None
        return KDTree(points), points[:, 2]

    def _height(self, xy: Array, world_from_ego: Array) -> Array:
        """(points,) m, of the road at points (points, 2) near the ego.

        Without a map the ground is the ego's plane.
        """
        if self._road is None:
            (a, b, c), place = world_from_ego[:3, 2], world_from_ego[:3, 3]
            return place[2] - ((xy - place[:2]) @ (a, b)) / c
        tree, heights = self._road
        # looked for at the ego's height: where roads cross, not on the other one's bridge
        level = np.full((len(xy), 1), world_from_ego[2, 3])
        return heights[tree.query(np.concatenate([xy, level], axis=-1))[1]]


def quaternions(poses: Array) -> Array:
    """Unit quaternions x, y, z, w of rigid transforms: (..., 4, 4) -> (..., 4), w >= 0."""
    from scipy.spatial.transform import Rotation

    if poses.size == 0:
        return np.zeros((*poses.shape[:-2], 4))
    return Rotation.from_matrix(poses[..., :3, :3]).as_quat(canonical=True)


def ego_box(ego: EgoState) -> tuple[Array, Array]:
    """Centre in the ego frame and length, width, height, each (3,) m."""
    v = ego.vehicle
    return np.array([v.centre_offset, 0.0, v.height / 2.0]), np.array([v.length, v.width, v.height])


def agent_boxes(states: AgentStates, world_from_agent: Array | None = None) -> AgentBoxes:
    """Boxes of the valid agents; poses as ``Stream.view`` has them."""
    rows = np.flatnonzero(states.valid)

    def of(values: Array) -> Array:
        return np.asarray(values)[rows]

    if world_from_agent is None:
        ground = np.stack([of(states.x), of(states.y), of(states.z)], axis=-1).astype(float)
        level = np.zeros(len(rows))
        poses = se3(rotation_from_euler(level, level, of(states.heading)), ground)
    else:
        poses = np.array(world_from_agent, float)[rows]
    size = np.stack([of(states.length), of(states.width), of(states.height)], axis=-1)
    poses[:, :3, 3] += poses[:, :3, 2] * size[:, 2:] / 2.0
    velocity = np.stack([of(states.vx), of(states.vy), np.zeros(len(rows))], axis=-1)
    return AgentBoxes(of(states.id), of(states.kind), poses, size.astype(float), velocity)


@dataclass(frozen=True)
class Event:
    """A moment with a sentence."""

    time_us: int
    text: str
    bad: bool


def score_events(score: Score) -> list[Event]:
    """When each term of the score was lost, and the score itself at the start."""
    events = []
    if score.value is not None:
        value = f"{score.value:.3g} {score.unit}".strip()
        events.append(Event(0, f"{score.title}: {value}", bad=False))
    for term in score.terms:
        if term.lost_at is not None:
            text = f"{term.title}: {term.detail}"
            events.append(Event(round(term.lost_at * 1e6), text, bad=term.passed is False))
    return sorted(events, key=lambda event: event.time_us)


def _numbers(ego: EgoState, control: Control | None) -> dict[str, float]:
    numbers = {
        "speed_mps": float(ego.speed),
        "acceleration_mps2": float(ego.acceleration),
        "steering_rad": float(ego.steering),
        "yaw_rate_radps": float(ego.yaw_rate),
    }
    if control is not None:
        numbers["asked_acceleration_mps2"] = float(control.acceleration)
        numbers["asked_steering_rad"] = float(control.steering)
    return numbers


def _plan_colours(share: Array) -> Array:
    """(points, 3) uint8; share (points,) of the top speed."""
    steps = np.array([rgb(c) for c in PLAN], float)
    at = share * (len(steps) - 1)
    grid = np.arange(len(steps))
    return np.stack([np.interp(at, grid, steps[:, k]) for k in range(3)], axis=-1).astype(np.uint8)
