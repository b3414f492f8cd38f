"""Heads of the traffic lights that are the ego's: network, targets, loss, decoding.

Heads are found in the light cameras' pictures as objects are in CenterNet (Zhou et al., 2019): a
heatmap over cells of `STRIDE` px, and at each cell a box and the lamp that is lit. Only heads that
show the ego's next stop line what to do are wanted; those of other approaches turn their side or
back, and the network learns to pass them over. A lamp 45 m away is 3 px wide, less than a cell: the
head also looks at the pictures themselves, through a few convolutions of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, logsigmoid

from perception.backbone import conv
from perception.detector_config import STRIDE, DetectorConfig, LampState
from perception.frame import NOT_JUDGED
from perception.percept import LightHeads
from roadloop.types import LightState

Array = np.ndarray

HEAD_HEIGHT = 1.39
"""m, of a head with its backboard (``sim.scenery.sign_faces``), the height of the boxes"""
LEAST_PIXELS = 6
"""a smaller patch of a head is not judged: whether it is lit cannot be seen"""
BALANCE = {LampState.OFF: 2.0, LampState.RED: 1.0, LampState.YELLOW: 3.0, LampState.GREEN: 1.0}
"""weights of the lamps in the loss: yellow is lit one time in twelve"""
THRESHOLD = 0.3
"""least score of a head that is found"""

LAMP_OF = np.zeros(len(LightState), np.uint8)
"""`LampState` by ``LightState``"""
for _state, _lamp in {
    LightState.OFF: LampState.OFF,
    LightState.RED: LampState.RED,
    LightState.RED_YELLOW: LampState.RED,
    LightState.YELLOW: LampState.YELLOW,
    LightState.GREEN: LampState.GREEN,
}.items():
    LAMP_OF[_state] = _lamp

_FINE = (16, 24, 32)  # channels at 1/2, 1/4 and 1/8 of the picture
_MIXED = 48
_SIZES = (1, 4, 4)


class LightHead(nn.Module):
    """(n, C, h, w) and (n, 3, H, W) -> ``light_heat``, ``light_box``, ``light_state`` (logits).

    Args:
        channels: C of the feature maps.
    """

    def __init__(self, channels: int, config: DetectorConfig) -> None:
        super().__init__()
        half, quarter, eighth = _FINE
        self.fine = nn.Sequential(
            conv(3, half, stride=2), conv(half, quarter, stride=2), conv(quarter, eighth, stride=2)
        )
        self.mix = nn.Sequential(conv(channels + eighth, _MIXED, kernel=1), conv(_MIXED, _MIXED))
        self.out = nn.Conv2d(_MIXED, sum(_SIZES), 1)
        with torch.no_grad():
            bias = self.out.bias
            assert bias is not None
            bias.zero_()
            bias[0] = -4.6  # most cells are empty: 1 % at the start
            bias[3:5] = torch.log(torch.tensor([5.0, 11.0]))  # px, a head 60 m ahead

    def forward(self, features: Tensor, pictures: Tensor) -> dict[str, Tensor]:
        """``features`` of, and ``pictures`` from, the light cameras; these normalised."""
        x = torch.cat([features, self.fine(pictures)], 1)
        heat, box, state = self.out(self.mix(x)).split(_SIZES, 1)
        return {"light_heat": heat, "light_box": box, "light_state": state}


# --- what is learnt -----------------------------------------------------------------------------


def light_targets(
    instance: Array | None,
    relevant: Array,
    states: Array,
    size: tuple[int, int],
    *,
    unjudged: Array | None = None,
    cameras: int = 0,
    seen: Array | None = None,
) -> dict[str, Array]:
    """What `perception.frame` has of lights: ``light_heat`` to ``light_valid``.

    Args:
        instance: (L, H, W) of the light cameras, -(1 + signal) on heads; None: not known.
        relevant: (S,) bool, the lights that are the ego's.
        states: (S,) ``LightState``.
        size: px, width and height of the pictures.
        unjudged: (S,) bool, lights that may be found or not.
        cameras: L, where ``instance`` is None.
        seen: (L,) bool, False where there is no picture; by default all are there.

    A head is a patch of connected pixels. Not judged are patches below `LEAST_PIXELS` and those at
    the picture's edge, part of which may be outside. Where two meet the larger one stands.
    """
    import cv2

    width, height = size
    count = cameras if instance is None else len(instance)
    shape = (count, height // STRIDE, width // STRIDE)
    heat = np.zeros((count, 1, *shape[1:]), np.float32)
    box = np.zeros((count, 4, *shape[1:]), np.float32)
    state, weight = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    valid = np.full(count, instance is not None)
    if seen is not None:
        valid &= seen
    made = {
        "light_heat": heat,
        "light_box": box,
        "light_state": state,
        "light_weight": weight,
        "light_valid": valid,
    }
    if instance is None or not len(relevant):
        return made
    wanted = np.asarray(relevant, bool)
    looked = wanted if unjudged is None else wanted | np.asarray(unjudged, bool)
    lamps = LAMP_OF[np.asarray(states, np.int64)]
    for camera in np.flatnonzero(valid).tolist():
        picture = instance[camera]
        rows, columns = np.divmod(np.flatnonzero(picture < 0), width)
        shown = -1 - picture[rows, columns]
        heads = []
        for number in np.unique(shown).tolist():
            if number >= len(looked) or not looked[number]:
                continue
            there = shown == number
            top, left = int(rows[there].min()), int(columns[there].min())
            end = int(rows[there].max()) + 1, int(columns[there].max()) + 1
            patch = (picture[top : end[0], left : end[1]] == -1 - number).astype(np.uint8)
            found = cv2.connectedComponentsWithStats(patch, connectivity=8)[2][1:]
            heads += [(int(a), left + x, top + y, w, h, number) for x, y, w, h, a in found]
        heads.sort()
        clear = []
        for area, left, top, w, h, number in heads:
            cut = left == 0 or top == 0 or left + w == width or top + h == height
            if not wanted[number] or area < LEAST_PIXELS or cut:
                _hide(weight[camera], left, top, w, h)
            else:
                clear.append((left, top, w, h, int(lamps[number])))
        for head in clear:
            _draw({key: values[camera] for key, values in made.items()}, *head)
    return made


def _hide(weight: Array, left: int, top: int, w: int, h: int) -> None:
    """The cells of a head, and those beside them, are not judged."""
    rows = slice(max(top // STRIDE - 1, 0), (top + h - 1) // STRIDE + 2)
    columns = slice(max(left // STRIDE - 1, 0), (left + w - 1) // STRIDE + 2)
    weight[rows, columns] = NOT_JUDGED


def _draw(maps: Mapping[str, Array], left: int, top: int, w: int, h: int, lamp: int) -> None:
    """One head into the maps of its camera."""
    heat, weight = maps["light_heat"][0], maps["light_weight"]
    centre = np.array([top + (h - 1) / 2.0, left + (w - 1) / 2.0])
    cell = (centre + 0.5) / STRIDE - 0.5  # whole numbers at the cells' centres
    row, column = np.floor(cell + 0.5).astype(int)
    # flat enough for a head that fills several cells, as narrow as a cell for a far one
    sigma = np.maximum(np.array([h, w]) / STRIDE / 6.0, 0.5)
    i, j = np.ogrid[: heat.shape[0], : heat.shape[1]]
    bump = np.exp(-0.5 * (((i - row) / sigma[0]) ** 2 + ((j - column) / sigma[1]) ** 2))
    bump[bump < 0.01] = 0.0
    np.maximum(heat, bump.astype(np.float32), out=heat)
    rows = np.arange(max(row - 1, 0), min(row + 2, heat.shape[0]))[:, None]
    columns = np.arange(max(column - 1, 0), min(column + 2, heat.shape[1]))[None]
    box = maps["light_box"]
    box[0][rows, columns] = cell[1] - columns
    box[1][rows, columns] = cell[0] - rows
    box[2][rows, columns] = np.log(w)
    box[3][rows, columns] = np.log(h)
    maps["light_state"][rows, columns] = lamp
    weight[rows, columns] = 1


def light_loss(outputs: Mapping[str, Tensor], frame: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scalars ``light_heat`` (focal, per head), ``light_box`` (L1) and ``light_state``.

    Any leading axes before (L, ...). Cells count for the state by how near a head's centre they
    are, and by `BALANCE`.
    """
    logit = outputs["light_heat"].float().flatten(0, -4)[:, 0]
    truth = frame["light_heat"].float().flatten(0, -4)[:, 0]
    weight = frame["light_weight"].flatten(0, -3)
    valid = frame["light_valid"].flatten().to(logit.dtype)[:, None, None]
    judged = (weight != NOT_JUDGED).to(logit.dtype) * valid
    on = (weight == 1).to(logit.dtype) * valid
    positive = (truth == 1.0).to(logit.dtype) * on
    share = logit.sigmoid()
    found = logsigmoid(logit) * (1.0 - share) ** 2 * positive
    clear = logsigmoid(-logit) * share**2 * (1.0 - truth) ** 4 * (judged - positive)
    heat = -(found.sum() + clear.sum()) / positive.sum().clamp(min=1.0)

    given, wanted = (m["light_box"].float().flatten(0, -4) for m in (outputs, frame))
    error = (given - wanted).abs().mean(1)
    box = (error * on).sum() / on.sum().clamp(min=1.0)

    lamp = frame["light_state"].flatten(0, -3).long()
    balance = torch.tensor([BALANCE[k] for k in LampState], device=logit.device)
    counts = on * (0.1 + truth) * balance[lamp]
    states = outputs["light_state"].float().flatten(0, -4)
    state = (cross_entropy(states, lamp, reduction="none") * counts).sum()
    return {
        "light_heat": heat,
        "light_box": box,
        "light_state": state / counts.sum().clamp(min=1.0),
    }


