"""Contacts of the ego with road users, whose fault they are, and how near the next one is.

Classes and fault follow nuPlan's no-at-fault-collision metric (nuplan-devkit 1.2.2,
``no_ego_at_fault_collisions.py``), time to collision its ``time_to_collision_within_bound.py``.
What is on another level than the ego (``LEVEL``) is out of its reach.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum

import numpy as np

from roadloop.geometry import box_corners, boxes_overlap
from roadloop.scoring.area_map import LEVEL
from roadloop.types import AgentKind, AgentStates, EgoState

Array = np.ndarray

STOPPED = 0.05
"""m/s, at most this is standing (nuPlan)"""
CREEPING = 0.005
"""m/s, at most this the ego has no time to collision (nuPlan)"""
AHEAD = np.deg2rad(30.0)
"""A road user within this angle of the heading, seen from the rear axle, is ahead (nuPlan)"""
BEHIND = np.deg2rad(150.0)
"""... and beyond this angle behind"""
RESOLUTION = 0.1
"""s between projected positions"""
HORIZON = 2.9
"""s, the last of them (nuPlan says 3 and stops one short)"""

SUBSTEPS = 10
"""Parts of a step in which the first contact is looked for where the step's end is too coarse"""
PARKED = (2.5, 1.2)
"""m, length and width from which on what never moves is a parked vehicle, no object"""


class ContactKind(Enum):
    """How the ego and a road user touched, in the order the classes are tried."""

    EGO_STOPPED = "while standing"
    AGENT_STOPPED = "standing"
    REAR = "from behind"
    FRONT = "front"
    SIDE = "side"


@dataclass(frozen=True)
class Contact:
    """The first contact with one road user."""

    step: int
    agent: int
    """its id"""
    agent_kind: AgentKind
    kind: ContactKind
    at_fault: bool
    speed: float
    """m/s, of one against the other"""


def ego_corners(ego: EgoState) -> Array:
    """(..., 4, 2) corners of the ego's box: front left, rear left, rear right, front right."""
    x, y = ego.box_centre()
    return box_corners(x, y, ego.heading, ego.vehicle.length, ego.vehicle.width)


def contacts(
    ego: EgoState,
    agents: AgentStates,
    in_lane: Array,
    *,
    along_heading: bool = True,
    in_line: bool = False,
    substeps: int = 1,
) -> tuple[Contact, ...]:
    """First contact of the ego (time,) with every road user (time, agents), by time, then id.

    Standing ego and contacts from behind are not the ego's fault; hitting what stands or what is in
    front is; a contact at the side is where the ego is not fully inside one lane: ``in_lane``
    (time,). ``along_heading``: speeds count along the headings, as in nuPlan; else velocities are
    what they are. ``in_line`` as in ``time_to_collision``. What was hit in front is looked for at
    ``substeps`` moments of the step; with 1 only at its end, as in nuPlan.
    """
    velocity, theirs = _velocities(ego, agents, along_heading)
    mine = ego_corners(ego)
    step, column = _near(ego, agents, velocity, theirs, 0.0)
    touching = boxes_overlap(mine[step], agent_corners(agents, step, column))
    step, column = step[touching], column[touching]
    ids = agents.id[step, column]
    order = np.lexsort((ids, step))
    _, first = np.unique(ids[order], return_index=True)
    found = []
    for i in order[np.sort(first)]:
        t, a = int(step[i]), int(column[i])
        angle = _bearing(ego, agents, step[i : i + 1], column[i : i + 1], in_line)[0]
        kind = AgentKind(int(agents.kind[t, a]))
        if np.hypot(*velocity[t]) <= STOPPED:
            contact = ContactKind.EGO_STOPPED
        elif np.hypot(*theirs[t, a]) <= STOPPED:
            contact = ContactKind.AGENT_STOPPED
        elif angle > BEHIND:
            contact = ContactKind.REAR
        elif _meets_bumper(mine, agents, t, a, substeps):
            contact = ContactKind.FRONT
        else:
            contact = ContactKind.SIDE
        at_fault = contact in (ContactKind.AGENT_STOPPED, ContactKind.FRONT) or (
            contact is ContactKind.SIDE and not in_lane[t]
        )
        speed = float(np.hypot(*(theirs[t, a] - velocity[t])))
        found.append(Contact(t, int(ids[i]), kind, contact, bool(at_fault), speed))
    return tuple(found)


