"""Faces and licence plates made unrecognisable in the pictures of a recording.

Where they are is said by one or several finders, separated by commas:

``labels``
    the heads of labelled people and the plates of labelled vehicles, from their 3D boxes: as
    complete as the labels are, and blind to whoever is not labelled.
``FILE.onnx``
    a YuNet face detector in OpenCV's format, which is not part of roadloop.
``MODULE:FUNCTION``
    your own: (height, width, 3) uint8 RGB in, (n, 4) left, top, right, bottom px out.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, transform_points
from roadloop.logs.boxes_between import boxes_at
from roadloop.logs.lazy import LoggedImage
from roadloop.logs.recording import Recording
from roadloop.logs.sensor_boxes import agent_kinds, box_poses
from roadloop.readings import CameraImage
from roadloop.types import AgentKind

Array = np.ndarray

Finder = Callable[[str, CameraImage], Mapping[str, Array]]
"""camera and picture -> by kind (face, plate, ...) regions (n, 4) left, top, right, bottom px"""

SMALLEST = 4.0
"""px, regions less high or wide than this show nobody"""
MARGIN = 0.08
"""share by which a region is made larger to each side"""
CELLS = 5
"""what is left of a region: so many cells across its longer side"""
QUALITY = 95
"""of the JPEG of a picture that was changed"""

HEAD = 0.2
"""share of a standing person's height: an adult's head is an eighth, plus room for bent postures
and for boxes with air above the person"""
RIDER_HEAD = 0.3
"""likewise of somebody on a bicycle or motorcycle"""
HEAD_ROOM = 0.8
"""m about the middle of a person's box in which the head is; the box may hold a long stride"""
PLATE_DEEP, PLATE_WIDE = 0.3, 0.84
"""m: plates lie so far behind the ends of a box at most, and within this width about its middle
(a plate is 0.52 m wide in Europe, 0.30 m in North America, and may hang off the middle)"""
PLATE_LOW, PLATE_HIGH, PLATE_HIGH_LARGE = 0.2, 1.1, 1.5
"""m above the ground between which plates are mounted; the last one of trucks, buses and
motorcycles. Directive 93/94/EEC has 0.2 and 1.5 m for motorcycles; cars have theirs lower"""

_PEOPLE = {
    AgentKind.PEDESTRIAN: HEAD,
    AgentKind.CYCLIST: RIDER_HEAD,
    AgentKind.MOTORCYCLE: RIDER_HEAD,
}
_PLATED = (AgentKind.CAR, AgentKind.VAN, AgentKind.TRUCK, AgentKind.BUS, AgentKind.MOTORCYCLE)


class Anonymizer:
    """Blurs what its finders find: an ``edit`` for ``roadloop.logs.writer.write_recording``.

    Args:
        words: finders, see above.

    Attributes:
        regions: how many were blurred, by kind.
        pictures: how many pictures were changed.

    Raises:
        RoadloopError: a finder that is unknown or cannot be loaded.
    """

    def __init__(self, recording: Recording, words: str) -> None:
        names = [word.strip() for word in words.split(",") if word.strip()]
        if not names:
            raise RoadloopError("--anonymize has no finder: labels, FILE.onnx or MODULE:FUNCTION")
        self._finders = [_finder(name, recording) for name in names]
        self.regions: Counter[str] = Counter()
        self.pictures = 0

    def __call__(self, camera: str, image: CameraImage) -> CameraImage:
        """The picture, blurred where anything was found; otherwise the very same."""
        found = [(kind, r) for find in self._finders for kind, r in find(camera, image).items()]
        rgb = image.rgb
        height, width = rgb.shape[:2]
        blurred = None
        for kind, regions in found:
            for left, top, right, bottom in _enlarged(regions, width, height):
                if min(right - left, bottom - top) < SMALLEST:
                    continue
                blurred = rgb.copy() if blurred is None else blurred
                blur(blurred[top:bottom, left:right])
                self.regions[kind] += 1
        if blurred is None:
            return image
        self.pictures += 1
        products: dict[str, Callable[[], Any]] = {
            name: partial(getattr, image, name)
            for name in ("depth", "semantic", "instance", "flow")
        }
        return LoggedImage.of(
            {**products, "rgb": lambda: blurred},
            camera=image.camera,
            ego_from_camera=image.ego_from_camera,
            timestamp_us=image.timestamp_us,
            boxes=image.boxes,
            encoded=partial(_encoded, blurred, _came_as(image)),
        )


