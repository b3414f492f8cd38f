"""Waymo Open Motion drives: 9 s of tracks at 10 Hz with map and lights; Scenario, tf.Example, JSON.

The data set comes as TFRecord files of ``Scenario`` messages (all of it), as tf.Example ones (map
points and lights without their links), and, made from the former by others, as the JSON files of
GPUDrive and Nocturne (``waymo_json``). World frame: the data set's own. Positions are box centres;
the ego's is moved back to the rear axle (``waymo_fields.VEHICLE``), and all down to the ground.

A shard of some 500 scenarios is scanned for their names in about half a second, a whole split in
minutes: give one shard rather than the split's folder.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.config import unknown
from roadloop.datasets.motion import ego_of_poses
from roadloop.datasets.protobuf_wire import BYTES, FIXED64, WireError, decode, walk
from roadloop.datasets.source import check_times, read_bytes
from roadloop.datasets.tfrecord import Record, is_tfrecord, records
from roadloop.datasets.waymo.example import example_id, is_example, scenario_of_example
from roadloop.datasets.waymo.fields import LICENCE, SCENARIO, VEHICLE
from roadloop.datasets.waymo.map import lights_of, map_draft
from roadloop.datasets.waymo.motion_json import json_names, scenario_of_json
from roadloop.errors import RoadloopError
from roadloop.geometry import rotation_from_euler, se3, wrap_angle
from roadloop.logs.recording import Recording
from roadloop.maps.compile_draft import compile_map
from roadloop.maps.road_map import RoadMap
from roadloop.rig import SensorRig
from roadloop.types import AgentKind, AgentStates, VehicleParameters

Array = np.ndarray

DT = 0.1
"""s"""
KINDS: dict[int, tuple[str, AgentKind | None]] = {
    1: ("vehicle", AgentKind.CAR),
    2: ("pedestrian", AgentKind.PEDESTRIAN),
    3: ("cyclist", AgentKind.CYCLIST),
    4: ("other", None),
}
"""Track.ObjectType: its name and kind. What "other" is nobody says: it is STATIC where it stays,
and left out where it moves. 0 (unset) is an error in the data set's own words."""
LONG = 7.0
"""m; Waymo has one class for all vehicles, those longer than any car or van are taken for trucks"""
STAYS = 0.5
"""m that a thing that does not move may seem to move"""

SPEAKING = 3
"""JSON files of a folder, the first by name, that are asked whether they are scenarios"""


def drives(root: Path) -> list[str]:
    """Scenario ids under a folder (with those right below it), of a TFRecord or a JSON file."""
    return sorted(_sources(Path(root)))


def open_drive(root: Path, name: str) -> Recording:
    """One scenario; of one that lies there twice, that of the first file by name.

    Raises RoadloopError naming the file and the record for a damaged or foreign one.
    """
    found = _sources(Path(root))
    if name not in found:
        raise RoadloopError(f"{root}: {unknown('drive', name, found)}")
    source = found[name]
    scenario, _ = _scenario(source)
    return _recording(scenario, name, source)


def _sources(root: Path) -> dict[str, Record | Path]:
    """Where each scenario lies."""
    found: dict[str, Record | Path] = {}
    empty: list[Path] = []
    for path in _files(root):
        state = path.stat()
        for name, source in _in_file(path, state.st_mtime_ns, state.st_size):
            found.setdefault(name, source)
        if not state.st_size:
            empty.append(path)
    if found:  # among scenarios an empty file was to be one
        for path in empty:
            found.setdefault(
                path.name, Record(path, 0, 0, 0, f"{path} is empty; download it again")
            )
    return found


def _files(root: Path) -> Iterator[Path]:
    """TFRecord and JSON files, by name; the first JSON files of a folder speak for the others."""
    if root.is_file():
        yield root
        return
    if not root.is_dir():
        return
    inside = sorted(p for p in root.iterdir() if not p.name.startswith("."))
    for folder in (root, *(p for p in inside if p.is_dir())):
        try:
            files = sorted(p for p in folder.iterdir() if p.is_file())
        except OSError:
            continue
        yield from (p for p in files if ".tfrecord" in p.name and p.suffix != ".json")
        texts = [p for p in files if p.suffix == ".json"]
        if any(json_names(path) for path in texts[:SPEAKING]):
            yield from texts


@lru_cache(maxsize=4096)
def _in_file(path: Path, changed_ns: int, size: int) -> tuple[tuple[str, Record | Path], ...]:
    """Names and places of a file's scenarios; kept while the file does not change."""
    if path.suffix == ".json":
        name = json_names(path)
        return ((name, path),) if name else ()
    if not is_tfrecord(path):
        return ()
    import mmap

    found: list[tuple[str, Record | Path]] = []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        first = Record.first(path)
        if not _name(content, first):
            return ()
        for record in records(path, with_damaged=True):
            found.append((_name(content, record) or _nameless(record), record))
    return tuple(found)