# --- what is found ------------------------------------------------------------------------------


def decode_lights(
    light_heat: Array,
    light_box: Array,
    light_state: Array,
    *,
    seen: Array | None = None,
    threshold: float = THRESHOLD,
    most: int = 16,
) -> LightHeads:
    """The heads of one moment, best first.

    Args:
        light_heat: (L, 1, h, w) logits; light_box: (L, 4, h, w); light_state: (L, 4, h, w) logits.
        seen: (L,) bool, False: no picture, or one not to be trusted; what the network makes of a
            black one it has not learnt. By default all are there.
        threshold: least score.
        most: heads at most.

    A head is a cell that none of its eight neighbours exceeds.
    """
    score = 1.0 / (1.0 + np.exp(-np.clip(light_heat[:, 0].astype(np.float32), -30.0, 30.0)))
    if seen is not None:
        score[~np.asarray(seen, bool)] = 0.0
    padded = np.pad(score, ((0, 0), (1, 1), (1, 1)), constant_values=-1.0)
    around = np.maximum(np.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    around = np.maximum(np.maximum(around[..., :-2], around[..., 1:-1]), around[..., 2:])
    camera, row, column = np.nonzero((score >= around) & (score >= threshold))
    best = np.argsort(-score[camera, row, column], kind="stable")[:most]
    camera, row, column = camera[best], row[best], column[best]
    values = light_box[camera, :, row, column].astype(np.float64)
    logits = light_state[camera, :, row, column].astype(np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    width, height = np.exp(np.clip(values[:, 2:], 0.0, 6.0)).T
    return LightHeads(
        camera=camera.astype(np.int64),
        u=(column + values[:, 0] + 0.5) * STRIDE - 0.5,
        v=(row + values[:, 1] + 0.5) * STRIDE - 0.5,
        width=width,
        height=height,
        score=score[camera, row, column].astype(np.float64),
        state=odds / odds.sum(axis=1, keepdims=True),
    )
