"""The report as a file: what is in it, that it needs nothing else, and that it says bad input."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import zlib

import numpy as np
import pytest
from drawn_scene import STEPS, crossroads, drive, score

from roadloop.errors import RoadloopError
from roadloop.viz.report import MARGIN, seen_box, tracks_of, write_report

KINDS = {"Uint8": "<u1", "Int16": "<i2", "Int32": "<i4", "Float32": "<f4"}


@pytest.fixture(scope="module")
def road_map():
    return crossroads()


@pytest.fixture(scope="module")
def rollout(road_map):
    return drive(road_map)


def blocks(path):
    """Meta data and arrays as the page's script reads them."""
    text = path.read_text(encoding="utf-8")
    found = re.search(r'id="meta">(.*?)</script>', text, re.DOTALL)
    meta = json.loads(found[1])
    packed = re.search(r'id="arrays">(.*?)</script>', text, re.DOTALL)[1]
    data = zlib.decompress(base64.b64decode(packed))
    arrays = {}
    for name, entry in meta["arrays"].items():
        stored = np.frombuffer(data, KINDS[entry["kind"]], entry["length"], entry["at"])
        if entry["kind"] != "Float32" and entry["columns"]:
            table = stored.reshape(-1, entry["columns"])
            stored = np.cumsum(table, axis=0, dtype=table.dtype).ravel() * entry["unit"]
        arrays[name] = stored
    return meta, arrays


@pytest.fixture(scope="module")
def written(tmp_path_factory, rollout, road_map):
    path = tmp_path_factory.mktemp("report") / "drive.html"
    return write_report(path, rollout, road_map, score(rollout), extra={"Hardware": "laptop"})


def test_arrays_keep_centimetres_and_milliradians(written, rollout):
    meta, arrays = blocks(written)
    assert meta["steps"] == STEPS
    x0, y0 = meta["origin"]
    ego = arrays["egoXY"].reshape(-1, 2) + np.array([x0, y0])
    np.testing.assert_allclose(ego[:, 0], rollout.ego.x, atol=0.0051)
    np.testing.assert_allclose(ego[:, 1], rollout.ego.y, atol=0.0051)
    np.testing.assert_allclose(arrays["egoHeading"], rollout.ego.heading, atol=6e-5)
    columns, ids, valid = tracks_of(rollout, seen_box(rollout))
    n = len(ids)
    np.testing.assert_array_equal(arrays["agentId"], ids)
    np.testing.assert_array_equal(arrays["agentValid"].reshape(STEPS, n).astype(bool), valid)
    x = arrays["agentX"].reshape(STEPS, n) + x0
    np.testing.assert_allclose(x[valid], rollout.agents.x[:, columns][valid], atol=0.0051)
    plan = arrays["planXY"].reshape(STEPS, -1, 2) + np.array([x0, y0])
    known = arrays["planValid"].reshape(STEPS, -1).astype(bool)
    assert not known[:3].any()
    assert known[3:].all()
    np.testing.assert_allclose(plan[3:, 0, 0], rollout.plan[3:, 0, 0], atol=0.0051)


def test_ground_stays_within_its_box(written, rollout):
    meta, arrays = blocks(written)
    assert len(arrays["shapePaint"]) > 50
    assert arrays["shapeStart"][-1] * 2 == len(arrays["shapeXY"])
    x0, y0, _, _ = seen_box(rollout)
    assert x0 == rollout.ego.x.min() - MARGIN
    assert meta["origin"] == [np.floor(x0), np.floor(y0)]


def test_page_needs_nothing_else(written):
    text = written.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    outside = re.findall(
        r"""(?:src|href|url|@import)\s*[=(]\s*["']?(https?:|//|[\w./-]+\.\w+)""", text
    )
    assert outside == []
    assert "{{" not in re.sub(r"\$\{\{?", "", text.split("<script>")[0])


def test_facts_terms_and_extra_are_there(written):
    meta, _ = blocks(written)
    facts = dict(meta["facts"])
    assert facts["Scenario"] == "crossing_pedestrian"
    assert facts["Seed"] == "7"
    assert facts["Duration"] == "19.9 s"
    assert facts["Map"].startswith("crossroads · 0123456789")
    assert facts["Hardware"] == "laptop"
    lost = [term["title"] for term in meta["terms"] if term["passed"] is False]
    assert lost == ["Time to collision", "Comfort"]
    assert [plot["title"] for plot in meta["plots"]] == [
        "Speed",
        "Acceleration",
        "Steering",
        "Time to collision",
    ]


