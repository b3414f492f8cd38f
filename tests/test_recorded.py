"""Recorded drives closed loop: exact replay, road users that react, recorded lights, matching."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hand_map import HandLane, HandMap, HandSign, straight

from deploy.drivers import make_driver
from roadloop.cli import main
from roadloop.datasets.motion import ego_of_poses
from roadloop.errors import RoadloopError
from roadloop.logs.recording import Recording
from roadloop.logs.store import RolloutWriter, read_rollout
from roadloop.logs.writer import write_recording
from roadloop.maps.match import extended, match_drive
from roadloop.maps.path import route_path
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.rig import SensorRig
from roadloop.scoring.scores import judge
from roadloop.types import (
    AgentKind,
    AgentStates,
    Control,
    LightState,
    Observation,
    Rollout,
    Scenario,
    Trajectory,
)
from roadloop.types import VehicleParameters as Vehicle
from sim.recorded import recorded_scenario
from sim.run import drive_scenario
from sim.simulator import Simulator, SimWorld

DT = 0.1
STEPS = 81
NAN = float("nan")


def road() -> RoadMap:
    """Two lanes of 300 m side by side, eastwards; a light at 250 m of both."""
    return HandMap(
        [
            HandLane(straight((0.0, 0.0), (300.0, 0.0)), left=1),
            HandLane(straight((0.0, 3.5), (300.0, 3.5)), right=0),
        ],
        signs=[HandSign(SignalKind.TRAFFIC_LIGHT, lane, 250.0) for lane in (0, 1)],
    ).build()


ROAD = road()


def recording(
    *others: tuple[AgentKind, Callable[[np.ndarray], np.ndarray], Callable], **fields
) -> Recording:
    """An ego at 10 m/s from x = 40 m; others by kind, x(t) and (y(t), valid(t))."""
    t = np.arange(STEPS) * DT
    poses = np.broadcast_to(np.eye(4), (STEPS, 4, 4)).copy()
    poses[:, 0, 3] = 40.0 + 10.0 * t
    stamps = np.round(t * 1e6).astype(np.int64)
    count = len(others)
    shape = (STEPS, count)
    x = np.stack([o[1](t) for o in others], axis=-1) if others else np.zeros(shape)
    y = np.stack([o[2](t) for o in others], axis=-1) if others else np.zeros(shape)
    valid = np.isfinite(y)
    sizes = {AgentKind.PEDESTRIAN: (0.6, 0.6, 1.7)}
    size = np.array([sizes.get(o[0], (4.5, 1.8, 1.5)) for o in others]).reshape(-1, 3)
    vx, vy = np.gradient(x, t, axis=0), np.gradient(np.where(valid, y, 0.0), t, axis=0)
    length, width, height = (np.broadcast_to(size[:, k], shape).copy() for k in range(3))
    agents = AgentStates(
        id=np.broadcast_to(np.arange(1, count + 1), shape).copy(),
        kind=np.broadcast_to([int(o[0]) for o in others] or np.zeros(0), shape).astype(np.uint8),
        x=x, y=np.where(valid, y, 0.0), z=np.zeros(shape), heading=np.arctan2(vy, vx),
        vx=vx, vy=vy, length=length, width=width, height=height, valid=valid,
    )  # fmt: skip
    known = dict(
        name="drive", dataset="test", dt=DT, timestamp_us=stamps,
        ego=ego_of_poses(poses, stamps, Vehicle()), world_from_ego=poses, rig=SensorRig("none"),
        agents=agents, category=np.full(count, "car"), source_id=np.arange(count).astype(str),
        lights=np.zeros((STEPS, 2), np.uint8), load_map=lambda: ROAD,
    )  # fmt: skip
    return Recording(**{**known, **fields})


FOLLOWER = (AgentKind.CAR, lambda t: 22.0 + 10.0 * t, lambda t: 0.0 * t)
AHEAD = (AgentKind.CAR, lambda t: 70.0 + 10.0 * t, lambda t: 0.0 * t)
WALKER = (AgentKind.PEDESTRIAN, lambda t: 100.0 + 0.0 * t, lambda t: -6.0 + 1.2 * t)


class LateStarter:
    """Brakes for a while, then drives faster than the recorded ego."""

    name, sensors = "late", ()
    plan: Trajectory | None = None

    def reset(self, scenario: Scenario) -> None:
        pass

    def act(self, observation: Observation) -> Control:
        slow = observation.time < 0.9
        room = 16.0 - float(observation.ego.speed)
        return Control(np.array(-4.0 if slow else min(4.0, room)), np.array(0.0))


def driven(scenario: Scenario, driver: str) -> list[Observation]:
    steps: list[Observation] = []
    who = LateStarter() if driver == "late" else make_driver(driver)
    drive_scenario(scenario, who, SimWorld(), on_step=steps.append)
    return steps


def of(steps: list[Observation], number: int, name: str) -> np.ndarray:
    """(T,) a field of one road user, NaN where it is not there."""
    values = []
    for observation in steps:
        assert observation.tracks is not None
        states = observation.tracks.states
        row = np.flatnonzero(states.id == number)
        values.append(getattr(states, name)[row[0]] if len(row) else np.nan)
    return np.array(values)


def gap_behind_ego(steps: list[Observation], number: int) -> np.ndarray:
    """m between the follower's front bumper and the ego's rear one."""
    rear = np.array([o.ego.x - o.ego.vehicle.rear_overhang for o in steps])
    return rear - (of(steps, number, "x") + 2.25)


@pytest.mark.parametrize("reactive", [False, True])
def test_beside_the_recorded_ego_everybody_is_where_the_record_says(reactive: bool) -> None:
    """Tailgating, too: a follower 3 m behind that IDM would never keep."""
    tailgater = (AgentKind.CAR, lambda t: 32.9 + 10.0 * t, lambda t: 0.0 * t)
    log = recording(tailgater, AHEAD, WALKER)
    scenario = recorded_scenario(log, reactive=reactive)
    steps = driven(scenario, "recorded")
    assert len(steps) == STEPS
    np.testing.assert_allclose([o.ego.x for o in steps], log.ego.x, atol=1e-9)
    assert log.agents is not None
    for number in (1, 2, 3):
        np.testing.assert_allclose(of(steps, number, "x"), log.agents.x[:, number - 1], atol=1e-9)
        np.testing.assert_allclose(of(steps, number, "y"), log.agents.y[:, number - 1], atol=1e-9)


def test_only_those_who_react_brake_for_an_ego_that_stops() -> None:
    """The ego stands after about 14 m; who is replayed drives through it."""
    log = recording(FOLLOWER, AHEAD)
    replayed = gap_behind_ego(driven(recorded_scenario(log), "stationary"), 1)
    assert replayed.min() < -1.0
    steps = driven(recorded_scenario(log, reactive=True), "stationary")
    reacted = gap_behind_ego(steps, 1)
    assert reacted.min() > 0.3 and of(steps, 1, "speed")[-1] < 0.1
    np.testing.assert_allclose(of(steps, 1, "y"), 0.0, atol=1e-6)  # along its recorded path
    assert log.agents is not None  # who drives ahead has no reason to brake
    np.testing.assert_allclose(of(steps, 2, "x"), log.agents.x[:, 1], atol=1e-9)


def test_those_held_up_hold_up_others() -> None:
    """A second car behind the follower reacts to the follower, not to the ego."""
    second = (AgentKind.CAR, lambda t: 8.0 + 10.0 * t, lambda t: 0.0 * t)
    steps = driven(recorded_scenario(recording(FOLLOWER, second), reactive=True), "stationary")
    between = of(steps, 1, "x") - of(steps, 2, "x") - 4.5
    assert np.nanmin(between) > 0.3 and of(steps, 2, "speed")[-1] < 0.5


def test_who_was_held_up_catches_up_with_the_record() -> None:
    """Never ahead of it, and to the digit on it again."""

    log = recording(FOLLOWER)
    steps = driven(recorded_scenario(log, reactive=True), "late")
    assert log.agents is not None
    behind = log.agents.x[: len(steps), 0] - of(steps, 1, "x")
    assert behind.max() > 0.5 and behind.min() > -1e-6
    assert abs(behind[-1]) < 1e-6


def test_where_the_record_ends_vehicles_go_on_and_walkers_are_gone() -> None:
    def until(moment: float, y: Callable) -> Callable:
        return lambda t: np.where(t < moment, y(t), NAN)

    ends = (AgentKind.CAR, AHEAD[1], until(3.0, AHEAD[2]))
    walker = (AgentKind.PEDESTRIAN, WALKER[1], until(3.0, WALKER[2]))
    log = recording(ends, walker)
    steps = driven(recorded_scenario(log, reactive=True), "recorded")
    x = of(steps, 1, "x")
    assert np.isfinite(x).all() and x[-1] > 120.0 and (np.diff(x) > 0.0).all()
    assert np.isnan(of(steps, 2, "x")[31:]).all()
    steps = driven(recorded_scenario(log), "recorded")
    assert np.isnan(of(steps, 1, "x")[31:]).all()


def test_who_enters_the_scene_behind_a_queue_stops_there() -> None:
    """Its record begins some 8 m behind where the ego stands, with 20 m/s."""
    comes = lambda t: np.where(t < 3.2, NAN, 0.0 * t)  # noqa: E731
    log = recording((AgentKind.CAR, lambda t: -22.0 + 20.0 * t, comes))
    gap = gap_behind_ego(driven(recorded_scenario(log, reactive=True), "stationary"), 1)
    assert np.isnan(gap[:32]).all() and np.nanmin(gap) > 0.3
    assert np.isfinite(gap[33:]).all()


def test_nobody_appears_beyond_the_queue_that_kept_him_out() -> None:
    """Its record begins in the standing ego and drives out of it in front."""
    comes = lambda t: np.where(t < 3.0, NAN, 0.0 * t)  # noqa: E731
    log = recording((AgentKind.CAR, lambda t: 22.0 + 10.0 * t, comes))
    steps = driven(recorded_scenario(log, reactive=True), "stationary")
    assert np.isnan(of(steps, 1, "x")).all()


def test_nobody_stands_still_at_speed_where_a_late_record_has_a_gap() -> None:
    """Held up, he comes to the place from which he was hidden for 6 s after the record did."""
    hidden = lambda t: np.where((t > 2.0) & (t < 8.0), NAN, 0.0 * t)  # noqa: E731
    log = recording((AgentKind.CYCLIST, FOLLOWER[1], hidden))
    steps = driven(recorded_scenario(log, reactive=True), "late")
    x, speed = of(steps, 1, "x"), of(steps, 1, "speed")
    there = np.isfinite(x[1:]) & np.isfinite(x[:-1])
    moved, driven_at = np.diff(x)[there], 0.5 * (speed[1:] + speed[:-1])[there]
    np.testing.assert_allclose(moved, DT * driven_at, atol=0.21)
    assert np.isnan(x[60])


def test_who_catches_up_does_not_jump() -> None:
    """The last half metre behind the record, too, at 1 m/s more than the record."""
    steps = driven(recorded_scenario(recording(FOLLOWER), reactive=True), "late")
    x, speed = of(steps, 1, "x"), of(steps, 1, "speed")
    assert np.abs(np.diff(x) - DT * 0.5 * (speed[1:] + speed[:-1])).max() < 0.16


def test_who_backs_up_stops_for_those_behind_and_not_for_those_ahead() -> None:
    """From 80 m backwards at 4 m/s; the ego stands at 54 m, and was recorded to be gone."""
    log = recording((AgentKind.CAR, lambda t: 80.0 - 4.0 * t, lambda t: 0.0 * t))
    assert log.agents is not None
    log = dataclasses.replace(
        log, agents=dataclasses.replace(log.agents, heading=0.0 * log.agents.heading)
    )
    steps = driven(recorded_scenario(log, reactive=True), "stationary")
    front = np.array([o.ego.x + o.ego.vehicle.length - o.ego.vehicle.rear_overhang for o in steps])
    x, vx = of(steps, 1, "x"), of(steps, 1, "vx")
    assert (x - 2.25 - front).min() > 0.3 and abs(vx[-1]) < 0.3
    assert vx.max() < 0.1 and vx.min() > -4.1 and (np.diff(x) < 1e-6).all()


def test_short_gaps_are_filled_and_long_ones_are_not() -> None:
    def hidden(a: float, b: float) -> Callable:
        return lambda t: np.where((t > a) & (t < b), NAN, 0.0 * t)

    log = recording(
        (AgentKind.CAR, AHEAD[1], hidden(2.0, 2.9)), (AgentKind.CAR, FOLLOWER[1], hidden(2.0, 4.9))
    )
    steps = driven(recorded_scenario(log), "recorded")
    np.testing.assert_allclose(of(steps, 1, "x"), 70.0 + 10.0 * np.arange(STEPS) * DT, atol=1e-6)
    assert np.isnan(of(steps, 2, "x")[22:48]).all() and np.isfinite(of(steps, 2, "x")[50:]).all()


def test_lights_are_as_recorded() -> None:
    states = np.zeros((STEPS, 2), np.uint8)
    states[:30, 0], states[30:, 0], states[:, 1] = LightState.RED, LightState.GREEN, 3
    steps = driven(recorded_scenario(recording(lights=states)), "recorded")
    seen = np.stack([o.lights for o in steps if o.lights is not None])
    np.testing.assert_array_equal(seen, states)


def test_a_batch_is_the_same_as_one_alone() -> None:
    log = recording(FOLLOWER, AHEAD, WALKER, lights=np.ones((STEPS, 2), np.uint8))
    scenarios = [recorded_scenario(log, reactive=r) for r in (True, False)]
    simulator = Simulator()
    together = simulator.reset(scenarios)
    alone = [simulator.reset([s]) for s in scenarios]
    later = simulator.reset([scenarios[1], scenarios[1]])
    later = simulator.restart(simulator.step(later, np.zeros((2, 2))), [0, 1], scenarios)
    for _ in range(40):
        together = simulator.step(together, np.full((2, 2), [-3.0, 0.0]))
        later = simulator.step(later, np.full((2, 2), [-3.0, 0.0]))
        alone = [simulator.step(s, np.array([[-3.0, 0.0]])) for s in alone]
    for w in range(2):
        ours, one = together.agents.numpy()[w], alone[w].agents.numpy()[0]
        again = later.agents.numpy()[w]
        for name in ("x", "y", "heading", "speed", "valid"):
            np.testing.assert_array_equal(ours[name], one[name])
            np.testing.assert_array_equal(ours[name], again[name])
        assert together.lights.numpy()[w].tolist() == again_lights(later, w)


def again_lights(state, world: int) -> list[int]:
    return state.lights.numpy()[world].tolist()


def test_scores_know_the_expert_and_the_log_keeps_it(tmp_path: Path) -> None:
    scenario = recorded_scenario(recording(AHEAD))
    found: dict[str, Rollout] = {}
    for name in ("recorded", "stationary"):
        with RolloutWriter(tmp_path / name, scenario, name) as writer:
            drive_scenario(scenario, make_driver(name), SimWorld(), writer=writer)
        found[name] = read_rollout(tmp_path / name)
        expert = found[name].expert
        assert expert is not None and scenario.expert is not None
        np.testing.assert_array_equal(expert.x, scenario.expert.x)
    nuplan = {name: judge(r, ROAD)[1] for name, r in found.items()}
    assert "route as expert" not in nuplan["recorded"].version
    assert nuplan["recorded"].value == 1.0
    assert (nuplan["stationary"].value or 0.0) < 0.6
    assert main(["score", str(tmp_path / "recorded")]) == 0  # by the map beside the tables


def test_the_verb_replays_logs_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_recording(recording(FOLLOWER), tmp_path / "logs" / "one")
    write_recording(recording(AHEAD, load_map=None), tmp_path / "logs" / "two")
    command = [
        "replay", str(tmp_path / "logs"), "--driver", "recorded,stationary", "--reactive",
        "--workers", "1", "--out", str(tmp_path / "out"), "--replays", "none",
    ]  # fmt: skip
    assert main(command) == 2
    said = capsys.readouterr().out
    assert "100.0" in said and "not replayed: two: " in said and "no map to drive on" in said
    assert (tmp_path / "out/recorded/index.html").is_file()


def test_a_driver_nobody_knows_is_found_before_anybody_drives(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_recording(recording(FOLLOWER), tmp_path / "logs" / "one")
    command = ["replay", str(tmp_path / "logs"), "--driver", "stationary,idn", "--workers", "1"]
    assert main([*command, "--out", str(tmp_path / "out")]) != 0
    assert "idn" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"agents": None}, "has no labelled road users"),
        ({"load_map": None}, "has no map to drive on"),
        ({"continuous": False}, "is single frames, not a drive"),
        ({"lights": np.zeros((STEPS, 3), np.uint8)}, "has 3 lights, its map 2 signals"),
    ],
)
def test_what_cannot_be_replayed_says_why(fields: dict, said: str) -> None:
    with pytest.raises(RoadloopError, match=said):
        recorded_scenario(recording(AHEAD, **fields))


def test_a_part_of_a_recording() -> None:
    scenario = recorded_scenario(recording(AHEAD), start=2.0, seconds=3.0)
    assert scenario.duration == pytest.approx(3.0) and float(scenario.ego.x) == pytest.approx(60.0)
    with pytest.raises(RoadloopError, match="nothing is left of it after 9 s"):
        recorded_scenario(recording(AHEAD), start=9.0)
    for start in (-1.0, NAN):
        with pytest.raises(RoadloopError, match=r"start is .* s; it must be 0 or more"):
            recorded_scenario(recording(AHEAD), start=start)
    for seconds in (0.0, 0.05, NAN):
        with pytest.raises(RoadloopError, match=r"less than a step of 0\.1 s"):
            recorded_scenario(recording(AHEAD), seconds=seconds)


def test_road_users_begin_at_the_height_where_they_are() -> None:
    """Up a ramp of 1 m/s; by where they were first seen they would be on another level."""
    log = recording(AHEAD)
    assert log.agents is not None
    z = np.broadcast_to((np.arange(STEPS) * DT)[:, None], log.agents.z.shape)
    log = dataclasses.replace(log, agents=dataclasses.replace(log.agents, z=z))
    assert recorded_scenario(log, start=5.0).agents.states.z == pytest.approx([5.0])


def test_worlds_share_what_was_recorded() -> None:
    scenario = recorded_scenario(recording(AHEAD, lights=np.ones((STEPS, 2), np.uint8)))
    one, many = (Simulator().reset([scenario] * n).fixed for n in (1, 3))
    assert len(one.light_record) == len(many.light_record) == 1 + 2 * STEPS
    assert len(one.replay) == len(many.replay) == 1 + 2 * STEPS


def test_worlds_whose_records_differ_in_length() -> None:
    """Each has its own lights and motions, also after it was restarted with another's."""
    states = np.tile(np.arange(STEPS)[:, None] % 4 + 1, 2).astype(np.uint8)
    log = recording(AHEAD, lights=states)
    scenarios = [recorded_scenario(log, start=start) for start in (0.0, 3.0)]
    simulator = Simulator()
    state = simulator.reset(scenarios)
    for _ in range(10):
        state = simulator.step(state, np.zeros((2, 2)))
    assert state.lights.numpy()[:, 0].tolist() == [states[10, 0], states[40, 0]]
    state = simulator.restart(state, [0], [scenarios[1]])
    for _ in range(60):
        state = simulator.step(state, np.zeros((2, 2)))
    # of the second one 50 steps were left: its lights stay
    assert state.lights.numpy()[:, 0].tolist() == [states[80, 0], states[80, 0]]
    np.testing.assert_allclose(state.agents.numpy()["x"][:, 1], 70.0 + 10.0 * 8.0, atol=1e-9)


