"""PDM score and extended PDM score against NAVSIM 1.1 and 2.2: tests/vectors/navsim."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.vectors.table import Row, compare
from roadloop.scoring import navsim_comfort as comfort
from roadloop.scoring.navsim import pdm_scores_v1, pdm_scores_v2
from roadloop.scoring.navsim_aggregate import Stages, follow_up_weights, two_stage_scores
from roadloop.scoring.navsim_motion import Motion
from roadloop.scoring.navsim_scene import (
    OBSERVED,
    PdmScene,
    past_states,
    reference_poses,
    without_overlapping_agents,
)
from roadloop.scoring.navsim_scores import PdmScoresV1, PdmScoresV2, forgive_human, pdm_score_v2
from roadloop.scoring.pdm_tracker import curvature_profile, simulate_proposals, speed_profile
from roadloop.types import AgentKind, AgentStates

Array = np.ndarray

_KINDS = {
    "VEHICLE": AgentKind.CAR,
    "PEDESTRIAN": AgentKind.PEDESTRIAN,
    "BICYCLE": AgentKind.CYCLIST,
}
"""every other type is a thing"""
_DRIVABLE = ("ROADBLOCK", "INTERSECTION", "DRIVABLE_AREA", "CARPARK_AREA")
_EXACT = {
    "no_at_fault_collisions": "no_at_fault_collisions",
    "drivable_area_compliance": "drivable_area_compliance",
    "driving_direction_compliance": "driving_direction_compliance",
    "time_to_collision": "time_to_collision",
    "time_idx_at_fault": "first_at_fault",
    "time_idx_ttc": "first_ttc",
}
_EXACT_V1 = {**_EXACT, "comfort": "comfort"}
_EXACT_V2 = {
    **_EXACT,
    "traffic_light_compliance": "traffic_light_compliance",
    "lane_keeping": "lane_keeping",
    "history_comfort": "history_comfort",
}
_CLOSE = {"progress_raw": "progress_raw", "ego_progress": "ego_progress", "final_score": "score"}
_V1, _V2 = "navsim 1.1", "navsim 2.2"
_SCORE_TERMS = (
    "no_at_fault_collisions", "drivable_area_compliance", "driving_direction_compliance",
    "traffic_light_compliance", "ego_progress", "time_to_collision_within_bound", "lane_keeping",
    "history_comfort",
)  # fmt: skip


class _Collected:
    """Values of many files by (score, term), compared once at the end."""

    def __init__(self) -> None:
        self.pairs: dict[tuple[str, str, float], list] = defaultdict(list)

    def add(self, score: str, term: str, ours: Any, theirs: Any, tolerance: float = 0.0) -> None:
        ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        if ours.shape != theirs.shape:
            raise ValueError(f"{score} {term}: our shape {ours.shape}, theirs {theirs.shape}")
        self.pairs[score, term, tolerance].append((ours.ravel(), theirs.ravel()))

    def rows(self) -> list[Row]:
        return [
            compare(score, term, *(np.concatenate(side) for side in zip(*pairs)), tolerance)
            for (score, term, tolerance), pairs in self.pairs.items()
        ]


def check(folder: Path) -> list[Row]:
    """Every file of the family that is there, our values against the reference's."""
    found = _Collected()
    scenes = {}
    for path in sorted(folder.glob("scene_*.json")):
        scenes[path.stem] = _check_scene(folder, path.stem, found)
    if (folder / "edge_cases.json").exists():
        _check_edge_cases(folder, found)
    if (folder / "full_pipeline_v2.json").exists():
        _check_pipeline(folder, scenes, found)
    if (folder / "extended_comfort.npz").exists():
        _check_extended_comfort(folder, found)
    if (folder / "comfort_signals_v2.npz").exists():
        _check_comfort_signals(folder, found)
    if (folder / "aggregation_v2.json").exists():
        _check_aggregation(folder, found)
    return found.rows()


def _polygons(given: list[dict], *types: str) -> tuple[list[str], Array]:
    import shapely

    chosen = [part for part in given if part["type"] in types]
    polygons = np.empty(len(chosen), dtype=object)
    polygons[:] = [shapely.Polygon(part["polygon"]) for part in chosen]
    return [part["token"] for part in chosen], polygons


