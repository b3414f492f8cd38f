"""CamVid: single pictures out of a car in Cambridge, the class of every pixel; no boxes, no map.

Layouts, a drive per folder of pictures: the original (``701_StillsRaw_full`` and
``LabeledApproved_full``, or ``train`` and ``train_labels``), whose labels ``NAME_L.png`` have a
colour for each of 32 classes; and SegNet's (``train`` and ``trainannot``), whose labels are called
as the pictures and have a number for each of 11.

What the camera was is not in the data set. Its pictures are 960 x 720 out of a recorder of 1280 x
720 (DVCPRO HD, pixels a third wider than high), which the cars in them confirm: they look a quarter
too narrow. The field of view is assumed, so is where the camera was: good enough to teach classes,
not to measure in.

G. J. Brostow, J. Fauqueur, R. Cipolla, "Semantic object classes in video: a high-definition ground
truth database", Pattern Recognition Letters 30, 2009.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from roadloop.config import unknown
from roadloop.datasets.motion import ego_of_poses
from roadloop.datasets.source import read_bytes
from roadloop.errors import RoadloopError
from roadloop.logs.lazy import LoggedImage
from roadloop.logs.pictures import decoded
from roadloop.logs.recording import Frame, Recording
from roadloop.rig import CameraSensor, Mount, SensorRig
from roadloop.semantics import SemanticClass as Kind
from roadloop.types import VehicleParameters

Array = np.ndarray

COLOURS: dict[tuple[int, int, int], tuple[str, Kind]] = {
    (64, 128, 64): ("Animal", Kind.DYNAMIC),
    (192, 0, 128): ("Archway", Kind.BUILDING),
    (0, 128, 192): ("Bicyclist", Kind.RIDER),
    (0, 128, 64): ("Bridge", Kind.BRIDGE),
    (128, 0, 0): ("Building", Kind.BUILDING),
    (64, 0, 128): ("Car", Kind.CAR),
    (64, 0, 192): ("CartLuggagePram", Kind.DYNAMIC),
    (192, 128, 64): ("Child", Kind.PEDESTRIAN),
    (192, 192, 128): ("Column_Pole", Kind.POLE),
    (64, 64, 128): ("Fence", Kind.FENCE),
    (128, 0, 192): ("LaneMkgsDriv", Kind.ROAD_LINE),
    (192, 0, 64): ("LaneMkgsNonDriv", Kind.ROAD_LINE),
    (128, 128, 64): ("Misc_Text", Kind.TRAFFIC_SIGN),
    (192, 0, 192): ("MotorcycleScooter", Kind.MOTORCYCLE),
    (128, 64, 64): ("OtherMoving", Kind.DYNAMIC),
    (64, 192, 128): ("ParkingBlock", Kind.STATIC),
    (64, 64, 0): ("Pedestrian", Kind.PEDESTRIAN),
    (128, 64, 128): ("Road", Kind.ROAD),
    (128, 128, 192): ("RoadShoulder", Kind.GROUND),
    (0, 0, 192): ("Sidewalk", Kind.SIDEWALK),
    (192, 128, 128): ("SignSymbol", Kind.TRAFFIC_SIGN),
    (128, 128, 128): ("Sky", Kind.SKY),
    (64, 128, 192): ("SUVPickupTruck", Kind.CAR),
    (0, 0, 64): ("TrafficCone", Kind.STATIC),
    (0, 64, 64): ("TrafficLight", Kind.TRAFFIC_LIGHT),
    (192, 64, 128): ("Train", Kind.TRAIN),
    (128, 128, 0): ("Tree", Kind.VEGETATION),
    (192, 128, 192): ("Truck_Bus", Kind.TRUCK),
    (64, 0, 64): ("Tunnel", Kind.BUILDING),
    (192, 192, 0): ("VegetationMisc", Kind.VEGETATION),
    (0, 0, 0): ("Void", Kind.NONE),
    (64, 192, 0): ("Wall", Kind.WALL),
}
"""the 32 classes: RGB, the data set's own word, ours"""

NUMBERS = (
    Kind.SKY, Kind.BUILDING, Kind.POLE, Kind.ROAD, Kind.SIDEWALK, Kind.VEGETATION,
    Kind.TRAFFIC_SIGN, Kind.FENCE, Kind.CAR, Kind.PEDESTRIAN, Kind.RIDER, Kind.NONE,
)  # fmt: skip
"""SegNet's 11 classes by number, the last one unlabelled. They are unions: its road has the marks
on it, its signs the lights, its cars lorries and buses, its buildings walls"""

MOST_UNKNOWN = 0.01
"""share of a label picture that may have colours of no class"""
LICENCE = "none published; for research, naming its authors (Brostow et al. 2009)"
SQUEEZED = 0.75
"""how wide pixels stand for what is as high"""
FIELD_OF_VIEW = np.radians(60.0)
"""rad across, assumed: a video camera near its wide end"""
MOUNT = Mount(x=1.7, y=0.0, z=1.25)
"""assumed; a car's rear 63 px high and 61 px below the horizon says 1.2 m above the road"""
CAMERA = "camera"

_BESIDE = {"701_StillsRaw_full": "LabeledApproved_full"}
_ENDINGS = ("annot", "_labels")


def drives(root: Path) -> list[str]:
    """Folders of pictures with labels; see ``roadloop.datasets.formats``."""
    return sorted(_folders(Path(root)))


