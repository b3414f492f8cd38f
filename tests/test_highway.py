"""highway-env's tasks: their roads as our maps, their frame turned into ours, their contacts."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roadloop.cli import main
from roadloop.errors import RoadloopError
from roadloop.logs.store import RolloutWriter, read_rollout
from roadloop.maps.locate import nearest_lane
from roadloop.maps.path import route_path
from roadloop.maps.road_map import ConflictKind
from roadloop.scoring.driven import Driven
from roadloop.types import AgentKind, Control, Observation

pytest.importorskip("highway_env", reason="needs the extra `highway`")
warnings.filterwarnings("ignore", message=".*Overriding environment.*")

from sim.highway.curves import cubic_between  # noqa: E402
from sim.highway.edges import pose  # noqa: E402
from sim.highway.road_network import HighwayMap, highway_map  # noqa: E402
from sim.highway.scenario import highway_scenario, task_map  # noqa: E402
from sim.highway.tasks import TASKS, VEHICLE, make_env  # noqa: E402
from sim.highway.world import HighwayWorld  # noqa: E402

SMALL = [name for name in TASKS if name not in ("highway-v0", "intersection-v1")]
"""the others' roads are among these"""


@pytest.fixture(scope="module")
def built() -> dict[str, tuple[Any, HighwayMap]]:
    """Network and map of every task."""
    found = {}
    for name in SMALL:
        network = make_env(name).road.network
        found[name] = network, highway_map(network, name)
    return found


def start(name: str, seed: int = 0) -> tuple[HighwayWorld, Observation]:
    world = HighwayWorld()
    return world, world.reset(highway_scenario(name, seed=seed), ("tracks", "lights"))


def control(acceleration: float, steering: float) -> Control:
    return Control(np.float64(acceleration), np.float64(steering))


# --- maps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_lanes_of_ours_lie_on_theirs(name: str, built: dict[str, Any]) -> None:
    network, mapped = built[name]
    m = mapped.road_map
    assert m.unsupported == ()
    for index, lane in network.lanes_dict().items():
        if name == "two-way-v0" and index == ("a", "b", 0):
            assert index not in mapped.lanes  # the oncoming lane, seen from the other side
            continue
        for row in mapped.lanes[index]:
            rows = m.points_of(row)
            for k in range(rows.start, rows.stop, 10):
                x, y = m.point_xyz[k, :2]
                s, aside = lane.local_coordinates(np.array([x, -y]))
                assert abs(aside) < 0.3  # racetracks are drawn to 0.2 m themselves
                if type(lane).__name__ != "SineLane":  # their s is no arc length there
                    turn = m.point_heading[k] + lane.heading_at(s)
                    assert abs(math.remainder(turn, 2.0 * math.pi)) < 0.1
            assert m.point_width[rows].mean() == pytest.approx(lane.width_at(0.0), abs=0.2)
            assert m.lane_speed_limit[row] == pytest.approx(lane.speed_limit)


@pytest.mark.parametrize("name", SMALL)
def test_lanes_lead_on_where_theirs_do(name: str, built: dict[str, Any]) -> None:
    network, mapped = built[name]
    m = mapped.road_map
    owner = {row: index for index, rows in mapped.lanes.items() for row in rows}
    for index, rows in mapped.lanes.items():
        reached = set()
        for row in m.successors_of(rows[-1]).tolist():
            through = [row] if row in owner else m.successors_of(row).tolist()  # by way of a bridge
            reached |= {owner[k] for k in through}
        lane = network.get_lane(index)
        for node, lanes in network.graph.get(index[1], {}).items():
            back = math.cos(lanes[0].heading_at(0.0) - lane.heading_at(lane.length)) < -0.9
            if not back and len(lanes) == len(network.graph[index[0]][index[1]]):
                assert (index[1], node, index[2]) in reached  # their rule: keep the number
    for lane in range(m.lanes):
        for after in m.successors_of(lane):
            end = m.point_xyz[m.points_of(lane)][-1]
            begin = m.point_xyz[m.points_of(int(after))][0]
            assert np.linalg.norm(end - begin) < 0.7


def test_lane_changes_are_those_they_allow(built: dict[str, Any]) -> None:
    _, mapped = built["merge-v0"]
    m = mapped.road_map
    left, right, ramp = (mapped.lanes["b", "c", k][0] for k in range(3))
    assert m.lane_right[left] == right and m.lane_left[right] == left
    assert m.lane_change_right[left] and m.lane_change_left[right]
    assert m.lane_right[right] == ramp and not m.lane_change_right[right]  # `forbidden`
    assert m.lane_left[ramp] == right and m.lane_change_left[ramp]
    assert len(m.successors_of(ramp)) == 0
    # the ramp joins beside the carriageway: nobody crosses anybody
    assert len(m.conflict_lane) == 0 and (m.lane_junction == -1).all()


