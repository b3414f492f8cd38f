"""Scenario families: all of them build, on their own map or another, or say why they cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hand_map import HandLane, HandMap, straight
from sim_worlds import carla_town, digest, record

from roadloop.errors import RoadloopError
from roadloop.maps.generate import generate_map
from roadloop.maps.path import route_path
from roadloop.maps.road_map import RoadMap
from roadloop.types import Action, AgentKind, Behaviour, Scenario, Trigger
from sim.population import traffic
from sim.scenarios import FAMILIES, build_scenario
from sim.simulator import Simulator, SimWorld
from sim.state import HIT, OFF_ROAD, WRONG_WAY

CASES = [(name, seed) for name in FAMILIES for seed in (0, 1)]


@pytest.fixture(scope="module")
def town() -> RoadMap:
    return generate_map("town", seed=0)


def same(a: Scenario, b: Scenario) -> bool:
    """Whether two scenarios start alike and will run alike."""
    simulator = Simulator()
    one, two = simulator.reset([a]), simulator.reset([b])
    alike = digest(one) == digest(two)
    for name in ("traits", "route", "timing"):
        x, y = getattr(one.fixed, name).numpy(), getattr(two.fixed, name).numpy()
        alike &= x.shape == y.shape
        for field in x.dtype.names or ((),):
            alike &= bool(np.array_equal(x[field], y[field]))
    return alike and a.name == b.name and np.array_equal(a.route.lanes, b.route.lanes)


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_family_builds_and_runs(name: str, seed: int) -> None:
    scenario = build_scenario(name, seed=seed)
    assert scenario.family == name and scenario.seed == seed
    assert scenario.duration == FAMILIES[name].duration
    assert len(scenario.agents.lane) >= FAMILIES[name].agents
    assert scenario.description
    simulator = Simulator()
    start = simulator.reset([scenario])
    # No vehicle starts inside another, off the road or against traffic; the ego is on its route.
    vehicles = start.fixed.traits.numpy()[0]["kind"] != AgentKind.PEDESTRIAN
    assert not (start.events.numpy()[0] & HIT)[vehicles].any()
    first = simulator.step(start, np.zeros((1, 2)))
    assert not (first.events.numpy()[0, 0] & (OFF_ROAD | WRONG_WAY))
    assert start.agents.numpy()[0, 0]["lane"] == scenario.route.lanes[0]
    path = route_path(scenario.road_map, scenario.route)
    assert path.s[-1] > 60.0
    driven = record(simulator, start, 50)
    assert np.isfinite(driven.agents["x"]).all() and np.isfinite(driven.agents["heading"]).all()
    traits = start.fixed.traits.numpy()[0, 1:]
    cars = (traits["kind"] < AgentKind.CYCLIST) & (traits["behaviour"] == Behaviour.TRAFFIC)
    moving = driven.agents["speed"][:, 0, 1:].max(0)[cars]
    assert len(moving) == 0 or moving.max() > 1.0


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_family_is_deterministic(name: str, seed: int) -> None:
    once, again = build_scenario(name, seed=seed), build_scenario(name, seed=seed)
    assert same(once, again)
    assert not same(once, build_scenario(name, seed=seed + 2))


@pytest.mark.parametrize("name", FAMILIES)
def test_family_takes_background_traffic_and_a_duration(name: str) -> None:
    quiet = build_scenario(name, agents=0)
    crowd = build_scenario(name, agents=3, duration=7.5, dt=0.05)
    assert len(crowd.agents.lane) >= len(quiet.agents.lane)
    assert crowd.duration == 7.5 and crowd.dt == 0.05
    ids = crowd.agents.states.id
    assert ids.tolist() == list(range(1, len(ids) + 1))


def test_what_each_family_promises() -> None:
    for seed in range(4):
        lead = build_scenario("lead_vehicle_brake", seed=seed)
        assert (lead.agents.action == Action.BRAKE).sum() == 1
        cut = build_scenario("cut_in", seed=seed)
        changes = np.isin(cut.agents.action, [Action.CHANGE_LEFT, Action.CHANGE_RIGHT])
        assert changes.sum() == 1 and (cut.agents.trigger[changes] == Trigger.TIME).all()
        walkers = build_scenario("pedestrian_crossing", seed=seed).agents.states
        assert (walkers.kind == AgentKind.PEDESTRIAN).sum() >= 1
        cyclist = build_scenario("cyclist_ahead", seed=seed).agents.states
        assert (cyclist.kind == AgentKind.CYCLIST).sum() >= 1
        parked = build_scenario("parked_obstruction", seed=seed).agents.states
        assert (parked.kind == AgentKind.STATIC).sum() == 1
        assert len(build_scenario("dense_town", seed=seed).agents.lane) >= 30


def test_cut_in_ends_up_before_the_ego() -> None:
    for seed in range(4):
        scenario = build_scenario("cut_in", seed=seed)
        simulator = Simulator()
        driven = record(simulator, simulator.reset([scenario]), 80)
        other = int(np.flatnonzero(scenario.agents.action != Action.NONE)[0]) + 1
        assert (driven.agents["lane"][:, 0, other] == scenario.route.lanes[0]).any()


def test_walkers_step_out_as_the_ego_comes() -> None:
    scenario = build_scenario("pedestrian_crossing", seed=1)
    simulator = Simulator()
    driven = record(simulator, simulator.reset([scenario]), 80)  # the ego coasts on
    walkers = np.flatnonzero(scenario.agents.action == Action.WALK) + 1
    assert (driven.agents["walking"][-1, 0, walkers] > 0).all()


def test_red_light_is_red_on_the_way_and_green_later() -> None:
    for seed in range(4):
        scenario = build_scenario("red_light", seed=seed)
        m = scenario.road_map
        held = [q for q in scenario.route.lanes if q in m.stop_lane]
        light = int(m.stop_signal[np.flatnonzero(m.stop_lane == held[0])[0]])
        simulator = Simulator()
        lights = record(simulator, simulator.reset([scenario]), 400).lights[:, 0, light]
        arrival = int(10.0 * 80.0 / max(float(scenario.ego.speed), 1.0))
        assert lights[min(arrival - 5, 400)] == 1
        assert (lights[arrival:] == 4).any()


# --- parameters ---------------------------------------------------------------------------------

WITH_PARAMETERS = [name for name, family in FAMILIES.items() if family.parameters]


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_defaults_are_in_range_and_named(name: str) -> None:
    parameters = FAMILIES[name].parameters
    assert all(p.low <= p.default <= p.high for p in parameters.values())
    assert all(p.unit and p.doc for p in parameters.values())
    assert len({p.short for p in parameters.values()}) == len(parameters)
    defaults = {key: p.default for key, p in parameters.items()}
    given = build_scenario(name, seed=1, parameters=defaults)
    assert same(given, build_scenario(name, seed=1)) and given.name == f"{name}-1"
    assert given.parameters == defaults


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_the_page_says_what_the_code_does(name: str) -> None:
    page = (Path(__file__).parents[1] / "docs" / "scenarios.md").read_text(encoding="utf-8")
    rows = [f"| `{name}` | {FAMILIES[name].description} |"] + [
        f"| `{name}` | `{key}` | {p.default:g} | {p.low:g}, {p.high:g} | {p.unit} | {p.doc} |"
        for key, p in FAMILIES[name].parameters.items()
    ]
    assert [row for row in rows if row not in page] == []


def test_names_tell_what_is_not_the_default() -> None:
    slow = build_scenario("ccrs", seed=2, parameters={"impact": 0.25, "ego_speed": 2.7778})
    assert slow.name == "ccrs-vut10-impact25-2" and slow.family == "ccrs"
    assert slow.parameters == {"ego_speed": 2.7778, "impact": 0.25}
    cut = build_scenario("alks_cut_in", parameters={"front_gap": 12.5, "lateral_speed": 1.0})
    assert cut.name == "alks_cut_in-gap12.5-0"


def test_same_parameters_same_bytes_others_not() -> None:
    def build(**parameters: float) -> Scenario:
        return build_scenario("cpna", seed=3, parameters=parameters)

    assert same(build(ego_speed=8.0, impact=0.75), build(impact=0.75, ego_speed=8.0))
    assert not same(build(ego_speed=8.0), build(ego_speed=8.5))
    # A parameter changes what it says and nothing that is drawn.
    one, other = (build(impact=share).agents.replay[0] for share in (0.25, 0.75))
    later = (0.5 * 1.9) / 1.3889  # half a width further at 5 km/h, so it starts earlier
    begins = [int(np.flatnonzero(motion[:, 3] > 0.0)[0]) for motion in (one, other)]
    assert (begins[0] - begins[1]) * 0.1 == pytest.approx(later, abs=0.11)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"ego_sped": 5.0}, 'unknown parameter of ccrs "ego_sped"; did you mean "ego_speed"'),
        ({"wind": 5.0}, 'unknown parameter of ccrs "wind"; known: ego_speed, impact'),
        ({"impact": 2.0}, r"parameter impact of ccrs is 2\.0: expected -0\.25 to 1\.25"),
        ({"ego_speed": 50}, r"parameter ego_speed of ccrs is 50: expected 1\.3889 m/s to"),
        ({"ego_speed": np.nan}, "parameter ego_speed of ccrs is nan"),
        ({"ego_speed": "10"}, "parameter ego_speed of ccrs is '10'"),
        ({"ego_speed": True}, "parameter ego_speed of ccrs is True"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(parameters: dict, message: str) -> None:
    with pytest.raises(RoadloopError, match=message) as caught:
        build_scenario("ccrs", parameters=parameters)
    assert "\n" not in str(caught.value)


def test_a_family_without_parameters_says_so() -> None:
    message = 'unknown parameter of cut_in "ego_speed"; known: none'
    with pytest.raises(RoadloopError, match=message):
        build_scenario("cut_in", parameters={"ego_speed": 5.0})


# --- mistakes -----------------------------------------------------------------------------------


def test_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        RoadloopError, match="unknown scenario 'dence_town': did you mean 'dense_town'"
    ):
        build_scenario("dence_town")


@pytest.mark.parametrize(
    "options",
    [{"agents": -1}, {"duration": 0.0}, {"duration": -5.0}, {"duration": np.inf},
     {"duration": np.nan}, {"dt": 0.0}, {"dt": -0.1}, {"dt": np.nan}],
)  # fmt: skip
def test_impossible_numbers_are_refused(options: dict) -> None:
    with pytest.raises(RoadloopError, match=r"lane_following .* above 0") as caught:
        build_scenario("lane_following", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("cut_in", "two lanes side by side"),
        ("red_light", "a lane under a traffic light"),
        ("stop_sign", "a lane under a stop sign"),
        ("unprotected_left_turn", "a turn across oncoming traffic"),
        ("pedestrian_crossing", "a crosswalk"),
        ("merge", "a lane that merges into another"),
        ("uncontrolled_junction", "a junction without lights or signs"),
    ],
)
def test_a_map_without_the_place_is_named(name: str, lacking: str) -> None:
    m = generate_map("straight", seed=0)
    with pytest.raises(RoadloopError, match=f"map straight_0 lacks {lacking}"):
        build_scenario(name, road_map=m, agents=0)


@pytest.mark.parametrize("name", ["lead_vehicle_brake", "cyclist_ahead", "parked_obstruction"])
def test_a_map_too_short_is_named(name: str) -> None:
    with pytest.raises(RoadloopError, match="map straight_0 lacks a lane of 150 m"):
        build_scenario(name, road_map=generate_map("straight", length=60.0), agents=0)


def test_a_town_without_roundabouts_has_no_entry_to_one() -> None:
    m = generate_map("town", seed=0, roundabouts=0)
    with pytest.raises(RoadloopError, match="map town_0 lacks an entry to a roundabout"):
        build_scenario("roundabout", road_map=m, agents=0)


def test_too_many_agents_are_refused() -> None:
    with pytest.raises(RoadloopError, match=r"has room for \d+ of 80 agents: ask for fewer"):
        build_scenario("lead_vehicle_brake", agents=80)


def test_map_without_room_for_traffic_is_named() -> None:
    m = HandMap([HandLane(straight((0, 0), (10, 0)))]).build()
    with pytest.raises(RoadloopError, match="no lane of 12 m"):
        traffic(m, np.random.default_rng(0), 1)


# --- other maps ---------------------------------------------------------------------------------


def builds_or_says_why(name: str, m: RoadMap, seed: int) -> bool:
    try:
        scenario = build_scenario(name, seed=seed, road_map=m, agents=10)
    except RoadloopError as error:
        assert m.name in str(error) and "\n" not in str(error)
        return False
    observation = SimWorld().reset(scenario, ("tracks", "lights"))
    assert observation.ego.speed == pytest.approx(float(scenario.ego.speed), abs=1e-5)
    return True


def test_families_build_in_a_generated_town(town: RoadMap) -> None:
    built = {name for name in FAMILIES if builds_or_says_why(name, town, 0)}
    assert built >= {
        "dense_town", "red_light", "stop_sign", "pedestrian_crossing", "roundabout",
        "unprotected_left_turn", "lane_following",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["Town01", "Town03", "Town10HD"])
def test_families_build_in_carla_towns_or_say_why(name: str) -> None:
    m = carla_town(name)
    built = {family for family in FAMILIES for s in (0, 1) if builds_or_says_why(family, m, s)}
    assert {"dense_town", "lane_following", "red_light"} <= built
