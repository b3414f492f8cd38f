"""KITTI read as recordings: the devkit's formulas, labels on points and pictures, bad files."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from roadloop.datasets.formats import list_drives, open_recording
from roadloop.datasets.kitti import object as kitti_object
from roadloop.datasets.kitti import odometry as kitti_odometry
from roadloop.datasets.kitti import raw as kitti_raw
from roadloop.datasets.kitti import tracking as kitti_tracking
from roadloop.datasets.kitti.files import (
    EARTH_RADIUS,
    EGO_FROM_VELODYNE,
    FRAME_PERIOD,
    mercator_poses,
    read_calibration,
    read_rows,
)
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3, transform_points
from roadloop.logs.recording import Recording
from roadloop.types import AgentKind

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "kitti"
FOCAL, CX, CY = 700.0, 300.0, 90.0
WIDTH, HEIGHT = 600, 180

# camera axes from velodyne axes: x right, y down, z forward
CAMERA_FROM_VELODYNE = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])


def real(part: str) -> Path:
    if not (DATA / part).is_dir():
        pytest.skip(f"{DATA / part} is not here")
    return DATA / part


def row(name: str, values: np.ndarray, colon: bool = True) -> str:
    return f"{name}{':' if colon else ''} " + " ".join(f"{v:.17e}" for v in np.ravel(values))


def projection(offset: float) -> np.ndarray:
    p = np.array([[FOCAL, 0, CX, FOCAL * offset], [0, FOCAL, CY, 0.2], [0, 0, 1, 0.003]])
    return p.astype(float)


RECT = rotation_from_euler(0.01, -0.008, 0.009)
TO_CAMERA = np.column_stack(
    [rotation_from_euler(0.0, 0.006, 0.004) @ CAMERA_FROM_VELODYNE, [0.01, -0.06, -0.27]]
)
TO_VELODYNE = np.column_stack([rotation_from_euler(-0.0148, 0.002, 0.0008), [-0.81, 0.32, -0.8]])
POINTS = np.array([[10.0, 0.5, -1.5, 0.25], [25.0, -4.0, 0.3, 0.75], [8.0, 1.0, -0.2, 1.0]])


def calibration_text(colon: bool, names: tuple[str, str, str]) -> str:
    lines = [row(f"P{k}", projection(-0.5 * k)) for k in range(4)]
    for name, value in zip(names, (RECT, TO_CAMERA, TO_VELODYNE)):
        lines.append(row(name, value, colon))
    return "\n".join(lines) + "\n\n"


def write_picture(path: Path, value: int = 90) -> None:
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((HEIGHT, WIDTH, 3), value, np.uint8))


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_sweep(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    POINTS.astype("<f4").tofile(path)


def label(category: str, turn: float, place: tuple[float, float, float]) -> str:
    x, y, z = place
    return f"{category} 0.00 0 0.1 100.0 80.0 200.0 120.0 1.5 1.7 4.2 {x} {y} {z} {turn}"


@pytest.fixture
def object_root(tmp_path: Path) -> Path:
    base = tmp_path / "object" / "training"
    names = ("R0_rect", "Tr_velo_to_cam", "Tr_imu_to_velo")
    write_text(base / "calib" / "000007.txt", calibration_text(True, names))
    write_picture(base / "image_2" / "000007.png")
    write_sweep(base / "velodyne_reduced" / "000007.bin")
    rows = [
        label("Car", -np.pi / 2, (1.0, 1.65, 20.0)),
        "DontCare -1 -1 -10 1.0 2.0 3.0 4.0 -1 -1 -1 -1000 -1000 -1000 -10",
        label("Person_sitting", 0.0, (-3.0, 1.6, 9.0)),
    ]
    write_text(base / "label_2" / "000007.txt", "\n".join(rows) + "\n")
    return tmp_path / "object"


def oxts_packet(east: float, north: float, yaw: float, speed: float) -> str:
    """About latitude 49, longitude 8."""
    scale = np.cos(np.radians(49.0))
    longitude = 8.0 + np.degrees(east / (scale * EARTH_RADIUS))
    start = EARTH_RADIUS * np.log(np.tan(np.pi / 4.0 + np.radians(49.0) / 2.0))
    mercator = start + north / scale
    latitude = np.degrees(2.0 * np.arctan(np.exp(mercator / EARTH_RADIUS)) - np.pi / 2.0)
    values = [latitude, longitude, 110.0, 0.0, 0.0, yaw, 0.0, 0.0, speed, *([0.0] * 21)]
    return " ".join(f"{v:.15g}" for v in values)


# --- calibration ----------------------------------------------------------------------------------


def devkit_pixels(rows: dict[str, np.ndarray], number: int, points: np.ndarray) -> np.ndarray:
    """u, v of velodyne points: P * R_rect * Tr_velo_to_cam."""
    rect = next(rows[k] for k in ("R0_rect", "R_rect") if k in rows).reshape(3, 3)
    names = ("Tr_velo_to_cam", "Tr_velo_cam")
    to_cam = next(rows[k] for k in names if k in rows).reshape(3, 4)
    ones = np.ones((len(points), 1))
    cam = np.hstack([points, ones]) @ to_cam.T @ rect.T
    uvw = np.hstack([cam, ones]) @ rows[f"P{number}"].reshape(3, 4).T
    return uvw[:, :2] / uvw[:, 2:]


def our_pixels(path: Path, number: int, points: np.ndarray) -> np.ndarray:
    sensor = read_calibration(path).camera(number, 1242, 375)
    ego = transform_points(EGO_FROM_VELODYNE, points)
    uv, _ = sensor.camera.project(transform_points(inverse(sensor.ego_from_camera), ego))
    return uv


@pytest.mark.parametrize("colon", [True, False])
@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_the_projection_is_the_devkits(tmp_path: Path, colon: bool, number: int) -> None:
    names = ("R_rect", "Tr_velo_cam", "Tr_imu_velo")
    write_text(tmp_path / "c.txt", calibration_text(colon, names))
    points = np.random.default_rng(3).uniform([5, -8, -2], [60, 8, 2], (200, 3))
    expected = devkit_pixels(read_rows(tmp_path / "c.txt"), number, points)
    assert np.abs(our_pixels(tmp_path / "c.txt", number, points) - expected).max() < 1e-9


def test_the_projection_is_the_devkits_for_every_real_calibration() -> None:
    """The texts have 7 digits, so their rotations are orthonormal to 1e-7 only."""
    texts = sorted(real("object").glob("training/calib/*.txt"))
    texts += sorted(real("tracking").glob("training/calib/*.txt"))
    points = np.random.default_rng(4).uniform([5, -8, -2], [60, 8, 2], (300, 3))
    assert len(texts) == 11
    for text in texts:
        for number in (0, 1, 2, 3):
            expected = devkit_pixels(read_rows(text), number, points)
            assert np.abs(our_pixels(text, number, points) - expected).max() < 1e-4


def test_lines_without_names_are_projections(tmp_path: Path) -> None:
    lines = [" ".join(map(str, projection(-0.5 * k).ravel())) for k in range(2)]
    write_text(tmp_path / "calib.txt", "\n".join(lines))
    calibration = read_calibration(tmp_path / "calib.txt")
    assert sorted(calibration.projection) == [0, 1]
    baseline = calibration.camera(0, 9, 9).mount.y - calibration.camera(1, 9, 9).mount.y
    assert baseline == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("R0_rect: ", "R0_rect: x "), "line 5: R0_rect is not numbers"),
        (("R0_rect: ", "R0_rect: 7 "), "R0_rect has 10 numbers, expected 9"),
        (("Tr_velo_to_cam: ", "Tr_velo_to_cam: nan "), "Tr_velo_to_cam has 13 numbers"),
    ],
)
def test_a_damaged_calibration_is_said(
    object_root: Path, change: tuple[str, str], message: str
) -> None:
    path = object_root / "training" / "calib" / "000007.txt"
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(RoadloopError, match=message) as error:
        kitti_object.open_drive(object_root, "training_000007")
    assert str(path) in str(error.value)


def test_a_calibration_without_its_turns_is_said(object_root: Path) -> None:
    path = object_root / "training" / "calib" / "000007.txt"
    path.write_text(path.read_text().replace("R0_rect", "R_of_old"))
    with pytest.raises(RoadloopError, match="has no R0_rect"):
        kitti_object.open_drive(object_root, "training_000007")


def test_a_singular_calibration_is_said(object_root: Path) -> None:
    path = object_root / "training" / "calib" / "000007.txt"
    text = path.read_text().replace(row("R0_rect", RECT), row("R0_rect", np.zeros((3, 3))))
    path.write_text(text)
    with pytest.raises(RoadloopError, match="a rotation is none"):
        kitti_object.open_drive(object_root, "training_000007")


# --- object ---------------------------------------------------------------------------------------


def test_an_object_frame(object_root: Path) -> None:
    assert kitti_object.drives(object_root) == ["training_000007"]
    assert kitti_object.drives(object_root / "training") == ["training_000007"]
    recording = open_recording(object_root, format="kitti-object")
    assert len(recording) == 1 and not recording.continuous
    assert [s.name for s in recording.rig.sensors] == ["cam2", "velodyne"]
    assert any("velodyne_reduced" in note for note in recording.notes)
    assert any("1 areas" in note for note in recording.notes)
    agents = recording.agents
    assert agents is not None
    assert recording.category.tolist() == ["Car", "Person_sitting"]
    assert agents.kind[0].tolist() == [AgentKind.CAR, AgentKind.PEDESTRIAN]
    assert agents.id[0].tolist() == [1, 2] and recording.source_id.tolist() == ["1", "3"]

    observation = recording[0]
    assert observation.cameras["cam2"].rgb.shape == (HEIGHT, WIDTH, 3)
    sweep = observation.lidars["velodyne"]
    expected = transform_points(EGO_FROM_VELODYNE, POINTS[:, :3])
    np.testing.assert_allclose(sweep.points[:, :3], expected, atol=1e-5)
    np.testing.assert_array_equal(sweep.points[:, 3], POINTS[:, 3].astype(np.float32))


def test_a_box_stands_where_the_label_says(object_root: Path) -> None:
    """-pi/2 about the camera's y axis points away from it; the origin is the bottom's middle."""
    recording = kitti_object.open_drive(object_root, "training_000007")
    calibration = read_calibration(object_root / "training" / "calib" / "000007.txt")
    pose = recording.world_from_agent
    agents = recording.agents
    assert pose is not None and agents is not None
    cam0_from_agent = inverse(calibration.ego_from_cam0) @ pose[0, 0]
    np.testing.assert_allclose(cam0_from_agent[:3, 3], [1.0, 1.65, 20.0], atol=1e-12)
    np.testing.assert_allclose(cam0_from_agent[:3, 0], [0.0, 0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(cam0_from_agent[:3, 2], [0.0, -1.0, 0.0], atol=1e-12)
    assert abs(agents.heading[0, 0]) < 0.03
    assert (agents.length[0, 0], agents.width[0, 0], agents.height[0, 0]) == (4.2, 1.7, 1.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (label("Tank", 0.0, (0, 1, 9)), 'line 1: unknown type "Tank"'),
        ("Car 0.00 0 0.1 100.0 80.0", "line 1: 6 words, expected 15"),
        (label("Car", 0.0, (0, 1, 9)).replace("4.2", "x"), "line 1 is not numbers"),
        (label("Car", float("nan"), (0, 1, 9)), "line 1: the box has numbers that are not finite"),
    ],
)
def test_a_damaged_label_names_file_and_line(object_root: Path, text: str, message: str) -> None:
    path = object_root / "training" / "label_2" / "000007.txt"
    path.write_text(text)
    with pytest.raises(RoadloopError, match=message) as error:
        kitti_object.open_drive(object_root, "training_000007")
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_sensor_files_are_opened_when_they_are_read(object_root: Path) -> None:
    recording = kitti_object.open_drive(object_root, "training_000007")
    sweep = object_root / "training" / "velodyne_reduced" / "000007.bin"
    frame = recording.frames_of("velodyne")[0]
    again = pickle.loads(pickle.dumps(frame.read))
    assert again().points.shape == (3, 4)
    sweep.write_bytes(sweep.read_bytes()[:-3])
    with pytest.raises(RoadloopError, match="record 2 is incomplete"):
        frame.read()
    sweep.unlink()
    with pytest.raises(RoadloopError, match="is missing"):
        frame.read()


def test_testing_frames_have_no_labels(object_root: Path) -> None:
    (object_root / "training").rename(object_root / "testing")
    (object_root / "testing" / "label_2" / "000007.txt").unlink()
    recording = kitti_object.open_drive(object_root, "testing_000007")
    assert recording.agents is None and recording.tracks(0) is None


def points_in_boxes(recording: Recording, step: int) -> np.ndarray:
    frame = next(f for f in recording.frames_of("velodyne") if f.step == step)
    points = transform_points(frame.world_from_ego, frame.read().points[:, :3].astype(float))
    agents, pose = recording.agents, recording.world_from_agent
    assert agents is not None and pose is not None
    counts = []
    for a in np.flatnonzero(agents.valid[step]):
        local = transform_points(inverse(pose[step, a]), points)
        half = np.array([agents.length[step, a], agents.width[step, a]]) / 2.0
        inside = (np.abs(local[:, :2]) <= half).all(1)
        counts.append((inside & (local[:, 2] >= 0) & (local[:, 2] <= agents.height[step, a])).sum())
    return np.array(counts)


def overlap(recording: Recording, step: int, labels: list[list[str]]) -> np.ndarray:
    """IoU of each projected box with the label's 2D box, of those that are whole in the picture."""
    frame = next(f for f in recording.frames_of("cam2") if f.step == step)
    image = frame.read()
    agents, pose = recording.agents, recording.world_from_agent
    assert agents is not None and pose is not None
    shape = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (0, 2)]) / 2.0
    found = []
    camera_from_world = inverse(frame.world_from_ego @ image.ego_from_camera)
    for a, words in zip(np.flatnonzero(agents.valid[step]), labels):
        if float(words[1]) > 0.0:
            continue
        size = [f[step, a] for f in (agents.length, agents.width, agents.height)]
        corners = transform_points(camera_from_world @ pose[step, a], shape * size)
        uv, _ = image.camera.project(corners)
        limit = (image.camera.width - 1, image.camera.height - 1)
        low, high = np.clip(uv.min(0), 0, limit), np.clip(uv.max(0), 0, limit)
        box = np.array(words[4:8], float)
        both = np.minimum(high, box[2:]) - np.maximum(low, box[:2])
        area = np.prod(np.maximum(both, 0.0))
        union = np.prod(high - low) + np.prod(box[2:] - box[:2]) - area
        found.append(area / union)
    return np.array(found)


