"""KITTI's labels: the rows of object and tracking, the tracklets of raw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from roadloop.config import unknown
from roadloop.datasets.kitti.files import EGO_FROM_VELODYNE, Calibration
from roadloop.datasets.labelled_boxes import LabelledBox
from roadloop.datasets.source import read_bytes
from roadloop.errors import RoadloopError
from roadloop.geometry import rotation_from_euler, se3
from roadloop.types import AgentKind

Array = np.ndarray

KINDS: dict[str, AgentKind] = {
    "Car": AgentKind.CAR,
    "Van": AgentKind.VAN,
    "Truck": AgentKind.TRUCK,
    "Tram": AgentKind.BUS,
    "Pedestrian": AgentKind.PEDESTRIAN,
    "Person": AgentKind.PEDESTRIAN,
    "Person_sitting": AgentKind.PEDESTRIAN,
    "Person (sitting)": AgentKind.PEDESTRIAN,
    "Cyclist": AgentKind.CYCLIST,
    "Misc": AgentKind.TRUCK,  # trailers, as the label guide says first; other readers' too
}
"""the devkit's types; DontCare is an area of the picture, no road user"""

NOT_BOXES = ("DontCare", "DontCare2")

# a box in cam0 of heading 0: length along x right, the ground under it, up is -y
_AGENT_AXES = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])

_COLUMNS = 15


def read_labels(
    path: Path,
    calibration: Calibration,
    world_from_ego: Callable[[int], Array],
    tracking: bool,
) -> tuple[list[LabelledBox], list[str]]:
    """The boxes of a label text, and notes about the rows that are none.

    A row: ``[frame track] type truncated occluded alpha left top right bottom h w l x y z ry
    [score]``, the middle of the box's bottom in cam0 rectified, ``ry`` about its y axis (0: the
    front points along x). Of object a road user's id is its row, of tracking its track.

    Args:
        world_from_ego: gives the pose (4, 4) at a step.
    """
    content = read_bytes(path)
    if tracking and not content.strip():
        raise RoadloopError(f"{path} is empty; download it again")
    boxes, ignored = [], 0
    lead = 2 if tracking else 0
    for number, line in enumerate(content.decode("ascii", "replace").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        where = f"{path}, line {number}"
        if len(words) - lead not in (_COLUMNS, _COLUMNS + 1):
            raise RoadloopError(
                f"{where}: {len(words)} words, expected {lead + _COLUMNS}; is it truncated?"
            )
        category = words[lead]
        if category in NOT_BOXES:
            ignored += 1
            continue
        if category not in KINDS:
            raise RoadloopError(f"{where}: {unknown('type', category, KINDS)}")
        try:
            step, track = (int(words[0]), words[1]) if tracking else (0, str(number))
            numbers = np.array(words[lead + 1 :], float)
        except ValueError:
            raise RoadloopError(f"{where} is not numbers after the type {category}") from None
        height, width, length = (float(v) for v in numbers[7:10])
        turn = float(numbers[13])
        cam0_from_agent = se3(_turned(turn) @ _AGENT_AXES, numbers[10:13])
        pose = world_from_ego(step) @ calibration.ego_from_cam0 @ cam0_from_agent
        size = (length, width, height)
        boxes.append(LabelledBox(step, track, category, KINDS[category], size, pose, where))
    notes = []
    if ignored:
        notes.append(f"{ignored} areas of the picture marked DontCare are left out of {path.name}")
    return boxes, notes


def read_tracklets(path: Path, world_from_ego: Callable[[int], Array]) -> list[LabelledBox]:
    """The boxes of a raw drive's ``tracklet_labels.xml``.

    Each ``item`` has objectType, h, w, l, first_frame and poses of consecutive frames: tx, ty, tz
    of the middle of the bottom in the velodyne's frame, and rz, the turn about its z.
    """
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    try:
        root = etree.fromstring(read_bytes(path), etree.XMLParser(resolve_entities=False))
    except etree.XMLSyntaxError as error:
        raise RoadloopError(f"{path} is truncated or no XML: {error}") from None
    boxes = []
    for track, item in enumerate(root.iterfind("./tracklets/item")):
        where = f"{path}, tracklet {track}"
        category = (item.findtext("objectType") or "").strip()
        if category not in KINDS:
            raise RoadloopError(f"{where}: {unknown('objectType', category, KINDS)}")
        size = (_number(item, "l", where), _number(item, "w", where), _number(item, "h", where))
        first = int(_number(item, "first_frame", where))
        for k, pose in enumerate(item.iterfind("./poses/item")):
            at = f"{where}, pose {k}"
            x, y, z, turn = (_number(pose, key, at) for key in ("tx", "ty", "tz", "rz"))
            agent = se3(rotation_from_euler(0.0, 0.0, turn), np.array([x, y, z]))
            frame = world_from_ego(first + k) @ EGO_FROM_VELODYNE @ agent
            boxes.append(
                LabelledBox(first + k, str(track), category, KINDS[category], size, frame, at)
            )
    return boxes


def _turned(turn: float) -> Array:
    """Rotation about the y axis, which points down."""
    c, s = np.cos(turn), np.sin(turn)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def _number(element: object, key: str, where: str) -> float:
    text = element.findtext(key)  # type: ignore[attr-defined]
    try:
        number = float(text or "")
        if np.isfinite(number):
            return number
        raise ValueError
    except ValueError:
        raise RoadloopError(f"{where}: {key} is {text!r}, expected a finite number") from None
