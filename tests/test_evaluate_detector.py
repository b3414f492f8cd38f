"""Judging a detector: in driving order, with its memory; reports, resuming, comparing, mistakes."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import training_drive

from perception.detector_config import BevGrid, DetectorConfig, ObjectClass
from perception.detector_report import (
    DetectorReport,
    light_of,
    make_report,
    read_report,
    sky_of,
    write_report,
)
from perception.detector_tables import (
    compare_reports,
    comparison_table,
    make_table,
    write_report_page,
)
from perception.drive_scores import DriveScores, drive_from_json
from perception.object_tables import MomentTruth
from perception.objects import object_targets
from perception.raster_map import raster_targets
from roadloop.cli import main
from roadloop.config import dump_config
from roadloop.errors import RoadloopError
from roadloop.geometry import rotation_from_euler, se3
from roadloop.viz.table_page import Cell, Table, table_text
from roadloop.weather import WEATHERS
from training.detector_frames import detector_spec
from training.detector_sources import _logs
from training.detector_training import DetectorData, DetectorTraining
from training.evaluate_detector import (
    Moment,
    Subset,
    find_drives,
    fusion_subsets,
    judge_drive,
    moments_of,
    subset_of,
)
from training.evaluation_run import DriveLines, Judge, evaluate_logs
from training.sources import LogSource

GRID = BevGrid(nx=16, ny=16, cell=1.6, y_min=-12.8)
TINY = DetectorConfig(
    size=(64, 32),
    grid=GRID,
    channels=8,
    bev_channels=8,
    bev_down=(),
    attention_layers=0,
    depth_bins=0,
    semantics=False,
    light_cameras=(),
)
CAMERAS = ("front", "front-left", "front-right", "front-narrow")
PLACES = [(3.0, 2.0), (9.0, -6.0), (18.0, 4.0)]


def moment(time: float, places: Any = PLACES, yaw: float = 0.1, shown: bool = True) -> Moment:
    """Vehicles of 4 x 2 m at given places, a drive of 5 m/s along x."""
    n = len(places)
    boxes = np.column_stack(
        [np.reshape(places, (n, 2)), np.tile([0.8, 4.0, 2.0, 1.5, yaw, 6.0, 0.5], (n, 1))]
    )
    label, visible = np.full(n, ObjectClass.VEHICLE), np.full(n, shown)
    lines = np.zeros((1, 2, 3), np.float32)
    lines[0, :, 0] = -10.0, 40.0
    frame: dict[str, Any] = {
        "images": np.full((4, 3, 32, 64), 7, np.uint8),
        "camera_valid": np.ones(4, bool),
        "pixel_from_ego": np.zeros((4, 3, 4), np.float32),
        **object_targets(boxes, label, visible, GRID),
        **raster_targets(
            GRID,
            map_lines=lines,
            map_line_kind=np.zeros(1, np.uint8),
            map_line_width=np.full(1, 3.5, np.float32),
            boxes=boxes,
            object_class=label,
            visible=visible,
        ),
    }
    pose = se3(rotation_from_euler(0.0, 0.0, 0.1 * time), np.array([5.0 * time, 0.0, 0.0]))
    return Moment(frame, MomentTruth(boxes, label, visible), pose, time)


def right_about(moments: list[Moment]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """An engine that answers with the labels, moment after moment."""
    waiting = iter(moments)

    def engine(inputs: Mapping[str, Any]) -> dict[str, Any]:
        frame = next(waiting).frame
        heat = np.clip(frame["heat"], 1e-6, 1.0 - 1e-6)
        box = frame["box"].copy()
        box[8] = 20.0 * box[8] - 10.0
        return {
            "heat": np.log(heat / (1.0 - heat)),
            "box": box,
            "box_log_var": np.zeros((5, *GRID.shape)),
            "raster": 20.0 * frame["raster"] - 10.0,
            "lane": frame["lane"],
            "state": np.zeros((8, *GRID.shape), np.float32),
        }

    return engine


def drive(name: str = "a", seed: int = 1, **about: Any) -> DriveScores:
    moments = [moment(0.5 * k) for k in range(4)]
    facts = {"seed": seed, "family": "town", **about}
    return judge_drive(right_about(moments), TINY, moments, name, facts)


def poor(scores: DriveScores, keep: int) -> DriveScores:
    """The same drive with only the first detections found."""
    objects = scores.objects
    columns = dataclasses.asdict(objects.found)
    found = type(objects.found)(**{k: v[:keep] for k, v in columns.items()})
    cut = dataclasses.replace(
        objects,
        found=found,
        position_std=objects.position_std[:keep],
        velocity_std=objects.velocity_std[:keep],
    )
    return dataclasses.replace(scores, objects=cut)


def test_whoever_answers_with_the_labels_gets_full_marks() -> None:
    report = make_report([drive()], GRID)
    vehicle = report.objects["vehicle"]
    assert vehicle["wanted"] == 12 and vehicle["mean_ap"] == 1.0
    assert vehicle["errors"]["centre"] < 1e-3 and vehicle["errors"]["velocity"] < 1e-3
    assert vehicle["errors"]["heading"] < 1e-3 and vehicle["errors"]["size"] < 1e-3
    assert report.headline["drivable_iou"] == report.headline["vehicle_iou"] == 1.0
    assert report.headline["lane_direction"] == pytest.approx(0.0, abs=1e-6)
    assert report.nuscenes["nds"] == pytest.approx(1.0, abs=1e-3)
    assert math.isnan(report.headline["pedestrian_ap"])
    assert report.facts == {"drives": 1, "moments": 4, "remembered": 3}


def test_the_memory_is_as_old_as_at_run_time() -> None:
    moments = [moment(0.1 * k) for k in range(12)]
    seen: list[tuple[bool, float, np.ndarray]] = []
    answer = right_about(moments)

    def engine(inputs: Mapping[str, Any]) -> dict[str, Any]:
        seen.append((bool(inputs["motion_valid"]), inputs["state"].max(), inputs["motion"]))
        outputs = answer(inputs)
        return {**outputs, "state": np.full((8, *GRID.shape), len(seen), np.float32)}

    scores = judge_drive(engine, TINY, moments, "a", {})
    assert [valid for valid, _, _ in seen] == [False] * 5 + [True] * 7
    assert [state for _, state, _ in seen[5:]] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    then, now = moments[3].world_from_ego, moments[8].world_from_ego
    moved = np.linalg.inv(then) @ now
    assert seen[8][2] == pytest.approx([moved[0, 3], moved[1, 3], 0.05], abs=1e-6)
    assert scores.remembered == 7


def test_sensors_that_are_left_out_are_as_if_they_had_failed() -> None:
    frame = moment(0.0).frame | {"lidar": np.ones((2, 4, 4)), "lidar_valid": np.bool_(True)}
    left = Subset(("camera",), ("front-left",)).of(frame, CAMERAS)
    assert left["camera_valid"].tolist() == [True, False, True, True]
    assert not left["images"][1].any() and left["images"][0].all()
    assert not left["lidar"].any() and not left["lidar_valid"]
    assert frame["camera_valid"].all() and frame["lidar"].all()  # the frame itself stays
    assert Subset().name == "all"
    assert Subset(("camera", "radar"), ("front",)).name == "camera+radar without front"
    assert [s.name for s in fusion_subsets(TINY)] == [
        "all", *(f"all without {name}" for name in CAMERAS)
    ]  # fmt: skip
    both = dataclasses.replace(TINY, lidar=True, radar=True)
    assert [s.name for s in fusion_subsets(both)][:5] == [
        "all", "camera", "camera+lidar", "camera+radar", "lidar+radar"
    ]  # fmt: skip


def test_sensors_that_are_not_there_are_named() -> None:
    with pytest.raises(RoadloopError, match='no camera "rear" to drop; it has front, front-left'):
        subset_of(TINY, drop=["rear"])
    with pytest.raises(RoadloopError, match='sensors is "sonar"'):
        subset_of(TINY, "sonar")
    with pytest.raises(RoadloopError, match="does not use a lidar"):
        subset_of(TINY, "camera+lidar")
    assert subset_of(dataclasses.replace(TINY, lidar=True), "lidar+camera").name == "camera+lidar"


def test_splits_by_weather_light_family_and_seed() -> None:
    night = {"weather": dataclasses.asdict(WEATHERS["rain-night"])}
    noon = {"weather": dataclasses.asdict(WEATHERS["clear-noon"])}
    drives = [drive("a", 1, **noon), poor(drive("b", 2, **night), 6), drive("c", 10)]
    report = make_report(drives, GRID)
    assert list(report.splits["weather"]) == ["clear", "not known", "rain"]
    assert report.splits["weather"]["clear"]["vehicle_ap"] == 1.0
    assert report.splits["light"]["night"]["vehicle_ap"] == pytest.approx(0.5)
    assert list(report.splits["seed"]) == ["1", "2", "10"]
    assert report.splits["family"]["town"]["drives"] == 3
    assert report.headline["vehicle_ap"] == pytest.approx(30 / 36, abs=0.01)
    skies = {name: sky_of({"weather": dataclasses.asdict(w)}) for name, w in WEATHERS.items()}
    assert all(name.startswith(sky) for name, sky in skies.items())
    assert light_of({"weather": {"sun_elevation": 0.1}}) == "low sun"


def test_drives_and_reports_come_back_from_their_files(tmp_path: Path) -> None:
    scores = drive()
    again = drive_from_json(json.loads(json.dumps(scores.as_json())))
    assert again.as_json() == scores.as_json()
    reports = [make_report([one], GRID, {"detector": "tiny"}) for one in (scores, again)]
    files = [write_report(tmp_path / f"{k}.json", one) for k, one in enumerate(reports)]
    assert files[0].read_bytes() == files[1].read_bytes()
    read = read_report(files[0])
    assert make_table(read) == make_table(reports[0])
    both = enumerate((read, reports[1]))
    pages = [write_report_page(tmp_path / f"{k}.html", one) for k, one in both]
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert "vehicle AP at 2 m" in pages[0].read_text()
    with pytest.raises(RoadloopError, match="damaged"):
        drive_from_json({"name": "x"})
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(RoadloopError, match="no result of roadloop evaluate"):
        read_report(tmp_path / "other.json")


def test_tables_are_set_flush_right_with_dashes_where_nothing_applies() -> None:
    table = Table(
        "T", "", ("AP", "n"),
        (("car", (Cell(0.5, 2, 0.41, 0.6), Cell(12.0, 0))), ("lorry", (Cell(), Cell(3.0, 0)))),
    )  # fmt: skip
    assert table_text(table).splitlines()[1:] == [
        "                          AP   n",
        "  car    0.50 [0.41 to 0.60]  12",
        "  lorry                    -   3",
    ]


def several(found: list[int]) -> DetectorReport:
    whole = drive()
    cut = [dataclasses.replace(poor(whole, n), name=f"d{k}") for k, n in enumerate(found)]
    return make_report(cut, GRID, resamples=0)


def test_comparing_pairs_the_drives() -> None:
    better = compare_reports(several([4, 6, 4, 8, 5, 7]), several([10, 11, 12, 12, 10, 12]))
    vehicle = better["vehicle_ap"]
    assert vehicle.significant and vehicle.mean > 0.3 and vehicle.pairs == 6
    assert better["pedestrian_ap"].pairs == 0
    same = compare_reports(several([4, 6, 4, 8, 5]), several([4, 6, 4, 8, 5]))
    assert not same["vehicle_ap"].significant
    lines = table_text(comparison_table(better)).splitlines()
    assert any(line.startswith("  vehicle AP ") and "better" in line for line in lines)
    one = make_report([drive("other")], GRID)
    with pytest.raises(RoadloopError, match="no drive in common"):
        compare_reports(several([4]), one)
    cut = dataclasses.replace(one, drives=[{**one.drives[0], "moments": 3}])
    with pytest.raises(RoadloopError, match="other has 4 moments in one result and 3 in the other"):
        compare_reports(one, cut)


def test_a_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    identity = {"weights": "ab", "every": 0}
    lines = DriveLines(tmp_path / "x.jsonl", identity, resume=False)
    lines.add("all", drive("a"))
    lines.add("all", drive("b"))
    whole = lines.path.read_bytes()
    lines.path.write_bytes(whole[:-100])
    again = DriveLines(lines.path, identity, resume=True)
    assert list(again.done) == [("all", "a")]
    again.add("all", drive("b"))
    assert lines.path.read_bytes() == whole
    with pytest.raises(RoadloopError, match="run with another weights"):
        DriveLines(lines.path, {**identity, "weights": "cd"}, resume=True)
    lines.path.write_bytes(b'{"a": 1\n' + whole)
    with pytest.raises(RoadloopError, match="is damaged"):
        DriveLines(lines.path, identity, resume=True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from safetensors.torch import save_file

    from perception.network import DetectorNetwork

    folder = tmp_path_factory.mktemp("detector")
    (folder / "rig.yaml").write_text(dump_config(training_drive.PLAIN))
    config = dataclasses.replace(TINY, rig=str(folder / "rig.yaml"))
    torch.manual_seed(0)
    network = DetectorNetwork(config)
    assert network.objects.out.bias is not None
    with torch.no_grad():
        network.objects.out.bias[: len(ObjectClass)] = 0.0  # finds something
    header = {"format": 1, "kind": "detector", "config": dataclasses.asdict(config), "step": 3}
    path = folder / "detector.safetensors"
    weights = {k: v.contiguous() for k, v in network.state_dict().items()}
    save_file(weights, path, {"roadloop": json.dumps(header)})
    return path


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    for name in ("first", "second"):
        training_drive.record(folder / name / "sensors")
    return folder


def test_a_recorded_drive_is_thinned_out_to_the_age_of_the_memory(logs: Path) -> None:
    drives = find_drives([logs])
    assert [one.name for one in drives] == ["first", "second"]
    recording = drives[0].open()
    times = [one.time for one in moments_of(recording, TINY)]
    assert times == pytest.approx([0.0, 0.5, 1.0])
    assert len(list(moments_of(recording, TINY, every=1, most=4))) == 4
    with pytest.raises(RoadloopError, match="hold a drive first"):
        find_drives([logs, logs])
    nobody = dataclasses.replace(recording, agents=None, lidar_points=None, world_from_agent=None)
    with pytest.raises(RoadloopError, match="no labels of road users"):
        next(iter(moments_of(nobody, TINY)))


def test_a_word_may_mean_drives_of_one_folder_only(logs: Path) -> None:
    folders = [logs / "first", logs / "second"]
    assert [one.name for one in find_drives(folders, drives="sec*")] == ["second"]
    source = LogSource(folders, detector_spec(TINY, products=()), drives="second")
    assert [drive.name for drive in source.drives] == ["second"]
    data = DetectorData(folders=tuple(folders), drives="second")
    read = _logs(DetectorTraining(model=TINY, data=data), data.folders, data.drives)
    assert [drive.name for one in read for drive in one.drives] == ["second"]
    with pytest.raises(RoadloopError, match='unknown drive "third"; known: first, second'):
        find_drives(folders, drives="third")


def test_the_report_depends_on_neither_order_nor_interruption(
    checkpoint: Path, logs: Path, tmp_path: Path
) -> None:
    drives = find_drives([logs])
    judge = Judge(checkpoint, most=2)
    subsets = [Subset(), Subset(dropped=("front",))]
    whole = evaluate_logs(judge, drives, subsets)
    assert whole.facts["moments"] == 4 and list(whole.subsets) == ["all", "all without front"]
    assert whole.subsets["all"]["vehicle_ap"] == whole.headline["vehicle_ap"]
    lines = DriveLines(tmp_path / "x.jsonl", judge.identity(), resume=False)
    evaluate_logs(judge, drives[1:], subsets[1:], lines)
    again = DriveLines(lines.path, judge.identity(), resume=True)
    ended = []
    taken_up = evaluate_logs(judge, drives, subsets, again, on_drive=ended.append)
    assert len(ended) == 4
    files = [
        write_report(tmp_path / f"{k}.json", one).read_bytes()
        for k, one in enumerate((whole, taken_up))
    ]
    assert files[0] == files[1]
    shutil.copytree(logs / "first", tmp_path / "elsewhere" / "first")
    other = find_drives([tmp_path / "elsewhere"])
    with pytest.raises(RoadloopError, match=r"holds drive first of .*/logs\d*, not of .*elsewhere"):
        evaluate_logs(judge, other, subsets, DriveLines(lines.path, judge.identity(), resume=True))


def test_the_command(
    checkpoint: Path, logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "result.json"
    words = ["evaluate", str(checkpoint), "--log", str(logs), "--moments", "2", "--workers", "1"]
    words += ["--latency", "1", "--out", str(out)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "4 moments of 2 drives" in said and "1 thread " in said and str(out) in said
    timed = read_report(out).latency
    assert [row["threads"] for row in timed] == [1.0, 2.0]
    assert all(row["network"] > 0.0 and row["rectify"] > 0.0 for row in timed)
    assert out.with_suffix(".html").is_file()
    assert main(words) == 2
    assert "is there already; go on with it by --resume" in capsys.readouterr().err
    assert main(["evaluate", "--compare", str(out), str(out)]) == 0
    assert "only 2 pairs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate"], "give a detector and recorded drives"),
        (["evaluate", "x", "--log", "y", "--resume"], "--resume goes on with what --out names"),
        (["evaluate", "x", "--log", "y", "--out", "z"], "expected a name that ends in .json"),
        (["evaluate", "x", "--log", "y", "--every", "0"], "every is 0; it must be 1 or more"),
        (["evaluate", "--compare", "a"], "--compare takes two results, not 1"),
        (["evaluate", "x", "--compare", "a", "b"], "give no checkpoint and no --log"),
        (["evaluate", "/no/such", "--log", "y"], "/no/such: no such file"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_an_empty_folder_is_said_so(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(checkpoint), "--log", str(tmp_path)]) == 2
    assert "is of no format roadloop knows" in capsys.readouterr().err
