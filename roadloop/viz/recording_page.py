"""A recording as one HTML file: a replay from above with its cameras, and tables of what it holds.

The page is that of a drive (``roadloop.viz.report``) with the road users and sensors where the
score is otherwise.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.logs.recording import Recording
from roadloop.maps.road_map import RoadMap
from roadloop.types import AgentStates, Control, Rollout, Route, at
from roadloop.viz.html_page import text
from roadloop.viz.recording_facts import (
    kinds_of,
    length_text,
    licence_text,
    place_text,
    start_text,
    timing_of,
    title_of,
)
from roadloop.viz.recording_film import film_of, steps_at
from roadloop.viz.recording_sheet import Sheet
from roadloop.viz.report import FILM_FRAMES, About, write_report

Array = np.ndarray

AHEAD = 5.0
"""s of the ego's recorded future that the replay shows as a line"""
SLIDE = 0.5
"""s a step is shown of recordings whose steps are single moments"""


def write_recording_page(
    path: str | Path, sheet: Sheet, progress: Callable[[int], None] | None = None
) -> Path:
    """Write the page and return its path.

    ``progress(1)`` is called after each of the ``FILM_FRAMES`` or fewer pictures in it.

    Raises:
        RoadloopError: a sensor's file that is missing or damaged, a path that cannot be written.
    """
    recording = sheet.recording
    film = film_of(sheet, FILM_FRAMES, progress)
    rollout, road_map = rollout_of(recording, sheet.road_map)
    head = [
        ("Data set", str(recording.about.get("dataset", recording.dataset))),
        ("Place", place_text(recording)),
        ("Start", start_text(recording)),
        ("Length", length_text(recording)),
        ("Step", f"{recording.dt:g} s" if recording.continuous else ""),
        ("Map", "none" if sheet.road_map is None else f"{road_map.lanes} lanes"),
        ("Licence", licence_text(recording)),
    ]
    about = About(
        head=tuple((label, value) for label, value in head if value),
        aside=_users(recording),
        below=_sensors(recording) + _notes(recording),
        ahead="driven next",
    )
    return write_report(
        path, rollout, road_map, None, title=title_of(recording), film=film, about=about
    )


def rollout_of(recording: Recording, road_map: RoadMap | None) -> tuple[Rollout, RoadMap]:
    """The drive at even steps, and its map; one without lanes where the recording has none.

    The ego's recorded future of ``AHEAD`` s is the plan.
    """
    steady = recording.continuous
    rows = steps_at(recording) if steady else np.arange(len(recording))
    dt = recording.dt if steady else SLIDE
    road_map = road_map or _nowhere()
    ego = at(recording.ego, rows)
    signals = len(road_map.signal_kind)
    lights = np.zeros((len(rows), signals), np.uint8)
    if recording.lights is not None:
        known = min(signals, recording.lights.shape[1])
        lights[:, :known] = recording.lights[rows][:, :known]
    rollout = Rollout(
        scenario=recording.name,
        family=recording.dataset,
        seed=0,
        driver="recorded",
        map_name=road_map.name,
        map_hash=road_map.content_hash,
        dt=dt,
        time=np.arange(len(rows)) * dt,
        ego=ego,
        control=Control(ego.acceleration, ego.steering),
        agents=_nobody(len(rows)) if recording.agents is None else at(recording.agents, rows),
        lights=lights,
        plan=_future(recording, rows, dt) if steady else np.zeros((len(rows), 0, 3)),
        route=Route(np.zeros(0, np.int32), 0.0, 0.0),
        finished=True,
    )
    return rollout, road_map


def _future(recording: Recording, rows: Array, dt: float) -> Array:
    """(T, n, 3) x, y, speed of the ego from now on, NaN after the end."""
    ahead = np.arange(math.ceil(AHEAD / dt) + 1)
    later = np.arange(len(rows))[:, None] + ahead
    ego = recording.ego
    state = np.stack([ego.x, ego.y, np.abs(ego.speed)], axis=-1)[rows]
    plan = state[np.minimum(later, len(rows) - 1)]
    plan[later >= len(rows)] = np.nan
    return plan