def open_drive(root: Path, name: str) -> Recording:
    """The pictures of one folder, a step each; see ``roadloop.datasets.formats``."""
    folders = _folders(Path(root))
    if name not in folders:
        raise RoadloopError(f"{root}: {unknown('drive', name, folders)}")
    pictures, labels = folders[name]
    files = sorted(pictures.glob("*.png"))
    there = [(file, label) for file in files if (label := _label(file, labels)) is not None]
    first = decoded(there[0][0], read_bytes(there[0][0]))
    height, width = first.shape[:2]
    focal = width / (2.0 * np.tan(FIELD_OF_VIEW / 2.0))
    sensor = CameraSensor(
        name=CAMERA,
        mount=MOUNT,
        width=width,
        height=height,
        fx=float(focal),
        fy=float(focal / SQUEEZED),
        cx=(width - 1) / 2.0,
        cy=(height - 1) / 2.0,
        products=("rgb", "semantic"),
    )
    stamps = np.arange(len(there), dtype=np.int64) * 1_000_000
    poses = np.broadcast_to(np.eye(4), (len(there), 4, 4)).copy()
    frames = [
        Frame(CAMERA, "camera", int(t), k, poses[k], partial(_read, sensor, *there[k], int(t)))
        for k, t in enumerate(stamps)
    ]
    notes = ["its camera's lens and place are assumed: nothing can be measured in the pictures"]
    if len(there) < len(files):
        notes.append(f"{len(files) - len(there)} of {len(files)} pictures without labels left out")
    return Recording(
        name=name,
        dataset="camvid",
        dt=1.0,
        timestamp_us=stamps,
        ego=ego_of_poses(poses, stamps, VehicleParameters()),
        world_from_ego=poses,
        rig=SensorRig("camvid", "the camera of CamVid, as assumed", cameras=(sensor,)),
        frames=tuple(frames),
        continuous=False,
        about={"licence": LICENCE, "place": "Cambridge, United Kingdom"},
        notes=tuple(notes),
    )


def classes_of(where: object, label: Array) -> Array:
    """(H, W) uint8 ``SemanticClass`` of a label picture: (H, W, 3) colours or (H, W) numbers.

    Raises RoadloopError where it holds what is of no class.
    """
    if label.ndim == 2 and label.dtype == np.uint8:
        if label.max(initial=0) >= len(NUMBERS):
            raise RoadloopError(
                f"{where} holds class {label.max()}: expected 0 to {len(NUMBERS) - 1}, as SegNet's "
                "labels of CamVid have"
            )
        return np.array(NUMBERS, np.uint8)[label]
    if label.ndim != 3 or label.shape[2] != 3 or label.dtype != np.uint8:
        raise RoadloopError(f"{where} is {label.shape} {label.dtype}: no label picture of CamVid")
    codes = np.array([_code(np.array(colour)) for colour in COLOURS])
    kinds = np.array([kind for _, kind in COLOURS.values()], np.uint8)
    order = np.argsort(codes)
    found = _code(label)
    at = order[np.minimum(np.searchsorted(codes[order], found), len(codes) - 1)]
    known = codes[at] == found
    if (~known).mean() > MOST_UNKNOWN:
        colour = label[~known][0].tolist()
        raise RoadloopError(
            f"{where}: {(~known).mean():.0%} of the pixels have colours of no class, e.g. "
            f"{colour}; is it of CamVid, and not resampled?"
        )
    return np.where(known, kinds[at], np.uint8(Kind.NONE))


def _code(rgb: Array) -> Array:
    """One number of a colour (..., 3)."""
    return rgb.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])


def _read(sensor: CameraSensor, file: Path, label: Path, timestamp_us: int) -> LoggedImage:
    """A picture with its classes, each decoded when it is looked at."""
    return LoggedImage.of(
        {"rgb": partial(_rgb, sensor, file), "semantic": partial(_semantic, sensor, label)},
        encoded=partial(read_bytes, file),
        camera=sensor.camera,
        ego_from_camera=sensor.ego_from_camera,
        timestamp_us=timestamp_us,
        boxes=None,
    )


def _rgb(sensor: CameraSensor, file: Path) -> Array:
    return _sized(sensor, file, decoded(file, read_bytes(file)))


def _semantic(sensor: CameraSensor, file: Path) -> Array:
    label = decoded(file, read_bytes(file), colours=False)
    return classes_of(file, _sized(sensor, file, label))


def _sized(sensor: CameraSensor, file: Path, image: Array) -> Array:
    if image.shape[:2] != (sensor.height, sensor.width):
        raise RoadloopError(
            f"{file} has {image.shape[1]} x {image.shape[0]} px, the first picture of its folder "
            f"{sensor.width} x {sensor.height}"
        )
    return image


def _folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Folders of pictures and of their labels by name, under ``root``, or ``root`` itself."""
    if not root.is_dir():
        return {}
    here = root.resolve()
    inside = sorted(p for p in here.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = {}
    for pictures in (here, *inside):
        beside = [_BESIDE.get(pictures.name, ""), *(pictures.name + end for end in _ENDINGS)]
        for labels in (pictures.parent / name for name in beside if name):
            if labels.is_dir() and any(_label(p, labels) for p in pictures.glob("*.png")):
                found[pictures.name] = pictures, labels
                break
    return found


def _label(picture: Path, labels: Path) -> Path | None:
    """The label of a picture, None where it has none."""
    named = (labels / f"{picture.stem}_L.png", labels / picture.name)
    return next((file for file in named if file.is_file()), None)
