"""Figures of a recording: who is in it, when each sensor measured, what its licence is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from roadloop.logs.recording import Recording
from roadloop.rig import CameraSensor, LidarSensor, RadarSensor, Sensor
from roadloop.types import AgentKind

Array = np.ndarray

GAP = 1.5
"""periods between two measurements from which they have a gap"""
YEARS = (1990, 2100)
"""between these a start is taken for Unix time, not for a clock of the data set's own"""


@dataclass(frozen=True)
class SensorTiming:
    """When one sensor measured."""

    name: str
    kind: str
    what: str
    """size and lens, beams, ..."""
    count: int
    rate: float
    """Hz, from the median period; nan for fewer than two measurements"""
    jitter: float
    """s, standard deviation of the periods without gaps"""
    gaps: int
    """periods of more than ``GAP`` times the median"""
    longest: float
    """s, of all periods"""
    offset: float
    """s, median of a measurement's time less that of the step nearest to it"""


@dataclass(frozen=True)
class KindCount:
    """Road users of one kind."""

    kind: AgentKind
    tracks: int
    boxes: int
    """over all steps"""
    fastest: float
    """m/s"""
    categories: tuple[str, ...]
    """the data set's own names, most frequent first"""


def title_of(recording: Recording) -> str:
    """``nuscenes · scene-0061``: the format it was first read from, and its name."""
    return f"{recording.about.get('dataset', recording.dataset)} · {recording.name}"


def start_text(recording: Recording) -> str:
    """When the recording began, empty where it is not known."""
    start = recording.about.get("start_us")
    if start is None:
        return ""
    try:
        when = datetime.fromtimestamp(int(start) * 1e-6, timezone.utc)
    except (ValueError, OverflowError, OSError, TypeError):
        return ""
    return when.strftime("%Y-%m-%d %H:%M:%S UTC") if YEARS[0] <= when.year < YEARS[1] else ""


def place_text(recording: Recording) -> str:
    """Where it was driven, as far as is known."""
    words = [recording.about.get(key) for key in ("place", "city", "location", "map")]
    return ", ".join(dict.fromkeys(str(word) for word in words if word))


def licence_text(recording: Recording) -> str:
    """The data's licence, in the words of the reader."""
    simulated = "simulated" if "scenario" in recording.about else "licence not stated"
    return str(recording.about.get("licence", "")) or simulated


def length_text(recording: Recording) -> str:
    """``40 steps, 19.5 s, 142 m``"""
    count = len(recording)
    if count == 1:
        return "1 step"
    if not recording.continuous:
        return f"{count} single moments"
    seconds = float(recording.timestamp_us[-1]) * 1e-6
    way = np.hypot(np.diff(recording.ego.x), np.diff(recording.ego.y)).sum()
    return f"{count} steps, {seconds:.1f} s, {way:.0f} m"


def counts_text(recording: Recording) -> str:
    """``6 cameras, 1 LiDAR, 240 pictures, 40 sweeps, 60 road users``"""
    kinds = [frame.kind for frame in recording.frames]
    users = None if recording.agents is None else recording.agents.valid.shape[1]
    parts = [
        (len(recording.rig.cameras), "camera"),
        (len(recording.rig.lidars), "LiDAR"),
        (len(recording.rig.radars), "radar"),
        (kinds.count("camera"), "picture"),
        (kinds.count("lidar"), "sweep"),
        (kinds.count("radar"), "scan"),
        (users or 0, "road user"),
    ]
    words = [f"{n} {word}{'' if n == 1 else 's'}" for n, word in parts if n]
    return ", ".join([*words, *(["no labels"] if users is None else [])]) or "no sensors"


def kinds_of(recording: Recording) -> list[KindCount]:
    """The kinds that occur, in their order."""
    agents = recording.agents
    if agents is None:
        return []
    there = agents.valid
    first = np.argmax(there, axis=0)
    kind = agents.kind[first, np.arange(there.shape[1])]
    found = []
    for k in AgentKind:
        columns = np.flatnonzero((kind == k) & there.any(0))
        if not len(columns):
            continue
        names, counts = np.unique(recording.category[columns], return_counts=True)
        speed = agents.speed[:, columns][there[:, columns]]
        found.append(
            KindCount(
                kind=k,
                tracks=len(columns),
                boxes=int(there[:, columns].sum()),
                fastest=float(speed.max(initial=0.0)),
                categories=tuple(names[np.argsort(-counts, kind="stable")].tolist()),
            )
        )
    return found


def timing_of(recording: Recording) -> list[SensorTiming]:
    """One row per sensor that has measured or has a mount in the rig, in the rig's order."""
    steps = recording.timestamp_us
    rows = []
    for sensor in (*recording.rig.cameras, *recording.rig.lidars, *recording.rig.radars):
        frames = recording.frames_of(sensor.name)
        stamps = np.array([frame.timestamp_us for frame in frames], np.int64)
        periods = np.diff(stamps) * 1e-6 if recording.continuous else np.zeros(0)
        usual = float(np.median(periods)) if len(periods) else np.nan
        even = periods[periods <= GAP * usual] if len(periods) else periods
        offset = np.nan
        if len(stamps):
            at = np.clip(np.searchsorted(steps, stamps), 1, max(len(steps) - 1, 1))
            later = np.minimum(at, len(steps) - 1)
            before, after = stamps - steps[at - 1], stamps - steps[later]
            nearest = np.where(np.abs(before) <= np.abs(after), before, after)
            offset = float(np.median(nearest)) * 1e-6
        rows.append(
            SensorTiming(
                name=sensor.name,
                kind=_KINDS[type(sensor)],
                what=_what(sensor),
                count=len(frames),
                rate=1.0 / usual if usual else np.nan,
                jitter=float(even.std()) if len(even) > 1 else np.nan,
                gaps=int((periods > GAP * usual).sum()) if len(periods) else 0,
                longest=float(periods.max()) if len(periods) else np.nan,
                offset=offset,
            )
        )
    return rows


_KINDS: dict[type, str] = {CameraSensor: "camera", LidarSensor: "LiDAR", RadarSensor: "radar"}


def _what(sensor: Sensor) -> str:
    if isinstance(sensor, CameraSensor):
        angle = 2.0 * np.degrees(np.arctan(0.5 * sensor.width / sensor.fx))
        lens = f"{angle:.0f}°" if sensor.model == "pinhole" else f"{sensor.model}"
        return f"{sensor.width} x {sensor.height}, {lens}"
    if isinstance(sensor, LidarSensor):
        return f"{len(sensor.beams)} beams" if sensor.beams else ""
    return ""
