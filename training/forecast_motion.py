"""How everybody moved in one drive, and the map: what forecasts are learnt from, as one .npz file.

All road users at 10 Hz, the ego as one of them; the map cut into pieces; the lights. Half a minute
of a dense town takes about 1 MB. Any moment of it, seen from any agent, makes a sample.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perception.forecast_config import HISTORY_STEP, ForecastConfig
from perception.forecast_inputs import MapPieces, cut_map
from roadloop.errors import RoadloopError
from roadloop.files import replaced
from roadloop.logs.recording import Recording
from roadloop.maps.road_map import RoadMap
from roadloop.types import AgentKind, AgentStates, EgoState, at

if TYPE_CHECKING:
    from training.simulated_worlds import SimulatedWorld

Array = np.ndarray

FORMAT = 1
EVEN = 0.02
"""share by which a recording's steps may be longer or shorter than ``HISTORY_STEP``"""
BRIDGED = 1.0
"""s between two steps of a recording, at most, that are interpolated"""
_MOVING = ("x", "y", "heading", "vx", "vy")
_SIZE = ("length", "width", "height")


@dataclass(frozen=True)
class Motion:
    """One drive: T steps, ``HISTORY_STEP`` apart, of A road users."""

    name: str
    states: AgentStates
    """(T, A), box centres in the world frame"""
    pieces: MapPieces
    spacing: float
    """m, that the map was cut with"""
    lights: Array | None
    """(T, signals) LightState; None: not known"""
    about: dict[str, Any]
    """where it is from, plain values"""

    def __len__(self) -> int:
        return len(self.states.valid)


@dataclass(frozen=True)
class Scene:
    """One moment: what was until now, and what came."""

    past: AgentStates
    """(history, A), the last one is now"""
    future_x: Array
    """(steps, A) world"""
    future_y: Array
    future_valid: Array
    x: float
    """of the agent that is looked around"""
    y: float
    pieces: MapPieces
    lights: Array | None


def scene_at(config: ForecastConfig, motion: Motion, step: int, x: float, y: float) -> Scene:
    """The moment ``step`` of a drive, around a place."""
    steps = np.arange(step - config.history + 1, step + 1)
    past = at(motion.states, np.maximum(steps, 0))
    past = dataclasses.replace(past, valid=past.valid & (steps >= 0)[:, None])
    stride = round(config.step / HISTORY_STEP)
    ahead = step + stride * np.arange(1, config.steps + 1)
    known = (ahead < len(motion))[:, None]
    future = at(motion.states, np.minimum(ahead, len(motion) - 1))
    lights = None if motion.lights is None else motion.lights[step]
    return Scene(past, future.x, future.y, future.valid & known, x, y, motion.pieces, lights)


def motion_of_world(world: SimulatedWorld, points: int, spacing: float, name: str) -> Motion:
    """A simulated world at its end; its steps must be ``HISTORY_STEP`` apart."""
    scenario = world.scenario
    if abs(scenario.dt * world.every - HISTORY_STEP) > 1e-9:
        raise RoadloopError(
            f"{name}: states are {scenario.dt * world.every:g} s apart, forecasts are learnt from "
            f"{HISTORY_STEP} s"
        )
    agents, traits = world.agents, world.traits
    steps, count = agents.shape
    speed = agents["speed"].astype(np.float64)
    heading = agents["heading"].astype(np.float64)

    def constant(key: str) -> Array:
        return np.broadcast_to(traits[key], (steps, count))

    states = AgentStates(
        id=np.broadcast_to(np.arange(count), (steps, count)),
        kind=constant("kind").astype(np.uint8),
        x=agents["x"], y=agents["y"], z=agents["z"], heading=heading,
        vx=speed * np.cos(heading), vy=speed * np.sin(heading),
        length=constant("length"), width=constant("width"), height=constant("height"),
        valid=agents["valid"] == 1,
    )  # fmt: skip
    about = {"dataset": "simulated", "family": scenario.family, "seed": scenario.seed}
    pieces = cut_map(scenario.road_map, points, spacing)
    return Motion(name, states, pieces, spacing, world.lights, about)


def motion_of_recording(recording: Recording, points: int, spacing: float) -> Motion:
    """A recorded drive with its ego as agent 0; steps of another length are interpolated.

    Raises RoadloopError where there are no labels, or the steps are single pictures.
    """
    where = f"{recording.dataset} drive {recording.name}"
    if recording.agents is None or not recording.continuous:
        raise RoadloopError(
            f"{where} has no {'labels' if recording.agents is None else 'continuous steps'}: "
            "nothing to learn forecasts from"
        )
    states = _with_ego(recording.agents, recording.ego)
    stamps = recording.timestamp_us * 1e-6
    lights = recording.lights
    if len(stamps) > 1 and not np.allclose(
        np.diff(stamps), HISTORY_STEP, rtol=0.0, atol=EVEN * HISTORY_STEP
    ):
        states, before = _at_even_steps(states, stamps)
        lights = None if lights is None else lights[before]
    road_map: RoadMap | None = recording.road_map
    about = {"dataset": recording.dataset}
    pieces = cut_map(road_map, points, spacing)
    return Motion(recording.name, states, pieces, spacing, lights, about)


