"""CommonRoad scenarios (2018b, 2020a) as recordings: lanelets, lights and other people's traffic.

A CommonRoad scenario poses a problem: it has traffic, and a start and a goal for a car that nobody
drove. A recording needs a driver. Here it is one of the traffic: the car that is recorded to drive
furthest is taken out of the road users and is the ego, and its path is what an expert did. Start
and goal of the scenario's own planning problem stay in ``about["planning_problem"]``.

The world frame is the file's own; it is flat (z is 0). States give the centre of the shape.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.datasets.commonroad.file import CommonRoadFile, read_commonroad
from roadloop.datasets.commonroad.map import map_draft
from roadloop.datasets.commonroad.obstacles import HEIGHTS, Obstacle, obstacles, state_facts
from roadloop.datasets.commonroad.signals import light_cycle
from roadloop.datasets.motion import ego_of_poses, velocities
from roadloop.datasets.source import read_bytes
from roadloop.errors import RoadloopError
from roadloop.geometry import rotation_from_euler, se3, wrap_angle
from roadloop.logs.recording import Recording
from roadloop.maps.road_map import RoadMap
from roadloop.rig import SensorRig
from roadloop.types import AgentKind, AgentStates, VehicleParameters

Array = np.ndarray

EGO_TYPES = ("car", "taxi", "priorityVehicle", "truck", "bus", "motorcycle")
"""who may be the ego: the first type of these of which somebody has a trajectory"""

WHEELBASE, REAR_OVERHANG = 0.6, 0.2
"""shares of the length, as on most cars (a Renault Zoe has 0.63 and 0.16, a Volkswagen Golf VII
0.62 and 0.18); CommonRoad states neither"""

_HEAD = 4096
_SCENARIO = b"<commonRoad"
_MOVING = re.compile(rb"<dynamicObstacle\b|<role>\s*dynamic")


def drives(root: Path) -> list[str]:
    """Names of the scenarios with recorded trajectories under ``root``, a file or a folder.

    The name is the file's, which is the benchmark id of published scenarios (the id inside is not
    always its own). Maps without traffic are left out; ``commonroad_map.read_commonroad_map``
    reads them.
    """
    return sorted(_files(root))


def open_drive(root: Path, name: str) -> Recording:
    """One scenario.

    Raises:
        RoadloopError: broken XML, dangling references, obstacles of an unknown type, states out of
            order, nobody to be the ego; with file and line.
    """
    files = _files(root)
    if name not in files:
        raise RoadloopError(f"{root} has no scenario {name}; it has {len(files)} others")
    file = read_commonroad(files[name])
    dt = file.value(file.root, file.root.get("timeStepSize"))
    if not dt > 0.0:
        raise file.fault(file.root, f"has the time step {dt} s; expected a number above 0")
    everyone, notes = obstacles(file)
    ego = _ego(file, everyone)
    first, last = int(ego.steps[0]), int(ego.steps[-1])
    if len(ego.steps) != last - first + 1:
        gap = int(ego.steps[int(np.argmax(np.diff(ego.steps) > 1))])
        raise RoadloopError(f"{file.path}: obstacle {ego.id} is not recorded after step {gap}")
    others = [o for o in everyone if o is not ego]
    end = max(int(o.steps[-1]) for o in everyone if o.moves)
    start = min(int(o.steps[0]) for o in everyone if o.moves)
    notes.append(
        f"the ego is obstacle {ego.id}, the {ego.type} recorded to drive furthest "
        f"({ego.path:.1f} m): the scenario's own car is recorded by nobody"
    )
    if first > start or last < end:
        notes.append(f"steps {first} to {last} of {start} to {end}: as long as the ego is there")
    sets = sum(o.by_sets for o in others)
    if sets:
        notes.append(f"{sets} road users known by the sets they may occupy: the sets' centres")

    vehicle = VehicleParameters(
        length=ego.length,
        width=ego.width,
        height=HEIGHTS[ego.kind],
        wheelbase=WHEELBASE * ego.length,
        rear_overhang=REAR_OVERHANG * ego.length,
    )
    stamps = np.round(np.arange(len(ego.steps)) * dt * 1e6).astype(np.int64)
    poses = _rear_axle(ego, vehicle)
    measured = ego.speed if np.isfinite(ego.speed).all() else None
    there = [o for o in others if not o.moves or (o.steps[-1] >= first and o.steps[0] <= last)]
    agents = _agents(there, first, stamps)
    lights, signals = _light_states(file, first, len(stamps))
    return Recording(
        name=name,
        dataset="commonroad",
        dt=dt,
        timestamp_us=stamps,
        ego=ego_of_poses(poses, stamps, vehicle, measured),
        world_from_ego=poses,
        rig=SensorRig(name="none", description="CommonRoad has no sensors"),
        agents=agents,
        category=np.array([o.type for o in there], dtype=str),
        source_id=np.array([o.id for o in there], dtype=str),
        lights=lights if signals else None,
        load_map=partial(_compiled, file.path),
        about=_about(file, ego, round(first * dt * 1e6)),
        notes=tuple(notes),
    )


def _files(root: Path) -> dict[str, Path]:
    """Files with recorded traffic, by drive name."""
    found = [root] if root.is_file() else sorted(root.rglob("*.xml"))
    found = [path for path in found if path.suffix == ".xml" and path.is_file()]
    heads = {path: _head(path) for path in found}
    scenarios = {path for path in found if _SCENARIO in heads[path] and _has_traffic(path)}
    if scenarios:  # among them what is no XML at all was to be one
        scenarios |= {path for path in found if b"<" not in heads[path]}
    by_stem: dict[str, list[Path]] = {}
    for path in found:
        if path in scenarios:
            by_stem.setdefault(path.stem, []).append(path)
    files: dict[str, Path] = {}
    for stem, paths in by_stem.items():
        for path in paths:
            place = str(path.relative_to(root).with_suffix("")) if len(paths) > 1 else stem
            files[re.sub(r"[^\w.-]+", "_", place)] = path
    return files


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise RoadloopError(f"{path} cannot be read: {error.strerror}") from error


def _has_traffic(path: Path) -> bool:
    content = read_bytes(path)
    return b"<trajectory" in content and _MOVING.search(content) is not None


def _ego(file: CommonRoadFile, everyone: list[Obstacle]) -> Obstacle:
    """Of the first type there is of ``EGO_TYPES`` who drives furthest; of equals the lowest id."""
    for type_ in EGO_TYPES:
        able = [o for o in everyone if o.type == type_ and o.moves and not o.by_sets]
        if able:
            return min(able, key=lambda o: (-round(o.path, 6), len(o.id), o.id))
    raise RoadloopError(
        f"{file.path} has nobody with a trajectory who could be the ego: {', '.join(EGO_TYPES)}"
    )


def _rear_axle(ego: Obstacle, vehicle: VehicleParameters) -> Array:
    """(T, 4, 4) on the ground under the rear axle, from box centres."""
    zero, back = np.zeros(len(ego.steps)), vehicle.centre_offset
    place = np.column_stack(
        [ego.x - back * np.cos(ego.heading), ego.y - back * np.sin(ego.heading), zero]
    )
    return se3(rotation_from_euler(zero, zero, ego.heading), place)


def _agents(there: list[Obstacle], first: int, stamps: Array) -> AgentStates:
    """Road users (T, A) from step ``first`` on; who never moves is there all the time."""
    shape = (len(stamps), len(there))
    x, y, heading, valid = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape, bool)
    speed = np.full(shape, np.nan)
    for k, obstacle in enumerate(there):
        if obstacle.moves:
            known = (obstacle.steps >= first) & (obstacle.steps < first + len(stamps))
            rows, source = obstacle.steps[known] - first, np.flatnonzero(known)
        else:
            rows, source = np.arange(len(stamps)), np.zeros(len(stamps), int)
        x[rows, k], y[rows, k] = obstacle.x[source], obstacle.y[source]
        heading[rows, k], speed[rows, k] = obstacle.heading[source], obstacle.speed[source]
        valid[rows, k] = True
    moves = np.array([o.moves for o in there], bool)
    vx, vy = velocities(x, y, valid, stamps)
    stated = np.isfinite(speed) & valid
    vx = np.where(stated, speed * np.cos(heading), vx) * moves
    vy = np.where(stated, speed * np.sin(heading), vy) * moves

    def same(values: list[Any], dtype: type) -> Array:
        return np.broadcast_to(np.array(values, dtype), shape).copy()

    return AgentStates(
        id=same(list(range(1, len(there) + 1)), np.int64),
        kind=same([o.kind for o in there], np.uint8),
        x=x,
        y=y,
        z=np.zeros(shape),
        heading=wrap_angle(heading),
        vx=vx,
        vy=vy,
        length=same([o.length for o in there], float),
        width=same([o.width for o in there], float),
        height=same([HEIGHTS[AgentKind(o.kind)] for o in there], float),
        valid=valid,
    )


def _light_states(file: CommonRoadFile, first: int, steps: int) -> tuple[Array, int]:
    """(T, S) states of the map's signals, lights first, and how many lights there are.

    At step n a light shows the element its cycle has reached after ``(n - timeOffset) mod`` the
    cycle's length; one without a cycle, or not active, is off.
    """
    lights = list(file.root.iterfind("trafficLight"))
    if not lights:
        return np.zeros((steps, 0), np.uint8), 0
    states = np.zeros((steps, len(map_draft(file).signals)), np.uint8)
    for k, element in enumerate(lights):
        states[:, k] = light_cycle(file, element, np.arange(first, first + steps))
    return states, len(lights)


def _about(file: CommonRoadFile, ego: Obstacle, start_us: int) -> dict[str, Any]:
    about: dict[str, Any] = {
        "start_us": start_us,
        "benchmark_id": file.benchmark_id,
        "version": file.root.get("commonRoadVersion"),
        "source": file.root.get("source") or "not stated",
        "licence": "not stated in the file; that of its source",
        "ego": f"obstacle {ego.id} ({ego.type})",
    }
    if date := file.root.get("date"):
        about["date"] = date
    if place := file.benchmark_id.removeprefix("C-").partition("-")[0]:
        about["place"] = place
    latitude = file.text(file.root, "location/gpsLatitude")
    longitude = file.text(file.root, "location/gpsLongitude")
    if latitude and longitude and abs(float(latitude)) <= 90.0:
        about["latitude"], about["longitude"] = float(latitude), float(longitude)
    problem = file.root.find("planningProblem")
    if problem is not None:
        start, goals = problem.find("initialState"), problem.iterfind("goalState")
        about["planning_problem"] = {
            "id": problem.get("id"),
            "initial_state": {} if start is None else state_facts(file, start),
            "goals": [state_facts(file, goal) for goal in goals],
        }
    return about


def _compiled(path: Path) -> RoadMap:
    from roadloop.maps.compile_draft import compile_map

    return compile_map(map_draft(read_commonroad(path)))
