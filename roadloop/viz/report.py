"""One drive as one HTML file: replay, plots and score, opened from disk without a network.

The page is ``report/report.html`` with its style sheet and scripts put in place, and one block of
data: every array quantised (cm, 0.1 mrad), differenced along its first axis, joined, compressed
with zlib and written in base64. ``report/data.js`` undoes it. The same drive gives the same bytes.
"""

from __future__ import annotations

import base64
import html
import json
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.files import replaced
from roadloop.maps.road_map import RoadMap
from roadloop.scoring.result import typeset
from roadloop.types import AgentKind, LightState, Rollout
from roadloop.viz import palette
from roadloop.viz.drive import braking, check_drive, top_speed
from roadloop.viz.ground import Ground, Paint, ground_of
from roadloop.viz.seen_page import pack_seen, seen_html, seen_plots
from roadloop.viz.template import asset, fill, style
from roadloop.viz.why_page import pack_plans, shown, why_html

if TYPE_CHECKING:
    from roadloop.logs.plans import PlanLog
    from roadloop.scoring.result import Score
    from roadloop.viz.film import Film
    from roadloop.viz.seen import Seen

Array = np.ndarray

MARGIN = 150.0
"""m of map kept around where the ego was"""
PLAN_POINTS = 40
"""points of a plan that are kept, evenly thinned"""
FILM_FRAMES, FILM_BYTES, FILM_WIDTH = 60, 2_200_000, 900
"""of the cameras' pictures: how many at most, B of them all (a third more as text), px"""
SCRIPTS = (
    "data.js",
    "ground.js",
    "actors.js",
    "camera.js",
    "film.js",
    "seen.js",
    "plots.js",
    "why.js",
    "player.js",
    "report.js",
)
"""in the order they are put into the page"""


@dataclass(frozen=True)
class About:
    """What the page of a recorded drive says in place of scenario and score."""

    head: tuple[tuple[str, str], ...] = ()
    """(label, value) at the head of the page"""
    aside: str = ""
    """HTML beside the replay, where the score is otherwise"""
    below: str = ""
    """HTML below the curves"""
    ahead: str = "plan"
    """what the line before the ego is called"""


def write_report(
    path: str | Path,
    rollout: Rollout,
    road_map: RoadMap,
    score: Score | None,
    *,
    title: str | None = None,
    extra: dict[str, str] | None = None,
    film: Film | None = None,
    seen: Seen | None = None,
    plans: PlanLog | None = None,
    about: About | None = None,
) -> Path:
    """Write the drive as one HTML file and return its path.

    ``score`` may be None (a drive that was not scored). ``title`` heads the page, by default the
    scenario's name. ``extra`` holds further facts for the head of the page, label to value.
    A ``film`` is shown above the replay, in up to FILM_FRAMES pictures that follow its clock.
    ``seen`` shows what the driver saw beside what was there (``roadloop.viz.seen_page``).
    ``plans`` tells why each plan was chosen, and what the guard did (``roadloop.viz.why_page``).
    ``about`` is for drives that no scenario describes.
    Raises RoadloopError where the rollout is empty or does not belong to the map.
    """
    check_drive(rollout, road_map, score)
    packed = _Packed()
    ground = ground_of(road_map, seen_box(rollout))
    origin = np.array([math.floor(ground.box[0]), math.floor(ground.box[1])], np.float64)
    _pack_ground(packed, ground, origin)
    _pack_drive(packed, rollout, origin, ground)
    plots = _pack_plots(packed, rollout, score, seen)
    meta = {
        "facts": facts(rollout, score, extra) if about is None else about.head,
        "dt": rollout.dt,
        "start": float(rollout.time[0]),
        "steps": len(rollout.time),
        "origin": origin.tolist(),
        "vehicle": {
            "length": rollout.ego.vehicle.length,
            "width": rollout.ego.vehicle.width,
            "offset": rollout.ego.vehicle.centre_offset,
        },
        "terms": _terms(score),
        "plots": plots,
        "film": None if film is None else _film(film),
        "seen": None if seen is None else pack_seen(packed, seen, rollout, origin),
        "why": pack_plans(packed, plans, rollout, origin) if plans and shown(plans) else None,
        "topSpeed": top_speed(rollout),
        "paints": [paint.name for paint in Paint],
        "kinds": [kind.name.lower() for kind in AgentKind],
        "palette": {
            "dark": palette.DARK,
            "light": palette.LIGHT,
            "agent": [palette.AGENT[kind] for kind in AgentKind],
            "lamp": [palette.LAMP[state] for state in LightState],
            "plan": palette.PLAN,
        },
        "arrays": packed.index,
    }
    sections = (*seen_html(seen), why_html(plans))
    page = _page(title or rollout.scenario, meta, packed, about or About(), sections)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as hidden:
            hidden.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise RoadloopError(f"cannot write the report to {path}: {error.strerror}") from error
    return path


