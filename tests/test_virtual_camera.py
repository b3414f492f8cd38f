"""Virtual cameras: geometry, which source fills which slot, pictures passed on, bad calibration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from roadloop.camera import Fisheye, Pinhole
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, transform_points
from roadloop.rig import Mount, load_rig
from roadloop.virtual_camera import VirtualCameras, warped
from training.sample_spec import SampleSpec
from training.sample_views import slots_of

CAMERAS = VirtualCameras("compact")
RIG = load_rig("compact").cameras
AXES = RIG[0].ego_from_camera[:3, :3]


def pose(yaw: float, place: tuple[float, float, float] = (1.5, 0.0, 1.5)) -> np.ndarray:
    made = Mount(*place, yaw=yaw).ego_from_sensor.copy()
    made[:3, :3] = made[:3, :3] @ AXES
    return made


def lens(width: int, focal: float, height: int = 0) -> Pinhole:
    height = height or width // 2
    return Pinhole(width, height, focal, focal, width / 2 - 0.5, height / 2 - 0.5)


def picture(camera: Pinhole, seed: int = 0) -> np.ndarray:
    shape = (camera.height, camera.width, 3)
    return np.random.default_rng(seed).integers(0, 255, shape, np.uint8)


def filled(**cameras: tuple[Pinhole, np.ndarray]) -> dict[str, str]:
    """Slot to source by name."""
    lenses, mounts = [each[0] for each in cameras.values()], [c[1] for c in cameras.values()]
    slots = CAMERAS.slots(list(cameras), lenses, np.array(mounts))
    names = [*cameras, ""]
    return {slot.name: names[slot.source] for slot in slots}


def test_the_rigs_own_pictures_are_passed_on_and_not_copied() -> None:
    names, lenses = [c.name for c in RIG][::-1], [c.camera for c in RIG][::-1]
    slots = CAMERAS.slots(names, lenses, CAMERAS.mounts[::-1])
    assert [slot.source for slot in slots] == [3, 2, 1, 0]
    for k, slot in enumerate(slots):
        rgb, depth = picture(lenses[3 - k], k), np.ones((RIG[0].height, RIG[0].width), "f4")
        assert slot.view(rgb) is rgb and slot.view.depth(depth) is depth
        assert slot.view.target == RIG[k].camera
        np.testing.assert_array_equal(slot.mount, RIG[k].ego_from_camera)


def test_a_part_of_a_picture_is_cut_out_as_it_is() -> None:
    front = RIG[0]
    bigger = replace(front.camera, width=300, height=140, cx=front.cx + 20, cy=front.cy + 30)
    slot = CAMERAS.slots(["front"], [bigger], front.ego_from_camera[None])[0]
    rgb = picture(bigger)
    made = slot.view(rgb)
    np.testing.assert_array_equal(made, rgb[30 : 30 + front.height, 20 : 20 + front.width])
    assert np.shares_memory(made, rgb) and slot.view.target == front.camera
    # and just as a warp would have it
    view = warped(bigger, front.camera)
    np.testing.assert_array_equal(made, view(rgb))


@pytest.mark.parametrize("kind", ["turned", "fisheye"])
def test_what_was_seen_is_where_the_virtual_lens_projects_it(kind: str) -> None:
    source = lens(800, 380.0)
    if kind == "fisheye":
        source = Fisheye(800, 400, 260.0, 260.0, 399.0, 201.0, 0.02, -0.01)
    mount = pose(0.12, (1.4, 0.1, 1.5))
    mount[:3, :3] = mount[:3, :3] @ rotation_from_euler(0.02, -0.03, 0.01)
    place = np.array([[14.0, 1.5, 2.2]])
    ((u, v),) = source.project(transform_points(inverse(mount), place))[0]
    rows, columns = np.mgrid[0:400, 0:800]
    spot = 250.0 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * 6.0**2))
    rgb = np.repeat(np.rint(spot).astype(np.uint8)[..., None], 3, axis=-1)
    slots = CAMERAS.slots(["cam"], [source], mount[None])
    for k in (0, 3):  # front and front-narrow, from one camera
        slot = slots[k]
        np.testing.assert_array_equal(slot.mount[:3, 3], mount[:3, 3])
        np.testing.assert_array_equal(slot.mount[:3, :3], RIG[k].ego_from_camera[:3, :3])
        seen = slot.view(rgb)
        assert seen.shape == (RIG[0].height, RIG[0].width, 3) and slot.view.target == RIG[k].camera
        ((x, y),) = RIG[k].camera.project(transform_points(inverse(slot.mount), place))[0]
        part = seen[..., 0].astype(float)
        rows, columns = np.indices(part.shape)
        assert abs((columns * part).sum() / part.sum() - x) < 0.2
        assert abs((rows * part).sum() / part.sum() - y) < 0.2
    assert slots[1].source == slots[2].source == -1


def test_one_wide_camera_fills_the_wide_and_the_narrow_slot() -> None:
    found = filled(road=(lens(1600, 1266.0, 900), pose(0.0)))
    assert found == {"front": "road", "front-left": "", "front-right": "", "front-narrow": "road"}


def test_the_camera_of_the_name_is_preferred_if_it_looks_that_way() -> None:
    good, wide = (lens(256, 478.0), pose(0.05)), (lens(1600, 700.0), pose(0.0))
    named = {"front-narrow": good, "front": wide}
    assert filled(**named) == {
        "front": "front", "front-left": "", "front-right": "", "front-narrow": "front-narrow",
    }  # fmt: skip
    named["front-narrow"] = (good[0], pose(2.0))  # a name alone is not enough
    assert filled(**named)["front-narrow"] == "front"


def test_else_the_one_that_covers_the_slot_in_the_finest_detail() -> None:
    tele = (lens(1200, 2200.0, 900), pose(0.0))  # 31 degrees
    wide = (lens(1200, 400.0), pose(0.0))  # 113 degrees
    coarse = (lens(100, 40.0), pose(0.0))
    found = filled(a=coarse, b=wide, c=tele)
    assert found["front-narrow"] == "c" and found["front"] == "b"
    assert filled(a=coarse, c=tele)["front-narrow"] == "c"
    assert filled(a=coarse, c=tele)["front"] == "a"  # half a picture is worse than a coarse one
    assert filled(c=tele)["front"] == "c"


def test_a_sample_of_a_recording_is_filled_the_same_way() -> None:
    lenses, mounts = [lens(800, 380.0), lens(800, 380.0)], np.array([pose(0.1), pose(1.0)])
    spec = SampleSpec(virtual="compact", size=(128, 64))
    there = slots_of(spec, ["a", "b"], lenses, mounts, "here")
    here = VirtualCameras("compact", (128, 64)).slots(["a", "b"], lenses, mounts)
    for one, other in zip(there, here):
        assert (one.name, one.source, one.view) == (other.name, other.source, other.view)
        np.testing.assert_array_equal(one.mount, other.mount)
    assert [slot.source for slot in here] == [0, 1, -1, 0]


@pytest.mark.parametrize(
    ("camera", "mount", "message"),
    [
        (replace(lens(256, 128.0), cx=float("nan")), pose(0.0), "its lens holds NaN"),
        (lens(256, 128.0), np.full((4, 4), np.nan), "not \\(4, 4\\) of finite"),
        (lens(256, 128.0), np.diag([1.0, 1.0, 0.0, 1.0]), "no rotation"),
        (lens(256, 128.0), np.diag([1.0, 1.0, -1.0, 1.0]), "no rotation"),
    ],
)
def test_a_calibration_that_cannot_be_names_the_camera(
    camera: Pinhole, mount: np.ndarray, message: str
) -> None:
    with pytest.raises(RoadloopError, match=f'camera "road".*{message}') as caught:
        CAMERAS.slots(["left", "road"], [lens(64, 30.0), camera], np.array([pose(1.0), mount]))
    assert "\n" not in str(caught.value)


def test_an_unknown_rig_is_named() -> None:
    with pytest.raises(RoadloopError, match="nosuch"):
        _ = VirtualCameras("nosuch").names
