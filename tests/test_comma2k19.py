"""comma2k19 read as recordings: earth frames, the camera's turn, CAN, radar, a video's pictures."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from roadloop.datasets import comma2k19
from roadloop.datasets.comma2k19 import CAMERA_HEIGHT, CARS, enu_from_ecef, geodetic
from roadloop.datasets.formats import open_recording
from roadloop.datasets.raw_video import video_frame
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, transform_points
from roadloop.logs.recording import Recording

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "comma2k19"
ROUTE = "b0c9d2329ad1606b|2018-08-02--08-34-47"
NAME = "b0c9d2329ad1606b_2018-08-02--08-34-47_40"
LATITUDE, LONGITUDE, ALTITUDE = np.radians(37.7), np.radians(-122.4), 30.0
SPEED, STEPS = 12.0, 60


def ecef(latitude: float, longitude: float, height: float) -> np.ndarray:
    e2 = (2.0 - 1.0 / 298.257223563) / 298.257223563
    normal = 6378137.0 / np.sqrt(1.0 - e2 * np.sin(latitude) ** 2)
    flat = (normal + height) * np.cos(latitude)
    z = (normal * (1.0 - e2) + height) * np.sin(latitude)
    return np.array([flat * np.cos(longitude), flat * np.sin(longitude), z])


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:  # numpy would add .npy to a name
        np.save(file, values)


YAW, PITCH = np.radians(2.0), np.radians(3.0)  # of the camera in the car: left, down


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A minute of three seconds, straight to the north-east, with the camera turned in the car."""
    folder = tmp_path / "Chunk_1" / ROUTE / "40"
    times = 1000.0 + 0.05 * np.arange(STEPS)
    enu = enu_from_ecef(LATITUDE, LONGITUDE)
    heading = np.pi / 4
    travel = SPEED * np.array([np.cos(heading), np.sin(heading), 0.0])
    place = ecef(LATITUDE, LONGITUDE, ALTITUDE) + (times - times[0])[:, None] * travel @ enu
    world_from_camera = rotation_from_euler(0.0, 0.0, heading) @ rotation_from_euler(
        0.0, PITCH, YAW
    )
    ecef_from_device = enu.T @ world_from_camera @ np.diag([1.0, -1.0, -1.0])
    turn = Rotation.from_matrix(ecef_from_device).as_quat()[[3, 0, 1, 2]]
    pose = folder / "global_pose"
    save(pose / "frame_times", times)
    save(pose / "frame_positions", place)
    save(pose / "frame_velocities", np.tile(travel @ enu, (STEPS, 1)))
    save(pose / "frame_orientations", np.tile(turn, (STEPS, 1)))
    save(pose / "frame_gps_times", np.stack([np.full(STEPS, 2012.0), times + 4e5], axis=-1))
    can = folder / "processed_log" / "CAN"
    save(can / "steering_angle" / "t", times + 0.01)
    save(can / "steering_angle" / "value", np.full(STEPS, 16.88))
    nan = np.nan
    rows = [[50.0, 2.0, -3.0, nan, nan, 528.0, 1.0], [40.0, -8.0, 0.0, nan, nan, 529.0, 0.0]]
    azimuth = np.arctan2(-8.0, 40.0)
    rows[1][2] = -SPEED * np.cos(azimuth)  # stands
    save(can / "speed" / "t", times)
    save(can / "speed" / "value", np.full((STEPS, 1), SPEED))
    save(can / "radar" / "t", np.array([1000.02, 1000.0201, 1000.07, 1000.0701]))
    save(can / "radar" / "value", np.array([*rows, *rows]))
    return tmp_path


def test_geodetic_inverts_the_ellipsoid() -> None:
    for latitude in (-1.2, 0.0, 0.7, 1.4):
        for height in (-80.0, 0.0, 3000.0):
            found = geodetic(ecef(latitude, 2.5, height))
            np.testing.assert_allclose(found[:2], [latitude, 2.5], atol=1e-12)
            assert found[2] == pytest.approx(height, abs=1e-5)


def test_east_north_up_are_directions_on_the_ground() -> None:
    enu = enu_from_ecef(LATITUDE, LONGITUDE)
    here = ecef(LATITUDE, LONGITUDE, ALTITUDE)
    steps = [(0.0, 1e-7, 0.0), (1e-7, 0.0, 0.0), (0.0, 0.0, 1.0)]
    for axis, (dlat, dlon, dh) in enumerate(steps):
        d = enu @ (ecef(LATITUDE + dlat, LONGITUDE + dlon, ALTITUDE + dh) - here)
        np.testing.assert_allclose(d / np.linalg.norm(d), np.eye(3)[axis], atol=1e-6)


def test_every_folder_of_the_layout_is_understood(root: Path) -> None:
    folders = [root, root / "Chunk_1", root / "Chunk_1" / ROUTE, root / "Chunk_1" / ROUTE / "40"]
    for folder in folders:
        assert comma2k19.drives(folder) == [NAME]
    renamed = root / "Chunk_1" / ROUTE.replace("|", "_")  # as on file systems without |
    (root / "Chunk_1" / ROUTE).rename(renamed)
    assert comma2k19.drives(root) == [NAME]


