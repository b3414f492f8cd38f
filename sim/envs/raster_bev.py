"""The bird's-eye observation: what is around each learner as a stack of uint8 pictures.

Row 0 is furthest ahead, column 0 furthest left; the rear axle is in the middle of the width and
``behind`` m above the lower edge. A channel holds 255 where it is true, else 0. Ground is looked up
in one picture of the map, painted once; everything that moves is painted per step. A bridge and
the road below it lie on top of each other; who drives on the other one is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import warp as wp

from roadloop.geometry import wrap_angle
from roadloop.maps.locate import pose_at
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.types import AgentKind, LightState
from sim.envs.features import OnRoute
from sim.envs.routes import Course, RoutePoint
from sim.lane_graph import LEVEL, SURFACE_KINDS
from sim.state import Agent, Traits

wp.set_module_options({"enable_backward": False, "max_unroll": 1})

CHANNELS = (
    "road",  # lanes a wheel may stand on
    "lane_lines",  # road marks and kerbs
    "route",  # a band of ROUTE_WIDTH along it
    "vehicles",  # cars, vans, trucks, buses
    "two_wheelers",
    "pedestrians",
    "static",
    "ego",
    "red",  # stop lines under a light that is red, red and yellow, or yellow ...
    "green",  # ... green, or yellow
)
(
    ROAD, LANE_LINES, ROUTE, VEHICLES, TWO_WHEELERS, PEDESTRIANS, STATIC, EGO, RED, GREEN,
) = range(len(CHANNELS))  # fmt: skip

TEXEL = 0.25
"""m of the map's picture, doubled until it fits MOST_TEXELS"""
MOST_TEXELS = 40_000_000
ROUTE_HALF = wp.constant(1.0)
"""m, half the width of the route's band"""
BIT_ROAD, BIT_LINE = wp.constant(1), wp.constant(2)
ON = wp.constant(wp.uint8(255))


@dataclass(frozen=True)
class BevConfig:
    """Size of the bird's-eye observation."""

    width: int = 96
    """px"""
    height: int = 96
    resolution: float = 0.5
    """m per px"""
    behind: float = 12.0
    """m seen behind the rear axle"""


@wp.struct
class Bar:
    """A stop line under a light, across its lane."""

    x: wp.float32  # from the map's origin
    y: wp.float32
    across_x: wp.float32  # to its left end
    across_y: wp.float32
    z: wp.float32
    signal: wp.int32


@wp.struct
class Ground:
    """The map as one picture, and its stop lines."""

    bits: wp.array2d(dtype=wp.uint8)
    bars: wp.array(dtype=Bar)
    bar_count: wp.int32
    origin_x: wp.float64
    origin_y: wp.float64
    low_x: wp.float32  # lower left corner of texel (0, 0), from the origin
    low_y: wp.float32
    texel: wp.float32


def map_ground(road_map: RoadMap, resolution: float, device: str) -> Ground:
    """Paints the map for pictures of ``resolution`` m per px."""
    import cv2

    xy = road_map.point_xyz[:, :2]
    origin = np.round((xy.min(0) + xy.max(0)) / 2.0)
    margin = float(road_map.point_width.max()) + 2.0
    low, high = xy.min(0) - origin - margin, xy.max(0) - origin + margin
    texel = TEXEL
    while np.prod(np.ceil((high - low) / texel)) > MOST_TEXELS:
        texel *= 2.0
    columns, rows = np.ceil((high - low) / texel).astype(int)
    road, lines = np.zeros((rows, columns), np.uint8), np.zeros((rows, columns), np.uint8)

    def texels(points: np.ndarray) -> np.ndarray:
        """World points in sixteenths of a texel, as OpenCV has them (centres at whole numbers)."""
        return np.round(((points - origin - low) / texel - 0.5) * 16.0).astype(np.int32)

    heading, half = road_map.point_heading, road_map.point_width / 2.0
    aside = np.column_stack([-np.sin(heading), np.cos(heading)]) * half[:, None]
    left, right = texels(xy + aside), texels(xy - aside)
    for lane in np.flatnonzero(np.isin(road_map.lane_kind, SURFACE_KINDS)):
        rows_of = road_map.points_of(int(lane))
        strip = np.concatenate([left[rows_of], right[rows_of][::-1]])
        cv2.fillPoly(road, [strip], 1, shift=4)
    thickness = max(1, int(np.ceil(resolution / texel)))  # no pixel may fall between two texels
    marks = texels(road_map.mark_xyz[:, :2])
    for a, b in zip(road_map.mark_start[:-1], road_map.mark_start[1:]):
        cv2.polylines(lines, [marks[a:b]], False, 2, thickness, shift=4)
    bars = _bars(road_map, origin)
    ground = Ground()
    ground.bits = wp.array(road | lines, dtype=wp.uint8, device=device)
    ground.bars = wp.array(bars if len(bars) else np.zeros(1, bars.dtype), dtype=Bar, device=device)
    ground.bar_count = len(bars)
    ground.origin_x, ground.origin_y = origin
    ground.low_x, ground.low_y = low
    ground.texel = texel
    return ground


