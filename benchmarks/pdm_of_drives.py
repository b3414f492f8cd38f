"""NAVSIM's PDM score of finished drives: every few seconds, what was driven in the next four.

    python benchmarks/pdm_of_drives.py SUITE RUN [RUN ...] [--every 5] [--maps DIR] [--workers N]

RUN is a folder that `roadloop score SUITE` wrote. At moments ``--every`` s apart the 4 s that the
ego then drove are scored (v1) as a proposal among the road users that were recorded. As in NAVSIM
progress is measured against that of PDM-Closed (`planning.pdm_closed`), put in the ego's place at
that moment. A case's score is the mean of its moments; the last 4.9 s and 10 m have none.

Scores are appended to RUN/pdm.jsonl the moment they are known, and not computed again.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from planning.pdm_closed import PdmClosed
from roadloop.errors import RoadloopError
from roadloop.logs.store import read_rollout
from roadloop.maps.path import route_path
from roadloop.scoring.navsim import OBSERVED_V1, pdm_score
from roadloop.scoring.navsim_scene import DT, STEPS
from roadloop.suites.results import SuiteResults, log_folder, read_results
from roadloop.terminal import progress_bar
from roadloop.types import Observation, Rollout, Route, Scenario, Tracks, at
from sim.suite import Case, Suite, load_suite

FILE = "pdm.jsonl"
LEAST_LEFT = 10.0
"""m of route that must lie ahead for there to be progress to measure"""


def pdm_scores(rollout: Rollout, scenario: Scenario, every: float) -> list[float]:
    """PDM score of the drive at each moment, ``every`` s apart from the start on."""
    stride, last = round(every / rollout.dt), round((OBSERVED_V1 - 1) * DT / rollout.dt)
    path = route_path(scenario.road_map, scenario.route)
    driven = np.hypot(np.diff(rollout.ego.x), np.diff(rollout.ego.y))
    planner, scores, s = PdmClosed(), [], None
    for step in range(0, len(rollout.time) - last, stride):
        x, y = float(rollout.ego.x[step]), float(rollout.ego.y[step])
        if s is None:
            s = float(path.project(x, y, 0.0)[0])
        else:  # a route may meet itself: look around where the distance driven leads
            s = float(path.project(x, y, s + float(driven[step - stride : step].sum()))[0])
        if path.length - s < LEAST_LEFT:
            break
        planner.reset(dataclasses.replace(scenario, route=_rest(scenario, path.at(s))))
        reference = planner.plan(*_seen(rollout, step))
        rows = step + round(DT / rollout.dt) * np.arange(STEPS)
        own = rollout.ego.x[rows], rollout.ego.y[rows], rollout.ego.heading[rows]
        planned = reference.x[:STEPS], reference.y[:STEPS], reference.heading[:STEPS]
        proposals = np.stack([np.stack(planned, axis=-1), np.stack(own, axis=-1)])
        found = pdm_score(
            rollout, scenario.road_map, step, proposals, "v1", history=False, pairwise=True
        )
        scores.append(float(found.score[1]))
    return scores


def _rest(scenario: Scenario, here) -> Route:
    """What of the route lies ahead."""
    route = scenario.route
    first = int(np.flatnonzero(route.lanes == int(here.lane))[0])
    return Route(route.lanes[first:], float(here.lane_s), route.goal_s)


def _seen(rollout: Rollout, step: int) -> tuple[Observation, Tracks]:
    """What a driver with ground truth would see at a step."""
    states = at(rollout.agents, step)
    states = at(states, states.valid)
    n = len(states.x)
    tracks = Tracks(states, np.zeros(n), np.full(n, step))
    observation = Observation(
        step,
        float(rollout.time[step]),
        rollout.dt,
        at(rollout.ego, step),
        tracks,
        rollout.lights[step],
    )
    return observation, tracks


def _score_case(folder: Path, every: float, job: tuple[Case, str]) -> dict[str, object]:
    case, rollout_hash = job
    line: dict[str, object] = {"case": case.name, "rollout_hash": rollout_hash, "every": every}
    try:
        scores = pdm_scores(read_rollout(log_folder(folder, case.name)), case.build(), every)
    except RoadloopError as error:
        return {**line, "moments": 0, "failed": str(error)}
    return {**line, "moments": len(scores), "score": float(np.mean(scores)) if scores else None}


def known_scores(results: SuiteResults, every: float) -> dict[str, dict[str, object]]:
    """case -> line of the file, of the drives as they lie there now."""
    path = results.folder / FILE
    hashes = {case.case: case.rollout_hash for case in results.finished}
    found = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue  # cut off by a kill
        if line["every"] == every and hashes.get(line["case"]) == line["rollout_hash"]:
            found[line["case"]] = line
    return found


def pdm_of_run(
    folder: Path, suite: Suite, *, every: float = 5.0, workers: int = 1
) -> dict[str, float]:
    """case -> PDM score; what the folder does not hold yet is computed. NaN: too short a drive."""
    results = read_results(folder)
    known = known_scores(results, every)
    cases = {case.name: case for case in suite.cases}
    jobs = [
        (cases[case.case], case.rollout_hash)
        for case in results.finished
        if case.case not in known and case.case in cases
    ]
    score = functools.partial(_score_case, folder, every)
    with (
        progress_bar(f"PDM {folder.name}", "drive", len(jobs), quiet=False) as bar,
        (folder / FILE).open("a", encoding="utf-8") as file,
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
    ):
        for line in pool.map(score, jobs) if jobs else ():
            file.write(json.dumps(line) + "\n")
            file.flush()
            known[str(line["case"])] = line
            bar.update(1)
    for line in known.values():
        if "failed" in line:
            print(f"{folder} {line['case']}: no PDM score: {line['failed']}", file=sys.stderr)
    return {
        case: float(line["score"]) if isinstance(line.get("score"), float) else float("nan")
        for case, line in known.items()
    }


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suite")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--every", type=float, default=5.0, help="s between moments")
    parser.add_argument("--maps", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    suite = load_suite(args.suite, args.maps)
    for run in args.runs:
        found = pdm_of_run(run, suite, every=args.every, workers=args.workers)
        scores = np.array(list(found.values()))
        kept = scores[np.isfinite(scores)]
        mean = f"{kept.mean():.3f}" if len(kept) else "none"
        print(f"{run}: PDM score {mean} over {len(kept)} drives", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RoadloopError as error:
        print(f"pdm_of_drives: {error}", file=sys.stderr)
        sys.exit(2)
