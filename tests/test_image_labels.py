"""Depth and classes of cells: what is learnt of full pictures, and the losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from perception.detector_config import STRIDE, DetectorConfig
from perception.frame import NOT_JUDGED
from perception.image_labels import (
    FARTHEST,
    NEAREST,
    ImageLabelHead,
    bin_edges,
    image_label_loss,
    image_targets,
)
from roadloop.semantics import SemanticClass

CONFIG = DetectorConfig(size=(64, 32))
CELLS = (4, 8)


def full(value: float, kind=np.float32) -> np.ndarray:
    return np.full((2, 32, 64), value, kind)


@pytest.mark.parametrize("metres", [0.5, 2.1, 5.0, 17.0, 59.9, 200.0])
def test_depth_falls_into_its_bin(metres):
    made = image_targets(full(metres), None, CONFIG)
    edges = bin_edges(CONFIG.depth_bins)
    assert edges[0] == NEAREST and edges[-1] == pytest.approx(FARTHEST)
    found = np.unique(made["depth"])
    assert len(found) == 1 and made["depth"].shape == (2, *CELLS)
    inside = np.clip(metres, NEAREST, FARTHEST - 1e-6)
    assert edges[found[0]] <= inside <= edges[found[0] + 1]
    assert (made["semantic"] == NOT_JUDGED).all()


def test_what_is_thin_and_near_counts_and_sky_is_not_judged():
    depth, semantic = full(40.0), full(SemanticClass.BUILDING, np.uint8)
    depth[0, :8], semantic[0, :8] = 0.0, SemanticClass.SKY
    depth[1, :, 26:29], semantic[1, :, 26:29] = 6.0, SemanticClass.PEDESTRIAN
    depth[0, 30:, 60:], semantic[0, 24:, 56:] = np.inf, SemanticClass.NONE
    made = image_targets(depth, semantic, CONFIG)
    assert (made["depth"][0, 0] == NOT_JUDGED).all()
    assert (made["semantic"][0, 0] == SemanticClass.SKY).all()
    assert (made["semantic"][1, :, 3] == SemanticClass.PEDESTRIAN).all()
    assert (made["depth"][1, :, 3] < made["depth"][1, :, 2]).all()
    assert made["semantic"][0, 3, 7] == NOT_JUDGED
    alone = image_targets(None, semantic, CONFIG)
    assert (alone["depth"] == NOT_JUDGED).all()
    middle = semantic[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    known = alone["semantic"] != NOT_JUDGED
    np.testing.assert_array_equal(known, middle != SemanticClass.NONE)
    np.testing.assert_array_equal(alone["semantic"][known], middle[known])


def test_only_what_is_wanted_or_known_is_there():
    plain = DetectorConfig(size=(64, 32), depth_bins=0, semantics=False)
    assert image_targets(None, None, CONFIG) == {}
    assert image_targets(full(3.0), full(1, np.uint8), plain) == {}
    assert ImageLabelHead(8, plain)(torch.zeros(1, 8, *CELLS)) == {}
    some = ImageLabelHead(8, DetectorConfig(semantics=False))(torch.zeros(1, 8, *CELLS))
    assert list(some) == ["depth"]


def test_losses_reward_the_truth_and_leave_out_what_is_not_judged():
    rng = np.random.default_rng(0)
    depth = rng.uniform(1.0, 80.0, (2, 32, 64)).astype(np.float32)
    depth[:, :, 32:] = 0.0
    semantic = rng.integers(1, len(SemanticClass), (2, 32, 64)).astype(np.uint8)
    made = {k: torch.from_numpy(v)[None] for k, v in image_targets(depth, semantic, CONFIG).items()}
    sizes = {"depth": CONFIG.depth_bins, "semantic": len(SemanticClass)}
    right = {
        key: torch.nn.functional.one_hot(values.long() % size, size).movedim(-1, -3) * 20.0
        for (key, values), size in zip(made.items(), sizes.values())
    }
    assert all(float(v) < 1e-3 for v in image_label_loss(right, made).values())
    flat = {key: torch.zeros_like(values) for key, values in right.items()}
    for key, value in image_label_loss(flat, made).items():
        assert float(value) == pytest.approx(np.log(sizes[key]), rel=1e-4)
    noise = {key: values.clone() for key, values in right.items()}
    noise["depth"][..., 4:] += torch.randn(1, 2, sizes["depth"], 4, 4) * 50.0
    torch.testing.assert_close(image_label_loss(noise, made), image_label_loss(right, made))
    nothing = {key: torch.full_like(values, NOT_JUDGED) for key, values in made.items()}
    assert all(float(v) == 0.0 for v in image_label_loss(right, nothing).values())
    assert image_label_loss({"depth": right["depth"]}, {"semantic": made["semantic"]}) == {}
