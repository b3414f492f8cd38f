"""Lanelet2 maps: which way lanes run, what tags and regulatory elements mean, real files."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.maps import load_map
from roadloop.maps.compile_draft import compile_map
from roadloop.maps.draft import LaneDraft, MapDraft
from roadloop.maps.georeference import parse_georeference
from roadloop.maps.lanelet2 import load_lanelet2, read_lanelet2
from roadloop.maps.lanelet2_rules import sign_kind, speed
from roadloop.maps.road_map import LaneKind, MarkKind, RoadMap, SignalKind

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
KARLSRUHE = DATA / "lanelet2_maps" / "karlsruhe" / "mapping_example.osm"
KASHIWANOHA = DATA / "lanelet2_maps" / "kashiwanoha" / "lanelet2_map.osm"
INTERACTION = DATA / "interaction_format" / "maps" / ".TestScenarioForScripts.osm"


@dataclass
class Osm:
    """An .osm file under construction, with coordinates in metres (local_x, local_y)."""

    nodes: dict[str, tuple[float, ...]] = field(default_factory=dict)
    body: list[str] = field(default_factory=list)
    used: int = 1000

    def way(self, name: str, *points: tuple[float, ...], **tags: str) -> str:
        refs = []
        for point in points:
            known = [n for n, p in self.nodes.items() if p == point]
            refs.append(known[0] if known else f"n{len(self.nodes)}")
            self.nodes.setdefault(refs[-1], point)
        inner = "".join(f'<nd ref="{ref}"/>' for ref in refs) + self.tags(tags)
        self.body.append(f'<way id="{name}">{inner}</way>')
        return name

    def relation(self, name: str, *members: tuple[str, str, str], **tags: str) -> str:
        inner = "".join(f'<member type="{t}" ref="{r}" role="{o}"/>' for t, r, o in members)
        self.body.append(f'<relation id="{name}">{inner}{self.tags(tags)}</relation>')
        return name

    def lanelet(self, name: str, left: str, right: str, *rules: str, **tags: str) -> str:
        members = [("way", left, "left"), ("way", right, "right")]
        members += [("relation", rule, "regulatory_element") for rule in rules]
        return self.relation(name, *members, **{"type": "lanelet", "subtype": "road", **tags})

    @staticmethod
    def tags(tags: dict[str, str]) -> str:
        return "".join(f'<tag k="{k.replace("__", ":")}" v="{v}"/>' for k, v in tags.items())

    def text(self) -> bytes:
        nodes = "".join(
            f'<node id="{n}" lat="0" lon="0">'
            + self.tags({"local_x": str(p[0]), "local_y": str(p[1]), "ele": str([*p, 0.0][2])})
            + "</node>"
            for n, p in self.nodes.items()
        )
        return f'<?xml version="1.0"?><osm>{nodes}{"".join(self.body)}</osm>'.encode()

    def draft(self) -> MapDraft:
        return read_lanelet2(self.text())

    def lanes(self) -> dict[str, LaneDraft]:
        return {lane.id: lane for lane in self.draft().lanes}


def two_lanes(between: dict[str, str] | None = None, /, **tags: str) -> Osm:
    """Lanelets 1 (right) and 2 (left of it) eastwards, then 3 after 1; line m between 1 and 2."""
    osm = Osm()
    osm.way("r", (0, 0), (50, 0), type="road_border")
    osm.way("m", (0, 3.5), (50, 3.5), **(between or {"type": "line_thin", "subtype": "dashed"}))
    osm.way("l", (0, 7), (50, 7), type="curbstone", subtype="high")
    osm.way("r3", (50, 0), (90, 0), type="road_border")
    osm.way("m3", (50, 3.5), (90, 3.5), type="line_thick", subtype="solid")
    osm.lanelet("1", "m", "r", **tags)
    osm.lanelet("2", "l", "m", **tags)
    osm.lanelet("3", "m3", "r3", **tags)
    return osm


# --- lanes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("turn_left", "turn_right"), list(product((False, True), repeat=2)))
def test_ways_may_run_either_way(turn_left: bool, turn_right: bool) -> None:
    osm = Osm()
    left, right = ((0, 4), (20, 4), (40, 6)), ((0, 0), (20, 0), (40, 2))
    osm.way("l", *(left[::-1] if turn_left else left))
    osm.way("r", *(right[::-1] if turn_right else right))
    osm.lanelet("1", "l", "r")
    (lane,) = osm.draft().lanes
    assert lane.left is not None and lane.right is not None
    np.testing.assert_array_equal(lane.left[:, :2], left)
    np.testing.assert_array_equal(lane.right[:, :2], right)


def test_short_wide_and_skewed_lanelets_run_the_right_way() -> None:
    osm = Osm()
    osm.way("l", (4, 5.5), (2, 5.5))  # 2 m long, 5.5 m wide, cut askew, drawn backwards
    osm.way("r", (0, 0), (1.5, 0))
    osm.lanelet("1", "l", "r")
    (lane,) = osm.draft().lanes
    assert lane.left is not None
    np.testing.assert_array_equal(lane.left[:, 0], [2, 4])


def test_links_and_neighbours_by_shared_nodes() -> None:
    lanes = two_lanes().lanes()
    assert lanes["1"].successors == ("3",) and lanes["2"].successors == ()
    assert lanes["1"].left_neighbour == "2" and lanes["2"].right_neighbour == "1"
    assert lanes["3"].left_neighbour == lanes["1"].right_neighbour == ""
    assert not lanes["1"].in_junction


@pytest.mark.parametrize(
    ("tags", "to_left", "to_right"),
    [
        ({"type": "line_thin", "subtype": "dashed"}, True, True),
        ({"type": "line_thick", "subtype": "dashed"}, True, True),
        ({"type": "line_thin", "subtype": "solid"}, False, False),
        ({"type": "line_thin", "subtype": "solid_solid"}, False, False),
        # named from left to right along the way, which runs east like the lanes
        ({"type": "line_thin", "subtype": "dashed_solid"}, False, True),
        ({"type": "line_thin", "subtype": "solid_dashed"}, True, False),
        ({"type": "virtual"}, False, False),
        ({"type": "virtual", "subtype": "dashed"}, False, False),
        ({"type": "virtual", "lane_change": "yes"}, True, True),
        ({"type": "line_thin", "subtype": "dashed", "lane_change": "no"}, False, False),
        (
            {"type": "road_border", "lane_change:left": "yes", "lane_change:right": "no"},
            True,
            False,
        ),
        ({}, False, False),
    ],
)
def test_lane_changes(tags: dict[str, str], to_left: bool, to_right: bool) -> None:
    lanes = two_lanes(tags or {"note": "none"}).lanes()
    assert lanes["1"].change_left is to_left and lanes["2"].change_right is to_right


def test_the_dashed_side_is_that_of_the_way() -> None:
    osm = Osm()
    osm.way("r", (0, 0), (50, 0))
    osm.way("m", (50, 3.5), (0, 3.5), type="line_thin", subtype="dashed_solid")  # westwards
    osm.way("l", (0, 7), (50, 7))
    osm.lanelet("1", "m", "r")
    osm.lanelet("2", "l", "m")
    lanes = osm.lanes()
    assert lanes["1"].change_left is True and lanes["2"].change_right is False


@pytest.mark.parametrize("right_hand", [True, False])
def test_the_side_traffic_keeps(right_hand: bool) -> None:
    osm = Osm()
    for name, y in (("a", 0), ("b", 3.5), ("c", 7)):
        osm.way(name, (0, y), (50, y))
    if right_hand:
        osm.lanelet("1", "b", "a")
        osm.lanelet("2", "b", "c")
    else:
        osm.lanelet("1", "a", "b")
        osm.lanelet("2", "c", "b")
    draft = osm.draft()
    assert draft.left_hand is not right_hand
    assert [lane.opposite for lane in draft.lanes] == ["2", "1"]
    assert compile_map(draft).lane_opposite.tolist() == [1, 0]


def test_the_region_tells_the_side_too() -> None:
    assert two_lanes(region="jp").draft().left_hand and not two_lanes(region="de").draft().left_hand


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ({"subtype": "road"}, LaneKind.DRIVING),
        ({"subtype": "highway"}, LaneKind.DRIVING),
        ({"subtype": "bicycle_lane"}, LaneKind.BIKING),
        ({"subtype": "walkway"}, LaneKind.SIDEWALK),
        ({"subtype": "bus_lane"}, LaneKind.RESTRICTED),
        ({"subtype": "road_shoulder"}, LaneKind.SHOULDER),
        ({"subtype": "rail"}, LaneKind.OTHER),
        ({"subtype": "road", "participant:pedestrian": "yes"}, LaneKind.SIDEWALK),
        ({"subtype": "road", "participant:vehicle:bus": "yes"}, LaneKind.RESTRICTED),
        ({"subtype": "walkway", "participant:vehicle": "yes"}, LaneKind.DRIVING),
    ],
)
def test_kinds_of_lanelets(tags: dict[str, str], kind: LaneKind) -> None:
    assert {lane.kind for lane in two_lanes(**tags).lanes().values()} == {kind}


def test_unknown_subtypes_are_noted() -> None:
    draft = two_lanes(subtype="runway").draft()
    assert {lane.kind for lane in draft.lanes} == {LaneKind.OTHER}
    assert "lanelet 1 of unknown subtype 'runway'" in draft.unsupported


def test_a_wide_street_for_both_directions_is_two_lanes() -> None:
    osm = Osm()
    osm.way("l", (0, 6), (60, 6))
    osm.way("r", (0, 0), (60, 0))
    osm.lanelet("1", "l", "r", one_way="no")
    road_map = compile_map(osm.draft())
    assert road_map.lane_id.tolist() == ["1", "1 reverse"]
    assert road_map.lane_kind.tolist() == [LaneKind.DRIVING] * 2
    assert road_map.lane_opposite.tolist() == [1, 0]
    assert road_map.point_width == pytest.approx(3.0)
    y = [road_map.point_xyz[road_map.points_of(k), 1].mean() for k in (0, 1)]
    assert y == pytest.approx([1.5, 4.5])  # right-hand traffic
    assert np.abs(wrap_angle(road_map.point_heading[[0, -1]] - [0.0, np.pi])).max() < 1e-9


def test_a_narrow_street_for_both_directions_is_all_of_it_each_way() -> None:
    osm = Osm()
    osm.way("l", (0, 3), (60, 3))
    osm.way("r", (0, 0), (60, 0))
    osm.lanelet("1", "l", "r", one_way="no")
    road_map = compile_map(osm.draft())
    assert road_map.lane_kind.tolist() == [LaneKind.BIDIRECTIONAL] * 2
    assert road_map.point_width == pytest.approx(3.0)


def test_half_a_street_widens_to_the_whole_lanelet_it_meets() -> None:
    osm = Osm()
    osm.way("l", (0, 6), (60, 6))
    osm.way("r", (0, 0), (60, 0))
    osm.way("l2", (60, 6), (90, 6))
    osm.way("r2", (60, 0), (90, 0))
    osm.lanelet("1", "l", "r", one_way="no")
    osm.lanelet("2", "l2", "r2")
    road_map = compile_map(osm.draft())
    assert road_map.lane_id[road_map.successors_of(0)].tolist() == ["2"]
    ends = road_map.point_xyz[[road_map.point_start[1] - 1, road_map.point_start[2]]]
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-6)
    assert road_map.point_width[0] == pytest.approx(3.0)


def test_a_lanelet_with_swapped_edges_is_turned_round() -> None:
    osm = two_lanes()
    osm.way("r4", (90, 0), (120, 0))
    osm.way("m4", (90, 3.5), (120, 3.5))
    osm.lanelet("4", "r4", "m4")
    draft = osm.draft()
    assert "lanelet 4: its edges have each other's role, turned round" in draft.unsupported
    assert {lane.id: lane.successors for lane in draft.lanes}["3"] == ("4",)


def test_lanelets_with_a_turn_are_in_junctions() -> None:
    assert all(lane.in_junction for lane in two_lanes(turn_direction="straight").draft().lanes)


@pytest.mark.parametrize(
    ("tags", "limit"),
    [
        ({}, None),
        ({"location": "nonurban"}, 100 / 3.6),
        ({"subtype": "play_street"}, 7 / 3.6),
        ({"speed_limit": "30"}, 30 / 3.6),
        ({"speed_limit": "30 mph", "location": "nonurban"}, 30 * 0.44704),
    ],
)
def test_speed_limits(tags: dict[str, str], limit: float | None) -> None:
    assert two_lanes(**tags).lanes()["1"].speed_limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("words", "limit"),
    [("50", 50 / 3.6), ("50 km/h", 50 / 3.6), ("10 mps", 10.0), ("5.5m/s", 5.5), ("fast", None)],
)
def test_speed_words(words: str, limit: float | None) -> None:
    assert speed(words) == (None if limit is None else pytest.approx(limit))


# --- regulatory elements ------------------------------------------------------------------------


def test_a_light_stops_where_its_line_is_painted() -> None:
    osm = two_lanes()
    osm.way("line", (46, -1), (46, 8), type="stop_line")
    osm.way("other line", (80, 0), (80, 3.5), type="stop_line")
    osm.way("light", (52, 8, 5), (52, 9, 5), type="traffic_light", height="1.0")
    osm.relation(
        "t", ("way", "light", "refers"), ("way", "line", "ref_line"),
        type="regulatory_element", subtype="traffic_light",
    )  # fmt: skip
    osm.lanelet("5", "m3", "r3", "t")  # beyond the line: stops at its end
    osm.body = [b.replace('role="right"/>', 'role="right"/><member type="relation" ref="t" '
                          'role="regulatory_element"/>') if 'id="1"' in b else b
                for b in osm.body]  # fmt: skip
    draft = osm.draft()
    (light,) = draft.signals
    assert light.kind == SignalKind.TRAFFIC_LIGHT and light.id == "light" and light.group == "t"
    assert light.xyz == pytest.approx((52.0, 8.5, 5.5)) and light.heading == pytest.approx(0.0)
    assert dict(light.stops) == {"1": pytest.approx(46.0), "5": None}
    # the other line is paint, no signal's
    widths = [mark.width for mark in draft.marks if mark.kind == MarkKind.SOLID]
    assert widths.count(0.5) == 1


def test_a_light_without_lanelets_takes_those_that_end_at_its_line() -> None:
    osm = two_lanes()
    osm.way("line", (51, -0.5), (51, 7.5), type="stop_line")
    osm.way("light", (60, 8), (60, 9), type="traffic_light")
    osm.relation(
        "t", ("way", "light", "refers"), ("way", "line", "ref_line"),
        type="regulatory_element", subtype="traffic_light",
    )  # fmt: skip
    draft = osm.draft()
    assert [lane for lane, _ in draft.signals[0].stops] == ["1", "2"]
    assert "regulatory element t: no lanelet has it" in draft.unsupported[0]


def test_right_of_way() -> None:
    osm = two_lanes()
    osm.way("sign", (48, -2), (48, -3), type="traffic_sign", subtype="de205")
    osm.relation(
        "p", ("way", "sign", "refers"), ("relation", "1", "yield"),
        ("relation", "2", "right_of_way"), type="regulatory_element", subtype="right_of_way",
    )  # fmt: skip
    draft = osm.draft()
    assert [(y.lane, y.to) for y in draft.yields] == [("1", "2")]
    assert draft.signals[0].kind == SignalKind.YIELD and draft.signals[0].stops == (("1", None),)


def test_all_way_stop() -> None:
    osm = two_lanes()
    osm.way("sign", (48, -2), (48, -3), type="traffic_sign", subtype="usR1-1")
    osm.relation(
        "p", ("way", "sign", "refers"), ("relation", "1", "yield"), ("relation", "3", "yield"),
        type="regulatory_element", subtype="all_way_stop",
    )  # fmt: skip
    draft = osm.draft()
    assert not draft.yields and draft.signals[0].kind == SignalKind.STOP
    assert draft.signals[0].stops == (("1", None), ("3", None))


def test_a_speed_limit_of_a_regulatory_element() -> None:
    osm = two_lanes(speed_limit="80")
    osm.relation("v", sign_type="de274-60", type="regulatory_element", subtype="speed_limit")
    osm.way("x", (0, 7), (50, 7))
    osm.lanelet("9", "x", "m", "v")
    osm.relation("unused", sign_type="?", type="regulatory_element", subtype="speed_limit")
    osm.relation("area", type="regulatory_element", subtype="detection_area")
    lanes = osm.lanes()
    assert lanes["9"].speed_limit == pytest.approx(60 / 3.6)
    assert lanes["1"].speed_limit == pytest.approx(80 / 3.6)
    assert osm.draft().unsupported == (
        "regulatory element unused: no limit, or no lanelet has it",
        "regulatory element area of subtype 'detection_area'",
    )


def test_signs() -> None:
    assert sign_kind("de206")[0] == sign_kind("stop_sign")[0] == SignalKind.STOP
    assert sign_kind("de205")[0] == sign_kind("usR1-2")[0] == SignalKind.YIELD
    assert sign_kind("de301")[0] == sign_kind("")[0] == SignalKind.OTHER
    assert sign_kind("de274-30") == (SignalKind.SPEED_LIMIT, pytest.approx(30 / 3.6))


# --- paint and ground ---------------------------------------------------------------------------


def test_crosswalks_paint_and_areas() -> None:
    osm = two_lanes()
    osm.way("z1", (20, -2), (20, 9), type="zebra_marking")
    osm.way("z2", (24, -2), (24, 9), type="zebra_marking")
    osm.lanelet("z", "z1", "z2", subtype="crosswalk")
    osm.way("p1", (0, 7), (0, 20), (30, 20))
    osm.way("p2", (0, 7), (30, 7), (30, 20))
    osm.relation(
        "p", ("way", "p1", "outer"), ("way", "p2", "outer"), type="multipolygon", subtype="parking"
    )
    osm.relation("open", ("way", "p1", "outer"), type="multipolygon", subtype="parking")
    osm.relation("lawn", ("way", "p1", "outer"), type="multipolygon", subtype="vegetation")
    draft = osm.draft()
    assert "z" not in {lane.id for lane in draft.lanes} and len(draft.crosswalks) == 1
    road_map = compile_map(draft)
    assert road_map.lane_id[road_map.crossing_lane].tolist() == ["1", "2"]
    assert road_map.crossing_from == pytest.approx([20.0, 20.0])
    (parking,) = draft.drivable
    assert sorted(map(tuple, parking.tolist())) == [(0, 7), (0, 20), (30, 7), (30, 20)]
    assert draft.unsupported == ("area open: its edges do not close",)
    kinds = [mark.kind for mark in draft.marks]
    assert kinds == [
        MarkKind.EDGE, MarkKind.BROKEN, MarkKind.CURB, MarkKind.EDGE, MarkKind.SOLID,
    ]  # fmt: skip
    assert [mark.width for mark in draft.marks][1::3] == [0.12, 0.25]


# --- files --------------------------------------------------------------------------------------


def test_coordinates_are_local_metres(tmp_path: Path) -> None:
    nodes = {"a": (49.0, 8.4), "b": (49.0, 8.4005), "c": (49.0001, 8.4), "d": (49.0001, 8.4005)}
    text = "".join(f'<node id="{n}" lat="{p[0]}" lon="{p[1]}"/>' for n, p in nodes.items())
    text += (
        '<way id="r"><nd ref="a"/><nd ref="b"/></way><way id="l"><nd ref="c"/><nd ref="d"/></way>'
    )
    osm = Osm()
    osm.lanelet("1", "l", "r")
    path = tmp_path / "town.osm.gz"
    path.write_bytes(gzip.compress(f"<osm>{text}{osm.body[0]}</osm>".encode()))
    road_map = load_map(path)
    assert road_map.name == "town"
    # a degree of longitude is 111.32 km times cos 49.0, of latitude 111.2 km there
    assert road_map.lane_length[0] == pytest.approx(0.0005 * 111_320 * np.cos(np.radians(49)), 3e-3)
    assert road_map.point_width[0] == pytest.approx(0.0001 * 111_200, rel=1e-3)
    assert np.abs(road_map.point_xyz).max() < 40.0
    projection = parse_georeference(road_map.georeference)
    assert projection is not None
    x, y = road_map.point_xyz[0, :2]
    assert projection.inverse(x, y) == pytest.approx((49.00005, 8.4), abs=1e-8)
    again = load_map(path)  # from the cache
    np.testing.assert_array_equal(again.point_xyz, road_map.point_xyz)
    assert again.lane_id.tolist() == ["1"]


def broken(change: tuple[str, str]) -> bytes:
    text = two_lanes().text().decode()
    assert change[0] in text
    return text.replace(*change, 1).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (two_lanes().text()[:-40], "line 1: not well-formed XML"),
        (b"<OpenDRIVE/>", "the root element is <OpenDRIVE>, not <osm>"),
        (b"<osm/>", "the map has no nodes"),
        (b'<osm><node id="1" lat="0" lon="0"/></osm>', "the map has no lanelets"),
        (b'<osm><node id="1" lat="0"/></osm>', "<node> has no 'lon'"),
        (b'<osm><node id="1" lat="95" lon="0"/></osm>', "latitude or longitude is out of range"),
        (broken(('<nd ref="n0"/>', '<nd ref="n99"/>')), "way r runs through node n99, which is"),
        (broken(('<nd ref="n0"/>', "")), r"way r has 1 node\(s\), not 2"),
        (broken(('id="m"', 'id="r"')), "way r is there twice"),
        (broken(('ref="r" role="right"', 'ref="x" role="right"')), "lanelet 1 refers to way x, "),
        (broken(('role="right"', 'role="rechts"')), "lanelet 1 has 0 right edges, not 1"),
        (broken(('v="3.5"', 'v="3,5"')), "local_y='3,5' of a node is no finite number"),
        (two_lanes(speed_limit="walking").text(), "lanelet 1 has the speed_limit 'walking'"),
        (broken(('ref="r" role="right"/>', 'ref="r" role="right"/><member type="relation" ref="77" '
                 'role="regulatory_element"/>')), "lanelet 1 refers to regulatory element 77"),
        (two_lanes({"type": "line_thin", "width": "wide"}).text(), "way m has the width 'wide'"),
    ],
)  # fmt: skip
def test_bad_files(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.osm"
    path.write_bytes(content)
    with pytest.raises(RoadloopError, match=message) as caught:
        load_map(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RoadloopError, match=r"cannot read map .*none.osm: .*; check the path"):
        load_map(tmp_path / "none.osm")


def test_deleted_elements_are_not_there() -> None:
    text = (
        two_lanes().text().decode().replace('<relation id="3"', '<relation action="delete" id="3"')
    )
    assert [lane.id for lane in read_lanelet2(text.encode()).lanes] == ["1", "2"]


# --- real maps ----------------------------------------------------------------------------------


def real(path: Path) -> RoadMap:
    if not path.exists():
        pytest.skip(f"{path.name} is not on this machine")
    return load_map(path)


def kinks(road_map: RoadMap) -> np.ndarray:
    """rad between the end of each lane and the starts of those that follow."""
    lane = np.repeat(np.arange(road_map.lanes), np.diff(road_map.successor_start))
    end = road_map.point_heading[road_map.point_start[lane + 1] - 1]
    return np.abs(
        wrap_angle(road_map.point_heading[road_map.point_start[road_map.successor]] - end)
    )


def test_kashiwanoha() -> None:
    road_map = real(KASHIWANOHA)
    assert road_map.lanes == 77 and road_map.left_hand and len(road_map.junction_id) == 7
    assert road_map.lane_speed_limit == pytest.approx(10 / 3.6)
    assert road_map.signal_kind.tolist().count(SignalKind.TRAFFIC_LIGHT) == 2
    assert len(road_map.crosswalk_start) == 5 and len(road_map.area_start) == 2
    assert kinks(road_map).max() < 0.3 and np.abs(road_map.point_curvature).max() < 0.5
    assert not road_map.unsupported


def test_karlsruhe() -> None:
    road_map = real(KARLSRUHE)
    assert road_map.is_travel.sum() == 388 and not road_map.left_hand
    assert np.median(kinks(road_map)) < 0.02 and np.abs(road_map.point_curvature).max() < 0.4
    lane = np.repeat(np.arange(road_map.lanes), np.diff(road_map.successor_start))
    end = road_map.point_xyz[road_map.point_start[lane + 1] - 1]
    start = road_map.point_xyz[road_map.point_start[road_map.successor]]
    assert np.abs(end - start).max() < 1e-6
    lights = road_map.signal_kind == SignalKind.TRAFFIC_LIGHT
    governed = road_map.stop_lane[lights[road_map.stop_signal]]
    assert set(road_map.lane_id[governed]) == {
        "45134", "45136", "44972", "44968", "44970", "45014", "45016", "45070", "45082", "45088",
    }  # fmt: skip


def test_interaction_lies_in_the_frame_of_its_tracks() -> None:
    road_map = real(INTERACTION)  # drawn from x = 1 to 101 m, edges at y = 1, 4 and 7 m
    assert road_map.point_xyz[:, 0].min() == pytest.approx(1.0, abs=1e-4)
    assert road_map.point_xyz[:, 0].max() == pytest.approx(101.0, abs=1e-4)
    assert set(np.round(road_map.point_xyz[:, 1], 4)) == {2.5, 5.5}


@pytest.mark.parametrize(
    ("name", "lanes", "loose"),
    [
        ("Tianjin/map_relink_law_save.osm", 62, 4),  # left turns that share no nodes with the legs
        ("Chongqing/NR_ll2.osm", 48, 0),
        ("Changchun/Changchun_Pudong.osm", 37, 0),
        ("Xi'an/Xi'an_Shanglin.osm", 52, 0),
    ],
)
def test_sind(name: str, lanes: int, loose: int) -> None:
    road_map = real(DATA / "sind" / name)
    assert road_map.lanes == lanes and len(road_map.junction_id) == 1
    assert kinks(road_map).max() < 0.2
    inside = np.flatnonzero(road_map.lane_junction >= 0).tolist()
    assert sum(not len(road_map.predecessors_of(lane)) for lane in inside) == loose


def test_traffic_drives_on_kashiwanoha() -> None:
    real(KASHIWANOHA)
    from deploy.drivers import make_driver
    from sim.run import drive_scenario
    from sim.scenarios import build_scenario
    from sim.simulator import SimWorld

    scenario = build_scenario(
        "random_route", seed=1, road_map=load_lanelet2(KASHIWANOHA), agents=5, duration=4.0
    )
    places: list[tuple[float, float]] = []
    drive_scenario(
        scenario,
        make_driver("route-follower"),
        SimWorld(),
        on_step=lambda seen: places.append((float(seen.ego.x), float(seen.ego.y))),
    )
    assert np.linalg.norm(np.subtract(places[-1], places[0])) > 5.0
