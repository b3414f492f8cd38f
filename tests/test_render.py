"""The rasteriser against exact ray casting, and its pictures against themselves."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from roadloop.camera import BrownConrady, Fisheye, Pinhole
from roadloop.geometry import rotation_from_euler, se3
from roadloop.maps.cache import load_map
from roadloop.rig import CAMERA_AXES
from roadloop.semantics import SemanticClass
from roadloop.types import AgentKind
from roadloop.weather import named_weather
from sim.actors.appearance import frame_of
from sim.render.lens_table import pixel_rays
from sim.render.raycast import Caster
from sim.render.scene import FAR, scene_of
from sim.scenarios import build_scenario
from sim.sensors.camera import Cameras
from sim.sensors.labels import image_boxes, optical_flow
from sim.simulator import Simulator

TOWNS = Path(__file__).resolve().parents[2] / "shared" / "data" / "carla_maps"
MAPS = ["Town03.xodr.gz", "Town05.xodr.gz", "Town10HD.xodr.gz", "generated", "roundabout"]

PINHOLE = Pinhole(384, 192, 300.0, 300.0, 191.5, 90.0)
FISHEYE = Fisheye(240, 240, 75.0, 75.0, 119.5, 119.5, -0.01, 0.003, -0.002, 0.0002)
DISTORTED = BrownConrady(320, 180, 200.0, 200.0, 159.5, 89.5, -0.3, 0.1, 0.001, -0.0005)


def moment(name: str, seed: int = 0, steps: int = 10):
    """A scene and the states of a batch of one world with 30 vehicles, ``steps`` steps in."""
    road_map = None
    family = "roundabout" if name == "roundabout" else "dense_town"
    if name.endswith(".gz"):
        if not (TOWNS / name).is_file():
            pytest.skip(f"{name} is not on this machine")
        road_map, family = load_map(TOWNS / name), "random_route"
    scenario = build_scenario(family, seed=seed, road_map=road_map, agents=30)
    simulator = Simulator()
    state = before = simulator.reset([scenario])
    for _ in range(steps):
        before, state = state, simulator.step(state, np.zeros((1, 2)))
    return scene_of(scenario.road_map), frame_of(state, before), state


@pytest.fixture(scope="module")
def town():
    return moment("generated")


def eyes(frame, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 4, 4) poses of cameras beside road users, looking any way."""
    there = np.flatnonzero(frame.actors.model[0] >= 0)
    poses = []
    for row in rng.choice(there, count):
        aside = np.array([rng.uniform(-6, 6), rng.uniform(-3, 3), rng.uniform(1.0, 2.5)])
        turn = rotation_from_euler(0.0, rng.uniform(-0.1, 0.25), rng.uniform(-np.pi, np.pi))
        at = se3(turn, aside) @ se3(CAMERA_AXES, np.zeros(3))
        poses.append(frame.actors.world_from_actor[0, row] @ at)
    return np.stack(poses)


def compared(scene, frame, camera, pose, caster):
    """Shares of equal classes and instances, and differences of depth, of one picture."""
    [[shot]] = Cameras(scene, [camera]).shoot(frame, np.array([0]), pose[None, None])
    rays = pixel_rays(camera)
    seen = (rays != 0.0).any(axis=1)
    forward = pose[:3, 2] if type(camera) is Pinhole else None
    hits = caster.cast(frame, 0, pose[:3, 3], rays[seen] @ pose[:3, :3].T, FAR, forward=forward)
    with np.errstate(invalid="ignore"):
        depth = np.where(np.isinf(hits.distance), np.inf, hits.distance * rays[seen, 2])
        error = np.abs(shot.depth.ravel()[seen] - depth)
    error[np.isinf(depth) & np.isinf(shot.depth.ravel()[seen])] = 0.0
    return (
        shot.semantic.ravel()[seen] == hits.semantic,
        shot.instance.ravel()[seen] == hits.instance,
        error,
        shot,
    )


