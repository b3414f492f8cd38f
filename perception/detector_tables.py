"""A detector's report as tables, for a terminal and for a page; two reports against each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perception.detector_report import MEASURES, DetectorReport, Measure
from roadloop.errors import RoadloopError
from roadloop.stats import LEVEL, Difference, holm, paired_difference
from roadloop.viz.table_page import Cell, Table, share_cell, table_text, write_table_page

MOST_ROWS = 30
SECTOR_MEASURES = ("vehicle_left", "vehicle_front", "vehicle_right")
"""of subsets beside `MEASURES`: the vehicle AP by sector"""

Row = tuple[str, tuple[Cell, ...]]


def make_table(report: DetectorReport) -> str:
    """The tables for a terminal, but for those of more than `MOST_ROWS` rows."""
    facts = report.facts
    head = (
        f"{facts.get('detector', 'detector')}: {facts['moments']} moments of {facts['drives']} "
        f"drives, {facts['remembered']} of them with a state of before"
    )
    shown = [table for table in tables(report) if len(table.rows) <= MOST_ROWS]
    return "\n\n".join([head, *(table_text(table) for table in shown)])


def write_report_page(path: str | Path, report: DetectorReport) -> Path:
    """The report as a page of one file; its path. RoadloopError where it cannot be written."""
    facts = report.facts
    about = [(key.replace("_", " "), _said(value)) for key, value in facts.items() if value != ""]
    vehicle = report.objects["vehicle"]
    low, high = map(_number, vehicle["interval"])
    cards = [
        (
            "vehicle AP at 2 m",
            share_cell(_number(vehicle["ap"]["2"]), low, high),
            f"{vehicle['wanted']} visible objects",
        )
    ]
    for name in ("pedestrian_ap", "drivable_iou", "lane_line_iou", "light_accuracy"):
        value = _number(report.headline.get(name))
        cards.append((MEASURES[name].title, share_cell(value), f"{facts['moments']} moments"))
    return write_table_page(
        path,
        title=str(facts.get("detector", "detector")),
        verdict=f"{facts['drives']} drives, {facts['moments']} moments",
        about=about,
        cards=cards,
        tables=tables(report),
    )


def _said(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def tables(report: DetectorReport) -> list[Table]:
    """Those that have something to say."""
    found = [
        _fusion(report.subsets),
        _objects(report.objects),
        _errors(report.objects),
        _raster(report.raster),
        _lane(report.raster["lane"]),
        *_lights(report.lights),
        _nuscenes(report.nuscenes),
        *(_split(name, values) for name, values in report.splits.items()),
        _latency(report.latency),
    ]
    return [table for table in found if table.rows]


# --- one by one -----------------------------------------------------------------------------------


def _objects(objects: Mapping[str, dict[str, Any]]) -> Table:
    rows: list[Row] = []
    for name, one in objects.items():
        low, high = map(_number, one["interval"])
        cells = [_count(one["wanted"])]
        for distance, value in one["ap"].items():
            between = (low, high) if distance == "2" else (math.nan, math.nan)
            cells.append(share_cell(_number(value), *between))
        cells.append(share_cell(_number(one["mean_ap"])))
        cells += [share_cell(_number(value)) for value in one["bands"].values()]
        cells += [share_cell(_number(value)) for value in one["sectors"].values()]
        rows.append((name, tuple(cells)))
    first = next(iter(objects.values()))
    heads = ["objects", *(f"AP {d} m" for d in first["ap"]), "mean", *first["bands"]]
    return Table(
        "Objects",
        "Average precision on visible objects inside the grid, by the distance between centres "
        "from which a detection matches; by distance ahead and by sector (front: 30 degrees to "
        "either side) at 2 m. What matches only a hidden object counts neither way.",
        (*heads, *first["sectors"]),
        tuple(rows),
    )


_ERRORS = {
    "matches": ("matches", 0),
    "centre": ("centre, m", 2),
    "velocity": ("velocity, m/s", 2),
    "velocity_moving": ("moving, m/s", 2),
    "heading": ("heading, rad", 3),
    "reversed": ("reversed", 3),
    "size": ("1 - size IoU", 3),
    "position_within_1_std": ("place 1 std", 2),
    "position_within_2_std": ("2 std", 2),
    "velocity_within_1_std": ("velocity 1 std", 2),
    "velocity_within_2_std": ("2 std", 2),
}


def _errors(objects: Mapping[str, dict[str, Any]]) -> Table:
    rows: list[Row] = []
    for name, one in objects.items():
        point = [Cell(_number(one["score"]), 2), *_shares(one, ("precision", "recall"))]
        errors = [Cell(_number(one["errors"][key]), digits) for key, (_, digits) in _ERRORS.items()]
        rows.append((name, (*point, *errors)))
    return Table(
        "Errors",
        "Of detections within 2 m of their object, from the score on at which precision and recall "
        "are best together; velocity up to 32 m away. Share of errors within 1 and 2 of the "
        "standard deviations the detector believes: 0.68 and 0.95 where they are right.",
        ("score", "precision", "recall", *(head for head, _ in _ERRORS.values())),
        tuple(rows),
    )


def _raster(raster: Mapping[str, dict[str, Any]]) -> Table:
    layers = {name: one for name, one in raster.items() if name != "lane"}
    if not layers:
        return Table("Map", "", (), ())
    bands = list(next(iter(layers.values()))["iou"])
    rows = []
    for name, one in layers.items():
        cells = [share_cell(_number(one["iou"][band])) for band in bands]
        best = [share_cell(_number(one["best_iou"])), Cell(_number(one["best_threshold"]), 2)]
        rows.append((name.replace("_", " "), (*cells, *best, Cell(_number(one["share"]), 3))))
    return Table(
        "Map",
        "Intersection over union of each layer at a probability of 0.5, by m ahead; the best of "
        "all thresholds; the layer's share of the judged cells.",
        (*bands, "best", "at", "share"),
        tuple(rows),
    )


def _lane(lane: Mapping[str, Mapping[str, Any]]) -> Table:
    titles = {"direction_error": "direction, rad", "centreline_error": "centreline, m"}
    bands = list(lane["direction_error"])
    rows = tuple(
        (title, tuple(Cell(_number(lane[name][band]), 3) for band in bands))
        for name, title in titles.items()
    )
    note = "Mean errors of the lane field where it is judged, by m ahead."
    return Table("Lanes", note, tuple(bands), rows if bands else ())


def _nuscenes(found: Mapping[str, Any]) -> Table:
    if not found:
        return Table("nuScenes rules", "", (), ())
    shares = {"mAP": found["mean_ap"], "NDS": found["nds"], **found["ap"]}
    cells = [share_cell(_number(value)) for value in shares.values()]
    cells += [Cell(_number(value), 3) for value in found["errors"].values()]
    note = (
        "mAP and NDS by the rules of nuScenes on four classes of our own and without attributes: "
        "no number of its public table compares."
    )
    return Table("nuScenes rules", note, (*shares, *found["errors"]), (("", tuple(cells)),))


def _split(name: str, values: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = tuple(
        (value, (_count(one["drives"]), _count(one["moments"]), *_measured(one)))
        for value, one in values.items()
    )
    title, note = f"By {name}", "AP at 2 m, errors as above; IoU of the map's layers at 0.5."
    heads = ("drives", "moments", *_heads(tuple(MEASURES)))
    return Table(title, note, heads, rows if len(rows) > 1 else ())


def _fusion(subsets: Mapping[str, Mapping[str, Any]]) -> Table:
    names = (*SECTOR_MEASURES, *MEASURES)
    rows = tuple(
        (subset, tuple(_cell(name, _number(one.get(name))) for name in names))
        for subset, one in subsets.items()
    )
    return Table(
        "Sensors",
        "The same drives with some sensors only; vehicle AP at 2 m by sector (front: 30 degrees to "
        "either side): a camera that is missing should cost its own sector only.",
        _heads(names),
        rows,
    )


def _latency(latency: Sequence[Mapping[str, Any]]) -> Table:
    heads = (
        tuple(key.replace("_", " ") for key in latency[0] if key != "threads") if latency else ()
    )
    rows = tuple(
        (
            f"{one['threads']:g} thread{'s' if one['threads'] > 1 else ''}",
            tuple(Cell(_number(value), 1) for key, value in one.items() if key != "threads"),
        )
        for one in latency
    )
    note = (
        "ms per moment on this machine by PyTorch, median and 95th percentile (p95) of the wall "
        "clock; processor: processor time of all threads."
    )
    return Table("Latency", note, heads, rows)


def _measured(one: Mapping[str, Any]) -> list[Cell]:
    return [_cell(name, _number(one[name])) for name in MEASURES]


def _measure(name: str) -> Measure:
    side = name.removeprefix("vehicle_")
    return MEASURES.get(name) or Measure(f"vehicle AP {side}", side)


def _heads(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(_measure(name).short for name in names)


def _cell(name: str, value: float) -> Cell:
    measure = _measure(name)
    shade = 1.0 - value if measure.higher_is_better else math.nan
    return Cell(value, measure.digits, shade=shade)


def _count(value: float) -> Cell:
    return Cell(float(value), 0)


def _shares(one: Mapping[str, Any], names: Sequence[str]) -> list[Cell]:
    return [share_cell(_number(one[name])) for name in names]


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _lights(lights: Mapping[str, Any]) -> list[Table]:
    """Shares by distance, and what was taken for what."""
    if not lights["moments"]["all"] and not lights["empty"]:
        return []
    bands = tuple(lights["moments"])
    rows: list[Row] = [("moments", tuple(_count(lights["moments"][band]) for band in bands))]
    rows.append(("right", tuple(share_cell(_number(lights["accuracy"][b])) for b in bands)))
    for name, title in (("missed", "missed"), ("ran", "red or yellow taken for green")):
        values = [_number(lights[name][band]) for band in bands]
        rows.append((title, tuple(Cell(value, shade=value) for value in values)))
    alarm = _number(lights["false_alarm"])
    by_distance = Table(
        "Traffic lights",
        "Moments in which a light of the ego's is to be seen, by m to its stop line. Of "
        f"{lights['empty']} moments without one, a head was found in "
        f"{'-' if math.isnan(alarm) else f'{alarm:.1%}'}.",
        bands,
        tuple(rows),
    )
    found = tuple(next(iter(lights["confusion"].values())))
    confusion = Table(
        "Lamps",
        "Moments by what the light showed (rows) and what the best head shows (columns).",
        found,
        tuple(
            (true, tuple(_count(by[name]) for name in found))
            for true, by in lights["confusion"].items()
        ),
    )
    return [by_distance, confusion]


# --- two reports ----------------------------------------------------------------------------------


def compare_reports(
    a: DetectorReport, b: DetectorReport, level: float = LEVEL
) -> dict[str, Difference]:
    """By measure: how much b is above a, over the drives both were judged on.

    A drive is a pair: its own AP, IoU and errors under both. Raises RoadloopError where the two
    have no drive in common, or judged different moments of one.
    """
    sides = [{drive["name"]: drive for drive in report.drives} for report in (a, b)]
    names = sorted(set(sides[0]) & set(sides[1]))
    if not names:
        raise RoadloopError("the two results have no drive in common: judge both on the same data")
    for name in names:
        counts = [side[name]["moments"] for side in sides]
        if counts[0] != counts[1]:
            raise RoadloopError(
                f"{name} has {counts[0]} moments in one result and {counts[1]} in the other: "
                "judge both with the same --every"
            )

    def column(side: Mapping[str, Any], measure: str) -> np.ndarray:
        return np.array([_number(side[name]["measures"].get(measure)) for name in names])

    return {
        measure: paired_difference(column(sides[0], measure), column(sides[1], measure), level)
        for measure in MEASURES
    }


def comparison_table(differences: Mapping[str, Difference], level: float = LEVEL) -> Table:
    """A row per measure: A, B, B - A with its interval, pairs, and the verdict.

    A star: also significant where all measures are tested together (Holm).
    """
    tested = {name: d for name, d in differences.items() if d.pairs and not d.note}
    survives = dict(zip(tested, holm([d.p_value for d in tested.values()], level)))
    rows: list[Row] = []
    for name, found in differences.items():
        measure = MEASURES[name]
        verdict = found.note or "no difference shown"
        if found.significant:
            better = (found.mean > 0.0) == measure.higher_is_better
            verdict = ("better" if better else "worse") + (" *" if survives.get(name) else "")
        cells = (
            Cell(found.mean_a, measure.digits),
            Cell(found.mean_b, measure.digits),
            Cell(found.mean, measure.digits, found.low, found.high),
            _count(found.pairs),
            Cell(words=verdict),
        )
        rows.append((measure.title, cells))
    note = (
        f"Means over drives and their paired difference with its {level:.0%} interval; a verdict "
        "needs the interval to leave 0 out and a sign-flip test to agree; * also when all rows are "
        "tested together (Holm)."
    )
    return Table("B against A", note, ("A", "B", "B - A", "drives", "verdict"), tuple(rows))
