"""``roadloop identify``: how late and how slowly a car answers, from the log of a drive."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from roadloop.command_line import File, default_text
from roadloop.errors import RoadloopError

if TYPE_CHECKING:
    from planning.actuator_delay import ActuatorFit, Identified
    from roadloop.types import Rollout

LIMIT = 0.1
"""s: an interval of the delay that is wider is worth a word"""


@dataclass(frozen=True)
class Identify:
    """Find the delay, the lag and the gain of a car's actuators in the log of a drive.

    What was commanded is compared with what the car did: steering, and acceleration with brakes.
    Delay: s until anything happens. Lag: s, time constant of what follows. Gain: done per
    commanded. Each with the interval that holds the true value with a probability of 95 %, if the
    car answers as the model does. Drive bends, brake and accelerate: what hardly changes cannot be
    told. The exit status is 1 where one of the two is missing.

    Example: roadloop identify runs/dense_town-seed0 --out my-car.yaml
    """

    rollout: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="ROLLOUT")]
    """folder of a drive"""
    out: Annotated[File, default_text("no file")] = None
    """vehicle to write (.yaml): that of the drive, with what was found"""
    json: bool = False
    """print one JSON object and nothing else"""

    def run(self) -> int:
        from planning.actuator_delay import identify_actuators
        from roadloop.drive_folder import rollout_folder
        from roadloop.logs.store import read_rollout

        if self.out is not None and self.out.suffix not in (".yaml", ".yml"):
            raise RoadloopError(f"{self.out}: a vehicle is a .yaml file")
        rollout = read_rollout(rollout_folder(self.rollout))
        found = identify_actuators(rollout)
        if self.out is not None:
            _write(self.out, rollout, found)
        if self.json:
            written = None if self.out is None else str(self.out)
            result = {**dataclasses.asdict(found), "vehicle": written}
            print(json.dumps(result, indent=2, allow_nan=False))
        else:
            _print(found)
            if self.out is not None:
                print(self.out)
        return 1 if found.reasons else 0


def _print(found: Identified) -> None:
    print(f"{'':14}{'delay (s)':24}{'lag (s)':24}{'gain':24}residual")
    for name, unit in (("steering", "rad"), ("acceleration", "m/s^2")):
        fit: ActuatorFit | None = getattr(found, name)
        if fit is None:
            print(f"{name:14}not to be told: {found.reasons[name]}")
            continue
        cells = [
            f"{v.value:.3f} ({v.low:.3f}-{v.high:.3f})" for v in (fit.delay, fit.lag, fit.gain)
        ]
        print(f"{name:14}{''.join(f'{c:24}' for c in cells)}{fit.residual:.2g} {unit}")
        if fit.delay.high - fit.delay.low > LIMIT:
            print(f"{'':14}delay and lag make up for each other here: drive with sharper commands")


def _write(out: Path, rollout: Rollout, found: Identified) -> None:
    from roadloop.config import dump_config
    from roadloop.files import replaced
    from roadloop.vehicles import ActuatorDelays, Vehicle

    changed: dict[str, float] = {}
    delays: dict[str, float] = {}
    notes = []
    for name in ("steering", "acceleration"):
        fit: ActuatorFit | None = getattr(found, name)
        if fit is None:
            notes.append(f"{name}: as the drive says, the log does not tell")
            continue
        changed[f"{name}_lag"] = round(fit.lag.value, 4)
        delays[name] = round(fit.delay.value, 4)
        notes.append(f"{name}: gain {fit.gain.value:.3f}, {fit.samples} samples")
    parameters = dataclasses.replace(rollout.ego.vehicle, **changed)
    description = f"identified in {rollout.scenario}, driven by {rollout.driver}"
    vehicle = Vehicle(description, parameters, ActuatorDelays(**delays))
    head = "".join(f"# {line}\n" for line in ("Made by roadloop identify.", *notes))
    try:
        with replaced(out) as path:
            path.write_text(f"{head}\n{dump_config(vehicle)}", encoding="utf-8")
    except OSError as error:
        raise RoadloopError(f"{out}: {error.strerror}") from error
