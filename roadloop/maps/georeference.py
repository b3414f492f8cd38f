"""Latitude and longitude of a map's coordinates: transverse Mercator from a PROJ string.

``parse_georeference(road_map.georeference)`` gives a projection, or None where the string is empty
or asks for something else than ``+proj=tmerc`` or ``+proj=utm`` on WGS 84 (or GRS 80, the same to
0.1 mm) in metres.

The series is L. Krueger's as given by C. F. F. Karney, "Transverse Mercator with an accuracy of a
few nanometers", Journal of Geodesy 85 (2011), equations 7 to 11, 35 and 36, to fourth order in the
third flattening: better than a micrometre within 3000 km of the meridian.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

Array = np.ndarray

_ELLIPSOIDS = {"WGS84", "GRS80", "NAD83"}
_IGNORED = {"no_defs", "wktext", "type", "geoidgrids", "vunits", "ellps", "datum"}
_READ = {"proj", "lat_0", "lon_0", "k", "k_0", "x_0", "y_0", "zone", "south", "units", "towgs84"}


@dataclass(frozen=True)
class TransverseMercator:
    """The projection onto a cylinder that touches the ellipsoid along a meridian."""

    latitude: float = 0.0
    """degrees, of the point with northing ``y``"""
    longitude: float = 0.0
    """degrees, of the meridian"""
    scale: float = 1.0
    """along the meridian"""
    x: float = 0.0
    """m, easting of the meridian"""
    y: float = 0.0
    """m, northing of the origin"""
    semi_major: float = 6378137.0
    """m; WGS 84"""
    flattening: float = 1.0 / 298.257223563

    def forward(self, latitude: Array | float, longitude: Array | float) -> tuple[Array, Array]:
        """Degrees ``(...)`` -> x east, y north in m."""
        xi, eta = self._forward(np.radians(latitude), np.radians(longitude) - self._meridian)
        return self._radius * eta + self.x, self._radius * (xi - self._origin) + self.y

    def inverse(self, x: Array | float, y: Array | float) -> tuple[Array, Array]:
        """x east, y north in m ``(...)`` -> latitude, longitude in degrees."""
        xi = (np.asarray(y, np.float64) - self.y) / self._radius + self._origin
        eta = (np.asarray(x, np.float64) - self.x) / self._radius
        xi2, eta2 = _series(xi, eta, _inverse_terms(self._n), -1.0)
        conformal = np.sin(xi2) / np.hypot(np.sinh(eta2), np.cos(xi2))
        longitude = np.arctan2(np.sinh(eta2), np.cos(xi2)) + self._meridian
        return np.degrees(np.arctan(self._tangent(conformal))), np.degrees(longitude)

    @property
    def _n(self) -> float:
        return self.flattening / (2.0 - self.flattening)

    @property
    def _eccentricity(self) -> float:
        return float(np.sqrt(self.flattening * (2.0 - self.flattening)))

    @cached_property
    def _radius(self) -> float:
        n2 = self._n**2
        rectifying = self.semi_major / (1.0 + self._n) * (1.0 + n2 / 4.0 + n2**2 / 64.0)
        return self.scale * rectifying

    @property
    def _meridian(self) -> float:
        return float(np.radians(self.longitude))

    @cached_property
    def _origin(self) -> float:
        return float(self._forward(np.radians(self.latitude), 0.0)[0])

    def _forward(self, latitude: Array | float, longitude: Array | float) -> tuple[Array, Array]:
        conformal = self._conformal(np.tan(latitude))
        xi = np.arctan2(conformal, np.cos(longitude))
        eta = np.arcsinh(np.sin(longitude) / np.hypot(conformal, np.cos(longitude)))
        return _series(xi, eta, _forward_terms(self._n), 1.0)

    def _conformal(self, tangent: Array) -> Array:
        """Tangent of the conformal latitude from that of the latitude."""
        e = self._eccentricity
        sigma = np.sinh(e * np.arctanh(e * tangent / np.hypot(1.0, tangent)))
        return tangent * np.hypot(1.0, sigma) - sigma * np.hypot(1.0, tangent)

    def _tangent(self, conformal: Array) -> Array:
        """Its inverse, by Newton's method: three steps reach double precision."""
        e2 = self._eccentricity**2
        tangent = conformal / (1.0 - e2)
        for _ in range(3):
            now = self._conformal(tangent)
            slope = (1.0 - e2) * np.hypot(1.0, now) * np.hypot(1.0, tangent)
            tangent = tangent + (conformal - now) * (1.0 + (1.0 - e2) * tangent**2) / slope
        return tangent


def parse_georeference(text: str) -> TransverseMercator | None:
    """The projection of a PROJ string; None where it is empty or not supported."""
    fields: dict[str, str] = {}
    for word in text.split():
        key, _, value = word.lstrip("+").partition("=")
        fields[key] = value
    shift = fields.get("towgs84", "0").split(",")
    try:
        if (
            set(fields) - _READ - _IGNORED
            or fields.get("units", "m") != "m"
            or {fields[k] for k in ("ellps", "datum") if k in fields} - _ELLIPSOIDS
            or any(float(part) != 0.0 for part in shift)
        ):
            return None
        if fields.get("proj") == "utm":
            zone = int(fields["zone"])
            south = 1e7 if "south" in fields else 0.0
            return TransverseMercator(0.0, 6.0 * zone - 183.0, 0.9996, 5e5, south)
        if fields.get("proj") == "tmerc":
            return TransverseMercator(
                latitude=float(fields.get("lat_0", 0.0)),
                longitude=float(fields.get("lon_0", 0.0)),
                scale=float(fields.get("k_0", fields.get("k", 1.0))),
                x=float(fields.get("x_0", 0.0)),
                y=float(fields.get("y_0", 0.0)),
            )
    except (KeyError, ValueError):  # a zone or number is missing or no number
        return None
    return None


def _series(xi: Array, eta: Array, terms: tuple[float, ...], sign: float) -> tuple[Array, Array]:
    """Between the sphere's and the ellipsoid's coordinates."""
    xi2, eta2 = xi, eta
    for j, term in enumerate(terms, start=1):
        xi2 = xi2 + sign * term * np.sin(2 * j * xi) * np.cosh(2 * j * eta)
        eta2 = eta2 + sign * term * np.cos(2 * j * xi) * np.sinh(2 * j * eta)
    return xi2, eta2


def _forward_terms(n: float) -> tuple[float, ...]:
    return (
        n / 2 - 2 * n**2 / 3 + 5 * n**3 / 16 + 41 * n**4 / 180,
        13 * n**2 / 48 - 3 * n**3 / 5 + 557 * n**4 / 1440,
        61 * n**3 / 240 - 103 * n**4 / 140,
        49561 * n**4 / 161280,
    )


def _inverse_terms(n: float) -> tuple[float, ...]:
    return (
        n / 2 - 2 * n**2 / 3 + 37 * n**3 / 96 - n**4 / 360,
        n**2 / 48 + n**3 / 15 - 437 * n**4 / 1440,
        17 * n**3 / 480 - 37 * n**4 / 840,
        4397 * n**4 / 161280,
    )
