"""Recorded moments as what a detector eats and learns from: a sample to a ``perception.frame``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perception.detector_config import (
    STRIDE,
    DetectorConfig,
    ObjectClass,
    light_rows,
    object_classes,
)
from perception.frame import NOT_JUDGED, Frame
from perception.image_labels import image_targets, point_depth
from perception.inputs import pixel_from_ego, range_inputs
from perception.lights import light_targets
from perception.objects import VISIBLE_PIXELS, object_targets
from perception.raster_map import cells_in_view, raster_targets
from perception.sweep_memory import MAX_AGE, SWEEPS
from roadloop.rig import SensorRig
from training.sample_spec import ALL, Sample, SampleSpec

Array = np.ndarray

LABEL_PRODUCTS = ("depth", "semantic", "instance")
"""pictures that hold labels"""
MARGIN = 10.0
"""m beyond the grid up to which boxes are read: long ones reach in"""
OLDEST = MAX_AGE + 0.1
"""s before the moment of the oldest points: those of the car's oldest sweep, which takes 0.1 s"""
OVERHEAD = 1.0
"""m above the ground, from which on what never moves is in nobody's way: boards of signs"""
DEPTH_AGE = 0.15
"""s before the moment of the oldest points that are depth: what moves is elsewhere by then"""


@dataclass(frozen=True)
class Objects:
    """The road users of a moment as a detector is to find them; fields ``(M,)``."""

    boxes: Array
    """(M, 9) ``training.sample_spec.BOX``"""
    object_class: Array
    """uint8 ``ObjectClass``"""
    visible: Array
    """bool"""


def detector_spec(
    config: DetectorConfig,
    rig: SensorRig | None = None,
    *,
    products: Sequence[str] | None = None,
    every: int = 1,
) -> SampleSpec:
    """What is read of recorded drives for a detector.

    Args:
        rig: of the recording; its cameras' products decide which label pictures are read. Where
            depth is wanted and was not recorded, its LiDARs' sweeps are, to take it from.
        products: pictures with labels that were recorded, in place of ``rig``; neither: all.
        every: use every nth step of a drive.
    """
    sweeps = False
    if products is None:
        products = LABEL_PRODUCTS
        if rig is not None:
            held = [set(camera.products) for camera in rig.cameras]
            products = [p for p in LABEL_PRODUCTS if held and all(p in h for h in held)]
            sweeps = bool(rig.lidars) and config.depth_bins > 0 and "depth" not in products
    wanted = {
        "depth": config.depth_bins > 0,
        "semantic": config.semantics,
        "instance": bool(config.light_cameras),
    }
    reach = _reach(config)
    pictures: Any = ("rgb", *(p for p in LABEL_PRODUCTS if p in products and wanted[p]))
    return SampleSpec(
        products=pictures,
        size=config.size,
        virtual=config.rig,
        lidars=(ALL,) if config.lidar or sweeps else (),
        radars=(ALL,) if config.radar else (),
        sweeps=SWEEPS if config.lidar or config.radar else 1,
        box_radius=reach + MARGIN,
        lights=True,
        map=True,
        map_radius=reach,
        every=every,
    )


