"""How the simulator's state looks: poses on the road, lamps, strides, batches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hand_map import HandLane, HandMap, straight
from sim_worlds import scenario_on

from roadloop.geometry import rotation_from_euler, transform_points
from roadloop.maps.generate import generate_map
from roadloop.maps.road_map import RoadMap
from roadloop.types import Action, AgentKind, Behaviour, Trigger
from roadloop.weather import named_weather
from sim.actors.appearance import actors_of, frame_of
from sim.actors.models import MODELS
from sim.actors.turns import turning_side
from sim.population import RoadUser, replayed, traffic, user_on
from sim.render.frame import Lamp
from sim.simulator import Simulator
from sim.state import SimState

SIDES = Lamp.INDICATOR_LEFT | Lamp.INDICATOR_RIGHT
SLOPE_X, SLOPE_Y = 0.08, -0.05
"""of the tilted plane"""


def tilted_map() -> RoadMap:
    """Two lanes and a diagonal third on the plane z = 20 + SLOPE_X x + SLOPE_Y y."""
    lanes = []
    ways = [((0.0, -1.75), (300.0, -1.75)), ((0.0, 1.75), (300.0, 1.75)), ((0.0, 60.0), (90, 150))]
    for k, (start, end) in enumerate(ways):
        xy = straight(start, end)
        z = 20.0 + xy @ [SLOPE_X, SLOPE_Y]
        along = (xy[-1] - xy[0]) / np.linalg.norm(xy[-1] - xy[0])
        rise_left = float(np.array([-along[1], along[0]]) @ [SLOPE_X, SLOPE_Y])
        beside = [{"left": 1}, {"right": 0}, {}][k]
        lanes.append(
            HandLane(np.column_stack([xy, z]), road=str(k), number=k - 2,
                     bank=float(np.arctan(rise_left)), **beside)
        )  # fmt: skip
    return HandMap(lanes).build()


TILTED = tilted_map()
AVENUE = HandMap(
    [
        HandLane(straight((0.0, -1.75), (600.0, -1.75)), number=-2, left=1),
        HandLane(straight((0.0, 1.75), (600.0, 1.75)), number=-1, right=0),
    ]
).build()


def started(road_map: RoadMap, *users: RoadUser, weather: str = "clear", **options) -> SimState:
    scenario = scenario_on(road_map, users, **options)
    return Simulator().reset([dataclasses.replace(scenario, weather=named_weather(weather))])


def stepped(state: SimState, steps: int) -> list[SimState]:
    """``steps`` + 1 states, nobody touches the egos' controls."""
    states, simulator = [state], Simulator()
    for _ in range(steps):
        states.append(simulator.step(states[-1], np.zeros((state.agents.shape[0], 2))))
    return states


def test_agents_stand_on_the_slope() -> None:
    """Also beside the centreline and turned against it, every corner touches the plane."""
    users = [
        user_on(TILTED, 0, 40.0),
        user_on(TILTED, 1, 80.0, AgentKind.TRUCK, lateral_offset=0.8),
        user_on(TILTED, 2, 50.0, AgentKind.BUS, lateral_offset=-0.5),
    ]
    state = started(TILTED, *users, ego=(1, 20.0), lateral=-0.4, turn=0.35)
    actors = actors_of(state)
    for i in range(4):
        model = MODELS[actors.model[0, i]]
        size = np.array([model.length, model.width, model.height]) * actors.scale[0, i]
        corners = np.array([(x, y, 0.0) for x in (-0.5, 0.5) for y in (-0.5, 0.5)]) * size
        world = transform_points(actors.world_from_actor[0, i], corners)
        plane = 20.0 + world[:, :2] @ [SLOPE_X, SLOPE_Y]
        np.testing.assert_allclose(world[:, 2], plane, atol=2e-3)


