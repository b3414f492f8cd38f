"""What counts as wrong: overlapping boxes, wheels off the road, driving against traffic."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hand_map import HandLane, HandMap, HandSign, straight
from sim_worlds import all_lights, record, scenario_on

from roadloop.geometry import box_corners, box_distance, boxes_overlap
from roadloop.maps.generate import generate_map
from roadloop.maps.road_map import LaneKind, RoadMap, SignalKind
from roadloop.types import AgentKind, Behaviour, LightState, VehicleParameters
from sim.population import RoadUser, user_on
from sim.simulator import Simulator
from sim.state import HIT, LEFT_MAP, OFF_ROAD, RED_LIGHT, WRONG_WAY

CAR = VehicleParameters()
WIDTH = 3.5  # m, of the lanes below
TOLERANCE = 0.3  # m a corner may overhang the road's edge


def two_way_road() -> RoadMap:
    """Lane 0 runs along +x at y = -1.75, lane 1 back at y = +1.75; 200 m."""
    there = HandLane(straight((0, -1.75), (200, -1.75)), width=WIDTH, opposite=1)
    back = HandLane(straight((200, 1.75), (0, 1.75)), width=WIDTH, number=1, opposite=0)
    return HandMap([there, back]).build()


ROAD = two_way_road()


def standing(x: float, y: float, heading: float, **changes: object) -> RoadUser:
    """A parked car."""
    fields: dict = {"length": 4.5, "width": 1.8, "height": 1.5} | changes
    return RoadUser(AgentKind.STATIC, x, y, heading, behaviour=Behaviour.STATIC, **fields)


def events_of_ego(road_map: RoadMap, place: tuple[float, float, float], speed: float) -> int:
    """Event bits after one step with the ego's box centre at (s, lateral, turn) of lane 0."""
    s, lateral, turn = place
    scenario = scenario_on(road_map, ego=(0, s), lateral=lateral, turn=turn, speed=speed, dt=0.001)
    simulator = Simulator()
    return int(record(simulator, simulator.reset([scenario]), 1).events[1, 0, 0])


# --- bodies -------------------------------------------------------------------------------------


def test_boxes_overlap_as_in_geometry() -> None:
    """3 000 random pairs, in map coordinates of many kilometres."""
    rng = np.random.default_rng(0)
    n, origin = 3000, np.array([3.1e5, 5.4e6])
    boxes = []
    for _ in range(2):
        xy = rng.uniform(-3.5, 3.5, (n, 2)) + origin
        boxes.append((xy, rng.uniform(-np.pi, np.pi, n), rng.uniform(0.4, 9.0, n),
                      rng.uniform(0.3, 2.6, n)))  # fmt: skip
    scenarios = []
    for k in range(n):
        (xy, heading, length, width), other = boxes
        vehicle = dataclasses.replace(CAR, length=length[k], width=width[k], rear_overhang=0.1)
        scenario = scenario_on(
            ROAD,
            [standing(*other[0][k], other[1][k], length=other[2][k], width=other[3][k])],
            vehicle=vehicle,
        )
        back, h = vehicle.centre_offset, heading[k]
        ego = dataclasses.replace(
            scenario.ego, heading=np.float64(h),
            x=np.float64(xy[k, 0] - back * np.cos(h)), y=np.float64(xy[k, 1] - back * np.sin(h)),
        )  # fmt: skip
        scenarios.append(dataclasses.replace(scenario, ego=ego))
    state = Simulator().reset(scenarios)
    events, hit = state.events.numpy(), state.hit.numpy()
    a, b = (box_corners(xy[:, 0], xy[:, 1], h, ln, w) for xy, h, ln, w in boxes)
    expected = boxes_overlap(a, b)
    shrunk, _ = (box_corners(xy[:, 0], xy[:, 1], h, ln - 2e-3, w - 2e-3) for xy, h, ln, w in boxes)
    touching = expected & ~boxes_overlap(shrunk, b) | ~expected & (box_distance(a, b) < 1e-3)
    assert touching.mean() < 0.01
    assert 0.3 < expected.mean() < 0.9
    sure = ~touching
    np.testing.assert_array_equal(((events[:, 0] & HIT) > 0)[sure], expected[sure])
    np.testing.assert_array_equal((events[:, 0] & HIT) > 0, (events[:, 1] & HIT) > 0)
    np.testing.assert_array_equal(hit, np.where((events & HIT) > 0, [1, 0], -1))


@pytest.mark.parametrize(("dz", "expected"), [(0.0, True), (1.5, True), (4.5, False)])
def test_boxes_on_different_levels_do_not_touch(dz: float, expected: bool) -> None:
    scenario = scenario_on(ROAD, [standing(51.0, -1.75, 0.4, z=dz)], ego=(0, 50.0))
    assert bool(Simulator().reset([scenario]).events.numpy()[0, 0] & HIT) is expected