def _with_ego(agents: AgentStates, ego: EgoState) -> AgentStates:
    """(T, 1 + A) the road users (T, A) after the ego (T,)."""
    x, y = ego.box_centre()
    vehicle, steps = ego.vehicle, len(x)
    own = {
        "id": np.zeros(steps), "kind": np.full(steps, AgentKind.CAR), "x": x, "y": y, "z": ego.z,
        "heading": ego.heading, "vx": ego.speed * np.cos(ego.heading),
        "vy": ego.speed * np.sin(ego.heading), "valid": np.ones(steps, bool),
        **{key: np.full(steps, getattr(vehicle, key)) for key in _SIZE},
    }  # fmt: skip
    columns = {}
    for f in dataclasses.fields(AgentStates):
        theirs = getattr(agents, f.name)
        mine = np.asarray(own[f.name], theirs.dtype)[:, None]
        columns[f.name] = np.concatenate([mine, theirs], axis=1)
    return AgentStates(**columns)


def _at_even_steps(states: AgentStates, stamps: Array) -> tuple[AgentStates, Array]:
    """The states every ``HISTORY_STEP``, straight between two known ones; the step before each."""
    times = np.arange(round((stamps[-1] - stamps[0]) / HISTORY_STEP) + 1) * HISTORY_STEP + stamps[0]
    times = times[times <= stamps[-1] + 1e-6]
    before = np.clip(np.searchsorted(stamps, times + 1e-6) - 1, 0, len(stamps) - 2)
    gap = stamps[before + 1] - stamps[before]
    share = np.clip((times - stamps[before]) / gap, 0.0, 1.0)[:, None]
    # at a known step the other end does not matter
    first, second = share < 1e-4, share > 1.0 - 1e-4
    valid = (states.valid[before] | second) & (states.valid[before + 1] | first)
    valid &= (gap <= BRIDGED)[:, None] | first | second
    columns: dict[str, Array] = {}
    for f in dataclasses.fields(AgentStates):
        value = getattr(states, f.name)
        a, b = value[before], value[before + 1]
        if f.name in (*_MOVING, "z"):
            change = b - a
            if f.name == "heading":
                change = np.angle(np.exp(1j * change))
            # what is not valid may be anything
            a = np.where(first | ~second & valid, a, b)
            columns[f.name] = np.where(first | second, a, a + share * change)
        else:
            columns[f.name] = np.where(second, b, a)
    columns["valid"] = valid
    return AgentStates(**columns), np.where(second[:, 0], before + 1, before)


# --- files --------------------------------------------------------------------------------------


def write_motion(path: Path, motion: Motion) -> None:
    """One file, whole or not at all; positions to a millimetre, relative to the first one."""
    states, pieces = motion.states, motion.pieces
    known = np.argwhere(states.valid)
    step, agent = known[0] if len(known) else (0, 0)
    origin = np.array([states.x[step, agent], states.y[step, agent]])
    seen = states.valid
    arrays: dict[str, Array] = {
        "origin": origin,
        "x": np.where(seen, states.x - origin[0], 0.0),
        "y": np.where(seen, states.y - origin[1], 0.0),
        **{key: np.where(seen, getattr(states, key), 0.0) for key in ("heading", "vx", "vy")},
        **{key: np.where(seen, getattr(states, key), 0.0).max(0) for key in _SIZE},
        "points": pieces.points - origin,
    }
    arrays = {k: v if k == "origin" else v.astype(np.float32) for k, v in arrays.items()}
    rows = seen.argmax(0)
    kind = states.kind[rows, np.arange(len(rows))].astype(np.uint8)
    about = {"format": FORMAT, "name": motion.name, "spacing": motion.spacing, **motion.about}
    arrays |= {"valid": seen, "kind": kind, "features": pieces.features, "signal": pieces.signal,
               "about": np.array(json.dumps(about))}  # fmt: skip
    if motion.lights is not None:
        arrays["lights"] = motion.lights.astype(np.uint8)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as hidden, hidden.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
    except OSError as error:
        raise RoadloopError(f"cannot write {path}: {error.strerror}") from error


def read_motion(path: Path) -> Motion:
    """What `write_motion` wrote; positions are relative to ``origin``, which moves no forecast.

    Raises RoadloopError for a file that is missing, damaged, or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            a = {key: file[key] for key in file.files}
        about = json.loads(str(a["about"]))
        version = about.pop("format")
        steps, count = a["valid"].shape
        pieces = MapPieces(a["points"].astype(np.float64), a["features"], a["signal"])
        moving = {key: a[key].astype(np.float64) for key in _MOVING}
        constant = {key: np.broadcast_to(a[key], (steps, count)) for key in (*_SIZE, "kind")}
        lights = a.get("lights")
        valid, name, spacing = a["valid"], about.pop("name"), about.pop("spacing")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise RoadloopError(
            f"{path} is damaged or no file of motions ({error}): make it again with python -m "
            "training.forecast_samples"
        ) from error
    if version != FORMAT:
        raise RoadloopError(f"{path} is of format {version}, expected {FORMAT}: make it again")
    states = AgentStates(
        id=np.broadcast_to(np.arange(count), (steps, count)), z=np.zeros((steps, count)),
        valid=valid, **moving, **constant,
    )  # fmt: skip
    return Motion(name, states, pieces, spacing, lights, about)
