"""What pages and videos show of a plan log: colours of manoeuvres, and whom its numbers mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.logs.plans import PlanLog
from roadloop.logs.side_tables import Table, first_step
from roadloop.types import AgentKind, Rollout

Array = np.ndarray

MANOEUVRES = (
    "#6fa8ff", "#f0b04f", "#5fd394", "#d98ad0", "#8fd6e8", "#d6cf6a", "#ff9d8a", "#a9a4ff",
)  # fmt: skip
"""of the manoeuvres of a drive, in the order they are first driven; dark ink is read on them"""
GUARD = "#ff5a5a"
SAME = 5.0
"""m: a road user of the right number may be so far from where the driver took him to be"""
NEAR = 2.0
"""m: and one of another number so far, as a track that is right (`roadloop.viz.seen.MATCHED`)"""


@dataclass(frozen=True)
class Step:
    """What a log says of one step of its drive."""

    chosen: str
    """name of the proposal that is driven, empty: none"""
    limit: str
    """who or what limits it, in words; empty: nothing"""
    guard: str
    """what the guard does, empty: nothing"""


def group_of(name: str) -> str:
    """The manoeuvre of a proposal: its name up to the first comma, ``keep lane, 60 %``."""
    return name.partition(",")[0].strip()


def colours_of(log: PlanLog) -> dict[str, str]:
    """Manoeuvre -> colour, of those that were driven."""
    groups = dict.fromkeys(group_of(name) for name in log.manoeuvres if name)
    return {group: MANOEUVRES[i % len(MANOEUVRES)] for i, group in enumerate(groups)}


def agents_meant(table: Table, names: Array, rollout: Rollout) -> Array:
    """(rows,) ids of the road users whom the boxes of a log's table mean, -1 where nobody is there.

    Drivers that see by themselves number road users as they like: the nearest is meant, unless the
    one of that very number is about where the driver took him to be.

    Args:
        table: with ``step``, ``x`` and ``y``.
        names: (rows,) as the driver calls them, -1: nobody is meant.
    """
    agents = rollout.agents
    found = np.full(len(names), -1, np.int64)
    rows = np.asarray(table["step"]) - first_step(rollout)
    for i in np.flatnonzero((names >= 0) & (rows >= 0) & (rows < len(rollout.time))).tolist():
        k, name = int(rows[i]), int(names[i])
        same = agents.valid[k] & (agents.id[k] == name)
        away = np.hypot(agents.x[k] - table["x"][i], agents.y[k] - table["y"][i])
        if np.isnan(table["x"][i]):
            away = np.where(same, 0.0, np.inf)
        away = np.where(agents.valid[k], away, np.inf)
        if (same & (away <= SAME)).any():
            found[i] = name
        elif len(away) and away.min() <= NEAR:
            found[i] = agents.id[k, int(away.argmin())]
    return found


def named(rollout: Rollout, agent: int, track: int, reason: str) -> str:
    """``car 107 (it brakes)``."""
    who = f"track {track}"
    if agent >= 0:
        kinds = rollout.agents.kind[rollout.agents.valid & (rollout.agents.id == agent)]
        who = f"{AgentKind(int(kinds[0])).name.lower()} {agent}"
    return f"{who} ({reason})" if reason else who


def intervention_texts(log: PlanLog) -> list[str]:
    """What the guard did each time, in words."""
    rows = log.tables["interventions"]
    return [
        ": ".join(part for part in (kind.replace("_", " "), what) if part)
        for kind, what in zip(rows["kind"], rows["what"])
    ]


def steps_told(log: PlanLog, rollout: Rollout, shown: float = 0.5) -> list[Step]:
    """What is said of each step of the drive; an intervention for ``shown`` s at least."""
    moments, guard = log.tables["moments"], log.tables["interventions"]
    agents = agents_meant(moments, np.asarray(moments["limit_id"]), rollout)
    limits = [
        named(rollout, agent, track, reason) if track >= 0 else reason
        for agent, track, reason in zip(
            agents.tolist(), np.asarray(moments["limit_id"]).tolist(), moments["limit"]
        )
    ]
    chosen, texts = log.manoeuvres, intervention_texts(log)
    start = np.asarray(guard["time"]) - 1e-6
    end = np.maximum(guard["until"], guard["time"] + shown) + 1e-6
    told = []
    for time, moment in zip(rollout.time.tolist(), log.of_step(rollout).tolist()):
        acts = np.flatnonzero((start <= time) & (time <= end))
        told.append(
            Step(
                chosen[moment] if moment >= 0 else "",
                limits[moment] if moment >= 0 else "",
                texts[acts[0]] if len(acts) else "",
            )
        )
    return told
