"""Responsibility-sensitive safety (RSS): the distances that keep two road users safe.

Shalev-Shwartz, Shammah and Shashua, "On a formal model of safe and scalable self-driving cars",
arXiv 1708.06374, with the additions of ad-rss-lib 5.0 (a speed up to which one accelerates, a
minimum distance). Everything broadcasts; speeds in m/s, distances in m between the bumpers or the
sides of the two. How a whole drive is judged with them is in ``rss_margins``.

ad-rss-lib takes speeds, distances (0.001) and accelerations (0.0001) that differ by less for equal
where it compares them: a distance just below 0 stays negative, a speed just below its cap is the
cap. So do these functions; ``exact`` leaves that out.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from roadloop.errors import RoadloopError

Array = np.ndarray

PRECISION = 1e-3
"""m and m/s below which ad-rss-lib (ad-physics 2) takes two values for equal"""
ACCELERATION_PRECISION = 1e-4
"""m/s^2, likewise"""


@dataclass(frozen=True)
class RssParameters:
    """What is assumed of one road user; every field a number or an array that broadcasts.

    Defaults are those of ad-rss-lib for the ego. All are magnitudes, never negative.
    """

    response_time: float | Array = 1.0
    """s until it answers; ad-rss-lib has 2.0 for everybody but the ego"""
    acceleration: float | Array = 3.5
    """m/s^2, the most it accelerates with during the response time"""
    brake_min: float | Array = 4.0
    """m/s^2, the least it brakes with afterwards"""
    brake_max: float | Array = 8.0
    """m/s^2, the most it may brake with in front of a follower"""
    brake_min_correct: float | Array = 3.0
    """m/s^2, the least it brakes with for an oncoming one while in its own lane"""
    lateral_acceleration: float | Array = 0.2
    """m/s^2, the most it accelerates sideways with during the response time"""
    lateral_brake_min: float | Array = 0.8
    """m/s^2, the least it ends its sideways motion with"""
    lateral_margin: float | Array = 0.1
    """m, mu: how far it sways while keeping its place"""
    min_distance: float | Array = 0.0
    """m kept in any case"""
    max_speed: float | Array = 100.0
    """m/s up to which it accelerates during the response time"""

    def __post_init__(self) -> None:
        above = ("brake_min", "brake_max", "brake_min_correct", "lateral_brake_min")
        for f in dataclasses.fields(self):
            value = np.asarray(getattr(self, f.name), float)
            good = value > 0.0 if f.name in above else value >= 0.0
            if not (np.isfinite(value) & good).all():
                bound = "above 0" if f.name in above else "0 or more"
                raise RoadloopError(
                    f"RssParameters.{f.name} is {getattr(self, f.name)}: expected finite, {bound}"
                )


EGO = RssParameters()
OTHERS = RssParameters(response_time=2.0)
"""ad-rss-lib's defaults for everybody but the ego"""


def safe_distance_same(
    v_follow: Array | float,
    v_lead: Array | float,
    follow: RssParameters,
    lead: RssParameters,
    *,
    exact: bool = False,
) -> Array:
    """m a follower needs behind a leader of the same direction (Definition 1 of the paper).

    The follower accelerates for its response time and then brakes with ``brake_min``, while the
    leader brakes with ``brake_max``. ``follow.min_distance`` is added on top. Raises RoadloopError
    for speeds that are negative or not finite.
    """
    v_follow, v_lead = _speed("v_follow", v_follow), _speed("v_lead", v_lead)
    stop = _stopping_distance(v_follow, follow, follow.brake_min, exact)
    apart = stop - v_lead**2 / (2.0 * np.asarray(lead.brake_max))
    return _not_negative(apart, exact) + follow.min_distance


def safe_distance_opposite(
    v_correct: Array | float,
    v_opposite: Array | float,
    correct: RssParameters,
    opposite: RssParameters,
    *,
    exact: bool = False,
) -> Array:
    """m two oncoming cars need (Definition 2): both accelerate, then brake to a standstill.

    The one in its own lane (``correct``) brakes with ``brake_min_correct``, the other with
    ``brake_min``; the larger of their minimum distances is added. Speeds are magnitudes; raises
    RoadloopError for ones that are negative or not finite.
    """
    v_correct, v_opposite = _speed("v_correct", v_correct), _speed("v_opposite", v_opposite)
    mine = _stopping_distance(v_correct, correct, correct.brake_min_correct, exact)
    theirs = _stopping_distance(v_opposite, opposite, opposite.brake_min, exact)
    most = _greater(correct.min_distance, opposite.min_distance, exact)
    return mine + theirs + most


def safe_distance_lateral(
    v_left: Array | float,
    v_right: Array | float,
    left: RssParameters,
    right: RssParameters,
    *,
    exact: bool = False,
) -> Array:
    """m two road users need beside each other (Definition 6); speeds are positive to the right.

    Each drifts towards the other for its response time and then ends that motion with
    ``lateral_brake_min``; the mean of their margins mu is added, and nothing is left below 0.
    Raises RoadloopError for speeds that are not finite.
    """
    v_left, v_right = np.asarray(v_left, float), np.asarray(v_right, float)
    if not (np.isfinite(v_left).all() and np.isfinite(v_right).all()):
        raise RoadloopError("RSS lateral distance: a speed is not finite; drop masked rows first")
    margin = 0.5 * (np.asarray(left.lateral_margin) + right.lateral_margin)
    drift = _sideways_distance(v_left, left) + _sideways_distance(-v_right, right)
    return _not_negative(margin + drift, exact)


def _speed(name: str, value: Array | float) -> Array:
    speed = np.asarray(value, float)
    if not (np.isfinite(speed) & (speed >= 0.0)).all():
        raise RoadloopError(
            f"RSS distance: {name} must be finite and 0 or more, in m/s; got {np.min(speed)}"
        )
    return speed


def _greater(first: Array | float, second: Array | float, exact: bool) -> Array:
    """The greater of two speeds or distances; ``first`` where they are equal to the precision."""
    first, second = np.asarray(first, float), np.asarray(second, float)
    return np.where(second - first >= (0.0 if exact else PRECISION), second, first)


def _not_negative(distance: Array, exact: bool) -> Array:
    return _greater(distance, 0.0, exact)


def _stopping_distance(
    speed: Array, road_user: RssParameters, brake: float | Array, exact: bool
) -> Array:
    """m from now to standstill: accelerating for the response time, then braking with ``brake``."""
    wait, gain = np.asarray(road_user.response_time), np.asarray(road_user.acceleration)
    cap = _greater(road_user.max_speed, speed, exact)
    reached = _greater(0.0, speed + gain * wait, exact)
    reached = -_greater(-cap, -reached, exact)  # the lesser of the two
    gains = gain >= (np.finfo(float).tiny if exact else ACCELERATION_PRECISION)
    gaining = np.where(gains, (reached - speed) / np.where(gains, gain, 1.0), 0.0)
    waited = speed * wait + 0.5 * gain * gaining**2 + (reached - speed) * (wait - gaining)
    return waited + reached**2 / (2.0 * np.asarray(brake))


def _sideways_distance(towards: Array, road_user: RssParameters) -> Array:
    """m gone towards the other; ``towards`` is m/s of speed to its side, negative when leaving.

    What still moves away after the response time is not counted on to go further.
    """
    wait = np.asarray(road_user.response_time)
    reached = towards + wait * road_user.lateral_acceleration
    braked = np.maximum(reached, 0.0) ** 2 / (2.0 * np.asarray(road_user.lateral_brake_min))
    return 0.5 * (towards + reached) * wait + braked
