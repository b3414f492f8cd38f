"""Waymo Open Perception, v1 and v2: on the samples and on files made here."""

from __future__ import annotations

import math
import pickle
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from waymo_messages import message
from waymo_scenario import scenario

from roadloop.datasets import parquet_rows
from roadloop.datasets.protobuf_wire import decode
from roadloop.datasets.tfrecord import framed, records
from roadloop.datasets.waymo import perception as waymo_perception
from roadloop.datasets.waymo.fields import FRAME
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, transform_points
from roadloop.semantics import SemanticClass
from roadloop.types import AgentKind

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PERCEPTION = DATA / "waymo_perception"


def real(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"needs the sample {path.name}")
    return path


# --- made by hand --------------------------------------------------------------------

NAME = "1_000_020_000"
LASER_POSE = np.array(
    [[0.0, -1.0, 0.0, 1.4], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 2.2], [0.0, 0.0, 0.0, 1.0]]
)
"""a top LiDAR turned by 90 degrees"""
BEAMS = [-0.2, -0.1, 0.0]
START = 1_550_000_000_000_000


def pose_at(k: int) -> np.ndarray:
    """The vehicle in the world: 2 m further every frame, turned by 90 degrees."""
    pose = np.eye(4)
    pose[:3, :3] = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    pose[:3, 3] = (100.0, 200.0 + 2.0 * k, 5.0)
    return pose


def moved_by(k: int) -> np.ndarray:
    """What frame k adds to the poses of cells."""
    return np.array([0.0, 0.0, 0.0, 0.0, 2.0 * k, 0.0], np.float32)


def range_images() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two returns (3, 10, 4), the vehicle's pose at each cell, labels (3, 10, 2)."""
    first, second = np.zeros((2, 3, 10, 4), np.float32)
    first[..., 0] = -1.0
    first[0, 2] = (10.0, 0.5, 0.0, 0.0)  # level, a quarter of the turn from behind: to the left
    first[0, 7] = (20.0, 500.0, 0.0, 0.0)  # to the right
    first[2, 7] = (20.0, 0.0, 0.0, 0.0)  # lowest beam
    second[0, 2] = (12.0, 0.1, 0.0, 0.0)
    poses = np.zeros((3, 10, 6), np.float32)
    poses[..., 2] = math.pi / 2
    poses[..., 3:] = (100.0, 200.0, 5.0)
    poses[0, 7, 4] += 1.0  # the car had moved 1 m forward when it looked to the right
    labels = np.zeros((3, 10, 2), np.int32)
    labels[0, 2, 1], labels[0, 7, 1], labels[2, 7, 1] = 1, 14, 18
    return first, second, poses, labels


EXPECTED = np.array(
    [
        [1.4, 10.0, 2.2, math.tanh(0.5)],
        [2.4, -20.0, 2.2, 1.0],
        [1.4, -20.0 * math.cos(0.2), 2.2 - 20.0 * math.sin(0.2), 0.0],
        [1.4, 12.0, 2.2, math.tanh(0.1)],
    ]
)
"""points in the vehicle frame"""
JPEG = cv2.imencode(".jpg", np.full((40, 60, 3), (10, 20, 200), np.uint8))[1].tobytes()
PANOPTIC = cv2.imencode(".png", np.full((40, 60), 20 * 1000 + 3, np.uint16))[1].tobytes()
INTRINSIC = [50.0, 50.0, 30.0, 20.0, 0.01, 0.0, 0.0, 0.0, 0.0]
CAMERA_POSE = np.eye(4)
CAMERA_POSE[:3, 3] = (1.5, 0.0, 2.0)