def test_real_object_boxes_hold_points_and_match_the_2d_labels() -> None:
    root = real("object")
    names = kitti_object.drives(root)
    assert len(names) == 10
    overlaps, counts = [], []
    for name in names:
        recording = kitti_object.open_drive(root, name)
        text = root / "training" / "label_2" / f"{name[-6:]}.txt"
        rows = [line.split() for line in text.read_text().splitlines()]
        overlaps += overlap(recording, 0, [r for r in rows if r[0] != "DontCare"]).tolist()
        counts += points_in_boxes(recording, 0).tolist()
    assert len(counts) == 27 and min(counts) >= 1
    assert np.median(overlaps) > 0.95 and min(overlaps) > 0.75


def test_real_reduced_sweeps_are_taken_where_the_full_one_is_not_there() -> None:
    root = real("object")
    full = kitti_object.open_drive(root, "training_000001")
    cut = kitti_object.open_drive(root, "training_000008")
    assert len(full[0].lidars["velodyne"].points) > 110_000
    assert len(cut[0].lidars["velodyne"].points) < 25_000
    assert any("velodyne_reduced" in n for n in cut.notes) and not any(
        "velodyne_reduced" in n for n in full.notes
    )


# --- tracking -------------------------------------------------------------------------------------


@pytest.fixture
def tracking_root(tmp_path: Path) -> Path:
    base = tmp_path / "tracking" / "training"
    names = ("R_rect", "Tr_velo_cam", "Tr_imu_velo")
    write_text(base / "calib" / "0003.txt", calibration_text(False, names))
    drives = [oxts_packet(0.0, k * 1.036, np.pi / 2, 10.0) for k in range(4)]
    write_text(base / "oxts" / "0003.txt", "\n".join(drives) + "\n")
    rows = [
        f"{k} 5 " + label("Van", -np.pi / 2, (0.0, 1.65, 20.0 - 1.036 * k)) for k in range(1, 4)
    ]
    rows.append("2 -1 DontCare -1 -1 -10 1.0 2.0 3.0 4.0 -1 -1 -1 -1000 -1000 -1000 -10 -1")
    write_text(base / "label_02" / "0003.txt", "\n".join(rows))
    write_picture(base / "image_02" / "0003" / "000002.png")
    return tmp_path / "tracking"


