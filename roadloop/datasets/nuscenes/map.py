"""nuScenes' map expansion (1.3): lanes with arc-line centrelines, connectors, crossings, lights.

The schema: the map expansion tutorial and ``map_api.py`` of nuscenes-devkit. A centreline is a
list of paths of three pieces each, arcs of one radius to the left (L) or right (R) and straights
(S). The map is flat: z = 0, as that of the ego poses. Singapore drives on the left.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roadloop.datasets.nuscenes.lanes import Lane, edges, lane_drafts
from roadloop.datasets.source import read_bytes
from roadloop.errors import RoadloopError
from roadloop.maps.draft import MapDraft, MarkDraft, SignalDraft
from roadloop.maps.road_map import MarkColour, MarkKind, SignalKind

if TYPE_CHECKING:
    from shapely import LineString, Polygon

    from roadloop.maps.road_map import RoadMap

Array = np.ndarray

SPACING = 1.0
"""m between points of a centreline"""

TURNS = {"L": 1.0, "S": 0.0, "R": -1.0}

LAYERS = (
    *("polygon", "line", "node", "drivable_area", "lane", "lane_connector", "ped_crossing"),
    *("walkway", "stop_line", "carpark_area", "lane_divider", "traffic_light"),
)

MARKS = {
    "SINGLE_SOLID": MarkKind.SOLID,
    "SINGLE_ZIGZAG": MarkKind.SOLID,
    "SINGLE_DASHED": MarkKind.BROKEN,
    "DOUBLE_SOLID": MarkKind.SOLID_SOLID,
    "DOUBLE_DASHED": MarkKind.BROKEN_BROKEN,
}
"""by the first two words of a segment type; the third is the colour; NIL is not painted"""

SIGNS = {"STOP_SIGN": SignalKind.STOP, "YIELD": SignalKind.YIELD}
"""stop lines that are signs; at those of crossings and turns the right of way says who waits"""


def expansion_file(root: Path, location: str) -> Path | None:
    """The map expansion of a location under a data set's root, None where there is none."""
    path = root / "maps" / "expansion" / f"{location}.json"
    return path if path.is_file() else None


def load_expansion(path: Path) -> RoadMap:
    """The compiled map; RoadloopError as `expansion_draft`."""
    from roadloop.maps.compile_draft import compile_map

    return compile_map(expansion_draft(path))


def expansion_draft(path: Path) -> MapDraft:
    """The map of an expansion file.

    Raises:
        RoadloopError: a truncated file, an older version, a dangling token; it names the record.
    """
    layers = _Layers(path)
    lanes: dict[str, Lane] = {}
    unsupported: list[str] = []
    for layer in ("lane", "lane_connector"):
        for record in layers.rows(layer):
            token = record["token"]
            paths = layers.content["arcline_path_3"].get(token)
            if not paths:
                unsupported.append(f"{layer} {token}: it has no centreline")
                continue
            links = layers.content["connectivity"].get(token, {})
            centreline = layers.centreline(layer, token, paths)
            polygon = layers.polygon(layer, record) if layer == "lane" else None
            lanes[token] = Lane(
                token,
                centreline,
                *edges(centreline, polygon),
                polygon=polygon,
                before=tuple(links.get("incoming", ())),
                after=tuple(links.get("outgoing", ())),
                kind=record.get("lane_type", ""),
                solid_left=_solid(record.get("left_lane_divider_segments", ())),
                solid_right=_solid(record.get("right_lane_divider_segments", ())),
            )
    if not lanes:
        raise RoadloopError(f"{path} has no lane with a centreline; is it of map expansion 1.3?")
    left_hand = path.stem.startswith("singapore")
    if dividers := len(layers.content.get("road_divider", ())):
        unsupported.append(f"{dividers} road dividers: the map does not say how they are painted")
    if walkways := len(layers.rows("walkway")):
        unsupported.append(f"{walkways} walkways: areas without a direction")
    drivable = [
        layers.ring_polygon("drivable_area", record, token)
        for record in layers.rows("drivable_area")
        for token in record.get("polygon_tokens", ())
    ]
    drivable += [layers.polygon("carpark_area", r) for r in layers.rows("carpark_area")]
    return MapDraft(
        name=path.stem,
        source_hash=hashlib.sha256(layers.bytes).hexdigest(),
        lanes=tuple(lane_drafts(lanes, left_hand)),
        signals=tuple(_signals(layers, lanes, unsupported)),
        crosswalks=tuple(
            _flat(np.array(layers.polygon("ped_crossing", record).exterior.coords)[:-1, :2])
            for record in layers.rows("ped_crossing")
        ),
        marks=tuple(_marks(layers)),
        drivable=tuple(
            np.array(part.exterior.coords)[:-1, :2]
            for polygon in drivable
            for part in _without_holes(polygon)
        ),
        left_hand=left_hand,
        unsupported=tuple(unsupported),
    )


