"""ScenarioNet scenarios as recordings: pickles of tracks, map and lights of many data sets.

ScenarioNet's converters bring nuScenes, Waymo, nuPlan and others into one dictionary per scenario
(``id, version, length, metadata, tracks, map_features, dynamic_map_states``). Sensors are not in
it. What the same field means still depends on where it came from:

* the ego's ``position`` of nuScenes is the *rear axle* (its ego pose, from the CAN bus at 10 Hz),
  its stated length and width are exchanged; of Waymo and the others it is the centre of the box;
* the other road users of nuScenes are known every 0.5 s and interpolated by the converter; their
  velocity is a forward difference which ends with a 0, so velocities are computed here;
* ``position`` has the height of the box's centre, but of the nuScenes ego that of the ground, and
  it is 0 everywhere in data sets without heights.

The frame is that of ``position``, kept exactly.
"""

from __future__ import annotations

import hashlib
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.datasets.motion import ego_of_poses
from roadloop.datasets.nuscenes.reader import ZOE
from roadloop.datasets.restricted_pickle import read_pickle, strings_at_head
from roadloop.datasets.scenarionet.map import light_ids, map_draft
from roadloop.datasets.scenarionet.tracks import Track, agents_of
from roadloop.datasets.source import check_times, read_bytes
from roadloop.datasets.waymo.fields import VEHICLE
from roadloop.errors import RoadloopError
from roadloop.geometry import rotation_from_euler, se3
from roadloop.logs.recording import Recording
from roadloop.maps.road_map import RoadMap
from roadloop.rig import SensorRig
from roadloop.types import LightState, VehicleParameters

Array = np.ndarray

CARS: dict[str, VehicleParameters] = {"nuscenes": ZOE, "waymo": VEHICLE}
"""by the metadata's ``dataset``; of others the recorded box is taken, see ``_vehicle``"""

REAR_AXLE = frozenset({"nuscenes"})
"""data sets whose ego position is the rear axle: there the lateral velocity is 0 however the car
turns (scene-0916: at 0.02 m from it), of Waymo's it is 1 m behind the position"""

KEYFRAMES = {"nuscenes": 5}
"""steps from one label to the next; those between are interpolated"""

LIGHTS: dict[str, LightState] = {
    "LANE_STATE_STOP": LightState.RED,
    "LANE_STATE_ARROW_STOP": LightState.RED,
    "LANE_STATE_CAUTION": LightState.YELLOW,
    "LANE_STATE_ARROW_CAUTION": LightState.YELLOW,
    "LANE_STATE_GO": LightState.GREEN,
    "LANE_STATE_ARROW_GO": LightState.GREEN,
    "LANE_STATE_FLASHING_STOP": LightState.OFF,  # right of way holds, as where a light is off
    "LANE_STATE_FLASHING_CAUTION": LightState.OFF,
    "LANE_STATE_UNKNOWN": LightState.OFF,
    "TRAFFIC_LIGHT_RED": LightState.RED,
    "TRAFFIC_LIGHT_YELLOW": LightState.YELLOW,
    "TRAFFIC_LIGHT_GREEN": LightState.GREEN,
    "TRAFFIC_LIGHT_UNKNOWN": LightState.OFF,
}
"""states of ``dynamic_map_states``; None, a step without a state, is OFF"""

LICENCES = {
    "nuscenes": "CC BY-NC-SA 4.0 (nuScenes)",
    "waymo": "Waymo Dataset License Agreement for Non-Commercial Use",
    "nuplan": "CC BY-NC-SA 4.0 (nuPlan)",
    "av2": "CC BY-NC-SA 4.0 (Argoverse 2)",
    "lyft": "CC BY-NC-SA 4.0 (Level 5 prediction)",
}

_PREFIX = "sd_"  # of the files of scenarios, as ScenarioNet names them
_INDEX = ("dataset_mapping.pkl", "dataset_summary.pkl")


def drives(root: Path) -> list[str]:
    """Ids of the scenarios under ``root``: a scenario's file, or a folder of them, sorted.

    Where a folder has a ``dataset_mapping.pkl``, its files count, those of them that are there.
    """
    return sorted(_files(root))


