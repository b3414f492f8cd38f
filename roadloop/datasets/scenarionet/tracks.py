"""Tracks of a ScenarioNet scenario: checked arrays, kinds of road users, states of all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from roadloop.datasets.motion import velocities
from roadloop.datasets.nuscenes.labels import KINDS
from roadloop.datasets.waymo.motion import LONG, STAYS
from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.types import AgentKind, AgentStates

Array = np.ndarray

TYPES: dict[str, AgentKind] = {
    "VEHICLE": AgentKind.CAR,
    "CYCLIST": AgentKind.CYCLIST,
    "PEDESTRIAN": AgentKind.PEDESTRIAN,
    "TRAFFIC_CONE": AgentKind.STATIC,
    "TRAFFIC_BARRIER": AgentKind.STATIC,
    "TRAFFIC_OBJECT": AgentKind.STATIC,
}
"""ScenarioNet's own track types, where ``metadata["type"]`` of a track is no category of nuScenes
or Lyft (``nuscenes_labels.KINDS``). A VEHICLE without a category that is longer than any car or van
(``waymo_motion.LONG``) is taken for a truck"""

NOT_NAMED = frozenset({"OTHER", "UNSET"})
"""track types that say nothing: STATIC where it stays, and left out, with a note, where it moves"""


class Track:
    """One track, its arrays checked and brought to (T,) and (T, 3)."""

    def __init__(self, key: str, track: Any, steps: int, path: Path) -> None:
        self.id = key
        where = f'{path}: track "{key}"'
        try:
            state = track["state"]
            self.type = str(track["type"])
        except (KeyError, TypeError):
            raise RoadloopError(f"{where} has no type or no state") from None
        self.category = str((track.get("metadata") or {}).get("type", self.type))
        self.valid = _field(state, "valid", (steps,), where) > 0.5
        self.position = _field(state, "position", (steps, 3), where)
        self.heading = _field(state, "heading", (steps,), where)
        self.velocity = _field(state, "velocity", (steps, 2), where)
        sizes = [_field(state, name, (steps,), where) for name in ("length", "width", "height")]
        self.size = np.stack(sizes, axis=-1)
        values = np.column_stack([self.position, self.heading, self.size])
        bad = self.valid & ~np.isfinite(values).all(axis=1)
        if bad.any():
            raise RoadloopError(f"{where}: its state at step {int(np.argmax(bad))} is not finite")

    def bottom(self, height: Array) -> Array:
        """(T,) of the ground under the box; positions without any height are on it."""
        z = self.position[:, 2]
        return z if not z[self.valid].any() else z - height / 2.0


def agents_of(
    tracks: list[Track],
    dataset: str,
    steps: slice,
    stamps: Array,
    path: Path,
    notes: list[str],
) -> tuple[AgentStates, list[str], list[str]]:
    """The road users (T, A), and the category and id of each."""
    found: list[Track] = []
    kinds: list[AgentKind] = []
    left_out = 0
    for track in tracks:
        kind = _kind(track)
        if kind is None and track.type in NOT_NAMED:
            left_out += 1
            continue
        if kind is None:
            raise RoadloopError(
                f'{path}: track "{track.id}" is of the type {track.type!r}, which roadloop does '
                f"not know; known: {', '.join(TYPES)}"
            )
        if track.valid[steps].any():
            found.append(track)
            kinds.append(kind)
    if left_out:
        notes.append(f"{left_out} moving tracks of no stated class (OTHER, UNSET) left out")
    shape = (steps.stop - steps.start, len(found))
    valid = _stacked([t.valid[steps] for t in found], shape).astype(bool)

    def of(values: list[Array]) -> Array:
        return np.where(valid, _stacked(values, shape), 0.0)

    x, y = (of([t.position[steps, k] for t in found]) for k in (0, 1))
    if dataset == "waymo":
        vx, vy = (of([t.velocity[steps, k] for t in found]) for k in (0, 1))
    else:
        vx, vy = velocities(x, y, valid, stamps)
    states = AgentStates(
        id=np.broadcast_to(np.arange(1, len(found) + 1, dtype=np.int64), shape).copy(),
        kind=np.broadcast_to(np.array(kinds, np.uint8), shape).copy(),
        x=x,
        y=y,
        z=of([t.bottom(t.size[:, 2])[steps] for t in found]),
        heading=wrap_angle(of([t.heading[steps] for t in found])),
        vx=vx,
        vy=vy,
        length=of([t.size[steps, 0] for t in found]),
        width=of([t.size[steps, 1] for t in found]),
        height=of([t.size[steps, 2] for t in found]),
        valid=valid,
    )
    return states, [t.category for t in found], [t.id for t in found]


def _kind(track: Track) -> AgentKind | None:
    """None where neither the category nor the type says."""
    if track.category in KINDS:
        return KINDS[track.category]
    there = track.position[track.valid, :2]
    if track.type in NOT_NAMED:
        stays = not len(there) or np.ptp(there, axis=0).max() < STAYS
        return AgentKind.STATIC if stays else None
    if track.type == "VEHICLE" and len(there) and np.median(track.size[track.valid, 0]) > LONG:
        return AgentKind.TRUCK
    return TYPES.get(track.type)


def _stacked(columns: list[Array], shape: tuple[int, int]) -> Array:
    return np.stack(columns, axis=1) if columns else np.zeros(shape)


def _field(state: Any, name: str, shape: tuple[int, ...], where: str) -> Array:
    """A field of a track's state as float64 of ``shape``; (T, 1) counts as (T,)."""
    try:
        value = np.asarray(state[name], np.float64)
    except (KeyError, TypeError, ValueError):
        raise RoadloopError(f"{where}: its {name} is missing or no array of numbers") from None
    if len(shape) == 1 and value.shape == (*shape, 1):
        value = value[:, 0]
    if name == "position" and value.shape == (shape[0], 2):
        value = np.column_stack([value, np.zeros(len(value))])
    if value.shape != shape:
        raise RoadloopError(f"{where}: its {name} has shape {value.shape}, not {shape}")
    return value
