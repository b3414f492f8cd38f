"""Road users that are missed for a moment: remembered, moved on, and how hard they brake.

Detectors lose a road user for a frame or two and trackers hand it on anyway or not. A planner that
believed every gap would speed up into it, so a track that is missing survives here for a little
while at its last velocity. What never was confirmed (made up by the detector) is not remembered.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from roadloop.types import AgentKind, AgentStates, Tracks, at

Array = np.ndarray

SURVIVES = 0.3
"""s a missing track is carried on: two missed frames at 10 Hz, and one that comes late"""
CONFIRMED = 3
"""steps a track must have been seen to be remembered"""
SMOOTHING = 0.35
"""s, time constant of the filter of accelerations: differences of noisy speeds"""
BELIEVED_BRAKING = 8.0
"""m/s^2, harder braking is a measuring error"""


@dataclass(frozen=True)
class Remembered:
    """Tracks with those that are missing now; fields ``(tracks,)``."""

    tracks: Tracks
    """those handed on first, in their order"""
    acceleration: Array
    """m/s^2 along the direction of motion, filtered; 0 for new tracks"""


@dataclass
class _Last:
    """What is kept of all tracks, rows by id."""

    tracks: Tracks
    acceleration: Array
    missing: Array
    """s since each was handed on"""
    seen: Array
    """steps each was handed on"""


class TrackMemory:
    """Carries tracks over short gaps; call `update` once per step."""

    def __init__(self) -> None:
        self._last: _Last | None = None

    def reset(self) -> None:
        """Forget everybody."""
        self._last = None

    def update(self, tracks: Tracks, dt: float) -> Remembered:
        """``tracks`` of this step, ``dt`` s after the last, with those that have just got lost."""
        count = len(tracks.states.id)
        acceleration, seen = np.zeros(count), np.ones(count, dtype=np.int64)
        last = self._last
        if last is None:
            self._last = _Last(tracks, acceleration, np.zeros(count), seen)
            return Remembered(tracks, acceleration)
        order = np.argsort(last.tracks.states.id, kind="stable")
        known = last.tracks.states.id[order]
        place = np.minimum(np.searchsorted(known, tracks.states.id), max(len(known) - 1, 0))
        if len(known):
            met = (known[place] == tracks.states.id) & tracks.states.valid
            row = order[place[met]]
            gap = dt + last.missing[row]
            rate = (tracks.states.speed[met] - last.tracks.states.speed[row]) / gap
            share = 1.0 - np.exp(-gap / SMOOTHING)
            before = last.acceleration[row]
            smooth = before + share * (np.clip(rate, -BELIEVED_BRAKING, 4.0) - before)
            # the first difference is all there is to know
            acceleration[met] = np.where(last.seen[row] > 1, smooth, 0.0)
            seen[met] = last.seen[row] + 1
        lost = ~np.isin(last.tracks.states.id, tracks.states.id[tracks.states.valid])
        lost &= (last.missing + dt <= SURVIVES + 1e-9) & last.tracks.states.valid
        lost &= last.seen >= CONFIRMED
        rows = np.flatnonzero(lost)
        if len(rows) == 0:
            self._last = _Last(tracks, acceleration, np.zeros(count), seen)
            return Remembered(tracks, acceleration)
        carried = _moved_on(at(last.tracks, rows), at(last.tracks.states, rows), dt)
        merged = _joined(tracks, carried)
        acceleration = np.concatenate([acceleration, last.acceleration[rows]])
        missing = np.concatenate([np.zeros(count), last.missing[rows] + dt])
        seen = np.concatenate([seen, last.seen[rows]])
        self._last = _Last(merged, acceleration, missing, seen)
        return Remembered(merged, acceleration)


def _moved_on(tracks: Tracks, states: AgentStates, dt: float) -> Tracks:
    moves = states.kind != AgentKind.STATIC
    moved = dataclasses.replace(
        states,
        x=np.where(moves, states.x + states.vx * dt, states.x),
        y=np.where(moves, states.y + states.vy * dt, states.y),
    )
    return dataclasses.replace(tracks, states=moved)


def _joined(first: Tracks, second: Tracks) -> Tracks:
    """Rows of both; a lost track takes no row that is there but masked."""
    masked = ~np.isin(second.states.id, first.states.id[first.states.valid])
    second = dataclasses.replace(at(second, masked), states=at(second.states, masked))
    states = AgentStates(
        **{
            f.name: np.concatenate([getattr(first.states, f.name), getattr(second.states, f.name)])
            for f in dataclasses.fields(AgentStates)
        }
    )
    position_std = np.concatenate([first.position_std, second.position_std])
    return Tracks(states, position_std, np.concatenate([first.age, second.age]))
