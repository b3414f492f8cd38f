"""The command line: what it prints, what it writes, and one line with status 2 for mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from roadloop.cli import VERBS, main
from roadloop.config import find_config

DRIVEN = ["drive", "--seconds", "2", "--agents", "3", "--no-video"]
"""a drive short enough for a test, on the default scenario"""

Capture = pytest.CaptureFixture[str]


def refused(capsys: Capture, *words: str) -> str:
    """The message of a command line that must end with status 2 and print nothing else."""
    assert main(list(words)) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("roadloop: ") and shown.err.count("\n") == 1
    return shown.err


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Folder and --json output of one short drive."""
    folder = tmp_path_factory.mktemp("drive") / "run"
    run = subprocess.run(
        [sys.executable, "-m", "roadloop", *DRIVEN, "--out", folder, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return folder, json.loads(run.stdout)


# --- help ---------------------------------------------------------------------------------------


def test_help_names_every_verb(capsys: Capture) -> None:
    assert main(["--help"]) == main([]) == 0
    shown = capsys.readouterr().out
    for name in VERBS:
        assert f"\n  {name} " in shown


@pytest.mark.parametrize("name", VERBS)
def test_each_verb_explains_itself(name: str, capsys: Capture) -> None:
    assert main([name, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"usage: roadloop {name}" in shown and f"Example: roadloop {name}" in shown


def test_version(capsys: Capture) -> None:
    assert main(["--version"]) == main(["version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second and first.startswith("roadloop ")


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["drvie"], ['unknown verb "drvie"', '"drive"']),
        (["--fast"], ["--fast"]),
        (["drive", "--second", "3"], ["--second", 'did you mean "--seconds"']),
        (["drive", "--seconds", "long"], ["--seconds", "a number of seconds", '"long"']),
        (["drive", "--seconds", "-3"], ["seconds is -3", "above 0"]),
        (["drive", "--seconds", "nan"], ["seconds is nan"]),
        (["drive", "--agents", "-1"], ["agents is -1"]),
        (["drive", "--agents", "2.5"], ["--agents", "whole number"]),
        (["drive", "--seed", "x"], ["--seed", "whole number"]),
        (["drive", "--seed", "-1"], ["seed is -1"]),
        (["drive", "--seconds"], ["--seconds"]),
        (["drive", "--driver", "idn"], ['unknown driver "idn"', '"idm"']),
        (["drive", "--config", "drvie"], ['unknown run file "drvie"', '"drive"']),
        (["drive", "--config", "gone.yaml"], ["gone.yaml", "no such file"]),
        (["drive", "--map", "gone.xodr"], ["gone.xodr"]),
        (["drive", "a", "b"], ["b"]),
        (["map"], ["FILE"]),
        (["map", "gone.xodr"], ["gone.xodr"]),
        (["map", "generate:twon"], ['unknown map family "twon"', '"town"']),
        (["score", "."], ["no rollout"]),
        (["score", "standrad"], ['unknown suite "standrad"', '"standard"']),
        (["score", "gone.yaml"], ["gone.yaml", "No such file"]),
        (["score", "smoke", "--workers", "0"], ["workers is 0"]),
        (["score", "smoke", "--driver", "idn"], ['unknown driver "idn"', '"idm"']),
        (["score", "smoke", "--perception", "nosiy"], ["nosiy"]),
        (["score", "smoke", "--set", "headway=1"], ["headway"]),
        (["score", "smoke", "--latency", "fast"], ["fast"]),
        (["score", "smoke", "--replays", "some"], ['"some"', "lost, all, none"]),
        (["score", "smoke", "--timeout", "0"], ["timeout is 0"]),
        (["score", "carla-towns"], ["--maps"]),
        (["score", "carla-towns", "--maps", "."], ["no OpenDRIVE maps"]),
        (["drive", "ccrs", "--parameter", "speed=3"], ["speed", "ego_speed"]),
        (["drive", "ccrs", "--parameter", "ego_speed"], ["NAME=NUMBER"]),
        (["drive", "ccrs", "--parameter", "ego_speed=-4"], ["ego_speed"]),
        (["drive", "--driver", "gone:make"], ["gone"]),
        (["compare", ".", "."], ["no suite run"]),
        (["report", "gone"], ["gone", "no rollout"]),
    ],
)
def test_mistakes_are_said_in_one_line(
    words: list[str],
    parts: list[str],
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, *words)
    for part in parts:
        assert part in said


def test_an_unknown_scenario_names_the_nearest(capsys: Capture) -> None:
    from sim.scenarios import FAMILIES

    known = next(iter(FAMILIES))
    assert f'did you mean "{known}"' in refused(capsys, "drive", known + "x")


def test_a_run_file_is_checked_like_the_options(capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("seconds: 60 s\n")
    assert "run.yaml:1: seconds: units" in refused(capsys, "drive", "--config", str(file))
    file.write_text("seed: 1\nagent: 3\n")
    assert 'run.yaml:2: unknown key "agent"' in refused(capsys, "drive", "--config", str(file))
    file.write_text("agents: -1\n")
    assert "agents is -1" in refused(capsys, "drive", "--config", str(file))


def test_the_traceback_is_there_for_those_who_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROADLOOP_DEBUG", "1")
    with pytest.raises(ValueError, match="unknown verb"):
        main(["drvie"])


def test_out_is_checked_before_anything_is_simulated(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sim.scenarios

    def built(*args: Any, **kwargs: Any) -> None:
        pytest.fail("the scenario was built before the folder was looked at")

    monkeypatch.setattr(sim.scenarios, "build_scenario", built)
    (tmp_path / "file").write_text("")
    said = refused(capsys, "drive", "--out", str(tmp_path / "file" / "run"))
    assert "cannot write into" in said and "--out" in said
    (tmp_path / "score.json").write_text("{}")
    said = refused(capsys, "drive", "--out", str(tmp_path))
    assert "already holds a drive" in said and "--overwrite" in said


# --- what it does -------------------------------------------------------------------------------


def test_list_shows_scenarios_drivers_and_maps(capsys: Capture) -> None:
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert main(["list", "--json"]) == 0
    listing = json.loads(capsys.readouterr().out)
    assert set(listing) == {"scenarios", "suites", "drivers", "maps", "rigs", "weathers"}
    for part in listing.values():
        for name, description in part.items():
            assert f"  {name} " in shown and description in shown


def test_map_draws_and_counts(capsys: Capture, tmp_path: Path) -> None:
    picture = tmp_path / "road.png"
    words = ["map", "generate:straight", "--seed", "3", "--out", str(picture)]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["picture"] == str(picture)


def test_drive_writes_everything_and_says_where(drive: tuple[Path, dict[str, Any]]) -> None:
    folder, said = drive
    assert said["finished"] is True and said["score"]["terms"]
    assert said["steps"] == round(2.0 / said["dt"]) + 1
    for path in said["paths"].values():
        assert Path(path).exists() and folder in Path(path).parents
    assert not (folder / "video.mp4").exists()
    assert json.loads((folder / "score.json").read_text())["terms"]


def test_score_and_report_find_the_map_again(
    drive: tuple[Path, dict[str, Any]], capsys: Capture, tmp_path: Path
) -> None:
    folder, said = drive
    assert main(["score", str(folder), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["score"] == said["score"]
    assert main(["score", str(folder / "rollout")]) == 0
    assert said["scenario"] in capsys.readouterr().out
    out = tmp_path / "again.html"
    assert main(["report", str(folder), "--out", str(out)]) == 0
    assert out.read_bytes() == (folder / "report.html").read_bytes()


def test_another_map_than_the_driven_one_is_refused(
    drive: tuple[Path, dict[str, Any]], capsys: Capture, tmp_path: Path
) -> None:
    from roadloop.maps.generate import generate_xodr

    other = tmp_path / "other.xodr"
    other.write_text(generate_xodr("straight"))
    assert "another map" in refused(capsys, "score", str(drive[0]), "--map", str(other))


def test_the_saved_run_file_repeats_the_drive(
    drive: tuple[Path, dict[str, Any]], capsys: Capture, tmp_path: Path
) -> None:
    folder, _ = drive
    out = tmp_path / "again"
    words = ["drive", "--config", str(folder / "config.yaml"), "--out", str(out)]
    assert main(words) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1].split()[-1] == str(out / "report.html")
    assert (out / "score.json").read_bytes() == (folder / "score.json").read_bytes()
    assert refused(capsys, *words).count("already holds")
    (out / "notes.txt").write_text("mine")
    assert main([*words, "--overwrite"]) == 0
    assert (out / "notes.txt").read_text() == "mine"


def test_ctrl_c_keeps_and_scores_what_was_driven(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sim.run

    real = sim.run.drive_scenario

    def interrupted(*args: Any, on_step: Any, **kwargs: Any) -> Any:
        def watch(observation: Any) -> None:
            on_step(observation)
            if observation.step == 7:
                raise KeyboardInterrupt

        return real(*args, on_step=watch, **kwargs)

    monkeypatch.setattr(sim.run, "drive_scenario", interrupted)
    assert main([*DRIVEN, "--out", str(tmp_path), "--json"]) == 130
    shown = capsys.readouterr()
    said = json.loads(shown.out)
    assert said["finished"] is False and said["steps"] == 8
    assert "interrupted" in shown.err
    assert (tmp_path / "report.html").exists()


def test_the_shipped_run_file_is_what_make_drive_runs() -> None:
    makefile = (Path(__file__).resolve().parents[1] / "Makefile").read_text()
    assert "roadloop drive --config drive" in makefile
    assert find_config("drive").is_file()


def test_a_reader_that_stops_reading_is_no_mistake() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    run = subprocess.run(
        [sys.executable, "-m", "roadloop", "list"],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write_end)
    assert "Traceback" not in run.stderr and "BrokenPipe" not in run.stderr
