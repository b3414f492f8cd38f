"""Our scores against outputs of the field's reference implementations, term by term.

    python benchmarks/check_vectors.py [DIR]

DIR has one folder per family (navsim, nuplan, carla, rss ...), by default tests/vectors. Prints one
line per score and term: values compared, how many agree within the tolerance, the largest
difference. Exit status 1 where one falls short, 2 where the folder cannot be used.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from vectors.table import Row

FAMILIES = (
    "navsim",
    "nuplan",
    "carla",
    "av2_forecasting",
    "nuscenes_detection",
    "rss",
    "un_r157",
    "waymo_motion",
    "waymo_rfs",
)
DEFAULT = Path(__file__).resolve().parents[1] / "tests" / "vectors"


def check_family(folder: Path) -> list[Row]:
    """The rows of one family; the folder's name says which."""
    return importlib.import_module(f"vectors.{folder.name}").check(folder)


def line(row: Row) -> str:
    """One row of the table."""
    tolerance = "equal" if row.tolerance == 0.0 else f"{row.tolerance:.0e}"
    mark = "" if row.reached else "  FALLS SHORT"
    return (
        f"{row.score:28}{row.term:44}{row.cases:>8}{row.equal:>8}"
        f"{row.largest:>12.1e}{tolerance:>8}{mark}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT, metavar="DIR")
    folder = parser.parse_args().folder
    present = [folder / name for name in FAMILIES if (folder / name).is_dir()]
    if not present:
        print(
            f"check_vectors: {folder} holds none of the families {', '.join(FAMILIES)}",
            file=sys.stderr,
        )
        return 2
    header = f"{'score':28}{'term':44}{'values':>8}{'equal':>8}{'largest':>12}{'within':>8}"
    print(header)
    short = 0
    for family in present:
        for row in check_family(family):
            print(line(row), flush=True)
            short += not row.reached
    missing = [name for name in FAMILIES if folder / name not in present]
    if missing:
        print(f"not in {folder}: {', '.join(missing)}")
    print(f"{short} rows fall short" if short else "every row is reached")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