def test_pose_is_yaw_then_pitch_then_roll() -> None:
    """Uphill lifts the nose; the left side lies on the higher edge."""
    state = started(TILTED, ego=(0, 20.0), turn=0.3)
    rotation = actors_of(state).world_from_actor[0, 0, :3, :3]
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
    up = np.array([-SLOPE_X, -SLOPE_Y, 1.0])
    np.testing.assert_allclose(rotation[:, 2], up / np.linalg.norm(up), atol=1e-5)
    pitch = -np.arctan(SLOPE_X * np.cos(0.3) + SLOPE_Y * np.sin(0.3))
    roll = np.arctan2(rotation[2, 1], rotation[2, 2])
    np.testing.assert_allclose(rotation, rotation_from_euler(roll, pitch, 0.3), atol=1e-6)


def test_walkers_stand_upright_on_slopes() -> None:
    walker = RoadUser(AgentKind.PEDESTRIAN, 50.0, 6.0, 1.0, 0.5, 0.5, 1.7, z=24.0,
                      behaviour=Behaviour.WALK, walk_to=(50.0, -6.0))  # fmt: skip
    pose = actors_of(started(TILTED, walker)).world_from_actor[0, 1]
    np.testing.assert_allclose(pose[:3, :3], rotation_from_euler(0.0, 0.0, 1.0), atol=1e-6)
    np.testing.assert_allclose(pose[:3, 3], [50.0, 6.0, 24.0])


def test_scale_velocity_and_ids() -> None:
    users = [user_on(AVENUE, 0, 40.0, speed=7.0), user_on(AVENUE, 1, 90.0, AgentKind.TRUCK)]
    state = started(AVENUE, *users, ego=(0, 100.0), speed=5.0)
    actors = actors_of(state)
    assert actors.id.tolist() == [[0, 1, 2]]
    for i, user in ((1, users[0]), (2, users[1])):
        model = MODELS[actors.model[0, i]]
        assert model.kind == user.kind
        size = actors.scale[0, i] * [model.length, model.width, model.height]
        np.testing.assert_allclose(size, [user.length, user.width, user.height], rtol=1e-6)
    np.testing.assert_allclose(actors.velocity[0, :2], [[5, 0, 0], [7, 0, 0]], atol=1e-5)


def test_who_is_not_there_is_not_drawn() -> None:
    motion = np.array([[100.0 + k, 1.75, 0.0, 10.0] for k in range(20)])
    motion[:5] = np.nan
    motion[15:] = np.nan
    states = stepped(started(AVENUE, replayed(AgentKind.CAR, motion, 4.5, 1.8, 1.5)), 19)
    drawn = [bool(actors_of(s).model[0, 1] >= 0) for s in states]
    assert drawn == [5 <= k < 15 for k in range(20)]
    assert all(actors_of(s).lamps[0, 1] == 0 for s in (states[2], states[17]))
    # Where it appears it has not moved; a step later it has come one metre.
    new = actors_of(states[5], states[4])
    np.testing.assert_array_equal(new.previous_world_from_actor, new.world_from_actor)
    later = actors_of(states[6], states[5])
    moved = later.world_from_actor[0, 1, :3, 3] - later.previous_world_from_actor[0, 1, :3, 3]
    np.testing.assert_allclose(moved, [1.0, 0.0, 0.0], atol=1e-9)


def test_brake_lamps() -> None:
    braking = user_on(AVENUE, 0, 60.0, speed=12.0, trigger=Trigger.TIME, trigger_value=1.0,
                      action=Action.BRAKE, action_rate=4.0, politeness=-1.0)  # fmt: skip
    parked = user_on(AVENUE, 1, 300.0, behaviour=Behaviour.STATIC)
    states = stepped(started(AVENUE, braking, parked, ego=(1, 30.0), speed=10.0), 60)
    lit = np.array([(actors_of(s).lamps[0] & Lamp.BRAKE) > 0 for s in states])
    agents = np.stack([s.agents.numpy()[0] for s in states])
    assert not lit[8, 1] and lit[20, 1]
    assert agents["speed"][-1, 1] < 0.05 and lit[-1, 1]  # it holds the brake
    np.testing.assert_array_equal(
        lit[:, 1], (agents["acceleration"][:, 1] < -0.6) | (agents["speed"][:, 1] < 0.05)
    )
    assert not lit[:, 2].any()  # nobody sits in a parked car
    assert not lit[:, 0].any()
    held = Simulator().step(states[10], np.array([[-3.0, 0.0]]))
    held = Simulator().step(held, np.array([[-3.0, 0.0]]))
    assert actors_of(held).lamps[0, 0] & Lamp.BRAKE


