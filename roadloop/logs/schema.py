"""The tables of a log: every column with type, unit and meaning, and a rollout as such tables.

One place declares what is on disk; ``docs/logs.md`` describes the same columns for people (a
test compares the two). ``rollout_tables`` and ``rollout_from_tables`` convert between the dense
arrays of a :class:`~roadloop.types.Rollout` and the long tables, without touching a file.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.types import (
    AgentKind,
    AgentStates,
    Control,
    EgoState,
    LightState,
    Rollout,
    Route,
    VehicleParameters,
)

if TYPE_CHECKING:
    from roadloop.maps.road_map import RoadMap

Array = np.ndarray
Table = dict[str, Array]

SCHEMA_VERSION = 1


class Column(NamedTuple):
    """One column on disk."""

    name: str
    dtype: str
    """Arrow type: int32, int64, float64 or string"""
    unit: str
    meaning: str


TABLES: dict[str, tuple[Column, ...]] = {
    "ego": (
        Column("step", "int64", "", "step number, the key of every other table"),
        Column("time", "float64", "s", "time since the start"),
        Column("x", "float64", "m", "rear axle, world frame"),
        Column("y", "float64", "m", "rear axle, world frame"),
        Column("z", "float64", "m", "height of the ground under the rear axle"),
        Column("heading", "float64", "rad", "counter-clockwise from +x"),
        Column("speed", "float64", "m/s", "along the heading, negative in reverse"),
        Column("acceleration", "float64", "m/s^2", "along the heading"),
        Column("steering", "float64", "rad", "at the front wheels, left positive"),
        Column("yaw_rate", "float64", "rad/s", "left positive"),
        Column("commanded_acceleration", "float64", "m/s^2", "what the driver asked for"),
        Column("commanded_steering", "float64", "rad", "what the driver asked for"),
    ),
    "agents": (
        Column("step", "int64", "", "step number"),
        Column("id", "int64", "", "the same road user keeps its id"),
        Column("kind", "string", "", "car, truck, pedestrian, ...: an AgentKind"),
        Column("x", "float64", "m", "box centre, world frame"),
        Column("y", "float64", "m", "box centre, world frame"),
        Column("z", "float64", "m", "height of the ground under the box centre"),
        Column("heading", "float64", "rad", "counter-clockwise from +x"),
        Column("vx", "float64", "m/s", "velocity, world frame"),
        Column("vy", "float64", "m/s", "velocity, world frame"),
        Column("length", "float64", "m", "box size along the heading"),
        Column("width", "float64", "m", "box size across the heading"),
        Column("height", "float64", "m", "box size upwards"),
    ),
    "lights": (
        Column("step", "int64", "", "step number"),
        Column("signal", "int32", "", "index of the signal in the compiled map"),
        Column("signal_id", "string", "", "id of the signal in the map file, empty if unknown"),
        Column("state", "string", "", "off, red, red_yellow, yellow, green"),
    ),
    "plan": (
        Column("step", "int64", "", "step at which the plan was made"),
        Column("point", "int32", "", "number of the point, 0 is now"),
        Column("x", "float64", "m", "planned rear axle, world frame"),
        Column("y", "float64", "m", "planned rear axle, world frame"),
        Column("speed", "float64", "m/s", "planned speed"),
    ),
    "route": (
        Column("order", "int32", "", "0 is the lane of the start"),
        Column("lane", "int32", "", "index of the lane in the compiled map"),
        Column("name", "string", "", "road, section and lane of the map file, empty if unknown"),
    ),
    "expert": (
        Column("step", "int64", "", "step number"),
        Column("x", "float64", "m", "rear axle of the recorded ego, world frame"),
        Column("y", "float64", "m", "same"),
        Column("z", "float64", "m", "height of the ground under it"),
        Column("heading", "float64", "rad", "counter-clockwise from +x"),
        Column("speed", "float64", "m/s", "along the heading, negative in reverse"),
        Column("acceleration", "float64", "m/s^2", "along the heading"),
        Column("steering", "float64", "rad", "at the front wheels, left positive"),
        Column("yaw_rate", "float64", "rad/s", "left positive"),
    ),
}

EGO_FIELDS = ("x", "y", "z", "heading", "speed", "acceleration", "steering", "yaw_rate")
AGENT_FIELDS = ("x", "y", "z", "heading", "vx", "vy", "length", "width", "height")


def enum_names(enum: type[IntEnum]) -> Array:
    """Lower-case names of a dense enum by value, as they stand in the tables: ``car``, ``red``."""
    return np.array([member.name.lower() for member in enum])


def ego_table(steps: Array, time: Array, ego: EgoState, control: Control) -> Table:
    """Rows of the ego table; all arguments ``(time,)``."""
    table: Table = {"step": steps, "time": time}
    table |= {name: getattr(ego, name) for name in EGO_FIELDS}
    table["commanded_acceleration"] = control.acceleration
    table["commanded_steering"] = control.steering
    return table


def expert_table(expert: EgoState | None) -> Table:
    """Rows of the expert table, none without one; fields ``(steps,)``."""
    empty = np.zeros(0)
    steps = 0 if expert is None else len(expert.x)
    table: Table = {"step": np.arange(steps, dtype=np.int64)}
    return table | {k: empty if expert is None else getattr(expert, k) for k in EGO_FIELDS}


def agents_table(steps: Array, states: AgentStates) -> Table:
    """Rows of the agents table, by step then id; ``states`` is ``(time, agents)``.

    Raises RoadloopError where one step holds the same id twice.
    """
    row, column = np.nonzero(states.valid)
    ids = states.id[row, column]
    order = np.lexsort((ids, row))
    row, column, ids = row[order], column[order], ids[order]
    twice = (np.diff(row) == 0) & (np.diff(ids) == 0)
    if twice.any():
        at = int(np.argmax(twice))
        raise RoadloopError(
            f"step {steps[row[at]]}: agent id {ids[at]} occurs twice; ids must be unique per step"
        )
    kind = states.kind[row, column].astype(np.uint8)
    if np.any(kind >= len(AgentKind)):  # also what a cast from -1 gives
        raise RoadloopError(f"agent kind {kind.max()} is unknown; see roadloop.types.AgentKind")
    table: Table = {"step": steps[row], "id": ids, "kind": enum_names(AgentKind)[kind]}
    return table | {name: getattr(states, name)[row, column] for name in AGENT_FIELDS}


def lights_table(steps: Array, lights: Array, signal_id: Array | None) -> Table:
    """Rows of the lights table, by step then signal; ``lights`` is ``(time, signals)``."""
    count, signals = lights.shape
    if np.any(lights >= len(LightState)):
        raise RoadloopError(f"light state {lights.max()} is unknown; see roadloop.types.LightState")
    names = np.full(signals, "") if signal_id is None else np.asarray(signal_id, dtype=str)
    return {
        "step": np.repeat(steps, signals),
        "signal": np.tile(np.arange(signals, dtype=np.int32), count),
        "signal_id": np.tile(names, count),
        "state": enum_names(LightState)[lights.astype(np.int64).ravel()],
    }


def plan_table(steps: Array, plan: Array) -> Table:
    """Rows of the plan table; ``plan`` is ``(time, points, 3)``, all-NaN points are left out."""
    row, point = np.nonzero(~np.isnan(plan).all(axis=-1))
    x, y, speed = plan[row, point].T
    return {"step": steps[row], "point": point.astype(np.int32), "x": x, "y": y, "speed": speed}


def route_table(route: Route, road_map: RoadMap | None) -> Table:
    """Rows of the route table; without a map the names are empty."""
    lanes = np.asarray(route.lanes, dtype=np.int32)
    names = ["" if road_map is None else road_map.lane_name(int(lane)) for lane in lanes]
    return {
        "order": np.arange(len(lanes), dtype=np.int32),
        "lane": lanes,
        "name": np.array(names, dtype=str),
    }


def check_shapes(rollout: Rollout) -> None:
    """Raise RoadloopError naming the first array whose shape is not what Rollout documents."""
    count = len(rollout.time)
    agents = np.shape(rollout.agents.valid)[-1:]
    expected: list[tuple[str, Array, tuple[int, ...]]]
    expected = [(f"ego.{name}", getattr(rollout.ego, name), (count,)) for name in EGO_FIELDS]
    expected += [
        (f"control.{name}", getattr(rollout.control, name), (count,))
        for name in ("acceleration", "steering")
    ]
    expected += [
        (f"agents.{name}", getattr(rollout.agents, name), (count, *agents))
        for name in ("id", "kind", "valid", *AGENT_FIELDS)
    ]
    expected.append(("lights", rollout.lights, (count, *np.shape(rollout.lights)[1:2])))
    expected.append(("plan", rollout.plan, (count, *np.shape(rollout.plan)[1:2], 3)))
    for name, value, shape in expected:
        if np.shape(value) != shape:
            raise RoadloopError(
                f"rollout.{name} has shape {np.shape(value)}, expected {shape} for {count} steps"
            )


def rollout_tables(rollout: Rollout, road_map: RoadMap | None = None) -> dict[str, Table]:
    """The whole rollout as tables, in one canonical row order whatever the order of its agents.

    Raises RoadloopError where shapes disagree, kinds or light states are unknown, or ids repeat.
    """
    check_shapes(rollout)
    steps = np.arange(len(rollout.time), dtype=np.int64)
    signal_id = None if road_map is None else road_map.signal_id
    return {
        "ego": ego_table(steps, rollout.time, rollout.ego, rollout.control),
        "agents": agents_table(steps, rollout.agents),
        "lights": lights_table(steps, rollout.lights, signal_id),
        "plan": plan_table(steps, rollout.plan),
        "route": route_table(rollout.route, road_map),
        "expert": expert_table(rollout.expert),
    }


def rollout_from_tables(tables: dict[str, Table], meta: dict[str, Any]) -> Rollout:
    """Dense arrays from tables; agents sorted by id, cells without an agent are zero and invalid.

    Rows after the last step of the ego table (a run killed between two tables) are dropped. Raises
    RoadloopError where steps of the ego table are not consecutive.
    """
    ego = tables["ego"]
    steps = ego["step"]
    if len(steps) and not np.array_equal(steps, np.arange(steps[0], steps[0] + len(steps))):
        raise RoadloopError("ego table: steps are not consecutive; a part file is missing")
    first = int(steps[0]) if len(steps) else 0
    vehicle = VehicleParameters(**meta["vehicle"])
    agents = _kept(tables["agents"], first, len(steps))
    return Rollout(
        scenario=meta["scenario"],
        family=meta["family"],
        seed=meta["seed"],
        driver=meta["driver"],
        map_name=meta["map"]["name"],
        map_hash=meta["map"]["content_hash"],
        dt=meta["dt"],
        time=ego["time"],
        ego=EgoState(**{name: ego[name] for name in EGO_FIELDS}, vehicle=vehicle),
        control=Control(ego["commanded_acceleration"], ego["commanded_steering"]),
        agents=_dense_agents(agents, len(steps)),
        lights=_dense_lights(_kept(tables["lights"], first, len(steps)), len(steps)),
        plan=_dense_plan(_kept(tables["plan"], first, len(steps)), len(steps)),
        route=Route(
            lanes=tables["route"]["lane"][np.argsort(tables["route"]["order"])],
            start_s=meta["start"]["s"],
            goal_s=meta["goal"]["s"],
        ),
        finished=meta["finished"],
        expert=_expert(tables["expert"], vehicle),
    )


def _expert(table: Table, vehicle: VehicleParameters) -> EgoState | None:
    if not len(table["step"]):
        return None
    return EgoState(**{name: table[name] for name in EGO_FIELDS}, vehicle=vehicle)


def _kept(table: Table, first: int, count: int) -> Table:
    """The rows of ``count`` steps from ``first``, with a column ``row``: the index of the step."""
    row = table["step"] - first
    keep = (row >= 0) & (row < count)
    return {name: column[keep] for name, column in table.items()} | {"row": row[keep]}


def _dense_agents(table: Table, count: int) -> AgentStates:
    ids, column = np.unique(table["id"], return_inverse=True)
    shape = (count, len(ids))

    def spread(name: str, dtype: type) -> Array:
        dense = np.zeros(shape, dtype=dtype)
        dense[table["row"], column] = table[name]
        return dense

    valid = np.zeros(shape, dtype=bool)
    valid[table["row"], column] = True
    return AgentStates(
        id=np.broadcast_to(ids, shape).copy(),
        kind=spread("kind", np.uint8),
        valid=valid,
        **{name: spread(name, np.float64) for name in AGENT_FIELDS},
    )


def _dense_lights(table: Table, count: int) -> Array:
    signals = int(table["signal"].max()) + 1 if len(table["signal"]) else 0
    if len(table["signal"]) != count * signals:
        raise RoadloopError(
            f"lights table: {len(table['signal'])} rows, expected {signals} signals x {count} steps"
        )
    lights = np.zeros((count, signals), dtype=np.uint8)
    lights[table["row"], table["signal"]] = table["state"]
    return lights


def _dense_plan(table: Table, count: int) -> Array:
    points = int(table["point"].max()) + 1 if len(table["point"]) else 0
    plan = np.full((count, points, 3), np.nan)
    plan[table["row"], table["point"]] = np.stack([table["x"], table["y"], table["speed"]], axis=-1)
    return plan
