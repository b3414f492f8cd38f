"""The part of a report that shows what the driver saw: its data, and the HTML it is drawn into.

Of a minute at most `BYTES` of pictures are kept, the others are left out evenly. The boxes lie over
the pictures as lines, which ``report/seen.js`` draws: they stay sharp, and can be switched off.
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from roadloop.types import Rollout
from roadloop.viz.raster_picture import COLOURS, raster_picture
from roadloop.viz.seen import Seen, SeenEvent, summary_line
from roadloop.viz.seen_marks import class_colour, laid_out, picture_boxes, picture_lamps
from roadloop.viz.template import asset, fill

Array = np.ndarray

BYTES = 8_000_000
"""B of all pictures of a report at most; a third more as text"""
LAMPS = ("off", "red", "yellow", "green")
FINE = 0.25
"""px, steps of the lines in pictures"""
MOST_EVENTS = 400
"""listed at most, the longest"""


class Packing(Protocol):
    """Where arrays of a page go, ``roadloop.viz.report``."""

    def put(self, name: str, values: Array, kind: str, unit: float = 1.0) -> None: ...


def pack_seen(packed: Packing, seen: Seen, rollout: Rollout, origin: Array) -> dict[str, Any]:
    """Put the arrays of what was seen into a page's block; the rest of it, for JSON."""
    log = seen.log
    frames = _frames(seen)
    rows, narrow = laid_out(log.cameras)
    packed.put("seenMoment", seen.of_step(rollout), "Int32")
    _pack_frames(packed, seen, frames)
    _pack_above(packed, seen, origin, frames)
    return {
        "cameras": [
            {"name": c.name, "width": c.lens.width, "height": c.lens.height} for c in log.cameras
        ],
        "rows": rows,
        "narrow": narrow,
        "pictures": [
            [base64.b64encode(data).decode("ascii") if data else "" for data in frame.pictures]
            for frame in frames
        ],
        "rasters": [base64.b64encode(frame.raster).decode("ascii") for frame in frames],
        "grid": {
            "xMin": log.grid.x_min,
            "yMin": log.grid.y_min,
            "xMax": log.grid.x_max,
            "yMax": log.grid.y_max,
        },
        "moments": log.moments,
        "times": [round(float(t), 3) for t in log.tables["moments"]["time"]],
        "classes": list(log.classes),
        "colours": [class_colour(name) for name in log.classes],
        "layers": [
            [name.replace("_", " "), "#{:02x}{:02x}{:02x}".format(*COLOURS[name])]
            for name in log.layers
            if name in COLOURS
        ],
        "lamps": list(LAMPS),
        "fine": FINE,
    }


def seen_plots(seen: Seen, rollout: Rollout, curve: Callable[..., dict]) -> list[dict[str, Any]]:
    """Curves below the replay; ``curve(name, values, label)`` packs one."""

    def over(name: str, values: Array, label: str) -> dict[str, str]:
        return curve(name, seen.over_time(np.asarray(values, float), rollout), label)

    plots = [
        {
            "title": "Road users in reach",
            "unit": "",
            "least": 0,
            "digits": 0,
            "curves": [
                over("seenVisible", seen.visible, "visible"),
                over("seenFound", seen.found, "found"),
            ],
        },
        {
            "title": "Missed, and false alarms",
            "unit": "",
            "least": 0,
            "digits": 0,
            "curves": [
                over("seenMissed", seen.missed, "missed"),
                over("seenFalse", seen.false_alarms, "false alarms"),
            ],
        },
        {
            "title": "Position error of tracks",
            "unit": "m",
            "least": 0,
            "curves": [over("seenPosition", seen.position_error, "mean of those found")],
        },
        {
            "title": "Velocity error of tracks",
            "unit": "m/s",
            "least": 0,
            "curves": [over("seenVelocity", seen.velocity_error, "mean of those found")],
        },
    ]
    if len(seen.log.tables["times"]["ms"]):
        whole = list(seen.log.budget_ms)[-1]  # the whole step comes last
        budget = np.full(len(rollout.time), seen.log.budget_ms[whole])
        plots.append(
            {
                "title": "Time a step of the driver takes",
                "unit": "ms",
                "least": 0,
                "digits": 0,
                "curves": [
                    curve("seenStep", seen.stage_ms(rollout)[whole], "taken"),
                    curve("seenBudget", budget, "budget"),
                ],
            }
        )
    return plots


