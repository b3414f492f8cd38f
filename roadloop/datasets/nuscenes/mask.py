"""The mask of drivable ground that belongs to every log of nuScenes: a PNG of 0.1 m per pixel."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from roadloop.logs.recording import Recording

Array = np.ndarray

RESOLUTION = 0.1
"""m per pixel, which the devkit takes for granted"""
MARGIN = 100.0
"""m around the drive that the mask shows"""
FARTHEST = 5000.0
"""m from the origin of the world up to which a drive keeps its coordinates; nuScenes' maps are up
to 3.7 km wide, and a mask begins at the origin"""
PAVED = 4.0
"""m, gaps between the lanes of a junction up to this wide are drivable too"""


def world_offset(recording: Recording) -> tuple[float, float]:
    """Whole metres added to x and y, so that the ground around the drive lies in the mask.

    0 where it does already, as for all of nuScenes' drives, and for drives without a map.
    """
    place = recording.world_from_ego[:, :2, 3]
    low, high = place.min(0) - MARGIN, place.max(0) + MARGIN
    if recording.load_map is None or ((low >= -MARGIN).all() and (high <= FARTHEST).all()):
        return 0.0, 0.0
    x, y = -np.floor(low)
    return float(x), float(y)


def mask_png(recording: Recording) -> bytes:
    """White where a car may drive by the lanes of the map, around the drive; else black.

    The lower left corner is the origin of the exported world. Without a map a single black pixel,
    which the devkit takes for a mask that ends there.
    """
    road_map = recording.road_map
    if road_map is None:
        return png(np.zeros((1, 1), bool), 1, 1, 0, 0)
    import cv2
    import shapely

    from roadloop.maps.area import drivable_polygons

    offset = np.array(world_offset(recording))
    place = recording.world_from_ego[:, :2, 3] + offset
    low = np.floor(np.maximum(place.min(0) - MARGIN, 0.0))
    high = np.ceil(place.max(0) + MARGIN)
    columns, rows = np.round((high - low) / RESOLUTION).astype(int).tolist()
    area = shapely.transform(drivable_polygons(road_map, gap=PAVED), lambda xy: xy + offset)
    window = np.zeros((rows, columns), np.uint8)
    for polygon in shapely.get_parts(area & shapely.box(*low, *high)).tolist():
        if polygon.geom_type != "Polygon" or polygon.is_empty:
            continue
        rings = [polygon.exterior, *polygon.interiors]
        pixels = [(np.array(ring.coords) - [low[0], high[1]]) / RESOLUTION for ring in rings]
        cv2.fillPoly(window, [np.round(p * [1.0, -1.0]).astype(np.int32) for p in pixels], 1)
    width, height = np.round(high / RESOLUTION).astype(int).tolist()
    return png(window.astype(bool), width, height, round(low[0] / RESOLUTION), 0)


def png(window: Array, width: int, height: int, left: int, top: int) -> bytes:
    """A PNG of 8 bits grey, black but for ``window`` (rows, columns) bool, which is white there.

    Written row by row: a mask of a whole town would fill a gigabyte of memory. (The devkit cannot
    read one of a single bit per pixel.)
    """
    rows, columns = window.shape
    packer = zlib.compressobj(6)
    line = np.zeros(1 + width, np.uint8)  # the first byte says that the row is not filtered
    black = line.tobytes()
    packed = [packer.compress(black) for _ in range(top)]
    for row in window:
        line[1 + left : 1 + left + columns] = np.where(row, 255, 0)
        packed.append(packer.compress(line.tobytes()))
    packed += [packer.compress(black) for _ in range(height - top - rows)]
    packed.append(packer.flush())
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", b"".join(packed)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
