"""RSS over a whole drive: when the ego was in a dangerous situation, and its least margins.

What is covered: road users that drive along the ego's route, or against it outside junctions, and
static obstacles on it. One of them and the ego are in a dangerous situation where the longitudinal
*and* the lateral distance between them are below the RSS distances. What crosses the route or comes
towards the ego inside a junction, where it may turn (there RSS needs the right of way), and
pedestrians (RSS judges them without lanes) are not judged; the term ``not_judged`` says how many
road users that were.

A dangerous situation counts as a violation where it is the ego's to resolve:

- the ego follows, or comes against the other: it does, whoever brought it about (a car that cuts in
  too close makes a violation that lasts until the ego has made room);
- the ego is ahead: the follower's, unless the ego came in from the side, moving towards the other
  more than the other towards it, when the longitudinal distance was unsafe already;
- the ego stands: RSS asks for nothing more than to brake to a standstill, so nothing is violated
  in a standing queue, though cars there stand nearer than the formula's 3.3 m (it expects the
  follower to pull away with 3.5 m/s^2 for a second). A queue that creeps is judged.

Whether the ego *answered* a dangerous situation properly (braking within its response time in the
direction that became unsafe last) is not judged. The ego reversing is not judged.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.scoring.collision import STOPPED
from roadloop.scoring.driven import Driven
from roadloop.scoring.result import Score, Term, first_time
from roadloop.scoring.route_frame import RouteFrame, route_frame
from roadloop.scoring.rss import (
    EGO,
    OTHERS,
    RssParameters,
    safe_distance_lateral,
    safe_distance_opposite,
    safe_distance_same,
)
from roadloop.types import AgentKind

Array = np.ndarray

VERSION = "1, ad-rss-lib 5.0 formulas"


@dataclasses.dataclass(frozen=True)
class RssMargins:
    """How far everybody was from the RSS distances; fields ``(time, agents)``."""

    judged: Array
    """bool"""
    longitudinal: Array
    """m of gap beyond the safe distance, inf where none is needed (once passed each other)"""
    lateral: Array
    """m of gap to the side beyond the safe distance, inf for who is not judged"""
    dangerous: Array
    """bool, both are negative"""
    violation: Array
    """bool, dangerous and the ego's to resolve"""
    frame: RouteFrame


def rss_margins(
    driven: Driven, parameters: RssParameters = EGO, others: RssParameters = OTHERS
) -> RssMargins:
    """Margins to everybody at every step; ``parameters`` are the ego's, ``others`` all others'.

    Static obstacles are taken not to move whatever ``others`` says. Raises RoadloopError for
    parameters that are no single numbers.
    """
    for values in (parameters, others):
        if any(np.ndim(v) for v in dataclasses.astuple(values)):
            raise RoadloopError(
                "rss: RssParameters hold arrays: a drive is judged with one number per parameter"
            )
    frame = route_frame(driven)
    kind = driven.rollout.agents.kind
    static = kind == AgentKind.STATIC
    along = (frame.direction > 0) | ((frame.direction < 0) & ~frame.in_junction) | static
    judged = frame.placed & along & (kind != AgentKind.PEDESTRIAN)
    longitudinal = np.full(judged.shape, np.inf)
    lateral = np.full(judged.shape, np.inf)
    for group, theirs in ((judged & ~static, others), (judged & static, _unmoving(others))):
        step, agent = np.nonzero(group)
        longitudinal[step, agent] = _longitudinal(driven, frame, step, agent, parameters, theirs)
        lateral[step, agent] = _lateral(frame, step, agent, parameters, theirs)
    dangerous = (longitudinal < 0.0) & (lateral < 0.0)
    standing = np.abs(driven.rollout.ego.speed) <= STOPPED
    backwards = driven.rollout.ego.speed < 0.0
    resolves = _faced(frame) | _pushed_in(frame, longitudinal, lateral, dangerous)
    violation = dangerous & resolves & ~(standing | backwards)[:, None]
    return RssMargins(judged, longitudinal, lateral, dangerous, violation, frame)