def test_headlights_in_the_dark() -> None:
    users = [
        user_on(AVENUE, 0, 60.0, speed=9.0),
        user_on(AVENUE, 0, 30.0, AgentKind.MOTORCYCLE, speed=9.0),
        user_on(AVENUE, 0, 10.0, AgentKind.CYCLIST, speed=4.0),
        user_on(AVENUE, 1, 60.0, kind=AgentKind.STATIC, behaviour=Behaviour.STATIC),
    ]  # fmt: skip
    night, day = (
        actors_of(started(AVENUE, *users, weather=w)).lamps[0] for w in ("clear-night", "clear")
    )
    assert [bool(v & Lamp.HEADLIGHT) for v in night] == [True, True, True, False, False]
    assert not (day & Lamp.HEADLIGHT).any()


@pytest.mark.parametrize("action", [Action.CHANGE_LEFT, Action.CHANGE_RIGHT])
def test_lane_changes_are_indicated(action: Action) -> None:
    left = action == Action.CHANGE_LEFT
    user = user_on(AVENUE, 0 if left else 1, 50.0, speed=12.0, politeness=-1.0, action=action,
                   trigger=Trigger.TIME, trigger_value=2.0)  # fmt: skip
    states = stepped(started(AVENUE, user, dt=0.05), 160)
    lamps = np.array([actors_of(s).lamps[0, 1] for s in states])
    changing = np.array([s.agents.numpy()["change"][0, 1] < 1.0 for s in states])
    assert changing.sum() > 60
    own, other = (Lamp.INDICATOR_LEFT, Lamp.INDICATOR_RIGHT)[:: 1 if left else -1]
    on = (lamps & own) > 0
    assert not (lamps & other).any() and not on[~changing].any()
    assert 0.4 < on[changing].mean() < 0.6
    # 1.5 Hz: three edges a second
    edges = np.count_nonzero(np.diff(on[changing].astype(int)))
    assert edges == pytest.approx(3.0 * changing.sum() * 0.05, abs=1.5)


@pytest.mark.parametrize("family", ["t_junction", "four_way"])
def test_turns_of_a_junction(family: str) -> None:
    """As many ways turn left as right; those across traffic, to the left, are the longer ones."""
    m = generate_map(family, seed=2)
    side = turning_side(m)
    inside = (m.lane_junction >= 0) & m.is_travel
    assert not side[~inside].any()
    assert (side[inside] == 1).sum() == (side[inside] == -1).sum() > 0
    assert m.lane_length[side == 1].mean() > m.lane_length[side == -1].mean()


def test_going_round_a_roundabout_is_not_indicated() -> None:
    m = generate_map("roundabout", seed=1)
    side = turning_side(m)
    assert not (side == 1).any() and (side == -1).any()


def test_turns_are_indicated_from_30_m_before() -> None:
    m = generate_map("four_way", seed=2)
    side = turning_side(m)
    for want, lamp in ((1, Lamp.INDICATOR_LEFT), (-1, Lamp.INDICATOR_RIGHT), (0, None)):
        lane, turn = next(
            (k, int(t)) for k in np.flatnonzero(m.is_travel & (m.lane_length > 60.0))
            for t in m.successors_of(int(k)) if side[t] == want and m.lane_junction[t] >= 0
        )  # fmt: skip
        seen = {}
        for before in (40.0, 25.0, 3.0):
            s = float(m.lane_length[lane]) - before
            user = user_on(m, int(lane), s, speed=3.0, route=(int(lane), turn))
            states = stepped(started(m, user), 7)  # more than one blink
            seen[before] = [int(actors_of(q).lamps[0, 1] & SIDES) for q in states]
        assert not any(seen[40.0])
        expected = {0} if lamp is None else {0, int(lamp)}
        assert set(seen[25.0]) == set(seen[3.0]) == expected


