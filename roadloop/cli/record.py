"""``roadloop record``: drives with all sensors of a rig, as labelled sensor logs."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from roadloop.cli.drivers import DEFAULT, Latency, Perception, Settings, build_driver, numbers
from roadloop.cli.names import known
from roadloop.command_line import INTERRUPTED, Count, File, Folder, Seconds, default_text
from roadloop.errors import RoadloopError
from roadloop.terminal import Laps, progress_bar, start_warp

if TYPE_CHECKING:
    from roadloop.maps.road_map import RoadMap
    from roadloop.rig import SensorRig

AS_RIG = "rig"
"""products: those of the rig's file"""

RUN = "record.json"
"""in the folder that is written: the options that all its logs were made with"""


@dataclass(frozen=True)
class Record:
    """Drive scenarios and record what all sensors of a rig see, with perfect labels.

    Writes a folder per scenario and seed into DIR, DIR/SCENARIO-seedN/: rollout/ (the log of the
    drive) and sensors/ (pictures, sweeps, scans, samples, 2D and 3D boxes; docs/logs.md), all of it
    readable without roadloop. Sensors measure at every Nth step of 0.1 s. Ctrl-C leaves what was
    recorded until then, and --resume goes on: finished folders are kept, an interrupted one is
    recorded again.

    Example: roadloop record dense_town --seeds 0:4 --seconds 20 --weather random

    Rainy nights with depth: roadloop record dense_town --weather rain-night --products rgb,depth

    A whole sensor set: roadloop record dense_town --rig nuscenes-704x256 --detail full --every 5
    """

    scenarios: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="SCENARIO ...")
    ] = ("dense_town",)
    """what to drive; `roadloop list` names them"""
    rig: Annotated[str, tyro.conf.arg(metavar="NAME|FILE")] = "compact-3cam"
    """sensors: a rig that comes with roadloop, or a .yaml of your own"""
    products: Annotated[
        str, tyro.conf.arg(metavar="LIST"), default_text("rgb,depth,semantic,instance,boxes")
    ] = "rgb,depth,semantic,instance,boxes"
    """what every camera gives: of rgb, depth, semantic, instance, flow, boxes; or rig: as its file
    says"""
    detail: Annotated[str, tyro.conf.arg(metavar="HOW"), default_text("as the rig says")] = ""
    """plain: one colour per surface; full: textures, shadows, headlights, reflections"""
    weather: Annotated[str, tyro.conf.arg(metavar="NAME")] = "clear"
    """clear, rain-night, fog-sunset, ...; random: another one for every seed"""
    seeds: Annotated[str, tyro.conf.arg(metavar="LIST")] = "0"
    """seeds of each scenario: 3, 0:4 (which is 0,1,2,3), 1,5,9"""
    driver: Annotated[str, tyro.conf.arg(metavar="NAME")] = DEFAULT
    """who drives; `roadloop list` names them, policy:DIR is a trained one, MODULE:FUNCTION
    your own"""
    perception: Perception = "truth"
    """what the driver sees: truth, noisy, noisy:PRESET or a .yaml of noise"""
    set: Settings = ()
    """a setting of the driver, e.g. time_headway=0.7"""
    latency: Latency = ""
    """how late the driver's answers come: seconds, or a file of measured ones"""
    map: Annotated[File, default_text("the scenario's own")] = None
    """map to drive on: OpenDRIVE (.xodr) or Lanelet2 (.osm)"""
    seconds: Annotated[Seconds, default_text("the scenario's own")] = None
    """s, length of each drive; it ends sooner where the route is finished"""
    agents: Annotated[Count, default_text("the scenario's own")] = None
    """vehicles of background traffic, beside those the scenario itself needs"""
    parameter: Settings = ()
    """a parameter of the scenario, e.g. ego_speed=8.3"""
    every: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """record every Nth step"""
    lossless: bool = False
    """colours as PNG, depth and flow as 32-bit npz; otherwise JPEG and 16-bit PNG"""
    out: Annotated[Folder, default_text("runs/record-RIG")] = None
    """folder to write into"""
    resume: bool = False
    """go on with what DIR holds"""
    overwrite: bool = False
    """replace what DIR holds"""
    json: bool = False
    """print one JSON object and nothing else"""

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise RoadloopError(f"seconds is {self.seconds:g}; it must be above 0")
        if self.agents is not None and self.agents < 0:
            raise RoadloopError(f"agents is {self.agents}; it must be 0 or more")
        if self.every < 1:
            raise RoadloopError(f"every is {self.every}; it must be 1 or more")
        if self.resume and self.overwrite:
            raise RoadloopError("--resume keeps what --overwrite replaces; give one of them")
        seeds_of(self.seeds)

    def run(self) -> int:
        from roadloop.maps.cache import load_map
        from roadloop.weather import weather_of
        from sim.scenarios import FAMILIES

        for name in self.scenarios:
            known("scenario", name, FAMILIES)
        drives = [(name, seed) for name in self.scenarios for seed in seeds_of(self.seeds)]
        rig = self._rig()
        weather_of(self.weather, 0)  # mistakes are said now, not when their turn comes
        build_driver(self.driver, self.perception, self.set, self.latency)
        numbers("--parameter", self.parameter)
        folder = self.out or Path("runs") / f"record-{rig.name}"
        road_map = None if self.map is None else load_map(self.map)
        self._prepare(folder, rig)
        start_warp()
        if not self.json:
            note = "the first one on a machine also compiles the simulator"
            print(f"roadloop: recording {len(drives)} drives ({note})", file=sys.stderr)
        done: list[dict[str, Any]] = []
        try:
            for name, seed in drives:
                log = self._record(folder / f"{name}-seed{seed}", name, seed, rig, road_map)
                done.append(log)
                if not self.json:
                    print(_line(log))
        except KeyboardInterrupt:
            left = len(drives) - len(done)
            print(
                f"roadloop: interrupted; {left} drives are left, go on with --resume",
                file=sys.stderr,
            )
            return INTERRUPTED
        if self.json:
            print(json.dumps({"folder": str(folder), "logs": done}, indent=2))
        else:
            print(_total(done))
            print(folder)
        return 0

    def _rig(self) -> SensorRig:
        """The rig with the products and the detail that were asked for."""
        from roadloop.rig import load_rig

        rig = load_rig(self.rig)
        changed: dict[str, Any] = {}
        if self.products != AS_RIG:
            words = (word.strip() for word in self.products.split(","))
            changed["products"] = tuple(dict.fromkeys(words))
        if self.detail:
            changed["detail"] = self.detail
        cameras = tuple(dataclasses.replace(camera, **changed) for camera in rig.cameras)
        lidars = rig.lidars
        if {"semantic", "instance"} & set(changed.get("products", ())):
            lidars = tuple(dataclasses.replace(lidar, labels=True) for lidar in lidars)
        return dataclasses.replace(rig, cameras=cameras, lidars=lidars)

    def _prepare(self, folder: Path, rig: SensorRig) -> None:
        """Make the folder, or check that what it holds was recorded with the same options."""
        from roadloop.files import replaced

        run = self._options(rig)
        path = folder / RUN
        if path.exists() and not self.overwrite:
            if not self.resume:
                raise RoadloopError(
                    f"{folder} already holds recordings; go on with them by --resume, replace them "
                    "by --overwrite, or give another folder with --out"
                )
            try:
                held = json.loads(path.read_text(encoding="utf-8"))
                other = [key for key, value in run.items() if held.get(key) != value]
            except (OSError, ValueError, AttributeError) as error:
                raise RoadloopError(f"{path} cannot be read: {error}; give --overwrite") from error
            if other:
                raise RoadloopError(
                    f"{folder} holds recordings with another {other[0].replace('_', ' ')}; give "
                    "another folder with --out, or --overwrite"
                )
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if path.exists():
                _clear(folder)
            with replaced(path) as hidden:
                hidden.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise RoadloopError(
                f"cannot write into {folder}: {error.strerror}; give another folder with --out"
            ) from error

    def _options(self, rig: SensorRig) -> dict[str, Any]:
        """All that a recording depends on but scenario and seed, as plain JSON values."""
        from roadloop import __version__
        from roadloop.config import dump_config

        options = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("scenarios", "seeds", "rig", "out", "resume", "overwrite", "json"):
            del options[name]
        options["map"] = "" if self.map is None else str(self.map.resolve())
        run = {"roadloop_version": __version__, **options, "rig": dump_config(rig)}
        return json.loads(json.dumps(run))

    def _record(
        self, folder: Path, name: str, seed: int, rig: SensorRig, road_map: RoadMap | None
    ) -> dict[str, Any]:
        """One drive, unless it is there; what the summary says of it."""
        from roadloop.weather import weather_of
        from sim.record import record_drive
        from sim.scenarios import build_scenario

        log = {"folder": str(folder), "scenario": name, "seed": seed, "kept": _finished(folder)}
        if log["kept"]:
            return {**log, "bytes": _size(folder)}
        laps = Laps()
        scenario = build_scenario(
            name,
            seed=seed,
            road_map=road_map,
            agents=self.agents,
            duration=self.seconds,
            parameters=numbers("--parameter", self.parameter),
            weather=weather_of(self.weather, seed),
        )
        with progress_bar(folder.name, "s", scenario.duration, quiet=self.json) as bar:
            recorded = record_drive(
                scenario,
                build_driver(self.driver, self.perception, self.set, self.latency),
                rig,
                folder,
                every=self.every,
                lossless=self.lossless,
                map_source="" if self.map is None else str(self.map.resolve()),
                on_step=lambda observation: bar.update(observation.time - bar.n),
            )
        laps.lap("record")
        return {
            **log,
            **dataclasses.asdict(recorded),
            "bytes": _size(folder),
            "wall_s": laps.seconds["record"],
        }