def open_drive(root: Path, name: str) -> Recording:
    """One scenario.

    Raises:
        RoadloopError: a damaged pickle, one that holds anything but plain data, a field that is
            missing or has another length, a class of road user or light state roadloop does not
            know; the message names the file and the track.
    """
    files = _files(root)
    if name not in files:
        raise RoadloopError(f"{root} has no scenario {name}; it has {len(files)} others")
    path = files[name]
    scenario = _scenario(path)
    meta = scenario["metadata"]
    dataset = str(meta.get("dataset", "unknown"))
    notes: list[str] = []
    ego_id = str(meta.get("sdc_id"))
    tracks = {str(key): track for key, track in scenario["tracks"].items()}
    if ego_id not in tracks:
        raise RoadloopError(f'{path}: the ego "{ego_id}" (metadata sdc_id) is no track')
    times = _times(meta, path)
    ego = Track(ego_id, tracks.pop(ego_id), len(times), path)
    there = np.flatnonzero(ego.valid)
    if not len(there) or there[-1] - there[0] + 1 != len(there):
        raise RoadloopError(f'{path}: the ego "{ego_id}" is not there in one piece')
    steps = slice(int(there[0]), int(there[-1]) + 1)
    if len(there) < len(times):
        notes.append(f"{len(times) - len(there)} steps without the ego left out")
    start_us = round(float(times[steps][0]) * 1e6)
    stamps = np.round(times[steps] * 1e6).astype(np.int64) - start_us

    check_times(stamps, f"{path}: metadata ts", "step", first=steps.start)
    vehicle = _vehicle(dataset, ego, notes)
    poses = _ego_poses(dataset, ego, vehicle)[steps]
    others = [Track(key, track, len(times), path) for key, track in tracks.items()]
    agents, categories, ids = agents_of(others, dataset, steps, stamps, path, notes)
    lights, signals = _light_states(scenario, dataset, len(times), path)
    every = KEYFRAMES.get(dataset)
    labelled = None if every is None else np.arange(steps.start, steps.stop) % every == 0
    if every is not None:
        notes.append(
            f"road users are labelled at every {every}th step and interpolated between by "
            "ScenarioNet; the ego's poses are another sensor's (scene-0061: 0.05 s off their clock)"
        )
    about = {
        "start_us": start_us,
        "scenario_id": str(meta.get("scenario_id", scenario["id"])),
        "source": dataset,
        "version": str(scenario.get("version", "")),
        "file": path.name,
        "licence": LICENCES.get(dataset, f"that of {dataset}"),
    }
    about |= {k: str(meta[v]) for k, v in (("place", "map"), ("date", "date")) if v in meta}
    return Recording(
        name=name,
        dataset="scenarionet",
        dt=_spacing(stamps),
        timestamp_us=stamps,
        ego=ego_of_poses(poses, stamps, vehicle),
        world_from_ego=poses,
        rig=SensorRig(name="none", description="ScenarioNet keeps no sensors"),
        agents=agents,
        category=np.array(categories, dtype=str),
        source_id=np.array(ids, dtype=str),
        labelled=labelled,
        lights=lights[steps] if signals else None,
        load_map=partial(_compiled, path) if scenario["map_features"] else None,
        about=about,
        notes=tuple(notes),
    )


def _files(root: Path) -> dict[str, Path]:
    """The scenarios' files by drive name."""
    if root.is_file():
        found = [root] if root.suffix == ".pkl" else []
    elif (root / _INDEX[0]).is_file():
        mapping = read_pickle(root / _INDEX[0])
        if not isinstance(mapping, dict):
            raise RoadloopError(f"{root / _INDEX[0]} is no mapping of file names to folders")
        found = [root / str(folder) / str(file) for file, folder in sorted(mapping.items())]
        found = [path for path in found if path.is_file()]
    else:
        found = sorted(path for path in root.rglob("*.pkl") if path.is_file())
    names = {path: _scenario_id(path) for path in found if path.name not in _INDEX}
    if any(names.values()) or all(path.name.startswith(_PREFIX) for path in names):
        # among scenarios whatever else is there was to be one: it is damaged, or worse
        names = {path: name or path.stem for path, name in names.items()}
    by_id: dict[str, list[Path]] = {}
    for path, name in names.items():
        if name:
            by_id.setdefault(name, []).append(path)
    files: dict[str, Path] = {}
    for name, paths in by_id.items():
        if len(paths) == 1:
            files[name] = paths[0]
            continue
        for path in paths:  # the same scenario twice: told apart by its place
            place = path.relative_to(root).with_suffix("") if path.is_relative_to(root) else path
            files[re.sub(r"[^\w.-]+", "_", str(place))] = path
    return files


def _scenario_id(path: Path) -> str:
    """The id at the head of a scenario's pickle, fit for a folder's name; empty for others."""
    texts = strings_at_head(path)
    if texts[:1] != ["id"] or "version" not in texts[2:4]:
        return ""
    return re.sub(r"[^\w.-]+", "_", texts[1])