def test_a_tracking_sequence_drives_north_past_a_parked_van(tracking_root: Path) -> None:
    assert kitti_tracking.drives(tracking_root) == ["training_0003"]
    recording = open_recording(tracking_root, format="kitti-tracking")
    agents = recording.agents
    assert agents is not None and len(recording) == 4 and recording.continuous
    heading = recording.ego.heading
    assert np.abs(heading - np.pi / 2).max() < 0.02  # the velodyne is turned against the IMU
    np.testing.assert_allclose(np.diff(recording.ego.y), 1.036, atol=1e-4)
    np.testing.assert_allclose(recording.ego.speed, 10.0)
    assert recording.dt == FRAME_PERIOD
    assert agents.valid[:, 0].tolist() == [False, True, True, True]
    assert np.abs(agents.vx[1:, 0]).max() < 0.2 and np.abs(agents.vy[1:, 0]).max() < 0.2
    assert recording.source_id.tolist() == ["5"] and recording.category.tolist() == ["Van"]
    assert [(f.sensor, f.step) for f in recording.frames] == [("cam2", 2)]
    assert any("image_02: 3 of 4 frames are not there" in n for n in recording.notes)
    assert recording.about["origin_latitude"] == pytest.approx(49.0)


def test_a_tracking_sequence_without_poses_stands_for_single_frames(tracking_root: Path) -> None:
    (tracking_root / "training" / "oxts" / "0003.txt").unlink()
    recording = kitti_tracking.open_drive(tracking_root, "training_0003")
    assert not recording.continuous and len(recording) == 4
    np.testing.assert_array_equal(recording.world_from_ego, np.repeat(np.eye(4)[None], 4, 0))


