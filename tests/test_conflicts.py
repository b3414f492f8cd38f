"""Shared ground and right of way on junctions one can check by hand, and on real towns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_map import HandLane, HandMap, HandSign, arc, bezier, straight

from roadloop.maps.conflicts import VEHICLE_WIDTH, with_conflicts
from roadloop.maps.road_map import ConflictKind, RoadMap, SignalKind
from roadloop.maps.roundabout import roundabout_lanes

TOWNS = Path(__file__).resolve().parents[2] / "shared" / "data" / "carla_maps"
LEGS = "ESWN"  # the leg's side of the junction, counter-clockwise
OUTWARD = {"E": 0.0, "N": np.pi / 2, "W": np.pi, "S": -np.pi / 2}


def crossroads(
    legs: str = "ESWN", left_hand: bool = False, **more: Any
) -> tuple[RoadMap, dict[str, int]]:
    """Two-lane roads meeting at right angles; lane "WE" leads from the west leg to the east leg."""
    side = 1.0 if left_hand else -1.0  # traffic keeps to this side of its road, left positive
    lanes: list[HandLane] = []
    index: dict[str, int] = {}

    def place(leg: str, distance: float, lateral: float) -> tuple[float, float]:
        c, s = np.cos(OUTWARD[leg]), np.sin(OUTWARD[leg])
        return distance * c - lateral * s, distance * s + lateral * c

    for leg in legs:
        index[f"{leg}>"] = len(lanes)
        inward, outward = -1.75 * side, 1.75 * side  # seen along the outward direction
        lanes.append(
            HandLane(straight(place(leg, 60, inward), place(leg, 12, inward)), road=leg, number=1)
        )
        index[f">{leg}"] = len(lanes)
        lanes.append(HandLane(straight(place(leg, 12, outward), place(leg, 60, outward)), road=leg))
        lanes[-2].opposite, lanes[-1].opposite = index[f">{leg}"], index[f"{leg}>"]
    for a in legs:
        for b in legs:
            if a != b:
                start, end = place(a, 12, -1.75 * side), place(b, 12, 1.75 * side)
                points = bezier(start, OUTWARD[a] + np.pi, end, OUTWARD[b])
                index[a + b] = len(lanes)
                lanes[index[f"{a}>"]].successors += (len(lanes),)
                lanes.append(HandLane(points, road=a + b, junction=0, successors=(index[f">{b}"],)))
    signs = [HandSign(kind, index[name], s) for kind, name, s in more.pop("signs", [])]
    hand = HandMap(lanes, junctions=1, signs=signs, left_hand=left_hand, **more)
    return with_conflicts(hand.build()), index


def row(road_map: RoadMap, lane: int, other: int) -> int | None:
    rows = range(road_map.conflict_start[lane], road_map.conflict_start[lane + 1])
    found = [r for r in rows if road_map.conflict_lane[r] == other]
    assert len(found) < 2
    return found[0] if found else None


def owes(road_map: RoadMap, lane: int, other: int) -> int:
    found = row(road_map, lane, other)
    assert found is not None
    return int(road_map.conflict_yield[found])


def check_symmetry(road_map: RoadMap) -> None:
    lane = np.repeat(np.arange(road_map.lanes), np.diff(road_map.conflict_start))
    back = np.lexsort((lane, road_map.conflict_lane))
    np.testing.assert_array_equal(road_map.conflict_lane[back], lane)
    np.testing.assert_array_equal(road_map.conflict_yield[back], -road_map.conflict_yield)
    np.testing.assert_array_equal(road_map.conflict_kind[back], road_map.conflict_kind)
    np.testing.assert_array_equal(road_map.conflict_other_from[back], road_map.conflict_from)
    np.testing.assert_array_equal(road_map.conflict_other_to[back], road_map.conflict_to)
    assert (road_map.conflict_from < road_map.conflict_to).all()
    assert (road_map.conflict_from >= 0).all()
    assert (road_map.conflict_to <= road_map.lane_length[lane] + 1e-9).all()


def test_straight_paths_cross_where_geometry_says() -> None:
    road_map, at = crossroads()
    r = row(road_map, at["WE"], at["SN"])
    assert r is not None and road_map.conflict_kind[r] == ConflictKind.CROSS
    # WE runs along y = -1.75 from x = -12; SN along x = 1.75: they meet 13.75 m in, 2.4 m each side
    assert road_map.conflict_from[r] == pytest.approx(13.75 - 2.4, abs=0.5)
    assert road_map.conflict_to[r] == pytest.approx(13.75 + 2.4, abs=0.5)
    assert road_map.conflict_other_from[r] == pytest.approx(10.25 - 2.4, abs=0.5)
    assert road_map.conflict_other_to[r] == pytest.approx(10.25 + 2.4, abs=0.5)
    assert road_map.conflict_yield[r] == 0
    check_symmetry(road_map)


def test_oncoming_and_side_by_side_lanes_do_not_conflict() -> None:
    road_map, at = crossroads()
    assert row(road_map, at["WE"], at["EW"]) is None
    assert row(road_map, at["WS"], at["EN"]) is None  # right turns in opposite corners
    narrow = HandMap(  # 2 m lanes beside each other: narrower than two vehicles with air
        [
            HandLane(straight((0, 0), (40, 0)), width=2.0, junction=0),
            HandLane(straight((40, 2), (0, 2)), width=2.0, junction=0),
        ],
        junctions=1,
    ).build()
    assert len(with_conflicts(narrow).conflict_lane) == 0


def test_merge_runs_to_the_end_and_diverge_from_the_start() -> None:
    road_map, at = crossroads()
    r = row(road_map, at["WE"], at["NE"])
    assert r is not None and road_map.conflict_kind[r] == ConflictKind.MERGE
    assert road_map.conflict_to[r] == road_map.lane_length[at["WE"]]
    assert road_map.conflict_other_to[r] == road_map.lane_length[at["NE"]]
    r = row(road_map, at["WE"], at["WN"])
    assert r is not None and road_map.conflict_kind[r] == ConflictKind.DIVERGE
    assert road_map.conflict_from[r] == 0.0 and road_map.conflict_other_from[r] == 0.0
    assert road_map.conflict_yield[r] == 0


def test_intervals_are_exactly_where_vehicles_would_touch() -> None:
    import shapely

    road_map, _ = crossroads()
    lane = np.repeat(np.arange(road_map.lanes), np.diff(road_map.conflict_start))
    xy = [road_map.point_xyz[road_map.points_of(k), :2] for k in range(road_map.lanes)]
    for r in range(len(lane)):
        own, other = lane[r], road_map.conflict_lane[r]
        s = road_map.point_s[road_map.points_of(own)]
        gap = shapely.distance(shapely.points(xy[own]), shapely.LineString(xy[other]))
        outside = (s < road_map.conflict_from[r] - 0.01) | (s > road_map.conflict_to[r] + 0.01)
        assert (gap[outside] > VEHICLE_WIDTH).all()


def test_left_turn_gives_way_to_oncoming() -> None:
    road_map, at = crossroads()
    assert owes(road_map, at["WN"], at["EW"]) == 1  # left across straight on
    assert owes(road_map, at["WN"], at["EN"]) == 1  # left into the oncoming right turn's lane
    assert owes(road_map, at["EW"], at["WN"]) == -1
    assert owes(road_map, at["WN"], at["SN"]) == 0  # not oncoming: first come


def test_left_hand_traffic_is_the_mirror_image() -> None:
    road_map, at = crossroads(left_hand=True)
    assert owes(road_map, at["WS"], at["EW"]) == 1  # here the right turn cuts across
    assert owes(road_map, at["WS"], at["ES"]) == 1
    assert row(road_map, at["WN"], at["EW"]) is None
    check_symmetry(road_map)


@pytest.mark.parametrize("kind", [SignalKind.STOP, SignalKind.YIELD])
def test_signs_decide_before_turns(kind: SignalKind) -> None:
    road_map, at = crossroads(signs=[(kind, "E>", 47.0)])
    assert owes(road_map, at["EW"], at["WN"]) == 1  # even straight on against a left turn
    assert owes(road_map, at["EW"], at["SN"]) == 1
    assert owes(road_map, at["WE"], at["SN"]) == 0
    both, at = crossroads(signs=[(kind, "E>", 47.0), (SignalKind.STOP, "W>", 47.0)])
    assert owes(both, at["WN"], at["EW"]) == 1  # signs on both: the turning rule again
    far, at = crossroads(signs=[(kind, "E>", 5.0)])  # 43 m before the junction: not its sign
    assert owes(far, at["EW"], at["SN"]) == 0
    light, at = crossroads(signs=[(SignalKind.TRAFFIC_LIGHT, "E>", 47.0)])
    assert owes(light, at["EW"], at["SN"]) == 0


def test_sign_on_the_junction_lane_itself_counts() -> None:
    road_map, at = crossroads(signs=[(SignalKind.STOP, "SN", 0.0)])
    assert owes(road_map, at["SN"], at["WE"]) == 1


def test_priority_records_decide_before_signs() -> None:
    road_map, at = crossroads(signs=[(SignalKind.STOP, "S>", 47.0)], priority=[(0, "SN", "WE")])
    assert owes(road_map, at["WE"], at["SN"]) == 1
    assert owes(road_map, at["SN"], at["EW"]) == 1  # no record: the sign
    road_map, at = crossroads(priority=[(0, "S", "E")])  # by incoming road
    assert owes(road_map, at["EW"], at["SN"]) == 1


def test_minor_leg_of_a_tee_gives_way() -> None:
    road_map, at = crossroads(legs="ESW")
    for turn in ("SW", "SE"):
        for major in ("WE", "EW", "WS", "ES"):
            if row(road_map, at[turn], at[major]) is not None:
                assert owes(road_map, at[turn], at[major]) == 1, (turn, major)
    assert owes(road_map, at["SW"], at["WE"]) == 1
    assert owes(road_map, at["ES"], at["WE"]) == 1  # left turn off the main road
    check_symmetry(road_map)


def test_ramp_gives_way_outside_junctions() -> None:
    ramp = bezier((0, -20), 0.5, (100, 0), 0.0)
    road_map = with_conflicts(
        HandMap(
            [
                HandLane(straight((0, 0), (100, 0)), road="main", successors=(2,)),
                HandLane(ramp, road="ramp", successors=(2,)),
                HandLane(straight((100, 0), (200, 0)), road="main"),
            ]
        ).build()
    )
    r = row(road_map, 1, 0)
    assert r is not None and road_map.conflict_kind[r] == ConflictKind.MERGE
    assert road_map.conflict_yield[r] == 1
    assert road_map.conflict_to[r] == road_map.lane_length[1]
    s = road_map.point_s[road_map.points_of(1)]
    y = np.interp(road_map.conflict_from[r], s, road_map.point_xyz[road_map.points_of(1), 1])
    assert y == pytest.approx(-2.4, abs=0.15)  # where the two vehicles would first touch
    check_symmetry(road_map)


def test_a_bridge_shares_no_ground() -> None:
    low, high = straight((-20, 0), (20, 0)), np.array([[0.0, -20, 5], [0, 20, 5]])
    lanes = [HandLane(low, junction=0), HandLane(high, junction=0)]
    assert len(with_conflicts(HandMap(lanes, junctions=1).build()).conflict_lane) == 0


def roundabout(left_hand: bool = False, square: bool = False) -> HandMap:
    """Four ring lanes with one entry and one exit each, in four junctions."""
    turn = -1.0 if left_hand else 1.0
    lanes: list[HandLane] = []
    for k in range(4):
        angle = turn * k * np.pi / 2
        if square:
            corners = (
                20
                * np.sqrt(2)
                * np.array(
                    [
                        [np.cos(angle + j * turn * np.pi / 2), np.sin(angle + j * turn * np.pi / 2)]
                        for j in (0, 1)
                    ]
                )
            )
            points = corners
        else:
            points = arc((0, 0), 20, angle, angle + turn * np.pi / 2)
        lanes.append(HandLane(points, road=f"ring{k}", junction=k, successors=((k + 1) % 4,)))
    for k in range(4):
        angle = turn * k * np.pi / 2  # enters where ring lane k begins
        end = (20 * np.cos(angle), 20 * np.sin(angle))
        start = (45 * np.cos(angle - turn * 0.3), 45 * np.sin(angle - turn * 0.3))
        points = bezier(start, angle + np.pi, end, angle + turn * np.pi / 2)
        lanes.append(HandLane(points, road=f"in{k}", junction=(k + 3) % 4, successors=(k,)))
    return HandMap(lanes, junctions=4, left_hand=left_hand)


@pytest.mark.parametrize("left_hand", [False, True])
def test_roundabout_is_found_and_entering_gives_way(left_hand: bool) -> None:
    road_map = with_conflicts(roundabout(left_hand).build())
    assert roundabout_lanes(road_map).tolist() == [True] * 4 + [False] * 4
    assert road_map.junction_is_roundabout.all()
    for k in range(4):
        assert owes(road_map, 4 + k, (k + 3) % 4) == 1  # both end in ring lane k
    check_symmetry(road_map)


def test_what_is_no_roundabout() -> None:
    wrong_way = roundabout()
    wrong_way.left_hand = True  # turning left where traffic keeps left
    assert not roundabout_lanes(wrong_way.build()).any()
    assert not roundabout_lanes(roundabout(square=True).build()).any()  # round the block
    filled = roundabout()
    filled.lanes.append(HandLane(straight((-5, 0), (5, 0))))  # a road through the middle
    assert not roundabout_lanes(filled.build()).any()


def test_crosswalks_lie_on_the_lanes_they_cover() -> None:
    lanes = [HandLane(straight((0, 0), (50, 0))), HandLane(straight((50, 3.5), (0, 3.5)))]
    walks = [
        np.array([[20.0, -4], [24, -4], [24, 8], [20, 8]]),
        np.array([[40.0, -4], [43, -4], [43, 1], [40, 1]]),  # ends on a refuge before lane 1
    ]
    road_map = with_conflicts(HandMap(lanes, crosswalks=walks).build())
    assert road_map.crossing_lane.tolist() == [0, 0, 1]
    assert road_map.crossing_crosswalk.tolist() == [0, 1, 0]
    np.testing.assert_allclose(road_map.crossing_from, [20, 40, 26])
    np.testing.assert_allclose(road_map.crossing_to, [24, 43, 30])


@pytest.fixture(scope="module", params=["Town03", "Town04", "Town05"])
def town(request: pytest.FixtureRequest) -> RoadMap:
    if not TOWNS.is_dir():
        pytest.skip("CARLA maps not at ../shared/data/carla_maps")
    from roadloop.maps.cache import load_map

    return load_map(TOWNS / f"{request.param}.xodr.gz")


def test_towns_hold_every_crossing_merge_and_fork(town: RoadMap) -> None:
    import shapely

    check_symmetry(town)
    lane = np.repeat(np.arange(town.lanes), np.diff(town.conflict_start))
    known = dict(
        zip(
            zip(lane.tolist(), town.conflict_lane.tolist(), strict=True),
            town.conflict_kind.tolist(),
            strict=True,
        )
    )
    travel = np.flatnonzero(town.is_travel & (town.lane_junction >= 0))
    lines = {k: shapely.LineString(town.point_xyz[town.points_of(k), :2]) for k in travel.tolist()}
    for a in travel.tolist():
        for b in travel.tolist():
            if a >= b or town.lane_junction[a] != town.lane_junction[b]:
                continue
            ends = set(town.successors_of(a).tolist()) & set(town.successors_of(b).tolist())
            starts = set(town.predecessors_of(a).tolist()) & set(town.predecessors_of(b).tolist())
            if ends:
                assert known[a, b] == ConflictKind.MERGE
            elif starts:
                assert known[a, b] == ConflictKind.DIVERGE
            elif lines[a].crosses(lines[b]):
                assert (a, b) in known, (town.lane_name(a), town.lane_name(b))
    # neighbours and oncoming lanes of one road never conflict
    for one, other in known:
        assert town.lane_road[one] != town.lane_road[other]
    merges = town.conflict_kind == ConflictKind.MERGE
    np.testing.assert_allclose(
        town.conflict_to[merges & _last(town, lane)],
        town.lane_length[lane[merges & _last(town, lane)]],
    )


def _last(town: RoadMap, lane: np.ndarray) -> np.ndarray:
    """Rows whose lane leads out of its junction."""
    out = np.array(
        [
            bool((town.lane_junction[town.successors_of(k)] != town.lane_junction[k]).any())
            for k in range(town.lanes)
        ]
    )
    return out[lane]


def test_the_roundabout_of_town03_goes_first() -> None:
    if not TOWNS.is_dir():
        pytest.skip("CARLA maps not at ../shared/data/carla_maps")
    from roadloop.maps.cache import load_map

    town = load_map(TOWNS / "Town03.xodr.gz")
    ring = roundabout_lanes(town)
    at = np.repeat(ring, np.diff(town.point_start))
    radius = np.linalg.norm(town.point_xyz[at, :2], axis=1)
    assert radius.min() > 18.0 and radius.max() < 26.0  # two lanes around the origin
    lane = np.repeat(np.arange(town.lanes), np.diff(town.conflict_start))
    enters = ~ring[lane] & ring[town.conflict_lane] & (town.conflict_kind == ConflictKind.MERGE)
    assert enters.sum() >= 4
    assert (town.conflict_yield[enters] == 1).all()


def test_crosswalks_of_a_town_lie_across_its_lanes(town: RoadMap) -> None:
    assert len(town.crossing_lane) > 0
    assert (town.crossing_from < town.crossing_to).all()
    assert (town.crossing_to <= town.lane_length[town.crossing_lane] + 1e-9).all()
    assert town.is_travel[town.crossing_lane].all()


def test_a_map_without_junctions_or_lanes_stays_empty() -> None:
    road_map = with_conflicts(HandMap([HandLane(straight((0, 0), (9, 0)))]).build())
    assert len(road_map.conflict_lane) == 0 and road_map.conflict_start.tolist() == [0, 0]
