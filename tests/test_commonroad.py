"""CommonRoad: states, shapes, light cycles, signs and lanelets; the ego; bad files by line."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from roadloop.datasets.commonroad import reader as commonroad
from roadloop.datasets.commonroad.file import read_commonroad
from roadloop.datasets.commonroad.map import read_commonroad_map
from roadloop.datasets.commonroad.obstacles import obstacles
from roadloop.datasets.commonroad.signals import light_cycle
from roadloop.datasets.commonroad.signs import sign_speed
from roadloop.datasets.formats import list_drives, open_recording
from roadloop.errors import RoadloopError
from roadloop.geometry import box_corners
from roadloop.maps.compile_draft import compile_map
from roadloop.maps.road_map import LaneKind, MarkKind, SignalKind
from roadloop.types import AgentKind, LightState

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "commonroad"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/commonroad")


def points(line) -> str:
    return "".join(f"<point><x>{x}</x><y>{y}</y></point>" for x, y in line)


def lanelet(key: int, x: tuple[float, float], y: float, inside: str = "", mark: str = "") -> str:
    """A lanelet 4 m wide along y, from x to x."""
    marking = f"<lineMarking>{mark}</lineMarking>" if mark else ""
    left, right = (points([(x[0], y + s), (x[1], y + s)]) for s in (2, -2))
    return (
        f'<lanelet id="{key}"><leftBound>{left}{marking}</leftBound>'
        f"<rightBound>{right}</rightBound>{inside}</lanelet>"
    )


def state(
    tag: str, step: int, x: float, y: float, heading: float = 0.0, speed: float = 10.0
) -> str:
    return (
        f"<{tag}><position>{points([(x, y)])}</position><orientation><exact>{heading}</exact>"
        f"</orientation><time><exact>{step}</exact></time><velocity><exact>{speed}</exact>"
        f"</velocity></{tag}>"
    )


def obstacle(key: int, kind: str, states: list[str], shape: str = "", role: str = "") -> str:
    shape = shape or "<rectangle><length>4.0</length><width>2.0</width></rectangle>"
    trajectory = "".join(states[1:])
    tag = "obstacle" if role else "dynamicObstacle"
    return (
        f'<{tag} id="{key}">{f"<role>{role}</role>" if role else ""}<type>{kind}</type>'
        f"<shape>{shape}</shape>{states[0]}"
        + (f"<trajectory>{trajectory}</trajectory>" if trajectory else "")
        + f"</{tag}>"
    )


def drive(key: int, kind: str, speed: float, y: float, steps: int = 11, start: int = 0) -> str:
    """Along x at a speed, 0.1 s a step."""
    states = [
        state("initialState" if k == 0 else "state", start + k, 0.1 * speed * k, y, 0.0, speed)
        for k in range(steps)
    ]
    return obstacle(key, kind, states)


ROAD = (
    lanelet(1, (0, 50), 0, '<successor ref="2"/><adjacentLeft ref="3" drivingDir="same"/>', "solid")
    + lanelet(2, (50, 90), 0, '<predecessor ref="1"/>')
    + lanelet(3, (0, 50), 4, '<adjacentRight ref="1" drivingDir="same"/>')
)


def written(tmp_path: Path, body: str, name: str = "ZAM_Test-1_1_T-1.xml", version="2020a") -> Path:
    path = tmp_path / name
    path.write_text(
        '<?xml version="1.0"?>\n'
        f'<commonRoad timeStepSize="0.1" commonRoadVersion="{version}" benchmarkID="ZAM_Test-1_1"'
        f' source="by hand" date="2026-01-01">\n{body}\n</commonRoad>\n'
    )
    return path


# --- obstacles ----------------------------------------------------------------------------------


def test_the_car_that_drives_furthest_is_the_ego(tmp_path: Path) -> None:
    body = ROAD + drive(7, "car", 8.0, 0.0) + drive(9, "truck", 20.0, 4.0)
    body += drive(11, "car", 12.0, 4.0, steps=9, start=1) + drive(5, "bicycle", 3.0, -3.0)
    path = written(tmp_path, body)
    recording = open_recording(tmp_path)
    # 9.6 m in 8 steps are more than 8 m in 10
    assert recording.about["ego"] == "obstacle 11 (car)"
    assert recording.source_id.tolist() == ["7", "9", "5"]
    assert len(recording) == 9 and recording.about["start_us"] == 100_000
    assert any("steps 1 to 9 of 0 to 10" in note for note in recording.notes)
    vehicle = recording.ego.vehicle
    assert vehicle.length == 4.0 and vehicle.centre_offset == pytest.approx(1.2)
    assert np.allclose(recording.ego.box_centre()[0], 1.2 * np.arange(9))
    assert np.allclose(recording.ego.x, 1.2 * np.arange(9) - 1.2)
    agents = recording.agents
    assert agents is not None and agents.valid.all()
    assert np.allclose(agents.x[:, 0], 0.8 * np.arange(1, 10)) and np.allclose(agents.vx[:, 1], 20)
    assert agents.kind[0].tolist() == [AgentKind.CAR, AgentKind.TRUCK, AgentKind.CYCLIST]
    assert agents.id[0].tolist() == [1, 2, 3]
    pickle.loads(pickle.dumps(recording.load_map))()
    # of equals the lowest id
    written(tmp_path, ROAD + drive(10, "car", 8.0, 0.0) + drive(9, "car", 8.0, 4.0))
    assert commonroad.open_drive(path, path.stem).about["ego"] == "obstacle 9 (car)"


def test_shapes_are_boxes_about_their_centre(tmp_path: Path) -> None:
    turned = (
        "<rectangle><length>4</length><width>2</width><orientation>0.5</orientation>"
        "<center><x>1</x><y>2</y></center></rectangle>"
    )
    shapes = {
        1: "<circle><radius>0.4</radius></circle>",
        2: turned,
        3: f"<polygon>{points([(0, 0), (3, 0), (3, 1), (0, 1)])}</polygon>",
    }
    here = [state("initialState", 0, 10, 20, np.pi / 2), state("state", 1, 10, 21, np.pi / 2)]
    body = ROAD + "".join(obstacle(k, "car", here, shape) for k, shape in shapes.items())
    circle, rectangle, polygon = obstacles(read_commonroad(written(tmp_path, body)))[0]
    assert (circle.length, circle.width) == (0.8, 0.8)
    assert (rectangle.length, rectangle.width) == (4.0, 2.0)
    # the shape's own frame is turned by 90 degrees: (1, 2) forward, left is (-2, 1) in the world
    assert np.allclose([rectangle.x[0], rectangle.y[0]], [8.0, 21.0])
    assert rectangle.heading[0] == pytest.approx(np.pi / 2 + 0.5)
    assert (polygon.length, polygon.width) == (3.0, 1.0)
    assert np.allclose([polygon.x[0], polygon.y[0]], [9.5, 21.5])


def test_sets_intervals_and_static_obstacles(tmp_path: Path) -> None:
    centre = "<center><x>{}</x><y>1</y></center>"
    box = f"<rectangle><length>6</length><width>3</width>{centre}</rectangle>"
    sets = "".join(
        f"<occupancy><shape>{box.format(5 + k)}</shape><time><exact>{k}</exact></time></occupancy>"
        for k in range(1, 11)
    )
    by_sets = obstacle(3, "car", [state("initialState", 0, 5, 1)]).replace(
        "</dynamicObstacle>", f"<occupancySet>{sets}</occupancySet></dynamicObstacle>"
    )
    vague = "<initialState><position>{}</position>{}<time><exact>0</exact></time></initialState>"
    angle = "<intervalStart>0.1</intervalStart><intervalEnd>0.3</intervalEnd>"
    angle = f"<orientation>{angle}</orientation>"
    static = (
        '<staticObstacle id="8"><type>parkedVehicle</type><shape><circle><radius>1</radius>'
        f"</circle></shape>{vague.format(points([(30, -3)]), angle)}</staticObstacle>"
    )
    ghost = '<phantomObstacle id="4"/><environmentObstacle id="5"/>'
    path = written(tmp_path, ROAD + drive(7, "car", 8.0, 0.0) + by_sets + static + ghost)
    recording = commonroad.open_drive(path, path.stem)
    agents = recording.agents
    assert agents is not None and recording.source_id.tolist() == ["3", "8"]
    assert np.allclose(agents.x[:, 0], 5.0 + np.arange(11)) and np.allclose(agents.vx[:, 0], 10.0)
    assert agents.kind[0].tolist() == [AgentKind.CAR, AgentKind.STATIC]
    assert agents.valid[:, 1].all() and np.allclose(agents.heading[:, 1], 0.2)
    assert not agents.vx[:, 1].any()
    notes = " ".join(recording.notes)
    assert "1 road users known by the sets" in notes and "1 phantomObstacle" in notes


def test_the_older_format_and_its_speed_limits(tmp_path: Path) -> None:
    states = [state("initialState", 0, 0, 0), *(state("state", k, k, 0) for k in range(1, 6))]
    body = ROAD.replace(
        '<successor ref="2"/>', '<successor ref="2"/><speedLimit>13.88</speedLimit>'
    )
    body += obstacle(12, "car", states, role="dynamic")
    body += obstacle(13, "unknown", [state("initialState", 0, 9, 9)], role="static")
    path = written(tmp_path, body, version="2018b")
    recording = commonroad.open_drive(path, path.stem)
    assert recording.about["version"] == "2018b" and recording.category.tolist() == ["unknown"]
    road_map = recording.road_map
    assert road_map is not None
    limits = dict(zip(road_map.lane_id.tolist(), road_map.lane_speed_limit, strict=True))
    assert limits["1"] == pytest.approx(13.88)


def test_the_planning_problem_is_kept(tmp_path: Path) -> None:
    problem = (
        f'<planningProblem id="7">{state("initialState", 0, 1, 2, 0.1, 9.0)}<goalState><time>'
        "<intervalStart>20</intervalStart><intervalEnd>30</intervalEnd></time>"
        '<position><lanelet ref="2"/></position></goalState></planningProblem>'
    )
    path = written(tmp_path, ROAD + drive(7, "car", 8.0, 0.0) + problem)
    about = commonroad.open_drive(path, path.stem).about
    assert about["planning_problem"] == {
        "id": "7",
        "initial_state": {"position": [1.0, 2.0], "orientation": 0.1, "time": 0.0, "velocity": 9.0},
        "goals": [{"time": [20.0, 30.0], "lanelets": ["2"]}],
    }


# --- maps ---------------------------------------------------------------------------------------


def test_lanelets_with_signs_marks_and_kinds(tmp_path: Path) -> None:
    def sign(key: int, code: str, value: str = "", more: str = "") -> str:
        stated = f"<additionalValue>{value}</additionalValue>" if value else ""
        return (
            f'<trafficSign id="{key}"><trafficSignElement><trafficSignID>{code}</trafficSignID>'
            f"{stated}</trafficSignElement>{more}</trafficSign>"
        )

    stop = f"<stopLine>{points([(40, 2), (40, -2)])}<lineMarking>solid</lineMarking></stopLine>"
    body = (
        lanelet(
            1, (0, 50), 0,
            f'<laneletType>urban</laneletType>{stop}<trafficSignRef ref="21"/>'
            '<trafficSignRef ref="22"/>', "broad_dashed",
        )
        + lanelet(2, (0, 50), 4, "<laneletType>sidewalk</laneletType>")
        + lanelet(3, (0, 50), 8, "<userOneWay>bicycle</userOneWay>")
        + lanelet(4, (0, 50), 12, "<userBidirectional>car</userBidirectional>")
        + lanelet(5, (20, 24), 0, "<laneletType>crosswalk</laneletType>")
        + lanelet(6, (60, 90), 0, "<laneletType>interstate</laneletType>")
        + sign(21, "274", "50kmh", "<virtual>true</virtual>")
        + sign(22, "206", "", f"<position>{points([(39, -3)])}</position>")
    )  # fmt: skip
    draft = read_commonroad_map(written(tmp_path, body))
    kinds = {lane.id: lane.kind for lane in draft.lanes}
    assert kinds == {
        "1": LaneKind.DRIVING, "2": LaneKind.SIDEWALK, "3": LaneKind.BIKING,
        "4": LaneKind.BIDIRECTIONAL, "6": LaneKind.DRIVING,
    }  # fmt: skip
    limits = {lane.id: lane.speed_limit for lane in draft.lanes}
    assert limits["1"] == pytest.approx(50 / 3.6) and limits["6"] == pytest.approx(130 / 3.6)
    assert len(draft.crosswalks) == 1
    assert [(m.kind, m.width) for m in draft.marks] == [
        (MarkKind.BROKEN, 0.25), (MarkKind.SOLID, 0.5),
    ]  # fmt: skip
    (signal,) = draft.signals  # the virtual one is not there
    assert signal.kind == SignalKind.STOP and signal.xyz == (39.0, -3.0, 0.0)
    ((lane, s),) = signal.stops
    assert lane == "1" and s == pytest.approx(40.0)


def test_neighbours_and_who_may_change(tmp_path: Path) -> None:
    road_map = compile_map(read_commonroad_map(written(tmp_path, ROAD)))
    rows = {name: k for k, name in enumerate(road_map.lane_id.tolist())}
    assert (
        road_map.lane_left[rows["1"]] == rows["3"] and road_map.lane_right[rows["3"]] == rows["1"]
    )
    assert not road_map.lane_change_left[rows["1"]] and road_map.lane_change_right[rows["3"]]
    assert road_map.successors_of(rows["1"]).tolist() == [rows["2"]]
    assert np.allclose(road_map.point_width, 4.0)


def crossing(light: str = "", signs: tuple[str, str] = ("", "")) -> str:
    """Lanelet 1 along x and 4 along y cross: 2 straight on and 3 to the left; 5 straight on."""
    bend = [(50, 0), (56, 2), (60, 10)]
    left = (
        f'<lanelet id="3"><leftBound>{points([(x - 1.5, y + 1.5) for x, y in bend])}</leftBound>'
        f"<rightBound>{points([(x + 1.5, y - 1.5) for x, y in bend])}</rightBound></lanelet>"
    )
    upright = "".join(
        f'<lanelet id="{key}"><leftBound>{points([(58, a), (58, b)])}</leftBound><rightBound>'
        f"{points([(62, a), (62, b)])}</rightBound>{inside}</lanelet>"
        for key, a, b, inside in (
            (4, -40, -10, f'<successor ref="5"/>{signs[1]}'),
            (5, -10, 10, ""),
        )
    )
    return (
        lanelet(1, (0, 50), 0, f'<successor ref="2"/><successor ref="3"/>{light}{signs[0]}')
        + lanelet(2, (50, 90), 0)
        + left
        + upright
        + '<intersection id="30"><incoming id="31"><incomingLanelet ref="1"/>'
        '<successorsStraight ref="2"/><successorsLeft ref="3"/><isLeftOf ref="32"/></incoming>'
        '<incoming id="32"><incomingLanelet ref="4"/><successorsStraight ref="5"/></incoming>'
        "</intersection>"
    )


def cycle(direction: str, offset: int = 0) -> str:
    parts = "".join(
        f"<cycleElement><duration>{n}</duration><color>{colour}</color></cycleElement>"
        for n, colour in ((4, "green"), (2, "yellow"), (5, "red"), (1, "redYellow"))
    )
    return (
        f'<trafficLight id="20"><cycle>{parts}<timeOffset>{offset}</timeOffset></cycle>'
        f"<direction>{direction}</direction><active>true</active></trafficLight>"
    )


@pytest.mark.parametrize(
    ("direction", "stops"),
    [
        ("all", {("1", None)}),
        ("left", {("3", 0.0)}),
        ("straightRight", {("2", 0.0)}),
        ("leftStraight", {("1", None)}),
        ("right", {("1", None)}),  # a turn nobody has: it stands for all rather than for none
    ],
)
def test_a_light_governs_the_turns_it_stands_for(tmp_path, direction, stops) -> None:
    body = crossing('<trafficLightRef ref="20"/>') + cycle(direction)
    draft = read_commonroad_map(written(tmp_path, body))
    assert set(draft.signals[0].stops) == stops
    inside = {lane.id: lane.junction for lane in draft.lanes if lane.in_junction}
    assert inside == dict.fromkeys(("2", "3", "5"), "intersection 30")


@pytest.mark.parametrize("offset", [0, 3, 12, 1003])
def test_lights_go_through_their_cycle(tmp_path: Path, offset: int) -> None:
    file = read_commonroad(written(tmp_path, crossing() + cycle("all", offset)))
    element = file.root.find("trafficLight")
    shown = light_cycle(file, element, np.arange(2000))
    once = [LightState.GREEN] * 4 + [LightState.YELLOW] * 2 + [LightState.RED] * 5
    once += [LightState.RED_YELLOW]
    assert all(shown[n] == once[(n - offset) % 12] for n in range(2000))
    assert (shown[:-12] == shown[12:]).all()
    element.find("active").text = "false"
    assert not light_cycle(file, element, np.arange(5)).any()


def test_lights_are_recorded_for_the_steps_of_the_ego(tmp_path: Path) -> None:
    body = crossing('<trafficLightRef ref="20"/>') + cycle("all") + drive(7, "car", 8.0, 0.0, 9, 3)
    recording = open_recording(written(tmp_path, body))
    assert recording.lights is not None and recording.road_map is not None
    assert recording.lights[:4, 0].tolist() == [LightState.GREEN] + [LightState.YELLOW] * 2 + [
        LightState.RED
    ]
    assert recording.road_map.signal_id.tolist() == ["20"]


def test_right_of_way_by_signs(tmp_path: Path) -> None:
    def plates(first: str, second: str) -> str:
        return "".join(
            f'<trafficSign id="{key}"><trafficSignElement><trafficSignID>{code}</trafficSignID>'
            "</trafficSignElement></trafficSign>"
            for key, code in ((21, first), (22, second))
        )

    named = ('<trafficSignRef ref="21"/>', '<trafficSignRef ref="22"/>')

    def rules(first: str, second: str) -> list[tuple[str, str]]:
        path = written(tmp_path, crossing("", named) + plates(first, second))
        return [(rule.lane, rule.to) for rule in read_commonroad_map(path).yields]

    assert rules("205", "306") == [("1", "4")]
    assert rules("301", "206") == [("4", "1")]
    assert rules("102", "102") == [("1", "4")]  # 1 is left of 4
    assert rules("306", "306") == []


@pytest.mark.parametrize(
    ("text", "speed"),
    [
        ("13.88", 13.88),
        ("50kmh", 50 / 3.6),
        ("25mph", 25 * 0.44704),
        ("1e1", 10.0),
        ("5 km/h", 5 / 3.6),
        ("", None),
        ("fast", None),
        ("0", None),
        ("30 knots", None),
    ],
)
def test_speeds_of_signs(text: str, speed: float | None) -> None:
    assert sign_speed(text) == (None if speed is None else pytest.approx(speed))


# --- files --------------------------------------------------------------------------------------


def test_drives_are_the_files_with_traffic(tmp_path: Path) -> None:
    written(tmp_path, ROAD, "map.xml")
    written(tmp_path, ROAD + drive(7, "car", 8.0, 0.0), "b.xml")
    (tmp_path / "a").mkdir()
    written(tmp_path / "a", ROAD + drive(7, "car", 8.0, 0.0), "c.xml")
    (tmp_path / "other.xml").write_text("<osm/>")
    (tmp_path / "folder.xml").mkdir()
    assert list_drives(tmp_path) == ("commonroad", ["b", "c"])
    (tmp_path / "empty.xml").write_text("")
    assert commonroad.drives(tmp_path) == ["b", "c", "empty"]
    with pytest.raises(RoadloopError, match=r"empty\.xml, line 1: broken XML"):
        commonroad.open_drive(tmp_path, "empty")
    (tmp_path / "empty.xml").unlink()
    written(tmp_path / "a", ROAD + drive(7, "car", 8.0, 0.0), "b.xml")
    assert commonroad.drives(tmp_path) == ["a_b", "b", "c"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (ROAD.replace('ref="2"', 'ref="99"') + drive(7, "car", 8.0, 0.0), ["lanelet 1", "99"]),
        (ROAD + "<lanelet id='1'/>" + drive(7, "car", 8.0, 0.0), ["lanelet 1", "id of its own"]),
        (ROAD + drive(7, "tram", 8.0, 0.0), ["dynamicObstacle 7", "'tram'"]),
        (ROAD + drive(7, "car", 8.0, 0.0) + drive(7, "car", 8.0, 0.0), ["two obstacles", "7"]),
        (ROAD + drive(7, "pedestrian", 8.0, 0.0), ["nobody", "ego"]),
        (ROAD + drive(7, "car", 8.0, 0.0).replace("<exact>3<", "<exact>1<"), ["not later"]),
        (ROAD + drive(7, "car", 8.0, 0.0).replace("<exact>3<", "<exact>x<"), ["'x'", "number"]),
        (ROAD + drive(7, "car", 8.0, 0.0).replace("<width>2.0", "<width>0"), ["above 0"]),
        (ROAD + obstacle(7, "car", [state("initialState", 0, 1, 1), state("state", 1, 1, 1),
                                    state("state", 3, 1, 1)]), ["obstacle 7", "after step 1"]),
    ],
)  # fmt: skip
def test_bad_scenarios_are_one_line_with_place(tmp_path, body, words) -> None:
    path = written(tmp_path, body)
    with pytest.raises(RoadloopError) as error:
        commonroad.open_drive(path, path.stem)
    assert "\n" not in str(error.value)
    for word in (path.name, *words):
        assert word in str(error.value)


def test_broken_xml_and_bad_maps_name_the_line(tmp_path: Path) -> None:
    path = written(tmp_path, ROAD + drive(7, "car", 8.0, 0.0))
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(RoadloopError, match=r"line 3: broken XML"):
        commonroad.open_drive(path, path.stem)
    path = written(tmp_path, ROAD + lanelet(8, (0, 1), 9).replace(points([(0, 11), (1, 11)]), ""))
    with pytest.raises(RoadloopError, match=r"line 3: lanelet 8 has 0 points in its leftBound"):
        read_commonroad_map(path)
    path = written(tmp_path, ROAD, version="2099c")
    with pytest.raises(RoadloopError, match=r"line 2: .*2099c"):
        read_commonroad_map(path)
    secret = tmp_path / "secret"
    secret.write_text("12")
    path.write_text(f'<!DOCTYPE c [<!ENTITY e SYSTEM "{secret}">]>{whole.split("?>")[1]}'.replace(
        "<length>4.0", "<length>&e;"
    ))  # fmt: skip
    with pytest.raises(RoadloopError, match="not a number"):  # entities are not followed
        commonroad.open_drive(path, path.stem)


# --- real files ---------------------------------------------------------------------------------


@needs_data
def test_real_scenarios_are_listed_and_open() -> None:
    names = commonroad.drives(DATA)
    assert len(names) == 39 and "DEU_Starnberg-1_1_T-1" not in names and "ZAM_Over-1_1" not in names
    for name in names[::4]:
        recording = commonroad.open_drive(DATA, name)
        assert recording.agents is not None and len(recording) > 10
        assert "planning_problem" in recording.about


@needs_data
@pytest.mark.parametrize(
    "name", ["USA_US101-1_1_T-1", "DEU_Guetersloh-20_1_T-1", "USA_Peach-4_8_T-1", "ZAM_Zip-1_6_T-1"]
)
def test_the_real_ego_stays_on_its_lanes(name: str) -> None:
    import shapely

    from roadloop.maps.area import drivable_polygons

    recording = commonroad.open_drive(DATA, name)
    road_map, ego = recording.road_map, recording.ego
    assert road_map is not None
    corners = box_corners(*ego.box_centre(), ego.heading, ego.vehicle.length, ego.vehicle.width)
    ground = drivable_polygons(road_map)
    shapely.prepare(ground)
    assert shapely.contains_xy(ground, corners[..., 0], corners[..., 1]).all()
    if recording.lights is not None:
        assert recording.lights.shape == (len(recording), len(road_map.signal_id))


@needs_data
def test_real_junction_maps_compile() -> None:
    paths = sorted((DATA / "real_junction_maps").rglob("*.xml"))
    assert len(paths) == 16
    drafts = {path.stem: read_commonroad_map(path) for path in paths}
    assert sum(len(draft.lanes) for draft in drafts.values()) == 1022
    assert commonroad.drives(DATA / "real_junction_maps") == []
    for stem in ("frankenberg", "DEU_Merging_MT_repaired", "USA_Roundabout_FT_repaired"):
        road_map = compile_map(drafts[stem])
        assert road_map.lanes == len(drafts[stem].lanes) and len(road_map.conflict_lane)
