"""When a sensor measures, and when a driver has what it measured.

Sensor clocks start with the scenario: measurement ``n`` of a sensor is due at ``n / rate``.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

_ROUNDING = 1e-6  # of a period: what time = step * dt may lack in floating point


def microseconds(time: float) -> int:
    """A time in s as the timestamps have it."""
    return round(time * 1e6)


def due(rate: float, before: float, now: float) -> range:
    """Numbers of the measurements due after ``before`` and up to ``now`` (s)."""
    return range(
        math.floor(before * rate + _ROUNDING) + 1,
        math.floor(now * rate + _ROUNDING) + 1,
    )


class Delay(Generic[T]):
    """Hands measurements on after ``latency`` s, rounded up to whole steps of ``dt``."""

    def __init__(self, latency: float, dt: float):
        self.steps = math.ceil(latency / dt - _ROUNDING)
        self._waiting: deque[tuple[int, T]] = deque()
        self._newest: T | None = None

    def put(self, step: int, value: T) -> None:
        """A measurement of ``step``, in order."""
        self._waiting.append((step + self.steps, value))

    def get(self, step: int) -> T | None:
        """The newest that has arrived at ``step``; None before the first one."""
        while self._waiting and self._waiting[0][0] <= step:
            self._newest = self._waiting.popleft()[1]
        return self._newest
