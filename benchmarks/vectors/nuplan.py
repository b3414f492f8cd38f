"""Our nuPlan score beside nuPlan's on synthetic drives: every metric and what it is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from vectors.table import Row, compare

from roadloop.scoring.area_map import AreaMap
from roadloop.scoring.collision import ContactKind
from roadloop.scoring.comfort import broken_bounds, comfort_signals
from roadloop.scoring.nuplan import METRICS, ClosedLoop, closed_loop, closed_loop_score
from roadloop.scoring.nuplan import collision_group as group_of
from roadloop.scoring.nuplan_lanes import OnLanes, driven_route
from roadloop.scoring.nuplan_progress import (
    progress_along_chain,
    progress_along_lane,
    progress_within_window,
    route_chain,
)
from roadloop.types import AgentKind, AgentStates, EgoState, VehicleParameters

Array = np.ndarray

SCORE = "nuPlan"
VEHICLE = VehicleParameters(5.176, 2.297, 1.777, wheelbase=3.089, rear_overhang=1.127)
KINDS = {
    "VEHICLE": AgentKind.CAR,
    "PEDESTRIAN": AgentKind.PEDESTRIAN,
    "BICYCLE": AgentKind.CYCLIST,
    "TRAFFIC_CONE": AgentKind.STATIC,
    "BARRIER": AgentKind.STATIC,
    "CZONE_SIGN": AgentKind.STATIC,
    "GENERIC_OBJECT": AgentKind.STATIC,
}
CONTACTS = {
    ContactKind.EGO_STOPPED: "STOPPED_EGO_COLLISION",
    ContactKind.AGENT_STOPPED: "STOPPED_TRACK_COLLISION",
    ContactKind.REAR: "ACTIVE_REAR_COLLISION",
    ContactKind.FRONT: "ACTIVE_FRONT_COLLISION",
    ContactKind.SIDE: "ACTIVE_LATERAL_COLLISION",
}
SIGNALS = {
    "ego_lon_acceleration_metric": "longitudinal acceleration",
    "ego_lat_acceleration_metric": "lateral acceleration",
    "ego_jerk_metric": "jerk",
    "ego_lon_jerk_metric": "longitudinal jerk",
    "ego_yaw_acceleration_metric": "yaw acceleration",
    "ego_yaw_rate_metric": "yaw rate",
}
CONTINUOUS = (
    "ego_progress_along_expert_route",
    "speed_limit_compliance",
    "final_score",
    "final_score of given metrics",
)
GROUPS = {"VRUs": "vulnerable road users", "vehicles": "vehicles", "objects": "objects"}


def check(folder: Path) -> list[Row]:
    """One row per output, over all cases of all files of the folder."""
    ours: dict[str, list] = {}
    theirs: dict[str, list] = {}

    def note(term: str, mine: Any, other: Any) -> None:
        ours.setdefault(term, []).extend(mine)
        theirs.setdefault(term, []).extend(other)

    for case, area_map, ego, expert, agents, expected in _cases(folder):
        _compare_case(case, _Judged(area_map, ego, expert, agents), expected, note)
    for path in sorted(folder.glob("aggregation*.json")):
        for entry in json.loads(path.read_text(encoding="utf-8")):
            mine = closed_loop_score(entry["scores"])
            note("final_score of given metrics", [mine], [entry["final_score"]])
    return [
        compare(SCORE, term, mine, theirs[term], _tolerance(term), relative=True)
        for term, mine in ours.items()
    ]


def _tolerance(term: str) -> float:
    if term.startswith("signal "):
        return 1e-7
    if term in CONTINUOUS:
        return 1e-6
    exact = (*METRICS, "fully in one lane", "corners in drivable area")
    return 0.0 if term in exact or term.startswith("within bound") else 1e-9


class _Judged:
    """One case as our functions see it."""

    def __init__(self, area_map: AreaMap, ego: Array, expert: Array, agents: list[tuple]) -> None:
        self.on_lanes = OnLanes(_ego(ego), area_map)
        self.signals = comfort_signals(
            ego[:, 5], ego[:, 6], ego[:, 2], ego[:, 9], ego[:, 10], VEHICLE.centre_offset, 0.1
        )
        along = progress_along_lane(area_map, self.on_lanes.centre, self.on_lanes.route)
        self.window = progress_within_window(along, 0.1)
        expert_path = np.stack(_ego(expert).box_centre(), axis=-1)
        chain = route_chain(area_map, driven_route(area_map, expert_path))
        self.progress, self.expert = np.zeros(len(ego)), None
        if chain.baseline:
            self.progress = progress_along_chain(chain, self.on_lanes.centre)
            self.expert = float(progress_along_chain(chain, expert_path).sum())
        states = _agents(agents, len(ego))
        self.tokens = [token for token, *_ in agents]
        self.result: ClosedLoop = closed_loop(
            self.on_lanes, states, self.signals, along, float(self.progress.sum()), self.expert, 0.1
        )


def _compare_case(case: dict, judged: _Judged, expected: Mapping[str, Array], note: Any) -> None:
    result, on_lanes = judged.result, judged.on_lanes
    ids = on_lanes.area_map.lane_id
    route = [tuple(str(ids[lane]) for lane in lanes) for lanes in on_lanes.route]
    note("driven route", route, [tuple(lanes) for lanes in _unrolled(case["ego_driven_route"])])
    note("fully in one lane", on_lanes.in_lane(), _unrolled(case["fully_in_one_lane"]))

    met = {
        (entry["time_index"], token): (track["type"], track["delta_v"])
        for entry in case["collisions"]
        for token, track in entry["tracks"].items()
    }
    mine = {
        (hit.step, judged.tokens[hit.agent]): (CONTACTS[hit.kind], 0.5 * hit.speed)
        for hit in result.hits
    }
    note(
        "collisions",
        [tuple((*at, kind) for at, (kind, _) in sorted(mine.items()))],
        [tuple((*at, kind) for at, (kind, _) in sorted(met.items()))],
    )
    note(
        "collision speed change",
        *([v[at][1] for at in sorted(met) if at in v] for v in (mine, met)),
    )
    at_fault = tuple(sorted({hit.step for hit in result.hits if hit.at_fault}))
    note("at-fault steps", [at_fault], [tuple(case["at_fault_time_indices"])])

    inside = (on_lanes.corners_outside == 0.0).all(axis=1)
    note("corners in drivable area", inside, expected["corners_in_drivable"])
    note("time to collision", result.ttc, expected["ttc"])
    note("progress in 1 s along lane", judged.window, expected["progress_1s"])
    for name, series in (("progress", judged.progress), ("overspeed", result.over)):
        if name in expected:
            note(name, series, expected[name])
    broken = broken_bounds(judged.signals)
    for name, signal in SIGNALS.items():
        if name in expected:
            note(f"signal {signal}", judged.signals[signal], expected[name])
        kept = case["comfort_within_bound"][name]
        note(f"within bound: {signal}", [not broken[signal].any()], [kept])
    for name in METRICS:
        note(name, [result.metrics[name]], [case["scores"][name]])
    note("final_score", [result.value], [case["final_score"]])
    for group, values in case.get("statistics", {}).items():
        for name, value in values.items():
            if (found := _statistic(name, judged)) is not None:
                note(f"{group}: {name}", [found], [value])


def _statistic(name: str, judged: _Judged) -> float | None:
    """A statistic of nuPlan's by its name, None where we know none of that name."""
    result = judged.result
    faults = [(group_of(hit.agent_kind), 0.5 * hit.speed) for hit in result.hits if hit.at_fault]
    if name.startswith("number_of_at_fault_collisions_with_"):
        group = GROUPS[name.removeprefix("number_of_at_fault_collisions_with_")]
        return [other for other, _ in faults].count(group)
    what, _, group = name.partition("_collision_energy_with_")
    if group:
        return _summary(what, [energy for other, energy in faults if other == GROUPS[group]])
    what, _, of_metric = name.partition("_violation_of_")
    runs = _overspeed_runs(result.over)
    if of_metric:
        spans = [span for _, span in runs] if what == "mean" else None
        inner = np.mean if what == "mean" else np.max
        return _summary(what, [float(inner(values)) for values, _ in runs], spans)
    return {
        "no_ego_at_fault_collisions": float(not faults),
        "number_of_all_at_fault_collisions": float(len(faults)),
        "drivable_area_compliance": result.metrics["drivable_area_compliance"],
        "driving_direction_compliance_score": result.metrics["driving_direction_compliance"],
        "min_progress_along_driving_direction_in_1_second_interval": -abs(judged.window.min()),
        "min_time_to_collision": float(result.ttc.min()),
        "time_to_collision_within_bound": result.metrics["time_to_collision_within_bound"],
        "expert_total_progress_along_route": judged.expert or 0.0,
        "ego_total_progress_along_route": float(judged.progress.sum()),
        "ego_expert_progress_along_route_ratio": result.metrics["ego_progress_along_expert_route"],
        "ego_is_making_progress": result.metrics["ego_is_making_progress"],
        "number_of_violations_of_speed_limit_compliance": float(len(runs)),
        "speed_limit_compliance": float(not runs),
        "ego_is_comfortable": result.metrics["ego_is_comfortable"],
    }.get(name)