def test_of_several_partners_the_first_is_named() -> None:
    parked = [standing(80.0, -1.75, 0.0), standing(52.0, -1.75, 0.0), standing(48.0, -1.75, 0.0)]
    state = Simulator().reset([scenario_on(ROAD, parked, ego=(0, 50.0))])
    assert state.hit.numpy()[0].tolist() == [2, -1, 0, 0]


def bridge(height: float) -> RoadMap:
    """A road along +x on the ground (lane 0) and one along +y across it, ``height`` m above."""
    over = np.column_stack([np.zeros(2), [-100.0, 100.0], np.full(2, height)])
    return HandMap([HandLane(straight((-100, 0), (100, 0))), HandLane(over, road="1")]).build()


@pytest.mark.parametrize("height", [6.0, 0.0])
def test_cars_pass_under_a_bridge(height: float) -> None:
    """A car parked on the bridge above the road neither stops traffic below nor is hit by it."""
    m = bridge(height)
    below = user_on(m, 0, 40.0, speed=13.0)
    simulator = Simulator()
    scenario = scenario_on(m, [below], ego=(1, 100.0))
    driven = record(simulator, simulator.reset([scenario]), 140)
    assert not (driven.events & HIT).any()
    if height > 0.0:
        assert not (driven.events[:, 0, 0] & OFF_ROAD).any()  # the bridge is a road as well
        assert driven.agents["x"][-1, 0, 1] > 10.0  # past the bridge
        assert driven.agents["speed"][:, 0, 1].min() > 12.0
        np.testing.assert_allclose(driven.agents["z"][:, 0], [[height, 0.0]] * 141, atol=1e-3)
    else:
        assert driven.agents["speed"][-1, 0, 1] < 0.1  # stands before the ego
        assert -8.0 < driven.agents["x"][-1, 0, 1] < -3.0


# --- ground -------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [0.0, 0.05, -0.05])
@pytest.mark.parametrize("speed", [0.0, 5.0])
def test_off_road_begins_a_hand_beyond_the_edge(turn: float, speed: float) -> None:
    """The road spans y from -3.5 to 3.5; a corner may overhang it by 0.3 m."""
    reach = 0.5 * CAR.length * abs(np.sin(turn)) + 0.5 * CAR.width * np.cos(turn)
    edge = -0.5 * WIDTH - TOLERANCE + reach  # lateral offset at which the corner meets the limit
    assert not events_of_ego(ROAD, (100.0, edge + 0.03, turn), speed) & OFF_ROAD
    assert events_of_ego(ROAD, (100.0, edge - 0.03, turn), speed) & OFF_ROAD


def test_road_includes_the_other_direction() -> None:
    for lateral in np.linspace(-1.0, 1.0 + WIDTH, 12):
        assert not events_of_ego(ROAD, (100.0, lateral, 0.0), 5.0) & OFF_ROAD


def test_road_ends_where_the_map_ends() -> None:
    simulator = Simulator()
    state = simulator.reset([scenario_on(ROAD, ego=(0, 190.0), speed=10.0)])
    driven = record(simulator, state, 20)
    off = driven.events[:, 0, 0] & OFF_ROAD > 0
    x = driven.agents["x"][:, 0, 0]
    assert not off[x + 0.5 * CAR.length < 200.0 + TOLERANCE].any()
    assert off[x > 200.0 + TOLERANCE + 0.5].all() and off.any()


def test_random_places_are_off_road_by_their_corners() -> None:
    rng = np.random.default_rng(5)
    lateral, turn = rng.uniform(-3.0, 6.0, 400), rng.uniform(-np.pi, np.pi, 400)
    scenarios = [
        scenario_on(ROAD, ego=(0, 100.0), lateral=a, turn=b, dt=1e-3)
        for a, b in zip(lateral, turn, strict=True)
    ]
    simulator = Simulator()
    off = record(simulator, simulator.reset(scenarios), 1).events[1, :, 0] & OFF_ROAD > 0
    corners = box_corners(np.zeros(400), lateral - 0.5 * WIDTH, turn, CAR.length, CAR.width)
    beyond = np.abs(corners[..., 1]).max(-1) - WIDTH - TOLERANCE
    assert (beyond > 0).mean() > 0.2
    clear = np.abs(beyond) > 1e-3
    np.testing.assert_array_equal(off[clear], beyond[clear] > 0)


