"""The driving tasks of highway-env that our drivers run in, and their environments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from roadloop.config import unknown
from roadloop.errors import RoadloopError
from roadloop.types import VehicleParameters
from sim.highway.edges import LaneIndex

FREQUENCY = 10
"""Hz, steps of their simulation and of our drivers"""

DT = 1.0 / FREQUENCY
"""s"""

DYNAMIC_FREQUENCY = 60
"""Hz, their simulation where tyres slip: the yaw rate of their dynamic bicycle answers with 155 / v
per second (v in m/s, down to 1, where it becomes another model), and the Runge-Kutta rule of fourth
order that they step it with is stable up to 2.78 per step, so from 56 Hz on"""

VEHICLE = VehicleParameters(
    length=5.0,
    width=2.0,
    wheelbase=5.0,
    rear_overhang=0.0,
    max_steering=math.pi / 4.0,
    max_steering_rate=math.pi / 2.0 * FREQUENCY,
    steering_lag=0.0,
    acceleration_lag=0.0,
)
"""Their car (``highway_env.vehicle.kinematics.Vehicle``): a kinematic bicycle whose axles lie at
its bumpers and whose position is its centre. Steering and acceleration are at once what was asked
for, within our limits of acceleration and their 45 degrees of steering."""

INTERSECTION_TRAFFIC = "sim.highway.adapted.IntersectionVehicle"


@dataclass(frozen=True)
class Task:
    """One task: where it ends and how long we give it."""

    description: str
    goal: LaneIndex | None
    """their lane on which it ends; None: straight on, as far as the speed limit allows"""
    goal_s: float = 0.0
    """m along that lane (of the car's centre)"""
    duration: float = 40.0
    """s"""
    dynamical: bool = False
    """True where the task itself asks for their dynamic bicycle with tyre slip"""
    config: Mapping[str, Any] = field(default_factory=dict)
    """of the environment, beside what all get"""


TASKS: dict[str, Task] = {
    "highway-v0": Task("four lanes of a motorway in dense traffic", None),
    "highway-fast-v0": Task("three lanes, fewer vehicles", None, duration=30.0),
    "merge-v0": Task("a motorway where a vehicle joins from a ramp", ("c", "d", 1), 63.0),
    "merge-generic-v0": Task("merge with traffic spread at random", ("c", "d", 1), 63.0),
    "roundabout-v0": Task("through a roundabout of two lanes", ("nxs", "nxr", 0), 30.0),
    "roundabout-generic-v0": Task("roundabout with more traffic", ("nxs", "nxr", 0), 30.0),
    "intersection-v0": Task(
        "left turn from the minor road of an intersection without lights",
        ("il1", "o1", 0),
        30.0,
        duration=20.0,
        config={"other_vehicles_type": INTERSECTION_TRAFFIC},
    ),
    "intersection-v1": Task(
        "intersection-v0 with tyres that slip",
        ("il1", "o1", 0),
        30.0,
        duration=20.0,
        dynamical=True,
        config={"other_vehicles_type": INTERSECTION_TRAFFIC},
    ),
    "exit-v0": Task("from the left lane to an exit past five lanes", ("2", "exit", 0), 60.0, 80.0),
    "two-way-v0": Task("a two-way road with slow vehicles ahead", None),
    "u-turn-v0": Task("through a U-turn full of slow vehicles", ("c", "d", 0), 110.0, 60.0),
    "racetrack-v0": Task("most of a lap of a winding track", None, duration=60.0),
    "racetrack-large-v0": Task("a longer track of three lanes", None, duration=90.0),
    "racetrack-oval-v0": Task("an oval of three lanes", None, duration=60.0),
    "lane-keeping-v0": Task(
        "along a winding lane with tyres that slip", ("a", "b", 0), 350.0, dynamical=True
    ),
}
"""what there is by name"""


def find_task(name: str) -> Task:
    """The task of that name. Raises RoadloopError for others, and says why for parking."""
    if name.startswith("parking"):
        raise RoadloopError(
            f'"{name}" has no road, lanes or route: our drivers need them; choose another task'
        )
    if name not in TASKS:
        raise RoadloopError(f"{unknown('highway-env task', name, TASKS)} (of {', '.join(TASKS)})")
    return TASKS[name]


def make_env(name: str) -> Any:
    """The task's Gymnasium environment, unwrapped, taking acceleration and steering at FREQUENCY.

    Raises RoadloopError for an unknown task, and where highway-env is not installed.
    """
    task = find_task(name)
    try:
        import gymnasium
        import highway_env  # noqa: F401  (registers its tasks)
        from gymnasium.envs.registration import load_env_creator

        from sim.highway.adapted import with_rewards
    except ModuleNotFoundError as error:
        raise RoadloopError(
            f"{error.name} is not installed: highway-env tasks need pip install 'roadloop[highway]'"
        ) from error
    v = VEHICLE
    make: Any = load_env_creator(str(gymnasium.spec(name).entry_point))
    config: dict[str, Any] = {
        "action": {
            "type": "ContinuousAction",
            "acceleration_range": (-v.max_deceleration, v.max_acceleration),
            "steering_range": (-v.max_steering, v.max_steering),
            "dynamical": task.dynamical,
        },
        # none: ours is taken from the road itself
        "observation": {"type": "AttributesObservation", "attributes": []},
        "simulation_frequency": DYNAMIC_FREQUENCY if task.dynamical else FREQUENCY,
        "policy_frequency": FREQUENCY,
        "duration": task.duration,
        **task.config,
    }
    defaults = make.default_config()
    if "spawn_probability" in defaults:  # per decision, of which they make fewer a second
        often = defaults["policy_frequency"] / FREQUENCY
        config["spawn_probability"] = often * defaults["spawn_probability"]
    return with_rewards(make)(config)
