"""What is kept of a driver's seeing: cameras that come late are known from then on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from deploy.percept_log import PerceptRecorder
from deploy.seeing import nobody
from perception.detector import no_lights
from perception.detector_config import DetectorConfig
from perception.percept import LightHeads, Percept
from roadloop.readings import CameraImage
from roadloop.rig import load_rig
from roadloop.stage_times import StageTimes
from roadloop.types import Detections

CONFIG = DetectorConfig()
CAMERAS = {camera.name: camera for camera in load_rig(CONFIG.rig).cameras}
NARROW = CONFIG.light_cameras.index("front-narrow")


def heads(camera: int) -> LightHeads:
    """One red head in the middle of a light camera's picture, 6 px wide and 14 px high."""
    one = np.ones(1)
    return LightHeads(
        np.array([camera]), 128.0 * one, 48.0 * one, 6.0 * one, 14.0 * one, one, np.eye(4)[[1]]
    )


def percept(time: float, lights: LightHeads) -> Percept:
    none = np.zeros(0)
    return Percept(
        detections=Detections(nobody().states, none),
        position_std=none,
        velocity_std=none,
        raster=np.zeros((6, *CONFIG.grid.shape), np.float32),
        lane=np.zeros((3, *CONFIG.grid.shape), np.float32),
        lights=lights,
        world_from_ego=np.eye(4),
        time=time,
    )


def images(time: float, *names: str) -> dict[str, CameraImage]:
    made = {}
    for name in names:
        camera = CAMERAS[name]
        picture = np.zeros((camera.height, camera.width, 3), np.uint8)
        stamp = round(1e6 * time)
        made[name] = CameraImage(picture, camera.camera, camera.ego_from_camera, stamp)
    return made


def test_a_camera_that_comes_late_is_kept_from_then_on() -> None:
    seeing: Any = SimpleNamespace(
        detector=SimpleNamespace(config=CONFIG), times=StageTimes(), label="made up",
        percept=None, tracks=nobody(), lights=np.zeros(0, np.uint8),
    )  # fmt: skip
    stack: Any = SimpleNamespace(faults=())
    recorder = PerceptRecorder(stack, seeing, times=False)
    early = ("front-left", "front", "front-right")
    for step, (names, lights) in enumerate(
        [((), no_lights()), (early, no_lights()), ((*CAMERAS,), heads(NARROW))]
    ):
        time = 0.2 * step
        seeing.percept = percept(time, lights)
        shown: Any = SimpleNamespace(step=step, time=time, cameras=images(time, *names))
        recorder.listen(shown, {})
    log = recorder.log()
    assert [camera.name for camera in log.cameras] == [*early, "front-narrow"]
    pictures = log.tables["pictures"]
    assert pictures["moment"].tolist() == [1] * 3 + [2] * 4
    assert pictures["camera"].tolist() == [0, 1, 2, 0, 1, 2, 3]
    # the head lies in the camera that came late, where the network saw it
    found = log.tables["lights"]
    assert found["moment"].tolist() == [2] and found["camera"].tolist() == [3]
    np.testing.assert_allclose([found["u"][0], found["v"][0]], [128.0, 48.0], atol=1e-3)
    np.testing.assert_allclose([found["width"][0], found["height"][0]], [6.0, 14.0], atol=1e-3)
