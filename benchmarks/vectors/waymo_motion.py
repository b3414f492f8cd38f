"""Our motion prediction measures beside Waymo's, over all scenarios and one by one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from vectors.table import Row, compare

from perception import motion_metrics as ours
from perception.motion_benchmark import WAYMO, MotionBenchmark, MotionPredictions
from roadloop.types import AgentKind, AgentStates, at

SCORE = "Waymo motion"
TOLERANCE = 2e-4  # the reference computes in 32 bits
TERMS = ("min_ade", "min_fde", "miss_rate", "overlap_rate", "mean_average_precision")
# the reference's object types: unset, vehicle, pedestrian, cyclist, other
_KIND = np.array(
    [AgentKind.STATIC, AgentKind.CAR, AgentKind.PEDESTRIAN, AgentKind.CYCLIST, AgentKind.STATIC]
)


def _benchmark(config: str) -> MotionBenchmark:
    """What a MotionMetricsConfig (protobuf's text format) asks for; its defaults are Waymo's."""
    steps = re.findall(r"step_configurations\s*\{([^}]*)\}", config)
    whole = _fields(re.sub(r"step_configurations\s*\{[^}]*\}", "", config))
    each = [_fields(step) for step in steps]
    rate = whole.get("track_steps_per_second", 10.0)

    def limits(side: str, usual: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(step[f"{side}_miss_threshold"] for step in each) or usual

    return MotionBenchmark(
        history=int(whole.get("track_history_samples", WAYMO.history)),
        stride=round(rate / whole.get("prediction_steps_per_second", rate / WAYMO.stride)),
        horizons=tuple(int(step["measurement_step"]) for step in each) or WAYMO.horizons,
        speeds=(
            whole.get("speed_lower_bound", WAYMO.speeds[0]),
            whole.get("speed_upper_bound", WAYMO.speeds[1]),
        ),
        speed_scales=(
            whole.get("speed_scale_lower", WAYMO.speed_scales[0]),
            whole.get("speed_scale_upper", WAYMO.speed_scales[1]),
        ),
        max_modes=int(whole.get("max_predictions", WAYMO.max_modes)),
        lateral_limits=limits("lateral", WAYMO.lateral_limits),
        longitudinal_limits=limits("longitudinal", WAYMO.longitudinal_limits),
    )


def _fields(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"(\w+)\s*:\s*([-+.\w]+)", text)}


def _truth(arrays: Mapping[str, np.ndarray], case: int) -> AgentStates:
    tracks = arrays[f"ground_truth_trajectory_{case}"].astype(np.float64)
    valid = arrays[f"ground_truth_is_valid_{case}"].astype(bool)
    tracks = np.where(valid[..., None], tracks, np.nan_to_num(tracks))
    kind = _KIND[arrays[f"object_type_{case}"]][:, None]
    # scenarios, agents, time -> scenarios, time, agents
    x, y, length, width, heading, vx, vy = np.moveaxis(tracks, (3, 2), (0, 2))
    still = np.zeros_like(x)
    return AgentStates(
        id=np.broadcast_to(np.arange(x.shape[-1]), x.shape),
        kind=np.broadcast_to(kind, x.shape),
        x=x,
        y=y,
        z=still,
        heading=heading,
        vx=vx,
        vy=vy,
        length=length,
        width=width,
        height=still,
        valid=np.moveaxis(valid, 2, 1),
    )


def _predictions(arrays: Mapping[str, np.ndarray], case: int) -> MotionPredictions:
    futures = arrays[f"prediction_trajectory_{case}"].astype(np.float64)
    agent = arrays[f"prediction_ground_truth_indices_{case}"]
    scenarios, groups, members = agent.shape
    mask = arrays.get(f"prediction_ground_truth_indices_mask_{case}", np.ones(agent.shape, bool))
    present = np.asarray(mask, bool).reshape(-1, members)
    futures = futures.reshape(scenarios * groups, *futures.shape[2:])
    rows = np.flatnonzero(present.any(-1))
    return MotionPredictions(
        scenario=np.repeat(np.arange(scenarios), groups)[rows],
        agent=agent.reshape(-1, members)[rows],
        present=present[rows],
        x=futures[rows, ..., 0],
        y=futures[rows, ..., 1],
        score=arrays[f"prediction_score_{case}"].reshape(scenarios * groups, -1)[rows],
    )


def check(folder: Path) -> list[Row]:
    """Two rows per measure: averages over all scenarios, and averages of each."""
    values: dict[str, tuple[list, list]] = {}

    def note(over: str, metrics: ours.MotionMetrics, expected: dict) -> None:
        for term in TERMS:
            mine, theirs = values.setdefault(f"{term}, {over}", ([], []))
            average = getattr(metrics, term)
            # the reference says -1 where no prediction is of the class
            mine.extend(np.where(np.isnan(average), -1.0, average).ravel().tolist())
            theirs.extend(expected[term])

    for path in sorted(folder.glob("expected*.json")):
        inputs = path.with_name(path.name.replace("expected", "inputs")).with_suffix(".npz")
        with np.load(inputs) as arrays:
            data = json.loads(path.read_text(encoding="utf-8"))
            benchmark = _benchmark(data.get("config", ""))
            for case in data["cases"]:
                number = case["case"]
                predictions, truth = _predictions(arrays, number), _truth(arrays, number)
                measured = ours.measure(predictions, truth, benchmark)
                every = ours.summarise(measured, benchmark)
                note("all scenarios", every, case["all_scenarios"])
                for row, expected in enumerate(case.get("per_scenario", [])):
                    own = at(measured, measured.scenario == row)
                    note("each scenario", ours.summarise(own, benchmark), expected)
    return [
        compare(SCORE, term, mine, theirs, TOLERANCE) for term, (mine, theirs) in values.items()
    ]
