"""Our log on disk: one folder per rollout, Parquet tables and a ``meta.json``, readable without us.

::

    run/
      meta.json                      what was driven, by whom; checksums once the run is closed
      ego.parquet/part-00000.parquet    one row per step
      agents.parquet/part-00000.parquet one row per step and road user
      lights.parquet/ plan.parquet/ route.parquet/ expert.parquet/
      map.npz                        the compiled map, of recorded drives

A table is a folder of part files, which pandas, DuckDB and Arrow read as one table. Parts appear
whole, the ego part of a step last, so that a killed process loses at most the steps since the last
flush and what remains can be read. Columns: :mod:`roadloop.logs.schema`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roadloop import __version__
from roadloop.errors import RoadloopError
from roadloop.logs.parts import (
    META,
    prepare,
    read_meta,
    read_table,
    verify,
    write_checksums,
    write_map,
    write_meta,
    write_part,
)
from roadloop.logs.schema import (
    SCHEMA_VERSION,
    TABLES,
    Table,
    agents_table,
    ego_table,
    expert_table,
    lights_table,
    plan_table,
    rollout_from_tables,
    rollout_tables,
    route_table,
)
from roadloop.types import AgentStates, Rollout, at

if TYPE_CHECKING:
    from roadloop.maps.road_map import RoadMap
    from roadloop.types import (
        Control,
        EgoState,
        Observation,
        Route,
        Scenario,
        Trajectory,
        VehicleParameters,
    )

WRITE_ORDER = ("agents", "lights", "plan", "ego")  # a step exists once its ego row does


class RolloutWriter:
    """Writes a run step by step; use it as a context manager.

    Leaving the block closes the log as finished, leaving it by an exception as interrupted.

    Args:
        folder: where to write; created if missing.
        scenario: what is driven.
        driver: name of the driver.
        overwrite: replace a run the folder already holds; only files a run writes are removed.
        flush_every: steps per part file, the most that a killed process loses.
        map_source: path of the map file, kept in ``meta.json`` so that viewers find it.

    Raises:
        RoadloopError: the folder cannot be written, or holds a run and ``overwrite`` is False.
    """

    def __init__(
        self,
        folder: str | Path,
        scenario: Scenario,
        driver: str,
        *,
        overwrite: bool = False,
        flush_every: int = 50,
        map_source: str = "",
    ) -> None:
        if flush_every < 1:
            raise RoadloopError(f"flush_every is {flush_every}; it must be at least 1 step")
        self.folder = Path(folder)
        self._map = scenario.road_map
        self._flush_every = flush_every
        self._meta = _meta(
            names=(scenario.name, scenario.family, int(scenario.seed), driver),
            map_entry=(scenario.road_map.name, scenario.road_map.content_hash, map_source),
            dt=scenario.dt,
            duration=scenario.duration,
            start=scenario.ego,
            vehicle=scenario.ego.vehicle,
            route=scenario.route,
        )
        self._meta["parameters"] = dict(scenario.parameters)
        self._rows: dict[str, list[Table]] = {name: [] for name in WRITE_ORDER}
        self._parts = 0
        self._steps = 0
        self._last_step: int | None = None
        self._lights: bool | None = None
        self._open = True
        prepare(self.folder, overwrite)
        write_part(self.folder, "route", 0, route_table(scenario.route, scenario.road_map))
        write_part(self.folder, "expert", 0, expert_table(scenario.expert))
        if scenario.expert is not None:
            write_map(self.folder, scenario.road_map)
        write_meta(self.folder, self._meta)

    def __enter__(self) -> RolloutWriter:
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *rest: object) -> None:
        if self._open:
            self.close(finished=exception_type is None)

    def append(
        self, observation: Observation, control: Control, plan: Trajectory | None = None
    ) -> None:
        """Add one step: what was seen, what the driver asked for, and what it planned.

        ``observation.tracks`` None means no agents at this step. Raises RoadloopError where steps
        are not consecutive, or lights are given at some steps only or not for every signal.
        """
        if not self._open:
            raise RoadloopError(f"{self.folder}: the log is closed; no step can be added")
        step = int(observation.step)
        if self._last_step is not None and step != self._last_step + 1:
            raise RoadloopError(
                f"{self.folder}: step {step} after step {self._last_step}; append every step once"
            )
        steps = np.array([step], dtype=np.int64)
        rows = {
            "ego": ego_table(
                steps, np.array([observation.time]), _row(observation.ego), _row(control)
            ),
            "agents": _agent_rows(steps, observation),
            "lights": self._light_rows(steps, observation),
            "plan": plan_table(steps, _plan_row(plan)),
        }
        for name, table in rows.items():
            self._rows[name].append(table)
        if plan is not None:
            self._meta["plan_dt"] = float(plan.dt)
        self._last_step = step
        self._steps += 1
        if len(self._rows["ego"]) >= self._flush_every:
            self._flush()

    def close(self, finished: bool = True) -> None:
        """Write what is buffered and the checksums; ``finished`` False marks an interrupted run."""
        if not self._open:
            return
        self._open = False
        if self._rows["ego"] or self._parts == 0:
            self._flush()
        write_checksums(self.folder, self._meta, self._steps, finished)

    def _light_rows(self, steps: np.ndarray, observation: Observation) -> Table:
        lights = observation.lights
        given = lights is not None
        if self._lights not in (None, given):
            raise RoadloopError(
                f"{self.folder}: step {steps[0]} {'has' if given else 'has no'} lights unlike the "
                "steps before; give them at every step or at none"
            )
        self._lights = given
        if lights is None:
            return lights_table(steps, np.zeros((1, 0), dtype=np.uint8), None)
        signals = self._map.signal_id
        if np.shape(lights) != signals.shape:
            raise RoadloopError(
                f"{self.folder}: step {steps[0]} has {np.size(lights)} light states, map "
                f"{self._map.name} has {len(signals)} signals; give one state per signal"
            )
        return lights_table(steps, np.asarray(lights)[None], signals)

    def _flush(self) -> None:
        for name in WRITE_ORDER:
            rows = self._rows[name]
            joined: Table = {}
            if rows:
                joined = {key: np.concatenate([r[key] for r in rows]) for key in rows[0]}
            write_part(self.folder, name, self._parts, joined)
        self._parts += 1
        self._rows = {name: [] for name in WRITE_ORDER}


def write_rollout(
    folder: str | Path,
    rollout: Rollout,
    road_map: RoadMap | None = None,
    *,
    overwrite: bool = False,
    map_source: str = "",
) -> None:
    """Write a whole rollout at once; ``road_map`` adds the names of lanes and signals.

    Raises RoadloopError as :class:`RolloutWriter` does, and for arrays whose shapes disagree.
    """
    tables = rollout_tables(rollout, road_map)
    if not len(rollout.time):
        raise RoadloopError(f"rollout of scenario {rollout.scenario} has no steps to write")
    meta = _meta(
        names=(rollout.scenario, rollout.family, int(rollout.seed), rollout.driver),
        map_entry=(rollout.map_name, rollout.map_hash, map_source),
        dt=rollout.dt,
        duration=None,
        start=at(rollout.ego, 0),
        vehicle=rollout.ego.vehicle,
        route=rollout.route,
    )
    folder = Path(folder)
    prepare(folder, overwrite)
    write_meta(folder, meta)
    for name in ("route", "expert", *WRITE_ORDER):
        write_part(folder, name, 0, tables[name])
    if rollout.expert is not None and road_map is not None:
        write_map(folder, road_map)
    write_checksums(folder, meta, len(rollout.time), rollout.finished)


def read_rollout(folder: str | Path) -> Rollout:
    """Read a log, also one whose process was killed (then ``finished`` is False).

    Raises RoadloopError for a missing or damaged file, a missing column, a newer schema.
    """
    folder = Path(folder)
    meta = read_meta(folder)
    if meta["files"] is not None:
        verify(folder, meta["files"])
    try:
        return rollout_from_tables({name: read_table(folder, name) for name in TABLES}, meta)
    except RoadloopError as error:
        message = str(error)
        raise RoadloopError(message if str(folder) in message else f"{folder}: {message}") from None
    except (KeyError, TypeError) as error:
        raise RoadloopError(f"{folder / META}: incomplete ({error}); see docs/logs.md") from error


def rollout_hash(rollout: Rollout) -> str:
    """Hex SHA-256 over what happened: every table but the names, in canonical order and type.

    Agents count by step and id, so their order and padding do not matter; neither does how the
    rollout is stored. Two runs with the same hash are the same to the last bit.
    """
    digest = hashlib.sha256(np.float64(rollout.dt).tobytes())
    for name, table in sorted(rollout_tables(rollout).items()):
        if name == "expert" and rollout.expert is None:
            continue
        for column in TABLES[name]:
            if column.name in ("name", "signal_id"):
                continue
            values = table[column.name]
            kind = {"string": "S16", "float64": "<f8"}.get(column.dtype, "<i8")
            digest.update(f"{name}.{column.name}:{len(values)}:{kind};".encode())
            digest.update(np.ascontiguousarray(values, dtype=kind).tobytes())
    digest.update(np.array([rollout.route.start_s, rollout.route.goal_s], dtype="<f8").tobytes())
    return digest.hexdigest()


def _row(state: Any) -> Any:
    """An ego state or control of one step with a leading time axis of one."""
    fields = {f.name: getattr(state, f.name) for f in dataclasses.fields(state)}
    for name, value in fields.items():
        if name == "vehicle":
            continue
        if np.size(value) != 1:
            raise RoadloopError(
                f"{type(state).__name__}.{name} has shape {np.shape(value)}; a log holds one world"
            )
        fields[name] = np.asarray(value, dtype=np.float64).reshape(1)
    return type(state)(**fields)


def _agent_rows(steps: np.ndarray, observation: Observation) -> Table:
    if observation.tracks is None:
        empty = np.zeros((1, 0))
        fields = {f.name: empty for f in dataclasses.fields(AgentStates)}
        return agents_table(steps, AgentStates(**fields))
    states = observation.tracks.states
    if np.ndim(states.valid) != 1:
        raise RoadloopError(
            f"observation.tracks has shape {np.shape(states.valid)}; a log holds one world"
        )
    lifted = {f.name: np.asarray(getattr(states, f.name))[None] for f in dataclasses.fields(states)}
    return agents_table(steps, AgentStates(**lifted))


def _plan_row(plan: Trajectory | None) -> np.ndarray:
    """(1, points, 3) x, y, speed; no points where there is no plan."""
    if plan is None:
        return np.zeros((1, 0, 3))
    return np.stack([plan.x, plan.y, plan.speed], axis=-1).reshape(1, -1, 3)


def _meta(
    names: tuple[str, str, int, str],
    map_entry: tuple[str, str, str],
    dt: float,
    duration: float | None,
    start: EgoState,
    vehicle: VehicleParameters,
    route: Route,
) -> dict[str, Any]:
    scenario, family, seed, driver = names
    map_name, map_hash, map_source = map_entry
    return {
        "schema_version": SCHEMA_VERSION,
        "roadloop_version": __version__,
        "scenario": scenario,
        "family": family,
        "seed": seed,
        "driver": driver,
        "parameters": {},
        "map": {"name": map_name, "content_hash": map_hash, "source": map_source},
        "dt": float(dt),
        "duration": None if duration is None else float(duration),
        "plan_dt": None,
        "vehicle": dataclasses.asdict(vehicle),
        "start": {
            "s": float(route.start_s),
            **{key: float(getattr(start, key)) for key in ("x", "y", "heading", "speed")},
        },
        "goal": {"lane": int(route.lanes[-1]), "s": float(route.goal_s)},
        "steps": None,
        "finished": False,
        "files": None,
    }