def _name(content: Any, record: Record) -> str:
    """The scenario's id, empty where the record is of something else.

    ``content`` is the mapped file; no view of it may outlive this call.
    """
    with memoryview(content) as whole, whole[record.offset : record.offset + record.length] as data:
        if len(data) < 2:
            return ""
        if data[0] != (1 << 3 | FIXED64):  # a Scenario begins with its times
            if not is_example(data, record.length):
                return ""
            whole_one = len(data) == record.length
            return example_id(bytes(data), record) if whole_one else _nameless(record)
        try:
            for number, wire, value in walk(data):
                if number == 5 and wire == BYTES:
                    return str(value, "utf-8", "replace")
        except WireError:
            return _nameless(record)
    return ""


def _nameless(record: Record) -> str:
    """The name of a scenario whose id cannot be read."""
    return f"{record.path.name}-{record.number}"


def _scenario(source: Record | Path) -> tuple[dict[str, Any], str]:
    """A scenario as ``waymo_fields.SCENARIO`` decodes it, and the SHA-256 of its bytes.

    ``linked`` is added: whether lanes say what they lead on to.
    """
    if isinstance(source, Path):
        content = read_bytes(source)
        return scenario_of_json(content, source), hashlib.sha256(content).hexdigest()
    data = source.read()
    if is_example(memoryview(data)):
        return scenario_of_example(data, source), hashlib.sha256(data).hexdigest()
    scenario = decode(SCENARIO, data, source)
    return scenario | {"linked": True, "notes": []}, hashlib.sha256(data).hexdigest()


def _recording(scenario: dict[str, Any], name: str, source: Record | Path) -> Recording:
    times = np.asarray(scenario["timestamps_seconds"], float)
    tracks = scenario["tracks"]
    at = scenario.get("sdc_track_index", 0)
    if not len(times) or not 0 <= at < len(tracks):
        raise RoadloopError(
            f"{source}: track {at} of {len(tracks)} is to be the ego, at {len(times)} steps; "
            "this is no whole scenario"
        )
    if not np.isfinite(times).all():
        raise RoadloopError(f"{source}: a time is not finite; leave this scenario out")
    states = _stacked(tracks, len(times), source)
    here = np.flatnonzero(states["valid"][:, at])
    if not len(here) or here[-1] - here[0] + 1 != len(here):
        missing = "anywhere" if not len(here) else f"between steps {here[0]} and {here[-1]}"
        raise RoadloopError(f"{source}: the ego (track {at}) is not seen {missing}; leave it out")
    steps = slice(int(here[0]), int(here[-1]) + 1)
    states = {field: value[steps] for field, value in states.items()}
    stamps = np.round((times[steps] - times[steps][0]) * 1e6).astype(np.int64)
    check_times(stamps, str(source), "step", first=steps.start)
    vehicle, notes = _vehicle(states, at)
    notes += scenario["notes"]
    if len(here) < len(times):
        notes.append(f"{len(times) - len(here)} of {len(times)} steps without the ego, left out")
    ego = {field: value[:, at] for field, value in states.items()}
    heading = wrap_angle(ego["heading"])
    forward = np.stack([np.cos(heading), np.sin(heading), np.zeros_like(heading)], axis=-1)
    centre = np.stack([ego["center_x"], ego["center_y"], ego["center_z"]], axis=-1)
    centre[:, 2] -= ego["height"] / 2.0
    world_from_ego = se3(
        rotation_from_euler(0.0, 0.0, heading), centre - vehicle.centre_offset * forward
    )
    speed = ego["velocity_x"] * forward[:, 0] + ego["velocity_y"] * forward[:, 1]
    rows, kinds = _kinds(tracks, states, at, notes, source)
    dynamic = [states["lane_states"] for states in scenario["dynamic_map_states"]][steps]
    features = scenario["map_features"]
    has_map = any("lane" in feature for feature in features)
    signs = sum("stop_sign" in feature for feature in features)
    return Recording(
        name=name,
        dataset="waymo-motion",
        dt=DT,
        timestamp_us=stamps,
        ego=ego_of_poses(world_from_ego, stamps, vehicle, speed),
        world_from_ego=world_from_ego,
        rig=SensorRig("none", "positions and a map, no sensors"),
        agents=_agents(tracks, states, rows, kinds),
        category=np.array([_category(tracks[row]) for row in rows], dtype=str),
        source_id=np.array([str(tracks[row].get("id", 0)) for row in rows], dtype=str),
        lights=lights_of(dynamic, signs, source) if has_map else None,
        load_map=partial(_road_map, source, name) if has_map else None,
        about=_about(scenario, tracks, here),
        notes=tuple(notes),
    )


def _road_map(source: Record | Path, name: str) -> RoadMap:
    scenario, source_hash = _scenario(source)
    states = [step["lane_states"] for step in scenario["dynamic_map_states"]]
    features = scenario["map_features"]
    return compile_map(map_draft(features, states, name, source_hash, source, scenario["linked"]))