def _bars(m: RoadMap, origin: np.ndarray) -> np.ndarray:
    lit = np.flatnonzero(m.signal_kind[m.stop_signal] == SignalKind.TRAFFIC_LIGHT)
    bars = np.zeros(len(lit), Bar.numpy_dtype())
    x, y, z, heading = pose_at(m, m.stop_lane[lit], m.stop_s[lit])
    half = m.point_width[m.point_start[m.stop_lane[lit]]] / 2.0
    bars["x"], bars["y"], bars["z"] = x - origin[0], y - origin[1], z
    turned = wrap_angle(heading)
    bars["across_x"], bars["across_y"] = -half * np.sin(turned), half * np.cos(turned)
    bars["signal"] = m.stop_signal[lit]
    return bars


@wp.struct
class Eye:
    """Where a picture is taken from: the rear axle, from the map's origin."""

    x: wp.float32
    y: wp.float32
    cos: wp.float32
    sin: wp.float32
    resolution: wp.float32
    behind: wp.float32


@wp.func
def eye_of(g: Ground, a: Agent, t: Traits, resolution: wp.float32, behind: wp.float32):
    e = Eye()
    e.x = wp.float32(a.x - g.origin_x) - t.centre_offset * a.cos
    e.y = wp.float32(a.y - g.origin_y) - t.centre_offset * a.sin
    e.cos = a.cos
    e.sin = a.sin
    e.resolution = resolution
    e.behind = behind
    return e


@wp.func
def pixel_of(e: Eye, x: wp.float32, y: wp.float32, height: wp.int32, width: wp.int32):
    """Row and column (fractional; a pixel's centre is at its number + 0.5) of a map point."""
    dx = x - e.x
    dy = y - e.y
    ahead = e.cos * dx + e.sin * dy
    left = e.cos * dy - e.sin * dx
    row = wp.float32(height) - (ahead + e.behind) / e.resolution
    return wp.vec2(row, 0.5 * wp.float32(width) - left / e.resolution)


@wp.kernel
def paint_ground(
    worlds: wp.array(dtype=wp.int32),
    g: Ground,
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    resolution: wp.float32,
    behind: wp.float32,
    learners: wp.int32,
    picture: wp.array4d(dtype=wp.uint8),
):
    """Road and lines of one row of one learner's picture.

    ``picture`` is (worlds * learners, CHANNELS, height, width), black before.
    """
    n, i, row = wp.tid()
    w = worlds[n]
    p = w * learners + i
    height = picture.shape[2]
    width = picture.shape[3]
    e = eye_of(g, agents[w, i], traits[w, i], resolution, behind)
    ahead = (wp.float32(height - row) - 0.5) * resolution - behind
    left = (0.5 * wp.float32(width) - 0.5) * resolution
    u = (e.x + e.cos * ahead - e.sin * left - g.low_x) / g.texel
    v = (e.y + e.sin * ahead + e.cos * left - g.low_y) / g.texel
    du = e.sin * resolution / g.texel
    dv = -e.cos * resolution / g.texel
    for column in range(width):
        a = wp.int32(wp.floor(u))
        b = wp.int32(wp.floor(v))
        bits = int(0)
        if a >= 0 and b >= 0 and a < g.bits.shape[1] and b < g.bits.shape[0]:
            bits = wp.int32(g.bits[b, a])
        if (bits & BIT_ROAD) != 0:
            picture[p, ROAD, row, column] = ON
        if (bits & BIT_LINE) != 0:
            picture[p, LANE_LINES, row, column] = ON
        u += du
        v += dv


@wp.func
def paint_line(
    picture: wp.array4d(dtype=wp.uint8),
    p: wp.int32,
    channel: wp.int32,
    start: wp.vec2,
    end: wp.vec2,
):
    """Pixels on a line between two places (row, column)."""
    steps = wp.int32(wp.ceil(wp.max(wp.abs(end[0] - start[0]), wp.abs(end[1] - start[1])))) + 1
    for k in range(steps + 1):
        at = start + (end - start) * (wp.float32(k) / wp.float32(steps))
        row = wp.int32(wp.floor(at[0]))
        column = wp.int32(wp.floor(at[1]))
        if row >= 0 and row < picture.shape[2] and column >= 0 and column < picture.shape[3]:
            picture[p, channel, row, column] = ON


