"""How often a detector tells the ego's traffic light right, by the distance to its stop line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from perception.detector_config import LampState
from perception.frame import NOT_JUDGED
from perception.lights import THRESHOLD, decode_lights
from roadloop.errors import RoadloopError

Array = np.ndarray

BANDS = ((0.0, 15.0), (15.0, 30.0), (30.0, 45.0), (45.0, 60.0), (60.0, 90.0))
"""m along the road from the rear axle to the line"""
_NAMES = tuple(f"{low:.0f}-{high:.0f}" for low, high in BANDS)
_MISSED = len(LampState)  # column of what was not found
_STOPS = (LampState.RED, LampState.YELLOW)


class LightScore:
    """Counts of moments: what the ego's light showed, and what the best head that was found shows.

    A moment counts where a light of the ego's is to be seen in a light camera, and all that are
    show the same. Where none is, nothing should be found.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self.threshold = threshold
        self._counts = np.zeros((len(BANDS), len(LampState), _MISSED + 1), np.int64)
        self._empty = np.zeros(2, np.int64)  # moments without a light, and with a head found there

    def add(
        self,
        outputs: Mapping[str, Array],
        frame: Mapping[str, Array],
        distance: float,
        seen: Array | None = None,
    ) -> None:
        """One moment.

        Args:
            outputs: of the network, ``light_heat``, ``light_box``, ``light_state``.
            frame: ``light_heat``, ``light_state``, ``light_weight``, ``light_valid`` of
                `perception.frame`.
            distance: m along the road to the line, ``light_distance`` of the sample.
            seen: see `perception.lights.decode_lights`.
        """
        if "light_heat" not in outputs:
            return
        valid, weight = frame["light_valid"], frame["light_weight"]
        if not valid.any():
            return
        heads = decode_lights(
            outputs["light_heat"], outputs["light_box"], outputs["light_state"],
            seen=seen, threshold=self.threshold,
        )  # fmt: skip
        found = len(heads.score) > 0
        peak = (frame["light_heat"][:, 0] == 1.0) & (weight == 1) & valid[:, None, None]
        if not peak.any():
            if not (weight == NOT_JUDGED).any():
                self._empty += 1, int(found)
            return
        shown = np.unique(frame["light_state"][peak])
        band = next((k for k, (low, high) in enumerate(BANDS) if low <= distance < high), None)
        if len(shown) > 1 or band is None:
            return
        best = int(np.argmax(heads.state[0])) if found else _MISSED
        self._counts[band, shown[0], best] += 1

    def state(self) -> dict[str, Any]:
        """The counts as plain values, for files; see `merge`."""
        return {"counts": self._counts.tolist(), "empty": self._empty.tolist()}

    def merge(self, state: Mapping[str, Any]) -> None:
        """Add the counts of another score; RoadloopError where they are none."""
        try:
            counts = np.array(state["counts"], np.int64).reshape(self._counts.shape)
            empty = np.array(state["empty"], np.int64).reshape(2)
        except (KeyError, TypeError, ValueError) as error:
            raise RoadloopError(f"these are no counts of lights ({error}): judge again") from error
        self._counts += counts
        self._empty += empty

    def result(self) -> dict[str, Any]:
        """By band (``all``, ``0-15`` ...), None where there was no such moment:

        ``moments`` how many; ``accuracy`` share in which the right lamp was found; ``missed`` in
        which nothing was; ``ran`` share of those with red or yellow in which green was found. Then
        ``confusion`` by true and found lamp (lower case, or ``missed``), ``false_alarm`` the share
        of ``empty`` moments (no light) in which a head was found.
        """
        bands = {"all": self._counts.sum(0), **dict(zip(_NAMES, self._counts))}
        found: dict[str, Any] = {"moments": {}, "accuracy": {}, "missed": {}, "ran": {}}
        for name, counts in bands.items():
            moments = int(counts.sum())
            stops = counts[list(_STOPS)]
            found["moments"][name] = moments
            found["accuracy"][name] = _share(np.trace(counts[:, :_MISSED]), moments)
            found["missed"][name] = _share(counts[:, _MISSED].sum(), moments)
            found["ran"][name] = _share(stops[:, LampState.GREEN].sum(), stops.sum())
        names = [*(lamp.name.lower() for lamp in LampState), "missed"]
        found["confusion"] = {
            names[true]: dict(zip(names, map(int, bands["all"][true]))) for true in LampState
        }
        found["empty"] = int(self._empty[0])
        found["false_alarm"] = _share(self._empty[1], self._empty[0])
        return found


def _share(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None
