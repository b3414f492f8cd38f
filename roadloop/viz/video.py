"""A drive as an H.264 video in an MP4 file that starts playing before it has loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.files import replaced
from roadloop.maps.road_map import RoadMap
from roadloop.types import Rollout

if TYPE_CHECKING:
    from roadloop.logs.plans import PlanLog
    from roadloop.scoring.result import Score
    from roadloop.viz.film import Film
    from roadloop.viz.plan_strip import PlanStrip
    from roadloop.viz.seen import Seen
    from roadloop.viz.seen_strip import SeenStrip

MOST_FPS = 20
"""frames per second chosen at most where the caller names none"""

SEEN_WIDTH = 1280
"""px, least width of a video that also shows what the driver saw"""

PRESET = "superfast"
"""x264's trade of time for size: half the time of its default"""


def write_video(
    path: str | Path,
    rollout: Rollout,
    road_map: RoadMap,
    *,
    score: Score | None = None,
    fps: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    width: int = 960,
    height: int = 540,
    metres: float = 110.0,
    heading_up: bool = False,
    crf: int = 23,
    film: Film | None = None,
    seen: Seen | None = None,
    plans: PlanLog | None = None,
) -> Path:
    """Write the drive in real time as MP4 (H.264, 4:2:0) and return the path.

    ``fps`` defaults to one frame per step, or per second, third ... step where that would be more
    than MOST_FPS. ``progress(done, frames)`` is called after every frame. ``crf`` is x264's
    quality, lower is better. The same drive gives the same bytes (one encoder thread, no clock in
    the file). A ``film`` is shown above the bird's-eye view, which then is as wide as the film, or
    beside it, which then is as high; what the driver has ``seen`` is a strip above it all, and
    the bird's-eye view at least SEEN_WIDTH wide; why it was so planned (``plans``) is one below it
    all. The file appears when it is complete. Raises
    RoadloopError where a size is odd or the rollout does not belong to the map.
    """
    from roadloop.viz.draw import FrameRenderer

    strip = why = None
    if seen is not None and film is None:
        width = max(width, SEEN_WIDTH)
    if film is not None:
        width, height = (film.size[0], height) if film.above else (width, film.size[1])
    _check_size(width, height)
    renderer = FrameRenderer(
        rollout,
        road_map,
        width=width,
        height=height,
        metres=metres,
        score=score,
        heading_up=heading_up,
    )
    rate, steps = frame_steps(len(rollout.time), rollout.dt, fps)
    size = _size(width, height, film)
    if seen is not None:
        from roadloop.viz.seen_strip import SeenStrip

        strip = SeenStrip(seen, rollout, size[0])
        size = (size[0], size[1] + strip.size[1])
    if plans is not None and plans.moments:
        from roadloop.viz.plan_strip import PlanStrip

        why = PlanStrip(plans, rollout, size[0])
        size = (size[0], size[1] + why.size[1])
    frames = (_joined(renderer.frame(step), film, strip, why, step) for step in steps.tolist())
    if progress is not None:
        frames = _counted(frames, len(steps), progress)
    return encode_video(path, frames, rate, size, crf=crf)


def encode_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    rate: Fraction,
    size: tuple[int, int],
    *,
    crf: int = 23,
) -> Path:
    """Write RGB frames (height, width, 3) as MP4 (H.264, 4:2:0) and return the path.

    ``size`` is width and height, both even; ``rate`` is frames per second. The same frames give the
    same bytes. The file appears when it is complete; nothing is left where ``frames`` raises.
    """
    import av
    import cv2
    from av.error import FFmpegError
    from av.video.reformatter import ColorRange, Colorspace

    _check_size(*size)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        options = {"movflags": "faststart", "fflags": "+bitexact"}
        with (
            replaced(path) as hidden,
            av.open(str(hidden), "w", format="mp4", options=options) as container,
        ):
            stream = container.add_stream(
                "libx264", rate=rate, options={"crf": str(crf), "preset": PRESET}
            )
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            encoder = stream.codec_context
            encoder.thread_count = 1
            # what OpenCV's conversion below is; players guess otherwise from the picture's size
            encoder.colorspace = Colorspace.ITU601
            encoder.color_range = ColorRange.MPEG
            for done, picture in enumerate(frames):
                planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
                frame = av.VideoFrame.from_ndarray(np.asarray(planes, np.uint8), format="yuv420p")
                frame.pts = done
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    except (OSError, FFmpegError) as error:
        raise RoadloopError(f"cannot write the video to {path}: {error}") from error
    return path


def _check_size(width: int, height: int) -> None:
    if width % 2 or height % 2:
        raise RoadloopError(f"video of {width} x {height} px: 4:2:0 needs even width and height")


def _counted(
    frames: Iterable[np.ndarray], count: int, progress: Callable[[int, int], None]
) -> Iterator[np.ndarray]:
    """The frames; after each one is written ``progress(done, count)``."""
    for done, frame in enumerate(frames, start=1):
        yield frame
        progress(done, count)


def _size(width: int, height: int, film: Film | None) -> tuple[int, int]:
    """Of a frame, from that of its bird's-eye view."""
    if film is None:
        return width, height
    return (width, height + film.size[1]) if film.above else (width + film.size[0], height)


def _joined(
    frame: np.ndarray,
    film: Film | None,
    strip: SeenStrip | None,
    why: PlanStrip | None,
    step: int,
) -> np.ndarray:
    """The bird's-eye frame with what cameras and driver saw at that step, and why it so planned."""
    if film is not None:
        frame = np.concatenate([film.picture(step), frame], axis=0 if film.above else 1)
    above = [] if strip is None else [strip.picture(step)]
    below = [] if why is None else [why.picture(step)]
    return np.concatenate([*above, frame, *below]) if above or below else frame


def frame_steps(steps: int, dt: float, fps: float | None) -> tuple[Fraction, np.ndarray]:
    """Frames per second, and the step each frame shows ``(frames,)``; the last step is shown."""
    if fps is None:
        stride = max(1, int(np.ceil(1.0 / (dt * MOST_FPS) - 1e-9)))
        rate = Fraction(1.0 / (dt * stride)).limit_denominator(1000)
        shown = np.arange(0, steps, stride)
    else:
        if not 0 < fps <= 240:
            raise RoadloopError(f"video at {fps} frames per second: give more than 0, at most 240")
        rate = Fraction(fps).limit_denominator(1000)
        seconds = np.arange(0, (steps - 1) * dt + 1e-9, 1.0 / fps)
        shown = np.minimum(np.rint(seconds / dt).astype(int), steps - 1)
    if shown[-1] != steps - 1:
        shown = np.append(shown, steps - 1)
    return rate, shown
