"""The newest sweeps of LiDARs and scans of radars at run time, put where the ego is now."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

import numpy as np

from roadloop.geometry import inverse, transform_points
from roadloop.readings import LidarSweep, RadarScan

Array = np.ndarray

SWEEPS = 1
"""of each sensor: drives are simulated, and mostly recorded, more seldom than sensors measure, and
a network that learnt from one sweep is not to be given three on one another"""
MAX_AGE = 0.3
"""s; a sensor whose newest sweep is older counts as missing, older sweeps are left out"""
_EPS = 1e-6  # s: time stamps are whole microseconds

PoseAt = Callable[[float], Array]
"""s -> world_from_ego (4, 4)"""


class SweepMemory:
    """Keeps what range sensors gave.

    ``faults`` is one line per sensor that gives nothing usable now.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._kept: dict[str, deque[tuple[float, Array]]] = {
            name: deque(maxlen=SWEEPS) for name in self._names
        }
        self._faults: dict[str, str] = {}
        self._begun: float | None = None

    @property
    def faults(self) -> tuple[str, ...]:
        return tuple(self._faults.values())

    def take(self, readings: Mapping[str, LidarSweep | RadarScan], now: float) -> None:
        """Keep what is new; what holds NaN or infinity is a fault and not kept."""
        self._begun = now if self._begun is None else self._begun
        for name, kept in self._kept.items():
            reading = readings.get(name)
            fault = ""
            if reading is not None:
                time = 1e-6 * reading.timestamp_us
                rows = _rows(reading)
                if not np.isfinite(rows).all():
                    fault = "gives NaN or infinity"
                elif not kept or time > kept[-1][0]:
                    kept.append((time, rows))
            since = kept[-1][0] if kept else self._begun
            if not fault and now - since > MAX_AGE + _EPS:
                fault = "gives nothing"
            if not fault:
                self._faults.pop(name, None)
            elif name not in self._faults:
                self._faults[name] = f'sensor "{name}" {fault} (since {now:.1f} s)'

    def points(self, time: float, pose_at: PoseAt) -> Array:
        """Rows of the kept sweeps, x, y, z in the ego frame of ``time``.

        (P, 5) x, y, z, intensity, s from ``time``; of radars (R, 6) x, y, z, radial speed, rcs,
        likewise. Empty where all is too old.
        """
        ego_from_world = inverse(pose_at(time))
        parts = []
        for name, kept in self._kept.items():
            for then, rows in kept:
                if name in self._faults or time - then > MAX_AGE + _EPS:
                    continue
                moved = rows.copy()
                moved[:, :3] = transform_points(ego_from_world @ pose_at(then), rows[:, :3])
                moved[:, -1] += then - time
                parts.append(moved)
        return np.concatenate(parts) if parts else np.zeros((0, 6))


def _rows(reading: LidarSweep | RadarScan) -> Array:
    """(n, 5) or (n, 6) float64, the last column s from the reading's time stamp."""
    if isinstance(reading, LidarSweep):
        late = reading.time_offset
        late = np.zeros(len(reading.points)) if late is None else late
        return np.column_stack([reading.points[:, :4], late]).astype(np.float64)
    columns = (reading.x, reading.y, reading.z, reading.radial_speed, reading.rcs)
    return np.column_stack([*columns, np.zeros(len(reading.x))]).astype(np.float64)
