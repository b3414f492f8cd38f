"""The log on disk: round trips, killed processes, damaged files, reading it with pandas alone."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from roadloop.errors import RoadloopError
from roadloop.logs.parts import META, read_meta
from roadloop.logs.schema import TABLES
from roadloop.logs.store import RolloutWriter, read_rollout, rollout_hash, write_rollout
from roadloop.types import (
    AgentStates,
    Control,
    EgoState,
    Observation,
    Rollout,
    Route,
    Tracks,
    Trajectory,
    VehicleParameters,
    at,
)

DOCS = Path(__file__).resolve().parents[1] / "docs" / "logs.md"


def make_rollout(steps: int = 12, agents: int = 5, signals: int = 3, seed: int = 4) -> Rollout:
    rng = np.random.default_rng(seed)

    def ego(*shape: int) -> np.ndarray:
        return rng.normal(size=shape or (steps,))

    valid = rng.random((steps, agents)) < 0.7
    valid[:, 0] = True
    valid[0, -1] = False
    shape = (steps, agents)
    names = ("x", "y", "z", "heading", "vx", "vy", "length", "width", "height")
    states = {name: np.where(valid, rng.normal(size=shape), 0.0) for name in names}
    plan = rng.normal(size=(steps, 4, 3))
    plan[-2] = np.nan
    return Rollout(
        scenario="cut_in/7",
        family="cut_in",
        seed=7,
        driver="rule",
        map_name="town",
        map_hash="ab" * 32,
        dt=0.1,
        time=np.arange(steps) * 0.1,
        ego=EgoState(*(ego() for _ in range(8)), vehicle=VehicleParameters(length=4.2)),
        control=Control(ego(), ego()),
        agents=AgentStates(
            id=np.broadcast_to(np.array([3, 11, 12, 40, 2**40])[:agents], shape).copy(),
            kind=np.where(valid, rng.integers(0, 8, shape), 0).astype(np.uint8),
            valid=valid,
            **states,
        ),
        lights=rng.integers(0, 5, (steps, signals)).astype(np.uint8),
        plan=plan,
        route=Route(lanes=np.array([5, 2, 9], dtype=np.int32), start_s=1.5, goal_s=30.0),
        finished=True,
    )


def scenario_of(rollout: Rollout) -> SimpleNamespace:
    road_map = SimpleNamespace(
        name=rollout.map_name,
        content_hash=rollout.map_hash,
        signal_id=np.array([f"s{i}" for i in range(rollout.lights.shape[1])]),
        lane_name=lambda lane: f"road {lane} section 0 lane -1",
    )
    return SimpleNamespace(
        name=rollout.scenario,
        family=rollout.family,
        seed=rollout.seed,
        road_map=road_map,
        duration=9.0,
        dt=rollout.dt,
        ego=at(rollout.ego, 0),
        route=rollout.route,
        parameters={"ego_speed": 8.3},
        expert=None,
    )


def observation_of(rollout: Rollout, step: int) -> Observation:
    states = at(at(rollout.agents, step), rollout.agents.valid[step])  # only those present
    return Observation(
        step=step,
        time=float(rollout.time[step]),
        dt=rollout.dt,
        ego=at(rollout.ego, step),
        tracks=Tracks(states, np.zeros(len(states.id)), np.zeros(len(states.id))),
        lights=rollout.lights[step],
    )


def plan_of(rollout: Rollout, step: int) -> Trajectory | None:
    if np.isnan(rollout.plan[step]).all():
        return None
    x, y, speed = rollout.plan[step].T
    return Trajectory(x, y, np.zeros_like(x), speed, dt=0.5)


def record(folder: Path, rollout: Rollout, **options) -> None:
    with RolloutWriter(folder, scenario_of(rollout), rollout.driver, **options) as writer:
        for step in range(len(rollout.time)):
            writer.append(
                observation_of(rollout, step), at(rollout.control, step), plan_of(rollout, step)
            )


def assert_same(a: Rollout, b: Rollout) -> None:
    for part in ("ego", "control", "agents", "route"):
        for f in dataclasses.fields(getattr(a, part)):
            left, right = (getattr(getattr(r, part), f.name) for r in (a, b))
            np.testing.assert_array_equal(left, right, err_msg=f"{part}.{f.name}")
    for f in dataclasses.fields(Rollout):
        if f.name not in ("ego", "control", "agents", "route"):
            np.testing.assert_array_equal(getattr(a, f.name), getattr(b, f.name), err_msg=f.name)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_round_trip_at_once_and_step_by_step(tmp_path: Path) -> None:
    rollout = make_rollout()
    write_rollout(tmp_path / "whole", rollout)
    record(tmp_path / "steps", rollout, flush_every=5)
    for name in ("whole", "steps"):
        assert_same(read_rollout(tmp_path / name), rollout)
    assert len(list((tmp_path / "steps" / "ego.parquet").iterdir())) == 3
    assert read_meta(tmp_path / "steps")["plan_dt"] == 0.5
    assert not list(tmp_path.rglob("*.tmp"))


def test_no_agents_no_lights_no_plan(tmp_path: Path) -> None:
    rollout = make_rollout()
    with RolloutWriter(tmp_path, scenario_of(rollout), "blind") as writer:
        for step in range(3):
            seen = Observation(step, step * 0.1, 0.1, at(rollout.ego, step))
            writer.append(seen, at(rollout.control, step), None)
    back = read_rollout(tmp_path)
    assert back.agents.valid.shape == (3, 0)
    assert back.lights.shape == (3, 0) and back.plan.shape == (3, 0, 3)
    assert back.finished


def test_same_run_same_bytes(tmp_path: Path) -> None:
    rollout = make_rollout()
    for name in ("a", "b"):
        record(tmp_path / name, rollout, flush_every=5)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_hash_sees_every_bit_but_not_the_order_of_agents(tmp_path: Path) -> None:
    rollout = make_rollout()
    reference = rollout_hash(rollout)
    record(tmp_path / "log", rollout, flush_every=5)
    assert rollout_hash(read_rollout(tmp_path / "log")) == reference
    assert rollout_hash(make_rollout()) == reference
    order = np.array([2, 0, 4, 1, 3])
    shuffled = at(rollout.agents, (slice(None), order))
    assert rollout_hash(dataclasses.replace(rollout, agents=shuffled)) == reference
    nudged = rollout.ego.x.copy()
    nudged[-1] = np.nextafter(nudged[-1], 10.0)
    ego = dataclasses.replace(rollout.ego, x=nudged)
    assert rollout_hash(dataclasses.replace(rollout, ego=ego)) != reference
    lights = rollout.lights.copy()
    lights[4, 1] = (lights[4, 1] + 1) % 5
    assert rollout_hash(dataclasses.replace(rollout, lights=lights)) != reference


KILLED = """
    import sys, time
    from tests.test_store import *
    rollout = make_rollout(steps=37)
    writer = RolloutWriter(sys.argv[1], scenario_of(rollout), "rule", flush_every=10)
    for step in range(37):
        writer.append(observation_of(rollout, step), at(rollout.control, step), None)
    print("ready", flush=True)
    time.sleep(60)