def rss_score(
    driven: Driven, parameters: RssParameters = EGO, others: RssParameters = OTHERS
) -> Score:
    """Share of the steps without a violation; violations and least margins as terms.

    Margins are those to the ones in front of or beside a moving ego, longitudinal where the lateral
    distance is unsafe and lateral where the longitudinal one is: the other distance is what keeps
    these apart, so a margin below 0 is a dangerous situation. The series hold the least margin of
    each step, NaN where there is none. Raises RoadloopError like `rss_margins`.
    """
    found = rss_margins(driven, parameters, others)
    rollout, frame = driven.rollout, found.frame
    concern = _faced(frame) | (frame.gap < 0.0) | found.violation
    concern &= found.judged & (rollout.ego.speed > STOPPED)[:, None]
    along = _least(found.longitudinal, concern & (found.lateral < 0.0))
    aside = _least(found.lateral, concern & (found.longitudinal < 0.0))
    violated = np.asarray(found.violation.any(axis=1))
    first = first_time(violated, rollout.time)
    clean = float(1.0 - violated.mean())
    return Score(
        name="rss",
        title="Responsibility-sensitive safety",
        version=_version(parameters, others),
        value=clean,
        unit="",
        terms=(
            _violation_time(driven, found, violated, first),
            _margin("longitudinal_margin", "Longitudinal RSS margin", along, rollout.time),
            _margin("lateral_margin", "Lateral RSS margin", aside, rollout.time),
            _violations(found, first),
            Term(
                "first_violation", "First RSS violation", first, "s", None, first,
                "none" if first is None else f"the first began at {first:.1f} s",
            ),
            _not_judged(found),
        ),
        series={"rss_longitudinal_margin": along, "rss_lateral_margin": aside},
    )  # fmt: skip


def _unmoving(others: RssParameters) -> RssParameters:
    return dataclasses.replace(others, acceleration=0.0, lateral_acceleration=0.0)


def _faced(frame: RouteFrame) -> Array:
    """(time, agents) bool: the ego is behind it, or it comes against the ego."""
    return (frame.ahead >= 0.0) | ((frame.direction < 0) & (frame.gap < 0.0))


def _longitudinal(
    driven: Driven,
    frame: RouteFrame,
    step: Array,
    agent: Array,
    ego: RssParameters,
    other: RssParameters,
) -> Array:
    """(pairs,) m; the ego is in its own lane while its centre is on a lane of its direction."""
    mine = np.maximum(frame.ego_speed_along[step], 0.0)
    theirs = frame.speed_along[step, agent]
    gap, ahead = frame.gap[step, agent], frame.ahead[step, agent]
    static = driven.rollout.agents.kind[step, agent] == AgentKind.STATIC
    against = (frame.direction[step, agent] < 0) & ~static
    with_ego = np.maximum(np.where(static, 0.0, theirs), 0.0)
    coming = np.maximum(-theirs, 0.0)
    behind = np.where(
        ahead >= 0.0,
        safe_distance_same(mine, with_ego, ego, other),
        np.where(static, -np.inf, safe_distance_same(with_ego, mine, other, ego)),
    )
    oncoming = np.where(
        _in_own_lane(driven)[step],
        safe_distance_opposite(mine, coming, ego, other),
        safe_distance_opposite(coming, mine, other, ego),
    )
    passed = (ahead < 0.0) & (gap >= 0.0)
    needed = np.where(against, np.where(passed, -np.inf, oncoming), behind)
    return gap - needed


def _in_own_lane(driven: Driven) -> Array:
    """(time,) bool: the ego's centre is within the lane of its direction that it follows."""
    lane = driven.location.lane
    known = np.maximum(lane, 0)
    width = driven.road_map.point_width[driven.road_map.point_start[known]]
    return (lane >= 0) & (np.abs(driven.location.lateral) <= width / 2.0)


def _lateral(
    frame: RouteFrame, step: Array, agent: Array, ego: RssParameters, other: RssParameters
) -> Array:
    """(pairs,) m; RSS counts lateral speed to the right, the frame to the left."""
    mine, theirs = -frame.ego_speed_left[step], -frame.speed_left[step, agent]
    needed = np.where(
        frame.left[step, agent] >= 0.0,  # the other is the left one
        safe_distance_lateral(theirs, mine, other, ego),
        safe_distance_lateral(mine, theirs, ego, other),
    )
    return frame.lateral_gap[step, agent] - needed