@pytest.mark.parametrize(("name", "ahead"), [("stationary", 0.0), ("constant-velocity", 40.0)])
def test_blind_drivers_say_what_they_mean_to_do(name: str, ahead: float) -> None:
    driver = make_driver(name)
    scenario = recorded_scenario(recording(AHEAD))
    last = drive_scenario(dataclasses.replace(scenario, duration=1.0), driver, SimWorld())
    assert driver.plan is not None and driver.reason and driver.name == name
    assert driver.plan.x[-1] - last.ego.x == pytest.approx(ahead, abs=0.01)


def test_the_expert_says_what_was_driven_next() -> None:
    driver = make_driver("recorded")
    log = recording(AHEAD)
    scenario = recorded_scenario(log)
    drive_scenario(dataclasses.replace(scenario, duration=1.0), driver, SimWorld())
    assert driver.plan is not None and driver.name == "recorded"
    np.testing.assert_allclose(driver.plan.x[:20], log.ego.x[10:30], atol=1e-9)


def test_the_expert_needs_a_recorded_drive() -> None:
    scenario = dataclasses.replace(recorded_scenario(recording(AHEAD)), expert=None)
    with pytest.raises(RoadloopError, match="no recorded ego"):
        drive_scenario(scenario, make_driver("recorded"), SimWorld())


