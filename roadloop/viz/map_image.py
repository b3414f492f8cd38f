"""A picture of a whole map, and its figures: what ``roadloop map`` shows.

Light ground, north up. Everything is painted at twice the size and shrunk, which is the
anti-aliasing. Signs and lights are drawn at one size on every map, surfaces and marks to scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.maps.area import lane_borders
from roadloop.maps.locate import lanes_at, pose_at
from roadloop.maps.road_map import LaneKind, RoadMap, SignalKind
from roadloop.viz.ground import Ground, Paint, ground_of
from roadloop.viz.palette import LIGHT, mixed, rgb
from roadloop.viz.signs import IMPORTANCE, paint_sign

Array = np.ndarray

FINER = 2
"""painted this much larger and shrunk"""
SHIFT = 4
"""OpenCV's fractional bits: coordinates are sixteenths of a pixel"""
HEADER, FOOTER, MARGIN = 84, 64, 36
"""px above, below and around the map in a picture 1600 px wide"""
TALLEST, FLATTEST = 1.0, 0.12
"""height of the map's part of the picture as a multiple of its width, at most and at least"""
LARGEST_SCALE = 12.0
"""px per m, so that small maps do not turn into wall paper"""
KERBED = (Paint.PARKING, Paint.SHOULDER, Paint.BIKING, Paint.JUNCTION, Paint.ROAD)
KERB_WIDTH = 0.5
"""m, half of it is covered by the surface"""
ARROW_EVERY = 45.0
"""m of lane between two direction arrows"""
INK, FAINT = rgb("#22282e"), rgb("#6b757e")
ARROW_SCALE = 1.8
"""px per m below which arrows would be specks"""
BRIDGE = 2.5
"""m, a lane this much higher is a bridge over another"""
JUNCTION_SHARE = 0.3
"""how far the colour of junctions is mixed towards blue"""
JUNCTION_GAP = 4.0
"""m, ground between the lanes of a junction up to this wide belongs to it"""
STOP_LINE_WIDTH = 0.5
"""m"""
SYMBOL = 15.0
"""px, height of a sign in a picture 1600 px wide"""

# m, pointing along x
_ARROW_HEAD = np.array([[2.2, 0.0], [0.4, 0.75], [0.4, -0.75]])
_ARROW_SHAFT = np.array([[0.4, 0.17], [0.4, -0.17], [-2.2, -0.17], [-2.2, 0.17]])


def draw_map(road_map: RoadMap, path: str | Path | None = None, *, width: int = 1600) -> Array:
    """(height, width, 3) uint8 RGB picture of ``road_map``, written to ``path`` as PNG if given.

    The height follows from the map's extent. Raises RoadloopError for a map without lanes, a width
    under 400 px, or a path that cannot be written.
    """
    if road_map.lanes == 0:
        raise RoadloopError(f"map {road_map.name} has no lanes to draw")
    if width < 400:
        raise RoadloopError(f"picture of {width} px: a map needs a width of at least 400")
    view = _View.of(road_map, width)
    picture = np.empty((view.height * FINER, width * FINER, 3), np.uint8)
    picture[:] = rgb(LIGHT["ground"])
    ground = ground_of(road_map, view.box)
    _paint_ground(picture, view, ground)
    _tint_junctions(picture, view, road_map)
    _paint_arrows(picture, view, road_map)
    _paint_signals(picture, view, road_map)
    import cv2

    picture = cv2.resize(picture, (width, view.height), interpolation=cv2.INTER_AREA)
    _number_speed_signs(picture, view, road_map)
    _label(picture, view, road_map)
    if path is not None:
        from PIL import Image

        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path, format="PNG")
        except OSError as error:
            raise RoadloopError(f"cannot write the picture to {path}: {error.strerror}") from error
    return picture


