"""123D logs as recordings: frames, labels, lights, maps; with py123d, the same as our reader."""

from __future__ import annotations

import pickle
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from roadloop.datasets import from_123d
from roadloop.datasets.argoverse2 import reader as argoverse2
from roadloop.datasets.argoverse2.poses import AXLE_HEIGHT
from roadloop.datasets.formats import open_recording
from roadloop.datasets.from_123d import DEFAULTS, KINDS, agent_kind
from roadloop.datasets.from_123d_map import map_draft
from roadloop.errors import RoadloopError
from roadloop.geometry import rotation_from_euler, se3
from roadloop.maps.compile_draft import compile_map
from roadloop.maps.road_map import LaneKind, MarkKind, SignalKind
from roadloop.types import AgentKind, LightState

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "argoverse2" / "sensor" / "val"
LOG = "7fab2350-7eaf-3b7e-a39d-6937a4c1bede"
START = 1_600_000_000_000_000


# --- a log as py123d hands it out, without py123d -----------------------------------------------


def pose(x: float, y: float, z: float, yaw: float = 0.0) -> SimpleNamespace:
    matrix = se3(rotation_from_euler(0.0, 0.0, yaw), np.array([x, y, z]))
    return SimpleNamespace(x=x, y=y, z=z, transformation_matrix=matrix)


