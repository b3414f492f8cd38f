"""Configuration: round trips, and mistakes said in one line with where and what to write."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadloop.config import config_folder, dump_config, find_config, load_config
from roadloop.errors import RoadloopError


class Weather(IntEnum):
    DRY = 0
    WET = 1


@dataclass(frozen=True)
class Tyre:
    friction: float = 0.9
    """tyre-road friction coefficient"""
    radius: float = 0.3
    """m, rolling radius"""

    def __post_init__(self) -> None:
        if self.friction <= 0:
            raise ValueError(f"friction is {self.friction}; it must be above 0")


@dataclass(frozen=True)
class Run:
    name: str = "town"
    top_speed: float = 13.9
    """m/s, never faster than this"""
    mass: float = field(default=1500.0, metadata={"unit": "kg"})
    agents: int = 3
    video: bool = True
    out: Path = Path("runs")
    limit: float | None = None
    gains: tuple[float, ...] = (1.0, 2.0)
    size: tuple[int, int] = (640, 480)
    seeds: list[int] = field(default_factory=list)
    mode: Literal["fast", "exact"] = "fast"
    weather: Weather = Weather.DRY
    tyre: Tyre = field(default_factory=lambda: Tyre(radius=0.35))
    labels: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Needs:
    map: Path


def message(*overrides: str, text: str | None = None, folder: Path | None = None) -> str:
    path = None
    if text is not None:
        assert folder is not None
        path = folder / "run.yaml"
        path.write_text(text)
    with pytest.raises(RoadloopError) as caught:
        load_config(Run, path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_file_gives_the_defaults() -> None:
    assert load_config(Run) == Run()


def test_overrides_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("name: motorway\nagents: 7\ntyre:\n  friction: 0.5\n")
    run = load_config(Run, file, ["agents=9", "weather=wet", "gains=[3]", "limit=1e-3"])
    assert (run.name, run.agents, run.weather) == ("motorway", 9, Weather.WET)
    assert run.gains == (3.0,) and run.limit == 0.001
    # A partly given nested value keeps the rest of the field's own default, not of its class.
    assert run.tyre == Tyre(friction=0.5, radius=0.35)


@settings(max_examples=40, deadline=None)
@given(
    st.builds(
        Run,
        name=st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"))),
        top_speed=st.floats(allow_nan=False),
        agents=st.integers(),
        limit=st.none() | st.floats(allow_nan=False),
        gains=st.lists(st.floats(allow_nan=False)).map(tuple),
        mode=st.sampled_from(["fast", "exact"]),
        weather=st.sampled_from(Weather),
        seeds=st.lists(st.integers(), max_size=3),
        labels=st.dictionaries(st.sampled_from(["a", "on", "null", "1"]), st.floats(0, 1)),
    )
)
def test_dump_and_load_are_inverse(tmp_path_factory: pytest.TempPathFactory, run: Run) -> None:
    file = tmp_path_factory.getbasetemp() / "dumped.yaml"
    file.write_text(dump_config(run), encoding="utf-8")
    assert load_config(Run, file) == run


def test_unknown_key_names_line_and_nearest(tmp_path: Path) -> None:
    said = message(text="name: a\n\nagnets: 3\n", folder=tmp_path)
    assert f"{tmp_path / 'run.yaml'}:3" in said and 'did you mean "agents"' in said
    said = message(text="tyre:\n  radius: 0.3\n  fricton: 1\n", folder=tmp_path)
    assert "run.yaml:3" in said and "tyre.fricton" in said and '"friction"' in said
    assert 'override "agnets=3"' in message("agnets=3")


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("top_speed=50 km/h", ["units are not written", "13.8889", "m/s"]),
        ("top_speed=50 m/s", ["write 50 (m/s)"]),
        ("top_speed=5 furlong", ['unknown unit "furlong"', "plain number in m/s"]),
        ("top_speed=5 deg", ["cannot be given in m/s"]),
        ("mass=1.5 t", ["write 1500 (kg)"]),
        ("tyre.radius=30 cm", ["tyre.radius", "write 0.3 (m)"]),
        ("top_speed=fast", ["plain number in m/s", '"fast"']),
        ("top_speed=nan", ["plain number"]),
        ("top_speed=", ["got nothing"]),
        ("agents=2.5", ["whole number", '"2.5"']),
        ("agents=[1]", ["whole number", "a list"]),
        ("video=maybe", ["true or false"]),
        ("mode=exakt", ['did you mean "exact"']),
        ("weather=moist", ["dry", "wet"]),
        ("size=[1, 2, 3]", ["list of 2"]),
        ("gains=[1, x]", ["gains[1]"]),
        ("tyre=3", ["keys of Tyre"]),
        ("tyre.friction=-1", ["tyre: friction is -1.0; it must be above 0"]),
        ("agents", ["expected key=value"]),
        ("seeds=[1,", ["not YAML"]),
    ],
)
def test_wrong_values_say_what_to_write(override: str, parts: list[str]) -> None:
    said = message(override)
    assert said.startswith(f'override "{override}"')
    for part in parts:
        assert part in said


def test_broken_files_are_named_with_their_line(tmp_path: Path) -> None:
    assert "run.yaml:2: key" in message(text="name: a\nname: b\n", folder=tmp_path)
    assert "run.yaml:2" in message(text="name: a\n\tb: c\n", folder=tmp_path)
    assert "top level" in message(text="- 1\n- 2\n", folder=tmp_path)
    with pytest.raises(RoadloopError, match=r"gone.yaml: No such file"):
        load_config(Run, tmp_path / "gone.yaml")
    with pytest.raises(RoadloopError, match="map is missing"):
        load_config(Needs)


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("# nothing\n")
    assert load_config(Run, tmp_path / "run.yaml") == Run()


def test_infinity_is_a_number_and_words_stay_words() -> None:
    run = load_config(Run, None, ["limit=.inf", "name=on", "video=off"])
    assert run.limit == math.inf and run.name == "on" and run.video is False


def test_run_files_are_found_by_name() -> None:
    assert find_config("drive") == config_folder() / "drive.yaml"
    with pytest.raises(RoadloopError, match='did you mean "drive"'):
        find_config("drvie")
    with pytest.raises(RoadloopError, match="no such file"):
        find_config("missing.yaml")
