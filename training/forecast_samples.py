"""Motions to learn forecasts from, written once: python -m training.forecast_samples --help.

Worlds are simulated without cameras, which is quick, and everybody in them is learnt from; recorded
drives of any data set are read. One file each (`training.forecast_motion`), so that a training can
go over them many times.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from perception.forecast_config import ForecastConfig
from roadloop.command_line import INTERRUPTED, parse
from roadloop.config import find_config, load_config
from roadloop.errors import RoadloopError
from roadloop.terminal import progress_bar
from training.forecast_motion import motion_of_recording, motion_of_world, write_motion
from training.forecast_training import ForecasterTraining, SimulatedTraffic

PROG = "python -m training.forecast_samples"
LEARN, JUDGE = "learn", "judge"
"""folders of simulated motions"""
SETTINGS = "made.json"
"""what they were made with"""
MAP_SEED, JUDGE_MAP_SEED = 1000, 5000
"""the first seeds of generated maps"""

Job = tuple[Path, Callable[[Path], None]]
"""a file, and who writes it"""


@dataclass(frozen=True)
class ForecastSamples:
    """Write the motions of recorded drives or of simulated traffic into DIR, a file each.

    What is there already is kept: an interrupted run goes on.

    Example: python -m training.forecast_samples --log data/argoverse2/val --out runs/motions/av2

    Simulated traffic, as a run file says (DIR/learn and DIR/judge): python -m
    training.forecast_samples --config forecaster_compact --out runs/motions/sim
    """

    out: Path
    """folder of the files"""
    log: Path | None = None
    """a data set or a drive of any format (docs/data.md)"""
    format: str = "auto"
    """of --log"""
    drives: str = ""
    """of --log: names with commas between them, * and ? as in a shell; empty: all"""
    config: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """a run file by name (forecaster_compact, forecaster_full) or path: how maps are cut, and
    without --log what is simulated"""
    set: Annotated[
        tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="KEY=VALUE")
    ] = ()
    """a value of it, e.g. data.simulated.worlds=20; may be repeated"""
    processes: int = 1
    """that work at once"""

    def run(self) -> int:
        """Write; the exit status."""
        path = find_config(self.config) if self.config else None
        config = load_config(ForecasterTraining, path, self.set)
        if self.processes < 1:
            raise RoadloopError(f"processes is {self.processes}; it must be 1 or more")
        if self.log is not None:
            jobs = recorded_jobs(config.model, self.log, self.out, self.format, self.drives)
        elif config.data.simulated is not None:
            claim(self.out, config.model, config.data.simulated)
            jobs = simulated_jobs(config.model, config.data.simulated, self.out)
        else:
            raise RoadloopError(
                "nothing to write: give --log DIR, or --config forecaster_compact to simulate"
            )
        written = write_all(jobs, self.processes)
        print(f"{self.out}: {written} of {len(jobs)} drives written, the others were there")
        return 0


def recorded_jobs(
    config: ForecastConfig, log: Path, out: Path, format: str = "auto", drives: str = ""
) -> list[Job]:
    """A job for each drive of a data set."""
    from roadloop.datasets.convert import chosen
    from roadloop.datasets.formats import list_drives

    found, names = list_drives(log, format)
    return [
        (out / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.npz",
         partial(_write_recorded, config, log, name, found))
        for name in chosen(names, drives)
    ]  # fmt: skip


def _write_recorded(config: ForecastConfig, log: Path, name: str, format: str, path: Path) -> None:
    from roadloop.datasets.formats import open_recording

    recording = open_recording(log, name, format)
    write_motion(path, motion_of_recording(recording, config.points, config.spacing))


def simulated_jobs(config: ForecastConfig, traffic: SimulatedTraffic, out: Path) -> list[Job]:
    """A job for each world, in ``out/learn`` and ``out/judge``."""
    spans = [(LEARN, traffic.seed, traffic.worlds, MAP_SEED),
             (JUDGE, traffic.judge_seed, traffic.judges, JUDGE_MAP_SEED)]  # fmt: skip
    return [
        (out / folder / f"seed{seed}.npz",
         partial(_write_simulated, config, traffic, seed, first_map))
        for folder, first, count, first_map in spans
        for seed in range(first, first + count)
    ]  # fmt: skip


def _write_simulated(
    config: ForecastConfig, traffic: SimulatedTraffic, seed: int, first_map: int, path: Path
) -> None:
    from roadloop.terminal import start_warp
    from training.simulated_scenarios import street_scenario
    from training.simulated_worlds import SimulatedWorld

    start_warp()
    rng = np.random.default_rng([seed, *b"world"])
    shares = np.array([scene.share for scene in traffic.scenes])
    scene = traffic.scenes[rng.choice(len(shares), p=shares / shares.sum())]
    map_seed = first_map + (seed % traffic.maps if traffic.maps else seed)
    build = partial(street_scenario, scene, seed, map_seed, traffic.seconds, traffic.life)
    world = SimulatedWorld(build, every=1)
    name = f"{scene.family}-seed{seed}"
    write_motion(path, motion_of_world(world, config.points, config.spacing, name))


def claim(out: Path, config: ForecastConfig, traffic: SimulatedTraffic) -> None:
    """Note down what a folder's simulated motions are made with; their number may grow.

    Raises RoadloopError where it holds motions made otherwise, or cannot be written to.
    """
    settings: dict[str, Any] = dataclasses.asdict(traffic)
    for free in ("worlds", "judges"):
        del settings[free]
    text = json.dumps({**settings, "points": config.points, "spacing": config.spacing})
    path = out / SETTINGS
    try:
        if path.is_file() and path.read_text() != text:
            raise RoadloopError(
                f"{out} holds traffic simulated with other settings: give another folder "
                "(data.made), or delete it"
            )
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise RoadloopError(f"cannot write to {out}: {error.strerror}") from error


def write_all(jobs: Sequence[Job], processes: int = 1, *, quiet: bool = False) -> int:
    """Write the files that are not there; how many these were.

    Raises RoadloopError, naming the file, where one cannot be made.
    """
    left = [job for job in jobs if not job[0].is_file()]
    with progress_bar("making samples", "drive", len(left), quiet=quiet) as bar:
        if min(processes, len(left)) <= 1:
            for path, write in left:
                write(path)
                bar.update(1)
            return len(left)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(processes, len(left)), mp_context=context) as pool:
            running = [pool.submit(write, path) for path, write in left]
            try:
                for done in as_completed(running):
                    done.result()
                    bar.update(1)
            except BrokenProcessPool as error:
                raise RoadloopError(
                    "a process that makes samples was killed, perhaps for want of memory: use "
                    "fewer (--processes, workers)"
                ) from error
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
    return len(left)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line; 2 after a mistake in the input."""
    try:
        words = sys.argv[1:] if words is None else words
        return parse(ForecastSamples, "forecast_samples", words, prog=PROG).run()
    except RoadloopError as error:
        if os.environ.get("ROADLOOP_DEBUG") == "1":
            raise
        print(f"forecast_samples: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("forecast_samples: interrupted; what is written is kept", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as leaving:  # after --help
        return leaving.code if isinstance(leaving.code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