def _agents(types: list[str], sizes: Array, states: Array) -> AgentStates:
    """(51, N) from sizes (N, 2) and states (N, 51, 5); NaN where there is nobody."""
    shape = (states.shape[1], len(types))
    x, y, heading, vx, vy = (
        np.moveaxis(states, (2, 1), (0, 1)) if len(types) else np.zeros((5, *shape))
    )
    kinds = np.array([_KINDS.get(t, AgentKind.STATIC) for t in types], np.uint8)
    zero, sizes = np.zeros(shape), sizes.reshape(-1, 2)
    length, width = np.broadcast_to(sizes[:, 0], shape), np.broadcast_to(sizes[:, 1], shape)
    return AgentStates(
        id=np.broadcast_to(np.arange(len(types)), shape), kind=np.broadcast_to(kinds, shape),
        x=x, y=y, z=zero, heading=heading, vx=vx, vy=vy,
        length=length, width=width, height=zero, valid=np.isfinite(x),
    )  # fmt: skip


def _scene(given: dict, agents: AgentStates, start: Array, red: dict[str, list[int]]) -> PdmScene:
    tokens, lanes = _polygons(given["map"], "LANE", "LANE_CONNECTOR")
    reds = np.zeros((len(agents.x), len(tokens)), dtype=bool)
    for token, steps in red.items():
        if token in tokens:
            reds[[k for k in steps if k < len(reds)], tokens.index(token)] = True
    return PdmScene(
        lane_polygon=lanes,
        lane_on_route=np.isin(tokens, given["route_lane_ids"]),
        drivable=_polygons(given["map"], *_DRIVABLE)[1],
        intersections=_polygons(given["map"], "INTERSECTION")[1],
        centreline=np.array(given["centerline"])[:, :2],
        start=start,
        agents=agents,
        red=reds,
    )


def _check_scene(folder: Path, name: str, found: _Collected) -> tuple[PdmScene, Array]:
    """Compare one scene; returns it with the planner's proposal, for the pipeline."""
    given = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    states = np.full((len(given["agents"]), given.get("num_obs", OBSERVED), 5), np.nan)
    for row, agent in zip(states, given["agents"]):
        row[agent["index"]] = np.array(agent["states"]).reshape(-1, 5)
    sizes = np.array([(a["length"], a["width"]) for a in given["agents"]])
    agents = _agents([a["type"] for a in given["agents"]], sizes, states)
    start, history = np.array(given["ego_initial"]), np.array(given["ego_past"])
    past = past_states(history[:, 0], history[:, 1:])
    scene = replace(_scene(given, agents, start, given["red_lights"]), past=past)

    proposals = np.load(folder / f"{name}_proposals.npz")["proposals"]
    simulated = np.load(folder / f"{name}_states.npz")["states"]
    driven = simulate_proposals(start, proposals, scene.vehicle)
    found.add("navsim tracker", "states", driven, simulated, 1e-5)
    expected = dict(np.load(folder / f"{name}_expected_v2.npz"))
    fitted = len(expected["lqr_velocity_profile"])
    speed = speed_profile(proposals[:fitted], 0.1)
    curvature = curvature_profile(proposals[:fitted], speed, 0.1)
    found.add("navsim tracker", "speed profile", speed, expected["lqr_velocity_profile"], 1e-5)
    found.add(
        "navsim tracker", "curvature profile", curvature, expected["lqr_curvature_profile"], 1e-5
    )
    found.add(_V2, "past states", past, expected["history_states_interpolated"], 1e-9)
    within = comfort.within_bounds(
        comfort.comfort_signals_v2(simulated, scene.vehicle.centre_offset)
    )
    found.add(_V2, "comfort without a past", within, expected["comfort_components_no_history"])
    for chain, rows in (("", simulated), (" from proposals", driven)):
        scores = pdm_scores_v2(scene, rows)
        _add_scores(found, _V2 + chain, scores, expected, _EXACT_V2)
        found.add(
            _V2 + chain, "history comfort components",
            scores.history_comfort_components, expected["history_comfort_components"],
        )  # fmt: skip
        _add_pairs(found, _V2 + chain, pdm_scores_v2(scene, rows, pairwise=True), expected)
    _add_motion(found, _V2, scene, simulated, expected)

    expected = dict(np.load(folder / f"{name}_expected_v1.npz"))
    for chain, rows in (("", simulated), (" from proposals", driven)):
        scores = pdm_scores_v1(scene, rows)
        _add_scores(found, _V1 + chain, scores, expected, _EXACT_V1)
        found.add(
            _V1 + chain, "comfort components",
            scores.comfort_components, expected["comfort_components"],
        )  # fmt: skip
        _add_pairs(found, _V1 + chain, pdm_scores_v1(scene, rows, pairwise=True), expected)
    _add_motion(found, _V1, scene, simulated, expected)
    return scene, proposals[0]


