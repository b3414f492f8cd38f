"""What a driver saw beside what was there: plain arrays for reports, videos and lists."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from roadloop.logs.percepts import PerceptLog
from roadloop.logs.side_tables import Table, first_step, latest_row
from roadloop.types import Rollout

Array = np.ndarray

MATCHED = 2.0
"""m between the centres of a road user and of the track that counts as his, as of nuScenes"""
LASTING = 0.5
"""s from which on a miss or a false alarm is listed"""
STALE = 1.0
"""s after which what was seen tells nothing any more: no camera is trusted then"""
BANDS = (0.0, 15.0, 30.0, 60.0)
"""m from the ego, limits of the distances that are counted apart"""


class Truth(IntEnum):
    """What became of a road user who was there."""

    FOUND = 0
    MISSED = 1
    HIDDEN = 2  # too few pixels of him to be found
    BEYOND = 3  # outside the grid: nobody asks for him


class Told(IntEnum):
    """What a track was."""

    RIGHT = 0
    FALSE = 1
    ASIDE = 2  # of somebody hidden or outside the grid: neither right nor wrong


@dataclass(frozen=True)
class SeenEvent:
    """Something that went wrong for a while."""

    kind: str
    """missed, false alarm or light"""
    start: float
    """s"""
    end: float
    what: str
    """the class, or for lights what was told and what was so"""
    distance: float
    """m from the ego's rear axle, the least; NaN for lights"""
    ahead: float
    """m, where it was at the start"""
    left: float
    name: int
    """id of the road user, of the track or of the signal"""


@dataclass(frozen=True)
class SeenSummary:
    """A whole drive in numbers; NaN where nothing was there."""

    visible: int
    """road users in reach, counted at every moment"""
    found: int
    missed: int
    false_alarms: int
    other_class: int
    """of those found, taken for another class"""
    moments: int
    position_error: float
    """m, root mean square over those found"""
    velocity_error: float
    """m/s, likewise"""
    bands: tuple[tuple[float, float, int, int], ...]
    """(m from, m to, visible, found)"""
    detections: tuple[int, int]
    """boxes of a score of `SURE` or more in the grid, and how many of those are false"""


SURE = 0.35
"""score from which on a detection is drawn and counted: what the tracker calls strong"""


@dataclass(frozen=True)
class Seen:
    """A drive as it was seen, judged by its rollout. m moments."""

    log: PerceptLog
    truth: Table
    """rows of road users: moment, agent, label, kind, x, y, z, heading, vx, vy, length, width,
    height, state (`Truth`), track (row of the log's tracks, -1: none)"""
    told: Array
    """(tracks,) `Told` of the log's tracks"""
    visible: Array
    """(m,) road users who could be found"""
    found: Array
    missed: Array
    false_alarms: Array
    position_error: Array
    """(m,) m, mean over those found, NaN where nobody is"""
    velocity_error: Array
    """(m,) m/s, likewise"""
    events: tuple[SeenEvent, ...]
    """in order of time"""
    summary: SeenSummary

    def of_step(self, rollout: Rollout) -> Array:
        """(steps,) the latest moment known at each step of the drive, -1 before the first."""
        return latest_row(self.log.tables["moments"]["step"], rollout)

    def over_time(self, values: Array, rollout: Rollout) -> Array:
        """(steps,) float: values of moments (m,) at the drive's steps, NaN where none is known.

        A moment holds until the next one, and no longer than `STALE`.
        """
        row = self.of_step(rollout)
        if not len(values):
            return np.full(len(row), np.nan)
        last = np.maximum(row, 0)
        fresh = rollout.time - self.log.tables["moments"]["time"][last] <= STALE
        return np.where((row >= 0) & fresh, values[last], np.nan)

    def stage_ms(self, rollout: Rollout) -> dict[str, Array]:
        """(steps,) ms of each stage at each step, NaN where the driver did nothing."""
        times = self.log.tables["times"]
        row = np.asarray(times["step"]) - first_step(rollout)
        inside = (row >= 0) & (row < len(rollout.time))
        found = {}
        for k, stage in enumerate(self.log.budget_ms):
            mine = inside & (times["stage"] == k)
            found[stage] = np.full(len(rollout.time), np.nan)
            found[stage][row[mine]] = times["ms"][mine]
        return found


def summary_line(seen: Seen) -> str:
    """A drive in one line."""
    s = seen.summary
    if not s.moments:
        return "No picture was looked at."
    share = f"{s.found / s.visible:.0%} of the visible road users found" if s.visible else ""
    false = f"{s.false_alarms / s.moments:.2f} false alarms at a time"
    error = "" if math.isnan(s.position_error) else f"{s.position_error:.2f} m off"
    return ", ".join(part for part in (share, false, error) if part)


def as_json(seen: Seen) -> dict[str, Any]:
    """The summary and what lasted, as plain values; None where there is no number."""

    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and math.isnan(value) else value

    summary = {key: plain(value) for key, value in asdict(seen.summary).items()}
    events = [{k: plain(v) for k, v in asdict(event).items()} for event in seen.events]
    return {**summary, "events": events}


def rows_of(table: Table, moment: int) -> slice:
    """Rows of a moment; ``table["moment"]`` rises."""
    low, high = np.searchsorted(table["moment"], [moment, moment + 1])
    return slice(int(low), int(high))
