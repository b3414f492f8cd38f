"""The doctor: finds what is missing, shadowed or not writable, and names the remedy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from roadloop import doctor
from roadloop.cli import main
from roadloop.maps.cache import cache_directory

ROOT = Path(__file__).resolve().parents[1]


def named(checks: list[doctor.Check], name: str) -> doctor.Check:
    return next(check for check in checks if check.name == name)


def test_this_installation_is_healthy(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "everything required is here" in shown and "numpy" in shown and "import sim" in shown


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["healthy"] is True
    assert {"name", "ok", "found", "fix", "required"} == set(said["checks"][0])


def test_every_core_dependency_is_looked_at() -> None:
    names = {check.name for check in doctor.examine()}
    assert {"numpy", "scipy", "shapely", "pyarrow", "pyyaml", "lxml", "tyro", "warp-lang"} <= names
    assert {f"import {name}" for name in doctor.TOP_LEVEL} <= names
    assert {"extra carla", "extra test", "extra bench"} <= names


def test_a_missing_package_is_named_with_the_line_that_mends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = doctor.importlib.metadata.version

    def version(name: str) -> str:
        if name == "shapely":
            raise doctor.importlib.metadata.PackageNotFoundError(name)
        return "1.2.3" if name == "numpy" else real(name)

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out.splitlines()
    at = next(i for i, line in enumerate(shown) if line.startswith("MISSING shapely"))
    assert "pip install 'shapely>=" in shown[at + 1]
    assert any("numpy" in line and "1.2.3 is too old, needs >=2.0" in line for line in shown)
    assert shown[-1] == "2 to mend"


def test_versions_compare_as_numbers() -> None:
    assert doctor._numbers("4.10.0.84") > doctor._numbers("4.9.1")
    assert doctor._numbers("2.0rc1") == (2, 0)


def test_a_folder_that_shadows_a_package_is_found(tmp_path: Path) -> None:
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim" / "__init__.py").write_text("")
    run = subprocess.run(
        [sys.executable, "-m", "roadloop.doctor"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    line = next(line for line in run.stdout.splitlines() if line.startswith("MISSING import sim"))
    assert f"shadowed by {tmp_path / 'sim'}" in line


def test_the_cache_is_the_one_maps_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in [("ROADLOOP_CACHE", ""), ("XDG_CACHE_HOME", str(tmp_path))]:
        monkeypatch.setenv(name, value)
        assert doctor.cache_folder() == cache_directory()
    monkeypatch.setenv("ROADLOOP_CACHE", str(tmp_path / "mine"))
    assert doctor.cache_folder() == cache_directory() == tmp_path / "mine"


def test_a_cache_that_cannot_be_written_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ROADLOOP_CACHE", str(tmp_path / "file" / "cache"))
    check = named(doctor.examine(), "cache")
    assert not check.ok and "ROADLOOP_CACHE" in check.fix


def test_optional_things_do_not_make_it_ill() -> None:
    checks = [doctor.Check("carla", False, "not installed", "pip install", required=False)]
    assert doctor.healthy(checks)
    assert doctor.as_text(checks).startswith("absent  carla")
