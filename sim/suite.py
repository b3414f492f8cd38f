"""Suites: lists of scenario x seed x parameters, read from YAML, with a hash of what they ask.

::

    description: Three seeds of two families.
    cases:
      - scenario: cut_in
        seeds: 3                      # 0, 1, 2; or a list
      - scenario: ccrs
        parameters:                   # every list is swept, all against all
          ego_speed: [5.6, 11.1]
      - scenario: random_route
        maps: all                     # once for every map of the folder given with --maps,
        # maps: [Town03, Town05]      # or for those of it that are called so
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from roadloop.config import config_folder, load_config, unknown
from roadloop.datasets.formats import open_recording
from roadloop.errors import RoadloopError
from roadloop.maps.cache import load_map
from roadloop.maps.road_map import RoadMap
from roadloop.types import Scenario
from sim.recorded import FAMILY, recorded_scenario
from sim.scenarios import FAMILIES, build_scenario

MAP_ENDINGS = (".xodr", ".xodr.gz")
"""of the files of a folder that are maps"""


@dataclass(frozen=True)
class Case:
    """One drive of a suite."""

    name: str
    """unique within the suite"""
    scenario: str
    seed: int
    parameters: tuple[tuple[str, float], ...] = ()
    agents: int | None = None
    seconds: float | None = None
    map_file: str = ""
    map_hash: str = ""
    recording: str = ""
    """data set's folder of a recorded drive, by its whole path; empty for scenarios"""
    drive: str = ""
    format: str = ""
    reactive: bool = False
    start: float = 0.0
    """s into the recording at which the drive begins"""

    def build(self) -> Scenario:
        """The scenario, ready to drive. Raises RoadloopError where it cannot be built."""
        if self.recording:
            recording = open_recording(self.recording, self.drive, self.format)
            return recorded_scenario(
                recording, reactive=self.reactive, seconds=self.seconds, start=self.start
            )
        return build_scenario(
            self.scenario,
            seed=self.seed,
            road_map=self.road_map(),
            agents=self.agents,
            duration=self.seconds,
            parameters=dict(self.parameters),
        )

    def road_map(self) -> RoadMap | None:
        """The map of ``map_file``, None where the scenario brings its own."""
        if not self.map_file:
            return None
        road_map = load_map(self.map_file)
        if road_map.content_hash != self.map_hash:
            raise RoadloopError(
                f"{self.map_file} has changed since the suite was read; start a new run"
            )
        return road_map

    def command(self, options: str = "") -> str:
        """The command line that drives this case by itself; ``options`` name driver and senses."""
        if self.recording:
            words = ["roadloop replay", shlex.quote(self.recording)]
            words += ["--format", self.format, "--drives", shlex.quote(self.drive)]
            words += ["--reactive"] if self.reactive else []
            words += [f"--start {self.start:g}"] if self.start else []
            words += [f"--seconds {self.seconds:g}"] if self.seconds is not None else []
            return " ".join([*words, *([options] if options else [])])
        words = [f"roadloop drive {self.scenario} --seed {self.seed}"]
        words += [f"--parameter {name}={value!r}" for name, value in self.parameters]
        words += [f"--agents {self.agents}"] if self.agents is not None else []
        words += [f"--seconds {self.seconds:g}"] if self.seconds is not None else []
        words += [f"--map {self.map_file}"] if self.map_file else []
        return " ".join([*words, *([options] if options else [])])


@dataclass(frozen=True)
class Suite:
    """A list of cases under one name."""

    name: str
    description: str
    cases: tuple[Case, ...]

    @property
    def hash(self) -> str:
        """Hex SHA-256 of what is asked: every case in order, maps by content, not by path."""
        asked = []
        for case in self.cases:
            entry = asdict(case)
            del entry["map_file"], entry["recording"]
            if not case.recording:
                del entry["drive"], entry["format"], entry["reactive"], entry["start"]
            asked.append(entry)
        text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class _Block:
    """Some cases of a suite as written in its file."""

    scenario: str
    seeds: int | list[int] = 1
    parameters: dict[str, float | list[float]] = field(default_factory=dict)
    agents: int | None = None
    seconds: float | None = None
    """s, length of the drive"""
    maps: str | list[str] = ""
    """empty: the scenario's own; "all": every map of the folder; or names of some of them"""


@dataclass(frozen=True)
class _File:
    description: str
    cases: list[_Block]


