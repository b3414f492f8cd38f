"""What lies beside Waymo's lanes, which are centrelines only: widths, neighbours, ground to kerbs.

From points on each centreline a ray goes to the left and one to the right. The first painted line
or road edge it meets bounds the lane there; a lane that runs alongside bounds it halfway.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.geometry import polyline_headings, polyline_resample

Array = np.ndarray

REACH = 8.0
"""m a ray goes: past a parking lane, not across a parking lot"""
STEP = 2.0
"""m between rays"""
DEFAULT_WIDTH = 3.5
"""m, of lanes beside which nothing is found"""
NARROWEST, WIDEST = 2.2, 5.5
"""m, limits of a lane's width; what is further bounds more than the lane (a parking lane, say)"""
ALONG = np.cos(np.radians(25.0))
"""lanes and lines that differ by less run alongside"""
LINE, EDGE, LANE = 0, 1, 2
"""kinds of what a ray meets"""


@dataclass(frozen=True)
class Beside:
    """What the rays of one lane met, R rays to each side; the first index is 0 left, 1 right."""

    xy: Array
    """(R, 2) where they start"""
    normal: Array
    """(R, 2) to the left"""
    line: Array
    """(2, R) m to the nearest painted line alongside, inf: none"""
    line_index: Array
    """(2, R) which line that is, -1: none"""
    edge: Array
    """(2, R) m to the nearest road edge"""
    lane: Array
    """(2, R) m to the centreline of the nearest other lane for cars, at whatever angle"""
    alongside: Array
    """(2, R) m to the nearest lane alongside that is not another branch of a fork"""
    beside: Array
    """(2, R) which lane that is, negative for none"""
    same_way: Array
    """(2, R) bool, whether it runs the same way"""


def look_beside(
    lanes: list[Array], for_cars: list[bool], lines: list[Array], edges: list[Array]
) -> list[Beside]:
    """What is beside each of ``lanes``; all are polylines (n, 2 or 3) of at least 2 points."""
    import shapely

    starts = [polyline_resample(_distinct(lane[:, :2]), STEP) for lane in lanes]
    headings = [polyline_headings(xy) for xy in starts]
    owner = np.repeat(np.arange(len(lanes)), [len(xy) for xy in starts])
    xy, heading = np.concatenate(starts), np.concatenate(headings)
    forward = np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    normal = np.stack([-forward[:, 1], forward[:, 0]], axis=-1)
    first, second, kind, thing = _segments([lines, edges, starts])
    pieces = np.asarray(shapely.linestrings(np.stack([first, second], axis=1)))
    tree = shapely.STRtree(pieces)

    rows = np.arange(len(xy))
    origin = np.concatenate([xy, xy])
    away = np.concatenate([normal, -normal])
    rays = shapely.linestrings(np.stack([origin + 0.01 * away, origin + REACH * away], axis=1))
    ray, hit = tree.query(rays, predicate="intersects")
    side, row = ray // len(xy), ray % len(xy)
    # the distance along the ray: (a + t (b - a) - o) x d = 0
    span = second[hit] - first[hit]
    across = _cross(span, away[ray])
    sound = np.abs(across) > 1e-9
    t = -_cross(first[hit] - origin[ray], away[ray]) / np.where(sound, across, 1.0)
    met = first[hit] + np.clip(t, 0.0, 1.0)[:, None] * span
    distance = ((met - origin[ray]) * away[ray]).sum(-1)
    cosine = (span * forward[row]).sum(-1) / np.maximum(np.linalg.norm(span, axis=-1), 1e-9)
    own = (kind[hit] == LANE) & (thing[hit] == owner[row])
    keep = sound & ~own
    side, row, hit = side[keep], row[keep], hit[keep]
    distance, cosine = distance[keep], cosine[keep]
    aligned = np.abs(cosine) > ALONG

    def nearest(wanted: Array) -> tuple[Array, Array]:
        """(2, N) distance and the hit, -1, of the nearest of those wanted."""
        best, which = np.full((2, len(xy)), np.inf), np.full((2, len(xy)), -1)
        order = np.flatnonzero(wanted)[np.argsort(-distance[wanted], kind="stable")]
        best[side[order], row[order]] = distance[order]
        which[side[order], row[order]] = order
        return best, which

    is_line, is_edge, is_lane = (kind[hit] == k for k in (LINE, EDGE, LANE))
    # branches of a fork are close to one another, but not beside
    apart = distance > NARROWEST
    line, line_at = nearest(is_line & aligned)
    edge, _ = nearest(is_edge)
    lane, _ = nearest(is_lane & np.asarray(for_cars)[np.where(is_lane, thing[hit], 0)])
    alongside, lane_at = nearest(is_lane & aligned & apart)
    found = np.concatenate([thing[hit], [-1]])
    ways = np.concatenate([cosine > 0.0, [False]])
    results = []
    for k in range(len(lanes)):
        here = rows[owner == k]
        results.append(
            Beside(
                xy=xy[here],
                normal=normal[here],
                line=line[:, here],
                line_index=found[line_at[:, here]],
                edge=edge[:, here],
                lane=lane[:, here],
                alongside=alongside[:, here],
                beside=found[lane_at[:, here]],
                same_way=ways[lane_at[:, here]],
            )
        )
    return results


