"""The models of road users: they fill their boxes, face outwards, and are what they are called."""

from __future__ import annotations

import numpy as np
import pytest

from roadloop.semantics import SemanticClass
from roadloop.types import AgentKind
from sim.actors.models import MODELS, Model, mixed, model_index, palette
from sim.population import SIZES
from sim.scenery.mesh import Surface

NUMBERS = mixed(7, np.arange(4000))
LIMITS = {
    AgentKind.CAR: 180, AgentKind.VAN: 180, AgentKind.TRUCK: 200, AgentKind.BUS: 200,
    AgentKind.MOTORCYCLE: 260, AgentKind.CYCLIST: 200, AgentKind.PEDESTRIAN: 120,
    AgentKind.STATIC: 80,
}  # fmt: skip
"""triangles"""
CLASSES = {
    AgentKind.CAR: {SemanticClass.CAR},
    AgentKind.VAN: {SemanticClass.CAR},
    AgentKind.TRUCK: {SemanticClass.TRUCK},
    AgentKind.BUS: {SemanticClass.BUS},
    AgentKind.MOTORCYCLE: {SemanticClass.MOTORCYCLE, SemanticClass.RIDER},
    AgentKind.CYCLIST: {SemanticClass.BICYCLE, SemanticClass.RIDER},
    AgentKind.PEDESTRIAN: {SemanticClass.PEDESTRIAN},
    AgentKind.STATIC: {SemanticClass.DYNAMIC},
}
FOUR_WHEELED = [m for m in MODELS if m.kind <= AgentKind.BUS]
WITH_LAMPS = [m for m in MODELS if m.kind <= AgentKind.MOTORCYCLE]


def named(model: Model) -> str:
    return model.name


def first_hits(
    corners: np.ndarray, origin: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(rays,) the triangle each ray meets first, -1 where none, and direction . normal there."""
    # Moeller, Trumbore, Fast, Minimum Storage Ray/Triangle Intersection (1997)
    a, b, c = np.moveaxis(corners, 1, 0)
    e, f = b - a, c - a
    dn = direction @ np.cross(e, f).T
    h = np.cross(direction[:, None], f[None])
    det = (h * e).sum(axis=-1)
    to = origin[:, None] - a[None]
    q = np.cross(to, e[None])
    det = np.where(np.abs(det) < 1e-12, np.nan, det)
    u, v = (to * h).sum(axis=-1) / det, (direction[:, None] * q).sum(axis=-1) / det
    t = (q * f).sum(axis=-1) / det
    t = np.where((t > 0.0) & (u >= 0.0) & (v >= 0.0) & (u + v <= 1.0), t, np.inf)
    hit = np.where(np.isfinite(t).any(axis=1), t.argmin(axis=1), -1)
    return hit, dn[np.arange(len(hit)), hit]


def rays_around(model: Model, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Origins and directions of rays that aim at points of the model's box from outside."""
    half = np.array([model.length, model.width, model.height]) / 2.0
    middle = np.array([0.0, 0.0, half[2]])
    azimuth, height = rng.uniform(-np.pi, np.pi, count), rng.uniform(0.05, 0.6, count)
    far = np.stack([np.cos(azimuth), np.sin(azimuth), height], axis=1) * 30.0
    aim = middle + rng.uniform(-0.9, 0.9, (count, 3)) * half
    return far + aim, -far / np.linalg.norm(far, axis=1, keepdims=True)


@pytest.mark.parametrize("model", MODELS, ids=named)
def test_model_fills_its_box_on_all_six_sides(model: Model) -> None:
    points = model.mesh.corners.reshape(-1, 3)
    half = np.array([model.length, model.width]) / 2.0
    np.testing.assert_allclose(points.min(axis=0), [*-half, 0.0], atol=1e-9)
    np.testing.assert_allclose(points.max(axis=0), [*half, model.height], atol=1e-9)


@pytest.mark.parametrize("model", MODELS, ids=named)
def test_triangles_are_few_and_have_area(model: Model) -> None:
    mesh = model.mesh
    assert mesh.triangles <= LIMITS[model.kind]
    a, b, c = np.moveaxis(mesh.corners, 1, 0)
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).min() > 1e-6
    assert ((mesh.colour >= 0.0) & (mesh.colour <= 1.0)).all()
    assert set(mesh.semantic.tolist()) == {int(c) for c in CLASSES[model.kind]}


