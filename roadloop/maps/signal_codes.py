"""What the type codes of OpenDRIVE signals mean to a driver."""

from __future__ import annotations

from roadloop.maps.opendrive_objects import speed_in_name
from roadloop.maps.opendrive_xml import SPEED_UNITS, Element, number, speed_factor
from roadloop.maps.road_map import SignalKind

VEHICLE_LIGHTS = frozenset({"1000001", *(str(1000000 + n) for n in (8, 9, 10, 11, 12, 14, 15, 16))})
"""Country-independent OpenDRIVE codes of lights for vehicles, with and without arrows"""

OTHER_LIGHTS = frozenset({"1000002", "1000007", "1000013"})
"""Lights for pedestrians and cyclists, which vehicles do not obey"""

SIGNS = {
    "206": SignalKind.STOP,
    "205": SignalKind.YIELD,
    "274": SignalKind.SPEED_LIMIT,
    "R1-1": SignalKind.STOP,
    "R1-2": SignalKind.YIELD,
    "R2-1": SignalKind.SPEED_LIMIT,
}
"""German (StVO, also used with country "OpenDRIVE") and US (MUTCD) codes"""

STOP_LINE_CODE = "294"
"""German code of a painted stop line, which some tools write as a signal"""

GOVERNING = (SignalKind.TRAFFIC_LIGHT, SignalKind.STOP, SignalKind.YIELD)


def signal_kind(element: Element) -> SignalKind:
    """What a ``<signal>`` demands, by its code, else by its name where it has no code."""
    code, name = element.get("type", ""), element.get("name", "") or ""
    if code in VEHICLE_LIGHTS:
        return SignalKind.TRAFFIC_LIGHT
    if code in SIGNS:
        return SIGNS[code]
    if code in ("", "-1", "none") and element.get("dynamic") != "yes":
        lowered = name.lower().removeprefix("sign_")
        if lowered.startswith("stop") and "line" not in lowered:
            return SignalKind.STOP
        if lowered.startswith("yield"):
            return SignalKind.YIELD
        if speed_in_name(name):
            return SignalKind.SPEED_LIMIT
    return SignalKind.OTHER


def speed_limit(element: Element) -> float | None:
    """m/s a speed limit sign states; None where it states nothing usable."""
    value = number(element, "value", 0.0)
    if value > 0:
        if element.get("unit"):
            return value * speed_factor(element)
        miles = element.get("type") == "R2-1" or element.get("country", "").upper() in ("US", "USA")
        return value * SPEED_UNITS["mph" if miles else "km/h"]
    subtype = element.get("subtype", "") or ""
    if element.get("type") == "274" and subtype.isdigit() and 50 < int(subtype) < 64:
        return (int(subtype) - 50) * 10 / 3.6  # old German catalogue: 274-55 is 50 km/h
    return speed_in_name(element.get("name", "") or "")
