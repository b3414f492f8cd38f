"""The command line with a driver that sees by itself: what is printed, kept and refused."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_detector import tiny_checkpoint, tiny_network

import sim.evaluate
from perception.detector import checkpoint_label
from perception.fold_norms import fold_norms
from perception.torch_engine import torch_engine
from roadloop.cli import main
from roadloop.cli.senses import Senses, timings_text
from roadloop.errors import RoadloopError
from roadloop.stage_times import StageTimes, TimeBudget


def test_a_drive_says_what_its_steps_take(tmp_path, capsys):
    checkpoint = tiny_checkpoint(tmp_path / "tiny")
    out = tmp_path / "out"
    words = ["drive", "lead_vehicle_brake", "--perception", str(checkpoint.parent)]
    words += ["--seconds", "0.4", "--no-video", "--latency", "0.1", "--out", str(out)]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["driver"] == f"route-follower+{checkpoint_label(checkpoint)}@0.1s"
    assert {"network", "rectify", "lights", "all"} < set(found["stages_ms"])
    assert set(found["stages_ms"]["all"]) == {"median", "p95", "budget"}
    assert found["times_real_time"] > 0.0 and found["faults"] == []
    assert "times real time" in (out / "report.html").read_text(encoding="utf-8")


def test_a_run_is_not_resumed_with_another_checkpoint(tmp_path, capsys, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sim.evaluate, "evaluate", stopped)
    file = tiny_checkpoint(tmp_path / "tiny", seed=0)
    words = ["score", "smoke", "--out", str(tmp_path / "out"), "--workers", "1"]
    words += ["--perception", str(file)]
    assert main(words) == 130
    assert main([*words, "--resume"]) == 130
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert list(run["files"]) == [str(file)] and "torch" in run["versions"]
    tiny_checkpoint(tmp_path / "tiny", seed=1)
    capsys.readouterr()
    assert main([*words, "--resume"]) == 2
    assert "holds a run of another driver (route-follower+tiny@" in capsys.readouterr().err


def test_faults_are_told_once_when_they_change():
    told: list[str] = []
    stack = SimpleNamespace(name="d", faults=(), sight=object(), timings=dict)
    late = SimpleNamespace(driver=stack)
    senses = Senses(late, told.append)  # type: ignore[arg-type]
    lines = [(), ("a is black",), ("a is black",), ("a is black", "b is frozen"), ()]
    for step, faults in enumerate(lines):
        stack.faults = faults
        senses.listen(SimpleNamespace(time=0.1 * step, dt=0.1))  # type: ignore[arg-type]
    assert told == [
        "0.1 s: a is black",
        "0.3 s: b is frozen",
        "0.4 s: mended: a is black",
        "0.4 s: mended: b is frozen",
    ]
    assert senses.facts()["Sensor faults"].startswith("0.1 s: a is black · 0.3 s: a is black; b is")


def test_stages_are_summed_and_compared_with_their_budget():
    now = iter(np.cumsum([0.0, 0.0, 0.080, 0.0, 0.030, 0.010]).tolist())
    times = StageTimes(TimeBudget(network=100.0), clock=lambda: next(now))
    with times.step():
        for _ in range(2):
            with times.stage("network"):
                pass
    found = times.summary()
    assert found["network"].median == pytest.approx(110.0)
    assert found["all"].median == pytest.approx(120.0) and found["all"].budget == 140.0
    text = timings_text(found, 0.1)
    assert text.startswith("120 ms (95 %: 120, budget 140), 0.8 times real time: network 110.0 ms")
    assert text.endswith("over budget (95 %): network 110 of 100 ms")
    with pytest.raises(RoadloopError, match="budget of plan is 0"):
        TimeBudget(plan=0)


def test_folding_changes_nothing_but_the_last_digits():
    network = tiny_network()
    rng = np.random.default_rng(0)
    inputs = {
        "images": rng.integers(0, 255, (4, 3, 32, 64)).astype(np.uint8),
        "camera_valid": np.array([True, True, False, True]),
        "pixel_from_ego": rng.normal(0.0, 20.0, (4, 3, 4)).astype(np.float32),
        "motion": np.array([2.0, 0.1, 0.02], np.float32),
        "motion_valid": np.bool_(True),
        "state": rng.normal(size=(16, 16, 16)).astype(np.float32),
        "state_valid": np.bool_(True),
    }
    frame = {k: torch.as_tensor(v)[None] for k, v in inputs.items()}
    with torch.inference_mode():
        plain = network(frame, frame["state"], frame["state_valid"])
    folded = torch_engine(network)(inputs)
    assert fold_norms(network) == 0
    assert set(folded) == set(plain)
    for name, value in plain.items():
        assert np.allclose(folded[name], value[0].numpy(), atol=1e-4), name


@pytest.mark.parametrize(
    ("options", "message"),
    [({"device": "abacus"}, 'no device "abacus"'), ({"threads": 0}, "it must")],
)
def test_an_engine_that_cannot_be_is_refused(options, message):
    with pytest.raises(RoadloopError, match=message):
        torch_engine(tiny_network(), **options)