@pytest.mark.parametrize("kind", LaneKind)
def test_wheels_may_use_shoulders_but_not_pavements(kind: LaneKind) -> None:
    beside = HandLane(straight((0, -5.25), (200, -5.25)), width=WIDTH, number=-2, kind=kind)
    m = HandMap([HandLane(straight((0, -1.75), (200, -1.75))), beside]).build()
    on_it = events_of_ego(m, (100.0, -3.0, 0.0), 5.0)
    drivable = ("DRIVING", "BIDIRECTIONAL", "SHOULDER", "PARKING", "BIKING")
    assert bool(on_it & OFF_ROAD) is (kind.name not in drivable)


def test_pavement_of_a_generated_street_is_off_road() -> None:
    m = generate_map("straight", variation=0.0)
    lane = int(np.flatnonzero(m.is_travel)[0])
    simulator = Simulator()
    for lateral, off in ((0.0, False), (-1.05, False), (-1.2, True), (-3.0, True)):
        scenario = scenario_on(m, ego=(lane, 100.0), lateral=lateral, speed=2.0)
        events = record(simulator, simulator.reset([scenario]), 1).events[1, 0, 0]
        assert bool(events & OFF_ROAD) is off, lateral


@pytest.mark.parametrize(
    ("lateral", "turn", "speed", "expected"),
    [
        (0.0, 0.0, 5.0, False),
        (0.0, np.pi, 5.0, True),  # against the own lane
        (WIDTH, 0.0, 5.0, True),  # along the oncoming lane
        (WIDTH, np.pi, 5.0, False),
        (WIDTH, 0.0, 0.0, False),  # it only stands there
        (0.0, 1.5, 5.0, False),  # across
        (0.0, -1.5, 5.0, False),
        (30.0, np.pi, 5.0, False),  # on no lane at all
    ],
)
def test_wrong_way_is_driving_against_every_lane_here(
    lateral: float, turn: float, speed: float, expected: bool
) -> None:
    assert bool(events_of_ego(ROAD, (100.0, lateral, turn), speed) & WRONG_WAY) is expected


def test_lanes_that_cross_allow_both_directions() -> None:
    m = bridge(0.0)
    assert not events_of_ego(m, (100.0, 0.0, np.pi / 2), 5.0) & WRONG_WAY
    assert not events_of_ego(m, (100.0, 0.0, 0.0), 5.0) & WRONG_WAY
    assert events_of_ego(m, (100.0, 0.0, -0.75 * np.pi), 5.0) & WRONG_WAY


def test_ordinary_traffic_breaks_no_rule_of_the_ground() -> None:
    users = [user_on(ROAD, lane, s, speed=10.0) for lane in (0, 1) for s in (20.0, 60.0, 100.0)]
    simulator = Simulator()
    driven = record(simulator, simulator.reset([scenario_on(ROAD, users)]), 60)
    assert not (driven.events[:, 0, 1:] & (HIT | OFF_ROAD | WRONG_WAY)).any()


# --- lines --------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", LightState)
def test_crossing_a_stop_line_on_red_is_told_once(state: LightState) -> None:
    """Two lanes in a row; the light's line lies at the entry of the second one, x = 100 m."""
    before = HandLane(straight((0, 0), (100, 0)), successors=(1,))
    beyond = HandLane(straight((100, 0), (200, 0)), road="1")
    m = HandMap([before, beyond], signs=[HandSign(SignalKind.TRAFFIC_LIGHT, 1, 0.0)]).build()
    simulator = Simulator()
    scenario = scenario_on(m, ego=(0, 80.0), speed=10.0, lights=all_lights(m, state))
    driven = record(simulator, simulator.reset([scenario]), 40)
    crossed = driven.events[:, 0, 0] & RED_LIGHT > 0
    front = driven.agents["x"][:, 0, 0] + 0.5 * CAR.length
    assert crossed.sum() == (state == LightState.RED)
    if crossed.any():
        k = int(np.argmax(crossed))
        assert front[k - 1] <= 100.0 < front[k]


def test_traffic_leaves_where_the_map_ends() -> None:
    users = [user_on(ROAD, 0, 180.0, speed=10.0), user_on(ROAD, 1, 20.0, speed=10.0)]
    simulator = Simulator()
    state = simulator.reset([scenario_on(ROAD, users)])
    driven = record(simulator, state, 60)
    valid = driven.agents["valid"][:, 0]
    left = driven.events[:, 0] & LEFT_MAP > 0
    assert valid[:, 0].all() and valid[0].all() and not valid[-1, 1]
    assert valid[-1, 2]
    gone = int(np.argmax(left[:, 1]))
    assert left[:, 1].sum() == 1
    assert valid[gone - 1, 1] == 1 and valid[gone, 1] == 0
    assert driven.agents["x"][gone, 0, 1] == pytest.approx(200.0, abs=1.5)
    assert simulator.observe(state).tracks.states.id.tolist() == [1, 2]
    assert simulator.observe(driven.last).tracks.states.id.tolist() == [2]
