"""Kernels of the fast LiDAR: triangles entered into the grid of beams, and what won looked up.

``sim.render.sweep`` says how it works.
"""

from __future__ import annotations

import warp as wp

from roadloop.semantics import SemanticClass
from sim.render.cull import NEAR
from sim.render.geometry import CHUNK, DETAIL_SHIFT, SEMANTIC_SHIFT, Chunk, Triangle
from sim.render.raster import one_sided

wp.set_module_options({"enable_backward": False})

TURN = wp.constant(2.0 * wp.PI)
EDGE = wp.constant(0.01)
"""columns by which a span is widened against rounding; every beam in it is tested anyway"""
NARROW = wp.constant(32.0)
"""columns from where finding the arc of a row is cheaper than testing all of them"""
CLOSE = wp.constant(5.0)
"""m off the sensor's axis up to where each triangle's own distance is found, not its chunk's"""
SLACK = wp.constant(2.0e-7)
"""rad by which triangles are grown, so that no beam slips through between two of them"""


@wp.struct
class Row:
    """One beam of the grid."""

    beam: wp.int32
    cos: wp.float32  # of the elevation
    sin: wp.float32
    offset: wp.float32
    cos_offset: wp.float32
    sin_offset: wp.float32


@wp.struct
class Sector:
    """Consecutive columns seen from one pose."""

    first: wp.int32
    columns: wp.int32
    start: wp.float32  # azimuth of the first column in that pose's frame
    step: wp.float32
    turn: wp.mat33  # sector_from_middle: the chunks are given in the frame of the middle pose
    place: wp.vec3
    drift: wp.vec3  # m the sensor moves from column to column
    reach: wp.float32  # m it is away from the middle at most
    left: wp.vec2  # inward normals of the upright planes that bound it; 0: it has none
    right: wp.vec2


@wp.struct
class Ray:
    """Where a column's beams start and how they are turned, in the frame of its sector."""

    trig: wp.vec2  # cosine and sine of the column's azimuth
    turn: wp.mat33  # what the azimuth does not say
    origin: wp.vec3
    sector: wp.int32


@wp.func
def narrowed(span: wp.vec2, a: wp.float32, b: wp.float32, c: wp.float32):
    """The part of ``span`` (azimuths) from the first to the last a cos + b sin + c >= 0."""
    size = wp.sqrt(a * a + b * b)
    if c >= size:
        return span
    if c < -size:
        return wp.vec2(1.0, 0.0)
    half = wp.acos(wp.max(-c / size - 1.0e-6, -1.0))
    middle = wp.atan2(b, a)
    low = span[0]
    high = span[1]
    past = low - middle + half
    past -= TURN * wp.floor(past / TURN)
    if past > 2.0 * half:
        low += TURN - past
    short = middle + half - high
    short -= TURN * wp.floor(short / TURN)
    if short > 2.0 * half:
        high -= TURN - short
    return wp.vec2(low, high)


@wp.func
def slope_of(v: wp.vec3):
    """Tangent of the elevation of ``v``; +-1e6 above and below the sensor."""
    return wp.clamp(v[2] / wp.sqrt(v[0] * v[0] + v[1] * v[1] + 1.0e-20), -1.0e6, 1.0e6)


@wp.func
def arched(span: wp.vec2, v: wp.vec3, edge: wp.vec3, n: wp.vec3):
    """``span`` of elevation tangents widened by what lies between the ends of an edge from ``v``.

    Along a straight edge the elevation rises and falls at most once, up to the angle between
    the plane through the edge (normal ``n``) and the level.
    """
    w = v + edge
    rise = edge[2] * (v[0] * v[0] + v[1] * v[1]) - v[2] * (v[0] * edge[0] + v[1] * edge[1])
    fall = edge[2] * (w[0] * w[0] + w[1] * w[1]) - w[2] * (w[0] * edge[0] + w[1] * edge[1])
    if rise * fall >= 0.0:
        return span
    most = wp.sqrt(n[0] * n[0] + n[1] * n[1]) / wp.max(wp.abs(n[2]), 1.0e-20)
    if rise > 0.0:
        return wp.vec2(span[0], wp.max(span[1], most))
    return wp.vec2(wp.min(span[0], -most), span[1])