def _scenario(path: Path) -> dict[str, Any]:
    scenario = read_pickle(path)
    for key in ("id", "metadata", "tracks", "map_features", "dynamic_map_states"):
        if not isinstance(scenario, dict) or key not in scenario:
            raise RoadloopError(f"{path} is no ScenarioNet scenario: {key} is missing")
    for key in ("metadata", "tracks", "map_features", "dynamic_map_states"):
        if not isinstance(scenario[key], dict):
            raise RoadloopError(f"{path}: {key} is no dictionary")
    return scenario


def _times(meta: dict[str, Any], path: Path) -> Array:
    """(T,) s."""
    try:
        times = np.asarray(meta["ts"], np.float64)
    except (KeyError, TypeError, ValueError):
        times = np.zeros(0)
    if times.ndim != 1 or not len(times) or not np.isfinite(times).all():
        raise RoadloopError(f"{path}: metadata ts, the times of the steps, is missing or damaged")
    return times


def _spacing(stamps: Array) -> float:
    """s between steps, to the millisecond."""
    return round(float(np.median(np.diff(stamps))) * 1e-6, 3) if len(stamps) > 1 else 0.1


def _vehicle(dataset: str, ego: Track, notes: list[str]) -> VehicleParameters:
    """The recording car; where it is not known, by the size of its box.

    Then wheelbase and rear overhang are 0.6 and 0.2 of the length, as on most cars. The box of
    Waymo's car is checked, as it has more than one.
    """
    length, width, height = np.median(ego.size[ego.valid], axis=0)
    length, width = max(length, width), min(length, width)
    car = CARS.get(dataset)
    if car is not None and (dataset in REAR_AXLE or abs(length - car.length) < 0.05):
        return car
    if not 1.0 <= length <= 20.0 or not 0.5 <= width <= 4.0:
        raise RoadloopError(
            f'the ego "{ego.id}" of {dataset} is {length:.2f} x {width:.2f} m, which is no car'
        )
    notes.append(f"the car of {dataset} is not known: its axles are placed by its length")
    return VehicleParameters(
        length=float(length),
        width=float(width),
        height=float(height),
        wheelbase=0.6 * float(length),
        rear_overhang=0.2 * float(length),
    )


def _ego_poses(dataset: str, ego: Track, vehicle: VehicleParameters) -> Array:
    """(T, 4, 4) on the ground under the rear axle, upright."""
    zero = np.zeros(len(ego.heading))
    place = ego.position.copy()
    if dataset not in REAR_AXLE:
        back = vehicle.centre_offset
        place[:, 0] -= back * np.cos(ego.heading)
        place[:, 1] -= back * np.sin(ego.heading)
        place[:, 2] = ego.bottom(ego.size[:, 2])
    return se3(rotation_from_euler(zero, zero, ego.heading), place)


def _light_states(
    scenario: dict[str, Any], dataset: str, steps: int, path: Path
) -> tuple[Array, int]:
    """(T, S) states of the map's signals, lights first, and how many lights there are."""
    recorded = scenario["dynamic_map_states"]
    others = [f for f in scenario["map_features"].values() if f.get("type") == "STOP_SIGN"]
    states = np.zeros((steps, len(recorded) + len(others)), np.uint8)
    for k, key in enumerate(light_ids(recorded, dataset)):
        try:
            values = list(recorded[key]["state"]["object_state"])
        except (KeyError, TypeError):
            raise RoadloopError(f'{path}: traffic light "{key}" has no object_state') from None
        if len(values) != steps:
            raise RoadloopError(
                f'{path}: traffic light "{key}" has {len(values)} states for {steps} steps'
            )
        for step, value in enumerate(values):
            if value is None:
                continue
            if value not in LIGHTS:
                raise RoadloopError(
                    f'{path}: traffic light "{key}" at step {step} is {value!r}, which roadloop '
                    f"does not know; known: {', '.join(LIGHTS)}"
                )
            states[step, k] = LIGHTS[value]
    return states, len(recorded)


def _compiled(path: Path) -> RoadMap:
    from roadloop.maps.compile_draft import compile_map

    scenario = _scenario(path)
    meta = scenario["metadata"]
    return compile_map(
        map_draft(
            scenario["map_features"],
            scenario["dynamic_map_states"],
            str(meta.get("dataset", "unknown")),
            str(meta.get("map", "")),
            str(scenario["id"]),
            hashlib.sha256(read_bytes(path)).hexdigest(),
            str(path),
        )
    )