class _Layers:
    """The layers of an expansion file, with faults said by layer and record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = read_bytes(path)
        try:
            self.content: dict[str, Any] = json.loads(self.bytes)
        except ValueError as error:
            raise RoadloopError(f"{path} is truncated or no JSON: {error}") from error
        if not isinstance(self.content, dict):
            raise RoadloopError(f"{path} is no map expansion: expected an object of layers")
        for layer in (*LAYERS, "arcline_path_3", "connectivity"):
            if layer not in self.content:
                raise RoadloopError(f"{path}: layer {layer} is missing; get map expansion 1.3")
        self._nodes = {r["token"]: (r["x"], r["y"]) for r in self.content["node"]}
        self._polygons = {r["token"]: r for r in self.content["polygon"]}
        self._lines = {r["token"]: r for r in self.content["line"]}

    def rows(self, layer: str) -> list[dict[str, Any]]:
        return self.content[layer]

    def fault(self, layer: str, token: Any, what: str) -> RoadloopError:
        return RoadloopError(f"{self.path}: {layer} {token}: {what}")

    def nodes(self, layer: str, token: Any, nodes: Sequence[str]) -> Array:
        """(n, 2)"""
        try:
            return np.array([self._nodes[node] for node in nodes], np.float64).reshape(-1, 2)
        except KeyError as error:
            raise self.fault(layer, token, f"node {error} is not in the layer node") from None

    def polygon(self, layer: str, record: dict[str, Any]) -> Polygon:
        return self.ring_polygon(layer, record, record.get("polygon_token"))

    def ring_polygon(self, layer: str, record: dict[str, Any], token: Any) -> Polygon:
        import shapely

        found = self._polygons.get(token)
        if found is None:
            raise self.fault(
                layer, record.get("token"), f"polygon {token!r} is not in the layer polygon"
            )
        outer = self.nodes("polygon", token, found["exterior_node_tokens"])
        if len(outer) < 3:
            raise self.fault("polygon", token, f"{len(outer)} nodes: expected 3 or more")
        holes = [self.nodes("polygon", token, h["node_tokens"]) for h in found.get("holes", ())]
        polygon = shapely.Polygon(outer, [hole for hole in holes if len(hole) >= 3])
        if polygon.is_valid:
            return polygon
        parts = shapely.get_parts(shapely.make_valid(polygon)).tolist()
        parts = [part for part in parts if part.geom_type == "Polygon"]
        if not parts:
            raise self.fault("polygon", token, "it encloses no area")
        return max(parts, key=lambda part: part.area)

    def line(self, layer: str, record: dict[str, Any]) -> tuple[list[str], Array]:
        """Tokens of its nodes and where they are, (n, 2)."""
        token = record.get("line_token")
        if token not in self._lines:
            raise self.fault(layer, record.get("token"), f"line {token!r} is not in the layer line")
        nodes = self._lines[token]["node_tokens"]
        return nodes, self.nodes("line", token, nodes)

    def centreline(self, layer: str, token: str, paths: list[dict[str, Any]]) -> Array:
        """(n, 3)"""
        try:
            return _flat(arcline_points(paths))
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise self.fault(layer, token, f"its arcline_path_3 is wrong ({error})") from error


def arcline_points(paths: Sequence[dict[str, Any]], spacing: float = SPACING) -> Array:
    """(n, 2) points at most ``spacing`` m apart along arc-line paths, each piece's ends among them.

    Along a piece of curvature k the heading grows as ``h + k s``, and the point moves by
    ``(sin(h + k s) - sin h, cos h - cos(h + k s)) / k``.
    """
    points: list[Array] = []
    for path in paths:
        x, y, heading = (float(v) for v in path["start_pose"])
        for turn, length in zip(path["shape"], path["segment_length"], strict=True):
            if length <= 1e-6:
                continue
            bend = TURNS[turn] / float(path["radius"]) if TURNS[turn] else 0.0
            s = np.linspace(0.0, length, max(int(np.ceil(length / spacing)), 1) + 1)
            turned = heading + bend * s
            if bend:
                dx = (np.sin(turned) - np.sin(heading)) / bend
                dy = (np.cos(heading) - np.cos(turned)) / bend
            else:
                dx, dy = s * np.cos(heading), s * np.sin(heading)
            points.append(np.stack([x + dx, y + dy], axis=-1))
            x, y, heading = x + dx[-1], y + dy[-1], float(turned[-1])
    joined = np.concatenate(points)
    apart = np.linalg.norm(np.diff(joined, axis=0), axis=-1) > 0.05
    return joined[np.r_[True, apart]]


def _flat(xy: Array) -> Array:
    return np.concatenate([xy, np.zeros((len(xy), 1))], axis=-1)


def _solid(segments: Sequence[dict[str, Any]]) -> bool:
    """Whether the whole divider is a solid line."""
    kinds = [str(segment.get("segment_type")) for segment in segments]
    return bool(kinds) and all("SOLID" in kind for kind in kinds)


def _without_holes(polygon: Polygon) -> list[Polygon]:
    """Parts of a polygon that have no holes: cut upright through one hole after another."""
    import shapely

    if not polygon.interiors:
        return [polygon]
    west, south, east, north = polygon.bounds
    middle = polygon.interiors[0].centroid.x
    found: list[Polygon] = []
    for box in (shapely.box(west, south, middle, north), shapely.box(middle, south, east, north)):
        for part in shapely.get_parts(polygon & box).tolist():
            if part.geom_type == "Polygon" and part.area > 1e-6:
                found += _without_holes(part)
    return found


def _marks(layers: _Layers) -> list[MarkDraft]:
    """Lane dividers, split where their paint changes: a node tells that of the piece after it."""
    marks = []
    for record in layers.rows("lane_divider"):
        tokens, xy = layers.line("lane_divider", record)
        paint = {
            segment["node_token"]: str(segment.get("segment_type"))
            for segment in record.get("lane_divider_segments") or ()
        }
        kinds = [paint.get(token, "NIL") for token in tokens[:-1]]
        starts = [k for k in range(len(kinds)) if k == 0 or kinds[k] != kinds[k - 1]]
        for first, last in zip(starts, [*starts[1:], len(kinds)]):
            shape, _, colour = kinds[first].rpartition("_")
            if shape in MARKS:
                tint = MarkColour.YELLOW if colour == "YELLOW" else MarkColour.WHITE
                marks.append(MarkDraft(_flat(xy[first : last + 1]), MARKS[shape], tint))
    return marks


def _signals(layers: _Layers, lanes: dict[str, Lane], unsupported: list[str]) -> list[SignalDraft]:
    """Lights where they hang, stop and yield signs at their stop lines."""
    import shapely

    names = list(lanes)
    lines = [shapely.LineString(lanes[name].centreline[:, :2]) for name in names]
    tree = shapely.STRtree(lines)
    stops: dict[str, dict[str, float | None]] = {}
    signs: list[SignalDraft] = []
    for record in layers.rows("stop_line"):
        polygon = layers.polygon("stop_line", record)
        kind = record.get("stop_line_type")
        hits = {
            names[k]: _entry(lines[k], polygon)
            for k in sorted(tree.query(polygon, predicate="intersects").tolist())
        }
        # where the line lies on the seam of a lane and its connectors, the lane has it
        governed: dict[str, float | None] = {
            name: s for name, s in hits.items() if not any(b in hits for b in lanes[name].before)
        }
        if kind == "TRAFFIC_LIGHT":
            for token in record.get("traffic_light_tokens", ()):
                stops.setdefault(token, {}).update(governed)
        elif kind in SIGNS:
            if not governed:
                unsupported.append(f"stop_line {record['token']}: no lane crosses it")
                continue
            lane, s = next(iter(governed.items()))
            centre = polygon.centroid
            signs.append(
                SignalDraft(
                    record["token"],
                    SIGNS[kind],
                    (centre.x, centre.y, 0.0),
                    lanes[lane].heading_at(float(s or 0.0)),
                    tuple(governed.items()),
                )
            )
    lights = []
    for record in layers.rows("traffic_light"):
        token, pose = record["token"], record.get("pose")
        governed = stops.get(token, {})
        if pose is None:
            x, y = layers.line("traffic_light", record)[1].mean(0).tolist()
            pose = {"tx": x, "ty": y, "tz": 0.0, "rz": 0.0}
        heading = float(pose["rz"])
        if governed:
            lane, s = next(iter(governed.items()))
            heading = lanes[lane].heading_at(float(s or 0.0))
        else:
            unsupported.append(f"traffic_light {token}: no stop line with a lane")
        lights.append(
            SignalDraft(
                token,
                SignalKind.TRAFFIC_LIGHT,
                (float(pose["tx"]), float(pose["ty"]), float(pose["tz"])),
                heading,
                tuple(governed.items()),
                group=str(record.get("from_road_block_token") or ""),
            )
        )
    return lights + signs


def _entry(line: LineString, polygon: Polygon) -> float:
    """m along a line to where it first enters a polygon that it meets."""
    import shapely

    inside = shapely.points(shapely.get_coordinates(line & polygon))
    return float(np.min(shapely.line_locate_point(line, inside)))
