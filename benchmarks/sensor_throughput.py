"""How fast the sensors are: milliseconds a picture and a sweep, everything included.

    python benchmarks/sensor_throughput.py [--device cpu] [--repeat 20] [--skip-others]

A drive through a generated town with 40 road users around the ego; at ten places along it every
case is measured `--repeat` times, and the least time counts: CPU milliseconds of one core, which
other programs disturb little. The figure is the median over the places. "Everything" is: placing
the road users, culling, drawing, resolving all four products (colour, depth, class, instance), and
handing them over as arrays; LiDAR likewise from state to points with noise, weather and labels.

In the same run, where they are installed: the picture of highway-env (a drawing from above) and of
MetaDrive (its camera). Needs the extra `bench`. On a CUDA device: frames per second for 1, 64
and 1024 worlds with one camera of 256 x 128 each.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np

PLACES = 10
AGENTS = 40


def town():
    """A scenario with 40 road users, and the states at PLACES moments of a drive through it."""
    from deploy.drivers import make_driver
    from sim.scenarios import build_scenario
    from sim.simulator import SimWorld

    walkers = 5  # a sixth of the vehicles, as the scenario adds them
    scenario = build_scenario("dense_town", seed=3, agents=AGENTS - walkers)
    world, driver = SimWorld(), make_driver("route-follower")
    observation = world.reset(scenario, driver.sensors)
    driver.reset(scenario)
    states = []
    for step in range(PLACES * 20):
        if step % 20 == 0:
            states.append(world.state)
        observation = world.step(driver.act(observation))
    return scenario, states


def milliseconds(work: Callable[[], object], repeat: int) -> float:
    """Least CPU time of one call."""
    work()
    times = []
    for _ in range(repeat):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1e3 * min(times)


def camera_case(scenario, states, count: int, width: int, height: int, repeat: int) -> float:
    """Milliseconds for ``count`` cameras around the ego."""
    from roadloop.camera import Pinhole
    from roadloop.geometry import rotation_from_euler, se3
    from roadloop.rig import CAMERA_AXES
    from sim.actors.appearance import frame_of
    from sim.render.scene import scene_of
    from sim.sensors.camera import Cameras

    lens = Pinhole(width, height, 0.8 * width, 0.8 * width, width / 2 - 0.5, 0.43 * height)
    cameras = Cameras(scene_of(scenario.road_map), [lens] * count)
    mounts = np.stack(
        [
            se3(
                rotation_from_euler(0.0, 0.0, 2.0 * np.pi * k / max(count, 1)) @ CAMERA_AXES,
                np.array([0.0, 0.0, 1.6]),
            )
            for k in range(count)
        ]
    )

    def shoot(state):
        frame = frame_of(state)
        poses = frame.actors.world_from_actor[0, 0] @ mounts
        return cameras.shoot(frame, np.array([0]), poses[None])

    return float(np.median([milliseconds(lambda s=s: shoot(s), repeat) for s in states]))


def lidar_case(scenario, states, exact: bool, repeat: int) -> float:
    """Milliseconds for a sweep of 32 x 1080."""
    from dataclasses import replace

    from roadloop.rig import load_rig
    from sim.actors.appearance import frame_of
    from sim.render.scene import scene_of
    from sim.sensors.lidar import Lidar

    sensor = load_rig("nuscenes").lidars[0]
    sensor = replace(sensor, columns=1080, exact=exact, motion=False, labels=True)
    lidar, scene = Lidar(sensor), scene_of(scenario.road_map)

    def sweep(state):
        frame = frame_of(state)
        pose = frame.actors.world_from_actor[0, 0]
        return lidar.scan(scene, frame, 0, pose, pose, np.random.default_rng(0))

    return float(np.median([milliseconds(lambda s=s: sweep(s), repeat) for s in states]))


def highway_env_case(repeat: int) -> float:
    """Milliseconds for highway-env's image: 128 x 64, grey, from above, one frame."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    import gymnasium
    import highway_env

    gymnasium.register_envs(highway_env)
    image = {
        "type": "GrayscaleObservation",
        "observation_shape": (128, 64),
        "stack_size": 1,
        "weights": [0.2989, 0.5870, 0.1140],
    }
    config = {"observation": image, "vehicles_count": AGENTS, "offscreen_rendering": True}
    env = gymnasium.make("highway-fast-v0", config=config)
    env.reset(seed=0)
    observe = env.unwrapped.observation_type.observe  # type: ignore[attr-defined]
    return milliseconds(observe, repeat)


