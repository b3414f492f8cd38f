"""Suites on the user's own maps: which of a folder's files are driven on, and how far."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from roadloop.errors import RoadloopError
from roadloop.maps.generate import generate_xodr
from roadloop.maps.path import route_path
from sim.suite import load_suite

SUITE = """
description: Short routes on some maps.
cases:
  - scenario: random_route
    parameters: {length: 60.0}
    agents: 0
    seconds: 5
    maps: MAPS
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two maps, one of them packed, and a file that is none."""
    for name, curve in (("a", 1), ("b", 2)):
        text = generate_xodr("curve", seed=curve)
        (tmp_path / f"{name}.xodr").write_text(text)
    packed = (tmp_path / "b.xodr").read_bytes()
    (tmp_path / "b.xodr").unlink()
    (tmp_path / "b.xodr.gz").write_bytes(gzip.compress(packed))
    (tmp_path / "a.net.xml").write_text("<net/>")
    return tmp_path


def suite(folder: Path, maps: str):
    path = folder / "suite.yaml"
    path.write_text(SUITE.replace("MAPS", maps))
    return load_suite(path, folder)


def test_all_maps_or_those_that_are_named(folder: Path) -> None:
    names = [case.name for case in suite(folder, "all").cases]
    assert names == ["random_route-a-route60-0", "random_route-b-route60-0"]
    named = suite(folder, "[b]")
    assert [case.name for case in named.cases] == names[1:]
    assert named.hash != suite(folder, "all").hash
    scenario = named.cases[0].build()
    length = route_path(scenario.road_map, scenario.route).length
    assert 60.0 <= length <= 260.0 and scenario.parameters == {"length": 60.0}
    assert "--parameter length=60.0 --agents 0" in named.cases[0].command()


def test_mistakes_are_said(folder: Path) -> None:
    with pytest.raises(RoadloopError, match=r'unknown map "c"; .*suite asks for it'):
        suite(folder, "[a, c]")
    with pytest.raises(RoadloopError, match='it may be "all" or a list of names'):
        suite(folder, "some")
    with pytest.raises(RoadloopError, match="give their folder with --maps"):
        load_suite("dense-towns")