@wp.func
def turned(angle: wp.float32):
    """``angle`` in (-2 pi, 2 pi) brought into [-pi, pi]."""
    if angle > wp.PI:
        return angle - TURN
    if angle < -wp.PI:
        return angle + TURN
    return angle


@wp.func
def off_axis(v: wp.vec3, edge: wp.vec3):
    """m from the sensor's upright axis to an edge from ``v``, seen from above."""
    along = -(v[0] * edge[0] + v[1] * edge[1]) / (edge[0] * edge[0] + edge[1] * edge[1] + 1.0e-20)
    share = wp.clamp(along, 0.0, 1.0)
    x = v[0] + share * edge[0]
    y = v[1] + share * edge[1]
    return wp.sqrt(x * x + y * y)


@wp.func
def widened(tall: wp.vec2, away: wp.float32, sector: Sector):
    """Elevation tangents of what is ``away`` m and more from the axis, the sensor anywhere."""
    rise = wp.abs(sector.drift[2]) * 0.5 * wp.float32(sector.columns) / (away - sector.reach)
    nearer = away / (away - sector.reach)
    farther = away / (away + sector.reach)
    return wp.vec2(
        tall[0] * wp.where(tall[0] < 0.0, nearer, farther) - rise,
        tall[1] * wp.where(tall[1] > 0.0, nearer, farther) + rise,
    )


@wp.func
def beside(v0: wp.vec3, v1: wp.vec3, v2: wp.vec3, inward: wp.vec2, reach: wp.float32):
    """Whether a triangle is wholly on the outer side of an upright plane through the sensor."""
    return (
        v0[0] * inward[0] + v0[1] * inward[1] < -reach
        and v1[0] * inward[0] + v1[1] * inward[1] < -reach
        and v2[0] * inward[0] + v2[1] * inward[1] < -reach
    )


@wp.func
def in_sight(
    at: wp.vec3,
    size: wp.float32,
    sector: Sector,
    rows: wp.array(dtype=Row),
    slope: wp.array(dtype=wp.float32),
    key: wp.array2d(dtype=wp.int64),
):
    """Whether any beam of a sector may meet something in a sphere that it has not met nearer.

    It is a bound: what is skipped could not have won, whatever was entered before.
    """
    distance = wp.length(at)
    if distance <= size:
        return True
    closest = 1.0 / (distance - size)
    beaten = wp.int64(wp.cast(closest, wp.int32)) << wp.int64(32)
    height = wp.asin(wp.clamp(at[2] / distance, -1.0, 1.0))
    opening = wp.asin(size / distance)
    low = wp.tan(wp.max(height - opening, -0.5 * wp.PI + 1.0e-6))
    high = wp.tan(wp.min(height + opening, 0.5 * wp.PI - 1.0e-6))
    level = wp.sqrt(at[0] * at[0] + at[1] * at[1])
    x = float(0.0)
    span = TURN
    if level > size:
        width = wp.asin(size / level)
        x = wp.atan2(at[1], at[0]) - width
        span = 2.0 * width
    period = TURN / sector.step
    last = wp.float32(sector.columns - 1)
    r = wp.lower_bound(slope, low)
    while r < rows.shape[0]:
        if slope[r] > high:
            return False
        begin = (x - rows[r].offset - sector.start) / sector.step - EDGE
        begin -= period * wp.floor(begin / period)
        end = begin + span / sector.step + 2.0 * EDGE
        while end >= 0.0:
            first = wp.int32(wp.ceil(wp.max(begin, 0.0)))
            for k in range(first, wp.int32(wp.min(end, last)) + 1):
                if key[r, sector.first + k] <= beaten:
                    return True
            begin -= period
            end -= period
        r += 1
    return False


