"""The forecasters by name: what moves where next, as planners and guards are told."""

from __future__ import annotations

from collections.abc import Callable

from perception.kinematic_forecast import ConstantTurnRate, ConstantVelocity
from perception.lane_forecast import LaneFollowing
from roadloop.config import unknown
from roadloop.errors import RoadloopError
from roadloop.interfaces import Forecaster

FORECASTERS: dict[str, str] = {
    "constant-velocity": "everybody goes on as now, blind to the map",
    "constant-turn-rate": "the speed of now along the present bend, which fades",
    "lane-following": "along the lanes and their branches, behind the one ahead, up to red lights",
    "learned": "a network that has seen traffic; learned:PATH is one of your own",
}
"""name -> one line on what it is"""

Builder = Callable[[str], Forecaster]
"""Makes a forecaster of what follows the colon of its name: a path, or nothing."""


def _plain(kind: Callable[[], Forecaster]) -> Builder:
    """A builder of a forecaster that takes nothing."""

    def build(argument: str) -> Forecaster:
        if argument:
            raise RoadloopError(f'this forecaster takes nothing: leave out ":{argument}"')
        return kind()

    return build


def _learned(argument: str) -> Forecaster:
    from perception.learned_forecaster import LearnedForecaster

    return LearnedForecaster(argument)


_BUILDERS: dict[str, Builder] = {
    "constant-velocity": _plain(ConstantVelocity),
    "constant-turn-rate": _plain(ConstantTurnRate),
    "lane-following": _plain(LaneFollowing),
    "learned": _learned,
}


def make_forecaster(name: str = "lane-following") -> Forecaster:
    """A new forecaster: one of `FORECASTERS`, or ``"NAME:PATH"`` for those that take a path.

    Raises RoadloopError for an unknown name, or a path that it does not take.
    """
    kind, _, argument = name.partition(":")
    if kind not in _BUILDERS:
        raise RoadloopError(unknown("forecaster", kind, FORECASTERS))
    return _BUILDERS[kind](argument)
