"""Keeps why a driver's plans were chosen while it drives, for reports: proposals, interventions.

::

    recorder = PlanRecorder(driver)
    recorder.listen(observation)                # after every act
    write_plans(folder, recorder.log())         # None for drivers that never explained anything

A driver explains itself by its attribute ``explanation`` (`planning.explanation.Explanation`, or
None) and by ``guard.interventions`` (rows with ``step``, ``time``, ``kind``, ``what``, ``agent_id``
and ``until``); either may be missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from planning.explanation import POINT_STEP, Explanation
from roadloop.errors import RoadloopError
from roadloop.interfaces import Driver, innermost
from roadloop.logs.plans import CENTIMETRES, NOBODY, TABLES, THOUSANDTHS, PlanLog
from roadloop.logs.side_tables import Table, joined_rows
from roadloop.types import Observation, Tracks

Array = np.ndarray

EVERY = 0.5
"""s between moments that are kept in any case"""
MOST_TERMS = 256
"""in a drive: what one byte can tell apart"""
_EPS = 1e-6


class PlanRecorder:
    """Listens to a driver, also to one inside another; hands nothing back to it.

    Kept are the moments every ``every`` s, those at which another proposal is chosen or another
    road user limits the plan, and those at which the guard intervenes.
    """

    def __init__(self, driver: Driver, *, every: float = EVERY) -> None:
        if not every >= 0.0:
            raise RoadloopError(f"moments every {every} s: expected 0 s or more")
        self._driver = innermost(driver)
        self._every = every
        self._rows: dict[str, list[Table]] = {name: [] for name in TABLES}
        self._terms: list[str] = []
        self._weights: list[float] = []
        self._proposals = 0
        self._moments = 0
        self._latest: Explanation | None = None
        self._kept_at = -np.inf
        self._choice: tuple[str, int] | None = None
        self._boxes: dict[tuple[int, int], Table] = {}

    def listen(self, observation: Observation) -> None:
        """To be called after each ``act`` with the observation it was given.

        Raises RoadloopError for an explanation whose parts do not fit each other.
        """
        intervened = self._listen_to_guard(observation)
        now: Explanation | None = getattr(self._driver, "explanation", None)
        if now is self._latest and not (intervened and now is not None):
            return
        self._latest = now
        if now is None:
            self._choice = None
            self._add_moment(observation, -1)
            return
        check(now)
        choice = (now.names[now.chosen], now.limit_id)
        due = observation.time >= self._kept_at + self._every - _EPS
        if due or intervened or choice != self._choice:
            self._choice = choice
            self._keep(observation, now)

    def log(self) -> PlanLog | None:
        """All that was kept so far; None where nothing was explained and nobody guards."""
        guard = _interventions(self._driver)
        if guard is None and not self._moments:
            return None
        rows = {**self._rows, "interventions": [self._intervention(one) for one in guard or ()]}
        return PlanLog(
            terms=tuple(self._terms),
            weights=tuple(self._weights),
            point_step=POINT_STEP,
            guarded=guard is not None,
            tables={name: joined_rows(TABLES[name], parts) for name, parts in rows.items()},
        )

    def _keep(self, observation: Observation, now: Explanation) -> None:
        first, count = self._proposals, len(now.names)
        self._kept_at = observation.time
        self._proposals += count
        self._add_moment(observation, first + now.chosen, now.limit, now.limit_id)
        names = {"moment": np.full(count, self._moments - 1), "name": list(now.names)}
        score = np.round(np.asarray(now.score, float), 3)
        self._rows["proposals"].append({**names, "score": score})
        rows = np.arange(first, first + count)
        for name, values in now.terms.items():
            self._rows["terms"].append(
                {
                    "proposal": rows,
                    "term": np.full(count, self._term(name, now.weights.get(name, 1.0))),
                    "value": np.rint(THOUSANDTHS * np.asarray(values, float)),
                }
            )
        xy = np.asarray(now.xy, float)
        whole = np.rint(CENTIMETRES * xy).reshape(-1, 2)
        owners = np.repeat(rows, xy.shape[1])
        self._rows["points"].append({"proposal": owners, "x": whole[:, 0], "y": whole[:, 1]})

    def _add_moment(
        self, observation: Observation, chosen: int, limit: str = "", limit_id: int = -1
    ) -> None:
        self._moments += 1
        self._rows["moments"].append(
            {
                "step": [observation.step],
                "time": [observation.time],
                "chosen": [chosen],
                "limit": [limit],
                "limit_id": [limit_id],
                **_one(self._whereabouts(observation, limit_id)),
            }
        )

    def _term(self, name: str, weight: float) -> int:
        if name not in self._terms:
            if len(self._terms) == MOST_TERMS:
                raise RoadloopError(
                    f"explanation with term {name!r}: a drive may have {MOST_TERMS} terms at most"
                )
            self._terms.append(name)
            self._weights.append(float(weight))
        return self._terms.index(name)

    def _listen_to_guard(self, observation: Observation) -> bool:
        """Whether the guard began to intervene since the last step."""
        begun = False
        for one in _interventions(self._driver) or ():
            key = (int(one.step), int(one.agent_id))
            if key not in self._boxes:
                self._boxes[key] = self._whereabouts(observation, int(one.agent_id))
                begun = True
        return begun

    def _intervention(self, one: Any) -> Table:
        box = self._boxes.get((int(one.step), int(one.agent_id)), NOBODY)
        until = float(one.until)
        return {
            "step": [one.step],
            "time": [one.time],
            "until": [until if np.isfinite(until) else one.time],
            "kind": [str(one.kind)],
            "what": [str(one.what)],
            "agent_id": [one.agent_id],
            **_one(box),
        }

    def _whereabouts(self, observation: Observation, name: int) -> Table:
        """The box of a road user as the driver takes it to be, `NOBODY` where he is not known."""
        sight = getattr(self._driver, "sight", None)
        tracks: Tracks | None = observation.tracks if sight is None else sight.tracks
        if name < 0 or tracks is None:
            return NOBODY
        states = tracks.states
        rows = np.flatnonzero(np.asarray(states.id) == name)
        if not len(rows):
            return NOBODY
        return {column: float(getattr(states, column)[rows[0]]) for column in NOBODY}


def check(explanation: Explanation) -> None:
    """Raise RoadloopError where the parts of an explanation do not fit each other."""
    count = len(explanation.names)
    shapes = {"score": np.shape(explanation.score)} | {
        f"term {name!r}": np.shape(values) for name, values in explanation.terms.items()
    }
    for part, shape in shapes.items():
        if shape != (count,):
            raise RoadloopError(f"explanation of {count} proposals: {part} has shape {shape}")
    xy = np.asarray(explanation.xy)
    if xy.ndim != 3 or xy.shape[0] != count or xy.shape[2] != 2:
        raise RoadloopError(
            f"explanation of {count} proposals: xy has shape {xy.shape}, expected ({count}, K, 2)"
        )
    if not 0 <= explanation.chosen < count:
        raise RoadloopError(
            f"explanation of {count} proposals: chosen is {explanation.chosen}, which is none"
        )
    for name, weight in explanation.weights.items():
        if not 0.0 <= weight <= 1.0:
            raise RoadloopError(f"explanation: weight of {name!r} is {weight}, expected 0 to 1")
    finite = all(np.isfinite(values).all() for values in (*explanation.terms.values(), xy))
    if not finite:
        raise RoadloopError("explanation with terms or points that are NaN or infinite")


def _interventions(driver: Any) -> Any:
    """What the driver's guard did, None where there is no guard that tells."""
    return getattr(getattr(driver, "guard", None), "interventions", None)


def _one(box: Table) -> Table:
    return {column: [value] for column, value in box.items()}
