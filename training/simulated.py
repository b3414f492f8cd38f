"""Training straight from the simulator: drives that are simulated and rendered while one learns.

::

    data = SimulatedData(worlds=16)
    source = SimulatedSource(data, detector_spec(config), partial(ClipSource, frames=frames))
    loader = make_loader(source, 4, workers=2)

Every epoch simulates other worlds. Of each world several vehicles are looked from, rather those
that see much of what is rare, each in a weather and with colours of its own. Nothing is written.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from perception.detector_config import object_classes
from roadloop.logs.recording import Recording
from roadloop.rig import CameraEffects, SensorRig, load_rig
from roadloop.terminal import start_warp
from roadloop.weather import weather_of
from training.sample_spec import Sample, SampleSpec
from training.simulated_data import HELD_OUT, SimulatedData
from training.simulated_drives import SimulatedDrive
from training.simulated_scenarios import street_scenario
from training.simulated_worlds import SimulatedWorld
from training.sources import LogSource, Source

Array = np.ndarray

MAP_SEED = 1000
"""the first seed of generated maps"""
REACH = (0.0, 45.0, 22.0)
"""m: what a vehicle sees is counted from ... to ... ahead, and so far to both sides"""
WORTH = (1.0, 5.0, 1.5, 1.5)
"""of a vehicle, cyclist, pedestrian, obstacle in sight, where vehicles to look from are drawn"""
ENOUGH = 6
"""of a class in sight; more count no more"""


class SimulatedSource:
    """Samples of drives that are simulated when they are asked for: a ``training.sources.Source``.

    A sample depends on the epoch and its number only, not on what was asked for before. Workers
    simulate for themselves what they are asked for, and keep the worlds of an epoch while it lasts
    (at most 40 MB each with its map and scenery, and 3 MB for each of its drives).

    Args:
        data: what is simulated.
        spec: what is read; decides what the cameras give.
        arranged: makes of a drive's samples what is learned from, e.g. clips:
            ``partial(ClipSource, frames=frames)``; in the order of time. It can be pickled.

    Raises:
        RoadloopError: a rig that cannot be read; later, a scenario that cannot be built, or a drive
            without a sample that fits.
    """

    def __init__(
        self,
        data: SimulatedData,
        spec: SampleSpec,
        arranged: Callable[[LogSource], Source] | None = None,
    ) -> None:
        self.data, self.spec, self.arranged = data, spec, arranged
        self.rig = equipped(load_rig(data.rig), data, spec)
        self.epoch = 0
        self._forget()

    def __len__(self) -> int:
        return self.data.worlds * self.data.seats * self.data.moments

    def in_epoch(self, epoch: int) -> SimulatedSource:
        """The same source with the worlds of an epoch."""
        if epoch == self.epoch or not self.data.endless:
            return self
        other = copy.copy(self)
        other.epoch = epoch
        return other

    def sample(self, index: int) -> Sample:
        """The arrays of a sample: ``training.sample_spec``, or what ``arranged`` makes of them."""
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} samples, no number {index}")
        number, moment = divmod(index, self.data.moments)
        source, rows = self._drive(number)
        return source.sample(int(rows[moment]))

    def recording(self, number: int) -> Recording:
        """A drive of the epoch, ``worlds * seats`` of them."""
        world, seat = divmod(number, self.data.seats)
        return self._seated(self._world(world), seat).recording

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if not k.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _forget(self) -> None:
        self._worlds: OrderedDict[int, tuple[SimulatedWorld, Array]] = OrderedDict()
        self._drives: OrderedDict[tuple[int, int], tuple[Source, Array]] = OrderedDict()

    def _seed(self, world: int) -> int:
        return self.data.seed + world + self.epoch * self.data.worlds

    def _world(self, world: int) -> tuple[SimulatedWorld, Array, int]:
        """A world of the epoch, the rows of the vehicles it is looked from, and its seed."""
        data, seed = self.data, self._seed(world)
        if seed not in self._worlds:
            rng = np.random.default_rng([seed, *b"world"])
            shares = np.array([scene.share for scene in data.scenes])
            scene = data.scenes[rng.choice(len(shares), p=shares / shares.sum())]
            map_seed = MAP_SEED + (seed % data.maps if data.maps else seed)
            build = partial(street_scenario, scene, seed, map_seed, data.seconds, data.life)
            start_warp()  # in the process that needs it: a worker, mostly
            made = SimulatedWorld(build, every=data.every)
            self._worlds[seed] = made, seats_of(made, data.seats, rng)
            while len(self._worlds) > data.worlds:
                old, _ = self._worlds.popitem(last=False)
                for key in [key for key in self._drives if key[0] == old]:
                    del self._drives[key]
        return (*self._worlds[seed], seed)

    def _seated(self, world: tuple[SimulatedWorld, Array, int], seat: int) -> SimulatedDrive:
        made, rows, seed = world
        rng = np.random.default_rng([seed, seat, *b"seat"])
        own = int(rng.integers(HELD_OUT, 2**31))
        return SimulatedDrive(
            made,
            with_effects(self.rig, self.data.effects, rng),
            seat=int(rows[seat]),
            seed=own,
            weather=weather_of(self.data.weather, own),
            name=f"{made.scenario.family}-seed{seed}-seat{seat}",
        )

    def _drive(self, number: int) -> tuple[Source, Array]:
        """A drive's samples, and which of them, (moments,)."""
        index, seat = divmod(number, self.data.seats)
        world = self._world(index)
        key = (world[2], seat)
        if key not in self._drives:
            recording = self._seated(world, seat).recording
            source: Source = LogSource([recording], self.spec)
            if self.arranged is not None:
                source = self.arranged(source)  # type: ignore[arg-type]
            rng = np.random.default_rng([world[2], seat, *b"moments"])
            speed = recording.ego.speed[len(recording) - len(source) :]
            self._drives[key] = source, spread(speed, self.data.moments, rng)
        return self._drives[key]


