"""Sensor files of nuScenes: LiDAR sweeps of five floats a point, radar scans as PCD.

Sources of the layouts: ``LidarPointCloud`` and ``RadarPointCloud`` of nuscenes-devkit, and the PCD
0.7 description of the Point Cloud Library.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from roadloop.datasets.source import read_bytes
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, transform_points
from roadloop.readings import LidarSweep, RadarScan

Array = np.ndarray

RADAR_FIELDS = (
    ("x", "<f4"),
    ("y", "<f4"),
    ("z", "<f4"),
    ("dyn_prop", "i1"),
    ("id", "<i2"),
    ("rcs", "<f4"),
    ("vx", "<f4"),
    ("vy", "<f4"),
    ("vx_comp", "<f4"),
    ("vy_comp", "<f4"),
    ("is_quality_valid", "i1"),
    ("ambig_state", "i1"),
    ("x_rms", "i1"),
    ("y_rms", "i1"),
    ("invalid_state", "i1"),
    ("pdh0", "i1"),
    ("vx_rms", "i1"),
    ("vy_rms", "i1"),
)
"""of a Continental ARS 408 as nuScenes writes it: x forward, y left; v*_comp over ground"""

VALID, UNAMBIGUOUS, STOPPED = 0, 3, 7
"""The devkit's default filter keeps targets of this ``invalid_state`` and ``ambig_state`` and below
this ``dyn_prop``"""


# --- LiDAR ----------------------------------------------------------------------------------------


def read_lidar(path: Path, ego_from_lidar: Array, timestamp_us: int) -> LidarSweep:
    """A sweep: float32 x, y, z, intensity (0 to 255), ring of each point, in the sensor's frame.

    nuScenes has taken the ego's motion during the sweep out, to ``timestamp_us``.
    """
    content = read_bytes(path)
    if len(content) % 20 or not content:
        raise RoadloopError(
            f"{path} is truncated: {len(content)} bytes are not a whole number of points of 20"
        )
    values = np.frombuffer(content, "<f4").reshape(-1, 5)
    if not np.isfinite(values).all():
        row = int(np.argmax(~np.isfinite(values).all(-1)))
        raise RoadloopError(f"{path}: point {row} is not finite")
    points = np.empty((len(values), 4), np.float32)
    points[:, :3] = transform_points(ego_from_lidar, values[:, :3].astype(np.float64))
    points[:, 3] = np.clip(values[:, 3] / np.float32(255.0), 0.0, 1.0)
    ring = np.clip(values[:, 4], 0, 65535).astype(np.uint16)
    return LidarSweep(points=points, timestamp_us=timestamp_us, ring=ring)


def lidar_bytes(sweep: LidarSweep, ego_from_lidar: Array) -> bytes:
    """The content of a ``.pcd.bin`` file of a sweep; ring 0 where it has no rings."""
    values = np.zeros((len(sweep.points), 5), "<f4")
    xyz = sweep.points[:, :3].astype(np.float64)
    values[:, :3] = transform_points(inverse(ego_from_lidar), xyz)
    values[:, 3] = sweep.points[:, 3] * np.float32(255.0)
    if sweep.ring is not None:
        values[:, 4] = sweep.ring
    return values.tobytes()


# --- radar ----------------------------------------------------------------------------------------


def read_radar(path: Path, ego_from_radar: Array, timestamp_us: int) -> RadarScan:
    """A scan: the valid, unambiguous targets, those that the devkit shows by default.

    The radar measures no elevation: targets lie in the plane of the sensor.
    """
    targets = read_pcd(path)
    missing = [name for name, _ in RADAR_FIELDS if name not in (targets.dtype.names or ())]
    if missing:
        raise RoadloopError(f"{path}: no radar scan of nuScenes: field {missing[0]} is missing")
    if len(targets) and not all(np.isfinite(targets[0][name]) for name, _ in RADAR_FIELDS):
        targets = targets[:0]  # how an empty scan is written
    kept = (
        (targets["invalid_state"] == VALID)
        & (targets["ambig_state"] == UNAMBIGUOUS)
        & (targets["dyn_prop"] < STOPPED)
    )
    targets = targets[kept]
    x, y, z, vx, vy, vx_comp, vy_comp = (
        targets[name].astype(np.float64)
        for name in ("x", "y", "z", "vx", "vy", "vx_comp", "vy_comp")
    )
    away = np.sqrt(x * x + y * y + z * z)
    by = np.where(away > 0.0, away, 1.0)
    placed = transform_points(ego_from_radar, np.stack([x, y, z], axis=-1))
    return RadarScan(
        *(column.astype(np.float32) for column in placed.T),
        radial_speed=((vx_comp * x + vy_comp * y) / by).astype(np.float32),
        rcs=targets["rcs"].astype(np.float32),
        timestamp_us=timestamp_us,
        range=away.astype(np.float32),
        azimuth=np.arctan2(y, x).astype(np.float32),
        elevation=np.arctan2(z, np.hypot(x, y)).astype(np.float32),
        range_rate=((vx * x + vy * y) / by).astype(np.float32),
    )


def radar_bytes(scan: RadarScan, ego_from_radar: Array) -> bytes:
    """The content of a ``.pcd`` file of a scan, which the devkit's default filter keeps whole."""
    targets = np.zeros(max(len(scan.x), 1), np.dtype(list(RADAR_FIELDS)))
    targets["ambig_state"], targets["is_quality_valid"], targets["pdh0"] = UNAMBIGUOUS, 1, 1
    if len(scan.x):
        placed = np.stack([scan.x, scan.y, scan.z], axis=-1).astype(np.float64)
        x, y, z = transform_points(inverse(ego_from_radar), placed).T
        rate = scan.radial_speed if scan.range_rate is None else scan.range_rate
        # the speed along the line of sight as a vector in the sensor's plane
        flat = np.maximum(x * x + y * y, 1e-12)
        away = np.sqrt(flat + z * z)
        columns = {"x": x, "y": y, "z": z, "rcs": scan.rcs, "id": np.arange(len(x)) % 32768}
        columns |= {"vx": rate * x * away / flat, "vy": rate * y * away / flat}
        columns |= {"vx_comp": scan.radial_speed * x * away / flat}
        columns |= {"vy_comp": scan.radial_speed * y * away / flat}
        columns |= {"dyn_prop": np.where(np.abs(scan.radial_speed) > 0.5, 0, 1)}
        for name, values in columns.items():
            targets[name] = values
    else:
        for name in ("x", "y", "z"):
            targets[name] = np.nan
    kinds = {"f": "F", "i": "I"}
    types = [targets.dtype[name] for name, _ in RADAR_FIELDS]
    header = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        "FIELDS " + " ".join(name for name, _ in RADAR_FIELDS),
        "SIZE " + " ".join(str(t.itemsize) for t in types),
        "TYPE " + " ".join(kinds[t.kind] for t in types),
        "COUNT " + " ".join("1" for _ in types),
        f"WIDTH {len(targets)}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {len(targets)}",
        "DATA binary",
    ]
    # the devkit wants at least one byte after the last target
    return "\n".join(header).encode() + b"\n" + targets.tobytes() + b"\n"


