"""What the tracker makes of made-up camera detections in simulated drives, and how fast it is.

    python benchmarks/tracker.py [FAMILY ...] [--seeds 2] [--set FIELD=VALUE ...]

Drives ``--seeds`` seeds (from 0) of each family with the rule-based driver on ground truth; at
every step (10 Hz) `perception.camera_errors` makes detections of what the cameras could see and the
tracker follows them. ``--set`` changes fields of TrackerConfig, or of CameraErrors where they begin
with ``error.``. Printed are nuScenes' tracking metrics per class, the same counts over everything
handed on, and the errors of position, velocity and heading before and after tracking. Road users
that are hidden or out of view are not judged. Exit status 1 where tracks are worse than detections
or a step with 30 tracks takes longer than ``--most-ms``.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time

import numpy as np

from perception.camera_errors import CameraErrors, MadeUpDetector
from perception.tracker import MultiObjectTracker
from perception.tracker_config import TrackerConfig
from perception.tracking_score import (
    TrackingErrors,
    TrackingReport,
    TrackingScore,
    detections_as_tracks,
)
from roadloop.config import load_config
from roadloop.types import AgentKind, AgentStates, EgoState, Observation

FAMILIES = ("dense_town", "roundabout", "pedestrian_crossing", "cyclist_ahead", "cut_in")


def drive(family: str, seed: int) -> list[Observation]:
    """Every step of a drive."""
    from deploy.drivers import make_driver
    from sim.run import drive_scenario
    from sim.scenarios import build_scenario
    from sim.simulator import SimWorld

    steps: list[Observation] = []
    scenario = build_scenario(family, seed=seed)
    drive_scenario(scenario, make_driver("route-follower"), SimWorld(), on_step=steps.append)
    return steps


def judge(
    drives: list[list[Observation]], config: TrackerConfig, errors: CameraErrors
) -> tuple[TrackingErrors, TrackingReport]:
    """Errors of the detections as they are, and the report of the tracks."""
    before, after = TrackingScore(), TrackingScore()
    detected = 1
    for number, steps in enumerate(drives):
        detector, tracker = MadeUpDetector(errors, seed=number), MultiObjectTracker(config)
        before.next_drive()
        after.next_drive()
        for step in steps:
            assert step.tracks is not None
            truth = step.tracks.states
            visible = detector.visible(truth, step.ego)
            percept = detector.percept(truth, step.ego, step.time)
            found = percept.detections
            loose = detections_as_tracks(found.boxes, percept.position_std, detected)
            detected += len(found.score)
            before.add(step.time, truth, loose, found.score, visible)
            tracks = tracker.update(percept, step.ego)
            after.add(step.time, truth, tracks, tracker.score, visible)
    return before.errors(), after.report()


def milliseconds(agents: int, steps: int = 200) -> float:
    """Processor time of a step with ``agents`` cars in view, in ms: the tenth percentile."""
    x, y = np.meshgrid(np.linspace(5.0, 45.0, 8), np.linspace(-20.0, 20.0, 6))
    n, zero = agents, np.zeros(())
    order = np.random.default_rng(0).permutation(x.size)[:n]
    states = AgentStates(
        id=np.arange(n),
        kind=np.full(n, AgentKind.CAR, np.uint8),
        x=x.ravel()[order],
        y=y.ravel()[order],
        z=np.zeros(n),
        heading=np.zeros(n),
        vx=np.zeros(n),
        vy=np.zeros(n),
        length=np.full(n, 4.5),
        width=np.full(n, 1.8),
        height=np.full(n, 0.5),  # nobody hides anybody
        valid=np.ones(n, bool),
    )
    ego = EgoState(zero, zero, zero, zero, zero, zero, zero, zero)
    detector = MadeUpDetector(CameraErrors(across_std=0.1, along_share=0.01))
    tracker = MultiObjectTracker()
    took = []
    for k in range(steps):
        percept = detector.percept(states, ego, 0.1 * k)
        start = time.process_time()
        tracker.update(percept, ego)
        took.append(time.process_time() - start)
    return float(np.percentile(took[10:], 10)) * 1e3


def print_reports(before: TrackingErrors, after: TrackingReport) -> None:
    """The tables."""
    names = ("amota", "amotp", "mota", "motp", "recall", "gt", "fp", "ids", "frag", "mt", "ml")
    print(f"{'class':12}" + "".join(f"{name:>8}" for name in names))
    metrics = after.metrics
    for label in metrics.curves:
        row = [metrics.label_metrics[name][label] for name in names]
        print(f"{label:12}" + "".join(_number(v, n) for v, n in zip(row, names, strict=True)))
    row = [metrics.value(name) for name in names]
    print(f"{'all':12}" + "".join(_number(v, n) for v, n in zip(row, names, strict=True)))
    row = [np.nan if name[:4] == "amot" else after.total(name) for name in names]
    print(f"{'as driven':12}" + "".join(_number(v, n) for v, n in zip(row, names, strict=True)))
    print(f"\n{'errors':20}{'detections':>12}{'tracks':>12}")
    for name, value in dataclasses.asdict(before).items():
        print(f"{name:20}{value:12.4g}{getattr(after.errors, name):12.4g}")


def _number(value: float, name: str) -> str:
    counts = name in ("gt", "fp", "ids", "frag", "mt", "ml") and not np.isnan(value)
    return f"{value:8.0f}" if counts else f"{value:8.3f}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("families", nargs="*", default=FAMILIES)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--most-ms", type=float, default=5.0)
    options = parser.parse_args()
    wrong = [s.removeprefix("error.") for s in options.settings if s.startswith("error.")]
    config = load_config(
        TrackerConfig, overrides=[s for s in options.settings if s[:6] != "error."]
    )
    errors = load_config(CameraErrors, overrides=wrong)
    drives = [drive(family, seed) for family in options.families for seed in range(options.seeds)]
    before, after = judge(drives, config, errors)
    print(f"{len(drives)} drives, {sum(map(len, drives))} steps\n")
    print_reports(before, after)
    took = milliseconds(30)
    print(f"\n30 tracks: {took:.2f} ms of processor time a step")
    worse = [
        name
        for name in ("position", "velocity", "heading")
        if getattr(after.errors, name) > getattr(before, name)
    ]
    if worse:
        print(f"tracks are worse than detections: {', '.join(worse)}")
    return int(bool(worse) or took > options.most_ms)


if __name__ == "__main__":
    sys.exit(main())
