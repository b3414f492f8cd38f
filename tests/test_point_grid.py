"""LiDAR and radar planes, and the inputs that training and the car make alike."""

from __future__ import annotations

import numpy as np
import pytest

from perception.detector_config import BevGrid, DetectorConfig
from perception.inputs import motion_between, pixel_from_ego, range_inputs
from perception.point_grid import (
    LIDAR_PLANES,
    RADAR_PLANES,
    SLICES,
    lidar_planes,
    radar_planes,
)
from roadloop.camera import Pinhole
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3, transform_points
from roadloop.rig import Mount

GRID = BevGrid(-4.0, -8.0, 16, 16, 1.0)


def test_points_are_in_the_cell_whose_centre_is_nearest() -> None:
    rng = np.random.default_rng(1)
    xyz = np.column_stack([rng.uniform(-6, 14, 300), rng.uniform(-10, 10, 300), np.ones(300)])
    planes = lidar_planes(np.column_stack([xyz, np.full(300, 0.5)]), GRID)
    hit = planes[LIDAR_PLANES.index("density")] > 0
    centres = GRID.centres()
    near = np.abs(centres[:, :, None] - xyz[:, :2]).max(-1).min(-1) <= 0.5
    np.testing.assert_array_equal(hit, near)
    np.testing.assert_allclose(planes[LIDAR_PLANES.index("intensity")][hit], 0.5)


def test_heights_fall_in_their_slices() -> None:
    middle = (np.array(SLICES[:-1]) + SLICES[1:]) / 2.0
    points = np.column_stack([np.arange(6) + 0.5, np.zeros(6) + 0.5, middle, np.ones(6)])
    planes = lidar_planes(points, GRID)
    for k in range(6):
        i, j = GRID.cells_of(points[k, :2]).astype(int)
        assert planes[:6, i, j].tolist() == [float(n == k) for n in range(6)]
        assert planes[6, i, j] == pytest.approx(middle[k] / 4.0)
        assert planes[7, i, j] == pytest.approx(middle[k] / 4.0)
    both = lidar_planes(np.array([[0.5, 0.5, 1.7, 0.2], [0.5, 0.5, 0.3, 0.8]]), GRID)[:, 4, 8]
    assert both[6] == pytest.approx(1.7 / 4) and both[7] == pytest.approx(0.3 / 4)
    assert both[8] == pytest.approx(0.5)
    high = lidar_planes(np.array([[0.5, 0.5, 4.5, 1.0], [0.5, 0.5, -3.0, 1.0]]), GRID)
    assert not high.any()  # bridges and reflections below the ground


def test_radar_velocities_are_radial_and_averaged() -> None:
    targets = np.array([[3.0, 4.0, 0.5, -5.0, 10.0, -0.1], [3.0, 4.0, 0.5, -5.0, 20.0, -0.3]])
    planes = dict(zip(RADAR_PLANES, radar_planes(targets, GRID)[:, 7, 12]))
    assert planes["vx"] == pytest.approx(-0.3) and planes["vy"] == pytest.approx(-0.4)
    assert planes["rcs"] == pytest.approx(0.75) and planes["age"] == pytest.approx(0.2)
    assert np.count_nonzero(radar_planes(targets, GRID)) == 5


def test_mirrored_points_give_mirrored_planes() -> None:
    rng = np.random.default_rng(2)
    points, targets = rng.normal(0.0, 5.0, (200, 5)), rng.normal(0.0, 5.0, (50, 6))
    for make, rows, names in ((lidar_planes, points, ()), (radar_planes, targets, ("vy",))):
        mirrored = make(rows * np.array([1, -1, *[1] * (rows.shape[1] - 2)]), GRID)
        for name in names:
            mirrored[RADAR_PLANES.index(name)] *= -1
        np.testing.assert_allclose(mirrored[..., ::-1], make(rows, GRID), atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "message"),
    [(np.zeros((3, 2)), "expected \\(n, 4\\)"), (np.full((2, 4), np.nan), "row 0 holds NaN")],
)
def test_bad_points_are_refused(rows: np.ndarray, message: str) -> None:
    with pytest.raises(RoadloopError, match=message):
        lidar_planes(rows, GRID)


def test_pixels_are_those_of_the_lens_at_its_place() -> None:
    lens = Pinhole(64, 32, 50.0, 51.0, 31.0, 15.0)
    mounts = np.array([Mount(1.0, 0.2, 1.5, yaw=a).ego_from_sensor for a in (0.0, 0.3)])
    mounts[:, :3, :3] = mounts[:, :3, :3] @ [[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]
    made = pixel_from_ego(np.array([lens.matrix, lens.matrix]), mounts)
    points = np.array([[12.0, 1.0, 1.0, 1.0], [20.0, 4.0, 0.0, 1.0]])
    for pixels, mount in zip(made, mounts):
        image = points @ pixels.T
        uv = lens.project(transform_points(inverse(mount), points[:, :3]))[0]
        np.testing.assert_allclose(image[:, :2] / image[:, 2:], uv, rtol=1e-5)


def test_motion_moves_a_point_of_now_to_where_it_was() -> None:
    before = se3(rotation_from_euler(0.0, 0.0, 2.0), np.array([5.0, -3.0, 0.1]))
    now = se3(rotation_from_euler(0.0, 0.0, 2.3), np.array([4.0, 1.0, 0.1]))
    x, y, yaw = motion_between(before, now).tolist()
    assert yaw == pytest.approx(0.3)
    here = np.array([7.0, 2.0, 0.0])
    there = transform_points(inverse(before) @ now, here[None])[0]
    c, s = np.cos(yaw), np.sin(yaw)
    np.testing.assert_allclose(
        there[:2], [c * here[0] - s * here[1] + x, s * here[0] + c * here[1] + y], rtol=1e-5
    )


def test_a_sensor_that_gave_nothing_is_not_valid() -> None:
    config = DetectorConfig(grid=GRID, lidar=True, radar=True)
    frame = range_inputs(config, np.zeros((0, 5)), np.array([[3.0, 4.0, 0.5, -5.0, 10.0, -0.1]]))
    assert not frame["lidar_valid"] and frame["radar_valid"]
    assert not frame["lidar"].any() and frame["radar"].any()
    assert frame["lidar"].shape == (len(LIDAR_PLANES), 16, 16)
    assert frame["radar"].shape == (len(RADAR_PLANES), 16, 16)
    assert range_inputs(DetectorConfig(), np.zeros((0, 5)), np.zeros((0, 6))) == {}
