"""Driving environments: Gymnasium's rules, what learners see and earn, and what is refused."""

from __future__ import annotations

import math
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence

import sim.envs
from deploy.drivers import make_driver
from roadloop import features
from roadloop.errors import RoadloopError
from roadloop.maps.generate import generate_map
from roadloop.maps.road_map import RoadMap
from roadloop.rig import SensorRig, load_rig, resized
from roadloop.scoring import comfort, driven, nuplan
from roadloop.types import Control, LightState, VehicleParameters
from sim.envs.actions import CHOICES, PEDALS, WAYPOINT_TIME, WAYPOINTS
from sim.envs.config import ACTIONS, TERMS, OptionError, RewardWeights, drive_config
from sim.envs.drive_env import DriveEnv
from sim.envs.raster_bev import CHANNELS
from sim.ground import SURFACE_TOLERANCE
from sim.simulator import Simulator

KINDS = ("vector", "bev", "full")


@pytest.fixture(scope="module")
def junction() -> RoadMap:
    """A signalled junction of four roads."""
    return generate_map("four_way", seed=0)


@pytest.fixture(scope="module")
def bend() -> RoadMap:
    """A country road through an S-curve."""
    return generate_map("curve", seed=1)


def make(road_map: RoadMap, scenario: str = "red_light", **options) -> DriveEnv:
    env = gymnasium.make(sim.envs.DRIVE, map=road_map, scenario=scenario, pool=3, **options)
    return env.unwrapped


# --- Gymnasium's rules --------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("observation", KINDS)
@pytest.mark.parametrize("name", [k for k in gymnasium.registry if k.startswith("roadloop/")])
@pytest.mark.filterwarnings("ignore:.*A Box observation space.*", "ignore:.*not within")
def test_gymnasium_finds_nothing_wrong(
    junction: RoadMap, name: str, observation: str, action: str
) -> None:
    env = gymnasium.make(
        name, map=junction, scenario="red_light", pool=2, agents=4, observation=observation,
        action=action, render_mode="rgb_array",
    )  # fmt: skip
    check_env(env.unwrapped)