def test_damaged_tracking_files_are_said(tracking_root: Path) -> None:
    labels = tracking_root / "training" / "label_02" / "0003.txt"
    good = labels.read_text()
    labels.write_text(good + "\n" + good.splitlines()[0])
    with pytest.raises(RoadloopError, match=r"line 5: 5 has two boxes at this step, also in .*1"):
        kitti_tracking.open_drive(tracking_root, "training_0003")
    labels.write_text(good.replace("3 5 Van", "9 5 Van"))
    with pytest.raises(RoadloopError, match="frame 9 is beyond the 4"):
        kitti_tracking.open_drive(tracking_root, "training_0003")
    labels.write_text(good)
    oxts = tracking_root / "training" / "oxts" / "0003.txt"
    oxts.write_text(oxts.read_text()[:-40])
    with pytest.raises(RoadloopError, match="line 4: the OXTS packet has"):
        kitti_tracking.open_drive(tracking_root, "training_0003")


def test_roll_and_pitch_have_the_devkits_sense() -> None:
    """Positive roll lifts the left side, positive pitch lowers the front (dataformat.txt)."""
    packet = np.zeros((1, 30))
    packet[0, 3:6] = 0.1, 0.05, 0.3
    pose, _ = mercator_poses(packet)
    assert pose[0, 2, 1] > 0.0 and pose[0, 2, 0] < 0.0
    assert np.arctan2(pose[0, 1, 0], pose[0, 0, 0]) == pytest.approx(0.3)


