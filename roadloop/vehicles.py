"""Vehicles: what a car measures and how its actuators answer.

A vehicle is one of those in ``configs/vehicles/`` or a YAML file of one's own::

    vehicle = load_vehicle("van")
    vehicle.parameters.wheelbase
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path

from roadloop.config import config_folder, load_config, unknown
from roadloop.errors import RoadloopError
from roadloop.types import VehicleParameters

LONGEST_DELAY = 2.0
"""s: beyond it, somebody wrote milliseconds"""
MAY_BE_ZERO = ("rear_overhang", "steering_lag", "acceleration_lag")


@dataclass(frozen=True)
class ActuatorDelays:
    """Pure delays, from a command to the first sign of it. Raises RoadloopError for others."""

    steering: float = 0.0
    """s"""
    acceleration: float = 0.0
    """s, of drive train and brakes"""

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not 0.0 <= value <= LONGEST_DELAY:
                raise RoadloopError(f"{name} delay is {value} s: expected 0 to {LONGEST_DELAY:g} s")


@dataclass(frozen=True)
class Vehicle:
    """A car as its control sees it. Raises RoadloopError for what no car can be."""

    description: str = ""
    parameters: VehicleParameters = field(default_factory=VehicleParameters)
    delays: ActuatorDelays = field(default_factory=ActuatorDelays)

    def __post_init__(self) -> None:
        car = self.parameters
        for name, value in dataclasses.asdict(car).items():
            least = 0.0 if name in MAY_BE_ZERO else 1e-6
            if not (math.isfinite(value) and value >= least):
                raise RoadloopError(f"vehicle {name} is {value}: expected a finite number above 0")
        if car.rear_overhang + car.wheelbase > car.length:
            raise RoadloopError(
                f"vehicle length is {car.length:g} m, rear overhang and wheelbase together are "
                f"{car.rear_overhang + car.wheelbase:g} m: the axles lie inside the vehicle"
            )
        if car.max_steering >= math.pi / 2.0:
            raise RoadloopError(
                f"vehicle max_steering is {car.max_steering:g} rad: is it degrees? Write radians"
            )


def vehicle_names() -> tuple[str, ...]:
    """The vehicles roadloop ships, sorted by name."""
    return tuple(_shipped())


def load_vehicle(name: str | Path) -> Vehicle:
    """The vehicle called ``name``, or the one in a YAML file (a path ending in .yaml or .yml).

    Raises RoadloopError for an unknown vehicle, a missing file, or a mistake in it.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        return load_config(Vehicle, name)
    known = _shipped()
    if str(name) not in known:
        raise RoadloopError(unknown("vehicle", str(name), known) + " (or give the path of a .yaml)")
    return load_config(Vehicle, known[str(name)])


def _shipped() -> dict[str, Path]:
    return {p.stem: p for p in sorted((config_folder() / "vehicles").glob("*.yaml"))}