def _summary(what: str, values: list[float], weights: list[int] | None = None) -> float:
    """The ``max``, ``min`` or (weighted) ``mean``, NaN of nothing."""
    if not values or (weights is not None and not sum(weights)):
        return np.nan
    if what == "mean":
        return float(np.average(values, weights=weights))
    return max(values) if what == "max" else min(values)


def _overspeed_runs(over: Array) -> list[tuple[Array, int]]:
    """Excess of every stretch above the limit, and the steps until it ended or the drive did."""
    edges = np.flatnonzero(np.diff(over > 0.0, prepend=False, append=False)).tolist()
    stretches = zip(edges[::2], edges[1::2])
    return [(over[first:end], min(end, len(over) - 1) - first) for first, end in stretches]


def _cases(folder: Path) -> Iterator[tuple]:
    """Every case: its JSON, map, states of ego and expert (time, 11), agents, expected series."""
    for path in sorted(folder.glob("closed_loop_cases*.json")):
        signals = path.with_name(path.name.replace("_cases", "_signals")).with_suffix(".npz")
        with np.load(signals) as file:
            arrays = dict(file)
        for case in json.loads(path.read_text(encoding="utf-8"))["cases"]:
            tail = f"_{case['index']}"
            expected = {n.removesuffix(tail): v for n, v in arrays.items() if n.endswith(tail)}
            agents = [
                (agent["token"], agent, agent["index"][0], arrays[f"agent{tail}_{agent['token']}"])
                for agent in case["agents"]
            ]
            area_map = _area_map(case["map"])
            yield case, area_map, expected["ego"], expected["expert"], agents, expected
    for path in sorted(folder.glob("edge_cases*.json")):
        with np.load(path.with_name(path.stem + "_signals.npz")) as file:
            arrays = dict(file)
        data = json.loads(path.read_text(encoding="utf-8"))
        maps = {name: _area_map(area) for name, area in data["maps"].items()}
        for k, case in enumerate(data["cases"]):
            expected = {name: values[k] for name, values in arrays.items()}
            agents = [
                (f"a{i}", agent, 0, expected["agents"][i]) for i, agent in enumerate(case["agents"])
            ]
            area_map = maps[case["map"]]
            yield case, area_map, expected["ego"], expected["expert"], agents, expected


