"""Every data set in the folders of a folder opened as recordings: what they hold, how fast.

    python benchmarks/data_sets.py DIR

Prints a Markdown table, a row per data set found: all its drives are opened, of each the first
sweep and the first picture are read and the map compiled. Drives that cannot be used are named
below the table with the reason. Seconds are those of one process, means over the drives.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from roadloop.datasets.formats import FORMATS, list_drives, open_recording
from roadloop.errors import RoadloopError

DEEPEST = 4
"""levels of folders below DIR that are asked whether they are a data set"""


@dataclass
class Row:
    """Sums over the drives of one data set."""

    folder: str
    format: str
    drives: int = 0
    steps: int = 0
    agents: int = 0
    images: int = 0
    sweeps: int = 0
    points: int = 0
    """of the first sweep"""
    lanes: int = 0
    open_seconds: float = 0.0
    map_seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    def add(self, root: Path, name: str) -> None:
        """One more drive."""
        began = time.perf_counter()
        recording = open_recording(root, name, self.format)
        self.open_seconds += time.perf_counter() - began
        began = time.perf_counter()
        road_map = recording.road_map
        self.map_seconds += time.perf_counter() - began
        self.drives += 1
        self.steps += len(recording)
        self.agents += 0 if recording.agents is None else recording.agents.valid.shape[1]
        self.lanes += 0 if road_map is None else road_map.lanes
        sweeps = [f for f in recording.frames if f.kind == "lidar"]
        images = [f for f in recording.frames if f.kind == "camera"]
        self.sweeps += len(sweeps)
        self.images += len(images)
        if sweeps and not self.points:
            self.points = len(sweeps[0].read().points)
        if images:
            assert images[0].read().rgb.ndim == 3

    def __str__(self) -> str:
        each = max(self.drives, 1)
        cells = [
            f"`{self.folder}`",
            f"`{self.format}`",
            *(
                f"{n:,}".replace(",", " ") if n else "-"
                for n in (
                    self.drives,
                    self.steps,
                    self.agents,
                    self.images,
                    self.sweeps,
                    self.points,
                    self.lanes,
                )
            ),
            f"{self.open_seconds / each:.2f}",
            f"{self.map_seconds / each:.2f}" if self.lanes else "-",
        ]
        return f"| {' | '.join(cells)} |"


HEAD = (
    "| folder | format | drives | steps | road users | pictures | sweeps | points of one | "
    "map lanes | s to open | s for the map |"
)


def data_sets(
    root: Path, depth: int = 0, within: frozenset[str] = frozenset()
) -> Iterator[tuple[Path, str, list[str]]]:
    """Folders below root that are data sets, their format and drives.

    Within a data set only those of other formats count.
    """
    if depth:
        try:
            found = list_drives(root)
        except RoadloopError:
            found = None
        if found is not None and found[0] not in within:
            yield (root, *found)
            within = within | {found[0]}
    if depth < DEEPEST:
        for folder in sorted(p for p in root.iterdir() if p.is_dir() and p.name[0] != "."):
            yield from data_sets(folder, depth + 1, within)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", type=Path, metavar="DIR")
    root = parser.parse_args().root
    print(HEAD)
    print("|---|---|" + "---:|" * 9)
    faults = []
    for folder, format, names in data_sets(root):
        assert format in FORMATS
        row = Row(folder.relative_to(root).as_posix(), format)
        for name in names:
            try:
                row.add(folder, name)
            except RoadloopError as error:
                faults.append(f"{row.folder}, {name}: {error}")
        print(row, flush=True)
    print("\n".join(["", *faults] if faults else []))


if __name__ == "__main__":
    main()