def test_found_by_name_alone() -> None:
    """As in the documentation: the module before the colon registers it."""
    code = (
        "import gymnasium as g; e = g.make('sim.envs:roadloop/Drive-v0', "
        "scenario='lane_following', pool=1); e.reset(seed=0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_same_seed_the_same_bytes(junction: RoadMap) -> None:
    def drive(env: DriveEnv) -> list:
        seen = [env.reset(seed=5)]
        rng = np.random.default_rng(0)
        for _ in range(40):
            seen.append(env.step(rng.uniform(-1.0, 1.0, 2)))
        return seen

    one, other = make(junction, agents=6), make(junction, agents=6)
    first = drive(one)
    assert data_equivalence(first, drive(other), exact=True)
    assert data_equivalence(first, drive(one), exact=True)  # also where much was driven before


def test_episodes_differ_and_seeds_draw_them(junction: RoadMap) -> None:
    env = make(junction, agents=2)
    drawn = [env.reset(seed=0)[1]["seed"]] + [env.reset()[1]["seed"] for _ in range(12)]
    again = [env.reset(seed=0)[1]["seed"]] + [env.reset()[1]["seed"] for _ in range(12)]
    assert drawn == again and set(drawn) == {0, 1, 2}
    assert env.reset(options={"scenario_seed": 77})[1]["seed"] == 77
    assert env.scenario.seed == 77


def test_time_truncates(bend: RoadMap) -> None:
    env = make(bend, "lane_following", max_seconds=2.0)
    env.reset(seed=0)
    ends = [env.step(np.zeros(2))[2:4] for _ in range(20)]
    assert ends == [(False, False)] * 19 + [(False, True)]


# --- what a learner sees ------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "agents"), [("red_light", 12), ("pedestrian_crossing", 3)])
def test_the_kernel_sees_what_the_definition_says(family: str, agents: int) -> None:
    """roadloop.features in NumPy and its kernel: the same columns to 1e-4, along whole drives."""
    env = gymnasium.make(
        sim.envs.DRIVE, scenario=family, pool=2, agents=agents, end_on=()
    ).unwrapped
    rng = np.random.default_rng(1)
    for seed in range(2):
        seen, _ = env.reset(options={"scenario_seed": seed})
        points = features.route_points(env.scenario.road_map, env.scenario.route)
        memory = features.RouteMemory()
        for step in range(80):
            expected, memory = features.vector_observation(env.observation, points, memory)
            for key, values in expected.items():
                np.testing.assert_allclose(
                    seen[key], values, atol=1e-4, rtol=1e-5, err_msg=f"{key}, step {step}"
                )
            seen, *_ = env.step(np.array([rng.uniform(-0.4, 1.0), rng.uniform(-0.1, 0.1)]))


def test_the_full_view_is_the_observation_a_driver_gets(junction: RoadMap) -> None:
    env = make(junction, agents=10, observation="full")
    seen, _ = env.reset(seed=2)
    for _ in range(10):
        seen, *_ = env.step(np.array([0.5, 0.0]))
    given = env.observation
    assert seen["time"] == pytest.approx(given.time) and given.step == 10
    np.testing.assert_allclose(seen["ego"][:3], [given.ego.x, given.ego.y, given.ego.z], atol=1e-9)
    there = seen["valid"] == 1
    tracks = given.tracks.states
    assert there.sum() == len(tracks.x) == 10
    np.testing.assert_allclose(seen["tracks"][there][:, 0], tracks.x)
    np.testing.assert_allclose(seen["tracks"][there][:, 5], tracks.vy, atol=1e-6)
    assert (seen["kind"][there] == tracks.kind).all() and (seen["lights"] == given.lights).all()


def test_a_picture_from_above_has_everything_in_its_place(junction: RoadMap) -> None:
    size = {"width": 64, "height": 80, "resolution": 0.5, "behind": 10.0}
    env = make(junction, agents=12, observation="bev", bev=size)
    seen, _ = env.reset(seed=0)
    assert seen.shape == (len(CHANNELS), 80, 64) and set(np.unique(seen)) <= {0, 255}
    on = dict(zip(CHANNELS, seen > 0))
    vehicle = VehicleParameters()
    assert on["ego"].sum() * 0.25 == pytest.approx(vehicle.length * vehicle.width, rel=0.2)
    rows, columns = np.nonzero(on["ego"])
    assert (80 - rows.mean() - 0.5) * 0.5 - 10.0 == pytest.approx(vehicle.centre_offset, abs=0.3)
    assert columns.mean() == pytest.approx(31.5, abs=0.6)
    assert (on["road"] & on["ego"]).sum() == on["ego"].sum()
    route = np.nonzero(on["route"][50])[0]  # 5 m ahead
    assert abs(route.mean() - 31.5) < 2.0 and 3 <= len(route) <= 6  # 2 m wide
    there = env.observation.tracks.states
    ego = env.observation.ego
    dx, dy = there.x - ego.x, there.y - ego.y
    ahead = np.cos(ego.heading) * dx + np.sin(ego.heading) * dy
    left = np.cos(ego.heading) * dy - np.sin(ego.heading) * dx
    inside = (ahead > -9.0) & (ahead < 29.0) & (np.abs(left) < 15.0)
    for a, b in zip(ahead[inside], left[inside]):
        assert on["vehicles"][int(80 - (a + 10.0) / 0.5), int(32 - b / 0.5)]


def test_lights_on_the_picture(junction: RoadMap) -> None:
    env = make(junction, agents=0, observation="bev")
    for seed in range(3):
        seen, _ = env.reset(options={"scenario_seed": seed})
        for _ in range(60):
            seen, *_ = env.step(np.array([0.2, 0.0]))
        ego = env.core._vector["ego"].numpy()[0, 0]  # kept whatever is observed
        if ego[10] < 20.0:  # m to the line, on the picture
            state = ego[11:14].argmax()
            red, green = (seen[CHANNELS.index(name)].any() for name in ("red", "green"))
            assert red if state in (0, 1) else green


def test_render_draws_the_scene(junction: RoadMap) -> None:
    env = make(junction, agents=3, render_mode="rgb_array", frame_size=(320, 200))
    env.reset(seed=0)
    first = env.render()
    assert first.shape == (200, 320, 3) and first.dtype == np.uint8
    for _ in range(15):
        env.step(np.array([1.0, 0.0]))
    assert (env.render() != first).any()


# --- what a learner does ------------------------------------------------------------------------


def test_continuous_actions_mean_what_the_definition_says(bend: RoadMap) -> None:
    env = make(bend, "lane_following")
    env.reset(seed=0)
    for action in ([1.0, 0.5], [-0.5, -1.0], [0.3, 2.0]):
        speed = float(env.observation.ego.speed)
        env.step(np.array(action))
        asked = features.control_from_action(np.array(action), speed, env.scenario.ego.vehicle)
        done = env.core._control.numpy()[0, 0]
        np.testing.assert_allclose(done, [asked.acceleration, asked.steering], rtol=1e-5)


def route_at(seen: dict[str, np.ndarray], distance: float) -> tuple[float, float]:
    """Ego-frame point of the route ``distance`` m ahead, from the vector observation."""
    ahead = (0.0, *features.ROUTE_AHEAD)
    x, y = seen["route"][:, 0], seen["route"][:, 1]
    return float(np.interp(distance, ahead, [0.0, *x])), float(np.interp(distance, ahead, [0, *y]))


def steady(kind: str, seen: dict[str, np.ndarray]):
    """An action that keeps 10 m/s along the route."""
    speed = float(seen["ego"][0])
    pull = np.clip(1.0 * (10.0 - speed), -3.0, 1.0)
    if kind == "discrete":
        return int(np.argmin(np.abs(np.array(PEDALS) - pull)))
    if kind == "trajectory":
        drive = speed + np.clip(10.0 - speed, -2.0, 2.0)
        return np.array([route_at(seen, drive * WAYPOINT_TIME * (k + 1)) for k in range(WAYPOINTS)])
    x, y = route_at(seen, 10.0)
    steering = math.atan(VehicleParameters().wheelbase * 2.0 * y / (x * x + y * y))
    if kind == "control":
        return np.array([pull, steering])
    v = max(speed, 1.0)
    most = min(features.STEERING, math.atan(2.8 * features.LATERAL / v**2))
    return np.array([pull / (3.0 if pull > 0 else 6.0), steering / most])


@pytest.mark.parametrize("kind", ACTIONS)
def test_a_simple_policy_arrives_with_every_kind_of_action(bend: RoadMap, kind: str) -> None:
    env = make(bend, "lane_following", action=kind, max_seconds=120.0)
    seen, _ = env.reset(seed=0)
    total = {name: 0.0 for name in TERMS}
    while True:
        seen, reward, terminated, truncated, info = env.step(steady(kind, seen))
        terms = info["reward_terms"]
        weights = RewardWeights()
        assert reward == pytest.approx(sum(getattr(weights, k) * terms[k] for k in TERMS), abs=1e-5)
        total = {name: total[name] + terms[name] for name in TERMS}
        if terminated or truncated:
            break
    assert terminated and info["is_success"] and total["goal"] == 1.0
    length = features.route_points(env.scenario.road_map, env.scenario.route).length
    assert total["progress"] == pytest.approx(length - 3.0, abs=2.0)  # the goal counts 3 m before
    for name in ("collision", "off_road", "off_route", "wrong_way", "red_light", "stop_sign"):
        assert total[name] == 0.0
    assert total["lane_centre"] / (env.core.elapsed[0] * 0.1) < 0.3  # m on average


def test_a_line_beside_the_route_is_reached() -> None:
    """Discrete actions steer for a line 3.5 m to the left, and stay there."""
    road = generate_map("straight", seed=0, length=400.0, lanes=2)
    env = make(road, "lane_following", action="discrete", end_on=())
    seen, _ = env.reset(seed=0)
    for _ in range(60):
        seen, *_ = env.step(len(PEDALS) + 2)  # left line, no pedal
    assert seen["ego"][4] == pytest.approx(3.5, abs=0.1) and abs(seen["ego"][5]) < 0.02


# --- what a learner earns -----------------------------------------------------------------------


def test_bounds_are_those_of_the_scores() -> None:
    from sim.envs import rewards

    assert rewards.LEAST_TTC == nuplan.MIN_TTC and rewards.GOAL_REACH == driven.GOAL_REACH
    assert comfort.BOUNDS["yaw rate"][1] == rewards.YAW_RATE
    assert SURFACE_TOLERANCE == nuplan.OUTSIDE  # the simulator's off-road event and nuPlan's bound


def test_driving_off_the_road_ends_and_costs(bend: RoadMap) -> None:
    env = make(bend, "lane_following")
    env.reset(seed=0)
    for _ in range(100):
        _, reward, terminated, _, info = env.step(np.array([0.5, -1.0]))
        if terminated:
            break
    assert info["reward_terms"]["off_road"] == 1.0 and reward < -3.0 and not info["is_success"]


def test_running_into_the_car_ahead(bend: RoadMap) -> None:
    road = generate_map("straight", seed=0, length=400.0)
    env = make(road, "lead_vehicle_brake", action="discrete")
    env.reset(seed=0)
    warned = 0.0
    for _ in range(300):
        _, _, terminated, _, info = env.step(3)
        if terminated:
            break
        warned += info["reward_terms"]["time_to_collision"]
    assert info["reward_terms"]["collision"] == 1.0
    assert warned == pytest.approx(nuplan.MIN_TTC, abs=0.35)  # s of warning before the impact


def test_running_a_red_light(junction: RoadMap) -> None:
    env = make(junction, agents=0, action="discrete", end_on=("red_light",))
    ran = []
    for seed in range(3):
        seen, _ = env.reset(options={"scenario_seed": seed})
        line = env.scenario
        for _ in range(200):
            before = env.observation.lights
            seen, reward, terminated, truncated, info = env.step(3 if seen["ego"][0] < 10.0 else 2)
            if terminated or truncated:
                break
        if terminated:
            assert info["reward_terms"]["red_light"] == 1.0 and reward < -4.0
            assert (before == LightState.RED).any() and line is env.scenario
            ran.append(seed)
    assert ran  # the family's light turns red on the way


def test_rolling_past_a_stop_sign() -> None:
    env = gymnasium.make(
        sim.envs.DRIVE, scenario="stop_sign", pool=1, agents=0, end_on=()
    ).unwrapped

    def run(stop: bool) -> float:
        seen, _ = env.reset(options={"scenario_seed": 0})
        rolled = 0.0
        for _ in range(300):
            must_stop = stop and seen["ego"][14] > 0.0 and seen["ego"][10] < 30.0
            goal = max(min(8.0, 0.4 * (seen["ego"][10] - 2.0)), 0.0) if must_stop else 8.0
            pull = np.clip((goal - seen["ego"][0]) / 2.0, -1.0, 1.0)
            x, y = route_at(seen, 6.0)
            seen, _, _, _, info = env.step(np.array([pull, 0.8 * y / x]))
            rolled += info["reward_terms"]["stop_sign"]
        return rolled

    assert run(stop=False) == 1.0
    assert run(stop=True) == 0.0


def test_progress_is_not_earned_twice(bend: RoadMap) -> None:
    """Metres of the route count once, so a sum of progress can not exceed what was driven."""
    env = make(bend, "lane_following", action="discrete", end_on=())
    seen, _ = env.reset(seed=0)
    start = seen["ego"][9]
    gained = 0.0
    for k in range(120):
        seen, *_, info = env.step(4 if k < 60 else 0)
        assert info["reward_terms"]["progress"] >= 0.0
        gained += info["reward_terms"]["progress"]
    assert gained <= 121.0 * 40.0 * 0.1 and math.isfinite(start)


def test_comfort_counts_excess_only(bend: RoadMap) -> None:
    env = make(bend, "lane_following", action="control")
    env.reset(seed=0)
    for _ in range(20):
        *_, gentle = env.step(np.array([0.5, 0.0]))
    *_, harsh = env.step(np.array([-8.0, 0.0]))
    assert gentle["reward_terms"]["comfort"] == 0.0
    assert harsh["reward_terms"]["comfort"] >= 0.1  # jerk to the double of its bound and more


# --- a Driver in the environment ----------------------------------------------------------------


def test_a_driver_drives_the_environment_as_it_does_the_simulator(junction: RoadMap) -> None:
    """Control as action: the same states as the simulator's own loop, to float32 of a control."""
    env = make(junction, agents=4, action="control")
    env.reset(seed=0)
    driver = make_driver("route-follower")
    driver.reset(env.scenario)
    simulator = Simulator()
    state = simulator.reset([env.scenario])
    for _ in range(50):
        control: Control = driver.act(env.observation)
        action = np.array([control.acceleration, control.steering], np.float32)
        env.step(action)
        state = simulator.step(state, action[None])
    ours, theirs = env.observation.ego, simulator.observe(state).ego
    assert float(ours.x) == float(theirs.x) and float(ours.speed) == float(theirs.speed)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"observatoin": "bev"}, 'unknown option "observatoin"; did you mean "observation"'),
        ({"observation": "lidar"}, 'unknown observation "lidar"'),
        ({"action": "contineous"}, 'did you mean "continuous"'),
        ({"scenario": "dense_twon"}, 'did you mean "dense_town"'),
        ({"reward": {"progres": 1.0}}, 'did you mean "progress"'),
        ({"reward": {"progress": float("nan")}}, "reward weight progress is nan"),
        ({"reward": 3.0}, "reward is 3.0"),
        ({"pool": 0}, "pool is 0"),
        ({"pool": [1, -2]}, "pool is [1, -2]"),
        ({"pool": "many"}, "pool is 'many'"),
        ({"max_seconds": -1.0}, "max_seconds is -1.0"),
        ({"end_on": ("crash",)}, 'unknown ending in end_on "crash"'),
        ({"bev": {"pixels": 3}}, 'unknown option of bev "pixels"'),
        ({"bev": {"width": 2}}, "bev is 2 x 96 px"),
        ({"max_tracks": 0}, "max_tracks is 0"),
        ({"parameters": {"speed": 3.0}}, 'unknown parameter of dense_town "speed"'),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_bad_options_are_said_in_one_line(options: dict, said: str) -> None:
    with pytest.raises(RoadloopError) as error:
        gymnasium.make(sim.envs.DRIVE, **options)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_bad_option_is_an_error_of_gymnasium_too() -> None:
    with pytest.raises(gymnasium.error.Error):
        drive_config({"nothing": 1})
    assert issubclass(OptionError, RoadloopError)


