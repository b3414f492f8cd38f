"""``roadloop view``: what sensors see at one moment of a drive, simulated or recorded."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from roadloop.cli.drivers import DEFAULT
from roadloop.cli.names import known
from roadloop.command_line import Count, File, Seconds, Seed, default_text
from roadloop.errors import RoadloopError

if TYPE_CHECKING:
    from roadloop.rig import SensorRig
    from roadloop.types import Observation, Scenario
    from sim.state import SimState


SIMULATED = ("scenario", "map", "weather", "seed", "agents", "detail", "products", "scale")
"""options of a rig"""
RECORDED = ("drive", "format", "points")
"""options of a log"""


@dataclass(frozen=True)
class View:
    """Draw what every sensor sees at one moment, of a rig in a simulated drive or of a log.

    A RIG is simulated: the default driver drives the scenario until then. Cameras lie on the sheet
    as they look; LiDARs and radars are seen from above.

    A LOG is the folder or file of a data set (docs/data.md) or of a drive: cameras have its boxes,
    lanes and marks drawn in, and all is seen from above with the road users' past and future.
    With --out look.mp4 the whole drive is a video, with --out report.html a page with a player,
    tables of road users and of each sensor's timing. A LOG of several drives is listed.

    The last line printed is the path of what was written.

    Example: roadloop view nuscenes-704x256 --weather rain-night --at 12
    Example: roadloop view compact-3cam --products rgb,depth,semantic,instance,flow,boxes
    Example: roadloop view my_rig.yaml --scenario pedestrian_crossing --out look.jpg
    Example: roadloop view data/nuscenes --drive scene-0061 --at 4 --out look.jpg
    Example: roadloop view data/nuscenes --drive scene-0061 --out report.html
    """

    rig: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RIG|LOG")]
    """the sensors: `roadloop list` names the rigs, a .yaml file holds one of your own; or a log"""
    drive: Annotated[str, tyro.conf.arg(metavar="NAME"), default_text("the only one")] = ""
    """of a log: which of its drives"""
    format: Annotated[str, tyro.conf.arg(metavar="NAME")] = "auto"
    """of a log: its format, docs/data.md names them; auto finds it"""
    points: bool = False
    """of a log: LiDAR points in the pictures, too, coloured by distance"""
    scenario: Annotated[str, tyro.conf.arg(metavar="NAME")] = "dense_town"
    """what is driven; `roadloop list` names them"""
    map: Annotated[File, default_text("the scenario's own")] = None
    """map to drive on: OpenDRIVE (.xodr) or Lanelet2 (.osm)"""
    weather: Annotated[str, tyro.conf.arg(metavar="NAME")] = "clear-noon"
    """weather and hour; `roadloop list` names them, random draws one by the seed"""
    seed: Seed = 0
    """same seed, same drive"""
    agents: Annotated[Count, default_text("the scenario's own")] = None
    """vehicles of background traffic, beside those the scenario itself needs"""
    at: Annotated[Seconds, default_text("10, of a log 0")] = None
    """s since the start of the drive"""
    detail: Literal["full", "plain"] = "full"
    """full: textures, shadows, lamps and reflections; plain: a colour per surface, faster"""
    products: Annotated[str, tyro.conf.arg(metavar="LIST")] = "rgb"
    """of the cameras: rgb, depth, semantic, instance, flow, boxes, with commas between them"""
    scale: Annotated[float, tyro.conf.arg(metavar="FACTOR")] = 1.0
    """camera pictures so many times as wide and high as the rig's"""
    out: Annotated[File, default_text("runs/RIG-WEATHER.jpg")] = None
    """picture to write (.jpg or .png); of a log also a video (.mp4) or a page (.html)"""

    def __post_init__(self) -> None:
        if self.at is not None and not 0.0 <= self.at < math.inf:
            raise RoadloopError(f"at is {self.at:g}; it must be 0 or more")
        if self.agents is not None and self.agents < 0:
            raise RoadloopError(f"agents is {self.agents}; it must be 0 or more")
        if self.seed < 0:
            raise RoadloopError(f"seed is {self.seed}; it must be 0 or more")

    def run(self) -> int:
        from roadloop.cli.view_log import is_log, view_log

        log = is_log(self.rig)
        given = {f.name for f in dataclasses.fields(self) if getattr(self, f.name) != f.default}
        if strange := sorted(given & set(SIMULATED if log else RECORDED)):
            what = "a log, which was recorded" if log else "a rig, which is simulated"
            raise RoadloopError(f"{self.rig} is {what}: --{strange[0]} does not belong to it")
        if log:
            path = Path(self.rig)
            return view_log(path, self.drive, self.format, self.at, self.out, points=self.points)
        return self._simulated()

    def _simulated(self) -> int:
        from roadloop.maps.cache import load_map
        from roadloop.rig import load_rig, resized
        from roadloop.terminal import start_warp
        from roadloop.viz.contact_sheet import check_picture_name, contact_sheet, write_jpeg
        from roadloop.weather import weather_of
        from sim.scenarios import FAMILIES, build_scenario

        known("scenario", self.scenario, FAMILIES)
        weather = weather_of(self.weather, self.seed)
        products = parse_products(self.products)
        rig = load_rig(self.rig)
        rig = rig if self.scale == 1.0 else resized(rig, self.scale)
        out = self.out or Path("runs") / f"{rig.name}-{self.weather}.jpg"
        check_picture_name(out)
        start_warp()
        road_map = None if self.map is None else load_map(self.map)
        scenario = build_scenario(
            self.scenario, seed=self.seed, road_map=road_map, agents=self.agents, weather=weather
        )
        at = 10.0 if self.at is None else self.at
        observation = look(scenario, rig, at, detail=self.detail, products=products)
        note = (
            f"{scenario.name} on {scenario.road_map.name} · {self.weather} · "
            f"{observation.time:.1f} s · {float(observation.ego.speed) * 3.6:.0f} km/h"
        )
        write_jpeg(out, contact_sheet(rig, observation, products=products, note=note))
        print(out)
        return 0


