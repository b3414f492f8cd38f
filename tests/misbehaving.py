"""Drivers that go wrong in one family of scenarios each, for the tests of suite runs."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

from deploy.drivers import make_driver
from roadloop.types import Control, Observation, Scenario

TROUBLE = {
    "lead_vehicle_brake": "raises",
    "cut_in": "hangs",
    "cyclist_ahead": "eats memory",
    "merge": "dies",
    "stop_sign": "is not finite",
}


class Misbehaving:
    """The rule driver, until something goes wrong after half a second."""

    def __init__(self) -> None:
        self._driver = make_driver("route-follower")
        self.name = "misbehaving"
        self.sensors = self._driver.sensors
        self.plan = None
        self._trouble = ""

    def reset(self, scenario: Scenario) -> None:
        self._trouble = TROUBLE.get(scenario.family, "")
        self._driver.reset(scenario)

    def act(self, observation: Observation) -> Control:
        if observation.step == 5:
            if self._trouble == "raises":
                raise KeyError("no such lane\nnowhere")
            if self._trouble == "hangs":
                time.sleep(1000.0)
            if self._trouble == "eats memory":
                hoard = []
                while True:
                    hoard.append(np.ones(2_000_000))
            if self._trouble == "dies":
                os.kill(os.getpid(), signal.SIGSEGV)
            if self._trouble == "is not finite":
                return Control(np.float64("nan"), np.float64(0.0))
        control = self._driver.act(observation)
        self.plan = self._driver.plan
        return control