@pytest.mark.parametrize(
    ("kind", "action", "said"),
    [
        ("continuous", [0.0, float("nan")], "outside the action space"),
        ("continuous", [0.0, 0.0, 0.0], "actions have shape"),
        ("discrete", CHOICES, "outside the action space"),
        ("discrete", -1, "outside the action space"),
    ],
)
def test_bad_actions(bend: RoadMap, kind: str, action: object, said: str) -> None:
    env = make(bend, "lane_following", action=kind)
    with pytest.raises(RoadloopError, match="reset"):
        env.step(env.action_space.sample())
    env.reset(seed=0)
    with pytest.raises(RoadloopError, match=said):
        env.step(action)


def test_too_many_road_users_for_the_full_view(junction: RoadMap) -> None:
    env = make(junction, agents=6, observation="full", max_tracks=3)
    with pytest.raises(OptionError, match="max_tracks is 3: raise it"):
        env.reset(seed=0)


def test_a_render_mode_that_does_not_exist(bend: RoadMap) -> None:
    with pytest.raises(OptionError, match="render_mode is 'ascii': choose rgb_array or None"):
        DriveEnv(map=bend, scenario="lane_following", render_mode="ascii")


def test_reset_options(bend: RoadMap) -> None:
    env = make(bend, "lane_following")
    for options in ({"seed": 3}, {"scenario_seed": -1}):
        with pytest.raises(OptionError):
            env.reset(options=options)