@pytest.mark.parametrize("model", [m for m in MODELS if not m.name[-1].isdigit()], ids=named)
def test_from_outside_one_sees_the_front_of_faces(model: Model) -> None:
    hit, facing = first_hits(model.mesh.corners, *rays_around(model, 600, np.random.default_rng(1)))
    # Sheets are thin things that one may see from behind: wheels and frames of two-wheelers,
    # mirrors; sleeves and trousers are open tubes.
    thin = np.isin(model.mesh.surface, [Surface.TYRE, Surface.METAL])
    solid = (hit >= 0) & ~thin[hit]
    assert solid.sum() > 100
    assert (facing[solid] < 0.0).mean() > (0.98 if model.kind <= AgentKind.BUS else 0.93)


@pytest.mark.parametrize("model", WITH_LAMPS, ids=named)
def test_lamps_are_where_the_law_wants_them(model: Model) -> None:
    middle = model.mesh.corners.mean(axis=1)
    where = {s: middle[model.mesh.surface == s] for s in Surface}
    assert (where[Surface.HEADLIGHT][:, 0] > 0.15 * model.length).all()
    assert (where[Surface.TAIL_LIGHT][:, 0] < -0.2 * model.length).all()
    for surface, side in ((Surface.INDICATOR_LEFT, 1.0), (Surface.INDICATOR_RIGHT, -1.0)):
        assert (side * where[surface][:, 1] > 0.0).all()
        assert where[surface][:, 0].max() > 0.2 * model.length
        assert where[surface][:, 0].min() < -0.3 * model.length


@pytest.mark.parametrize("model", WITH_LAMPS, ids=named)
@pytest.mark.parametrize("end", [1.0, -1.0], ids=["front", "rear"])
def test_lamps_can_be_seen_from_ahead_and_behind(model: Model, end: float) -> None:
    """At 4 cm per pixel, brake lamps and each indicator cover something."""
    y = np.arange(-model.width / 2.0, model.width / 2.0, 0.04)
    z = np.arange(0.1, min(model.height, 2.0), 0.04)
    yy, zz = (g.ravel() for g in np.meshgrid(y, z))
    origin = np.stack([np.full_like(yy, end * 40.0), yy, zz], axis=1)
    direction = np.broadcast_to([-end, 0.0, 0.0], origin.shape)
    hit, _ = first_hits(model.mesh.corners, origin, direction)
    seen = model.mesh.surface[hit[hit >= 0]]
    wanted = [Surface.INDICATOR_LEFT, Surface.INDICATOR_RIGHT]
    wanted.append(Surface.HEADLIGHT if end > 0.0 else Surface.TAIL_LIGHT)
    for surface in wanted:
        assert (seen == surface).sum() * 0.04**2 > 0.005  # m^2, a palm


@pytest.mark.parametrize("model", FOUR_WHEELED, ids=named)
def test_windows_look_to_all_sides(model: Model) -> None:
    glass = model.mesh.surface == Surface.GLASS
    normal = model.mesh.normals[glass]
    assert (normal[:, 0] > 0.2).any()  # windscreen
    assert (normal[:, 1] > 0.8).any() and (normal[:, 1] < -0.8).any()
    wheels = model.mesh.corners[model.mesh.surface == Surface.TYRE]
    assert wheels[..., 2].min() == pytest.approx(0.0)
    for x in (1.0, -1.0):
        for y in (1.0, -1.0):
            corner = (x * wheels[..., 0] > 0.1 * model.length) & (y * wheels[..., 1] > 0.0)
            assert corner.all(axis=1).any()