@pytest.mark.parametrize("name", MAPS)
def test_rasteriser_and_ray_casting_agree(name):
    scene, frame, _ = moment(name)
    caster = Caster(scene)
    rng = np.random.default_rng(7)
    same_class, same_thing, errors, classes = [], [], [], set()
    for pose in eyes(frame, 10, rng):
        semantic, instance, error, shot = compared(scene, frame, PINHOLE, pose, caster)
        same_class.append(semantic)
        same_thing.append(instance)
        errors.append(error)
        classes |= set(np.unique(shot.semantic).tolist())
    assert np.mean(same_class) >= 0.999
    assert np.mean(same_thing) >= 0.999
    error = np.concatenate(errors)
    assert np.mean(error < 0.01) >= 0.999
    assert np.median(error) <= 1e-4
    assert {SemanticClass.ROAD, SemanticClass.SKY, SemanticClass.ROAD_LINE} <= classes


@pytest.mark.parametrize("camera", [FISHEYE, DISTORTED])
def test_bent_lenses_see_what_ray_casting_sees(town, camera):
    scene, frame, _ = town
    caster = Caster(scene)
    for pose in eyes(frame, 4, np.random.default_rng(3)):
        semantic, instance, error, _ = compared(scene, frame, camera, pose, caster)
        assert semantic.mean() >= 0.999
        assert instance.mean() >= 0.999
        assert np.mean(error < 0.01) >= 0.999


def test_boxes_agree_with_instance_masks(town):
    scene, frame, state = town
    kind = state.fixed.traits.numpy()[0]["kind"]
    half = scene.model_half[np.maximum(frame.actors.model[0], 0)] * frame.actors.scale[0]
    found = 0
    for camera in (PINHOLE, FISHEYE):
        cameras = Cameras(scene, [camera])
        for pose in eyes(frame, 12, np.random.default_rng(5)):
            [[shot]] = cameras.shoot(frame, np.array([0]), pose[None, None])
            boxes = image_boxes(camera, pose, frame.actors, 0, kind, half, shot.instance)
            listed = dict(zip(boxes.id.tolist(), range(len(boxes.id))))
            for number in np.unique(shot.instance[shot.instance > 0]).tolist():
                k = listed[number]
                v, u = np.nonzero(shot.instance == number)
                assert boxes.pixels[k] == len(v)
                assert (boxes.visible_left[k], boxes.visible_right[k]) == (u.min(), u.max())
                assert (boxes.visible_top[k], boxes.visible_bottom[k]) == (v.min(), v.max())
                # the model fills its box, so no pixel lies outside the box's outline
                assert boxes.left[k] <= u.min() + 1.0
                assert boxes.right[k] >= u.max() - 1.0
                assert boxes.top[k] <= v.min() + 1.0
                assert boxes.bottom[k] >= v.max() - 1.0
                found += 1
    assert found > 20


def test_a_lone_vehicle_fills_its_box(town):
    scene, frame, state = town
    kind = state.fixed.traits.numpy()[0]["kind"]
    half = scene.model_half[np.maximum(frame.actors.model[0], 0)] * frame.actors.scale[0]
    row = int(np.flatnonzero((frame.actors.model[0] >= 0) & (kind == AgentKind.CAR))[1])
    alone = np.where(np.arange(frame.actors.model.shape[1]) == row, frame.actors.model, -1)
    frame = replace(frame, actors=replace(frame.actors, model=alone))
    camera = Pinhole(640, 480, 900.0, 900.0, 319.5, 239.5)
    behind = se3(np.eye(3), np.array([-9.0, 0.0, 1.0])) @ se3(CAMERA_AXES, np.zeros(3))
    pose = frame.actors.world_from_actor[0, row] @ behind
    [[shot]] = Cameras(scene, [camera]).shoot(frame, np.array([0]), pose[None, None])
    boxes = image_boxes(camera, pose, frame.actors, 0, kind, half, shot.instance)
    assert boxes.id.tolist() == [frame.actors.id[0, row]]
    # seen from behind the rear is the outline; the wheels stand farther away than its lower edge
    assert abs(boxes.left[0] - boxes.visible_left[0]) < 12.0
    assert abs(boxes.right[0] - boxes.visible_right[0]) < 12.0
    assert abs(boxes.bottom[0] - boxes.visible_bottom[0]) < 30.0


