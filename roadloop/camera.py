"""Camera models (pinhole, Brown-Conrady, fisheye) and the warp into a virtual camera.

Camera frame: x right, y down, z forward. Pixel coordinates ``u, v`` run right and down and count
from the centre of the top left pixel, as OpenCV's do, so an image covers -0.5 ... width - 0.5.
The models and the order and sense of their coefficients are those of OpenCV's ``calib3d`` manual.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np

from roadloop.errors import RoadloopError

Array = np.ndarray
Camera = TypeVar("Camera", bound="Pinhole")

ITERATIONS = 20
"""of Newton's method when undoing a distortion; real lenses need about five"""
CONVERGED = 1e-9
"""remaining error in normalised image coordinates, below a millionth of a pixel"""


@dataclass(frozen=True)
class Pinhole:
    """A camera without distortion: ``u = fx x / z + cx``, ``v = fy y / z + cy``."""

    width: int
    """px"""
    height: int
    fx: float
    """px"""
    fy: float
    cx: float
    """px, principal point"""
    cy: float

    def __post_init__(self) -> None:
        if not (self.width > 0 and self.height > 0 and self.fx > 0.0 and self.fy > 0.0):
            raise RoadloopError(
                f"camera of {self.width} x {self.height} px with focal lengths {self.fx}, "
                f"{self.fy}: expected numbers above 0"
            )

    @property
    def matrix(self) -> Array:
        """(3, 3) intrinsics."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def project(self, points: Array) -> tuple[Array, Array]:
        """Points ``(..., 3)`` of the camera frame -> pixels ``(..., 2)`` and seen ``(...)`` bool.

        Seen: in front, where the lens model holds, and inside the image. Pixels of points that are
        not seen are finite but mean nothing.
        """
        points = np.asarray(points, dtype=np.float64)
        image, seen = self._distort(points)
        uv = image * (self.fx, self.fy) + (self.cx, self.cy)
        inside = (uv >= -0.5).all(-1) & (uv < (self.width - 0.5, self.height - 0.5)).all(-1)
        return uv, seen & inside

    def unproject(self, uv: Array) -> tuple[Array, Array]:
        """Pixels ``(..., 2)`` -> unit rays ``(..., 3)`` and whether the lens sees there ``(...)``.

        A wide lens leaves the corners of its image dark: no ray leads there. Pixels outside the
        image are allowed.
        """
        uv = np.asarray(uv, dtype=np.float64)
        rays, seen = self._undistort((uv - (self.cx, self.cy)) / (self.fx, self.fy))
        return rays / np.linalg.norm(rays, axis=-1, keepdims=True), seen

    def scaled(self: Camera, width: int, height: int) -> Camera:
        """The camera of the same picture resized to ``width`` x ``height`` px."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
        )

    def cropped(self: Camera, left: int, top: int, width: int, height: int) -> Camera:
        """The camera of the part of its picture that begins at pixel ``left, top``."""
        if left < 0 or top < 0 or left + width > self.width or top + height > self.height:
            raise RoadloopError(
                f"crop of {width} x {height} px at {left}, {top} leaves the image of "
                f"{self.width} x {self.height} px"
            )
        return replace(self, width=width, height=height, cx=self.cx - left, cy=self.cy - top)

    def _distort(self, points: Array) -> tuple[Array, Array]:
        """Points to normalised image coordinates (``u = fx x + cx``), and where that holds."""
        front = points[..., 2] > 0.0
        return points[..., :2] / np.where(front, points[..., 2], 1.0)[..., None], front

    def _undistort(self, image: Array) -> tuple[Array, Array]:
        """Normalised image coordinates to rays of any length, and where there is one."""
        rays = np.concatenate([image, np.ones_like(image[..., :1])], axis=-1)
        return rays, np.ones(image.shape[:-1], bool)


