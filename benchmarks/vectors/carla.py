"""CARLA leaderboard 2.0 and 2.1 and Bench2Drive against the outputs of their own code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from vectors.table import Row, compare

from roadloop.scoring.bench2drive import bench2drive_results, comfort_share, efficiency
from roadloop.scoring.carla import (
    PERCENTAGE,
    CampaignScore,
    Infraction,
    InfractionKind,
    RouteRecord,
    RouteScore,
    campaign_score,
    route_score,
)

VERSIONS = {"lb20": "2.0", "lb21": "2.1", "master": "2.0", "bench2drive": "bench2drive"}
"""File names of the versions of ``roadloop.scoring.carla``; branch master scores as 2.0 does"""
RELATIVE = 1e-9


def check(folder: Path) -> list[Row]:
    """One row per score and term; ``folder`` holds the files of the carla family."""
    rows: list[Row] = []
    for path in sorted(folder.glob("driving_score_*.json")):
        version = VERSIONS[path.stem.removeprefix("driving_score_")]
        rows += _driving_score(version, json.loads(path.read_text()))
    for path in sorted(folder.glob("bench2drive_aggregate*.json")):
        inputs = path.with_name(path.name.replace("aggregate", "comfort_inputs"))
        arrays: dict[str, np.ndarray] = {}
        if inputs.with_suffix(".npz").exists():
            with np.load(inputs.with_suffix(".npz")) as loaded:
                arrays = dict(loaded)
        rows += _bench2drive(json.loads(path.read_text()), arrays)
    return [row for row in rows if row.cases]  # a list that is empty holds nothing to compare


def _driving_score(version: str, campaigns: list[dict[str, Any]]) -> list[Row]:
    name = version if version == "bench2drive" else f"carla-{version}"
    ours: list[RouteScore] = []
    theirs: list[dict[str, Any]] = []
    totals: list[tuple[CampaignScore, dict[str, Any]]] = []
    for campaign in campaigns:
        scores = [route_score(_record(route), version) for route in campaign["routes"]]
        ours += scores
        theirs += [route["expected"] for route in campaign["routes"]]
        totals.append((campaign_score(scores), campaign["expected_global"]))

    def routes(term: str, mine: list, field: str, tolerance: float) -> Row:
        other = [expected[field] for expected in theirs]
        return compare(name, term, mine, other, tolerance, relative=True)

    rows = [
        routes("route completion", [s.completion for s in ours], "score_route", RELATIVE),
        routes("infraction penalty", [s.penalty for s in ours], "score_penalty", RELATIVE),
        routes("driving score", [s.driving_score for s in ours], "score_composed", RELATIVE),
        routes("route length", [s.length for s in ours], "route_length", RELATIVE),
        routes("infractions", [len(s.infractions) for s in ours], "num_infractions", 0.0),
        routes("route status", [s.status for s in ours], "status", 0.0),
    ]

    def campaign_row(term: str, mine: list, other: list, tolerance: float = RELATIVE) -> Row:
        return compare(name, f"campaign: {term}", mine, other, tolerance, relative=True)

    mean = [(t.driving_score, t.completion, t.penalty) for t, _ in totals]
    std = [(t.driving_score_std, t.completion_std, t.penalty_std) for t, _ in totals]
    fields = ("score_composed", "score_route", "score_penalty")
    per_km = [
        (t.infractions_per_km[InfractionKind(column)], value)
        for t, expected in totals
        for column, value in expected["infractions_per_km"].items()
    ]
    table = [row for t, _ in totals for row in t.table()]
    return [
        *rows,
        campaign_row(
            "means", _flat(mean), [e["scores_mean"][field] for _, e in totals for field in fields]
        ),
        campaign_row(
            "deviations",
            _flat(std),
            [e["scores_std_dev"][field] for _, e in totals for field in fields],
        ),
        campaign_row("infractions per km", [p[0] for p in per_km], [p[1] for p in per_km]),
        campaign_row("status", [t.status for t, _ in totals], [e["status"] for _, e in totals], 0),
        campaign_row(
            "table labels",
            [label for label, _ in table],
            [label for _, e in totals for label in e["labels"]],
            0,
        ),
        campaign_row(
            "table figures",
            [value for _, value in table],
            [float(value) for _, e in totals for value in e["values"]],
        ),
    ]


def _record(route: dict[str, Any]) -> RouteRecord:
    driven = route["route_length"] * route["route_completed"] / 100
    infractions = []
    for event in route["events"]:
        kind = InfractionKind.__members__.get(event["type"])
        if kind is None:  # others carry no penalty
            continue
        share = event["percentage"] if kind in PERCENTAGE else None
        outside = kind is InfractionKind.OUTSIDE_ROUTE_LANES_INFRACTION
        metres = driven * share / 100 if outside and share is not None else None
        infractions.append(Infraction(kind, share, metres))
    if route["route_timeout"]:
        infractions.append(Infraction(InfractionKind.ROUTE_TIMEOUT))
    return RouteRecord(route["route_length"], route["route_completed"], tuple(infractions))


def _bench2drive(data: dict[str, Any], arrays: dict[str, np.ndarray]) -> list[Row]:
    expected = data["expected"]
    scores = [_stored_score(record) for record in data["records"]]
    numbers = sorted(int(key.rsplit("_", 1)[1]) for key in arrays if key.startswith("accel"))
    comfort = [
        comfort_share(
            arrays[f"acceleration_{k}"],
            arrays[f"angular_velocity_{k}"],
            arrays[f"forward_vector_{k}"],
            arrays[f"right_vector_{k}"],
        )
        for k in numbers
    ]
    result = bench2drive_results(scores, comfort)
    order = sorted(range(len(scores)), key=lambda k: data["records"][k]["route_id"], reverse=True)
    per_route = [value for k in order if (value := efficiency(scores[k])) is not None]

    def row(term: str, mine: Any, other: Any) -> Row:
        return compare(
            "bench2drive", term, np.atleast_1d(mine), np.atleast_1d(other), RELATIVE, relative=True
        )

    rows = [
        row("suite: driving score", result.driving_score, expected["driving_score"]),
        row("suite: success rate", result.success_rate, expected["success_rate"]),
        row("suite: routes", len(scores), expected["eval_num"]),
        row("efficiency per route", per_route, expected["driving_efficiency_per_route"]),
        row("suite: efficiency", result.efficiency, expected["driving_efficiency"]),
    ]
    for key, value in expected.items():  # the names say of which records, e.g. _0_39
        if key.startswith("comfort_per_record"):
            rows.append(row("comfort per route", comfort, value))
        elif key.startswith("comfort_mean"):
            rows.append(row("suite: comfort", result.comfort, value))
    return rows


def _stored_score(record: dict[str, Any]) -> RouteScore:
    """A route's score as Bench2Drive stores it; percentages stand in the infractions' messages."""
    infractions = []
    for column, messages in record["infractions"].items():
        kind = InfractionKind(column)
        for message in messages:
            number = re.search(r"(\d+\.?\d*)%", message) if kind in PERCENTAGE else None
            infractions.append(Infraction(kind, float(number[1]) if number else None))
    scores = record["scores"]
    return RouteScore(
        completion=scores["score_route"],
        penalty=scores["score_penalty"],
        driving_score=scores["score_composed"],
        status=record["status"],
        length=0.0,  # not stored
        infractions=tuple(infractions),
    )


def _flat(rows: list[tuple[float, ...]]) -> list[float]:
    return [value for row in rows for value in row]
