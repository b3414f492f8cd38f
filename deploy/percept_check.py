"""What a driver saw, judged moment by moment by the rollout: who was found, missed, made up.

A track is right where its centre is nearer than 2 m to a road user whom the pictures show, best
first as in `perception.detection_metrics`: first among its own class, then among all. Tracks of
hidden ones, or of some beyond the grid, are neither right nor wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from perception.detection_benchmark import BoxTable
from perception.detection_metrics import match
from perception.detector_config import object_classes
from roadloop.geometry import inverse
from roadloop.logs.percepts import PerceptLog
from roadloop.logs.side_tables import Table
from roadloop.types import LightState, Rollout
from roadloop.viz.seen import (
    BANDS,
    LASTING,
    MATCHED,
    SURE,
    Seen,
    SeenEvent,
    SeenSummary,
    Told,
    Truth,
    rows_of,
)

Array = np.ndarray

REACH = 80.0
"""m from the ego up to which those who are seen beyond the grid are kept"""
MARGIN = 2.0 * MATCHED
"""m around the grid in which a track may have somebody whom nobody asks for"""
BRIDGED = 0.3
"""s somebody may be hidden without ending a miss"""
_STATES = ("id", "kind", "x", "y", "z", "heading", "vx", "vy", "length", "width", "height")
_RED = (LightState.RED, LightState.RED_YELLOW)


def check_percepts(log: PerceptLog, rollout: Rollout) -> Seen:
    """The log of a drive judged by its rollout."""
    truth = _truth(log, rollout)
    tracks = log.tables["tracks"]
    ego = _to_ego(log, tracks)
    told_inside = _inside(log, ego)
    told = np.full(len(ego), Told.FALSE, np.uint8)
    told[~told_inside] = Told.ASIDE
    partner = np.full(len(ego), -1)
    wanted = truth["state"] == Truth.MISSED
    rank = -np.asarray(tracks["position_std"], float)  # the surest first
    for among, same_class in ((wanted, True), (wanted, False), (~wanted, False)):
        free = np.flatnonzero(partner < 0)
        taken = np.zeros(len(truth["state"]), bool)
        taken[partner[partner >= 0]] = True
        left = np.flatnonzero(among & ~taken)
        labels = range(len(log.classes)) if same_class else (None,)
        for label in labels:
            mine = free if label is None else free[tracks["label"][free] == label]
            his = left if label is None else left[truth["label"][left] == label]
            found = match(_table(truth, his), _table(tracks, mine, rank), [MATCHED])[0]
            partner[mine[found >= 0]] = his[found[found >= 0]]
    has = partner >= 0
    right = has & wanted[partner]
    told[right] = Told.RIGHT
    told[has & ~right] = Told.ASIDE
    truth["state"][partner[right]] = Truth.FOUND
    truth["track"][partner[has]] = np.flatnonzero(has)
    return _seen(log, rollout, truth, told)


def _seen(log: PerceptLog, rollout: Rollout, truth: Table, told: Array) -> Seen:
    tracks, n = log.tables["tracks"], log.moments

    def per_moment(rows: Array, moment: Array) -> Array:
        return np.bincount(moment[rows], minlength=n)

    found, missed = truth["state"] == Truth.FOUND, truth["state"] == Truth.MISSED
    partner = truth["track"][found]
    away = np.hypot(*(truth[k][found] - tracks[k][partner] for k in ("x", "y")))
    slip = np.hypot(*(truth[k][found] - tracks[k][partner] for k in ("vx", "vy")))
    counts = per_moment(found, truth["moment"])

    def mean(values: Array) -> Array:
        total = np.bincount(truth["moment"][found], values, n)
        return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)

    far = np.linalg.norm(_to_ego(log, truth)[:, :2], axis=1)
    bands = []
    for low, high in pairwise(BANDS):
        near = (far >= low) & (far < high)
        bands.append((low, high, int((near & (found | missed)).sum()), int((near & found).sum())))
    summary = SeenSummary(
        visible=int((found | missed).sum()),
        found=int(found.sum()),
        missed=int(missed.sum()),
        false_alarms=int((told == Told.FALSE).sum()),
        other_class=int((truth["label"][found] != tracks["label"][partner]).sum()),
        moments=n,
        position_error=_rms(away),
        velocity_error=_rms(slip),
        bands=tuple(bands),
        detections=_detections(log, truth),
    )
    events = [*_misses(log, truth), *_false_alarms(log, told), *_lights(log, rollout)]
    return Seen(
        log=log,
        truth=truth,
        told=told,
        visible=counts + per_moment(missed, truth["moment"]),
        found=counts,
        missed=per_moment(missed, truth["moment"]),
        false_alarms=per_moment(told == Told.FALSE, tracks["moment"]),
        position_error=mean(away),
        velocity_error=mean(slip),
        events=tuple(sorted(events, key=lambda e: (e.start, e.kind, e.name))),
        summary=summary,
    )


def _truth(log: PerceptLog, rollout: Rollout) -> Table:
    """Road users of each moment who are in the grid, or seen beyond it; none is found yet."""
    moments, witnessed, agents = log.tables["moments"], log.tables["witnessed"], rollout.agents
    parts = []
    for m, time in enumerate(moments["time"]):
        step = round((time - float(rollout.time[0])) / rollout.dt)
        if not 0 <= step < len(rollout.time):
            continue
        there = np.flatnonzero(agents.valid[step])
        part = {name: getattr(agents, name)[step, there] for name in _STATES}
        part["moment"] = np.full(len(there), m)
        rows = rows_of(witnessed, m)
        pixels = dict(zip(witnessed["agent"][rows].tolist(), witnessed["pixels"][rows].tolist()))
        part["pixels"] = np.array([pixels.get(k, 0) for k in part["id"].tolist()], np.int64)
        parts.append(part)
    names = (*_STATES, "moment", "pixels")
    truth = {k: np.concatenate([p[k] for p in parts]) if parts else np.zeros(0, int) for k in names}
    ego = _to_ego(log, truth)
    inside = _inside(log, ego)
    shown = truth["pixels"] >= log.visible_pixels
    keep = _inside(log, ego, MARGIN) | (shown & (np.linalg.norm(ego[:, :2], axis=1) < REACH))
    state = np.where(shown, Truth.MISSED, Truth.HIDDEN).astype(np.uint8)
    state[~inside] = Truth.BEYOND
    truth = {k: v[keep] for k, v in truth.items()} | {"state": state[keep]}
    truth["agent"] = truth.pop("id")
    truth["label"] = object_classes(truth["kind"].astype(int), truth["length"])
    truth["track"] = np.full(len(truth["agent"]), -1)
    return truth


def _to_ego(log: PerceptLog, table: Table) -> Array:
    """(n, 3) m, centres on the ground in the ego frame of their moments."""
    points = np.stack([np.asarray(table[k], float) for k in ("x", "y", "z")], axis=-1)
    poses = log.tables["moments"]["world_from_ego"]
    ego_from_world = np.array([inverse(pose) for pose in poses]).reshape(-1, 4, 4)
    turns = ego_from_world[np.asarray(table["moment"], int)]
    return np.einsum("nij,nj->ni", turns[:, :3, :3], points) + turns[:, :3, 3]


def _inside(log: PerceptLog, ego: Array, margin: float = 0.0) -> Array:
    """Rows whose centres lie in the grid, or up to ``margin`` m beside it."""
    x, y, grid = ego[:, 0], ego[:, 1], log.grid
    along = (x >= grid.x_min - margin) & (x < grid.x_max + margin)
    return along & (y >= grid.y_min - margin) & (y < grid.y_max + margin)


def _table(table: Table, rows: Array, score: Array | None = None) -> BoxTable:
    n = len(rows)
    return BoxTable(
        sample=np.asarray(table["moment"])[rows].astype(np.int64),
        label=np.zeros(n, np.int64),
        **{
            k: np.asarray(table[k], float)[rows]
            for k in ("x", "y", "heading", "length", "width", "height", "vx", "vy")
        },
        attribute=np.full(n, ""),
        score=np.zeros(n) if score is None else score[rows],
    )


def _detections(log: PerceptLog, truth: Table) -> tuple[int, int]:
    """Boxes of a score of `SURE` or more, and those of them near nobody."""
    found = log.tables["detections"]
    sure = np.flatnonzero((found["score"] >= SURE) & _inside(log, _to_ego(log, found)))
    everybody = np.arange(len(truth["moment"]))
    score = np.asarray(found["score"], float)
    partner = match(_table(truth, everybody), _table(found, sure, score), [MATCHED])[0]
    return len(sure), int((partner < 0).sum())


# --- what lasted --------------------------------------------------------------------------------


@dataclass
class _Run:
    """Something that goes on."""

    start: float
    end: float
    rows: list[int]


def _misses(log: PerceptLog, truth: Table) -> list[SeenEvent]:
    time, state = log.tables["moments"]["time"], truth["state"]
    runs: list[tuple[int, _Run]] = []
    for agent in np.unique(truth["agent"][state == Truth.MISSED]).tolist():
        mine = np.flatnonzero(truth["agent"] == agent)
        mine = mine[np.argsort(truth["moment"][mine], kind="stable")]
        told = mine[(state[mine] == Truth.FOUND) | (state[mine] == Truth.MISSED)]
        runs += [(agent, run) for run in _runs(told, state[told] == Truth.MISSED, truth, time)]
    return _events(log, truth, runs, "missed")


def _false_alarms(log: PerceptLog, told: Array) -> list[SeenEvent]:
    time, tracks = log.tables["moments"]["time"], log.tables["tracks"]
    runs: list[tuple[int, _Run]] = []
    for track in np.unique(tracks["id"][told == Told.FALSE]).tolist():
        mine = np.flatnonzero(tracks["id"] == track)
        runs += [(track, r) for r in _runs(mine, told[mine] == Told.FALSE, tracks, time)]
    return _events(log, tracks, runs, "false alarm")


def _runs(rows: Array, wrong: Array, table: Table, time: Array) -> list[_Run]:
    """Stretches of wrong rows, none further than `BRIDGED` from the next, that last."""
    spell = _spell(time)
    runs: list[_Run] = []
    for row, bad in zip(rows.tolist(), wrong.tolist()):
        now = float(time[table["moment"][row]])
        if not bad:
            runs.append(_Run(now, now, []))  # ends the one before
        elif runs and runs[-1].rows and now - runs[-1].end <= BRIDGED + spell / 2.0:
            runs[-1].end = now + spell
            runs[-1].rows.append(row)
        else:
            runs.append(_Run(now, now + spell, [row]))
    return [run for run in runs if run.rows and run.end - run.start > LASTING + 1e-6]


def _spell(time: Array) -> float:
    """s between two moments, as a rule."""
    return float(np.median(np.diff(time))) if len(time) > 1 else 0.0


def _events(
    log: PerceptLog, table: Table, runs: list[tuple[int, _Run]], kind: str
) -> list[SeenEvent]:
    ego = _to_ego(log, table)
    found = []
    for name, run in runs:
        label = int(np.bincount(np.asarray(table["label"])[run.rows]).argmax())
        ahead, left = ego[run.rows[0], :2]
        found.append(
            SeenEvent(
                kind=kind,
                start=run.start,
                end=run.end,
                what=log.classes[label],
                distance=float(np.linalg.norm(ego[run.rows, :2], axis=1).min()),
                ahead=float(ahead),
                left=float(left),
                name=name,
            )
        )
    return found


def _lights(log: PerceptLog, rollout: Rollout) -> list[SeenEvent]:
    """Signals that were told red while they were green, or the other way round."""
    told, time = log.tables["told"], log.tables["moments"]["time"]
    step = np.rint((time[told["moment"]] - rollout.time[0]) / rollout.dt).astype(int)
    step = np.clip(step, 0, len(rollout.time) - 1)
    was = rollout.lights[step, told["signal"]]
    events = []
    for said, so, what in (
        ((LightState.GREEN,), _RED, "told green, was red"),
        ((LightState.RED,), (LightState.GREEN,), "told red, was green"),
    ):
        wrong = np.isin(told["state"], said) & np.isin(was, so)
        for signal in np.unique(told["signal"][wrong]).tolist():
            rows = np.flatnonzero(told["signal"] == signal)
            events += [
                SeenEvent("light", run.start, run.end, what, np.nan, np.nan, np.nan, signal)
                for run in _runs(rows, wrong[rows], told, time)
            ]
    return events


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")
