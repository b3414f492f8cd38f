"""The contact sheets of docs/sensors.md: rigs at chosen moments, by day and night, in each weather.

    python benchmarks/contact_sheets.py [--out runs/contact_sheets] [--only NAME ...]

Draws what `roadloop view` draws, a little narrower and as JPEG of at most 250 kB, and "sensors", a
picture of three rigs together. Prints one line per sheet: its size, and the seconds of CPU that the
drive until then with the sensors' two measurements, and the drawing took.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from roadloop.rig import SensorRig
    from roadloop.types import Observation

Array = np.ndarray

WIDTH = 1600
"""px"""
MOST = 250_000
"""B"""
GAP = 6
"""px, between the pictures of several rigs"""


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
    Sheet("nuscenes-704x256", 5, 23.6, by_day_and_night("clear", "rain", "fog")),
    Sheet("carla-transfuser", 8, 36.6, by_day_and_night("clear", "rain", "snow")),
    Sheet("surround-fisheye", 3, 19.5, by_day_and_night("clear", "rain", "fog")),
    Sheet("compact-3cam", 8, 11.9, by_day_and_night("clear", "rain", "snow")),
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


def measured(sheet: Sheet, weather: str) -> tuple[SensorRig, Observation, str]:
    """The rig, what it measures, and what that is."""
    from roadloop.cli.view import look
    from roadloop.rig import load_rig, select
    from roadloop.weather import named_weather
    from sim.scenarios import build_scenario

    rig = load_rig(sheet.rig)
    rig = select(rig, sheet.sensors) if sheet.sensors else rig
    scenario = build_scenario(
        "dense_town", seed=sheet.seed, agents=AGENTS, weather=named_weather(weather)
    )
    seen = look(scenario, rig, sheet.at, products=sheet.products)
    note = (
        f"{scenario.name} among {AGENTS} vehicles · {weather} · {seen.time:.1f} s · "
        f"{float(seen.ego.speed) * 3.6:.0f} km/h"
    )
    return rig, seen, note


def one_rig(sheet: Sheet, weather: str) -> Array:
    """A contact sheet."""
    from roadloop.viz.contact_sheet import contact_sheet

    rig, seen, note = measured(sheet, weather)
    return contact_sheet(rig, seen, products=sheet.products, note=note, width=WIDTH)


def three_rigs() -> Array:
    """Six cameras by day; a camera and a LiDAR in a rainy night; fisheyes and a radar in snow."""
    from roadloop.viz.camera_wall import camera_wall
    from roadloop.viz.from_above import lidar_above, plan_for, radar_above
    from roadloop.viz.readings import camera_picture

    rig, seen, _ = measured(SHEETS[0], "clear-noon")
    rows = [camera_wall(rig, seen.cameras, WIDTH, 388)]
    night = replace(SHEETS[1], products=("rgb", "semantic"))
    rig, seen, _ = measured(night, "rain-night")
    camera, sweep, plan = seen.cameras["rgb-front"], seen.lidars["lidar"], plan_for(rig.lidars)
    rows.append(
        side_by_side(
            (2.0, partial(camera_picture, camera, "rgb")),
            (1.0, partial(lidar_above, sweep, plan, seen)),
            (2.0, partial(camera_picture, camera, "semantic")),
        )
    )
    rig, seen, _ = measured(SHEETS[2], "snow-noon")
    radars, plan = {r.name: r for r in rig.radars}, plan_for(rig.radars)
    order = ("fisheye-left", "fisheye-front", "fisheye-right", "fisheye-rear")
    fish = [(320 / 242, partial(camera_picture, seen.cameras[name], "rgb")) for name in order]
    rows.append(side_by_side(*fish, (1.0, partial(radar_above, seen.radars, radars, plan, seen))))
    gap = np.full((GAP, WIDTH, 3), 255, np.uint8)
    return np.concatenate([rows[0], gap, rows[1], gap, rows[2]])


def side_by_side(*pictures: tuple[float, Callable[[int, int], Array]]) -> Array:
    """Pictures of given width to height, drawn equally high, WIDTH px wide together."""
    room = WIDTH - GAP * (len(pictures) - 1)
    high = round(room / sum(aspect for aspect, _ in pictures))
    row = np.full((high, WIDTH, 3), 255, np.uint8)
    edges = np.cumsum([0.0, *(aspect for aspect, _ in pictures)])
    edges = np.round(edges / edges[-1] * room).astype(int) + GAP * np.arange(len(edges))
    for (_, draw), left, right in zip(pictures, edges, edges[1:]):
        row[:, left : right - GAP] = draw(int(right - left) - GAP, high)
    return row


def written(path: Path, draw: Callable[[], Array]) -> str:
    """Writes a picture; what is said of it."""
    from roadloop.viz.contact_sheet import write_jpeg

    begun = time.process_time()
    picture = draw()
    taken = time.process_time() - begun
    quality = 88
    while True:
        write_jpeg(path, picture, quality)
        if path.stat().st_size <= MOST or quality <= 50:
            break
        quality -= 4
    high, wide = picture.shape[:2]
    size = path.stat().st_size / 1000
    return f"{path.name:44s}{wide:6d} x {high:4d}{size:6.0f} kB{quality:6d}{taken:9.2f}"


def main() -> int:
    """Draws the sheets."""
    from roadloop.terminal import start_warp

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs") / "contact_sheets")
    parser.add_argument("--only", nargs="*", default=[], help="names of pictures, without .jpg")
    args = parser.parse_args()
    draw: dict[str, Callable[[], Array]] = {
        name: partial(one_rig, sheet, weather)
        for sheet in SHEETS
        for name, weather in zip(sheet.names(), sheet.weathers)
    }
    draw["sensors"] = three_rigs
    if wrong := [name for name in args.only if name not in draw]:
        print(f"no sheet {wrong[0]}: choose from {', '.join(draw)}", file=sys.stderr)
        return 2
    start_warp()
    print(f"{'sheet':44s}{'px':>13s}{'size':>9s}{'JPEG':>6s}{'CPU s':>9s}")
    for name in args.only or draw:
        print(written(args.out / f"{name}.jpg", draw[name]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