def _stacked(tracks: list[dict[str, Any]], steps: int, source: Record | Path) -> dict[str, Array]:
    """(T, tracks) of each field of ``waymo_fields.STATE``; RoadloopError for uneven tracks."""
    seen: set[int] = set()
    for row, track in enumerate(tracks):
        key = track.get("id", 0)
        count = len(track["states"]["valid"])
        if count != steps:
            raise RoadloopError(
                f"{source}: track {key} (row {row}) has {count} states, the scenario {steps} steps"
            )
        if key in seen or key < 0:
            raise RoadloopError(f"{source}: the track id {key} is negative or there twice")
        seen.add(key)
    stacked = {
        field: np.stack([np.asarray(track["states"][field]) for track in tracks], axis=1)
        for field in tracks[0]["states"]
    }
    result = {field: value.astype(float) for field, value in stacked.items() if field != "valid"}
    valid = stacked["valid"].astype(bool)
    for field, value in result.items():
        bad = valid & ~np.isfinite(value)
        if bad.any():
            step, row = np.argwhere(bad)[0]
            raise RoadloopError(
                f"{source}: {field} of track {tracks[row].get('id', 0)} is not finite at step "
                f"{step}; leave this scenario out"
            )
    return result | {"valid": valid}


def _vehicle(states: dict[str, Array], at: int) -> tuple[VehicleParameters, list[str]]:
    """The recording car: the known one, or one of its proportions and the track's size."""
    length, width, height = (float(states[f][0, at]) for f in ("length", "width", "height"))
    if abs(length - VEHICLE.length) < 0.05 and abs(width - VEHICLE.width) < 0.05:
        return VEHICLE, []
    scale = length / VEHICLE.length
    vehicle = dataclasses.replace(
        VEHICLE,
        length=length,
        width=width,
        height=height,
        wheelbase=VEHICLE.wheelbase * scale,
        rear_overhang=VEHICLE.rear_overhang * scale,
    )
    note = (
        f"the ego is {length:.2f} x {width:.2f} m, not Waymo's {VEHICLE.length} x {VEHICLE.width}: "
        "its axles are placed in proportion"
    )
    return vehicle, [note]


def _kinds(
    tracks: list[dict[str, Any]],
    states: dict[str, Array],
    at: int,
    notes: list[str],
    source: Record | Path,
) -> tuple[list[int], list[AgentKind]]:
    """The tracks that are road users, and of what kind each is."""
    rows: list[int] = []
    kinds: list[AgentKind] = []
    unseen = moving = 0
    for row, track in enumerate(tracks):
        value = track.get("object_type", 0)
        if value not in KINDS:
            raise RoadloopError(
                f"{source}: track {track.get('id', 0)} is of type {value}; known: "
                + ", ".join(f"{k} {word}" for k, (word, _) in KINDS.items())
            )
        there = states["valid"][:, row]
        if row == at:
            continue
        if not there.any():
            unseen += 1
            continue
        kind = KINDS[value][1]
        if kind is None:
            x, y = states["center_x"][there, row], states["center_y"][there, row]
            if np.hypot(np.ptp(x), np.ptp(y)) > STAYS:
                moving += 1
                continue
            kind = AgentKind.STATIC
        elif kind == AgentKind.CAR and np.median(states["length"][there, row]) > LONG:
            kind = AgentKind.TRUCK
        rows.append(row)
        kinds.append(kind)
    if unseen:
        notes.append(f"{unseen} tracks that are never seen, left out")
    if moving:
        notes.append(f'{moving} tracks of type "other" that move, left out: nobody says what moves')
    return rows, kinds


def _agents(
    tracks: list[dict[str, Any]], states: dict[str, Array], rows: list[int], kinds: list[AgentKind]
) -> AgentStates:
    picked = {field: value[:, rows] for field, value in states.items()}
    valid = picked["valid"]
    # ids of the data set begin at 0, ours at 1
    ids = np.array([tracks[row].get("id", 0) + 1 for row in rows], np.int64)
    return AgentStates(
        id=np.broadcast_to(ids, valid.shape).copy(),
        kind=np.broadcast_to(np.array(kinds, np.uint8), valid.shape).copy(),
        x=picked["center_x"],
        y=picked["center_y"],
        z=picked["center_z"] - picked["height"] / 2.0,
        heading=wrap_angle(picked["heading"]),
        vx=picked["velocity_x"],
        vy=picked["velocity_y"],
        length=picked["length"],
        width=picked["width"],
        height=picked["height"],
        valid=valid,
    )


def _category(track: dict[str, Any]) -> str:
    return KINDS[track["object_type"]][0]


def _about(scenario: dict[str, Any], tracks: list[dict[str, Any]], here: Array) -> dict[str, Any]:
    """Facts; tracks are named by the data set's ids."""
    about: dict[str, Any] = {"licence": LICENCE, "scenario_id": scenario.get("scenario_id", "")}
    if "current_time_index" in scenario:
        about["current_step"] = int(scenario["current_time_index"] - here[0])
    wanted = [entry.get("track_index", 0) for entry in scenario["tracks_to_predict"]]
    about["tracks_to_predict"] = [
        int(tracks[row].get("id", 0)) for row in wanted if 0 <= row < len(tracks)
    ]
    about["objects_of_interest"] = [int(key) for key in scenario["objects_of_interest"]]
    return about
