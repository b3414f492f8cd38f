"""What Euro NCAP's and UN R157's tests ask: points by impact speed, tables by test speed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from suite_runs import case, results

from roadloop.scoring.driven import Driven
from roadloop.scoring.protocols import euro_ncap_points, euro_ncap_score, r157_score
from roadloop.scoring.scores import judge
from roadloop.suites.speed_table import ALL, speed_table, speed_text
from roadloop.suites.summary import summary_text
from roadloop.types import AgentKind, Rollout
from tests.hand_drive import ahead, crossroads, rollout_of

MAP = crossroads()


def named(rollout: Rollout, family: str) -> Driven:
    return Driven(dataclasses.replace(rollout, family=family, scenario=family), MAP)


def behind_a_car(speed: float, other: float) -> Rollout:
    """The ego's front is 20 m behind the rear of a car of 4 m; both keep their speeds."""
    ego = ahead(speed)
    front = ego[0, 0] + 3.7
    car = ahead(other, x=front + 20.0 + 2.0)
    return rollout_of(MAP, ego, [(AgentKind.CAR, 4.0, 1.7, car)])


@pytest.mark.parametrize(
    ("test_speed", "impact", "colour", "points"),
    [
        (10, None, "green", 1.0),
        (20, 1, "red", 0.0),
        (30, 9.9, "brown", 0.25),
        (30, 10.1, "red", 0.0),
        (40, 9.9, "orange", 0.5),
        (40, 19.9, "brown", 0.25),
        (50, 9.9, "yellow", 0.75),
        (50, 29.9, "brown", 0.25),
        (130, 19.9, "orange", 0.5),
        (130, 30.1, "red", 0.0),
    ],
)
def test_points_fall_with_the_impact_speed(
    test_speed: float, impact: float | None, colour: str, points: float
) -> None:
    speed = None if impact is None else impact / 3.6
    assert euro_ncap_points(round(test_speed / 3.6, 4), speed) == (colour, points)


def test_the_impact_speed_is_that_of_one_against_the_other() -> None:
    score = euro_ncap_score(named(behind_a_car(14.0, 6.0), "ccrm"))
    assert score is not None and score.value == 0.25  # 28.8 km/h at 50 km/h: brown
    assert score.term("avoided").passed is False
    assert score.term("impact_speed").value == pytest.approx(8.0, abs=1e-9)
    assert "hit car 11 at 29 km/h, brown" in score.term("avoided").detail


def test_between_two_steps_the_speed_is_that_of_the_contact() -> None:
    # it brakes by 10 m/s^2 and touches somewhere within a step: 1 m/s of speed
    t = np.arange(21) * 0.1
    path = np.column_stack([10.0 + 15.0 * t - 5.0 * t**2, np.zeros(21), np.zeros(21)])
    for gap in (9.0, 9.2, 9.4):
        car = np.tile([10.0 + 3.7 + gap + 2.0, 0.0, 0.0], (21, 1))
        drive = named(rollout_of(MAP, path, [(AgentKind.CAR, 4.0, 1.7, car)]), "ccrs")
        score = euro_ncap_score(drive)
        vehicle = drive.rollout.ego.vehicle
        way = gap + 3.7 - (vehicle.length - vehicle.rear_overhang)
        expected = np.sqrt(15.0**2 - 2.0 * 10.0 * way)
        assert score is not None
        assert score.term("impact_speed").value == pytest.approx(expected, abs=0.15)


def test_a_walker_who_walks_into_a_standing_car_is_no_impact_but_an_oncoming_car_is() -> None:
    steps = 41
    ego = np.tile([10.0, 0.0, 0.0], (steps, 1))
    y = np.linspace(-4.0, 0.0, steps)
    across = np.column_stack([np.full(steps, 11.0), y, np.full(steps, np.pi / 2)])
    drive = rollout_of(MAP, ego, [(AgentKind.PEDESTRIAN, 0.6, 0.5, across)])
    walked = euro_ncap_score(named(drive, "cpna"))
    assert walked is not None and walked.value == 1.0 and walked.term("avoided").passed
    met = euro_ncap_score(named(drive, "ccftap"))
    assert met is not None and met.value == 0.0 and not met.term("avoided").passed


def test_only_the_families_of_a_protocol_have_its_score() -> None:
    drive = behind_a_car(14.0, 6.0)
    names = {
        family: [score.name for score in judge(named(drive, family).rollout, MAP)]
        for family in ("by_hand", "ccrm", "alks_cut_in")
    }
    assert "euro-ncap" not in names["by_hand"] and "r157" not in names["by_hand"]
    assert names["ccrm"] == [*names["by_hand"], "euro-ncap"]
    assert names["alks_cut_in"] == [*names["by_hand"], "r157"]
    score = r157_score(named(drive, "alks_cut_in"))
    assert score is not None and score.value is None and score.term("avoided").passed is False


def ncap_case(name: str, seed: int, kmh: float, points: float, speed: float):
    """A case of Euro NCAP as it ended."""
    term = {
        "name": "avoided", "title": "Avoided", "value": float(points == 1.0), "unit": "",
        "passed": points == 1.0, "lost_at": None, "detail": "", "higher_is_better": True,
    }  # fmt: skip
    impact = {**term, "name": "impact_speed", "value": speed, "unit": "m/s", "passed": None}
    score = {
        "name": "euro-ncap", "title": "Euro NCAP, points", "version": "1", "value": points,
        "unit": "", "terms": [term, impact],
    }  # fmt: skip
    return case(name, seed, [score], name=f"{name}-{kmh:g}-{seed}", ego_speed=round(kmh / 3.6, 4))


def test_the_table_counts_by_scenario_and_speed() -> None:
    run = results(
        [
            ncap_case("ccrs", 0, 30, 1.0, 0.0),
            ncap_case("ccrs", 1, 30, 0.25, 2.0),
            ncap_case("ccrs", 0, 50, 1.0, 0.0),
            ncap_case("cpna", 0, 50, 0.0, 11.0),
            case("cpna", 1, failed="took too long"),
        ]
    )
    table = speed_table(run)
    assert table is not None and table.speeds == ("30", "50", ALL)
    assert table.rows()[1:] == [
        ["ccrs", "1/2 (0.62)", "1/1", "2/3 (0.75)"],
        ["cpna", "", "0/1 (0.00)", "0/1 (0.00)"],
        ["all", "1/2 (0.62)", "1/2 (0.50)", "2/4 (0.56)"],
    ]
    assert table.cells["ccrs"]["30"].worst == 2.0
    assert speed_text(table) in summary_text(run)
    assert speed_table(results([case("cut_in", 0)])) is None