@wp.func
def enter(
    v0: wp.vec3,
    v1: wp.vec3,
    v2: wp.vec3,
    closed: wp.bool,
    least: wp.float32,
    away: wp.float32,
    id: wp.int64,
    sector: Sector,
    rows: wp.array(dtype=Row),
    slope: wp.array(dtype=wp.float32),
    trig: wp.array(dtype=wp.vec2),
    key: wp.array2d(dtype=wp.int64),
):
    """Enters one triangle (sector's frame) into the grid.

    ``closed`` leaves out its back, ``least`` is the smallest 1 / t it is seen at, ``away`` how far
    from the sensor's upright axis it is at least, m.
    """
    e0 = v1 - v0
    e1 = v2 - v1
    normal = wp.cross(e0, e1)
    det = wp.dot(v0, normal)
    moving = sector.reach > 0.0
    crossing = bool(False)  # the sensor may pass through its plane
    if moving:
        crossing = wp.abs(det) <= sector.reach * wp.length(normal)
    if not crossing:
        if det == 0.0 or (closed and det > 0.0):
            return
    e2 = v0 - v2
    f0 = slope_of(v0)
    f1 = slope_of(v1)
    f2 = slope_of(v2)
    n0 = wp.cross(v0, e0)
    n1 = wp.cross(v1, e1)
    n2 = wp.cross(v2, e2)
    tall = wp.vec2(wp.min(f0, wp.min(f1, f2)), wp.max(f0, wp.max(f1, f2)))
    tall = arched(tall, v0, e0, n0)
    tall = arched(tall, v1, e1, n1)
    tall = arched(tall, v2, e2, n2)

    # does the sensor's vertical axis go through it?
    left = wp.min(n0[2], wp.min(n1[2], n2[2]))
    right = wp.max(n0[2], wp.max(n1[2], n2[2]))
    rim = 1.0e-5 * (right - left)
    around = left >= -rim or right <= rim
    if around:
        if det * normal[2] >= 0.0 or crossing:
            tall[1] = 1.0e6
        if det * normal[2] <= 0.0 or crossing:
            tall[0] = -1.0e6
    if moving:
        if away < CLOSE:
            away = wp.min(off_axis(v0, e0), wp.min(off_axis(v1, e1), off_axis(v2, e2)))
        if away > 2.0 * sector.reach:
            tall = widened(tall, away, sector)
        else:
            around = True
            tall = wp.vec2(-1.0e6, 1.0e6)

    count = rows.shape[0]
    low = tall[0] - 1.0e-5 * (1.0 + tall[0] * tall[0])
    high = tall[1] + 1.0e-5 * (1.0 + tall[1] * tall[1])
    r = wp.lower_bound(slope, low)
    if r >= count:
        return
    if slope[r] > high:
        return

    span = wp.vec2(-wp.PI, wp.PI)
    if not around:
        p0 = wp.atan2(v0[1], v0[0])
        p1 = turned(wp.atan2(v1[1], v1[0]) - p0)
        p2 = turned(wp.atan2(v2[1], v2[0]) - p0)
        aside = 1.05 * sector.reach / wp.max(away, 1.0e-6)  # at least the arc sine, up to 0.5
        span = wp.vec2(
            p0 + wp.min(0.0, wp.min(p1, p2)) - aside, p0 + wp.max(0.0, wp.max(p1, p2)) + aside
        )

    side = wp.sign(det)
    if det < 0.0:
        n0 = -n0
        n1 = -n1
        n2 = -n2
        normal = -normal
        det = -det
    scale = 1.0 / wp.max(det, 1.0e-20)
    s0 = SLACK * (wp.abs(n0[0]) + wp.abs(n0[1]) + wp.abs(n0[2]))
    s1 = SLACK * (wp.abs(n1[0]) + wp.abs(n1[1]) + wp.abs(n1[2]))
    s2 = SLACK * (wp.abs(n2[0]) + wp.abs(n2[1]) + wp.abs(n2[2]))
    # from column to column n changes by -edge x drift ...
    g0 = wp.cross(sector.drift, e0) * side
    g1 = wp.cross(sector.drift, e1) * side
    g2 = wp.cross(sector.drift, e2) * side
    most = 0.5 * wp.float32(sector.columns)
    m0 = most * wp.length(g0)
    m1 = most * wp.length(g1)
    m2 = most * wp.length(g2)
    # ... and det by -normal . drift, here as a share of it
    approach = wp.dot(normal, sector.drift) * scale
    period = TURN / sector.step
    last = wp.float32(sector.columns - 1)

    while r < count:
        if slope[r] > high:
            return
        row = rows[r]
        x = (span[0] - row.offset - sector.start) / sector.step
        y = (span[1] - row.offset - sector.start) / sector.step
        if wp.floor(y + EDGE) >= wp.ceil(x - EDGE):
            # n . d = a cos + b sin + c over the azimuth of the column
            co = row.cos * row.cos_offset
            so = row.cos * row.sin_offset
            a0 = n0[0] * co + n0[1] * so
            b0 = n0[1] * co - n0[0] * so
            c0 = n0[2] * row.sin + s0 + m0
            a1 = n1[0] * co + n1[1] * so
            b1 = n1[1] * co - n1[0] * so
            c1 = n1[2] * row.sin + s1 + m1
            a2 = n2[0] * co + n2[1] * so
            b2 = n2[1] * co - n2[0] * so
            c2 = n2[2] * row.sin + s2 + m2
            if y - x > NARROW and not crossing:
                part = span - wp.vec2(row.offset, row.offset)
                part = narrowed(part, a0, b0, c0)
                part = narrowed(part, a1, b1, c1)
                part = narrowed(part, a2, b2, c2)
                x = (part[0] - sector.start) / sector.step
                y = (part[1] - sector.start) / sector.step
            a = (normal[0] * co + normal[1] * so) * scale
            b = (normal[1] * co - normal[0] * so) * scale
            c = normal[2] * row.sin * scale
            back = period * wp.floor((x - EDGE) / period)
            x -= back
            y -= back
            # what begins in one turn may end in the next
            while y >= -EDGE:
                begin = wp.int32(wp.max(wp.ceil(x - EDGE), 0.0))
                end = wp.int32(wp.min(wp.floor(y + EDGE), last))
                k = int(sector.first + begin)
                while k <= sector.first + end:
                    at = trig[k]
                    w0 = a0 * at[0] + b0 * at[1] + c0
                    w1 = a1 * at[0] + b1 * at[1] + c1
                    w2 = a2 * at[0] + b2 * at[1] + c2
                    w = wp.min(w0, wp.min(w1, w2))
                    near = a * at[0] + b * at[1] + c
                    if moving and (w >= 0.0 or crossing):
                        step = wp.float32(k - sector.first - sector.columns // 2)
                        d = wp.vec3(co * at[0] - so * at[1], co * at[1] + so * at[0], row.sin)
                        w0 -= m0 + step * wp.dot(g0, d)
                        w1 -= m1 + step * wp.dot(g1, d)
                        w2 -= m2 + step * wp.dot(g2, d)
                        w = wp.min(w0, wp.min(w1, w2))
                        share = 1.0 - step * approach
                        if share < 0.0:  # seen from the other side by now
                            w = -wp.max(w0, wp.max(w1, w2))
                        if closed and share * side > 0.0:
                            w = -1.0
                        near /= share
                    near = wp.where(w >= 0.0, near, 0.0)
                    entry = (wp.int64(wp.cast(near, wp.int32)) << wp.int64(32)) | id
                    if entry > key[r, k]:
                        if near >= least and near <= 1.0 / NEAR:
                            wp.atomic_max(key, r, k, entry)
                    k += 1
                x -= period
                y -= period
        r += 1


@wp.kernel
def rasterise(
    triangles: wp.array(dtype=Triangle),
    chunks: wp.array(dtype=Chunk),
    sectors: wp.array(dtype=Sector),
    rows: wp.array(dtype=Row),
    slope: wp.array(dtype=wp.float32),
    trig: wp.array(dtype=wp.vec2),
    detail_far: wp.float32,
    lanes: wp.int32,
    key: wp.array2d(dtype=wp.int64),
):
    """One thread per sector, chunk and lane; a lane takes every ``lanes``-th triangle of it."""
    s, n, lane = wp.tid()
    chunk = chunks[n]
    sector = sectors[s]
    linear = sector.turn * chunk.linear
    offset = sector.turn * chunk.offset + sector.place
    at = sector.turn * chunk.middle + sector.place
    if in_sight(at, chunk.radius + sector.reach, sector, rows, slope, key):
        away = wp.sqrt(at[0] * at[0] + at[1] * at[1]) - chunk.radius
        k = int(lane)
        while k < chunk.count:
            row = chunk.first + k
            v0 = linear * triangles[row].a + offset
            v1 = linear * triangles[row].b + offset
            v2 = linear * triangles[row].c + offset
            if not (
                beside(v0, v1, v2, sector.left, sector.reach)
                or beside(v0, v1, v2, sector.right, sector.reach)
            ):
                tag = triangles[row].tag
                least = float(0.0)
                if tag >> DETAIL_SHIFT == 1:
                    least = 1.0 / detail_far
                id = wp.int64(n * CHUNK + k + 1)
                closed = one_sided(tag & 255)
                enter(v0, v1, v2, closed, least, away, id, sector, rows, slope, trig, key)
            k += lanes


@wp.kernel
def resolve(
    triangles: wp.array(dtype=Triangle),
    chunks: wp.array(dtype=Chunk),
    rows: wp.array(dtype=Row),
    sectors: wp.array(dtype=Sector),
    rays: wp.array(dtype=Ray),
    actor_id: wp.array(dtype=wp.int32),
    key: wp.array2d(dtype=wp.int64),
    lanes: wp.int32,
    distance: wp.array2d(dtype=wp.float32),
    cosine: wp.array2d(dtype=wp.float32),
    surface: wp.array2d(dtype=wp.uint8),
    semantic: wp.array2d(dtype=wp.uint8),
    instance: wp.array2d(dtype=wp.int32),
):
    """One thread per beam and lane: what the winning triangles are, and how far from the sensor."""
    r, lane = wp.tid()
    row = rows[r]
    c = int(lane)
    while c < rays.shape[0]:
        entry = key[r, c]
        id = wp.int32(entry & wp.int64(0x7FFFFFFF)) - 1
        if id < 0:
            distance[c, row.beam] = wp.inf
            semantic[c, row.beam] = wp.uint8(SemanticClass.SKY)
        else:
            chunk = chunks[id // CHUNK]
            t = triangles[chunk.first + id % CHUNK]
            ray = rays[c]
            # the beam as it was fired, not as the middle of its sector has it
            d = ray.turn * wp.vec3(
                row.cos * (ray.trig[0] * row.cos_offset - ray.trig[1] * row.sin_offset),
                row.cos * (ray.trig[1] * row.cos_offset + ray.trig[0] * row.sin_offset),
                row.sin,
            )
            sector = sectors[ray.sector]
            linear = sector.turn * chunk.linear
            normal = wp.cross(linear * (t.b - t.a), linear * (t.c - t.a))
            across = wp.dot(normal, d)
            at = linear * t.a + sector.turn * chunk.offset + sector.place - ray.origin
            # the same plane in the column's own pose; bounded, as the beam may just miss it
            met = 1.0 / wp.cast(wp.int32(entry >> wp.int64(32)), wp.float32)
            play = 0.05 * met + 0.05
            moved = wp.dot(normal, at) / across
            distance[c, row.beam] = wp.clamp(moved, met - play, met + play)
            cosine[c, row.beam] = wp.min(wp.abs(across) / wp.length(normal), 1.0)
            surface[c, row.beam] = wp.uint8(t.tag & 255)
            semantic[c, row.beam] = wp.uint8((t.tag >> SEMANTIC_SHIFT) & 255)
            if chunk.actor >= 0:
                instance[c, row.beam] = actor_id[chunk.actor]
            else:
                instance[c, row.beam] = t.instance
        c += lanes
