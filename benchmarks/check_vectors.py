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


def table(rows: list[Row]) -> list[str]:
    """One line per row, aligned."""
    score = max(len(row.score) for row in rows)
    term = max(len(row.term) for row in rows)
    return [f"{row.score:{score}}  {row.term:{term}}{_figures(row)}" for row in rows]


def _figures(row: Row) -> str:
    tolerance = "equal" if row.tolerance == 0.0 else f"{row.tolerance:.0e}"
    short = "" if row.reached else "  FALLS SHORT" if row.cases else "  nothing to compare"
    return f"{row.cases:>8}{row.equal:>8}{row.largest:>12.1e}{tolerance:>8}{short}"


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
    print("score, term, values compared, equal within, largest difference, tolerance")
    short = 0
    for family in present:
        rows = check_family(family)
        if not rows:
            print(f"check_vectors: {family} holds no cases", file=sys.stderr)
            return 2
        print(f"\n{family.name}", *table(rows), sep="\n", flush=True)
        short += sum(row.cases > 0 and not row.reached for row in rows)
    missing = [name for name in FAMILIES if folder / name not in present]
    if missing:
        print(f"not in {folder}: {', '.join(missing)}")
    print(f"\n{short} rows fall short" if short else "\nevery row is reached")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())
