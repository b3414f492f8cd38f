"""What test protocols ask of a drive: was the crash avoided, or else how fast was it?

Applies to the scenario families of those protocols alone. Euro NCAP's tests of emergency braking
give points for a lower impact speed; UN R157's conflicts are avoided or they are not.
"""

from __future__ import annotations

import numpy as np

from roadloop.geometry import box_corners, boxes_overlap
from roadloop.scoring.collision import SUBSTEPS, Contact, ContactKind
from roadloop.scoring.driven import Driven
from roadloop.scoring.result import Score, Term

MITIGATION = ("ccrs", "ccrm", "ccrb", "cpna", "cpfa", "cpnco", "cpla", "cbna", "cbla")
"""Euro NCAP's tests in which a slower impact has points"""
AVOIDANCE = ("ccftap",)
"""Euro NCAP's test in which it has none"""
EURO_NCAP = (*MITIGATION, *AVOIDANCE)
R157 = ("alks_cut_in", "alks_cut_out", "alks_deceleration")
PROTOCOL_SCORES = ("euro-ncap", "r157")
"""names of the scores made here"""

EURO_NCAP_VERSION = "Crash Avoidance - Frontal Collisions 1.2 (2026): colours of section 5.2"
R157_VERSION = "any contact"

_KMH = 3.6
_POINTS = (("yellow", 0.75), ("orange", 0.5), ("brown", 0.25))
"""colours of an impact and what they are worth; green is 1, red 0"""
_BAND = 10.0
"""km/h of impact speed per colour"""


def euro_ncap_points(test_speed: float, impact_speed: float | None) -> tuple[str, float]:
    """Colour and points of a test at ``test_speed`` m/s with an impact at ``impact_speed`` m/s.

    The impact speed is relative, along the car's heading; None: there was none, which is green. Up
    to 20 km/h every impact is red; at 30 km/h one below 10 km/h is brown; at 40 km/h one below 10
    is orange, below 20 brown; from 50 km/h on one below 10 is yellow, below 20 orange, below 30
    brown. Source: Euro NCAP's own calculator (github.com/Euro-NCAP/euroncap_rating_2026, 5.4.9).
    Speeds between those of the tests have the colours of the next lower one.
    """
    if impact_speed is None:
        return "green", 1.0
    first = 5 - int(min(max(round(test_speed * _KMH, 1) // 10.0, 2.0), 5.0))  # best colour there is
    band = first + int(max(impact_speed, 0.0) * _KMH // _BAND)
    return _POINTS[band] if band < len(_POINTS) else ("red", 0.0)


def euro_ncap_score(driven: Driven) -> Score | None:
    """Points in [0, 1] of one test, with avoidance and impact speed; None for other scenarios.

    A contact while the car stands is no impact where the target crosses or drives ahead: the test
    is over then.
    """
    rollout = driven.rollout
    if rollout.family not in EURO_NCAP:
        return None
    hits = driven.hits
    if rollout.family in MITIGATION:
        hits = tuple(hit for hit in hits if hit.kind is not ContactKind.EGO_STOPPED)
    impact = impact_speed(driven, hits[0]) if hits else None
    test_speed = float(rollout.ego.speed[0])
    colour, points = euro_ncap_points(test_speed, impact)
    if rollout.family in AVOIDANCE and hits:
        colour, points = "red", 0.0
    return Score(
        name="euro-ncap",
        title="Euro NCAP, points",
        version=EURO_NCAP_VERSION,
        value=points,
        unit="",
        terms=_terms(driven, hits, impact, f", {colour}"),
    )


def r157_score(driven: Driven) -> Score | None:
    """Whether a conflict of UN R157 was driven without contact; None for other scenarios."""
    if driven.rollout.family not in R157:
        return None
    impact = impact_speed(driven, driven.hits[0]) if driven.hits else None
    return Score(
        name="r157",
        title="UN R157",
        version=R157_VERSION,
        value=None,
        unit="",
        terms=_terms(driven, driven.hits, impact, ""),
    )


def _terms(
    driven: Driven, hits: tuple[Contact, ...], impact: float | None, colour: str
) -> tuple[Term, ...]:
    lost_at = float(driven.rollout.time[hits[0].step]) if hits else None
    detail = "no impact"
    if impact is not None:
        whom = hits[0].agent_kind.name.lower()
        detail = f"hit {whom} {hits[0].agent} at {impact * _KMH:.0f} km/h{colour}"
    speed = 0.0 if impact is None else impact
    avoided = impact is None
    return (
        Term("avoided", "Avoided", float(avoided), "", avoided, lost_at, detail, True),
        Term("impact_speed", "Impact speed", speed, "m/s", None, lost_at, detail, False),
    )


def impact_speed(driven: Driven, hit: Contact) -> float:
    """m/s of the ego against the road user along its heading when their boxes first touch.

    Between two steps both move evenly and change speed evenly. Never below 0.
    """
    ego, agents = driven.rollout.ego, driven.rollout.agents
    rows = np.array([max(hit.step - 1, 0), hit.step])
    columns = np.array([int(np.flatnonzero(agents.id[row] == hit.agent)[0]) for row in rows])
    share = np.ones(1)
    if agents.valid[rows, columns].all():
        share = np.arange(1, SUBSTEPS + 1) / SUBSTEPS

    def between(values: np.ndarray) -> np.ndarray:
        return (1.0 - share) * values[0] + share * values[1]

    def theirs(name: str) -> np.ndarray:
        return between(getattr(agents, name)[rows, columns])

    x, y = ego.box_centre()
    heading = between(np.unwrap(ego.heading[rows]))
    size = ego.vehicle.length, ego.vehicle.width
    mine = box_corners(between(x[rows]), between(y[rows]), heading, *size)
    course = between(np.unwrap(agents.heading[rows, columns]))
    box = theirs("x"), theirs("y"), course, theirs("length"), theirs("width")
    first = int(np.argmax(boxes_overlap(mine, box_corners(*box))))
    along = theirs("vx") * np.cos(heading) + theirs("vy") * np.sin(heading)
    return max(float((between(ego.speed[rows]) - along)[first]), 0.0)
