"""The terms of NAVSIM's scores as functions over many simulated proposals at once.

Definitions: NAVSIM 2.2 (and 1.1 where said) ``pdm_planner/scoring`` (``pdm_scorer.py``,
``pdm_scorer_utils.py``, ``pdm_comfort_metrics.py``). P proposals, K steps of 0.1 s, N road users,
L lanes. "Inside" a polygon excludes its boundary; boxes that touch intersect.
"""

from __future__ import annotations

import numpy as np

from roadloop.geometry import wrap_angle
from roadloop.scoring.collision import AHEAD, BEHIND, CREEPING, STOPPED
from roadloop.scoring.navsim_motion import TTC_STEPS, Motion, box_gap, touches
from roadloop.scoring.navsim_scene import PdmScene, agent_polygons
from roadloop.scoring.pdm_tracker import State
from roadloop.types import AgentKind

Array = np.ndarray

_IN_LINE = 1e-7
"""rad, a bearing this near 0 or pi is taken as the reference takes it, rounding included"""
DDC_WINDOW = 11
"""steps over which metres against the traffic add up"""
DDC_HALF, DDC_NONE = 2.0, 6.0
"""m, from here driving-direction compliance is 0.5 and 0"""
PROGRESS_FLOOR = 5.0
"""m, up to here nobody is expected to get anywhere"""
LANE_KEEPING_DISTANCE = 0.5
"""m from the centreline"""
LANE_KEEPING_STEPS = 20


# --- multipliers --------------------------------------------------------------------------------


def no_at_fault_collisions(
    motion: Motion, *, present_speed: bool = False, true_bearing: bool = False
) -> tuple[Array, Array]:
    """NC in {0, 0.5, 1} and the step of the first contact at fault (inf: none), each (P,).

    Whose fault, in this order: not the ego's while it stands (``STOPPED``); the ego's against
    something that stands (a thing, or slow when first seen); not the ego's from more than
    ``BEHIND`` off its heading, seen from the rear axle; the ego's with the front bumper; else only
    while it is between lanes or off the drivable area. Agents cost everything, things half. A
    contact that is not at fault makes that road user ignored from then on. With ``present_speed``
    what counts as standing is told at the contact. ``true_bearing``: see ``time_to_collision``.
    """
    contacts, scene = motion.contacts, motion.scene
    now = contacts.ahead == 0
    p, k, a = contacts.proposal[now], contacts.step[now], contacts.agent[now]
    agents, vehicle = scene.agents, scene.vehicle
    thing = agents.kind[k, a] == AgentKind.STATIC
    speed = agents.speed[k, a] if present_speed else _first_speed(scene)[a]
    standing = thing | (speed <= STOPPED)
    heading = motion.states[p, k, State.HEADING]
    bumper = motion.corners[p, k][:, [0, 3]]
    middle = bumper.mean(1)
    gap = box_gap(
        middle[:, 0] - agents.x[k, a], middle[:, 1] - agents.y[k, a], heading, 0.0, vehicle.width,
        agents.heading[k, a], agents.length[k, a], agents.width[k, a],
    )  # fmt: skip
    front = touches(gap, bumper, scene, k, a)
    behind = _bearing(motion, p, k, k, a, true_bearing) > BEHIND
    astray = motion.multi_lane[p, k] | motion.off_drivable[p, k]
    fault = (motion.speed[p, k] > STOPPED) & (standing | (~behind & (front | astray)))
    fault = _before_excuse(fault, k, p, a, agents.x.shape[1])
    value = np.ones(len(motion.states))
    np.minimum.at(value, p[fault], np.where(thing[fault], 0.5, 0.0))
    return value, _first(p[fault], k[fault], len(value))


def drivable_area_compliance(motion: Motion) -> Array:
    """(P,) DAC: 0 where a corner is off the drivable area at any step, else 1."""
    return np.where(motion.off_drivable.any(1), 0.0, 1.0)


