"""Rerun recordings of a drive: read back with rerun's own reader."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from roadloop.cli import main
from roadloop.errors import RoadloopError
from roadloop.geometry import box_corners, inverse
from roadloop.scoring.result import Score, Term
from roadloop.semantics import COLOURS
from roadloop.viz.palette import LAMP, rgb
from roadloop.viz.sensor_marks import point_colours
from roadloop.viz.subject import Subject
from tests import viewer_drive as drive

pytest.importorskip("rerun", reason="the extra viz is not installed")

from rerun.chunk import RrdReader

from roadloop.viz.rerun_file import RerunWriter

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rerun") / "new" / "drive.rrd"
    with RerunWriter(path, drive.subject()) as writer:
        drive.write(writer)
        assert not path.exists()
    return path


@pytest.fixture(scope="module")
def rows(path: Path) -> Rows:
    return read(path)


def read(path: Path) -> Rows:
    """Per entity its rows in the order of steps; static data has one row without a step."""
    found: Rows = {}
    for chunk in RrdReader(path).stream().to_chunks():
        batch = chunk.to_record_batch()
        columns = {
            name.rpartition(":")[2]: values.to_pylist()
            for name, values in zip(batch.schema.names, batch.columns)
            if name != "rerun.controls.RowId"
        }
        for k in range(batch.num_rows):
            row = {name: values[k] for name, values in columns.items()}
            found.setdefault(chunk.entity_path, []).append(row)
    for entity in found.values():
        entity.sort(key=lambda row: (row.get("step") or -1, row.get("time") or -1))
    return found


def moving(rows: Rows, entity: str) -> list[dict[str, Any]]:
    return [row for row in rows[entity] if "time" in row]


def pose(row: dict[str, Any]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(row["quaternion"][0]).as_matrix()
    matrix[:3, 3] = row["translation"][0]
    return matrix


def seconds(row: dict[str, Any]) -> float:
    return row["time"].total_seconds()


def decoded(row: dict[str, Any]) -> np.ndarray:
    content = np.array(row["blob"][0], np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    return image if image.ndim == 2 else image[..., ::-1]


def hexadecimal(colour: Any) -> list[int]:
    return [int(f"{r:02x}{g:02x}{b:02x}ff", 16) for r, g, b in np.atleast_2d(colour)]


# --- what is in it ------------------------------------------------------------------------------


def test_every_entity_has_its_rows(rows: Rows) -> None:
    every = drive.STEPS
    counts = {
        "/world/ego": every,
        "/world/trail": every,
        "/world/plan": every,
        "/world/agents": every,
        "/world/agents/velocity": every,
        "/world/lights": 2,  # at the start, and when they change
        "/world/lights/stop_lines": 2,
        "/world/ego/lidar/top": 2,
        "/world/ego/radar/nose": every,
        "/world/ego/radar/nose/speed": every,
        "/world/gnss/antenna": every,
        "/earth/antenna": every,
        "/imu/imu/acceleration": 31,
        "/imu/imu/angular_velocity": 31,
        **{
            f"/world/ego/front/{kind}": every - drive.CAMERA_LATE
            for kind in ("rgb", "depth", "semantic", "instance", "boxes")
        },
        **{
            f"/numbers/{name}": every
            for name in ("speed_mps", "acceleration_mps2", "steering_rad", "yaw_rate_radps")
        },
        "/numbers/asked_acceleration_mps2": every,
        "/numbers/asked_steering_rad": every,
    }
    found = {entity: len(moving(rows, entity)) for entity in rows}
    assert {entity: n for entity, n in found.items() if n} == counts
    still = {entity for entity, n in found.items() if not n}
    assert {"/world", "/world/route", "/world/ego/box", "/world/ego/front", "/drive"} <= still
    assert {f"/world/map/{n}" for n in ("borders", "centrelines", "crosswalks")} <= still
    assert {f"/world/ego/mounts/{n}" for n in ("front", "top", "nose", "imu", "antenna")} <= still


def test_timelines_are_step_and_time_since_the_start(path: Path, rows: Rows) -> None:
    for chunk in RrdReader(path).stream().to_chunks():
        assert set(chunk.timeline_names) <= {"step", "time"}  # no wall clock
    state = [(row["step"], seconds(row)) for row in moving(rows, "/world/ego")]
    assert state == [(k, pytest.approx(0.1 * k)) for k in range(drive.STEPS)]
    pictures = [(row["step"], seconds(row)) for row in moving(rows, "/world/ego/front/rgb")]
    assert pictures == [(k + 1, pytest.approx(0.1 * k)) for k in range(drive.STEPS - 1)]
    samples = [seconds(row) for row in moving(rows, "/imu/imu/acceleration")]
    assert samples == pytest.approx([0.01 * k for k in range(31)])


def test_a_point_seen_by_sensors_lies_where_it_is_in_the_world(rows: Rows) -> None:
    """Down the tree of entities, as the viewer goes."""
    world_from_ego = pose(moving(rows, "/world/ego")[2])
    assert np.allclose(world_from_ego, drive.world_from_ego(2), atol=1e-6)
    truth = drive.world_from_ego(2) @ (*drive.MARK, 1.0)
    point = moving(rows, "/world/ego/lidar/top")[1]["positions"][0]
    assert np.allclose(world_from_ego @ (*point, 1.0), truth, atol=1e-5)
    merged = {key: v for row in rows["/world/ego/front"] for key, v in row.items()}
    in_camera = inverse(world_from_ego @ pose(merged)) @ truth
    matrix = np.reshape(merged["image_from_camera"][0], (3, 3)).T  # columns lie together
    u, v = (matrix @ in_camera[:3])[:2] / in_camera[2]
    assert merged["resolution"][0] == [64.0, 48.0]
    image = decoded(moving(rows, "/world/ego/front/rgb")[0])
    # rerun counts from the picture's corner: the pixel that a place lies in is its whole part
    assert image[int(v), int(u)].min() > 230 and image[int(v), int(u) + 2].max() < 200
    assert np.allclose(pose(rows["/world/ego/mounts/front"][0]), pose(merged))
    top = drive.RIG.lidars[0].mount.ego_from_sensor
    assert np.allclose(pose(rows["/world/ego/mounts/top"][0]), top, atol=1e-6)


def test_labels_of_a_picture(rows: Rows) -> None:
    truth = drive.picture(0)
    row = moving(rows, "/world/ego/front/depth")[0]
    depth = decoded(row) / row["meter"][0]
    far = np.isinf(truth.depth)
    assert not depth[far].any()
    assert np.abs(depth - np.where(far, 0.0, truth.depth))[~far].max() < 0.0051
    classes = moving(rows, "/world/ego/front/semantic")[0]["buffer"][0]
    assert np.array_equal(np.reshape(classes, (48, 64)), truth.semantic)
    (context,) = [row for row in rows["/world/ego/front/semantic"] if "time" not in row]
    names = {entry["class_id"]: entry["class_description"] for entry in context["context"][0]}
    assert names[14]["info"]["label"] == "car"
    assert [names[14]["info"]["color"]] == hexadecimal(COLOURS[14])
    instance = np.array(moving(rows, "/world/ego/front/instance")[0]["buffer"][0], np.uint8)
    assert instance.view(np.uint16).reshape(48, 64)[25, 10] == 7
    box = moving(rows, "/world/ego/front/boxes")[0]
    assert (box["centers"], box["half_sizes"]) == ([[10.0, 25.0]], [[5.0, 5.0]])
    assert box["labels"] == ["truck 7"]


def test_agents_are_boxes_with_arrows(rows: Rows) -> None:
    for step, row in enumerate(moving(rows, "/world/agents")):
        states = drive.agents(step)
        assert row["labels"] == (["truck 7", "pedestrian 12"] if step < 2 else ["truck 7"])
        assert row["id"] == ([7, 12] if step < 2 else [7]) and row["speed"][0] == pytest.approx(8.0)
        turn = Rotation.from_quat(row["quaternions"][0]).as_matrix()
        half = np.array(row["half_sizes"][0])
        front_left = row["centers"][0] + turn @ (half * (1.0, 1.0, -1.0))
        corners = box_corners(*(getattr(states, k)[0] for k in ("x", "y", "heading")), 9.0, 2.5)
        assert np.allclose(front_left, (*corners[0], 0.5), atol=1e-5)
        arrow = moving(rows, "/world/agents/velocity")[step]  # the pedestrian stands almost
        assert np.allclose(arrow["vectors"], [(states.vx[0], states.vy[0], 0.0)])


def test_map_route_plan_and_lights(rows: Rows) -> None:
    borders = np.array(rows["/world/map/borders"][0]["strips"])
    assert sorted(borders[:, 0, 1]) == [-1.75, 1.75, 5.25]  # the shared one once
    (route,) = rows["/world/route"][0]["strips"]
    assert np.allclose([route[0], route[-1]], [(0, 0, 0), (90, 0, 0)])
    plan = moving(rows, "/world/plan")[1]
    assert np.allclose([strip[1][0] for strip in plan["strips"]], drive.plan(1).x[1:])
    assert len(set(plan["colors"])) > 3
    for row, bars, state in zip(
        moving(rows, "/world/lights"), moving(rows, "/world/lights/stop_lines"), (1, 4)
    ):
        expected = hexadecimal(rgb(LAMP[list(LAMP)[state]]))
        assert row["colors"] == bars["colors"] == expected
        assert row["positions"] == [[61.0, -3.0, 4.0]]


def test_numbers_to_plot(rows: Rows) -> None:
    speeds = [row["scalars"][0] for row in moving(rows, "/numbers/speed_mps")]
    assert speeds == [10.0, 11.0, 12.0, 13.0]
    samples = moving(rows, "/imu/imu/acceleration")
    assert samples[10]["scalars"] == pytest.approx([1.0, 0.0, 9.81])


def test_radar_arrows_lie_along_the_line_of_sight(rows: Rows) -> None:
    arrows = moving(rows, "/world/ego/radar/nose/speed")[0]
    assert np.allclose(arrows["origins"], [(23.6, 15.0, 0.5), (8.0, 1.0, 0.5)])
    assert np.allclose(arrows["vectors"][0], (4.0, 3.0, 0.0))  # 5 m/s away from (3.6, 0)
    assert arrows["vectors"][1][0] < 0.0


def test_points_are_coloured_by_what_is_asked_for(rows: Rows, tmp_path: Path) -> None:
    sweep = drive.sweep(0)
    assert np.array_equal(point_colours(sweep, "semantic"), COLOURS[sweep.semantic])
    bright = point_colours(sweep, "intensity").astype(int).sum(-1)
    assert bright[0] > bright[1]
    expected = hexadecimal(point_colours(sweep, "height"))
    assert moving(rows, "/world/ego/lidar/top")[0]["colors"] == expected
    with pytest.raises(RoadloopError, match='did you mean "intensity"'):
        RerunWriter(tmp_path / "drive.rrd", drive.subject(), colour_points="intensty")


def test_score_events_are_text_at_their_time(tmp_path: Path) -> None:
    lost = Term("headway", "Headway", 0.0, "", False, 0.2, "too near car 7")
    path = tmp_path / "drive.rrd"
    with RerunWriter(path, drive.subject()) as writer:
        drive.write(writer)
        writer.add_score(Score("safety", "Safety", "1", None, "", (lost,)))
    (row,) = read(path)["/events"]
    assert (row["text"], row["level"]) == (["Headway: too near car 7"], ["WARN"])
    assert seconds(row) == pytest.approx(0.2)


def test_without_map_sensors_and_plan(tmp_path: Path) -> None:
    path = tmp_path / "drive.rrd"
    with RerunWriter(path, Subject({})) as writer:
        for step in range(2):
            writer.append(drive.without_sensors(step))
    found = read(path)
    assert not any(name.startswith(("/world/map", "/imu", "/world/route")) for name in found)
    assert moving(found, "/world/plan")[0]["strips"] == []
    level = pose(moving(found, "/world/ego")[1])
    assert level[2].tolist() == [0.0, 0.0, 1.0, 0.0]  # nobody said that it goes uphill


# --- files --------------------------------------------------------------------------------------


def test_the_same_drive_gives_the_same_contents(path: Path, rows: Rows, tmp_path: Path) -> None:
    again = tmp_path / "again.rrd"
    with RerunWriter(again, drive.subject()) as writer:
        drive.write(writer)
    assert read(again) == rows
    (first,), (second,) = (RrdReader(p).recordings() for p in (path, again))
    assert first.recording_id == second.recording_id == drive.subject().identity


def test_long_drives_are_written_through(tmp_path: Path) -> None:
    path = tmp_path / "drive.rrd"
    with RerunWriter(path, Subject({})) as writer:
        for step in range(120):
            writer.append(drive.without_sensors(step))
    chunks = [
        chunk.num_rows
        for chunk in RrdReader(path).stream().to_chunks()
        if chunk.entity_path == "/numbers/speed_mps"
    ]
    assert sorted(chunks) == [20, 50, 50]
    assert [row["step"] for row in read(path)["/numbers/speed_mps"]] == list(range(120))


def test_an_interrupted_drive_is_kept_a_failed_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "drive.rrd"
    with pytest.raises(KeyboardInterrupt), RerunWriter(path, drive.subject()) as writer:
        drive.write(writer, 2)
        raise KeyboardInterrupt
    assert len(moving(read(path), "/numbers/speed_mps")) == 2
    before = path.read_bytes()
    failed = pytest.raises(RoadloopError, match="step 1 after step 1")
    with failed, RerunWriter(path, drive.subject()) as writer:
        drive.write(writer, 2)
        writer.append(drive.observation(1))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["drive.rrd"]
    with pytest.raises(RoadloopError, match="closed"):
        writer.append(drive.observation(3))


def test_bad_paths_are_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.rrd").mkdir()
    for name, part in (
        ("drive.mcap", r"call it \*\.rrd"),
        ("file/drive.rrd", "cannot be written"),
        ("folder.rrd", "is a folder"),
    ):
        with pytest.raises(RoadloopError, match=part) as raised:
            RerunWriter(tmp_path / name, drive.subject())
        assert "\n" not in str(raised.value)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(RoadloopError, match=r"rerun-sdk.*'roadloop\[viz\]'"):
        RerunWriter(tmp_path / "drive.rrd", drive.subject())
    assert not list(tmp_path.iterdir())


# --- the command line ---------------------------------------------------------------------------


def test_a_drive_is_recorded_live_and_from_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, live, logged = tmp_path / "run", tmp_path / "live.rrd", tmp_path / "logged.rrd"
    words = ["drive", "--seconds", "0.5", "--agents", "2", "--no-video", "--out", str(run)]
    assert main([*words, "--rerun", str(live)]) == 0
    assert f"rerun    {live}" in capsys.readouterr().out.splitlines()
    assert "rerun" not in (run / "config.yaml").read_text()
    assert main(["export", str(run), "--rerun", str(logged)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(logged)]
    first, second = read(live), read(logged)
    assert first.keys() == second.keys()
    for entity in ("/world/plan", "/world/agents", "/numbers/speed_mps", "/world/map/borders"):
        assert len(first[entity]) == len(second[entity])
    for a, b in zip(moving(first, "/world/agents"), moving(second, "/world/agents")):
        assert a["id"] == b["id"]
        assert np.allclose(a["centers"], b["centers"], atol=0.05)  # which are level in the log


def test_mistakes_end_with_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "run")]
    assert main(["drive", "--seconds", "0.5", *out, "--rerun", str(tmp_path / "a.txt")]) == 2
    assert "call it *.rrd" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run" / "config.yaml").exists()