@dataclass(frozen=True)
class BrownConrady(Pinhole):
    """Radial and tangential distortion; with ``k4`` to ``k6`` the rational model.

    With x, y the pinhole image and q = x^2 + y^2::

        g  = (1 + k1 q + k2 q^2 + k3 q^3) / (1 + k4 q + k5 q^2 + k6 q^3)
        x' = x g + 2 p1 x y + p2 (q + 2 x^2)
        y' = y g + p1 (q + 2 y^2) + 2 p2 x y
    """

    k1: float = 0.0
    k2: float = 0.0
    p1: float = 0.0
    p2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0
    k5: float = 0.0
    k6: float = 0.0

    @cached_property
    def _polynomials(self) -> tuple[np.polynomial.Polynomial, np.polynomial.Polynomial]:
        poly = np.polynomial.Polynomial
        return poly([1.0, self.k1, self.k2, self.k3]), poly([1.0, self.k4, self.k5, self.k6])

    @cached_property
    def limit(self) -> float:
        """tan of the angle from the axis up to which the image grows outwards.

        Beyond it the polynomial folds the picture back over itself, so points there are not seen.
        """
        above, below = self._polynomials
        q = np.polynomial.Polynomial([0.0, 1.0])
        # zeros of d/dr (r above(r^2) / below(r^2)), and of the denominator
        slope = (above + 2 * q * above.deriv()) * below - 2 * q * above * below.deriv()
        return float(np.sqrt(min(_least_positive_root(slope), _least_positive_root(below))))

    def _bend(self, xy: Array) -> tuple[Array, Array]:
        """Distorted coordinates ``(..., 2)`` and their derivative ``(..., 2, 2)``."""
        above, below = self._polynomials
        x, y = xy[..., 0], xy[..., 1]
        q = x * x + y * y
        gain = above(q) / below(q)
        slope = (above.deriv()(q) - gain * below.deriv()(q)) / below(q)
        p1, p2 = self.p1, self.p2
        bent = np.stack(
            [
                x * gain + 2.0 * p1 * x * y + p2 * (q + 2.0 * x * x),
                y * gain + p1 * (q + 2.0 * y * y) + 2.0 * p2 * x * y,
            ],
            axis=-1,
        )
        cross = 2.0 * x * y * slope + 2.0 * (p1 * x + p2 * y)
        by_x = np.stack([gain + 2.0 * x * x * slope + 2.0 * p1 * y + 6.0 * p2 * x, cross], axis=-1)
        by_y = np.stack([cross, gain + 2.0 * y * y * slope + 6.0 * p1 * y + 2.0 * p2 * x], axis=-1)
        return bent, np.stack([by_x, by_y], axis=-1)

    def _distort(self, points: Array) -> tuple[Array, Array]:
        xy, front = super()._distort(points)
        radius = np.linalg.norm(xy, axis=-1)
        holds = radius < self.limit
        # far outside, the polynomial overflows: bend a harmless point instead
        bent, _ = self._bend(np.where(holds[..., None], xy, 0.0))
        return bent, front & holds

    def _undistort(self, image: Array) -> tuple[Array, Array]:
        xy = self._inside(image, 0.9)
        for _ in range(ITERATIONS):
            bent, derivative = self._bend(xy)
            error = image - bent
            (a, b), (c, d) = np.moveaxis(derivative, (-2, -1), (0, 1))
            step = np.stack(
                [d * error[..., 0] - b * error[..., 1], a * error[..., 1] - c * error[..., 0]],
                axis=-1,
            )
            step /= (a * d - b * c)[..., None]
            xy = self._inside(xy + step, 0.999999)
            if np.abs(error).max(initial=0.0) < 1e-3 * CONVERGED:
                break
        error = np.linalg.norm(self._bend(xy)[0] - image, axis=-1)
        rays = np.concatenate([xy, np.ones_like(xy[..., :1])], axis=-1)
        return rays, error < CONVERGED

    def _inside(self, xy: Array, share: float) -> Array:
        """``xy`` drawn in to ``share`` of the limit radius where it lies beyond."""
        if not np.isfinite(self.limit):
            return xy
        radius = np.linalg.norm(xy, axis=-1, keepdims=True)
        return xy * np.minimum(1.0, share * self.limit / np.maximum(radius, 1e-12))


