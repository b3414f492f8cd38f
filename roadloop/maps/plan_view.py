"""Reference lines of roads: line, arc, spiral, poly3 and paramPoly3, evaluated for arrays of s.

All geometries follow ASAM OpenDRIVE 1.7, chapter 9 ("Geometries"): each starts at ``(x, y)`` with
heading ``hdg`` at road coordinate ``s`` and runs ``length`` metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roadloop.maps.opendrive_xml import Element, Unsupported, complaint, number, numbers

Array = np.ndarray

LINE, ARC, SPIRAL, POLYNOMIAL = range(4)

# Below this change of heading (rad) by change of curvature a spiral is taken for an arc of its mean
# curvature, which is exact to a micrometre, while the Fresnel form would lose more digits.
_FLAT_SPIRAL = 1e-7

# m, spacing of the table that turns arc length into the parameter of a polynomial
_TABLE_STEP = 0.05

MAX_LENGTH = 1e5
"""m; a longer road or lane is a slip of the pen and would exhaust the memory"""

# m, a jump of the reference line worth telling
_GAP = 0.1


@dataclass(frozen=True)
class ParametricCurve:
    """A polynomial geometry ``u(p), v(p)`` in the frame of its start, with a table s -> p."""

    u: Array
    """(4,) coefficients a, b, c, d"""
    v: Array
    table_s: Array
    table_p: Array

    def evaluate(self, ds: Array) -> tuple[Array, Array, Array, Array]:
        """u, v, direction (rad) and curvature (1/m) at arc length ``ds``; each shaped like it."""
        p = np.interp(ds, self.table_s, self.table_p)
        u, du, ddu = _cubic(self.u, p)
        v, dv, ddv = _cubic(self.v, p)
        return u, v, np.arctan2(dv, du), (du * ddv - dv * ddu) / np.hypot(du, dv) ** 3


@dataclass(frozen=True)
class PlanView:
    """The reference line of one road; arrays over its geometries."""

    s: Array
    x: Array
    y: Array
    heading: Array
    length: Array
    kind: Array
    curvature: Array
    """1/m at the start"""
    curvature_rate: Array
    """1/m^2, change of curvature per metre (spirals)"""
    curves: dict[int, ParametricCurve]

    @property
    def end(self) -> float:
        """Road coordinate at which the last geometry ends."""
        return float(self.s[-1] + self.length[-1])

    def evaluate(self, s: Array) -> tuple[Array, Array, Array, Array]:
        """x, y, heading (rad, not wrapped) and curvature (1/m) at road coordinates ``s`` (n,)."""
        index = np.clip(np.searchsorted(self.s, s, side="right") - 1, 0, len(self.s) - 1)
        return self._at(index, s - self.s[index])

    def _at(self, index: Array, ds: Array) -> tuple[Array, Array, Array, Array]:
        start = self.heading[index]
        curvature = self.curvature[index]
        rate = self.curvature_rate[index]
        turn = curvature * ds + rate * ds**2 / 2
        # An arc is x = L sinc(turn / 2) along the chord, which bisects the angle turned; with no
        # curvature it is a line, so that one formula serves both.
        chord = ds * np.sinc(turn / (2 * np.pi))
        u, v = chord * np.cos(turn / 2), chord * np.sin(turn / 2)
        spiral = np.flatnonzero(np.abs(rate) * ds**2 > _FLAT_SPIRAL)
        if len(spiral):
            u[spiral], v[spiral] = _spiral(curvature[spiral], rate[spiral], ds[spiral])
        direction, kappa = turn, curvature + rate * ds
        for geometry, curve in self.curves.items():
            rows = np.flatnonzero(index == geometry)
            if len(rows):
                values = curve.evaluate(ds[rows])
                u[rows], v[rows], direction[rows], kappa[rows] = values
        cos, sin = np.cos(start), np.sin(start)
        return (
            self.x[index] + u * cos - v * sin,
            self.y[index] + u * sin + v * cos,
            start + direction,
            kappa,
        )

    def gap(self) -> float:
        """m, the largest jump between the end of a geometry and the start of the next."""
        if len(self.s) < 2:
            return 0.0
        first = np.arange(len(self.s) - 1)
        x, y, _, _ = self._at(first, np.diff(self.s))
        return float(np.max(np.hypot(x - self.x[1:], y - self.y[1:])))


def _cubic(c: Array, p: Array) -> tuple[Array, Array, Array]:
    value = c[0] + p * (c[1] + p * (c[2] + p * c[3]))
    return value, c[1] + p * (2 * c[2] + 3 * p * c[3]), 2 * c[2] + 6 * p * c[3]


def _spiral(curvature: Array, rate: Array, ds: Array) -> tuple[Array, Array]:
    """Local end point of an Euler spiral whose heading is curvature*s + rate*s^2/2.

    Completing the square turns it into Fresnel integrals of s + curvature/rate (Abramowitz and
    Stegun, 7.3). A negative rate is the mirror image of a positive one.
    """
    from scipy.special import fresnel

    sign = np.sign(rate)
    k, c = curvature * sign, np.abs(rate)
    scale = np.sqrt(np.pi / c)
    start = k / c
    sin0, cos0 = fresnel(start / scale)
    sin1, cos1 = fresnel((start + ds) / scale)
    along, across = scale * (cos1 - cos0), scale * (sin1 - sin0)
    phase = -k * k / (2 * c)
    u = along * np.cos(phase) - across * np.sin(phase)
    v = along * np.sin(phase) + across * np.cos(phase)
    return u, v * sign


def _parametric(u: Array, v: Array, length: float, normalized: bool | None) -> ParametricCurve:
    """The curve with its table; ``normalized`` None means poly3: the parameter is u itself."""
    steps = max(int(np.ceil(length / _TABLE_STEP)), 8)
    if normalized is False:
        ends = np.array([0.0, length])  # the parameter is the arc length by definition
        return ParametricCurve(u, v, ends, ends)
    p = np.linspace(0.0, 1.0 if normalized else length, steps + 1)
    middle = (p[1:] + p[:-1]) / 2
    speed = [np.hypot(_cubic(u, q)[1], _cubic(v, q)[1]) for q in (p[:-1], middle, p[1:])]
    arc = (speed[0] + 4 * speed[1] + speed[2]) / 6 * np.diff(p)  # Simpson's rule
    table = np.concatenate([[0.0], np.cumsum(arc)])
    if normalized:
        table *= length / table[-1]
    return ParametricCurve(u, v, table, p)


def read_plan_view(road: Element, road_id: str, unsupported: Unsupported) -> PlanView:
    """The reference line of the element ``<road>``; errors name file and line."""
    plan = road.find("planView")
    geometries = [] if plan is None else plan.findall("geometry")
    if not geometries:
        raise complaint(road, f"road {road_id} has no planView geometry", "add one or drop it")
    geometries.sort(key=lambda g: number(g, "s"))
    start = np.array([numbers(g, ("s", "x", "y", "hdg", "length")) for g in geometries])
    kind = np.zeros(len(geometries), np.uint8)
    curvature = np.zeros(len(geometries))
    rate = np.zeros(len(geometries))
    curves: dict[int, ParametricCurve] = {}
    for i, geometry in enumerate(geometries):
        length = start[i, 4]
        if length <= 0:
            raise complaint(
                geometry,
                f"geometry of road {road_id} has length {length:g}",
                "give it a positive length or remove it",
            )
        if length > MAX_LENGTH:
            raise complaint(
                geometry,
                f"geometry of road {road_id} has length {length:g} m",
                f"lengths are metres, at most {MAX_LENGTH:g}",
            )
        shape = next((child for child in geometry if child.tag != "userData"), None)
        if shape is None:
            raise complaint(geometry, f"geometry of road {road_id} is empty", "name its shape")
        tag = shape.tag
        if tag == "line":
            kind[i] = LINE
        elif tag == "arc":
            kind[i], curvature[i] = ARC, number(shape, "curvature")
        elif tag == "spiral":
            first, last = numbers(shape, ("curvStart", "curvEnd"))
            kind[i], curvature[i], rate[i] = SPIRAL, first, (last - first) / length
        elif tag == "poly3":
            kind[i] = POLYNOMIAL
            v = np.array(numbers(shape, "abcd"))
            curves[i] = _parametric(np.array([0.0, 1.0, 0.0, 0.0]), v, length, None)
        elif tag == "paramPoly3":
            kind[i] = POLYNOMIAL
            u = np.array(numbers(shape, ("aU", "bU", "cU", "dU")))
            v = np.array(numbers(shape, ("aV", "bV", "cV", "dV")))
            if not np.any(u[1:]) and not np.any(v[1:]):
                raise complaint(shape, "paramPoly3 is a single point", "correct it")
            curves[i] = _parametric(u, v, length, shape.get("pRange") != "arcLength")
        else:
            raise complaint(
                geometry,
                f"geometry of road {road_id} is a <{tag}>",
                "use line, arc, spiral, poly3 or paramPoly3",
            )
    s, x, y, heading, length = start.T
    view = PlanView(s, x, y, heading, length, kind, curvature, rate, curves)
    if view.end > MAX_LENGTH:
        raise complaint(road, f"road {road_id} is {view.end:g} m long", "correct its geometries")
    if view.gap() > _GAP:
        unsupported.add(f"reference line jumps by {view.gap():.2f} m", road_id, geometries[0])
    return view
