"""ScenarioNet: plain pickles only, the point of the ego, labels and lights, ego on its map."""

from __future__ import annotations

import collections
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roadloop.datasets.formats import list_drives, open_recording
from roadloop.datasets.restricted_pickle import read_pickle, strings_at_head
from roadloop.datasets.scenarionet import reader as scenarionet
from roadloop.datasets.scenarionet.map import ground_within, map_draft
from roadloop.errors import RoadloopError
from roadloop.geometry import box_corners
from roadloop.maps.road_map import SignalKind
from roadloop.types import AgentKind, LightState

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "scenarionet"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data/scenarionet")

STEPS = 21


def track(kind: str, category: str, x, y, heading, size, valid=None) -> dict[str, Any]:
    """A track as ScenarioNet's converters write it: sizes (T, 1), valid as floats."""
    ones = np.ones(STEPS)
    return {
        "type": kind,
        "state": {
            "position": np.column_stack([x * ones, y * ones, size[2] / 2.0 * ones]),
            "heading": heading * ones,
            "velocity": np.zeros((STEPS, 2)),
            "valid": ones if valid is None else np.asarray(valid, float),
            "length": size[0] * ones[:, None],
            "width": size[1] * ones[:, None],
            "height": size[2] * ones[:, None],
        },
        "metadata": {"type": category, "track_length": STEPS},
    }  # fmt: skip


def scenario(dataset: str = "nuscenes") -> dict[str, Any]:
    """A straight street along x, the ego at 10 m/s on it, a parked car and a walker beside it."""
    t = 0.1 * np.arange(STEPS)
    ego = track("VEHICLE", "vehicle.car", 10.0 * t, 0.0, 0.0, (4.08, 1.73, 1.56))
    ego["state"]["position"][:, 2] = 0.0 if dataset == "nuscenes" else 0.78
    walker = track(
        "PEDESTRIAN", "human.pedestrian.adult", 15.0, -6.0 + 1.5 * t, 1.57, (0.7, 0.7, 1.8),
        np.arange(STEPS) >= 5,
    )  # fmt: skip
    parked = track("VEHICLE", "vehicle.truck", 20.0, 6.0, 0.0, (8.0, 2.5, 3.0))
    line = [(float(x), 0.0, 0.1) for x in range(-10, 31)]  # the third column is a heading
    onward = [(float(x), 0.0, 0.1) for x in range(30, 61)]
    return {
        "id": "scene-1",
        "version": "test",
        "length": STEPS,
        "metadata": {
            "dataset": dataset,
            "ts": t,
            "sdc_id": "ego",
            "map": "singapore-onenorth",
            "scenario_id": "scene-1",
            "numbers": collections.defaultdict(int, a=1),
        },
        "tracks": {"ego": ego, "w": walker, "p": parked},
        "map_features": {
            "a": {
                "type": "LANE_SURFACE_STREET",
                "polyline": line,
                "polygon": [[-10.0, 2.0], [30.0, 2.0], [30.0, -2.0], [-10.0, -2.0]],
            },
            "b": {"type": "LANE_SURFACE_STREET", "polyline": onward, "speed_limit_kmh": 100},
            "boundary_0": {
                "type": "ROAD_LINE_SOLID_SINGLE_WHITE",
                "polyline": np.array(
                    [[-10.0, -9.0], [60.0, -9.0], [60.0, 9.0], [-10.0, 9.0], [-10.0, -9.0]]
                ),
            },
        },
        "dynamic_map_states": {},
    }


def written(tmp_path: Path, content: Any, name: str = "sd_test.pkl") -> Path:
    path = tmp_path / name
    path.write_bytes(pickle.dumps(content, protocol=4))
    return path


# --- pickles ------------------------------------------------------------------------------------


def test_plain_pickles_are_read_as_they_are(tmp_path: Path) -> None:
    content = {
        "array": np.arange(6.0).reshape(2, 3),
        "number": np.float32(2.5),
        "nested": [{1, 2}, (None, True), b"x", "y", collections.OrderedDict(a=1)],
        "counts": collections.defaultdict(int, b=2),
    }
    for protocol in (3, 4, 5):
        path = tmp_path / f"{protocol}.pkl"
        data = pickle.dumps(content, protocol=protocol)
        if protocol == 3:  # without lengths, so that names may be those of NumPy 1
            assert b"numpy._core." in data
            data = data.replace(b"numpy._core.", b"numpy.core.")
        path.write_bytes(data)
        found = read_pickle(path)
        assert np.array_equal(found.pop("array"), content["array"])
        assert found == {k: v for k, v in content.items() if k != "array"}


