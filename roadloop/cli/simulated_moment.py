"""What a detector gets in the simulator's town: a moment with a memory, to check exported files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from perception.detector_config import DetectorConfig

Array = np.ndarray


def simulated_moments(config: DetectorConfig, checkpoint: Path) -> dict[str, dict[str, Array]]:
    """``simulated``: the engine's inputs at the last of a few moments, with a state from before.

    The car rolls through dense traffic without steering, for as long as the memory is old.

    Raises:
        RoadloopError: a rig that the simulator cannot carry.
    """
    from perception.checkpoint import load_detector
    from perception.detector import CameraDetector
    from perception.torch_engine import torch_engine
    from roadloop.terminal import start_warp
    from roadloop.types import Control
    from sim.scenarios import build_scenario
    from sim.simulator import SimWorld

    start_warp()
    network, _ = load_detector(checkpoint)
    run = torch_engine(network)
    seen: list[dict[str, Array]] = []

    def engine(inputs: Mapping[str, Array]) -> dict[str, Array]:
        seen.append({name: np.array(value) for name, value in inputs.items()})
        return run(inputs)

    detector = CameraDetector(config, engine)
    step = config.state_age if config.temporal else 0.1
    scenario = build_scenario("dense_town", duration=4.0 * step, dt=step)
    world = SimWorld()
    observation = world.reset(scenario, detector.sensors)
    detector.perceive(observation)
    while config.temporal and not seen[-1]["state_valid"]:
        observation = world.step(Control(np.array(0.0), np.array(0.0)))
        detector.perceive(observation)
    return {"simulated": seen[-1]}
