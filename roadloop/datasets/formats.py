"""The formats of recordings roadloop reads, and how to open any of them.

A reader is a module with two functions::

    def drives(root: Path) -> list[str]:
        '''Names of the drives under ``root``, sorted; [] where it is not of this format. Cheap: it
        looks at names and at the head of a file, and opens no sensor file.'''

    def open_drive(root: Path, name: str) -> Recording:
        '''One of them; RoadloopError naming file and row (or record) where it cannot be used.'''

``root`` is what a user has: the data set's folder as its own tool lays it out, or the folder or
file of one drive.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from roadloop.config import unknown
from roadloop.errors import RoadloopError
from roadloop.logs.recording import Recording


@dataclass(frozen=True)
class Format:
    """One format."""

    module: str
    """of its reader, below ``roadloop``"""
    title: str
    """what people call it"""


FORMATS: dict[str, Format] = {
    "roadloop": Format("logs.own", "logs of roadloop itself"),
    "nuscenes": Format("datasets.nuscenes.reader", "nuScenes, Lyft Level 5 perception"),
    "argoverse2": Format("datasets.argoverse2.reader", "Argoverse 2 sensor, scenario mining"),
    "argoverse2-motion": Format("datasets.argoverse2.motion", "Argoverse 2 motion forecasting"),
    "waymo-motion": Format("datasets.waymo.motion", "Waymo Open Motion: TFRecord, JSON"),
    "waymo": Format("datasets.waymo.perception", "Waymo Open Perception: v2 Parquet, frames"),
    "scenarionet": Format("datasets.scenarionet.reader", "ScenarioNet"),
    "commonroad": Format("datasets.commonroad.reader", "CommonRoad 2018b, 2020a"),
    "kitti-object": Format("datasets.kitti.object", "KITTI object detection"),
    "kitti-tracking": Format("datasets.kitti.tracking", "KITTI tracking"),
    "kitti-raw": Format("datasets.kitti.raw", "KITTI raw"),
    "kitti-odometry": Format("datasets.kitti.odometry", "KITTI odometry"),
    "comma2k19": Format("datasets.comma2k19", "comma2k19"),
    "dgp": Format("datasets.dgp", "DGP (TRI)"),
    "camvid": Format("datasets.camvid", "CamVid (classes of pixels)"),
    "py123d": Format("datasets.from_123d", "123D: nuPlan, KITTI-360, PandaSet, ..."),
}
"""by the name that ``--format`` takes; ``auto`` asks all of them"""


def list_drives(root: str | Path, format: str = "auto") -> tuple[str, list[str]]:
    """The format of a data set and the names of its drives.

    Raises:
        RoadloopError: no such file or folder, an unknown format, nothing of it there, or, for
            ``auto``, drives of several formats.
    """
    root = Path(root)
    if not root.exists():
        raise RoadloopError(f"{root} does not exist")
    if format != "auto":
        names = reader_of(format).drives(root)
        if not names:
            raise RoadloopError(
                f"{root} holds no drive of {FORMATS[format].title}; see docs/data.md"
            )
        return format, names
    found = {name: drives for name in FORMATS if (drives := reader_of(name).drives(root))}
    if len(found) == 1:
        return next(iter(found.items()))
    if found:
        counts = ", ".join(f"{name} ({len(drives)})" for name, drives in found.items())
        raise RoadloopError(
            f"{root} holds drives of several formats, {counts}: give --format, or the folder of one"
        )
    raise RoadloopError(
        f"{root} is of no format roadloop knows: give --format, one of {', '.join(FORMATS)}; "
        "docs/data.md says how each is laid out"
    )


def open_recording(root: str | Path, name: str = "", format: str = "auto") -> Recording:
    """One drive of a data set; without a name the only one there is.

    Raises:
        RoadloopError: as ``list_drives``; no name but several drives; a drive that is damaged.
    """
    root = Path(root)
    found, names = list_drives(root, format)
    if not name and len(names) > 1:
        raise RoadloopError(
            f"{root} holds {len(names)} drives of {FORMATS[found].title}: name one, e.g. {names[0]}"
        )
    name = name or names[0]
    if name not in names:
        raise RoadloopError(f"{root}: {unknown('drive', name, names)}")
    return reader_of(found).open_drive(root, name)


def reader_of(format: str) -> ModuleType:
    """The reader of a format; RoadloopError for an unknown one."""
    if format not in FORMATS:
        raise RoadloopError(unknown("format", format, FORMATS))
    return import_module(f"roadloop.{FORMATS[format].module}")