def test_flow_of_a_moving_camera_is_parallax(town):
    scene, frame, _ = town
    still = replace(frame.actors, previous_world_from_actor=frame.actors.world_from_actor)
    pose = frame.actors.world_from_actor[0, 0] @ se3(CAMERA_AXES, np.array([1.0, 0.0, 1.5]))
    before = pose @ se3(np.eye(3), np.array([0.0, 0.0, -0.5]))  # 0.5 m farther back
    [[shot]] = Cameras(scene, [PINHOLE]).shoot(frame, np.array([0]), pose[None, None])
    flow = optical_flow(PINHOLE, pose, before, still, 0, shot.depth, shot.instance)
    _, u = np.indices(shot.depth.shape)
    solid = np.isfinite(shot.depth)
    # u - cx = f x / z: going 0.5 m forward the image grows by z / (z - 0.5) about the centre
    grown = shot.depth[solid] + 0.5
    expected = (u[solid] - PINHOLE.cx) * (1.0 - shot.depth[solid] / grown)
    assert np.abs(flow[solid][:, 0] - expected).max() < 1e-2
    assert not flow[~solid].any()


def test_a_batch_gives_the_bytes_of_its_worlds(town):
    scene, frame, _ = town
    poses = eyes(frame, 3, np.random.default_rng(1))
    cameras = Cameras(scene, [PINHOLE, FISHEYE])
    # three worlds of one frame, each looked at from elsewhere in its own weather
    weather = tuple(named_weather(name) for name in ("clear", "fog-night", "rain"))
    three = replace(
        frame,
        actors=type(frame.actors)(
            **{name: np.repeat(value, 3, axis=0) for name, value in vars(frame.actors).items()}
        ),
        lights=np.repeat(frame.lights, 3, axis=0),
        weather=weather,
        time=np.repeat(frame.time, 3),
    )
    pairs = np.repeat(poses[:, None], 2, axis=1)
    together = cameras.shoot(three, np.arange(3), pairs)
    for k in range(3):
        one = replace(frame, weather=weather[k : k + 1])
        alone = Cameras(scene, [PINHOLE, FISHEYE]).shoot(one, np.array([0]), pairs[k : k + 1])[0]
        for a, b in zip(alone, together[k]):
            for name in ("rgb", "depth", "semantic", "instance"):
                assert getattr(a, name).tobytes() == getattr(b, name).tobytes(), name


def _picture(_: int = 0) -> bytes:
    scene, frame, _state = moment("generated", steps=5)
    pose = eyes(frame, 1, np.random.default_rng(1))
    [[shot]] = Cameras(scene, [PINHOLE]).shoot(frame, np.array([0]), pose[None])
    return shot.rgb.tobytes() + shot.depth.tobytes() + shot.instance.tobytes()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_give_the_same_bytes(method):
    here = _picture()
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map(_picture, [0]) == [here]


def test_where_a_lens_sees_nothing_the_picture_is_black_and_of_no_class(town):
    scene, frame, _ = town
    narrow = Fisheye(240, 240, 30.0, 30.0, 119.5, 119.5, 0.0, 0.0, 0.0, 0.0)
    pose = eyes(frame, 1, np.random.default_rng(2))
    [[shot]] = Cameras(scene, [narrow]).shoot(frame, np.array([0]), pose[None])
    dark = (pixel_rays(narrow) == 0.0).all(axis=1).reshape(240, 240)
    assert dark.any() and not dark.all()
    assert not shot.rgb[dark].any() and not shot.semantic[dark].any()
    assert (shot.semantic[~dark] > 0).all()


def test_the_ego_is_not_in_its_own_picture_but_may_be_shown(town):
    scene, frame, _ = town
    over = frame.actors.world_from_actor[0, 0] @ se3(
        rotation_from_euler(0.0, 0.5, 0.0) @ CAMERA_AXES, np.array([-9.0, 0.0, 6.0])
    )
    cameras = Cameras(scene, [PINHOLE])
    hidden, shown = (
        cameras.shoot(frame, np.array([0]), over[None, None], hide=row)[0][0] for row in (0, -1)
    )
    assert (shown.semantic == SemanticClass.CAR).sum() > (
        hidden.semantic == SemanticClass.CAR
    ).sum()
