"""`roadloop view` and `roadloop drive --cameras`: what they write, and mistakes in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import av
import numpy as np
import pytest
from drawn_scene import crossroads
from drawn_scene import drive as drawn_drive
from PIL import Image

from roadloop.cli import main
from roadloop.cli.view import look, parse_products
from roadloop.errors import RoadloopError
from roadloop.rig import load_rig, resized, select
from roadloop.semantics import SemanticClass
from roadloop.types import Weather
from roadloop.viz.film import Film
from roadloop.viz.report import write_report
from sim.scenarios import build_scenario

SENSORS_PAGE = Path(__file__).resolve().parents[1] / "docs" / "sensors.md"

RIG = """
name: small
description: two little cameras, a LiDAR and a radar
cameras:
  - name: front
    mount: {x: 1.7, y: 0.0, z: 1.4}
    width: 96
    height: 48
    fx: 48.0
    fy: 48.0
    cx: 47.5
    cy: 23.5
    rate: 2.0
    latency: 0.3
  - name: back
    mount: {x: 0.0, y: 0.0, z: 1.4, yaw: 3.1416}
    width: 96
    height: 48
    fx: 48.0
    fy: 48.0
    cx: 47.5
    cy: 23.5
lidars:
  - name: top
    mount: {x: 1.0, y: 0.0, z: 1.9}
    beams: [-15, -10, -5, 0, 5]
    columns: 180
    rate: 5.0
radars:
  - name: ahead
    mount: {x: 3.7, y: 0.0, z: 0.5}
imus:
  - name: imu
    mount: {x: 1.0, y: 0.0, z: 0.5}
gnss:
  - name: gnss
    mount: {x: 0.5, y: 0.0, z: 1.5}
    dropout: 0.0
odometry:
  - name: wheels