def seen_html(seen: Seen | None) -> tuple[str, str]:
    """The HTML above the curves of a report and that below; empty where nothing was seen."""
    if seen is None:
        return "", ""
    log = seen.log
    pieces = {
        "head": html.escape(f"What the driver saw: {log.detector}"),
        "summary": html.escape(summary_line(seen)),
    }
    return fill(asset("report/seen.html"), pieces), _lists(seen)


# --- pictures -----------------------------------------------------------------------------------


class _Frame:
    """A moment whose pictures are shown."""

    def __init__(self, moment: int, pictures: Sequence[bytes], raster: bytes, seen_from: int):
        self.moment, self.pictures, self.raster = moment, tuple(pictures), raster
        self.raster_moment = seen_from

    @property
    def size(self) -> int:
        return sum(map(len, self.pictures)) + len(self.raster)


def _frames(seen: Seen) -> list[_Frame]:
    """Moments with pictures or a raster, of `BYTES` together at most."""
    log = seen.log
    pictures, rasters = log.tables["pictures"], log.tables["rasters"]
    shown = np.unique(pictures["moment"]) if len(pictures["moment"]) else rasters["moment"]
    stride = 1
    if total := sum(map(len, pictures["jpeg"])):
        stride = math.ceil(total / BYTES)
    drawn: dict[int, bytes] = {}
    frames = []
    for moment in np.asarray(shown)[::stride].tolist():
        row = int(np.searchsorted(rasters["moment"], moment, side="right")) - 1
        if row < 0:
            continue
        if row not in drawn:
            drawn[row] = _raster_png(seen, row)
        here = [b""] * len(log.cameras)
        for k in np.flatnonzero(np.asarray(pictures["moment"]) == moment).tolist():
            here[int(pictures["camera"][k])] = pictures["jpeg"][k]
        frames.append(_Frame(moment, here, drawn[row], int(rasters["moment"][row])))
    return frames


def _raster_png(seen: Seen, row: int) -> bytes:
    import cv2

    log = seen.log
    layers = {
        name: values.astype(np.float32) / 255.0
        for name, values in zip(log.layers, log.raster(row))
        if name in COLOURS
    }
    picture = raster_picture(layers, scale=1)
    _, data = cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return data.tobytes()


def _pack_frames(packed: Packing, seen: Seen, frames: list[_Frame]) -> None:
    """Lines and lamps of every picture, picture by picture: frame 0's cameras, frame 1's ..."""
    role, label, score, count = [], [], [], []
    starts, lamp_starts = [0], [0]
    lines: list[Array] = [np.zeros((0, 2, 2))]
    lamps: list[tuple[float, ...]] = []
    lamp_state, lamp_score = [], []
    for frame in frames:
        for camera in range(len(seen.log.cameras)):
            if frame.pictures[camera]:
                for box in picture_boxes(seen, frame.moment, camera):
                    role.append(int(box.role))
                    label.append(box.label)
                    score.append(round(100.0 * box.score))
                    count.append(len(box.lines))
                    lines.append(box.lines)
                for lamp in picture_lamps(seen, frame.moment, camera):
                    lamps.append(lamp.box)
                    lamp_state.append(LAMPS.index(lamp.state))
                    lamp_score.append(round(100.0 * lamp.score))
            starts.append(len(role))
            lamp_starts.append(len(lamps))
    packed.put("seenFrame", np.array([f.moment for f in frames], int), "Int32")
    packed.put("seenRaster", np.array([f.raster_moment for f in frames], int), "Int32")
    packed.put("seenBoxStart", np.array(starts), "Int32")
    packed.put("seenBoxRole", np.array(role, int), "Uint8")
    packed.put("seenBoxLabel", np.array(label, int), "Uint8")
    packed.put("seenBoxScore", np.array(score, int), "Uint8")
    packed.put("seenBoxLines", np.cumsum([0, *count]), "Int32")
    packed.put("seenLines", np.concatenate(lines).reshape(-1, 4), "Int16", FINE)
    packed.put("seenLampStart", np.array(lamp_starts), "Int32")
    packed.put("seenLampBox", np.array(lamps, float).reshape(-1, 4), "Int16", FINE)
    packed.put("seenLampState", np.array(lamp_state, int), "Uint8")
    packed.put("seenLampScore", np.array(lamp_score, int), "Uint8")


