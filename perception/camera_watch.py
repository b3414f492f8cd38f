"""Cameras that fail while driving: missing, late, cut off, black, of one colour, frozen.

What a camera shows is not judged beyond that: dirt, glare and fog are the network's to see through.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.readings import CameraImage

Array = np.ndarray

MOVING = 0.5
"""m/s from which on two exposures of a working camera differ"""
_SPARSE = 4
"""every so many rows and columns are looked at"""
_EPS = 1e-6  # s: time stamps are whole microseconds


@dataclass(frozen=True)
class WatchLimits:
    """From when on a camera is not trusted.

    The darkest of 1,920 rendered pictures (nights without street lights among them) has a mean of
    34 and a standard deviation of 20, the dullest (a narrow lens in fog) a deviation of 7.
    """

    max_age: float = 0.3
    """s; a picture older than this counts as missing"""
    black_mean: float = 8.0
    """of 255; black: darker than this on average ..."""
    black_spread: float = 4.0
    """of 255; ... and with a smaller standard deviation than this"""
    least_spread: float = 1.0
    """of 255; a picture with a smaller standard deviation is of one colour: covered or saturated"""
    frozen_repeats: int = 3
    """exposures in a row that repeat the one before while the ego moves"""
    good_again: int = 5
    """good exposures in a row until a camera that had failed is trusted again"""

    def __post_init__(self) -> None:
        for name in ("max_age", "black_mean", "black_spread", "least_spread"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0.0):
                raise RoadloopError(f"{name} is {value}: expected a finite number above 0")
        for name in ("frozen_repeats", "good_again"):
            if getattr(self, name) < 1:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be 1 or more")


@dataclass
class _Camera:
    """What is remembered of one camera."""

    timestamp_us: int = -1
    shown: Array | None = None
    """(rows, columns, 3) uint8, the newest exposure, thinned out"""
    repeats: int = 0
    good: int = 0
    """exposures in a row without a fault"""
    fault: str = ""


class CameraWatch:
    """Looks at every camera of a vehicle once per step.

    ``faults`` is one line per camera that is not trusted now, in the order they failed.
    """

    def __init__(self, limits: WatchLimits | None = None) -> None:
        self.limits = limits or WatchLimits()
        self.reset()

    def reset(self) -> None:
        """Forget everything; all cameras are trusted from their first good picture on."""
        self._cameras: dict[str, _Camera] = {}
        self._faults: dict[str, str] = {}
        self._begun: float | None = None

    @property
    def faults(self) -> tuple[str, ...]:
        """One line per camera that is not trusted, with the time it failed."""
        return tuple(self._faults.values())

    def look(self, name: str, image: CameraImage | None, now: float, speed: float) -> bool:
        """Whether the newest picture of the camera called ``name`` is to be trusted.

        Args:
            image: what there is of it at ``now``, s since the start; None: nothing.
            speed: m/s of the ego.

        Before the first picture a camera is not trusted, and counts as missing only after
        ``max_age``.
        """
        if self._begun is None:
            self._begun = now
        known = self._cameras.setdefault(name, _Camera(good=self.limits.good_again))
        fault = self._fault(known, image, now, abs(speed) > MOVING)
        fresh = image is not None and image.timestamp_us != known.timestamp_us
        if image is not None:
            known.timestamp_us = image.timestamp_us
        if fault:
            known.good = 0
            if fault != known.fault:
                self._faults[name] = f'camera "{name}" {fault} (since {now:.1f} s)'
            known.fault = fault
            return False
        if image is None:
            return False
        known.good += int(fresh)
        if known.fault and known.good < self.limits.good_again:
            return False
        known.fault = ""
        self._faults.pop(name, None)
        return True

    def _fault(self, known: _Camera, image: CameraImage | None, now: float, moving: bool) -> str:
        """What is wrong with the newest picture, empty where nothing is."""
        limits = self.limits
        if image is None:
            begun = now if self._begun is None else self._begun
            waited = known.timestamp_us >= 0 or now - begun > limits.max_age + _EPS
            return "gives no pictures" if waited else ""
        age = now - 1e-6 * image.timestamp_us
        if age > limits.max_age + _EPS:
            return "has stopped giving pictures"
        lens, shape = image.camera, np.shape(image.rgb)
        if shape != (lens.height, lens.width, 3) or image.rgb.dtype != np.uint8:
            size = " x ".join(str(n) for n in shape)
            return f"gives pictures of {size}, not {lens.height} x {lens.width} x 3"
        thin = image.rgb[::_SPARSE, ::_SPARSE]
        if image.timestamp_us != known.timestamp_us:
            same = known.shown is not None and np.array_equal(known.shown, thin)
            # standing, a picture may well be that of before; a frozen one stays frozen
            known.repeats = known.repeats + int(moving) if same else 0
            known.shown = thin.copy()
        spread = float(thin.std())
        if spread < limits.black_spread and float(thin.mean()) < limits.black_mean:
            return "is black"
        if spread < limits.least_spread:
            return "shows one colour"
        return "is frozen" if known.repeats >= limits.frozen_repeats else ""
