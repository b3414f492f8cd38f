"""NAVSIM's three comfort terms: v1's, history comfort and extended comfort of v2.

Definitions: NAVSIM 1.1 and 2.2 ``pdm_comfort_metrics.py`` and ``scene_aggregator.py``. Every signal
is a local polynomial fit (Savitzky and Golay 1964) and so, for a given number of samples, a matrix;
batches ``(..., n, 11)`` of state rows take one product per signal. Every one is rounded to
``DECIMALS``, also where the next is taken from it, as in the reference.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.scoring.comfort import BOUNDS, savitzky_golay
from roadloop.scoring.navsim_scene import DT
from roadloop.scoring.pdm_tracker import State

Array = np.ndarray

SIGNALS = tuple(BOUNDS)
"""The order of the six signals and components: accelerations, jerks, yaw acceleration, yaw rate"""
EXTENDED_BOUNDS = (0.7, 0.5, 0.1, 0.1)
"""m/s^2, m/s^3, rad/s, rad/s^2: what ``extended_comfort_rms`` may reach"""
FRAME_INTERVAL = 0.5
"""s between two frames of a NAVSIM log"""
DECIMALS = 8
_ACCELERATION, _JERK, _YAW = 0.8, 1.5, 0.5  # s, windows; 8, 15 and 5 samples


def acceleration_magnitude(states: Array) -> Array:
    """(..., n) smoothed acceleration of the rear axle, m/s^2, of states ``(..., n, 11)``."""
    size = np.hypot(states[..., State.ACCELERATION], states[..., State.LATERAL_ACCELERATION])
    return _fit(size, _ACCELERATION, 2)


def comfort_signals_v2(
    states: Array, centre_offset: float, *, rigid_body_centre: bool = False
) -> Array:
    """(..., n, 6) the ``SIGNALS`` of states ``(..., n, 11)``, those of nuPlan.

    ``centre_offset`` is m from the rear axle to the box centre, where the longitudinal acceleration
    is taken: a + d (w^2 + w') in the reference, which judges left and right turns differently;
    a - d w^2 with ``rigid_body_centre``, which also moves the lateral one by d w'.
    """
    rate, change = states[..., State.YAW_RATE], states[..., State.YAW_ACCELERATION]
    forward = states[..., State.ACCELERATION]
    lateral = states[..., State.LATERAL_ACCELERATION]
    if rigid_body_centre:
        forward, lateral = forward - centre_offset * rate**2, lateral + centre_offset * change
    else:
        forward = forward + centre_offset * (rate**2 + change)
    forward = _fit(forward, _ACCELERATION, 2)
    heading = np.unwrap(states[..., State.HEADING], axis=-1)
    signals = (
        forward,
        _fit(lateral, _ACCELERATION, 2),
        _fit(acceleration_magnitude(states), _JERK, 2, 1),
        _fit(forward, _JERK, 2, 1),
        _fit(heading, _YAW, 3, 2),
        _fit(heading, _YAW, 2, 1),
    )
    return np.stack(signals, axis=-1)


def comfort_signals_v1(states: Array) -> Array:
    """(..., n, 6) the ``SIGNALS`` as v1 has them: at the rear axle, long windows over all samples.

    One parabola over the whole trajectory smooths the two accelerations and takes the jerks (of
    values smoothed over 0.8 s before); yaw as in v2.
    """
    whole = states.shape[-2] * DT
    forward = states[..., State.ACCELERATION]
    heading = np.unwrap(states[..., State.HEADING], axis=-1)
    signals = (
        _fit(forward, whole, 2),
        _fit(states[..., State.LATERAL_ACCELERATION], whole, 2),
        _fit(acceleration_magnitude(states), whole, 2, 1),
        _fit(_fit(forward, _ACCELERATION, 2), whole, 2, 1),
        _fit(heading, _YAW, 3, 2),
        _fit(heading, _YAW, 2, 1),
    )
    return np.stack(signals, axis=-1)


def within_bounds(signals: Array) -> Array:
    """(..., 6) bool: all n samples of ``(..., n, 6)`` inside the open ``BOUNDS`` of nuPlan."""
    low, high = np.array([bound[:2] for bound in BOUNDS.values()]).T
    return ((signals > low) & (signals < high)).all(-2)


def history_comfort(
    states: Array, past: Array | None, centre_offset: float, *, rigid_body_centre: bool = False
) -> Array:
    """(P, 6) bool, HC by component: the past and the proposal in one, as if evenly 0.1 s apart.

    ``states`` (P, 41, 11), ``past`` (14, 11). The past ends 0.2 s before the present, which the
    reference overlooks. Without a past (None) comfort is not judged: all True.
    """
    if past is None:
        return np.ones((len(states), len(SIGNALS)), dtype=bool)
    joined = np.concatenate([np.broadcast_to(past, (len(states), *past.shape)), states], axis=1)
    signals = comfort_signals_v2(joined, centre_offset, rigid_body_centre=rigid_body_centre)
    return within_bounds(signals)


def common_steps(current: Array, previous: Array, interval: float) -> tuple[Array, Array]:
    """The steps two frames' states ``(P, 41, 11)`` share, ``interval`` s apart: (P, 36, 11) each.

    Raises RoadloopError for frames 0.55 s or further apart, to which extended comfort does not
    apply.
    """
    if not 0.0 < interval < FRAME_INTERVAL + 0.05:
        raise RoadloopError(
            f"frames are {interval} s apart: extended comfort compares those within 0.55 s"
        )
    steps = round(interval / DT)
    return current[:, : current.shape[1] - steps], previous[:, steps:]


def extended_comfort_features(states: Array) -> Array:
    """(..., n, 4) acceleration, jerk (sizes), yaw rate and yaw acceleration of ``(..., n, 11)``.

    The yaw acceleration is the second derivative of a quadratic here, of a cubic in
    ``comfort_signals_v2``.
    """
    size = acceleration_magnitude(states)
    heading = np.unwrap(states[..., State.HEADING], axis=-1)
    features = size, _fit(size, _JERK, 2, 1), _fit(heading, _YAW, 2, 1), _fit(heading, _YAW, 2, 2)
    return np.stack(features, axis=-1)


def extended_comfort_rms(current: Array, previous: Array) -> Array:
    """(P, 4) root mean square over time of the features' difference on common steps (P, n, 11)."""
    difference = extended_comfort_features(current) - extended_comfort_features(previous)
    return np.sqrt((difference**2).mean(-2))


def extended_comfort(current: Array, previous: Array) -> Array:
    """(P,) EC: 1 where two consecutive frames plan nearly the same motion, on common steps."""
    within = extended_comfort_rms(current, previous) <= EXTENDED_BOUNDS
    return np.where(within.all(-1), 1.0, 0.0)


def _fit(signal: Array, window: float, order: int, derivative: int = 0) -> Array:
    # einsum, not BLAS: the same bits for any number of threads and proposals
    fit = np.einsum("...i,ij->...j", signal, _filter(signal.shape[-1], window, order, derivative))
    return np.round(fit, DECIMALS)


@lru_cache(maxsize=64)
def _filter(samples: int, window: float, order: int, derivative: int) -> Array:
    """(n, n) what each sample adds to each smoothed one."""
    return savitzky_golay(np.eye(samples), window, order, DT, derivative)