class Malicious:
    def __init__(self, call: Any, *args: Any) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> Any:
        return self.call, self.args


@pytest.mark.parametrize(
    ("call", "args", "name"),
    [
        (os.system, ("touch {}",), "system"),
        (eval, ("open({!r}, 'w')",), "eval"),
        (getattr, ("", "join"), "getattr"),
        (np.load, ("{}",), "load"),
        (Path, ("x",), "Path"),
    ],
)
def test_a_pickle_that_wants_more_is_refused_by_name(tmp_path, call, args, name) -> None:
    ran = tmp_path / "ran"
    path = written(tmp_path, {"a": Malicious(call, *(a.format(ran) for a in args))})
    with pytest.raises(RoadloopError) as error:
        read_pickle(path)
    assert str(path) in str(error.value) and name in str(error.value)
    assert not ran.exists() and "\n" not in str(error.value)


def test_truncated_pickles_and_other_files_are_said_so(tmp_path: Path) -> None:
    path = written(tmp_path, scenario())
    whole = path.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(RoadloopError, match="truncated or no pickle"):
            read_pickle(path)
    path.write_bytes(b"\x89PNG\r\n")
    with pytest.raises(RoadloopError, match="truncated or no pickle"):
        read_pickle(path)
    assert strings_at_head(path) == []


# --- synthetic scenarios ------------------------------------------------------------------------


def test_the_ego_of_nuscenes_is_at_the_rear_axle_and_of_others_at_the_middle(tmp_path) -> None:
    recording = scenarionet.open_drive(written(tmp_path, scenario()), "scene-1")
    assert np.allclose(recording.ego.x, np.arange(STEPS)) and np.allclose(recording.ego.speed, 10.0)
    assert recording.ego.vehicle.length == pytest.approx(4.084)  # not the exchanged one
    other = scenarionet.open_drive(written(tmp_path, scenario("pg")), "scene-1")
    vehicle = other.ego.vehicle
    assert np.allclose(other.ego.x, np.arange(STEPS) - vehicle.centre_offset)
    assert np.allclose(other.ego.box_centre()[0], np.arange(STEPS))
    assert np.allclose(other.ego.z, 0.0) and vehicle.width == pytest.approx(1.73)
    assert any("axles" in note for note in other.notes)


def test_road_users_stand_on_the_ground_and_have_their_velocity(tmp_path: Path) -> None:
    recording = scenarionet.open_drive(written(tmp_path, scenario()), "scene-1")
    agents = recording.agents
    assert agents is not None and recording.source_id.tolist() == ["w", "p"]
    assert recording.category.tolist() == ["human.pedestrian.adult", "vehicle.truck"]
    assert agents.kind[0].tolist() == [AgentKind.PEDESTRIAN, AgentKind.TRUCK]
    assert np.allclose(agents.z, 0.0)
    assert not agents.valid[:5, 0].any() and agents.valid[5:].all()
    # the file's own velocity is 0: it is taken from the positions, up to the last step
    assert np.allclose(agents.vy[5:, 0], 1.5) and np.allclose(agents.vy[:5, 0], 0.0)
    assert recording.labelled is not None
    assert np.flatnonzero(recording.labelled).tolist() == [0, 5, 10, 15, 20]
    assert (np.diff(recording.timestamp_us) == 100_000).all() and recording.dt == 0.1


