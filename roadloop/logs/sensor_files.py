"""Pictures and sweeps of a sensor log as bytes of common formats, and back.

======== ============ ===========================================================================
kind     lossless     bytes
======== ============ ===========================================================================
rgb      PNG          JPEG, or PNG; 8-bit RGB
depth    npz          16-bit PNG in cm: 0 no surface (sky; also beside and behind a fisheye),
                      65535 is 655.35 m or more; lossless: ``depth``, float32 m, inf is sky
semantic PNG          8-bit PNG of SemanticClass
instance PNG          16-bit PNG: 0 nothing, 1 to 32767 the agent's id, 65535 - n for signal n
flow     npz          16-bit RGB PNG as KITTI 2015 has it: R = 64 du + 2^15, G = 64 dv + 2^15,
                      B = 1 where valid; lossless: ``flow``, float32 px
lidar    Parquet      x, y, z, intensity, ring, time_offset, semantic, instance
======== ============ ===========================================================================

KITTI 2015: https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php (development kit). Its depth
maps mark pixels without a value by 0, too, and count in 1/256 m, which ends at 256 m.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.logs.lazy import LoggedImage
from roadloop.logs.pictures import decoded
from roadloop.logs.sensor_tables import sweep_bytes, sweep_columns
from roadloop.readings import CameraImage, LidarSweep

Array = np.ndarray

IMAGES = ("rgb", "depth", "semantic", "instance", "flow")
"""what a camera's files hold, and the folders they lie in"""

JPEG_QUALITY = 92

_CM = 100.0
_FLOW = 64.0
_ZERO = 2**15


def suffix(kind: str, lossless: bool) -> str:
    """How the name of a file of this kind ends."""
    if kind == "lidar":
        return ".parquet"
    if lossless and kind in ("depth", "flow"):
        return ".npz"
    return ".jpg" if kind == "rgb" and not lossless else ".png"


def image_file(kind: str, image: CameraImage, lossless: bool) -> tuple[bytes, str]:
    """Content and end of the name of the file of one product.

    Colours that came out of a JPEG or PNG of a log or data set stay that file, to the byte.
    RoadloopError as ``image_bytes``.
    """
    if kind == "rgb" and isinstance(image, LoggedImage) and image.encoded is not None:
        content = image.encoded()
        for end, magic in ((".jpg", b"\xff\xd8"), (".png", b"\x89PNG")):
            if content.startswith(magic) and not (lossless and end == ".jpg"):
                return content, end
    end = suffix(kind, lossless)
    return image_bytes(kind, getattr(image, kind), end), end


def image_bytes(kind: str, image: Array, end: str) -> bytes:
    """The content of a file of one picture.

    Args:
        image: as the field of CameraImage called ``kind``.
        end: of the file's name: .png, .jpg or .npz.

    Raises:
        RoadloopError: a wrong type, NaN, an instance beyond 16 bits.
    """
    _check(kind, image)
    if end == ".npz":
        packed = io.BytesIO()
        arrays: dict[str, Any] = {kind: image}
        np.savez_compressed(packed, **arrays)
        return packed.getvalue()
    if kind == "depth":
        cm = np.clip(np.rint(image * np.float32(_CM)), 1, 2**16 - 1)
        image = np.where(np.isinf(image) | (image <= 0.0), 0, cm).astype(np.uint16)
    elif kind == "instance":
        image = image.astype(np.int16).view(np.uint16)
    elif kind == "flow":
        packed_flow = np.rint(image * np.float32(_FLOW)) + _ZERO
        fits = ((packed_flow >= 0) & (packed_flow < 2**16)).all(-1, keepdims=True)
        image = np.concatenate([np.where(fits, packed_flow, 0), fits], -1).astype(np.uint16)
    return _encoded(image, end)


def image_array(kind: str, path: Path, content: bytes) -> Array:
    """The picture that ``image_bytes`` was given, to the precision of its format.

    Flow that a PNG could not hold is 0. Raises RoadloopError for damaged content.
    """
    if path.suffix == ".npz":
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return arrays[kind]
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise RoadloopError(f"{path} is truncated or holds no {kind}: {error}") from error
    image = decoded(path, content, colours=kind == "rgb")
    channels = 3 if kind in ("rgb", "flow") else 1
    wide = kind in ("depth", "instance", "flow")
    found = 1 if image.ndim == 2 else image.shape[2]
    if found != channels or image.dtype != (np.uint16 if wide else np.uint8):
        raise RoadloopError(
            f"{path} has {found} channels of {image.dtype}, not those of {kind}; see docs/logs.md"
        )
    if kind == "depth":
        return np.where(image == 0, np.float32(np.inf), image / np.float32(_CM))
    if kind == "instance":
        return image.view(np.int16).astype(np.int32)
    if kind == "flow":
        flow = (image[..., :2].astype(np.float32) - _ZERO) / np.float32(_FLOW)
        return np.where(image[..., 2:] > 0, flow, np.float32(0.0))
    return image


def lidar_bytes(sweep: LidarSweep) -> bytes:
    """The content of a sweep's file."""
    columns: dict[str, Array] = dict(zip(("x", "y", "z", "intensity"), sweep.points.T))
    for name in ("ring", "time_offset", "semantic", "instance"):
        if (values := getattr(sweep, name)) is not None:
            columns[name] = values
    return sweep_bytes(columns)


def lidar_sweep(path: Path, content: bytes, timestamp_us: int) -> LidarSweep:
    """The sweep that ``lidar_bytes`` was given; RoadloopError for damaged content."""
    columns = sweep_columns(path, content)
    points = np.stack([columns.pop(name) for name in ("x", "y", "z", "intensity")], axis=1)
    return LidarSweep(points=points, timestamp_us=timestamp_us, **columns)


def _check(kind: str, image: Array) -> None:
    types = {"rgb": np.uint8, "semantic": np.uint8, "instance": np.int32}
    expected = np.dtype(types.get(kind, np.float32))
    if image.dtype != expected:
        raise RoadloopError(f"{kind} is {image.dtype}, must be {expected}")
    if image.dtype.kind == "f" and np.isnan(image).any():
        raise RoadloopError(f"{kind} holds NaN: give inf where there is no surface, 0 for no flow")
    if kind == "flow" and np.isinf(image).any():
        raise RoadloopError("flow is infinite somewhere: give 0 where it is unknown")
    if kind == "instance" and image.size and (np.abs(image) >= _ZERO).any():
        worst = image.flat[np.abs(image).argmax()]
        raise RoadloopError(f"instance {worst} does not fit 16 bits: number agents below {_ZERO}")


def _encoded(image: Array, end: str) -> bytes:
    import cv2

    if end == ".jpg":
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    elif image.dtype == np.uint8 and image.ndim == 3:
        options = [cv2.IMWRITE_PNG_COMPRESSION, 3]
    else:  # labels are runs of one number: smaller and faster so
        strategy = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
        options = [cv2.IMWRITE_PNG_COMPRESSION, 6, *strategy]
    if image.ndim == 3:
        image = np.ascontiguousarray(image[..., ::-1])  # OpenCV writes BGR as RGB
    return cv2.imencode(end, image, options)[1].tobytes()