def seeds_of(text: str) -> tuple[int, ...]:
    """The seeds that ``3``, ``0:4`` (without 4) or ``1,5,8:10`` name, each once, in their order."""
    seeds: dict[int, None] = {}
    for word in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?::\s*(\d+)\s*)?", word)
        first, end = (int(match[1]), int(match[2] or int(match[1]) + 1)) if match else (0, 0)
        if first >= end:
            raise RoadloopError(
                f'seeds is "{text}": expected whole numbers such as 3 or 1,5, or 0:4 for 0 to 3'
            )
        seeds |= dict.fromkeys(range(first, end))
    return tuple(seeds)


def _finished(folder: Path) -> bool:
    """Whether the folder holds a recording that came to its end."""
    from roadloop.logs.parts import read_meta
    from roadloop.logs.sensor_folder import SUMS

    try:
        return (
            bool(read_meta(folder / "rollout")["finished"])
            and (folder / "sensors" / SUMS).is_file()
        )
    except RoadloopError:
        return False


def _clear(folder: Path) -> None:
    """Take away what earlier recordings wrote; other files are left alone."""
    (folder / RUN).unlink()
    for drive in folder.glob("*-seed*"):
        for part in ("rollout", "sensors"):
            if (drive / part).is_dir():
                shutil.rmtree(drive / part)


def _size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _line(log: dict[str, Any]) -> str:
    size = f"{log['bytes'] / 1e6:.1f} MB"
    if log["kept"]:
        return f"{log['folder']}: was there, {size}"
    return (
        f"{log['folder']}: {log['seconds']:.1f} s driven, {log['pictures']} pictures, {size}, "
        f"took {log['wall_s']:.1f} s"
    )


def _total(done: list[dict[str, Any]]) -> str:
    new = [log for log in done if not log["kept"]]
    there = f" ({len(done) - len(new)} of them were there)" if len(new) < len(done) else ""
    return (
        f"{len(done)} logs{there}; recorded: {sum(log['seconds'] for log in new):.1f} s of "
        f"driving, {sum(log['pictures'] for log in new)} pictures, "
        f"{sum(log['bytes'] for log in new) / 1e6:.1f} MB, took "
        f"{sum(log['wall_s'] for log in new):.1f} s"
    )