@wp.func
def paint_box(
    picture: wp.array4d(dtype=wp.uint8),
    p: wp.int32,
    channel: wp.int32,
    e: Eye,
    g: Ground,
    a: Agent,
    t: Traits,
):
    """Pixels whose centre is in the agent's box, and the one under its middle."""
    height = picture.shape[2]
    width = picture.shape[3]
    x = wp.float32(a.x - g.origin_x)
    y = wp.float32(a.y - g.origin_y)
    at = pixel_of(e, x, y, height, width)
    half_length = 0.5 * t.length / e.resolution
    half_width = 0.5 * t.width / e.resolution
    # The box's forward direction in (rows, columns): rows count backwards, columns to the right.
    forward_row = -(a.cos * e.cos + a.sin * e.sin)
    forward_column = a.cos * e.sin - a.sin * e.cos
    reach_row = wp.abs(forward_row) * half_length + wp.abs(forward_column) * half_width
    reach_column = wp.abs(forward_column) * half_length + wp.abs(forward_row) * half_width
    first = wp.max(wp.int32(wp.floor(at[0] - reach_row)), 0)
    last = wp.min(wp.int32(wp.floor(at[0] + reach_row)), height - 1)
    left = wp.max(wp.int32(wp.floor(at[1] - reach_column)), 0)
    right = wp.min(wp.int32(wp.floor(at[1] + reach_column)), width - 1)
    for row in range(first, last + 1):
        for column in range(left, right + 1):
            dr = wp.float32(row) + 0.5 - at[0]
            dc = wp.float32(column) + 0.5 - at[1]
            along = dr * forward_row + dc * forward_column
            across = dr * forward_column - dc * forward_row
            middle = wp.abs(dr) <= 0.5 and wp.abs(dc) <= 0.5
            if (wp.abs(along) <= half_length and wp.abs(across) <= half_width) or middle:
                picture[p, channel, row, column] = ON


@wp.func
def channel_of(kind: wp.int32):
    if kind <= AgentKind.BUS:
        return VEHICLES
    if kind <= AgentKind.CYCLIST:
        return TWO_WHEELERS
    if kind == AgentKind.PEDESTRIAN:
        return PEDESTRIANS
    return STATIC


@wp.kernel
def paint_things(
    worlds: wp.array(dtype=wp.int32),
    g: Ground,
    agents: wp.array2d(dtype=Agent),
    traits: wp.array2d(dtype=Traits),
    lights: wp.array2d(dtype=wp.int32),
    courses: wp.array2d(dtype=Course),
    points: wp.array(dtype=RoutePoint),
    on_route: wp.array2d(dtype=OnRoute),
    resolution: wp.float32,
    behind: wp.float32,
    learners: wp.int32,
    picture: wp.array4d(dtype=wp.uint8),
):
    """Route, stop lines, road users and the learner itself, after ``paint_ground``."""
    n, i = wp.tid()
    w = worlds[n]
    p = w * learners + i
    height = picture.shape[2]
    width = picture.shape[3]
    me = agents[w, i]
    e = eye_of(g, me, traits[w, i], resolution, behind)
    reach = wp.length(wp.vec2(wp.float32(height), wp.float32(width))) * resolution

    c = courses[w, i]
    s = on_route[w, i].s
    first = wp.max(wp.int32((s - wp.float64(reach)) / c.spacing), 0)
    last = wp.min(wp.int32((s + wp.float64(reach)) / c.spacing), c.points - 2)
    lanes = wp.int32(wp.ceil(2.0 * ROUTE_HALF / resolution))
    for k in range(first, last + 1):
        a = points[c.point + k]
        b = points[c.point + k + 1]
        for lane in range(lanes + 1):
            aside = wp.float64(ROUTE_HALF * (2.0 * wp.float32(lane) / wp.float32(lanes) - 1.0))
            ax = wp.float32(a.x - aside * wp.sin(a.heading) - g.origin_x)
            ay = wp.float32(a.y + aside * wp.cos(a.heading) - g.origin_y)
            bx = wp.float32(b.x - aside * wp.sin(b.heading) - g.origin_x)
            by = wp.float32(b.y + aside * wp.cos(b.heading) - g.origin_y)
            start = pixel_of(e, ax, ay, height, width)
            paint_line(picture, p, ROUTE, start, pixel_of(e, bx, by, height, width))

    for k in range(g.bar_count):
        bar = g.bars[k]
        near = wp.abs(bar.x - e.x) < reach and wp.abs(bar.y - e.y) < reach
        state = lights[w, bar.signal]
        if near and wp.abs(bar.z - me.z) < LEVEL and state != LightState.OFF:
            start = pixel_of(e, bar.x - bar.across_x, bar.y - bar.across_y, height, width)
            end = pixel_of(e, bar.x + bar.across_x, bar.y + bar.across_y, height, width)
            if state != LightState.GREEN:
                paint_line(picture, p, RED, start, end)
            if state == LightState.GREEN or state == LightState.YELLOW:
                paint_line(picture, p, GREEN, start, end)

    for j in range(agents.shape[1]):
        other = agents[w, j]
        if other.valid == 1 and wp.abs(other.z - me.z) < LEVEL:
            channel = channel_of(traits[w, j].kind)
            if j == i:
                channel = EGO
            paint_box(picture, p, channel, e, g, other, traits[w, j])
