"""Where samples come from: recorded drives of any data set, as a sequence to pick from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from roadloop.datasets.convert import chosen
from roadloop.datasets.formats import list_drives, open_recording
from roadloop.errors import RoadloopError
from roadloop.logs.recording import Recording
from training.sample_labels import newest
from training.sample_map import MapPieces, map_pieces
from training.sample_spec import Sample, SampleSpec, named
from training.samples import Allocate, RawSample, finish, gather

Array = np.ndarray


class Source(Protocol):
    """Samples by number; one that renders its own, for example, needs no more than this.

    It goes to the workers by pickling. A fault of the data is a RoadloopError of one line. A source
    that draws anew in each epoch also has ``in_epoch(epoch)``, which gives the source as drawn; its
    length stays.
    """

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Sample: ...


@dataclass(frozen=True)
class Drive:
    """One drive of a source."""

    root: Path
    format: str
    name: str
    steps: Array
    """(n,) those that are samples"""
    timestamp_us: Array
    """(n,) int64, of these"""
    dt: float
    """s between the steps of the drive, as meant"""
    continuous: bool
    """False: its steps are single pictures of different places"""
    about: dict[str, Any]


class LogSource:
    """Every fitting step of recorded drives; what ``roadloop.datasets.formats`` reads will do.

    All drives are opened once to see which steps fit, sensor files are not: some tens of
    milliseconds each. For more than some hundred drives write shards (``training.shards``).

    Args:
        logs: folders of data sets or of single drives (all drives in each), or Recordings.
        spec: what is read.
        format: of the folders; auto looks.
        drives: names with commas between them, ``*`` and ``?`` as in a shell; empty: all.
        open_drives: how many are kept open in each process, the last ones used. Samples come in
            any order, and opening a drive again takes ten times as long as reading one; a drive of
            our simulator, with its map, takes 7 MB.

    Raises:
        RoadloopError: no drive, one that is damaged, a sensor one does not have, no step that fits.
    """

    def __init__(
        self,
        logs: Sequence[str | Path | Recording],
        spec: SampleSpec,
        format: str = "auto",
        drives: str = "",
        open_drives: int = 256,
    ) -> None:
        self.spec = spec
        self.drives: list[Drive] = []
        self._open: OrderedDict[int, tuple[Recording, MapPieces | None]] = OrderedDict()
        self._given: dict[int, Recording] = {}
        self._open_drives = open_drives
        folders = [log for log in logs if not isinstance(log, Recording)]
        held = iter(drives_of(folders, format, drives))
        for log in logs:
            if isinstance(log, Recording):
                self._given[len(self.drives)] = log
                self._add(log, Path(), log.dataset)
                continue
            folder, found, names = next(held)
            for name in names:
                self._add(open_recording(folder, name, found), folder, found)
        self._ends = np.cumsum([len(drive.steps) for drive in self.drives])
        if not len(self):
            where = ", ".join(str(log) for log in list(logs)[:3] if not isinstance(log, Recording))
            raise RoadloopError(
                f"no step of {where or 'these recordings'} fits: see complete, max_age, labelled "
                "and every of the spec"
            )

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def where(self, index: int) -> tuple[int, int]:
        """Number of the drive and step of a sample."""
        drive = int(np.searchsorted(self._ends, index, side="right"))
        before = int(self._ends[drive - 1]) if drive else 0
        return drive, int(self.drives[drive].steps[index - before])

    def raw(self, index: int, spec: SampleSpec | None = None) -> RawSample:
        """What is stored of a sample, not decoded; by ``spec``, as far as it asks for no more."""
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} samples, no number {index}")
        drive, step = self.where(index)
        recording, pieces = self._recording(drive)
        return gather(recording, step, spec or self.spec, pieces)

    def sample(self, index: int, allocate: Allocate | None = None) -> Sample:
        """The arrays of a sample (``training.sample_spec``)."""
        return finish(self.raw(index), self.spec, allocate)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}  # other processes open for themselves

    def _add(self, recording: Recording, root: Path, format: str) -> None:
        steps = fitting_steps(recording, self.spec)
        stamps = recording.timestamp_us[steps]
        timing = stamps, recording.dt, bool(recording.continuous)
        about = dict(recording.about)
        self.drives.append(Drive(root, format, recording.name, steps, *timing, about))

    def _recording(self, drive: int) -> tuple[Recording, MapPieces | None]:
        if drive in self._open:
            self._open.move_to_end(drive)
            return self._open[drive]
        recording = self._given.get(drive)
        if recording is None:
            at = self.drives[drive]
            recording = open_recording(at.root, at.name, at.format)
        pieces = None
        if self.spec.map:
            pieces = map_pieces(recording.road_map, self.spec.map_points, self.spec.map_spacing)
        self._open[drive] = recording, pieces
        while len(self._open) > self._open_drives:
            self._open.popitem(last=False)
        return self._open[drive]


def drives_of(
    folders: Sequence[str | Path], format: str = "auto", drives: str = ""
) -> list[tuple[Path, str, list[str]]]:
    """Every folder with its format and the drives of it that are meant, which may be none.

    Args:
        drives: as for `LogSource`; a word may mean drives of one folder only.

    Raises:
        RoadloopError: a folder without drives, a word that means none of any folder.
    """
    held = [(Path(folder), *list_drives(folder, format)) for folder in folders]
    if not held:
        return []
    meant = set(chosen([name for _, _, names in held for name in names], drives))
    return [(path, found, [n for n in names if n in meant]) for path, found, names in held]


def fitting_steps(recording: Recording, spec: SampleSpec) -> Array:
    """(n,) steps of a drive that are samples: labelled ones, and complete, where the spec says so.

    Raises RoadloopError for a sensor the rig does not have.
    """
    where = f"{recording.dataset} drive {recording.name}"
    steps = np.arange(0, len(recording), spec.every)
    if spec.labelled:
        steps = np.flatnonzero(recording.is_labelled)[:: spec.every]
    rig = recording.rig
    cameras = named(spec.cameras, tuple(c.name for c in rig.cameras), "camera", where)
    lidars = named(spec.lidars, tuple(s.name for s in rig.lidars), "LiDAR", where)
    radars = named(spec.radars, tuple(s.name for s in rig.radars), "radar", where)
    if not spec.complete:
        return steps
    sensors = [*cameras, *lidars, *radars]
    whole = [
        all(newest(recording, sensor, step, spec.max_age) for sensor in sensors)
        for step in steps.tolist()
    ]
    return steps[np.array(whole, bool)]
