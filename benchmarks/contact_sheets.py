"""The contact sheets of docs/sensors.md: rigs at chosen moments, by day and night, in each weather.

    python benchmarks/contact_sheets.py [--out runs/contact_sheets] [--only NAME ...]

Draws what `roadloop view` draws, a little narrower and as JPEG of at most 250 kB. Prints one line
per sheet: its size, and the seconds of CPU that the sensors' two measurements and the drawing took
(the drive until then not counted).
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

WIDTH = 1600
"""px"""
MOST = 250_000
"""B"""


@dataclass(frozen=True)
class Sheet:
    """A rig at a moment of a drive through a dense town."""

    rig: str
    seed: int
    at: float
    """s"""
    weathers: tuple[str, ...]
    products: tuple[str, ...] = ("rgb",)
    sensors: tuple[str, ...] = ()
    """those that are shown, all where none is named"""
    label: str = ""
    """goes before the weather in the file's name"""

    def names(self) -> list[str]:
        """Of the files."""
        return ["-".join(filter(None, (self.rig, self.label, w))) for w in self.weathers]


def by_day_and_night(*skies: str) -> tuple[str, ...]:
    """Weathers of these skies at noon and at night."""
    return tuple(f"{sky}-{hour}" for sky in skies for hour in ("noon", "night"))


AGENTS = 90
SHEETS = (
    Sheet("compact-3cam", 8, 11.9, by_day_and_night("clear", "rain", "snow")),
    Sheet("nuscenes-704x256", 5, 23.6, by_day_and_night("clear", "rain", "fog")),
    Sheet("carla-transfuser", 8, 36.6, by_day_and_night("clear", "rain", "snow")),
    Sheet("surround-fisheye", 3, 19.5, by_day_and_night("clear", "rain", "fog")),
    Sheet(
        "carla-transfuser",
        5,
        28.7,
        ("clear-noon",),
        ("rgb", "boxes", "depth", "flow", "semantic", "instance"),
        sensors=("rgb-front",),
        label="labels",
    ),
)


def draw(sheet: Sheet, weather: str, path: Path) -> str:
    """Writes one sheet; what is said of it."""
    from roadloop.cli.view import look
    from roadloop.rig import load_rig, select
    from roadloop.viz.contact_sheet import contact_sheet, write_jpeg
    from roadloop.weather import named_weather
    from sim.scenarios import build_scenario

    rig = load_rig(sheet.rig)
    rig = select(rig, sheet.sensors) if sheet.sensors else rig
    scenario = build_scenario(
        "dense_town", seed=sheet.seed, agents=AGENTS, weather=named_weather(weather)
    )
    begun = time.process_time()
    measured = look(scenario, rig, sheet.at, products=sheet.products)
    looked = time.process_time()
    note = (
        f"{scenario.name} among {AGENTS} vehicles · {weather} · {measured.time:.1f} s · "
        f"{float(measured.ego.speed) * 3.6:.0f} km/h"
    )
    picture = contact_sheet(rig, measured, products=sheet.products, note=note, width=WIDTH)
    drawn = time.process_time()
    for quality in range(88, 40, -4):
        write_jpeg(path, picture, quality)
        if path.stat().st_size <= MOST:
            break
    high, wide = picture.shape[:2]
    return (
        f"{path.name:44s}{wide:5d} x {high:4d}{path.stat().st_size / 1000:6.0f} kB{quality:5d}"
        f"{looked - begun:8.2f}{drawn - looked:8.2f}"
    )


def main() -> int:
    """Draws the sheets."""
    from roadloop.terminal import start_warp

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs") / "contact_sheets")
    parser.add_argument("--only", nargs="*", default=[], help="names of sheets, without .jpg")
    args = parser.parse_args()
    known = [name for sheet in SHEETS for name in sheet.names()]
    if wrong := [name for name in args.only if name not in known]:
        print(f"no sheet {wrong[0]}: choose from {', '.join(known)}", file=sys.stderr)
        return 2
    start_warp()
    print(f"{'sheet':44s}{'px':>11s}{'size':>9s}{'JPEG':>6s}{'look s':>9s}{'draw s':>8s}")
    for sheet in SHEETS:
        for name, weather in zip(sheet.names(), sheet.weathers):
            if not args.only or name in args.only:
                print(draw(sheet, weather, args.out / f"{name}.jpg"), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
