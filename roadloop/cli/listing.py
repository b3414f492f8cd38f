"""``roadloop list``: what there is by name."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roadloop.weather import Weather


@dataclass(frozen=True)
class List:
    """List the scenarios, suites, drivers, generated maps, sensor rigs and weathers.

    Example: roadloop list
    """

    json: bool = False
    """print one JSON object and nothing else"""

    def run(self) -> int:
        from deploy.drivers import DRIVERS
        from roadloop.maps.generate import GENERATORS
        from roadloop.rig import load_rig, rig_names
        from roadloop.weather import WEATHERS
        from sim.scenarios import FAMILIES
        from sim.suite import suite_descriptions

        listing = {
            "scenarios": {name: family.description for name, family in FAMILIES.items()},
            "suites": suite_descriptions(),
            "drivers": dict(DRIVERS),
            "maps": dict(GENERATORS),
            "rigs": {name: load_rig(name).description for name in rig_names()},
            "weathers": {name: _facts(weather) for name, weather in WEATHERS.items()},
        }
        if self.json:
            print(json.dumps(listing, indent=2))
            return 0
        width = 2 + max(len(name) for part in listing.values() for name in part)
        titles = (
            "scenarios (roadloop drive NAME)",
            "suites (roadloop score NAME)",
            "drivers (--driver NAME; also policy:DIR and MODULE:FUNCTION)",
            "maps (roadloop map generate:NAME)",
            "rigs (roadloop view NAME)",
            "weathers (--weather NAME)",
        )
        for title, part in zip(titles, listing.values()):
            print(title)
            for name, description in part.items():
                print(f"  {name:{width}}{description}")
        return 0


def _facts(weather: Weather) -> str:
    """A weather in a few words."""
    sun = math.degrees(weather.sun_elevation)
    facts = [f"sun {abs(sun):.0f} deg {'above' if sun >= 0 else 'below'} the horizon"]
    facts.append(f"clouds {weather.clouds:.0%}, visibility {weather.visibility:.0f} m")
    facts += [f"rain {weather.rain:g} mm/h"] if weather.rain else []
    facts += [f"ground wet {weather.wetness:.0%}"] if weather.wetness else []
    facts += [f"snow on {weather.snow:.0%}"] if weather.snow else []
    return ", ".join(facts)