def read_pcd(path: Path) -> Array:
    """The points of a binary PCD file as an array with its fields.

    Raises RoadloopError for a header that is none, another encoding, a truncated file.
    """
    content = read_bytes(path)
    header: dict[str, list[str]] = {}
    position = 0
    while "DATA" not in header:
        end = content.find(b"\n", position)
        if end < 0:
            raise RoadloopError(f"{path} is truncated or no PCD file: its header has no DATA line")
        words = content[position:end].decode("ascii", "replace").split()
        position = end + 1
        if words and not words[0].startswith("#"):
            header[words[0]] = words[1:]
    try:
        names, sizes, kinds = (header[key] for key in ("FIELDS", "SIZE", "TYPE"))
        layout = [
            (n, f"<{_PCD_TYPE[k]}{int(s)}") for n, k, s in zip(names, kinds, sizes, strict=True)
        ]
        dtype = np.dtype(layout)
        points, encoding = int(header["POINTS"][0]), header["DATA"][0]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise RoadloopError(f"{path} is no PCD file: its header is wrong ({error})") from error
    if encoding != "binary" or any(count != "1" for count in header.get("COUNT", ())):
        raise RoadloopError(f"{path}: only PCD files of DATA binary and COUNT 1 can be read")
    if points < 0 or len(content) - position < points * dtype.itemsize:
        raise RoadloopError(f"{path} is truncated: it holds less than its {points} points")
    return np.frombuffer(content, dtype, points, position)


_PCD_TYPE = {"F": "f", "I": "i", "U": "u"}
