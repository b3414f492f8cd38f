"""Reference lines of procedural roads: straights, arcs and spirals that join smoothly.

A pose is a tuple (x, y, heading); a path is a list of (length, curvature at its start, curvature
at its end), each a line, an arc or a spiral.
"""

from __future__ import annotations

import math

from scenariogeneration import xodr

Pose = tuple[float, float, float]
Path = list[tuple[float, float, float]]


def moved(pose: Pose, forward: float, left: float = 0.0) -> Pose:
    """The pose shifted in its own frame, m."""
    x, y, heading = pose
    c, s = math.cos(heading), math.sin(heading)
    return x + c * forward - s * left, y + s * forward + c * left, heading


def turned(pose: Pose, angle: float = math.pi) -> Pose:
    """The pose turned on the spot, by default to look back."""
    return pose[0], pose[1], math.remainder(pose[2] + angle, 2.0 * math.pi)


def smooth_path(start: Pose, end: Pose) -> Path:
    """Three spirals from ``start`` to ``end``, straight at both, with continuous curvature.

    E. Bertolazzi and M. Frego, "On the G2 Hermite interpolation problem with clothoids" (2018).
    """
    from pyclothoids import SolveG2

    aside = math.cos(start[2]) * (end[1] - start[1]) - math.sin(start[2]) * (end[0] - start[0])
    if abs(aside) < 1e-9 and abs(math.remainder(end[2] - start[2], 2.0 * math.pi)) < 1e-9:
        return [(math.dist(start[:2], end[:2]), 0.0, 0.0)]
    return [(p.length, p.KappaStart, p.KappaEnd) for p in SolveG2(*start, 0.0, *end, 0.0)]


def turn_tangent(angle: float, radius: float) -> float:
    """m from the tangents' crossing at which a smooth turn by ``angle`` must begin and end.

    Its tightest point then has ``radius``.
    """
    end = (1.0 + math.cos(angle), math.sin(angle), angle)
    return radius * max(abs(k) for _, k, _ in smooth_path((0.0, 0.0, 0.0), end))


def turn_path(start: Pose, end: Pose, lead: float) -> Path:
    """Straight, a smooth symmetric turn, straight: ``lead`` m at both ends stay straight.

    Where the two straights do not cross ahead (nearly the same direction), one smooth path.
    """
    angle = math.remainder(end[2] - start[2], 2.0 * math.pi)
    first, last = moved(start, lead), moved(end, -lead)
    before = after = 0.0
    if abs(angle) > math.radians(20.0):
        dx, dy = last[0] - first[0], last[1] - first[1]
        to_crossing = (dx * math.sin(end[2]) - dy * math.cos(end[2])) / math.sin(angle)
        from_crossing = (dy * math.cos(start[2]) - dx * math.sin(start[2])) / math.sin(angle)
        tangent = min(to_crossing, from_crossing)
        if tangent > 0.0:
            before, after = to_crossing - tangent, from_crossing - tangent
    middle = smooth_path(moved(first, before), moved(last, -after))
    path = [(lead + before, 0.0, 0.0), *middle, (lead + after, 0.0, 0.0)]
    return [piece for piece in path if piece[0] > 1e-9]


def path_end(start: Pose, path: Path) -> Pose:
    """Where a path that begins at ``start`` ends."""
    return view_end(plan_view(start, path))


def path_start(end: Pose, path: Path) -> Pose:
    """Where a path that ends at ``end`` must begin."""
    x, y, heading = path_end((0.0, 0.0, 0.0), path)
    turn = end[2] - heading
    c, s = math.cos(turn), math.sin(turn)
    return end[0] - c * x + s * y, end[1] - s * x - c * y, turn


def plan_view(start: Pose, path: Path) -> xodr.PlanView:
    """The path as the library's object."""
    view, pose = xodr.PlanView(), start
    for length, k0, k1 in path:
        if k0 == 0.0 and k1 == 0.0:
            shape = xodr.Line(length)
        elif k0 == k1:
            shape = xodr.Arc(k0, length=length)
        else:
            shape = xodr.Spiral(k0, k1, length)
        view.add_fixed_geometry(shape, *pose)
        pose = view_end(view)
    return view


def view_end(view: xodr.PlanView) -> Pose:
    """Where a plan view with at least one piece ends."""
    return float(view.x_end or 0.0), float(view.y_end or 0.0), float(view.h_end or 0.0)
