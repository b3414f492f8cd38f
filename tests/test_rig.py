"""Sensor rigs: the files that come with roadloop, geometry of mounts, errors of a calibration."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest

from roadloop.config import dump_config, load_config
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler
from roadloop.rig import (
    KINDS,
    CalibrationError,
    CameraEffects,
    CameraSensor,
    GnssSensor,
    ImuSensor,
    LidarSensor,
    Mount,
    OdometrySensor,
    RadarSensor,
    SensorRig,
    load_rig,
    resized,
    rig_names,
    select,
    with_calibration_error,
)

MOUNT = Mount(1.0, 0.0, 1.5)


def camera(name: str = "front", **fields) -> CameraSensor:
    lens = {"width": 64, "height": 32, "fx": 50.0, "fy": 50.0, "cx": 31.5, "cy": 15.5}
    return CameraSensor(**({"name": name, "mount": MOUNT} | lens | fields))


def lidar(**fields) -> LidarSensor:
    return LidarSensor(**({"name": "top", "mount": MOUNT, "beams": (-10.0, 0.0, 10.0)} | fields))


def pixel(rig_camera: CameraSensor, point: tuple[float, float, float]) -> tuple[np.ndarray, bool]:
    """Where a point of the ego frame is seen."""
    camera_from_ego = inverse(rig_camera.ego_from_camera)
    uv, seen = rig_camera.camera.project((camera_from_ego @ [*point, 1.0])[:3])
    return uv, bool(seen)


# --- the files ----------------------------------------------------------------------------------


def test_every_rig_loads_says_where_it_is_from_and_survives_being_written(tmp_path):
    assert {"compact-3cam", "nuscenes", "carla-transfuser", "openpilot"} <= set(rig_names())
    for name in rig_names():
        rig = load_rig(name)
        assert rig.name == name and rig.description
        path = tmp_path / f"{name}.yaml"
        path.write_text(dump_config(rig))
        assert load_rig(path) == rig
        for sensor in rig.cameras:
            # the middle of the picture looks where the mount points, and the lens covers the edge
            forward = (
                sensor.ego_from_camera[:3, :3]
                @ sensor.camera.unproject(np.array([sensor.camera.cx, sensor.camera.cy]))[0]
            )
            np.testing.assert_allclose(forward, sensor.mount.ego_from_sensor[:3, 0], atol=1e-9)
            middle_rows = np.array([[0.0, sensor.cy], [sensor.width - 1.0, sensor.cy]])
            assert sensor.camera.unproject(middle_rows)[1].all()


def test_fields_of_view_are_those_the_sources_state():
    def width(sensor: CameraSensor) -> float:
        edges = np.array([[-0.5, sensor.cy], [sensor.width - 0.5, sensor.cy]])
        (left, right), _ = sensor.camera.unproject(edges)
        angles = np.arctan2([left[0], right[0]], [left[2], right[2]])
        return float(np.degrees(angles[1] - angles[0]))

    assert width(load_rig("carla-transfuser").cameras[0]) == pytest.approx(110.0, abs=0.01)
    assert width(load_rig("compact-3cam").cameras[0]) == pytest.approx(90.0, abs=0.01)
    narrow, wide = load_rig("openpilot").cameras
    assert width(narrow) == pytest.approx(40.0, abs=0.1)
    assert width(wide) == pytest.approx(119.1, abs=0.1)
    for fisheye in load_rig("surround-fisheye").cameras:
        assert width(fisheye) == pytest.approx(190.0, abs=1.0)
    nuscenes = {c.name: c for c in load_rig("nuscenes").cameras}
    assert width(nuscenes["cam-front"]) == pytest.approx(64.5, abs=0.5)
    assert width(nuscenes["cam-back"]) == pytest.approx(89.5, abs=0.5)


def test_the_six_cameras_of_nuscenes_see_all_around():
    rig = load_rig("nuscenes")
    for angle in np.radians(np.arange(0.0, 360.0, 2.0)):
        far = (60.0 * np.cos(angle), 60.0 * np.sin(angle), 1.0)
        assert any(pixel(c, far)[1] for c in rig.cameras), np.degrees(angle)


def test_training_pictures_of_nuscenes_are_the_full_ones_resized_and_cropped():
    full, small = load_rig("nuscenes"), load_rig("nuscenes-704x256")
    for a, b in zip(full.cameras, small.cameras):
        lens = a.camera.scaled(704, 396).cropped(0, 140, 704, 256)
        assert (b.width, b.height, b.mount) == (704, 256, a.mount)
        np.testing.assert_allclose(b.camera.matrix, lens.matrix, atol=0.01)


def test_fisheye_is_woodscapes_polynomial():
    lens = load_rig("surround-fisheye").cameras[0].camera
    for a in np.radians([5.0, 20.0, 50.0, 80.0, 94.0]):
        radius = 0.25 * (339.749 * a - 31.988 * a**2 + 48.275 * a**3 - 7.201 * a**4)
        uv, _ = lens.project(np.array([np.sin(a), 0.0, np.cos(a)]))
        assert uv[0] - lens.cx == pytest.approx(radius, abs=0.12)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nuscene", 'unknown rig "nuscene"; did you mean "nuscenes"?'),
        ("nowhere.yaml", "nowhere.yaml: No such file"),
    ],
)
def test_unknown_rigs(name, message):
    with pytest.raises(RoadloopError, match=re.escape(message)):
        load_rig(name)


def test_a_mistake_in_a_file_is_told_with_its_line(tmp_path):
    path = tmp_path / "rig.yaml"
    path.write_text(
        "name: mine\ncameras:\n  - name: front\n    mount: {x: 1, y: 0, z: -0.2}\n"
        "    width: 64\n    height: 32\n    fx: 50\n    fy: 50\n    cx: 31.5\n    cy: 15.5\n"
    )
    with pytest.raises(RoadloopError) as caught:
        load_rig(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:4: cameras[0].mount: z is -0.2") and "\n" not in message
    path.write_text(path.read_text().replace("-0.2", "1.2").replace("fx: 50", "fx: 0"))
    with pytest.raises(RoadloopError, match=r'rig.yaml:3: cameras\[0\]: camera "front": fx is 0.0'):
        load_rig(path)


# --- what is refused ----------------------------------------------------------------------------

BAD = {
    "two of one name": lambda: SensorRig("r", cameras=(camera("a"),), lidars=(lidar(name="a"),)),
    "reserved name": lambda: SensorRig("r", cameras=(camera("tracks"),)),
    "name with a space": lambda: camera("front left"),
    "no name": lambda: camera(""),
    "rig name": lambda: SensorRig("my rig"),
    "no width": lambda: camera(width=0),
    "half a pixel": lambda: camera(width=64.5),
    "negative focal length": lambda: camera(fy=-1.0),
    "centre nowhere": lambda: camera(cx=math.nan),
    "lens model": lambda: camera(model="fish-eye"),
    "coefficients of a pinhole": lambda: camera(distortion=(0.1,)),
    "three coefficients": lambda: camera(model="brown-conrady", distortion=(0.1, 0.1, 0.0)),
    "five of a fisheye": lambda: camera(model="fisheye", distortion=(0.0,) * 5),
    "coefficient": lambda: camera(model="fisheye", distortion=(0.0, 0.0, 0.0, math.inf)),
    "product": lambda: camera(products=("rgb", "depht")),
    "no product": lambda: camera(products=()),
    "detail": lambda: camera(detail="fine"),
    "antialias": lambda: camera(antialias=0),
    "rate zero": lambda: camera(rate=0.0),
    "rate NaN": lambda: lidar(rate=math.nan),
    "latency": lambda: camera(latency=-0.1),
    "vignetting": lambda: CameraEffects(vignetting=1.5),
    "a beam twice": lambda: lidar(beams=(0.0, 1.0, 0.0)),
    "beam above the zenith": lambda: lidar(beams=(0.0, 10.0), beam_unit="rad"),
    "NaN beam": lambda: lidar(beams=(math.nan,)),
    "beam unit": lambda: lidar(beam_unit="grad"),
    "offsets": lambda: lidar(beam_azimuth=(0.0, 1.0)),
    "fov order": lambda: lidar(fov=(60.0, -60.0)),
    "fov too wide": lambda: lidar(fov=(-200.0, 200.0)),
    "ranges": lambda: lidar(min_range=10.0, max_range=5.0),
    "columns": lambda: lidar(columns=0),
    "dropout": lambda: lidar(dropout=1.1),
    "radar fov": lambda: RadarSensor("r", MOUNT, fov=7.0),
    "radar ghosts": lambda: RadarSensor("r", MOUNT, ghosts=2.0),
    "radar targets": lambda: RadarSensor("r", MOUNT, max_targets=0),
    "IMU noise": lambda: ImuSensor("i", MOUNT, gyroscope_noise=-1.0),
    "GNSS drift time": lambda: GnssSensor("g", MOUNT, drift_time=0.0),
    "odometry": lambda: OdometrySensor("o", rate=-5.0),
    "below ground": lambda: Mount(0.0, 0.0, -0.1),
    "mount": lambda: Mount(0.0, math.nan, 1.0),
    "calibration": lambda: CalibrationError(rotation=-0.1),
    "factor": lambda: resized(load_rig("compact-3cam"), 0.0),
    "sensor of a rig": lambda: select(load_rig("compact-3cam"), ("frnt",)),
}


@pytest.mark.parametrize("what", BAD)
def test_mistakes_are_one_line(what):
    with pytest.raises(RoadloopError) as caught:
        BAD[what]()
    assert "\n" not in str(caught.value)


def test_what_is_allowed():
    for count in (4, 5, 8):
        lens = camera(model="brown-conrady", distortion=(-0.1, *(0.0,) * (count - 1))).camera
        assert lens.k1 == -0.1  # type: ignore[attr-defined]
    lidar(beams=(10.0, -10.0, 0.0))  # any order: rings follow it
    lidar(beams=(0.0, 0.0), beam_azimuth=(0.0, 1.0))  # two lasers beside each other
    lidar(fov=(0.0, 360.0))
    assert select(load_rig("compact-3cam"), ("imu", "front")).cameras[0].name == "front"


# --- geometry -----------------------------------------------------------------------------------


def test_a_mount_turns_left_down_and_to_the_right_side():
    left = Mount(0.0, 0.0, 0.0, yaw=math.pi / 2).ego_from_sensor[:3, :3]
    np.testing.assert_allclose(left[:, 0], [0.0, 1.0, 0.0], atol=1e-12)
    down = Mount(0.0, 0.0, 0.0, pitch=0.1).ego_from_sensor[:3, :3]
    assert down[2, 0] == pytest.approx(-math.sin(0.1))
    rolled = Mount(0.0, 0.0, 0.0, roll=0.1).ego_from_sensor[:3, :3]
    assert (-rolled[:, 1])[2] < 0.0  # the axis to the right points down


def test_a_camera_sees_left_on_the_left_and_up_above():
    c = camera()
    (u, v), seen = pixel(c, (11.0, 2.0, 2.5))
    assert seen
    assert (u, v) == pytest.approx((31.5 - 50.0 * 0.2, 15.5 - 50.0 * 0.1))


def test_resized_cameras_see_the_same():
    rig = load_rig("surround-fisheye")
    half = resized(rig, 0.5)
    for a, b in zip(rig.cameras, half.cameras):
        assert (b.width, b.height) == (160, 121)
        point = a.ego_from_camera @ [0.3, 0.2, 1.0, 1.0]
        (u, v), _ = pixel(a, tuple(point[:3]))
        (u2, v2), _ = pixel(b, tuple(point[:3]))
        assert (u2 + 0.5) / b.width == pytest.approx((u + 0.5) / a.width)
        assert (v2 + 0.5) / b.height == pytest.approx((v + 0.5) / a.height)
    assert half.lidars == rig.lidars


# --- calibration errors -------------------------------------------------------------------------


def test_without_calibration_error_the_true_rig_is_the_calibration():
    rig = load_rig("nuscenes")
    assert with_calibration_error(rig, 3) == rig


def test_calibration_errors_have_the_sizes_asked_for():
    size = CalibrationError(position=0.05, rotation=0.01, focal=0.02)
    mount = Mount(1.0, 0.5, 2.0, yaw=2.0, pitch=-0.4, roll=0.3)
    cameras = tuple(camera(f"c{i}", mount=mount) for i in range(400))
    rig = SensorRig("many", cameras=cameras, calibration_error=size)
    true = with_calibration_error(rig, 5)
    assert with_calibration_error(rig, 5) == true
    assert with_calibration_error(rig, 6) != true
    place = np.array([[c.mount.x, c.mount.y, c.mount.z] for c in true.cameras])
    np.testing.assert_allclose(place.std(0), size.position, rtol=0.15)
    np.testing.assert_allclose(place.mean(0), [1.0, 0.5, 2.0], atol=0.01)
    sensor_from_true = [
        mount.ego_from_sensor[:3, :3].T @ c.mount.ego_from_sensor[:3, :3] for c in true.cameras
    ]
    angles = np.array([[m[2, 1], m[0, 2], m[1, 0]] for m in sensor_from_true])  # small angles
    np.testing.assert_allclose(angles.std(0), size.rotation, rtol=0.15)
    gain = np.array([c.fx / 50.0 for c in true.cameras])
    assert np.log(gain).std() == pytest.approx(size.focal, rel=0.15)
    assert all(c.fx == c.fy and c.width == 64 for c in true.cameras)


def test_a_sensor_looking_straight_down_can_be_off_too():
    straight_down = camera(mount=Mount(1.0, 0.0, 1.5, yaw=0.7, pitch=math.pi / 2))
    rig = SensorRig("down", cameras=(straight_down,))
    for rotation in (1e-12, 0.02):
        size = CalibrationError(rotation=rotation)
        true = with_calibration_error(dataclasses.replace(rig, calibration_error=size), 1)
        turned = true.cameras[0].mount.ego_from_sensor[:3, :3]
        was = straight_down.mount.ego_from_sensor[:3, :3]
        angle = np.arccos(np.clip((np.trace(was.T @ turned) - 1.0) / 2.0, -1.0, 1.0))
        assert angle < 5.0 * rotation + 1e-6


def test_a_sensors_error_does_not_depend_on_the_others():
    size = CalibrationError(position=0.1, rotation=0.1, focal=0.1)
    rig = dataclasses.replace(load_rig("nuscenes"), calibration_error=size)
    true = {s.name: s for s in with_calibration_error(rig, 9).sensors}
    alone = with_calibration_error(select(rig, ("cam-back", "gnss", "odometry")), 9)
    for sensor in alone.sensors:
        assert sensor == true[sensor.name]
    for kind in KINDS:
        for a, b in zip(getattr(rig, kind), getattr(with_calibration_error(rig, 9), kind)):
            assert (a == b) == (kind == "odometry")


def test_errors_never_put_a_sensor_below_ground():
    low = tuple(ImuSensor(f"imu{i}", Mount(0.0, 0.0, 0.0)) for i in range(20))
    rig = SensorRig("low", imus=low, calibration_error=CalibrationError(position=0.1))
    heights = [s.mount.z for s in with_calibration_error(rig, 0).imus]
    assert min(heights) == 0.0 < max(heights)


def test_rotation_of_a_mount_round_trips_through_a_file(tmp_path):
    size = CalibrationError(position=0.02, rotation=0.3)
    rig = dataclasses.replace(load_rig("compact-3cam"), calibration_error=size)
    true = with_calibration_error(rig, 2)
    path = tmp_path / "true.yaml"
    path.write_text(dump_config(true))
    again = load_config(SensorRig, path)
    for a, b in zip(true.cameras, again.cameras):
        expected = rotation_from_euler(a.mount.roll, a.mount.pitch, a.mount.yaw)
        np.testing.assert_allclose(b.mount.ego_from_sensor[:3, :3], expected, atol=1e-12)
