"""`roadloop convert`: whole or not there, the same bytes again, damage does not stop the others."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from recorded_drive import STEPS, recorded, without

from roadloop.cli import main
from roadloop.datasets.convert import (
    Outcome,
    Task,
    chosen,
    clear_unfinished,
    convert_drive,
    is_there,
)
from roadloop.datasets.formats import open_recording
from roadloop.errors import RoadloopError
from roadloop.logs.sensor_folder import SUMS
from roadloop.logs.sensor_reader import SensorLogReader
from roadloop.logs.writer import write_recording

NAMES = ("first", "second", "third")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Three drives; ``second`` has a damaged picture, ``third`` no labels and no map."""
    folder = tmp_path_factory.mktemp("source")
    for seed, name in enumerate(NAMES):
        drive = recorded(folder / f".pictures-{name}", seed=seed)
        if name == "third":
            drive = without(drive, "agents", "load_map")
        write_recording(drive, folder / name)
    picture = sorted((folder / "second" / "rgb" / "front").iterdir())[3]
    picture.write_bytes(picture.read_bytes()[:-100])
    return folder


def sums(folder: Path) -> str:
    return (folder / SUMS).read_text()


def task(source: Path, folder: Path, name: str = "first", **others) -> Task:
    return Task(source, "roadloop", name, folder / name, **others)


# --- one drive ----------------------------------------------------------------------------------


def test_a_converted_drive_is_the_drive(source: Path, tmp_path: Path) -> None:
    shares: list[float] = []
    outcome = convert_drive(task(source, tmp_path), shares.append)
    assert outcome.why == "" and sum(shares) == pytest.approx(1.0)
    written = outcome.written
    assert written is not None
    assert (written.steps, written.agents, written.sweeps, written.lanes) == (STEPS, 3, STEPS, 2)
    SensorLogReader(tmp_path / "first").verify()
    again = open_recording(tmp_path, "first")
    assert len(again) == STEPS and again.about["converted"]["format"] == "roadloop"
    front = open_recording(source, "first").frames_of("front")[4].read()
    assert again.frames_of("front")[4].read().encoded() == front.encoded()


def test_what_is_there_is_kept_and_what_is_not_gives_the_same_bytes(
    source: Path, tmp_path: Path
) -> None:
    convert_drive(task(source, tmp_path))
    first = sums(tmp_path / "first")
    stamp = (tmp_path / "first" / SUMS).stat().st_mtime_ns
    assert convert_drive(task(source, tmp_path)) == Outcome()
    assert (tmp_path / "first" / SUMS).stat().st_mtime_ns == stamp
    assert convert_drive(task(source, tmp_path, overwrite=True)).written is not None
    assert sums(tmp_path / "first") == first
    assert not list(tmp_path.glob(".*"))


def test_what_an_interrupted_worker_left_is_replaced(source: Path, tmp_path: Path) -> None:
    half = tmp_path / ".first.part"
    half.mkdir()
    (half / "rig.yaml").write_text("half")
    assert not is_there(task(source, tmp_path))
    assert convert_drive(task(source, tmp_path)).why == ""
    assert not half.exists()
    half.mkdir()
    clear_unfinished([task(source, tmp_path)])
    assert not half.exists() and (tmp_path / "first").is_dir()


def test_a_folder_of_something_else_is_not_touched(source: Path, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "mine.txt").write_text("mine")
    assert "no finished log" in convert_drive(task(source, tmp_path)).why
    assert (tmp_path / "first" / "mine.txt").exists()
    convert_drive(task(source, tmp_path, "third"))
    (tmp_path / "third").rename(tmp_path / "other")
    other = dataclasses.replace(task(source, tmp_path), folder=tmp_path / "other")
    assert "holds another drive" in convert_drive(other).why


