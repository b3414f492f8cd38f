"""Labels of one step of a recording in the ego's frame: boxes, tracks, paths, sweeps, scans."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import numpy as np

from roadloop.geometry import inverse, rotation_from_euler, se3, transform_points, wrap_angle
from roadloop.logs.recording import Frame, Recording
from training.sample_spec import MOTION, SampleSpec

Array = np.ndarray


def steps_at(recording: Recording, step: int, seconds: Array) -> tuple[Array, Array]:
    """The steps nearest to ``seconds`` (n,) from ``step``, and which are really there (n,) bool.

    There: within 0.6 nominal steps of the time that was asked for (so not in a gap, nor beyond the
    ends of the drive); in a recording of single pictures never.
    """
    stamps = recording.timestamp_us
    wanted = float(stamps[step]) + np.asarray(seconds, float) * 1e6
    after = np.clip(np.searchsorted(stamps, wanted), 0, len(stamps) - 1)
    before = np.maximum(after - 1, 0)
    nearer = np.abs(stamps[before] - wanted) < np.abs(stamps[after] - wanted)
    found = np.where(nearer, before, after)
    off = np.abs(stamps[found] - wanted)
    return found, (off <= 0.6e6 * recording.dt) & bool(recording.continuous)


def newest(
    recording: Recording, sensor: str, step: int, max_age: float, count: int = 1
) -> list[Frame]:
    """The ``count`` newest measurements that had arrived by ``step``, newest first.

    [] where the newest is older than ``max_age`` s at the step.
    """
    frames = recording.frames_of(sensor)
    end = bisect_right(frames, step, key=lambda frame: frame.step)
    age = 1e6 * max_age
    if not end or float(recording.timestamp_us[step]) - frames[end - 1].timestamp_us > age:
        return []
    return frames[max(end - count, 0) : end][::-1]


def box_labels(recording: Recording, step: int, spec: SampleSpec) -> tuple[dict[str, Array], Array]:
    """The arrays of the road users at ``step``, and the columns of the recording they are (M,)."""
    agents = recording.agents
    none = np.zeros(0, np.int64)
    if agents is None:
        there = none
    else:
        there = np.flatnonzero(agents.valid[step])
        if spec.box_radius > 0.0:
            gap = np.hypot(
                agents.x[step, there] - recording.world_from_ego[step, 0, 3],
                agents.y[step, there] - recording.world_from_ego[step, 1, 3],
            )
            there = there[gap <= spec.box_radius]
        there = there[np.argsort(agents.id[step, there], kind="stable")]
    if agents is None or not len(there):
        return {
            "boxes": np.zeros((0, 9), np.float32),
            "box_kind": np.zeros(0, np.uint8),
            "box_id": none,
            "box_pixels": np.zeros(0, np.int32),
            "box_lidar_points": np.zeros(0, np.int32),
        }, none
    ego_from_world = inverse(recording.world_from_ego[step])
    pose = ego_from_world @ _world_from_agent(recording, step, there)
    height = agents.height[step, there]
    centre = pose[:, :3, 3] + pose[:, :3, 2] * height[:, None] / 2.0
    velocity = _turned(agents.vx[step, there], agents.vy[step, there], ego_from_world)
    size = [agents.length[step, there], agents.width[step, there], height]
    yaw = np.arctan2(pose[:, 1, 0], pose[:, 0, 0])
    counted = recording.lidar_points
    unknown = np.full(len(there), -1, np.int32)
    return {
        "boxes": np.column_stack([centre, *size, yaw, velocity]).astype(np.float32),
        "box_kind": agents.kind[step, there].astype(np.uint8),
        "box_id": agents.id[step, there].astype(np.int64),
        "box_pixels": unknown,
        "box_lidar_points": unknown.copy() if counted is None else counted[step, there],
    }, there


def tracks(recording: Recording, step: int, there: Array, seconds: Array) -> tuple[Array, Array]:
    """(M, n, 5) ``TRACK`` of the road users ``there`` at other times, and where it is known."""
    agents, count = recording.agents, len(seconds)
    found, known = steps_at(recording, step, seconds)
    if agents is None or not len(there):
        return np.zeros((0, count, 5), np.float32), np.zeros((0, count), bool)
    at = np.ix_(found, there)
    ego_from_world = inverse(recording.world_from_ego[step])
    place = np.stack([agents.x[at], agents.y[at], agents.z[at]], axis=-1)
    place = transform_points(ego_from_world, place)
    turn = np.arctan2(ego_from_world[1, 0], ego_from_world[0, 0])
    velocity = _turned(agents.vx[at], agents.vy[at], ego_from_world)
    rows = np.concatenate(
        [place[..., :2], wrap_angle(agents.heading[at] + turn)[..., None], velocity], axis=-1
    )
    valid = agents.valid[at] & known[:, None]
    rows = np.where(valid[..., None], rows, 0.0)
    return rows.swapaxes(0, 1).astype(np.float32), np.ascontiguousarray(valid.T)


def ego_path(recording: Recording, step: int, seconds: Array) -> tuple[Array, Array]:
    """(n, 4) ``PATH`` of the ego at other times, and where it is known (n,)."""
    found, known = steps_at(recording, step, seconds)
    pose = inverse(recording.world_from_ego[step]) @ recording.world_from_ego[found]
    yaw = np.arctan2(pose[:, 1, 0], pose[:, 0, 0])
    rows = np.column_stack([pose[:, 0, 3], pose[:, 1, 3], yaw, recording.ego.speed[found]])
    return np.where(known[:, None], rows, 0.0).astype(np.float32), known


def ego_motion(recording: Recording, step: int) -> Array:
    """(4,) ``MOTION`` of the ego."""
    return np.array([getattr(recording.ego, name)[step] for name in MOTION], np.float32)


def now_from_frame(recording: Recording, step: int, frame: Frame, motion: bool) -> Array:
    """(4, 4): the ego's frame of a measurement in that of the step."""
    if not motion:
        return np.eye(4)
    return inverse(recording.world_from_ego[step]) @ frame.world_from_ego


