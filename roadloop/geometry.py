"""Plane and space geometry: angles, rigid transforms, oriented boxes, polylines, Frenet frames.

Everything is NumPy with leading ``...`` batch axes that broadcast. Transforms are plain homogeneous
matrices named ``dst_from_src``, so that compositions with ``@`` cancel visibly::

    world_from_camera = world_from_ego @ ego_from_camera
"""

from __future__ import annotations

import numpy as np

from roadloop.errors import RoadloopError

Array = np.ndarray

# --- angles -------------------------------------------------------------------------------------


def wrap_angle(angle: Array | float) -> Array:
    """The same angle (rad) in (-pi, pi]."""
    wrapped = np.pi - np.mod(np.pi - np.asarray(angle, dtype=np.float64), 2.0 * np.pi)
    return np.where(wrapped <= -np.pi, np.pi, wrapped)  # rounding just above an odd multiple of pi


# --- rigid transforms ---------------------------------------------------------------------------


def se2(x: Array | float, y: Array | float, heading: Array | float) -> Array:
    """``world_from_body`` of a pose in the plane: ``(...)`` each -> ``(..., 3, 3)``."""
    x, y, heading = np.broadcast_arrays(x, y, heading)
    c, s = np.cos(heading), np.sin(heading)
    matrix = np.zeros((*c.shape, 3, 3))
    matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 0, 2] = c, -s, x
    matrix[..., 1, 0], matrix[..., 1, 1], matrix[..., 1, 2] = s, c, y
    matrix[..., 2, 2] = 1.0
    return matrix


def pose_from_se2(matrix: Array) -> tuple[Array, Array, Array]:
    """x, y, heading of ``(..., 3, 3)`` plane transforms, each ``(...)``."""
    heading = np.arctan2(matrix[..., 1, 0], matrix[..., 0, 0])
    return matrix[..., 0, 2], matrix[..., 1, 2], heading


