"""DGP scenes read as recordings: frames, boxes on points and pictures, times, bad files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from roadloop.datasets import dgp
from roadloop.datasets.formats import open_recording
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3, transform_points
from roadloop.logs.recording import Recording
from roadloop.rig import CAMERA_AXES
from roadloop.types import AgentKind

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "dgp_test_scene"

VEHICLE_FROM_LIDAR = se3(rotation_from_euler(0.0, 0.02, 0.3), np.array([1.2, 0.0, 1.9]))
VEHICLE_FROM_CAMERA = se3(CAMERA_AXES, np.array([1.6, 0.2, 1.4]))
POINTS = np.array([[10.0, 0.0, -1.0, 0.5], [4.0, 3.0, 0.5, 1.0], [-8.0, 1.0, 0.0, 0.0]])


def as_json(pose: np.ndarray) -> dict[str, dict[str, float]]:
    x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
    return {
        "rotation": {"qw": w, "qx": x, "qy": y, "qz": z},
        "translation": dict(zip("xyz", pose[:3, 3].tolist())),
    }


def ego_pose(k: int) -> np.ndarray:
    return se3(rotation_from_euler(0.0, 0.0, 0.5), np.array([100.0 + 2.0 * k, 50.0, 3.0]))


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def box(category: int, instance: int, place: tuple[float, float, float]) -> dict[str, Any]:
    pose = se3(rotation_from_euler(0.0, 0.0, 0.2), np.array(place))
    size = {"length": 4.0, "width": 2.0, "height": 1.6}
    return {
        "class_id": category,
        "instance_id": instance,
        "num_points": 7,
        "box": {"pose": as_json(pose), "occlusion": 0, "truncation": 0.0, **size},
    }


def datum(key: str, name: str, when: str, pose: np.ndarray, **part: Any) -> dict[str, Any]:
    content = next(iter(part.values()))
    content |= {"pose": as_json(pose)}
    return {"key": key, "id": {"name": name, "timestamp": when}, "datum": part}


def build(folder: Path, year: int = 2020, step: float = 0.1) -> Path:
    """Two samples of a LiDAR and a camera, which looks 20 ms later."""
    import cv2

    data, samples = [], []
    for k in range(2):
        at = ego_pose(k)
        lidar, image = f"point_cloud/LIDAR/{k}.npz", f"rgb/CAMERA_01/{k}.jpg"
        (folder / lidar).parent.mkdir(parents=True, exist_ok=True)
        np.savez(folder / lidar, data=POINTS * [1, 1, 1, 255.0])
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / image), np.full((30, 40, 3), 80, np.uint8))
        labels = f"bounding_box_3d/LIDAR/{k}.json"
        write(folder / labels, {"annotations": [box(2, 77, (10.0 - k, 0.0, -1.0))]})
        late = np.datetime64(f"{year}-01-01T00:00:00", "us")
        late = late + round(1e6 * step * k)
        exposed = late + round(0.2e6 * step)
        cloud = {"filename": lidar, "annotations": {"1": labels}, "point_format": list(dgp.AXES)}
        picture = {"filename": image, "annotations": {}, "width": 40, "height": 30}
        data.append(datum(f"l{k}", "LIDAR", f"{late}Z", at @ VEHICLE_FROM_LIDAR, point_cloud=cloud))
        data.append(
            datum(f"c{k}", "CAMERA_01", f"{exposed}Z", at @ VEHICLE_FROM_CAMERA, image=picture)
        )
        samples.append({"datum_keys": [f"l{k}", f"c{k}"], "calibration_key": "cal"})
    lens = {"fx": 50.0, "fy": 51.0, "cx": 19.0, "cy": 14.0, "skew": 0.0}
    nothing = dict.fromkeys(lens, 0.0)
    calibration = {
        "names": ["LIDAR", "CAMERA_01"],
        "extrinsics": [as_json(VEHICLE_FROM_LIDAR), as_json(VEHICLE_FROM_CAMERA)],
        "intrinsics": [nothing, lens],
    }
    write(folder / "calibration" / "cal.json", calibration)
    write(folder / "ontology" / "ont.json", {"items": [{"id": 2, "name": "Car"}]})
    scene = {"data": data, "samples": samples, "ontologies": {"1": "ont"}, "log": "L"}
    write(folder / "scene_abc.json", scene)
    return folder


def changed(folder: Path, file: str, edit: Any) -> None:
    content = json.loads((folder / file).read_text())
    edit(content)
    write(folder / file, content)


def test_a_scene(tmp_path: Path) -> None:
    folder = build(tmp_path / "data" / "scene_09")
    assert dgp.drives(tmp_path / "data") == ["scene_09"] == dgp.drives(folder)
    recording = open_recording(tmp_path / "data", format="dgp")
    assert len(recording) == 2 and recording.dt == 0.1
    assert recording.timestamp_us.tolist() == [0, 100_000]
    np.testing.assert_allclose(recording.world_from_ego[1], ego_pose(1), atol=1e-9)
    frames = [(f.sensor, f.timestamp_us, f.step) for f in recording.frames]
    assert frames == [
        ("LIDAR", -20_000, 0),
        ("CAMERA_01", 0, 0),
        ("LIDAR", 80_000, 1),
        ("CAMERA_01", 100_000, 1),
    ]
    sweep = pickle.loads(pickle.dumps(recording.frames_of("LIDAR")[0].read))()
    expected = transform_points(VEHICLE_FROM_LIDAR, POINTS[:, :3])
    np.testing.assert_allclose(sweep.points[:, :3], expected, atol=1e-5)
    np.testing.assert_allclose(sweep.points[:, 3], POINTS[:, 3], atol=1e-6)
    image = recording[0].cameras["CAMERA_01"]
    assert image.rgb.shape == (30, 40, 3)
    np.testing.assert_allclose(image.ego_from_camera, VEHICLE_FROM_CAMERA, atol=1e-9)


def test_boxes_are_in_the_frame_of_their_sensor(tmp_path: Path) -> None:
    recording = open_recording(build(tmp_path / "scene_09"), format="dgp")
    agents, pose = recording.agents, recording.world_from_agent
    assert agents is not None and pose is not None and recording.lidar_points is not None
    assert agents.valid.tolist() == [[True], [True]] and agents.kind[0, 0] == AgentKind.CAR
    assert recording.source_id.tolist() == ["77"] and recording.lidar_points.tolist() == [[7], [7]]
    for k in range(2):
        turn = rotation_from_euler(0.0, 0.0, 0.2)
        middle = se3(turn, np.array([10.0 - k, 0.0, -1.0]))
        expected = ego_pose(k) @ VEHICLE_FROM_LIDAR @ middle
        found = pose[k, 0] @ se3(np.eye(3), np.array([0.0, 0.0, 0.8]))
        np.testing.assert_allclose(found, expected, atol=1e-9)
    assert agents.heading[0, 0] == pytest.approx(0.5 + 0.3 + 0.2, abs=0.01)


def test_times_counted_in_tenths_of_a_microsecond(tmp_path: Path) -> None:
    """Such scenes lie in the 25th century; a tenth of their times is what was recorded."""
    recording = open_recording(build(tmp_path / "scene_09", year=2463, step=1.0), format="dgp")
    assert recording.timestamp_us.tolist() == [0, 100_000]
    assert 1.5e15 < recording.about["start_us"] < 1.6e15
    assert any("divided by 10" in note for note in recording.notes)


@pytest.mark.parametrize(
    ("file", "edit", "message"),
    [
        (
            "scene_abc.json",
            lambda c: c["samples"][1]["datum_keys"].append("gone"),
            "sample 1: datum gone is not in the scene",
        ),
        ("scene_abc.json", lambda c: c["data"][2].pop("id"), "'id'"),
        (
            "scene_abc.json",
            lambda c: c["data"][2]["id"].update(timestamp="noon"),
            "datum l1: 'noon' is no time",
        ),
        (
            "scene_abc.json",
            lambda c: c["data"][2]["datum"]["point_cloud"]["pose"]["rotation"].update(qw=3.0),
            "datum l1: its rotation is no unit quaternion",
        ),
        ("calibration/cal.json", lambda c: c["names"].append("X"), "is no DGP calibration"),
        ("calibration/cal.json", lambda c: c["intrinsics"][1].update(skew=0.1), "has skew"),
        (
            "ontology/ont.json",
            lambda c: c["items"][0].update(name="Tank"),
            'box 0: unknown class "Tank"',
        ),
        (
            "bounding_box_3d/LIDAR/1.json",
            lambda c: c["annotations"][0]["box"].pop("width"),
            "box 0 is incomplete",
        ),
    ],
)
def test_what_is_damaged_is_named(tmp_path: Path, file: str, edit: Any, message: str) -> None:
    folder = build(tmp_path / "scene_09")
    changed(folder, file, edit)
    with pytest.raises(RoadloopError, match=message) as error:
        open_recording(folder, format="dgp")
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_sensor_files(tmp_path: Path) -> None:
    folder = build(tmp_path / "scene_09")
    (folder / "rgb" / "CAMERA_01" / "1.jpg").unlink()
    recording = open_recording(folder, format="dgp")
    assert len(recording.frames) == 3
    assert any("1 pictures or sweeps are not there" in note for note in recording.notes)
    sweep = folder / "point_cloud" / "LIDAR" / "0.npz"
    sweep.write_bytes(sweep.read_bytes()[:100])
    with pytest.raises(RoadloopError, match="is truncated or no DGP point cloud") as error:
        recording.frames_of("LIDAR")[0].read()
    assert str(sweep) in str(error.value)
    np.savez(sweep, data=np.array([{}], object))
    with pytest.raises(RoadloopError, match="is truncated or no DGP point cloud"):
        recording.frames_of("LIDAR")[0].read()


# --- the real scenes ------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["scene_01", "scene_02"])
def real(request: pytest.FixtureRequest) -> Recording:
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is not here")
    return open_recording(DATA, request.param, format="dgp")


def test_the_real_times_are_those_of_a_drive(real: Recording) -> None:
    np.testing.assert_allclose(np.diff(real.timestamp_us), 100_000, atol=2_000)
    assert real.ego.speed.max() < 15.0
    if real.name == "scene_02":
        assert real.ego.speed.min() > 12.0


def test_real_boxes_hold_the_points_they_are_said_to(real: Recording) -> None:
    """The sweeps are thinned: where a label counts many points a fifth of them is there."""
    agents, pose, counted = real.agents, real.world_from_agent, real.lidar_points
    assert agents is not None and pose is not None and counted is not None
    found, said = [], []
    for k, frame in enumerate(real.frames_of("LIDAR")):
        points = transform_points(frame.world_from_ego, frame.read().points[:, :3].astype(float))
        for a in np.flatnonzero(agents.valid[k]):
            local = transform_points(inverse(pose[k, a]), points)
            half = np.array([agents.length[k, a], agents.width[k, a]]) / 2.0
            inside = (np.abs(local[:, :2]) <= half).all(1)
            inside &= (local[:, 2] >= 0.0) & (local[:, 2] <= agents.height[k, a])
            found.append(int(inside.sum()))
            said.append(int(counted[k, a]))
    many = np.array(said) > 300
    share = np.array(found)[many] / np.array(said)[many]
    assert many.sum() >= 6 and share.min() > 0.08 and share.max() < 0.3
    assert all(n == 0 for n, s in zip(found, said) if s == 0)
    at_least_20 = np.array(said) >= 20
    assert (np.array(found)[at_least_20] >= 1).mean() > 0.95


def test_real_boxes_lie_on_their_2d_labels(real: Recording) -> None:
    """2D labels are of the LiDAR's times and named alike: boxes in pictures overlap with them."""
    agents, pose = real.agents, real.world_from_agent
    assert agents is not None and pose is not None
    scene = json.loads(next((DATA / real.name).glob("scene_*.json")).read_text())
    shape = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (0, 2)]) / 2.0
    column = {source: a for a, source in enumerate(real.source_id.tolist())}
    found = []
    for camera in real.rig.cameras:
        texts = [d for d in scene["data"] if d["id"]["name"] == camera.name]
        for k, (frame, text) in enumerate(zip(real.frames_of(camera.name), texts)):
            labels = json.loads(
                (DATA / real.name / text["datum"]["image"]["annotations"]["0"]).read_text()
            )
            camera_from_world = inverse(frame.world_from_ego @ camera.ego_from_camera)
            for label in labels["annotations"]:
                a = column[str(label["instance_id"])]
                size = [f[k, a] for f in (agents.length, agents.width, agents.height)]
                corners = transform_points(camera_from_world @ pose[k, a], shape * size)
                uv, seen = camera.camera.project(corners)
                if not seen.all():
                    continue
                b = label["box"]
                low, high = np.array([b["x"], b["y"]]), np.array([b["x"] + b["w"], b["y"] + b["h"]])
                both = np.prod(
                    np.maximum(np.minimum(high, uv.max(0)) - np.maximum(low, uv.min(0)), 0.0)
                )
                union = np.prod(high - low) + np.prod(np.ptp(uv, axis=0)) - both
                found.append(both / union)
    assert len(found) >= 20 and np.median(found) > 0.85