def _pack_above(packed: Packing, seen: Seen, origin: Array, frames: list[_Frame]) -> None:
    """Road users and tracks of every moment, from above."""
    poses = seen.log.tables["moments"]["world_from_ego"]
    xy = poses[:, :2, 3] - origin
    packed.put("seenPose", xy, "Int32", 0.01)
    heading = np.arctan2(poses[:, 1, 0], poses[:, 0, 0])
    packed.put("seenHeading", heading, "Int16", 1e-4)
    for name, table, extra in (
        ("seenTruth", seen.truth, seen.truth["state"]),
        ("seenTrack", seen.log.tables["tracks"], seen.told),
    ):
        start = np.searchsorted(table["moment"], np.arange(len(poses) + 1))
        packed.put(f"{name}Start", start, "Int32")
        places = np.stack([table["x"], table["y"]], axis=-1).reshape(-1, 2) - origin
        packed.put(f"{name}XY", places, "Int32", 0.01)
        packed.put(f"{name}Heading", np.asarray(table["heading"]), "Int16", 1e-4)
        size = np.stack([table["length"], table["width"]], axis=-1).reshape(-1, 2)
        packed.put(f"{name}Size", np.clip(size, 0.0, 300.0), "Int16", 0.01)
        packed.put(f"{name}Kind", np.asarray(table["kind"]), "Uint8")
        packed.put(f"{name}Label", np.asarray(table["label"]), "Uint8")
        packed.put(f"{name}State", np.asarray(extra), "Uint8")
        speed = np.stack([table["vx"], table["vy"]], axis=-1).reshape(-1, 2)
        packed.put(f"{name}Speed", np.clip(speed, -300.0, 300.0), "Int16", 0.01)


# --- lists --------------------------------------------------------------------------------------


def _lists(seen: Seen) -> str:
    return (
        '<section class="below seen-lists" aria-label="What was missed and made up">'
        + _events(seen)
        + "</section>"
        + '<section class="below seen-numbers" aria-label="What was seen, in numbers">'
        + _numbers(seen)
        + _stages(seen)
        + _faults(seen)
        + "</section>"
    )


