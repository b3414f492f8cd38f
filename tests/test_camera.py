"""Camera models against OpenCV, round trips, folds, and the virtual-camera warp."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadloop.camera import BrownConrady, Fisheye, Pinhole, warp_between
from roadloop.errors import RoadloopError
from roadloop.geometry import rotation_from_euler

FRAME = {"width": 1280, "height": 720, "fx": 900.0, "fy": 910.0, "cx": 640.0, "cy": 350.0}
PINHOLE = Pinhole(**FRAME)
BROWN = BrownConrady(**FRAME, k1=-0.31, k2=0.12, p1=1e-3, p2=-7e-4, k3=-0.02)
RATIONAL = BrownConrady(
    **FRAME, k1=0.6, k2=0.1, p1=-2e-4, p2=3e-4, k3=0.004, k4=0.95, k5=0.24, k6=0.02
)
FISHEYE = Fisheye(1280, 960, 330.0, 331.0, 639.0, 481.0, k1=0.08, k2=-0.03, k3=0.01, k4=-0.002)
CAMERAS = [PINHOLE, BROWN, RATIONAL, FISHEYE]
cameras = pytest.mark.parametrize(
    "camera", CAMERAS, ids=["pinhole", "brown", "rational", "fisheye"]
)


def points(camera: Pinhole, count: int = 500) -> np.ndarray:
    """Points of many depths within the camera's image."""
    rng = np.random.default_rng(4)
    uv = rng.uniform((0.0, 0.0), (camera.width - 1.0, camera.height - 1.0), (count, 2))
    rays, seen = camera.unproject(uv)
    return rays[seen] * rng.uniform(1.0, 80.0, (int(seen.sum()), 1))


@pytest.mark.parametrize("camera", [BROWN, RATIONAL], ids=["brown", "rational"])
def test_brown_conrady_agrees_with_opencv(camera):
    xyz = points(camera)
    names = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
    coefficients = np.array([getattr(camera, name) for name in names])
    expected, _ = cv2.projectPoints(xyz, np.zeros(3), np.zeros(3), camera.matrix, coefficients)
    uv, seen = camera.project(xyz)
    assert seen.all()
    np.testing.assert_allclose(uv, expected[:, 0], atol=1e-6)


def test_fisheye_agrees_with_opencv():
    xyz = points(FISHEYE)
    xyz = xyz[xyz[:, 2] > 0.05]
    coefficients = np.array([FISHEYE.k1, FISHEYE.k2, FISHEYE.k3, FISHEYE.k4])
    expected, _ = cv2.fisheye.projectPoints(
        xyz[:, None], np.zeros((3, 1)), np.zeros((3, 1)), FISHEYE.matrix, coefficients
    )
    uv, seen = FISHEYE.project(xyz)
    assert seen.all()
    np.testing.assert_allclose(uv, expected[:, 0], atol=1e-6)


@cameras
@settings(max_examples=50, deadline=None)
@given(u=st.floats(0.0, 1279.0), v=st.floats(0.0, 719.0))
def test_pixel_to_ray_to_pixel(camera, u, v):
    rays, sees = camera.unproject(np.array([u, v]))
    assert np.linalg.norm(rays) == pytest.approx(1.0)
    if sees:
        uv, seen = camera.project(7.0 * rays)
        assert seen
        np.testing.assert_allclose(uv, [u, v], atol=1e-6)


@cameras
def test_batches_keep_their_axes(camera):
    xyz = points(camera, 24)[:12].reshape(3, 4, 3)
    uv, seen = camera.project(xyz)
    assert uv.shape == (3, 4, 2) and seen.shape == (3, 4)
    rays, _ = camera.unproject(uv)
    np.testing.assert_allclose(rays, xyz / np.linalg.norm(xyz, axis=-1, keepdims=True), atol=1e-9)


@cameras
def test_axis_behind_and_outside(camera):
    xyz = np.array([[0.0, 0.0, 5.0], [0.1, 0.1, -5.0], [0.0, 900.0, 1.0], [0.0, 0.0, 0.0]])
    uv, seen = camera.project(xyz)
    np.testing.assert_allclose(uv[0], [camera.cx, camera.cy])
    assert seen[0] and not seen[1] and not seen[2]
    assert np.isfinite(uv).all()


def test_points_beyond_the_fold_of_a_polynomial_are_not_seen():
    barrel = BrownConrady(**FRAME, k1=-0.35)
    assert barrel.limit == pytest.approx((1.0 / (3.0 * 0.35)) ** 0.5)
    # the polynomial alone would put this point into the middle of the image
    x = (1.0 / 0.35) ** 0.5 - 0.1
    assert not barrel.project(np.array([x, 0.0, 1.0]))[1]
    # and no ray leads to a radius that the lens never reaches
    reach = barrel.limit * (1.0 - 0.35 * barrel.limit**2)
    far = np.array([barrel.cx + barrel.fx * (reach + 0.01), barrel.cy])
    assert not barrel.unproject(far)[1]
    assert barrel.unproject(far - (0.02 * barrel.fx, 0.0))[1]


