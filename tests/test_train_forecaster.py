"""The forecaster's training: motions of drives, moments of them, resuming to the bit, mistakes."""

from __future__ import annotations

import dataclasses
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
from test_forecast_network import TINY as MODEL
from test_forecast_network import road

import training.train_forecaster as script
from perception.forecast_checkpoint import load_forecaster, load_forecaster_weights
from perception.forecast_config import PieceKind
from perception.forecast_inputs import MapPieces, cut_map
from perception.learned_forecaster import LearnedForecaster
from roadloop.cli import main as roadloop
from roadloop.config import find_config, load_config
from roadloop.errors import RoadloopError
from roadloop.logs.recording import Recording
from roadloop.rig import SensorRig
from roadloop.types import AgentStates, EgoState
from training.forecast_augmentation import ForecastAugmentation, augmented, worse
from training.forecast_motion import (
    Motion,
    motion_of_recording,
    motion_of_world,
    read_motion,
    write_motion,
)
from training.forecast_samples import main as make_samples
from training.forecast_samples import recorded_jobs, simulated_jobs, write_all
from training.forecast_scenes import (
    STANDING,
    ForecastArrays,
    ForecastScenes,
)
from training.forecast_training import ForecastData, ForecasterTraining, SimulatedTraffic
from training.simulated_data import SceneShare
from training.train_forecaster import main, train

Array = np.ndarray
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

EXACT = ForecastAugmentation(
    noisy=0.0, short=0.0, gap=0.0, missed=0.0, dark=0.0, unmapped=0.0, plain=0.0, unpaved=0.0,
    mirrored=0.0, scaled=0.0,
)  # fmt: skip
TINY = ForecasterTraining(
    model=MODEL, data=ForecastData(moments=8, judged=5), batch=2, epochs=1.5, workers=0, threads=1,
    validate_every=3, checkpoint_every=2, tensorboard=False, device="cpu",
)  # fmt: skip


def motion(seed: int, steps: int = 45, count: int = 5) -> Motion:
    """Circles at even speed, one who brakes and stands, one parked thing; the last comes late."""
    rng = np.random.default_rng(seed)
    t = 0.1 * np.arange(steps)[:, None]
    speed = np.tile(rng.uniform(2.0, 10.0, count), (steps, 1))
    speed[:, 1] = np.maximum(6.0 - 2.0 * t[:, 0], 0.0)
    speed[:, 2] = 0.0
    rate = np.append(0.0, rng.uniform(-0.3, 0.3, count - 1)) * (speed > 0)
    heading = rng.uniform(-3.0, 3.0, count) + np.cumsum(0.1 * rate, axis=0)
    vx, vy = speed * np.cos(heading), speed * np.sin(heading)
    x, y = rng.uniform(0.0, 60.0, (2, count))
    valid = np.ones((steps, count), bool)
    valid[:10, -1] = False

    def same(value: Any) -> Array:
        return np.tile(np.asarray(value), (steps, 1))

    states = AgentStates(
        id=same(np.arange(count)), kind=same([0, 2, 7, 6, 5][:count]).astype(np.uint8),
        x=x + np.cumsum(0.1 * vx, 0), y=y + np.cumsum(0.1 * vy, 0), z=0.0 * speed,
        heading=heading, vx=vx, vy=vy, length=same(np.full(count, 4.0)),
        width=same(np.full(count, 1.8)), height=same(np.full(count, 1.5)), valid=valid,
    )  # fmt: skip
    lights = np.full((steps, 2), 1 + seed % 4, np.uint8)
    pieces = cut_map(road(), MODEL.points, MODEL.spacing)
    return Motion(f"drive-{seed}", states, pieces, MODEL.spacing, lights, {"dataset": "test"})


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("motions")
    for seed in range(4):
        write_motion(folder / ("learn" if seed < 3 else "judge") / f"{seed}.npz", motion(seed))
    return folder


def tiny(drives: Path, **changes: Any) -> ForecasterTraining:
    data = replace(TINY.data, folders=(drives / "learn",), validation=(drives / "judge",))
    return replace(TINY, **({"data": data} | changes))


def rows(folder: Path, name: str = "progress.csv") -> list[str]:
    return (folder / name).read_text().splitlines()


