"""Headings of many tracks at once: smoothed, with their turn rate, and the right way round.

A camera tells the axis of a car well and its front badly, so detections may point backwards. The
filter follows the axis; who is right about the front is put to the vote, where the direction of
travel counts most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.geometry import wrap_angle

Array = np.ndarray

_MOST_VOTES = 6.0
_TRAVEL_VOTES = 1.0
"""votes of a moment of travelling; a detection has at most as many as its score"""
_RELAX = 1.0
"""s after which an unseen turn is over to 1/e"""


@dataclass(frozen=True)
class Headings:
    """Fields ``(n,)`` where not said otherwise."""

    heading: Array
    """rad"""
    turn: Array
    """rad/s"""
    cov: Array
    """(n, 2, 2) of heading and turn rate"""
    votes: Array
    """for the front being where ``heading`` says; below 0 it is turned round"""


def born(heading: Array, std: Array, votes: Array) -> Headings:
    """Of first detections ``(n,)``; ``votes`` as for `measure`."""
    cov = np.zeros((len(heading), 2, 2))
    cov[:, 0, 0], cov[:, 1, 1] = std**2, 0.3**2
    return Headings(wrap_angle(heading), np.zeros(len(heading)), cov, votes.astype(np.float64))


def predict(headings: Headings, dt: float, density: float, most_turn: Array) -> Headings:
    """Headings ``dt`` s later.

    ``density`` (rad^2/s^3) is that of the turn rate's change, ``most_turn`` (rad/s) its bound.
    """
    turn = np.clip(headings.turn * np.exp(-dt / _RELAX), -most_turn, most_turn)
    cov = headings.cov
    out = np.empty_like(cov)
    out[:, 0, 0] = cov[:, 0, 0] + 2.0 * dt * cov[:, 0, 1] + dt**2 * cov[:, 1, 1]
    out[:, 0, 0] += density * dt**3 / 3.0 + (0.05**2) * dt
    out[:, 0, 1] = out[:, 1, 0] = cov[:, 0, 1] + dt * cov[:, 1, 1] + density * dt**2 / 2.0
    out[:, 1, 1] = cov[:, 1, 1] * np.exp(-2.0 * dt / _RELAX) + density * dt
    return Headings(wrap_angle(headings.heading + turn * dt), turn, out, headings.votes)


def measure(headings: Headings, measured: Array, std: Array, votes: Array | None) -> Headings:
    """Headings after a measurement of the axis each, ``(n,)`` rad; ``std`` inf: there is none.

    ``votes`` (n,): what the measurement's front counts in the vote; None: only the axis is meant.
    """
    off = wrap_angle(measured - headings.heading)
    opposed = np.abs(off) > np.pi / 2.0
    off = np.where(opposed, wrap_angle(off + np.pi), off)
    cov = headings.cov
    gain = cov[:, :, 0] / (cov[:, 0, 0] + std**2)[:, None]
    heading = headings.heading + gain[:, 0] * off
    turn = headings.turn + gain[:, 1] * off
    cov = cov - gain[:, :, None] * cov[:, :1, :]
    count = headings.votes
    if votes is not None:
        count = np.clip(count + np.where(opposed, -votes, votes), -_MOST_VOTES, _MOST_VOTES)
        turned = count < 0.0
        heading = np.where(turned, heading + np.pi, heading)
        count = np.abs(count)
    return Headings(wrap_angle(heading), turn, cov, count)


def follow_travel(
    headings: Headings, vx: Array, vy: Array, std: Array, least_speed: Array
) -> Headings:
    """Headings after a look at the direction of travel.

    ``std`` (n,) m/s of the velocity. Below ``least_speed`` (n,) m/s, or three times ``std``, the
    direction says nothing: a car may roll backwards.
    """
    speed = np.hypot(vx, vy)
    telling = speed > np.maximum(least_speed, 3.0 * std)
    # Twice the filter's own: its velocities of successive moments are not independent. 0.1 rad: the
    # centre of a turning car does not move along its axis.
    off = np.where(telling, 0.1 + 2.0 * std / np.maximum(speed, 0.1), np.inf)
    votes = np.where(telling, _TRAVEL_VOTES, 0.0)
    return measure(headings, np.arctan2(vy, vx), off, votes)
