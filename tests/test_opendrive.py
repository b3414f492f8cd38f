"""The OpenDRIVE reader: reference lines, lanes, the lane graph, marks and speed limits."""

from __future__ import annotations

import numpy as np
import pytest
from opendrive_text import (
    WIDTH,
    document,
    geometry,
    junction_link,
    junction_map,
    lane,
    linked,
    points,
    road,
    road_link,
    row,
    section,
)

from roadloop.maps.opendrive import read_opendrive
from roadloop.maps.opendrive_xml import Unsupported, parse
from roadloop.maps.plan_view import read_plan_view
from roadloop.maps.road_map import MarkKind

# --- geometry -------------------------------------------------------------------------------------

SHAPES = {
    "line": "<line/>",
    "arc": '<arc curvature="-0.03"/>',
    "spiral": '<spiral curvStart="0.002" curvEnd="-0.04"/>',
    "spiral up": '<spiral curvStart="-0.01" curvEnd="0.05"/>',
    "nearly arc": '<spiral curvStart="0.02" curvEnd="0.0200000001"/>',
    "poly3": '<poly3 a="0" b="0" c="0.004" d="-0.00003"/>',
    "arcLength": '<paramPoly3 pRange="arcLength" aU="0" bU="1" cU="0" dU="-1.5e-7" aV="0" bV="0"'
    ' cV="0.0005" dV="0"/>',
    "normalized": '<paramPoly3 pRange="normalized" aU="0" bU="60" cU="-20" dU="5" aV="0" bV="0"'
    ' cV="30" dV="-8"/>',
}


def plan(shape: str, length: float, pose=(3.0, -2.0, 0.7)):
    element = parse(document(f'<road id="1">{geometry(shape, length, pose)}</road>'), "test")
    return read_plan_view(element.find("road"), "1", Unsupported())


@pytest.mark.parametrize("name", SHAPES)
def test_reference_line_moves_where_it_heads(name):
    length = 50.0
    s = np.linspace(0.0, length, 4001)
    x, y, heading, curvature = plan(SHAPES[name], length).evaluate(s)
    assert (x[0], y[0], heading[0]) == pytest.approx((3.0, -2.0, 0.7))
    speed = np.hypot(np.diff(x), np.diff(y)) / np.diff(s)
    middle = (heading[1:] + heading[:-1]) / 2
    turn = np.angle(np.exp(1j * (np.arctan2(np.diff(y), np.diff(x)) - middle)))
    assert np.max(np.abs(turn)) < 1e-4
    moved = np.hypot(np.diff(x), np.diff(y))
    assert np.max(np.abs(np.diff(heading) / moved - (curvature[1:] + curvature[:-1]) / 2)) < 2e-4
    if name == "normalized":  # its arc length is not 50 m, but progress along it is even
        assert np.ptp(speed) < 1e-3
    else:
        assert np.max(np.abs(speed - 1)) < (2e-3 if name == "arcLength" else 1e-4)


def test_spiral_ends_where_quadrature_says():
    from scipy.integrate import quad

    k0, k1, length = 0.003, -0.05, 80.0

    def direction(s: float) -> float:
        return k0 * s + (k1 - k0) / length * s * s / 2

    shape = f'<spiral curvStart="{k0}" curvEnd="{k1}"/>'
    x, y, heading, curvature = plan(shape, length, (0, 0, 0)).evaluate(np.array([length]))
    assert x[0] == pytest.approx(quad(lambda s: np.cos(direction(s)), 0, length)[0], abs=1e-9)
    assert y[0] == pytest.approx(quad(lambda s: np.sin(direction(s)), 0, length)[0], abs=1e-9)
    assert (heading[0], curvature[0]) == pytest.approx((direction(length), k1))