def frame_fields(k: int) -> dict[str, Any]:
    def packed(kind: str, values: np.ndarray) -> bytes:
        made = message(kind, data=values.ravel().tolist(), shape={"dims": values.shape})
        return zlib.compress(made.SerializeToString())

    first, second, poses, labels = range_images()
    return_1 = {
        "range_image_compressed": packed("MatrixFloat", first),
        "range_image_pose_compressed": packed("MatrixFloat", poses + moved_by(k)),
        "segmentation_label_compressed": packed("MatrixInt32", labels),
    }
    return_2 = {
        "range_image_compressed": packed("MatrixFloat", second),
        "segmentation_label_compressed": packed("MatrixInt32", labels),
    }
    box = {"center_x": 10.0, "center_y": 1.0, "center_z": 0.8, "length": 4.0, "width": 1.8,
           "height": 1.6, "heading": 0.1}  # fmt: skip
    return {
        "context": {
            "name": NAME,
            "camera_calibrations": [
                {"name": 1, "intrinsic": INTRINSIC, "width": 60, "height": 40,
                 "extrinsic": {"transform": CAMERA_POSE.ravel().tolist()}}
            ],
            "laser_calibrations": [
                {"name": 1, "beam_inclinations": BEAMS,
                 "extrinsic": {"transform": LASER_POSE.ravel().tolist()}}
            ],
            "stats": {"location": "location_sf", "weather": "sunny"},
        },
        "timestamp_micros": START + 100_000 * k,
        "pose": {"transform": pose_at(k).ravel().tolist()},
        "images": [
            {"name": 1, "image": JPEG, "pose": {"transform": pose_at(k).ravel().tolist()},
             "pose_timestamp": (START + 100_000 * k + 50_000) * 1e-6,
             "camera_segmentation_label": {
                 "panoptic_label_divisor": 1000, "panoptic_label": PANOPTIC}}
        ],
        "lasers": [{"name": 1, "ri_return1": return_1, "ri_return2": return_2}],
        "laser_labels": [
            {"id": "car", "type": 1, "box": box, "num_lidar_points_in_box": 12,
             "metadata": {"speed_x": 1.0, "speed_y": 3.0}},
            {"id": f"walker {k}", "type": 2, "box": {**box, "center_y": -4.0}},
        ],
    }  # fmt: skip


def write_frames(path: Path, count: int = 3, **changed: Any) -> Path:
    made = [message("Frame", **frame_fields(k) | changed) for k in range(count)]
    path.write_bytes(b"".join(framed(each.SerializeToString()) for each in made))
    return path


def write_parquet(root: Path, count: int = 3) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def put(component: str, columns: dict[str, Any]) -> None:
        (root / component).mkdir(parents=True, exist_ok=True)
        rows = len(next(iter(columns.values())))
        table = pa.table({"key.segment_context_name": [NAME] * rows, **columns})
        pq.write_table(table, root / component / f"{NAME}.parquet", row_group_size=2)

    first, second, poses, labels = range_images()
    stamps = {"key.frame_timestamp_micros": [START + 100_000 * k for k in range(count)]}
    moved = [(poses + moved_by(k)).ravel().tolist() for k in range(count)]
    flat = [pose_at(k).ravel().tolist() for k in range(count)]
    put("vehicle_pose", {**stamps, "[VehiclePoseComponent].world_from_vehicle.transform": flat})
    name = "[CameraCalibrationComponent]"
    inner = ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3")
    put(
        "camera_calibration",
        {
            "key.camera_name": [1],
            **{f"{name}.intrinsic.{k}": [v] for k, v in zip(inner, INTRINSIC, strict=True)},
            f"{name}.extrinsic.transform": [CAMERA_POSE.ravel().tolist()],
            f"{name}.width": [60],
            f"{name}.height": [40],
        },
    )
    name = "[LiDARCalibrationComponent]"
    put(
        "lidar_calibration",
        {
            "key.laser_name": [1],
            f"{name}.extrinsic.transform": [LASER_POSE.ravel().tolist()],
            f"{name}.beam_inclination.min": [-0.2],
            f"{name}.beam_inclination.max": [0.0],
            f"{name}.beam_inclination.values": [BEAMS],
        },
    )
    camera = {**stamps, "key.camera_name": [1] * count}
    name = "[CameraImageComponent]"
    put(
        "camera_image",
        {
            **camera,
            f"{name}.image": [JPEG] * count,
            f"{name}.pose.transform": flat,
            f"{name}.pose_timestamp": [(START + 100_000 * k + 50_000) * 1e-6 for k in range(count)],
        },
    )
    name = "[CameraSegmentationLabelComponent]"
    put(
        "camera_segmentation",
        {
            **camera,
            f"{name}.panoptic_label_divisor": [1000] * count,
            f"{name}.panoptic_label": [PANOPTIC] * count,
        },
    )
    laser = {**stamps, "key.laser_name": [1] * count}
    for component, kind, pairs in (
        ("lidar", "LiDARComponent", ((1, first), (2, second))),
        ("lidar_segmentation", "LiDARSegmentationLabelComponent", ((1, labels), (2, labels))),
    ):
        columns = {}
        for k, image in pairs:
            columns[f"[{kind}].range_image_return{k}.values"] = [image.ravel().tolist()] * count
            columns[f"[{kind}].range_image_return{k}.shape"] = [list(image.shape)] * count
        put(component, {**laser, **columns})
    name = "[LiDARPoseComponent].range_image_return1"
    shape = [list(poses.shape)] * count
    put("lidar_pose", {**laser, f"{name}.values": moved, f"{name}.shape": shape})
    name = "[LiDARBoxComponent]"
    rows = [label for k in range(count) for label in frame_fields(k)["laser_labels"]]
    boxes = [label["box"] for label in rows]
    columns = {
        **{f"{name}.box.center.{a}": [b[f"center_{a}"] for b in boxes] for a in "xyz"},
        **{f"{name}.box.size.{a}": [b[n] for b in boxes]
           for a, n in zip("xyz", ("length", "width", "height"), strict=True)},
        f"{name}.box.heading": [b["heading"] for b in boxes],
        f"{name}.type": [label["type"] for label in rows],
        f"{name}.num_lidar_points_in_box": [r.get("num_lidar_points_in_box") for r in rows],
        **{f"{name}.speed.{a}": [r.get("metadata", {}).get(f"speed_{a}") for r in rows]
           for a in "xy"},
    }  # fmt: skip
    put(
        "lidar_box",
        {
            "key.frame_timestamp_micros": np.repeat(stamps["key.frame_timestamp_micros"], 2),
            "key.laser_object_id": [label["id"] for label in rows],
            **columns,
        },
    )
    name = "[StatsComponent]"
    put(
        "stats",
        {
            **stamps,
            f"{name}.location": ["location_sf"] * count,
            f"{name}.weather": ["sunny"] * count,
        },
    )
    return root


