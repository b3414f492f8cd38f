"""Suite runs: same bytes whoever computes them and however often they are killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from misbehaving import TROUBLE, Misbehaving

from deploy.drivers import make_driver
from roadloop.cli import main
from roadloop.errors import RoadloopError
from roadloop.suites.results import read_results, start_run, table_hash
from sim.evaluate import Job, evaluate
from sim.suite import load_suite, suite_names
from sim.workers import GIB, choose_workers

SMALL = """
description: Four short drives.
cases:
  - scenario: cut_in
    seeds: 2
    seconds: 2
  - scenario: pedestrian_crossing
    seeds: [4]
    seconds: 2
  - scenario: parked_obstruction
    seconds: 2
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite of four cases."""
    path = tmp_path_factory.mktemp("suite") / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def whole(small: Path) -> Path:
    """The folder of its run, never interrupted."""
    folder = small.parent / "whole"
    assert main(["score", str(small), *OPTIONS, "--out", str(folder)]) == 0
    assert len(read_results(folder).finished) == 4
    return folder


OPTIONS = ("--workers", "2", "--json", "--replays", "all")


def begin(folder: Path, whole: Path) -> Path:
    """The folder of a run like ``whole`` of which nothing is driven yet."""
    start_run(folder, json.loads((whole / "run.json").read_text()))
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything that is driven and scored; the wall clock and what is made of it left out."""
    left_out = ("timings.jsonl", "summary.json", "index.html")
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name not in left_out]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def test_one_worker_leaves_the_bytes_of_two(small: Path, whole: Path, tmp_path: Path) -> None:
    begin(tmp_path, whole)
    job = Job(partial(make_driver, "route-follower"), tmp_path, replays="all")
    evaluate(load_suite(small), job, workers=1, memory=4 * GIB)
    assert files_of(tmp_path) == files_of(whole)