def driving_direction_compliance(motion: Motion, *, excuse_intersections: bool = True) -> Array:
    """(P,) DDC in {0, 0.5, 1} by the most metres the centre moves off the route's lanes in 1 s.

    A step counts where it ends; the window holds ``DDC_WINDOW`` steps. v2 excuses steps in an
    intersection, v1 does not.
    """
    moved = np.zeros(motion.speed.shape)
    moved[:, 1:] = np.linalg.norm(np.diff(motion.centre, axis=1), axis=-1)
    counted = motion.oncoming
    if excuse_intersections:
        counted = counted & ~motion.centre_in_intersection
    moved[~counted] = 0.0
    worst = np.zeros(len(moved))
    # window by window, as the reference adds: rounding decides at exactly 2 m
    for k in range(motion.speed.shape[1]):
        np.maximum(worst, moved[:, max(0, k + 1 - DDC_WINDOW) : k + 1].sum(-1), out=worst)
    return np.where(worst < DDC_HALF, 1.0, np.where(worst < DDC_NONE, 0.5, 0.0))


def traffic_light_compliance(motion: Motion) -> Array:
    """(P,) TLC: 0 where the ego box touches a lane connector of the route while it is red."""
    import shapely

    scene, steps = motion.scene, motion.speed.shape[1]
    value = np.ones(len(motion.states))
    red = scene.red[:steps] & scene.lane_on_route
    for lane in np.flatnonzero(red.any(0)).tolist():
        polygon = scene.lane_polygon[lane]
        rows = motion.near(polygon)
        proposal, step = np.divmod(rows, steps)
        hit = red[step, lane] & (value[proposal] > 0.0)
        proposal, step = proposal[hit], step[hit]
        boxes = shapely.polygons(motion.corners[proposal, step])
        value[proposal[shapely.intersects(polygon, boxes)]] = 0.0
    return value


# --- weighted terms -----------------------------------------------------------------------------


def progress_raw(motion: Motion) -> Array:
    """(P,) m the box centre gets on along the centreline, not below 0."""
    import shapely

    line = shapely.LineString(motion.scene.centreline)
    start, end = motion.centre[:, 0], motion.centre[:, -1]
    if (start == start[0]).all():  # the rule: all start where the ego is
        start = start[:1]
    s_start = np.asarray(shapely.line_locate_point(line, shapely.points(start)))
    s_end = np.asarray(shapely.line_locate_point(line, shapely.points(end)))
    return np.maximum(s_end - s_start, 0.0)


def ego_progress(raw: Array, normaliser: Array | float) -> Array:
    """(P,) EP of v2 in [0, 1]: ``raw`` (m) as a share of the best raw times multiplier around.

    1 for all where even the best makes no more than ``PROGRESS_FLOOR``. A proposal's own multiplier
    does not reduce its EP.
    """
    possible = normaliser > PROGRESS_FLOOR
    share = np.clip(raw / np.where(possible, normaliser, 1.0), 0.0, 1.0)
    return np.where(possible, share, 1.0)


def ego_progress_v1(raw: Array, multiplier: Array, normaliser: Array | float) -> Array:
    """(P,) EP of v1: ``raw * multiplier`` as a share of the best around, 0 without a multiplier."""
    possible = normaliser > PROGRESS_FLOOR
    share = raw * multiplier / np.where(possible, normaliser, 1.0)
    return np.where(possible, share, np.where(multiplier > 0.0, 1.0, 0.0))


def time_to_collision(
    motion: Motion, *, last_step: int | None = None, true_bearing: bool = False
) -> tuple[Array, Array]:
    """TTC in {0, 1} and the step of the first contact that counts (inf: none), each (P,).

    At each step the ego box goes on at its speed and heading for 0, 0.3, 0.6, 0.9 s and meets the
    road users of those times. Contacts count with what is ahead of the rear axle (``AHEAD``), and,
    between lanes, off the drivable area or in an intersection, with what is not behind
    (``BEHIND``). A contact that does not count makes that road user ignored. Steps below
    ``CREEPING`` and after ``last_step`` are left out.

    The reference takes the bearing as the arc cosine of a product of unit vectors. Of something
    exactly in line that is undefined where rounding makes the product more than 1, and the road
    user is then neither ahead nor behind; with ``true_bearing`` it is.
    """
    contacts = motion.contacts
    use = motion.speed[contacts.proposal, contacts.step] >= CREEPING
    if last_step is not None:
        use &= contacts.step <= last_step
    p, k, a = contacts.proposal[use], contacts.step[use], contacts.agent[use]
    ahead = contacts.ahead[use]
    angle = _bearing(motion, p, k, k + ahead, a, true_bearing)
    astray = motion.multi_lane[p, k] | motion.off_drivable[p, k] | motion.axle_in_intersection[p, k]
    counts = (angle < AHEAD) | (astray & ~(angle > BEHIND))
    order = k * (max(TTC_STEPS) + 1) + ahead
    counts = _before_excuse(counts, order, p, a, motion.scene.agents.x.shape[1])
    first = _first(p[counts], k[counts], len(motion.states))
    return np.where(np.isfinite(first), 0.0, 1.0), first


