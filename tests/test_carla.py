"""CARLA's route and campaign scores from lists of infractions, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadloop.errors import RoadloopError
from roadloop.scoring.carla import (
    FACTORS,
    VERSIONS,
    Infraction,
    InfractionKind,
    RouteRecord,
    campaign_score,
    infraction_penalty,
    route_score,
)

RED = Infraction(InfractionKind.TRAFFIC_LIGHT_INFRACTION)
WALKER = Infraction(InfractionKind.COLLISION_PEDESTRIAN)
OUTSIDE, SLOW = InfractionKind.OUTSIDE_ROUTE_LANES_INFRACTION, InfractionKind.MIN_SPEED_INFRACTION


def test_penalties_of_single_infractions() -> None:
    assert infraction_penalty([], "2.0") == infraction_penalty([], "2.1") == 1.0
    assert infraction_penalty([RED], "2.0") == 0.7
    assert infraction_penalty([RED], "2.1") == pytest.approx(1.0 / 1.4)
    assert infraction_penalty([WALKER], "2.0") == infraction_penalty([WALKER], "2.1") == 0.5
    half = Infraction(SLOW, 50.0)
    assert infraction_penalty([half], "2.0") == pytest.approx(0.85)
    assert infraction_penalty([half], "2.1") == pytest.approx(1.0 / 1.2)
    assert infraction_penalty([half], "bench2drive") == 1.0
    for version in VERSIONS:
        assert infraction_penalty([Infraction(OUTSIDE, 30.0)], version) == pytest.approx(0.7)


def test_two_infractions_multiply_in_one_version_and_add_up_in_the_other() -> None:
    assert infraction_penalty([RED, WALKER], "2.0") == pytest.approx(0.35)
    assert infraction_penalty([RED, WALKER], "2.1") == pytest.approx(1.0 / 2.4)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.lists(st.sampled_from(sorted(FACTORS, key=lambda k: k.name)), max_size=6), st.randoms())
def test_order_is_irrelevant_and_more_is_never_better(kinds: list, random) -> None:
    infractions = [Infraction(kind) for kind in kinds]
    mixed = random.sample(infractions, len(infractions))
    for version in VERSIONS:
        penalty = infraction_penalty(infractions, version)
        assert infraction_penalty(mixed, version) == pytest.approx(penalty, rel=1e-12)
        assert infraction_penalty([*mixed, RED], version) < penalty
        record = RouteRecord(1000.0, 80.0, tuple(infractions))
        assert route_score(record, version).driving_score == pytest.approx(80.0 * penalty, abs=1e-6)


def test_status_of_a_route() -> None:
    def status(completion: float, *kinds: InfractionKind) -> str:
        record = RouteRecord(500.0, completion, tuple(Infraction(kind) for kind in kinds))
        return route_score(record, "2.1").status

    assert status(100.0) == "Perfect"
    assert status(100.0, InfractionKind.STOP_INFRACTION) == "Completed"
    assert status(99.99) == "Failed"
    assert status(40.0, InfractionKind.VEHICLE_BLOCKED) == "Failed - Agent got blocked"
    timed_out = InfractionKind.ROUTE_TIMEOUT
    assert status(40.0, timed_out) == "Failed - Agent timed out"
    both = status(40.0, InfractionKind.ROUTE_DEVIATION, timed_out)
    assert both == "Failed - Agent deviated from the route"


def test_what_ends_a_route_costs_nothing_but_its_completion() -> None:
    blocked = Infraction(InfractionKind.VEHICLE_BLOCKED)
    assert route_score(RouteRecord(100.0, 40.0, (blocked,)), "2.0").driving_score == 40.0


def test_a_campaign_counts_missing_routes_as_nothing() -> None:
    good = route_score(RouteRecord(1000.0, 100.0), "2.0")
    bad = route_score(RouteRecord(1000.0, 50.0, (RED, RED)), "2.0")
    both = campaign_score([good, bad])
    assert both.driving_score == pytest.approx((100.0 + 50.0 * 0.49) / 2)
    assert both.completion_std == round(float(np.std([100.0, 50.0], ddof=1)), 3)
    assert both.infractions_per_km[RED.kind] == round(2 / 1.5, 3) and both.status == "Failed"
    half = campaign_score([good, bad], routes=4)
    assert half.driving_score == pytest.approx(both.driving_score / 2)
    assert campaign_score([good]).status == "Perfect"
    assert campaign_score([good]).driving_score_std == 0.0
    assert campaign_score([], routes=3).driving_score == 0.0
    assert dict(both.table())["Red lights infractions"] == round(2 / 1.5, 3)


def test_distance_outside_the_lanes_is_a_total_and_not_per_km() -> None:
    record = RouteRecord(4000.0, 50.0, (Infraction(OUTSIDE, 25.0),))
    scores = [route_score(record, "2.1")] * 2
    assert campaign_score(scores).infractions_per_km[OUTSIDE] == 1.0
    stated = RouteRecord(4000.0, 50.0, (Infraction(OUTSIDE, 25.0, distance=123.0),))
    assert campaign_score([route_score(stated, "2.1")]).infractions_per_km[OUTSIDE] == 0.123


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: infraction_penalty([], "3.0"), "no CARLA score '3.0'; there are 2.0, 2.1"),
        (lambda: Infraction(OUTSIDE, 101.0), "percentage 101.0; it must be from 0 to 100"),
        (lambda: Infraction(OUTSIDE, float("nan")), "percentage nan"),
        (lambda: Infraction(SLOW, -1.0), "percentage -1.0; it must be 0 or more"),
        (lambda: Infraction(SLOW, float("inf")), "percentage inf"),
        (lambda: Infraction(SLOW), "needs its percentage"),
        (lambda: Infraction(RED.kind, 5.0), "takes no percentage"),
        (lambda: RouteRecord(100.0, 100.5), "completion is 100.5 %"),
        (lambda: RouteRecord(100.0, float("nan")), "completion is nan %"),
        (lambda: RouteRecord(float("nan"), 100.0), "length is nan m"),
        (lambda: campaign_score([]), "a campaign of 0 routes"),
    ],
)
def test_bad_input_is_said_in_one_line(make, words: str) -> None:
    with pytest.raises(RoadloopError) as caught:
        make()
    assert words in str(caught.value) and "\n" not in str(caught.value)