# --- map matching -------------------------------------------------------------------------------


def fork() -> RoadMap:
    """Lane 0, beside it lane 1; lane 0 leads to 2 (straight on) and 3 (off to the right)."""
    right = np.array([[100.0, 0.0], [120.0, -2.0], [140.0, -8.0], [170.0, -25.0]])
    return HandMap(
        [
            HandLane(straight((0.0, 0.0), (100.0, 0.0)), successors=(2, 3), left=1),
            HandLane(straight((0.0, 3.5), (100.0, 3.5)), right=0),
            HandLane(straight((100.0, 0.0), (200.0, 0.0))),
            HandLane(right),
        ]
    ).build()


def drive(points: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y, heading every half metre along straight pieces."""
    xy = np.array(points)
    s = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])
    grid = np.arange(0.0, s[-1], 0.5)
    x, y = (np.interp(grid, s, xy[:, k]) for k in range(2))
    return x, y, np.arctan2(np.gradient(y), np.gradient(x))


def test_a_drive_is_matched_through_a_lane_change_and_a_fork() -> None:
    road_map = fork()
    x, y, heading = drive([(10, 3.6), (50, 3.4), (70, 0.1), (100, 0.0), (120, -2.0), (150, -13.0)])
    matched = match_drive(road_map, x, y, heading)
    assert matched.route.lanes.tolist() == [1, 0, 3]
    assert matched.route.start_s == pytest.approx(10.0, abs=0.1)
    assert (matched.first, matched.last) == (0, len(x) - 1)


def test_the_route_begins_at_the_rear_axle() -> None:
    scenario = recorded_scenario(recording())
    begin = route_path(scenario.road_map, scenario.route).xyz[0, :2]
    assert begin == pytest.approx([float(scenario.ego.x), float(scenario.ego.y)], abs=0.01)


def test_a_start_beside_the_road_is_left_out() -> None:
    x, y, heading = drive([(5, -30), (20, -5.5), (30, 0.0), (190, 0.0)])
    matched = match_drive(fork(), x, y, heading)
    assert matched.route.lanes.tolist() == [0, 2] and matched.first > 10


def test_a_standing_car_has_a_route() -> None:
    x = np.full(20, 42.0)
    route = match_drive(fork(), x, np.zeros(20), np.zeros(20)).route
    longer = extended(fork(), route, 80.0)
    assert longer.lanes.tolist() == [0, 2] and longer.goal_s == pytest.approx(22.0, abs=0.6)


def test_a_drive_on_no_lane_is_an_error() -> None:
    x, y, heading = drive([(0, 40), (50, 40)])
    with pytest.raises(RoadloopError, match="on no lane of map"):
        match_drive(fork(), x, y, heading)


def ring() -> RoadMap:
    """Lane 4 leads into a ring of lanes 0 to 3, 20 m in radius."""
    quarter = np.linspace(0.0, np.pi / 2, 30)
    lanes = [
        HandLane(
            20.0
            * np.column_stack([np.cos(quarter + k * np.pi / 2), np.sin(quarter + k * np.pi / 2)]),
            successors=((k + 1) % 4,),
        )
        for k in range(4)
    ]
    return HandMap(
        [*lanes, HandLane(straight((20.0, -60.0), (20.0, 0.0)), successors=(0,))]
    ).build()


def test_twice_around_a_roundabout() -> None:
    turn = np.linspace(0.0, 5.0 * np.pi, 300)
    points = [(20.0, -60.0), *zip(20.0 * np.cos(turn), 20.0 * np.sin(turn), strict=True)]
    matched = match_drive(ring(), *drive(points))
    assert matched.route.lanes.tolist() == [4, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    longer = extended(ring(), matched.route, 50.0)  # nor does the end go round for ever
    assert longer.lanes.tolist() == matched.route.lanes.tolist()


def test_a_drive_that_turns_back_is_followed_up_to_there() -> None:
    road_map = HandMap(
        [HandLane(straight((0.0, 0.0), (200.0, 0.0))), HandLane(straight((200.0, 3.5), (0.0, 3.5)))]
    ).build()
    x, y, heading = drive([(10, 0), (100, 0), (102, 1.7), (100, 3.5), (40, 3.5)])
    matched = match_drive(road_map, x, y, heading)
    assert matched.route.lanes.tolist() == [0] and matched.first == 0
    assert x[matched.last] == pytest.approx(100.0, abs=4.0)


def test_a_drive_with_some_reversing_in_it_is_one_route() -> None:
    x = np.concatenate([np.arange(10, 90, 0.5), np.arange(90, 75, -0.5), np.arange(75, 99, 0.5)])
    matched = match_drive(fork(), x, 0.0 * x, 0.0 * x)
    assert matched.route.lanes.tolist() == [0]
    assert (matched.first, matched.last) == (0, len(x) - 1)


def test_a_drive_that_leaves_the_map_is_matched_where_it_is_longest() -> None:
    x, y, heading = drive([(10, 0), (60, 0), (70, -15), (80, -15), (90, 0), (190, 0)])
    matched = match_drive(fork(), x, y, heading)
    assert matched.route.lanes.tolist() == [0, 2] and x[matched.first] > 80.0
    x, y, heading = drive([(10, 0), (60, 0), (65, -6), (72, -6), (77, 0), (190, 0)])
    assert match_drive(fork(), x, y, heading).first == 0  # a swerve


def test_bridges_are_told_apart_by_height() -> None:
    under, over = ([(x, 0.2 * k, 6.0 * k) for x in np.linspace(0.0, 100.0, 11)] for k in range(2))
    road_map = HandMap([HandLane(np.array(under)), HandLane(np.array(over))]).build()
    x, y, heading = drive([(10, 0.1), (90, 0.1)])
    for level in range(2):
        route = match_drive(road_map, x, y, heading, np.full(len(x), 6.0 * level)).route
        assert route.lanes.tolist() == [level]
    with pytest.raises(RoadloopError, match="of it and of its height"):
        match_drive(road_map, x, y, heading, np.full(len(x), 20.0))
