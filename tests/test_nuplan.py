"""nuPlan's closed-loop score: its rules in the small, and what may not change any score."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import shapely

from roadloop.errors import RoadloopError
from roadloop.maps.road_map import LaneKind, RoadMap
from roadloop.scoring.area_map import area_map_of
from roadloop.scoring.collision import Contact, ContactKind, time_to_collision
from roadloop.scoring.driven import Driven
from roadloop.scoring.nuplan import (
    closed_loop_score,
    no_at_fault_collisions,
    scenario_scores,
    speed_limit_compliance,
    speed_limits,
)
from roadloop.scoring.nuplan_lanes import corner_lanes, driven_route, fully_in_one_lane
from roadloop.scoring.nuplan_progress import (
    driving_direction_score,
    metres_against_lane,
    progress_along_chain,
    progress_along_lane,
    progress_ratio,
    progress_within_window,
    route_chain,
)
from roadloop.scoring.nuplan_score import nuplan_score
from roadloop.scoring.result import Score
from roadloop.scoring.terms import safety_score
from roadloop.types import AgentKind, AgentStates, EgoState, Rollout, VehicleParameters, at
from tests.hand_drive import DT, ahead, crossroads, rollout_of
from tests.hand_map import HandLane, HandMap, bezier, straight


def metrics(score: Score) -> dict[str, float | None]:
    return {term.name: term.value for term in score.terms}


# --- the rules in the small -----------------------------------------------------------------------


def test_score_is_product_times_weighted_mean() -> None:
    perfect = {
        "no_ego_at_fault_collisions": 1.0,
        "drivable_area_compliance": 1.0,
        "driving_direction_compliance": 0.5,
        "ego_is_making_progress": 1.0,
        "ego_progress_along_expert_route": 0.8,
        "time_to_collision_within_bound": 1.0,
        "speed_limit_compliance": 0.5,
        "ego_is_comfortable": 0.0,
    }
    assert closed_loop_score(perfect) == pytest.approx(0.5 * (4.0 + 5.0 + 2.0) / 16.0)
    assert closed_loop_score({**perfect, "ego_is_comfortable": None}) == pytest.approx(
        0.5 * 11.0 / 14.0
    )
    assert closed_loop_score({}) == 0.0
    with pytest.raises(RoadloopError, match=r"^nuplan: no metric 'style'"):
        closed_loop_score({"style": 1.0})
    with pytest.raises(RoadloopError, match="speed_limit_compliance is nan"):
        closed_loop_score({"speed_limit_compliance": float("nan")})


def test_scenarios_weigh_the_same_whatever_their_type() -> None:
    scores = scenario_scores([("turn", 1.0), ("stop", 0.0), ("turn", 0.5)])
    assert scores == pytest.approx({"turn": 0.75, "stop": 0.0, "final_score": 0.5})
    with pytest.raises(RoadloopError, match="no scenario scores"):
        scenario_scores([])


def test_one_object_may_be_hit_but_nobody_else() -> None:
    def hit(kind: AgentKind, at_fault: bool = True) -> Contact:
        return Contact(3, 1, kind, ContactKind.FRONT, at_fault, 1.0)

    assert no_at_fault_collisions([]) == 1.0
    assert no_at_fault_collisions([hit(AgentKind.BUS, at_fault=False)]) == 1.0
    assert no_at_fault_collisions([hit(AgentKind.STATIC)]) == 0.5
    assert no_at_fault_collisions([hit(AgentKind.STATIC)] * 2) == 0.0
    for kind in (AgentKind.TRUCK, AgentKind.PEDESTRIAN, AgentKind.MOTORCYCLE):
        assert no_at_fault_collisions([hit(kind)]) == 0.0


def test_driving_direction_counts_eleven_samples() -> None:
    along = np.full(40, -0.1)
    assert progress_within_window(along, DT)[[0, 9, 10, 30]] == pytest.approx(
        [-0.1, -1.0, -1.1, -1.1]
    )
    for metres, score in ((1.9, 1.0), (2.1, 0.5), (5.9, 0.5), (6.1, 0.0)):
        against = metres_against_lane(np.full(40, -metres / 11.0), DT)
        assert driving_direction_score(against) == score
    there_and_back = np.concatenate([np.full(5, 1.0), np.full(5, -1.0)])
    assert metres_against_lane(there_and_back, DT).max() == 0.0
    assert metres_against_lane(there_and_back, DT, make_up=False).max() == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("ego", "expert", "ratio"),
    [
        (50.0, 100.0, 0.5),
        (120.0, 100.0, 1.0),
        (0.0, 100.0, 0.02),
        (-1.9, 4.0, 0.5),
        (-2.1, 4.0, 0.0),
        (0.0, 0.0, 1.0),
    ],
)
def test_progress_ratio(ego: float, expert: float, ratio: float) -> None:
    assert progress_ratio(ego, expert) == pytest.approx(ratio)


def test_speed_limit_is_mean_excess_over_five_miles_an_hour() -> None:
    assert speed_limit_compliance(np.zeros(5), DT) == 1.0
    assert speed_limit_compliance(np.array([0.0, 1.0, 1.0, 0.0]), DT) == pytest.approx(
        1.0 - 0.2 / (2.23 * 0.3)
    )
    assert speed_limit_compliance(np.full(20, 9.0), DT) == 0.0
    assert speed_limit_compliance(np.array([5.0]), DT) == 1.0


def test_connectors_have_the_limits_of_their_neighbours() -> None:
    area = area_map_of(crossroads())
    route: list = [(0,), (4,), (3, 4), ()]
    np.testing.assert_array_equal(speed_limits(area, route), [13.9, 13.9, 13.9, np.nan])
    np.testing.assert_array_equal(
        speed_limits(area, route, own_on_connectors=True), [13.9, 8.0, 13.9, np.nan]
    )


def one_ahead(x: float, y: float, heading: float) -> tuple[EgoState, AgentStates]:
    """A car at 10 m/s with another standing 20 m before its rear axle at x, y."""
    zero = np.zeros(1)
    pose = np.array([x]), np.array([y]), zero, np.array([heading])
    ego = EgoState(*pose, zero + 10.0, zero, zero, zero, VehicleParameters())
    agents = AgentStates(
        id=np.ones((1, 1), np.int64),
        kind=np.full((1, 1), AgentKind.CAR, np.uint8),
        x=np.array([[x + 20.0 * np.cos(heading)]]),
        y=np.array([[y + 20.0 * np.sin(heading)]]),
        z=np.zeros((1, 1)),
        heading=np.array([[heading]]),
        vx=np.zeros((1, 1)),
        vy=np.zeros((1, 1)),
        length=np.full((1, 1), 4.5),
        width=np.full((1, 1), 1.8),
        height=np.full((1, 1), 1.5),
        valid=np.ones((1, 1), bool),
    )
    return ego, agents


def test_who_is_in_line_to_the_last_bit_may_be_overlooked_but_not_by_us() -> None:
    """nuPlan takes arccos(1 + 2e-16) for some cars dead ahead: no angle, so not ahead."""
    rng = np.random.default_rng(0)
    in_lane, elsewhere = np.ones(1, bool), np.zeros(1, bool)
    found = []
    for x, y, heading in rng.uniform(-3.0, 3.0, (200, 3)):
        cars = one_ahead(x, y, heading)
        corrected = time_to_collision(*cars, (), in_lane, elsewhere, in_line=True)
        assert np.isfinite(corrected).all()
        found.append(time_to_collision(*cars, (), in_lane, elsewhere)[0])
        if np.isfinite(found[-1]):
            assert found[-1] == corrected[0]
    assert 0.0 < np.isinf(found).mean() < 0.2


# --- lanes and progress ---------------------------------------------------------------------------


def test_a_fork_is_settled_by_where_it_leads() -> None:
    """Straight and turn share their first metres: afterwards the turn was driven all along."""
    fork = HandMap(
        [
            HandLane(straight((0, 0), (50, 0)), successors=(1, 2)),
            HandLane(straight((50, 0), (80, 0)), road="1", junction=0),
            HandLane(bezier((50, 0), 0.0, (65, -15), -np.pi / 2), road="2", junction=0),
        ],
        junctions=1,
    ).build()
    area = area_map_of(fork)
    path = np.array([[48.0, 0.1], [50.5, 0.1], [52.0, 0.0], [63.0, -9.0]])
    assert driven_route(area, path[:3]) == [(0,), (1, 2), (1, 2)]
    assert driven_route(area, path) == [(0,), (2,), (2,), (2,)]


def test_fully_in_one_lane_across_a_seam_but_not_across_a_line() -> None:
    area = area_map_of(crossroads())
    x, y = np.array([50.0, 100.0, 50.0, 99.0, 50.0]), np.array([0.0, 0.0, -1.75, 1.2, -40.0])
    corners = np.stack([x, y], -1)[:, None] + np.array([[2, 0.9], [-2, 0.9], [-2, -0.9], [2, -0.9]])
    one_by_one = [fully_in_one_lane(area, corner_lanes(area, c[None]))[0] for c in corners]
    assert one_by_one == [True, True, False, False, False]


def test_progress_along_lanes_and_along_a_chain() -> None:
    area = area_map_of(crossroads())
    path = np.column_stack([80.3 + 2.5 * np.arange(32), np.zeros(32)])
    route = driven_route(area, path)
    along = progress_along_lane(area, path, route)
    assert set(np.round(along, 9)) == {0.0, 2.5} and along[:2].tolist() == [0.0, 2.5]
    assert (progress_along_lane(area, path[::-1], route[::-1]) <= 0.0).all()
    chain = route_chain(area, route)
    assert len(chain.baseline) == 3
    gained = progress_along_chain(chain, path)
    assert gained[0] == 0.0 and gained[1:] == pytest.approx(2.5)
    # beside the own lane on its roadblock it counts, off the chain it does not, skipping it does
    beside = path + np.array([0.0, -3.5]) * (path[:, :1] < 95.0)
    assert progress_along_chain(chain, beside).sum() == pytest.approx(77.5)
    off = path + np.array([0.0, 40.0]) * ((path[:, :1] > 98.0) & (path[:, :1] < 140.0))
    assert progress_along_chain(chain, off).sum() == pytest.approx(77.5)
    assert progress_along_chain(chain, off[:20]).sum() == pytest.approx(17.5)


def test_a_map_that_draws_its_roadblocks_is_taken_at_its_word() -> None:
    area = area_map_of(crossroads())
    path = np.column_stack([np.linspace(60.0, 90.0, 31), np.full(31, -9.0)])
    chain = route_chain(area, [(0,)])
    assert progress_along_chain(chain, path).sum() == 0.0  # beside what the lanes cover
    blocks = np.array([shapely.box(0, -10, 100, 10)] * (area.lane_roadblock.max() + 1))
    drawn = route_chain(dataclasses.replace(area, roadblock=blocks), [(0,)])
    assert progress_along_chain(drawn, path).sum() == pytest.approx(30.0)


# --- whole drives ---------------------------------------------------------------------------------


def test_a_good_drive_to_the_goal_scores_one_however_short() -> None:
    road = crossroads()
    score = nuplan_score(Driven(rollout_of(road, ahead(10.0, 18.0)), road))
    assert score.name == "nuplan" and score.version.endswith("route as expert")
    assert score.value == 1.0 and set(metrics(score).values()) == {1.0}
    assert all(term.passed and term.lost_at is None for term in score.terms)
    reached = nuplan_score(Driven(rollout_of(road, ahead(10.0, 4.0), lanes=(0,), goal=50.0), road))
    assert reached.term("ego_progress_along_expert_route").value == 1.0


def test_a_car_that_stands_still_scores_nothing() -> None:
    road = crossroads()
    score = nuplan_score(Driven(rollout_of(road, ahead(0.0)), road))
    assert score.value == 0.0
    assert score.term("ego_progress_along_expert_route").value == pytest.approx(2 / 180, abs=2e-3)
    assert score.term("ego_is_making_progress").passed is False


def test_progress_beside_a_logged_expert() -> None:
    road = crossroads()
    driven = Driven(rollout_of(road, ahead(5.0, 10.0)), road)
    expert = rollout_of(road, ahead(10.0, 10.0)).ego
    score = nuplan_score(driven, expert)
    assert "expert" not in score.version
    assert score.term("ego_progress_along_expert_route").value == pytest.approx(0.5)
    nowhere = dataclasses.replace(expert, y=expert.y + 60.0)
    assert nuplan_score(driven, nowhere).term("ego_progress_along_expert_route").value == 1.0
    broken = dataclasses.replace(expert, x=np.where(np.arange(101) == 7, np.nan, expert.x))
    with pytest.raises(RoadloopError, match=r"^nuplan: expert\.x is not finite at step 7"):
        nuplan_score(driven, broken)


@pytest.mark.parametrize(
    ("length", "width", "score"), [(0.5, 0.5, 0.5), (4.5, 1.8, 0.0), (8.0, 0.3, 0.5)]
)
def test_a_parked_car_is_a_vehicle_and_a_cone_an_object(
    length: float, width: float, score: float
) -> None:
    road = crossroads()
    standing = (AgentKind.STATIC, length, width, np.array([60.0, 0.0, 0.0]))
    result = nuplan_score(Driven(rollout_of(road, ahead(10.0), [standing]), road))
    term = result.term("no_ego_at_fault_collisions")
    assert term.value == score and not term.passed and term.lost_at is not None


# --- what may not change any score ----------------------------------------------------------------


def scene(seed: int) -> tuple[np.ndarray, list]:
    """A weaving drive down the street among agents that come near, some of them too near."""
    rng = np.random.default_rng(seed)
    t = np.arange(81) * DT
    y = rng.uniform(-3.0, 4.0) * np.sin(rng.uniform(0.2, 0.8) * t)
    x = 10.0 + rng.uniform(8.0, 16.0) * t
    path = np.column_stack([x, y, np.arctan2(np.gradient(y), np.gradient(x))])
    agents = []
    for kind in (AgentKind.CAR, AgentKind.CAR, AgentKind.CYCLIST, AgentKind.STATIC):
        heading = rng.choice([0.0, np.pi, rng.uniform(-np.pi, np.pi)])
        speed = 0.0 if kind is AgentKind.STATIC else rng.uniform(0.0, 12.0)
        start = np.array([rng.uniform(15.0, 110.0), rng.uniform(-5.0, 5.0)])
        where = start + speed * t[:, None] * np.array([np.cos(heading), np.sin(heading)])
        size = rng.uniform(1.0, 5.0), rng.uniform(0.5, 2.0)
        agents.append((kind, *size, np.column_stack([where, np.full(len(t), heading)])))
    return path, agents


def both(road_map: RoadMap, rollout: Rollout) -> list[Score]:
    driven = Driven(rollout, road_map)
    return [safety_score(driven), nuplan_score(driven)]


def assert_same(a: list[Score], b: list[Score]) -> None:
    for one, other in zip(a, b, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-6)
        for mine, theirs in zip(one.terms, other.terms, strict=True):
            assert mine.value == pytest.approx(theirs.value, abs=1e-5), mine.name
            assert (mine.passed, mine.lost_at) == (theirs.passed, theirs.lost_at), mine.name


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("angle", "mirrored", "shift"),
    [(0.0, False, (512.0, -256.0)), (2.1, False, (30.0, 7.0)), (-0.7, True, (0.0, 0.0))],
)
def test_moving_turning_and_mirroring_the_world_changes_nothing(
    seed: int, angle: float, mirrored: bool, shift: tuple[float, float]
) -> None:
    flip = -1.0 if mirrored else 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def move(points: np.ndarray) -> np.ndarray:
        return points * np.array([1.0, flip]) @ turn.T + np.array(shift)

    def move_path(path: np.ndarray) -> np.ndarray:
        heading = flip * path[:, 2] + angle
        wrapped = np.arctan2(np.sin(heading), np.cos(heading))
        return np.column_stack([move(path[:, :2]), wrapped])

    def moved(agent: tuple) -> tuple:
        return (*agent[:3], move_path(agent[3]))

    path, agents = scene(seed)
    here, there = crossroads(), crossroads(move, mirrored)
    agents_there = [moved(agent) for agent in agents]
    assert_same(
        both(here, rollout_of(here, path, agents)),
        both(there, rollout_of(there, move_path(path), agents_there)),
    )


@pytest.mark.parametrize("seed", range(4))
def test_somebody_far_away_changes_nothing(seed: int) -> None:
    road = crossroads()
    path, agents = scene(seed)
    far = (AgentKind.BUS, 12.0, 2.5, path + np.array([-1000.0, 0.0, 0.0]))
    assert_same(
        both(road, rollout_of(road, path, agents)),
        both(road, rollout_of(road, path, [*agents, far])),
    )


@pytest.mark.parametrize("seed", range(4))
def test_half_a_drive_is_judged_as_in_the_whole(seed: int) -> None:
    road = crossroads()
    path, agents = scene(seed)
    whole = rollout_of(road, path, agents)
    first = slice(0, 40)
    half = dataclasses.replace(
        whole,
        time=whole.time[first],
        ego=at(whole.ego, first),
        control=at(whole.control, first),
        agents=at(whole.agents, first),
        lights=whole.lights[first],
        plan=whole.plan[first],
    )
    a, b = Driven(whole, road), Driven(half, road)
    np.testing.assert_array_equal(a.ttc[first], b.ttc)
    np.testing.assert_allclose(a.on_lanes.corners_outside[first], b.on_lanes.corners_outside)
    np.testing.assert_array_equal(a.fully_in_lane[first], b.fully_in_lane)
    assert tuple(hit for hit in a.hits if hit.step < 40) == b.hits


# --- bad input ------------------------------------------------------------------------------------


def test_states_that_are_not_finite_are_named() -> None:
    road = crossroads()
    path, agents = scene(0)
    rollout = rollout_of(road, path, agents)
    speed = rollout.ego.speed.copy()
    speed[5] = np.nan
    wrong = dataclasses.replace(rollout, ego=dataclasses.replace(rollout.ego, speed=speed))
    with pytest.raises(RoadloopError, match=r"ego\.speed is not finite at step 5") as caught:
        Driven(wrong, road)
    assert "\n" not in str(caught.value)
    x = rollout.agents.x.copy()
    x[9, 2] = np.inf
    lost = dataclasses.replace(rollout.agents, x=x)
    with pytest.raises(RoadloopError, match=r"agents\.x of agent 13 is not finite at step 9"):
        Driven(dataclasses.replace(rollout, agents=lost), road)
    valid = rollout.agents.valid.copy()
    valid[9, 2] = False
    masked = dataclasses.replace(lost, valid=valid)
    assert nuplan_score(Driven(dataclasses.replace(rollout, agents=masked), road)).value is not None


def test_a_map_without_travel_lanes_is_said() -> None:
    pavement = HandMap([HandLane(straight((0, 0), (90, 0)), kind=LaneKind.SIDEWALK)]).build()
    with pytest.raises(RoadloopError, match="travel lane"):
        nuplan_score(Driven(rollout_of(pavement, ahead(5.0), lanes=(0,)), pavement))


def test_the_shortest_drives_are_scored() -> None:
    road = crossroads()
    for steps in (1, 2, 5):
        score = nuplan_score(Driven(rollout_of(road, ahead(10.0)[:steps]), road))
        comfort = score.term("ego_is_comfortable")
        assert (comfort.value is None) == (steps < 4) and comfort.value in (None, 1.0)
    with pytest.raises(RoadloopError, match="no steps"):
        Driven(rollout_of(road, ahead(10.0)[:0]), road)
