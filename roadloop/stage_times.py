"""How long the stages of a driver take, and the time they are given; no decision sees a clock."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from roadloop.errors import RoadloopError

ALL = "all"
"""the stage that is the whole step"""


@dataclass(frozen=True)
class TimeBudget:
    """ms each stage of a step may take. Defaults: 10 Hz, 100 ms in all."""

    rectify: float = 8.0
    """the pictures checked, straightened and put together with their calibration"""
    network: float = 60.0
    decode: float = 4.0
    """from the network's maps to road users and traffic lights"""
    track: float = 4.0
    lights: float = 3.0
    """which traffic light of the map shows what"""
    forecast: float = 4.0
    plan: float = 10.0
    guard: float = 4.0
    control: float = 3.0

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if not 0.0 < value < math.inf:
                raise RoadloopError(f"budget of {f.name} is {value} ms: expected a number above 0")

    def of(self, stage: str) -> float:
        """ms of ``stage``; of ``ALL`` the sum."""
        if stage == ALL:
            return sum(dataclasses.asdict(self).values())
        return getattr(self, stage)


class StageTime(NamedTuple):
    """How long one stage takes per step, ms."""

    median: float
    p95: float
    budget: float


class StageTimes:
    """Collects how long named stages of each step take.

    ::

        times = StageTimes()
        with times.step():
            with times.stage("network"):
                ...
        times.summary()["network"].median

    A stage that is entered several times in one step counts with the sum. Only `summary` and
    `latest` tell what was measured; nothing that decides may ask.
    """

    def __init__(
        self, budget: TimeBudget | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.budget = budget or TimeBudget()
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Forget all steps."""
        self._steps: dict[str, list[float]] = {}
        self._now: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Around one whole step; a step that raises is not counted."""
        self._now = {}
        start = self._clock()
        yield
        self._now[ALL] = self._clock() - start
        for stage, seconds in self._now.items():
            self._steps.setdefault(stage, []).append(1e3 * seconds)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Around one stage of the step; ``name`` is a field of `TimeBudget`."""
        start = self._clock()
        yield
        self._now[name] = self._now.get(name, 0.0) + self._clock() - start

    @property
    def steps(self) -> int:
        """How many steps have ended."""
        return len(self._steps.get(ALL, ()))

    def latest(self) -> dict[str, float]:
        """ms of each stage of the last step that ended, `ALL` last; empty before the first."""
        return {stage: 1e3 * seconds for stage, seconds in self._now.items()}

    def summary(self) -> dict[str, StageTime]:
        """Per stage, in the order of their first use, `ALL` last: median and 95th percentile."""
        names = [name for name in self._steps if name != ALL]
        names += [ALL] if ALL in self._steps else []
        return {
            name: StageTime(
                _percentile(self._steps[name], 50.0),
                _percentile(self._steps[name], 95.0),
                self.budget.of(name),
            )
            for name in names
        }


def _percentile(values: Sequence[float], share: float) -> float:
    """Linear between the two nearest; ``share`` in percent."""
    ranked = sorted(values)
    at = share / 100.0 * (len(ranked) - 1)
    low = ranked[math.floor(at)]
    return low + (ranked[math.ceil(at)] - low) * (at - math.floor(at))