def _ego(rows: Array) -> EgoState:
    x, y, heading, v_lon, v_lat, a_lon, _, steering, _, yaw_rate, _ = rows.T
    speed = np.hypot(v_lon, v_lat)
    return EgoState(x, y, np.zeros(len(x)), heading, speed, a_lon, steering, yaw_rate, VEHICLE)


def _agents(agents: list[tuple], steps: int) -> AgentStates:
    """(time, agents) of (token, size and type, first step, rows x, y, heading, vx, vy)."""
    states = np.zeros((steps, len(agents), 5))
    valid = np.zeros((steps, len(agents)), dtype=bool)
    for column, (_, _, first, rows) in enumerate(agents):
        present = np.isfinite(rows).all(axis=1)
        at = first + np.flatnonzero(present)
        states[at, column], valid[at, column] = rows[present], True

    def per_agent(values: list, dtype: Any = np.float64) -> Array:
        return np.broadcast_to(np.array(values, dtype=dtype), valid.shape)

    given = [agent for _, agent, *_ in agents]
    return AgentStates(
        id=per_agent(list(range(len(agents))), np.int64),
        kind=per_agent([KINDS[agent["type"]] for agent in given], np.uint8),
        x=states[..., 0],
        y=states[..., 1],
        z=np.zeros(valid.shape),
        heading=states[..., 2],
        vx=states[..., 3],
        vy=states[..., 4],
        length=per_agent([agent["length"] for agent in given]),
        width=per_agent([agent["width"] for agent in given]),
        height=np.ones(valid.shape),
        valid=valid,
    )


def _unrolled(runs: list) -> list:
    return [value for count, value in runs for _ in range(count)]


def _area_map(data: dict) -> AreaMap:
    lanes = [*data["lanes"], *data["lane_connectors"]]
    ids = [lane["id"] for lane in lanes]
    place = {name: k for k, name in enumerate(ids)}
    blocks = {block["id"]: k for k, block in enumerate(data["roadblocks"])}

    def csr(rows: list[list], dtype: Any) -> tuple[Array, Array]:
        start = np.cumsum([0, *map(len, rows)]).astype(np.int32)
        return start, np.array([item for row in rows for item in row], dtype=dtype)

    def polygons(rings: list) -> Array:
        column = np.empty(len(rings), dtype=object)
        column[:] = [shapely.Polygon(ring) for ring in rings]
        return column

    limits = [lane["speed_limit_mps"] for lane in lanes]
    baseline_start, baseline = csr([lane["baseline"] for lane in lanes], np.float64)
    edges = {
        side: csr([[place[other] for other in lane[side]] for lane in lanes], np.int32)
        for side in ("outgoing", "incoming")
    }
    return AreaMap(
        lane_id=np.array(ids),
        lane_polygon=polygons([lane["polygon"] for lane in lanes]),
        lane_is_connector=np.arange(len(lanes)) >= len(data["lanes"]),
        lane_roadblock=np.array([blocks[lane["roadblock_id"]] for lane in lanes], np.int32),
        lane_speed_limit=np.array([np.nan if v is None else v for v in limits], np.float64),
        baseline_start=baseline_start,
        baseline_xy=baseline.reshape(-1, 2),
        outgoing_start=edges["outgoing"][0],
        outgoing=edges["outgoing"][1],
        incoming_start=edges["incoming"][0],
        incoming=edges["incoming"][1],
        drivable=polygons(data["drivable_areas"]),
        intersections=polygons(data["intersections"]),
        roadblock=polygons([block["polygon"] for block in data["roadblocks"]]),
    )