def test_straight_road_has_two_opposite_lanes():
    road_map = read_opendrive(document(road()), name="straight")
    right, left = row(road_map, -1), row(road_map, 1)
    assert road_map.name == "straight" and road_map.georeference == "+proj=tmerc"
    np.testing.assert_allclose(points(road_map, right)[[0, -1]], [[0, -1.75, 0], [100, -1.75, 0]],
                               atol=1e-6)  # fmt: skip
    np.testing.assert_allclose(points(road_map, left)[[0, -1]], [[100, 1.75, 0], [0, 1.75, 0]],
                               atol=1e-6)  # fmt: skip
    np.testing.assert_allclose(road_map.point_heading[road_map.points_of(right)], 0, atol=1e-12)
    np.testing.assert_allclose(road_map.point_heading[road_map.points_of(left)], np.pi)
    assert road_map.lane_opposite[[right, left]].tolist() == [left, right]
    assert road_map.lane_left.max() == -1
    step = np.diff(road_map.point_s[road_map.points_of(right)])
    assert step.max() <= 0.5 + 1e-9 and np.ptp(step) < 1e-9
    np.testing.assert_allclose(road_map.lane_length, 100, atol=1e-6)


def test_lanes_of_a_circle_have_their_own_radius():
    shape = '<arc curvature="0.02"/>'
    road_map = read_opendrive(document(road(length=np.pi * 50, shape=shape)))
    for number, radius, sign in ((-1, 51.75, 1), (1, 48.25, -1)):
        lane_row = row(road_map, number)
        rows = road_map.points_of(lane_row)
        distance = np.hypot(*(points(road_map, lane_row)[:, :2] - [0, 50]).T)
        np.testing.assert_allclose(distance, radius, atol=1e-6)
        np.testing.assert_allclose(road_map.point_curvature[rows], sign / radius, rtol=1e-4)
        assert road_map.lane_length[lane_row] == pytest.approx(np.pi * radius, rel=1e-5)


def test_lane_left_hand_traffic_drives_the_other_way():
    road_map = read_opendrive(document(road(rule="LHT")))
    assert road_map.left_hand
    right, left = row(road_map, -1), row(road_map, 1)
    assert points(road_map, left)[0, 0] < 1 < 99 < points(road_map, right)[0, 0]
    np.testing.assert_allclose(road_map.point_heading[road_map.points_of(left)], 0, atol=1e-12)


def test_widening_lane_turns_its_centreline():
    wide = '<width sOffset="0" a="3" b="0.02" c="0" d="0"/>'
    road_map = read_opendrive(document(road(section({-1: lane(-1, wide), -2: lane(-2)}))))
    rows = road_map.points_of(row(road_map, -1))
    np.testing.assert_allclose(road_map.point_heading[rows], -np.arctan(0.01), atol=1e-9)
    s = road_map.point_xyz[rows, 0]
    np.testing.assert_allclose(road_map.point_width[rows], 3 + 0.02 * s, atol=1e-6)
    outer = road_map.points_of(row(road_map, -2))
    np.testing.assert_allclose(road_map.point_heading[outer], -np.arctan(0.02), atol=1e-9)


def test_borders_mean_the_same_as_widths():
    border = '<border sOffset="0" a="{}3" b="{}0.01" c="0" d="0"/>'
    outer = '<border sOffset="0" a="{}6.5" b="{}0.01" c="0" d="0"/>'
    wide = '<width sOffset="0" a="3" b="0.01" c="0" d="0"/>'
    by_width = {-2: lane(-2), -1: lane(-1, wide), 1: lane(1, wide), 2: lane(2)}
    by_border = {
        n: lane(n, (border if abs(n) == 1 else outer).format(*["-" if n < 0 else ""] * 2))
        for n in by_width
    }
    first, second = (
        read_opendrive(document(road(section(lanes)))) for lanes in (by_width, by_border)
    )
    np.testing.assert_allclose(first.point_xyz, second.point_xyz, atol=1e-9)
    np.testing.assert_allclose(first.point_heading, second.point_heading, atol=1e-9)


def test_lane_offset_shifts_all_lanes():
    offset = (
        '<laneOffset s="0" a="0" b="0" c="0" d="0"/><laneOffset s="50" a="2" b="0" c="0" d="0"/>'
    )
    road_map = read_opendrive(document(road(inside=offset)))
    y = points(road_map, row(road_map, -1))[:, 1]
    np.testing.assert_allclose(y[[0, -1]], [-1.75, 0.25], atol=1e-6)