def test_walkers_stride_with_the_way_they_walk() -> None:
    walker = RoadUser(AgentKind.PEDESTRIAN, 50.0, 6.0, 0.0, 0.5, 0.5, 1.7, max_speed=1.4,
                      behaviour=Behaviour.WALK, walk_to=(56.8, 6.0), trigger=Trigger.TIME,
                      trigger_value=0.5, action=Action.WALK)  # fmt: skip
    states = stepped(started(AVENUE, walker, dt=0.05), 160)
    model = np.array([actors_of(s).model[0, 1] for s in states])
    walks = np.array([s.agents.numpy()["speed"][0, 1] > 0.05 for s in states])
    rest = model[0]
    assert MODELS[rest].frames == 6 and not walks[0] and walks.sum() > 80
    assert (model[~walks] == rest).all()
    frame = model[walks] - rest - 1
    assert set(frame.tolist()) == set(range(6))
    steps = np.diff(frame) % 6
    assert set(steps.tolist()) <= {0, 1}  # forward through the stride, no pose left out
    # 6.8 m at 0.8 x 1.7 m per stride are five of them
    assert steps.sum() == pytest.approx(6 * 6.8 / (0.8 * 1.7), abs=1.5)


def test_worlds_look_the_same_alone_and_in_a_batch() -> None:
    m = generate_map("four_way", seed=3)
    scenarios = [
        scenario_on(m, traffic(m, np.random.default_rng(k), 4 + 3 * k), seed=k) for k in range(3)
    ]
    batch = stepped(Simulator().reset(scenarios), 30)
    together = frame_of(batch[-1], batch[-2])
    assert together.time.tolist() == pytest.approx([3.0] * 3)
    assert together.lights.shape == (3, len(m.signal_id))
    for w, scenario in enumerate(scenarios):
        own = stepped(Simulator().reset([scenario]), 30)
        alone = frame_of(own[-1], own[-2])
        n = alone.actors.id.shape[1]
        for name, value in vars(alone.actors).items():
            np.testing.assert_array_equal(getattr(together.actors, name)[w, :n], value[0])
        assert (together.actors.model[w, n:] == -1).all()
        assert not together.actors.lamps[w, n:].any()
        np.testing.assert_array_equal(together.lights[w], alone.lights[0])


def test_a_restarted_world_begins_at_rest() -> None:
    """Its clock is at 0 and nobody has come from the scenario that was there before."""
    scenarios = [
        scenario_on(AVENUE, [user_on(AVENUE, 0, 50.0, speed=10.0)], seed=k) for k in (1, 2)
    ]
    simulator = Simulator()
    before = stepped(simulator.reset(scenarios), 5)[-1]
    other = scenario_on(AVENUE, [user_on(AVENUE, 1, s, speed=9.0) for s in (200.0, 240.0)], seed=9)
    after = simulator.restart(before, [1], [other])
    frame = frame_of(after, before)
    assert frame.time.tolist() == pytest.approx([0.5, 0.0])
    assert frame.actors.model.shape == (2, 3)
    now, then = frame.actors.world_from_actor, frame.actors.previous_world_from_actor
    np.testing.assert_array_equal(now[1], then[1])
    one = simulator.step(after, np.zeros((2, 2)))
    moved = actors_of(one, after)
    way = moved.world_from_actor[:, 1, 0, 3] - moved.previous_world_from_actor[:, 1, 0, 3]
    assert (way > 0.8).all()
    single = actors_of(simulator.reset([other]))
    np.testing.assert_array_equal(frame.actors.palette[1], single.palette[0])
    np.testing.assert_array_equal(frame.actors.model[1], single.model[0])
