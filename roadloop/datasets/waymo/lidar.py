"""Waymo's range images to points: range by beam and azimuth, moved with the car while it turned.

A range image is (rows, columns, 4): range (m, not above 0 where nothing came back), intensity,
elongation, whether in a zone without labels. Row 0 is the highest beam, columns run clockwise from
behind; the azimuth of a column is that of the vehicle frame before the sensor's tilt. For the top
LiDAR the vehicle's pose at each cell is known, which takes the motion out: all points are as at the
frame's pose. Those of the four short-range LiDARs are not moved (``dataset.proto``; the geometry
follows the description in Sun et al. 2020, "Scalability in Perception for Autonomous Driving: Waymo
Open Dataset", section 3).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from roadloop.datasets.protobuf_wire import decode
from roadloop.datasets.waymo.fields import MATRIX_FLOAT, MATRIX_INT
from roadloop.errors import RoadloopError
from roadloop.geometry import rotation_from_euler, transform_points
from roadloop.readings import LidarSweep
from roadloop.semantics import SemanticClass

Array = np.ndarray

POINT_CLASSES: dict[int, SemanticClass] = {
    0: SemanticClass.NONE,
    1: SemanticClass.CAR,
    2: SemanticClass.TRUCK,
    3: SemanticClass.BUS,
    4: SemanticClass.TRUCK,  # other vehicle
    5: SemanticClass.RIDER,  # motorcyclist
    6: SemanticClass.RIDER,  # bicyclist
    7: SemanticClass.PEDESTRIAN,
    8: SemanticClass.TRAFFIC_SIGN,
    9: SemanticClass.TRAFFIC_LIGHT,
    10: SemanticClass.POLE,
    11: SemanticClass.STATIC,  # construction cone
    12: SemanticClass.BICYCLE,
    13: SemanticClass.MOTORCYCLE,
    14: SemanticClass.BUILDING,
    15: SemanticClass.VEGETATION,
    16: SemanticClass.VEGETATION,  # tree trunk
    17: SemanticClass.SIDEWALK,  # curb
    18: SemanticClass.ROAD,
    19: SemanticClass.ROAD_LINE,
    20: SemanticClass.ROAD,  # other ground: other markings, bumps, rails
    21: SemanticClass.TERRAIN,  # walkable
    22: SemanticClass.SIDEWALK,
}
"""``segmentation.proto``, Segmentation.Type"""


@dataclass(frozen=True)
class LaserGeometry:
    """How a LiDAR's range images become points."""

    extrinsic: Array
    """(4, 4) vehicle frame from the sensor's"""
    inclinations: Array
    """(rows,) rad from low to high; none where they are uniform"""
    inclination_min: float
    """rad, lower edge of the lowest row, for uniform ones"""
    inclination_max: float

    def of_rows(self, rows: int) -> Array:
        """(rows,) rad from the top row down."""
        if len(self.inclinations):
            return self.inclinations[::-1]
        span = self.inclination_max - self.inclination_min
        return (self.inclination_min + (np.arange(rows) + 0.5) / rows * span)[::-1]


def matrix(content: bytes, whole_numbers: bool, where: object) -> Array:
    """The array of a zlib-compressed ``MatrixFloat`` or ``MatrixInt32``; RoadloopError if not."""
    try:
        data = zlib.decompress(content)
    except zlib.error as error:
        raise RoadloopError(f"{where}: a range image is damaged ({error})") from error
    found = decode(MATRIX_INT if whole_numbers else MATRIX_FLOAT, data, where)
    return shaped(found["data"], found.get("shape", {}).get("dims", []), where)


def shaped(values: Array, shape: Array, where: object) -> Array:
    """A range image (rows, columns, channels) of its values in a row; RoadloopError if not one."""
    size = tuple(int(n) for n in shape)
    if len(size) != 3 or min(size) < 0 or np.prod(size, dtype=np.int64) != len(values):
        raise RoadloopError(f"{where}: {len(values)} values are no range image of shape {size}")
    return np.asarray(values).reshape(size)


