"""The part of a report that tells why each plan was chosen: its data, and the HTML around it.

Proposals, terms and paths lie in the page's block of arrays, which ``report/why.js`` draws; nothing
is added to the pages of drivers that explain nothing.
"""

from __future__ import annotations

import html
from typing import Any

import numpy as np

from roadloop.logs.plans import PlanLog
from roadloop.logs.side_tables import Table
from roadloop.types import Rollout
from roadloop.viz.plans import agents_meant, colours_of, group_of, intervention_texts
from roadloop.viz.seen_page import Packing
from roadloop.viz.template import asset, fill

Array = np.ndarray

ABSENT = -1.0
"""in place of a term that a proposal was not judged by"""
MOST_SCORE = 2.0**20
"""a score beyond it is drawn as this much, one that is no number as the worst"""


def pack_plans(packed: Packing, log: PlanLog, rollout: Rollout, origin: Array) -> dict[str, Any]:
    """Put the arrays of a plan log into a page's block; the rest of it, for JSON."""
    moments, proposals = log.tables["moments"], log.tables["proposals"]
    names = list(dict.fromkeys(proposals["name"]))
    limits = list(dict.fromkeys(moments["limit"]))
    packed.put("whyMoment", log.of_step(rollout), "Int32")
    start = np.searchsorted(proposals["moment"], np.arange(log.moments + 1))
    packed.put("whyStart", start, "Int32")
    packed.put("whyChosen", moments["chosen"], "Int32")
    packed.put("whyLimit", _index(limits, moments["limit"]), "Int16")
    _pack_boxes(packed, "whyLimit", moments, origin)
    packed.put("whyName", _index(names, proposals["name"]), "Int16")
    score = np.nan_to_num(np.asarray(proposals["score"], float), nan=-MOST_SCORE)
    packed.put("whyScore", np.clip(score, -MOST_SCORE, MOST_SCORE), "Float32")
    values = np.clip(log.values(), 0.0, 1.0)
    packed.put("whyTerm", np.nan_to_num(values, nan=ABSENT), "Int16", 0.001)
    paths = np.nan_to_num(log.paths() - origin)
    # point by point: what is stored are the steps along each path, which are small
    along = paths.transpose(1, 0, 2).reshape(paths.shape[1], 2 * paths.shape[0])
    packed.put("whyXY", along, "Int32", 0.01)
    guard = log.tables["interventions"]
    _pack_boxes(packed, "whyGuard", guard, origin)
    return {
        "names": names,
        "groups": [group_of(name) for name in names],
        "colours": colours_of(log),
        "terms": [name.replace("_", " ") for name in log.terms],
        "weights": list(log.weights),
        "limits": limits,
        "limitIds": np.asarray(moments["limit_id"]).tolist(),
        "limitAgents": agents_meant(moments, np.asarray(moments["limit_id"]), rollout).tolist(),
        "times": [round(float(time), 3) for time in moments["time"]],
        "points": paths.shape[1],
        "interventions": _interventions(log),
        "guardAgents": agents_meant(guard, np.asarray(guard["agent_id"]), rollout).tolist(),
    }


def why_html(log: PlanLog | None) -> str:
    """The section of a report; empty where nothing was explained and the guard did nothing."""
    if log is None or not shown(log):
        return ""
    rows = []
    for i, one in enumerate(_interventions(log)):
        rows.append(
            f'<tr><td><button type="button" class="chip lost" data-why-guard="{i}" '
            f'aria-label="Show {one["time"]:.1f} seconds">{one["time"]:.1f} s</button></td>'
            f'<td class="wraps">{html.escape(one["text"])}</td>'
            f'<td class="value">{max(one["until"] - one["time"], 0.0):.1f} s</td></tr>'
        )
    guard = (
        '<div class="why-guard"><h3>Guard interventions</h3><div class="seen-scroll"><table>'
        '<thead><tr><th scope="col">Time</th><th scope="col">What the guard did</th>'
        f'<th scope="col" class="value">For</th></tr></thead><tbody>{"".join(rows)}</tbody></table>'
        "</div></div>"
        if rows
        else ""
    )
    return fill(asset("report/why.html"), {"guard": guard})


def shown(log: PlanLog) -> bool:
    """Whether a report says anything of the log."""
    return log.moments > 0 or log.interventions > 0


def _index(names: list[str], values: list[str]) -> Array:
    rows = {name: row for row, name in enumerate(names)}
    return np.array([rows[value] for value in values], int)


def _pack_boxes(packed: Packing, name: str, table: Table, origin: Array) -> None:
    """Boxes of road users as the driver took them to be; of length 0 where nobody knows."""
    xy = np.stack([table["x"], table["y"]], axis=-1).reshape(-1, 2) - origin
    known = np.asarray(np.isfinite(xy).all(axis=-1))
    packed.put(f"{name}XY", np.where(known[:, None], xy, 0.0), "Int32", 0.01)
    packed.put(f"{name}Heading", np.where(known, table["heading"], 0.0), "Int16", 1e-4)
    size = np.stack([table["length"], table["width"]], axis=-1).reshape(-1, 2)
    size = np.clip(np.where(known[:, None], size, 0.0), 0.0, 300.0)
    packed.put(f"{name}Size", size, "Int16", 0.01)


def _interventions(log: PlanLog) -> list[dict[str, Any]]:
    rows = log.tables["interventions"]
    return [
        {
            "time": round(float(rows["time"][i]), 3),
            "until": round(float(rows["until"][i]), 3),
            "text": text,
            "id": int(rows["agent_id"][i]),
        }
        for i, text in enumerate(intervention_texts(log))
    ]
