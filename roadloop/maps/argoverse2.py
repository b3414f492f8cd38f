"""Maps of Argoverse 2: the ``log_map_archive_*.json`` of every log and scenario as a ``MapDraft``.

Coordinates are those of the file: metres east and north of a point of each city, and up. That point
and the UTM zone are those of ``av2.geometry.utm``, so that ``georeference`` gives the latitude and
longitude that the ``av2`` package gives. There are no traffic lights, signs or speed limits.

Where the file may be misread:

* A neighbour may run in the opposite direction: both lanes then name each other on the *same* side.
* ``predecessors`` are incomplete in some logs; ``successors`` are not. Both are handed on.
* ``centerline``, in scenarios of motion forecasting only, has z = 0. The edges have heights, so
  lanes are read from their edges.
* The two words of a double line (``DASH_SOLID_YELLOW``) are read from left to right; the data set
  does not say.
* A map is cut out of a city's: links and neighbours beyond the cut lead nowhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roadloop.config import unknown
from roadloop.datasets.source import read_bytes
from roadloop.errors import RoadloopError
from roadloop.maps.draft import LaneDraft, MapDraft, MarkDraft
from roadloop.maps.road_map import LaneKind, MarkColour, MarkKind

if TYPE_CHECKING:
    from roadloop.maps.road_map import RoadMap

Array = np.ndarray

LANE_KINDS = {
    "VEHICLE": LaneKind.DRIVING,
    "BIKE": LaneKind.BIKING,
    "BUS": LaneKind.RESTRICTED,
}
"""lane_type -> what it is for; cars may not drive on lanes for buses"""

PATTERNS = {
    "DASHED": MarkKind.BROKEN,
    "SOLID": MarkKind.SOLID,
    "DASH_SOLID": MarkKind.BROKEN_SOLID,
    "SOLID_DASH": MarkKind.SOLID_BROKEN,
    "DOUBLE_DASH": MarkKind.BROKEN_BROKEN,
    "DOUBLE_SOLID": MarkKind.SOLID_SOLID,
}
"""mark type without its colour -> kind"""

COLOURS = {"WHITE": MarkColour.WHITE, "YELLOW": MarkColour.YELLOW, "BLUE": MarkColour.BLUE}

UNPAINTED = ("NONE", "UNKNOWN")

CITIES = {
    "ATX": ("Austin", 14, 30.27464237939507, -97.7404457407424),
    "DTW": ("Dearborn", 17, 42.29993066912924, -83.17555750783717),
    "MIA": ("Miami", 17, 25.77452579915163, -80.19656914449405),
    "PAO": ("Palo Alto", 10, 37.416065, -122.13571963362166),
    "PIT": ("Pittsburgh", 17, 40.44177902989321, -80.01294377242584),
    "WDC": ("Washington DC", 18, 38.889377, -77.0355047439081),
}
"""code -> name, UTM zone, latitude and longitude (degrees) of the frame's origin, from
``av2.geometry.utm``"""

ARCHIVE = "log_map_archive_"


def map_file(folder: Path) -> Path | None:
    """The map in a folder; None where it has none.

    Raises RoadloopError where there are several.
    """
    found = sorted(folder.glob(f"{ARCHIVE}*.json"))
    if len(found) > 1:
        raise RoadloopError(f"{folder} holds {len(found)} maps, {found[0].name} first: expected 1")
    return found[0] if found else None


def city_code(name: str) -> str:
    """The key of ``CITIES`` in a map's file name or of a city's name; empty where there is none."""
    told = name.lower().replace("-", " ")
    for code, (city, *_) in CITIES.items():
        if f"____{code}_" in name or told == city.lower():
            return code
    return ""


def georeference(city: str) -> str:
    """PROJ string of a city's frame; empty for an unknown city."""
    from roadloop.maps.georeference import TransverseMercator

    if city not in CITIES:
        return ""
    _, zone, latitude, longitude = CITIES[city]
    meridian = 6.0 * zone - 183.0
    utm = TransverseMercator(0.0, meridian, 0.9996, 5e5, 0.0)
    east, north = utm.forward(latitude, longitude)
    return (
        f"+proj=tmerc +lat_0=0 +lon_0={meridian:g} +k=0.9996 "
        f"+x_0={5e5 - float(east):.6f} +y_0={-float(north):.6f} +datum=WGS84 +units=m"
    )


def load_map(path: Path, city: str = "") -> RoadMap:
    """The compiled map; RoadloopError as ``read_draft``."""
    from roadloop.maps.compile_draft import compile_map

    return compile_map(read_draft(path, city))


