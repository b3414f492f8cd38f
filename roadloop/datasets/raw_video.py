"""Single pictures of a raw video stream (HEVC, H.264 without a container), found exactly."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from roadloop.errors import RoadloopError

Array = np.ndarray


def video_frame(path: Path, index: int, size: tuple[int, int]) -> Array:
    """(height, width, 3) uint8 RGB, picture ``index`` of a raw video stream.

    A raw stream has no index to seek by: its packets are counted once, then only those from the
    last key picture before are decoded. Groups of pictures must be closed (none shown before its
    key picture), as encoders of cameras make them.

    Raises:
        RoadloopError: a missing or damaged video, one that ends earlier, another picture size.
    """
    import av.error

    if not path.is_file():
        raise RoadloopError(f"{path} is missing; download it, or leave this drive out")
    status = path.stat()
    try:
        keys, count = _packets(path, status.st_mtime_ns, status.st_size)
        if index >= count:
            raise RoadloopError(f"{path} ends after {count} pictures, there is no {index}")
        first = max(k for k in keys if k <= index)
        rgb = _decoded(path, first, index - first)
    except av.error.FFmpegError as error:
        raise RoadloopError(f"{path} is truncated or no video: {error}") from None
    if rgb is None or rgb.shape[:2] != size:
        found = "nothing" if rgb is None else f"{rgb.shape[1]} x {rgb.shape[0]} px"
        raise RoadloopError(f"{path}, picture {index}: {found}, expected {size[1]} x {size[0]} px")
    return rgb


@lru_cache(maxsize=64)
def _packets(path: Path, changed: int, size: int) -> tuple[tuple[int, ...], int]:
    """Numbers of the key pictures of a video, and how many pictures it has."""
    import av

    keys, count = [], 0
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                if packet.is_keyframe:
                    keys.append(count)
                count += 1
    if not keys:
        raise RoadloopError(f"{path} has no key picture; is it truncated?")
    return tuple(keys), count


def _decoded(path: Path, first: int, ahead: int) -> Array | None:
    """The picture ``ahead`` of the ``first`` packet's; None where the video ends before."""
    import av

    count, shown = 0, 0
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            here, count = count, count + bool(packet.size)
            if packet.size and here < first:
                continue
            for frame in packet.decode():
                if shown == ahead:
                    return frame.to_ndarray(format="rgb24")
                shown += 1
    return None
