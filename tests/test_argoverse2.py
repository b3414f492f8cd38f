"""Argoverse 2: sensor logs, scenario mining, motion forecasting and their maps."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import argoverse2_parity as parity
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from roadloop.datasets.argoverse2.poses import AXLE_HEIGHT
from roadloop.datasets.argoverse2.reader import KINDS
from roadloop.datasets.argoverse2.sensors import BEAMS
from roadloop.datasets.formats import list_drives, open_recording
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3, transform_points
from roadloop.logs.recording import Recording
from roadloop.maps.argoverse2 import CITIES, georeference, ground_height, load_map, read_draft
from roadloop.maps.georeference import parse_georeference
from roadloop.maps.locate import lanes_at
from roadloop.maps.road_map import LaneKind, MarkColour, MarkKind
from roadloop.types import AgentKind

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "argoverse2"
SENSOR_LOGS = ("7fab2350-7eaf-3b7e-a39d-6937a4c1bede", "adcf7d18-0510-35b0-a2fa-b4cea13a6d76")
MINING_LOGS = ("3b3570b4-7b0b-3268-a571-b0889dbf40b6", "3bffdcff-c3a7-38b6-a0f2-64196d130958")
SCENARIO = "0a1e6f0a-1817-4a98-b02e-db8c9327d151"

START = 315_966_253_660_357_000
"""ns"""
STEPS = START + np.arange(5) * 100_000_000
FOCAL = 40.0
"""px, of the synthetic camera of 64 x 48 px"""
CAMERA = "ring_front_center"


# --- a small log in the data set's layout --------------------------------------------------------


def quaternion(rotation: np.ndarray) -> dict[str, float]:
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rotation).as_quat().tolist()
    return {"qw": w, "qx": x, "qy": y, "qz": z}


def row_of(pose: np.ndarray) -> dict[str, float]:
    place = dict(zip(("tx_m", "ty_m", "tz_m"), pose[:3, 3].tolist()))
    return {**quaternion(pose[:3, :3]), **place}


def axle_pose(stamp: int) -> np.ndarray:
    """(4, 4) city_SE3_egovehicle: 8 m/s up a slope, turning left, banked."""
    t = (stamp - START) * 1e-9
    return se3(rotation_from_euler(0.03, -0.05, 0.2 * t), np.array([1000.0 + 8.0 * t, 50.0, 12.0]))


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    if path.suffix == ".feather":
        pa.feather.write_feather(table, str(path))
    else:
        pa.parquet.write_table(table, str(path))


def box(stamp: int, track: str, category: str, ego_from_box: np.ndarray, **more: Any) -> dict:
    size = {"length_m": 4.0, "width_m": 2.0, "height_m": 1.5}
    row = {"timestamp_ns": stamp, "track_uuid": track, "category": category}
    return {**row, **size, **row_of(ego_from_box), "num_interior_pts": 7, **more}


def lane(name: int, y: tuple[float, float], backwards: bool = False, **more: Any) -> dict[str, Any]:
    """A straight lane 30 m along x with its edges at the ``y`` of left and right."""
    x = (30.0, 0.0) if backwards else (0.0, 30.0)

    def edge(at: float) -> list[dict[str, float]]:
        return [{"x": 1000.0 + k, "y": 50.0 + at, "z": 12.0} for k in x]

    return {
        "id": name,
        "is_intersection": False,
        "lane_type": "VEHICLE",
        "left_lane_boundary": edge(y[0]),
        "right_lane_boundary": edge(y[1]),
        "left_lane_mark_type": "NONE",
        "right_lane_mark_type": "NONE",
        "left_neighbor_id": None,
        "right_neighbor_id": None,
        "predecessors": [],
        "successors": [],
        **more,
    }


def archive() -> dict[str, Any]:
    """Two lanes of one direction, one of the other, a bicycle lane, a crossing and an area."""
    lanes = [
        lane(1, (2.0, -2.0), left_neighbor_id=3, right_neighbor_id=2, successors=[77])
        | {"left_lane_mark_type": "DOUBLE_SOLID_YELLOW", "right_lane_mark_type": "DASHED_WHITE"},
        lane(2, (-2.0, -6.0), left_neighbor_id=1, right_neighbor_id=4)
        | {"left_lane_mark_type": "DASHED_WHITE", "right_lane_mark_type": "SOLID_DASH_WHITE"},
        lane(3, (2.0, 6.0), backwards=True, left_neighbor_id=1, right_neighbor_id=88)
        | {"left_lane_mark_type": "DOUBLE_SOLID_YELLOW", "is_intersection": True},
        lane(4, (-6.0, -8.0), left_neighbor_id=2, lane_type="BIKE"),
    ]

    def point(x: float, y: float) -> dict[str, float]:
        return {"x": 1000.0 + x, "y": 50.0 + y, "z": 12.0}

    crossing = {"edge1": [point(10, -8), point(10, 6)], "edge2": [point(13, 6), point(13, -8)]}
    outline = [point(-5, -9), point(35, -9), point(35, 7), point(-5, 7)]
    return {
        "lane_segments": {str(one["id"]): one for one in lanes},
        "pedestrian_crossings": {"5": {"id": 5, **crossing}},
        "drivable_areas": {"6": {"id": 6, "area_boundary": outline}},
    }


def write_map(folder: Path, name: str, content: dict[str, Any] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"log_map_archive_{name}.json"
    path.write_text(json.dumps(content or archive()))
    return path


EGO_FROM_CAMERA = se3(
    np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([1.6, 0.1, 1.4])
)
CAR = se3(rotation_from_euler(0.0, 0.0, 0.4), np.array([20.0, 3.0, 0.5]))
"""box centre in the data set's ego frame at every step"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of 5 steps with two tracks and the ego among the annotations, sensors and a map."""
    folder = tmp_path / "sensor" / "val" / "aaaa-1"
    stamps = [*STEPS.tolist(), START + 30_000_000, START + 450_000_000]
    poses = [{"timestamp_ns": s, **row_of(axle_pose(s))} for s in sorted(stamps)]
    write_table(folder / "city_SE3_egovehicle.feather", poses)
    cone = se3(np.eye(3), np.array([8.0, -4.0, 0.1]))
    boxes = [box(s, "track-b", "REGULAR_VEHICLE", CAR) for s in STEPS.tolist()]
    boxes += [box(int(STEPS[3]), "track-a", "CONSTRUCTION_CONE", cone, num_interior_pts=0)]
    boxes += [box(s, "self", "EGO_VEHICLE", np.eye(4)) for s in STEPS.tolist()]
    write_table(folder / "annotations_with_ego.feather", boxes)
    up = se3(rotation_from_euler(0.0, 0.0, -0.01), np.array([1.35, 0.0, 1.64]))
    down = se3(rotation_from_euler(np.pi, 0.0, 0.2), np.array([1.35, 0.0, 1.53]))
    sensors = {CAMERA: EGO_FROM_CAMERA, "up_lidar": up, "down_lidar": down}
    calibration = folder / "calibration"
    write_table(
        calibration / "egovehicle_SE3_sensor.feather",
        [{"sensor_name": name, **row_of(pose)} for name, pose in sensors.items()],
    )
    write_table(calibration / "intrinsics.feather", [intrinsics()])
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[18:21, 39:42] = 255
    for stamp in (START + 30_000_000, START + 450_000_000):
        path = folder / "sensors" / "cameras" / CAMERA / f"{stamp}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture)
    write_sweep(folder / "sensors" / "lidar" / f"{STEPS[1]}.feather")
    write_map(folder / "map", "aaaa-1____PIT_city_1")
    return folder


