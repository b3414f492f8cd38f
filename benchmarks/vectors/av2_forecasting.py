"""Our forecast measures beside Argoverse 2's on synthetic forecasts of agents and of worlds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from vectors.table import Row, compare

from perception import forecast_metrics as ours

SCORE = "Argoverse 2 forecasting"
TOLERANCE = 1e-9  # relative
FLAGS = ("is_missed", "missed_all", "world_misses", "world_collisions")


def _agent(gt: np.ndarray, forecast: np.ndarray, probability: np.ndarray) -> dict:
    return {
        "ade": ours.ade(forecast, gt),
        "fde": ours.fde(forecast, gt),
        "is_missed": ours.missed(forecast, gt),
        "brier_ade": ours.brier_ade(forecast, gt, probability),
        "brier_fde": ours.brier_fde(forecast, gt, probability),
        "brier_fde_normalized": ours.brier_fde(forecast, gt, probability, normalise=True),
        "minADE": ours.min_ade(forecast, gt),
        "minFDE": ours.min_fde(forecast, gt),
        "brier_minFDE": ours.brier_min_fde(forecast, gt, probability),
        "missed_all": ours.missed_by_all(forecast, gt),
    }


def _world(gt: np.ndarray, forecast: np.ndarray, probability: np.ndarray) -> dict:
    return {
        "world_ade": ours.world_ade(forecast, gt),
        "world_fde": ours.world_fde(forecast, gt),
        "world_misses": ours.world_missed(forecast, gt),
        "world_brier_fde": ours.world_brier_fde(forecast, gt, probability),
        "world_collisions": ours.world_collisions(forecast),
    }


def check(folder: Path) -> list[Row]:
    """One row per measure, over all modes of all cases."""
    values: dict[str, tuple[list, list]] = {}
    for path in sorted(folder.glob("expected*.json")):
        with np.load(
            path.with_name(path.name.replace("expected", "inputs")).with_suffix(".npz")
        ) as arrays:
            for case in json.loads(path.read_text(encoding="utf-8")):
                prefix, i = ("world_", case["world"]) if "world" in case else ("", case["i"])
                judge = _world if prefix else _agent
                inputs = (arrays[f"{prefix}{name}_{i}"] for name in ("gt", "forecast", "prob"))
                for term, value in judge(*inputs).items():
                    mine, theirs = values.setdefault(term, ([], []))
                    mine.extend(np.ravel(value).tolist())
                    theirs.extend(np.ravel(case[term]).tolist())
    return [
        compare(SCORE, term, mine, theirs, 0.0 if term in FLAGS else TOLERANCE, relative=True)
        for term, (mine, theirs) in values.items()
    ]
