"""Looking at recordings: projection truths, the sheet, the video, the page, and `roadloop view`."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from recorded_drive import FRONT, SPEED, STEPS, recorded, road, without

from roadloop.camera import BrownConrady, Fisheye, Pinhole
from roadloop.cli import main
from roadloop.geometry import inverse, rotation_from_euler, se3, transform_points
from roadloop.logs.boxes_between import boxes_at
from roadloop.logs.recording import Frame
from roadloop.logs.sensor_boxes import boxes_in_ego
from roadloop.logs.writer import write_recording
from roadloop.readings import RadarScan
from roadloop.rig import Mount, RadarSensor
from roadloop.types import at
from roadloop.viz.projected import (
    NEAR,
    draw_boxes,
    draw_ground,
    draw_points,
    ground_lines,
    project_beyond,
    projected_lines,
)
from roadloop.viz.recording_above import FromAbove
from roadloop.viz.recording_facts import kinds_of, timing_of
from roadloop.viz.recording_film import frame_size, seen_rig, steps_at
from roadloop.viz.recording_moment import Moment, moment_at
from roadloop.viz.recording_page import rollout_of, write_recording_page
from roadloop.viz.recording_sheet import Sheet

LENSES = {
    "pinhole": Pinhole(320, 200, 200.0, 200.0, 159.5, 99.5),
    "brown-conrady": BrownConrady(320, 200, 200.0, 200.0, 159.5, 99.5, k1=-0.3, k2=0.02, p1=1e-3),
    "fisheye": Fisheye(320, 200, 100.0, 100.0, 159.5, 99.5, k1=-0.02, k2=0.002),
}


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def log(recording, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("logs") / "one"
    write_recording(recording, folder)
    return folder


def test_radar_is_seen_from_above_where_there_is_no_lidar(recording) -> None:
    """A target 10 m ahead is drawn there, with other sensors and without."""

    def scan():
        one = np.ones(1)
        return RadarScan(10.0 * one, 0 * one, 0 * one, -5.0 * one, 10.0 * one, timestamp_us=0)

    radar = RadarSensor("radar", Mount(3.5, 0.0, 0.5))
    frame = Frame("radar", "radar", 0, 0, recording.world_from_ego[0], scan)
    for frames in ((), recording.frames):
        blind = dataclasses.replace(without(recording, "agents"), frames=frames)
        seeing = dataclasses.replace(
            blind, frames=(*frames, frame), rig=dataclasses.replace(recording.rig, radars=(radar,))
        )
        one, two = (
            FromAbove(r, None).picture(Moment(r, 0), 300, 300, 60.0) for r in (blind, seeing)
        )
        v, u = np.nonzero((one != two).any(-1))
        assert len(u) and abs(u.mean() - 150) < 1.0 and abs(v.mean() - (186 - 50)) < 1.0


# --- lines through lenses -----------------------------------------------------------------------


@pytest.mark.parametrize("lens", LENSES)
def test_lines_lie_on_the_pixels_of_their_points(lens: str) -> None:
    camera = LENSES[lens]
    ends = np.array([[[-2.0, 0.5, 6.0], [3.0, -0.8, 4.0]]])
    (line,) = projected_lines(camera, ends)
    share = np.linspace(0.0, 1.0, 400)[:, None]
    uv, seen = camera.project(ends[0, 0] + share * (ends[0, 1] - ends[0, 0]))
    assert seen.all()
    # every drawn corner is on the curve, and the curve is never far from the drawn pieces
    apart = np.linalg.norm(line[:, None] - uv[None], axis=-1)
    assert apart.min(1).max() < 0.5
    assert apart.min(0).max() < np.linalg.norm(np.diff(line, axis=0), axis=-1).max()


@pytest.mark.parametrize("lens", ["pinhole", "brown-conrady"])
def test_lines_are_cut_just_in_front_of_the_lens(lens: str) -> None:
    camera = LENSES[lens]
    ends = np.array([[[0.4, 1.5, -5.0], [0.4, 1.5, 20.0]], [[0.0, 1.0, -1.0], [0.0, 1.0, -9.0]]])
    lines = projected_lines(camera, ends)
    assert len(lines) == 1  # the second lies behind
    far = camera.project(np.array([0.4, 1.5, 20.0]))[0]
    np.testing.assert_allclose(lines[0][-1], far, atol=1e-6)
    assert (lines[0][:, 1] >= far[1] - 1e-9).all()  # all of it below its far end, none mirrored
    assert NEAR > 0.0


def test_a_distorted_lens_ends_where_its_polynomial_turns() -> None:
    camera = LENSES["brown-conrady"]
    assert np.isfinite(camera.limit)
    wide = np.array([[[0.0, 0.0, 5.0], [80.0, 0.0, 5.0]]])
    (line,) = projected_lines(camera, wide, 400)
    assert (np.diff(line[:, 0]) > 0.0).all()  # outwards all the way: never folded back
    edge = camera.fx * camera.limit
    assert line[-1, 0] < camera.cx + edge


def test_a_fisheye_sees_behind_itself() -> None:
    camera = LENSES["fisheye"]
    beside = np.array([[[3.0, 0.0, -0.4], [3.0, 0.0, 2.0]]])
    (line,) = projected_lines(camera, beside)
    assert line[0, 0] > line[-1, 0]
    uv, known = project_beyond(camera, np.array([0.0, 0.0, -1.0]))
    assert not known and np.isfinite(uv).all()


# --- boxes, map, points -------------------------------------------------------------------------


def test_boxes_are_drawn_where_their_corners_are(recording) -> None:
    states = at(recording.agents, 5)
    boxes = boxes_in_ego(states, recording.world_from_ego[5])
    camera = FRONT.camera
    picture = np.zeros((camera.height, camera.width, 3), np.uint8)
    assert draw_boxes(picture, camera, FRONT.ego_from_camera, boxes, labels=False) == 3
    drawn = np.asarray(picture.any(-1))
    ego = recording.world_from_ego[5]
    inside = np.zeros_like(drawn)
    for k in range(3):
        half = np.array([states.length[k], states.width[k]]) / 2.0
        turned = se3(
            rotation_from_euler(0.0, 0.0, states.heading[k]),
            np.array([states.x[k], states.y[k], states.z[k]]),
        )
        ends = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (0, 1)], float)
        corners = ends * [*half, states.height[k]]
        camera_from_box = inverse(ego @ FRONT.ego_from_camera) @ turned
        uv, seen = camera.project(transform_points(camera_from_box, corners))
        for u, v in np.rint(uv[seen]).astype(int):
            near = drawn[max(v - 1, 0) : v + 2, max(u - 1, 0) : u + 2]
            assert near.any()
        low, high = np.floor(uv.min(0)).astype(int) - 3, np.ceil(uv.max(0)).astype(int) + 4
        inside[max(low[1], 0) : high[1], max(low[0], 0) : high[0]] = True
    assert not (drawn & ~inside).any()


def test_boxes_behind_are_not_drawn_in_front(recording) -> None:
    boxes = boxes_in_ego(at(recording.agents, 0), recording.world_from_ego[0])
    behind = Mount(0.0, 0.0, 1.4, yaw=np.pi)
    pose = dataclasses.replace(FRONT, mount=behind).ego_from_camera
    picture = np.zeros((96, 160, 3), np.uint8)
    assert draw_boxes(picture, FRONT.camera, pose, boxes) == 0
    assert not picture.any()


def test_lanes_are_drawn_on_the_ground_of_the_picture() -> None:
    ground = ground_lines(road())
    assert ground.flat
    picture = np.zeros((96, 160, 3), np.uint8)
    draw_ground(picture, FRONT.camera, FRONT.ego_from_camera, np.eye(4), ground)
    rows = np.flatnonzero(picture.any((1, 2)))
    assert rows.min() >= FRONT.cy - 1.5  # nothing above the horizon
    # the right edge of the ego's lane, 1.75 m to the right and 1.4 m below, 10 m ahead
    u = FRONT.cx + FRONT.fx * 1.75 / (10.0 - 1.6)
    v = FRONT.cy + FRONT.fy * 1.4 / (10.0 - 1.6)
    assert picture[round(v) - 1 : round(v) + 2, round(u) - 1 : round(u) + 2].any()


def test_points_are_drawn_on_their_pixels() -> None:
    picture = np.zeros((96, 160, 3), np.uint8)
    points = np.array([[12.0, 1.0, 0.5, 0.0], [-5.0, 0.0, 0.0, 0.0]])
    seen = draw_points(picture, FRONT.camera, inverse(FRONT.ego_from_camera), points)
    u = FRONT.cx - FRONT.fx * 1.0 / 10.4
    v = FRONT.cy + FRONT.fy * 0.9 / 10.4
    assert seen == 1 and picture[round(v), round(u)].any()
    assert np.count_nonzero(picture.any(-1)) == 1


def test_boxes_are_moved_to_the_time_of_the_exposure(recording) -> None:
    frame = recording.frames_of("front")[3]
    boxes = boxes_at(recording, frame.timestamp_us, frame.world_from_ego)
    assert boxes is not None
    car = int(np.flatnonzero(boxes["id"] == 7)[0])
    # as fast as the ego, which has moved on, too: it keeps its place in the ego frame
    np.testing.assert_allclose(boxes["x"][car], 20.0, atol=1e-9)
    walker = int(np.flatnonzero(boxes["id"] == 8)[0])
    np.testing.assert_allclose(boxes["x"][walker], 14.0 - SPEED * 0.32, atol=1e-9)


# --- moments, sheets, video, page ---------------------------------------------------------------


def test_a_moment_has_the_nearest_measurement_of_each_sensor(recording) -> None:
    moment = moment_at(recording, 0.31)
    assert moment.step == 3 and set(moment.frames) == {"front", "back", "top"}
    assert moment.frames["front"].timestamp_us == 320_000
    assert moment_at(recording, 99.0).step == STEPS - 1
    reach = np.hypot(*(moment.points[:, :2] - recording.world_from_ego[3, :2, 3]).T)
    np.testing.assert_allclose(reach, 12.0, atol=1e-5)


def test_the_sheet_shows_cameras_with_boxes(recording) -> None:
    sheet = Sheet(recording)
    picture = sheet.picture(Moment(recording, 5))
    assert picture.shape[1] == 1920 and picture.dtype == np.uint8
    bare = Sheet(without(recording, "agents", "load_map"))
    other = bare.picture(Moment(bare.recording, 5))
    assert other.shape == picture.shape
    assert (other != picture).any(-1).mean() > 0.01
    nothing = Sheet(without(recording, "agents", "frames", "rig", "load_map"))
    assert nothing.picture(Moment(nothing.recording, 0)).shape[1] == 1920
    again = Sheet(recording).picture(Moment(recording, 5))
    np.testing.assert_array_equal(again, picture)


def test_steps_are_shown_at_even_times(recording) -> None:
    np.testing.assert_array_equal(steps_at(recording), np.arange(STEPS))
    gap = recording.timestamp_us.copy()
    gap[5:] += 300_000
    late = dataclasses.replace(recording, timestamp_us=gap)
    np.testing.assert_array_equal(steps_at(late), [0, 1, 2, 3, 4, 4, 5, 5, 5, 6, 7, 8, 9][:13])
    one = dataclasses.replace(
        without(recording, "agents", "frames"),
        timestamp_us=recording.timestamp_us[:1],
        ego=at(recording.ego, slice(0, 1)),
        world_from_ego=recording.world_from_ego[:1],
    )
    np.testing.assert_array_equal(steps_at(one), [0])


def test_figures_of_sensors_and_road_users(recording) -> None:
    front = timing_of(recording)[0]
    assert (front.name, front.count, front.gaps) == ("front", STEPS, 0)
    assert front.rate == pytest.approx(10.0) and front.jitter == pytest.approx(0.0)
    assert front.offset == pytest.approx(0.02)
    holed = dataclasses.replace(
        recording, frames=tuple(f for f in recording.frames if f.timestamp_us // 100_000 != 4)
    )
    front = timing_of(holed)[0]
    assert front.gaps == 1 and front.longest == pytest.approx(0.2)
    car = kinds_of(recording)[0]
    assert (car.kind.name, car.tracks, car.boxes) == ("CAR", 1, STEPS)
    assert car.fastest == pytest.approx(SPEED) and car.categories == ("vehicle.car",)


def test_the_drive_of_the_page(recording) -> None:
    rollout, road_map = rollout_of(recording, recording.road_map)
    assert road_map.lanes == 2 and rollout.plan.shape == (STEPS, 51, 3)
    np.testing.assert_allclose(rollout.plan[2, 3, 0], recording.ego.x[5])
    assert np.isnan(rollout.plan[2, STEPS:]).all()
    rollout, road_map = rollout_of(without(recording, "agents", "load_map"), None)
    assert road_map.lanes == 0 and rollout.agents.valid.shape == (STEPS, 0)


def test_the_page_has_its_tables_and_its_licence(recording, tmp_path) -> None:
    calls = []
    path = write_recording_page(tmp_path / "look.html", Sheet(recording), calls.append)
    page = path.read_text()
    assert len(calls) == STEPS
    for said in ("vehicle.car", "CC0", "Nowhere", "the weather is not known", "front", "10.00"):
        assert said in page
    assert "2020-09-13 12:26:40 UTC" in page and "{{" not in page
    assert not re.search("https?://", page)
    meta = json.loads(re.findall(r'id="meta">(.*?)</script>', page)[0])
    assert meta["steps"] == STEPS and len(meta["film"]["pictures"]) == STEPS
    again = write_recording_page(tmp_path / "again.html", Sheet(recording))
    assert again.read_bytes() == path.read_bytes()


def test_recordings_of_single_moments_have_a_page_and_a_video(recording, tmp_path) -> None:
    slides = dataclasses.replace(recording, continuous=False)
    sheet = Sheet(without(slides, "load_map"))
    assert write_recording_page(tmp_path / "slides.html", sheet).stat().st_size > 10_000


# --- the command line ---------------------------------------------------------------------------


def test_view_of_a_log(log: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "look.png"
    assert main(["view", str(log), "--at", "0.5", "--out", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == str(out) and "CC0" in said and "note: the weather is not known" in said
    with Image.open(out) as picture:
        assert picture.size[0] == 1920


def test_view_makes_a_video_of_the_whole_log(log: Path, recording, tmp_path: Path) -> None:
    out = tmp_path / "look.mp4"
    assert main(["view", str(log), "--out", str(out)]) == 0
    with av.open(str(out)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert float(container.streams.video[0].average_rate) == pytest.approx(10.0)
    assert len(frames) == STEPS
    assert frames[0].shape[1::-1] == frame_size(seen_rig(recording))


def test_view_lists_the_drives_of_several(log: Path, recording, tmp_path, capsys) -> None:
    for name in ("first", "second"):
        write_recording(recording, tmp_path / "set" / name)
    where = str(tmp_path / "set")
    assert main(["view", where]) == 0
    said = capsys.readouterr().out
    assert "2 drives" in said and "  second" in said and "--drive 'first'" in said
    assert main(["view", where, "--drive", "secnd", "--out", str(tmp_path / "a.jpg")]) == 2
    assert "second" in capsys.readouterr().err
    assert main(["view", where, "--out", str(tmp_path / "a.jpg")]) == 2
    assert "--drive" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--at", "9"], "lasts 0.9 s"),
        (["--out", "look.gif"], ".jpg, .png, .mp4 or .html"),
        (["--out", "look.mp4", "--at", "0.2"], "whole drive"),
        (["--seed", "3"], "--seed does not belong"),
        (["--format", "nusenes"], "nuscenes"),
    ],
)
def test_mistakes_are_one_line(log: Path, words: list[str], said: str, capsys) -> None:
    assert main(["view", str(log), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_path_that_does_not_exist_and_options_of_logs_for_rigs(tmp_path: Path, capsys) -> None:
    assert main(["view", str(tmp_path / "none")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["view", "compact-3cam", "--drive", "a"]) == 2
    assert "--drive does not belong" in capsys.readouterr().err


def test_a_damaged_picture_is_named(log: Path, recording, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "damaged"
    write_recording(recording, folder)
    for picture in (folder / "rgb" / "front").iterdir():
        picture.write_bytes(picture.read_bytes()[:-200])
    assert main(["view", str(folder), "--out", str(tmp_path / "a.jpg"), "--at", "0.1"]) == 2
    assert "rgb/front/" in capsys.readouterr().err