def test_a_straight_drive_with_a_turned_camera(root: Path) -> None:
    recording = open_recording(root, format="comma2k19")
    ego, pose = recording.ego, recording.world_from_ego
    assert recording.name == NAME and recording.agents is None and recording.continuous
    np.testing.assert_allclose(ego.heading, np.pi / 4, atol=1e-6)
    np.testing.assert_allclose(ego.speed, SPEED, atol=1e-6)
    np.testing.assert_allclose(np.hypot(np.diff(ego.x), np.diff(ego.y)), SPEED * 0.05, atol=1e-6)
    np.testing.assert_allclose(pose[:, 2, 3], -CAMERA_HEIGHT, atol=1e-5)
    np.testing.assert_allclose(pose[:, 2, 2], 1.0, atol=1e-9)
    np.testing.assert_allclose(ego.steering, np.radians(1.0), atol=1e-9)  # 16.88 deg / 16.88
    assert recording.timestamp_us[-1] == 50_000 * (STEPS - 1)
    assert recording.about["origin_latitude"] == pytest.approx(37.7)
    start = (315_964_800 + 2012 * 604_800 + 401_000 - 18) * 1_000_000
    assert recording.about["start_us"] == start
    assert "yaw 2.00 deg, pitch 3.00 deg" in recording.notes[0]


def test_radar_tracks_stand_still_over_ground(root: Path) -> None:
    recording = open_recording(root, format="comma2k19")
    frames = recording.frames_of("radar")
    assert [(f.timestamp_us, f.step) for f in frames] == [(20_100, 1), (70_100, 2)]
    scan = pickle.loads(pickle.dumps(frames[0].read))()
    vehicle = CARS["b0c9d2329ad1606b"].vehicle
    front = vehicle.length - vehicle.rear_overhang
    np.testing.assert_allclose(scan.x, [front + 50.0, front + 40.0])
    np.testing.assert_allclose(scan.y, [2.0, -8.0])
    np.testing.assert_allclose(scan.range, np.hypot([50.0, 40.0], [2.0, 8.0]))
    moving = SPEED * np.cos(np.arctan2(2.0, 50.0)) - 3.0
    np.testing.assert_allclose(scan.radial_speed, [moving, 0.0], atol=1e-4)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("global_pose/frame_positions", "is truncated or no .npy"),
        ("processed_log/CAN/steering_angle/value", "is truncated or no .npy"),
    ],
)
def test_a_truncated_array_is_named(root: Path, file: str, message: str) -> None:
    path = root / "Chunk_1" / ROUTE / "40" / file
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RoadloopError, match=message) as error:
        open_recording(root, format="comma2k19")
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_arrays_that_do_not_fit_are_said(root: Path) -> None:
    pose = root / "Chunk_1" / ROUTE / "40" / "global_pose"
    good = np.load(pose / "frame_orientations")
    save(pose / "frame_orientations", good[:-1])
    with pytest.raises(RoadloopError, match="has 59 rows, its times 60"):
        open_recording(root, format="comma2k19")
    bad = good.copy()
    bad[7] *= 2.0
    save(pose / "frame_orientations", bad)
    with pytest.raises(RoadloopError, match="row 7 is no unit quaternion"):
        open_recording(root, format="comma2k19")
    bad[7] = np.nan
    save(pose / "frame_orientations", bad)
    with pytest.raises(RoadloopError, match="row 7 is not finite"):
        open_recording(root, format="comma2k19")
    save(pose / "frame_orientations", np.array([{}, {}], object))
    with pytest.raises(RoadloopError, match=r"is truncated or no \.npy array"):
        open_recording(root, format="comma2k19")


def test_an_unknown_car_is_said(root: Path) -> None:
    route = root / "Chunk_1" / ROUTE
    route.rename(root / "Chunk_1" / ROUTE.replace("b0c9", "aaaa"))
    with pytest.raises(RoadloopError, match="is of no car of comma2k19"):
        open_recording(root, format="comma2k19")


# --- video ----------------------------------------------------------------------------------------


