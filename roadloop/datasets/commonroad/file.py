"""CommonRoad XML files opened: every fault is said with the file and the line."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roadloop.datasets.source import read_bytes
from roadloop.errors import RoadloopError

Array = np.ndarray
Element = Any
"""an lxml element"""

VERSIONS = ("2018b", "2020a")


@dataclass(frozen=True)
class CommonRoadFile:
    """One file, parsed."""

    path: Path
    root: Element
    content_hash: str
    """hex SHA-256 of its bytes"""

    def fault(self, element: Element, what: str) -> RoadloopError:
        """The error that says what is wrong with an element, and where it is."""
        name = f"{element.tag} {element.get('id')}" if element.get("id") else element.tag
        return RoadloopError(f"{self.path}, line {element.sourceline}: {name} {what}")

    def text(self, element: Element, path: str) -> str:
        """The text of a child; empty where there is none."""
        found = element.find(path)
        return (found.text or "").strip() if found is not None else ""

    def number(self, element: Element, path: str) -> float:
        """The number in a child."""
        found = element.find(path)
        if found is None:
            raise self.fault(element, f"has no {path}")
        return self.value(found, found.text)

    def value(self, element: Element, text: str | None) -> float:
        """The number an element writes as ``text``."""
        try:
            number = float(text or "")
        except ValueError:
            raise self.fault(element, f"is {text!r}, not a number") from None
        if not np.isfinite(number):
            raise self.fault(element, f"is {text!r}, not a finite number")
        return number

    def measured(self, element: Element, name: str) -> float | None:
        """A quantity of a state, exact or the middle of its interval; None where it is missing."""
        found = element.find(name)
        if found is None:
            return None
        if found.find("exact") is not None:
            return self.number(found, "exact")
        ends = self.number(found, "intervalStart"), self.number(found, "intervalEnd")
        return (ends[0] + ends[1]) / 2.0

    def points(self, element: Element) -> Array:
        """(n, 3) of its ``point`` children, z 0 where it is not given."""
        found = [
            [self.number(p, "x"), self.number(p, "y"), self._height(p)]
            for p in element.iterfind("point")
        ]
        return np.array(found, float).reshape(-1, 3)

    def _height(self, point: Element) -> float:
        z = point.find("z")
        return 0.0 if z is None else self.value(z, z.text)

    @property
    def benchmark_id(self) -> str:
        """As the file states it; several files may share one."""
        return self.root.get("benchmarkID") or self.path.stem


def read_commonroad(path: Path) -> CommonRoadFile:
    """A CommonRoad file of version 2018b or 2020a.

    Raises RoadloopError for broken XML (with the line), another root or version, ids used twice,
    and references to lanelets, signs and lights that are not there.
    """
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    content = read_bytes(path)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True)
    try:
        root = etree.fromstring(content, parser)
    except etree.XMLSyntaxError as error:
        line = error.lineno or 1
        raise RoadloopError(
            f"{path}, line {line}: broken XML: {str(error.msg).splitlines()[0]}"
        ) from None
    file = CommonRoadFile(path, root, hashlib.sha256(content).hexdigest())
    version = root.get("commonRoadVersion")
    if root.tag != "commonRoad" or version not in VERSIONS:
        raise file.fault(
            root, f"of version {version!r} is no CommonRoad scenario of {' or '.join(VERSIONS)}"
        )
    _check_references(file)
    return file


def _check_references(file: CommonRoadFile) -> None:
    """Every reference leads somewhere.

    Ids of planning problems are left alone: published scenarios share them with obstacles.
    """
    known: dict[str, set[str]] = {}
    for kind in ("lanelet", "trafficSign", "trafficLight"):
        ids: set[str] = set()
        for element in file.root.iterfind(kind):
            identity = element.get("id")
            if not identity or identity in ids:
                raise file.fault(element, "has no id of its own")
            ids.add(identity)
        known[kind] = ids
    to = {"trafficSignRef": "trafficSign", "trafficLightRef": "trafficLight"}
    lanelets = ("predecessor", "successor", "adjacentLeft", "adjacentRight")
    lanelets += ("incomingLanelet", "successorsLeft", "successorsStraight", "successorsRight")
    lanelets += ("crossingLanelet",)
    for owner in (*file.root.iterfind("lanelet"), *file.root.iterfind("intersection")):
        for element in owner.iter(*to, *lanelets):
            kind = to.get(element.tag, "lanelet")
            if element.get("ref") not in known[kind]:
                raise file.fault(
                    owner,
                    f"names the {kind} {element.get('ref')} as {element.tag} (line "
                    f"{element.sourceline}), which is not in the file; remove the reference",
                )