def test_the_map_is_made_of_polygons_and_of_places(tmp_path: Path) -> None:
    content = scenario()
    draft = map_draft(
        content["map_features"], {}, "nuscenes", "singapore-onenorth", "m", "0", "file"
    )
    first, second = draft.lanes
    assert draft.left_hand and second.in_junction and not first.in_junction
    assert first.successors == ("b",) and second.predecessors == ("a",)
    assert first.left is not None and first.right is not None
    assert np.allclose(first.left[:, 1], 2.0) and np.allclose(first.right[:, 1], -2.0)
    assert np.allclose(first.left[:, 2], 0.0)  # the heading is no height
    assert second.left is not None and second.left[0, 1] == pytest.approx(2.0)
    assert second.speed_limit is None  # 100 km/h is a placeholder
    assert len(draft.drivable) == 1
    road_map = scenarionet.open_drive(written(tmp_path, content), "scene-1").road_map
    assert road_map is not None and road_map.lanes == 2 and len(road_map.area_start) == 2


def test_ground_with_islands_is_cut_into_pieces_without() -> None:
    import shapely

    def square(half: float, x: float = 0.0) -> np.ndarray:
        corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
        return np.array([(x + half * a, half * b) for a, b in corners])

    # ground, a hole in it, ground in the hole, and another hole
    pieces = ground_within([square(1.0), square(10.0), square(3.0), square(2.0, 6.0)])
    polygons = [shapely.Polygon(piece) for piece in pieces]
    assert all(p.is_valid for p in polygons)
    assert sum(p.area for p in polygons) == pytest.approx(400.0 - 36.0 + 4.0 - 16.0)
    whole = shapely.union_all(polygons)
    assert whole.contains(shapely.Point(0, 0)) and not whole.contains(shapely.Point(2, 0))
    assert not whole.contains(shapely.Point(6, 0)) and whole.contains(shapely.Point(9, 9))


def test_waymo_lights_are_sorted_signals_and_stop_signs_are_off(tmp_path: Path) -> None:
    content = scenario("waymo")
    size = {"length": 5.286, "width": 2.332, "height": 2.33}
    for name, value in size.items():
        content["tracks"]["ego"]["state"][name][:] = value
    lane = content["map_features"].pop("a")["polyline"]
    content["map_features"] = {
        "7": {"type": "LANE_SURFACE_STREET", "polyline": np.array(lane), "exit_lanes": [12]},
        "12": {
            "type": "LANE_SURFACE_STREET", "interpolating": True, "entry_lanes": [7],
            "polyline": np.array([[x, 0.0, 0.0] for x in range(30, 61)]), "speed_limit_mph": 25.0,
        },
        "3": {"type": "STOP_SIGN", "lane": [7], "position": np.array([20.0, -4.0, 0.0])},
    }  # fmt: skip
    states: list[str | None] = ["LANE_STATE_STOP"] * 10 + [None] + ["LANE_STATE_GO"] * 10
    content["dynamic_map_states"] = {
        key: {"state": {"object_state": s}, "lane": int(key), "stop_point": np.array([x, 0.0, 0.0])}
        for key, x, s in (("12", 30.0, states), ("7", 0.0, ["LANE_STATE_ARROW_CAUTION"] * STEPS))
    }
    path = written(tmp_path, content)
    recording = scenarionet.open_drive(path, "scene-1")
    road_map = recording.road_map
    assert road_map is not None and recording.lights is not None
    assert road_map.signal_id.tolist() == ["7", "12", "3"]
    assert recording.lights.shape == (STEPS, 3)
    assert set(recording.lights[:, 0]) == {LightState.YELLOW}
    assert recording.lights[9:12, 1].tolist() == [LightState.RED, LightState.OFF, LightState.GREEN]
    assert not recording.lights[:, 2].any() and road_map.signal_kind[2] == SignalKind.STOP
    governed = road_map.lane_id[road_map.stop_lane].tolist()
    assert sorted(zip(governed, np.round(road_map.stop_s, 6), strict=True)) == [
        ("12", 0.0), ("7", 10.0), ("7", 30.0),
    ]  # fmt: skip
    # the truck of 8 m has no class of its own there
    content["tracks"]["p"]["metadata"]["type"] = "VEHICLE"
    agents = scenarionet.open_drive(written(tmp_path, content), "scene-1").agents
    assert agents is not None and AgentKind.TRUCK in agents.kind


