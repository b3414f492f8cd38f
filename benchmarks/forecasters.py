"""How far the forecasters are from what happens, in simulated and recorded drives, and their speed.

    python benchmarks/forecasters.py [FAMILY ...] [--seeds 4] [--first-seed 0] [--seconds 24]
                                     [--recorded FOLDER ...] [--forecasters NAME ...] [--fit]

Simulated drives are driven by the rule-based driver; of a recorded one (``--recorded``, any data
set with a map, see docs/data.md) the road users are what was labelled. Once a second everybody's
future of 8 s is forecast from what was seen up to then. Those who move now or will have moved by
1 m within 6 s are judged by Argoverse 2's measures at 6 s and Waymo's at 3, 5 and 8 s, as the one
most probable and the six most probable futures; who stands and stays is judged apart. ``--fit``
prints the growth of the spread that fits all of them best (expectation maximisation over the
modes). A learned forecaster of your own is ``learned:PATH``. Exit status 1 where lane-following is
worse than constant velocity for vehicles, or 64 tracks take it longer than ``--most-ms`` (learned:
32 tracks and ``--most-learned-ms``).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from perception.forecast_metrics import forecast_metrics, most_probable
from perception.forecast_spread import GROUP_OF_KIND
from perception.forecaster import FORECASTERS, make_forecaster
from perception.motion_benchmark import CLASS_OF_KIND, CLASSES, MotionPredictions
from perception.motion_metrics import MotionMeasurements, measure, pool, summarise
from roadloop.maps.road_map import RoadMap
from roadloop.types import AgentStates, Observation, Tracks, at

Array = np.ndarray

FAMILIES = ("dense_town", "roundabout", "unprotected_left_turn", "random_route", "merge")
EVERY, HISTORY, STRIDE, AHEAD = 10, 10, 5, 80
"""steps of 0.1 s between moments, before the first, between points, to the last"""
LONG = 12
"""points of Argoverse 2's 6 s"""
MOVING = 0.5
"""m/s now, or ..."""
MOVED = 1.0
"""... m within 6 s"""


@dataclass(frozen=True)
class Drive:
    """What happened, step by step."""

    name: str
    road_map: RoadMap
    steps: list[Observation]


@dataclass(frozen=True)
class Judged:
    """Forecasts of road users beside what came; rows are road users at moments."""

    kind: Array
    """index into CLASSES"""
    group: Array
    """row of a Spread"""
    stays: Array
    """bool"""
    x: Array
    """(rows, modes, points)"""
    y: Array
    heading: Array
    probability: Array
    position_std: Array
    truth: Array
    """(rows, points, 2)"""
    valid: Array
    """(rows, points)"""


def simulated(family: str, seed: int, seconds: float) -> Drive:
    """A drive of the simulator."""
    from deploy.drivers import make_driver
    from sim.run import drive_scenario
    from sim.scenarios import build_scenario
    from sim.simulator import SimWorld

    steps: list[Observation] = []
    scenario = build_scenario(family, seed=seed, duration=seconds)
    drive_scenario(scenario, make_driver("route-follower"), SimWorld(), on_step=steps.append)
    return Drive(f"{family} {seed}", scenario.road_map, aligned(steps))


def aligned(steps: list[Observation]) -> list[Observation]:
    """The same steps with one row for each road user of the drive, not valid where it is not."""
    seen = [step.tracks for step in steps if step.tracks is not None]
    ids = np.unique(np.concatenate([tracks.states.id for tracks in seen]))
    out = []
    for step, tracks in zip(steps, seen, strict=True):
        row = np.searchsorted(ids, tracks.states.id)
        states = {}
        for f in fields(AgentStates):
            value = getattr(tracks.states, f.name)
            states[f.name] = np.zeros(len(ids), value.dtype)
            states[f.name][row] = value
        states["id"] = ids
        none = np.zeros(len(ids))
        full = Tracks(AgentStates(**states), none, none.astype(np.int64))
        out.append(replace(step, tracks=full))
    return out


