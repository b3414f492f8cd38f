"""Cameras that fail while driving, and those that only look like it."""

from __future__ import annotations

import numpy as np
import pytest

from perception.camera_watch import CameraWatch, WatchLimits
from roadloop.camera import Pinhole
from roadloop.errors import RoadloopError
from roadloop.readings import CameraImage

LENS = Pinhole(64, 32, 32.0, 32.0, 31.5, 15.5)


def street(seed: int, brightness: float = 110.0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(brightness, 0.4 * brightness, (32, 64, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)


def picture(step: int, rgb: np.ndarray | None = None) -> CameraImage:
    return CameraImage(
        rgb=street(step) if rgb is None else rgb,
        camera=LENS,
        ego_from_camera=np.eye(4),
        timestamp_us=100_000 * step,
    )


def watched(pictures: list[CameraImage | None], speed: float = 5.0) -> list[bool]:
    """Whether the camera is trusted at each step of 0.1 s."""
    watch = CameraWatch()
    return [watch.look("front", image, 0.1 * k, speed) for k, image in enumerate(pictures)]


def test_a_working_camera_is_trusted_from_its_first_picture():
    assert all(watched([picture(k) for k in range(20)]))


def test_black_is_not_trusted_and_night_is():
    black = np.random.default_rng(0).integers(0, 4, (32, 64, 3)).astype(np.uint8)
    night = street(1, brightness=12.0)
    assert watched([picture(0), picture(1, black), picture(2, black)]) == [True, False, False]
    assert all(watched([picture(0, night), picture(1, street(2, 12.0))]))


def test_the_darkest_uniform_night_and_dense_fog_are_trusted():
    """Means and deviations as the darkest and the dullest rendered pictures have them."""
    rng = np.random.default_rng(3)
    for mean, spread in ((34.0, 20.0), (41.0, 7.3)):
        rgb = np.clip(rng.normal(mean, spread, (32, 64, 3)), 0, 255).astype(np.uint8)
        assert watched([picture(0, rgb)]) == [True]


def test_one_colour_is_not_trusted():
    assert watched([picture(0, np.full((32, 64, 3), 255, np.uint8))]) == [False]


def test_frozen_while_moving_is_found_after_three_repeats():
    still = street(0)
    assert watched([picture(k, still) for k in range(6)]) == [True] * 3 + [False] * 3


def test_standing_still_is_not_frozen():
    still = street(0)
    assert all(watched([picture(k, still) for k in range(20)], speed=0.0))


def test_a_frozen_camera_stays_frozen_when_the_ego_stops():
    watch, still = CameraWatch(), street(0)
    for k in range(5):
        watch.look("front", picture(k, still), 0.1 * k, 5.0)
    assert not watch.look("front", picture(5, still), 0.5, 0.0)
    assert "frozen" in watch.faults[0]


def test_a_slower_camera_shows_a_picture_twice_and_is_not_frozen():
    """The same exposure is seen again between two: its time stamp is the same."""
    assert all(watched([picture(k // 2 * 2) for k in range(20)]))


def test_a_picture_that_never_came_is_missing_after_a_while():
    watch = CameraWatch()
    for k in range(6):
        assert not watch.look("front", None, 0.1 * k, 0.0)
        assert bool(watch.faults) == (k > 3)
    assert watch.faults == ('camera "front" gives no pictures (since 0.4 s)',)


def test_one_that_came_is_missing_at_once_or_when_its_newest_picture_is_old():
    assert watched([picture(0), None]) == [True, False]
    stuck = [picture(0)] * 6
    assert watched(stuck) == [True, True, True, True, False, False]


def test_another_size_is_not_trusted():
    watch = CameraWatch()
    assert not watch.look("front", picture(0, np.zeros((16, 64, 3), np.uint8)), 0.0, 5.0)
    assert watch.faults == (
        'camera "front" gives pictures of 16 x 64 x 3, not 32 x 64 x 3 (since 0.0 s)',
    )


def test_trust_comes_back_after_five_good_pictures_and_the_line_goes():
    watch = CameraWatch()
    assert not watch.look("front", None, 0.0, 5.0)
    assert watch.look("front", picture(1), 0.1, 5.0)
    assert not watch.look("front", None, 0.2, 5.0)
    seen = [watch.look("front", picture(k), 0.1 * k, 5.0) for k in range(3, 9)]
    assert seen == [False] * 4 + [True] * 2
    assert watch.faults == ()


def test_cameras_are_told_apart_and_a_reset_forgets():
    watch = CameraWatch()
    watch.look("left", picture(0, np.zeros((32, 64, 3), np.uint8)), 0.0, 5.0)
    assert watch.look("front", picture(0), 0.0, 5.0)
    assert len(watch.faults) == 1 and "left" in watch.faults[0]
    watch.reset()
    assert watch.faults == ()


@pytest.mark.parametrize("field", ["max_age", "frozen_repeats", "good_again", "black_mean"])
def test_limits_are_checked(field):
    with pytest.raises(RoadloopError, match=field):
        WatchLimits(**{field: 0})