def test_height_follows_elevation_and_superelevation():
    profile = (
        '<elevationProfile><elevation s="0" a="5" b="0.1" c="0" d="0"/></elevationProfile>'
        '<lateralProfile><superelevation s="0" a="0.2" b="0" c="0" d="0"/></lateralProfile>'
    )
    lanes = section({1: lane(1), -1: lane(-1), -2: lane(-2).replace('"false"', '"true"')})
    road_map = read_opendrive(document(road(lanes, before=profile)))
    right, left, flat = (row(road_map, n) for n in (-1, 1, -2))
    np.testing.assert_allclose(
        points(road_map, right)[0], [0, -1.75 * np.cos(0.2), 5 - 1.75 * np.sin(0.2)], atol=1e-6
    )
    np.testing.assert_allclose(
        points(road_map, left)[0], [100, 1.75 * np.cos(0.2), 15 + 1.75 * np.sin(0.2)], atol=1e-6
    )
    # the road's left edge is higher: left of traffic along s, right of traffic against it
    assert road_map.point_bank[road_map.points_of(right)] == pytest.approx(0.2)
    assert road_map.point_bank[road_map.points_of(left)] == pytest.approx(-0.2)
    np.testing.assert_allclose(
        points(road_map, flat)[0], [0, -3.5 * np.cos(0.2) - 1.75, 5 - 3.5 * np.sin(0.2)], atol=1e-6
    )
    assert not road_map.point_bank[road_map.points_of(flat)].any()
    assert road_map.lane_length[right] == pytest.approx(100)  # measured in the ground plane


# --- lane graph -----------------------------------------------------------------------------------


def test_sections_are_linked_both_ways():
    lanes = section({1: linked(1, after=1), -1: linked(-1, after=-2)}) + section(
        {1: linked(1, before=1), -2: linked(-2, before=-1), -1: lane(-1)}, s=40
    )
    road_map = read_opendrive(document(road(lanes)))
    # lane -1 of the second section is new; the old one lies beside it, so its link jumps
    assert road_map.successors_of(row(road_map, 1, index=1)).tolist() == [row(road_map, 1)]
    assert road_map.predecessors_of(row(road_map, 1)).tolist() == [row(road_map, 1, index=1)]
    assert road_map.successors_of(row(road_map, -1)).tolist() == []
    assert any("3.5 m beside it" in message for message in road_map.unsupported)


def test_roads_may_meet_head_to_head():
    first = road(
        section({1: linked(1, after=-1), -1: linked(-1, after=1)}),
        link=road_link("successor", "2", "end"),
    )
    second = road(
        section({1: linked(1, after=-1), -1: linked(-1, after=1)}),
        number="2", pose=(200, 0, np.pi), link=road_link("successor", "1", "end"),
    )  # fmt: skip
    road_map = read_opendrive(document(first, second))
    forth, back = row(road_map, -1), row(road_map, 1)
    assert road_map.successors_of(forth).tolist() == [row(road_map, 1, "2")]
    assert road_map.successors_of(row(road_map, -1, "2")).tolist() == [back]
    assert road_map.predecessors_of(back).tolist() == [row(road_map, -1, "2")]


@pytest.mark.parametrize("contact", ["start", "end"])
def test_junction_joins_incoming_and_outgoing_lanes(contact):
    road_map = junction_map(contact)
    entry, leave = row(road_map, -1), row(road_map, -1, "2")
    turn = row(road_map, -1 if contact == "start" else 1, "5")
    assert road_map.successors_of(entry).tolist() == [turn]
    assert road_map.successors_of(turn).tolist() == [leave]
    assert points(road_map, turn)[0, 0] == pytest.approx(100, abs=1e-6)
    assert road_map.lane_junction[[entry, turn, leave]].tolist() == [-1, 0, -1]
    assert road_map.junction_id.tolist() == ["7"]
    assert road_map.priority_high.tolist() == ["5"] and road_map.priority_low.tolist() == ["1"]
    # the connecting road states no limit: it takes its neighbours' lower one
    assert road_map.lane_speed_limit[[entry, turn]] == pytest.approx(10.0)
    assert road_map.lane_speed_limit[leave] == pytest.approx(50 / 3.6)


def test_direct_junction_links_roads_without_a_connecting_road():
    one_way = section({-1: lane(-1)})
    first = road(one_way, link=junction_link("successor", "7"))
    second = road(one_way, number="2", pose=(100, 0, 0), link=junction_link("predecessor", "7"))
    junction = (
        '<junction id="7" type="direct"><connection id="0" incomingRoad="1" linkedRoad="2" '
        'contactPoint="start"><laneLink from="-1" to="-1"/></connection></junction>'
    )
    road_map = read_opendrive(document(first, second, junction))
    assert road_map.successors_of(row(road_map, -1)).tolist() == [row(road_map, -1, "2")]