def rotation_from_euler(roll: Array | float, pitch: Array | float, yaw: Array | float) -> Array:
    """``Rz(yaw) @ Ry(pitch) @ Rx(roll)``: ``(...)`` each, rad -> ``(..., 3, 3)``.

    Right-handed about x forward, y left, z up; positive pitch lowers the nose.
    """
    roll, pitch, yaw = np.broadcast_arrays(roll, pitch, yaw)
    cr, sr = np.cos(roll), np.sin(roll)
    cp, sp = np.cos(pitch), np.sin(pitch)
    cy, sy = np.cos(yaw), np.sin(yaw)
    rows = (
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        (-sp, cp * sr, cp * cr),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def se3(rotation: Array, translation: Array) -> Array:
    """Rotation ``(..., 3, 3)`` and translation ``(..., 3)`` -> transform ``(..., 4, 4)``."""
    rotation, translation = np.asarray(rotation), np.asarray(translation)
    batch = np.broadcast_shapes(rotation.shape[:-2], translation.shape[:-1])
    matrix = np.zeros((*batch, 4, 4))
    matrix[..., :3, :3] = rotation
    matrix[..., :3, 3] = translation
    matrix[..., 3, 3] = 1.0
    return matrix


def inverse(dst_from_src: Array) -> Array:
    """``src_from_dst`` of rigid transforms ``(..., d + 1, d + 1)`` (transpose, not elimination)."""
    rotation_t = np.swapaxes(dst_from_src[..., :-1, :-1], -1, -2)
    result = np.zeros_like(dst_from_src, dtype=np.float64)
    result[..., :-1, :-1] = rotation_t
    result[..., :-1, -1] = -(rotation_t @ dst_from_src[..., :-1, -1:])[..., 0]
    result[..., -1, -1] = 1.0
    return result


def transform_points(dst_from_src: Array, points: Array) -> Array:
    """Points ``(..., points, d)`` of frame src in frame dst, with ``(..., d + 1, d + 1)``."""
    rotation_t = np.swapaxes(dst_from_src[..., :-1, :-1], -1, -2)
    return points @ rotation_t + dst_from_src[..., None, :-1, -1]


# --- oriented boxes -----------------------------------------------------------------------------


def box_corners(
    x: Array | float,
    y: Array | float,
    heading: Array | float,
    length: Array | float,
    width: Array | float,
) -> Array:
    """Corners of boxes given by their centre: ``(...)`` each -> ``(..., 4, 2)``.

    Counter-clockwise from the driver's front left: front left, rear left, rear right, front right.
    """
    x, y, heading, length, width = np.broadcast_arrays(x, y, heading, length, width)
    along = np.stack([np.cos(heading), np.sin(heading)], axis=-1) * (length / 2.0)[..., None]
    left = np.stack([-np.sin(heading), np.cos(heading)], axis=-1) * (width / 2.0)[..., None]
    centre = np.stack([x, y], axis=-1)
    corners = [centre + along + left, centre - along + left]
    corners += [centre - along - left, centre + along - left]
    return np.stack(corners, axis=-2)


def _box_axes(corners: Array) -> Array:
    """Unit forward and left axis of boxes ``(..., 4, 2)`` -> ``(..., 2, 2)``; sizes may be zero."""
    along = corners[..., 0, :] - corners[..., 1, :]
    left = corners[..., 0, :] - corners[..., 3, :]
    right_of_left = np.stack([left[..., 1], -left[..., 0]], axis=-1)
    norm = np.linalg.norm(along, axis=-1, keepdims=True)
    norm_left = np.linalg.norm(left, axis=-1, keepdims=True)
    forward = np.where(
        norm > 0.0,
        along / np.where(norm > 0.0, norm, 1.0),
        np.where(
            norm_left > 0.0,
            right_of_left / np.where(norm_left > 0.0, norm_left, 1.0),
            np.array([1.0, 0.0]),
        ),
    )
    return np.stack([forward, np.stack([-forward[..., 1], forward[..., 0]], axis=-1)], axis=-2)


def boxes_overlap(corners_a: Array, corners_b: Array, tolerance: float = 1e-9) -> Array:
    """Whether oriented boxes share a point: ``(..., 4, 2)`` twice -> ``(...)`` bool.

    Separating-axis test; boxes that touch (gap up to ``tolerance``, m) overlap.
    """
    apart = np.zeros(np.broadcast_shapes(corners_a.shape[:-2], corners_b.shape[:-2]), dtype=bool)
    for axes in (_box_axes(corners_a), _box_axes(corners_b)):
        on_a = corners_a @ np.swapaxes(axes, -1, -2)  # (..., corner, axis)
        on_b = corners_b @ np.swapaxes(axes, -1, -2)
        gap = np.maximum(on_a.min(-2) - on_b.max(-2), on_b.min(-2) - on_a.max(-2))
        apart |= (gap > tolerance).any(-1)
    return ~apart


def box_distance(corners_a: Array, corners_b: Array) -> Array:
    """Shortest distance (m) between oriented boxes, 0 where they overlap: ``(...)``.

    Two disjoint convex polygons are nearest at a corner of one of them, so the distance is the
    least of the eight corner-to-box distances.
    """

    def corners_to_box(corners: Array, box: Array) -> Array:
        axes = _box_axes(box)
        centre = box.mean(-2, keepdims=True)
        half = np.abs((box - centre) @ np.swapaxes(axes, -1, -2)).max(-2, keepdims=True)
        local = np.abs((corners - centre) @ np.swapaxes(axes, -1, -2))
        return np.linalg.norm(np.maximum(local - half, 0.0), axis=-1).min(-1)

    least = np.minimum(corners_to_box(corners_a, corners_b), corners_to_box(corners_b, corners_a))
    return np.where(boxes_overlap(corners_a, corners_b, tolerance=0.0), 0.0, least)


# --- polylines ----------------------------------------------------------------------------------


def _segment_lengths(points: Array) -> Array:
    if points.ndim < 2 or points.shape[-2] < 2:
        raise RoadloopError(
            f"polyline of shape {points.shape}: expected (..., points, 2 or 3), at least 2 points"
        )
    lengths = np.linalg.norm(np.diff(points, axis=-2), axis=-1)
    if not (lengths > 0.0).all():
        row = np.argwhere(~(lengths > 0.0))[0]
        raise RoadloopError(
            f"polyline has equal or non-finite neighbouring points at {tuple(row.tolist())}: "
            "drop repeated points first"
        )
    return lengths


def polyline_arc_length(points: Array) -> Array:
    """Distance along the polyline of every point, from 0: ``(..., P, d)`` -> ``(..., P)``."""
    lengths = _segment_lengths(points)
    start = np.zeros((*lengths.shape[:-1], 1))
    return np.concatenate([start, np.cumsum(lengths, axis=-1)], axis=-1)


def polyline_at(points: Array, s: Array | float) -> Array:
    """Points ``(..., d)`` at arc lengths ``s`` ``(...)`` of one polyline ``(P, d)``.

    Linear between the points; ``s`` is clamped to the ends.
    """
    arc = polyline_arc_length(points)
    s = np.asarray(s, dtype=np.float64)
    return np.stack([np.interp(s, arc, points[:, k]) for k in range(points.shape[1])], axis=-1)


def polyline_resample(points: Array, spacing: float) -> Array:
    """One polyline ``(P, d)`` at a uniform spacing of at most ``spacing`` m, same ends."""
    if not spacing > 0.0:
        raise RoadloopError(f"spacing is {spacing}: expected a length above 0 m")
    length = polyline_arc_length(points)[-1]
    # the small slack keeps rounding from adding a point to a length that divides evenly
    count = max(int(np.ceil(length / spacing - 1e-9)), 1) + 1
    resampled = polyline_at(points, np.linspace(0.0, length, count))
    resampled[-1] = points[-1]
    return resampled


def polyline_headings(points: Array) -> Array:
    """Direction of travel at every point: ``(..., P, d)`` -> ``(..., P)``, rad in (-pi, pi].

    The tangent of the circle through each point and its neighbours: the directions of the two
    adjoining segments, each weighted by the *other's* length; carried on to the end points.
    """
    lengths = _segment_lengths(points)
    delta = np.diff(points[..., :2], axis=-2)
    segment = np.unwrap(np.arctan2(delta[..., 1], delta[..., 0]), axis=-1)
    if segment.shape[-1] == 1:
        return wrap_angle(np.repeat(segment, 2, axis=-1))
    before, after = lengths[..., :-1], lengths[..., 1:]
    inner = (segment[..., :-1] * after + segment[..., 1:] * before) / (before + after)
    first = 2.0 * segment[..., :1] - inner[..., :1]
    last = 2.0 * segment[..., -1:] - inner[..., -1:]
    return wrap_angle(np.concatenate([first, inner, last], axis=-1))


def polyline_curvature(points: Array) -> Array:
    """Curvature (1/m, left positive) of ``(..., P, d)`` seen from above -> ``(..., P)``.

    The inverse radius of the circle through each point and its neighbours (Menger curvature,
    ``2 sin(turn) / |p[i + 1] - p[i - 1]|``); the end points repeat their neighbour, a polyline of
    two points is straight.
    """
    _segment_lengths(points)
    delta = np.diff(points[..., :2], axis=-2)
    if delta.shape[-2] == 1:
        return np.zeros(points.shape[:-1])
    before, after = delta[..., :-1, :], delta[..., 1:, :]
    cross = before[..., 0] * after[..., 1] - before[..., 1] * after[..., 0]
    sides = np.linalg.norm(before, axis=-1) * np.linalg.norm(after, axis=-1)
    chord = np.linalg.norm(before + after, axis=-1)
    inner = 2.0 * cross / np.maximum(sides * chord, np.finfo(np.float64).tiny)
    return np.concatenate([inner[..., :1], inner, inner[..., -1:]], axis=-1)


def polyline_project(points: Array, xy: Array) -> tuple[Array, Array, Array]:
    """Nearest point on one polyline ``(P, 2)`` to each of ``xy`` ``(..., 2)``.

    Returns arc length ``s`` (clamped to the ends), distance signed left positive, and the index of
    the segment, each ``(...)``.
    """
    lengths = _segment_lengths(points)
    arc = np.concatenate([[0.0], np.cumsum(lengths)])
    direction = np.diff(points, axis=0) / lengths[:, None]
    offset = np.asarray(xy, dtype=np.float64)[..., None, :] - points[:-1]
    along = np.clip((offset * direction).sum(-1), 0.0, lengths)
    away = np.linalg.norm(offset - along[..., None] * direction, axis=-1)
    segment = away.argmin(-1)
    pick = segment[..., None]
    s = arc[segment] + np.take_along_axis(along, pick, -1)[..., 0]
    cross = direction[:, 0] * offset[..., 1] - direction[:, 1] * offset[..., 0]
    side = np.where(np.take_along_axis(cross, pick, -1)[..., 0] < 0.0, -1.0, 1.0)
    return s, side * np.take_along_axis(away, pick, -1)[..., 0], segment


# --- Frenet coordinates -------------------------------------------------------------------------
#
# Along each segment the tangent is blended linearly between the tangents at its two points, so that
# the normals sweep the plane without gaps or overlaps and the two functions below undo each other
# (wherever |d| is below the radius of curvature). Beyond the ends the end tangents go on straight.


def _tangents(points: Array) -> Array:
    heading = polyline_headings(points)
    return np.stack([np.cos(heading), np.sin(heading)], axis=-1)


def xy_from_frenet(points: Array, s: Array | float, d: Array | float) -> tuple[Array, Array]:
    """World positions ``(..., 2)`` and headings ``(...)`` of the reference line at Frenet ``s, d``.

    ``points`` is one reference line ``(P, 2)``; ``s`` is m along it, ``d`` m to its left.
    """
    arc, tangent = polyline_arc_length(points), _tangents(points)
    s, d = np.broadcast_arrays(np.asarray(s, dtype=np.float64), d)
    segment = np.clip(np.searchsorted(arc, s, side="right") - 1, 0, len(points) - 2)
    share = (s - arc[segment]) / (arc[segment + 1] - arc[segment])
    inside = np.clip(share, 0.0, 1.0)[..., None]
    along = tangent[segment] * (1.0 - inside) + tangent[segment + 1] * inside
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    foot = points[segment] * (1.0 - inside) + points[segment + 1] * inside
    foot = foot + along * (s - np.clip(s, 0.0, arc[-1]))[..., None]
    left = np.stack([-along[..., 1], along[..., 0]], axis=-1)
    return foot + d[..., None] * left, np.arctan2(along[..., 1], along[..., 0])


def frenet_from_xy(points: Array, xy: Array) -> tuple[Array, Array]:
    """Frenet ``s, d`` (m along, m left), each ``(...)``, of ``xy`` ``(..., 2)``.

    ``points`` is one reference line ``(P, 2)``; ``s`` runs below 0 and beyond the length for
    positions before and past it. With ``p`` and ``t`` blended along the segment by ``u``, the foot
    is where ``(xy - p(u)) . t(u) = 0``, a quadratic in ``u``.
    """
    arc, tangent = polyline_arc_length(points), _tangents(points)
    xy = np.asarray(xy, dtype=np.float64)
    nearest = np.linalg.norm(xy[..., None, :] - points, axis=-1).argmin(-1)
    ahead = ((xy - points[nearest]) * tangent[nearest]).sum(-1)
    segment = np.clip(np.where(ahead >= 0.0, nearest, nearest - 1), 0, len(points) - 2)

    chord = points[segment + 1] - points[segment]
    turn = tangent[segment + 1] - tangent[segment]
    offset = xy - points[segment]
    # c + b u + a u^2 = 0; the root that stays finite as the segment becomes straight (a -> 0)
    c = (offset * tangent[segment]).sum(-1)
    b = (offset * turn).sum(-1) - (chord * tangent[segment]).sum(-1)
    a = -(chord * turn).sum(-1)
    root = np.sqrt(np.maximum(b * b - 4.0 * a * c, 0.0))
    denominator = -b + root
    u = np.clip(2.0 * c / np.where(denominator > 1e-12, denominator, 1e-12), 0.0, 1.0)[..., None]

    along = tangent[segment] + u * turn
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    rest = offset - u * chord
    # what is left along the tangent at u = 0 or 1: before the start, past the end
    beyond = (rest * along).sum(-1)
    at_start = (segment == 0) & (u[..., 0] <= 0.0)
    at_end = (segment == len(points) - 2) & (u[..., 0] >= 1.0)
    s = arc[segment] + u[..., 0] * (arc[segment + 1] - arc[segment])
    s = s + np.where(at_start | at_end, beyond, 0.0)
    d = along[..., 0] * rest[..., 1] - along[..., 1] * rest[..., 0]
    return s, d