# --- cameras ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_rig() -> SensorRig:
    return resized(load_rig("compact-3cam"), 0.25)


def test_cameras_see_and_gymnasium_finds_nothing_wrong(
    junction: RoadMap, small_rig: SensorRig
) -> None:
    env = make(junction, agents=8, observation="cameras", rig=small_rig)
    check_env(env, skip_render_check=True)
    seen, _ = env.reset(seed=0)
    assert seen["front"].shape == (32, 64, 3) and set(seen) == {
        "front", "front-left", "front-right", "ego", "route",
    }  # fmt: skip
    views = [seen[c.name] for c in small_rig.cameras]
    assert all(view.std() > 10.0 for view in views)  # road, houses and sky, not one colour
    assert (views[0] != views[1]).mean() > 0.3
    for _ in range(20):
        later, *_ = env.step(np.array([1.0, 0.0]))
    assert (later["front"] != seen["front"]).mean() > 0.2


def test_cameras_of_a_batch_are_those_of_single_worlds(
    junction: RoadMap, small_rig: SensorRig
) -> None:
    given = {
        "map": junction, "scenario": "red_light", "pool": 3, "agents": 4, "max_seconds": 1.0,
        "observation": "cameras", "rig": small_rig,
    }  # fmt: skip
    batch = gymnasium.make_vec(sim.envs.DRIVE, num_envs=2, **given)
    single = DriveEnv(**given)
    ours, _ = batch.reset(seed=4)
    alone, _ = single.reset(seed=5)
    for _ in range(9):
        assert all((ours[name][1] == alone[name]).all() for name in alone)
        ours, *_ = batch.step(np.tile([0.5, 0.1], (2, 1)))
        alone, *_ = single.step(np.array([0.5, 0.1]))


def test_a_rig_without_cameras() -> None:
    with pytest.raises(OptionError, match='rig "blind" has no cameras'):
        DriveEnv(scenario="lane_following", observation="cameras", rig=SensorRig("blind"))