@dataclass(frozen=True)
class Fisheye(Pinhole):
    """Kannala and Brandt's wide-angle model: the image radius is a polynomial of the angle.

    ``r' = a (1 + k1 a^2 + k2 a^4 + k3 a^6 + k4 a^8)`` with a the angle between ray and axis.
    J. Kannala and S. Brandt, "A generic camera model and calibration method for conventional,
    wide-angle, and fish-eye lenses", IEEE PAMI 28 (2006).
    """

    k1: float = 0.0
    k2: float = 0.0
    k3: float = 0.0
    k4: float = 0.0

    @cached_property
    def _polynomial(self) -> np.polynomial.Polynomial:
        return np.polynomial.Polynomial(
            [0.0, 1.0, 0.0, self.k1, 0.0, self.k2, 0.0, self.k3, 0.0, self.k4]
        )

    @cached_property
    def limit(self) -> float:
        """rad from the axis up to which the image grows outwards, at most pi."""
        return min(_least_positive_root(self._polynomial.deriv()), np.pi)

    def _distort(self, points: Array) -> tuple[Array, Array]:
        aside = np.linalg.norm(points[..., :2], axis=-1)
        angle = np.arctan2(aside, points[..., 2])
        radius = self._polynomial(np.minimum(angle, self.limit))
        # on the axis radius / aside is 0 / 0 and the image 0 whatever the factor
        factor = radius / np.where(aside > 0.0, aside, 1.0)
        return points[..., :2] * factor[..., None], angle < self.limit

    def _undistort(self, image: Array) -> tuple[Array, Array]:
        radius = np.linalg.norm(image, axis=-1)
        angle = np.minimum(radius, 0.9 * self.limit)
        slope = self._polynomial.deriv()
        for _ in range(ITERATIONS):
            step = (radius - self._polynomial(angle)) / slope(angle)
            angle = np.clip(angle + step, 0.0, 0.999999 * self.limit)
        error = np.abs(self._polynomial(angle) - radius)
        aside = image / np.where(radius > 0.0, radius, 1.0)[..., None] * np.sin(angle)[..., None]
        return np.concatenate([aside, np.cos(angle)[..., None]], axis=-1), error < CONVERGED


def _least_positive_root(polynomial: np.polynomial.Polynomial) -> float:
    """The smallest real root above 0, inf where there is none."""
    trimmed = polynomial.trim()
    roots = trimmed.roots() if trimmed.degree() > 0 else np.zeros(0)
    real = np.real(roots)[np.abs(np.imag(roots)) < 1e-9 * np.maximum(np.abs(roots), 1.0)]
    return float(real[real > 0.0].min(initial=np.inf))


# --- virtual camera -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Warp:
    """Where each pixel of a target camera's image is found in a source image."""

    u: Array
    """(height, width) float32, px in the source"""
    v: Array
    seen: Array
    """(height, width) bool, the source camera sees this direction"""

    def __call__(self, image: Array) -> Array:
        """The target's image ``(height, width[, channels])``, black where the source sees nothing.

        Interpolated linearly and not smoothed: a target much coarser than the source aliases.
        """
        import cv2

        return cv2.remap(image, self.u, self.v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def warp_between(source: Pinhole, target: Pinhole, source_from_target: Array | None = None) -> Warp:
    """The warp of ``source`` images into a (virtual) camera at the same place.

    ``source_from_target`` is the rotation ``(3, 3)`` of target-frame directions into the source
    frame, by default none. Only a rotation is exact: a camera elsewhere sees other parallaxes.
    """
    rotation = np.eye(3) if source_from_target is None else np.asarray(source_from_target)
    if rotation.shape != (3, 3) or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-6):
        raise RoadloopError(
            f"source_from_target of shape {rotation.shape} is not a rotation: expected (3, 3), "
            "orthonormal"
        )
    v, u = np.indices((target.height, target.width), dtype=np.float64)
    rays, has_ray = target.unproject(np.stack([u, v], axis=-1))
    uv, seen = source.project(rays @ rotation.T)
    seen &= has_ray
    uv = np.where(seen[..., None], uv, -10.0).astype(np.float32)  # outside: the border's black
    return Warp(np.ascontiguousarray(uv[..., 0]), np.ascontiguousarray(uv[..., 1]), seen)
