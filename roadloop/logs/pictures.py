"""Encoded pictures of logs and data sets decoded, whole or with an error."""

from __future__ import annotations

import zlib

import numpy as np

from roadloop.errors import RoadloopError

Array = np.ndarray


def decoded(where: object, content: bytes, *, colours: bool = True) -> Array:
    """The picture in a JPEG or PNG file: RGB, or with ``colours`` False as it is.

    Args:
        where: the file, or what else names the picture in errors.
        colours: (height, width, 3) uint8; otherwise one channel or three, of 8 or 16 bits.

    Raises:
        RoadloopError: it is damaged or cut short, of which OpenCV would fill the rest with grey.
    """
    import cv2

    image = None
    if content and _is_whole(content):
        how = cv2.IMREAD_COLOR if colours else cv2.IMREAD_UNCHANGED
        image = cv2.imdecode(np.frombuffer(content, np.uint8), how)
    if image is None:
        raise RoadloopError(f"{where} is truncated or not a picture; copy or download it again")
    return np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else image


def _is_whole(content: bytes) -> bool:
    """Whether a JPEG has its end and a PNG all its chunks as written; others are not looked at."""
    if content.startswith(b"\xff\xd8"):
        return b"\xff\xd9" in content[-64:]  # some cameras pad what they write
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return True
    at, end = 8, 0
    while end < len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        crc = zlib.crc32(memoryview(content)[at + 4 : end - 4])
        if crc != int.from_bytes(content[end - 4 : end], "big") or end > len(content):
            return False
        if content[at + 4 : at + 8] == b"IEND":
            return True
        at = end
    return False