def test_the_real_tracking_sequence() -> None:
    """Path and OXTS speed agree, parked cars stand, boxes hold points, the road lies at z = 0."""
    recording = open_recording(real("tracking"), format="kitti-tracking")
    ego, agents, pose = recording.ego, recording.agents, recording.world_from_agent
    assert agents is not None and pose is not None
    assert len(recording) == 447 and agents.valid.sum() == 3030 and agents.valid.shape[1] == 98
    seconds = recording.timestamp_us * 1e-6
    path = np.hypot(np.diff(ego.x), np.diff(ego.y)).sum()
    assert path == pytest.approx(np.trapezoid(ego.speed, seconds), rel=5e-3)
    course = np.arctan2(np.gradient(ego.y), np.gradient(ego.x))
    turn = np.angle(np.exp(1j * (course - ego.heading)))[ego.speed > 5.0]
    assert abs(np.median(turn)) < np.radians(0.7)
    speeds = [np.median(agents.speed[agents.valid[:, a], a]) for a in range(98)]
    assert np.mean(np.array(speeds) < 1.0) > 0.85
    for step in (0, 1):
        assert points_in_boxes(recording, step).min() >= 1
    bottoms = []
    for k in range(len(recording)):
        near = inverse(recording.world_from_ego[k]) @ pose[k, agents.valid[k]]
        bottoms += near[near[:, 0, 3] < 40.0, 2, 3].tolist()
    assert abs(np.median(bottoms)) < 0.15


