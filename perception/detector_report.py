"""What a detector is worth on recorded drives: everything that was measured, as plain values.

Each drive is judged for itself (`perception.drive_scores`); `make_report` puts any number of them
together: a `DetectorReport`, which is what training looks at, what files hold and what the
tables of `perception.detector_tables` print. What does not apply is NaN, in files null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from perception import detector_scores as scores
from perception.detector_config import BevGrid, ObjectClass, RasterLayer
from perception.drive_scores import DriveScores
from perception.light_metrics import LightScore
from perception.object_tables import DISTANCES, Pool, pooled
from perception.raster_map import RasterScore
from roadloop.errors import RoadloopError
from roadloop.files import replaced

Array = np.ndarray

FORMAT = 1
"""of the files"""


# --- all of them ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class DetectorReport:
    """Everything measured, plain values that JSON has."""

    facts: dict[str, Any]
    """which detector, which data, which options; ``drives`` and ``moments`` are counts"""
    headline: dict[str, float]
    """`MEASURES` over all drives"""
    objects: dict[str, dict[str, Any]]
    """by class in lower case: ``wanted``, ``ap`` by distance, ``mean_ap``, ``interval`` (of the AP
    at 2 m), ``bands`` and ``sectors`` (AP at 2 m), ``score``, ``precision``, ``recall`` (at the
    best F1) and ``errors`` of `detector_scores.box_errors`"""
    raster: dict[str, dict[str, Any]]
    """``RasterScore.result``, and ``lane``: errors by band"""
    lights: dict[str, Any]
    """``LightScore.result``"""
    nuscenes: dict[str, Any]
    """``mean_ap``, ``nds``, ``ap`` by class, ``errors``; empty where no object was to be found"""
    splits: dict[str, dict[str, dict[str, float]]]
    """by weather, light, family, seed: value -> measures, ``drives`` and ``moments``"""
    drives: list[dict[str, Any]]
    """``name``, ``moments`` and ``measures`` of each"""
    latency: list[dict[str, float]] = field(default_factory=list)
    """per number of threads: ms of each stage, median and 95th percentile"""
    subsets: dict[str, dict[str, float]] = field(default_factory=dict)
    """of the fusion table: name -> measures, and the vehicle AP by sector"""


@dataclass(frozen=True)
class Measure:
    """One number of a detector that is compared and split."""

    title: str
    short: str
    """head of a column, with its unit"""
    higher_is_better: bool = True
    digits: int = 3


MEASURES: dict[str, Measure] = {
    "vehicle_ap": Measure("vehicle AP", "veh AP"),
    "cyclist_ap": Measure("cyclist AP", "cyc AP"),
    "pedestrian_ap": Measure("pedestrian AP", "ped AP"),
    "obstacle_ap": Measure("obstacle AP", "obst AP"),
    "vehicle_centre": Measure("vehicle centre, m", "centre, m", False, 2),
    "vehicle_velocity": Measure("vehicle velocity, m/s", "vel., m/s", False, 2),
    "drivable_iou": Measure("drivable IoU", "drivable"),
    "lane_line_iou": Measure("lane line IoU", "line"),
    "road_edge_iou": Measure("road edge IoU", "edge"),
    "crossing_iou": Measure("crossing IoU", "crossing"),
    "stop_line_iou": Measure("stop line IoU", "stop"),
    "vehicle_iou": Measure("vehicle IoU", "vehicle"),
    "lane_direction": Measure("lane direction, rad", "lane, rad", False),
    "light_accuracy": Measure("light accuracy", "lights"),
}
"""AP at 2 m on visible objects; errors of right detections at the best F1; IoU at 0.5"""


def make_report(
    drives: Sequence[DriveScores],
    grid: BevGrid,
    facts: Mapping[str, Any] | None = None,
    *,
    resamples: int = 400,
) -> DetectorReport:
    """All drives together.

    Args:
        facts: what the report is to say about itself beside the counts.
        resamples: of the drives for the intervals; 0: none.

    Raises RoadloopError without any drive.
    """
    if not drives:
        raise RoadloopError("no drive has been judged: there is nothing to report")
    pool = pooled([drive.objects for drive in drives])
    every = np.ones(len(drives), bool)
    least = {
        label: scores.operating_point(scores.outcomes(pool, label)).score for label in ObjectClass
    }
    weights = scores.draws(len(drives), resamples) if resamples else None
    counts = {"drives": len(drives), "moments": int(pool.moments.sum())}
    counts["remembered"] = sum(drive.remembered for drive in drives)
    return DetectorReport(
        facts={**(facts or {}), **counts},
        headline=measures(pool, drives, grid, every, least),
        objects={k.name.lower(): _class_report(pool, k, weights) for k in ObjectClass},
        raster={**_raster(drives, grid, every).result(), "lane": _lane(drives)},
        lights=_lights(drives, every).result(),
        nuscenes=_nuscenes(pool),
        splits=_splits(pool, drives, grid, least),
        drives=[
            {
                "name": drive.name,
                "moments": drive.moments,
                "measures": measures(pool, drives, grid, np.arange(len(drives)) == k, least),
            }
            for k, drive in enumerate(drives)
        ],
    )


def measures(
    pool: Pool,
    drives: Sequence[DriveScores],
    grid: BevGrid,
    chosen: Array,
    least: Mapping[ObjectClass, float],
) -> dict[str, float]:
    """`MEASURES` of the ``chosen`` drives ((drives,) bool).

    ``least``: the score from which on errors are looked at, the same for all splits.
    """
    found = {
        f"{label.name.lower()}_ap": scores.average_precision(
            scores.outcomes(pool, label, drives=chosen)
        )
        for label in ObjectClass
    }
    vehicle = ObjectClass.VEHICLE
    errors = scores.box_errors(pool, vehicle, least[vehicle], chosen)
    raster = _raster(drives, grid, chosen).result()
    picked = [drive for drive, kept in zip(drives, chosen) if kept]
    return {
        **found,
        "vehicle_centre": errors["centre"],
        "vehicle_velocity": errors["velocity"],
        **{
            f"{layer.name.lower()}_iou": _number(raster[layer.name.lower()]["iou"]["all"])
            for layer in RasterLayer
        },
        "lane_direction": _number(_lane(picked)["direction_error"].get("all")),
        "light_accuracy": _number(_lights(drives, chosen).result()["accuracy"]["all"]),
    }


def subset_measures(drives: Sequence[DriveScores], grid: BevGrid) -> dict[str, float]:
    """`MEASURES` with some sensors, and ``vehicle_left``, ``_front``, ``_right``: the AP there."""
    report = make_report(drives, grid, resamples=0)
    sectors = report.objects["vehicle"]["sectors"]
    return {**{f"vehicle_{name}": ap for name, ap in sectors.items()}, **report.headline}


def _class_report(pool: Pool, label: ObjectClass, weights: Array | None) -> dict[str, Any]:
    by_distance = {d: scores.outcomes(pool, label, d) for d in DISTANCES}
    ap = {f"{d:g}": scores.average_precision(found) for d, found in by_distance.items()}
    main = by_distance[scores.ERROR_DISTANCE]
    point = scores.operating_point(main)
    interval = (math.nan, math.nan)
    if weights is not None:
        interval = scores.precision_interval(main, weights)

    def places(regions: Sequence[scores.Region]) -> dict[str, float]:
        return {
            region.name: scores.average_precision(scores.outcomes(pool, label, region=region))
            for region in regions
        }

    return {
        "wanted": int(main.wanted.sum()),
        "ap": ap,
        "mean_ap": float(np.mean(list(ap.values()))),
        "interval": list(interval),
        "bands": places(scores.BANDS),
        "sectors": places(scores.SECTORS),
        **asdict(point),
        "errors": scores.box_errors(pool, label, point.score),
    }


def _nuscenes(pool: Pool) -> dict[str, Any]:
    found = scores.nuscenes_metrics(pool)
    if found is None:
        return {}
    return {
        "mean_ap": found.mean_ap,
        "nds": found.nds,
        "ap": found.mean_dist_aps,
        "errors": found.tp_errors,
    }


def _raster(drives: Sequence[DriveScores], grid: BevGrid, chosen: Array) -> RasterScore:
    score = RasterScore(grid)
    for drive, kept in zip(drives, chosen):
        if kept:
            score.counts = score.counts + drive.raster
    return score


def _lights(drives: Sequence[DriveScores], chosen: Array) -> LightScore:
    score = LightScore()
    for drive, kept in zip(drives, chosen):
        if kept:
            score.merge(drive.lights)
    return score


def _lane(drives: Sequence[DriveScores]) -> dict[str, dict[str, float | None]]:
    """Mean errors by band."""
    found: dict[str, dict[str, float | None]] = {"direction_error": {}, "centreline_error": {}}
    for band in dict.fromkeys(band for drive in drives for band in drive.lane):
        angle, aside, count = np.sum([drive.lane[band] for drive in drives], axis=0).tolist()
        found["direction_error"][band] = angle / count if count else None
        found["centreline_error"][band] = aside / count if count else None
    return found


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


# --- splits ---------------------------------------------------------------------------------------


def sky_of(about: Mapping[str, Any]) -> str:
    """fog, snow, rain, cloudy or clear; "not known" where the recording does not say."""
    weather = about.get("weather")
    if not isinstance(weather, Mapping):
        return "not known"
    if weather.get("visibility", math.inf) < 1000.0:
        return "fog"
    if weather.get("snow", 0.0) > 0.05:
        return "snow"
    if weather.get("rain", 0.0) > 0.0:
        return "rain"
    return "cloudy" if weather.get("clouds", 0.0) >= 0.6 else "clear"


def light_of(about: Mapping[str, Any]) -> str:
    """day, low sun (up to 11 degrees) or night, by the sun; "not known" where nobody says."""
    weather = about.get("weather")
    if not isinstance(weather, Mapping) or "sun_elevation" not in weather:
        return "not known"
    sun = weather["sun_elevation"]
    return "night" if sun < 0.0 else "low sun" if sun < 0.2 else "day"


SPLITS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "weather": sky_of,
    "light": light_of,
    "family": lambda about: str(about.get("family", "not known")),
    "seed": lambda about: str(about.get("seed", "not known")),
}


def _splits(
    pool: Pool, drives: Sequence[DriveScores], grid: BevGrid, least: Mapping[ObjectClass, float]
) -> dict[str, dict[str, dict[str, float]]]:
    made: dict[str, dict[str, dict[str, float]]] = {}
    for name, value_of in SPLITS.items():
        values = np.array([value_of(drive.about) for drive in drives])
        made[name] = {}
        for value in sorted(set(values.tolist()), key=_by_number):
            mine = values == value
            made[name][value] = {
                "drives": int(mine.sum()),
                "moments": int(pool.moments[mine].sum()),
                **measures(pool, drives, grid, mine, least),
            }
    return made


def _by_number(value: str) -> tuple[bool, float, str]:
    whole = value.isdigit()
    return not whole, float(value) if whole else 0.0, value


# --- files ----------------------------------------------------------------------------------------


def write_report(path: str | Path, report: DetectorReport) -> Path:
    """Write a report as JSON; the same report gives the same bytes."""
    path = Path(path)
    content = {"format": FORMAT, "kind": "detector report", **plain(asdict(report))}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as hidden:
            hidden.write_text(
                json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8"
            )
    except OSError as error:
        raise RoadloopError(f"cannot write {path}: {error.strerror}; give another --out") from error
    return path


def read_report(path: str | Path) -> DetectorReport:
    """A report that `write_report` wrote; RoadloopError where it is none."""
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("kind") != "detector report" or content.pop("format") != FORMAT:
            raise KeyError("kind")
        report = DetectorReport(**content)
    except OSError as error:
        raise RoadloopError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RoadloopError(
            f"{path} is no result of roadloop evaluate: give the .json that --out wrote"
        ) from error
    return report


def plain(value: Any) -> Any:
    """Values that JSON has: NaN is None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