class Named(SimpleNamespace):
    """A member of one of py123d's enums."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(self.name)

    def serialize(self) -> str:
        return self.name.lower()


def named(name: str, **others: Any) -> Named:
    return Named(name=name, **others)


def line(*points: tuple[float, ...]) -> SimpleNamespace:
    return SimpleNamespace(array=np.array(points, float))


CAR = SimpleNamespace(
    length=5.0,
    width=2.0,
    height=1.6,
    wheel_base=3.0,
    center_to_imu_se3=pose(1.9, -0.3, 0.2),
    rear_axle_to_imu_se3=pose(0.4, -0.3, -0.1),
)


class Scene:
    """Three steps of 0.1 s, 1 m each to the north."""

    def get_all_iteration_timestamps(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(time_us=START + 100_000 * k) for k in range(3)]

    def get_ego_state_se3_at_iteration(self, k: int) -> SimpleNamespace:
        moved = SimpleNamespace(velocity_3d=SimpleNamespace(x=10.0))
        at = pose(5.0, 1.0 * k, 7.0, np.pi / 2)
        return SimpleNamespace(metadata=CAR, imu_se3=at, dynamic_state_se3=moved)

    def get_box_detections_se3_at_iteration(self, k: int) -> list[SimpleNamespace]:
        boxes = []
        for token, label, default in (("a", "BUS", "VEHICLE"), ("me", "EGO", "EGO")):
            attributes = SimpleNamespace(
                label=named(label, to_default=lambda d=default: named(d)),
                track_token=token,
                num_lidar_points=None if k else 12,
            )
            size = SimpleNamespace(length=9.0, width=2.5, height=3.0)
            at = pose(20.0, 3.0, 8.0, 0.3)
            boxes.append(
                SimpleNamespace(attributes=attributes, bounding_box_se3=size, center_se3=at)
            )
        return boxes

    def get_traffic_light_detections_at_iteration(self, k: int) -> list[SimpleNamespace]:
        return [SimpleNamespace(lane_id=12, status=named(("RED", "GREEN", "UNKNOWN")[k]))]

    def get_map_api(self) -> Map:
        return Map()

    def get_camera_metadatas(self) -> dict[Any, SimpleNamespace]:
        lens = SimpleNamespace(fx=50.0, fy=51.0, cx=20.0, cy=15.0)
        shared = {"width": 40, "height": 30, "camera_to_imu_se3": pose(1.0, 0.0, 1.2)}
        bent = SimpleNamespace(array=np.array([-0.1, 0.02, 0.0, 0.001, 0.0]))
        return {
            named("PCAM_F0"): SimpleNamespace(
                camera_name="front",
                camera_model=named("PINHOLE"),
                intrinsics=lens,
                distortion=bent,
                is_undistorted=False,
                **shared,
            ),
            named("FCAM_L"): SimpleNamespace(
                camera_name="image_02", camera_model=named("FISHEYE_MEI"), **shared
            ),
        }

    def get_all_camera_timestamps(self, key: Any) -> list[SimpleNamespace]:
        return [SimpleNamespace(time_us=START + 40_000)]

    def get_camera_at_timestamp(self, time_us: int, key: Any) -> SimpleNamespace:
        return SimpleNamespace(image=np.full((30, 40, 3), time_us % 256, np.uint8))

    def get_lidar_metadatas(self) -> dict[Any, SimpleNamespace]:
        return {named("LIDAR_TOP"): SimpleNamespace(lidar_to_imu_se3=pose(0.5, 0.0, 1.5))}

    def get_all_modality_metadatas(self) -> dict[str, Any]:
        return dict.fromkeys(("lidar.lidar_top", "camera.pcam_f0", "radar.radar_front"))

    def get_all_lidar_timestamps(self, key: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(time_us=START)]

    def get_lidar_at_timestamp(self, time_us: int, key: str) -> SimpleNamespace:
        return SimpleNamespace(
            point_cloud_3d=np.array([[10.0, 2.0, 0.0]], np.float32),
            intensity=np.array([51], np.uint8),
            channel=np.array([7], np.uint8),
            timestamps=np.array([time_us + 30_000]),
        )

    def get_log_metadata(self) -> SimpleNamespace:
        return SimpleNamespace(dataset="nuplan", split="nuplan_val", location="boston")


def lane(number: int, y: float, x: tuple[float, float], **others: Any) -> SimpleNamespace:
    a, b = x
    links: dict[str, Any] = {"lane_group_id": 1, "left_lane_id": None, "right_lane_id": None}
    links |= {"successor_ids": [], "predecessor_ids": [], "speed_limit_mps": 9.0}
    links |= {"lane_type": named("SURFACE_STREET")}
    return SimpleNamespace(
        object_id=number,
        left_boundary=line((a, y + 1.75), (b, y + 1.75)),
        right_boundary=line((a, y - 1.75), (b, y - 1.75)),
        centerline=line((a, y), (b, y)),
        **(links | others),
    )


class Map:
    """A street of two lanes, then a junction's lane with a light, and a stop sign before it."""

    def get_map_metadata(self) -> SimpleNamespace:
        return SimpleNamespace(
            dataset="nuplan", location="boston", map_is_per_log=False, log_name="x", to_dict=dict
        )

    def get_available_map_layers(self) -> list[SimpleNamespace]:
        names = ("LANE", "INTERSECTION", "STOP_ZONE", "CROSSWALK", "ROAD_LINE", "GENERIC_DRIVABLE")
        return [named(name) for name in names]

    def get_all_map_objects_in_layer(self, layer: Any) -> list[SimpleNamespace]:
        name = layer.upper() if isinstance(layer, str) else layer.name
        square = line((40.0, -2.0, 0.0), (44.0, -2.0, 0.0), (44.0, 2.0, 0.0), (40.0, -2.0, 0.0))
        sign = {"object_id": 5, "outline": square, "lane_ids": [10]}
        return {
            "LANE": [
                lane(10, 0.0, (0.0, 50.0), successor_ids=[12], left_lane_id=11),
                lane(11, 3.5, (0.0, 50.0), right_lane_id=10, lane_type=named("BUS_LANE")),
                lane(12, 0.0, (50.0, 70.0), predecessor_ids=[10], lane_group_id=2),
            ],
            "INTERSECTION": [
                SimpleNamespace(
                    object_id=3, intersection_type=named("TRAFFIC_LIGHT"), lane_group_ids=[2]
                ),
                SimpleNamespace(
                    object_id=4, intersection_type=named("LANE_MERGE"), lane_group_ids=[1]
                ),
            ],
            "STOP_ZONE": [
                SimpleNamespace(stop_zone_type=named("STOP_SIGN"), **sign),
                SimpleNamespace(stop_zone_type=named("TRAFFIC_LIGHT"), **sign),
            ],
            "CROSSWALK": [SimpleNamespace(outline=square)],
            "GENERIC_DRIVABLE": [SimpleNamespace(outline=square)],
            "ROAD_LINE": [
                SimpleNamespace(
                    road_line_type=named("DASH_SOLID_YELLOW"), polyline=line((0.0, 1.8), (9.0, 1.8))
                ),
                SimpleNamespace(road_line_type=named("UNKNOWN"), polyline=line((0, 0), (1, 0))),
            ],
        }[name]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "123d" / "logs" / "nuplan_val" / "2021.05.12.22.00.38_veh-35"
    folder.mkdir(parents=True)
    for name in ("sync.arrow", "ego_state_se3.arrow"):
        (folder / name).write_bytes(b"")
    monkeypatch.setattr(from_123d, "open_scene", lambda _: Scene())
    return tmp_path / "123d"