def test_oncoming_lane_of_the_two_way_road(built: dict[str, Any]) -> None:
    _, mapped = built["two-way-v0"]
    m = mapped.road_map
    own, oncoming = mapped.lanes["a", "b", 1][0], mapped.lanes["b", "a", 0][0]
    assert m.lanes == 2
    assert m.lane_opposite[own] == oncoming and m.lane_opposite[oncoming] == own
    assert m.lane_left[own] == -1


def test_right_of_way_at_the_intersection(built: dict[str, Any]) -> None:
    network, mapped = built["intersection-v0"]
    m = mapped.road_map
    checked = 0
    of = {rows[0]: index for index, rows in mapped.lanes.items()}
    for lane in range(m.lanes):
        for k in range(m.conflict_start[lane], m.conflict_start[lane + 1]):
            other = int(m.conflict_lane[k])
            if m.conflict_kind[k] == ConflictKind.DIVERGE:
                continue
            mine, theirs = (network.get_lane(of[row]).priority for row in (lane, other))
            if mine != theirs:
                assert m.conflict_yield[k] == (1 if mine < theirs else -1)
                checked += 1
    assert checked > 20


def test_those_on_the_roundabout_go_first(built: dict[str, Any]) -> None:
    _, mapped = built["roundabout-v0"]
    m = mapped.road_map
    assert m.junction_is_roundabout.all() and len(m.junction_id) == 4
    ring = mapped.lanes["ex", "ee", 1][0]
    entry = [int(k) for k in m.successors_of(mapped.lanes["ees", "ee", 0][0])]
    assert len(entry) == 1
    rows = slice(m.conflict_start[entry[0]], m.conflict_start[entry[0] + 1])
    assert dict(zip(m.conflict_lane[rows].tolist(), m.conflict_yield[rows].tolist()))[ring] == 1
    # the entry's curve can be driven: 5 m is their tightest turn
    assert np.abs(m.point_curvature[m.points_of(entry[0])]).max() < 1.0 / VEHICLE.wheelbase


def test_same_network_same_text() -> None:
    assert task_map("roundabout-v0").xodr == task_map("roundabout-v0").xodr


def test_cubics_meet_both_poses() -> None:
    cubic = cubic_between((1.0, 2.0, 0.3), (9.0, 5.0, -0.2))
    end = cubic.coefficients.sum(axis=0)
    c, s = math.cos(0.3), math.sin(0.3)
    assert 1.0 + c * end[0] - s * end[1] == pytest.approx(9.0)
    assert 2.0 + s * end[0] + c * end[1] == pytest.approx(5.0)
    arc = cubic_between((0.0, 0.0, 0.0), (20.0 * math.sin(0.25), 20.0 * (1 - math.cos(0.25)), 0.25))
    assert arc.length == pytest.approx(5.0, rel=1e-4)
    assert arc.curvature == pytest.approx(1.0 / 20.0, rel=1e-2)


# --- scenarios ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_routes_begin_at_the_car_and_end_at_the_goal(name: str) -> None:
    scenario = highway_scenario(name)
    path = route_path(scenario.road_map, scenario.route)
    assert math.hypot(path.xyz[0, 0] - scenario.ego.x, path.xyz[0, 1] - scenario.ego.y) < 5.5
    goal = TASKS[name].goal
    if goal is not None:
        lane = make_env(name).road.network.get_lane(goal)
        x, y, heading = pose(lane, TASKS[name].goal_s - VEHICLE.centre_offset)
        assert math.hypot(path.xyz[-1, 0] - x, path.xyz[-1, 1] - y) < 0.7
        assert abs(math.remainder(path.heading[-1] - heading, 2.0 * math.pi)) < 0.1
    else:
        assert path.s[-1] > 100.0
    assert scenario.agents.states.id.tolist() == [*range(1, len(scenario.agents.lane) + 1)]


def test_a_left_turn_turns_left() -> None:
    scenario = highway_scenario("intersection-v0")
    path = route_path(scenario.road_map, scenario.route)
    turned = np.unwrap(path.heading)[-1] - np.unwrap(path.heading)[0]
    assert turned == pytest.approx(math.pi / 2.0, abs=0.05)  # from the south, to the west
    assert path.heading[0] == pytest.approx(math.pi / 2.0, abs=0.01)
    assert path.xyz[-1, 0] < -20.0