def test_single_sided_sections_leave_the_other_side_whole():
    lanes = section({1: lane(1), -1: linked(-1, after=-1)}) + section(
        {-1: linked(-1, before=-1)}, s=40
    ).replace("<laneSection", '<laneSection singleSide="true"')
    road_map = read_opendrive(document(road(lanes)))
    assert road_map.lane_length[row(road_map, 1)] == pytest.approx(100)
    assert road_map.lane_length[row(road_map, -1)] == pytest.approx(40)
    assert road_map.successors_of(row(road_map, -1)).tolist() == [row(road_map, -1, index=1)]


# --- marks, speeds --------------------------------------------------------------------------------


def mark(kind: str, extra: str = "") -> str:
    return f'<roadMark sOffset="0" type="{kind}" color="white" width="0.15" {extra}/>'


@pytest.mark.parametrize(
    ("painted", "leftwards", "rightwards"),
    [
        ("", True, True),
        (mark("broken"), True, True),
        (mark("solid"), False, False),
        (mark("solid broken"), True, False),  # inner (left) line solid: only from the right
        (mark("broken solid"), False, True),
        (mark("solid", 'laneChange="both"'), True, True),
        (mark("broken", 'laneChange="none"'), False, False),
        (mark("broken", 'laneChange="increase"'), True, False),
        (mark("broken", 'laneChange="decrease"'), False, True),
        (mark("broken") + mark("solid").replace('"0"', '"60"', 1), True, True),
        (mark("broken") + mark("solid").replace('"0"', '"40"', 1), False, False),
    ],
)
def test_marks_allow_lane_changes(painted, leftwards, rightwards):
    lanes = {-1: lane(-1, WIDTH + painted), -2: lane(-2)}
    road_map = read_opendrive(document(road(section(lanes))))
    inner, outer = row(road_map, -1), row(road_map, -2)
    assert road_map.lane_right[inner] == outer and road_map.lane_left[outer] == inner
    assert bool(road_map.lane_change_left[outer]) is leftwards
    assert bool(road_map.lane_change_right[inner]) is rightwards


def test_pairs_of_lines_read_left_to_right_along_the_mark():
    painted = mark("solid broken")
    lanes = {1: lane(1, WIDTH + painted), 2: lane(2), -1: lane(-1, WIDTH + painted), -2: lane(-2)}
    road_map = read_opendrive(document(road(section(lanes, centre=mark("none")))))
    start, end = road_map.mark_start[:-1], road_map.mark_start[1:]
    kinds = {
        round(float(road_map.mark_xyz[i, 1]), 2): MarkKind(kind)
        for i, kind in zip(start, road_map.mark_kind, strict=True)
    }
    assert kinds == {3.5: MarkKind.BROKEN_SOLID, -3.5: MarkKind.SOLID_BROKEN}
    assert (road_map.mark_xyz[end - 1, 0] > road_map.mark_xyz[start, 0]).all()
    # seen from the left road lanes: lane 2 may enter lane 1 across its broken line, not back
    assert road_map.lane_change_left[row(road_map, 2)]
    assert not road_map.lane_change_right[row(road_map, 1)]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [('max="50" unit="km/h"', 50 / 3.6), ('max="30" unit="mph"', 13.4112), ('max="9"', 9.0)],
)
def test_speed_units(limit, expected):
    kind = f'<type s="0" type="rural"><speed {limit}/></type>'
    assert read_opendrive(document(road(kind=kind))).lane_speed_limit == pytest.approx(expected)
    inside = f'{WIDTH}<speed sOffset="0" {limit}/>'
    road_map = read_opendrive(document(road(section({-1: lane(-1, inside), -2: lane(-2)}))))
    assert road_map.lane_speed_limit == pytest.approx([expected, 50 / 3.6])


def test_road_type_gives_the_default_limit():
    road_map = read_opendrive(document(road(kind='<type s="0" type="motorway"/>')))
    assert road_map.lane_speed_limit == pytest.approx(130 / 3.6)
