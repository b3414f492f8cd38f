"""Compiled maps on disk: same map back, damage repaired, no directory needed, no half files."""

from __future__ import annotations

import dataclasses
import gzip
import time
from pathlib import Path

import numpy as np
import pytest

from roadloop.errors import RoadloopError
from roadloop.maps import load_map
from roadloop.maps.cache import cache_directory
from roadloop.maps.road_map import RoadMap

TOWN05 = Path(__file__).resolve().parents[2] / "shared" / "data" / "carla_maps" / "Town05.xodr.gz"

XML = b"""<OpenDRIVE><header revMajor="1" revMinor="7"/>
<road id="A" length="40" junction="-1"><planView>
<geometry s="0" x="1" y="2" hdg="0.3" length="40"><arc curvature="0.01"/></geometry></planView>
<lateralProfile><crossfall s="0"/></lateralProfile>
<lanes><laneSection s="0"><center><lane id="0"/></center><right>
<lane id="-1" type="driving"><width sOffset="0" a="3" b="0" c="0" d="0"/>
<roadMark sOffset="0" type="solid"/></lane></right></laneSection></lanes></road></OpenDRIVE>"""


@pytest.fixture
def town(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ROADLOOP_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "town.xodr"
    path.write_bytes(XML)
    return path


def assert_same(first: RoadMap, second: RoadMap) -> None:
    for field in dataclasses.fields(RoadMap):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype and a.shape == b.shape, field.name
            np.testing.assert_array_equal(a, b)
        else:
            assert type(a) is type(b) and a == b, field.name


def stored(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


def test_second_load_is_the_same_map(town, monkeypatch):
    first = load_map(town)
    assert first.unsupported == ("lateral profile <crossfall>, road A, line 4",)
    (file,) = stored(cache_directory())
    assert file.suffix == ".npz" and file.name.startswith(first.content_hash)
    monkeypatch.setattr("roadloop.maps.opendrive.read_opendrive", None)  # must not be needed
    assert_same(load_map(town), first)


def test_name_comes_from_the_path_and_key_from_the_content(town):
    first = load_map(town)
    packed = town.parent / "other.xodr.gz"
    packed.write_bytes(gzip.compress(XML))
    second = load_map(packed)
    assert (first.name, second.name) == ("town", "other")
    assert first.content_hash == second.content_hash and len(stored(cache_directory())) == 1
    town.write_bytes(XML.replace(b'hdg="0.3"', b'hdg="0.4"'))
    changed = load_map(town)
    assert changed.content_hash != first.content_hash and len(stored(cache_directory())) == 2


def test_without_cache_nothing_is_written(town):
    load_map(town, cache=False)
    assert stored(cache_directory()) == []


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "flipped", "another map"])
def test_damaged_copy_is_rebuilt_with_one_line(town, capsys, damage):
    first = load_map(town)
    (file,) = stored(cache_directory())
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        at = content.index(b"point_xyz.npy") + 200
        content[at] ^= 0xFF
    elif damage == "another map":
        town.write_bytes(XML.replace(b'hdg="0.3"', b'hdg="0.4"'))
        load_map(town)
        town.write_bytes(XML)
        (other,) = (f for f in stored(cache_directory()) if f != file)
        content = other.read_bytes()
    short = {"empty": b"", "cut": bytes(content[: len(content) // 2]), "noise": b"\x93junk" * 50}
    file.write_bytes(short.get(damage, bytes(content)))
    assert_same(load_map(town), first)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert "damaged" in captured.err and str(file) in captured.err
    assert_same(load_map(town), first)
    assert capsys.readouterr().err == ""


def test_unusable_directory_does_not_matter(town, monkeypatch, capsys):
    (town.parent / "file").write_text("in the way")
    monkeypatch.setenv("ROADLOOP_CACHE", str(town.parent / "file" / "cache"))
    assert load_map(town).lanes == 1
    assert capsys.readouterr().err == ""


def test_interrupted_write_leaves_nothing(town, monkeypatch):
    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert load_map(town).lanes == 1
    assert stored(cache_directory()) == []


def test_directory_follows_the_environment(monkeypatch):
    monkeypatch.delenv("ROADLOOP_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_directory() == Path("/somewhere/roadloop/maps")
    monkeypatch.setenv("ROADLOOP_CACHE", "/else")
    assert cache_directory() == Path("/else")


def test_missing_file_is_an_error(town):
    with pytest.raises(RoadloopError, match="cannot read map"):
        load_map(town.parent / "nowhere.xodr")


@pytest.mark.skipif(not TOWN05.is_file(), reason="the sample maps are not beside this checkout")
def test_town05_loads_from_cache_in_a_blink(town):
    first = load_map(TOWN05)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        again = load_map(TOWN05)
        seconds.append(time.perf_counter() - start)
    assert_same(again, first)
    assert min(seconds) <= 0.3
