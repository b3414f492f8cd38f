"""What traffic signs of CommonRoad files say, by the codes of the countries they are from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from roadloop.maps.road_map import SignalKind

_SPEED, _STOP, _YIELD = SignalKind.SPEED_LIMIT, SignalKind.STOP, SignalKind.YIELD
SIGNS: dict[str, tuple[SignalKind, str]] = {
    # Germany, and what files of many countries write
    "274": (_SPEED, ""),
    "274.1": (_SPEED, ""),
    "206": (_STOP, "give way"),
    "205": (_YIELD, "give way"),
    "301": (SignalKind.OTHER, "priority"),
    "306": (SignalKind.OTHER, "priority"),
    "102": (SignalKind.OTHER, "right before left"),
    # United States, Puerto Rico, Australia
    "R2-1": (_SPEED, ""),
    "R4-1": (_SPEED, ""),
    "R1-1": (_STOP, "give way"),
    "R1-3": (_STOP, "all stop"),
    "R1-2": (_YIELD, "give way"),
    "R3-4": (SignalKind.OTHER, "no u-turn"),
    # Spain, Russia, Argentina, Belgium, France, Greece, Croatia
    "r301": (_SPEED, ""),
    "r1": (_YIELD, "give way"),
    "r2": (_STOP, "give way"),
    "3.24": (_SPEED, ""),
    "R15": (_SPEED, ""),
    "C43": (_SPEED, ""),
    "B14": (_SPEED, ""),
    "\u03a1-32": (_SPEED, ""),
    "B31": (_SPEED, ""),
}
"""kind, and what it says about right of way, by ``trafficSignID``. The codes are those of the
countries' own catalogues, as CommonRoad lists them (commonroad-io, ``traffic_sign.py``)"""

UNITS = {"": 1.0, "mps": 1.0, "kmh": 1.0 / 3.6, "km/h": 1.0 / 3.6, "mph": 0.44704}
"""m/s; the format says m/s, converted maps write "80kmh" or "25mph" """


@dataclass(frozen=True)
class Sign:
    """One plate."""

    code: str
    kind: SignalKind
    meaning: str
    """give way, all stop, priority, right before left, ...; empty where it says nothing of it"""
    speed: float
    """m/s for a speed limit, else 0"""
    known: bool


def sign_speed(text: str) -> float | None:
    """m/s of an ``additionalValue``; None where it is no speed above 0."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:[eE][-+]?\d+)?)\s*(\D*)", text)
    if match is None or match[2].strip().lower() not in UNITS:
        return None
    return float(match[1]) * UNITS[match[2].strip().lower()] or None
