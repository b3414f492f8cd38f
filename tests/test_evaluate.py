"""Suite runs: same bytes whoever computes them and however often they are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from misbehaving import TROUBLE, Misbehaving

from deploy.stack import make_driver
from roadloop.cli import main
from roadloop.errors import RoadloopError
from roadloop.suite_results import SuiteResults, read_results, start_run, table_hash
from sim.evaluate import Job, evaluate
from sim.suite import load_suite, suite_names
from sim.workers import GIB, choose_workers

SMALL = """
description: Six short drives.
cases:
  - scenario: cut_in
    seeds: 3
    seconds: 3
  - scenario: pedestrian_crossing
    seeds: [1, 4]
    seconds: 3
  - scenario: parked_obstruction
    seconds: 3
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def run_suite(path: Path, folder: Path, workers: int, **options) -> SuiteResults:
    suite = load_suite(path)
    start_run(
        folder, {"format": 1, "suite_hash": suite.hash, "cases": [c.name for c in suite.cases]}
    )
    driver, replays = options.pop("make_driver", make_driver), options.pop("replays", "lost")
    job = Job(driver, folder, replays=replays)
    options = {"memory": 4 * GIB, **options}
    return evaluate(suite, job, workers=workers, **options)


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything a run leaves but its wall-clock times."""
    paths = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "timings.jsonl"]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def test_one_and_two_workers_leave_the_same_bytes(small: Path, tmp_path: Path) -> None:
    one = run_suite(small, tmp_path / "one", 1, replays="all")
    two = run_suite(small, tmp_path / "two", 2, replays="all")
    assert len(one.finished) == len(two.finished) == 6
    assert files_of(one.folder) == files_of(two.folder)


def test_what_is_on_disk_is_not_driven_again(small: Path, tmp_path: Path) -> None:
    whole = run_suite(small, tmp_path / "whole", 1)
    lines = (whole.folder / "cases.jsonl").read_text().splitlines(keepends=True)
    half = tmp_path / "half"
    suite = load_suite(small)
    start_run(half, json.loads((whole.folder / "run.json").read_text()))
    (half / "cases.jsonl").write_text("".join(lines[3:5]))
    driven = []
    evaluate(
        suite,
        Job(make_driver, half),
        workers=1,
        memory=4 * GIB,
        on_case=lambda result: driven.append(result.case),
    )
    assert driven == [
        case.name
        for case in suite.cases
        if case.name not in {json.loads(line)["case"] for line in lines[3:5]}
    ]
    assert table_hash(half) == table_hash(whole.folder)


def command(small: Path, folder: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "roadloop",
        "score",
        str(small),
        "--out",
        str(folder),
        "--workers",
        "2",
        "--json",
        *more,
    ]


def test_killed_at_any_moment_and_resumed_it_ends_the_same(small: Path, tmp_path: Path) -> None:
    assert subprocess.run(command(small, tmp_path / "whole"), check=False).returncode == 0
    whole = files_of(tmp_path / "whole")
    rng = random.Random(0)
    folder = tmp_path / "killed"
    kills = 0
    while True:
        run = subprocess.Popen(
            command(small, folder, "--resume"), stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            run.wait(timeout=rng.uniform(2.0, 5.0))
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            run.wait()
            kills += 1
        if run.returncode == 0:
            break
    assert kills >= 1
    assert files_of(folder) == whole
    time.sleep(1.5)  # the workers of a killed run leave by themselves
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if str(folder) in _text(p)]
    assert not left


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def test_a_line_cut_off_by_a_kill_is_driven_again(small: Path, tmp_path: Path) -> None:
    run_suite(small, tmp_path / "run", 1)
    before = files_of(tmp_path / "run")
    cases = tmp_path / "run" / "cases.jsonl"
    cases.write_bytes(cases.read_bytes()[:-20])
    assert main(["score", str(small), "--out", str(tmp_path / "run"), "--overwrite", "--json"]) == 0
    whole = table_hash(tmp_path / "run")
    cases.write_bytes(cases.read_bytes()[:-20])
    assert len(read_results(tmp_path / "run").cases) == 5
    assert main(["score", str(small), "--out", str(tmp_path / "run"), "--resume", "--json"]) == 0
    assert table_hash(tmp_path / "run") == whole and before


def test_whatever_a_driver_does_the_other_cases_are_unharmed(tmp_path: Path) -> None:
    path = tmp_path / "trouble.yaml"
    names = ["parked_obstruction", *TROUBLE, "pedestrian_crossing"]
    blocks = "".join(f"  - scenario: {name}\n    seconds: 3\n" for name in names)
    path.write_text(f"description: Trouble.\ncases:\n{blocks}")
    results = run_suite(
        path, tmp_path / "run", 2, make_driver=Misbehaving, timeout=15.0, memory=1.5 * GIB
    )
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


def test_a_ray_cluster_leaves_the_same_bytes(small: Path, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    from sim.workers import connect_ray

    here = run_suite(small, tmp_path / "here", 2)
    assert connect_ray("local", 2) == 2
    try:
        there = run_suite(small, tmp_path / "there", 2, ray="local")
    finally:
        ray.shutdown()
    assert files_of(here.folder) == files_of(there.folder)


def test_suites_that_come_along_can_be_read() -> None:
    names = suite_names()
    assert {"smoke", "standard", "euro-ncap-aeb", "alks-r157", "carla-towns"} <= set(names)
    standard = load_suite("standard")
    families = {case.scenario for case in standard.cases}
    assert len(families) >= 12
    assert all(sum(c.scenario == f for c in standard.cases) >= 10 for f in families)
    assert len({load_suite(n).hash for n in names if n != "carla-towns"}) == len(names) - 1


def test_the_hash_is_of_what_is_asked(small: Path, tmp_path: Path) -> None:
    same = tmp_path / "same.yaml"
    same.write_text(SMALL.replace("seeds: 3", "seeds: [0, 1, 2]").replace("Six", "Some"))
    other = tmp_path / "other.yaml"
    other.write_text(SMALL.replace("seconds: 3", "seconds: 4", 1))
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
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert main(["score", str(small), "--out", str(folder), "--json"]) == 0
    before = files_of(folder)
    small.write_text(SMALL.replace("seeds: 3", "seeds: 2"))
    for words, said in [
        ([], "--resume"),
        (["--resume"], "another suite hash"),
    ]:
        capsys.readouterr()
        assert main(["score", str(small), "--out", str(folder), *words]) == 2
        complaint = capsys.readouterr().err.strip()
        assert said in complaint and "\n" not in complaint
    small.write_text(SMALL)
    assert main(["score", str(small), "--out", str(folder), "--resume", "--set", "jerk=1"]) == 2
    assert files_of(folder) == before


def test_workers_are_chosen_by_cores_and_memory() -> None:
    assert 1 <= choose_workers(None) <= (os.cpu_count() or 1)
    assert choose_workers(7) == 7
    with pytest.raises(RoadloopError, match="1 or more"):
        choose_workers(0)
