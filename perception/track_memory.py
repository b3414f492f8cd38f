"""What is remembered of each road user between steps, by its track id, and how it moves of late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from roadloop.geometry import wrap_angle
from roadloop.types import AgentStates

Array = np.ndarray

FORGET = 2.0
"""s after which a track that was not seen again is forgotten"""
SMOOTHING = 0.4
"""s, time constant of the running means of turn rate and acceleration: over it a wheel is turned"""
FASTEST_TURN = 2.0
"""rad/s, above which a change of heading is taken for a flip of the box, not a turn"""
HARDEST = 8.0
"""m/s^2, bound of the acceleration believed"""
STANDING = 0.3
"""m/s, up to which a road user counts as standing"""


class TrackMemory:
    """Named numbers per track id; ``TrackMemory(lane=-1, s=0.0)`` says what new tracks begin with.

    Ids must be unique among the rows of a call.
    """

    def __init__(self, **begin: Any) -> None:
        self._begin = {name: np.asarray(value) for name, value in begin.items()}
        self._id = np.zeros(0, np.int64)
        self._seen = np.zeros(0)
        self._kept = {name: np.zeros(0, value.dtype) for name, value in self._begin.items()}

    def recall(self, ids: Array, time: float) -> tuple[Array, dict[str, Array]]:
        """s since each of ``ids`` (n,) was kept, inf for new ones; and its numbers, (n,) each."""
        since = np.full(len(ids), np.inf)
        if not len(self._id):
            return since, {k: np.full(len(ids), value) for k, value in self._begin.items()}
        row = np.minimum(np.searchsorted(self._id, ids), len(self._id) - 1)
        known = self._id[row] == ids
        since[known] = time - self._seen[row[known]]
        known &= (since >= 0.0) & (since <= FORGET)
        since[~known] = np.inf
        begin = self._begin
        return since, {k: np.where(known, kept[row], begin[k]) for k, kept in self._kept.items()}

    def keep(self, ids: Array, time: float, **values: Array) -> None:
        """Remember every one of the named numbers of ``ids`` (n,) at ``time`` s."""
        order = np.argsort(ids, kind="stable")
        fresh = ids[order]
        if len(self._id):
            row = np.minimum(np.searchsorted(fresh, self._id), max(len(fresh) - 1, 0))
            replaced = fresh[row] == self._id if len(fresh) else np.zeros(len(self._id), bool)
            old = np.flatnonzero(~replaced & (time - self._seen <= FORGET) & (time >= self._seen))
        else:
            old = np.zeros(0, np.int64)
        if not len(old):
            self._id, self._seen = fresh, np.full(len(fresh), time)
            self._kept = {name: values[name][order] for name in self._kept}
            return
        both = np.concatenate([fresh, self._id[old]])
        place = np.argsort(both, kind="stable")
        self._id = both[place]
        self._seen = np.concatenate([np.full(len(fresh), time), self._seen[old]])[place]
        self._kept = {
            name: np.concatenate([values[name][order], kept[old]])[place]
            for name, kept in self._kept.items()
        }


@dataclass(frozen=True)
class Motion:
    """How tracks have moved of late; fields ``(n,)``."""

    turn_rate: Array
    """rad/s, running mean; 0 where a track is new"""
    acceleration: Array
    """m/s^2 of the speed, likewise"""
    standing: Array
    """s it has stood still"""


class MotionHistory:
    """Turn rate, acceleration and standing time from headings and speeds seen one after another."""

    def __init__(self) -> None:
        self._memory = TrackMemory(
            heading=0.0, speed=0.0, turn_rate=0.0, acceleration=0.0, standing=0.0
        )

    def update(self, states: AgentStates, rows: Array, time: float) -> Motion:
        """The motion of ``rows`` (indices into ``states``) with what is seen at ``time`` s.

        Asked again at the same time it gives the same.
        """
        ids, heading = states.id[rows], states.heading[rows]
        speed = np.hypot(states.vx[rows], states.vy[rows])
        since, last = self._memory.recall(ids, time)
        moved = np.isfinite(since) & (since > 1e-6)
        step = np.where(moved, since, 1.0)
        share = np.where(moved, 1.0 - np.exp(-step / SMOOTHING), 0.0)
        turn = wrap_angle(heading - last["heading"]) / step
        turn = np.where(np.abs(turn) > FASTEST_TURN, 0.0, turn)
        push = np.clip((speed - last["speed"]) / step, -HARDEST, HARDEST)
        turn_rate = last["turn_rate"] + share * (turn - last["turn_rate"])
        acceleration = last["acceleration"] + share * (push - last["acceleration"])
        standing = np.where(speed < STANDING, last["standing"] + np.where(moved, since, 0.0), 0.0)
        self._memory.keep(
            ids, time, heading=heading, speed=speed, turn_rate=turn_rate,
            acceleration=acceleration, standing=standing,
        )  # fmt: skip
        return Motion(turn_rate, acceleration, standing)
