"""Strips between two edges: which cross-sections they need, and their triangles."""

from __future__ import annotations

import numpy as np

from sim.scenery.mesh import quads

Array = np.ndarray

TOLERANCE = 0.02
"""m, how far the edge of a thinned strip may lie from the lane's"""
UPRIGHT = 4.0
"""heights count so many times, as marks lie close above the road: 5 mm"""
LONGEST, WIDEST = 10.0, 7.0
"""m, of a piece of a strip along and across: the renderer leaves out what is far tile by tile"""


def ribbon(left: Array, right: Array, piece: Array) -> tuple[Array, Array]:
    """Triangles (T, 3, 3) between two edges, from each row in ``piece`` to the next, facing up.

    And the (T,) row of each. Pieces wider than WIDEST are cut along.
    """
    wide = np.linalg.norm(left - right, axis=1)
    cuts = np.ceil(np.maximum(wide[piece], wide[piece + 1]) / WIDEST).astype(int)
    done, rows = [np.zeros((0, 3, 3))], [np.zeros(0, int)]
    for n in np.unique(cuts[cuts > 0]).tolist():
        i = piece[cuts == n]
        for k in range(n):
            low, high = k / n, (k + 1) / n
            a, b = (right[j] + low * (left[j] - right[j]) for j in (i, i + 1))
            d, c = (right[j] + high * (left[j] - right[j]) for j in (i, i + 1))
            done.append(quads(np.stack([a, b, c, d], axis=1)))
            rows.append(np.repeat(i, 2))
    return np.concatenate(done), np.concatenate(rows)


def thinned(curves: Array, start: Array, tolerance: float, longest: float) -> Array:
    """(P,) bool: rows of CSR polylines to keep (Douglas and Peucker 1973, all lines at once).

    ``curves`` (P, C, 3) are C curves sampled together; a row may go if on all of them the chord
    passes within ``tolerance`` m, heights counted UPRIGHT times, and no chord gets longer than
    about ``longest`` m.
    """
    if not len(curves):
        return np.zeros(0, bool)
    points = curves * np.array([1.0, 1.0, UPRIGHT])
    step = np.linalg.norm(np.diff(curves, axis=0), axis=2).max(1, initial=0.0)
    s = np.concatenate([[0.0], np.cumsum(step)])
    line = np.repeat(np.arange(len(start) - 1), np.diff(start))
    begin, length = s[start[:-1]], s[start[1:] - 1] - s[start[:-1]]
    parts = np.maximum(np.ceil(length / longest), 1.0)
    nth = np.floor((s - begin[line]) / np.maximum(length, 1e-9)[line] * parts[line] + 1e-6)
    keep = np.concatenate([[True], np.diff(nth) > 0])
    keep[start[:-1]] = True
    keep[start[1:] - 1] = True
    open_rows = np.flatnonzero(~keep)
    while len(open_rows):
        kept = np.flatnonzero(keep)
        piece = np.searchsorted(kept, open_rows) - 1
        a, b, p = points[kept[piece]], points[kept[piece + 1]], points[open_rows]
        ab, ap = b - a, p - a
        square = np.maximum(np.einsum("ncd,ncd->nc", ab, ab), 1e-18)
        t = np.clip(np.einsum("ncd,ncd->nc", ap, ab) / square, 0.0, 1.0)
        off = np.linalg.norm(ap - t[..., None] * ab, axis=2).max(1)
        first = np.concatenate([[0], 1 + np.flatnonzero(np.diff(piece))])
        worst = np.repeat(
            np.maximum.reduceat(off, first), np.diff(np.concatenate([first, [len(off)]]))
        )
        keep[open_rows[(off == worst) & (off > tolerance)]] = True
        open_rows = open_rows[(worst > tolerance) & ~keep[open_rows]]
    return keep