def read_draft(path: Path, city: str = "") -> MapDraft:
    """The map in a ``log_map_archive_*.json``.

    Args:
        city: key of ``CITIES``; by default as the file's name says.

    Raises:
        RoadloopError: the file is missing or damaged, or a lane, crossing or area in it.
    """
    content = read_bytes(path)
    archive = _archive(path, content)
    lanes: dict[str, Any] = archive["lane_segments"]
    drafts, marks, painted = [], [], set()
    for name, lane in lanes.items():
        try:
            drafts.append(_lane(name, lane, lanes))
            for side in ("left", "right"):
                mark = _mark(lane, side)
                if mark is not None and not _seen(mark.xyz, painted):
                    marks.append(mark)
        except (KeyError, TypeError, ValueError) as error:
            raise RoadloopError(f"{path}: lane segment {name}: {_reason(error)}") from None
    code = city or city_code(path.name)
    return MapDraft(
        name=path.stem.removeprefix(ARCHIVE).split("____")[0],
        source_hash=hashlib.sha256(content).hexdigest(),
        lanes=tuple(drafts),
        crosswalks=tuple(_each(path, archive, "pedestrian_crossings", _crosswalk)),
        marks=tuple(marks),
        drivable=tuple(_each(path, archive, "drivable_areas", _outline)),
        georeference=georeference(code),
        unsupported=_cut(lanes),
    )


def ground_height(folder: Path, x: Array, y: Array) -> Array:
    """z of the ground at city coordinates ``(...)``, NaN where it is not known.

    Logs of the sensor data set have a raster of 0.3 m beside the map, in half precision (at worst
    3 cm): ``*_ground_height_surface____*.npy``, and ``*___img_Sim2_city.json``, by which a point p
    falls into column and row ``floor(s (R p + t))``.

    Raises RoadloopError where one of the two files is missing or damaged.
    """
    rasters = sorted(folder.glob("*_ground_height_surface____*.npy"))
    turns = sorted(folder.glob("*___img_Sim2_city.json"))
    if not rasters or not turns:
        raise RoadloopError(f"{folder} has no ground height: expected a raster and its Sim2")
    try:
        raster = np.load(rasters[0], allow_pickle=False)
        similarity = json.loads(read_bytes(turns[0]))
        turn = np.reshape(np.asarray(similarity["R"], float), (2, 2))
        shift, scale = np.asarray(similarity["t"], float), float(similarity["s"])
        rows, columns = raster.shape
    except (OSError, EOFError, KeyError, TypeError, ValueError) as error:
        reason = _reason(error)
        raise RoadloopError(f"{rasters[0]} or {turns[0].name} is damaged: {reason}") from None
    points = np.stack(np.broadcast_arrays(np.asarray(x, float), y), axis=-1)
    cell = np.floor((points @ turn.T + shift) * scale).astype(int)
    column, row = cell[..., 0], cell[..., 1]
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    height = raster[np.where(inside, row, 0), np.where(inside, column, 0)].astype(np.float64)
    return np.where(inside, height, np.nan)


def _archive(path: Path, content: bytes) -> dict[str, Any]:
    try:
        archive = json.loads(content)
    except ValueError as error:
        raise RoadloopError(f"{path} is truncated or no JSON: {error}") from None
    for key in ("lane_segments", "pedestrian_crossings", "drivable_areas"):
        if not isinstance(archive, dict) or not isinstance(archive.get(key), dict):
            raise RoadloopError(f"{path}: {key} is missing; is it a map of Argoverse 2?")
    return archive


