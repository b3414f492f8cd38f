"""What is to be seen: actors, lamps and weather of one moment, for a batch of worlds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

import numpy as np

from roadloop.weather import Weather

Array = np.ndarray

PALETTE = 4
"""colours of an actor: 0 paint or coat, 1 second paint or trousers, 2 skin, 3 hair or helmet"""


class Lamp(IntFlag):
    """Lamps of an actor that are lit."""

    HEADLIGHT = 1
    BRAKE = 2
    INDICATOR_LEFT = 4
    INDICATOR_RIGHT = 8


@dataclass(frozen=True)
class Actors:
    """Road users as they are drawn; fields ``(worlds, actors, ...)``, row 0 is the ego."""

    id: Array
    """int32, what instance images hold"""
    model: Array
    """int32, index into sim.actors.models.MODELS; -1: not there"""
    world_from_actor: Array
    """(..., 4, 4) float64, pose of the box frame (ground under the box centre)"""
    previous_world_from_actor: Array
    """(..., 4, 4) float64, one step before; the same where it was not there"""
    scale: Array
    """(..., 3) float32, the box's length, width, height over the model's"""
    palette: Array
    """(..., PALETTE, 3) float32 linear RGB"""
    lamps: Array
    """uint8 Lamp bits"""
    velocity: Array
    """(..., 3) float32, m/s, world frame"""


@dataclass(frozen=True)
class Frame:
    """One moment of all worlds of a batch, on one map."""

    actors: Actors
    lights: Array
    """(worlds, signals) uint8 LightState"""
    weather: tuple[Weather, ...]
    """(worlds,)"""
    time: Array
    """(worlds,) float64, s since each world's start"""
