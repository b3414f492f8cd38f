"""Lane changes of traffic: by MOBIL and by script."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hand_map import HandLane, HandMap, straight
from sim_worlds import NO_FAULTS, drive, faults

from roadloop.maps.road_map import RoadMap
from roadloop.types import Action, AgentKind, Trigger
from sim.population import user_on


def two_lanes_that_go_on() -> RoadMap:
    """Lanes 0 (right) and 1 (left) of 1 km along +x; lanes 2 and 3 follow them."""
    lanes = []
    for k, (start, end) in enumerate(((0.0, 1000.0), (1000.0, 1200.0))):
        for side in range(2):
            y = -1.75 + 3.5 * side
            neighbour = {"right": 2 * k} if side else {"left": 2 * k + 1}
            follows = (2 + side,) if k == 0 else ()
            lanes.append(
                HandLane(straight((start, y), (end, y)), road=str(k), number=side - 2,
                         successors=follows, **neighbour)
            )  # fmt: skip
    return HandMap(lanes).build()


AVENUE = two_lanes_that_go_on()


def test_car_overtakes_a_slow_truck() -> None:
    truck = user_on(AVENUE, 0, 100.0, AgentKind.TRUCK, speed=6.0, max_speed=6.0, politeness=-1.0)
    car = user_on(AVENUE, 0, 50.0, speed=12.0)
    driven = drive(AVENUE, [truck, car], 450)
    a = driven.agents[:, 0, 1:]
    assert (a["lane"][:, 1] == 1).any()
    assert (a["lane"][:, 0] == 0).all()
    assert a["x"][-1, 1] > a["x"][-1, 0] + 50.0
    assert faults(driven) == NO_FAULTS
    # A car that never changes lane stays behind.
    patient = drive(AVENUE, [truck, dataclasses.replace(car, politeness=-1.0)], 450)
    assert (patient.agents["lane"][:, 0, 2] == 0).all()
    assert patient.agents["x"][-1, 0, 2] < patient.agents["x"][-1, 0, 1]


def test_nobody_changes_into_a_car_beside() -> None:
    """A column that fills the left lane as far as the truck on the right one."""
    slow = {"speed": 6.0, "max_speed": 6.0, "politeness": -1.0}
    truck = user_on(AVENUE, 0, 110.0, AgentKind.TRUCK, **slow)
    column = [user_on(AVENUE, 1, 40.0 + 13.0 * k, **slow) for k in range(8)]
    driven = drive(AVENUE, [truck, user_on(AVENUE, 0, 70.0, speed=6.0), *column], 300)
    assert faults(driven) == NO_FAULTS
    assert (driven.agents["lane"][:, 0, 2] == 0).all()


def test_nobody_cuts_off_faster_traffic() -> None:
    """A selfish car behind a truck lets two fast ones pass before it changes to their lane."""
    truck = user_on(AVENUE, 0, 110.0, AgentKind.TRUCK, speed=6.0, max_speed=6.0, politeness=-1.0)
    selfish = user_on(AVENUE, 0, 92.0, speed=6.0, politeness=0.0)
    fast = [user_on(AVENUE, 1, s, speed=13.5, politeness=-1.0) for s in (45.0, 70.0)]
    driven = drive(AVENUE, [truck, selfish, *fast], 200)
    a = driven.agents[:, 0, 1:]
    assert faults(driven) == NO_FAULTS
    change = int(np.argmax(a["lane"][:, 1] == 1))
    assert change > 0  # it did change, once both were past
    assert (a["x"][change, 2:] > a["x"][change, 1]).all()
    assert a["acceleration"][:, 2:].min() > -1.5


@pytest.mark.parametrize("action", [Action.CHANGE_LEFT, Action.CHANGE_RIGHT])
def test_scripted_change_goes_to_the_side_told(action: Action) -> None:
    lane, beside, sign = (0, 1, 1.0) if action == Action.CHANGE_LEFT else (1, 0, -1.0)
    user = user_on(
        AVENUE,
        lane,
        50.0,
        speed=10.0,
        max_speed=10.0,
        politeness=-1.0,
        trigger=Trigger.TIME,
        trigger_value=2.0,
        action=action,
    )
    driven = drive(AVENUE, [user], 120)
    a = driven.agents[:, 0, 1]
    assert (a["lane"][:21] == lane).all()
    assert (a["lane"][21:] == beside).all()
    aside = sign * (a["y"] - a["y"][0])
    assert np.abs(aside[:21]).max() < 0.05
    assert aside[80] == pytest.approx(3.5, abs=0.15)
    assert np.abs(a["yaw_rate"] * a["speed"]).max() < 1.5  # an ordinary lane change
    assert faults(driven) == NO_FAULTS