# --- raw ------------------------------------------------------------------------------------------

TRACKLETS = """<?xml version="1.0" encoding="UTF-8" standalone="yes" ?>
<boost_serialization signature="serialization::archive" version="9">
<tracklets class_id="0" version="0"><count>1</count><item_version>1</item_version>
<item class_id="1" version="1"><objectType>Car</objectType><h>1.5</h><w>1.7</w><l>4.2</l>
<first_frame>1</first_frame><poses class_id="2" version="0"><count>2</count>
<item_version>2</item_version>
<item class_id="3" version="2"><tx>20</tx><ty>2</ty><tz>-1.7</tz><rx>0</rx><ry>0</ry><rz>0.4</rz>
<state>2</state></item>
<item><tx>19</tx><ty>2</ty><tz>-1.7</tz><rx>0</rx><ry>0</ry><rz>0.4</rz></item>
</poses><finished>1</finished></item></tracklets></boost_serialization>
"""


@pytest.fixture
def raw_root(tmp_path: Path) -> Path:
    day = tmp_path / "raw" / "2011_09_26"
    drive = day / "2011_09_26_drive_0001_sync"
    lines = [
        "calib_time: 09-Jan-2012 13:57:47",
        "corner_dist: 9.950000e-02",
        row("R_rect_00", RECT),
    ]
    lines += [row(f"P_rect_0{k}", projection(-0.5 * k)) for k in range(4)]
    write_text(day / "calib_cam_to_cam.txt", "\n".join(lines))
    for name, pose in (("velo_to_cam", TO_CAMERA), ("imu_to_velo", TO_VELODYNE)):
        text = f"calib_time: x\n{row('R', pose[:, :3])}\n{row('T', pose[:, 3])}\n"
        write_text(day / f"calib_{name}.txt", text)
    for k in range(3):
        write_picture(drive / "image_02" / "data" / f"{k:010d}.png")
        packet = oxts_packet(10.0 * 0.1 * k, 0.0, 0.0, 10.0)
        write_text(drive / "oxts" / "data" / f"{k:010d}.txt", packet + "\n")
    write_sweep(drive / "velodyne_points" / "data" / "0000000001.bin")
    for sensor, late in (("image_02", 4), ("oxts", 0), ("velodyne_points", 10)):
        times = [f"2011-09-26 13:02:25.{100 * k + late:03d}000000" for k in range(3)]
        write_text(drive / sensor / "timestamps.txt", "\n".join(times) + "\n")
    write_text(drive / "tracklet_labels.xml", TRACKLETS)
    return tmp_path / "raw"