def made(tmp_path: Path, form: str):
    root = write_frames(tmp_path / "segment.tfrecord") if form == "v1" else write_parquet(tmp_path)
    assert waymo_perception.drives(root) == [NAME]
    return waymo_perception.open_drive(root, NAME)


@pytest.mark.parametrize("form", ["v1", "v2"])
def test_perception_drive(tmp_path: Path, form: str):
    drive = made(tmp_path, form)
    assert drive.timestamp_us.tolist() == [0, 100_000, 200_000]
    assert drive.about["start_us"] == START + 100_000  # when the first frame is complete
    assert drive.about["first_frame_us"] == START
    assert drive.about["place"] == "location_sf"
    np.testing.assert_allclose(drive.ego.speed, 20.0, rtol=1e-4)
    agents = drive.agents
    assert drive.source_id.tolist() == ["car", "walker 0", "walker 1", "walker 2"]
    assert agents.valid.sum(0).tolist() == [3, 1, 1, 1]
    assert drive.lidar_points[0].tolist() == [12, -1, -1, -1]
    # 10 m ahead and 1 m to the left of a car that faces +y; its bottom is the ground
    np.testing.assert_allclose([agents.x[1, 0], agents.y[1, 0]], [99.0, 212.0], atol=1e-6)
    np.testing.assert_allclose(agents.z[1, 0], 5.0, atol=1e-6)
    np.testing.assert_allclose(agents.heading[1, 0], math.pi / 2 + 0.1)
    assert [agents.vx[1, 0], agents.vy[1, 0]] == [1.0, 3.0]
    np.testing.assert_allclose(drive.world_from_agent[1, 0, :3, 3], [99.0, 212.0, 5.0])
    camera = drive.rig.cameras[0]
    assert (camera.cx, camera.cy) == (29.5, 19.5)
    # 8.5 m ahead of the camera and on its axis: the middle of the picture
    uv, seen = camera.camera.project(
        transform_points(inverse(camera.ego_from_camera), np.array([[10.0, 0.0, 2.0]]))
    )
    assert seen[0] and uv[0] == pytest.approx([29.5, 19.5])
    picture, sweep = (
        pickle.loads(pickle.dumps(drive.frames_of(name)[1].read))()
        for name in ("camera_front", "lidar_top")
    )
    frame = drive.frames_of("camera_front")[1]
    assert (frame.timestamp_us, frame.step) == (50_000, 1)
    assert picture.encoded() == JPEG
    assert np.abs(picture.rgb[5, 5].astype(int) - (200, 20, 10)).max() < 6
    assert (picture.semantic == SemanticClass.ROAD).all()
    np.testing.assert_allclose(sweep.points, EXPECTED, atol=3e-4)
    assert sweep.ring.tolist() == [0, 0, 2, 0] and sweep.timestamp_us == 100_000
    kinds = [SemanticClass.CAR, SemanticClass.BUILDING, SemanticClass.ROAD, SemanticClass.CAR]
    assert sweep.semantic.tolist() == kinds
    seen_by_driver = drive.observation(1)
    assert seen_by_driver.cameras["camera_front"].timestamp_us == 50_000
    assert len(seen_by_driver.lidars["lidar_top"].points) == 4