def test_what_is_on_disk_is_not_driven_again(small: Path, whole: Path, tmp_path: Path) -> None:
    begin(tmp_path, whole)
    lines = (whole / "cases.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "cases.jsonl").write_text(lines[3] + lines[0] + lines[2])
    driven = []
    evaluate(
        load_suite(small),
        Job(partial(make_driver, "route-follower"), tmp_path),
        workers=1,
        memory=4 * GIB,
        on_case=lambda result: driven.append(result.case),
    )
    assert driven == ["cut_in-1"]
    assert table_hash(tmp_path) == table_hash(whole)


def test_killed_at_any_moment_and_resumed_it_ends_the_same(
    small: Path, whole: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "roadloop", "score", str(small), *OPTIONS, "--resume"]
    rng = random.Random(0)
    kills = 0
    while True:
        run = subprocess.Popen(
            [*command, "--out", str(tmp_path)], stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            run.wait(timeout=rng.uniform(1.0, 4.0) * (1 + kills))  # so that it ends at last
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.wait()
            kills += 1
        if run.returncode >= 0:
            break
    assert run.returncode == 0 and kills >= 1
    assert files_of(tmp_path) == files_of(whole)
    for name in ("summary.json", "index.html"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


def test_a_line_cut_off_by_a_kill_is_driven_again(small: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    cases = folder / "cases.jsonl"
    cases.write_bytes(cases.read_bytes()[:-20])
    assert len(read_results(folder).cases) == 3
    assert main(["score", str(small), *OPTIONS, "--out", str(folder), "--resume"]) == 0
    assert files_of(folder) == files_of(whole)
    damaged = cases.read_text().replace("{", "[", 1)
    cases.write_text(damaged)
    with pytest.raises(RoadloopError, match=r"cases.jsonl:1: damaged"):
        read_results(folder)


def test_whatever_a_driver_does_the_other_cases_are_unharmed(tmp_path: Path) -> None:
    path = tmp_path / "trouble.yaml"
    names = ["parked_obstruction", *TROUBLE, "pedestrian_crossing"]
    blocks = "".join(f"  - scenario: {name}\n    seconds: 3\n" for name in names)
    path.write_text(f"description: Trouble.\ncases:\n{blocks}")
    suite, folder = load_suite(path), tmp_path / "run"
    start_run(folder, {"format": 1, "cases": [case.name for case in suite.cases]})
    job = Job(Misbehaving, folder)
    results = evaluate(suite, job, workers=2, timeout=15.0, memory=1.5 * GIB)
    failed = {case.family: case.failed for case in results.cases if case.failed}
    assert {case.family for case in results.finished} == {names[0], names[-1]}
    assert failed["lead_vehicle_brake"] == "KeyError: 'no such lane\\nnowhere'"
    assert failed["cut_in"] == "took longer than 15 s (--timeout)"
    assert failed["cyclist_ahead"] == "took more than 1.5 GiB of memory (--memory)"
    assert failed["merge"] == "its process was ended by SIGSEGV"
    assert "acceleration nan" in failed["stop_sign"]
    assert "Traceback" in (results.folder / "failures/lead_vehicle_brake-0.txt").read_text()
    replay = {case.family: case.replay for case in results.cases}
    assert replay["cut_in"] == "roadloop drive cut_in --seed 0 --seconds 3"


def test_a_ray_cluster_leaves_the_same_bytes(small: Path, whole: Path, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    folder = tmp_path / "run"
    try:
        words = ["score", str(small), *OPTIONS, "--ray", "local", "--out", str(folder)]
        assert main(words) == 0
    finally:
        ray.shutdown()
    assert files_of(folder) == files_of(whole)


def test_suites_that_come_along_can_be_read() -> None:
    names = suite_names()
    on_maps = {"carla-towns", "dense-towns"}
    assert {"smoke", "standard", "euro-ncap-aeb", "alks-r157"} | on_maps <= set(names)
    standard = load_suite("standard")
    families = {case.scenario for case in standard.cases}
    assert len(families) >= 12
    assert all(sum(c.scenario == f for c in standard.cases) >= 10 for f in families)
    own = set(names) - on_maps
    assert len({load_suite(name).hash for name in own}) == len(own)


def test_the_hash_is_of_what_is_asked(small: Path, tmp_path: Path) -> None:
    same = tmp_path / "same.yaml"
    same.write_text(SMALL.replace("seeds: 2", "seeds: [0, 1]").replace("Four", "Some"))
    other = tmp_path / "other.yaml"
    other.write_text(SMALL.replace("seconds: 2", "seconds: 4", 1))
    assert load_suite(same).hash == load_suite(small).hash != load_suite(other).hash


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cases: []", "description is missing"),
        ("description: x\ncases: []", "no cases"),
        ("description: x\ncases:\n  - scenario: cut_inn", 'did you mean "cut_in"'),
        ("description: x\ncases:\n  - scenario: cut_in\n    seeds: []", "at least one"),
        ("description: x\ncases:\n  - scenario: cut_in\n    seeds: [-1]", "0 or more"),
        ("description: x\ncases:\n  - scenario: cut_in\n  - scenario: cut_in", "twice"),
        ("description: x\ncases:\n  - scenario: cut_in\n    parameters: {a: 1}", "parameter"),
        ("description: x\ncases:\n  - scenario: cut_in\n    maps: all", "--maps"),
        ("description: x\ncases:\n  - scenario: cut_in\n    maps: some", '"all"'),
    ],
)
def test_mistakes_in_a_suite_are_said(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    with pytest.raises(RoadloopError, match=said) as error:
        load_suite(path)
    assert "\n" not in str(error.value)


def test_a_folder_of_another_run_is_refused_and_kept(
    small: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(whole)
    other = tmp_path / "small.yaml"
    other.write_text(SMALL.replace("seeds: 2", "seeds: 1"))
    for words, said in [
        ([str(small)], "--resume"),
        ([str(other), "--resume"], "another suite hash"),
        ([str(small), "--resume", "--set", "jerk=1"], "another driver"),
        ([str(small), "--resume", "--perception", "noisy"], "another driver"),
    ]:
        assert main(["score", *words, "--out", str(whole)]) == 2
        complaint = capsys.readouterr().err.strip()
        assert said in complaint and "\n" not in complaint
    assert files_of(whole) == before


def test_workers_are_chosen_by_cores_and_memory() -> None:
    assert 1 <= choose_workers(None) <= (os.cpu_count() or 1)
    assert choose_workers(7) == 7
    with pytest.raises(RoadloopError, match="1 or more"):
        choose_workers(0)
