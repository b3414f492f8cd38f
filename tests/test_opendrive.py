"""The OpenDRIVE reader: geometry, lane graph, signals, errors, and every sample file at hand."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from roadloop.errors import RoadloopError
from roadloop.maps.opendrive import read_opendrive
from roadloop.maps.opendrive_xml import Unsupported, parse
from roadloop.maps.plan_view import read_plan_view
from roadloop.maps.road_map import LaneKind, MarkKind, RoadMap, SignalKind

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FOLDERS = ("carla_maps", "esmini/xodr", "opendrive_misc/LGSVL", "omega_prime_osi")
FILES = sorted(p for folder in FOLDERS for p in (DATA / folder).glob("*.xodr*"))

WIDTH = '<width sOffset="0" a="3.5" b="0" c="0" d="0"/>'


# --- a tiny writer -----------------------------------------------------------------------------


def lane(number: int, inside: str = WIDTH, kind: str = "driving", extra: str = "") -> str:
    return f'<lane id="{number}" type="{kind}" level="false" {extra}>{inside}</lane>'


def section(lanes: dict[int, str], s: float = 0.0, centre: str = "") -> str:
    left = "".join(text for number, text in lanes.items() if number > 0)
    right = "".join(text for number, text in lanes.items() if number < 0)
    sides = f"<left>{left}</left>" if left else ""
    sides += f'<center><lane id="0" type="none">{centre}</lane></center>'
    return (
        f'<laneSection s="{s}">{sides}'
        + (f"<right>{right}</right>" if right else "")
        + ("</laneSection>")
    )


TWO_WAY = section({1: lane(1), -1: lane(-1)})


def geometry(shape: str, length: float, pose: tuple[float, float, float] = (0, 0, 0)) -> str:
    x, y, heading = pose
    return (
        f'<planView><geometry s="0" x="{x}" y="{y}" hdg="{heading}" length="{length}">{shape}'
        "</geometry></planView>"
    )


def road(
    lanes: str = TWO_WAY, *, number: str = "1", length: float = 100.0, shape: str = "<line/>",
    pose: tuple[float, float, float] = (0, 0, 0), link: str = "", junction: str = "-1",
    before: str = "", inside: str = "", rule: str = "RHT", kind: str = "",
) -> str:  # fmt: skip
    return (
        f'<road id="{number}" length="{length}" junction="{junction}" rule="{rule}">'
        f"<link>{link}</link>{kind}{geometry(shape, length, pose)}{before}"
        f"<lanes>{inside if '<laneOffset' in inside else ''}{lanes}</lanes>"
        f"{'' if '<laneOffset' in inside else inside}</road>"
    )


def document(*elements: str) -> bytes:
    header = '<header revMajor="1" revMinor="6"><geoReference>+proj=tmerc</geoReference></header>'
    return f"<?xml version='1.0'?>\n<OpenDRIVE>{header}{''.join(elements)}</OpenDRIVE>".encode()


def row(road_map: RoadMap, number: int, road_id: str = "1", index: int = 0) -> int:
    (found,) = np.flatnonzero(
        (road_map.lane_road == road_id)
        & (road_map.lane_number == number)
        & (road_map.lane_section == index)
    )
    return int(found)


def points(road_map: RoadMap, lane_row: int) -> np.ndarray:
    return road_map.point_xyz[road_map.points_of(lane_row)]


# --- geometry ----------------------------------------------------------------------------------

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


# --- lane graph --------------------------------------------------------------------------------


def linked(number: int, before: int | None = None, after: int | None = None) -> str:
    link = "" if before is None else f'<predecessor id="{before}"/>'
    link += "" if after is None else f'<successor id="{after}"/>'
    return lane(number, f"<link>{link}</link>{WIDTH}")


def road_link(tag: str, target: str, contact: str) -> str:
    return f'<{tag} elementType="road" elementId="{target}" contactPoint="{contact}"/>'


def junction_link(tag: str, target: str) -> str:
    return f'<{tag} elementType="junction" elementId="{target}"/>'


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


def junction_map(contact: str, signals: str = "", approach: str = "", extra: str = "") -> RoadMap:
    """Road 1 into junction 7, connecting road 5 (from its start or end), road 2 out of it."""
    one_way = section({-1: lane(-1)})
    first = road(one_way, link=junction_link("successor", "7"), inside=approach,
                 kind='<type s="0" type="town"><speed max="36" unit="km/h"/></type>')  # fmt: skip
    if contact == "start":
        number, pose = -1, (100, 0, 0)
        link = road_link("predecessor", "1", "end") + road_link("successor", "2", "start")
        lanes = section({-1: linked(-1, -1, -1)})
    else:  # the connecting road runs against traffic, which drives on its lane 1
        number, pose = 1, (120, 0, np.pi)
        link = road_link("predecessor", "2", "start") + road_link("successor", "1", "end")
        lanes = section({1: linked(1, -1, -1)})
    connecting = road(lanes, number="5", length=20, pose=pose, link=link, junction="7",
                      inside=signals)  # fmt: skip
    last = road(one_way, number="2", pose=(120, 0, 0), link=junction_link("predecessor", "7"))
    junction = (
        f'<junction id="7"><connection id="0" incomingRoad="1" connectingRoad="5" '
        f'contactPoint="{contact}"><laneLink from="-1" to="{number}"/></connection>'
        '<priority high="5" low="1"/><controller id="c"/></junction>'
    )
    controllers = (
        '<controller id="other"><control signalId="9"/></controller>'
        '<controller id="c"><control signalId="L"/></controller>'
    )
    return read_opendrive(document(first, connecting, last, controllers, junction, extra))


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


# --- marks, speeds -----------------------------------------------------------------------------


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


# --- signals, crosswalks -----------------------------------------------------------------------

LIGHT = (
    '<signal id="{id}" s="{s}" t="-5" zOffset="4" orientation="{orientation}" dynamic="yes" '
    'type="1000001" country="OpenDRIVE">{inside}</signal>'
)


@pytest.mark.parametrize("contact", ["start", "end"])
def test_reference_on_a_connecting_road_governs_its_entry(contact):
    number = -1 if contact == "start" else 1
    reference = (
        f'<signals><signalReference id="L" s="10" t="0" orientation="+">'
        f'<validity fromLane="{number}" toLane="{number}"/></signalReference></signals>'
    )
    own = LIGHT.format(id="L", s=95, orientation="-", inside='<validity fromLane="0" toLane="0"/>')
    road_map = junction_map(contact, reference, f"<signals>{own}</signals>")
    turn = row(road_map, number, "5")
    assert road_map.signal_kind.tolist() == [SignalKind.TRAFFIC_LIGHT]
    assert road_map.stop_lane.tolist() == [turn] and road_map.stop_s.tolist() == [0.0]
    assert road_map.signal_heading[0] == pytest.approx(0.0, abs=1e-9)
    assert road_map.signal_controller.tolist() == [1]
    assert road_map.signal_junction.tolist() == [0]
    np.testing.assert_allclose(road_map.signal_xyz[0], [95, -5, 4], atol=1e-6)


def test_signal_beside_the_approach_governs_it_up_to_the_stop_line():
    light = f"<signals>{LIGHT.format(id='L', s=98, orientation='+', inside='')}</signals>"
    road_map = junction_map("start", approach=light)
    assert road_map.stop_lane.tolist() == [row(road_map, -1)]
    assert road_map.stop_s == pytest.approx([98.0])
    assert road_map.signal_junction.tolist() == [0]
    line = (
        '<objects><object id="3" name="StopLine" type="-1" s="94.5" t="-1.75" zOffset="0" '
        'hdg="1.5708" length="3.5" width="0.4"/></objects>'
    )
    road_map = junction_map("start", approach=line + light)
    assert road_map.stop_s == pytest.approx([94.5])


@pytest.mark.parametrize(("orientation", "number"), [("+", -1), ("-", 1)])
def test_orientation_picks_the_direction(orientation, number):
    s = 95 if orientation == "+" else 5
    signal = LIGHT.format(id="L", s=s, orientation=orientation, inside="")
    road_map = read_opendrive(document(road(inside=f"<signals>{signal}</signals>")))
    assert road_map.stop_lane.tolist() == [row(road_map, number)]
    assert road_map.stop_s == pytest.approx([95.0])


def test_reversed_orientation_is_recognised_by_validities():
    """RoadRunner writes "-" for signals that traffic along s sees."""
    lane_of = '<validity fromLane="-1" toLane="-1"/>'
    signals = LIGHT.format(id="A", s=95, orientation="-", inside=lane_of) + LIGHT.format(
        id="B", s=95, orientation="-", inside=""
    )
    road_map = read_opendrive(document(road(inside=f"<signals>{signals}</signals>")))
    assert road_map.stop_lane.tolist() == [row(road_map, -1)] * 2


def test_signs_and_their_values():
    def sign(number: int, code: str, extra: str = "") -> str:
        return (
            f'<signal id="{number}" s="90" t="-4" orientation="+" dynamic="no" type="{code}" '
            f"{extra}/>"
        )

    signals = (
        sign(0, "206") + sign(1, "205") + sign(2, "274", 'value="50"')
        + sign(3, "274", 'value="30" unit="mph"') + sign(4, "274", 'subtype="57"')
        + sign(5, "-1", 'name="Sign_Stop"') + sign(6, "-1", 'name="Speed_30"')
        + sign(7, "306") + sign(8, "274")
    )  # fmt: skip
    road_map = read_opendrive(document(road(inside=f"<signals>{signals}</signals>")))
    assert road_map.signal_kind.tolist() == [1, 2, 3, 3, 3, 1, 3, 4, 4]
    limits = [50 / 3.6, 13.4112, 70 / 3.6, 30 / 3.6]
    assert road_map.signal_value[[2, 3, 4, 6]] == pytest.approx(limits)
    assert sorted(road_map.stop_signal.tolist()) == [0, 1, 5]
    assert any("speed limit sign without a value" in m for m in road_map.unsupported)


def test_crosswalk_outlines_local_and_on_the_road_agree():
    head = '<object id="1" type="crosswalk" s="50" t="0" zOffset="0" hdg="1.5707963267948966">'
    local = "".join(
        f'<cornerLocal u="{u}" v="{v}" z="0"/>'
        for u, v in ((4, 2), (4, -2), (-4, -2), (-4, 2), (4, 2))
    )
    on_road = "".join(
        f'<cornerRoad s="{s}" t="{t}" dz="0"/>' for s, t in ((48, 4), (52, 4), (52, -4), (48, -4))
    )
    bare = '<object id="2" type="crosswalk" s="50" t="0" hdg="0" length="4" width="8"/>'
    for crosswalk in (
        f"{head}<outline>{local}</outline></object>",
        f"{head}<outlines><outline>{on_road}</outline></outlines></object>",
        bare,
    ):
        text = document(road(inside=f"<objects>{crosswalk}</objects>", pose=(0, 0, 0.0)))
        road_map = read_opendrive(text)
        assert road_map.crosswalk_start.tolist() == [0, 4]
        x, y = road_map.crosswalk_xyz[:, :2].T
        assert np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2 == pytest.approx(32)
        corners = np.sort(
            np.round(road_map.crosswalk_xyz[:, 0] + 1j * road_map.crosswalk_xyz[:, 1], 6)
        )
        np.testing.assert_allclose(corners, [48 - 4j, 48 + 4j, 52 - 4j, 52 + 4j], atol=1e-6)
        assert len(road_map.crossing_lane) == 2


# --- what is wrong, what is unused -------------------------------------------------------------

GOOD = document(road())
BROKEN = {
    "truncated": (GOOD[:300], "line 2.*truncated"),
    "html": (b"<html/>", "<html>, not <OpenDRIVE>"),
    "no XML": (b"hello", "not well-formed"),
    "gzip": (gzip.compress(GOOD)[:60], "gzip file is damaged"),
    "revision": (GOOD.replace(b'revMajor="1"', b'revMajor="2"'), "revision 2"),
    "no roads": (document(), "no roads"),
    "nothing to drive on": (GOOD.replace(b"driving", b"sidewalk"), "no drivable lane"),
    "zero length": (GOOD.replace(b'"0" length="100.0"', b'"0" length="0"'), "line 2.*length 0"),
    "endless": (GOOD.replace(b'"0" length="100.0"', b'"0" length="1e9"'), "at most 1e"),
    "too wide": (GOOD.replace(b'a="3.5" b="0"', b'a="3.5" b="1e9"'), "reach beyond 1000 m"),
    "unknown shape": (GOOD.replace(b"<line/>", b"<wave/>"), "<wave>"),
    "not a number": (GOOD.replace(b'a="3.5"', b'a="NaN"'), "line 2: a='NaN' of <width>"),
    "unknown road": (document(road(link=road_link("successor", "9", "start"))), "unknown road 9"),
    "unknown junction": (document(road(link=junction_link("successor", "9"))), "junction 9"),
    "unknown unit": (
        document(road(kind='<type s="0"><speed max="5" unit="knots"/></type>')), "unit 'knots'"
    ),
    "no sections": (document(road("")), "no laneSection"),
    "twice": (document(road(), road()), "used twice"),
    "no width": (GOOD.replace(WIDTH.encode(), b""), "neither width nor border"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_bad_files_are_named_in_one_line(name, tmp_path):
    content, expected = BROKEN[name]
    path = tmp_path / "bad.xodr"
    path.write_bytes(content)
    with pytest.raises(RoadloopError, match=expected) as caught:
        read_opendrive(path)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(path)) and ";" in message


def test_missing_file(tmp_path):
    with pytest.raises(RoadloopError, match=r"cannot read map .*nowhere\.xodr.*check the path"):
        read_opendrive(tmp_path / "nowhere.xodr")


def test_unused_elements_are_named_once_per_road():
    profile = '<lateralProfile><shape s="0" t="0"/><shape s="5" t="0"/></lateralProfile>'
    lanes = section({-1: lane(-1), -2: lane(-2, kind="hoverboard"), -3: lane(-3, kind="tram")})
    road_map = read_opendrive(document(road(lanes, before=profile)))
    assert road_map.unsupported == (
        "lateral profile <shape>, road 1, line 2",
        "lane type 'hoverboard' (kept as other), road 1, line 2",
        "lane type 'tram' (kept as other), road 1, line 2",
    )
    assert road_map.lane_kind.tolist() == [LaneKind.DRIVING, LaneKind.OTHER, LaneKind.OTHER]


def test_namespaces_and_compression_change_nothing(tmp_path):
    plain = read_opendrive(GOOD)
    spaced = GOOD.replace(b"<OpenDRIVE>", b'<OpenDRIVE xmlns="http://code.asam.net/x">')
    packed = tmp_path / "town.xodr.gz"
    packed.write_bytes(gzip.compress(GOOD))
    for road_map in (read_opendrive(spaced), read_opendrive(packed)):
        np.testing.assert_array_equal(road_map.point_xyz, plain.point_xyz)
    assert road_map.name == "town" and road_map.content_hash == plain.content_hash


# --- real files --------------------------------------------------------------------------------


@pytest.mark.skipif(not FILES, reason="the sample maps are not beside this checkout")
@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_sample_file_loads(path):
    road_map = read_opendrive(path)
    assert road_map.is_travel.any()
    for name, array in road_map.arrays().items():
        assert array.dtype.kind not in "fc" or np.isfinite(array).all(), name
    step = np.diff(road_map.point_s)
    step[road_map.point_start[1:-1] - 1] = 0.25  # between lanes
    assert step.max() <= 0.5 + 1e-6 and step.min() > 0
    assert np.diff(road_map.point_start).min() >= 2
    # every light and sign that demands a stop is obeyed by someone
    governing = np.flatnonzero(road_map.signal_kind <= SignalKind.YIELD)
    assert set(governing) == set(road_map.stop_signal.tolist())
    assert (road_map.stop_s >= 0).all()
    assert (road_map.stop_s <= road_map.lane_length[road_map.stop_lane]).all()
    assert road_map.is_travel[road_map.stop_lane].all()
    for message in road_map.unsupported:
        assert ", line " in message
    if road_map.name.startswith("Town"):
        check_joints(road_map)


def check_joints(road_map: RoadMap) -> None:
    """Lanes of CARLA's towns join exactly: position within 2 mm, heading within 0.01 rad."""
    lanes = np.repeat(np.arange(road_map.lanes), np.diff(road_map.successor_start))
    travel = road_map.is_travel[lanes]
    end = road_map.point_start[lanes[travel] + 1] - 1
    start = road_map.point_start[road_map.successor[travel]]
    assert np.abs(road_map.point_xyz[end] - road_map.point_xyz[start]).max() < 2e-3
    turn = road_map.point_heading[end] - road_map.point_heading[start]
    assert np.abs(np.angle(np.exp(1j * turn))).max() < 0.01
