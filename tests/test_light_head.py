"""Heads of traffic lights: what is learnt of an instance picture, the losses, and what is found."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from perception.detector_config import STRIDE, DetectorConfig, LampState
from perception.frame import NOT_JUDGED
from perception.lights import LAMP_OF, LightHead, decode_lights, light_loss, light_targets
from roadloop.types import LightState

SIZE = (128, 64)
SHAPE = (SIZE[1] // STRIDE, SIZE[0] // STRIDE)
STATES = np.array([LightState.RED, LightState.GREEN, LightState.YELLOW, LightState.RED_YELLOW])
ONLY = np.array([True, False, False, False])


def picture(*heads: tuple[int, int, int, int, int]) -> np.ndarray:
    """(H, W) int32 with heads (signal, left, top, width, height), and a car."""
    made = np.zeros((SIZE[1], SIZE[0]), np.int32)
    made[50:60, 20:40] = 7
    for signal, left, top, width, height in heads:
        made[top : top + height, left : left + width] = -1 - signal
    return made


def targets(*pictures: np.ndarray, relevant=ONLY, **more):
    return light_targets(np.stack(pictures), relevant, STATES, SIZE, **more)


def as_outputs(made: dict[str, np.ndarray], sure: float = 9.0) -> dict[str, np.ndarray]:
    """Outputs of a network that has learnt these targets by heart."""
    heat = np.clip(made["light_heat"], 1e-4, 1.0 - 1e-4)
    state = np.eye(len(LampState))[made["light_state"]] * sure
    return {
        "light_heat": np.log(heat / (1.0 - heat)).astype(np.float32),
        "light_box": made["light_box"],
        "light_state": np.moveaxis(state, -1, -3).astype(np.float32),
    }


def tensors(made: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(values)[None] for key, values in made.items()}


@pytest.mark.parametrize("left,top,width,height", [(40, 20, 6, 13), (41, 9, 3, 7), (70, 5, 20, 44)])
def test_what_is_drawn_is_found_again(left, top, width, height):
    made = targets(picture(), picture((0, left, top, width, height)))
    found = decode_lights(**as_outputs(made))
    assert found.camera.tolist() == [1] and found.score[0] > 0.99
    assert found.u[0] == pytest.approx(left + (width - 1) / 2, abs=1e-4)
    assert found.v[0] == pytest.approx(top + (height - 1) / 2, abs=1e-4)
    assert found.width[0] == pytest.approx(width, rel=1e-5)
    assert found.height[0] == pytest.approx(height, rel=1e-5)
    assert found.state[0].argmax() == LampState.RED
    np.testing.assert_allclose(found.state.sum(1), 1.0)


def test_only_the_egos_lights_are_wanted_and_farther_ones_are_not_judged():
    heads = picture((0, 20, 8, 6, 13), (1, 60, 8, 6, 13), (3, 100, 8, 6, 13))
    made = targets(heads, unjudged=np.array([False, False, False, True]))
    assert (made["light_heat"] == 1.0).sum() == 1
    weight = made["light_weight"][0]
    assert (weight == 1).sum() == 9 and made["light_state"][0][weight == 1].max() == LampState.RED
    assert (weight[:, :6] == 1).any() and (weight[:, 7:9] == 0).all()
    assert (weight[1:3, 12:14] == NOT_JUDGED).all()
    assert len(decode_lights(**as_outputs(made)).score) == 1


def test_a_camera_that_is_not_trusted_shows_nothing():
    made = as_outputs(targets(picture((0, 40, 20, 6, 13)), picture((0, 40, 20, 6, 13))))
    assert decode_lights(**made).camera.tolist() == [0, 1]
    assert decode_lights(**made, seen=np.array([False, True])).camera.tolist() == [1]


def test_a_light_with_two_heads_has_two_and_of_small_or_cut_ones_nothing_is_said():
    made = targets(picture((0, 20, 8, 6, 13), (0, 90, 16, 4, 9)))
    assert (made["light_heat"] == 1.0).sum() == 2
    for head in ((0, 20, 8, 1, 5), (0, 20, 0, 8, 18), (0, 0, 20, 8, 18), (0, 122, 20, 6, 18)):
        made = targets(picture(head))
        assert (made["light_heat"] == 0.0).all() and (made["light_weight"] != 1).all()
        at = head[2] // STRIDE, min(head[1] // STRIDE, SHAPE[1] - 1)
        assert made["light_weight"][0][at] == NOT_JUDGED


def test_where_two_heads_meet_the_larger_one_stands():
    made = targets(picture((1, 46, 10, 4, 9), (0, 40, 8, 6, 13)), relevant=np.array([1, 1, 0, 0]))
    peak = np.argwhere(made["light_heat"][0, 0] == 1.0)
    assert len(peak) in (1, 2)
    found = decode_lights(**as_outputs(made))
    best = int(np.argmax(found.height))
    assert found.state[best].argmax() == LampState.RED and found.height[best] == pytest.approx(13)


def test_mirrored_pictures_give_mirrored_targets():
    one = picture((0, 22, 8, 6, 13), (0, 90, 16, 4, 9), (2, 60, 3, 5, 11))
    a = targets(one, unjudged=np.array([0, 0, 1, 0], bool))
    b = targets(np.ascontiguousarray(one[:, ::-1]), unjudged=np.array([0, 0, 1, 0], bool))
    for key in ("light_heat", "light_state", "light_weight"):
        np.testing.assert_array_equal(a[key], b[key][..., ::-1])
    a["light_box"][:, 0] *= -1.0
    np.testing.assert_allclose(a["light_box"], b["light_box"][..., ::-1], atol=1e-6)


def test_lamps_of_states():
    assert LAMP_OF[LightState.RED_YELLOW] == LAMP_OF[LightState.RED] == LampState.RED
    assert LAMP_OF[[LightState.OFF, LightState.YELLOW, LightState.GREEN]].tolist() == [
        LampState.OFF, LampState.YELLOW, LampState.GREEN,
    ]  # fmt: skip


def test_without_labels_or_a_picture_nothing_is_judged_and_nothing_pulls():
    none = light_targets(None, ONLY, STATES, SIZE, cameras=2)
    assert none["light_heat"].shape == (2, 1, *SHAPE) and not none["light_valid"].any()
    dark = targets(picture((0, 20, 8, 6, 13)), picture(), seen=np.array([False, True]))
    assert dark["light_valid"].tolist() == [False, True] and not dark["light_weight"].any()
    empty = light_targets(np.zeros((1, *SIZE[::-1]), np.int32), np.zeros(0, bool), [], SIZE)
    assert empty["light_valid"].all() and not empty["light_heat"].any()
    outputs = {k: v.requires_grad_() for k, v in tensors(as_outputs(none)).items()}
    losses = light_loss(outputs, tensors(none))
    sum(losses.values()).backward()
    assert all(float(v.detach()) == 0.0 for v in losses.values())
    assert all((v.grad == 0.0).all() for v in outputs.values())


def test_losses_are_near_zero_for_the_truth_and_see_every_fault():
    made = targets(picture((0, 20, 8, 6, 13), (3, 100, 30, 6, 13)), picture(), unjudged=ONLY[::-1])
    truth, right = tensors(made), tensors(as_outputs(made))
    best = {k: float(v) for k, v in light_loss(right, truth).items()}
    assert max(best.values()) < 0.01
    row, column = np.argwhere(made["light_heat"][0, 0] == 1.0)[0]

    def worse(key: str, change) -> dict[str, float]:
        wrong = {k: v.clone() for k, v in right.items()}
        change(wrong[f"light_{key}"])
        found = {k: float(v) for k, v in light_loss(wrong, truth).items()}
        assert all(found[k] == pytest.approx(best[k]) for k in best if k != f"light_{key}")
        return found

    def missed(heat: torch.Tensor) -> None:
        heat[0, 0, 0, row, column] = -5.0

    def invented(heat: torch.Tensor) -> None:
        heat[0, 1, 0, 2, 2] = 5.0

    def unjudged(heat: torch.Tensor) -> None:
        heat[0, 0, 0, 4, 12] = 5.0

    assert made["light_weight"][0, 4, 12] == NOT_JUDGED
    assert worse("heat", missed)["light_heat"] > 2.0
    assert worse("heat", invented)["light_heat"] > 2.0
    assert worse("heat", unjudged)["light_heat"] == pytest.approx(best["light_heat"])
    assert worse("box", lambda box: box.add_(0.5))["light_box"] == pytest.approx(0.5, abs=1e-4)
    assert worse("state", lambda s: s.neg_())["light_state"] > 2.0


def test_losses_take_clips_as_they_take_moments():
    made = targets(picture((0, 20, 8, 6, 13)), picture())
    one = light_loss(tensors(as_outputs(made)), tensors(made))
    clip = [{k: v[None].expand(2, 3, *v.shape[1:]) for k, v in tensors(m).items()}
            for m in (as_outputs(made), made)]  # fmt: skip
    for key, value in light_loss(*clip).items():
        torch.testing.assert_close(value, one[key])


def test_the_head_learns_which_lamp_is_lit_from_the_picture_alone():
    """Dark heads with a red or a green lamp, 24 pictures of them, features that say nothing."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    size = (64, 32)
    head = LightHead(4, DetectorConfig(size=size))
    images = rng.normal(0.0, 0.1, (24, 3, size[1], size[0])).astype(np.float32)
    made = []
    for k, image in enumerate(images):
        left, top = rng.integers(4, size[0] - 12), rng.integers(1, size[1] - 16)
        instance = np.zeros((1, size[1], size[0]), np.int32)
        instance[0, top : top + 14, left : left + 6] = -1 - k % 2
        image[:, top : top + 14, left : left + 6] = -2.0
        lamp = top + (1 if k % 2 == 0 else 10)
        image[k % 2, lamp : lamp + 3, left + 2 : left + 5] = 2.0
        made.append(light_targets(instance, np.array([True, True]), STATES[:2], size))
    wanted = {key: torch.from_numpy(np.stack([m[key] for m in made])) for key in made[0]}
    features, pictures = torch.zeros(24, 4, 4, 8), torch.from_numpy(images)
    optimizer = torch.optim.AdamW(head.parameters(), 0.01)
    history = []
    for _ in range(30):
        outputs = {key: values[:, None] for key, values in head(features, pictures).items()}
        losses = light_loss(outputs, wanted)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({key: float(value.detach()) for key, value in losses.items()})
    assert history[-1]["light_state"] < 0.2 < history[0]["light_state"]
    assert history[-1]["light_heat"] < 0.5 * history[0]["light_heat"]