def sweep(
    returns: list[Array],
    laser: LaserGeometry,
    vehicle_from_world: Array | None,
    cell_poses: Array | None,
    classes: list[Array],
    timestamp_us: int,
    where: object,
) -> LidarSweep:
    """All returns of one LiDAR as points of the vehicle frame.

    Intensity has no upper limit in this data set (mirrors reach thousands); tanh brings it into
    [0, 1], as OpenPCDet and MMDetection3D do. ``ring`` is the row of the range image.

    Args:
        returns: range images (rows, columns, 4), the first and the second return.
        vehicle_from_world: (4, 4) of the frame's pose, for ``cell_poses``.
        cell_poses: (rows, columns, 6) roll, pitch, yaw, x, y, z of the vehicle in the world.
        classes: per return (rows, columns, 2) instance and class; none where not labelled.
    """
    points, rings, labels = [], [], []
    for k, image in enumerate(returns):
        rows, columns, channels = image.shape
        if channels < 2:
            raise RoadloopError(f"{where}: a range image of {channels} channels, expected 4")
        inclination = laser.of_rows(rows)
        if len(inclination) != rows:
            raise RoadloopError(
                f"{where}: a range image of {rows} rows, its calibration has {len(inclination)}"
            )
        row, column = np.nonzero(image[..., 0] > 0.0)
        distance = image[row, column, 0].astype(float)
        turned = np.arctan2(laser.extrinsic[1, 0], laser.extrinsic[0, 0])
        azimuth = np.pi - (column + 0.5) / columns * 2.0 * np.pi - turned
        level = distance * np.cos(inclination[row])
        xyz = np.stack(
            [
                level * np.cos(azimuth),
                level * np.sin(azimuth),
                distance * np.sin(inclination[row]),
            ],
            axis=-1,
        )
        xyz = transform_points(laser.extrinsic, xyz)
        if cell_poses is not None and vehicle_from_world is not None:
            if cell_poses.shape[:2] != (rows, columns) or cell_poses.shape[2] != 6:
                raise RoadloopError(f"{where}: poses of shape {cell_poses.shape} for its cells")
            pose = cell_poses[row, column].astype(float)
            rotation = rotation_from_euler(pose[:, 0], pose[:, 1], pose[:, 2])
            world = (rotation @ xyz[..., None])[..., 0] + pose[:, 3:]
            xyz = transform_points(vehicle_from_world, world)
        intensity = np.tanh(np.maximum(image[row, column, 1], 0.0))
        points.append(np.column_stack([xyz, intensity]).astype(np.float32))
        rings.append(row.astype(np.uint16))
        if k < len(classes):
            labels.append(_classes(classes[k], row, column, (rows, columns), where))
    nothing = np.zeros((0, 4), np.float32)
    return LidarSweep(
        points=np.concatenate([nothing, *points]),
        timestamp_us=timestamp_us,
        ring=np.concatenate([np.zeros(0, np.uint16), *rings]),
        semantic=np.concatenate(labels) if labels and len(labels) == len(points) else None,
    )


def geometry(
    extrinsic: Array, inclinations: Array, low: float, high: float, where: object
) -> LaserGeometry:
    """A LiDAR's geometry, checked."""
    if not len(inclinations) and not low < high:
        raise RoadloopError(f"{where}: beams from {low} to {high} rad")
    return LaserGeometry(extrinsic, np.asarray(inclinations, float), low, high)


def _classes(
    labels: Array, row: Array, column: Array, shape: tuple[int, int], where: object
) -> Array:
    if labels.shape[:2] != shape or labels.shape[2] != 2:
        raise RoadloopError(f"{where}: point labels of shape {labels.shape} for cells {shape}")
    number = labels[row, column, 1]
    unknown = ~np.isin(number, list(POINT_CLASSES))
    if unknown.any():
        raise RoadloopError(f"{where}: point class {number[unknown][0]}; known: 0 to 22")
    table = np.array([POINT_CLASSES[k] for k in range(len(POINT_CLASSES))], np.uint8)
    return table[number]
