"""Who drives the simulator's background traffic, by name."""

from __future__ import annotations

from roadloop.config import unknown
from roadloop.errors import RoadloopError
from roadloop.interfaces import Forecaster

RULES = "rules"
TRAFFIC: dict[str, str] = {
    RULES: "the simulator's own: IDM, MOBIL, right of way",
    "lane-following": "everybody does what the lane-following forecaster holds most probable",
    "learned": "likewise the learned forecaster; learned:PATH is one of your own",
}
"""name -> one line on what it is"""


def make_traffic(name: str = RULES) -> Forecaster | None:
    """The forecaster that leads the traffic (`sim.forecast_traffic`), None for the built-in rules.

    Raises RoadloopError for an unknown name, or one that takes no path and is given one.
    """
    kind, _, path = name.partition(":")
    if kind not in TRAFFIC:
        raise RoadloopError(unknown("traffic", kind, TRAFFIC))
    if kind == RULES:
        if path:
            raise RoadloopError(f'the traffic "{RULES}" takes nothing: leave out ":{path}"')
        return None
    if kind == "learned":
        from perception.learned_forecaster import LearnedForecaster

        return LearnedForecaster(path, everybody=True)
    from perception.forecaster import make_forecaster

    return make_forecaster(name)