def write_video(path: Path, codec: str, frames: int, size: tuple[int, int], group: int) -> None:
    """Pictures whose grey is their number times 5, with a key picture every ``group``."""
    import av

    width, height = size
    with av.open(str(path), "w", format="hevc" if codec == "libx265" else "h264") as container:
        stream = container.add_stream(codec, rate=20)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = group
        if codec == "libx265":
            quiet = f"keyint={group}:min-keyint={group}:open-gop=0:bframes=0:log-level=none"
            stream.options = {"x265-params": f"{quiet}:pools=1", "preset": "ultrafast"}
        else:
            stream.options = {"preset": "ultrafast", "bf": "0"}
        for k in range(frames):
            grey = np.full((height, width, 3), 5 * k + 20, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_any_picture_of_a_video_is_found(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "video.hevc"
    try:
        write_video(path, codec, 23, (64, 48), 5)
    except (ValueError, OSError) as error:
        pytest.skip(f"this PyAV has no {codec}: {error}")
    for k in (0, 22, 4, 5, 13, 1, 20):
        rgb = video_frame(path, k, (48, 64))
        assert rgb.shape == (48, 64, 3)
        assert abs(float(rgb.mean()) - (5 * k + 20)) < 2.0
    with pytest.raises(RoadloopError, match="ends after 23 pictures, there is no 23"):
        video_frame(path, 23, (48, 64))
    with pytest.raises(RoadloopError, match="64 x 48 px, expected 99 x 48 px"):
        video_frame(path, 2, (48, 99))
    path.write_bytes(b"no video at all" * 20)
    with pytest.raises(RoadloopError, match=r"truncated or no video|no key picture"):
        video_frame(path, 0, (48, 64))


def test_pictures_of_the_video_are_frames(root: Path) -> None:
    folder = root / "Chunk_1" / ROUTE / "40"
    write_video(folder / "video.hevc", "libx264", 6, (comma2k19.WIDTH, comma2k19.HEIGHT), 3)
    recording = open_recording(root, format="comma2k19")
    frames = recording.frames_of("camera")
    assert len(frames) == STEPS and frames[4].step == 4
    image = pickle.loads(pickle.dumps(frames[4].read))()
    assert abs(float(image.rgb.mean()) - 40.0) < 2.0
    # what is straight ahead at the camera's height lies left and above of where the camera points
    ahead = transform_points(inverse(image.ego_from_camera), np.array([[1e6, 0.0, CAMERA_HEIGHT]]))
    uv, seen = image.camera.project(ahead)
    assert seen[0]
    expected = [comma2k19.FOCAL * np.tan(YAW) / np.cos(PITCH), -comma2k19.FOCAL * np.tan(PITCH)]
    centre = [image.camera.cx, image.camera.cy]
    np.testing.assert_allclose(uv[0] - centre, expected, rtol=5e-3)
    with pytest.raises(RoadloopError, match="ends after 6 pictures"):
        _ = frames[6].read().rgb


# --- the real minute ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> Recording:
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is not here")
    return open_recording(DATA, format="comma2k19")


def test_the_real_minute_heads_where_it_goes(real: Recording) -> None:
    seconds = real.timestamp_us * 1e-6
    velocity = np.gradient(real.world_from_ego[:, :3, 3], seconds, axis=0)
    course = np.arctan2(velocity[:, 1], velocity[:, 0])
    apart = np.angle(np.exp(1j * (real.ego.heading - course)))
    assert np.degrees(np.abs(apart)).mean() < 0.2
    assert np.abs(np.linalg.norm(velocity, axis=1) - real.ego.speed).mean() < 0.05
    assert real.world_from_ego[:, 2, 2].min() > 0.99
    assert len(real) == 1200 and len(real.frames_of("radar")) == 1200
    # a car does not climb more than a street does
    assert np.ptp(real.world_from_ego[:, 2, 3]) < 0.06 * np.abs(real.ego.speed).mean() * 60.0


def test_the_real_minute_agrees_with_its_wheels(real: Recording) -> None:
    can = next(DATA.glob("Example_1/*/40")) / "processed_log" / "CAN"
    start = np.load(can.parents[1] / "global_pose" / "frame_times")[0]
    seconds = real.timestamp_us * 1e-6
    speed = np.interp(
        seconds, np.load(can / "speed" / "t") - start, np.load(can / "speed" / "value")[:, 0]
    )
    assert np.median(real.ego.speed / speed) == pytest.approx(1.0, abs=0.015)
    smooth = np.convolve(real.ego.yaw_rate, np.ones(11) / 11, "same")
    wheel = real.ego.steering * real.ego.speed / real.ego.vehicle.wheelbase
    assert np.corrcoef(wheel[10:-10], smooth[10:-10])[0, 1] > 0.8  # steering left turns left


def test_the_real_radar_sees_the_ground_stand(real: Recording) -> None:
    """Range rates of standing targets are the ego's speed times the cosine of the azimuth."""
    speeds, angles = [], []
    for frame in real.frames_of("radar")[::10]:
        scan = frame.read()
        speeds += scan.radial_speed.tolist()
        angles += scan.azimuth.tolist()
    still = np.abs(speeds) < 1.0
    assert still.sum() > 50
    aside = still & (np.abs(angles) > 0.15)
    assert abs(np.mean(np.array(speeds)[still])) < 0.1
    assert aside.sum() > 10 and abs(np.mean(np.array(speeds)[aside])) < 0.2


def test_the_real_preview_is_the_first_picture(real: Recording) -> None:
    observation = real[100]
    assert observation.cameras["camera"].rgb.shape == (874, 1164, 3)
    assert observation.cameras["camera"].timestamp_us == 0
    assert abs(observation.radars["radar"].timestamp_us * 1e-6 - observation.time) < 0.06
