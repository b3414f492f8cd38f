"""Where other road users may be over the next seconds: boxes per agent, mode and moment.

From the forecaster's modes or, without one, from their present velocity. Boxes grow by part of what
is not known about them: half a standard deviation of the forecast and of the track, bounded, so
that what is uncertain is given room but does not close the road.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.types import AgentKind, Forecasts, Tracks

Array = np.ndarray

MODES = 3
"""most likely modes looked at per road user"""
GROWTH_SHARE = 0.5
"""of the standard deviations that boxes grow by, to each side"""
MOST_ALONG = 1.0
"""m a box grows at most at each end ..."""
MOST_ACROSS = 0.3
"""... and at each side: less than the least gap kept beside an obstacle"""
UNCERTAIN_TURN = 0.15
"""m/s, growth of the position's standard deviation where there is no forecaster"""


@dataclass(frozen=True)
class FutureBoxes:
    """Boxes of other road users; fields ``(agents, modes, times)`` where nothing else is said."""

    row: Array
    """(agents,) index into the tracks"""
    kind: Array
    """(agents,)"""
    x: Array
    """m, of the centre, world frame"""
    y: Array
    heading: Array
    vx: Array
    """m/s, of the predicted motion"""
    vy: Array
    length: Array
    """m, grown"""
    width: Array
    weight: Array
    """(agents, modes) sums to 1 over modes"""

    def __len__(self) -> int:
        return len(self.row)


def future_boxes(
    tracks: Tracks, forecasts: Forecasts | None, rows: Array, times: Array
) -> FutureBoxes:
    """Boxes of the tracks ``rows`` at ``times`` (s from now, ascending, evenly spaced).

    Tracks beyond the forecasts' rows (those a planner remembers itself) and what is STATIC move at
    their present velocity, or not at all.
    """
    states = tracks.states
    count = len(rows)
    known = 0 if forecasts is None else len(forecasts.probability)
    modes = 1 if forecasts is None or count == 0 else min(MODES, forecasts.probability.shape[-1])
    shape = (count, modes, len(times))
    moves = (states.kind[rows] != AgentKind.STATIC).astype(np.float64)
    vx, vy = states.vx[rows] * moves, states.vy[rows] * moves
    x = np.broadcast_to(states.x[rows, None, None] + vx[:, None, None] * times, shape).copy()
    y = np.broadcast_to(states.y[rows, None, None] + vy[:, None, None] * times, shape).copy()
    heading = np.broadcast_to(states.heading[rows, None, None], shape).copy()
    out_vx = np.broadcast_to(vx[:, None, None], shape).copy()
    out_vy = np.broadcast_to(vy[:, None, None], shape).copy()
    weight = np.zeros((count, modes))
    weight[:, 0] = 1.0
    spread = UNCERTAIN_TURN * times
    along = np.broadcast_to(spread * moves[:, None, None], shape).copy()
    across = along.copy()
    told = np.flatnonzero((rows < known) & (moves > 0.0))
    if forecasts is not None and len(told):
        whose = rows[told]
        best = np.argsort(-forecasts.probability[whose], axis=-1, kind="stable")[:, :modes]
        pick = whose[:, None], best
        share = forecasts.probability[pick]
        weight[told] = share / np.maximum(share.sum(axis=-1, keepdims=True), 1e-9)
        x[told] = _at(forecasts.x[pick], forecasts.dt, times)
        y[told] = _at(forecasts.y[pick], forecasts.dt, times)
        heading[told] = _nearest(forecasts.heading[pick], forecasts.dt, times)
        step = float(times[1] - times[0])
        out_vx[told] = np.gradient(x[told], step, axis=-1)
        out_vy[told] = np.gradient(y[told], step, axis=-1)
        if forecasts.along_std is not None:
            along[told] = _nearest(forecasts.along_std[pick], forecasts.dt, times)
        if forecasts.across_std is not None:
            across[told] = _nearest(forecasts.across_std[pick], forecasts.dt, times)
    now = np.nan_to_num(tracks.position_std[rows])[:, None, None]
    grow_along = np.minimum(GROWTH_SHARE * np.hypot(along, now), MOST_ALONG)
    grow_across = np.minimum(GROWTH_SHARE * np.hypot(across, now), MOST_ACROSS)
    return FutureBoxes(
        row=rows,
        kind=states.kind[rows],
        x=x,
        y=y,
        heading=heading,
        vx=out_vx,
        vy=out_vy,
        length=states.length[rows, None, None] + 2.0 * grow_along,
        width=states.width[rows, None, None] + 2.0 * grow_across,
        weight=weight,
    )


def select(boxes: FutureBoxes, keep: Array) -> FutureBoxes:
    """Those of the agents named by ``keep`` (indices or a mask)."""
    return FutureBoxes(**{name: values[keep] for name, values in vars(boxes).items()})


def _place(values: Array, dt: float, times: Array) -> tuple[Array, Array]:
    k = np.clip(times / dt, 0.0, values.shape[-1] - 1.0)
    low = np.minimum((k + 1e-9).astype(np.int64), max(values.shape[-1] - 2, 0))
    return low, k - low


def _at(values: Array, dt: float, times: Array) -> Array:
    """``values`` (..., time) between their samples."""
    low, share = _place(values, dt, times)
    high = np.minimum(low + 1, values.shape[-1] - 1)
    return values[..., low] * (1.0 - share) + values[..., high] * share


def _nearest(values: Array, dt: float, times: Array) -> Array:
    """``values`` (..., time) at the nearest sample: angles must not be averaged."""
    low, share = _place(values, dt, times)
    return values[..., np.minimum(low + (share > 0.5), values.shape[-1] - 1)]