def _nobody(steps: int) -> AgentStates:
    fields = [f.name for f in dataclasses.fields(AgentStates)]
    empty: dict[str, Array] = {name: np.zeros((steps, 0)) for name in fields}
    empty |= {"id": np.zeros((steps, 0), np.int64), "kind": np.zeros((steps, 0), np.uint8)}
    return AgentStates(**{**empty, "valid": np.zeros((steps, 0), bool)})


def _nowhere() -> RoadMap:
    """A map with nothing on it, of which the picture's ground is made."""
    values: dict[str, Any] = {}
    for f in dataclasses.fields(RoadMap):
        if f.name.endswith("_start") or f.name in ("successor_start", "predecessor_start"):
            values[f.name] = np.zeros(1, np.int32)
        elif f.name.endswith("_xyz"):
            values[f.name] = np.zeros((0, 3))
        elif f.type == "Array":
            values[f.name] = np.zeros(0, np.int32)
    return RoadMap(
        name="no map",
        content_hash="0" * 64,
        georeference="",
        left_hand=False,
        unsupported=(),
        **values,
    )


# --- tables -------------------------------------------------------------------------------------


def _table(head: Sequence[tuple[str, bool]], rows: Sequence[Sequence[str]]) -> str:
    """HTML of a table; ``head`` is (title, whether the column holds numbers)."""
    kind = [' class="value"' if number else "" for _, number in head]
    titles = "".join(
        f'<th scope="col"{c}>{text(title)}</th>' for (title, _), c in zip(head, kind, strict=True)
    )
    body = "".join(
        f"<tr>{''.join(f'<td{c}>{text(v)}</td>' for v, c in zip(row, kind, strict=True))}</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"


def _users(recording: Recording) -> str:
    kinds = kinds_of(recording)
    rows = [
        [k.kind.name.lower(), str(k.tracks), str(k.boxes), f"{k.fastest * 3.6:.0f}"] for k in kinds
    ]
    head = [("Road users", False), ("tracks", True), ("boxes", True), ("fastest, km/h", True)]
    if not rows:
        body = "<p>No labels.</p>" if recording.agents is None else "<p>Nobody.</p>"
        return f'<section class="score"><h2>Road users</h2>{body}</section>'
    names = [
        f"<p><b>{text(k.kind.name.lower())}</b> {text(', '.join(k.categories))}</p>" for k in kinds
    ]
    labelled = int(recording.is_labelled.sum())
    share = ""
    if labelled < len(recording):
        share = f"<p>{labelled} of {len(recording)} steps are labelled, the others lie between.</p>"
    words = f'<div class="said"><h2>In the words of the data set</h2>{"".join(names)}{share}</div>'
    return f'<section class="score" aria-label="Road users">{_table(head, rows)}{words}</section>'


def _number(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "–"


def _sensors(recording: Recording) -> str:
    timing = timing_of(recording)
    if not timing:
        return ""
    head = [
        ("Sensor", False),
        ("", False),
        ("", False),
        ("measurements", True),
        ("rate, Hz", True),
        ("jitter, ms", True),
        ("gaps", True),
        ("longest, ms", True),
        ("from its step, ms", True),
    ]
    rows = [
        [
            t.name,
            t.kind,
            t.what,
            str(t.count),
            _number(t.rate, ".2f"),
            _number(t.jitter * 1e3, ".1f"),
            str(t.gaps),
            _number(t.longest * 1e3, ".0f"),
            _number(t.offset * 1e3, "+.1f"),
        ]
        for t in timing
    ]
    return f'<section class="below" aria-label="Sensors">{_table(head, rows)}</section>'


def _notes(recording: Recording) -> str:
    said = [*recording.notes]
    if not said:
        return ""
    items = "".join(f"<p>{text(note)}</p>" for note in said)
    return (
        f'<section class="below" aria-label="Notes"><h2>Notes of the reader</h2>{items}</section>'
    )