def test_the_same_start_runs_in_our_simulator() -> None:
    from sim.simulator import SimWorld

    scenario = highway_scenario("merge-v0", seed=1)
    world = SimWorld()
    ours = world.reset(scenario, ("tracks",))
    _, theirs = start("merge-v0", 1)
    assert ours.tracks is not None and theirs.tracks is not None
    moving = theirs.tracks.states.kind == AgentKind.CAR
    for name in ("id", "kind", "length", "width"):
        assert (getattr(ours.tracks.states, name) == getattr(theirs.tracks.states, name)).all()
    gap = np.hypot(
        ours.tracks.states.x - theirs.tracks.states.x, ours.tracks.states.y - theirs.tracks.states.y
    )
    assert gap[moving].max() < 0.1
    before = ours.tracks.states.x.copy()
    for _ in range(10):
        ours = world.step(control(0.0, 0.0))
    assert ours.tracks is not None
    assert (ours.tracks.states.x[moving] - before[moving] > 5.0).all()


# --- the world ----------------------------------------------------------------------------------


def test_steering_left_turns_left_about_the_rear_axle() -> None:
    world, seen = start("highway-fast-v0")
    angle, xs, ys = 0.1, [], []
    for _ in range(20):
        before = seen.ego
        seen = world.step(control(0.0, angle))
        xs.append(float(seen.ego.x))
        ys.append(float(seen.ego.y))
        # the rear axle moves along its heading: theirs is a bicycle with axles at its bumpers
        along = math.atan2(seen.ego.y - before.y, seen.ego.x - before.x)
        middle = float(before.heading)
        assert math.remainder(along - middle, 2.0 * math.pi) == pytest.approx(0.0, abs=0.15)
    assert ys[-1] > ys[0] and float(seen.ego.heading) > 0.0
    curvature = float(seen.ego.yaw_rate) / float(seen.ego.speed)
    assert curvature == pytest.approx(math.tan(angle) / VEHICLE.wheelbase, rel=1e-6)


def test_the_car_does_what_is_asked_within_its_limits() -> None:
    world, seen = start("highway-fast-v0")
    for wanted in (1.5, -2.0, -7.5, 3.9):
        speed = float(seen.ego.speed)
        seen = world.step(control(wanted, 0.0))
        assert (float(seen.ego.speed) - speed) * 10.0 == pytest.approx(wanted, abs=1e-5)
        assert float(seen.ego.acceleration) == pytest.approx(wanted, abs=1e-5)
    speed = float(seen.ego.speed)
    seen = world.step(control(-50.0, 5.0))
    assert (float(seen.ego.speed / math.cos(math.atan(0.5))) - speed) * 10.0 == pytest.approx(-8.0)
    assert float(seen.ego.steering) == pytest.approx(VEHICLE.max_steering)


def test_brakes_hold() -> None:
    world, seen = start("roundabout-v0")
    for _ in range(30):
        seen = world.step(control(-8.0, 0.0))
    assert float(seen.ego.speed) == pytest.approx(0.0, abs=1e-9)
    x, y = float(seen.ego.x), float(seen.ego.y)
    seen = world.step(control(-8.0, 0.0))
    assert math.hypot(seen.ego.x - x, seen.ego.y - y) < 1e-9


def test_the_slipping_car_stands_where_it_stands() -> None:
    world, seen = start("lane-keeping-v0")
    assert hasattr(world.env.vehicle, "lateral_speed")
    for _ in range(60):  # through the speeds at which coarser steps of theirs blow up
        before = float(seen.ego.heading)
        seen = world.step(control(-2.5, 0.05))
        assert 0.0 <= float(seen.ego.heading) - before < 0.02
    x, y = float(seen.ego.x), float(seen.ego.y)
    for _ in range(10):
        seen = world.step(control(-2.5, 0.0))
    assert math.hypot(seen.ego.x - x, seen.ego.y - y) < 0.01


def test_tracks_are_their_vehicles_mirrored() -> None:
    world, seen = start("merge-v0")
    tracks = seen.tracks
    assert tracks is not None and seen.lights is not None and len(seen.lights) == 0
    others = [v for v in world.env.road.vehicles if v is not world.env.vehicle]
    assert len(tracks.states.id) == len(others) + 1
    for k, other in enumerate(others):
        assert tracks.states.x[k] == other.position[0] and tracks.states.y[k] == -other.position[1]
        assert tracks.states.kind[k] == AgentKind.CAR
    obstacle = world.env.road.objects[0]
    assert tracks.states.kind[-1] == AgentKind.STATIC and tracks.states.length[-1] == 2.0
    assert tracks.states.x[-1] == obstacle.position[0]
    # drivers find them on the lanes they are on
    m = highway_scenario("merge-v0").road_map
    at = nearest_lane(m, tracks.states.x[:-1], tracks.states.y[:-1], tracks.states.heading[:-1])
    assert np.abs(at.lateral).max() < 0.05 and np.abs(at.heading_error).max() < 0.05