def map_statistics(road_map: RoadMap) -> dict[str, Any]:
    """What is on the map, in figures ready for JSON; lengths in km and m.

    ``disconnected travel lanes`` are led to by no lane and lead to none; ``dead ends`` only the
    latter. ``bounding box`` is x min, y min, x max, y max of the centrelines.
    """
    travel = road_map.is_travel
    follows = np.diff(road_map.successor_start) > 0
    led_to = np.diff(road_map.predecessor_start) > 0
    xy = road_map.point_xyz[:, :2]
    box = [*xy.min(axis=0), *xy.max(axis=0)] if len(xy) else [0.0] * 4
    figures: dict[str, Any] = {
        "name": road_map.name,
        "traffic": "left-hand" if road_map.left_hand else "right-hand",
        "lanes": road_map.lanes,
    }
    for kind in LaneKind:
        count = int((road_map.lane_kind == kind).sum())
        if count:
            figures[f"{kind.name.lower()} lanes"] = count
    figures["travel lane km"] = round(float(road_map.lane_length[travel].sum()) / 1000.0, 3)
    figures["junctions"] = len(road_map.junction_id)
    figures["roundabouts"] = _roundabouts(road_map)
    figures["conflicts"] = len(road_map.conflict_lane) // 2
    for kind in SignalKind:
        count = int((road_map.signal_kind == kind).sum())
        if count:
            figures[f"{kind.name.lower().replace('_', ' ')} signals"] = count
    figures["crosswalks"] = len(road_map.crosswalk_start) - 1
    figures["dead ends"] = int((travel & ~follows & led_to).sum())
    figures["disconnected travel lanes"] = int((travel & ~follows & ~led_to).sum())
    figures["bounding box"] = [round(float(v), 2) for v in box]
    figures["unsupported"] = len(road_map.unsupported)
    return figures


def _roundabouts(road_map: RoadMap) -> int:
    """Number of roundabouts: rings of circulating lanes, those that share a junction as one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    from roadloop.maps.roundabout import roundabout_lanes

    ring = roundabout_lanes(road_map)
    begin = np.repeat(np.arange(road_map.lanes), np.diff(road_map.successor_start))
    along = ring[begin] & ring[road_map.successor]
    inside = np.flatnonzero(ring & (road_map.lane_junction >= 0))
    one = np.concatenate([begin[along], inside])
    other = np.concatenate(
        [road_map.successor[along], road_map.lanes + road_map.lane_junction[inside]]
    )
    count = road_map.lanes + len(road_map.junction_id)
    graph = coo_array((np.ones(len(one)), (one, other)), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    return len(np.unique(component[: road_map.lanes][ring]))


@dataclass(frozen=True)
class _View:
    """Where the world lies on the picture."""

    box: tuple[float, float, float, float]
    scale: float
    """px per m of the finished picture"""
    left: float
    top: float
    """px of the box's upper left corner"""
    width: int
    height: int
    unit: float
    """size of lettering and symbols: 1 in a picture 1600 px wide"""

    @staticmethod
    def of(road_map: RoadMap, width: int) -> _View:
        reach = road_map.point_width[:, None] / 2.0
        low = (road_map.point_xyz[:, :2] - reach).min(axis=0)
        high = (road_map.point_xyz[:, :2] + reach).max(axis=0)
        size = np.maximum(high - low, 1.0)
        unit = max(width / 1600.0, 0.5)
        inner = width - 2 * MARGIN * unit
        scale = min(inner / size[0], TALLEST * inner / size[1], LARGEST_SCALE)
        high_px = max(size[1] * scale, FLATTEST * inner)
        height = round(high_px + (HEADER + FOOTER) * unit)
        left = (width - size[0] * scale) / 2.0
        top = HEADER * unit + (high_px - size[1] * scale) / 2.0
        box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        return _View(box, float(scale), float(left), float(top), width, height, unit)

    def px(self, xy: Array) -> Array:
        """World points (n, 2) as pixels of the painting, in sixteenths."""
        u = self.left + (xy[:, 0] - self.box[0]) * self.scale
        v = self.top + (self.box[3] - xy[:, 1]) * self.scale
        return np.rint(np.column_stack([u, v]) * (FINER << SHIFT)).astype(np.int32)

    def thickness(self, metres: float) -> int:
        return max(1, round(metres * self.scale * FINER))


