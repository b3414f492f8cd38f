"""``roadloop list``: what there is by name."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class List:
    """List the scenarios, suites, drivers and families of generated maps.

    Example: roadloop list
    """

    json: bool = False
    """print one JSON object and nothing else"""

    def run(self) -> int:
        from deploy.stack import DRIVERS
        from roadloop.maps.generate import GENERATORS
        from sim.scenarios import FAMILIES
        from sim.suite import suite_descriptions

        listing = {
            "scenarios": {name: family.description for name, family in FAMILIES.items()},
            "suites": suite_descriptions(),
            "drivers": dict(DRIVERS),
            "maps": dict(GENERATORS),
        }
        if self.json:
            print(json.dumps(listing, indent=2))
            return 0
        width = 2 + max(len(name) for part in listing.values() for name in part)
        titles = (
            "scenarios (roadloop drive NAME)",
            "suites (roadloop score NAME)",
            "drivers (--driver NAME)",
            "maps (roadloop map generate:NAME)",
        )
        for title, part in zip(titles, listing.values()):
            print(title)
            for name, description in part.items():
                print(f"  {name:{width}}{description}")
        return 0
