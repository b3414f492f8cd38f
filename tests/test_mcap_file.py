"""MCAP files of a drive: Foxglove's schemas, right places and times, whole files, same bytes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from roadloop.camera import BrownConrady, Fisheye
from roadloop.cli import main
from roadloop.errors import RoadloopError
from roadloop.geometry import box_corners, inverse
from roadloop.logs.sensor_log import SensorLogWriter
from roadloop.scoring.result import Score, Term
from roadloop.semantics import COLOURS
from roadloop.viz.palette import LAMP, rgb
from roadloop.viz.subject import Subject
from tests import viewer_drive as drive

pytest.importorskip("mcap_protobuf", reason="the extra viz is not installed")

from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory

from roadloop.viz import foxglove_messages as fox
from roadloop.viz.mcap_file import McapWriter

ROUNDED = ("/transforms", "/agents", "/trail", "/radar/nose/speed")
"""topics whose last bits are lost in a log"""
EVERY_STEP = drive.STEPS
PICTURES = drive.STEPS - drive.CAMERA_LATE
COUNTS = {
    ("/transforms", "foxglove.FrameTransforms"): EVERY_STEP,
    ("/mounts", "foxglove.FrameTransforms"): 1,
    ("/map", "foxglove.SceneUpdate"): 1,
    ("/route", "foxglove.SceneUpdate"): 1,
    ("/ego", "foxglove.SceneUpdate"): 1,
    ("/trail", "foxglove.SceneUpdate"): EVERY_STEP,
    ("/plan", "foxglove.SceneUpdate"): EVERY_STEP,
    ("/agents", "foxglove.SceneUpdate"): EVERY_STEP,
    ("/lights", "foxglove.SceneUpdate"): 2,  # at the start, and when they change
    ("/state", "roadloop.State"): EVERY_STEP,
    ("/camera/front/image", "foxglove.CompressedImage"): PICTURES,
    ("/camera/front/calibration", "foxglove.CameraCalibration"): PICTURES,
    ("/camera/front/depth", "foxglove.RawImage"): PICTURES,
    ("/camera/front/semantic", "foxglove.CompressedImage"): PICTURES,
    ("/camera/front/instance", "foxglove.RawImage"): PICTURES,
    ("/camera/front/boxes", "foxglove.ImageAnnotations"): PICTURES,
    ("/lidar/top", "foxglove.PointCloud"): 2,
    ("/radar/nose", "foxglove.PointCloud"): EVERY_STEP,
    ("/radar/nose/speed", "foxglove.SceneUpdate"): EVERY_STEP,
    ("/gnss/antenna", "foxglove.LocationFix"): EVERY_STEP,
    ("/gnss/antenna/place", "foxglove.PoseInFrame"): EVERY_STEP,
    ("/imu/imu", "roadloop.Imu"): 31,
    ("/odometry/wheels", "roadloop.Odometry"): EVERY_STEP,
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mcap") / "new" / "drive.mcap"
    with McapWriter(path, drive.subject()) as writer:
        drive.write(writer)
        assert not path.exists()
    return path


@pytest.fixture(scope="module")
def messages(path: Path) -> dict[str, list[tuple[Any, Any]]]:
    """Record and content of every message by topic."""
    return read(path)


def read(path: Path) -> dict[str, list[tuple[Any, Any]]]:
    found: dict[str, list[tuple[Any, Any]]] = {}
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        for schema, channel, message in reader.iter_messages():
            if channel.message_encoding == "json":
                content = json.loads(message.data)
            else:
                decode = DecoderFactory().decoder_for(channel.message_encoding, schema)
                assert decode is not None
                content = decode(message.data)
            found.setdefault(channel.topic, []).append((message, content))
    return found


def matrix(translation: Any, rotation: Any) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat([rotation.x, rotation.y, rotation.z, rotation.w]).as_matrix()
    pose[:3, 3] = translation.x, translation.y, translation.z
    return pose


def xyz(points: Any) -> np.ndarray:
    return np.array([(p.x, p.y, p.z) for p in points])


def raw(content: Any, dtype: str) -> np.ndarray:
    return np.frombuffer(content.data, dtype).reshape(content.height, content.width)


# --- what is in it ------------------------------------------------------------------------------


def test_every_topic_has_its_schema_and_its_messages(path: Path) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    with path.open("rb") as file:
        reader = make_reader(file)
        for schema, channel, _ in reader.iter_messages():
            assert schema is not None
            counts[channel.topic, schema.name] += 1
            encodings = (channel.message_encoding, schema.encoding)
            ours = schema.name.startswith("roadloop.")
            assert encodings == (("json", "jsonschema") if ours else ("protobuf", "protobuf"))
            if ours:
                assert json.loads(schema.data)["type"] == "object"
        facts = [metadata.metadata for metadata in reader.iter_metadata()]
    assert counts == COUNTS
    assert facts == [{"title": "hand, seed 3, driver nobody", **drive.subject().facts}]


def test_times_are_those_of_the_measurement_and_sequence_is_the_step(messages) -> None:
    for topic, step in (("/state", 0), ("/camera/front/image", drive.CAMERA_LATE)):
        for k, (message, _) in enumerate(messages[topic]):
            assert message.log_time == message.publish_time == k * 100_000_000
            assert message.sequence == k + step
    sweeps = [(m.log_time, c.timestamp.nanos) for m, c in messages["/lidar/top"]]
    assert sweeps == [(0, 0), (200_000_000, 200_000_000)]
    assert [m.log_time for m, _ in messages["/imu/imu"]] == [k * 10_000_000 for k in range(31)]


def test_a_point_seen_by_sensors_lies_where_it_is_in_the_world(messages) -> None:
    """Through the tree of transforms, as a viewer goes."""
    mounts = {
        t.child_frame_id: matrix(t.translation, t.rotation)
        for t in messages["/mounts"][0][1].transforms
    }
    assert {"ego/front", "ego/top", "ego/nose", "ego/imu", "ego/antenna"} == set(mounts)
    (move,) = messages["/transforms"][2][1].transforms
    assert (move.parent_frame_id, move.child_frame_id) == ("world", "ego")
    world_from_ego = matrix(move.translation, move.rotation)
    truth = (drive.world_from_ego(2) @ (*drive.MARK, 1.0))[:3]
    # the LiDAR's point
    cloud = messages["/lidar/top"][1][1]
    assert cloud.frame_id == "ego"
    dtypes = {1: "<u1", 3: "<u2", 6: "<i4", 7: "<f4"}
    dtype = np.dtype(
        {
            "names": [f.name for f in cloud.fields],
            "formats": [dtypes[f.type] for f in cloud.fields],
            "offsets": [f.offset for f in cloud.fields],
            "itemsize": cloud.point_stride,
        }
    )
    points = np.frombuffer(cloud.data, dtype)
    sweep = drive.sweep(2)
    assert points["intensity"].tolist() == sweep.points[:, 3].tolist()
    for name in ("ring", "time_offset", "semantic", "instance"):
        assert points[name].tolist() == getattr(sweep, name).tolist()
    first = np.array([points[key][0] for key in "xyz"] + [1.0])
    assert np.allclose((world_from_ego @ first)[:3], truth, atol=1e-6)
    # the picture's dot, at the calibration's pixel
    calibration = messages["/camera/front/calibration"][0][1]
    assert calibration.frame_id == "ego/front"
    camera_from_world = inverse(world_from_ego @ mounts["ego/front"])
    pixel = np.array(calibration.P).reshape(3, 4) @ camera_from_world @ (*truth, 1.0)
    u, v = np.rint(pixel[:2] / pixel[2]).astype(int)
    image = messages["/camera/front/image"][0][1]
    assert (image.format, image.frame_id) == ("jpeg", "ego/front")
    rgb_image = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert rgb_image[v, u].min() > 230
    assert np.abs(rgb_image[40, 50].astype(int) - (40, 90, 140)).max() < 6


def test_labels_of_a_picture(messages) -> None:
    truth = drive.picture(0)
    depth = raw(messages["/camera/front/depth"][0][1], "<f4")
    far = np.isinf(truth.depth)
    assert np.array_equal(np.isinf(depth), far)
    assert np.abs(depth[~far] - truth.depth[~far]).max() <= 0.5 / 128
    png = np.frombuffer(messages["/camera/front/semantic"][0][1].data, np.uint8)
    classes = cv2.imdecode(png, cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(classes, COLOURS[truth.semantic])
    instance = raw(messages["/camera/front/instance"][0][1], "<u2")
    assert instance[25, 10] == 7 and instance[0, 0] == 65535
    boxes = messages["/camera/front/boxes"][0][1]
    assert [t.text for t in boxes.texts] == ["truck 7"]
    corners = [(p.x, p.y) for p in boxes.points[0].points]
    # the pixels 5 to 14, 20 to 29, from the left edge of the first to the right one of the last
    assert corners == [(5, 20), (15, 20), (15, 30), (5, 30)]


def test_agents_are_boxes_with_arrows(messages) -> None:
    for step, (_, scene) in enumerate(messages["/agents"]):
        states = drive.agents(step)
        assert [e.id for e in scene.entities] == (["7", "12"] if step < 2 else ["7"])
        assert [d.type for d in scene.deletions] == [fox.SceneEntityDeletion.ALL]
        truck = scene.entities[0]
        assert truck.frame_id == "world"
        facts = {pair.key: pair.value for pair in truck.metadata}
        assert facts == {"kind": "truck", "speed_mps": "8.00"}
        (cube,) = truck.cubes
        pose = matrix(cube.pose.position, cube.pose.orientation)
        half = np.array([cube.size.x, cube.size.y, cube.size.z]) / 2.0
        front_left = (pose @ (half[0], half[1], -half[2], 1.0))[:3]
        corners = box_corners(*(getattr(states, k)[0] for k in ("x", "y", "heading")), 9.0, 2.5)
        assert np.allclose(front_left, (*corners[0], 0.5))
        (arrow,) = truck.arrows
        turn = matrix(arrow.pose.position, arrow.pose.orientation)
        way = turn[:3, 0] * (arrow.shaft_length + arrow.head_length)
        assert np.allclose(way, (states.vx[0], states.vy[0], 0.0))
    assert not messages["/agents"][0][1].entities[1].arrows  # walks 0.1 m/s


def test_map_route_plan_and_lights(messages) -> None:
    entities = {e.id: e.lines[0] for e in messages["/map"][0][1].entities}
    assert set(entities) == {"borders", "centrelines", "crosswalks", "stop_lines"}
    borders = entities["borders"]
    ends = xyz(borders.points)[np.array(borders.indices).reshape(-1, 2)]
    assert sorted(ends[:, 0, 1]) == [-1.75, 1.75, 5.25]  # the shared one once
    assert np.array_equal(np.abs(ends[:, 1, 0] - ends[:, 0, 0]), [100.0] * 3)
    assert xyz(entities["stop_lines"].points)[:, 0].tolist() == [40.0, 40.0]
    (way,) = messages["/route"][0][1].entities[0].lines
    assert np.allclose(xyz(way.points)[[0, -1]], [(0, 0, 0), (90, 0, 0)])
    (line,) = messages["/plan"][1][1].entities[0].lines
    assert np.allclose(xyz(line.points)[:, 0], drive.plan(1).x)
    assert len(line.colors) == 7 and line.colors[0] != line.colors[-1]
    (trail,) = messages["/trail"][3][1].entities[0].lines
    assert np.allclose(xyz(trail.points), [drive.world_from_ego(k)[:3, 3] for k in range(4)])
    for (_, scene), state in zip(messages["/lights"], (1, 4)):
        (lamp,) = scene.entities[0].spheres
        (bar,) = scene.entities[0].lines
        lit = list(LAMP)[state]
        for colour in (lamp.color, bar.color):
            assert np.allclose([255 * c for c in (colour.r, colour.g, colour.b)], rgb(LAMP[lit]))
        assert xyz([lamp.pose.position]).tolist() == [[61.0, -3.0, 4.0]]
        assert xyz(bar.points)[:, 0].tolist() == [60.0, 60.0]


def test_the_egos_box_moves_with_its_frame(messages) -> None:
    (ego,) = messages["/ego"][0][1].entities
    (cube,) = ego.cubes
    assert ego.frame_id == "ego" and ego.frame_locked
    assert np.allclose(xyz([cube.pose.position]), (1.35, 0.0, 0.75))  # 4.7 m, 1 m behind the axle
    assert np.allclose(xyz([cube.size]), (4.7, 1.9, 1.5))


def test_numbers_to_plot(messages) -> None:
    assert messages["/state"][2][1] == {
        "speed_mps": 12.0,
        "acceleration_mps2": 0.5,
        "steering_rad": 0.01,
        "yaw_rate_radps": 0.03,
        "asked_acceleration_mps2": 0.4,
        "asked_steering_rad": -0.02,
    }
    assert messages["/imu/imu"][10][1]["ax_mps2"] == pytest.approx(1.0)
    assert messages["/odometry/wheels"][1][1]["speed_mps"] == 11.0
    fix, place = messages["/gnss/antenna"][1][1], messages["/gnss/antenna/place"][1][1]
    assert (fix.latitude, fix.longitude) == (48.1, 11.5)
    assert (place.frame_id, place.pose.position.x) == ("world", 11.0)


def test_radar_arrows_lie_along_the_line_of_sight(messages) -> None:
    receding, clutter = messages["/radar/nose/speed"][0][1].entities[0].arrows
    away = np.array([23.6 - 3.6, 15.0, 0.0])
    turn = matrix(receding.pose.position, receding.pose.orientation)
    length = receding.shaft_length + receding.head_length
    assert np.allclose(turn[:3, 0] * length, 5.0 * away / 25.0)
    turn = matrix(clutter.pose.position, clutter.pose.orientation)
    assert turn[0, 0] < 0.0  # it comes nearer


# --- parts --------------------------------------------------------------------------------------


@given(st.tuples(*[st.floats(-30.0, 30.0)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1))
@settings(max_examples=30, derandomize=True, deadline=None)
def test_an_arrow_ends_where_its_vector_does(vector: tuple[float, float, float]) -> None:
    arrow = fox.arrow(np.zeros(3), np.array(vector), (1, 2, 3), 0.1)
    turn = matrix(arrow.pose.position, arrow.pose.orientation)
    assert np.allclose(turn[:3, 0] * (arrow.shaft_length + arrow.head_length), vector)


def test_lenses_have_foxgloves_names_and_opencvs_order() -> None:
    size = (64, 48, 40.0, 41.0, 31.0, 24.0)
    plain = fox.calibration(0, "c", drive.CAMERA.camera)
    assert (plain.distortion_model, list(plain.D)) == ("plumb_bob", [0.0] * 5)
    assert list(plain.K) == [40.0, 0.0, 31.0, 0.0, 41.0, 24.0, 0.0, 0.0, 1.0]
    bent = fox.calibration(0, "c", BrownConrady(*size, 0.1, 0.2, 0.3, 0.4, 0.5))
    assert (bent.distortion_model, list(bent.D)) == ("plumb_bob", [0.1, 0.2, 0.3, 0.4, 0.5])
    rational = fox.calibration(0, "c", BrownConrady(*size, *(k / 10 for k in range(1, 9))))
    assert rational.distortion_model == "rational_polynomial" and len(rational.D) == 8
    fish = fox.calibration(0, "c", Fisheye(*size, 0.1, 0.2, 0.3, 0.4))
    assert (fish.distortion_model, list(fish.D)) == ("kannala_brandt", [0.1, 0.2, 0.3, 0.4])


def test_score_events_are_messages_at_their_time(tmp_path: Path) -> None:
    lost = Term("headway", "Headway", 0.0, "", False, 0.2, "too near car 7")
    kept = Term("comfort", "Comfort", 1.0, "", True, None, "")
    path = tmp_path / "drive.mcap"
    with McapWriter(path, drive.subject()) as writer:
        drive.write(writer)
        writer.add_score(Score("safety", "Safety", "1", None, "", (lost, kept)))
    ((message, event),) = read(path)["/events"]
    assert (event.message, message.log_time) == ("Headway: too near car 7", 200_000_000)
    assert event.level == fox.Log.WARNING


def test_without_map_sensors_and_plan(tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    with McapWriter(path, Subject({})) as writer:
        for step in range(2):
            writer.append(drive.without_sensors(step))
    found = read(path)
    assert set(found) == {"/transforms", "/mounts", "/ego", "/trail", "/plan", "/agents", "/state"}
    (move,) = found["/transforms"][1][1].transforms
    level = matrix(move.translation, move.rotation)
    assert level[2].tolist() == [0.0, 0.0, 1.0, 0.0]  # nobody said that it goes uphill


# --- files --------------------------------------------------------------------------------------


def test_the_same_drive_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.mcap"
    with McapWriter(again, drive.subject()) as writer:
        drive.write(writer)
    assert again.read_bytes() == path.read_bytes()


def test_an_interrupted_drive_is_kept_a_failed_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "drive.mcap"
    with pytest.raises(KeyboardInterrupt), McapWriter(path, drive.subject()) as writer:
        drive.write(writer, 2)
        raise KeyboardInterrupt
    assert len(read(path)["/state"]) == 2
    before = path.read_bytes()
    failed = pytest.raises(RoadloopError, match="step 1 after step 1")
    with failed, McapWriter(path, drive.subject()) as writer:
        drive.write(writer, 2)
        writer.append(drive.observation(1))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["drive.mcap"]
    with pytest.raises(RoadloopError, match="closed"):
        writer.append(drive.observation(3))


def test_bad_paths_are_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.mcap").mkdir()
    for name, part in (
        ("drive.bag", r"call it \*\.mcap"),
        ("file/drive.mcap", "cannot be written"),
        ("folder.mcap", "is a folder"),
    ):
        with pytest.raises(RoadloopError, match=part) as raised:
            McapWriter(tmp_path / name, drive.subject())
        assert "\n" not in str(raised.value)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "mcap_protobuf.schema", None)
    with pytest.raises(RoadloopError, match=r"mcap-protobuf-support.*'roadloop\[viz\]'"):
        McapWriter(tmp_path / "drive.mcap", drive.subject())
    assert not list(tmp_path.iterdir())


# --- from logs ----------------------------------------------------------------------------------


def test_a_sensor_log_is_exported_as_the_drive_was(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    with SensorLogWriter(log, drive.RIG, lossless=True, about={"scenario": "hand"}) as writer:
        for step in range(drive.STEPS):
            writer.append(drive.observation(step), world_from_ego=drive.world_from_ego(step))
    out = tmp_path / "log.mcap"
    assert main(["export", str(log), "--mcap", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(out)]
    live, logged = read(path), read(out)
    assert set(live) - set(logged) == {"/map", "/route", "/lights"}
    for topic in set(logged) - {"/plan", "/state"}:
        assert len(live[topic]) == len(logged[topic])
        for (a, _), (b, _) in zip(live[topic], logged[topic]):
            assert (a.log_time, a.sequence) == (b.log_time, b.sequence)
            if topic not in ROUNDED:
                assert a.data == b.data, topic
    (move,) = logged["/transforms"][3][1].transforms
    assert np.allclose(matrix(move.translation, move.rotation), drive.world_from_ego(3))


def test_export_says_mistakes_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, part in (
        (["export", str(tmp_path)], "give --rerun FILE.rrd"),
        (["export", str(tmp_path), "--mcap", "a.mcap"], "no rollout"),
    ):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert part in said and said.count("\n") == 1