def test_drives_are_those_of_the_mapping_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    written(tmp_path / "part", scenario(), "sd_a.pkl")
    written(tmp_path / "part", scenario() | {"id": "not in it"}, "sd_b.pkl")
    assert scenarionet.drives(tmp_path) == ["not_in_it", "scene-1"]
    written(tmp_path, {"sd_a.pkl": "part", "sd_gone.pkl": "part"}, "dataset_mapping.pkl")
    assert list_drives(tmp_path) == ("scenarionet", ["scene-1"])
    assert open_recording(tmp_path).about["file"] == "sd_a.pkl"
    (tmp_path / "dataset_mapping.pkl").unlink()
    (tmp_path / "part" / "sd_c.pkl").write_bytes(b"")
    (tmp_path / "folder.pkl").mkdir()
    assert scenarionet.drives(tmp_path) == ["not_in_it", "scene-1", "sd_c"]
    with pytest.raises(RoadloopError, match=r"sd_c\.pkl is truncated or no pickle"):
        open_recording(tmp_path, "sd_c")
    (tmp_path / "part" / "sd_c.pkl").unlink()
    written(tmp_path / "part", scenario(), "sd_b.pkl")  # twice the same id
    assert scenarionet.drives(tmp_path) == ["part_sd_a", "part_sd_b"]
    written(tmp_path / "part", {"weights": np.zeros(3)}, "sd_a.pkl")
    assert scenarionet.drives(tmp_path) == ["scene-1", "sd_a"]  # it was to be one, by its name
    with pytest.raises(RoadloopError, match=r"sd_a\.pkl is no ScenarioNet scenario"):
        open_recording(tmp_path, "sd_a")


def test_a_pickle_that_would_run_something_is_named_and_not_passed_over(tmp_path: Path) -> None:
    written(tmp_path, scenario(), "sd_a.pkl")
    (tmp_path / "sd_evil.pkl").write_bytes(pickle.dumps(Path("/")))
    assert scenarionet.drives(tmp_path) == ["scene-1", "sd_evil"]
    with pytest.raises(RoadloopError, match=r"sd_evil\.pkl wants to load pathlib\."):
        open_recording(tmp_path, "sd_evil")


def test_other_pickles_are_no_scenarios(tmp_path: Path) -> None:
    written(tmp_path, {"weights": np.zeros(3)}, "weights.pkl")
    assert scenarionet.drives(tmp_path) == []


def _without(path: str):
    def change(content: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for part in parents:
            content = content[part]
        del content[last]

    return change


def _set(path: str, value: Any):
    def change(content: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for part in parents:
            content = content[part]
        content[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without("metadata"), ["metadata"]),
        (_without("metadata.ts"), ["metadata ts"]),
        (_set("metadata.sdc_id", "nobody"), ["nobody", "no track"]),
        (_without("tracks.w.state"), ['track "w"', "state"]),
        (_without("tracks.w.state.heading"), ['track "w"', "heading"]),
        (_set("tracks.w.state.heading", np.zeros(3)), ['track "w"', "(3,)", f"({STEPS},)"]),
        (_set("tracks.w.state.heading", np.full(STEPS, np.nan)), ['track "w"', "step 5"]),
        (_set("tracks.p.type", "TRAM"), ['track "p"', "'TRAM'"]),
        (_set("tracks.ego.state.valid", np.eye(STEPS)[3] + np.eye(STEPS)[9]), ['ego "ego"']),
        (_set("dynamic_map_states.l", {"state": {"object_state": ["BLUE"] * STEPS}}), ["BLUE"]),
        (_set("dynamic_map_states.l", {"state": {"object_state": [None]}}), ["1 states"]),
    ],
)
def test_bad_scenarios_are_one_line_with_file_and_record(tmp_path, change, words) -> None:
    content = scenario()
    if "TRAM" in words[-1]:
        content["tracks"]["p"]["metadata"]["type"] = "TRAM"
    change(content)
    path = written(tmp_path, content)
    with pytest.raises(RoadloopError) as error:
        scenarionet.open_drive(path, "scene-1")
    assert "\n" not in str(error.value)
    for word in (path.name, *words):
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        ({"type": "TUNNEL"}, ["'TUNNEL'"]),
        ({"type": "LANE_SURFACE_STREET"}, ["polyline"]),
        ({"type": "CROSSWALK", "polygon": [[1.0], [2.0]]}, ["polygon"]),
        ({"type": "STOP_SIGN", "position": [np.nan, 0.0]}, ["place"]),
    ],
)
def test_bad_features_are_named_when_the_map_is_read(tmp_path, feature, words) -> None:
    content = scenario()
    content["map_features"]["odd one"] = feature
    recording = scenarionet.open_drive(written(tmp_path, content), "scene-1")
    with pytest.raises(RoadloopError) as error:
        _ = recording.road_map
    assert all(word in str(error.value) for word in ("sd_test.pkl", "odd one", *words))