def time_to_collision(
    ego: EgoState,
    agents: AgentStates,
    hits: tuple[Contact, ...],
    in_lane: Array,
    in_intersection: Array,
    *,
    along_heading: bool = True,
    in_line: bool = False,
) -> Array:
    """(time,) s until the boxes of ego and a relevant road user meet, inf where they do not.

    Both go on with their present speed and heading (``along_heading``, as in nuPlan) or with their
    present velocity, looked at every ``RESOLUTION`` up to ``HORIZON``. Relevant is who is ahead,
    and where the ego is in an intersection or not fully in one lane (both (time,) bool) everybody
    who is not behind. ``in_line``: who is in line with the ego to the last bit is ahead or behind,
    too; nuPlan takes the arc cosine of a product that rounds above 1 for one in twenty of them,
    which is no angle, and so overlooks them. Who has been in contact (``hits``) no longer counts;
    the step of a contact that is the ego's fault has 0.
    """
    velocity, theirs = _velocities(ego, agents, along_heading)
    ttc = np.full(len(ego.x), np.inf)
    met = {hit.agent: hit.step for hit in hits}
    step, column = _near(ego, agents, velocity, theirs, HORIZON + RESOLUTION)
    moving = np.hypot(*velocity[step].T) > CREEPING
    step, column = step[moving], column[moving]
    if met:
        ids = agents.id[step, column]
        since = np.array([met.get(int(i), len(ego.x)) for i in ids])
        step, column = step[step < since], column[step < since]
    angle = _bearing(ego, agents, step, column, in_line)
    wide = in_intersection[step] | ~in_lane[step]
    relevant = (angle < AHEAD) | (wide & ~(angle > BEHIND))
    step, column = step[relevant], column[relevant]
    rate = theirs[step, column] - velocity[step]
    np.minimum.at(ttc, step, _meeting_time(ego, agents, step, column, rate))
    for hit in hits:
        if hit.at_fault:
            ttc[hit.step] = 0.0
    return ttc


def _velocities(ego: EgoState, agents: AgentStates, along_heading: bool) -> tuple[Array, Array]:
    """World velocities (time, 2) and (time, agents, 2), m/s; what is STATIC has none."""
    speed = np.abs(ego.speed) if along_heading else ego.speed
    mine = np.stack([speed * np.cos(ego.heading), speed * np.sin(ego.heading)], axis=-1)
    vx, vy = agents.vx, agents.vy
    if along_heading:
        speed = np.hypot(vx, vy)
        vx, vy = speed * np.cos(agents.heading), speed * np.sin(agents.heading)
    theirs = np.stack([vx, vy], axis=-1)
    return mine, np.where((agents.kind == AgentKind.STATIC)[..., None], 0.0, theirs)


def _near(
    ego: EgoState, agents: AgentStates, velocity: Array, theirs: Array, seconds: float
) -> tuple[Array, Array]:
    """Pairs (step, agent column) close enough to touch within ``seconds`` at present velocities."""
    x, y = ego.box_centre()
    gap = np.hypot(agents.x - x[:, None], agents.y - y[:, None])
    gap -= 0.5 * np.hypot(agents.length, agents.width)
    closing = np.linalg.norm(theirs - velocity[:, None], axis=-1)
    reach = 0.5 * np.hypot(ego.vehicle.length, ego.vehicle.width) + 1e-6
    level = np.abs(agents.z - ego.z[:, None]) < LEVEL
    step, column = np.nonzero(agents.valid & level & (gap <= reach + seconds * closing))
    return step, column


def agent_corners(agents: AgentStates, step: Array, column: Array) -> Array:
    """(pairs, 4, 2) corners of the boxes at ``step``, ``column`` (pairs,), in the ego's order."""
    fields = (agents.x, agents.y, agents.heading, agents.length, agents.width)
    return box_corners(*(values[step, column] for values in fields))


