"""Drafts of maps compiled: smooth centrelines, the graph, junctions, who gives way, bad input."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.maps.area import area_polygons, drivable_polygons, lane_borders
from roadloop.maps.cache import map_bytes, map_of
from roadloop.maps.compile_draft import TOWN_SPEED, compile_map
from roadloop.maps.draft import LaneDraft, MapDraft, MarkDraft, SignalDraft, YieldDraft
from roadloop.maps.locate import nearest_lane
from roadloop.maps.road_map import ConflictKind, LaneKind, MarkKind, RoadMap, SignalKind
from roadloop.maps.routing import shortest_route
from roadloop.scoring.area_map import area_map_of

Array = np.ndarray


def line(*points: tuple[float, ...]) -> Array:
    return np.array([(*p, 0.0)[:3] for p in points], float)


def arc(radius: float, angles: Array, height: float = 0.0) -> Array:
    """About the origin, from east counter-clockwise."""
    x, y = radius * np.cos(angles), radius * np.sin(angles)
    return np.column_stack([x, y, np.full_like(x, height)])


def lane(
    name: str, *points: tuple[float, ...], width: float | Array = 3.5, **more: object
) -> LaneDraft:
    return LaneDraft(name, centreline=line(*points), width=width, **more)  # pyright: ignore


def compiled(*lanes: LaneDraft, **more: object) -> RoadMap:
    return compile_map(MapDraft("test", "00", lanes, **more))  # pyright: ignore


def row(road_map: RoadMap, name: str) -> int:
    return road_map.lane_id.tolist().index(name)


def crossroads(**more: object) -> RoadMap:
    """Roads from the west (w), south (s) with lanes straight on, and left turns from w and e."""
    quarter = np.linspace(-np.pi / 2, 0.0, 7)
    left = arc(8.0, quarter) + np.array([-8.0, 8.0, 0.0])
    return compiled(
        lane("w", (-60, 0), (-8, 0), successors=("we", "wn")),
        lane("we", (-8, 0), (12, 0), successors=("eo",)),
        lane("eo", (12, 0), (60, 0)),
        LaneDraft("wn", centreline=left, width=3.5, successors=("no",)),
        lane("no", (0, 8), (0, 60)),
        lane("s", (4, -60), (4, -8), successors=("sn",)),
        lane("sn", (4, -8), (4, 12), successors=("no2",)),
        lane("no2", (4, 12), (4, 60)),
        lane("e", (60, 4), (12, 4), successors=("ew",)),
        lane("ew", (12, 4), (-8, 4), successors=("wo",)),
        lane("wo", (-8, 4), (-60, 4)),
        **more,
    )


# --- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("radius", "step"), [(8.0, 1.0), (15.0, 4.0), (60.0, 0.5), (60.0, 9.0)])
def test_a_bend_of_few_points_is_a_circle(radius: float, step: float) -> None:
    angles = np.linspace(0.0, np.pi / 2, max(int(radius * np.pi / 2 / step), 2) + 1)
    road_map = compiled(LaneDraft("a", centreline=arc(radius, angles), width=3.0))
    at = road_map.points_of(0)
    away = np.hypot(*road_map.point_xyz[at, :2].T) - radius
    assert np.abs(away).max() < 0.02 * radius
    assert np.median(road_map.point_curvature[at]) == pytest.approx(1.0 / radius, rel=0.05)
    assert np.abs(road_map.point_curvature[at] * radius - 1.0).max() < 0.35
    heading = np.arctan2(road_map.point_xyz[at, 1], road_map.point_xyz[at, 0]) + np.pi / 2
    assert np.abs(wrap_angle(road_map.point_heading[at] - heading)).max() < 0.06


def test_noise_of_dense_points_does_not_turn_the_wheel() -> None:
    rng = np.random.default_rng(0)
    x = np.arange(0.0, 80.0, 0.5)
    noisy = np.column_stack([x, rng.normal(0.0, 0.01, len(x)), 0.0 * x])
    road_map = compiled(LaneDraft("a", centreline=noisy, width=3.5))
    assert np.abs(road_map.point_curvature).max() < 0.02  # the polyline's own: above 0.1
    assert np.abs(road_map.point_heading).max() < 0.03
    assert np.abs(road_map.point_xyz[:, 1]).max() < 0.03


def test_points_are_even_and_ends_stay() -> None:
    drawn = line((0, 0), (10, 0.3), (10.4, 0.3), (30, 4), (31, 9))
    road_map = compiled(LaneDraft("a", centreline=drawn, width=3.5))
    steps = np.linalg.norm(np.diff(road_map.point_xyz[:, :2], axis=0), axis=1)
    assert steps.max() <= 0.5 + 1e-9 and steps.min() > 0.45
    np.testing.assert_allclose(np.diff(road_map.point_s), road_map.point_s[1])
    np.testing.assert_allclose(road_map.point_xyz[[0, -1]], drawn[[0, -1]], atol=1e-6)
    assert road_map.lane_length[0] == road_map.point_s[-1]


def test_lanes_that_follow_one_another_bend_as_one() -> None:
    angles = np.linspace(0.0, np.pi / 2, 7)
    whole = arc(20.0, angles)
    road_map = compiled(
        LaneDraft("a", centreline=whole[:4], width=3.5, successors=("b",)),
        LaneDraft("b", centreline=whole[3:], width=3.5),
    )
    end, start = road_map.point_start[1] - 1, road_map.point_start[1]
    kink = wrap_angle(road_map.point_heading[start] - road_map.point_heading[end])
    assert abs(kink) < 0.01
    np.testing.assert_allclose(road_map.point_xyz[end], road_map.point_xyz[start], atol=1e-6)


def test_the_middle_and_width_of_two_edges() -> None:
    angles = np.linspace(0.0, np.pi / 2, 30)
    road_map = compiled(
        # the left edge of a left bend is the inner one, and coarser here
        LaneDraft("a", left=arc(10.0, angles[::3]), right=arc(14.0, angles)),
    )
    assert np.hypot(*road_map.point_xyz[:, :2].T) == pytest.approx(12.0, abs=0.05)
    assert road_map.point_width == pytest.approx(4.0, abs=0.06)
    assert not road_map.point_bank.any() and not road_map.unsupported
    left, right = lane_borders(road_map, 0)
    assert np.hypot(*left[:, :2].T).mean() < np.hypot(*right[:, :2].T).mean()


def test_a_lane_cut_askew_stays_straight() -> None:
    road_map = compiled(LaneDraft("a", left=line((0, 2), (30, 2)), right=line((6, -2), (36, -2))))
    assert road_map.point_xyz[:, 1] == pytest.approx(0.0, abs=1e-6)
    assert road_map.point_xyz[[0, -1], 0] == pytest.approx([3.0, 33.0])
    assert road_map.point_width == pytest.approx(4.0, abs=1e-6)
    assert np.abs(road_map.point_curvature).max() < 1e-6


def test_edges_drawn_against_each_other() -> None:
    left, right = line((0, 2), (30, 2)), line((0, -2), (30, -2))
    road_map = compiled(LaneDraft("a", left=left, right=right[::-1]))
    assert road_map.point_width == pytest.approx(4.0)
    assert "right edge drawn against the left one, reversed: a" in road_map.unsupported


def test_bank_is_positive_where_the_left_is_higher() -> None:
    left, right = line((0, 2, 0.4), (30, 2, 0.4)), line((0, -2, 0.0), (30, -2, 0.0))
    road_map = compiled(LaneDraft("a", left=left, right=right))
    assert road_map.point_bank == pytest.approx(np.arctan(0.1))
    assert road_map.point_xyz[:, 2] == pytest.approx(0.2)
    np.testing.assert_allclose(lane_borders(road_map, 0)[0][0], [0, 2, 0.4], atol=1e-6)


def test_width_per_point_opens_the_lane() -> None:
    drawn = line((0, 0), (10, 0), (30, 0))
    road_map = compiled(LaneDraft("a", centreline=drawn, width=np.array([0.0, 3.0, 3.0])))
    at = np.interp([0.0, 5.0, 20.0], road_map.point_s, road_map.point_width)
    assert at == pytest.approx([0.0, 1.5, 3.0])


@settings(max_examples=12, derandomize=True, deadline=None)
@given(
    turn=st.floats(-np.pi, np.pi),
    shift=st.tuples(st.floats(-5e5, 5e5), st.floats(-5e6, 5e6)),
)
def test_it_does_not_matter_where_and_which_way(turn: float, shift: tuple[float, float]) -> None:
    c, s = np.cos(turn), np.sin(turn)
    matrix = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])

    def moved(drawn: Array) -> Array:
        return drawn @ matrix.T + (*shift, 0.0)

    angles = np.linspace(0.0, 1.5, 9)
    edges = arc(9.0, angles), arc(12.0, angles[::2])
    centre = line((3, 20), (20, 3))
    here, there = (
        compiled(
            LaneDraft("a", left=f(edges[0]), right=f(edges[1])),
            LaneDraft("b", centreline=f(centre), width=3.0),
        )
        for f in (lambda drawn: drawn, moved)
    )
    np.testing.assert_allclose(there.point_xyz, moved(here.point_xyz), atol=1e-4)
    turned = wrap_angle(there.point_heading - here.point_heading - turn)
    assert np.abs(turned).max() < 1e-4
    np.testing.assert_allclose(there.point_width, here.point_width, atol=1e-4)
    np.testing.assert_allclose(there.conflict_from, here.conflict_from, atol=0.51)
    assert len(there.conflict_lane) == len(here.conflict_lane)


# --- the graph ----------------------------------------------------------------------------------


def test_links_hold_in_both_directions() -> None:
    road_map = compiled(
        lane("a", (0, 0), (20, 0), successors=("b", "gone")),
        lane("b", (20, 0), (40, 0)),
        lane("c", (40, 0), (60, 0), predecessors=("b", "a")),
        lane("beside", (20, 4), (40, 4), predecessors=("a",)),
        lane("pavement", (20, 8), (40, 8), kind=LaneKind.SIDEWALK, predecessors=("a",)),
    )
    a, b, c = (row(road_map, name) for name in "abc")
    assert road_map.successors_of(a).tolist() == [b] and road_map.predecessors_of(b).tolist() == [a]
    assert road_map.successors_of(b).tolist() == [c] and road_map.predecessors_of(c).tolist() == [b]
    assert road_map.unsupported == (
        "links to lanes the map does not have, from lanes: a",
        "links between lanes that do not meet, left out: a to c (20.0 m), a to beside (4.0 m)",
    )
    route = shortest_route(road_map, a, 5.0, c, 10.0)
    assert route.lanes.tolist() == [a, b, c]


def test_links_lead_past_lanes_of_no_length() -> None:
    road_map = compiled(
        lane("a", (0, 0), (20, 0), successors=("dot",)),
        lane("dot", (20, 0), (20.001, 0), successors=("b",)),
        lane("b", (20, 0), (40, 0), predecessors=("dot",)),
    )
    assert road_map.lane_id.tolist() == ["a", "b"]
    assert road_map.successors_of(0).tolist() == [1]
    assert road_map.unsupported == ("lanes shorter than 0.1 m, left out: dot",)


def test_neighbours() -> None:
    road_map = compiled(
        lane("right", (0, 0), (50, 0), left_neighbour="left", change_left=False),
        lane("left", (0, 3.5), (50, 3.5), left_neighbour="against"),
        lane("against", (50, 7), (0, 7)),
        lane("far", (0, 40), (50, 40), left_neighbour="right"),
    )
    right, left, against, far = (row(road_map, n) for n in ("right", "left", "against", "far"))
    assert road_map.lane_left.tolist() == [left, -1, -1, -1]
    assert road_map.lane_right.tolist() == [-1, right, -1, -1]
    assert road_map.lane_opposite.tolist() == [-1, against, left, -1]
    assert road_map.lane_change_left.tolist() == [False, False, False, False]
    assert road_map.lane_change_right.tolist() == [False, True, False, False]
    assert road_map.unsupported == (
        "neighbours that do not lie side by side, left out: far and right",
    )
    # one road, as in OpenDRIVE: numbers from the middle outwards
    assert len({*road_map.lane_road[[right, left, against]]}) == 1
    assert road_map.lane_number.tolist() == [-2, -1, 1, -1]
    assert road_map.lane_road[far] == "far"
    block = area_map_of(road_map).lane_roadblock
    assert block[right] == block[left] != block[against]


def test_opposite_lanes_that_are_only_drawn() -> None:
    lanes = (lane("a", (0, 0), (50, 0)), lane("b", (60, 3.6), (10, 3.6)))
    assert compiled(*lanes).lane_opposite.tolist() == [1, 0]
    # to the left of each other only in right-hand traffic
    assert compiled(*lanes, left_hand=True).lane_opposite.tolist() == [-1, -1]


def test_speed_limits() -> None:
    road_map = compiled(
        lane("a", (0, 0), (50, 0), speed_limit=20.0, successors=("b",)),
        lane("b", (50, 0), (60, 0), in_junction=True, successors=("c",)),
        lane("c", (60, 0), (90, 0), speed_limit=10.0, successors=("d",)),
        lane("d", (90, 0), (120, 0)),
    )
    assert road_map.lane_speed_limit.tolist() == [20.0, 10.0, 10.0, TOWN_SPEED]


# --- junctions ----------------------------------------------------------------------------------


def test_a_junction_is_where_lanes_cross() -> None:
    road_map = crossroads()
    inside = {str(name) for name in road_map.lane_id[road_map.lane_junction >= 0]}
    assert inside == {"we", "wn", "sn", "ew"} and len(road_map.junction_id) == 1
    west_east, south = row(road_map, "we"), row(road_map, "sn")
    rows = slice(road_map.conflict_start[west_east], road_map.conflict_start[west_east + 1])
    kinds = dict(zip(road_map.conflict_lane[rows], road_map.conflict_kind[rows], strict=True))
    assert kinds == {south: ConflictKind.CROSS, row(road_map, "wn"): ConflictKind.DIVERGE}
    at = road_map.conflict_lane[rows].tolist().index(south)
    # 20 m long, crossed 12 m after its start by a strip of 3.5 m or less
    assert road_map.conflict_from[rows][at] == pytest.approx(12.0 - 2.4, abs=0.6)
    assert road_map.conflict_to[rows][at] == pytest.approx(12.0 + 2.4, abs=0.6)


def yields(road_map: RoadMap, one: str, other: str) -> int:
    here, there = row(road_map, one), row(road_map, other)
    rows = slice(road_map.conflict_start[here], road_map.conflict_start[here + 1])
    at = road_map.conflict_lane[rows].tolist().index(there)
    return int(road_map.conflict_yield[rows][at])


def test_who_gives_way() -> None:
    road_map = crossroads()
    assert yields(road_map, "wn", "ew") == 1 and yields(road_map, "ew", "wn") == -1  # left turn
    assert yields(road_map, "we", "sn") == 0
    # stated of the approach, for what follows it; against the rule of left turns, too
    road_map = crossroads(yields=(YieldDraft("s", "w"), YieldDraft("e", "w")))
    assert yields(road_map, "sn", "we") == 1 and yields(road_map, "we", "sn") == -1
    assert yields(road_map, "ew", "wn") == 1
    signs = (SignalDraft("sign", SignalKind.STOP, (6, -9, 2), np.pi / 2, stops=(("s", None),)),)
    assert yields(crossroads(signals=signs), "sn", "we") == 1


def test_unknown_lanes_of_a_rule_are_noted() -> None:
    road_map = crossroads(yields=(YieldDraft("s", "nobody"),))
    assert road_map.unsupported == (
        "right of way between lanes the map does not have: s to nobody",
    )


def test_lanes_the_data_set_puts_into_junctions() -> None:
    straight = lane("a", (0, 0), (20, 0), in_junction=True)
    across = lane("b", (10, -10), (10, 10), in_junction=True)
    far = lane("c", (100, 0), (120, 0), in_junction=True)
    road_map = compiled(straight, across, far)
    assert road_map.lane_junction.tolist() == [0, 0, 1]
    named = (dataclasses.replace(q, junction="X") for q in (straight, across, far))
    road_map = compiled(*named)
    assert road_map.lane_junction.tolist() == [0, 0, 0] and road_map.junction_id.tolist() == ["X"]


def test_a_turn_that_meets_nobody_belongs_to_its_leg() -> None:
    quarter = arc(6.0, np.linspace(np.pi / 2, 0.0, 7)) + np.array([-6.0, -10.0, 0.0])
    road_map = compiled(
        lane("in", (-60, 0), (-6, 0), successors=("on",)),
        lane("in2", (-60, -4), (-6, -4), left_neighbour="in", successors=("turn",)),
        lane("on", (-6, 0), (20, 0), in_junction=True),
        LaneDraft("turn", centreline=quarter, width=3.0, in_junction=True),
        lane("across", (10, -20), (10, 20), in_junction=True),
    )
    inside = road_map.lane_junction[[row(road_map, n) for n in ("on", "turn", "across")]]
    assert inside.tolist() == [0, 0, 0] and len(road_map.junction_id) == 1


def test_a_ring_of_lanes_is_a_roundabout() -> None:
    corners = np.linspace(0.0, 2 * np.pi, 5)
    ring = [
        LaneDraft(
            str(k), centreline=arc(15.0, np.linspace(a, b, 5)), width=4.0, in_junction=True,
            junction="ring", successors=(str((k + 1) % 4),),
        )
        for k, (a, b) in enumerate(pairwise(corners))
    ]  # fmt: skip
    road_map = compiled(*ring, lane("out", (15, 0), (60, 0)))
    assert road_map.junction_is_roundabout.tolist() == [True]


def test_a_bridge_shares_no_ground() -> None:
    over = lane("over", (10, -30, 6.0), (10, 30, 6.0))
    road_map = compiled(lane("under", (-30, 0), (50, 0)), over)
    assert not len(road_map.conflict_lane) and not len(road_map.junction_id)


# --- signals, crossings, ground -----------------------------------------------------------------


def test_where_signals_stop_traffic() -> None:
    lights = (
        SignalDraft("l1", SignalKind.TRAFFIC_LIGHT, (-8, -3, 4), 0.0, (("w", None),), group="g"),
        SignalDraft("l2", SignalKind.TRAFFIC_LIGHT, (4, 14, 4), np.pi / 2, (("sn", 0.0),)),
        SignalDraft("50", SignalKind.SPEED_LIMIT, (0, 0, 2), 0.0, (("w", 3.0),), value=13.9),
        SignalDraft("lost", SignalKind.STOP, (0, 0, 2), 0.0, (("nowhere", None),)),
        SignalDraft("late", SignalKind.YIELD, (0, 0, 2), 0.0, (("e", 999.0),)),
    )
    road_map = crossroads(signals=lights)
    assert road_map.signal_id.tolist() == ["l1", "l2", "50", "lost", "late"]
    stops = list(zip(road_map.stop_lane, road_map.stop_s, road_map.stop_signal, strict=True))
    w, sn, e = (row(road_map, name) for name in ("w", "sn", "e"))
    assert stops == [(w, 52.0, 0), (sn, 0.0, 1), (e, 48.0, 4)]
    assert road_map.signal_controller.tolist() == [0, -1, -1, -1, -1]
    assert road_map.signal_junction.tolist() == [0, 0, -1, -1, 0]
    assert road_map.signal_value.tolist() == [0.0, 0.0, 13.9, 0.0, 0.0]
    assert "signals that govern no lane: lost" in road_map.unsupported


def test_crosswalks_and_marks() -> None:
    clockwise = line((20, -3), (20, 3), (24, 3), (24, -3), (20, -3))
    mark = MarkDraft(line((0, 2), (50, 2)), MarkKind.BROKEN, width=0.2)
    road_map = compiled(lane("a", (0, 0), (50, 0)), crosswalks=(clockwise,), marks=(mark,))
    x, y = road_map.crosswalk_xyz[:, :2].T
    assert len(x) == 4 and x @ np.roll(y, -1) > y @ np.roll(x, -1)
    assert road_map.crossing_lane.tolist() == [0]
    assert road_map.crossing_from == pytest.approx([20.0])
    assert road_map.crossing_to == pytest.approx([24.0])
    assert road_map.mark_kind.tolist() == [MarkKind.BROKEN]
    assert road_map.mark_width.tolist() == [0.2]


def test_ground_beyond_lanes_is_drivable() -> None:
    yard = np.array([(10.0, -30.0), (30.0, -30.0), (30.0, 5.0), (10.0, 5.0)])
    folded = np.array([(100.0, 0.0), (110.0, 10.0), (110.0, 0.0), (100.0, 10.0)])  # a bow tie
    road_map = compiled(lane("a", (0, 0), (50, 0), width=4.0), drivable=(yard, folded))
    assert [round(p.area, 6) for p in area_polygons(road_map)] == [700.0, 50.0]
    assert drivable_polygons(road_map).area == pytest.approx(200 + 700 - 80 + 50, abs=0.1)
    area = area_map_of(road_map)
    places = np.array([(20.0, -20.0), (40.0, 1.0), (40.0, -20.0)])
    assert area.drivable_areas.contain(places).tolist() == [True, True, False]
    assert area.lane_areas.contain(places).tolist() == [False, True, False]
    again = map_of(Path("here"), map_bytes(road_map))
    for name, array in road_map.arrays().items():
        np.testing.assert_array_equal(array, getattr(again, name), err_msg=name)


def test_maps_without_areas_have_none() -> None:
    road_map = crossroads()
    assert road_map.area_start.tolist() == [0] and not len(area_polygons(road_map))
    assert road_map.lane_name(0) == "lane w"


def test_lanes_are_found_on_it() -> None:
    road_map = crossroads()
    found = nearest_lane(road_map, np.array([-30.0]), np.array([0.3]), np.array([0.0]))
    assert road_map.lane_id[found.lane].tolist() == ["w"]


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lanes", "message"),
    [
        ((), "map test has no lane to drive on"),
        ((lane("a", (0, 0), (9, 0), kind=LaneKind.BIKING),), "no lane to drive on"),
        ((lane("a", (0, 0), (9, 0)), lane("a", (0, 3), (9, 3))), "lane id a is used twice"),
        ((LaneDraft("a", left=line((0, 0), (9, 0))),), "lane a needs a left and a right edge"),
        ((lane("a", (0, 0), (np.nan, 0)),), "map test: lane a: centre line is not finite"),
        ((lane("a", (0, 0), (2e8, 0)),), "beyond 1e\\+08 m"),
        ((LaneDraft("a", centreline=np.zeros((3, 2)), width=3.0),), r"shape \(3, 2\), expected"),
        ((LaneDraft("a", centreline=np.zeros((1, 3)), width=3.0),), r"shape \(1, 3\), expected"),
        ((lane("a", (0, 0), (9, 0), width=-1.0),), "width must be 0 or more and finite"),
        ((lane("a", (0, 0), (9, 0), width=np.ones(3)),), r"width of shape \(3,\) does not fit"),
        ((lane("a", (0, 0), (9, 0), speed_limit=0.0),), "lane a has the speed limit 0.0 m/s"),
    ],
)  # fmt: skip
def test_bad_lanes(lanes: tuple[LaneDraft, ...], message: str) -> None:
    with pytest.raises(RoadloopError, match=message) as caught:
        compiled(*lanes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"crosswalks": (line((0, 0), (1, 1)),)}, "crosswalk 0 line has shape"),
        ({"drivable": (np.zeros((2, 2)),)}, "drivable area 0 line has shape"),
        ({"marks": (MarkDraft(np.full((2, 3), np.inf)),)}, "mark 0 line is not finite"),
    ],
)
def test_bad_ground(more: dict, message: str) -> None:
    with pytest.raises(RoadloopError, match=message):
        compiled(lane("a", (0, 0), (9, 0)), **more)