def lane_widths(
    lanes: list[Array], around: list[Beside], follow: list[tuple[int, int]]
) -> list[Array]:
    """Width (n,) m at each point of each lane, about its centreline.

    Twice the distance to the nearer side, where one is found within half ``WIDEST``; in between and
    beyond it is interpolated. A lane without any takes it from those before and after it.

    Args:
        follow: (lane, next lane) pairs.
    """
    known: dict[int, Array] = {}
    for k, (lane, found) in enumerate(zip(lanes, around, strict=True)):
        half = np.minimum(np.minimum(found.line, found.edge), found.alongside / 2.0)
        half[(half < NARROWEST / 2.0) | (half > WIDEST / 2.0)] = np.inf
        width = 2.0 * half.min(axis=0)
        there = np.flatnonzero(np.isfinite(width))
        if len(there):
            width = _median_of_three(np.interp(np.arange(len(width)), there, width[there]))
            share = _share(lane)
            known[k] = np.interp(share, np.linspace(0.0, 1.0, len(width)), width)
    ends: dict[int, tuple[list[float], list[float]]] = {k: ([], []) for k in range(len(lanes))}
    for before, after in follow:
        if before in known:
            ends[after][0].append(float(known[before][-1]))
        if after in known:
            ends[before][1].append(float(known[after][0]))
    widths = []
    for k, lane in enumerate(lanes):
        if k in known:
            widths.append(known[k])
            continue
        at_start, at_end = ends[k]
        values = at_start or at_end or [DEFAULT_WIDTH]
        start, end = float(np.median(values)), float(np.median(at_end or values))
        widths.append(start + (end - start) * _share(lane))
    return widths


def ground_to_edges(around: list[Beside]) -> list[Array]:
    """Outlines (n, 2) of the ground between lanes and the road edges beside them.

    That is where cars park and turn off: pavement no other lane covers, up to ``REACH``. Bike
    lanes are part of it, as cars cross them to turn.
    """
    import shapely

    outlines = []
    for found in around:
        for side, sign in ((0, 1.0), (1, -1.0)):
            edge = found.edge[side]
            open_ground = np.isfinite(edge) & (edge < found.lane[side])
            for run in np.split(
                np.arange(len(edge)), np.flatnonzero(np.diff(open_ground.astype(int))) + 1
            ):
                if len(run) < 2 or not open_ground[run[0]]:
                    continue
                far = found.xy[run] + sign * edge[run, None] * found.normal[run]
                ring = shapely.Polygon(np.concatenate([found.xy[run], far[::-1]]))
                for part in shapely.get_parts(shapely.make_valid(ring).simplify(0.05)):
                    if part.geom_type == "Polygon" and part.area > 1.0:
                        outlines.append(np.asarray(part.exterior.coords)[:-1])
    return outlines


def neighbour(found: Beside, side: int, same_way: bool) -> tuple[int, Array]:
    """The lane most rays to one side meet first, running that way, -1 for none; and those rays.

    At least half of the rays have to.
    """
    fits = (found.beside[side] >= 0) & (found.same_way[side] == same_way)
    fits &= found.alongside[side] < WIDEST
    # nothing of the road may lie between: no edge, and no lane that is nearer
    fits &= found.edge[side] > found.alongside[side]
    names, counts = np.unique(found.beside[side][fits], return_counts=True)
    if not len(names) or counts.max() < 0.5 * len(fits):
        return -1, np.zeros(0, int)
    best = names[counts.argmax()]
    return int(best), np.flatnonzero(fits & (found.beside[side] == best))


def _segments(groups: list[list[Array]]) -> tuple[Array, Array, Array, Array]:
    """Both ends (n, 2) of all segments, the group of each and which line of that group."""
    first, second, kind, thing = [np.zeros((0, 2))], [np.zeros((0, 2))], [], []
    for group, lines in enumerate(groups):
        for k, line in enumerate(lines):
            first.append(line[:-1, :2])
            second.append(line[1:, :2])
            kind.append(np.full(len(line) - 1, group))
            thing.append(np.full(len(line) - 1, k))
    return tuple(np.concatenate(part) for part in (first, second, kind, thing))  # type: ignore


def _distinct(line: Array) -> Array:
    """The same (n, 2) without points that repeat the one before."""
    keep = np.linalg.norm(np.diff(line, axis=0), axis=1) > 1e-3
    return line[np.concatenate([[True], keep])]


def _share(line: Array) -> Array:
    """(n,) of the arc up to each point, from 0 to 1."""
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line[:, :2], axis=0), axis=1))])
    return arc / arc[-1]


def _median_of_three(values: Array) -> Array:
    padded = np.concatenate([values[:1], values, values[-1:]])
    return np.median(np.stack([padded[:-2], padded[1:-1], padded[2:]]), axis=0)


def _cross(a: Array, b: Array) -> Array:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
