"""What of highway-env must be adapted so that every task takes acceleration and steering."""

from __future__ import annotations

from typing import Any

import numpy as np
from highway_env.vehicle.behavior import IDMVehicle
from highway_env.vehicle.controller import MDPVehicle


class IntersectionVehicle(IDMVehicle):
    """Their IDM vehicle in the intersection tasks; named in their configuration by its path.

    These tasks change constants on the *class* of their vehicles. Were that ``IDMVehicle`` itself,
    every other task in the same process would drive differently afterwards.
    """


def with_rewards(task: type) -> type:
    """The environment class ``task`` with rewards that can be computed for a continuous action.

    Merge and roundabout ask whether the action is that of a lane change, and two-way for the target
    speed and lane that only their own ego has: here the nearest of these to what the car does.
    """

    class Continuous(task):
        def _rewards(self, action: Any) -> dict[str, float]:
            car = self.vehicle
            if not isinstance(car, MDPVehicle):
                car.target_speeds = MDPVehicle.DEFAULT_TARGET_SPEEDS
                car.speed_index = MDPVehicle.speed_to_index_default(car.speed)
                car.target_lane_index = car.lane_index
            # an array compared with 0 is an array, a tuple is not 0
            given = tuple(action.tolist()) if isinstance(action, np.ndarray) else action
            return super()._rewards(given)

    return Continuous
