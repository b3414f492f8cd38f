"""Pictures from bytes: JPEG by simplejpeg where it is installed, everything else by OpenCV.

Both decode with libjpeg-turbo to the same bytes; simplejpeg writes them straight into their place
and says what is wrong with a damaged file, which OpenCV only fills with grey.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.logs.sensor_files import image_array

try:
    import simplejpeg
except ImportError:  # a tenth slower without it
    simplejpeg = None

Array = np.ndarray

JPEG = b"\xff\xd8"


def picture_of(kind: str, where: str, content: bytes) -> Array:
    """A picture from its file's bytes: (H, W, 3) uint8 RGB, else as ``sensor_files`` has it.

    Raises RoadloopError, beginning with ``where``, for one that is damaged.
    """
    if kind != "rgb":
        return image_array(kind, Path(where), content)
    if simplejpeg is not None and content[:2] == JPEG:
        try:
            return simplejpeg.decode_jpeg(content)
        except ValueError as error:
            raise _damaged(where, error) from None
    return _decoded(where, content)


def picture_into(out: Array, where: str, content: bytes) -> None:
    """Decode colours into ``out`` (H, W, 3) uint8, contiguous.

    Raises RoadloopError for a picture that is damaged, or of another size.
    """
    if simplejpeg is None or content[:2] != JPEG:
        image = _decoded(where, content)
        check_size(where, image.shape, out.shape)
        out[...] = image
        return
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(content)
        check_size(where, (int(height), int(width)), out.shape)
        simplejpeg.decode_jpeg(content, buffer=out)
    except RoadloopError:
        raise
    except ValueError as error:
        raise _damaged(where, error) from None


def check_size(where: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raises RoadloopError where a picture's height and width are not those of its lens."""
    if tuple(found[:2]) != tuple(expected[:2]):
        raise RoadloopError(
            f"{where} has {found[1]} x {found[0]} px, its calibration {expected[1]} x {expected[0]}"
        )


def _decoded(where: str, content: bytes) -> Array:
    import cv2

    whole = content[:2] != JPEG or b"\xff\xd9" in content[-64:]
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    data = np.frombuffer(content, np.uint8)
    image = cv2.imdecode(data, flags) if whole and len(data) else None
    if image is None:
        raise _damaged(where, "it ends too early" if not whole else "no known format")
    return np.ascontiguousarray(image[..., ::-1])


def _damaged(where: str, reason: object) -> RoadloopError:
    return RoadloopError(f"{where} is no whole picture ({reason}); record or copy it again")
