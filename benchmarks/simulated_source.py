"""Cost of training samples that are simulated and rendered on the fly, and what they show.

    python benchmarks/simulated_source.py --worlds 6

Times are processor time of one thread: of a world (its scenario and simulation, the map and its
scenery apart), of a drive, and of a sample with its share of both; and what share of the samples
shows which objects.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from perception.detector_config import DetectorConfig, ObjectClass
from sim.render.scene import scene_of
from training.detector_frames import DetectorFrames, detector_spec
from training.simulated import SimulatedSource
from training.simulated_data import MIX, SimulatedData


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=6)
    parser.add_argument("--seats", type=int, default=SimulatedData.seats)
    parser.add_argument("--moments", type=int, default=SimulatedData.moments)
    parser.add_argument("--family", default="", help="only this one of the mix")
    parser.add_argument("--detail", default="", choices=("", "plain", "full"))
    parser.add_argument("--effects", type=float, default=0.0)
    given = parser.parse_args()
    scenes = tuple(scene for scene in MIX if given.family in ("", scene.family))
    data = SimulatedData(
        worlds=given.worlds, seats=given.seats, moments=given.moments, scenes=scenes,
        detail=given.detail, effects=given.effects,
    )  # fmt: skip
    config = DetectorConfig()
    source, frames = SimulatedSource(data, detector_spec(config)), DetectorFrames(config)
    spent = dict.fromkeys(("map, scenery", "world", "drive", "sample"), 0.0)
    counted: list[np.ndarray] = []
    clock = time.process_time
    for number in range(data.worlds * data.seats):
        begun = clock()
        if number % data.seats == 0:
            world = source._world(number // data.seats)[0]
            begun, had = clock(), begun
            scene_of(world.scenario.road_map)
            spent["world"] += begun - had
            spent["map, scenery"] += clock() - begun
            begun = clock()
        source._drive(number)
        spent["drive"] += clock() - begun
        for moment in range(data.moments):
            begun = clock()
            sample = source.sample(number * data.moments + moment)
            spent["sample"] += clock() - begun
            found = frames.objects(sample)
            cells = np.rint(config.grid.cells_of(found.boxes[:, :2]))
            on = found.visible & (cells >= 0).all(1) & (cells < config.grid.shape).all(1)
            counted.append(np.bincount(found.object_class[on], minlength=len(ObjectClass)))
    counts = {"map, scenery": data.worlds, "world": data.worlds,
              "drive": data.worlds * data.seats, "sample": len(source)}  # fmt: skip
    for name, seconds in spent.items():
        each, share = 1e3 * seconds / counts[name], 1e3 * seconds / len(source)
        print(f"{name:>14}: {each:8.1f} ms each, {share:6.2f} ms a sample")
    total = 1e3 * sum(spent.values()) / len(source)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'all':>14}: {total:.1f} ms a sample; memory at most {peak:.0f} MB")
    shown = np.array(counted)
    for k in ObjectClass:
        mean, share = shown[:, k].mean(), (shown[:, k] > 0).mean()
        print(f"{k.name.lower():>14}: {mean:5.2f} a sample, in {share:4.0%} of them")
    print(f"{'nothing':>14}: in {(shown.sum(1) == 0).mean():.0%}")


if __name__ == "__main__":
    main()
