"""How long a detector takes per moment, from pictures as a camera gives them to a percept."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perception.checkpoint import load_detector_weights
from perception.detector import CameraDetector
from roadloop.config import dump_config
from roadloop.rig import SensorRig
from roadloop.stage_times import ALL

if TYPE_CHECKING:
    from training.evaluate_detector import DriveFile
    from training.evaluation_run import Judge

WARM_UP = 3
"""moments before any is timed: libraries choose their kernels in the first"""
THREADS = (1, 2)


def measure_latency(judge: Judge, drive: DriveFile, moments: int) -> list[dict[str, float]]:
    """ms per moment of the stages of `perception.detector.CameraDetector`, by number of threads.

    Wall clock, median and 95th percentile; ``processor`` is the median processor time of all
    threads together, which other programs on the machine hardly change. Pictures are decoded before
    they are handed over, as a camera's are. [] for detectors that use more than cameras, which that
    class does not serve. Raises RoadloopError as it does.
    """
    config, _, _ = load_detector_weights(judge.checkpoint)
    if config.lidar or config.radar:
        return []
    recording = drive.open()
    cameras = tuple(camera.name for camera in recording.rig.cameras)
    with tempfile.TemporaryDirectory() as folder:
        rig = Path(folder) / "rig.yaml"
        only = SensorRig(recording.rig.name, cameras=recording.rig.cameras)
        rig.write_text(dump_config(only), encoding="utf-8")
        rows = []
        for threads in THREADS:
            detector = CameraDetector.load(
                judge.checkpoint,
                rig=str(rig),
                threads=threads,
                device=judge.device,
                bf16=judge.bf16,
            )
            detector.reset()
            busy: list[float] = []
            for step in range(min(len(recording), WARM_UP + moments)):
                observation = recording.observation(step, cameras)
                for image in observation.cameras.values():
                    _ = image.rgb  # decoded now, and kept
                if step == WARM_UP:
                    detector.times.reset()
                    busy.clear()
                before = time.process_time()
                with detector.times.step():
                    detector.perceive(observation)
                busy.append(1e3 * (time.process_time() - before))
            row = {"threads": float(threads)}
            for stage, found in detector.times.summary().items():
                name = "all" if stage == ALL else stage
                row |= {name: found.median, f"{name} p95": found.p95}
            rows.append({**row, "processor": float(np.median(busy))})
    return rows
