"""The options that say who drives, with what senses and how late; shared by drive and score."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import tyro

from roadloop.errors import RoadloopError

if TYPE_CHECKING:
    from roadloop.interfaces import Driver

DEFAULT = "route-follower"
"""who drives where nobody is named"""

Perception = Annotated[str, tyro.conf.arg(metavar="SENSES")]
Latency = Annotated[str, tyro.conf.arg(metavar="S|FILE")]
Settings = Annotated[
    tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="NAME=VALUE")
]


def build_driver(name: str, perception: str, settings: Sequence[str], latency: str) -> Driver:
    """The driver these options ask for. Raises RoadloopError where one of them is wrong."""
    from deploy.drivers import make_driver

    driver = make_driver(name, perception=perception, settings=settings)
    if not latency:
        return driver
    from sim.latency import DelayedDriver, read_latency

    return DelayedDriver(driver, read_latency(latency))


def words(name: str, perception: str, settings: Sequence[str], latency: str) -> str:
    """The options as one would type them; what is the default is left out."""
    typed = [] if name == DEFAULT else ["--driver", name]
    typed += [] if perception == "truth" else ["--perception", perception]
    for setting in settings:
        typed += ["--set", setting]
    typed += ["--latency", latency] if latency else []
    return shlex.join(typed)


def numbers(option: str, settings: Sequence[str]) -> dict[str, float]:
    """``name=number`` words as a mapping."""
    found = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise RoadloopError(f'{option} "{setting}": expected NAME=NUMBER')
    return found