"""


@pytest.fixture
def rig_file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(RIG)
    return path


@pytest.fixture(scope="module")
def street():
    """A red light with traffic, whose world is quickly built."""
    return build_scenario("red_light", seed=2, agents=6)


def between(text, start, end):
    """What stands between two marks."""
    return text.partition(start)[2].partition(end)[0]


def refused(capsys, *words):
    """The message of a command line that must end with status 2 and print nothing else."""
    assert main(list(words)) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("roadloop: ") and shown.err.count("\n") == 1
    return shown.err


# --- view ---------------------------------------------------------------------------------------


def test_a_sheet_is_written_and_named(rig_file, tmp_path, capsys):
    out = tmp_path / "sheets" / "look.png"
    words = ["view", str(rig_file), "--scenario", "red_light", "--at", "1", "--out", str(out)]
    words += ["--products", "rgb,boxes", "--weather", "snow"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    first = np.asarray(Image.open(out))
    assert first.shape[1] > 900 and first.std() > 20
    assert main(words) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(out)), first)  # same seed, same picture


def test_the_weather_and_the_moment_are_what_was_asked_for(rig_file, tmp_path):
    def picture(*words):
        out = tmp_path / "look.png"
        base = ["view", str(rig_file), "--scenario", "red_light", "--detail", "plain"]
        assert main([*base, "--out", str(out), *words]) == 0
        return np.asarray(Image.open(out)).astype(float)

    noon, night = picture("--at", "1"), picture("--at", "1", "--weather", "clear-night")
    front = np.s_[105:195, 20:200]
    assert noon[front].mean() > 1.8 * night[front].mean()
    assert (picture("--at", "2") != noon).any()


def test_the_default_name_is_rig_and_weather(rig_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["view", str(rig_file), "--scenario", "red_light", "--at", "0.1", "--weather", "fog"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == os.path.join("runs", "small-fog.jpg")
    assert Image.open(tmp_path / "runs" / "small-fog.jpg").format == "JPEG"


def test_every_sensor_measures_at_that_moment_whatever_its_rate(rig_file, street):
    seen = look(street, load_rig(rig_file), 1.3, detail="plain", products=("depth", "flow"))
    moment = round(1e6 * street.dt)  # after the step before, where the sensors' clocks start
    assert seen.time == pytest.approx(1.3)
    assert {i.timestamp_us for i in seen.cameras.values()} == {moment}  # 2 Hz, and 0.3 s late
    assert seen.lidars["top"].timestamp_us == seen.radars["ahead"].timestamp_us == moment
    assert set(seen.gnss) == {"gnss"} and set(seen.odometry) == {"wheels"}
    front = seen.cameras["front"]
    assert front.rgb.shape == (48, 96, 3) and front.semantic is None
    assert front.depth is not None and front.flow is not None
    assert np.abs(front.flow).max() > 0.5  # the step before counts as the picture before
    assert seen.tracks is not None


def test_full_detail_keeps_the_labels(rig_file, street):
    rig = select(load_rig(rig_file), ("front",))
    plain, full = (
        look(street, rig, 0.5, detail=d, products=("semantic",)).cameras["front"]
        for d in ("plain", "full")
    )
    assert plain.semantic is not None and (plain.rgb != full.rgb).any()
    np.testing.assert_array_equal(plain.semantic, full.semantic)
    assert SemanticClass.ROAD in plain.semantic


def test_a_drive_that_is_over_has_nothing_to_look_at(street):
    with pytest.raises(RoadloopError, match=r"is over after \d+\.\d s: look at an earlier moment"):
        look(street, resized(load_rig("compact-3cam"), 0.1), 600.0)


def test_products_keep_their_order():
    assert parse_products("depth, rgb,depth") == ("depth", "rgb")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["view"], ["RIG"]),
        (["view", "compact-3cams"], ['unknown rig "compact-3cams"', '"compact-3cam"']),
        (["view", "gone.yaml"], ["gone.yaml"]),
        (["view", "compact-3cam", "--weather", "rain-nigt"], ["rain-nigt", "rain-night"]),
        (["view", "compact-3cam", "--products", "rgb,dept"], ['"dept"', '"depth"']),
        (["view", "compact-3cam", "--products", ","], ["no camera products"]),
        (["view", "compact-3cam", "--detail", "half"], ["half", "full"]),
        (["view", "compact-3cam", "--scenario", "dense_twon"], ['"dense_town"']),
        (["view", "compact-3cam", "--at", "-1"], ["at is -1"]),
        (["view", "compact-3cam", "--at", "soon"], ["--at"]),
        (["view", "compact-3cam", "--agents", "-1"], ["agents is -1"]),
        (["view", "compact-3cam", "--seed", "-1"], ["seed is -1"]),
        (["view", "compact-3cam", "--scale", "0"], ["resized by 0"]),
        (["view", "compact-3cam", "--out", "sheet.gif"], ["sheet.gif", ".jpg or .png"]),
        (["view", "compact-3cam", "--map", "gone.xodr"], ["gone.xodr"]),
        (["drive", "--cameras", "compact-3cams"], ['unknown rig "compact-3cams"']),
    ],
)
def test_mistakes_are_said_in_one_line(words, parts, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    said = refused(capsys, *words)
    for part in parts:
        assert part in said


def test_a_broken_rig_file_is_said_with_its_line(rig_file, capsys):
    rig_file.write_text(RIG.replace("width: 96", "width: 96 px", 1))
    assert "small.yaml:7: " in refused(capsys, "view", str(rig_file))
    rig_file.write_text(RIG.replace("    fy: 48.0\n", "", 1))
    assert "fy" in refused(capsys, "view", str(rig_file))


def test_list_names_rigs_and_weathers(capsys):
    assert main(["list", "--json"]) == 0
    listing = json.loads(capsys.readouterr().out)
    assert "compact-3cam" in listing["rigs"] and "rain-night" in listing["weathers"]
    assert "rain 8 mm/h" in listing["weathers"]["rain-night"]


# --- drive --cameras ----------------------------------------------------------------------------


def test_a_drive_shows_its_cameras(rig_file, tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["drive", "red_light", "--seconds", "1.5", "--agents", "4", "--out", str(folder)]
    assert main([*words, "--cameras", str(rig_file), "--json"]) == 0
    capsys.readouterr()
    with av.open(str(folder / "video.mp4")) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    # two cameras of 2 : 1 above each other stand beside the bird's-eye view
    assert len(frames) == 16 and frames[0].shape == (540, 960 + 540, 3)
    assert frames[10][:, :540].std() > 20

    page = (folder / "report.html").read_text(encoding="utf-8")
    film = json.loads(between(page, 'id="meta">', "</script>"))["film"]
    assert film["rig"] == "small" and film["steps"] == list(range(16))
    assert len(film["pictures"]) == 16 and (film["width"], film["height"]) == (540, 540)
    assert sum(map(len, film["pictures"])) < 3_000_000
    assert "cameras:" in (folder / "config.yaml").read_text()


def test_a_rig_without_cameras_cannot_be_shown(rig_file, tmp_path, capsys):
    rig_file.write_text("name: deaf\nimus:\n  - {name: imu, mount: {x: 0.0, y: 0.0, z: 0.5}}\n")
    said = refused(capsys, "drive", "--cameras", str(rig_file), "--out", str(tmp_path / "run"))
    assert "deaf has no cameras to show" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.browser
def test_the_film_follows_the_clock_of_the_report(browser, tmp_path):
    road_map = crossroads()
    rollout = drawn_drive(road_map, 40)
    film = Film(load_rig("compact-3cam"))
    for step in range(40):
        film.add(step, {})
    path = write_report(tmp_path / "drive.html", rollout, road_map, None, film=film)
    page = browser.new_page(viewport={"width": 1000, "height": 800}, reduced_motion="reduce")
    problems: list[str] = []
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(path.as_uri())
    page.wait_for_selector("body.ready", timeout=15_000)
    for step in (0, 17, 39, 3):
        page.evaluate(
            """step => {
              const scrub = document.getElementById("scrub");
              scrub.value = step;
              scrub.dispatchEvent(new Event("input"));
              return new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)));
            }""",
            step,
        )
        time = float(page.inner_text("#clock").split("/")[0])
        assert page.inner_text("#film-time") == f"compact-3cam · {time:.1f} s"
        assert f"at {time:.1f} seconds" in page.get_attribute("#film-picture", "alt")
    assert page.evaluate("document.getElementById('film-picture').naturalWidth") == 900
    page.close()
    assert problems == []


# --- the page -----------------------------------------------------------------------------------


def test_the_examples_of_the_page_work(tmp_path, monkeypatch):
    page = SENSORS_PAGE.read_text(encoding="utf-8")
    rig = tmp_path / "my_rig.yaml"
    rig.write_text(between(page, "```yaml\n", "```"))
    assert [s.name for s in load_rig(rig).sensors] == ["front", "top"]
    names: dict = {}
    exec(between(page, "```python\n", "```"), names)
    assert names["picture"].shape == (225, 400, 3)
    assert set(names["readings"]["lidars"]) == {"lidar-top"}
    assert isinstance(names["scenario"].weather, Weather)