"""


def test_killed_process_leaves_a_readable_log(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "log")],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    back = read_rollout(tmp_path / "log")
    assert len(back.time) == 30 and not back.finished
    whole = make_rollout(steps=37)
    np.testing.assert_array_equal(back.ego.x, whole.ego.x[:30])
    np.testing.assert_array_equal(back.agents.vx, whole.agents.vx[:30])
    # killed between two tables: agents of a flush are there, the ego rows of the same steps are not
    (tmp_path / "log" / "ego.parquet" / "part-00002.parquet").unlink()
    assert len(read_rollout(tmp_path / "log").time) == 20


def test_exception_closes_as_interrupted(tmp_path: Path) -> None:
    rollout = make_rollout()
    with (
        pytest.raises(KeyboardInterrupt),
        RolloutWriter(tmp_path, scenario_of(rollout), "rule") as writer,
    ):
        writer.append(observation_of(rollout, 0), at(rollout.control, 0))
        raise KeyboardInterrupt
    back = read_rollout(tmp_path)
    assert len(back.time) == 1 and not back.finished
    with pytest.raises(RoadloopError, match="closed"):
        writer.append(observation_of(rollout, 1), at(rollout.control, 1))


def test_overwrite_is_asked_for_and_spares_foreign_files(tmp_path: Path) -> None:
    rollout = make_rollout()
    record(tmp_path, rollout, flush_every=2)
    before = files_of(tmp_path)
    with pytest.raises(RoadloopError, match="already holds a run; use --overwrite"):
        write_rollout(tmp_path, rollout)
    with pytest.raises(RoadloopError, match="--overwrite"):
        RolloutWriter(tmp_path, scenario_of(rollout), "rule")
    assert files_of(tmp_path) == before
    (tmp_path / "notes.txt").write_text("mine")
    short = make_rollout(steps=3)
    write_rollout(tmp_path, short, overwrite=True)
    assert_same(read_rollout(tmp_path), short)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_bad_folders(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RoadloopError, match="cannot be written"):
        write_rollout(tmp_path / "file" / "run", make_rollout())
    with pytest.raises(RoadloopError, match="is not a rollout"):
        read_rollout(tmp_path)


def edit_meta(folder: Path, **changes) -> None:
    meta = json.loads((folder / META).read_text())
    (folder / META).write_text(json.dumps(meta | changes))


def test_damage_is_named(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    rollout = make_rollout()

    def fresh(name: str, closed: bool = True) -> Path:
        folder = tmp_path / name
        record(folder, rollout, flush_every=5)
        if not closed:
            edit_meta(folder, files=None, finished=False)
        return folder

    def refused(folder: Path, match: str) -> None:
        with pytest.raises(RoadloopError, match=match) as caught:
            read_rollout(folder)
        assert "\n" not in str(caught.value)
        assert folder.name in str(caught.value)

    part = Path("ego.parquet/part-00001.parquet")
    log = fresh("checksum")
    (log / part).write_bytes((log / part).read_bytes() + b" ")
    refused(log, "differs from its checksum")

    log = fresh("part_gone")
    (log / part).unlink()
    refused(log, "part-00001.parquet is missing")

    log = fresh("stray_part")
    (log / "ego.parquet" / "part-00009.parquet").write_bytes((log / part).read_bytes())
    refused(log, "not listed")

    log = fresh("truncated", closed=False)
    (log / part).write_bytes((log / part).read_bytes()[:-100])
    refused(log, "part-00001.parquet is truncated")

    log = fresh("gap", closed=False)
    (log / part).unlink()
    refused(log, "not consecutive")

    log = fresh("table_gone", closed=False)
    for file in (log / "agents.parquet").iterdir():
        file.unlink()
    refused(log, "table agents.parquet is missing")

    log = fresh("column_gone", closed=False)
    pq.write_table(pq.ParquetFile(log / part).read().drop_columns(["speed"]), log / part)
    refused(log, "column speed is missing")

    log = fresh("kind", closed=False)
    part = Path("agents.parquet/part-00000.parquet")
    table = pq.ParquetFile(log / part).read()
    kinds = table.schema.get_field_index("kind")
    pq.write_table(table.set_column(kinds, "kind", [["tram"] * len(table)]), log / part)
    refused(log, "holds 'tram'; known are car")

    log = fresh("newer")
    edit_meta(log, schema_version=99)
    refused(log, r"schema 99, roadloop .* reads up to schema 1; upgrade")

    log = fresh("meta")
    (log / META).write_text('{"schema')
    refused(log, "damaged")

    log = fresh("meta_key")
    (log / META).write_text('{"schema_version": 1}')
    refused(log, "incomplete .'vehicle'")


def test_bad_steps_are_refused(tmp_path: Path) -> None:
    rollout = make_rollout()
    with RolloutWriter(tmp_path / "a", scenario_of(rollout), "rule") as writer:
        control = at(rollout.control, 0)
        first = observation_of(rollout, 0)
        writer.append(first, control)
        with pytest.raises(RoadloopError, match="step 2 after step 0"):
            writer.append(observation_of(rollout, 2), control)
        second = observation_of(rollout, 1)
        with pytest.raises(RoadloopError, match="has no lights unlike"):
            writer.append(dataclasses.replace(second, lights=None), control)
        with pytest.raises(RoadloopError, match="2 light states, map town has 3"):
            writer.append(dataclasses.replace(second, lights=second.lights[:2]), control)
        assert second.tracks is not None
        states = second.tracks.states
        twins = dataclasses.replace(states, id=np.full_like(states.id, 3))
        with pytest.raises(RoadloopError, match="step 1: agent id 3 occurs twice"):
            tracks = dataclasses.replace(second.tracks, states=twins)
            writer.append(dataclasses.replace(second, tracks=tracks), control)
        with pytest.raises(RoadloopError, match="holds one world"):
            writer.append(dataclasses.replace(second, ego=rollout.ego), control)
        writer.append(second, control)  # a refused step leaves no trace
    assert len(read_rollout(tmp_path / "a").time) == 2
    with pytest.raises(RoadloopError, match=r"rollout.lights has shape \(11, 3\)"):
        write_rollout(tmp_path / "b", dataclasses.replace(rollout, lights=rollout.lights[1:]))
    with pytest.raises(RoadloopError, match="flush_every"):
        RolloutWriter(tmp_path / "c", scenario_of(rollout), "rule", flush_every=0)


def test_docs_name_every_column_and_the_snippet_runs(tmp_path: Path) -> None:
    text = DOCS.read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##)", text, flags=re.S | re.M))
    for name, columns in TABLES.items():
        documented = re.findall(r"^\| `(\w+)` \| (\w+) \|", sections[name], flags=re.M)
        assert documented == [(column.name, column.dtype) for column in columns]
    snippet = re.search(r"```python\n(.*?)```", text, flags=re.S)
    assert snippet is not None and len(snippet[1].strip().splitlines()) == 5
    rollout = make_rollout()
    record(tmp_path / "run", rollout, flush_every=5)
    names: dict = {}
    code = snippet[1].replace("runs/example", str(tmp_path / "run"))
    exec(code, names)
    np.testing.assert_array_equal(names["ego"]["speed"], rollout.ego.speed)
    assert len(names["agents"]) == rollout.agents.valid.sum()
    assert names["meta"]["driver"] == "rule"