def _paint_ground(picture: Array, view: _View, ground: Ground) -> None:
    """Surfaces and marks by height; kerb lines go under every surface of about their height."""
    import cv2

    shapes = np.arange(len(ground.paint))
    kerbed = shapes[np.isin(ground.paint, KERBED)]
    shape = np.concatenate([shapes, kerbed])
    order = np.concatenate([ground.paint.astype(int), np.full(len(kerbed), -1)])
    layer = np.concatenate([ground.layer, ground.layer[kerbed] - 2])
    colours = {int(paint): rgb(LIGHT[paint.name]) for paint in Paint} | {-1: rgb(LIGHT["kerb"])}
    for k in np.lexsort((order, layer)):
        i, paint = shape[k], int(order[k])
        points = view.px(ground.xy[ground.start[i] : ground.start[i + 1]])
        width = KERB_WIDTH if paint < 0 else float(ground.width[i])
        colour = colours[paint]
        if width == 0.0:
            cv2.fillPoly(picture, [points], colour, cv2.LINE_AA, SHIFT)
            continue
        if paint >= 0:  # lines finer than a pixel fade instead of growing
            strength = min(1.0, 0.2 + width * view.scale * FINER)
            colour = mixed(LIGHT[Paint.ROAD.name], LIGHT[Paint(paint).name], strength)
        cv2.polylines(
            picture, [points], paint < 0, colour, view.thickness(width), cv2.LINE_AA, SHIFT
        )
    white = rgb(LIGHT[Paint.STOP_LINE.name])
    for ends in ground.bar.reshape(-1, 2, 2):
        thickness = view.thickness(STOP_LINE_WIDTH)
        cv2.polylines(picture, [view.px(ends)], False, white, thickness, cv2.LINE_AA, SHIFT)


def _tint_junctions(picture: Array, view: _View, road_map: RoadMap) -> None:
    """Road inside junctions a little bluer, on roundabouts greener."""
    import cv2

    road = (picture == np.array(rgb(LIGHT[Paint.ROAD.name]), np.uint8)).all(axis=-1)
    inside = road_map.is_travel & (road_map.lane_junction >= 0)
    # lanes outside junctions have -1: the False appended
    round_ = inside & np.append(road_map.junction_is_roundabout, False)[road_map.lane_junction]
    size = 1 + 2 * view.thickness(JUNCTION_GAP / 2.0)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    for lanes, colour in ((inside & ~round_, "#3f74a8"), (round_, "#3f9f78")):
        mask = np.zeros(picture.shape[:2], np.uint8)
        for lane in np.flatnonzero(lanes):
            left, right = lane_borders(road_map, int(lane))
            ring = np.concatenate([right[:, :2], left[::-1, :2]])
            cv2.fillPoly(mask, [view.px(ring)], 1, cv2.LINE_8, SHIFT)
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)
        # only where plain road shows: marks, islands and verges keep their colour
        picture[road & (mask > 0)] = mixed(LIGHT[Paint.ROAD.name], colour, JUNCTION_SHARE)


def _paint_arrows(picture: Array, view: _View, road_map: RoadMap) -> None:
    """The direction of travel on lanes outside junctions, where the scale leaves room for it."""
    import cv2

    if view.scale < ARROW_SCALE:
        return
    lanes: list[Array] = []
    places: list[Array] = []
    for lane in np.flatnonzero(road_map.is_travel & (road_map.lane_junction < 0)):
        length = road_map.lane_length[lane]
        if length >= ARROW_EVERY / 3.0:
            count = max(1, round(length / ARROW_EVERY))
            lanes.append(np.full(count, lane))
            places.append((np.arange(count) + 0.5) * length / count)
    if not lanes:
        return
    lane = np.concatenate(lanes)
    x, y, z, heading = pose_at(road_map, lane, np.concatenate(places))
    # not on a bridge above the lane
    over = lanes_at(road_map, x, y)
    at = np.repeat(np.arange(len(lane)), np.diff(over.start))
    above = pose_at(road_map, over.lane, over.s)[2] > z[at] + BRIDGE
    colour = mixed(LIGHT[Paint.ROAD.name], LIGHT[Paint.MARK_WHITE.name], 0.55)
    c, d = np.cos(heading), np.sin(heading)
    for k in np.setdiff1d(np.arange(len(lane)), at[above]):
        turn = np.array([[c[k], d[k]], [-d[k], c[k]]])
        for part in (_ARROW_HEAD, _ARROW_SHAFT):
            points = view.px(part @ turn + [x[k], y[k]])
            cv2.fillPoly(picture, [points], colour, cv2.LINE_AA, SHIFT)


def _paint_signals(picture: Array, view: _View, road_map: RoadMap) -> None:
    """Signs and lights where they stand; lights last, they matter most."""
    kinds = road_map.signal_kind
    for kind in sorted(SignalKind, key=lambda kind: IMPORTANCE[kind]):
        for i in np.flatnonzero(kinds == kind):
            u, v = view.px(road_map.signal_xyz[i : i + 1, :2])[0] / (1 << SHIFT)
            paint_sign(picture, kind, u, v, SYMBOL * view.unit * FINER)