def test_text_from_outside_cannot_break_the_page(tmp_path, rollout, road_map):
    evil = '</script><script>alert("1")</script><!-- {{meta}} &'
    named = dataclasses.replace(rollout, scenario=evil)
    path = write_report(tmp_path / "a.html", named, road_map, None, title=evil)
    text = path.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert text.count("</script>") == 3
    meta, _ = blocks(path)
    assert dict(meta["facts"])["Scenario"] == evil


def test_same_drive_same_bytes(tmp_path, written, rollout, road_map):
    again = write_report(
        tmp_path / "again.html", rollout, road_map, score(rollout), extra={"Hardware": "laptop"}
    )
    assert again.read_bytes() == written.read_bytes()


def test_a_slot_used_again_is_another_agent(rollout, road_map):
    ids = rollout.agents.id.copy()
    ids[120:, 2] = 900
    reused = dataclasses.replace(rollout, agents=dataclasses.replace(rollout.agents, id=ids))
    columns, names, valid = tracks_of(reused, seen_box(reused))
    first, second = (int(np.flatnonzero(names == n)[0]) for n in (102, 900))
    assert columns[first] == columns[second] == 2
    assert not (valid[:, first] & valid[:, second]).any()
    assert valid[:120, first].all()
    assert valid[120:, second].all()


def test_a_minute_with_thirty_agents_stays_small(tmp_path, road_map):
    rng = np.random.default_rng(0)
    long = drive(road_map, 1200)
    ego = dataclasses.replace(long.ego, x=long.ego.x % 200)
    wide = {
        f.name: np.tile(getattr(long.agents, f.name), (1, 4))[:, :30]
        for f in dataclasses.fields(long.agents)
    }
    wide["id"] = np.tile(np.arange(30), (1200, 1))
    wide["x"] = rng.normal(0, 40, 30) + np.cumsum(rng.normal(0.5, 0.02, (1200, 30)), axis=0) % 100
    wide["y"] = wide["y"] % 100
    wide["valid"] = np.ones((1200, 30), bool)
    busy = dataclasses.replace(long, ego=ego, agents=dataclasses.replace(long.agents, **wide))
    path = write_report(tmp_path / "busy.html", busy, road_map, score(busy))
    assert path.stat().st_size < 1.5e6


@pytest.mark.parametrize("steps", [1, 2])
def test_the_shortest_drives(tmp_path, road_map, steps):
    short = drive(road_map, 2)
    if steps == 1:
        cut = {
            name: dataclasses.replace(
                getattr(short, name),
                **{
                    f.name: getattr(getattr(short, name), f.name)[:1]
                    for f in dataclasses.fields(getattr(short, name))
                    if f.name != "vehicle"
                },
            )
            for name in ("ego", "agents", "control")
        }
        short = dataclasses.replace(
            short, time=short.time[:1], lights=short.lights[:1], plan=short.plan[:1], **cut
        )
    meta, _ = blocks(write_report(tmp_path / "short.html", short, road_map, None))
    assert meta["steps"] == steps
    assert meta["terms"] == []


def test_bad_input_is_said_in_one_line(tmp_path, rollout, road_map):
    other = dataclasses.replace(road_map, content_hash="f" * 64)
    with pytest.raises(RoadloopError, match="was driven on map"):
        write_report(tmp_path / "a.html", rollout, other, None)
    with pytest.raises(RoadloopError, match="has no steps"):
        write_report(tmp_path / "a.html", drive_of_nothing(rollout), road_map, None)
    wrong = score(rollout)
    wrong.series["ttc"] = np.zeros(3)
    with pytest.raises(RoadloopError, match="series 'ttc' has shape"):
        write_report(tmp_path / "a.html", rollout, road_map, wrong)
    (tmp_path / "file").write_text("")
    with pytest.raises(RoadloopError, match="cannot write the report"):
        write_report(tmp_path / "file" / "a.html", rollout, road_map, None)


def drive_of_nothing(rollout):
    return dataclasses.replace(rollout, time=rollout.time[:0])