def parse_products(words: str) -> tuple[str, ...]:
    """Camera products of a list with commas, in its order.

    Raises:
        RoadloopError: an unknown one, or none.
    """
    from roadloop.config import unknown
    from roadloop.rig_checks import PRODUCTS

    names = tuple(dict.fromkeys(word.strip() for word in words.split(",") if word.strip()))
    for name in names:
        if name not in PRODUCTS:
            raise RoadloopError(unknown("camera product", name, PRODUCTS))
    if not names:
        raise RoadloopError(f"no camera products: give some of {','.join(PRODUCTS)}")
    return names


def look(
    scenario: Scenario,
    rig: SensorRig,
    at: float,
    *,
    detail: str = "full",
    products: tuple[str, ...] = ("rgb",),
    driver: str = DEFAULT,
) -> Observation:
    """What every sensor of the rig measures ``at`` seconds into the scenario, and the tracks.

    All of them measure then, whatever their rate, and without latency. Their clocks start one step
    earlier, which counts as the previous picture.

    Raises:
        RoadloopError: a drive that is over before.
    """
    from deploy.drivers import make_driver
    from sim.run import drive_scenario
    from sim.sensors.fitting import fitted
    from sim.simulator import SimWorld

    steps = max(1, round(at / scenario.dt))
    world = SimWorld()
    states: list[SimState] = []

    def keep(observation: Observation) -> None:
        assert world.state is not None
        states.append(world.state)
        del states[:-2]

    driven = dataclasses.replace(scenario, duration=steps * scenario.dt)
    last = drive_scenario(driven, make_driver(driver), world, on_step=keep)
    if last.step < steps:
        raise RoadloopError(
            f"the drive {scenario.name} is over after {last.time:.1f} s: look at an earlier moment "
            f"than {at:g} s"
        )
    suite = fitted(_prepared(rig, scenario.dt, detail, products), scenario)
    suite.reset(states[0])
    return dataclasses.replace(last, **suite.observe(states[1]))


def _prepared(rig: SensorRig, dt: float, detail: str, products: tuple[str, ...]) -> SensorRig:
    """The rig with cameras that give what is asked for, and every sensor measuring each step."""
    replace = dataclasses.replace

    def due(sensor):
        return {"rate": max(sensor.rate, 1.0 / dt), "latency": 0.0}

    def camera(c):
        fine = max(c.antialias, 2) if detail == "full" else c.antialias
        wanted = tuple(dict.fromkeys((*products, "rgb")))
        return replace(c, detail=detail, products=wanted, antialias=fine, **due(c))

    return replace(
        rig,
        cameras=tuple(camera(c) for c in rig.cameras),
        lidars=tuple(replace(s, **due(s)) for s in rig.lidars),
        radars=tuple(replace(s, **due(s)) for s in rig.radars),
        gnss=tuple(replace(s, **due(s)) for s in rig.gnss),
    )
