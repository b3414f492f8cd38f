"""Our tracking metrics against the original of nuscenes-devkit, on made-up tracks.

    python benchmarks/tracking_parity.py [--devkit PYTHON] [--seeds 8]

The devkit's tracking part needs ``motmetrics`` 1.4.0 beside it and NumPy below 2, so it runs in the
virtual environment that ``make devkits`` makes, or in that of PYTHON, where this file runs a second
time. Every seed is a data set of three scenes: ground truth with gaps, and tracks that are off,
swapped, broken, missed and made up, some with equal scores, classes that are found badly or not at
all. Printed is the largest difference of every metric, per class and at every recall; exit status 1
where one is above 1e-9.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray

ROOT = Path(__file__).resolve().parents[1]
DEVKIT = ROOT / ".venv-devkits" / "bin" / "python"
TOLERANCE = 1e-9

CLASSES = ("bicycle", "bus", "car", "motorcycle", "pedestrian", "trailer", "truck")
MISS = {"bicycle": 0.93, "bus": 1.0, "car": 0.15, "pedestrian": 0.3, "truck": 0.5}
"""share of boxes that are not found; there are no motorcycles and trailers"""


def made_up(seed: int) -> dict[str, Any]:
    """Scenes of frames (us) and rows scene, frame, id, class, x, y, score of truth and tracks."""
    rng = np.random.default_rng(seed)
    scenes, truth, predicted = [], [], []
    for scene in range(3):
        steps = int(rng.integers(15, 40))
        scenes.append(np.cumsum(rng.integers(450_000, 550_000, steps)).tolist())
        for user in range(int(rng.integers(8, 20))):
            name = str(rng.choice(list(MISS)))
            start, velocity = rng.uniform(-15.0, 15.0, 2), rng.normal(0.0, 1.0, 2)
            first, last = sorted(rng.integers(0, steps, 2).tolist())
            bias, track = rng.normal(0.0, 0.5, 2), 100 * user
            for frame in range(first, last + 1):
                x, y = start + velocity * frame * 0.5
                if rng.random() > 0.1:
                    truth.append((scene, frame, user, name, x, y, -1.0))
                if rng.random() < 0.08:
                    track += 1  # the track breaks
                if rng.random() < MISS[name]:
                    continue
                x, y = np.array([x, y]) + bias + rng.normal(0.0, 0.4, 2)
                score = round(float(rng.beta(4.0, 2.0)), 1 if seed % 2 else 6)
                predicted.append((scene, frame, track, name, x, y, score))
        for alarm in range(30):
            name, frame = str(rng.choice(CLASSES)), int(rng.integers(0, steps - 3))
            x, y = rng.uniform(-20.0, 20.0, 2)
            for step in range(int(rng.integers(1, 4))):
                row = (scene, frame + step, 10_000 + alarm, name, x, y, float(rng.beta(2.0, 4.0)))
                predicted.append(row)
    # now and then two tracks swap their names
    for _ in range(5):
        a, b = rng.integers(0, len(predicted), 2)
        swap = {predicted[a][2]: predicted[b][2], predicted[b][2]: predicted[a][2]}
        scene, frame = predicted[a][:2]
        if predicted[b][0] == scene:
            predicted = [
                (*p[:2], swap.get(p[2], p[2]), *p[3:]) if p[0] == scene and p[1] > frame else p
                for p in predicted
            ]
    return {"scenes": scenes, "truth": sorted(truth), "predicted": sorted(predicted)}


# --- the devkit, run by the environment that has it ---------------------------------------------


def write_devkit(source: Path, target: Path) -> None:
    """What the devkit makes of the data sets in ``source``, as JSON."""
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.tracking import loaders
    from nuscenes.eval.tracking.data_classes import TrackingBox
    from nuscenes.eval.tracking.evaluate import TrackingEval

    class Tables:
        """As much of a NuScenes database as tracks are made with."""

        def __init__(self, scenes: list[list[int]]) -> None:
            self.records: dict[tuple[str, str], dict[str, Any]] = {}
            for s, times in enumerate(scenes):
                tokens = [f"{s}/{k}" for k in range(len(times))]
                ends = {"first_sample_token": tokens[0], "last_sample_token": tokens[-1]}
                self.records["scene", str(s)] = {"name": str(s), **ends}
                for token, later, time in zip(tokens, [*tokens[1:], ""], times, strict=True):
                    record = {"scene_token": str(s), "timestamp": time, "next": later}
                    self.records["sample", token] = record

        def get(self, table: str, token: str) -> dict[str, Any]:
            return self.records[table, token]

    def boxes(rows: list[Any], scenes: list[list[int]]) -> Any:
        out = EvalBoxes()
        for s, times in enumerate(scenes):
            for k in range(len(times)):
                out.add_boxes(f"{s}/{k}", [])
        for s, k, number, name, x, y, score in rows:
            box = TrackingBox(
                sample_token=f"{s}/{k}",
                translation=(x, y, 0.0),
                size=(1.0, 1.0, 1.0),
                rotation=(1.0, 0.0, 0.0, 0.0),
                tracking_id=f"{s}-{number}",
                tracking_name=name,
                tracking_score=float(score),
            )
            out.add_boxes(f"{s}/{k}", [box])
        return out

    config = config_factory("tracking_nips_2019")
    answers = []
    for data in json.loads(source.read_text(encoding="utf-8")):
        names = [str(s) for s in range(len(data["scenes"]))]
        loaders.get_scenes_of_split = lambda split_name, nusc, names=names: names
        tables = Tables(data["scenes"])
        judge = object.__new__(TrackingEval)  # its constructor reads a whole data set
        judge.cfg, judge.verbose, judge.render_classes = config, False, []
        judge.output_dir = str(target.parent)
        truth, found = (boxes(data[name], data["scenes"]) for name in ("truth", "predicted"))
        judge.tracks_gt = loaders.create_tracks(truth, tables, "all", gt=True)
        judge.tracks_pred = loaders.create_tracks(found, tables, "all", gt=False)
        metrics, curves = judge.evaluate()
        summary = {name: metrics.compute_metric(name) for name in metrics.label_metrics}
        answers.append(
            {"label": metrics.label_metrics, "all": summary, "curves": curves.serialize()}
        )
    target.write_text(json.dumps(answers), encoding="utf-8")


# --- compared -----------------------------------------------------------------------------------


def ours(data: dict[str, Any]) -> Any:
    """Our metrics of a data set."""
    from perception.tracking_benchmark import Frames, TrackTable
    from perception.tracking_metrics import evaluate_tracks

    times = data["scenes"]
    starts = np.cumsum([0, *map(len, times)])
    scene = np.repeat(np.arange(len(times)), list(map(len, times)))
    frames = Frames(scene, np.concatenate(times).astype(np.int64))

    def table(rows: list[Any]) -> TrackTable:
        s, k, number, name, x, y, score = zip(*rows, strict=True)
        label = np.array([CLASSES.index(n) for n in name])
        frame = starts[list(s)] + np.array(k)
        columns = (np.array(c, np.float64) for c in (x, y, score))
        return TrackTable(frame, label, np.array(number), *columns)

    return evaluate_tracks(frames, table(data["truth"]), table(data["predicted"]))


def difference(mine: Any, theirs: dict[str, Any]) -> dict[str, float]:
    """Metric -> largest difference over classes, the summary and all recalls."""

    def off(a: Any, b: Any) -> float:
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if (np.isnan(a) != np.isnan(b)).any():
            return float("inf")
        return float(np.nan_to_num(np.abs(a - b)).max())

    worst = {}
    for name, by_class in theirs["label"].items():
        one = [off(mine.label_metrics[name][c], value) for c, value in by_class.items()]
        worst[name] = max(*one, off(mine.value(name), theirs["all"][name]))
    for c, curve in theirs["curves"].items():
        if c not in mine.curves:
            continue
        for name, values in mine.curves[c].metrics.items():
            worst[name] = max(worst[name], off(values, curve[name]))
        worst["confidence"] = max(
            worst.get("confidence", 0.0), off(mine.curves[c].confidence, curve["confidence"])
        )
    return worst


def compare(devkit: Path, seeds: int, folder: Path) -> dict[str, float]:
    """Metric -> largest difference over all data sets. RoadloopError where the devkit fails."""
    from roadloop.errors import RoadloopError

    data = [made_up(seed) for seed in range(seeds)]
    (folder / "tracks.json").write_text(json.dumps(data), encoding="utf-8")
    arguments = ["--worker", str(folder / "tracks.json"), str(folder / "devkit.json")]
    done = subprocess.run(
        [str(devkit), str(Path(__file__).resolve()), *arguments], capture_output=True, text=True
    )
    if done.returncode:
        raise RoadloopError(f"{devkit} fails: {done.stderr.strip()[-400:]}")
    answers = json.loads((folder / "devkit.json").read_text(encoding="utf-8"))
    worst: dict[str, float] = {}
    for one, answer in zip(data, answers, strict=True):
        for name, value in difference(ours(one), answer).items():
            worst[name] = max(worst.get(name, 0.0), value)
    return worst


def missing(devkit: Path) -> str:
    """What the environment of the devkit lacks; empty: nothing."""
    if not devkit.is_file():
        return f"{devkit} is not there: make devkits"
    check = [str(devkit), "-c", "import motmetrics, nuscenes.eval.tracking.evaluate"]
    done = subprocess.run(check, capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--devkit", type=Path, default=DEVKIT)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--worker", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        write_devkit(*options.worker)
        return 0
    lack = missing(options.devkit)
    if lack:
        print(f"tracking_parity: {options.devkit}: {lack}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        worst = compare(options.devkit, options.seeds, Path(folder))
    for name, value in worst.items():
        print(f"{name:12} {value:.3g}")
    passed = max(worst.values()) <= TOLERANCE
    print(f"{options.seeds} data sets:", "all within tolerance" if passed else "DIFFERS")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