def recorded_suite(
    name: str,
    recordings: Sequence[tuple[str | Path, str, str]],
    *,
    reactive: bool = False,
    seconds: float | None = None,
    start: float = 0.0,
) -> Suite:
    """Recorded drives as a suite.

    Args:
        recordings: data set's folder, drive and format of each.
        reactive: road users react to the ego.
        seconds: s, length of each drive, by default as recorded.
        start: s into each recording at which the drive begins.
    """
    cases = []
    taken: set[str] = set()
    for root, drive, format in recordings:
        label = re.sub(r"[^\w.=-]+", "-", drive).strip("-.") or "drive"
        while label in taken:
            label += "-again"
        taken.add(label)
        where = str(Path(root).resolve())
        cases.append(
            Case(
                label,
                FAMILY,
                0,
                seconds=seconds,
                recording=where,
                drive=drive,
                format=format,
                reactive=reactive,
                start=start,
            )
        )
    manner = "the others react" if reactive else "the others move as recorded"
    return Suite(name, f"{len(cases)} recorded drives; {manner}.", tuple(cases))


def suite_names() -> dict[str, Path]:
    """The suites that come with roadloop, by name."""
    return {path.stem: path for path in sorted((config_folder() / "suites").glob("*.yaml"))}


def suite_descriptions() -> dict[str, str]:
    """name -> one line on what it is."""
    return {name: load_config(_File, path).description for name, path in suite_names().items()}


def load_suite(name: str | Path, maps: Path | None = None) -> Suite:
    """The suite of that name or YAML file.

    Args:
        maps: folder of OpenDRIVE files, for suites that are driven on the user's maps.

    Raises:
        RoadloopError: no such suite, an unknown scenario or parameter, a folder without maps.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        shipped = suite_names()
        if str(name) not in shipped:
            raise RoadloopError(unknown("suite", str(name), shipped) + " (or give a .yaml of one)")
        path = shipped[str(name)]
    written = load_config(_File, path)
    cases: list[Case] = []
    for block in written.cases:
        if block.scenario not in FAMILIES:
            raise RoadloopError(f"{path}: {unknown('scenario', block.scenario, FAMILIES)}")
        cases += _cases(block, path, maps)
    if not cases:
        raise RoadloopError(f"{path}: the suite has no cases")
    seen: set[str] = set()
    for case in cases:
        if case.name in seen:
            raise RoadloopError(f"{path}: {case.name} is in the suite twice")
        seen.add(case.name)
    return Suite(path.stem, written.description, tuple(cases))


def _cases(block: _Block, path: Path, maps: Path | None) -> list[Case]:
    seeds = list(range(block.seeds)) if isinstance(block.seeds, int) else block.seeds
    if not seeds or min(seeds) < 0:
        raise RoadloopError(f"{path}: {block.scenario}: seeds must be 0 or more, and at least one")
    axes = [v if isinstance(v, list) else [v] for v in block.parameters.values()]
    swept = [tuple(zip(block.parameters, values)) for values in itertools.product(*axes)]
    for values in swept:
        try:
            FAMILIES[block.scenario].values(block.scenario, dict(values))
        except RoadloopError as error:
            raise RoadloopError(f"{path}: {error}") from None
    plain = [
        Case("", block.scenario, seed, values, block.agents, block.seconds)
        for values in swept
        for seed in seeds
    ]
    if not block.maps:
        return [replace(case, name=_name(case, "")) for case in plain]
    if isinstance(block.maps, str) and block.maps != "all":
        raise RoadloopError(
            f'{path}: {block.scenario}: maps is "{block.maps}"; it may be "all" or a list of names'
        )
    asked = None if isinstance(block.maps, str) else block.maps
    return [
        replace(case, name=_name(case, name), map_file=str(file), map_hash=content_hash)
        for name, (file, content_hash) in _map_files(path, maps, asked).items()
        for case in plain
    ]


def _name(case: Case, map_name: str) -> str:
    """``SCENARIO[-MAP][-VALUES]-SEED``, fit for a file name."""
    family = FAMILIES[case.scenario]
    label = family.label(family.values(case.scenario, dict(case.parameters)))
    return f"{case.scenario}{f'-{map_name}' if map_name else ''}{label}-{case.seed}"


def _map_files(
    path: Path, maps: Path | None, asked: list[str] | None
) -> Mapping[str, tuple[Path, str]]:
    """OpenDRIVE files of the folder by their maps' names, with the content hash of each map."""
    if maps is None:
        raise RoadloopError(
            f"{path.stem} is driven on your own maps: give their folder with --maps"
        )
    files: dict[str, Path] = {}
    for file in sorted(maps.iterdir()) if maps.is_dir() else []:
        ending = next((end for end in MAP_ENDINGS if file.name.endswith(end)), "")
        if ending:
            files.setdefault(file.name.removesuffix(ending), file.resolve())
    if not files:
        endings = ", ".join(MAP_ENDINGS)
        raise RoadloopError(f"{maps}: no such folder, or no OpenDRIVE maps ({endings}) in it")
    for name in asked or ():
        if name not in files:
            raise RoadloopError(f"{maps}: {unknown('map', name, files)}; {path.stem} asks for it")
    chosen = list(files) if asked is None else list(dict.fromkeys(asked))
    return {name: (files[name], load_map(files[name]).content_hash) for name in chosen}
