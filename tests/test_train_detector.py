"""The detector's training: resuming to the bit, stopping, two processes, mistakes in one line."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import training.train_detector as script
from perception.checkpoint import load_detector, load_detector_weights
from perception.detector_config import (
    BevGrid,
    DetectorConfig,
    LampState,
    ObjectClass,
    RasterLayer,
)
from perception.detector_loss import LossWeights
from roadloop.cli import main as roadloop
from roadloop.config import find_config, load_config
from roadloop.errors import RoadloopError
from roadloop.rig import load_rig
from training.batches import collate
from training.clip_augment import Augmentation, ClipAugment
from training.clip_loss import ClipLoss
from training.detector_sources import Some
from training.detector_training import DetectorData, DetectorTraining
from training.feed import ClipSources
from training.optim import Average, adamw, learning_rate, parameter_groups
from training.pictures import moment_picture
from training.supervised import Progress
from training.team import Team
from training.train_detector import check_shapes, learn, main, make_network, train

GRID = BevGrid(nx=16, ny=16, cell=2.0, y_min=-16.0)
MODEL = DetectorConfig(
    size=(64, 32), grid=GRID, heights=(0.0,), channels=8, bev_channels=8, bev_down=(8,),
    attention_layers=0, depth_bins=4,
)  # fmt: skip
TINY = DetectorTraining(
    model=MODEL,
    data=DetectorData(moments=3, augmentation=Augmentation(mirror=0.0)),
    batch=2, samples=12, workers=0, validate_every=3,
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
        (width, height), cells = model.size, model.grid.shape
        cameras, lights = len(load_rig(model.rig).cameras), len(model.light_cameras)
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
            "moment_valid": np.arange(times) >= min(index % 2, times - 1),
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
    return train(
        config, out, sources=ClipSources(Clips(8), Clips(5), Clips(16, moments=1)), **options
    )


def only(term: str) -> LossWeights:
    return LossWeights(**{f.name: float(f.name == term) for f in dataclasses.fields(LossWeights)})


def rows(folder: Path, name: str = "progress.csv") -> list[str]:
    return (folder / name).read_text().splitlines()


FILES = ("progress.csv", "validation.csv", "detector.safetensors",
         "checkpoints/000006/detector.safetensors", "checkpoints/000006/weights.safetensors",
         "checkpoints/000006/optimiser.safetensors", "checkpoints/000006/state.json")  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps without a break: four of single moments, two of clips."""
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


