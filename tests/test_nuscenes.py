"""nuScenes' schema: what the reader makes of tables and files, and what it says of damaged ones."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nuscenes_scene import (
    SCENE,
    SPEED,
    START,
    ego_place,
    quaternion,
    radar_file,
    radar_target,
    save,
    write_expansion,
    write_scene,
)
from scipy.spatial.transform import Rotation, Slerp
from shapely import Polygon

from roadloop.datasets.formats import list_drives
from roadloop.datasets.nuscenes import reader as nuscenes
from roadloop.datasets.nuscenes.files import radar_bytes, read_lidar, read_radar
from roadloop.datasets.nuscenes.map import arcline_points, expansion_draft, load_expansion
from roadloop.datasets.nuscenes.tables import rotation_of, slerp
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3, transform_points
from roadloop.maps.road_map import MarkColour, MarkKind, SignalKind
from roadloop.readings import CameraImage, RadarScan
from roadloop.types import AgentKind

Array = np.ndarray

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
IDENTITY = np.eye(4)


def real(folder: str) -> Path:
    """A folder of real data; skips where it is missing."""
    path = DATA / folder
    if not path.is_dir():
        pytest.skip(f"{path} is missing: samples of data sets are not part of the repository")
    return path


@pytest.fixture(scope="module")
def scene_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("nuscenes")
    write_scene(root)
    return root


# --- the scene as a whole -------------------------------------------------------------------------


def test_drives_are_found_where_users_point_to(scene_root: Path, tmp_path: Path) -> None:
    assert nuscenes.drives(scene_root) == [SCENE]
    assert nuscenes.drives(scene_root / "v1.0-mini") == [SCENE]
    assert nuscenes.drives(tmp_path) == []
    assert nuscenes.drives(tmp_path / "missing") == []
    assert list_drives(scene_root, "nuscenes") == ("nuscenes", [SCENE])
    with pytest.raises(
        RoadloopError, match='unknown scene "scene-0009"; did you mean "scene-0001"'
    ):
        nuscenes.open_drive(scene_root, "scene-0009")


def test_steps_are_sweeps_and_keyframes_are_labelled(scene_root: Path) -> None:
    drive = nuscenes.open_drive(scene_root, SCENE)
    assert drive.timestamp_us.tolist() == [100_000 * k for k in range(11)]
    assert drive.dt == 0.1
    assert np.flatnonzero(drive.is_labelled).tolist() == [0, 5, 10]
    assert drive.about["start_us"] == START
    assert np.allclose(drive.ego.heading, np.pi / 2.0)
    assert np.allclose(drive.ego.speed, SPEED)
    assert drive.ego.vehicle.wheelbase == 2.588
    camera = drive.frames_of("CAM_FRONT")
    assert [(f.timestamp_us, f.step) for f in camera] == [(-20_000, 0), (480_000, 5), (980_000, 10)]
    assert np.allclose(camera[1].world_from_ego[:3, 3], ego_place(START + 480_000))
    assert [s.name for s in drive.rig.sensors] == ["CAM_FRONT", "LIDAR_TOP", "RADAR_FRONT"]
    observation = drive.observation(7)
    assert observation.cameras["CAM_FRONT"].timestamp_us == 480_000
    assert observation.lidars["LIDAR_TOP"].timestamp_us == 700_000


def test_boxes_between_keyframes_move_evenly(scene_root: Path) -> None:
    drive = nuscenes.open_drive(scene_root, SCENE)
    agents = drive.agents
    assert agents is not None
    assert drive.category.tolist() == [
        "vehicle.car",
        "movable_object.trafficcone",
        "human.pedestrian.adult",
    ]
    assert agents.kind[0].tolist() == [AgentKind.CAR, AgentKind.STATIC, AgentKind.PEDESTRIAN]
    assert agents.id[3].tolist() == [1, 2, 3]
    assert np.allclose(agents.x[:, 0], 110.0 + 0.4 * np.arange(11))
    assert np.allclose(agents.heading[:6, 0], 0.04 * np.arange(6))
    assert np.allclose(agents.heading[5:, 0], 0.2)
    assert np.allclose([agents.z[4, 0], agents.height[4, 0]], [0.0, 1.6])
    assert np.allclose(agents.vx[:, 0], 4.0)
    assert np.allclose([agents.length[0, 0], agents.width[0, 0]], [4.5, 1.9])
    # the pedestrian is first labelled in the second keyframe
    assert agents.valid[:, 2].tolist() == [False] * 5 + [True] * 6
    assert np.allclose(agents.vy[5:, 2], 1.4)
    assert drive.world_from_agent is None
    assert drive.lidar_points is not None
    assert drive.lidar_points[[0, 1, 5, 10], 0].tolist() == [3, -1, 4, 5]


def test_a_velocity_needs_two_keyframes_within_a_second_and_a_half(tmp_path: Path) -> None:
    tables = write_scene(tmp_path)
    for n, sample in enumerate(tables["sample"]):
        sample["timestamp"] = START + 2_000_000 * n
    keys = [row for row in tables["sample_data"] if row["is_key_frame"]]
    tables["sample_data"] = keys
    for row in keys:
        row["timestamp"] = START + 2_000_000 * int(row["sample_token"][1])
    save(tmp_path / "v1.0-mini", tables)
    drive = nuscenes.open_drive(tmp_path, SCENE)
    assert drive.agents is not None
    # central differences may span 3 s, those at the ends 1.5 s: none of these 2 s and 4 s
    assert not drive.agents.vx.any()
    assert any("8 of the boxes have no second keyframe" in note for note in drive.notes)


def test_tilted_boxes_have_poses(tmp_path: Path) -> None:
    tables = write_scene(tmp_path)
    tables["sample_annotation"][0]["rotation"] = quaternion(0.0, 0.3, 0.5)
    save(tmp_path / "v1.0-mini", tables)
    drive = nuscenes.open_drive(tmp_path, SCENE)
    assert drive.world_from_agent is not None
    assert drive.agents is not None
    up = rotation_from_euler(0.0, 0.3, 0.5)[:, 2]
    expected = np.array([110.0, 210.0, 0.8]) - 0.8 * up
    assert np.allclose(drive.world_from_agent[0, 0, :3, 3], expected)
    assert np.allclose(drive.agents.heading[0, 0], 0.5)


def test_measurements_outside_the_steps_and_absent_files_are_named(tmp_path: Path) -> None:
    tables = write_scene(tmp_path)
    (tmp_path / tables["sample_data"][1]["filename"]).unlink()  # the first picture
    late = dict(tables["sample_data"][1], token="late", timestamp=START + 1_200_000)
    tables["sample_data"].append(late)
    tables["scene"][0]["nbr_samples"] = 40
    save(tmp_path / "v1.0-mini", tables)
    drive = nuscenes.open_drive(tmp_path, SCENE)
    assert len(drive.frames_of("CAM_FRONT")) == 2
    notes = " | ".join(drive.notes)
    assert "CAM_FRONT: 1 of 4 files are not here" in notes
    assert "CAM_FRONT: 1 measured before or after all steps" in notes
    assert "the scene has 40 keyframes, 3 of them are in the tables" in notes


def test_a_calibration_that_changes_is_noted_and_used(tmp_path: Path) -> None:
    tables = write_scene(tmp_path)
    moved = dict(tables["calibrated_sensor"][2], token="c-cam2", translation=[1.6, 0.1, 1.5])
    tables["calibrated_sensor"].append(moved)
    pictures = [r for r in tables["sample_data"] if r["calibrated_sensor_token"] == "c-cam"]
    pictures[2]["calibrated_sensor_token"] = "c-cam2"
    save(tmp_path / "v1.0-mini", tables)
    drive = nuscenes.open_drive(tmp_path, SCENE)
    assert any("calibration of CAM_FRONT changes" in note for note in drive.notes)
    places = [f.read().ego_from_camera[:3, 3].tolist() for f in drive.frames_of("CAM_FRONT")]
    assert np.allclose(places, [[1.7, 0.0, 1.5], [1.7, 0.0, 1.5], [1.6, 0.1, 1.5]])


# --- sensor files ---------------------------------------------------------------------------------


def test_frames_can_be_pickled_and_read(scene_root: Path) -> None:
    drive = nuscenes.open_drive(scene_root, SCENE)
    for frame in pickle.loads(pickle.dumps(drive.frames[:4])):
        reading = frame.read()
        assert reading.timestamp_us == frame.timestamp_us
        if isinstance(reading, CameraImage):
            assert reading.rgb.shape == (48, 64, 3)
            forward = reading.ego_from_camera[:3, 2]
            assert np.allclose(forward, [1.0, 0.0, 0.0])


def test_lidar_points_are_in_the_ego_frame(scene_root: Path) -> None:
    sweep = nuscenes.open_drive(scene_root, SCENE).frames_of("LIDAR_TOP")[0].read()
    # the sensor's x points right and its y forward
    assert np.allclose(
        sweep.points[:, :3], [[10.9, 0, 0.8], [0.9, -5, 1.8], [0.9, 0, 3.8]], atol=1e-6
    )
    assert np.allclose(sweep.points[:, 3], [0.2, 1.0, 0.0])
    assert sweep.points.dtype == np.float32
    assert sweep.ring.tolist() == [3, 31, 7]


def test_radar_speed_is_along_the_line_of_sight_and_over_ground(scene_root: Path) -> None:
    scan = nuscenes.open_drive(scene_root, SCENE).frames_of("RADAR_FRONT")[0].read()
    assert np.allclose(scan.range_rate, [-8.0, 0.0])
    assert np.allclose(scan.radial_speed, [0.0, 5.0 * 3.0 / 5.0])
    assert np.allclose(scan.range, [20.0, 5.0])
    assert np.allclose(scan.x[0], 3.4 + 20.0 * np.cos(0.1))
    assert np.allclose(scan.y[0], 20.0 * np.sin(0.1))
    assert np.allclose(scan.z, 0.5)


def test_radar_keeps_what_the_devkit_keeps(tmp_path: Path) -> None:
    path = tmp_path / "scan.pcd"
    path.write_bytes(radar_file([radar_target(9, 0, 0, 0, invalid=4), radar_target(8, 0, 0, 0)]))
    assert read_radar(path, IDENTITY, 0).x.tolist() == [8.0]
    path.write_bytes(radar_file([radar_target(np.nan, np.nan, 0, 0)]))
    assert len(read_radar(path, IDENTITY, 0).x) == 0


def test_radar_files_are_read_as_they_were_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ego_from_radar = se3(rotation_from_euler(0.02, 0.05, 1.2), np.array([2.0, 0.8, 0.6]))
    x, y, z, speed, rcs = rng.normal(size=(5, 20)).astype(np.float32) * 10.0
    scan = RadarScan(x, y, z, speed, rcs, 5, range_rate=speed - 3.0)
    path = tmp_path / "scan.pcd"
    path.write_bytes(radar_bytes(scan, ego_from_radar))
    again = read_radar(path, ego_from_radar, 5)
    for name in ("x", "y", "z", "radial_speed", "rcs", "range_rate"):
        assert np.allclose(getattr(again, name), getattr(scan, name), atol=1e-4), name
    none = np.zeros(0, np.float32)
    empty = RadarScan(none, none, none, none, none, 5)
    path.write_bytes(radar_bytes(empty, ego_from_radar))
    assert len(read_radar(path, ego_from_radar, 5).x) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0" * 30, "sweep is truncated: 30 bytes are not a whole number of points"),
        (np.array([[0, np.nan, 0, 0, 0]], "<f4").tobytes(), "sweep: point 0 is not finite"),
    ],
)
def test_damaged_sweeps_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "sweep").write_bytes(content)
    with pytest.raises(RoadloopError, match=message):
        read_lidar(tmp_path / "sweep", IDENTITY, 0)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c[:-60], "scan is truncated: it holds less than its 2 points"),
        (lambda c: c[:50], "scan is truncated or no PCD file: its header has no DATA line"),
        (lambda c: c.replace(b"DATA binary", b"DATA ascii"), "only PCD files of DATA binary"),
        (lambda c: c.replace(b"SIZE 4", b"SIZE x"), "its header is wrong"),
        (lambda c: c.replace(b"vx_comp", b"vx_none"), "field vx_comp is missing"),
    ],
)
def test_damaged_scans_are_named(
    tmp_path: Path, edit: Callable[[bytes], bytes], message: str
) -> None:
    content = radar_file([radar_target(9, 0, 0, 0), radar_target(8, 0, 0, 0)])
    (tmp_path / "scan").write_bytes(edit(content))
    with pytest.raises(RoadloopError, match=message):
        read_radar(tmp_path / "scan", IDENTITY, 0)


def test_files_are_missed_when_they_are_read(tmp_path: Path) -> None:
    write_scene(tmp_path)
    drive = nuscenes.open_drive(tmp_path, SCENE)
    first, second, third = (f.read.args[0] for f in drive.frames_of("CAM_FRONT"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:200])
    assert third.is_file()
    with pytest.raises(RoadloopError, match=f"{first.name} is missing"):
        _ = drive.frames_of("CAM_FRONT")[0].read().rgb
    with pytest.raises(RoadloopError, match=f"{second.name} is truncated"):
        _ = drive.frames_of("CAM_FRONT")[1].read().rgb
    assert drive.frames_of("CAM_FRONT")[2].read().rgb.shape == (48, 64, 3)


# --- damaged tables -------------------------------------------------------------------------------


def _set(table: str, row: int, **values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda tables: tables[table][row].update(values)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            _set("sample_data", 2, ego_pose_token="gone"),
            "sample_data.json: record .*: ego_pose_token 'gone' is not in ego_pose.json",
        ),
        (
            _set("sample_data", 0, calibrated_sensor_token="gone"),
            "calibrated_sensor_token 'gone' is not in calibrated_sensor.json",
        ),
        (
            _set("calibrated_sensor", 0, sensor_token="gone"),
            "calibrated_sensor.json: record c-lidar: sensor_token 'gone' is not in sensor.json",
        ),
        (
            _set("sample_annotation", 1, instance_token="gone"),
            "sample_annotation.json: record a-cone-0: instance_token 'gone'",
        ),
        (_set("sample_annotation", 1, sample_token="gone"), "a-cone-0: sample_token 'gone'"),
        (_set("instance", 0, category_token="gone"), "instance.json: record i-car: category_token"),
        (_set("category", 0, name="vehicle.ufo"), "c-car: unknown category 'vehicle.ufo'"),
        (_set("scene", 0, log_token="gone"), "scene.json: record scene: log_token 'gone'"),
        (_set("sample", 1, scene_token="gone"), "sample.json: record k1: scene_token 'gone'"),
        (
            _set("ego_pose", 3, rotation=[0.0, 0.0, 0.0, 0.0]),
            "ego_pose.json: record .*: rotation .* is no unit quaternion",
        ),
        (_set("ego_pose", 3, translation=[1.0, 2.0]), "translation is .*expected 3 finite numbers"),
        (
            _set("ego_pose", 3, translation=[1.0, None, 2.0]),
            "translation is .*expected 3 finite numbers",
        ),
        (
            _set("calibrated_sensor", 2, camera_intrinsic=[[0, 0, 1], [0, 9, 1], [0, 0, 1]]),
            "calibrated_sensor.json: record c-cam: .*fx is 0.0: expected a number above 0",
        ),
        (
            _set("calibrated_sensor", 2, camera_intrinsic=[]),
            "c-cam: camera_intrinsic is .*expected 9 finite numbers",
        ),
        (
            _set("calibrated_sensor", 2, camera_intrinsic=[[9, 2, 1], [0, 9, 1], [0, 0, 1]]),
            "c-cam: camera_intrinsic has a skew",
        ),
        (
            _set("calibrated_sensor", 0, translation=[0.0, 0.0, -1.0]),
            "c-lidar: z is -1.0: a sensor cannot sit below the ground",
        ),
        (_set("sample_annotation", 0, size=[1.0, 0.0, 1.0]), "a-car-0: size .*above 0 m"),
        (
            _set("sample_annotation", 2, instance_token="i-cone", sample_token="k0"),
            "its instance is in this sample already",
        ),
        (_set("sample_data", 0, timestamp="noon"), "timestamp is 'noon': expected a finite number"),
        (lambda t: t["sample_data"][0].pop("filename"), "filename is missing"),
        (lambda t: t["sample"].clear(), "scene.json: record scene: no record of sample.json"),
        (_set("sensor", 0, modality="sonar"), "sensor.json: record s-lidar: unknown modality"),
    ],
)
def test_damaged_tables_are_named(
    tmp_path: Path, edit: Callable[[dict[str, Any]], None], message: str
) -> None:
    tables = write_scene(tmp_path)
    edit(tables)
    save(tmp_path / "v1.0-mini", tables)
    with pytest.raises(RoadloopError, match=message) as caught:
        nuscenes.open_drive(tmp_path, SCENE)
    assert "\n" not in str(caught.value)


def test_truncated_and_missing_tables_are_named(tmp_path: Path) -> None:
    write_scene(tmp_path)
    table = tmp_path / "v1.0-mini" / "ego_pose.json"
    table.write_bytes(table.read_bytes()[:-40])
    with pytest.raises(RoadloopError, match=r"ego_pose\.json is truncated or no JSON"):
        nuscenes.open_drive(tmp_path, SCENE)
    table.write_text("{}", encoding="utf-8")
    with pytest.raises(RoadloopError, match=r"ego_pose\.json is no table"):
        nuscenes.open_drive(tmp_path, SCENE)
    table.unlink()
    with pytest.raises(RoadloopError, match=r"ego_pose\.json is missing"):
        nuscenes.open_drive(tmp_path, SCENE)


def test_a_test_set_has_no_labels(tmp_path: Path) -> None:
    tables = write_scene(tmp_path)
    tables["sample_annotation"], tables["instance"] = [], []
    save(tmp_path / "v1.0-mini", tables)
    drive = nuscenes.open_drive(tmp_path, SCENE)
    assert drive.agents is None
    assert len(drive) == 11


# --- real data ------------------------------------------------------------------------------------


def test_real_boxes_hold_the_points_the_data_set_counted() -> None:
    drive = nuscenes.open_drive(real("nuscenes/one_sample"), "scene-0061")
    assert len(drive) == 1
    assert len(drive.frames) == 7
    agents, counted = drive.agents, drive.lidar_points
    assert agents is not None
    assert counted is not None
    sweep = drive.frames_of("LIDAR_TOP")[0]
    cloud = transform_points(sweep.world_from_ego, sweep.read().points[:, :3].astype(np.float64))
    assert len(cloud) == 34_688
    mine = []
    for a in range(agents.valid.shape[1]):
        heading, *place = (float(getattr(agents, f)[0, a]) for f in ("heading", "x", "y", "z"))
        box = se3(rotation_from_euler(0.0, 0.0, heading), np.array(place))
        size = np.array([getattr(agents, f)[0, a] for f in ("length", "width", "height")])
        away = transform_points(inverse(box), cloud) - [0.0, 0.0, size[2] / 2.0]
        mine.append(int((np.abs(away) <= size / 2.0).all(-1).sum()))
    # upright boxes, closed, without a margin; the tilt in these tables is not nuScenes' own
    assert mine == counted[0].tolist()
    assert sum(mine) == 999
    picture = drive.observation(0).cameras["CAM_FRONT"]
    assert picture.rgb.shape == (900, 1600, 3)
    assert abs(drive.rig.cameras[0].mount.z - 1.51) < 0.01


def test_real_lyft_tables_without_sensor_files() -> None:
    root = real("lyft_level5_tables")
    (name,) = nuscenes.drives(root)
    drive = nuscenes.open_drive(root, name)
    assert drive.agents is not None
    assert drive.category.tolist() == ["car"] * 4
    assert len(drive.rig.cameras) == 7
    assert [s.beams for s in drive.rig.lidars] == [(), (), ()]
    assert drive.ego.vehicle.length == 4.872
    assert drive.frames == ()
    assert sum("files are not here" in note for note in drive.notes) == 10
    assert any("126 keyframes, 1 of them" in note for note in drive.notes)
    assert drive.lidar_points is not None
    assert (drive.lidar_points == -1).all()


# --- mathematics ----------------------------------------------------------------------------------

turns = st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4).filter(
    lambda q: np.linalg.norm(q) > 0.1
)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(turns, turns, st.floats(0.0, 1.0))
def test_quaternions_turn_as_those_of_scipy(a: list[float], b: list[float], share: float) -> None:
    first, second = (np.array(q) / np.linalg.norm(q) for q in (a, b))
    theirs = Rotation.from_quat(np.stack([first, second])[:, [1, 2, 3, 0]])
    assert np.allclose(rotation_of(first), theirs[0].as_matrix())
    if (theirs[0].inv() * theirs[1]).magnitude() < np.pi - 1e-3:  # else both ways are as short
        mine = rotation_of(slerp(first, second, np.array(share)))
        assert np.allclose(mine, Slerp([0, 1], theirs)(share).as_matrix(), atol=1e-9)


def test_arc_lines_end_where_their_pose_says() -> None:
    path = {
        "start_pose": [10.0, 5.0, 0.3],
        "shape": "LSR",
        "radius": 20.0,
        "segment_length": [8.0, 12.0, 6.0],
    }
    points = arcline_points([path])
    # by hand: left arc, straight, right arc
    place, heading = np.array([10.0, 5.0]), 0.3
    for turn, length in zip((1, 0, -1), path["segment_length"], strict=True):
        angle = turn * length / 20.0
        chord = length if not turn else 2.0 * 20.0 * np.sin(abs(angle) / 2.0)
        along = heading + angle / 2.0
        place = place + chord * np.array([np.cos(along), np.sin(along)])
        heading += angle
    assert np.allclose(points[-1], place)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    assert steps.max() <= 1.0 + 1e-9
    assert abs(steps.sum() - 26.0) < 0.01


# --- map expansion --------------------------------------------------------------------------------


def test_map_expansion_becomes_a_draft(tmp_path: Path) -> None:
    path = tmp_path / "singapore-test.json"
    write_expansion(path)
    draft = expansion_draft(path)
    lanes = {lane.id: lane for lane in draft.lanes}
    assert list(lanes) == ["a", "b", "c", "turn"]
    left, right = lanes["a"].left, lanes["a"].right
    assert left is not None
    assert right is not None
    assert np.allclose(left[:, 1], 1.8)
    assert np.allclose(right[:, 1], -1.8)
    assert lanes["a"].successors == ("turn",)
    assert lanes["a"].left_neighbour == "b"
    assert lanes["b"].right_neighbour == "a"
    assert lanes["b"].left_neighbour == ""
    assert lanes["turn"].in_junction
    assert lanes["turn"].successors == ("c",)
    (light,) = draft.signals
    assert light.kind == SignalKind.TRAFFIC_LIGHT
    assert light.xyz == (55.0, -3.0, 4.0)
    assert light.stops == (("a", 48.0),)
    assert abs(light.heading) < 1e-9
    assert [(m.kind, m.colour) for m in draft.marks] == [
        (MarkKind.BROKEN_BROKEN, MarkColour.WHITE),
        (MarkKind.SOLID, MarkColour.YELLOW),
    ]
    assert len(draft.crosswalks) == 1
    assert draft.left_hand
    areas = [Polygon(outline).area for outline in draft.drivable]
    assert np.isclose(sum(areas), 75.0 * 65.0 - 30.0 * 30.0)
    assert any("1 walkways" in line for line in draft.unsupported)


def test_map_expansion_is_compiled_and_belongs_to_the_scene(tmp_path: Path) -> None:
    write_scene(tmp_path)
    assert nuscenes.open_drive(tmp_path, SCENE).load_map is None
    write_expansion(tmp_path / "maps" / "expansion" / "singapore-test.json")
    road_map = nuscenes.open_drive(tmp_path, SCENE).road_map
    assert road_map is not None
    assert road_map.lanes == 4
    assert road_map.left_hand
    assert np.isclose(np.sort(road_map.lane_length)[0], 10.0 * np.pi / 2.0, atol=0.05)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m.pop("arcline_path_3"), "layer arcline_path_3 is missing; get map expansion"),
        (lambda m: m["lane"][0].update(polygon_token="gone"), "lane a: polygon 'gone' is not in"),
        (
            lambda m: m["polygon"][0].update(exterior_node_tokens=["gone"] * 4),
            "polygon p0: node 'gone' is not in the layer node",
        ),
        (
            lambda m: m["arcline_path_3"]["a"][0].update(shape="LXR"),
            "lane a: its arcline_path_3 is wrong",
        ),
        (lambda m: m["arcline_path_3"].clear(), "has no lane with a centreline"),
    ],
)
def test_damaged_map_expansions_are_named(
    tmp_path: Path, edit: Callable[[dict[str, Any]], Any], message: str
) -> None:
    path = tmp_path / "boston-seaport.json"
    town = write_expansion(path)
    edit(town.layers)
    path.write_text(json.dumps(town.layers), encoding="utf-8")
    with pytest.raises(RoadloopError, match=message):
        load_expansion(path)
    path.write_text(json.dumps(town.layers)[:-20], encoding="utf-8")
    with pytest.raises(RoadloopError, match=r"boston-seaport\.json is truncated or no JSON"):
        load_expansion(path)
