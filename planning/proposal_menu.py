"""What is proposed in one moment: lines to drive on, and the ways to drive along each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from planning.lateral_offset import LateralOffset
from planning.proposals import Options

Array = np.ndarray


@dataclass(frozen=True)
class Line:
    """Where to drive, and what is met there."""

    offset: LateralOffset
    profile: Array
    """(samples,) m/s allowed along the path"""
    led: Array
    """(agents,) bool, who is followed there"""


@dataclass
class Menu:
    """Grows as lines and ways along them are added; `options` makes the arrays of it."""

    end: float
    """m along the path at which the route's road ends"""
    lines: list[Line] = field(default_factory=list)
    _rows: list[tuple[str, int, float, float, float, float]] = field(default_factory=list)

    def line(self, offset: LateralOffset, profile: Array, led: Array) -> int:
        """Add a line; its number."""
        self.lines.append(Line(offset, profile, led))
        return len(self.lines) - 1

    def add(
        self,
        name: str,
        stop_at: float,
        *,
        line: int = 0,
        pace: float = 1.0,
        braking: float = 0.0,
        bonus: float = 0.0,
    ) -> None:
        """Add a way: ``stop_at`` is m along the path of the rear axle, inf: nowhere.

        ``pace`` is the share of the allowed speed, ``braking`` m/s^2 that are kept up, ``bonus``
        what it is ahead of others in the choice, in parts of the score.
        """
        self._rows.append((name, line, pace, stop_at, braking, bonus))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(row[0] for row in self._rows)

    @property
    def bonus(self) -> Array:
        """(P,) of the score."""
        return np.array([row[5] for row in self._rows])

    @property
    def followed(self) -> Array:
        """Indices of the agents that are followed on some line."""
        return np.flatnonzero(np.any([line.led for line in self.lines], axis=0))

    def options(self) -> Options:
        """All ways; ``led`` is over `followed`."""
        names, line, pace, stop_at, braking, _ = zip(*self._rows, strict=True)
        led = np.array([line.led for line in self.lines])[:, self.followed]
        return Options(
            names=names,
            line=np.array(line),
            pace=np.array(pace),
            stop_at=np.minimum(np.array(stop_at), self.end),
            braking=np.array(braking),
            led=led[list(line)],
        )