def test_logs_are_found_without_py123d(root: Path) -> None:
    name = "2021.05.12.22.00.38_veh-35"
    for folder in (root, root / "logs", root / "logs" / "nuplan_val"):
        assert from_123d.drives(folder) == [name]
    assert from_123d.drives(root / "logs" / "nuplan_val" / name) == [name]
    again = root / "logs" / "nuplan_test" / name
    shutil.copytree(root / "logs" / "nuplan_val" / name, again)
    assert from_123d.drives(root) == [name, f"nuplan_val_{name}"]
    assert from_123d.drives(root / "nowhere") == []


def test_without_py123d_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "logs" / "a_b" / "c"
    folder.mkdir(parents=True)
    for name in ("sync.arrow", "ego_state_se3.arrow"):
        (folder / name).write_bytes(b"")
    monkeypatch.setitem(sys.modules, "py123d", None)
    with pytest.raises(RoadloopError, match=r"pip install 'roadloop\[data\]'"):
        open_recording(tmp_path, format="py123d")


def test_poses_are_moved_to_the_ground_below_the_rear_axle(root: Path) -> None:
    recording = open_recording(root, format="py123d")
    # the IMU at (5, k, 7) looks north: 0.4 m ahead of it is north, 0.3 m to its right east;
    # the ground is half the height below the centre: 7 + 0.2 - 0.8
    places = recording.world_from_ego[:, :3, 3]
    np.testing.assert_allclose(places, [(5.3, k + 0.4, 6.4) for k in range(3)], atol=1e-9)
    np.testing.assert_allclose(recording.ego.heading, np.pi / 2)
    np.testing.assert_allclose(recording.ego.speed, 10.0)
    vehicle = recording.ego.vehicle
    assert vehicle.rear_overhang == pytest.approx(1.0) and vehicle.wheelbase == 3.0
    assert recording.timestamp_us.tolist() == [0, 100_000, 200_000] and recording.dt == 0.1
    assert recording.about["start_us"] == START and recording.about["city"] == "boston"


def test_boxes_stand_on_their_lower_face_and_the_ego_is_none(root: Path) -> None:
    recording = open_recording(root, format="py123d")
    agents, points = recording.agents, recording.lidar_points
    assert agents is not None and points is not None
    assert recording.source_id.tolist() == ["a"] and recording.category.tolist() == ["BUS"]
    assert agents.kind[0, 0] == AgentKind.BUS
    assert (agents.x[0, 0], agents.y[0, 0], agents.z[0, 0]) == pytest.approx((20.0, 3.0, 6.5))
    assert agents.heading[0, 0] == pytest.approx(0.3)
    assert points[:, 0].tolist() == [12, -1, -1]


def test_sensors(root: Path) -> None:
    recording = open_recording(root, format="py123d")
    assert [s.name for s in recording.rig.sensors] == ["front", "lidar_top"]
    camera = recording.rig.cameras[0]
    assert camera.model == "brown-conrady" and camera.distortion == (-0.1, 0.02, 0.0, 0.001, 0.0)
    # the IMU is 0.4 m behind and 0.3 m left of the ego's origin, 0.6 m above the ground
    np.testing.assert_allclose(camera.ego_from_camera[:3, 3], [0.6, 0.3, 1.8], atol=1e-9)
    assert any("image_02: lenses of this kind" in note for note in recording.notes)
    assert any("radar: left out" in note for note in recording.notes)
    assert [(f.sensor, f.timestamp_us, f.step) for f in recording.frames] == [
        ("lidar_top", 0, 0),
        ("front", 40_000, 1),
    ]
    moved = recording.frames[1].world_from_ego[:3, 3] - recording.world_from_ego[0, :3, 3]
    np.testing.assert_allclose(moved, [0.0, 0.4, 0.0], atol=1e-9)
    sweep = recording.frames[0].read()
    np.testing.assert_allclose(sweep.points, [[9.6, 2.3, 0.6, 0.2]], atol=1e-6)
    assert sweep.ring.tolist() == [7] and sweep.time_offset[0] == pytest.approx(0.03)
    image = recording.frames[1].read()
    assert (image.rgb == (START + 40_000) % 256).all()


def test_lights_are_those_of_the_maps_signals(root: Path) -> None:
    recording = open_recording(root, format="py123d")
    road_map = recording.road_map
    assert road_map is not None and recording.lights is not None
    assert recording.lights.shape == (3, len(road_map.signal_id)) == (3, 2)
    assert recording.lights[:, 0].tolist() == [LightState.RED, LightState.GREEN, LightState.OFF]
    kinds = road_map.signal_kind.tolist()
    assert kinds == [SignalKind.TRAFFIC_LIGHT, SignalKind.STOP]