def recorded(folder: str) -> Iterator[Drive]:
    """The drives of a data set; those without a map or not at 10 Hz are left out."""
    from roadloop.datasets.formats import list_drives, open_recording

    found, names = list_drives(folder)
    for name in names:
        recording = open_recording(folder, name, found)
        road_map, agents = recording.road_map, recording.agents
        if road_map is None or agents is None or abs(recording.dt - 0.1) > 1e-3:
            print(f"{folder} {name}: no map, no road users or not at 10 Hz: left out")
            continue
        none = np.zeros(agents.x.shape[1])
        lights = recording.lights
        steps = [
            Observation(
                step=k,
                time=float(t) * 1e-6,
                dt=0.1,
                ego=at(recording.ego, k),
                tracks=Tracks(at(agents, k), none, none.astype(np.int64)),
                lights=None if lights is None else lights[k],
            )
            for k, t in enumerate(recording.timestamp_us)
        ]
        yield Drive(f"{found} {name}", road_map, steps)


def made(name: str) -> Any:
    """A forecaster by name; a learned one forecasts everybody, not only the nearest to the ego."""
    kind, _, path = name.partition(":")
    if kind != "learned":
        return make_forecaster(name)
    from perception.learned_forecaster import LearnedForecaster

    return LearnedForecaster(path, everybody=True)