@pytest.mark.parametrize("last", [1, 3])
def test_ctrl_c_ends_after_the_step_and_the_rest_is_the_same(
    last: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 1 step nothing has judged yet."""

    learn, steps = script.learn, []

    def interrupted(*args: Any) -> dict[str, float]:
        steps.append(1)
        if len(steps) == last:
            signal.raise_signal(signal.SIGINT)
        return learn(*args)

    monkeypatch.setattr(script, "learn", interrupted)
    assert run(tmp_path / "run") == 130
    assert len(rows(tmp_path / "run")) == 1 + last
    assert load_detector_weights(tmp_path / "run")[2]["step"] == last
    monkeypatch.setattr(script, "learn", learn)
    assert run(tmp_path / "run", resume=True) == 0
    for name in FILES:
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes(), name


def test_it_learns_what_the_pictures_show(tmp_path: Path) -> None:
    nothing = {field.name: 0.0 for field in dataclasses.fields(Augmentation)}
    config = replace(
        TINY, batch=4, samples=160, learning_rate=0.02, weight_decay=0.0, clip=100.0, ema=0.9,
        validate_every=40, checkpoint_every=40, loss=only("raster"),
        data=DetectorData(moments=1, augmentation=Augmentation(**nothing)),
    )  # fmt: skip
    sources = ClipSources(Clips(8, moments=1), Clips(5, moments=1))
    assert train(config, tmp_path, sources=sources) == 0
    names, last = (row.split(",") for row in rows(tmp_path, "validation.csv"))
    found = dict(zip(names, last))
    assert float(found["drivable_iou"]) > 0.9 and float(found["vehicle_iou"]) > 0.8


def test_a_run_ends_where_it_gets_no_better(tmp_path: Path) -> None:
    config = replace(TINY, validate_every=1, patience=2, learning_rate=1e-12, samples=200)
    assert run(tmp_path / "run", config) == 0
    assert len(rows(tmp_path / "run")) == 4  # the first is the best, two are no better
    assert load_detector_weights(tmp_path / "run")[2]["step"] == 1
    assert run(tmp_path / "run", config, resume=True) == 0  # it has ended, and stays so
    assert len(rows(tmp_path / "run")) == 4


def test_a_validation_without_anything_to_judge_decides_nothing() -> None:
    at = Progress(step=3)
    assert not at.judge(float("nan")) and at.best is None and at.waited == 0
    assert at.judge(0.1) and at.best_step == 3


def test_too_few_clips_are_told_before_the_single_moments_are_learnt(tmp_path: Path) -> None:
    sources = ClipSources(Clips(1), None, Clips(16, moments=1))
    with pytest.raises(RoadloopError, match="1 samples give process 0 of 1 no batch of 2"):
        train(TINY, tmp_path / "run", sources=sources)
    assert not (tmp_path / "run").exists()


def test_without_validation_the_newest_weights_are_the_run_s(tmp_path: Path) -> None:
    config = replace(TINY, samples=4)
    assert train(config, tmp_path, sources=ClipSources(Clips(4), None)) == 0
    assert load_detector_weights(tmp_path)[2]["step"] == 2
    assert not (tmp_path / "validation.csv").exists()


def test_fine_tuning_begins_with_the_weights_and_leaves_frozen_stages(
    whole: Path, tmp_path: Path
) -> None:
    config = replace(TINY, init=str(whole), freeze=("pictures",), samples=8)
    assert run(tmp_path / "run", config) == 0
    before = load_detector_weights(whole)[1]
    after = load_file(tmp_path / "run" / "checkpoints" / "000004" / "weights.safetensors")
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("pictures.")} <= same
    assert "objects.out.weight" not in same


@pytest.mark.slow
def test_two_processes_train_one_detector(whole: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dataclasses import replace\n"
        "import test_train_detector as t\n"
        "sys.exit(t.run(Path(sys.argv[1]), replace(t.TINY, samples=12, validate_every=2), "
        "resume=len(sys.argv) > 2))\n"
    )
    (tmp_path / "two.py").write_text(code)
    here = Path(__file__).resolve().parent

    def both(*words: str) -> None:
        made = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
             "2", str(tmp_path / "two.py"), *words],
            env={**os.environ, "PYTHONPATH": f"{here}:{here.parent}", "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr

    both(str(tmp_path / "two"))
    found = rows(tmp_path / "two")
    assert [row.split(",")[1] for row in found[1:]] == ["4", "8", "12"]
    assert len(rows(tmp_path / "two", "validation.csv")) == 3
    shutil.rmtree(tmp_path / "two" / "checkpoints" / "000003")
    both(str(tmp_path / "two"), "--resume")
    assert rows(tmp_path / "two") == found


# --- the loss of a clip -------------------------------------------------------------------------


def batch(indices: range, moments: int = 3) -> dict[str, Any]:
    clips = Clips(8, moments=moments)
    return collate([clips.sample(k) for k in indices])


def test_moments_that_are_not_there_count_nothing() -> None:
    loss = ClipLoss(make_network(TINY).eval(), TINY)
    clip = batch(range(1, 2))  # its first moment is not valid
    shorter = {k: v[:, 1:] if isinstance(v, torch.Tensor) else v for k, v in clip.items()}
    with torch.no_grad():
        part = float(loss(shorter, 0.0)[0]["total"])
        assert float(loss(clip, 0.0)[0]["total"]) == pytest.approx(part, rel=1e-6)
        clip["heat"][:, 0] = clip["images"][:, 0] = 77  # nor what is in them
        assert float(loss(clip, 0.0)[0]["total"]) == pytest.approx(part, rel=1e-6)


def test_a_dropped_state_is_as_none_and_gradients_end_after_two_moments() -> None:
    network = make_network(TINY).eval()
    loss, clip = ClipLoss(network, TINY), batch(range(0, 2, 2))
    every = torch.ones(1, 3, dtype=torch.bool)
    alone = {k: v[:, 2:] if isinstance(v, torch.Tensor) else v for k, v in clip.items()}
    dropped, single = loss(clip, 0.0, every)[1], loss(alone, 0.0)[1]
    torch.testing.assert_close(dropped["raster"], single["raster"])
    kept = loss(clip, 0.0)[1]
    assert (kept["raster"] - single["raster"]).abs().max() > 1e-4

    flows: list[bool] = []
    assert network.memory is not None
    network.memory.register_forward_pre_hook(lambda _, given: flows.append(given[1].requires_grad))
    loss(clip, 0.0)
    assert flows == [False, True, False]


def test_bf16_is_near_fp32() -> None:
    network, clip = make_network(TINY), batch(range(2))
    with torch.no_grad():
        exact = float(ClipLoss(network, TINY)(clip, 0.0)[0]["total"])
        half = float(ClipLoss(network, replace(TINY, precision="bf16"))(clip, 0.0)[0]["total"])
    assert half == pytest.approx(exact, rel=0.03) and half != exact


# --- optimisation -------------------------------------------------------------------------------


def test_norms_and_biases_are_not_decayed() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    decayed, free = parameter_groups(module, 0.1)
    assert [p.ndim for p in decayed["params"]] == [4, 2] and decayed["weight_decay"] == 0.1
    assert [p.ndim for p in free["params"]] == [1, 1, 1, 1] and free["weight_decay"] == 0.0
    module[0].requires_grad_(False)
    assert sum(len(g["params"]) for g in adamw(module, 1e-3, 0.1).param_groups) == 4


def test_the_learning_rate_rises_then_falls_by_a_cosine() -> None:
    rates = [learning_rate(step, 100, 2.0, 0.1) for step in range(101)]
    assert rates[0] == pytest.approx(2.0 / 11.0) and rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(0.5 * (2.0 + 0.02)) and rates[100] == pytest.approx(0.02)
    assert all(a < b for a, b in itertools.pairwise(rates[:11])) and max(rates) == 2.0
    assert learning_rate(0, 10, 2.0, 0.0) == 2.0


def test_averaged_weights_follow_from_the_first_step_on() -> None:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    network[0].weight.data.fill_(0.0)
    average = Average(network, 0.9)
    network[0].weight.data.fill_(1.0)
    average.update(network, 1)
    assert float(average.network[0].weight) == pytest.approx(1.0 - 2.0 / 11.0)
    for step in range(2, 200):
        average.update(network, step)
    assert float(average.network[0].weight) == pytest.approx(1.0)
    assert not average.network.training and network.training


# --- mistakes -----------------------------------------------------------------------------------


def test_a_loss_that_is_not_a_number_names_step_term_and_drives(tmp_path: Path) -> None:
    class Broken(Clips):
        def sample(self, index: int) -> dict[str, Any]:
            clip = super().sample(index)
            if index == 3:
                clip["lane"][:] = np.nan
            return clip

    config = replace(TINY, checkpoint_every=1, validate_every=100)
    with pytest.raises(RoadloopError, match=r"step \d+: not a finite number: lane, total"
                       r".* of clips from .*drive-3") as caught:  # fmt: skip
        train(config, tmp_path, sources=ClipSources(Broken(4), None))
    assert "\n" not in str(caught.value)
    if (tmp_path / "detector.safetensors").exists():  # not if it was the first step
        assert torch.isfinite(load_detector_weights(tmp_path)[1]["objects.out.weight"]).all()


def test_pictures_of_another_size_are_refused(tmp_path: Path) -> None:
    other = Clips(4, replace(MODEL, size=(96, 32)))
    with pytest.raises(RoadloopError, match=r"images of clips from drive-\d are \(4, 3, 32, 96\), "
                       r"the network's \(4, 3, 32, 64\)"):  # fmt: skip
        train(TINY, tmp_path, sources=ClipSources(other, None))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config", "detector_compct"], 'did you mean "detector_compact"?'),
        (["--set", "modle.channels=3"], 'unknown key "modle"; did you mean "model"?'),
        (["--set", "model.backbone=regnetx002"], 'did you mean "regnetx_002"?'),
        (["--set", "learning_rate=fast"], "learning_rate: expected a plain number"),
        (["--set", "batch=0"], "batch is 0: it must be above 0"),
        (["--set", "ema=1"], "ema is 1.0: it must be in [0, 1)"),
        (["--set", "freeze=[picturs]"], 'unknown stage "picturs"; did you mean "pictures"?'),
        (["--set", "freeze=[pictures]"], "data.folders is empty"),
        (["--set", "data.folders=[nowhere]"], "nowhere does not exist"),
        (["--set", "data.balance=class", "--set", "data.simulated={}"], "is of recorded drives"),
        (["--set", "init=nothing.safetensors"], "nothing.safetensors: no such file"),
        (["--set", "device=cuda:7"], 'no device "cuda:7"'),
        (["--resume"], "holds no run to resume"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if said.startswith("no device") and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main(["--out", str(tmp_path / "run"), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_verb_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "run")]
    assert (
        roadloop(["train", "detector", "--config", "detector_compact", *out, "--set", "a=1"]) == 2
    )
    assert 'unknown key "a"' in capsys.readouterr().err
    assert roadloop(["train", "detector"]) == 2
    assert "--config detector_compact" in capsys.readouterr().err
    assert roadloop(["train", "--help"]) == 0
    assert "Example: roadloop train detector --config detector_compact" in capsys.readouterr().out


def test_a_run_is_not_overwritten_or_resumed_with_other_numbers(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RoadloopError, match="use --resume or --overwrite"):
        run(whole)
    assert main(["--out", str(whole), "--resume", "--set", "seed=5"]) == 2
    assert "was made with another seed" in capsys.readouterr().err
    with pytest.raises(RoadloopError, match="samples 8, this one has 9"):
        train(TINY, whole, resume=True, sources=ClipSources(Clips(9), Clips(5)))


def test_files_that_are_no_detector_are_refused(whole: Path, tmp_path: Path) -> None:
    pickled = tmp_path / "model.safetensors"
    torch.save({"a": torch.ones(2)}, pickled)
    (tmp_path / "model.pt").write_bytes((whole / "detector.safetensors").read_bytes())
    for path in (pickled, tmp_path / "model.pt"):
        with pytest.raises(RoadloopError, match="may run code when they are read"):
            load_detector_weights(path)
    (tmp_path / "cut.safetensors").write_bytes((whole / "detector.safetensors").read_bytes()[:-9])
    with pytest.raises(RoadloopError, match="is damaged or no safetensors file"):
        load_detector_weights(tmp_path / "cut.safetensors")
    with pytest.raises(RoadloopError, match="no such file"):
        load_detector_weights(tmp_path / "none.safetensors")
    with pytest.raises(RoadloopError, match=r"holds no detector\.safetensors"):
        load_detector_weights(tmp_path)
    save_file({"a": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(RoadloopError, match="is no detector of roadloop"):
        load_detector_weights(tmp_path / "other.safetensors")
    config, weights, metadata = load_detector_weights(whole)
    metadata["config"]["wings"] = 2
    save_file(weights, tmp_path / "new.safetensors", {"roadloop": json.dumps(metadata)})
    with pytest.raises(RoadloopError, match=r'another version of roadloop: .* unknown key "wings"'):
        load_detector_weights(tmp_path / "new.safetensors")
    with pytest.raises(RoadloopError, match=r"enter\.0\.weight is \(8, 11, 1, 1\), must be \(9, "):
        make_network(replace(TINY, model=replace(config, bev_channels=9), init=str(whole)))


def test_the_shipped_run_files_are_what_they_say() -> None:
    compact = load_config(DetectorTraining, find_config("detector_compact"))
    full = load_config(DetectorTraining, find_config("detector_full"))
    assert compact.model == DetectorConfig()
    assert full.model.size == (704, 256) and full.precision == "bf16"
    for config in (compact, full):  # a rig that is mirrored is its own mirror image
        ClipAugment(config.model, config.data.augmentation)


def test_the_full_detector_learns_for_a_step() -> None:
    full = load_config(DetectorTraining, find_config("detector_full"))
    grid = BevGrid(x_min=-51.2, y_min=-51.2, nx=16, ny=16, cell=6.4)  # the same ground, coarser
    config = replace(full, model=replace(full.model, size=(64, 32), grid=grid), device="cpu")
    network = make_network(config)
    clip = collate([Clips(1, config.model, moments=2).sample(0)])
    check_shapes(clip, network)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimiser = adamw(network, config.learning_rate, config.weight_decay)
    values = learn(ClipLoss(network, config), optimiser, clip, config, 1, 10, Team())
    assert all(np.isfinite(value) for value in values.values())
    learnt = {n.split(".")[0] for n, p in network.named_parameters() if not p.equal(before[n])}
    assert learnt == {name.split(".")[0] for name in before}


def test_some_clips_lie_evenly_over_all() -> None:
    clips = Some(Clips(10), 4)
    assert [clips.sample(k)["drive"] for k in range(len(clips))] == [
        "drive-0", "drive-3", "drive-6", "drive-9"
    ]  # fmt: skip
    assert len(Some(Clips(2), 4)) == 2


def test_a_picture_of_a_moment_shows_found_beside_true() -> None:
    truth = np.zeros((len(RasterLayer), 16, 16))
    truth[RasterLayer.DRIVABLE, :, 8:] = 1.0
    shown = moment_picture(np.zeros((32, 64, 3), np.uint8), truth, truth, np.ones((16, 16), bool))
    assert shown.shape == (256, 512 + 2 * 256, 3)
    assert (shown[:, 512:768] == shown[:, 768:]).all() and shown[:, :512].max() == 0
    assert shown[10, 520].sum() > shown[10, 760].sum()  # the left of the grid is left