def metadrive_case(repeat: int) -> float:
    """Milliseconds for MetaDrive's camera, 256 x 128 RGB, without its physics step."""
    from metadrive.component.sensors.rgb_camera import RGBCamera
    from metadrive.envs import MetaDriveEnv

    env = MetaDriveEnv(
        {
            "image_observation": True,
            "vehicle_config": {"image_source": "rgb_camera"},
            "sensors": {"rgb_camera": (RGBCamera, 256, 128)},
            "log_level": 50,
            "num_scenarios": 1,
        }
    )
    env.reset(seed=0)
    try:
        vehicle = env.agent
        observation = env.observations["default_agent"]
        return milliseconds(lambda: observation.observe(vehicle), repeat)
    finally:
        env.close()


def device_case(device: str, worlds: int) -> float:
    """Pictures per second of ``worlds`` worlds with one camera of 256 x 128."""
    from roadloop.camera import Pinhole
    from roadloop.geometry import se3
    from roadloop.rig import CAMERA_AXES
    from sim.actors.appearance import frame_of
    from sim.render.scene import scene_of
    from sim.scenarios import build_scenario
    from sim.sensors.camera import Cameras
    from sim.simulator import Simulator

    first = build_scenario("dense_town", seed=0, agents=32)
    scenarios = [first] * worlds
    state = Simulator(device).reset(scenarios)
    camera = Pinhole(256, 128, 200.0, 200.0, 127.5, 55.0)
    cameras = Cameras(scene_of(first.road_map, device), [camera])
    mount = se3(CAMERA_AXES, np.array([0.0, 0.0, 1.6]))

    def shoot() -> None:
        frame = frame_of(state)
        poses = frame.actors.world_from_actor[:, 0] @ mount
        cameras.shoot(frame, np.arange(worlds), poses[:, None])

    shoot()
    start = time.perf_counter()
    rounds = 5
    for _ in range(rounds):
        shoot()
    return rounds * worlds / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--skip-others", action="store_true")
    options = parser.parse_args()
    import warp as wp

    wp.config.quiet = True
    if options.device != "cpu":
        for worlds in (1, 64, 1024):
            rate = device_case(options.device, worlds)
            print(f"{worlds:5} worlds x 1 camera 256 x 128 on {options.device}: {rate:8.0f} 1/s")
        return
    scenario, states = town()
    print(f"{AGENTS} road users, generated town; CPU ms of one core, median of {PLACES} places")
    for count, width, height, target in ((1, 704, 256, 3), (6, 704, 256, 16), (3, 256, 128, 3)):
        cost = camera_case(scenario, states, count, width, height, options.repeat)
        print(f"{count} x camera {width} x {height}: {cost:6.2f} ms (target {target})", flush=True)
    for exact, target in ((False, 8), (True, 35)):
        cost = lidar_case(scenario, states, exact, options.repeat)
        print(f"LiDAR 32 x 1080 {'exact' if exact else 'fast'}: {cost:6.2f} ms (target {target})")
    if options.skip_others:
        return
    for name, case in (
        ("highway-env 128 x 64", highway_env_case),
        ("MetaDrive 256 x 128", metadrive_case),
    ):
        try:
            print(f"{name}: {case(options.repeat):6.2f} ms", flush=True)
        except ImportError as error:
            print(f"{name}: not measured ({error})")


if __name__ == "__main__":
    main()