def test_fisheye_sees_behind_the_lens_plane():
    wide = Fisheye(2000, 2000, 300.0, 300.0, 1000.0, 1000.0)
    sideways = np.array([np.sin(1.9), 0.0, np.cos(1.9)])
    uv, seen = wide.project(sideways)
    assert seen and uv[0] == pytest.approx(1000.0 + 300.0 * 1.9)
    np.testing.assert_allclose(wide.unproject(uv)[0], sideways, atol=1e-12)


@cameras
def test_resizing_and_cropping_move_pixels_with_the_picture(camera):
    xyz = points(camera, 50)
    uv, _ = camera.project(xyz)
    half, _ = camera.scaled(camera.width // 2, camera.height // 2).project(xyz)
    np.testing.assert_allclose(half, (uv + 0.5) / 2.0 - 0.5, atol=1e-9)
    part = camera.cropped(100, 60, 400, 300)
    moved, seen = part.project(xyz)
    np.testing.assert_allclose(moved, uv - (100.0, 60.0), atol=1e-9)
    assert 0 < seen.sum() < len(xyz)


def test_scaling_agrees_with_resizing_an_image():
    image = np.zeros((720, 1280), np.uint8)
    target = Pinhole(**FRAME)
    uv, _ = target.project(np.array([0.2, 0.1, 1.0]))
    cv2.circle(image, tuple(np.round(uv).astype(int).tolist()), 12, 255, -1)
    small = cv2.resize(image, (640, 360), interpolation=cv2.INTER_AREA)
    v, u = np.nonzero(small > 128)
    expected, _ = target.scaled(640, 360).project(np.array([0.2, 0.1, 1.0]))
    np.testing.assert_allclose([u.mean(), v.mean()], expected, atol=0.4)


def test_warp_tables_agree_with_opencv():
    virtual = Pinhole(640, 360, 420.0, 420.0, 320.0, 170.0)
    virtual_from_source = rotation_from_euler(0.01, 0.05, -0.02)
    warp = warp_between(BROWN, virtual, virtual_from_source.T)
    coefficients = np.array([BROWN.k1, BROWN.k2, BROWN.p1, BROWN.p2, BROWN.k3])
    u, v = cv2.initUndistortRectifyMap(
        BROWN.matrix, coefficients, virtual_from_source, virtual.matrix, (640, 360), cv2.CV_32FC1
    )
    assert warp.seen.mean() > 0.9
    np.testing.assert_allclose(warp.u[warp.seen], u[warp.seen], atol=1e-3)
    np.testing.assert_allclose(warp.v[warp.seen], v[warp.seen], atol=1e-3)


def test_warp_turns_straight_edges_straight_and_leaves_black_what_is_not_seen():
    # the source shows a world half white, half black, divided by a plane through the camera
    v, u = np.indices((FISHEYE.height, FISHEYE.width), dtype=np.float64)
    rays, sees = FISHEYE.unproject(np.stack([u, v], axis=-1))
    normal = np.array([0.6, 0.8, 0.2])
    image = np.where(sees & (rays @ normal > 0.0), 255, 0).astype(np.uint8)
    virtual = Pinhole(400, 300, 220.0, 220.0, 199.5, 149.5)
    turn = rotation_from_euler(0.1, -0.1, 0.05)
    warped = warp_between(FISHEYE, virtual, turn)(np.repeat(image[..., None], 3, axis=2))
    assert warped.shape == (300, 400, 3)
    v, u = np.indices((300, 400), dtype=np.float64)
    virtual_rays, _ = virtual.unproject(np.stack([u, v], axis=-1))
    side = virtual_rays @ (turn.T @ normal)
    clear = np.abs(side) > 0.02
    np.testing.assert_array_equal(warped[clear][:, 0] > 128, side[clear] > 0.0)
    behind = warp_between(BROWN, virtual, rotation_from_euler(0.0, np.pi, 0.0))
    assert not behind.seen.any()
    assert not behind(np.full((720, 1280, 3), 255, np.uint8)).any()


def test_bad_input_says_what_is_wrong():
    with pytest.raises(RoadloopError, match="focal lengths"):
        Pinhole(640, 480, 0.0, 500.0, 320.0, 240.0)
    with pytest.raises(RoadloopError, match="leaves the image"):
        PINHOLE.cropped(1000, 0, 400, 100)
    with pytest.raises(RoadloopError, match="not a rotation"):
        warp_between(PINHOLE, PINHOLE, np.eye(4))