def seen_box(rollout: Rollout) -> tuple[float, float, float, float]:
    """x min, y min, x max, y max (m) of where the ego was, and MARGIN around it."""
    x, y = rollout.ego.x, rollout.ego.y
    return (
        float(x.min()) - MARGIN,
        float(y.min()) - MARGIN,
        float(x.max()) + MARGIN,
        float(y.max()) + MARGIN,
    )


def facts(
    rollout: Rollout, score: Score | None, extra: dict[str, str] | None = None
) -> list[tuple[str, str]]:
    """What one must know to repeat the drive, as (label, value)."""
    duration = (len(rollout.time) - 1) * rollout.dt
    rows = [
        ("Scenario", rollout.scenario),
        ("Family", rollout.family),
        ("Seed", str(rollout.seed)),
        ("Driver", rollout.driver),
        ("Map", f"{rollout.map_name} · {rollout.map_hash[:10]}"),
        ("Step", f"{rollout.dt:g} s"),
        ("Duration", f"{duration:.1f} s" + ("" if rollout.finished else " (interrupted)")),
    ]
    if score is not None:
        rows.append(("Score version", score.version))
    return rows + [(str(key), str(value)) for key, value in (extra or {}).items()]


class _Packed:
    """Arrays joined into one block of bytes, and where each lies in it."""

    def __init__(self) -> None:
        self.index: dict[str, dict[str, Any]] = {}
        self._parts: list[bytes] = []
        self._size = 0

    def put(self, name: str, values: Array, kind: str, unit: float = 1.0) -> None:
        """Store ``values`` in steps of ``unit``; ``kind`` is Uint8, Int16, Int32 or Float32.

        Integers are stored as differences along the first axis, wrapping around as the reader's
        running sum does; floats as they are.
        """
        columns = int(np.prod(values.shape[1:], dtype=int))
        if kind == "Float32":
            stored = values.astype("<f4")
        else:
            whole = np.rint(values / unit).astype(np.int64)
            steps = np.diff(whole, axis=0, prepend=np.zeros_like(whole[:1]))
            stored = steps.astype({"Uint8": "<u1", "Int16": "<i2", "Int32": "<i4"}[kind])
        data = stored.tobytes()
        data += bytes(-len(data) % 4)
        self.index[name] = {
            "kind": kind,
            "at": self._size,
            "length": int(values.size),
            "columns": columns,
            "unit": unit,
        }
        self._parts.append(data)
        self._size += len(data)

    def base64(self) -> str:
        return base64.b64encode(zlib.compress(b"".join(self._parts), 9)).decode("ascii")


def _pack_ground(packed: _Packed, ground: Ground, origin: Array) -> None:
    packed.put("shapeStart", ground.start, "Int32")
    packed.put("shapeXY", ground.xy - origin, "Int32", 0.01)
    packed.put("shapePaint", ground.paint, "Uint8")
    packed.put("shapeLayer", ground.layer, "Int16")
    packed.put("shapeWidth", ground.width, "Int16", 0.01)
    packed.put("bar", ground.bar.reshape(-1, 2, 2) - origin, "Int32", 0.01)
    packed.put("lamp", ground.lamp - origin, "Int32", 0.01)


def _pack_drive(packed: _Packed, rollout: Rollout, origin: Array, ground: Ground) -> None:
    ego = rollout.ego
    packed.put("egoXY", np.stack([ego.x, ego.y], axis=1) - origin, "Int32", 0.01)
    packed.put("egoHeading", ego.heading, "Int16", 1e-4)
    packed.put("egoSpeed", ego.speed, "Int16", 0.01)
    packed.put("egoAcceleration", ego.acceleration, "Int16", 0.01)

    columns, ids, valid = tracks_of(rollout, ground.box)
    agents = rollout.agents
    last = len(rollout.time) - 1 - np.argmax(valid[::-1], axis=0)
    packed.put("agentId", ids, "Int32")
    packed.put("agentKind", agents.kind[last, columns], "Uint8")
    size = np.stack([agents.length[last, columns], agents.width[last, columns]], axis=1)
    packed.put("agentSize", size, "Int16", 0.01)
    packed.put("agentValid", valid, "Uint8")

    def shown(values: Array) -> Array:
        return np.where(valid, values[:, columns], 0.0)

    packed.put("agentX", shown(agents.x - origin[0]), "Int32", 0.01)
    packed.put("agentY", shown(agents.y - origin[1]), "Int32", 0.01)
    packed.put("agentHeading", shown(agents.heading), "Int16", 1e-4)
    packed.put("agentSpeed", shown(agents.speed), "Int16", 0.01)
    packed.put("agentBraking", braking(rollout)[:, columns], "Uint8")

    packed.put("barLight", rollout.lights[:, ground.bar_signal], "Uint8")
    packed.put("lampLight", rollout.lights[:, ground.lamp_signal], "Uint8")

    plan = rollout.plan
    kept = np.unique(np.linspace(0, plan.shape[1] - 1, PLAN_POINTS).round().astype(int))
    plan = plan[:, kept if plan.shape[1] else slice(0)]
    known = np.asarray(np.isfinite(plan).all(axis=-1))
    packed.put("planValid", known, "Uint8")
    packed.put("planXY", np.where(known[..., None], plan[..., :2] - origin, 0), "Int32", 0.01)
    packed.put("planSpeed", np.where(known, plan[..., 2], 0), "Int16", 0.01)