def equipped(rig: SensorRig, data: SimulatedData, spec: SampleSpec) -> SensorRig:
    """The rig with the products that are read, and boxes, by which what is visible is known."""
    given: dict[str, Any] = {"products": tuple(dict.fromkeys(("rgb", *spec.products, "boxes")))}
    if data.detail:
        given["detail"] = data.detail
    cameras = tuple(dataclasses.replace(camera, **given) for camera in rig.cameras)
    return dataclasses.replace(rig, cameras=cameras)


def with_effects(rig: SensorRig, most: float, rng: np.random.Generator) -> SensorRig:
    """The rig with cameras as bad as ``most`` (0 to 1) allows, all alike; at 0 the rig itself."""
    if most == 0.0:
        return rig
    effects = CameraEffects(
        noise=0.04 * most * rng.random(),
        exposure_jitter=0.3 * most * rng.random(),
        vignetting=0.4 * most * rng.random(),
        dirt=0.03 * most * float(rng.random() < 0.2),
        raindrops=bool(rng.random() < most),
    )
    cameras = tuple(dataclasses.replace(camera, effects=effects) for camera in rig.cameras)
    return dataclasses.replace(rig, cameras=cameras)


def seats_of(world: SimulatedWorld, count: int, rng: np.random.Generator) -> Array:
    """(count,) rows of vehicles to look from, the rather the more they see and move.

    Where there are fewer than ``count``, all of them, again and again.
    """
    stays = world.stays
    rows = np.flatnonzero(stays >= 0.5 * len(world.states))
    if not len(rows):
        rows = np.flatnonzero(stays == stays.max())
    agents, traits = world.agents[::4], world.traits
    classes = object_classes(traits["kind"].astype(int), traits["length"])
    there = agents["valid"] == 1
    worth = np.zeros(len(rows))
    for k, row in enumerate(rows.tolist()):
        dx, dy = (agents[axis] - agents[axis][:, [row]] for axis in "xy")
        c, s = agents["cos"][:, [row]], agents["sin"][:, [row]]
        ahead, left = c * dx + s * dy, c * dy - s * dx
        seen = there & (ahead > REACH[0]) & (ahead < REACH[1]) & (np.abs(left) < REACH[2])
        seen[:, row] = False
        counts = np.stack([seen[:, classes == k].sum(1) for k in range(len(WORTH))], axis=-1)
        worth[k] = (np.minimum(counts, ENOUGH) @ np.array(WORTH)).mean()
    moving = np.minimum(agents["speed"][:, rows].mean(0) / 5.0, 1.0)
    weight = (1.0 + worth) * (0.2 + moving)
    order = rng.choice(len(rows), min(count, len(rows)), replace=False, p=weight / weight.sum())
    return np.resize(rows[order], count)


def spread(speed: Array, count: int, rng: np.random.Generator) -> Array:
    """(count,) numbers of samples in order of time, spread over a drive and at random.

    Moments of standing come a fifth as often.

    Args:
        speed: (samples,) m/s, of the vehicle.
    """
    weight = np.cumsum(np.where(speed < 0.3, 0.2, 1.0))
    at = (np.arange(count) + rng.random(count)) / count * weight[-1]
    return np.minimum(np.searchsorted(weight, at, side="right"), len(speed) - 1)