def _reason(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _each(path: Path, archive: Mapping[str, Any], kind: str, read: Any) -> list[Array]:
    """Every element of one kind; faults are said with its id."""
    found = []
    for name, element in archive[kind].items():
        try:
            found.append(read(element))
        except (KeyError, TypeError, ValueError) as error:
            raise RoadloopError(f"{path}: {kind} {name}: {_reason(error)}") from None
    return found


def _points(points: Any, least: int = 2) -> Array:
    """(n, 3) of a list of points by name."""
    xyz = np.array([[p["x"], p["y"], p["z"]] for p in points], np.float64).reshape(-1, 3)
    if len(xyz) < least or not np.isfinite(xyz).all():
        raise ValueError(f"{len(xyz)} points, or some not finite: expected {least} or more")
    return xyz


# --- lanes --------------------------------------------------------------------------------------


def _lane(name: str, lane: Mapping[str, Any], lanes: Mapping[str, Any]) -> LaneDraft:
    if lane["lane_type"] not in LANE_KINDS:
        raise ValueError(unknown("lane_type", lane["lane_type"], LANE_KINDS))
    kind = LANE_KINDS[lane["lane_type"]]
    left, left_opposite = _neighbour(lane, "left", lanes)
    right, right_opposite = _neighbour(lane, "right", lanes)
    return LaneDraft(
        id=name,
        left=_points(lane["left_lane_boundary"]),
        right=_points(lane["right_lane_boundary"]),
        kind=kind,
        successors=tuple(str(n) for n in lane["successors"] if str(n) in lanes),
        predecessors=tuple(str(n) for n in lane["predecessors"] if str(n) in lanes),
        left_neighbour=left,
        right_neighbour=right,
        opposite=left_opposite or right_opposite,
        change_left=_may_cross(lane, "left"),
        change_right=_may_cross(lane, "right"),
        in_junction=bool(lane["is_intersection"]),
    )


def _neighbour(lane: Mapping[str, Any], side: str, lanes: Mapping[str, Any]) -> tuple[str, str]:
    """Ids of the lane on a side: where it runs the same way, and where it runs the other way."""
    name = str(lane[f"{side}_neighbor_id"])
    if name not in lanes:
        return "", ""
    other = lanes[name]
    far = "right" if side == "left" else "left"
    if other[f"{far}_neighbor_id"] == lane["id"]:
        return name, ""
    if other[f"{side}_neighbor_id"] == lane["id"]:
        return "", name
    one, two = (
        np.subtract(*_points(it["left_lane_boundary"])[[-1, 0], :2]) for it in (lane, other)
    )
    return (name, "") if one @ two > 0.0 else ("", name)


def _may_cross(lane: Mapping[str, Any], side: str) -> bool | None:
    """Whether the line nearest to the lane is dashed; None where nothing is painted."""
    pattern, _ = _paint(lane, side)
    if pattern is None:
        return None
    words = pattern.removeprefix("DOUBLE_").split("_")
    return words[-1 if side == "left" else 0] in ("DASH", "DASHED")


# --- marks, crossings, areas --------------------------------------------------------------------


def _paint(lane: Mapping[str, Any], side: str) -> tuple[str | None, str]:
    """Pattern and colour of the line on a side, keys of ``PATTERNS`` and ``COLOURS``."""
    name = lane[f"{side}_lane_mark_type"]
    if name in UNPAINTED:
        return None, ""
    pattern, _, colour = name.rpartition("_")
    if pattern not in PATTERNS or colour not in COLOURS:
        raise ValueError(
            unknown("mark type", name, [f"{p}_{c}" for p in PATTERNS for c in COLOURS])
        )
    return pattern, colour


def _mark(lane: Mapping[str, Any], side: str) -> MarkDraft | None:
    pattern, colour = _paint(lane, side)
    if pattern is None:
        return None
    xyz = _points(lane[f"{side}_lane_boundary"])
    return MarkDraft(xyz, PATTERNS[pattern], COLOURS[colour])


def _seen(xyz: Array, painted: set[tuple[int, ...]]) -> bool:
    """Whether a line was there before, in either direction; then it is the neighbour's too."""
    cm = np.round(xyz * 100.0).astype(int)
    keys = {tuple(cm.ravel().tolist()), tuple(cm[::-1].ravel().tolist())}
    known = bool(keys & painted)
    painted |= keys
    return known


def _crosswalk(crossing: Mapping[str, Any]) -> Array:
    """(4, 3) corners of the area between two edges, in order around it."""
    one, two = (_points(crossing[f"edge{k}"])[[0, -1]] for k in (1, 2))
    if np.subtract(*one[::-1, :2]) @ np.subtract(*two[::-1, :2]) < 0.0:
        two = two[::-1]
    return np.concatenate([one, two[::-1]])


def _outline(area: Mapping[str, Any]) -> Array:
    return _points(area["area_boundary"], 3)[:, :2]


def _cut(lanes: Mapping[str, Any]) -> tuple[str, ...]:
    """What of the lanes' links lies beyond the map."""
    links = sum(
        str(n) not in lanes
        for lane in lanes.values()
        for n in (*lane["successors"], *lane["predecessors"])
    )
    beside = sum(
        lane[key] is not None and str(lane[key]) not in lanes
        for lane in lanes.values()
        for key in ("left_neighbor_id", "right_neighbor_id")
    )
    if not links + beside:
        return ()
    return (f"{links} links and {beside} neighbours of lanes lie beyond the map's edge",)