def _pushed_in(frame: RouteFrame, longitudinal: Array, lateral: Array, dangerous: Array) -> Array:
    """(time, agents) bool: dangerous since the ego came in from the side on who is near already."""
    before = np.zeros((1, dangerous.shape[1]), dtype=bool)
    began = dangerous & ~np.vstack([before, dangerous[:-1]])
    beside = np.vstack([before, ((longitudinal < 0.0) & (lateral >= 0.0))[:-1]])
    side = np.sign(frame.left)
    mine, theirs = frame.ego_speed_left[:, None] * side, -frame.speed_left * side
    pushed = beside & (mine > np.maximum(theirs, 0.0))
    return np.take_along_axis(pushed, np.maximum(_last(began), 0), axis=0)


def _last(began: Array) -> Array:
    """(time, agents) index of the latest step at which it was True, -1 before the first."""
    index = np.where(began, np.arange(len(began))[:, None], -1)
    return np.maximum.accumulate(index, axis=0)


def _least(margin: Array, counts: Array) -> Array:
    """(time,) least of ``(time, agents)``, NaN where nothing counts."""
    least = np.where(counts, margin, np.inf).min(axis=1, initial=np.inf)
    return np.where(np.isfinite(least), least, np.nan)


def _violation_time(
    driven: Driven, found: RssMargins, violated: Array, first: float | None
) -> Term:
    rollout = driven.rollout
    seconds = float(violated.sum() * rollout.dt)
    detail = "kept the RSS distances to everybody judged"
    if first is not None:
        step = int(np.argmax(violated))
        agent = int(np.argmax(found.violation[step]))
        kind = AgentKind(int(rollout.agents.kind[step, agent])).name.lower()
        detail = (
            f"{seconds:.1f} s in dangerous situations that were the ego's to resolve, the first "
            f"with {kind} {rollout.agents.id[step, agent]}"
        )
    title = "RSS violation time"
    return Term("violation_time", title, seconds, "s", first is None, first, detail, False)


def _margin(name: str, title: str, series: Array, time: Array) -> Term:
    if np.isnan(series).all():
        return Term(name, title, None, "m", None, None, "nobody was near enough to matter", True)
    at = int(np.nanargmin(series))
    least = float(series[at])
    word = "short of" if least < 0.0 else "beyond"
    detail = f"{abs(least):.1f} m {word} the safe distance at {time[at]:.1f} s"
    return Term(name, title, least, "m", None, None, detail, True)


def _violations(found: RssMargins, first: float | None) -> Term:
    """Dangerous situations with a violation in them, one per road user and situation."""
    before = np.zeros((1, found.dangerous.shape[1]), dtype=bool)
    began = _last(found.dangerous & ~np.vstack([before, found.dangerous[:-1]]))
    step, agent = np.nonzero(found.violation)
    count = len(set(zip(began[step, agent].tolist(), agent.tolist(), strict=True)))
    detail = f"in {count} dangerous situation{'' if count == 1 else 's'}"
    return Term("violations", "RSS violations", float(count), "", not count, first, detail, False)


def _not_judged(found: RssMargins) -> Term:
    """Road users across the ego's way that these rules have nothing to say on."""
    frame = found.frame
    crossing = frame.placed & ~found.judged & (frame.lateral_gap < 0.0) & (frame.ahead > 0.0)
    count = int(crossing.any(axis=0).sum())
    detail = f"{count} road users that crossed the route ahead, or walked on it, are not judged"
    title = "Not judged by RSS"
    return Term("not_judged", title, float(count), "", None, None, detail)


def _version(ego: RssParameters, others: RssParameters) -> str:
    """`VERSION` and every parameter that differs from ad-rss-lib's defaults."""
    said = [VERSION]
    for who, values, usual in (("ego", ego, EGO), ("others", others, OTHERS)):
        for f in dataclasses.fields(values):
            value = getattr(values, f.name)
            if value != getattr(usual, f.name):
                said.append(f"{who} {f.name} {value:g}")
    return ", ".join(said)