def check_finders(words: str) -> None:
    """Raise RoadloopError where a finder is unknown or cannot be loaded."""
    for name in (word.strip() for word in words.split(",") if word.strip()):
        if name != "labels":
            _finder(name, None)


def blur(part: Array) -> None:
    """Make the region (height, width, 3) uint8 unrecognisable, in place.

    Averaged to ``CELLS`` cells across its longer side, which cannot be undone, then smoothed.
    """
    import cv2

    height, width = part.shape[:2]
    cell = max(height, width) / CELLS
    size = max(round(width / cell), 1), max(round(height / cell), 1)
    coarse = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    part[:] = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def _enlarged(regions: Array, width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """Whole pixels of the regions (n, 4), larger by ``MARGIN`` and cut to the picture."""
    for left, top, right, bottom in np.asarray(regions, float).reshape(-1, 4):
        u, v = MARGIN * (right - left), MARGIN * (bottom - top)
        if not np.isfinite([left, top, right, bottom]).all() or right < left or bottom < top:
            raise RoadloopError(
                f"a finder gave the region {left:g}, {top:g}, {right:g}, {bottom:g}: expected "
                "left, top, right, bottom in px"
            )
        yield (
            int(np.clip(np.floor(left - u), 0, width)),
            int(np.clip(np.floor(top - v), 0, height)),
            int(np.clip(np.ceil(right + u), 0, width)),
            int(np.clip(np.ceil(bottom + v), 0, height)),
        )


def _came_as(image: CameraImage) -> str:
    """How the file of a picture ended: .png where it was a PNG, else .jpg."""
    encoded = image.encoded if isinstance(image, LoggedImage) else None
    return ".png" if encoded is not None and encoded().startswith(b"\x89PNG") else ".jpg"


def _encoded(rgb: Array, end: str) -> bytes:
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY] if end == ".jpg" else []
    return cv2.imencode(end, np.ascontiguousarray(rgb[..., ::-1]), options)[1].tobytes()


# --- finders ------------------------------------------------------------------------------------


def _finder(name: str, recording: Recording | None) -> Finder:
    if name == "labels":
        if recording is None or recording.agents is None:
            whose = "" if recording is None else f" {recording.name}"
            raise RoadloopError(
                f"--anonymize labels: the drive{whose} has no labels; name another finder"
            )
        return _Labels(recording)
    if name.endswith(".onnx"):
        return _YuNet(Path(name))
    if ":" in name:
        return partial(_asked, name, _function(name))
    raise RoadloopError(
        f'--anonymize "{name}" is unknown: give labels, FILE.onnx or MODULE:FUNCTION'
    )


def _function(name: str) -> Callable[[Array], Any]:
    module_name, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise RoadloopError(
            f"--anonymize {name}: {error}; install the module, or put its folder on PYTHONPATH"
        ) from error


def _asked(name: str, function: Callable[[Array], Any], camera: str, image: CameraImage) -> Any:
    """Regions by kind of one's own function; what is no dictionary is of the kind ``region``."""
    found = function(image.rgb)
    found = found if isinstance(found, Mapping) else {"region": found}
    for kind, regions in found.items():
        shape = np.shape(regions)
        if len(shape) != 2 or shape[1] != 4:
            if np.size(regions) == 0:
                continue
            raise RoadloopError(
                f"{name} gave {kind} of shape {shape}: expected (n, 4), left, top, right, bottom px"
            )
    return found


