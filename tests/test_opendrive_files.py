"""The OpenDRIVE reader: bad files, unused elements, and every sample file at hand."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from opendrive_text import (
    WIDTH,
    document,
    junction_link,
    lane,
    road,
    road_link,
    section,
)

from roadloop.errors import RoadloopError
from roadloop.maps.opendrive import read_opendrive
from roadloop.maps.road_map import LaneKind, RoadMap, SignalKind

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FOLDERS = ("carla_maps", "esmini/xodr", "opendrive_misc/LGSVL", "omega_prime_osi")
FILES = sorted(p for folder in FOLDERS for p in (DATA / folder).glob("*.xodr*"))


# --- what is wrong, what is unused ----------------------------------------------------------------

GOOD = document(road())
BROKEN = {
    "truncated": (GOOD[:300], "line 2.*truncated"),
    "html": (b"<html/>", "<html>, not <OpenDRIVE>"),
    "no XML": (b"hello", "not well-formed"),
    "gzip": (gzip.compress(GOOD)[:60], "gzip file is damaged"),
    "revision": (GOOD.replace(b'revMajor="1"', b'revMajor="2"'), "revision 2"),
    "no roads": (document(), "no roads"),
    "nothing to drive on": (GOOD.replace(b"driving", b"sidewalk"), "no drivable lane"),
    "zero length": (GOOD.replace(b'"0" length="100.0"', b'"0" length="0"'), "line 2.*length 0"),
    "endless": (GOOD.replace(b'"0" length="100.0"', b'"0" length="1e9"'), "at most 100000"),
    "too wide": (GOOD.replace(b'a="3.5" b="0"', b'a="3.5" b="1e9"'), "reach beyond 1000 m"),
    "unknown shape": (GOOD.replace(b"<line/>", b"<wave/>"), "<wave>"),
    "not a number": (GOOD.replace(b'a="3.5"', b'a="NaN"'), "line 2: a='NaN' of <width>"),
    "unknown road": (document(road(link=road_link("successor", "9", "start"))), "unknown road 9"),
    "unknown junction": (document(road(link=junction_link("successor", "9"))), "junction 9"),
    "unknown unit": (
        document(road(kind='<type s="0"><speed max="5" unit="knots"/></type>')), "unit 'knots'"
    ),
    "no sections": (document(road("")), "no laneSection"),
    "twice": (document(road(), road()), "used twice"),
    "no width": (GOOD.replace(WIDTH.encode(), b""), "neither width nor border"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_bad_files_are_named_in_one_line(name, tmp_path):
    content, expected = BROKEN[name]
    path = tmp_path / "bad.xodr"
    path.write_bytes(content)
    with pytest.raises(RoadloopError, match=expected) as caught:
        read_opendrive(path)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(path)) and ";" in message


def test_missing_file(tmp_path):
    with pytest.raises(RoadloopError, match=r"cannot read map .*nowhere\.xodr.*check the path"):
        read_opendrive(tmp_path / "nowhere.xodr")


def test_unused_elements_are_named_once_per_road():
    profile = '<lateralProfile><shape s="0" t="0"/><shape s="5" t="0"/></lateralProfile>'
    lanes = section({-1: lane(-1), -2: lane(-2, kind="hoverboard"), -3: lane(-3, kind="tram")})
    road_map = read_opendrive(document(road(lanes, before=profile)))
    assert road_map.unsupported == (
        "lateral profile <shape>, road 1, line 2",
        "lane type 'hoverboard' (kept as other), road 1, line 2",
        "lane type 'tram' (kept as other), road 1, line 2",
    )
    assert road_map.lane_kind.tolist() == [LaneKind.DRIVING, LaneKind.OTHER, LaneKind.OTHER]


def test_namespaces_and_compression_change_nothing(tmp_path):
    plain = read_opendrive(GOOD)
    spaced = GOOD.replace(b"<OpenDRIVE>", b'<OpenDRIVE xmlns="http://code.asam.net/x">')
    packed = tmp_path / "town.xodr.gz"
    packed.write_bytes(gzip.compress(GOOD))
    for road_map in (read_opendrive(spaced), read_opendrive(packed)):
        np.testing.assert_array_equal(road_map.point_xyz, plain.point_xyz)
    assert road_map.name == "town" and road_map.content_hash == plain.content_hash


# --- real files -----------------------------------------------------------------------------------


@pytest.mark.skipif(not FILES, reason="the sample maps are not beside this checkout")
@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_sample_file_loads(path):
    road_map = read_opendrive(path)
    assert road_map.is_travel.any()
    for name, array in road_map.arrays().items():
        assert array.dtype.kind not in "fc" or np.isfinite(array).all(), name
    step = np.diff(road_map.point_s)
    step[road_map.point_start[1:-1] - 1] = 0.25  # between lanes
    assert step.max() <= 0.5 + 1e-6 and step.min() > 0
    assert np.diff(road_map.point_start).min() >= 2
    # every light and sign that demands a stop is obeyed by someone
    governing = np.flatnonzero(road_map.signal_kind <= SignalKind.YIELD)
    assert set(governing) == set(road_map.stop_signal.tolist())
    assert (road_map.stop_s >= 0).all()
    assert (road_map.stop_s <= road_map.lane_length[road_map.stop_lane]).all()
    assert road_map.is_travel[road_map.stop_lane].all()
    for message in road_map.unsupported:
        assert ", line " in message
    if road_map.name.startswith("Town"):
        check_joints(road_map)


def check_joints(road_map: RoadMap) -> None:
    """Lanes of CARLA's towns join exactly: position within 2 mm, heading within 0.01 rad."""
    lanes = np.repeat(np.arange(road_map.lanes), np.diff(road_map.successor_start))
    travel = road_map.is_travel[lanes]
    end = road_map.point_start[lanes[travel] + 1] - 1
    start = road_map.point_start[road_map.successor[travel]]
    assert np.abs(road_map.point_xyz[end] - road_map.point_xyz[start]).max() < 2e-3
    turn = road_map.point_heading[end] - road_map.point_heading[start]
    assert np.abs(np.angle(np.exp(1j * turn))).max() < 0.01
