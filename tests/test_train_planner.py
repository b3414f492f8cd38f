"""The learned planner's training: labels, the network, rounds, resuming to the bit, mistakes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from test_learned_planner import liking, ready, seen
from test_planner import Actor, along, constant, tracks_of, two_way

from planning.learned_config import ACCELERATIONS, OFFSETS, PROPOSALS, TERMS, PlannerConfig
from planning.learned_engine import planner_engine
from planning.rule_planner import RulePlanner
from roadloop.config import find_config, load_config
from roadloop.errors import RoadloopError
from roadloop.maps.road_map import SignalKind
from roadloop.types import LightState, Trajectory
from sim.scenarios import build_scenario
from training.planner_batches import batch_of, irrelevant, loss_terms, measures
from training.planner_counterfactual import (
    BEHIND,
    LEADER,
    Probe,
    find_probes,
    passes,
    with_car,
)
from training.planner_drives import drive_and_label, jobs_of, make_drives
from training.planner_export import export_planner
from training.planner_labels import Happened, apart_from, terms_of
from training.planner_network import PlannerNetwork, crossings, meetings
from training.planner_training import PlannerData, PlannerLoss, PlannerTraining, Round
from training.train_planner import main, train

Array = np.ndarray
TINY = PlannerConfig(width=8, heads=2, layers=1, pair=4, agents=3, marks=4)
COUNT, HOLD = len(ACCELERATIONS), ACCELERATIONS.index(0.0)
RUN = PlannerTraining(
    model=TINY,
    data=PlannerData(families=("lead_vehicle_brake",), seconds=1.4, scored=0),
    rounds=(Round(drives=1, teacher=0.8, passes=2.0), Round(drives=1, teacher=0.0, passes=2.0)),
    batch=2, device="cpu", threads=1, checkpoint_every=2, tensorboard=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def moments() -> dict[str, Array]:
    """A short drive of the teacher behind a car."""
    scenario = build_scenario("lead_vehicle_brake", seed=3000, duration=3.0)
    plan = Round(drives=1, teacher=1.0, passes=1.0, chance=0.0)
    return drive_and_label(scenario, TINY, None, plan, 1.0, np.random.default_rng(0))


@pytest.fixture(scope="module")
def network() -> PlannerNetwork:
    torch.manual_seed(0)
    return PlannerNetwork(TINY).eval()


# --- labels -------------------------------------------------------------------------------------


def happened(at, steps: int = 60, kind=None, lights: Array | None = None) -> Happened:
    """Somebody who moves as ``at`` says, by step."""
    states = [tracks_of([Actor(at)], 0.1 * k).states for k in range(steps)]
    fields = [f.name for f in dataclasses.fields(states[0])]
    agents = type(states[0])(**{n: np.stack([getattr(s, n) for s in states]) for n in fields})
    return Happened(agents, np.zeros((steps, 1), np.uint8) if lights is None else lights, 0.1)


NO_LINES = np.zeros(0), np.zeros(0, np.int64)


def test_the_teachers_plan_is_like_the_proposal_that_it_is():
    planner = ready(two_way(), along(), liking(OFFSETS.index(0.8) * COUNT + HOLD))
    observation, nobody = seen(speed=8.0), tracks_of([], 0.0)
    look = planner.look(observation, nobody)
    plan = planner.decide(look, planner.engine(look.arrays), nobody)
    apart = apart_from(look, plan)
    assert int(np.argmin(apart)) == OFFSETS.index(0.8) * COUNT + HOLD
    assert apart.min() < 0.05
    assert (apart[~look.proposals.valid] == 1e3).all()


def test_who_stands_ahead_is_hit_by_those_who_do_not_stop():
    look = ready(two_way(), along()).look(seen(speed=8.0), tracks_of([], 0.0))
    terms = terms_of(look, 0, happened(constant(76.0, 0.0)), NO_LINES)
    free = terms[:, TERMS.index("no collision")]
    assert free[HOLD] == 0.0 and free[0] == 1.0
    assert free[OFFSETS.index(3.2) * COUNT + HOLD] == 1.0  # past it
    assert (terms[:, TERMS.index("time to collision")] <= free).all()
    # who comes from behind is not the ego's fault
    behind = terms_of(look, 0, happened(constant(30.0, 0.0, 20.0)), NO_LINES)
    assert behind[HOLD, 0] == 1.0


def test_red_is_run_only_while_it_is_red_and_the_line_is_crossed():
    road_map = two_way(kind=SignalKind.TRAFFIC_LIGHT, lane=0, s=70.0)
    planner = ready(road_map, along())
    look = planner.look(seen(speed=8.0, lights=1), tracks_of([], 0.0))
    lines, k = planner.guide.lit_lines(), TERMS.index("lights")
    for state, kept in ((LightState.RED, 0.0), (LightState.GREEN, 1.0)):
        lights = np.full((60, 1), state, np.uint8)
        terms = terms_of(look, 0, happened(constant(300.0, 0.0), lights=lights), lines)
        assert terms[HOLD, k] == kept  # over the line after 2 s
        assert terms[0, k] == 1.0


def test_hard_braking_is_uncomfortable():
    look = ready(two_way(), along()).look(seen(speed=12.0), tracks_of([], 0.0))
    comfort = terms_of(look, 0, happened(constant(300.0, 0.0)), NO_LINES)[:, -1]
    assert comfort[HOLD] == 1.0 and comfort[0] < 0.5


# --- the network --------------------------------------------------------------------------------


def test_meetings_and_crossings_are_metres_between_bumpers():
    poses = torch.zeros(1, 1, 8, 5)
    poses[..., 0] = torch.arange(8.0)  # 1 m per moment
    poses[..., 3] = poses[..., 0]
    futures = torch.zeros(1, 1, 8, 5)
    futures[..., 0], futures[..., 3], futures[..., 4] = 20.0, 4.0, 2.0
    body = torch.tensor([[1.4, 2.3, 1.0]])
    met = meetings(poses, futures, body)[0, 0, 0].view(4, 8)
    room = 20.0 - 2.0 - (1.4 + 2.3) - torch.arange(8.0)
    torch.testing.assert_close(met[0], room / 10.0)
    torch.testing.assert_close(met[1], torch.zeros(8))
    torch.testing.assert_close(met[3], torch.ones(8))
    marks = torch.tensor([[[10.0, 12.0]]])
    crossed = crossings(poses, marks, body)[0, 0, 0].view(3, 8)
    torch.testing.assert_close(crossed[0], ((10.0 - 3.7) - torch.arange(8.0)) / 8.0)
    torch.testing.assert_close(crossed[1], (torch.arange(8.0) - 0.9 - 12.0) / 8.0)


def test_what_is_not_there_changes_nothing(moments, network):
    batch = batch_of(moments, np.arange(2), "cpu")
    with torch.inference_mode():
        before = network(batch)
        for name, valid in (("agents", "agent_valid"), ("futures", "agent_valid"),
                            ("marks", "mark_valid"), ("mark_at", "mark_valid")):  # fmt: skip
            gone = batch[valid] == 0.0
            batch[name][gone] = 3.0
        after = network(batch)
    for name, values in before.items():
        torch.testing.assert_close(after[name], values)


def test_onnx_gives_the_same_numbers(moments, network, tmp_path):
    path = export_planner(network, tmp_path / "planner.onnx", "some-1")
    engine, config, label = planner_engine(tmp_path)
    assert (config, label) == (TINY, "some-1")
    arrays = {name: moments[name][0].astype(np.float32) for name in TINY.inputs()}
    with torch.inference_mode():
        wanted = network({name: torch.from_numpy(v)[None] for name, v in arrays.items()})
    found = engine(arrays)
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values[0].numpy(), atol=1e-4)
    import onnx

    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(RoadloopError, match="is no planner of roadloop"):
        planner_engine(path)


# --- learning -----------------------------------------------------------------------------------


def test_moments_have_their_shapes_and_the_teacher_is_among_the_proposals(moments):
    n = len(moments["apart"])
    assert n == 16  # 3 s, five a second, and the first
    for name, shape in TINY.inputs().items():
        assert moments[name].shape == (n, *shape), name
        assert np.isfinite(moments[name]).all()
    assert moments["apart"].shape == (n, PROPOSALS)
    assert np.median(moments["apart"].min(1)) < 2.0
    assert (moments["terms"] >= 0.0).all() and (moments["terms"] <= 1.0).all()


def test_it_learns_what_it_is_shown(moments):
    torch.manual_seed(1)
    network = PlannerNetwork(PlannerConfig(16, 2, 1, 8, TINY.agents, TINY.marks))
    optimiser = torch.optim.AdamW(network.parameters(), 5e-3)
    batch, loss = batch_of(moments, np.arange(16), "cpu"), PlannerLoss()
    totals = []
    for _ in range(40):
        terms = loss_terms(network(batch), batch, loss)
        optimiser.zero_grad()
        terms["total"].backward()
        optimiser.step()
        totals.append(float(terms["total"].detach()))
    assert totals[-1] < 0.75 * totals[0]
    assert measures(network(batch), batch)["agrees"].mean() > 0.7


def test_only_who_is_far_from_every_proposal_may_be_left_out(moments):
    batch = {name: moments[name][:2].astype(np.float32) for name in TINY.inputs()}
    batch["futures"][:] = 0.0
    batch["futures"][0, 0, :, 0] = 8.0  # where the ego may be
    batch["futures"][0, 1, :, 1] = 40.0
    found = irrelevant(batch)
    assert not found[0, 0] and found[0, 1]


def test_a_run_stopped_and_resumed_writes_the_same_bytes(tmp_path, monkeypatch):
    import training.train_planner as script

    assert train(RUN, tmp_path / "whole") == 0
    saves = []
    kept = script.School._save

    def stop_there(self):
        saves.append(1)
        made = kept(self)
        if len(saves) == 2:
            raise KeyboardInterrupt
        return made

    monkeypatch.setattr(script.School, "_save", stop_there)
    with pytest.raises(KeyboardInterrupt):
        train(RUN, tmp_path / "twice")
    monkeypatch.setattr(script.School, "_save", kept)
    assert train(RUN, tmp_path / "twice", resume=True) == 0
    for name in ("planner.safetensors", "progress.csv", "rounds.csv"):
        assert (tmp_path / "twice" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    rows = (tmp_path / "whole" / "rounds.csv").read_text().splitlines()
    assert rows[0].startswith("round,moments,steps,teacher,chance,agrees,apart,loss")
    assert len(rows) == 3
    planner_engine(tmp_path / "whole")


def test_drives_do_not_depend_on_who_makes_them(tmp_path):
    data = dataclasses.replace(RUN.data, seconds=1.2)
    files = []
    for workers in (0, 1):
        jobs = jobs_of(tmp_path / str(workers), data, RUN.rounds, 0)
        assert make_drives(jobs, TINY, data, None, workers, lambda: False)
        files += [job.file for job in jobs]
    assert len(files) == 2
    assert files[0].read_bytes() == files[1].read_bytes()
    again = jobs_of(tmp_path / "1", data, (RUN.rounds[0], Round(2, 0.0, 1.0)), 1)
    assert not make_drives(again, TINY, data, None, 0, lambda: True)  # asked to stop
    assert [job.file.is_file() for job in again] == [True, False]


# --- counterfactuals ----------------------------------------------------------------------------


class Follower:
    """A planner in one line: it stops for anybody within 40 m, behind or ahead, or only ahead."""

    def __init__(self, behind: bool) -> None:
        self.behind = behind

    def reset(self, scenario):
        pass

    def plan(self, observation, tracks, forecasts=None):
        states, ego = tracks.states, observation.ego
        away = states.x[states.valid] - float(ego.x)
        near = np.abs(away) < 40.0
        if not self.behind:
            near &= away > 0.0
        t = 0.1 * np.arange(51)
        speed = np.maximum(8.0 - 2.0 * t, 0.0) if near.any() else np.full(51, 8.0)
        x = float(ego.x) + np.concatenate([[0.0], np.cumsum(speed[1:] * 0.1)])
        return Trajectory(x, np.zeros(51), np.zeros(51), speed, 0.1)


def test_counterfactuals_tell_who_minds_whom():
    from perception.kinematic_forecast import ConstantVelocity

    guide = ready(two_way(), along()).guide
    observation, tracks = seen(speed=8.0), tracks_of([Actor(constant(75.0, 0.0))], 0.0)
    forecasts = ConstantVelocity().forecast(observation, tracks, 6.0, 0.2)
    gone = tracks_of([], 0.0)
    none = ConstantVelocity().forecast(observation, gone, 6.0, 0.2)
    leader = Probe(LEADER, None, observation, tracks, forecasts, gone, none)
    more = with_car(gone, none, guide, 20.0, 0.0, 8.0)
    assert more[0].states.x.tolist() == pytest.approx([30.0])  # the route begins at x = 10
    assert more[1].x[0, 0, -1] == pytest.approx(30.0 + 8.0 * 6.0)
    behind = Probe(BEHIND, None, observation, gone, none, *more)
    assert passes(leader, Follower(behind=False)) and passes(behind, Follower(behind=False))
    assert not passes(behind, Follower(behind=True))
    assert not passes(leader, type("Blind", (Follower,), {"plan": _straight})(False))


def test_probes_are_found_in_drives_and_the_teacher_passes_them():
    probes = find_probes(build_scenario("lead_vehicle_brake", seed=3000, duration=9.0))
    found = [probe.what for probe in probes]
    assert found.count(LEADER) >= 1 and found.count(BEHIND) >= 4
    rule = RulePlanner()
    assert all(passes(probe, rule) for probe in probes if probe.what == LEADER)
    assert passes(probes[found.index(BEHIND)], rule)


def _straight(self, observation, tracks, forecasts=None):
    t = 0.1 * np.arange(51)
    return Trajectory(8.0 * t, 0.0 * t, 0.0 * t, np.full(51, 8.0), 0.1)


# --- mistakes and configuration -----------------------------------------------------------------


def test_the_shipped_configuration_is_read():
    config = load_config(PlannerTraining, find_config("planner_compact"))
    folder, rounds = find_config("planner_compact"), config.rounds
    jobs = [jobs_of(folder, config.data, rounds, k) for k in range(len(rounds))]
    seeds = [{job.seed for job in each} for each in jobs]
    assert all(not a & b for i, a in enumerate(seeds) for b in seeds[:i])
    assert min(min(s) for s in seeds) >= 1000


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("rounds=[]", "rounds is empty"),
        ("data.seed=5", "they are for evaluation"),
        ("data.keep=0", "keep is 0"),
        ("batch=0", "batch is 0"),
        ("loss.drop_ego=2", "a share is from 0 to 1"),
        ("model.heads=3", "no multiple of heads"),
    ],
)
def test_mistakes_are_said_in_one_line(tmp_path, capsys, setting, said):
    assert main(["--out", str(tmp_path / "run"), "--set", setting]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1