def tracks_of(
    rollout: Rollout, box: tuple[float, float, float, float]
) -> tuple[Array, Array, Array]:
    """The agents ever seen in the box: column ``(n,)``, id ``(n,)``, seen ``(time, n)`` bool.

    A column whose id changes (a slot used again) counts as several agents.
    """
    agents = rollout.agents
    inside = (
        (agents.x >= box[0]) & (agents.x <= box[2]) & (agents.y >= box[1]) & (agents.y <= box[3])
    )
    seen = agents.valid & inside
    columns, ids = [], []
    for column in np.flatnonzero(seen.any(axis=0)):
        for agent in np.unique(agents.id[seen[:, column], column]):
            columns.append(column)
            ids.append(agent)
    at = np.array(columns, int)
    names = np.array(ids, np.int64)
    return at, names, seen[:, at] & (agents.id[:, at] == names)


def _pack_plots(
    packed: _Packed, rollout: Rollout, score: Score | None, seen: Seen | None
) -> list[dict[str, Any]]:
    """The curves below the replay; a gap (None in the plot) where a value is not finite."""
    series = {} if score is None else score.series

    def curve(name: str, values: Array, label: str) -> dict[str, str]:
        packed.put(name, np.where(np.isfinite(values), values, np.nan), "Float32")
        return {"array": name, "label": label}

    speed = [curve("plotSpeed", rollout.ego.speed * 3.6, "driven")]
    if "speed_limit" in series:
        speed.append(curve("plotLimit", series["speed_limit"] * 3.6, "limit"))
    lon = series.get("acceleration_lon", rollout.ego.acceleration)
    acceleration = [curve("plotLon", lon, "along")]
    if "acceleration_lat" in series:
        acceleration.append(curve("plotLat", series["acceleration_lat"], "sideways"))
    steering = [curve("plotSteering", np.degrees(rollout.ego.steering), "front wheels")]
    plots = [
        {"title": "Speed", "unit": "km/h", "least": 0, "curves": speed},
        {"title": "Acceleration", "unit": "m/s²", "span": 4, "curves": acceleration},
        {"title": "Steering", "unit": "°", "span": 10, "curves": steering},
    ]
    if "ttc" in series:
        # beyond 8 s nobody brakes for it; the curve leaves the plot there
        ttc = [curve("plotTtc", np.where(series["ttc"] <= 8, series["ttc"], np.nan), "ahead")]
        plots.append({"title": "Time to collision", "unit": "s", "range": [0, 8], "curves": ttc})
    return plots if seen is None else plots + seen_plots(seen, rollout, curve)


def _terms(score: Score | None) -> list[dict[str, Any]]:
    rows = []
    for term in () if score is None else score.terms:
        value = None if term.value is None or not math.isfinite(term.value) else float(term.value)
        rows.append(
            {
                "title": term.title,
                "name": term.name,
                "value": value,
                "unit": typeset(term.unit),
                "passed": None if term.passed is None else bool(term.passed),
                "lostAt": None if term.lost_at is None else float(term.lost_at),
                "detail": typeset(term.detail),
            }
        )
    return rows


def _film(film: Film) -> dict[str, Any]:
    """Pictures for ``report/film.js``."""
    strip = film.strip(FILM_FRAMES, FILM_BYTES, FILM_WIDTH)
    return {
        "rig": film.rig.name,
        "steps": strip.steps,
        "width": strip.width,
        "height": strip.height,
        "pictures": [base64.b64encode(data).decode("ascii") for data in strip.pictures],
    }


def _page(
    title: str,
    meta: dict[str, Any],
    packed: _Packed,
    about: About,
    sections: tuple[str, str, str],
) -> str:
    """The template with everything in place.

    ``sections`` is the HTML of what was seen, of the lists to that, and of why it was so planned.
    """
    script = "\n".join(asset(f"report/{name}") for name in SCRIPTS)
    # "</script" or "<!--" inside a script block would end it there, or not where it should
    data = json.dumps(meta, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    seen, lists, why = sections
    pieces = {
        "title": html.escape(title),
        "aside": about.aside,
        "seen": seen,
        "lists": lists,
        "why": why,
        "below": about.below,
        "ahead": html.escape(about.ahead),
        "style": style("report/report.css"),
        "meta": data.replace("<", "\\u003c"),
        "arrays": packed.base64(),
        "script": f'(() => {{\n"use strict";\n{script}\n}})();',
    }
    return fill(asset("report/report.html"), pieces)