def test_a_map() -> None:
    draft = map_draft(Map(), (12,))
    by_id = {lane.id: lane for lane in draft.lanes}
    assert by_id["10"].successors == ("12",) and by_id["10"].left_neighbour == "11"
    assert by_id["11"].kind == LaneKind.RESTRICTED and by_id["12"].junction == "3"
    assert not by_id["10"].in_junction  # a merge is no junction
    light, sign = draft.signals
    assert light.stops == (("12", 0.0),) and light.xyz == (50.0, 0.0, 0.0)
    assert sign.kind == SignalKind.STOP and sign.stops[0][0] == "10"
    assert 40.0 < float(sign.stops[0][1] or 0.0) < 44.0
    assert [mark.kind for mark in draft.marks] == [MarkKind.BROKEN_SOLID]
    assert draft.crosswalks[0].shape == (3, 3) and draft.drivable[0].shape == (3, 2)
    road_map = compile_map(draft)
    assert road_map.lane_id.tolist() == ["10", "11", "12"]
    assert draft.source_hash == map_draft(Map(), (12,)).source_hash


def test_labels_mean_what_they_mean_elsewhere() -> None:
    for label, kind in argoverse2.KINDS.items():
        if label in KINDS:
            assert KINDS[label] == kind, label
    assert agent_kind("VEHICLE", "VEHICLE", "") == AgentKind.CAR
    assert agent_kind("CONES", "TRAFFIC_CONE", "") == AgentKind.STATIC
    assert DEFAULTS["EGO"] is None
    with pytest.raises(RoadloopError, match='here: unknown label "DRAGON"'):
        agent_kind("X", "DRAGON", "here")


def test_faults_of_py123d_are_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Scene, k: int) -> None:
        raise AssertionError("no such column\nand more")

    monkeypatch.setattr(Scene, "get_ego_state_se3_at_iteration", broken)
    with pytest.raises(RoadloopError, match=r"py123d cannot read it: no such column$"):
        open_recording(root, format="py123d")
    monkeypatch.setattr(Scene, "get_ego_state_se3_at_iteration", lambda self, k: None)
    with pytest.raises(RoadloopError, match=r"ego_state_se3\.arrow has no pose at step 0"):
        open_recording(root, format="py123d")