def _meets_bumper(
    corners: Array, agents: AgentStates, step: int, column: int, substeps: int
) -> bool:
    """Whether the front bumper is what first touches the road user, between two steps.

    From step to step a walker can be past the bumper, and so beside the ego, when they first touch:
    at 10 m/s the ego moves by more than a walker's depth. So both are moved from the step before in
    ``substeps`` parts, and the first of them in contact decides.
    """
    here = agent_corners(agents, np.array([step]), np.array([column]))[0]
    mine, theirs = corners[step][None], here[None]
    if substeps > 1 and step > 0 and agents.valid[step - 1, column]:
        share = (np.arange(1, substeps + 1) / substeps)[:, None, None]
        before = agent_corners(agents, np.array([step - 1]), np.array([column]))[0]
        mine = (1.0 - share) * corners[step - 1] + share * corners[step]
        theirs = (1.0 - share) * before + share * here
    first = int(np.argmax(boxes_overlap(mine, theirs)))
    bumper = mine[first][[0, 0, 3, 3]]  # a box of no length
    return bool(boxes_overlap(bumper, theirs[first]))


def _bearing(
    ego: EgoState, agents: AgentStates, step: Array, column: Array, in_line: bool
) -> Array:
    """rad in [0, pi] between the ego's heading and the ray from rear axle to box centre.

    NaN where nuPlan finds no angle, or with ``in_line`` the angle there, too.
    """
    to_x, to_y = agents.x[step, column], agents.y[step, column]
    cos, sin = np.cos(ego.heading[step]), np.sin(ego.heading[step])
    if in_line:
        x, y = to_x - ego.x[step], to_y - ego.y[step]
        return np.abs(np.arctan2(cos * y - sin * x, cos * x + sin * y))
    # operation by operation as nuPlan, rear axle by way of the centre: rounding decides
    offset = ego.vehicle.centre_offset
    x = to_x - ((ego.x[step] + offset * cos) - offset * cos)
    y = to_y - ((ego.y[step] + offset * sin) - offset * sin)
    distance = np.sqrt(x * x + y * y)
    with np.errstate(invalid="ignore"):
        return np.arccos(cos * (x / distance) + sin * (y / distance))


def _meeting_time(
    ego: EgoState, agents: AgentStates, step: Array, column: Array, rate: Array
) -> Array:
    """(pairs,) first multiple of RESOLUTION at which the moving boxes overlap, else inf.

    ``rate`` (pairs, 2) is the agent's velocity less the ego's. Separating axes of boxes that do not
    turn: on each axis the distance changes linearly, so the boxes share ground during the
    intersection of four time intervals.
    """
    heading, other = ego.heading[step], agents.heading[step, column]
    half = (
        (ego.vehicle.length / 2.0, ego.vehicle.width / 2.0),
        (agents.length[step, column] / 2.0, agents.width[step, column] / 2.0),
    )
    x, y = ego.box_centre()
    offset = agents.x[step, column] - x[step], agents.y[step, column] - y[step]
    turn = np.abs(np.cos(heading - other)), np.abs(np.sin(heading - other))
    enter, leave = np.zeros(len(step)), np.full(len(step), HORIZON + RESOLUTION / 2.0)
    for angle, (own, foreign) in ((heading, half), (other, half[::-1])):
        for axis, (along, across) in (
            ((np.cos(angle), np.sin(angle)), (0, 1)),
            ((-np.sin(angle), np.cos(angle)), (1, 0)),
        ):
            reach = own[along] + foreign[0] * turn[along] + foreign[1] * turn[across]
            distance = offset[0] * axis[0] + offset[1] * axis[1]
            speed = rate[:, 0] * axis[0] + rate[:, 1] * axis[1]
            still = np.abs(speed) < 1e-9
            safe = np.where(still, 1.0, speed)
            a, b = (-reach - distance) / safe, (reach - distance) / safe
            apart = np.abs(distance) > reach
            enter = np.maximum(enter, np.where(still, np.where(apart, np.inf, 0), np.minimum(a, b)))
            leave = np.minimum(leave, np.where(still, np.inf, np.maximum(a, b)))
    # 1e-9: touching exactly at a projected time is a meeting
    ticks = np.maximum(np.ceil(enter / RESOLUTION - 1e-9), 1.0)
    when = np.round(ticks * RESOLUTION, 9)
    return np.where(when <= leave + 1e-9, when, np.inf)


def with_parked_vehicles(agents: AgentStates) -> AgentStates:
    """The agents with what is STATIC and as large as a vehicle being a car that stands."""
    parked = (agents.kind == AgentKind.STATIC) & (agents.length >= PARKED[0])
    parked &= agents.width >= PARKED[1]
    return dataclasses.replace(
        agents,
        kind=np.where(parked, AgentKind.CAR, agents.kind).astype(np.uint8),
        vx=np.where(parked, 0.0, agents.vx),
        vy=np.where(parked, 0.0, agents.vy),
    )