def test_a_raw_drive(raw_root: Path) -> None:
    name = "2011_09_26_drive_0001_sync"
    day = raw_root / "2011_09_26"
    assert [kitti_raw.drives(p) for p in (raw_root, day, day / name)] == [[name]] * 3
    recording = open_recording(raw_root, format="kitti-raw")
    start = int(np.datetime64("2011-09-26T13:02:25.010", "us").astype(np.int64))
    assert recording.about["start_us"] == start
    assert recording.timestamp_us.tolist() == [0, 100_000, 200_000]
    frames = [(f.sensor, f.timestamp_us, f.step) for f in recording.frames]
    assert frames == [
        ("cam2", -6_000, 0),
        ("cam2", 94_000, 1),
        ("velodyne", 100_000, 1),
        ("cam2", 194_000, 2),
    ]
    # the pose is that of the step's time: 10 m/s since the packet 10 ms before
    np.testing.assert_allclose(recording.ego.x[1] - recording.ego.x[0], 1.0, atol=1e-4)
    shift = recording.world_from_ego[1] - recording.frames[1].world_from_ego
    np.testing.assert_allclose(shift[:3, 3], [0.06, 0.0, 0.0], atol=1e-4)
    agents, pose = recording.agents, recording.world_from_agent
    assert agents is not None and pose is not None
    assert agents.valid[:, 0].tolist() == [False, True, True]
    velodyne_from_agent = inverse(recording.world_from_ego[1] @ EGO_FROM_VELODYNE) @ pose[1, 0]
    expected = se3(rotation_from_euler(0.0, 0.0, 0.4), np.array([20.0, 2.0, -1.7]))
    np.testing.assert_allclose(velodyne_from_agent, expected, atol=1e-9)
    assert np.hypot(agents.vx[1, 0], agents.vy[1, 0]) < 0.3


def test_damaged_raw_drives_are_said(raw_root: Path) -> None:
    day = raw_root / "2011_09_26"
    drive = day / "2011_09_26_drive_0001_sync"
    times = drive / "oxts" / "timestamps.txt"
    good = times.read_text()
    times.write_text(good[:50])
    with pytest.raises(RoadloopError, match=r"timestamps\.txt has 2 times for 3 frames"):
        open_recording(raw_root, format="kitti-raw")
    times.write_text(good)
    labels = drive / "tracklet_labels.xml"
    labels.write_text(TRACKLETS.replace("<tz>-1.7</tz>", "", 1))
    with pytest.raises(RoadloopError, match="tracklet 0, pose 0: tz is None"):
        open_recording(raw_root, format="kitti-raw")
    labels.write_text(TRACKLETS[:-30])
    with pytest.raises(RoadloopError, match="truncated or no XML"):
        open_recording(raw_root, format="kitti-raw")
    labels.unlink()
    (drive / "oxts" / "data" / "0000000001.txt").unlink()
    with pytest.raises(RoadloopError, match="no packet 1 of 3"):
        open_recording(raw_root, format="kitti-raw")
    (day / "calib_cam_to_cam.txt").unlink()
    with pytest.raises(RoadloopError, match=r"no calib_cam_to_cam\.txt"):
        open_recording(raw_root, format="kitti-raw")


def test_the_real_raw_day_is_three_single_frames() -> None:
    recording = open_recording(real("raw"), format="kitti-raw")
    assert len(recording) == 3 and not recording.continuous and len(recording.frames) == 6
    observation = recording[2]
    assert observation.cameras["cam2"].rgb.shape == (375, 1242, 3)
    assert observation.lidars["velodyne"].points.shape == (114048, 4)


# --- odometry -------------------------------------------------------------------------------------


@pytest.fixture
def odometry_root(tmp_path: Path) -> Path:
    base = tmp_path / "odometry" / "dataset"
    lines = [row(f"P{k}", projection(-0.5 * k)) for k in range(4)] + [row("Tr", TO_CAMERA)]
    write_text(base / "sequences" / "02" / "calib.txt", "\n".join(lines))
    write_text(base / "sequences" / "02" / "times.txt", "\n".join(f"{0.1 * k:e}" for k in range(5)))
    poses = [np.column_stack([np.eye(3), [0.0, 0.0, 1.2 * k]]) for k in range(5)]
    text = "\n".join(" ".join(f"{v:.12e}" for v in p.ravel()) for p in poses)
    write_text(base / "poses" / "02.txt", text)
    write_text(base / "poses" / "05.txt", text)
    write_picture(base / "sequences" / "02" / "image_0" / "000003.png")
    write_sweep(base / "sequences" / "02" / "velodyne" / "000001.bin")
    return tmp_path / "odometry"