def _add_scores(
    found: _Collected,
    score: str,
    scores: PdmScoresV1 | PdmScoresV2,
    expected: dict[str, Array],
    exact: dict[str, str],
) -> None:
    for theirs, ours in exact.items():
        found.add(score, ours.replace("_", " "), getattr(scores, ours), expected[theirs])
    for theirs, ours in _CLOSE.items():
        found.add(score, ours.replace("_", " "), getattr(scores, ours), expected[theirs], 1e-6)


def _add_pairs(
    found: _Collected, score: str, scores: PdmScoresV1 | PdmScoresV2, expected: dict[str, Array]
) -> None:
    progress, final = expected["pair_ego_progress"][1:], expected["pair_final_score"][1:]
    found.add(score, "pairwise progress", scores.ego_progress[1:], progress, 1e-6)
    found.add(score, "pairwise score", scores.score[1:], final, 1e-6)


def _add_motion(
    found: _Collected, score: str, scene: PdmScene, states: Array, expected: dict[str, Array]
) -> None:
    motion = Motion(scene, states)
    flags = np.stack([motion.multi_lane, motion.off_drivable, motion.oncoming], axis=-1)
    found.add(score, "area flags", flags, expected["ego_areas"])
    points = np.concatenate([motion.corners[:, 0], motion.centre[:, :1]], axis=1)
    found.add(score, "corners and centre", points, expected["ego_coords_t0"], 1e-9)


def _check_edge_cases(folder: Path, found: _Collected) -> None:
    given = json.loads((folder / "edge_cases.json").read_text(encoding="utf-8"))
    inputs = np.load(folder / "edge_cases_inputs.npz")
    expected_v1 = dict(np.load(folder / "edge_cases_expected_v1.npz"))
    expected_v2 = dict(np.load(folder / "edge_cases_expected_v2.npz"))
    for k, case in enumerate(given["cases"]):
        count = len(case["agents"])
        sizes = np.array([(a["length"], a["width"]) for a in case["agents"]])
        agents = _agents(
            [a["type"] for a in case["agents"]], sizes, inputs["agent_states"][k, :count]
        )
        states = inputs["states"][k]
        scene = _scene(given["maps"][case["map"]], agents, states[0, 0], {})
        v1, v2 = pdm_scores_v1(scene, states), pdm_scores_v2(scene, states)
        row_v1 = {name: values[k] for name, values in expected_v1.items()}
        row_v2 = {name: values[k] for name, values in expected_v2.items()}
        _add_scores(found, f"{_V1} edge cases", v1, row_v1, _EXACT_V1)
        _add_scores(found, f"{_V2} edge cases", v2, row_v2, _EXACT_V2)


def _check_pipeline(
    folder: Path, scenes: dict[str, tuple[PdmScene, Array]], found: _Collected
) -> None:
    """Poses of an agent to scores: interpolation, tracker, filter by the human's scores."""
    given = json.loads((folder / "full_pipeline_v2.json").read_text(encoding="utf-8"))
    arrays = np.load(folder / "full_pipeline_v2.npz")
    for case in given["cases"]:
        scene, planner = scenes[case["scene"]]
        scene = without_overlapping_agents(scene)
        poses = np.array([case["agent_poses_2hz"], case["human_poses_2hz"]])
        agent, human = reference_poses(scene.start, poses)
        proposals = np.stack([planner, agent, human])
        states = simulate_proposals(scene.start, proposals, scene.vehicle)
        scores = pdm_scores_v2(scene, states[:2])
        name = f"{_V2} pipeline"
        if case["human_penalty_filter"]:
            name += " with filter"
            scores = forgive_human(scores, pdm_scores_v2(replace(scene, past=None), states[2:]))
        key = case["arrays_key"]
        found.add(name, "reference poses", agent, arrays[f"{key}_ref"], 1e-5)
        found.add(name, "states", states[1], arrays[f"{key}_sim"], 1e-5)
        result = case["result"]
        for theirs in _SCORE_TERMS:
            ours = theirs.replace("_within_bound", "")
            tolerance = 2e-4 if theirs == "ego_progress" else 0.0
            found.add(name, ours.replace("_", " "), getattr(scores, ours)[1:],
                      [result[theirs]], tolerance)  # fmt: skip
        gate = [result["multiplicative_metrics_prod"]]
        found.add(name, "multiplier", scores.multiplier[1:], gate)
        weighted = np.stack(
            [scores.ego_progress, scores.time_to_collision, scores.lane_keeping,
             scores.history_comfort]
        )[:, 1]  # fmt: skip
        found.add(name, "weighted terms", weighted, result["weighted_metrics"][:4], 2e-4)
        if not case["human_penalty_filter"]:  # with the filter theirs is that of before
            found.add(name, "score", scores.score[1:], [result["pdm_score"]], 2e-4)