def intrinsics(**more: Any) -> dict[str, Any]:
    lens = {"fx_px": FOCAL, "fy_px": FOCAL, "cx_px": 32.0, "cy_px": 24.0}
    bent = {"k1": -0.24, "k2": -0.2, "k3": 0.3, "height_px": 48, "width_px": 64}
    return {"sensor_name": CAMERA, **lens, **bent, **more}


def write_sweep(path: Path, lasers: tuple[int, ...] = (0, 33, 31)) -> None:
    columns = {
        "x": pa.array(np.float16([5.0, 6.0, 7.0])),
        "y": pa.array(np.float16([1.0, 2.0, 3.0])),
        "z": pa.array(np.float16([-0.25, 0.0, 0.5])),
        "intensity": pa.array(np.uint8([0, 51, 255])),
        "laser_number": pa.array(np.uint8(lasers)),
        "offset_ns": pa.array(np.int32([1_000_000, 2_000_000, 100_000_000])),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pa.feather.write_feather(pa.table(columns), str(path))


def opened(log: Path) -> Recording:
    return open_recording(log, format="argoverse2")


# --- sensor logs ---------------------------------------------------------------------------------


def test_log_is_found_at_every_level(log: Path) -> None:
    for root in (log, log.parent, log.parents[1], log.parents[2]):
        assert list_drives(root) == ("argoverse2", ["aaaa-1"])
    twin = log.parents[2] / "scenario_mining" / "val" / "aaaa-1"
    twin.mkdir(parents=True)
    (twin / "city_SE3_egovehicle.feather").write_bytes(b"")
    names = ["scenario_mining_val_aaaa-1", "sensor_val_aaaa-1"]
    assert list_drives(log.parents[2], "argoverse2") == ("argoverse2", names)


def test_ego_is_on_the_ground_below_the_axle(log: Path) -> None:
    recording = opened(log)
    assert recording.timestamp_us.tolist() == [0, 100_000, 200_000, 300_000, 400_000]
    for k, stamp in enumerate(STEPS.tolist()):
        axle = recording.world_from_ego[k] @ [0.0, 0.0, AXLE_HEIGHT, 1.0]
        np.testing.assert_allclose(axle, axle_pose(stamp)[:, 3], atol=1e-9)
        np.testing.assert_allclose(
            recording.world_from_ego[k, :3, :3], axle_pose(stamp)[:3, :3], atol=1e-12
        )
    # 8 m/s along x, but for the height above the ground that swings with pitch and roll
    np.testing.assert_allclose(recording.ego.speed, 8.0, atol=0.2)
    assert recording.about["start_us"] == START // 1000
    assert recording.about["city"] == "Pittsburgh"


def test_boxes_stand_on_the_ground_and_tilt_with_the_ego(log: Path) -> None:
    recording = opened(log)
    agents = recording.agents
    assert agents is not None and recording.world_from_agent is not None
    # the ego's own track is none; columns are sorted by the data set's ids
    assert recording.source_id.tolist() == ["track-a", "track-b"]
    assert recording.category.tolist() == ["CONSTRUCTION_CONE", "REGULAR_VEHICLE"]
    assert agents.valid[:, 0].tolist() == [False, False, False, True, False]
    assert agents.valid[:, 1].all()
    assert agents.id[0].tolist() == [1, 2]
    assert agents.kind[0].tolist() == [AgentKind.STATIC, AgentKind.CAR]
    assert recording.lidar_points is not None
    assert recording.lidar_points[:, 0].tolist() == [-1, -1, -1, 0, -1]
    assert (recording.lidar_points[:, 1] == 7).all()
    for k, stamp in enumerate(STEPS.tolist()):
        bottom = axle_pose(stamp) @ CAR @ [0.0, 0.0, -0.75, 1.0]
        pose = recording.world_from_agent[k, 1]
        np.testing.assert_allclose(pose[:, 3], bottom, atol=1e-9)
        np.testing.assert_allclose(pose[:3, :3], (axle_pose(stamp) @ CAR)[:3, :3], atol=1e-12)
        here = [getattr(agents, name)[k, 1] for name in "xyz"]
        np.testing.assert_allclose(here, bottom[:3], atol=1e-9)
        assert agents.heading[k, 1] == pytest.approx(np.arctan2(pose[1, 0], pose[0, 0]))
    # it keeps its place before an ego that drives 8 m/s and turns 0.2 rad/s at 20 m, 3 m
    speed = 8.0 - 0.2 * 3.0
    assert agents.vx[2, 1] == pytest.approx(speed, abs=0.35)
    assert agents.vy[2, 1] == pytest.approx(0.2 * 20.0, abs=0.1)


def test_every_class_of_the_data_set_has_a_kind() -> None:
    assert len(KINDS) == 30
    assert {k for k, kind in KINDS.items() if kind == AgentKind.STATIC} == {
        *("BOLLARD", "CONSTRUCTION_BARREL", "CONSTRUCTION_CONE", "SIGN", "STOP_SIGN"),
        "MOBILE_PEDESTRIAN_CROSSING_SIGN",
    }


def test_picture_is_a_pinholes_at_its_own_time(log: Path) -> None:
    recording = opened(log)
    (frame,) = recording.frames_of(CAMERA)  # the other one is after the last step
    assert frame.timestamp_us == 30_000 and frame.step == 1
    np.testing.assert_allclose(
        frame.world_from_ego @ [0.0, 0.0, AXLE_HEIGHT, 1.0],
        axle_pose(START + 30_000_000)[:, 3],
        atol=1e-9,
    )
    image = pickle.loads(pickle.dumps(frame.read))()
    assert image.rgb.shape == (48, 64, 3) and image.timestamp_us == 30_000
    # the white square is at pixel 40, 19: with 40 px of focal length, 8 px right and 5 px up of the
    # axis; a point there in the data set's ego frame is found by our camera, distortion left out
    point = EGO_FROM_CAMERA @ [8.0 / FOCAL * 10.0, -5.0 / FOCAL * 10.0, 10.0, 1.0]
    point[2] += AXLE_HEIGHT
    ours = inverse(image.ego_from_camera) @ point
    uv, seen = image.camera.project(ours[:3])
    np.testing.assert_allclose(uv, [40.0, 19.0], atol=1e-9)
    assert seen and (image.rgb[19, 40] > 200).all() and (image.rgb[30, 20] < 50).all()
    assert "1 measurements after the last step are left out" in recording.notes


def test_sweep_is_that_of_two_lidars(log: Path) -> None:
    recording = opened(log)
    rig = {sensor.name: sensor for sensor in recording.rig.lidars}
    assert list(rig) == ["up_lidar", "down_lidar"]
    assert rig["up_lidar"].mount.z == pytest.approx(1.64 + AXLE_HEIGHT)
    assert abs(rig["down_lidar"].mount.roll) == pytest.approx(np.pi)
    assert len(rig["up_lidar"].beams) == 32
    observation = recording.observation(1)
    up, down = observation.lidars["up_lidar"], observation.lidars["down_lidar"]
    z = AXLE_HEIGHT
    np.testing.assert_allclose(up.points, [[5, 1, z - 0.25, 0], [7, 3, z + 0.5, 1]], atol=1e-6)
    np.testing.assert_allclose(down.points, [[6, 2, z, 0.2]], atol=1e-6)
    assert up.points.dtype == np.float32 and up.ring is not None and down.ring is not None
    assert up.ring.tolist() == [0, 31] and down.ring.tolist() == [1]
    np.testing.assert_allclose(up.time_offset, [0.001, 0.1], atol=1e-6)
    assert up.timestamp_us == 100_000
    assert recording.observation(0).lidars == {}
    assert "4 of 5 LiDAR sweeps are not in this copy" in recording.notes


def test_log_without_labels_and_sensors(log: Path) -> None:
    (log / "annotations_with_ego.feather").unlink()
    recording = opened(log)
    assert recording.agents is None and recording.timestamp_us.tolist() == [0]
    (log / "sensors" / "lidar" / f"{STEPS[1]}.feather").unlink()
    with pytest.raises(RoadloopError, match=r"aaaa-1 is without annotations\.feather and sensors"):
        opened(log)


def test_mining_log_without_sensors_has_none(log: Path) -> None:
    import shutil

    for folder in ("sensors", "calibration", "map"):
        shutil.rmtree(log / folder)
    recording = opened(log)
    assert recording.rig.sensors == () and recording.frames == ()
    assert recording.load_map is None
    assert "no sensor files in this copy" in recording.notes


def edited(name: str, edit: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Path], None]:
    """Changes the rows of a log's table in place."""

    def apply(log: Path) -> None:
        rows = pa.feather.read_table(str(log / name)).to_pylist()
        edit(rows)
        write_table(log / name, rows)

    return apply


