"""The detector's training: resuming to the bit, stopping, two processes, mistakes in one line."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import training.train_detector as script
from perception.checkpoint import load_detector, load_detector_weights
from perception.detector_config import (
    BevGrid,
    DetectorConfig,
    LampState,
    ObjectClass,
    RasterLayer,
)
from training.detector_training import DetectorData, DetectorTraining
from training.train_detector import train

GRID = BevGrid(nx=16, ny=16, cell=2.0)
MODEL = DetectorConfig(
    size=(64, 32), grid=GRID, heights=(0.0,), channels=8, bev_channels=8, bev_down=(8,),
    attention_layers=0, depth_bins=4,
)  # fmt: skip
TINY = DetectorTraining(
    model=MODEL, data=DetectorData(moments=3), batch=2, samples=12, workers=0, validate_every=3,
    validation_clips=3, checkpoint_every=2, tensorboard=False, threads=1, device="cpu",
    learning_rate=1e-3,
)  # fmt: skip


class Clips:
    """Clips of random numbers in the right shapes, with a car where the pictures are bright."""

    def __init__(self, count: int, model: DetectorConfig = MODEL, moments: int = 3) -> None:
        self.count, self.model, self.moments = count, model, moments

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int) -> dict[str, Any]:
        rng, model, times = np.random.default_rng(index), self.model, self.moments
        (width, height), cells, cameras, lights = model.size, model.grid.shape, 4, 2
        small = (height // 8, width // 8)
        bright = rng.random() < 0.5
        raster = np.zeros((times, len(RasterLayer), *cells), np.uint8)
        raster[:, RasterLayer.VEHICLE, :8] = bright
        raster[:, RasterLayer.DRIVABLE, 4:12] = 1
        heat = np.zeros((times, len(ObjectClass), *cells), np.float32)
        heat[:, 0, 4, 4] = bright
        pictures = rng.integers(0, 100, (times, cameras, 3, height, width)) + 150 * bright
        return {
            "drive": f"drive-{index}",
            "moment_valid": np.arange(times) >= index % 2,
            "images": pictures.astype(np.uint8),
            "camera_valid": np.ones((times, cameras), bool),
            "pixel_from_ego": np.tile(
                np.array([[30.0, -20, 0, 0], [15, 0, -20, 28], [1, 0, 0, 0]], np.float32),
                (times, cameras, 1, 1),
            ),
            "motion": rng.normal(0.0, 0.3, (times, 3)).astype(np.float32),
            "motion_valid": np.arange(times) > 0,
            "heat": heat,
            "heat_weight": np.ones_like(heat, np.uint8),
            "box": rng.normal(size=(times, 11, *cells)).astype(np.float32),
            "box_weight": (heat[:, 0] > 0).astype(np.uint8),
            "velocity_weight": (heat[:, 0] > 0).astype(np.uint8),
            "raster": raster,
            "raster_weight": np.ones_like(raster),
            "lane": rng.normal(size=(times, 3, *cells)).astype(np.float32),
            "lane_weight": np.ones((times, *cells), np.uint8),
            "light_heat": np.zeros((times, lights, 1, *small), np.float32),
            "light_box": np.zeros((times, lights, 4, *small), np.float32),
            "light_state": np.full((times, lights, *small), LampState.RED, np.uint8),
            "light_weight": np.ones((times, lights, *small), np.uint8),
            "light_valid": np.ones((times, lights), bool),
            "depth": rng.integers(0, 4, (times, cameras, *small)).astype(np.uint8),
            "semantic": rng.integers(0, 29, (times, cameras, *small)).astype(np.uint8),
        }


def run(out: Path, config: DetectorTraining = TINY, **options: Any) -> int:
    return train(config, out, sources=(Clips(8), Clips(5)), **options)


def rows(folder: Path, name: str = "progress.csv") -> list[str]:
    return (folder / name).read_text().splitlines()


FILES = ("progress.csv", "validation.csv", "detector.safetensors",
         "checkpoints/000006/detector.safetensors", "checkpoints/000006/weights.safetensors",
         "checkpoints/000006/optimiser.safetensors", "checkpoints/000006/state.json")  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps without a break, an epoch being four."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert run(folder) == 0
    return folder


# --- runs ---------------------------------------------------------------------------------------


def test_a_run_leaves_what_it_says(whole: Path) -> None:
    assert len(rows(whole)) == 7 and rows(whole)[0].startswith("step,samples,")
    assert len(rows(whole, "validation.csv")) == 3
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == ["000004", "000006"]
    config, weights, metadata = load_detector_weights(whole)
    assert config == MODEL and metadata["kind"] == "detector" and metadata["seed"] == TINY.seed
    assert metadata["data"]["clips"] == 8 and metadata["training"]["batch"] == 2
    assert metadata["step"] in (3, 6) and metadata["samples"] == 2 * metadata["step"]
    network, _ = load_detector(whole)
    assert not network.training
    assert all(torch.equal(weights[k], v) for k, v in network.state_dict().items())
    from PIL import Image

    with Image.open(whole / "curve.png") as curve:
        assert np.asarray(curve).std() > 5.0


def test_a_killed_run_goes_on_to_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    shutil.copytree(whole, part)
    shutil.rmtree(part / "checkpoints" / "000006")  # killed after step 5, amid the second epoch
    (part / "progress.csv").write_text("\n".join(rows(whole)[:6]) + "\n6,1")
    (part / "detector.safetensors").unlink()
    assert run(part, resume=True) == 0
    for name in FILES:
        if name != "detector.safetensors" or (part / name).exists():
            assert (part / name).read_bytes() == (whole / name).read_bytes(), name


def test_ctrl_c_ends_after_the_step_and_the_rest_is_the_same(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, steps = script.learn, []

    def interrupted(*args: Any) -> dict[str, float]:
        steps.append(1)
        if len(steps) == 3:
            signal.raise_signal(signal.SIGINT)
        return learn(*args)

    monkeypatch.setattr(script, "learn", interrupted)
    assert run(tmp_path / "run") == 130
    assert len(rows(tmp_path / "run")) == 4
    assert load_detector_weights(tmp_path / "run")[2]["step"] == 3
    monkeypatch.setattr(script, "learn", learn)
    assert run(tmp_path / "run", resume=True) == 0
    for name in FILES:
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes(), name
