"""Ride comfort: six smoothed signals of the ego's motion and the bounds they must stay inside.

Signals and bounds are those of nuPlan (nuplan-devkit, ``ego_*_statistics`` metrics and the
``common/utils/state_extractors.py`` behind them), also used by NAVSIM and Bench2Drive. All signals
are local polynomial least squares (Savitzky and Golay 1964), extrapolated at both ends.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

BOUNDS: dict[str, tuple[float, float, str]] = {
    "longitudinal acceleration": (-4.05, 2.40, "m/s^2"),
    "lateral acceleration": (-4.89, 4.89, "m/s^2"),
    "jerk": (-8.37, 8.37, "m/s^3"),
    "longitudinal jerk": (-4.13, 4.13, "m/s^3"),
    "yaw acceleration": (-1.93, 1.93, "rad/s^2"),
    "yaw rate": (-0.95, 0.95, "rad/s"),
}
"""Open intervals: a sample on the bound breaks it."""

MIN_SAMPLES = 4
"""The yaw acceleration is the second derivative of a cubic, which takes four samples."""

# s. The source states windows in samples at 0.1 s; in seconds they mean the same at any step.
_ACCELERATION_WINDOW = 0.8
_JERK_WINDOW = 1.5
_YAW_WINDOW = 0.5


def savitzky_golay(
    signal: Array, window: float, order: int, dt: float, derivative: int = 0
) -> Array:
    """``derivative``-th derivative (time,) of local polynomials over ``window`` seconds.

    A signal shorter than the window is fitted as a whole.
    """
    from scipy.signal import savgol_filter

    samples = min(max(round(window / dt), order + 1), len(signal))
    return np.asarray(
        savgol_filter(signal, samples, order, deriv=derivative, delta=dt, mode="interp")
    )


def comfort_signals(
    acceleration: Array,
    lateral_acceleration: Array,
    heading: Array,
    yaw_rate: Array,
    yaw_acceleration: Array,
    centre_offset: float,
    dt: float,
) -> dict[str, Array]:
    """The six signals by the names of ``BOUNDS``, each ``(time,)``, from rear-axle motion.

    ``centre_offset`` is m from the rear axle forward to the box centre. The longitudinal
    acceleration is moved to the box centre with nuPlan's formula a + d (w^2 + w'), which is not
    rigid-body kinematics (a - d w^2) but what published results were computed with.
    Needs ``MIN_SAMPLES`` samples.
    """
    at_centre = acceleration + centre_offset * (yaw_rate**2 + yaw_acceleration)
    longitudinal = savitzky_golay(at_centre, _ACCELERATION_WINDOW, 2, dt)
    magnitude = savitzky_golay(
        np.hypot(acceleration, lateral_acceleration), _ACCELERATION_WINDOW, 2, dt
    )
    unwrapped = np.unwrap(heading)
    return {
        "longitudinal acceleration": longitudinal,
        "lateral acceleration": savitzky_golay(lateral_acceleration, _ACCELERATION_WINDOW, 2, dt),
        "jerk": savitzky_golay(magnitude, _JERK_WINDOW, 2, dt, 1),
        "longitudinal jerk": savitzky_golay(longitudinal, _JERK_WINDOW, 2, dt, 1),
        "yaw acceleration": savitzky_golay(unwrapped, _YAW_WINDOW, 3, dt, 2),
        "yaw rate": savitzky_golay(unwrapped, _YAW_WINDOW, 2, dt, 1),
    }


def broken_bounds(signals: dict[str, Array]) -> dict[str, Array]:
    """Per signal a ``(time,)`` mask of the samples outside the bound, compared at 1e-8."""
    return {
        name: (np.round(signals[name], 8) <= low) | (np.round(signals[name], 8) >= high)
        for name, (low, high, _) in BOUNDS.items()
    }
