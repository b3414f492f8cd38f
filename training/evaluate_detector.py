"""A detector judged on recorded drives as it works in the car: in order, its memory carried on.

::

    drives = find_drives(["runs/held-out"])
    report = evaluate(network, drives)
    print(make_table(report))

Nothing is shuffled, cut into clips or left out: the first moments of a drive, when the memory is
still empty, count like all others. Long evaluations, several processes: `training.evaluation_run`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perception.detector import Engine
from perception.detector_config import DetectorConfig, light_rows
from perception.detector_report import DetectorReport, make_report
from perception.drive_scores import DriveScores, drive_from_json
from perception.frame import INPUTS, Frame
from perception.inputs import motion_between
from perception.lane_field import LaneScore, bands
from perception.light_metrics import LightScore
from perception.memory_queue import Kept, MemoryQueue
from perception.object_tables import MomentTruth, drive_objects
from perception.objects import Objects, decode_objects
from perception.raster_map import RasterScore
from roadloop.datasets.formats import open_recording
from roadloop.errors import RoadloopError
from roadloop.logs.recording import Recording
from roadloop.rig import load_rig
from training.detector_frames import DetectorFrames, detector_spec
from training.sample_map import MapPieces
from training.samples import finish, gather
from training.sources import drives_of, fitting_steps

if TYPE_CHECKING:
    from perception.network import DetectorNetwork

Array = np.ndarray

LEAST_SCORE = 0.05
"""detections below are left out: average precision wants also doubtful ones"""
MOST = 128
"""detections of a moment"""
KINDS = ("camera", "lidar", "radar")


# --- which drives ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class DriveFile:
    """A drive of a data set on disk."""

    root: Path
    format: str
    name: str

    def open(self) -> Recording:
        """RoadloopError where it is damaged."""
        return open_recording(self.root, self.name, self.format)


def find_drives(
    logs: Sequence[str | Path], format: str = "auto", drives: str = ""
) -> list[DriveFile]:
    """The drives of folders of data sets or single drives, in order.

    Args:
        drives: names with commas between them, ``*`` and ``?`` as in a shell; empty: all.

    Raises RoadloopError where there is none, or two have the same name.
    """
    found = []
    for folder, known, names in drives_of(logs, format, drives):
        found += [DriveFile(folder, known, name) for name in names]
    if not found:
        raise RoadloopError("no drives to judge: give folders of recorded drives")
    names = [drive.name for drive in found]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise RoadloopError(f"two of the folders hold a drive {twice}: give each drive once")
    return found


# --- which sensors --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Subset:
    """The sensors that a detector gets; the others are as if they had failed."""

    kinds: tuple[str, ...] = KINDS
    dropped: tuple[str, ...] = ()
    """cameras of the detector's rig"""

    @property
    def name(self) -> str:
        """all, camera+radar, all without front-left, ..."""
        words = "all" if set(self.kinds) == set(KINDS) else "+".join(self.kinds)
        return f"{words} without {', '.join(self.dropped)}" if self.dropped else words

    def of(self, frame: Frame, cameras: Sequence[str]) -> Frame:
        """The inputs with only these sensors; ``frame`` stays as it is."""
        left = dict(frame)
        keep = np.array([name not in self.dropped for name in cameras]) & ("camera" in self.kinds)
        valid = np.asarray(frame["camera_valid"]) & keep
        left["camera_valid"] = valid
        left["images"] = np.where(keep[:, None, None, None], frame["images"], 0).astype(np.uint8)
        for kind in ("lidar", "radar"):
            if kind in frame and kind not in self.kinds:
                left[kind] = np.zeros_like(frame[kind])
                left[f"{kind}_valid"] = np.bool_(False)
        return left


