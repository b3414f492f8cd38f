"""What a driver tells about itself while it drives: sensors that fail, how long its stages take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from roadloop.stage_times import ALL, StageTime

if TYPE_CHECKING:
    from roadloop.interfaces import Driver
    from roadloop.types import Observation


class Senses:
    """Listens to a driver, also to one inside another (``.driver``).

    ``write`` is called with a line whenever the faults of its sensors change.
    """

    def __init__(self, driver: Driver, write: Callable[[str], object]) -> None:
        from roadloop.interfaces import innermost

        self._driver = innermost(driver)
        self._write = write
        self._dt = 0.0
        self.faults: list[tuple[float, tuple[str, ...]]] = []
        """(s, one line per fault) whenever they changed"""

    @property
    def seeing(self) -> bool:
        """Whether the driver sees with sensors of its own."""
        return getattr(self._driver, "sight", None) is not None

    def listen(self, observation: Observation) -> None:
        """To be called after each step."""
        self._dt = observation.dt
        now = tuple(getattr(self._driver, "faults", ()))
        before = self.faults[-1][1] if self.faults else ()
        if now == before:
            return
        self.faults.append((observation.time, now))
        for line in now:
            if line not in before:
                self._write(f"{observation.time:.1f} s: {line}")
        for line in before:
            if line not in now:
                self._write(f"{observation.time:.1f} s: mended: {line}")

    def text(self) -> str:
        """One line on the stages of a step; empty for drivers that see without a network."""
        times = self._timings()
        if not self.seeing or ALL not in times:
            return ""
        return timings_text(times, self._dt)

    def facts(self) -> dict[str, str]:
        """For the head of a report: as `text`, and what failed."""
        if not self.seeing:
            return {}
        met = [f"{time:.1f} s: {'; '.join(now) or 'none'}" for time, now in self.faults]
        return {"Per step": self.text(), "Sensor faults": " · ".join(met) or "none"}

    def as_json(self) -> dict[str, Any]:
        """The same as plain values; nothing for drivers without stages."""
        times = self._timings()
        if ALL not in times:
            return {}
        found: dict[str, Any] = {
            "stages_ms": {
                name: {key: round(value, 3) for key, value in stage._asdict().items()}
                for name, stage in times.items()
            },
            "times_real_time": round(times_real_time(times, self._dt), 3),
        }
        if self.seeing:
            found["faults"] = [{"time": time, "lines": list(now)} for time, now in self.faults]
        return found

    def _timings(self) -> Mapping[str, StageTime]:
        timings: Any = getattr(self._driver, "timings", dict)
        return timings()


def times_real_time(times: Mapping[str, StageTime], dt: float) -> float:
    """How many times faster than real time the median step of ``dt`` s is."""
    return 1e3 * dt / max(times[ALL].median, 1e-6)


def timings_text(times: Mapping[str, StageTime], dt: float) -> str:
    """The whole step and its stages, and which of them took longer than they may."""
    whole = times[ALL]
    stages = ", ".join(f"{name} {t.median:.1f}" for name, t in times.items() if name != ALL)
    late = [
        f"{name} {t.p95:.0f} of {t.budget:.0f}" for name, t in times.items() if t.p95 > t.budget
    ]
    return (
        f"{whole.median:.0f} ms (95 %: {whole.p95:.0f}, budget {whole.budget:.0f}), "
        f"{times_real_time(times, dt):.1f} times real time: {stages} ms"
        + (f"; over budget (95 %): {', '.join(late)} ms" if late else "")
    )