def test_an_odometry_sequence_drives_ahead(odometry_root: Path) -> None:
    assert kitti_odometry.drives(odometry_root) == ["02", "05"]
    recording = kitti_odometry.open_drive(odometry_root, "02")
    np.testing.assert_allclose(recording.world_from_ego[0], np.eye(4), atol=1e-12)
    step = np.diff(recording.world_from_ego[:, :3, 3], axis=0)
    np.testing.assert_allclose(np.linalg.norm(step, axis=1), 1.2)
    assert (step[:, 0] > 1.199).all()  # cam0 looks ahead to a few mrad
    np.testing.assert_allclose(recording.ego.speed, 12.0, rtol=1e-3)
    assert recording.timestamp_us.tolist() == [0, 100_000, 200_000, 300_000, 400_000]
    assert [(f.sensor, f.step) for f in recording.frames] == [("velodyne", 1), ("cam0", 3)]
    bare = kitti_odometry.open_drive(odometry_root, "05")
    assert not bare.rig.sensors and bare.continuous and len(bare) == 5
    np.testing.assert_allclose(bare.ego.x, 1.2 * np.arange(5), atol=1e-9)


def test_damaged_odometry_files_are_said(odometry_root: Path) -> None:
    poses = odometry_root / "dataset" / "poses" / "02.txt"
    good = poses.read_text()
    poses.write_text(good[:-30])
    with pytest.raises(RoadloopError, match="line 5: the pose has 11 numbers"):
        kitti_odometry.open_drive(odometry_root, "02")
    poses.write_text(good.replace("1.000000000000e+00", "0.5", 1))
    with pytest.raises(RoadloopError, match="line 1: a rotation is none"):
        kitti_odometry.open_drive(odometry_root, "02")
    poses.write_text(good)
    (odometry_root / "dataset" / "sequences" / "02" / "times.txt").write_text("0.0\n0.1\n")
    with pytest.raises(RoadloopError, match="2 times for 5 poses"):
        kitti_odometry.open_drive(odometry_root, "02")


def test_real_odometry_poses_are_those_of_a_car() -> None:
    root = real("odometry")
    assert kitti_odometry.drives(root) == ["03", "04", "07", "10", "sequence_sample"]
    for name in kitti_odometry.drives(root):
        recording = kitti_odometry.open_drive(root, name)
        assert 5.0 < recording.ego.speed.max() < 20.0
        assert recording.ego.speed.min() > -0.3
        # a car's rear axle does not move sideways
        velocity = np.gradient(
            recording.world_from_ego[:, :3, 3], recording.timestamp_us * 1e-6, axis=0
        )
        sideways = (velocity * recording.world_from_ego[:, :3, 1]).sum(-1)
        assert np.abs(np.median(sideways)) < 0.15
    sample = kitti_odometry.open_drive(root, "sequence_sample")
    assert len(sample) == 51 and len(sample.frames) == 15
    assert sample[0].cameras["cam0"].rgb.shape == (376, 1241, 3)


# --- apart from each other ------------------------------------------------------------------------


def test_each_layout_is_of_one_format(
    object_root: Path, tracking_root: Path, raw_root: Path, odometry_root: Path
) -> None:
    readers = (kitti_object, kitti_tracking, kitti_raw, kitti_odometry)
    roots = (object_root, tracking_root, raw_root, odometry_root)
    found = [[bool(reader.drives(root)) for root in roots] for reader in readers]
    np.testing.assert_array_equal(found, np.eye(4, dtype=bool))
    with pytest.raises(RoadloopError, match="holds no drive of KITTI raw"):
        list_drives(object_root, "kitti-raw")