def test_ids_stay_while_vehicles_come_and_go() -> None:
    world, seen = start("intersection-v0")
    names: dict[int, int] = {}
    most = 0
    for _ in range(40):
        others = [v for v in world.env.road.vehicles if v is not world.env.vehicle]
        assert seen.tracks is not None
        for other, number in zip(others, seen.tracks.states.id.tolist()):
            assert names.setdefault(number, id(other)) == id(other)
            most = max(most, number)
        seen = world.step(control(-8.0, 0.0))
    assert most > len(highway_scenario("intersection-v0").agents.lane)  # some have come


def test_same_seed_same_drive_whatever_ran_before() -> None:
    def drive(name: str, steps: int) -> bytes:
        world, seen = start(name, 3)
        out = []
        for k in range(steps):
            seen = world.step(control(math.sin(k), 0.01 * math.cos(k)))
            assert seen.tracks is not None
            out.append(np.concatenate([[seen.ego.x, seen.ego.y], seen.tracks.states.x]))
        return np.concatenate(out).tobytes()

    first = drive("merge-v0", 40)
    crossed = drive("intersection-v0", 5)  # changes constants of its vehicles' class
    assert drive("merge-v0", 40) == first
    assert drive("intersection-v0", 5) == crossed


@pytest.mark.parametrize("name", ["two-way-v0", "merge-v0", "roundabout-v0", "racetrack-v0"])
def test_their_rewards_can_be_had_for_our_controls(name: str) -> None:
    world, _ = start(name)
    for _ in range(3):
        world.step(control(0.0, 0.0))
    assert len(world.rewards) == 3 and np.isfinite(world.rewards).all()


WILD = [("roundabout-v0", seed) for seed in range(1, 5)]
WILD += [("u-turn-v0", seed) for seed in (2, 3, 5)]  # 2 passes everybody


def test_contacts_are_theirs(tmp_path: Path) -> None:
    """Where their car crashes our score sees a contact, within a step, and nowhere else."""
    crashes = 0
    for name, seed in WILD:
        scenario, world = highway_scenario(name, seed=seed), HighwayWorld()
        seen = world.reset(scenario, ("tracks", "lights"))
        rng = np.random.default_rng(seed)
        when = np.inf
        folder = tmp_path / f"{name}-{seed}"
        with RolloutWriter(folder, scenario, "wild") as writer:
            for k in range(40):
                if k % 10 == 0:
                    given = control(rng.uniform(-1.0, 4.0), rng.uniform(-0.03, 0.03))
                writer.append(seen, given)
                if seen.time > when:
                    break
                seen = world.step(given)
                when = min(when, seen.time) if world.crashed else when
        hits = Driven(read_rollout(folder), scenario.road_map).hits
        first = hits[0].step * scenario.dt if hits else np.inf
        assert first == when or abs(first - when) < 0.15, (name, seed, when, hits)
        crashes += bool(hits)
    assert crashes > 4


# --- mistakes -----------------------------------------------------------------------------------


def test_mistakes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RoadloopError, match=r'unknown highway-env task "merge"; .*roundabout-v0'):
        highway_scenario("merge")
    with pytest.raises(RoadloopError, match=r"parking-v0.*no road"):
        highway_scenario("parking-v0")
    with pytest.raises(RoadloopError, match="seed is -1"):
        highway_scenario("merge-v0", seed=-1)
    with pytest.raises(RoadloopError, match="duration is 0"):
        highway_scenario("merge-v0", duration=0.0)
    with pytest.raises(RoadloopError, match="not started"):
        HighwayWorld().step(control(0.0, 0.0))
    scenario = highway_scenario("merge-v0")
    with pytest.raises(RoadloopError, match="no sensor 'rig:car'"):
        HighwayWorld().reset(scenario, ("tracks", "rig:car"))
    with pytest.raises(RoadloopError, match="is no task of highway-env"):
        HighwayWorld().reset(dataclasses.replace(scenario, family="dense_town"), ())
    monkeypatch.setitem(sys.modules, "highway_env", None)
    with pytest.raises(RoadloopError, match=r"highway_env is not installed.*roadloop\[highway\]"):
        highway_scenario("merge-v0")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "drive"
    assert main(["highway", "merge-v0", "--seconds", "3", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["highway_env"]["crashed"] is False and told["score"]["terms"]
    assert (out / "report.html").is_file()
    assert main(["report", str(out), "--out", str(tmp_path / "again.html")]) == 0  # finds its map
    assert main(["highway", "parking-v0"]) == 2
    assert main(["highway", "no-such-task"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 2 and "lane-keeping-v0" in said[1]