def test_rows_of_a_column_in_any_order(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "c.parquet"
    pq.write_table(pa.table({"v.w": list(range(70))}), path, row_group_size=50)
    column = parquet_rows._Column(path, 0, "v.w")
    for row in (0, 3, 49, 20, 19, 41, 0):
        assert column.at(row).as_py() == row
    assert column.at(50) is None
    assert parquet_rows._Column(path, 1, "v.w").at(7).as_py() == 57
    with pytest.raises(RoadloopError, match="column x is missing"):
        parquet_rows._Column(path, 0, "x")


def test_short_range_lidars_are_not_moved_and_have_even_beams(tmp_path: Path):
    fields = frame_fields(0)
    fields["context"]["laser_calibrations"] = [
        {"name": 2, "beam_inclination_min": -0.3, "beam_inclination_max": 0.3,
         "extrinsic": {"transform": np.eye(4).ravel().tolist()}}
    ]  # fmt: skip
    fields["lasers"][0]["name"] = 2
    path = tmp_path / "one.pb"
    path.write_bytes(message("Frame", **fields).SerializeToString())  # a bare frame
    drive = waymo_perception.open_drive(path, NAME)
    points = drive.frames_of("lidar_front")[0].read().points
    # rows of 0.2 rad, the middle of the top one at 0.2
    high = 10.0 * np.array([0.0, math.cos(0.2), math.sin(0.2)])
    np.testing.assert_allclose(points[0, :3], high, atol=1e-5)


def test_map_of_the_first_frame(tmp_path: Path):
    frames = [message("Frame", **frame_fields(k)) for k in range(2)]
    for feature in scenario()["map_features"]:
        frames[0].map_features.add().MergeFrom(message("MapFeature", **feature))
    path = tmp_path / "m.tfrecord"
    path.write_bytes(b"".join(framed(each.SerializeToString()) for each in frames))
    road = waymo_perception.open_drive(path, NAME).road_map
    assert road.lane_id.tolist() == ["1", "2", "4"] and road.signal_id.tolist() == ["8"]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"pose": {"transform": [0.0] * 16}}, "the vehicle has a transform that is no rotation"),
        ({"laser_labels": [{"id": "a", "type": 0}]}, "label a is of type 0"),
        ({"laser_labels": [{"id": "a", "type": 1}] * 2}, "label a is there twice"),
        (
            {"context": {"name": NAME, "camera_calibrations": [{"name": 1, "intrinsic": [1.0]}]}},
            "camera camera_front has the intrinsics",
        ),
        (
            {"context": {"name": NAME, "laser_calibrations": [{"name": 1}]}},
            "LiDAR lidar_top has a transform",
        ),
    ],
)
def test_bad_frames(tmp_path: Path, changed: dict[str, Any], says: str):
    path = write_frames(tmp_path / "bad.tfrecord", **changed)
    with pytest.raises(RoadloopError, match=r"bad\.tfrecord.*" + says) as error:
        waymo_perception.open_drive(path, NAME)
    assert "\n" not in str(error.value)


def test_bad_sensors_are_said_when_read(tmp_path: Path):
    fields = frame_fields(0)
    fields["images"][0]["image"] = JPEG[:200]
    fields["lasers"][0]["ri_return1"]["range_image_compressed"] = b"no zlib"
    path = write_frames(tmp_path / "s.tfrecord", images=fields["images"], lasers=fields["lasers"])
    drive = waymo_perception.open_drive(path, NAME)
    with pytest.raises(RoadloopError, match=r"s\.tfrecord record 1 camera_front is truncated"):
        _ = drive.frames_of("camera_front")[1].read().rgb
    with pytest.raises(RoadloopError, match=r"record 0 lidar_top: a range image is damaged"):
        drive.frames_of("lidar_top")[0].read()
    whole = bytearray(path.read_bytes())
    whole[-40] ^= 1
    path.write_bytes(whole)
    with pytest.raises(RoadloopError, match=r"s\.tfrecord record 2 is damaged"):
        waymo_perception.open_drive(path, NAME)


def test_bad_parquet(tmp_path: Path):
    import pyarrow.parquet as pq

    root = write_parquet(tmp_path)
    path = root / "lidar_box" / f"{NAME}.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(RoadloopError, match=r"lidar_box.*truncated or no Parquet"):
        waymo_perception.open_drive(root, NAME)
    path.write_bytes(whole)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["[LiDARBoxComponent].type"]), path)
    with pytest.raises(RoadloopError, match=r"\[LiDARBoxComponent\]\.type is missing"):
        waymo_perception.open_drive(root, NAME)
    path.unlink()
    drive = waymo_perception.open_drive(root, NAME)
    assert drive.agents is None
    image = root / "camera_image" / f"{NAME}.parquet"
    image.unlink()
    with pytest.raises(RoadloopError, match=r"camera_image.*cannot be read"):
        _ = drive.frames_of("camera_front")[0].read().rgb
    # without a component there are none of its frames
    assert waymo_perception.open_drive(root, NAME).frames_of("camera_front") == []