def cut(name: str) -> Callable[[Path], None]:
    def apply(log: Path) -> None:
        content = (log / name).read_bytes()
        (log / name).write_bytes(content[: len(content) * 2 // 3])

    return apply


POSES, BOXES = "city_SE3_egovehicle.feather", "annotations_with_ego.feather"
LENS, PLACE = "calibration/intrinsics.feather", "calibration/egovehicle_SE3_sensor.feather"
FAULTS = {
    "truncated poses": (cut(POSES), r"city_SE3_egovehicle\.feather is truncated or no table"),
    "no unit quaternion": (
        edited(POSES, lambda rows: rows[2].update(qw=2.0)),
        r"city_SE3_egovehicle\.feather: row 2: quaternion .* are no pose",
    ),
    "pose twice": (
        edited(POSES, lambda rows: rows.append(rows[1])),
        r"city_SE3_egovehicle\.feather: row 7: a second pose at",
    ),
    "no pose of a step": (
        edited(POSES, lambda rows: rows.pop(2)),
        rf"annotations_with_ego\.feather: {POSES} has no pose at {STEPS[1]} ns",
    ),
    "column": (
        edited(BOXES, lambda rows: [row.pop("qz") for row in rows]),
        r"annotations_with_ego\.feather: column qz is missing",
    ),
    "class": (
        edited(BOXES, lambda rows: rows[1].update(category="TANK")),
        r'annotations_with_ego\.feather: unknown category "TANK"',
    ),
    "class changes": (
        edited(BOXES, lambda rows: rows[3].update(category="BUS")),
        r"row 3: category BUS of a track that was REGULAR_VEHICLE",
    ),
    "flat box": (
        edited(BOXES, lambda rows: rows[4].update(height_m=0.0)),
        r"row 4: a box of \[4\.0, 2\.0, 0\.0\] m",
    ),
    "box twice": (
        edited(BOXES, lambda rows: rows.append(rows[2])),
        r"row 11: a second box of track track-b at that time",
    ),
    "focal length": (
        edited(LENS, lambda rows: rows[0].update(fx_px=0.0)),
        rf'intrinsics\.feather: row 0: camera "{CAMERA}": fx is 0\.0',
    ),
    "camera without a place": (
        edited(PLACE, lambda rows: rows.pop(0)),
        rf"intrinsics\.feather: row 0: {CAMERA} is not in egovehicle_SE3_sensor\.feather",
    ),
    "unknown camera": (
        lambda log: (log / "sensors/cameras/ring_top").mkdir(),
        r"ring_top: calibration/intrinsics\.feather has no ring_top",
    ),
    "file name": (
        lambda log: (log / "sensors/lidar/sweep.feather").write_bytes(b""),
        r"sweep\.feather: expected a file named by its time in nanoseconds",
    ),
    "two maps": (
        lambda log: write_map(log / "map", "bbbb"),
        r"map holds 2 maps",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_said_with_file_and_row(log: Path, fault: str) -> None:
    spoil, message = FAULTS[fault]
    spoil(log)
    with pytest.raises(RoadloopError, match=message) as caught:
        opened(log)
    assert "\n" not in str(caught.value)


def test_sensor_files_are_checked_when_read(log: Path) -> None:
    recording = opened(log)
    sweep = log / "sensors" / "lidar" / f"{STEPS[1]}.feather"
    write_sweep(sweep, (0, 64, 1))
    with pytest.raises(RoadloopError, match=r"row 1: laser 64: expected 0 to 63"):
        recording.frames_of("up_lidar")[0].read()
    sweep.unlink()
    with pytest.raises(RoadloopError, match=rf"{STEPS[1]}\.feather is missing"):
        recording.frames_of("up_lidar")[0].read()
    image = recording.frames_of(CAMERA)[0].read()
    cut(f"sensors/cameras/{CAMERA}/{START + 30_000_000}.jpg")(log)
    with pytest.raises(RoadloopError, match=r"\.jpg is truncated or not a picture"):
        _ = image.rgb


# --- maps ----------------------------------------------------------------------------------------


def test_neighbours_know_their_direction(tmp_path: Path) -> None:
    draft = read_draft(write_map(tmp_path, "x____MIA_city_2"))
    lanes = {one.id: one for one in draft.lanes}
    assert draft.name == "x"
    assert lanes["1"].opposite == "3" and lanes["3"].opposite == "1"
    assert lanes["1"].right_neighbour == "2" and lanes["2"].left_neighbour == "1"
    assert lanes["1"].left_neighbour == "" and lanes["3"].right_neighbour == ""
    assert lanes["4"].kind == LaneKind.BIKING and lanes["3"].in_junction
    assert lanes["1"].successors == ()  # beyond the map
    assert draft.unsupported == ("1 links and 1 neighbours of lanes lie beyond the map's edge",)
    # a dashed line may be crossed; of a double line the one that is nearer decides
    assert lanes["1"].change_right and lanes["2"].change_left
    assert lanes["1"].change_left is False and lanes["2"].change_right is False
    assert lanes["4"].change_left is None
    road_map = load_map(write_map(tmp_path, "x____MIA_city_2"))
    assert road_map.lane_right[0] == 1 and road_map.lane_opposite[0] == 2
    assert road_map.georeference.startswith("+proj=tmerc")


def test_lines_of_two_lanes_are_painted_once(tmp_path: Path) -> None:
    draft = read_draft(write_map(tmp_path, "x"))
    kinds = [(mark.kind, mark.colour) for mark in draft.marks]
    assert kinds == [
        (MarkKind.SOLID_SOLID, MarkColour.YELLOW),
        (MarkKind.BROKEN, MarkColour.WHITE),
        (MarkKind.SOLID_BROKEN, MarkColour.WHITE),
    ]
    assert draft.georeference == ""


def test_crossing_is_a_rectangle_whichever_way_its_edges_run(tmp_path: Path) -> None:
    (corners,) = read_draft(write_map(tmp_path, "x")).crosswalks
    x, y = corners[:, 0] - 1000.0, corners[:, 1] - 50.0
    assert list(zip(x, y)) == [(10.0, -8.0), (10.0, 6.0), (13.0, 6.0), (13.0, -8.0)]


MAP_FAULTS = {
    "lane type": (lambda lane: lane.update(lane_type="TRAM"), r'unknown lane_type "TRAM"'),
    "mark": (lambda lane: lane.update(left_lane_mark_type="WAVY"), r'unknown mark type "WAVY"'),
    "edge": (lambda lane: lane["left_lane_boundary"].pop(), r"1 points, or some not finite"),
    "field": (lambda lane: lane.pop("is_intersection"), r"'is_intersection' is missing"),
}


@pytest.mark.parametrize("fault", MAP_FAULTS)
def test_fault_in_a_map_is_said_with_the_lane(tmp_path: Path, fault: str) -> None:
    spoil, message = MAP_FAULTS[fault]
    content = archive()
    spoil(content["lane_segments"]["2"])
    path = write_map(tmp_path, "x", content)
    with pytest.raises(RoadloopError, match=rf"x\.json: lane segment 2: {message}"):
        read_draft(path)


def test_damaged_maps(tmp_path: Path) -> None:
    path = write_map(tmp_path, "x")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RoadloopError, match=r"x\.json is truncated or no JSON"):
        read_draft(path)
    path.write_text("[]")
    with pytest.raises(RoadloopError, match=r"x\.json: lane_segments is missing"):
        read_draft(path)


@pytest.mark.parametrize("city", CITIES)
def test_origin_of_a_city_is_where_it_is(city: str) -> None:
    projection = parse_georeference(georeference(city))
    assert projection is not None
    _, _, latitude, longitude = CITIES[city]
    np.testing.assert_allclose(projection.inverse(0.0, 0.0), (latitude, longitude), atol=1e-10)


def test_ground_height_is_that_of_the_cell(tmp_path: Path) -> None:
    raster = np.arange(12.0).reshape(3, 4).astype(np.float16)
    np.save(tmp_path / "x_ground_height_surface____PIT.npy", raster)
    with pytest.raises(RoadloopError, match="has no ground height"):
        ground_height(tmp_path, np.zeros(1), np.zeros(1))
    similarity = {"R": [1.0, 0.0, 0.0, 1.0], "t": [-100.0, -200.0], "s": 2.0}
    (tmp_path / "x___img_Sim2_city.json").write_text(json.dumps(similarity))
    x = np.array([100.1, 101.9, 100.6, 99.9])
    y = np.array([200.1, 201.4, 200.6, 200.1])
    np.testing.assert_array_equal(ground_height(tmp_path, x, y), [0.0, 11.0, 5.0, np.nan])


# --- motion forecasting --------------------------------------------------------------------------


def track_rows(track: str, kind: str, steps: range, category: int, **more: Any) -> list[dict]:
    return [
        {
            **{"observed": k < 2, "track_id": track, "object_type": kind, "timestep": k},
            **{"object_category": category, "position_x": 1002.0 + 0.5 * k, "position_y": 50.5},
            **{"heading": 0.1, "velocity_x": 6.0, "velocity_y": 0.0, "scenario_id": "cccc"},
            **{"start_timestamp": float(START), "end_timestamp": START + 3e8},
            **{"num_timestamps": 4, "focal_track_id": "30", "city": "washington-dc", **more},
        }
        for k in steps
    ]


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    folder = tmp_path / "motion-forecasting" / "val" / "cccc"
    rows = track_rows("30", "bus", range(4), 3) + track_rows("AV", "vehicle", range(4), 1)
    rows += track_rows("7", "pedestrian", range(1, 3), 0, position_y=47.0, heading=3.5)
    rows += track_rows("8", "unknown", range(4), 0)
    write_table(folder / "scenario_cccc.parquet", rows)
    write_map(folder, "cccc")
    return folder


def test_scenario_has_the_recording_car_as_ego(scenario: Path) -> None:
    roots = (scenario, scenario.parent, scenario.parents[1], scenario / "scenario_cccc.parquet")
    for root in roots:
        assert list_drives(root) == ("argoverse2-motion", ["cccc"])
    recording = open_recording(scenario)
    assert recording.timestamp_us.tolist() == [0, 100_000, 200_000, 300_000]
    np.testing.assert_allclose(recording.ego.x, 1002.0 + 0.5 * np.arange(4))
    # of the columns, not of the positions' differences (5 m/s)
    np.testing.assert_allclose(recording.ego.speed, 6.0 * np.cos(0.1))
    np.testing.assert_allclose(recording.ego.z, 12.0)
    assert recording.about["city"] == "Washington DC"
    assert recording.about["focal_tracks"] == ["30"] and recording.about["observed_steps"] == 2
    agents = recording.agents
    assert agents is not None and recording.source_id.tolist() == ["30", "7"]
    assert recording.category.tolist() == ["bus", "pedestrian"]
    assert agents.kind[0].tolist() == [AgentKind.BUS, AgentKind.PEDESTRIAN]
    assert agents.valid[:, 1].tolist() == [False, True, True, False]
    assert agents.heading[1, 1] == pytest.approx(3.5 - 2.0 * np.pi)
    assert agents.length[0, 0] == 11.6 and agents.vx[0, 0] == 6.0
    assert "1 tracks of unknown type are left out" in recording.notes
    assert recording.rig.sensors == () and recording.road_map is not None


SCENARIO_FAULTS = {
    "no ego": (lambda rows: [r.update(track_id="x") for r in rows[4:8]], "the track AV, the ego"),
    "ego with a gap": (lambda rows: rows.pop(5), "the track AV, the ego, is not there"),
    "type": (lambda rows: rows[0].update(object_type="tram"), 'unknown object_type "tram"'),
    "number": (lambda rows: rows[3].update(heading=np.nan), "row 3: .*'heading': nan"),
    "step": (lambda rows: rows[2].update(timestep=4), "row 2: timestep 4: expected 0 to 3"),
    "twice": (lambda rows: rows.append(rows[0]), "row 14: track 30 is twice at timestep 0"),
}


@pytest.mark.parametrize("fault", SCENARIO_FAULTS)
def test_fault_in_a_scenario_is_said_with_its_row(scenario: Path, fault: str) -> None:
    spoil, message = SCENARIO_FAULTS[fault]
    path = scenario / "scenario_cccc.parquet"
    rows = pa.parquet.read_table(str(path)).to_pylist()
    spoil(rows)
    write_table(path, rows)
    with pytest.raises(RoadloopError, match=rf"scenario_cccc\.parquet: {message}") as caught:
        open_recording(scenario)
    assert "\n" not in str(caught.value)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(RoadloopError, match=r"scenario_cccc\.parquet is truncated or no table"):
        open_recording(scenario)


# --- real logs -----------------------------------------------------------------------------------


def real(name: str, format: str = "argoverse2") -> Recording:
    if not DATA.is_dir():
        pytest.skip(f"no sample of Argoverse 2 at {DATA}")
    return open_recording(DATA, name, format)


@pytest.mark.parametrize("name", SENSOR_LOGS)
def test_boxes_hold_the_points_that_were_counted(name: str) -> None:
    """Exactly as many as ``num_interior_pts``, faces included, in every box that has its sweep."""
    counts = parity.points_in_boxes(real(name))
    assert len(counts) == {SENSOR_LOGS[0]: 162, SENSOR_LOGS[1]: 47}[name]
    np.testing.assert_array_equal(counts[:, 0], counts[:, 1])
    assert counts[:, 1].sum() > 9000


@pytest.mark.parametrize("sensor", ["up_lidar", "down_lidar"])
def test_lasers_keep_the_elevations_of_the_beam_table(sensor: str) -> None:
    """So the laser numbers are split between the two LiDARs as the reader says."""
    recording = real(SENSOR_LOGS[0])
    lidar = next(one for one in recording.rig.lidars if one.name == sensor)
    sweep = recording.frames_of(sensor)[0].read()
    sensor_from_ego = inverse(lidar.mount.ego_from_sensor)
    local = transform_points(sensor_from_ego, sweep.points[:, :3].astype(float))
    elevation = np.degrees(np.arctan2(local[:, 2], np.hypot(local[:, 0], local[:, 1])))
    far = np.linalg.norm(local, axis=-1)
    assert sweep.ring is not None
    near = (far > 5.0) & (far < 40.0)
    for ring in range(32):
        mine = elevation[near & (sweep.ring == ring)]
        if len(mine) > 50:
            assert np.median(mine) == pytest.approx(BEAMS[ring], abs=0.06), ring


@pytest.mark.parametrize("name", [*SENSOR_LOGS, *MINING_LOGS, SCENARIO])
def test_recorded_car_drives_on_lanes(name: str) -> None:
    recording = real(name, "argoverse2-motion" if name == SCENARIO else "argoverse2")
    road_map = recording.road_map
    assert road_map is not None
    on_lane = lanes_at(road_map, recording.ego.x, recording.ego.y, travel_only=True)
    assert (np.diff(on_lane.start) > 0).all()
    assert len(road_map.junction_id) >= 3


@pytest.mark.parametrize("name", [*SENSOR_LOGS, *MINING_LOGS])
def test_axle_is_a_wheels_radius_above_the_ground(name: str) -> None:
    recording = real(name)
    (folder,) = DATA.glob(f"*/{name}/map") if name in MINING_LOGS else DATA.glob(f"*/*/{name}/map")
    below = recording.ego.z - ground_height(folder, recording.ego.x, recording.ego.y)
    assert abs(np.nanmean(below)) < 0.035


def test_mining_logs_do_not_meet_themselves() -> None:
    for name in MINING_LOGS:
        recording = real(name)
        agents = recording.agents
        assert agents is not None and "EGO_VEHICLE" not in recording.category
        x, y = recording.ego.box_centre()
        apart = np.hypot(agents.x - x[:, None], agents.y - y[:, None])
        assert apart[agents.valid].min() > 1.5


@pytest.mark.slow
def test_parity_with_the_av2_package() -> None:
    """Poses, boxes, lanes, pixels, places and tracks of all five drives."""
    if not DATA.is_dir():
        pytest.skip(f"no sample of Argoverse 2 at {DATA}")
    if not parity.DEVKIT.is_file():
        pytest.skip(f"{parity.DEVKIT} is missing: make devkits")
    rows = parity.compare_all(DATA)
    assert len(rows) == 5
    assert [line for name, row in rows.items() for line in parity.missed(name, row)] == []