def test_only_logs_are_overwritten(source: Path, tmp_path: Path) -> None:
    """`convert SRC/DRIVE SRC --overwrite` would replace the raw drive; so would any folder."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "mine.txt").write_text("mine")
    again = task(source, tmp_path, overwrite=True)
    assert "no log of roadloop" in convert_drive(again).why
    assert [p.name for p in (tmp_path / "first").iterdir()] == ["mine.txt"]
    own = Task(source / "first", "roadloop", "first", source / "first", overwrite=True)
    before = sums(source / "first")
    assert "is what is read" in convert_drive(own).why and sums(source / "first") == before
    above = dataclasses.replace(own, folder=source)
    assert "is what is read" in convert_drive(above).why


def test_two_processes_do_not_write_the_same(source: Path, tmp_path: Path) -> None:
    drive = open_recording(source, "first")

    def meanwhile(step: int) -> None:
        with pytest.raises(RoadloopError, match="being written by another process"):
            write_recording(drive, tmp_path / "first")
        clear_unfinished([task(source, tmp_path)])  # by Ctrl-C of the other one

    write_recording(drive, tmp_path / "first", on_step=meanwhile)
    SensorLogReader(tmp_path / "first").verify()
    assert [p.name for p in tmp_path.iterdir()] == ["first"]


def test_a_copy_of_a_copy_says_where_it_comes_from(source: Path, tmp_path: Path) -> None:
    drive = dataclasses.replace(open_recording(source, "first"), dataset="nuscenes")
    write_recording(
        dataclasses.replace(drive, about={"converted": {"anonymize": "labels"}}), tmp_path / "first"
    )
    assert convert_drive(task(tmp_path, tmp_path / "copy")).why == ""
    about = open_recording(tmp_path / "copy", "first").about
    assert about["dataset"] == "nuscenes"
    assert about["converted"]["from"] == {"anonymize": "labels"}


def test_pictures_as_they_are_do_not_pass_for_anonymised(source: Path, tmp_path: Path) -> None:
    convert_drive(task(source, tmp_path))
    outcome = convert_drive(task(source, tmp_path, anonymize="labels"))
    assert "anonymised by nothing" in outcome.why
    outcome = convert_drive(task(source, tmp_path, anonymize="labels", overwrite=True))
    assert outcome.written is not None and outcome.blurred["face"] > 0
    assert "anonymised by labels" in convert_drive(task(source, tmp_path)).why


def test_damage_is_one_line_that_names_the_file(source: Path, tmp_path: Path) -> None:
    outcome = convert_drive(task(source, tmp_path, "second"))
    assert outcome.written is None
    assert "rgb/front/" in outcome.why and "\n" not in outcome.why
    assert list(tmp_path.iterdir()) == []


def test_names_of_drives() -> None:
    names = ["scene-0001", "scene-0002", "other"]
    assert chosen(names, "") == names
    assert chosen(names, "other,scene-0001") == ["scene-0001", "other"]
    assert chosen(names, "scene-*") == names[:2]
    with pytest.raises(RoadloopError, match="scene-0002"):
        chosen(names, "scene-002")
    with pytest.raises(RoadloopError, match="names none"):
        chosen(names, ",")


# --- the command line ---------------------------------------------------------------------------


def test_others_go_on_beside_a_damaged_drive(source: Path, tmp_path: Path, capfd) -> None:
    out = tmp_path / "out"
    words = ["convert", str(source), str(out), "--workers", "1"]
    assert main(words) == 2
    said = capfd.readouterr()
    assert "second: " in said.err and "Traceback" not in said.err
    lines = said.out.splitlines()
    assert lines[0].split() == [
        "drive", "steps", "agents", "images", "sweeps", "lanes", "MB", "seconds"
    ]  # fmt: skip
    assert lines[1].split()[:6] == ["first", "10", "3", "18", "10", "2"]
    assert lines[2].startswith("second") and "skipped: " in lines[2] and ".jpg" in lines[2]
    assert lines[4] == "2 of 3 drives converted; 1 skipped" and lines[5] == str(out)
    assert sorted(p.name for p in out.iterdir()) == ["first", "third"]
    before = sums(out / "first")

    assert main([*words, "--drives", "f*,third", "--json", "--workers", "2"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert [row["kept"] for row in told["drives"]] == [True, True]
    assert sums(out / "first") == before


def test_the_list_of_drives(source: Path, capsys) -> None:
    assert main(["convert", str(source), "--list"]) == 0
    said = capsys.readouterr().out
    assert "3 drives" in said and all(f"  {name}" in said for name in NAMES)
    assert "--drive " not in said
    assert main(["convert", str(source), "--list", "--json", "--drives", "t*"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"format": "roadloop", "drives": ["third"]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "0"], "workers"),
        (["--drives", "frst"], "first"),
        (["--anonymize", "magic"], "MODULE:FUNCTION"),
        (["--anonymize", "nowhere:faces"], "nowhere"),
        (["--format", "kitti"], "kitti"),
    ],
)
def test_mistakes_are_one_line(source: Path, tmp_path, words, said, capsys) -> None:
    assert main(["convert", str(source), str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_source_is_not_written_over(source: Path, capsys) -> None:
    assert main(["convert", str(source), str(source)]) == 2
    assert "another folder" in capsys.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_conversion_leaves_only_whole_drives(
    source: Path, tmp_path: Path, how: signal.Signals
) -> None:
    out = tmp_path / "out"
    words = [sys.executable, "-m", "roadloop", "convert", str(source), str(out)]
    words += ["--workers", "1", "--drives", "first,third"]
    run = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: any(out.glob("*first*")))
    os.kill(run.pid, how)
    error = run.communicate(timeout=60)[1]  # which the worker has open, too: it has left
    assert run.returncode == (130 if how == signal.SIGINT else -9)
    assert how == signal.SIGKILL or "the same command goes on" in error
    for folder in out.glob("[!.]*"):
        SensorLogReader(folder).verify()
    for name in ("first", "third"):  # what the same command does next
        assert convert_drive(task(source, out, name)).why == ""
        assert convert_drive(task(source, tmp_path / "again", name)).why == ""
        assert sums(out / name) == sums(tmp_path / "again" / name)
    assert sorted(p.name for p in out.iterdir()) == ["first", "third"]


def wait_for(happened, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_worker_that_crashes_is_one_line(source: Path, tmp_path: Path, monkeypatch) -> None:
    """A process that dies of its own takes its drive with it, and nothing else."""
    from roadloop.cli import convert

    ends: dict[str, str | Outcome] = {}
    monkeypatch.setattr(convert, "_work", crash)
    bar = type("Bar", (), {"total": 1, "n": 0, "refresh": lambda self: None})()
    tasks = [task(source, tmp_path)]
    convert._run(tasks, 1, lambda t, outcome, seconds: ends.update({t.drive: outcome}), bar)
    assert "status 7" in str(ends["first"])


def crash(done, task) -> None:
    os._exit(7)


def test_as_nuscenes(source: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "nuscenes"
    words = ["convert", str(source), str(out), "--to", "nuscenes", "--drives", "first"]
    assert main(words) == 0
    assert "1 scene" in capsys.readouterr().out
    assert len(json.loads((out / "v1.0-roadloop" / "scene.json").read_text())) == 1
    assert main([*words, "--anonymize", "labels"]) == 2
    assert "pictures as they are" in capsys.readouterr().err