# --- with py123d --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A real log of Argoverse 2 and what py123d's own parser and writers make of it.

    The sample has two sweeps and no pictures, and the parser wants all: thinned copies of a sweep
    and a grey picture per camera stand in.
    """
    pytest.importorskip("py123d")
    if not (DATA / LOG).is_dir():
        pytest.skip(f"{DATA / LOG} is not here")
    import cv2
    import pyarrow.feather
    from py123d.api.map.arrow.arrow_map_writer import (  # pyright: ignore[reportMissingImports]
        ArrowMapWriter,
    )
    from py123d.api.scene.arrow.arrow_log_writer import (  # pyright: ignore[reportMissingImports]
        ArrowLogWriter,
        SyncConfig,
    )
    from py123d.api.scene.arrow.utils.log_writer_config import (  # pyright: ignore[reportMissingImports]
        LogWriterConfig,
    )
    from py123d.parser.av2.av2_sensor_parser import (  # pyright: ignore[reportMissingImports]
        Av2SensorParser,
    )

    tmp = tmp_path_factory.mktemp("py123d")
    log = tmp / "av2" / "val" / LOG
    shutil.copytree(DATA / LOG, log)
    read = pyarrow.feather.read_table
    stamps = np.unique(read(log / "annotations.feather")["timestamp_ns"].to_numpy())
    posed = np.sort(read(log / "city_SE3_egovehicle.feather")["timestamp_ns"].to_numpy())
    sweeps = log / "sensors" / "lidar"
    first = read(sorted(sweeps.iterdir())[0])
    for stamp in stamps:
        if not (path := sweeps / f"{stamp}.feather").is_file():
            pyarrow.feather.write_feather(first.take(np.arange(0, len(first), 400)), path)
    lenses = read(log / "calibration" / "intrinsics.feather").to_pydict()
    after = posed[posed > stamps[0]][0]
    for name, width, height in zip(*(lenses[k] for k in ("sensor_name", "width_px", "height_px"))):
        path = log / "sensors" / "cameras" / name / f"{after}.jpg"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))

    parser = Av2SensorParser(["av2-sensor_val"], av2_sensor_root=tmp / "av2")
    out = tmp / "123d"
    maps = ArrowMapWriter(True, maps_root=out / "maps", logs_root=out / "logs")
    for part in parser.get_map_parsers():
        maps.reset(part.get_map_metadata())
        for thing in part.iter_map_objects():
            maps.write_map_object(thing)
        maps.close()
    config = LogWriterConfig(
        force_log_conversion=True,
        camera_store_option="jpeg_binary",
        lidar_store_option="binary",
        lidar_codec="ipc_zstd",
        infer_ego_dynamics=True,
        infer_box_dynamics=True,
    )
    sync = SyncConfig("lidar.lidar_merged.timestamp_us", "forward")
    writer = ArrowLogWriter(config, out / "logs", out / "sensors", sync_config=sync)
    for part in parser.get_log_parsers():
        writer.reset(part.get_log_metadata())
        for modalities in part.iter_modalities_sync():
            writer.write_sync(modalities)
        writer.close()
    return tmp / "av2", out


@pytest.mark.slow
def test_a_log_that_py123d_converts_is_the_one_we_read(converted: tuple[Path, Path]) -> None:
    ours = open_recording(converted[0], LOG, format="argoverse2")
    theirs = open_recording(converted[1], LOG, format="py123d")
    np.testing.assert_array_equal(theirs.timestamp_us, ours.timestamp_us)
    assert theirs.about["start_us"] == ours.about["start_us"]
    # 123D has the rear axle 0.30 m above the ground, our reader AXLE_HEIGHT
    lower = se3(np.eye(3), np.array([0.0, 0.0, AXLE_HEIGHT - 0.30]))
    np.testing.assert_allclose(theirs.world_from_ego, ours.world_from_ego @ lower, atol=1e-9)
    a, b = theirs.agents, ours.agents
    assert a is not None and b is not None and theirs.lidar_points is not None
    column = {source: k for k, source in enumerate(theirs.source_id.tolist())}
    order = [column[source] for source in ours.source_id.tolist()]
    np.testing.assert_array_equal(a.valid[:, order], b.valid)
    assert theirs.category[order].tolist() == ours.category.tolist()
    for name in ("x", "y", "z", "heading", "length", "width", "height", "vx", "vy", "kind"):
        there = b.valid
        mine, other = getattr(a, name)[:, order][there], getattr(b, name)[there]
        np.testing.assert_allclose(mine, other, atol=1e-9, err_msg=name)
    np.testing.assert_array_equal(
        theirs.lidar_points[:, order][b.valid], np.asarray(ours.lidar_points)[b.valid]
    )


@pytest.mark.slow
def test_sensors_and_map_of_a_converted_log(converted: tuple[Path, Path]) -> None:
    ours = open_recording(converted[0], LOG, format="argoverse2")
    theirs = open_recording(converted[1], LOG, format="py123d")
    other = {camera.name: camera for camera in ours.rig.cameras}
    assert {camera.name for camera in theirs.rig.cameras} == set(other)
    shift = np.array([0.0, 0.0, AXLE_HEIGHT - 0.30])
    for camera in theirs.rig.cameras:
        assert camera.camera == other[camera.name].camera
        apart = other[camera.name].ego_from_camera - camera.ego_from_camera
        np.testing.assert_allclose(apart[:3, 3], shift, atol=1e-9)
    picture = theirs.frames_of("ring_front_center")[0]
    assert abs(float(pickle.loads(pickle.dumps(picture.read))().rgb.mean()) - 90.0) < 1.0
    frame = next(f for f in theirs.frames_of("lidar_merged") if f.timestamp_us == 11_599_479)
    sweep = frame.read()
    parts = [f for f in ours.frames if f.kind == "lidar" and f.timestamp_us == frame.timestamp_us]
    expected = np.concatenate([f.read().points for f in parts])
    assert sweep.points.shape == expected.shape == (99229, 4)
    for axis in range(4):
        found = np.sort(sweep.points[:, axis]) + (shift[2] if axis == 2 else 0.0)
        np.testing.assert_allclose(found, np.sort(expected[:, axis]), atol=1e-5)
    mine, theirs_map = ours.road_map, theirs.road_map
    assert mine is not None and theirs_map is not None
    assert sorted(mine.lane_id.tolist()) == sorted(theirs_map.lane_id.tolist())
    assert len(mine.successor) == len(theirs_map.successor)
