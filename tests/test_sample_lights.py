"""Which lights count as the ego's before a line, at it and behind it."""

from __future__ import annotations

import numpy as np
from hand_map import HandLane, HandMap, HandSign, bezier, straight

from roadloop.logs.recording import Recording
from roadloop.maps.road_map import RoadMap, SignalKind
from roadloop.rig import SensorRig
from roadloop.types import EgoState, LightState, VehicleParameters
from training.sample_lights import BEHIND, FAR, REACH, light_relevance

LIGHT = SignalKind.TRAFFIC_LIGHT
AXLE = VehicleParameters().wheelbase
AHEAD, TURN, BESIDE, NEXT, STOP_SIGN, BACK = range(6)  # the signals of `town`


def town() -> RoadMap:
    """East on lane 0 (lane 1 beside it) to a line at x = 100: ahead or right; a light at 200, too.

    Lane 8 comes from ahead and has a light of its own at x = 130.
    """
    lanes = [
        HandLane(straight((0, 0), (100, 0)), left=1, successors=(2, 3)),
        HandLane(straight((0, 3.5), (100, 3.5)), right=0, successors=(4,)),
        HandLane(straight((100, 0), (130, 0)), junction=0, successors=(5,)),
        HandLane(bezier((100, 0), 0.0, (115, -15), -np.pi / 2), junction=0, successors=(7,)),
        HandLane(straight((100, 3.5), (130, 3.5)), junction=0),
        HandLane(straight((130, 0), (200, 0)), successors=(6,)),
        HandLane(straight((200, 0), (300, 0)), junction=1),
        HandLane(straight((115, -15), (115, -100))),
        HandLane(straight((130, 7), (100, 7)), junction=0),
    ]
    signs = [
        HandSign(LIGHT, 2, 0.0), HandSign(LIGHT, 3, 0.0), HandSign(LIGHT, 4, 0.0),
        HandSign(LIGHT, 6, 0.0), HandSign(SignalKind.STOP, 7, 50.0), HandSign(LIGHT, 8, 0.0),
    ]  # fmt: skip
    return HandMap(lanes, junctions=2, signs=signs).build()


def drive(x: np.ndarray, y: float = 0.0, heading: float = 0.0, road_map=None) -> Recording:
    """A recording with the rear axle at the places ``x``."""
    steps, still = len(x), np.zeros(len(x))
    made = town() if road_map is None else road_map
    place = (x, np.full(steps, y), still, np.full(steps, heading))
    pose = np.broadcast_to(np.eye(4), (steps, 4, 4)).copy()
    pose[:, :2, 3] = np.column_stack([x, np.full(steps, y)])
    return Recording(
        name="to the light",
        dataset="roadloop",
        dt=0.5,
        timestamp_us=500_000 * np.arange(steps),
        ego=EgoState(*place, still + 10.0, still, still, still),
        world_from_ego=pose,
        rig=SensorRig("none"),
        lights=np.full((steps, len(made.signal_id)), LightState.RED, np.uint8),
        load_map=lambda: made,
    )


def ids(found: dict[str, np.ndarray], key: str) -> set[int]:
    return set(np.flatnonzero(found[f"light_{key}"]).tolist())


def test_before_the_line_the_lights_of_all_ways_ahead_are_relevant():
    found = light_relevance(drive(np.array([60.0])), 0)
    assert ids(found, "relevant") == {AHEAD, TURN}
    assert ids(found, "unjudged") == {BESIDE, NEXT}
    np.testing.assert_allclose(found["light_distance"][[AHEAD, TURN]], 40.0, atol=1e-3)
    assert (found["light_distance"][[BESIDE, NEXT, STOP_SIGN, BACK]] == 0.0).all()


def test_relevant_from_the_reach_on_until_the_front_axle_is_over_the_line():
    away = np.arange(0.5, 99.0, 1.5)
    recording = drive(100.0 - away)
    for step, gap in enumerate(away.tolist()):
        found = light_relevance(recording, step)
        near = AXLE <= gap <= REACH
        assert AHEAD in ids(found, "relevant" if near else "unjudged"), gap


def test_behind_the_line_its_light_is_not_judged_for_a_while_and_the_next_one_counts():
    x = np.array([101.0, 105.0, 125.0, 100.0 + BEHIND - 1.0, 100.0 + BEHIND + 1.0, 190.0])
    recording = drive(x)
    for step, place in enumerate(x.tolist()):
        found = light_relevance(recording, step)
        assert (NEXT in ids(found, "relevant")) == (place >= 200.0 - REACH)
        assert (AHEAD in ids(found, "unjudged")) == (place - 100.0 < BEHIND)
        assert not ids(found, "relevant") & ids(found, "unjudged")


def test_lights_that_face_away_and_stop_signs_are_neither():
    for y, heading in ((0.0, 0.0), (7.0, np.pi)):
        found = light_relevance(drive(np.array([128.0]), y, heading), 0)
        both = ids(found, "relevant") | ids(found, "unjudged")
        assert STOP_SIGN not in both
        assert (BACK in both) == (y == 7.0)


def test_off_the_road_without_a_map_or_lights_nothing_is_relevant():
    for x, y in ((50.0, 30.0), (50.0, -30.0)):
        assert not ids(light_relevance(drive(np.array([x]), y), 0), "relevant")
    against = light_relevance(drive(np.array([50.0]), heading=np.pi), 0)
    assert not ids(against, "relevant")
    bare = drive(np.array([60.0]))
    object.__setattr__(bare, "load_map", None)
    found = light_relevance(bare, 0)
    assert all(len(values) == 6 and not values.any() for values in found.values())
    dark = drive(np.array([60.0]))
    object.__setattr__(dark, "lights", None)
    assert all(values.shape == (0,) for values in light_relevance(dark, 0).values())


def test_the_reach_ends_and_circles_are_walked_once():
    loop = [
        HandLane(straight((0, 0), (50, 0)), successors=(1,)),
        HandLane(straight((50, 0), (50, 50)), successors=(2, 3)),
        HandLane(straight((50, 50), (0, 0)), successors=(0,)),
        HandLane(straight((50, 50), (50, 400)), junction=0),
    ]
    made = HandMap(loop, junctions=1, signs=[HandSign(LIGHT, 3, 100.0)]).build()
    for x in (0.0, 20.0, 45.0):
        found = light_relevance(drive(np.array([x]), road_map=made), 0)
        ahead = 50.0 - x + 50.0 + 100.0
        assert not ids(found, "relevant")
        assert (0 in ids(found, "unjudged")) == (ahead < FAR)
