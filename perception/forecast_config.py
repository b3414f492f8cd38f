"""What the learned forecaster is made of: how far it looks and how large it is; no torch here.

Two configurations come with roadloop, ``configs/forecaster_compact.yaml`` and
``configs/forecaster_full.yaml``; both describe the one class
`perception.forecast_network.ForecastNetwork`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from roadloop.errors import RoadloopError
from roadloop.types import AgentKind

HISTORY_STEP = 0.1
"""s between the steps of the history"""
LONGEST = 8.0
"""s, of forecasts"""


class PieceKind(IntEnum):
    """What a piece of the map is."""

    ROAD = 0
    BIKING = 1
    PAVEMENT = 2
    CROSSWALK = 3


class Demand(IntEnum):
    """What the stop line on a piece of a lane asks for now; DARK: a light off or not seen."""

    DARK = 0
    RED = 1
    RED_YELLOW = 2
    YELLOW = 3
    GREEN = 4
    STOP = 5
    YIELD = 6


HISTORY_FEATURES = 7
"""x, y, cos and sin of the heading, velocity ahead and left, whether it was seen"""
TRAIT_FEATURES = 2 + len(AgentKind)
"""length, width, kind"""
PAIR_FEATURES = 8
"""of one agent seen from another: x, y, cos, sin, relative velocity, distance, nearness"""
PIECE_FEATURES = len(PieceKind) + 5 + len(Demand)
"""kind; in a junction, limit, change left, change right, place of the stop line; what it asks"""


@dataclass(frozen=True)
class ForecastConfig:
    """Size and reach of the network. Defaults: the compact one."""

    agents: int = 32
    """road users that are forecast together, the ego among them"""
    history: int = 11
    """steps of ``HISTORY_STEP``, now included"""
    polylines: int = 64
    """pieces of the map around each agent"""
    points: int = 10
    """of each piece"""
    spacing: float = 2.5
    """m between them, at most"""
    lead: float = 1.0
    """s from now: the pieces are the nearest to where the agent would then be if it went on so"""
    width: int = 96
    """of every token"""
    heads: int = 4
    """of attention"""
    layers: int = 2
    """of the encoder"""
    decoder_layers: int = 2
    modes: int = 6
    """futures of each agent"""
    horizon: float = 6.0
    """s"""
    step: float = 0.5
    """s between points of a forecast"""

    def __post_init__(self) -> None:
        for name in ("agents", "history", "polylines", "width", "heads", "layers",
                     "decoder_layers", "modes"):  # fmt: skip
            if getattr(self, name) < 1:
                raise RoadloopError(f"{name} is {getattr(self, name)}: it must be 1 or more")
        if self.points < 2 or not 0.0 < self.spacing < 100.0 or not 0.0 <= self.lead < 100.0:
            raise RoadloopError(
                f"points is {self.points}, spacing {self.spacing}, lead {self.lead}: expected 2 or "
                "more points, a spacing above 0 m, a time from 0 s"
            )
        if not 0.0 < self.step <= self.horizon <= LONGEST:
            raise RoadloopError(
                f"horizon is {self.horizon}, step {self.step}: expected 0 < step <= horizon <= "
                f"{LONGEST:g} s"
            )
        for name, whole, part in (("horizon", self.horizon, self.step),
                                  ("step", self.step, HISTORY_STEP)):  # fmt: skip
            if abs(whole / part - round(whole / part)) > 1e-6:
                raise RoadloopError(f"{name} is {whole}: it must be a multiple of {part} s")

    @property
    def steps(self) -> int:
        """Points of a forecast; the first is ``step`` s from now."""
        return round(self.horizon / self.step)

    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Shape of every array the network takes for one scene, float32, in order.

        ``history`` and the points of ``map`` are in the frame of their agent, `forecast_inputs`.
        """
        n, p = self.agents, self.polylines
        return {
            "history": (n, self.history, HISTORY_FEATURES),
            "traits": (n, TRAIT_FEATURES),
            "pairs": (n, n, PAIR_FEATURES),
            "agent_valid": (n,),
            "map": (n, p, 2 * self.points + PIECE_FEATURES),
            "map_valid": (n, p),
        }

    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Shape of every array it gives for one scene, float32, in order."""
        n, k, t = self.agents, self.modes, self.steps
        return {
            "position": (n, k, t, 2),
            "scale": (n, k, t, 2),
            "logit": (n, k),
        }
