"""Kalman filters of many road users at once: where they are, how fast, and whether they stand.

Each has two models side by side, *moving* (constant turn rate, white acceleration) and *standing*
(no velocity), weighed by how well they foretell the detections: an interacting multiple model
filter (Blom and Bar-Shalom, IEEE Transactions on Automatic Control 33(8), 1988). The state is
x, y (m), vx, vy (m/s) in the world frame, and all four are measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

MOVING, STANDING = 0, 1
_CREEP = 0.05
"""m/s, velocity that the standing model allows for"""
_LEAST_CHANCE = 1e-3
"""no model is ever ruled out"""
_SURPRISE = 9.0
"""squared Mahalanobis distance of a velocity from which on it is trusted less: 99 % of chi-square
with two degrees of freedom"""


@dataclass(frozen=True)
class MotionFilters:
    """States of n road users under both models."""

    mean: Array
    """(n, 2, 4) x, y, vx, vy under each model"""
    cov: Array
    """(n, 2, 4, 4)"""
    chance: Array
    """(n, 2) probability of each model"""


@dataclass(frozen=True)
class Motion:
    """How the moving model goes on; fields ``(n,)``."""

    turn: Array
    """rad/s, turn rate of the velocity"""
    heading: Array
    """rad"""
    along: Array
    """m^2/s^3, spectral density of the acceleration along the heading ..."""
    across: Array
    """... and across it"""
    never: Array
    """bool, cannot move at all"""


def born(measured: Array, noise: Array, spread: float = 1.0) -> MotionFilters:
    """Filters of first detections ``(n, 4)`` with covariances ``(n, 4, 4)``.

    ``spread`` (m/s) is added to the uncertainty of the first velocity.
    """
    mean = np.repeat(measured[:, None], 2, axis=1)
    mean[:, STANDING, 2:] = 0.0
    cov = np.repeat(noise[:, None], 2, axis=1)
    cov[:, MOVING, 2:, 2:] += spread**2 * np.eye(2)
    cov[:, STANDING] = _stopped(cov[:, STANDING])
    speed = np.hypot(measured[:, 2], measured[:, 3])
    std = np.sqrt(noise[:, 2, 2])
    standing = 0.5 * np.exp(-0.5 * (speed / (std + spread)) ** 2)
    return MotionFilters(mean, cov, np.stack([1.0 - standing, standing], axis=1))


def combined(filters: MotionFilters) -> tuple[Array, Array]:
    """Mean ``(n, 4)`` and covariance ``(n, 4, 4)`` over both models."""
    mean = np.einsum("nm,nmi->ni", filters.chance, filters.mean)
    off = filters.mean - mean[:, None]
    cov = filters.cov + off[..., :, None] * off[..., None, :]
    return mean, np.einsum("nm,nmij->nij", filters.chance, cov)


def predict(
    filters: MotionFilters, motion: Motion, dt: float, start_rate: float, stop_rate: float
) -> MotionFilters:
    """The filters ``dt`` s later. Rates (1/s): from standing to moving, and from moving to not."""
    start, stop = 1.0 - np.exp(-start_rate * dt), 1.0 - np.exp(-stop_rate * dt)
    go_on = np.array([[1.0 - stop, stop], [start, 1.0 - start]])
    chance = filters.chance @ go_on
    share = filters.chance[:, :, None] * go_on / chance[:, None, :]  # (n, from, to)
    mean = np.einsum("nft,nfi->nti", share, filters.mean)
    off = filters.mean[:, :, None] - mean[:, None]  # (n, from, to, 4)
    spread = filters.cov[:, :, None] + off[..., :, None] * off[..., None, :]
    cov = np.einsum("nft,nftij->ntij", share, spread)

    step, noise = _step(motion, dt)
    moved = np.empty_like(mean)
    moved_cov = np.empty_like(cov)
    moved[:, MOVING] = np.einsum("nij,nj->ni", step, mean[:, MOVING])
    moved_cov[:, MOVING] = step @ cov[:, MOVING] @ np.swapaxes(step, -1, -2) + noise
    moved[:, STANDING, :2] = mean[:, STANDING, :2]
    moved[:, STANDING, 2:] = 0.0
    moved_cov[:, STANDING] = _stopped(cov[:, STANDING])
    moved_cov[:, STANDING, :2, :2] += (_CREEP * dt) ** 2 * np.eye(2)
    certain = np.array([_LEAST_CHANCE, 1.0 - _LEAST_CHANCE])
    chance = np.where(motion.never[:, None], certain, chance)
    return MotionFilters(moved, moved_cov, chance)


def update(filters: MotionFilters, measured: Array, noise: Array) -> MotionFilters:
    """The filters after one detection each: ``(n, 4)`` with covariances ``(n, 4, 4)``."""
    off = measured[:, None] - filters.mean  # (n, 2, 4)
    noise = np.repeat(noise[:, None], 2, axis=1)
    # A velocity far off is a slip of the detector before it is a manoeuvre: its noise is raised
    # until it is no farther off than `_SURPRISE` (as Huber's loss does).
    allowed = filters.cov[:, MOVING, 2, 2] + filters.cov[:, MOVING, 3, 3]
    allowed = allowed / 2.0 + noise[:, MOVING, 2, 2]
    surprise = (off[:, MOVING, 2:] ** 2).sum(-1) / allowed
    noise[..., 2:, 2:] *= np.maximum(surprise / _SURPRISE, 1.0)[:, None, None, None]

    total = filters.cov + noise
    inverse = np.linalg.inv(total)
    gain = filters.cov @ inverse
    mean = filters.mean + np.einsum("nmij,nmj->nmi", gain, off)
    cov = filters.cov - gain @ filters.cov
    cov = (cov + np.swapaxes(cov, -1, -2)) / 2.0
    distance = np.einsum("nmi,nmij,nmj->nm", off, inverse, off)
    fit = -0.5 * (distance + np.log(np.linalg.det(total)))
    chance = filters.chance * np.exp(fit - fit.max(axis=1, keepdims=True))
    chance = chance / chance.sum(axis=1, keepdims=True)
    chance = np.clip(chance, _LEAST_CHANCE, 1.0 - _LEAST_CHANCE)
    return MotionFilters(mean, cov, chance)


def hold_to_heading(filters: MotionFilters, heading: Array, std: Array) -> MotionFilters:
    """The filters knowing that nobody moves sideways by more than ``std`` (n,) m/s.

    A measurement of the velocity across ``heading`` (n,) that finds 0; inf where it is unknown.
    """
    side = np.zeros((len(heading), 4))
    side[:, 2], side[:, 3] = -np.sin(heading), np.cos(heading)
    mean, cov = filters.mean.copy(), filters.cov.copy()
    with_side = np.einsum("nij,nj->ni", cov[:, MOVING], side)
    total = np.einsum("ni,ni->n", with_side, side) + std**2
    gain = with_side / total[:, None]
    mean[:, MOVING] -= gain * np.einsum("ni,ni->n", mean[:, MOVING], side)[:, None]
    cov[:, MOVING] -= gain[:, :, None] * with_side[:, None, :]
    return MotionFilters(mean, cov, filters.chance)


def _stopped(cov: Array) -> Array:
    """Covariances ``(n, 4, 4)`` of somebody who stands: the velocity is 0 but for `_CREEP`."""
    cov = cov.copy()
    cov[:, 2:], cov[:, :, 2:] = 0.0, 0.0
    cov[:, 2, 2] = cov[:, 3, 3] = _CREEP**2
    return cov


def _step(motion: Motion, dt: float) -> tuple[Array, Array]:
    """Transition and process noise of the moving model, ``(n, 4, 4)`` each."""
    n = len(motion.turn)
    angle = motion.turn * dt
    small = np.abs(angle) < 1e-6
    safe = np.where(small, 1.0, angle)
    forward = np.where(small, 1.0, np.sin(angle) / safe) * dt
    aside = np.where(small, 0.0, (1.0 - np.cos(angle)) / safe) * dt
    step = np.zeros((n, 4, 4))
    step[:, 0, 0] = step[:, 1, 1] = 1.0
    step[:, 0, 2] = step[:, 1, 3] = forward
    step[:, 0, 3], step[:, 1, 2] = -aside, aside
    step[:, 2, 2] = step[:, 3, 3] = np.cos(angle)
    step[:, 2, 3], step[:, 3, 2] = -np.sin(angle), np.sin(angle)

    density = anisotropic(motion.heading, motion.along, motion.across)
    noise = np.empty((n, 4, 4))
    noise[:, :2, :2] = density * (dt**3 / 3.0)
    noise[:, :2, 2:] = noise[:, 2:, :2] = density * (dt**2 / 2.0)
    noise[:, 2:, 2:] = density * dt
    return step, noise


def anisotropic(direction: Array, along: Array, across: Array) -> Array:
    """``(n, 2, 2)`` with the eigenvalues ``along`` a direction (rad) and ``across`` it."""
    c, s = np.cos(direction), np.sin(direction)
    out = np.empty((len(c), 2, 2))
    out[:, 0, 0] = c * c * along + s * s * across
    out[:, 1, 1] = s * s * along + c * c * across
    out[:, 0, 1] = out[:, 1, 0] = c * s * (along - across)
    return out
