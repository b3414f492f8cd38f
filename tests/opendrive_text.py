"""A tiny OpenDRIVE writer for tests: one function per element, each giving its text."""

from __future__ import annotations

import numpy as np

from roadloop.maps.opendrive import read_opendrive
from roadloop.maps.road_map import RoadMap

WIDTH = '<width sOffset="0" a="3.5" b="0" c="0" d="0"/>'


def lane(number: int, inside: str = WIDTH, kind: str = "driving", extra: str = "") -> str:
    return f'<lane id="{number}" type="{kind}" level="false" {extra}>{inside}</lane>'


def section(lanes: dict[int, str], s: float = 0.0, centre: str = "") -> str:
    left = "".join(text for number, text in lanes.items() if number > 0)
    right = "".join(text for number, text in lanes.items() if number < 0)
    sides = f"<left>{left}</left>" if left else ""
    sides += f'<center><lane id="0" type="none">{centre}</lane></center>'
    return (
        f'<laneSection s="{s}">{sides}'
        + (f"<right>{right}</right>" if right else "")
        + ("</laneSection>")
    )


TWO_WAY = section({1: lane(1), -1: lane(-1)})


def geometry(shape: str, length: float, pose: tuple[float, float, float] = (0, 0, 0)) -> str:
    x, y, heading = pose
    return (
        f'<planView><geometry s="0" x="{x}" y="{y}" hdg="{heading}" length="{length}">{shape}'
        "</geometry></planView>"
    )


def road(
    lanes: str = TWO_WAY, *, number: str = "1", length: float = 100.0, shape: str = "<line/>",
    pose: tuple[float, float, float] = (0, 0, 0), link: str = "", junction: str = "-1",
    before: str = "", inside: str = "", rule: str = "RHT", kind: str = "",
) -> str:  # fmt: skip
    return (
        f'<road id="{number}" length="{length}" junction="{junction}" rule="{rule}">'
        f"<link>{link}</link>{kind}{geometry(shape, length, pose)}{before}"
        f"<lanes>{inside if '<laneOffset' in inside else ''}{lanes}</lanes>"
        f"{'' if '<laneOffset' in inside else inside}</road>"
    )


def document(*elements: str) -> bytes:
    header = '<header revMajor="1" revMinor="6"><geoReference>+proj=tmerc</geoReference></header>'
    return f"<?xml version='1.0'?>\n<OpenDRIVE>{header}{''.join(elements)}</OpenDRIVE>".encode()


def row(road_map: RoadMap, number: int, road_id: str = "1", index: int = 0) -> int:
    (found,) = np.flatnonzero(
        (road_map.lane_road == road_id)
        & (road_map.lane_number == number)
        & (road_map.lane_section == index)
    )
    return int(found)


def points(road_map: RoadMap, lane_row: int) -> np.ndarray:
    return road_map.point_xyz[road_map.points_of(lane_row)]


def linked(number: int, before: int | None = None, after: int | None = None) -> str:
    link = "" if before is None else f'<predecessor id="{before}"/>'
    link += "" if after is None else f'<successor id="{after}"/>'
    return lane(number, f"<link>{link}</link>{WIDTH}")


def road_link(tag: str, target: str, contact: str) -> str:
    return f'<{tag} elementType="road" elementId="{target}" contactPoint="{contact}"/>'


def junction_link(tag: str, target: str) -> str:
    return f'<{tag} elementType="junction" elementId="{target}"/>'


def junction_map(contact: str, signals: str = "", approach: str = "", extra: str = "") -> RoadMap:
    """Road 1 into junction 7, connecting road 5 (from its start or end), road 2 out of it."""
    one_way = section({-1: lane(-1)})
    first = road(one_way, link=junction_link("successor", "7"), inside=approach,
                 kind='<type s="0" type="town"><speed max="36" unit="km/h"/></type>')  # fmt: skip
    if contact == "start":
        number, pose = -1, (100, 0, 0)
        link = road_link("predecessor", "1", "end") + road_link("successor", "2", "start")
        lanes = section({-1: linked(-1, -1, -1)})
    else:  # the connecting road runs against traffic, which drives on its lane 1
        number, pose = 1, (120, 0, np.pi)
        link = road_link("predecessor", "2", "start") + road_link("successor", "1", "end")
        lanes = section({1: linked(1, -1, -1)})
    connecting = road(lanes, number="5", length=20, pose=pose, link=link, junction="7",
                      inside=signals)  # fmt: skip
    last = road(one_way, number="2", pose=(120, 0, 0), link=junction_link("predecessor", "7"))
    junction = (
        f'<junction id="7"><connection id="0" incomingRoad="1" connectingRoad="5" '
        f'contactPoint="{contact}"><laneLink from="-1" to="{number}"/></connection>'
        '<priority high="5" low="1"/><controller id="c"/></junction>'
    )
    controllers = (
        '<controller id="other"><control signalId="9"/></controller>'
        '<controller id="c"><control signalId="L"/></controller>'
    )
    return read_opendrive(document(first, connecting, last, controllers, junction, extra))