# --- real scenes --------------------------------------------------------------------------------


@needs_data
def test_all_real_scenes_are_listed_and_open_quickly() -> None:
    names = scenarionet.drives(DATA)
    assert names == ["eb4b91b10ca94ff2"] + [
        f"scene-{n}" for n in ("0061", "0103", "0757", "0796", "0916", "1077", "1094", "1100")
    ]
    for name in names:
        recording = scenarionet.open_drive(DATA, name)
        assert recording.agents is not None and recording.agents.valid.any(0).all()
        assert 190 <= len(recording) <= 201 and recording.dt == 0.1
        assert (recording.agents.length[recording.agents.valid] > 0).all()
        pickle.dumps(recording.load_map)


@needs_data
@pytest.mark.parametrize(("name", "offset"), [("scene-0916", 0.0), ("eb4b91b10ca94ff2", 0.0)])
def test_the_rear_axle_does_not_slip_sideways(name: str, offset: float) -> None:
    ego = scenarionet.open_drive(DATA, name).ego
    t = 0.1 * np.arange(len(ego.x))
    sideways = np.cos(ego.heading) * np.gradient(ego.y, t)
    sideways -= np.sin(ego.heading) * np.gradient(ego.x, t)
    moving = ego.speed > 1.0
    # m ahead of the pose at which there would be no slip, from turns only
    ahead = (sideways * ego.yaw_rate)[moving].sum() / (ego.yaw_rate[moving] ** 2).sum()
    assert ahead == pytest.approx(offset, abs=0.1 if name == "scene-0916" else 0.8)


@needs_data
@pytest.mark.parametrize("name", ["scene-0757", "eb4b91b10ca94ff2"])
def test_the_real_ego_stays_on_drivable_ground(name: str) -> None:
    import shapely

    from roadloop.maps.area import drivable_polygons

    recording = scenarionet.open_drive(DATA, name)
    road_map = recording.road_map
    assert road_map is not None
    ego, vehicle = recording.ego, recording.ego.vehicle
    corners = box_corners(*ego.box_centre(), ego.heading, vehicle.length, vehicle.width)
    ground = drivable_polygons(road_map)
    shapely.prepare(ground)
    assert shapely.contains_xy(ground, corners[..., 0], corners[..., 1]).all()
    if recording.lights is not None:
        assert recording.lights.shape == (len(recording), len(road_map.signal_id))


@needs_data
def test_the_real_ego_passes_its_light_when_it_is_green() -> None:
    recording = scenarionet.open_drive(DATA, "eb4b91b10ca94ff2")
    road_map, ego = recording.road_map, recording.ego
    assert road_map is not None and recording.lights is not None
    ahead = ego.vehicle.length - ego.vehicle.rear_overhang
    front = np.stack([ego.x + ahead * np.cos(ego.heading), ego.y + ahead * np.sin(ego.heading)])
    passed = []
    for lane, s, signal in zip(
        road_map.stop_lane, road_map.stop_s, road_map.stop_signal, strict=True
    ):
        rows = road_map.points_of(lane)
        k = int(np.abs(road_map.point_s[rows] - s).argmin())
        heading = road_map.point_heading[rows][k]
        off = front.T - road_map.point_xyz[rows][k, :2]
        along = off @ [np.cos(heading), np.sin(heading)]
        aside = off @ [-np.sin(heading), np.cos(heading)]
        step = np.flatnonzero((along[:-1] < 0) & (along[1:] >= 0) & (np.abs(aside[1:]) < 2.0))
        passed += [LightState(recording.lights[k, signal]) for k in step]
    assert passed == [LightState.GREEN]
