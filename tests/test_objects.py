"""The object head's targets, loss and decoding: what is painted is found again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.detector_config import BevGrid, ObjectClass
from perception.objects import BOX_CHANNELS, VARIANCE_CHANNELS, decode_objects, object_targets

torch = pytest.importorskip("torch")

from perception.objects import object_loss  # noqa: E402

GRID = BevGrid()


def boxes(n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 9) vehicles at least 6 m apart."""
    places: list[np.ndarray] = []
    while len(places) < n:
        at = rng.uniform((GRID.x_min + 1, GRID.y_min + 1), (GRID.x_max - 1, GRID.y_max - 1))
        if all(np.hypot(*(at - other)) > 6.0 for other in places):
            places.append(at)
    rest = [rng.uniform(0.5, 1.5, n), rng.uniform(3.5, 6.0, n), rng.uniform(1.6, 2.2, n)]
    rest += [rng.uniform(1.4, 3.0, n), rng.uniform(-np.pi, np.pi, n)]
    return np.column_stack([np.array(places), *rest, rng.uniform(-9, 9, (n, 2))])


def as_outputs(targets: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets as a perfect network would give them."""
    heat = np.clip(targets["heat"], 1e-4, 1.0 - 1e-4)
    box = targets["box"].copy()
    box[8] = 20.0 * (box[8] - 0.5)
    return np.log(heat / (1.0 - heat)), box, np.full((5, *GRID.shape), -4.0)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), n=st.integers(0, 12))
def test_what_is_painted_is_found(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    truth = boxes(n, rng)
    kinds = rng.integers(0, len(ObjectClass), n).astype(np.uint8)
    targets = object_targets(truth, kinds, np.ones(n, bool), GRID)
    found = decode_objects(*as_outputs(targets), GRID, threshold=0.5)
    assert len(found.x) == n
    if not n:
        return
    gap = np.hypot(found.x[:, None] - truth[:, 0], found.y[:, None] - truth[:, 1])
    which = gap.argmin(1)
    assert sorted(which) == list(range(n))
    assert gap.min(1).max() < 1e-4
    row = truth[which]
    np.testing.assert_array_equal(found.object_class, kinds[which])
    got = np.column_stack([found.z, found.length, found.width, found.height])
    np.testing.assert_allclose(got, row[:, 2:6], atol=1e-4)
    turned = np.angle(np.exp(1j * (found.yaw - row[:, 6])))
    # exactly across, front and back are one bit that rounding decides
    assert np.abs(turned)[np.abs(np.cos(row[:, 6])) > 1e-3].max(initial=0.0) < 1e-3
    np.testing.assert_allclose(np.column_stack([found.vx, found.vy]), row[:, 7:], atol=1e-4)
    np.testing.assert_allclose(found.position_std, np.exp(-2.0) * GRID.cell)


def test_neighbours_keep_their_own_boxes() -> None:
    """Two people in cells side by side: each is found where he is."""
    truth = np.array([[10.1, 0.3, 0.9, 0.5, 0.5, 1.8, 0.0, 1.0, 0.0],
                      [10.7, 0.5, 0.8, 0.6, 0.6, 1.6, 0.0, -1.0, 0.0]])  # fmt: skip
    kinds = np.full(2, ObjectClass.PEDESTRIAN, np.uint8)
    targets = object_targets(truth, kinds, np.ones(2, bool), GRID)
    found = decode_objects(*as_outputs(targets), GRID, threshold=0.5)
    order = np.argsort(found.x)
    np.testing.assert_allclose(found.x[order], truth[:, 0], atol=1e-4)
    np.testing.assert_allclose(found.vx[order], truth[:, 7], atol=1e-4)


def test_hidden_objects_are_not_judged_and_visible_ones_beside_them_are() -> None:
    one = [10.0, 0.0, 0.8, 4.5, 1.8, 1.5, 0.0, 0.0, 0.0]
    other = [11.2, 0.0, 0.8, 4.5, 1.8, 1.5, 0.0, 0.0, 0.0]
    kinds = np.zeros(2, np.uint8)
    targets = object_targets(np.array([one, other]), kinds, np.array([True, False]), GRID)
    i, j = np.floor(GRID.cells_of(np.array(one[:2])) + 0.5).astype(int)
    assert targets["heat"][0, i, j] == 1.0 and targets["heat_weight"][0, i, j] == 1
    assert targets["heat_weight"][0].min() == 0, "nothing masks the hidden one"
    assert targets["heat_weight"][1:].min() == 1, "other classes are judged there"
    alone = object_targets(np.array([one, other]), kinds, np.array([False, False]), GRID)
    assert alone["heat"].max() == 0.0 and alone["box_weight"].max() == 0
    none = object_targets(np.zeros((0, 9)), kinds[:0], kinds[:0] > 0, GRID, labelled=False)
    assert none["heat_weight"].max() == 0


def test_a_moment_without_velocities_does_not_teach_any() -> None:
    truth = boxes(3, np.random.default_rng(1))
    kinds, seen = np.zeros(3, np.uint8), np.ones(3, bool)
    targets = object_targets(truth, kinds, seen, GRID, velocity_known=False)
    assert targets["box_weight"].max() == 1 and targets["velocity_weight"].max() == 0


def test_loss_is_least_for_the_truth_and_ignores_what_is_not_judged() -> None:
    truth = boxes(5, np.random.default_rng(2))
    seen = np.array([True, True, True, False, True])
    targets = object_targets(truth, np.zeros(5, np.uint8), seen, GRID)
    frame = {k: torch.from_numpy(v)[None] for k, v in targets.items()}
    heat, box, log_var = (torch.from_numpy(a).float()[None] for a in as_outputs(targets))

    def losses(**changed: torch.Tensor) -> dict[str, float]:
        outputs = {"heat": heat, "box": box, "box_log_var": log_var, **changed}
        return {k: float(v) for k, v in object_loss(outputs, frame, 0.0).items()}

    best = losses()
    assert best["box"] < 1e-5 and best["velocity"] < 1e-5 and best["heat"] < 0.2
    assert losses(box=box + 0.1)["box"] > 0.1
    assert losses(heat=torch.full_like(heat, -4.0))["heat"] > 10 * best["heat"]
    hidden = (frame["heat_weight"] == 0).float() * 8.0
    assert losses(heat=heat + hidden)["heat"] == pytest.approx(best["heat"], rel=1e-5)
    nowhere = (frame["box_weight"] == 0).float()[:, None] * 5.0
    assert losses(box=box + nowhere)["box"] == pytest.approx(best["box"], abs=1e-6)


def test_variances_learn_the_size_of_the_error() -> None:
    """The Gaussian likelihood is least where the variance is the mean squared error."""
    truth = boxes(8, np.random.default_rng(3))
    targets = object_targets(truth, np.zeros(8, np.uint8), np.ones(8, bool), GRID)
    frame = {k: torch.from_numpy(v)[None] for k, v in targets.items()}
    heat, box, _ = (torch.from_numpy(a).float()[None] for a in as_outputs(targets))
    noise = torch.from_numpy(np.random.default_rng(4).normal(0, 0.5, box.shape)).float()
    values = torch.linspace(-4.0, 2.0, 61)
    found = []
    for value in values:
        log_var = torch.full((1, len(VARIANCE_CHANNELS), *GRID.shape), float(value))
        outputs = {"heat": heat, "box": box + noise, "box_log_var": log_var}
        found.append(float(object_loss(outputs, frame, 1.0)["velocity"]))
    assert float(values[int(np.argmin(found))]) == pytest.approx(np.log(0.25), abs=0.25)
    assert len(BOX_CHANNELS) == box.shape[1]