def lane_keeping(motion: Motion) -> Array:
    """(P,) LK: 0 where the box centre is off the centreline too far for too long.

    That is more than ``LANE_KEEPING_DISTANCE`` in ``LANE_KEEPING_STEPS`` steps on end; steps in an
    intersection are skipped and do not end a row of steps.
    """
    import shapely

    line = shapely.LineString(motion.scene.centreline)
    shapely.prepare(line)

    def off(centre: Array) -> Array:
        near = shapely.dwithin(line, shapely.points(centre), LANE_KEEPING_DISTANCE)
        return ~np.asarray(near, dtype=bool)

    # Every row of 20 counted steps holds one whose number is a multiple of 20: unless one of those
    # is off, the others need not be looked at.
    counted = ~motion.centre_in_intersection
    probed = counted & (np.cumsum(counted, axis=1) % LANE_KEEPING_STEPS == 0)
    proposal = np.nonzero(probed)[0][off(motion.centre[probed])]
    value = np.ones(len(counted))
    suspects = np.unique(proposal)
    away, counted = off(motion.centre[suspects]), counted[suspects]
    row = np.zeros(len(suspects), dtype=np.int32)
    for k in range(counted.shape[1]):
        row = np.where(counted[:, k], np.where(away[:, k], row + 1, 0), row)
        value[suspects[row >= LANE_KEEPING_STEPS]] = 0.0
    return value


def _bearing(
    motion: Motion, p: Array, k: Array, later: Array, agent: Array, true_bearing: bool
) -> Array:
    """(contacts,) rad between the heading and the ray from the rear axle to the road user.

    NaN where it is undefined, see ``time_to_collision``.
    """
    import shapely

    agents, heading = motion.scene.agents, motion.states[p, k, State.HEADING]
    dx = agents.x[later, agent] - motion.states[p, k, State.X]
    dy = agents.y[later, agent] - motion.states[p, k, State.Y]
    angle = np.abs(wrap_angle(np.arctan2(dy, dx) - heading))
    in_line = (angle < _IN_LINE) | (angle > np.pi - _IN_LINE) | (np.hypot(dx, dy) < _IN_LINE)
    row = np.flatnonzero(in_line)
    if true_bearing or not len(row):
        return angle
    centre = shapely.centroid(agent_polygons(agents, later[row], agent[row]))
    ray = np.stack([shapely.get_x(centre), shapely.get_y(centre)], axis=-1)
    ray -= motion.states[p[row], k[row], : State.Y + 1]
    ahead = np.stack([np.cos(heading[row]), np.sin(heading[row])], axis=-1)
    with np.errstate(invalid="ignore"):
        unit = ray / np.sqrt(np.vecdot(ray, ray))[:, None]
        angle[row] = np.arccos(np.vecdot(ahead, unit))
    return angle


def _first_speed(scene: PdmScene) -> Array:
    """(N,) m/s of each road user when it is first there."""
    agents = scene.agents
    first = agents.valid.argmax(0), np.arange(agents.x.shape[1])
    return agents.speed[first]


def _before_excuse(counts: Array, order: Array, p: Array, agent: Array, agents: int) -> Array:
    """(contacts,) of those that count the ones before any, in ``order``, that does not.

    Per proposal and road user: once a contact was excused that road user is ignored.
    """
    pair, row = np.unique(p * agents + agent, return_inverse=True)
    excused = np.full(len(pair), np.inf)
    np.minimum.at(excused, row[~counts], order[~counts])
    return counts & (order < excused[row])


def _first(p: Array, step: Array, proposals: int) -> Array:
    """(P,) the least step of each proposal, inf where there is none."""
    first = np.full(proposals, np.inf)
    np.minimum.at(first, p, step)
    return first