def _check_extended_comfort(folder: Path, found: _Collected) -> None:
    given = np.load(folder / "extended_comfort.npz")
    current, previous = given["current_overlap"], given["previous_overlap"]
    rms = comfort.extended_comfort_rms(current, previous)
    name = f"{_V2} extended comfort"
    for column, (title, theirs) in enumerate(
        (("acceleration", "acceleration"), ("jerk", "jerk"), ("yaw rate", "yaw_rate"),
         ("yaw acceleration", "yaw_accel"))
    ):  # fmt: skip
        found.add(name, f"rms {title}", rms[:, column], given[f"rms_{theirs}"], 1e-7)
        for frame, states in (("current", current), ("previous", previous)):
            key = next(k for k in given.files if k.startswith(f"feat_{frame}_{theirs}_first"))
            features = comfort.extended_comfort_features(states[: len(given[key])])
            found.add(name, f"{title} signal", features[..., column], given[key], 1e-7)
    found.add(name, "value", comfort.extended_comfort(current, previous), given["extended_comfort"])


def _check_comfort_signals(folder: Path, found: _Collected) -> None:
    given = np.load(folder / "comfort_signals_v2.npz")
    keys = ("lon_acc", "lat_acc", "mag_jerk", "lon_jerk", "yaw_acc", "yaw_rate")
    name = f"{_V2} comfort signals"
    for k in range(len(given["components"])):
        states = given[f"states_{k}"]
        signals = comfort.comfort_signals_v2(states, 1.461)
        for column, (title, key) in enumerate(zip(comfort.SIGNALS, keys)):
            found.add(name, title, signals[:, column], given[f"{key}_{k}"], 1e-7)
        magnitude = comfort.acceleration_magnitude(states)
        found.add(name, "acceleration magnitude", magnitude, given[f"mag_acc_{k}"], 1e-7)
        found.add(name, "components", comfort.within_bounds(signals), given["components"][k])


def _check_aggregation(folder: Path, found: _Collected) -> None:
    given = json.loads((folder / "aggregation_v2.json").read_text(encoding="utf-8"))
    name = f"{_V2} aggregation"
    for case in given["pseudo_closed_loop_weights"]["cases"]:
        weights = follow_up_weights(
            np.array(case["first_stage_endpoint"]), np.array(case["second_stage_start_points"])
        )
        found.add(name, "follow-up weights", weights, case["weights"], 1e-9)
    columns = (*_SCORE_TERMS, "two_frame_extended_comfort", "score")
    for case in given["final"]:
        rows = case["rows"]
        weighted = np.array([row["weighted_metrics"] for row in rows]).T[:4]
        gate = np.array([row["multiplicative_metrics_prod"] for row in rows])
        extended = np.array([row["two_frame_extended_comfort"] for row in rows], np.float64)
        score = pdm_score_v2(gate, *weighted, extended)
        theirs = [case["per_token_score"][row["token"]] for row in rows]
        found.add(name, "score of a frame", score, theirs, 1e-9)
        known = np.array(case["one_stage_ec"], dtype=np.float64)
        found.add(name, "score of one stage", pdm_score_v2(gate, *weighted, known),
                  case["one_stage_scores"], 1e-9)  # fmt: skip
        values = {
            row["token"]: np.array([*(row[c] for c in columns[:-1]), total], np.float64)
            for row, total in zip(rows, score)
        }
        weights = {row["token"]: row["weight"] for row in rows}
        frames = [tuple(_frame(values, weights, *entry)) for entry in case["mapping"]]
        combined = two_stage_scores(frames)
        for title, ours, key in (
            ("first stage", combined.first, "stage1"), ("second stage", combined.second, "stage2"),
            ("both stages", combined.combined, "combined"),
        ):  # fmt: skip
            found.add(name, title, ours, [case[key][column] for column in columns], 1e-9)


def _frame(
    values: dict[str, Array], weights: dict[str, float], frame: list[str], follow_ups: list
) -> Iterator[Stages]:
    for first, tokens in zip(frame, zip(*follow_ups)):
        yield Stages(
            values[first],
            np.array([values[token] for token in tokens]),
            np.array([weights[token] for token in tokens]),
        )