def subset_of(config: DetectorConfig, sensors: str = "all", drop: Sequence[str] = ()) -> Subset:
    """``all``, ``camera``, ``camera+radar``, ``lidar`` ..., without the cameras in ``drop``.

    Raises RoadloopError for a sensor that is none, or that this detector does not use.
    """
    cameras = [camera.name for camera in load_rig(config.rig).cameras]
    for name in drop:
        if name not in cameras:
            raise RoadloopError(
                f'the detector has no camera "{name}" to drop; it has {", ".join(cameras)}'
            )
    if sensors == "all":
        return Subset(dropped=tuple(drop))
    kinds = tuple(sensors.split("+"))
    for kind in kinds:
        if kind not in KINDS:
            raise RoadloopError(
                f'sensors is "{sensors}": expected all, or some of camera+lidar+radar'
            )
        if kind != "camera" and not getattr(config, kind):
            raise RoadloopError(
                f"the detector does not use a {kind}: it was trained with cameras"
                f"{' and a LiDAR' * config.lidar}{' and a radar' * config.radar}"
            )
    return Subset(tuple(kind for kind in KINDS if kind in kinds), tuple(drop))


def fusion_subsets(config: DetectorConfig) -> list[Subset]:
    """All sensors, every mixture of them that has cameras, and all without each camera."""
    others = [kind for kind in ("lidar", "radar") if getattr(config, kind)]
    subsets = [Subset()]
    if others:
        subsets.append(Subset(("camera",)))
    if len(others) == 2:
        subsets += [Subset(("camera", "lidar")), Subset(("camera", "radar"))]
    if others:
        subsets.append(Subset(tuple(others)))
    cameras = [camera.name for camera in load_rig(config.rig).cameras]
    return subsets + [Subset(dropped=(name,)) for name in cameras]


# --- driving --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moment:
    """One labelled moment of a drive."""

    frame: Frame
    """inputs and targets of `perception.frame`, without a batch"""
    truth: MomentTruth
    world_from_ego: Array
    """(4, 4)"""
    time: float
    """s since the start of the drive"""
    light_distance: float = np.inf
    """m along the road to the line of the ego's traffic light"""


def moments_of(
    recording: Recording, config: DetectorConfig, every: int = 0, most: int = 0
) -> Iterable[Moment]:
    """The labelled moments of a drive, in order.

    Args:
        every: use every nth step; 0: so many that the memory, ``state_age`` old, is that of the
            moment before. (At run time several memories take turns; one of them is followed.)
        most: end after so many moments; 0: with the drive.

    Raises RoadloopError where the drive has no labels of road users.
    """
    if recording.agents is None:
        raise RoadloopError(
            f"{recording.dataset} drive {recording.name} has no labels of road users: nothing can "
            "be judged on it"
        )
    held = [set(camera.products) for camera in recording.rig.cameras]
    heads = ("instance",) if held and all("instance" in products for products in held) else ()
    spec = replace(detector_spec(config, products=heads), complete=False)
    frames = DetectorFrames(config)
    stride = every or max(round(config.state_age / recording.dt), 1)
    labelled = fitting_steps(recording, spec)
    pieces = MapPieces(recording.road_map, spec.map_points, spec.map_spacing) if spec.map else None
    steps = labelled[::stride][: most or None]
    if not len(steps):
        raise RoadloopError(f"{recording.dataset} drive {recording.name} has no labelled moments")
    for step in steps.tolist():
        sample = finish(gather(recording, step, spec, pieces), spec)
        there = frames.objects(sample)
        boxes = there.boxes.astype(np.float64)
        if not recording.continuous:
            boxes[:, 7:] = np.nan  # single pictures say nothing of velocities
        yield Moment(
            frames(sample),
            MomentTruth(boxes, there.object_class, there.visible),
            sample["world_from_ego"],
            1e-6 * float(sample["timestamp_us"]),
            float(sample["light_distance"][sample["light_relevant"]].min(initial=np.inf)),
        )