def _events(seen: Seen) -> str:
    events = seen.events
    if len(events) > MOST_EVENTS:
        longest = sorted(events, key=lambda e: e.start - e.end)[:MOST_EVENTS]
        events = tuple(sorted(longest, key=lambda e: (e.start, e.kind, e.name)))
    kinds = [
        kind for kind in ("missed", "false alarm", "light") if any(e.kind == kind for e in events)
    ]
    title = "<h2>Missed, made up and told wrong for more than 0.5 s</h2>"
    if not events:
        return title + "<p>Nothing.</p>"
    counted = {kind: sum(e.kind == kind for e in seen.events) for kind in kinds}
    choice = "".join(
        f'<label><input type="checkbox" data-seen-kind="{kind}" checked autocomplete="off"> '
        f"{_KINDS[kind]} ({counted[kind]})</label>"
        for kind in kinds
    )
    left_out = len(seen.events) - len(events)
    note = f"<p>{left_out} shorter ones are left out.</p>" if left_out else ""
    body = "".join(_event_row(event) for event in events)
    return (
        f'{title}<div class="seen-choice">{choice}</div>{note}<div class="seen-scroll">'
        '<table id="seen-events"><thead><tr><th scope="col">Time</th><th scope="col">What</th>'
        '<th scope="col">Class</th><th scope="col" class="value">Lasted</th>'
        '<th scope="col" class="value">Nearest</th><th scope="col">Where</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


_KINDS = {"missed": "missed", "false alarm": "false alarms", "light": "traffic lights"}


def _event_row(event: SeenEvent) -> str:
    where = near = "–"
    if not math.isnan(event.ahead):
        side = "left" if event.left >= 0.0 else "right"
        along = "ahead" if event.ahead >= 0.0 else "behind"
        where = f"{abs(event.ahead):.0f} m {along}, {abs(event.left):.0f} m {side}"
        near = f"{event.distance:.1f} m"
    who = "signal" if event.kind == "light" else "track" if event.kind == "false alarm" else "no."
    mood = {"missed": "lost", "false alarm": "doubt", "light": "lost"}[event.kind]
    return (
        f'<tr data-kind="{event.kind}"><td><button type="button" class="chip {mood}" '
        f'data-seen-time="{event.start:.3f}" aria-label="Show {event.start:.1f} seconds">'
        f"{event.start:.1f} s</button></td>"
        f"<td>{html.escape(event.kind)}</td><td>{html.escape(event.what)} "
        f"<small>{who} {event.name}</small></td>"
        f'<td class="value">{event.end - event.start:.1f} s</td><td class="value">{near}</td>'
        f"<td>{where}</td></tr>"
    )


def _numbers(seen: Seen) -> str:
    s = seen.summary

    def share(part: int, whole: int) -> str:
        return f"{part / whole:.0%} ({part} of {whole})" if whole else "–"

    def error(value: float, unit: str) -> str:
        return "–" if math.isnan(value) else f"{value:.2f} {unit}"

    sure, wrong = s.detections
    rows = [
        ("Visible road users found, moment by moment", share(s.found, s.visible)),
        *((f"… {low:g} to {high:g} m away", share(f, v)) for low, high, v, f in s.bands if v),
        ("Of those found, taken for another class", share(s.other_class, s.found)),
        ("False alarms at a time", f"{s.false_alarms / s.moments:.2f}" if s.moments else "–"),
        ("Position error, root mean square", error(s.position_error, "m")),
        ("Velocity error, root mean square", error(s.velocity_error, "m/s")),
        ("Sure detections near nobody", share(wrong, sure)),
    ]
    body = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th>'
        f'<td class="value">{html.escape(value)}</td></tr>'
        for name, value in rows
    )
    pixels = seen.log.visible_pixels
    return (
        f"<div><h2>Numbers</h2><table><tbody>{body}</tbody></table>"
        "<p>Tracks against the simulator, within the grid; right within 2 m of the centre. "
        f"Visible: shown by {pixels} pixels or more.</p></div>"
    )


def _stages(seen: Seen) -> str:
    times = seen.log.tables["times"]
    if not len(times["ms"]):
        return ""
    body = []
    for k, (stage, budget) in enumerate(seen.log.budget_ms.items()):
        taken = np.asarray(times["ms"], float)[times["stage"] == k]
        if not len(taken):
            continue
        median, late = np.percentile(taken, [50.0, 95.0])
        over = ' class="value over"' if late > budget else ' class="value"'
        name = "whole step" if stage == "all" else stage
        body.append(
            f'<tr><th scope="row">{html.escape(name)}</th><td class="value">{median:.1f}</td>'
            f'<td{over}>{late:.1f}</td><td class="value">{budget:g}</td></tr>'
        )
    return (
        "<div><h2>Time per step, ms</h2><table><thead><tr><th></th>"
        '<th scope="col" class="value">Median</th><th scope="col" class="value">95 %</th>'
        '<th scope="col" class="value">Budget</th></tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _faults(seen: Seen) -> str:
    rows = []
    for time, lines in seen.log.faults:
        said = html.escape("; ".join(lines)) if lines else "mended"
        rows.append(
            f'<tr><td><button type="button" class="chip {"lost" if lines else "kept"}" '
            f'data-seen-time="{time:.3f}" aria-label="Show {time:.1f} seconds">'
            f"{time:.1f} s</button>"
            f'</td><td class="wraps">{said}</td></tr>'
        )
    body = f"<table><tbody>{''.join(rows)}</tbody></table>" if rows else "<p>None.</p>"
    return f"<div><h2>Sensor faults</h2>{body}</div>"
