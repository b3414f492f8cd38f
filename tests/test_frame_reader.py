"""What the detector eats, put together from an observation; the queue of its states."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from perception.detector_config import DetectorConfig
from perception.frame_reader import FrameReader
from perception.memory_queue import Kept, MemoryQueue
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3, transform_points
from roadloop.readings import CameraImage
from roadloop.rig import load_rig
from roadloop.types import EgoState, Observation

RIG = load_rig("compact")
CONFIG = DetectorConfig()
SLOTS = tuple(camera.name for camera in RIG.cameras)


def ego_at(x: float, y: float = 0.0, heading: float = 0.0, speed: float = 10.0) -> EgoState:
    values = (x, y, 0.0, heading, speed, 0.0, 0.0, 0.0)
    return EgoState(*(np.float64(v) for v in values))


def pictures(step: int, late: dict[str, int] | None = None) -> dict[str, CameraImage]:
    """Noise from every camera; ``late`` ones are that many steps old."""
    found = {}
    for k, camera in enumerate(RIG.cameras):
        exposed = max(step - (late or {}).get(camera.name, 0), 0)
        noise = np.random.default_rng([exposed, k]).integers(
            0, 255, (camera.height, camera.width, 3)
        )
        found[camera.name] = CameraImage(
            noise.astype(np.uint8), camera.camera, camera.ego_from_camera, 100_000 * exposed
        )
    return found


def observed(step: int, ego: EgoState, cameras: dict[str, CameraImage] | None = None):
    cameras = pictures(step) if cameras is None else cameras
    return Observation(step=step, time=0.1 * step, dt=0.1, ego=ego, cameras=cameras)


def test_the_rigs_own_pictures_are_cut_not_warped():
    moment = FrameReader(CONFIG).read(observed(0, ego_at(0.0)))
    width, height = CONFIG.size
    assert moment.frame["images"].shape == (4, 3, height, width)
    assert moment.frame["camera_valid"].all()
    for k, name in enumerate(SLOTS):
        shown = pictures(0)[name].rgb[-height:]
        assert np.array_equal(moment.frame["images"][k].transpose(1, 2, 0), shown)


def test_a_point_of_the_road_is_projected_where_the_camera_has_it():
    moment = FrameReader(CONFIG).read(observed(0, ego_at(3.0, 2.0, 0.7)))
    point = np.array([20.0, 1.0, 0.5])
    u, v, depth = moment.frame["pixel_from_ego"][0] @ [*point, 1.0]
    front = RIG.cameras[0]
    in_camera = transform_points(inverse(front.ego_from_camera), point[None])
    (expected,), _ = front.camera.project(in_camera)
    cut = front.height - CONFIG.size[1]
    assert np.allclose([u / depth, v / depth + cut], expected, atol=1e-3)
    assert depth == pytest.approx(20.0 - front.mount.x, abs=1e-5)


def test_a_late_camera_is_put_where_it_was_when_it_exposed():
    """A tree that stands still is where the picture shows it, though the ego has moved on."""
    reader = FrameReader(CONFIG)
    poses = [ego_at(float(x), 0.1 * x, 0.05 * x) for x in range(4)]
    for step, ego in enumerate(poses):
        moment = reader.read(observed(step, ego, pictures(step, {"front-left": 2})))
    tree = np.array([15.0, 14.0, 1.0])
    then = se3(rotation_from_euler(0.0, 0.0, 0.05), np.array([1.0, 0.1, 0.0]))
    left = RIG.cameras[1]
    in_camera = transform_points(inverse(then @ left.ego_from_camera), tree[None])
    (expected,), seen = left.camera.project(in_camera)
    assert seen.all()
    here = transform_points(inverse(moment.world_from_ego), tree[None])[0]
    u, v, depth = moment.frame["pixel_from_ego"][1] @ [*here, 1.0]
    cut = left.height - CONFIG.size[1]
    assert np.allclose([u / depth, v / depth + cut], expected, atol=1e-2)


def test_the_moment_is_that_of_the_newest_picture():
    reader = FrameReader(CONFIG)
    late = dict.fromkeys(SLOTS, 1)
    for step in range(3):
        moment = reader.read(observed(step, ego_at(float(step)), pictures(step, late)))
    assert moment.time == pytest.approx(0.1)
    assert moment.world_from_ego[0, 3] == pytest.approx(1.0, abs=1e-4)


def test_blind_when_both_front_cameras_are_lost_and_not_before():
    reader = FrameReader(CONFIG)
    assert not reader.blind(reader.read(observed(0, ego_at(0.0))))
    seen = {k: v for k, v in pictures(1).items() if k != "front"}
    moment = reader.read(observed(1, ego_at(1.0), seen))
    assert list(moment.frame["camera_valid"]) == [False, True, True, True]
    assert not moment.frame["images"][0].any() and not reader.blind(moment)
    seen = {k: v for k, v in pictures(2).items() if "front-" in k and k != "front-narrow"}
    assert reader.blind(reader.read(observed(2, ego_at(2.0), seen)))
    assert len(reader.watch.faults) == 2


def test_cameras_that_fail_together_are_told_in_the_order_of_the_rig():
    reader = FrameReader(CONFIG)
    reader.read(observed(0, ego_at(0.0)))
    reader.read(observed(1, ego_at(1.0), {}))
    assert [line.split('"')[1] for line in reader.faults] == list(SLOTS)


def test_a_rig_that_leaves_slots_empty_is_refused_by_name():
    with pytest.raises(RoadloopError, match="no camera for front-left, front-right of") as error:
        FrameReader(CONFIG, rig="openpilot")
    assert "\n" not in str(error.value)


def test_another_rig_fills_the_slots_by_what_it_looks_at():
    reader = FrameReader(CONFIG, rig="nuscenes-704x256")
    cameras = load_rig("nuscenes-704x256").cameras
    grey = {
        c.name: CameraImage(
            np.random.default_rng(0).integers(0, 255, (c.height, c.width, 3)).astype(np.uint8),
            c.camera,
            c.ego_from_camera,
            0,
        )
        for c in cameras
    }
    moment = reader.read(observed(0, ego_at(0.0), grey))
    assert moment.frame["camera_valid"].all()


def test_cameras_of_another_rig_are_named():
    reader = FrameReader(CONFIG)
    images = {f"CAM_{k}": v for k, v in pictures(0).items()}
    with pytest.raises(RoadloopError, match=r"CAM_front.* opened for rig compact"):
        reader.read(observed(0, ego_at(0.0), images))


def test_a_first_picture_of_another_size_is_a_mistake_a_later_one_a_fault():
    reader = FrameReader(CONFIG)
    small = dict(pictures(0))
    small["front"] = dataclasses.replace(small["front"], rgb=np.zeros((64, 128, 3), np.uint8))
    with pytest.raises(RoadloopError, match=r'camera "front" gives pictures of shape \(64, 128, 3'):
        reader.read(observed(0, ego_at(0.0), small))
    reader.reset()
    reader.read(observed(0, ego_at(0.0)))
    small["front"] = dataclasses.replace(small["front"], timestamp_us=100_000)
    assert not reader.read(observed(1, ego_at(1.0), small)).frame["camera_valid"][0]


@pytest.mark.parametrize("what", ["pose", "lens"])
def test_nan_in_a_calibration_is_named(what):
    images = dict(pictures(0))
    front = images["front"]
    if what == "pose":
        broken = dataclasses.replace(front, ego_from_camera=np.full((4, 4), np.nan))
    else:
        broken = dataclasses.replace(front, camera=dataclasses.replace(front.camera, cx=np.nan))
    with pytest.raises(RoadloopError, match=r'camera "front".*calibrate it again'):
        FrameReader(CONFIG).read(observed(0, ego_at(0.0), {**images, "front": broken}))


# --- states -------------------------------------------------------------------------------------


def test_five_chains_of_states_take_turns_at_ten_hertz():
    queue, used = MemoryQueue(0.5), []
    for step in range(12):
        kept = queue.before(0.1 * step)
        used.append(None if kept is None else round(10 * kept.time))
        queue.put(Kept(0.1 * step, np.eye(4), np.array(step)))
    assert used == [None] * 5 + [0, 1, 2, 3, 4, 5, 6]


def test_after_a_moment_without_pictures_the_next_state_does():
    queue, ages = MemoryQueue(0.5), []
    for step in (k for k in range(24) if k != 12):
        kept = queue.before(0.1 * step)
        ages.append(None if kept is None else round(0.1 * step - kept.time, 1))
        queue.put(Kept(0.1 * step, np.eye(4), np.zeros(1)))
    assert ages[:5] == [None] * 5 and ages.count(0.5) == 17
    assert ages[16] in (0.4, 0.6)  # at 1.7 s: the state of 1.2 s is not there


def test_time_that_jumps_forgets_the_states():
    for jump in (3.0, 0.05):
        queue = MemoryQueue(0.5)
        for step in range(10):
            queue.before(0.1 * step)
            queue.put(Kept(0.1 * step, np.eye(4), np.zeros(1)))
        assert queue.before(jump) is None
        queue.put(Kept(jump, np.eye(4), np.ones(1)))
        kept = queue.before(jump + 0.5)
        assert kept is not None and kept.time == jump


def test_a_state_of_another_age_is_not_used():
    queue = MemoryQueue(0.5)
    queue.put(Kept(0.0, np.eye(4), np.zeros(1)))
    assert queue.before(0.58) is not None
    assert queue.before(0.62) is None
    queue.put(Kept(0.0, np.eye(4), np.zeros(1)))
    queue.put(Kept(0.3, np.eye(4), np.zeros(1)))
    assert queue.before(0.35) is None


def test_steps_that_are_no_divisor_use_the_nearest_state():
    queue = MemoryQueue(0.5)
    for step in range(20):
        kept = queue.before(0.04 * step)
        queue.put(Kept(0.04 * step, np.eye(4), np.zeros(1)))
    assert kept is not None and abs(0.04 * 19 - kept.time - 0.5) <= 0.02 + 1e-9
