"""The colours of pictures, dark and light, for the video frames and the HTML report alike.

The plan runs from red (standing) over yellow to blue (fast), a scale that red-green blind people
can read; lost terms and lights use red, amber and green of different lightness for the same reason.
"""

from __future__ import annotations

from roadloop.types import AgentKind, LightState
from roadloop.viz.ground import Paint

DARK: dict[str, str] = {
    "ground": "#15191d",
    "kerb": "#4a525a",
    Paint.SIDEWALK.name: "#373d43",
    Paint.MEDIAN.name: "#202a22",
    Paint.PARKING.name: "#262d38",
    Paint.SHOULDER.name: "#24292e",
    Paint.BIKING.name: "#3b2d2b",
    Paint.JUNCTION.name: "#2c3238",
    Paint.ROAD.name: "#2c3238",
    Paint.CROSSWALK.name: "#7d868e",
    Paint.MARK_WHITE.name: "#aab2b9",
    Paint.MARK_YELLOW.name: "#c29a3e",
    Paint.MARK_BLUE.name: "#5b8fd0",
    Paint.MARK_RED.name: "#c25b55",
    Paint.CURB.name: "#59626a",
    Paint.STOP_LINE.name: "#dfe4e8",
    "outline": "#0c0f12",
    "glass": "#1a2026",
    "ego": "#3d8bff",
    "ego_outline": "#ffffff",
    "trail": "#3d8bff",
    "brake": "#ff4b4b",
    "select": "#ffd166",
}
"""Colour by name: every Paint, and the things that move."""

LIGHT: dict[str, str] = {
    "ground": "#e7eae3",
    "kerb": "#9aa2a8",
    Paint.SIDEWALK.name: "#cdd1d2",
    Paint.MEDIAN.name: "#c6d3bd",
    Paint.PARKING.name: "#78828f",
    Paint.SHOULDER.name: "#7d858c",
    Paint.BIKING.name: "#a4837c",
    Paint.JUNCTION.name: "#666f77",
    Paint.ROAD.name: "#666f77",
    Paint.CROSSWALK.name: "#d9dde0",
    Paint.MARK_WHITE.name: "#f5f7f8",
    Paint.MARK_YELLOW.name: "#f2c14e",
    Paint.MARK_BLUE.name: "#8bb8f0",
    Paint.MARK_RED.name: "#ee8a83",
    Paint.CURB.name: "#a9b0b5",
    Paint.STOP_LINE.name: "#ffffff",
    "outline": "#2a3036",
    "glass": "#39424b",
    "ego": "#1463e0",
    "ego_outline": "#ffffff",
    "trail": "#1463e0",
    "brake": "#ff3030",
    "select": "#ffd166",
}

AGENT: dict[AgentKind, str] = {
    AgentKind.CAR: "#c9d1d8",
    AgentKind.VAN: "#b3c4c9",
    AgentKind.TRUCK: "#b9a48c",
    AgentKind.BUS: "#d8b25a",
    AgentKind.MOTORCYCLE: "#d99ac5",
    AgentKind.CYCLIST: "#6fd0b5",
    AgentKind.PEDESTRIAN: "#ffab5e",
    AgentKind.STATIC: "#808a93",
}

LAMP: dict[LightState, str] = {
    LightState.OFF: "#6b747c",
    LightState.RED: "#ff4d4d",
    LightState.RED_YELLOW: "#ff8f3c",
    LightState.YELLOW: "#ffc933",
    LightState.GREEN: "#3ddc84",
}

PLAN = ("#f25f5c", "#ffb45c", "#f7ee9d", "#5cc8f2")
"""plan by speed, even steps from standing to the fastest of the drive"""


def rgb(colour: str) -> tuple[int, int, int]:
    """``#rrggbb`` as three numbers in [0, 255]."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def mixed(a: str, b: str, share: float) -> tuple[int, int, int]:
    """The colour ``share`` of the way from ``#rrggbb`` a to b."""
    first, second = rgb(a), rgb(b)
    red, green, blue = (round(p + (q - p) * share) for p, q in zip(first, second, strict=True))
    return red, green, blue
