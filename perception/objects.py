"""Road users from the bird's-eye view: the head, what it learns from, its loss, its decoding.

A heatmap per class with a box at every cell, after CenterPoint (Yin et al., CVPR 2021), Gaussians
and focal loss after CenterNet (Zhou et al., 2019). The heading is regressed as cos and sin of twice
the angle, which is the same for both directions of a parked car, and a bit that tells front from
back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from perception.detector_config import BevGrid, ObjectClass
from roadloop.geometry import wrap_angle

if TYPE_CHECKING:
    import torch

Array = np.ndarray

BOX_CHANNELS = (
    "dx", "dy", "z", "log_length", "log_width", "log_height", "cos2", "sin2", "front", "vx", "vy",
)  # fmt: skip
"""of the box map: centre from the cell's in cells, z of the centre in m, log m, the doubled angle,
whether the heading points forward (x > 0 in the ego frame), velocity over ground in m/s"""
VARIANCE_CHANNELS = ("x", "y", "size", "vx", "vy")
"""of the log variances: centre in cells^2, log sizes, (m/s)^2"""
RADIUS = {
    ObjectClass.VEHICLE: 1.0,
    ObjectClass.CYCLIST: 0.7,
    ObjectClass.PEDESTRIAN: 0.6,
    ObjectClass.OBSTACLE: 0.6,
}
"""cells, standard deviation of the Gaussian; of vehicles at least, longer ones have wider ones"""
VISIBLE_PIXELS = 10
"""an object counts as visible from so many pixels on"""
_AROUND = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)])


@dataclass(frozen=True)
class Objects:
    """Decoded objects in the ego frame, best first; fields ``(n,)``."""

    x: Array
    """m, box centre"""
    y: Array
    z: Array
    length: Array
    width: Array
    height: Array
    yaw: Array
    """rad in (-pi, pi]"""
    vx: Array
    """m/s over ground, along the ego's axes"""
    vy: Array
    score: Array
    object_class: Array
    """uint8 `ObjectClass`"""
    position_std: Array
    """m, of the centre along each axis"""
    velocity_std: Array
    """m/s, likewise"""


# --- what is learnt -----------------------------------------------------------------------------


def object_targets(
    boxes: Array,
    object_class: Array,
    visible: Array,
    grid: BevGrid,
    *,
    labelled: bool = True,
    velocity_known: bool = True,
) -> dict[str, Array]:
    """What `perception.frame` has of objects: ``heat`` to ``velocity_weight``.

    Args:
        boxes: (n, 9), ``training.sample_spec.BOX``: the centre's x, y, z, length, width, height,
            yaw, vx, vy in the ego frame.
        object_class: (n,) `ObjectClass`.
        visible: (n,) bool; around hidden ones nothing is judged.
        labelled: False: the moment has no boxes, nothing is judged at all.
    """
    classes = len(ObjectClass)
    heat = np.zeros((classes, *grid.shape), np.float32)
    heat_weight = np.full((classes, *grid.shape), labelled, np.uint8)
    box = np.zeros((len(BOX_CHANNELS), *grid.shape), np.float32)
    weight = np.zeros(grid.shape, np.uint8)
    made = {
        "heat": heat,
        "heat_weight": heat_weight,
        "box": box,
        "box_weight": weight,
        "velocity_weight": np.zeros(grid.shape, np.uint8),
    }
    if not labelled or not len(boxes):
        return made
    cells = grid.cells_of(boxes[:, :2])
    nearest = np.floor(cells + 0.5).astype(int)
    inside = np.all((nearest >= 0) & (nearest < grid.shape), axis=1)
    centres = np.stack(np.meshgrid(np.arange(grid.nx), np.arange(grid.ny), indexing="ij"), axis=-1)
    # far ones first, so that where two meet the nearer one's box stands
    order = np.argsort(-np.hypot(boxes[:, 0], boxes[:, 1]), kind="stable")
    centred: list[tuple[int, Array]] = []
    for k in order[inside[order]].tolist():
        kind = ObjectClass(int(object_class[k]))
        sigma = RADIUS[kind]
        if kind == ObjectClass.VEHICLE:
            sigma = max(sigma, 0.2 * float(boxes[k, 3]) / grid.cell)
        reach = int(np.ceil(3.0 * sigma))
        low = np.maximum(nearest[k] - reach, 0)
        high = np.minimum(nearest[k] + reach + 1, grid.shape)
        part = (slice(low[0], high[0]), slice(low[1], high[1]))
        gap = centres[part] - nearest[k]
        bump = np.exp(-0.5 * (gap * gap).sum(-1) / sigma**2).astype(np.float32)
        if not visible[k]:
            heat_weight[kind][part][bump > 0.1] = 0
            continue
        np.maximum(heat[kind][part], bump, out=heat[kind][part])
        around = nearest[k] + _AROUND
        around = around[((around >= 0) & (around < grid.shape)).all(1)]
        rows = around[:, 0], around[:, 1]
        _, _, z, length, width, height, yaw, vx, vy = boxes[k].tolist()
        values = [z, *np.log(np.maximum((length, width, height), 0.05))]
        values += [np.cos(2.0 * yaw), np.sin(2.0 * yaw), float(np.cos(yaw) > 0.0), vx, vy]
        box[0][rows], box[1][rows] = (cells[k] - around).T
        box[2:, rows[0], rows[1]] = np.array(values)[:, None]
        weight[rows] = 1
        centred.append((k, np.array([*(cells[k] - nearest[k]), *values])))
    # but in the cell of its centre, where it is found, everybody's own box
    for k, own in centred:
        box[:, nearest[k, 0], nearest[k, 1]] = own
    heat_weight[np.equal(heat, 1.0)] = 1  # a visible object beside a hidden one counts
    if velocity_known:
        made["velocity_weight"] = weight.copy()
    return made