def lidar_points(recording: Recording, step: int, spec: SampleSpec, names: list[str]) -> Array:
    """(P, 5) ``POINT`` of the newest sweeps of the LiDARs."""
    parts = []
    for name in names:
        for frame in newest(recording, name, step, spec.max_age, spec.sweeps):
            sweep = frame.read()
            moved = now_from_frame(recording, step, frame, spec.motion)
            late = (sweep.timestamp_us - int(recording.timestamp_us[step])) * 1e-6
            times = np.full(len(sweep.points), late)
            if sweep.time_offset is not None:
                times = times + sweep.time_offset
            xyz = transform_points(moved, sweep.points[:, :3].astype(np.float64))
            parts.append(np.column_stack([xyz, sweep.points[:, 3], times]).astype(np.float32))
    return np.concatenate(parts) if parts else np.zeros((0, 5), np.float32)


def radar_targets(recording: Recording, step: int, spec: SampleSpec, names: list[str]) -> Array:
    """(R, 6) ``TARGET`` of the newest scans of the radars."""
    parts = []
    for name in names:
        for frame in newest(recording, name, step, spec.max_age, spec.sweeps):
            scan = frame.read()
            moved = now_from_frame(recording, step, frame, spec.motion)
            late = (scan.timestamp_us - int(recording.timestamp_us[step])) * 1e-6
            xyz = transform_points(moved, np.column_stack([scan.x, scan.y, scan.z]))
            rest = [scan.radial_speed, scan.rcs, np.full(len(scan.x), late)]
            parts.append(np.column_stack([xyz, *rest]).astype(np.float32))
    return np.concatenate(parts) if parts else np.zeros((0, 6), np.float32)


def light_labels(recording: Recording, step: int, with_map: bool) -> dict[str, Array]:
    """Every traffic light's state, and with the map where it stands and whom it addresses."""
    states = np.zeros(0, np.uint8) if recording.lights is None else recording.lights[step]
    arrays: dict[str, Array] = {"lights": np.asarray(states, np.uint8)}
    road_map = recording.road_map if with_map else None
    if with_map:
        poses = np.zeros((len(states), 4), np.float32)
        if road_map is not None and len(road_map.signal_heading) == len(states):
            ego_from_world = inverse(recording.world_from_ego[step])
            poses[:, :3] = transform_points(ego_from_world, road_map.signal_xyz)
            turn = np.arctan2(ego_from_world[1, 0], ego_from_world[0, 0])
            poses[:, 3] = wrap_angle(road_map.signal_heading + turn)
        arrays["light_poses"] = poses
    return arrays


def _world_from_agent(recording: Recording, step: int, there: Array) -> Array:
    agents: Any = recording.agents
    if recording.world_from_agent is not None:
        return recording.world_from_agent[step, there]
    level = np.zeros(len(there))
    place = np.stack([getattr(agents, key)[step, there] for key in "xyz"], axis=-1)
    return se3(rotation_from_euler(level, level, agents.heading[step, there]), place)


def _turned(vx: Array, vy: Array, ego_from_world: Array) -> Array:
    """(..., 2) velocity over ground along the ego's axes."""
    return np.stack([vx, vy], axis=-1) @ ego_from_world[:2, :2].T