# --- the samples --------------------------------------------------------------------


def test_sample_of_poses():
    drive = waymo_perception.open_drive(
        real(PERCEPTION / "v2"), "10023947602400723454_1120_000_1140_000"
    )
    assert len(drive) == 199 and drive.agents is None and not drive.frames
    assert np.abs(np.diff(drive.timestamp_us) - 100_000).max() < 200
    assert 0.0 <= drive.ego.speed.max() < 3.0
    # the origin of the vehicle frame is the rear axle: it does not slip sideways
    t, ego = drive.timestamp_us * 1e-6, drive.ego
    across = np.cos(ego.heading) * np.gradient(ego.y, t) - np.sin(ego.heading) * np.gradient(
        ego.x, t
    )
    turning = (np.abs(ego.yaw_rate) > 0.02) & (ego.speed > 1.0)
    assert turning.sum() > 20
    assert np.abs(np.median(across[turning] / ego.yaw_rate[turning])) < 0.1


def test_sample_frame_boxes_are_where_the_data_set_projects_them():
    path = real(PERCEPTION / "pvps_data_one_frame.tfrecord")
    drive = waymo_perception.open_drive(path, waymo_perception.drives(path)[0])
    whole = decode(FRAME, records(path)[0].read(), path)
    corner = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0.0, 1.0)])
    agents, errors = drive.agents, []
    assert agents.valid.sum() == 75 and len(drive.frames) == 5
    for labels in whole["projected_lidar_labels"]:
        sensor = waymo_perception.CAMERAS[labels["name"]]
        (frame,) = drive.frames_of(sensor)
        camera = drive.rig.cameras[[c.name for c in drive.rig.cameras].index(sensor)]
        camera_from_world = inverse(frame.world_from_ego @ camera.ego_from_camera)
        for label in labels["labels"]:
            (column,) = np.flatnonzero([label["id"].startswith(i) for i in drive.source_id])
            if agents.speed[0, column] > 0.1:
                continue  # the box moved until its column of the rolling shutter was read
            size = [f[0, column] for f in (agents.length, agents.width, agents.height)]
            pose = camera_from_world @ drive.world_from_agent[0, column]
            uv, seen = camera.camera.project(transform_points(pose, corner * size))
            if seen.all():
                box = label["box"]
                middle = np.array([box["center_x"], box["center_y"]])
                half = np.array([box["length"], box["width"]]) / 2.0
                edges = [middle - half - 0.5, middle + half - 0.5]  # its pixel 0 begins at 0
                errors.append(np.abs([uv.min(0) - edges[0], uv.max(0) - edges[1]]).max())
    assert len(errors) > 30
    assert np.median(errors) < 0.1 and max(errors) < 0.5
    # speeds are in the world frame: those who move go where they face
    moving = np.flatnonzero(agents.speed[0] > 0.5)
    course = np.arctan2(agents.vy[0, moving], agents.vx[0, moving])
    off = np.angle(np.exp(1j * (course - agents.heading[0, moving])))
    assert len(moving) > 8 and np.median(np.abs(off)) < 0.1
    # road users stand on the ground the car stands on
    near = np.hypot(agents.x[0] - drive.ego.x[0], agents.y[0] - drive.ego.y[0]) < 25.0
    on_ground = near & (agents.kind[0] != AgentKind.STATIC)
    assert np.abs(np.median(agents.z[0, on_ground] - drive.ego.z[0])) < 0.25


def test_sample_frame_pictures():
    path = real(PERCEPTION / "pvps_data_one_frame.tfrecord")
    drive = waymo_perception.open_drive(path, waymo_perception.drives(path)[0])
    seen = drive.observation(0)
    assert {c.rgb.shape[:2] for c in seen.cameras.values()} == {(1280, 1920), (886, 1920)}
    front = seen.cameras["camera_front"]
    share = np.bincount(front.semantic.ravel(), minlength=29) / front.semantic.size
    assert 0.3 < share[SemanticClass.ROAD] < 0.5 and 0.1 < share[SemanticClass.SKY] < 0.3
    assert any("no LiDAR returns" in note for note in drive.notes)
    # sky is blue-grey and bright, road is dark
    assert front.rgb[front.semantic == SemanticClass.SKY].mean() > 180
    assert front.rgb[front.semantic == SemanticClass.ROAD].mean() < 140