FILES = ("progress.csv", "validation.csv", "forecaster.safetensors",
         "checkpoints/000006/forecaster.safetensors", "checkpoints/000006/weights.safetensors",
         "checkpoints/000006/optimiser.safetensors", "checkpoints/000006/state.json")  # fmt: skip


@pytest.fixture(scope="module")
def whole(drives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps without a break, one and a half epochs."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert train(tiny(drives), folder) == 0
    return folder


# --- motions ------------------------------------------------------------------------------------


def test_a_motion_comes_back_as_it_was(tmp_path: Path) -> None:
    made = motion(1)
    write_motion(tmp_path / "a.npz", made)
    back = read_motion(tmp_path / "a.npz")
    assert (back.name, back.spacing, back.about) == (made.name, made.spacing, made.about)
    shift = made.states.x[0, 0] - back.states.x[0, 0], made.states.y[0, 0] - back.states.y[0, 0]
    assert np.array_equal(back.states.valid, made.states.valid)
    there = made.states.valid
    for name in ("x", "y", "heading", "vx", "vy", "length", "kind"):
        gap = getattr(made.states, name) - getattr(back.states, name)
        wanted = {"x": shift[0], "y": shift[1]}.get(name, 0.0)
        assert np.allclose(gap[there], wanted, atol=1e-4), name
    assert np.allclose(made.pieces.points - back.pieces.points, shift, atol=1e-4)
    assert np.array_equal(made.pieces.features, back.pieces.features)
    assert back.lights is not None and np.array_equal(made.lights, back.lights)


def recorded(stamps: Array, **changes: Any) -> Recording:
    """The ego goes east at 5 m/s; one other turns at 1 rad/s and is gone at the third step."""
    t = stamps * 1e-6
    heading = np.angle(np.exp(1j * (3.0 + t)))[:, None]
    valid = np.ones((len(t), 1), bool)
    valid[2] = False
    size = np.full((len(t), 1), 2.0)
    agents = AgentStates(
        id=np.full((len(t), 1), 7), kind=np.zeros((len(t), 1), np.uint8), x=np.sin(t)[:, None],
        y=-np.cos(t)[:, None], z=0.0 * size, heading=heading, vx=np.cos(heading),
        vy=np.sin(heading), length=size, width=size, height=size, valid=valid,
    )  # fmt: skip
    zero = 0.0 * t
    pose = np.tile(np.eye(4), (len(t), 1, 1))
    pose[:, 0, 3] = 5.0 * t
    ego = EgoState(5.0 * t, zero, zero, zero, zero + 5.0, zero, zero, zero)
    values = dict(
        name="one", dataset="test", dt=0.5, timestamp_us=stamps, ego=ego, world_from_ego=pose,
        rig=SensorRig("none"), agents=agents, category=np.array(["car"]),
        source_id=np.array(["7"]),
    )  # fmt: skip
    return Recording(**{**values, **changes})


def test_slow_recordings_are_interpolated_where_both_ends_are_known() -> None:
    made = motion_of_recording(recorded(np.arange(6) * 500_000), 4, 2.5)
    assert len(made) == 26 and made.states.valid[:, 0].all()
    front = made.states.x[:, 0] - made.states.x[0, 0]
    assert np.allclose(front, 0.5 * np.arange(26))
    known = made.states.valid[:, 1]
    assert np.flatnonzero(~known).tolist() == list(range(6, 15))  # from 0.5 to 1.5 s, without these
    turn = np.unwrap(made.states.heading[known, 1])
    assert np.allclose(turn - turn[0], 0.1 * np.flatnonzero(known), atol=1e-6)
    even = motion_of_recording(recorded(np.arange(6) * 100_000), 4, 2.5)
    assert len(even) == 6 and not even.states.valid[2, 1]


def test_recordings_without_labels_or_of_single_pictures_are_told() -> None:
    stamps = np.arange(6) * 500_000
    with pytest.raises(RoadloopError, match="has no labels"):
        motion_of_recording(recorded(stamps, agents=None), 4, 2.5)
    with pytest.raises(RoadloopError, match="no continuous steps"):
        motion_of_recording(recorded(stamps, continuous=False), 4, 2.5)


@pytest.mark.parametrize(
    "name", ["argoverse2/motion-forecasting/val", "waymo_motion", "scenarionet"]
)
def test_real_motions_make_samples(name: str, tmp_path: Path) -> None:
    root = DATA / name
    if not root.exists():
        pytest.skip(f"{root} is not there")
    from roadloop.datasets.formats import list_drives

    folder = next((p for p in (root, *sorted(root.rglob("*"))) if _holds(p, list_drives)), None)
    if folder is None:
        pytest.skip(f"{root} holds no drive")
    config = replace(MODEL, agents=16, polylines=24)
    jobs = recorded_jobs(config, folder, tmp_path)[:1]
    assert write_all(jobs, quiet=True) == 1 and write_all(jobs, quiet=True) == 0
    source = ForecastScenes([jobs[0][0]], config, 4)
    made = [ForecastArrays(config)(source.sample(k), np.random.default_rng(k)) for k in range(4)]
    for sample in made:
        assert all(np.isfinite(v).all() for k, v in sample.items() if k != "drive")
        assert sample["weight"].max() > 0 and sample["map_valid"].any()
    # nobody is far from where constant velocity leads in half a second
    first = np.concatenate([s["future"][:, 0] - 5.0 * s["history"][:, -1, 4:6] for s in made])
    seen = np.concatenate([s["future_valid"][:, 0] > 0 for s in made])
    assert np.median(np.hypot(*first[seen].T)) < 0.5


def _holds(path: Path, list_drives: Any) -> bool:
    try:
        return bool(list_drives(path)[1])
    except RoadloopError:
        return False


def test_simulated_worlds_make_samples(tmp_path: Path) -> None:
    traffic = SimulatedTraffic(
        worlds=1, judges=0, scenes=(SceneShare("lane_following", agents=4),), seconds=3.0
    )
    jobs = simulated_jobs(MODEL, traffic, tmp_path)
    assert [path.name for path, _ in jobs] == ["seed1000000.npz"]
    write_all(jobs, quiet=True)
    made = read_motion(jobs[0][0])
    assert len(made) == 31 and made.about == {
        "dataset": "simulated", "family": "lane_following", "seed": 1_000_000}  # fmt: skip
    # what a track's velocity says is where it goes
    s, there = made.states, made.states.valid
    both = there[1:] & there[:-1]
    assert np.abs(np.diff(s.x, axis=0) - 0.05 * (s.vx[1:] + s.vx[:-1]))[both].max() < 0.06
    assert made.states.speed[there].max() > 3.0 and (made.pieces.signal >= -1).all()
    before = jobs[0][0].read_bytes()
    jobs[0][0].unlink()
    write_all(jobs, quiet=True)
    with np.load(jobs[0][0]) as again:
        assert jobs[0][0].stat().st_size == len(before) and again["x"].dtype == np.float32


def test_worlds_of_other_steps_are_refused() -> None:
    class World:
        scenario = type("Scenario", (), {"dt": 0.1})()
        every = 5

    with pytest.raises(RoadloopError, match=r"0\.5 s apart"):
        motion_of_world(World(), 4, 2.5, "w")  # type: ignore[arg-type]


# --- moments ------------------------------------------------------------------------------------


def test_the_future_is_in_each_agent_s_frame(drives: Path) -> None:
    source = ForecastScenes(sorted((drives / "learn").glob("*.npz")), MODEL, 6)
    sample = source.sample(1)
    scene = sample["scene"]
    made = ForecastArrays(MODEL)(sample, np.random.default_rng(0))
    assert {k: made[k].shape for k in MODEL.inputs()} == MODEL.inputs()
    h, x, y = scene.past.heading[-1], scene.past.x[-1], scene.past.y[-1]
    dx, dy = scene.future_x - x, scene.future_y - y
    ahead = (np.cos(h) * dx + np.sin(h) * dy).T
    mine = [k for k in range(6) if made["weight"][k] > 0]
    for k in mine:
        gap = np.abs(ahead - made["future"][k, :, 0]).max(1)
        assert gap.min() < 1e-4
    kinds = made["traits"][:, 2:].argmax(1)
    there = made["agent_valid"] > 0
    assert not made["weight"][there & (kinds == 7)].any()
    assert set(np.unique(made["weight"])) <= {0.0, np.float32(STANDING), 1.0}
    # on a circle the first half second is v t long, but for the bend
    speed = 10.0 * np.hypot(*made["history"][mine, -1, 4:6].T)
    walker = kinds[mine] == 6
    assert np.allclose(np.hypot(*made["future"][mine, 0].T)[walker], 0.5 * speed[walker], atol=0.1)


def test_epochs_draw_other_moments_and_judging_does_not(drives: Path) -> None:
    files = sorted((drives / "learn").glob("*.npz"))
    source = ForecastScenes(files, MODEL, 6, seed=3)
    judge = ForecastScenes(files, MODEL, 6, seed=3, endless=False)

    def places(s: ForecastScenes) -> list[tuple[float, float]]:
        return [(v.x, v.y) for v in (s.sample(k)["scene"] for k in range(6))]

    assert places(source) == places(source.in_epoch(0)) == places(judge.in_epoch(5))
    assert places(source) != places(source.in_epoch(1))
    assert places(source.in_epoch(1)) == places(source.in_epoch(1))


def test_what_is_worse_is_still_there(drives: Path) -> None:
    scene = ForecastScenes(sorted((drives / "learn").glob("*.npz")), MODEL, 3).sample(0)["scene"]
    rng = np.random.default_rng(0)
    same = worse(scene.past, EXACT, rng)
    for f in dataclasses.fields(AgentStates):
        assert np.array_equal(getattr(same, f.name), getattr(scene.past, f.name)), f.name
    gone = worse(scene.past, replace(EXACT, missed=1.0), rng)
    assert gone.valid[-1].sum() == 1  # one stays
    brief = worse(scene.past, replace(EXACT, short=1.0, gap=0.5), rng)
    assert np.array_equal(brief.valid[-1], scene.past.valid[-1]) and brief.valid[0].sum() < 4
    noisy = worse(scene.past, replace(EXACT, noisy=1.0), rng)
    assert 0.0 < np.abs(noisy.x - scene.past.x).max() < 2.0


def test_elsewhere_is_the_same_motion_mirrored_and_scaled(drives: Path) -> None:
    source = ForecastScenes(sorted((drives / "learn").glob("*.npz")), MODEL, 3)
    scene = source.sample(0)["scene"]

    def arrays(**changes: float) -> dict[str, Array]:
        # the factor is drawn: large where the generator's first numbers say so
        look = ForecastArrays(MODEL, replace(EXACT, **changes))
        return look({"drive": "", "scene": scene}, np.random.default_rng(5))

    plain, mirror = arrays(), arrays(mirrored=1.0)
    for name, left in (("future", (1.0, -1.0)), ("history", (1, -1, 1, -1, 1, -1, 1))):
        assert np.allclose(mirror[name], plain[name] * np.float32(left), atol=1e-4), name
    assert np.array_equal(mirror["weight"], plain["weight"])
    here, _ = augmented(scene, EXACT, np.random.default_rng(5))
    there, past = augmented(scene, replace(EXACT, scaled=1.0, scale=2.0), np.random.default_rng(5))
    factor = there.x / here.x
    assert 0.5 <= factor <= 2.0 and abs(factor - 1.0) > 0.01
    assert np.allclose(past.x, factor * here.past.x) and np.allclose(past.vy, factor * here.past.vy)
    assert np.array_equal(past.heading, here.past.heading)
    assert np.allclose(there.future_y, factor * here.future_y)
    assert np.allclose(there.pieces.points, factor * here.pieces.points)


def test_maps_from_elsewhere_say_less(drives: Path) -> None:
    source = ForecastScenes(sorted((drives / "learn").glob("*.npz")), MODEL, 3)
    scene = source.sample(0)["scene"]

    def pieces(**changes: float) -> MapPieces:
        return augmented(scene, replace(EXACT, **changes), np.random.default_rng(1))[0].pieces

    whole, plain, unpaved = pieces(), pieces(plain=1.0), pieces(unpaved=1.0)
    assert np.array_equal(whole.features, scene.pieces.features)
    assert np.array_equal(plain.points, whole.points) and (plain.signal == -1).all()
    kinds = len(PieceKind) + 1  # and whether it is in a junction
    assert np.array_equal(plain.features[:, :kinds], whole.features[:, :kinds])
    assert not plain.features[:, kinds + 1 :].any()
    assert not unpaved.features[:, PieceKind.PAVEMENT].any()
    assert len(pieces(unmapped=1.0).points) == 0


@pytest.mark.parametrize("what", ["damaged", "cut", "short"])
def test_motions_that_do_not_fit_are_told(what: str, drives: Path, tmp_path: Path) -> None:
    path, config = tmp_path / "a.npz", MODEL
    write_motion(path, motion(0, steps=15 if what == "short" else 45))
    if what == "damaged":
        path.write_bytes(path.read_bytes()[:400])
    if what == "cut":
        config = replace(MODEL, points=6)
    told = {"damaged": "damaged", "cut": "pieces of 4 points", "short": "no moment"}[what]
    with pytest.raises(RoadloopError, match=told) as error:
        ForecastScenes([path], config, 2).sample(0)
    assert "\n" not in str(error.value) and "a.npz" in str(error.value)


# --- runs ---------------------------------------------------------------------------------------


def test_a_run_leaves_what_it_says(whole: Path) -> None:
    assert len(rows(whole)) == 7 and rows(whole)[0].startswith("step,samples,total,")
    assert len(rows(whole, "validation.csv")) == 3
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == ["000004", "000006"]
    config, weights, metadata = load_forecaster_weights(whole)
    assert config == MODEL and metadata["kind"] == "forecaster"
    assert metadata["data"]["drives"] == 3 and metadata["training"]["batch"] == 2
    assert metadata["samples"] == 2 * metadata["step"] and metadata["metrics"]["min_ade"] > 0
    network, _ = load_forecaster(whole)
    assert not network.training
    assert all(torch.equal(weights[k], v) for k, v in network.state_dict().items())
    assert LearnedForecaster(whole).config == MODEL
    assert (whole / "curve.png").is_file()


def test_a_killed_run_goes_on_to_the_same_bytes(whole: Path, drives: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    shutil.copytree(whole, part)
    shutil.rmtree(part / "checkpoints" / "000006")  # killed after step 5, amid the second epoch
    (part / "progress.csv").write_text("\n".join(rows(whole)[:6]) + "\n6,1")
    assert train(tiny(drives), part, resume=True) == 0
    for name in FILES:
        assert (part / name).read_bytes() == (whole / name).read_bytes(), name


def test_ctrl_c_ends_after_the_step_and_the_rest_is_the_same(
    whole: Path, drives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, steps = script.learn, []

    def interrupted(*args: Any) -> dict[str, float]:
        steps.append(1)
        if len(steps) == 3:
            signal.raise_signal(signal.SIGINT)
        return learn(*args)

    monkeypatch.setattr(script, "learn", interrupted)
    assert train(tiny(drives), tmp_path / "run") == 130
    assert len(rows(tmp_path / "run")) == 4
    monkeypatch.setattr(script, "learn", learn)
    assert train(tiny(drives), tmp_path / "run", resume=True) == 0
    for name in FILES:
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_run_that_was_stopped_before_it_learnt_begins(
    whole: Path, drives: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part"
    part.mkdir()
    shutil.copyfile(whole / "config.yaml", part / "config.yaml")
    assert train(tiny(drives), part, resume=True) == 0
    for name in FILES:
        assert (part / name).read_bytes() == (whole / name).read_bytes(), name
    with pytest.raises(RoadloopError, match="holds no checkpoint"):
        train(tiny(drives), tmp_path / "nothing", resume=True)


def test_it_learns(drives: Path, tmp_path: Path) -> None:
    data = replace(TINY.data, folders=(drives / "judge",), moments=80, judged=8,
                   validation=(drives / "learn",), augmentation=EXACT)  # fmt: skip
    config = tiny(
        drives, data=data, batch=4, epochs=3.0, learning_rate=1e-2, ema=0.9, validate_every=200
    )
    assert train(config, tmp_path) == 0
    distance = np.array([float(row.split(",")[5]) for row in rows(tmp_path)[1:]])
    assert rows(tmp_path)[0].split(",")[5] == "distance" and len(distance) == 60
    assert distance[-10:].mean() < 0.5 * distance[:5].mean()


def test_a_run_ends_where_it_gets_no_better(drives: Path, tmp_path: Path) -> None:
    config = tiny(drives, validate_every=1, patience=2, learning_rate=1e-12, epochs=5.0)
    assert train(config, tmp_path / "run") == 0
    assert len(rows(tmp_path / "run")) <= 4


def test_fine_tuning_begins_with_the_weights(whole: Path, drives: Path, tmp_path: Path) -> None:
    config = tiny(drives, init=str(whole), learning_rate=1e-12, epochs=0.5)
    assert train(config, tmp_path / "run") == 0
    before = load_forecaster_weights(whole)[1]
    after = load_forecaster_weights(tmp_path / "run")[1]
    assert all(torch.allclose(before[k], after[k], atol=1e-6) for k in before)


def test_without_validation_the_newest_weights_are_the_run_s(drives: Path, tmp_path: Path) -> None:
    data = replace(TINY.data, folders=(drives / "learn",))
    assert train(tiny(drives, data=data, epochs=0.5), tmp_path) == 0
    assert load_forecaster_weights(tmp_path)[2]["step"] == 2
    assert not (tmp_path / "validation.csv").exists()


@pytest.mark.slow
def test_two_processes_train_one_forecaster(drives: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "import test_train_forecaster as t\n"
        "sys.exit(t.train(t.tiny(Path(sys.argv[1])), Path(sys.argv[2])))\n"
    )
    (tmp_path / "two.py").write_text(code)
    here = Path(__file__).resolve().parent
    made = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         str(tmp_path / "two.py"), str(drives), str(tmp_path / "run")],
        capture_output=True, text=True, timeout=300, cwd=here.parent,
        env={**os.environ, "PYTHONPATH": f"{here}:{here.parent}", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-2000:]
    assert load_forecaster_weights(tmp_path / "run")[2]["samples"] == 4 * 3


# --- mistakes -----------------------------------------------------------------------------------


def test_mistakes_are_told_in_one_line(
    drives: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    learn, new = drives / "learn", str(tmp_path / "new")
    asked = [
        (["--out", new], "data.folders is empty"),
        (["--out", new, "--set", f"data.folders=[{empty}]"], "holds no motions"),
        (["--out", new, "--set", f"data.folders=[{learn}]", "--set",
          f"data.validation=[{learn}]"], "is to be learnt from and to judge"),
        (["--out", new, "--config", "nothing"], 'unknown run file "nothing"'),
        (["--out", new, "--set", "batch=0"], "batch is 0"),
        (["--out", new, "--set", "data.simulated={seed: 5}"], "below 1000 they are for evaluation"),
        (["--out", new, "--set", "data.simulated={judge_seed: 1000010}"], "overlap"),
        (["--out", str(whole)], "already holds a run"),
        (["--out", new, "--resume"], "holds no run to resume"),
        (["--out", str(whole), "--resume", "--set", "batch=3"], "made with another batch"),
    ]  # fmt: skip
    for words, told in asked:
        if words[1] == str(whole) and len(words) == 2:
            words = [*words, "--set", f"data.folders=[{learn}]"]
        assert main(words) == 2, words
        said = capsys.readouterr().err
        assert told in said and said.count("\n") == 1 and "Traceback" not in said, said
        assert not Path(new).exists()  # so that the right words find no run there


def test_roadloop_train_knows_forecasters(capsys: pytest.CaptureFixture[str]) -> None:
    assert roadloop(["train", "forecaster"]) == 2
    assert "--config forecaster_compact" in capsys.readouterr().err
    for name in ("forecaster_compact", "forecaster_full"):
        config = load_config(ForecasterTraining, find_config(name))
        assert config.model.horizon >= 6.0
    assert load_config(ForecasterTraining, find_config("forecaster_compact")).data.simulated


def test_samples_are_made_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make_samples(["--out", str(tmp_path)]) == 2
    assert "nothing to write" in capsys.readouterr().err
    assert make_samples(["--out", str(tmp_path), "--log", str(tmp_path / "no")]) == 2
    assert "does not exist" in capsys.readouterr().err
    one = [
        "--out",
        str(tmp_path),
        "--set",
        "data.simulated={worlds: 1, judges: 0, seconds: 1, scenes: [{family: lane_following}]}",
    ]
    from training.forecast_samples import claim

    claim(tmp_path, MODEL, SimulatedTraffic())
    assert make_samples(one) == 2
    assert "other settings" in capsys.readouterr().err


def test_numbers_that_are_not_finite_stop_the_run(
    drives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from perception.forecast_loss import ForecastLoss

    terms = ForecastLoss.terms

    def broken(self: Any, *args: Any) -> dict[str, torch.Tensor]:
        return {name: value * float("nan") for name, value in terms(self, *args).items()}

    monkeypatch.setattr(ForecastLoss, "terms", broken)
    with pytest.raises(RoadloopError, match=r"step 1: not a finite number: .*drive-") as error:
        train(tiny(drives), tmp_path / "run")
    assert "\n" not in str(error.value)