class DetectorFrames:
    """Samples, read by `detector_spec`, to frames: inputs and targets.

    What a drive has no labels for has weight 0 in its targets (or is `NOT_JUDGED`).

    Raises:
        RoadloopError: light cameras that the rig does not have.
    """

    def __init__(self, config: DetectorConfig) -> None:
        self.config = config
        self.lights = light_rows(config)

    def __call__(self, sample: Sample, velocity_known: bool = True) -> Frame:
        """The arrays of `perception.frame` but for ``motion``.

        Args:
            velocity_known: False: the velocities of boxes are not labelled.
        """
        config, grid = self.config, self.config.grid
        frame = self.inputs(sample)
        seen, valid = frame["pixel_from_ego"], frame["camera_valid"]
        found = self.objects(sample)
        labelled = bool(sample["has_boxes"])
        frame |= object_targets(
            found.boxes,
            found.object_class,
            found.visible,
            grid,
            labelled=labelled,
            velocity_known=velocity_known,
        )
        mapped = bool(sample["has_map"])
        frame |= raster_targets(
            grid,
            map_lines=sample["map_lines"] if mapped else None,
            map_line_kind=sample["map_line_kind"],
            map_line_width=sample["map_line_width"],
            boxes=found.boxes if labelled else None,
            object_class=found.object_class,
            visible=found.visible,
            in_view=cells_in_view(seen, valid, config.size, grid),
        )
        frame |= self._light_targets(sample, valid)
        return frame | self._image_targets(sample)

    def inputs(self, sample: Sample) -> Frame:
        """The inputs of `perception.frame` but for ``motion``."""
        frame: Frame = {
            "images": sample["images"],
            "camera_valid": sample["image_valid"],
            "pixel_from_ego": pixel_from_ego(sample["intrinsics"], sample["ego_from_camera"]),
        }
        return frame | range_inputs(self.config, *(_fresh(sample, k) for k in ("points", "radar")))

    def objects(self, sample: Sample) -> Objects:
        """The road users of a sample; none where it has no labels.

        Visible: see `road_users`; and where the detector has no LiDAR points to find it by, an
        object is visible only if it is in a picture. A virtual camera may be black at the sides,
        where no real one looks: what is there nobody sees, unless its pixels were counted.
        """
        found = road_users(sample)
        if self.config.lidar and len(sample.get("points", ())):
            return found
        valid = sample["image_valid"]
        seen = pixel_from_ego(sample["intrinsics"], sample["ego_from_camera"])[valid]
        shown = in_pictures(found.boxes, seen, self.config.size)
        guessed = shown & (sample["box_pixels"] < 0)
        if guessed.any():
            lit = sample["images"][valid].any(1)
            shown[guessed] = in_pictures(found.boxes[guessed], seen, self.config.size, lit)
        return replace(found, visible=found.visible & shown)

    def _light_targets(self, sample: Sample, valid: Array) -> Frame:
        instance = sample.get("instance")
        # without a map nobody knows which lights are the ego's
        known = instance is not None and bool(sample["has_map"])
        return light_targets(
            instance[self.lights] if known and instance is not None else None,
            sample["light_relevant"],
            sample["lights"],
            self.config.size,
            unjudged=sample["light_unjudged"],
            cameras=len(self.lights),
            seen=valid[self.lights],
        )

    def _image_targets(self, sample: Sample) -> Frame:
        config = self.config
        shape = (len(sample["images"]), config.size[1] // STRIDE, config.size[0] // STRIDE)
        wanted = {"depth": config.depth_bins > 0, "semantic": config.semantics}
        made = {k: np.full(shape, NOT_JUDGED, np.uint8) for k, on in wanted.items() if on}
        made |= image_targets(sample.get("depth"), sample.get("semantic"), config)
        points = sample.get("points")
        if wanted["depth"] and "depth" not in sample and points is not None:
            seen = pixel_from_ego(sample["intrinsics"], sample["ego_from_camera"])
            newest = points[points[:, -1] >= -DEPTH_AGE, :3]
            made["depth"] = point_depth(newest, seen, sample["images"].any(1), config)
        return made


def road_users(sample: Mapping[str, Any]) -> Objects:
    """The road users of a sample, or of a sample's arrays as they are stored.

    Visible: shown by `VISIBLE_PIXELS` of the recorded pictures, or, where nobody has counted, by a
    LiDAR point, or, where nobody has counted those, all: KITTI labels only what its picture shows.
    Obstacles `OVERHEAD` count as hidden: they are neither to be found nor wrong.
    """
    boxes = sample["boxes"]
    pixels, points = sample["box_pixels"], sample["box_lidar_points"]
    touched = np.where(points >= 0, points >= 1, True)
    visible = np.where(pixels >= 0, pixels >= VISIBLE_PIXELS, touched)
    kinds = object_classes(sample["box_kind"], boxes[:, 3])
    overhead = boxes[:, 2] - boxes[:, 5] / 2.0 > OVERHEAD
    return Objects(boxes, kinds, visible & ~(overhead & (kinds == ObjectClass.OBSTACLE)))


def in_pictures(
    boxes: Array, pixel_from_ego: Array, size: tuple[int, int], lit: Array | None = None
) -> Array:
    """(M,) bool: the centre of a box (M, 9), or of a face or an edge, or a corner is in a picture.

    Args:
        pixel_from_ego: (N, 3, 4) of the pictures.
        size: px, width and height of all of them.
        lit: (N, height, width) bool, pixels that show something; None: all do.
    """
    if not len(boxes) or not len(pixel_from_ego):
        return np.zeros(len(boxes), bool)
    aside = (np.array(list(np.ndindex(3, 3, 3))) - 1.0) * boxes[:, None, 3:6] / 2.0
    c, s = np.cos(boxes[:, None, 6]), np.sin(boxes[:, None, 6])
    places = np.ones((*aside.shape[:2], 4), np.float32)
    places[..., 0] = boxes[:, None, 0] + c * aside[..., 0] - s * aside[..., 1]
    places[..., 1] = boxes[:, None, 1] + s * aside[..., 0] + c * aside[..., 1]
    places[..., 2] = boxes[:, None, 2] + aside[..., 2]
    u, v, depth = np.moveaxis(places.reshape(-1, 4) @ pixel_from_ego.swapaxes(1, 2), -1, 0)
    inside = (depth > 0.1) & (u >= -0.5 * depth) & (u < (size[0] - 0.5) * depth)
    inside &= (v >= -0.5 * depth) & (v < (size[1] - 0.5) * depth)
    if lit is not None:
        n, k = np.nonzero(inside)
        column = np.floor(u[n, k] / depth[n, k] + 0.5).astype(int)
        row = np.floor(v[n, k] / depth[n, k] + 0.5).astype(int)
        inside[n, k] = lit[n, np.minimum(row, size[1] - 1), np.minimum(column, size[0] - 1)]
    return inside.any(0).reshape(len(boxes), -1).any(1)


def _fresh(sample: Sample, key: str) -> Array:
    """Points or targets as the car would have them: what is recorded seldom leaves older ones."""
    rows = sample.get(key, np.zeros((0, 1), np.float32))
    return rows[rows[:, -1] >= -OLDEST]


def _reach(config: DetectorConfig) -> float:
    """m from the ego to the farthest corner of the grid."""
    grid = config.grid
    return float(np.hypot(max(abs(grid.x_min), grid.x_max), max(abs(grid.y_min), grid.y_max)))
