"""The states of a detector that are still to be used: a step goes on from that of a while ago.

A network that learnt with moments 0.5 s apart and runs at 10 Hz keeps five chains of states that
take turns.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from roadloop.errors import RoadloopError

Array = np.ndarray

OFF = 0.2
"""share of the wanted age by which a state may be older or younger"""


class Kept(NamedTuple):
    """The state of one moment."""

    time: float
    """s"""
    world_from_ego: Array
    """(4, 4)"""
    state: Array
    """(D, X, Y)"""


class MemoryQueue:
    """States in order of time; ``age`` is s between the moment one is from and that it is used."""

    def __init__(self, age: float) -> None:
        if not 0.0 < age < np.inf:
            raise RoadloopError(f"age of the state is {age}: expected seconds above 0")
        self.age = age
        self._kept: deque[Kept] = deque()

    def reset(self) -> None:
        """Forget all of them."""
        self._kept.clear()

    def before(self, time: float) -> Kept | None:
        """The state whose age at ``time`` is nearest to the wanted one, None where none comes near.

        Where time has jumped, backwards or by more than the age, everything is forgotten.
        """
        kept, most = self._kept, (1.0 + OFF) * self.age + 1e-9
        if not kept:
            return None
        step = time - kept[-1].time
        if not 0.0 < step <= most:
            kept.clear()
            return None
        while time - kept[0].time > most:
            kept.popleft()
        best = min(kept, key=lambda k: abs(time - k.time - self.age))
        allowed = OFF * self.age
        if time - kept[0].time < self.age - 1e-9:
            # at the beginning: soon there is one of every step, and then nothing is nearer
            allowed = min(0.5 * step, allowed)
        return best if abs(time - best.time - self.age) <= allowed + 1e-9 else None

    def put(self, kept: Kept) -> None:
        """Keep the state of the newest moment."""
        self._kept.append(kept)
