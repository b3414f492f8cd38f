"""What is done to moments that a forecaster learns from: other worlds, and what trackers get wrong.

The simulator's world is one of many. Mirrored it drives on the other side of the road, scaled it is
faster and wider or slower and narrower, and maps made elsewhere say less.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from perception.forecast_config import PIECE_FEATURES, PieceKind
from perception.forecast_inputs import LIMIT, MapPieces
from roadloop.errors import RoadloopError
from roadloop.types import AgentStates
from training.forecast_motion import Scene

Array = np.ndarray

USUAL = 50.0 / 3.6
"""m/s, the limit of a map that has none"""
_LIMIT = len(PieceKind) + 1
"""column of the limit; those of changes to the left and right, then of stop lines follow"""


@dataclass(frozen=True)
class ForecastAugmentation:
    """What may be wrong with what is seen; shares are probabilities."""

    noisy: float = 0.5
    """of a moment whose tracks are noisy, each track more or less so, at most with ..."""
    position: float = 0.2
    """m, standard deviation at each step, and as much again that stays"""
    velocity: float = 0.4
    """m/s"""
    heading: float = 0.04
    """rad"""
    short: float = 0.25
    """of an agent that has been seen for less than the whole history"""
    gap: float = 0.03
    """of a step in it that was missed"""
    missed: float = 0.05
    """of an agent that is not seen at all"""
    dark: float = 0.2
    """of a moment whose lights nobody sees"""
    unmapped: float = 0.02
    """of a moment without a map"""
    plain: float = 0.3
    """of a moment whose map knows no limits, no lane changes, no stop lines"""
    unpaved: float = 0.3
    """of a moment whose map knows no pavements"""
    mirrored: float = 0.5
    """of a moment with left and right exchanged"""
    scaled: float = 0.5
    """of a moment that is larger and faster, or smaller and slower, at most by the factor ..."""
    scale: float = 1.4

    def __post_init__(self) -> None:
        for name in ("noisy", "short", "gap", "missed", "dark", "unmapped", "plain", "unpaved",
                     "mirrored", "scaled"):  # fmt: skip
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise RoadloopError(f"{name} is {getattr(self, name)}: a share is from 0 to 1")
        for name in ("position", "velocity", "heading"):
            if not 0.0 <= getattr(self, name) < 100.0:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be 0 or more")
        if not 1.0 <= self.scale < 10.0:
            raise RoadloopError(f"scale is {self.scale}: expected a factor from 1 up")


def augmented(
    scene: Scene, augmentation: ForecastAugmentation, rng: np.random.Generator
) -> tuple[Scene, AgentStates]:
    """A moment as it is elsewhere, and what a tracker sees of its past."""
    a = augmentation
    past = worse(scene.past, a, rng)
    dark, unmapped, plain, unpaved, mirrored, scaled = rng.random(6)
    factor = math.exp(rng.uniform(-1.0, 1.0) * math.log(a.scale)) if scaled < a.scaled else 1.0
    left = -1.0 if mirrored < a.mirrored else 1.0
    pieces = scene.pieces
    if unmapped < a.unmapped:
        pieces = _kept(pieces, np.zeros(len(pieces.points), bool))
    if unpaved < a.unpaved:
        pieces = _kept(pieces, pieces.features[:, PieceKind.PAVEMENT] == 0.0)
    if plain < a.plain:
        pieces = _plain(pieces)
    scene = dataclasses.replace(
        scene,
        past=_elsewhere(scene.past, factor, left),
        future_x=scene.future_x * factor,
        future_y=scene.future_y * factor * left,
        x=scene.x * factor,
        y=scene.y * factor * left,
        pieces=_pieces_elsewhere(pieces, factor, left),
        lights=None if dark < a.dark else scene.lights,
    )
    return scene, _elsewhere(past, factor, left)


def _elsewhere(states: AgentStates, factor: float, left: float) -> AgentStates:
    """In a world larger by a factor; ``left`` -1: mirrored. Road users keep their size."""
    return dataclasses.replace(
        states,
        x=states.x * factor,
        y=states.y * (factor * left),
        vx=states.vx * factor,
        vy=states.vy * (factor * left),
        heading=states.heading * left,
    )


def _pieces_elsewhere(pieces: MapPieces, factor: float, left: float) -> MapPieces:
    features = pieces.features.copy()
    features[:, _LIMIT] *= factor
    if left < 0.0:
        sides = slice(_LIMIT + 1, _LIMIT + 3)
        features[:, sides] = features[:, sides][:, ::-1].copy()
    return MapPieces(pieces.points * [factor, factor * left], features, pieces.signal)


def _kept(pieces: MapPieces, rows: Array) -> MapPieces:
    return MapPieces(pieces.points[rows], pieces.features[rows], pieces.signal[rows])


def _plain(pieces: MapPieces) -> MapPieces:
    """Where lanes are, and no more."""
    features = pieces.features.copy()
    features[:, _LIMIT + 1 : PIECE_FEATURES] = 0.0
    drives = features[:, [PieceKind.ROAD, PieceKind.BIKING]].any(1)
    features[drives, _LIMIT] = USUAL / LIMIT
    return MapPieces(pieces.points, features, np.full_like(pieces.signal, -1))


def worse(
    past: AgentStates, augmentation: ForecastAugmentation, rng: np.random.Generator
) -> AgentStates:
    """(history, A) as a tracker may see it; at least one road user stays."""
    a = augmentation
    steps, count = past.valid.shape
    valid = past.valid.copy()
    seen_for = np.where(rng.random(count) < a.short, rng.integers(1, steps + 1, count), steps)
    valid &= np.arange(steps)[:, None] >= steps - seen_for
    valid[:-1] &= rng.random((steps - 1, count)) >= a.gap
    missed = rng.random(count) < a.missed
    missed[rng.permutation(np.flatnonzero(past.valid[-1]))[:1]] = False
    valid &= ~missed
    changed: dict[str, Array] = {"valid": valid}
    level = rng.random(count) * (rng.random() < a.noisy)
    for key, size in (("x", a.position), ("y", a.position), ("vx", a.velocity),
                      ("vy", a.velocity), ("heading", a.heading)):  # fmt: skip
        noise = rng.standard_normal((steps, count)) + rng.standard_normal(count)
        changed[key] = getattr(past, key) + size * level * noise
    return dataclasses.replace(past, **changed)