class _Labels:
    """Heads and plates of labelled road users, by their 3D boxes."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    @cached_property
    def _poses(self) -> dict[tuple[str, int], Array]:
        frames = self._recording.frames
        return {(f.sensor, f.timestamp_us): f.world_from_ego for f in frames if f.kind == "camera"}

    def __call__(self, camera: str, image: CameraImage) -> dict[str, Array]:
        pose = self._poses.get((camera, image.timestamp_us))
        if pose is None:
            raise RoadloopError(
                f"the drive {self._recording.name} has no frame of {camera} at "
                f"{image.timestamp_us} us: where the ego was then is not known"
            )
        boxes = boxes_at(self._recording, image.timestamp_us, pose)
        assert boxes is not None
        camera_from_box = inverse(image.ego_from_camera) @ box_poses(boxes)
        kinds = agent_kinds(boxes["kind"])
        found: dict[str, list[Array]] = {"face": [], "plate": []}
        for k in range(len(kinds)):
            kind = AgentKind(int(kinds[k]))
            length, width, height = (float(boxes[s][k]) for s in ("length", "width", "height"))
            low, high = -height / 2.0, height / 2.0
            parts: list[tuple[str, tuple[float, ...]]] = []
            if kind in _PEOPLE:
                top = high - _PEOPLE[kind] * height
                u, v = min(length, HEAD_ROOM) / 2.0, min(width, HEAD_ROOM) / 2.0
                parts += [("face", (-u, u, -v, v, top, high))]
            if kind in _PLATED:
                half = min(PLATE_WIDE, width) / 2.0
                deep = min(PLATE_DEEP, length / 2.0)
                above = PLATE_HIGH if kind in (AgentKind.CAR, AgentKind.VAN) else PLATE_HIGH_LARGE
                reach = (-half, half, low + PLATE_LOW, min(low + above, high))
                eye = inverse(camera_from_box[k])[:3, 3]
                if eye[0] > length / 2.0:
                    parts += [("plate", (length / 2 - deep, length / 2, *reach))]
                if eye[0] < -length / 2.0:
                    parts += [("plate", (-length / 2, -length / 2 + deep, *reach))]
            for name, part in parts:
                region = _seen(image, camera_from_box[k], part)
                if region is not None:
                    found[name].append(region)
        return {name: np.array(regions).reshape(-1, 4) for name, regions in found.items()}


def _seen(image: CameraImage, camera_from_box: Array, part: tuple[float, ...]) -> Array | None:
    """Outline of a part of a box (x, y, z from ... to) in the picture; None where it is not in."""
    x, y, z = (np.linspace(part[k], part[k + 1], 6) for k in (0, 2, 4))
    points = np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1).reshape(-1, 3)
    uv, seen = image.camera.project(transform_points(camera_from_box, points))
    if not seen.any():
        return None
    uv = uv[seen] + 0.5
    return np.concatenate([uv.min(0), uv.max(0)])


class _YuNet:
    """A YuNet face detector; the file is OpenCV Zoo's ``face_detection_yunet``."""

    def __init__(self, path: Path) -> None:
        import cv2

        if not path.is_file():
            raise RoadloopError(f"--anonymize {path}: there is no such file")
        try:
            self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), 0.5, 0.3, 5000)
        except cv2.error as error:
            why = " ".join(str(error).split())[:160]
            raise RoadloopError(f"--anonymize {path}: no face detector: {why}") from error

    def __call__(self, camera: str, image: CameraImage) -> dict[str, Array]:
        rgb = image.rgb
        self._net.setInputSize((rgb.shape[1], rgb.shape[0]))
        _, faces = self._net.detect(np.ascontiguousarray(rgb[..., ::-1]))
        corner = np.zeros((0, 4)) if faces is None else np.asarray(faces)[:, :4]
        return {"face": np.concatenate([corner[:, :2], corner[:, :2] + corner[:, 2:]], axis=1)}