def test_strides_keep_the_head_still_and_swing_the_legs() -> None:
    """Over the six frames, the left foot is as often ahead of the right one as behind it."""
    first = next(k for k, m in enumerate(MODELS) if m.name == "man")
    assert MODELS[first].frames == 6
    ahead, crown = [], []
    for model in MODELS[first + 1 : first + 7]:
        points = model.mesh.corners.reshape(-1, 3)
        feet = points[points[:, 2] < 0.12 * model.height]
        ahead.append(feet[feet[:, 1] > 0.0, 0].mean() - feet[feet[:, 1] < 0.0, 0].mean())
        crown.append(points[points[:, 2] > 0.95 * model.height, 0].mean())
    assert max(ahead) > 0.15 and min(ahead) < -0.15
    np.testing.assert_allclose(np.roll(ahead, 3), np.negative(ahead), atol=0.01)
    assert np.ptp(crown) < 0.01


def test_choice_is_of_the_kind_varied_and_repeatable() -> None:
    for kind, ((length, width, height), _spread) in SIZES.items():
        if kind == AgentKind.STATIC:
            continue
        index = model_index(kind, length, width, height, NUMBERS)
        assert index.dtype == np.int32 and index.shape == NUMBERS.shape
        assert {MODELS[k].kind for k in np.unique(index)} == {kind}
        assert all(MODELS[k].share > 0.0 for k in np.unique(index))
        assert len(np.unique(index)) >= 2
        np.testing.assert_array_equal(index[::-1], model_index(kind, length, width, height,
                                                               NUMBERS[::-1]))  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "size", "names"),
    [
        (AgentKind.CAR, (4.3, 1.85, 1.72), {"suv", "hatchback"}),
        (AgentKind.CAR, (4.4, 1.86, 1.22), {"sports"}),
        (AgentKind.TRUCK, (15.5, 2.5, 3.9), {"trailer truck"}),
        (AgentKind.PEDESTRIAN, (0.711, 0.298, 1.154), {"child"}),
        (AgentKind.PEDESTRIAN, (0.6, 0.5, 1.8), {"man", "woman", "coat", "backpack"}),
        (AgentKind.STATIC, (0.35, 0.35, 0.7), {"cone"}),
        (AgentKind.STATIC, (0.3, 1.8, 1.0), {"plank"}),
        (AgentKind.STATIC, (4.0, 0.6, 0.8), {"concrete barrier"}),
        (AgentKind.STATIC, (1.1, 0.9, 1.0), {"crate"}),
        (AgentKind.STATIC, (4.4, 1.82, 1.46), {"sedan", "hatchback", "estate", "suv", "sports"}),
        (AgentKind.STATIC, (5.6, 2.0, 2.3), {"panel van", "minibus"}),
    ],
)
def test_choice_fits_the_box(
    kind: AgentKind, size: tuple[float, float, float], names: set[str]
) -> None:
    index = model_index(kind, *size, NUMBERS[:500])
    often = {MODELS[k].name for k, n in enumerate(np.bincount(index)) if n > 25}
    assert often and often <= names


def test_numbers_have_nothing_in_common() -> None:
    """Seeds and ids next to each other give unrelated numbers; the ego is not special."""
    numbers = mixed(np.arange(200)[:, None], np.arange(50))
    assert len(np.unique(numbers)) == numbers.size
    assert mixed(3, 4) == numbers[3, 4]
    share = (numbers >> np.uint64(63)).astype(float).mean(axis=0)
    assert np.abs(share - 0.5).max() < 0.15


def test_palettes() -> None:
    for kind in AgentKind:
        colours = palette(kind, NUMBERS)
        assert colours.shape == (len(NUMBERS), 4, 3) and colours.dtype == np.float32
        assert colours.min() >= 0.0 and colours.max() <= 1.0
        np.testing.assert_array_equal(colours[5], palette(int(kind), NUMBERS[5]))
    paint = palette(AgentKind.CAR, NUMBERS)[:, 0]
    luminance, chroma = paint.mean(axis=1), np.ptp(paint, axis=1)
    assert 0.25 < (luminance > 0.6).mean() < 0.40  # white cars are a third of all
    assert 0.13 < (luminance < 0.02).mean() < 0.30  # black ones a fifth
    assert 0.10 < (chroma > 0.08).mean() < 0.35  # few are colourful
    skin = palette(AgentKind.PEDESTRIAN, NUMBERS)[:, 2]
    assert skin.mean(axis=1).min() < 0.05 and skin.mean(axis=1).max() > 0.6
    assert (skin[:, 0] >= skin[:, 2]).all()  # nobody is blue