def judge_drive(
    engine: Engine,
    config: DetectorConfig,
    moments: Iterable[Moment],
    name: str,
    about: dict[str, Any],
    subset: Subset | None = None,
) -> DriveScores:
    """One drive, from its first moment to its last.

    Args:
        engine: the network, see `perception.detector.Engine`.
        about: facts of the recording.
    """
    subset = subset or Subset()
    cameras = [camera.name for camera in load_rig(config.rig).cameras]
    looking = light_rows(config)
    memory = MemoryQueue(config.state_age) if config.temporal else None
    no_state = np.zeros((config.bev_channels, *config.grid.shape), np.float32)
    truths: list[MomentTruth] = []
    found: list[Objects] = []
    raster, lane, lights = RasterScore(config.grid), LaneSums(config), LightScore()
    remembered = 0
    for moment in moments:
        inputs = subset.of({k: moment.frame[k] for k in INPUTS if k in moment.frame}, cameras)
        kept = memory.before(moment.time) if memory is not None else None
        inputs["motion"] = np.zeros(3, np.float32)
        if kept is not None:
            inputs["motion"] = motion_between(kept.world_from_ego, moment.world_from_ego)
        inputs["motion_valid"] = np.bool_(kept is not None)
        remembered += kept is not None
        if memory is not None:
            inputs["state"] = no_state if kept is None else kept.state
            inputs["state_valid"] = inputs["motion_valid"]
        outputs = engine(inputs)
        if memory is not None:
            memory.put(Kept(moment.time, moment.world_from_ego, outputs["state"]))
        truths.append(moment.truth)
        found.append(
            decode_objects(
                outputs["heat"], outputs["box"], outputs["box_log_var"], config.grid,
                threshold=LEAST_SCORE, most=MOST,
            )
        )  # fmt: skip
        frame = moment.frame
        probability = 1.0 / (1.0 + np.exp(-np.clip(outputs["raster"], -30.0, 30.0)))
        raster.add(probability, frame["raster"], frame["raster_weight"])
        lane.add(outputs["lane"], frame["lane"], frame["lane_weight"])
        lights.add(outputs, frame, moment.light_distance, inputs["camera_valid"][looking])
    scores = DriveScores(
        name=name,
        about=about,
        objects=drive_objects(truths, found, config.grid),
        raster=raster.counts,
        lane=lane.sums,
        lights=lights.state(),
        remembered=remembered,
    )
    return drive_from_json(scores.as_json())  # rounded as those that were kept in a file


class LaneSums:
    """Sums of the lane field's errors by band, as `DriveScores.lane` has them."""

    def __init__(self, config: DetectorConfig) -> None:
        self._grid = config.grid
        self._rows = bands(config.grid)
        self.sums = {name: (0.0, 0.0, 0.0) for name in self._rows}

    def add(self, lane: Array, target: Array, weight: Array) -> None:
        """One moment."""
        score = LaneScore(self._grid)
        score.add(lane, target, weight)
        found = score.result()
        for name, rows in self._rows.items():
            count = float((weight[rows] > 0).sum())
            if count:
                angle, aside, before = self.sums[name]
                angle += count * found["direction_error"][name]
                aside += count * found["centreline_error"][name]
                self.sums[name] = angle, aside, before + count


def evaluate(
    network: DetectorNetwork,
    drives: Sequence[DriveFile | Recording],
    *,
    subset: Subset | None = None,
    every: int = 0,
    most: int = 0,
    threads: int = 1,
    device: str = "cpu",
    bf16: bool = False,
    resamples: int = 0,
    on_drive: Callable[[DriveScores], None] | None = None,
) -> DetectorReport:
    """A network judged in this process; it stays as it is (a copy runs).

    Args:
        every, most: see `moments_of`.
        threads: of PyTorch; afterwards they are as before.
        resamples: see `perception.detector_report.make_report`.
        on_drive: called after each drive.

    Raises RoadloopError for drives that cannot be judged.
    """
    import torch

    from perception.torch_engine import torch_engine

    before = torch.get_num_threads()
    config = network.config
    engine = torch_engine(copy.deepcopy(network), threads=threads, device=device, bf16=bf16)
    judged = []
    try:
        for drive in drives:
            recording = drive if isinstance(drive, Recording) else drive.open()
            moments = moments_of(recording, config, every, most)
            about = dict(recording.about)
            judged.append(judge_drive(engine, config, moments, recording.name, about, subset))
            if on_drive is not None:
                on_drive(judged[-1])
    finally:
        torch.set_num_threads(before)
    return make_report(judged, config.grid, resamples=resamples)