def _number_speed_signs(picture: Array, view: _View, road_map: RoadMap) -> None:
    """The limit in km/h inside each sign, where a number finds room."""
    from PIL import Image, ImageDraw, ImageFont

    if SYMBOL * view.unit < 12.0:
        return
    image = Image.fromarray(picture)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(round(SYMBOL * view.unit * 0.72))
    for i in np.flatnonzero(road_map.signal_kind == SignalKind.SPEED_LIMIT):
        u, v = view.px(road_map.signal_xyz[i : i + 1, :2])[0] / (FINER << SHIFT)
        text = f"{road_map.signal_value[i] * 3.6:.0f}"
        pen.text((u, v), text, fill=INK, font=font, anchor="mm")
    picture[:] = np.asarray(image)


def _label(picture: Array, view: _View, road_map: RoadMap) -> None:
    """Name and figures above, legend, scale and north below; lettering by Pillow."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture)
    pen, unit = ImageDraw.Draw(image), view.unit
    large, small = (ImageFont.load_default(round(size * unit)) for size in (30, 16))
    left, right = MARGIN * unit, view.width - MARGIN * unit
    pen.text((left, 20 * unit), road_map.name, fill=INK, font=large)
    pen.text((left, 56 * unit), _summary(road_map), fill=FAINT, font=small)
    _north(pen, right - 16 * unit, 46 * unit, unit, small)
    base = view.height - 26 * unit
    _scale_bar(pen, view, right, base, small)
    picture[:] = np.asarray(image)
    at = left
    for kind in sorted(SignalKind, key=lambda kind: -IMPORTANCE[kind]):
        if kind == SignalKind.OTHER or not (road_map.signal_kind == kind).any():
            continue
        # the legend is painted like the map, twice as large and shrunk
        side = round(SYMBOL * unit * 1.7)
        patch = np.empty((side * FINER, side * FINER, 3), np.uint8)
        patch[:] = rgb(LIGHT["ground"])
        paint_sign(patch, kind, side * FINER / 2, side * FINER / 2, SYMBOL * unit * FINER * 1.15)
        import cv2

        patch = cv2.resize(patch, (side, side), interpolation=cv2.INTER_AREA)
        u, v = round(at), round(base - side / 2)
        picture[v : v + side, u : u + side] = patch
        text = kind.name.lower().replace("_", " ")
        image = Image.fromarray(picture)
        ImageDraw.Draw(image).text(
            (at + side + 4 * unit, base), text, fill=FAINT, font=small, anchor="lm"
        )
        picture[:] = np.asarray(image)
        at += side + small.getlength(text) + 26 * unit


def _summary(road_map: RoadMap) -> str:
    figures = map_statistics(road_map)
    parts = [f"{figures['travel lane km']:.1f} km of lanes"]
    for name, one in (("junctions", "junction"), ("roundabouts", "roundabout")):
        if figures[name]:
            parts.append(f"{figures[name]} {one if figures[name] == 1 else name}")
    signals = len(road_map.signal_id)
    if signals:
        parts.append(f"{signals} signals")
    if figures["crosswalks"]:
        parts.append(f"{figures['crosswalks']} crosswalks")
    return "  ·  ".join([*parts, f"{figures['traffic']} traffic"])


def _north(pen: Any, u: float, v: float, unit: float, font: Any) -> None:
    half, tip, tail = 9 * unit, v - 20 * unit, v + 14 * unit
    pen.polygon([(u, tip), (u - half, tail), (u, tail - 7 * unit)], fill=INK)
    pen.polygon([(u, tip), (u + half, tail), (u, tail - 7 * unit)], fill=FAINT)
    pen.text((u, tail + 12 * unit), "N", fill=INK, font=font, anchor="mm")


def _scale_bar(pen: Any, view: _View, right: float, base: float, font: Any) -> None:
    """A bar of 1, 2 or 5 times a power of ten metres, at most a fifth of the picture."""
    longest = 0.2 * view.width / view.scale
    power = 10.0 ** np.floor(np.log10(longest))
    metres = max(step * power for step in (1.0, 2.0, 5.0) if step * power <= longest)
    long, high = metres * view.scale, 6 * view.unit
    for part, colour in ((0, INK), (1, (255, 255, 255)), (2, INK), (3, (255, 255, 255))):
        a, b = right - long + part * long / 4, right - long + (part + 1) * long / 4
        pen.rectangle([a, base - high / 2, b, base + high / 2], fill=colour, outline=INK)
    text = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    pen.text((right - long - 10 * view.unit, base), text, fill=INK, font=font, anchor="rm")
