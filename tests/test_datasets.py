"""What readers of data sets share: formats told apart, sweeps that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import feather

from roadloop.datasets.formats import FORMATS, list_drives, reader_of
from roadloop.datasets.kitti.files import read_sweep
from roadloop.datasets.source import check_times, read_table
from roadloop.errors import RoadloopError

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

FOLDERS = {
    "nuscenes/one_sample": "nuscenes",
    "nuscenes/one_sample/v1.0-mini": "nuscenes",
    "lyft_level5_tables": "nuscenes",
    "argoverse2/sensor": "argoverse2",
    "argoverse2/scenario_mining": "argoverse2",
    "argoverse2/motion-forecasting": "argoverse2-motion",
    "waymo_motion": "waymo-motion",
    "waymo_motion/json_nocturne/example_scenario.json": "waymo-motion",
    "waymo_perception": "waymo",
    "waymo_perception/v2": "waymo",
    "scenarionet": "scenarionet",
    "scenarionet/nuscenes_2/0.pkl": "scenarionet",
    "commonroad": "commonroad",
    "commonroad/DEU_A9-3_1_T-1.xml": "commonroad",
    "kitti/object": "kitti-object",
    "kitti/tracking": "kitti-tracking",
    "kitti/raw": "kitti-raw",
    "kitti/odometry": "kitti-odometry",
    "comma2k19": "comma2k19",
    "comma2k19/Example_1": "comma2k19",
    "dgp_test_scene": "dgp",
    "dgp_test_scene/scene_01": "dgp",
    "camvid": "camvid",
    "camvid/train": "camvid",
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_is_of_one_format(folder: str) -> None:
    if not (DATA / folder).exists():
        pytest.skip(f"{DATA / folder} is missing")
    claims = {name for name in FORMATS if reader_of(name).drives(DATA / folder)}
    assert claims == {FOLDERS[folder]}
    assert list_drives(DATA / folder)[0] == FOLDERS[folder]


@pytest.mark.parametrize(
    "folder",
    [
        *("udacity_lane_lines", "udacity_advanced_lane", "esmini", "carla_maps", "sind"),
        *("carla_routes", "tusimple_lanes", "lanelet2_maps", "steering_images", "openlane_example"),
    ],
)
def test_folders_of_other_things_are_of_none(folder: str) -> None:
    if not (DATA / folder).exists():
        pytest.skip(f"{DATA / folder} is missing")
    with pytest.raises(RoadloopError, match="of no format roadloop knows"):
        list_drives(DATA / folder)


def test_no_format_wins_where_there_are_several(tmp_path: Path) -> None:
    (tmp_path / "scenario_1.parquet").write_bytes(b"")
    log = tmp_path / "log"
    log.mkdir()
    assert list_drives(tmp_path) == ("argoverse2-motion", ["1"])
    (log / "city_SE3_egovehicle.feather").write_bytes(b"")
    with pytest.raises(
        RoadloopError, match=r"several formats, argoverse2 \(1\), argoverse2-motion \(1\): give --f"
    ):
        list_drives(tmp_path)
    assert list_drives(tmp_path, "argoverse2") == ("argoverse2", ["log"])
    assert list_drives(log) == ("argoverse2", ["log"])


def test_bytes_that_are_no_sweep_are_named_by_record(tmp_path: Path) -> None:
    points = np.ones((5, 4), "<f4")
    for bad in (np.nan, np.inf, 1e20):
        points[3, 1] = bad
        (tmp_path / "a.bin").write_bytes(points.tobytes())
        with pytest.raises(RoadloopError, match=r"a\.bin: record 3, .* is no point of a sweep"):
            read_sweep(tmp_path / "a.bin", 0)


def test_columns_of_letters_and_empty_values_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.feather"
    feather.write_feather(
        pa.table({"n": [1, 2, None], "x": ["a", "b", "c"], "w": ["u", "v", "w"]}), path
    )
    assert read_table(path, ["w"], ["w"])["w"].tolist() == ["u", "v", "w"]
    with pytest.raises(RoadloopError, match=r"a\.feather: column x holds string: expected numbers"):
        read_table(path, ["w", "x"], ["w"])
    with pytest.raises(RoadloopError, match=r"a\.feather: row 2: n is empty"):
        read_table(path, ["n"])


def test_times_out_of_order_name_file_and_row() -> None:
    check_times(np.array([0, 1, 5]), "a.txt", "line")
    with pytest.raises(
        RoadloopError, match=r"^a\.txt, line 3: its time is not after that of line 2$"
    ):
        check_times(np.array([0, 4, 4, 9]), "a.txt", "line", first=1)