def object_loss(
    outputs: dict[str, torch.Tensor], frame: dict[str, torch.Tensor], uncertain: float
) -> dict[str, torch.Tensor]:
    """Scalars: ``heat``, ``box``, ``velocity``, ``heading``.

    Args:
        uncertain: share in [0, 1] of the Gaussian likelihood in place of L1 for position, size and
            velocity: 0 while warming up, as variances learnt too early hide errors.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as bce
    from torch.nn.functional import logsigmoid

    logit, truth = outputs["heat"].float(), frame["heat"]
    judged = frame["heat_weight"].to(logit.dtype)
    positive = (truth == 1.0).to(logit.dtype) * judged
    share = logit.sigmoid()
    found = logsigmoid(logit) * (1.0 - share) ** 2 * positive
    clear = logsigmoid(-logit) * share**2 * (1.0 - truth) ** 4 * (judged - positive)
    heat = -(found.sum() + clear.sum()) / positive.sum().clamp(min=1.0)

    box, log_var = outputs["box"].float(), outputs["box_log_var"].float()
    goal = frame["box"]
    at = frame["box_weight"].to(box.dtype)[:, None]
    moving = frame["velocity_weight"].to(box.dtype)[:, None]

    def mean(error: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return (error * weight).sum() / (weight.sum() * error.shape[1]).clamp(min=1.0)

    def mixed(error: torch.Tensor, log_variance: torch.Tensor, weight: torch.Tensor):
        plain = mean(error.abs(), weight)
        if uncertain <= 0.0:
            return plain
        variance = log_variance.clamp(-8.0, 6.0)
        likely = 0.5 * (error**2 * torch.exp(-variance) + variance)
        return (1.0 - uncertain) * plain + uncertain * mean(likely, weight)

    error = box - goal
    sizes = log_var[:, 2:3].expand(-1, 3, -1, -1)
    place = mixed(error[:, :2], log_var[:, :2], at) + mean(error[:, 2:3].abs(), at)
    size = mixed(error[:, 3:6], sizes, at)
    doubled = mean(error[:, 6:8].abs(), at)
    front = mean(bce(box[:, 8:9], goal[:, 8:9], reduction="none"), at)
    velocity = mixed(error[:, 9:11], log_var[:, 3:5], moving)
    return {
        "heat": heat,
        "box": place + size,
        "heading": doubled + 0.3 * front,
        "velocity": velocity,
    }


# --- what is found ------------------------------------------------------------------------------


def decode_objects(
    heat: Array,
    box: Array,
    box_log_var: Array,
    grid: BevGrid,
    *,
    threshold: float = 0.1,
    most: int = 128,
) -> Objects:
    """The peaks of one moment's heatmaps, best first.

    Args:
        heat: (K, X, Y) logits; box: (11, X, Y); box_log_var: (5, X, Y).
        threshold: least score.
        most: objects at most.

    A peak is a cell that no neighbour of its class exceeds. Cells of all classes compete: a peak
    with a better one of another class within 0.5 m is left out.
    """
    score = 1.0 / (1.0 + np.exp(-np.clip(heat.astype(np.float32), -30.0, 30.0)))
    padded = np.pad(score, ((0, 0), (1, 1), (1, 1)), constant_values=-1.0)
    around = np.maximum(np.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    around = np.maximum(np.maximum(around[..., :-2], around[..., 1:-1]), around[..., 2:])
    k, i, j = np.nonzero((score >= around) & (score >= threshold))
    best = np.argsort(-score[k, i, j], kind="stable")[: 2 * most]
    k, i, j = k[best], i[best], j[best]
    values = box[:, i, j].astype(np.float64)
    xy = grid.metres_of(np.column_stack([i + values[0], j + values[1]]))
    keep = _one_each(xy, k)[:most]
    k, i, j, values, xy = k[keep], i[keep], j[keep], values[:, keep], xy[keep]
    length, width, height = np.exp(np.clip(values[3:6], -4.0, 4.0))
    yaw = 0.5 * np.arctan2(values[7], values[6])
    backward = values[8] < 0.0  # a logit
    yaw = np.where(backward, wrap_angle(yaw + np.pi), yaw)
    std = np.exp(0.5 * np.clip(box_log_var[:, i, j].astype(np.float64), -8.0, 6.0))
    return Objects(
        x=xy[:, 0],
        y=xy[:, 1],
        z=values[2],
        length=length,
        width=width,
        height=height,
        yaw=yaw,
        vx=values[9],
        vy=values[10],
        score=score[k, i, j].astype(np.float64),
        object_class=k.astype(np.uint8),
        position_std=np.sqrt(0.5 * (std[0] ** 2 + std[1] ** 2)) * grid.cell,
        velocity_std=np.sqrt(0.5 * (std[3] ** 2 + std[4] ** 2)),
    )


def _one_each(xy: Array, object_class: Array) -> Array:
    """Rows, best first, without those that a better one of another class stands on."""
    gap = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1))
    other = object_class[:, None] != object_class[None]
    taken = np.tril((gap < 0.5) & other, -1).any(1)
    return np.flatnonzero(~taken)