def forecast_drive(drive: Drive, name: str) -> tuple[Judged, MotionMeasurements | None, float]:
    """What a forecaster says at every moment, Waymo's measures of it, and ms per forecast."""
    forecaster = made(name)
    forecaster.reset(SimpleNamespace(road_map=drive.road_map, name=drive.name))
    moments = range(HISTORY, len(drive.steps) - 3 * EVERY, EVERY)
    said, truths, took = [], [], 0.0
    for k, step in enumerate(drive.steps[: moments.stop]):
        assert step.tracks is not None
        if k not in moments:
            if hasattr(forecaster, "observe"):
                forecaster.observe(step, step.tracks)
            continue
        begun = time.process_time()
        said.append(forecaster.forecast(step, step.tracks, 0.1 * AHEAD, 0.1 * STRIDE))
        took += time.process_time() - begun
        truths.append(_window(drive.steps, k))
    truth = AgentStates(
        **{f.name: np.stack([getattr(t, f.name) for t in truths]) for f in fields(AgentStates)}
    )
    ahead = at(truth, (slice(None), HISTORY + STRIDE * np.arange(1, AHEAD // STRIDE + 1)))
    now = at(truth, (slice(None), HISTORY))
    moved = np.hypot(ahead.x[:, :LONG] - now.x[:, None], ahead.y[:, :LONG] - now.y[:, None])
    stays = ~np.where(ahead.valid[:, :LONG], moved > MOVED, False).any(1) & (now.speed < MOVING)
    wanted = now.valid & (CLASS_OF_KIND[now.kind] >= 0) & ahead.valid[:, 0]
    m, a = np.nonzero(wanted)
    x, y, heading = (
        np.stack([getattr(s, field) for s in said])[m, a] for field in ("x", "y", "heading")
    )
    probability = np.stack([s.probability for s in said])[m, a]
    judged = Judged(
        kind=CLASS_OF_KIND[now.kind[m, a]],
        group=GROUP_OF_KIND[now.kind[m, a]],
        stays=stays[m, a],
        x=x[..., 1:],
        y=y[..., 1:],
        heading=heading[..., 1:],
        probability=probability,
        position_std=np.zeros(len(m)),
        truth=np.stack([ahead.x[m, :, a], ahead.y[m, :, a]], -1),
        valid=ahead.valid[m, :, a],
    )
    moving = ~judged.stays
    waymo = None
    if moving.any():
        waymo = measure(
            MotionPredictions(
                scenario=m[moving],
                agent=a[moving][:, None],
                present=np.ones((int(moving.sum()), 1), bool),
                x=judged.x[moving][:, :, None],
                y=judged.y[moving][:, :, None],
                score=probability[moving],
            ),
            truth,
        )
    return judged, waymo, 1e3 * took / len(said)


def _window(steps: list[Observation], k: int) -> AgentStates:
    """(time, agents) states from ``HISTORY`` steps before step ``k`` to ``AHEAD`` after it."""
    rows = np.arange(k - HISTORY, k + AHEAD + 1)
    there = rows < len(steps)
    states = []
    for row, inside in zip(np.minimum(rows, len(steps) - 1).tolist(), there.tolist()):
        tracks = steps[row].tracks
        assert tracks is not None
        states.append((tracks.states, inside))
    window = {
        f.name: np.stack([getattr(s, f.name) for s, _ in states]) for f in fields(AgentStates)
    }
    window["valid"] = window["valid"] & there[:, None]
    for name in ("x", "y", "heading", "vx", "vy", "length", "width"):
        window[name] = np.where(window["valid"], window[name], 0.0)
    return AgentStates(**window)


def joined(parts: list[Judged]) -> Judged:
    """All rows of several drives."""
    return Judged(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Judged)))


def report(name: str, judged: Judged, waymo: MotionMeasurements) -> dict[str, float]:
    """Print the rows of a forecaster; minFDE of the most probable future by class."""
    whole = judged.valid[:, :LONG].all(1)
    ends = {}
    for kind, label in (*enumerate(CLASSES), (-1, "stays")):
        rows = whole & (judged.stays if kind < 0 else ~judged.stays & (judged.kind == kind))
        if not rows.any():
            continue
        forecast = np.stack([judged.x[rows], judged.y[rows]], -1)[:, :, :LONG]
        cells = []
        for modes in (1, 6):
            best = most_probable(forecast, judged.probability[rows], modes)
            m = forecast_metrics(best[0], judged.truth[rows][:, :LONG], best[1])
            ends.setdefault(label, float(m.min_fde.mean()))
            cells += [m.min_ade.mean(), m.min_fde.mean(), m.missed.mean()]
        print(f"{label:11}{name:20}{rows.sum():6}" + "".join(f"{c:8.3f}" for c in cells))
    by = summarise(waymo)
    for kind, label in enumerate(CLASSES):
        if by.predictions[kind]:
            cells = np.stack([by.min_ade[kind], by.min_fde[kind], by.miss_rate[kind]], -1).ravel()
            line = "".join(f"{c:8.3f}" for c in cells)
            print(f"  Waymo {label:11}{name:20}{by.predictions[kind]:6}{line}")
    return ends


def fitted(judged: Judged, rounds: int = 8) -> list[str]:
    """``a t^p`` of the spread by group, along and across, as lines of text."""
    t = 0.1 * STRIDE * np.arange(1, judged.x.shape[-1] + 1)
    lines = []
    for group, label in enumerate(("walks", "cycles", "drives")):
        rows = (judged.group == group) & ~judged.stays
        if rows.sum() < 20:
            lines.append(f"{label}: {rows.sum()} rows are too few to fit")
            continue
        dx = judged.truth[rows][:, None, :, 0] - judged.x[rows]
        dy = judged.truth[rows][:, None, :, 1] - judged.y[rows]
        cos, sin = np.cos(judged.heading[rows]), np.sin(judged.heading[rows])
        errors = np.stack([cos * dx + sin * dy, cos * dy - sin * dx])  # (2, rows, modes, points)
        valid = judged.valid[rows][:, None]
        share = judged.probability[rows][..., None] * valid
        curve = np.array([[0.5, 1.3], [0.3, 1.2]])
        for _ in range(rounds):
            std = curve[:, :1] * t ** curve[:, 1:]
            fit = -0.5 * np.square(errors / std[:, None, None]).sum(0)
            fit = np.where(valid, fit, 0.0).sum(-1, keepdims=True) / len(t)  # one choice per row
            belief = share * np.exp(fit - fit.max(1, keepdims=True))
            belief /= np.maximum(belief.sum(1, keepdims=True), 1e-300)
            belief = belief * valid
            rms = np.sqrt((belief * np.square(errors)).sum((1, 2)) / belief.sum((0, 1)))
            lines_fit = [np.polyfit(np.log(t), np.log(r), 1) for r in rms]
            curve = np.array([[np.exp(at_1), power] for power, at_1 in lines_fit])
        inside = [(belief * (np.abs(e) < s)).sum() / belief.sum() for e, s in zip(errors, std)]
        lines.append(
            f"{label} ({rows.sum()}): along ({curve[0, 0]:.2f}, {curve[0, 1]:.2f}), across "
            f"({curve[1, 0]:.2f}, {curve[1, 1]:.2f}); within one std {inside[0]:.2f}, "
            f"{inside[1]:.2f}"
        )
    return lines


def milliseconds(name: str, tracks: int = 64, calls: int = 60) -> float:
    """Processor time of a forecast of 6 s in 30 points, in ms: the tenth percentile."""
    from roadloop.maps.generate import generate_map
    from roadloop.maps.locate import pose_at
    from roadloop.types import AgentKind, EgoState

    road_map = generate_map("town", seed=0)
    rng = np.random.default_rng(0)
    lane = rng.choice(np.flatnonzero(road_map.is_travel), tracks)
    s = rng.uniform(0.1, 0.6, tracks) * road_map.lane_length[lane]
    zero = np.zeros(())
    ego = EgoState(*(zero for _ in range(8)))
    forecaster = make_forecaster(name)
    forecaster.reset(SimpleNamespace(road_map=road_map, name="town"))  # type: ignore[arg-type]
    lights = np.zeros(len(road_map.signal_id), np.uint8)
    took = []
    for k in range(calls):
        x, y, z, heading = pose_at(road_map, lane, s + 0.5 * k)
        states = AgentStates(
            id=np.arange(tracks), kind=np.full(tracks, AgentKind.CAR), x=x, y=y, z=z,
            heading=heading, vx=5.0 * np.cos(heading), vy=5.0 * np.sin(heading),
            length=np.full(tracks, 4.5), width=np.full(tracks, 1.8),
            height=np.full(tracks, 1.5), valid=np.ones(tracks, bool),
        )  # fmt: skip
        seen = Tracks(states, np.zeros(tracks), np.full(tracks, k))
        step = Observation(step=k, time=0.1 * k, dt=0.1, ego=ego, tracks=seen, lights=lights)
        begun = time.process_time()
        forecaster.forecast(step, seen, 6.0, 0.2)
        took.append(time.process_time() - begun)
    return float(np.percentile(took[10:], 10)) * 1e3


def judge(title: str, drives: list[Drive], names: list[str]) -> tuple[bool, dict[str, Judged]]:
    """Print the tables of a set of drives.

    Whether vehicles' lane-following is not behind, and what was judged of each forecaster.
    """
    print(f"\n{title}: {len(drives)} drive(s)")
    head = ("ADE1", "FDE1", "miss1", "ADE6", "FDE6", "miss6")
    print(f"{'6 s':11}{'forecaster':20}{'n':>6}" + "".join(f"{h:>8}" for h in head))
    ends, said = {}, {}
    for name in names:
        parts = [forecast_drive(drive, name) for drive in drives]
        said[name] = joined([p[0] for p in parts])
        ends[name] = report(name, said[name], pool([p[1] for p in parts if p[1] is not None]))
    ours, plain = ends.get("lane-following", {}), ends.get("constant-velocity", {})
    return ours.get("vehicle", 0.0) <= plain.get("vehicle", np.inf), said


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("families", nargs="*", default=FAMILIES)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=24.0)
    parser.add_argument("--recorded", nargs="*", default=[])
    parser.add_argument("--forecasters", nargs="*", default=list(FORECASTERS))
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--most-ms", type=float, default=1.5)
    parser.add_argument("--most-learned-ms", type=float, default=10.0)
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    sets = {
        "simulated": [simulated(f, k, options.seconds) for k in seeds for f in options.families],
        "recorded": [drive for folder in options.recorded for drive in recorded(folder)],
    }
    results = [
        judge(title, drives, options.forecasters) for title, drives in sets.items() if drives
    ]
    fine = all(result[0] for result in results)
    print()
    for name in options.forecasters if options.fit else ():
        for line in fitted(joined([said[name] for _, said in results])):
            print(f"{name}: {line}")
    for name in options.forecasters:
        learned = name.startswith("learned")
        tracks = 31 if learned else 64  # and the ego
        took = milliseconds(name, tracks)
        print(f"{name}: {took:.2f} ms of processor time for {tracks} tracks, 30 points")
        fine &= took <= (options.most_learned_ms if learned else options.most_ms)
    return int(not fine)


if __name__ == "__main__":
    sys.exit(main())
