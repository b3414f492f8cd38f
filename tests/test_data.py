"""Samples and batches: what was recorded arrives, in the right frame, once, and in order."""

from __future__ import annotations

import dataclasses
import gc
import os
import pickle
import re
import subprocess
import sys
import textwrap
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_drive import (
    DT,
    HEIGHT,
    PLAIN,
    RIG,
    ROAD,
    SPEED,
    WIDTH,
    agents,
    observation,
    pose,
    record,
)

import training.sample_spec as sample_spec
from roadloop.camera import Pinhole
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, transform_points
from roadloop.logs.own import open_drive
from roadloop.readings import CameraImage
from roadloop.rig import CameraSensor, Mount, SensorRig
from training.batches import collate
from training.data import DataTimer, LogSource, Sample, SampleSpec, make_loader
from training.loader_jobs import buffered_order, picked_jobs, stream_jobs
from training.sample_map import MapPieces, pieces_of
from training.sample_spec import RAGGED, MapLine

EVERYTHING = SampleSpec(
    products=("rgb", "depth", "semantic", "instance"),
    lidars=("all",), sweeps=2, radars=("all",), lights=True, map=True, map_radius=40.0,
    history=2, past=2, future=3, spacing=0.2,
)  # fmt: skip
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "monday"
    record(folder, lossless=True)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three drives with 23 samples."""
    folder = tmp_path_factory.mktemp("plain")
    for name, steps in (("a", 9), ("b", 9), ("c", 5)):
        record(folder / name, steps, PLAIN)
    return folder


def same(a: Any, b: Any) -> None:
    assert list(a) == list(b)
    for key in a:
        if isinstance(a[key], torch.Tensor):
            assert a[key].dtype == b[key].dtype, key
            torch.testing.assert_close(a[key], b[key], rtol=0, atol=0, msg=key)
        else:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)


# --- samples ------------------------------------------------------------------------------------


def test_a_sample_is_laid_out_as_the_table_says(log: Path) -> None:
    sample = LogSource([log], EVERYTHING).sample(6)
    sizes = {
        "N": 2, "H": HEIGHT, "W": WIDTH, "M": 3, "h": 2, "p": 2, "f": 3, "V": 11,
        "P": len(sample["points"]), "R": len(sample["radar"]), "L": len(sample["map_lines"]),
        "S": len(ROAD.signal_id),
    }  # fmt: skip
    said: dict[str, tuple[str, str]] = {}
    table = (sample_spec.__doc__ or "").split("\n====")[2]  # three columns of fixed width
    for line in table.splitlines()[1:]:
        keys, layout = line[:37].strip().split(", "), line[37:63].strip()
        shapes = re.findall(r"\((.*?)\)", layout) * len(keys)
        kinds = [w.strip() for w in re.sub(r"\(.*?\)", "", layout).split(",")] * len(keys)
        if shapes:
            said |= {key: item for key, *item in zip(keys, shapes, kinds)}
    arrays = {k for k, v in sample.items() if isinstance(v, (np.ndarray, np.generic))}
    assert arrays - set(said) == {"history_depth", "history_semantic", "history_instance"}
    assert set(said) <= set(sample)
    exact = {"world_from_ego", "intrinsics", "distortion"}
    for key, (shape, kind) in said.items():
        value = sample[key]
        expected = tuple(
            sizes[word] if word in sizes else int(word) for word in re.findall(r"\w+", shape)
        )
        assert value.shape == expected, key
        wide = key in exact or "_from_" in key
        whole = key in ("step", "timestamp_us", "image_timestamp_us")
        default = "int64" if whole else "float64" if wide else "float32"
        assert value.dtype.name == (kind or default), key
        assert value.dtype.kind != "f" or np.isfinite(value).all(), key
    assert sample["drive"] == "monday" and sample["cameras"] == ("front", "left")


def test_pictures_are_those_that_were_recorded(log: Path) -> None:
    source = LogSource([log], EVERYTHING)
    for index in (0, 4, 9):
        sample = source.sample(index)
        step = int(sample["step"])
        seen = observation(step)
        for k, name in enumerate(("front", "left")):
            image = seen.cameras[name]
            np.testing.assert_array_equal(np.moveaxis(sample["images"][k], 0, -1), image.rgb)
            depth = np.where(np.isinf(image.depth), 0.0, image.depth)
            np.testing.assert_array_equal(sample["depth"][k], depth)
            np.testing.assert_array_equal(sample["semantic"][k], image.semantic)
            np.testing.assert_array_equal(sample["instance"][k], image.instance)
            np.testing.assert_allclose(sample["intrinsics"][k], image.camera.matrix)
        for back in (1, 2):
            there = sample["history_valid"][back - 1]
            assert there == (step - 2 * back >= 0)
            if there:
                old = observation(step - 2 * back).cameras["front"].rgb
                got = np.moveaxis(sample["history_images"][back - 1, 0], 0, -1)
                np.testing.assert_array_equal(got, old)
            else:
                assert not sample["history_images"][back - 1].any()


def test_boxes_tracks_and_paths_are_those_of_the_world_seen_from_the_ego(log: Path) -> None:
    sample = LogSource([log], EVERYTHING).sample(5)
    step = int(sample["step"])
    now = pose(DT * step)
    assert sample["box_id"].tolist() == [4, 9, 11]
    states = agents(step)
    order = np.argsort(states.id)
    centre = np.stack([states.x, states.y, states.z + states.height / 2], -1)[order]
    np.testing.assert_allclose(transform_points(now, sample["boxes"][:, :3]), centre, atol=1e-5)
    velocity = sample["boxes"][:, 7:9] @ now[:2, :2].T
    np.testing.assert_allclose(velocity[0], [5.0, 1.0], atol=1e-5)
    np.testing.assert_allclose(
        sample["boxes"][:, 6] + 0.15 * DT * step, states.heading[order], atol=1e-5
    )
    assert sample["box_pixels"].tolist() == [37, 0, 0]
    for k in range(3):
        then = step + 2 * (k + 1)
        assert sample["ego_future_valid"][k] == (then < 12)
        if then < 12:
            move = inverse(now) @ pose(DT * then)
            np.testing.assert_allclose(sample["ego_future"][k, :2], move[:2, 3], atol=1e-4)
            np.testing.assert_allclose(
                sample["ego_future"][k, 2:], [0.03 * (k + 1), SPEED], atol=1e-5
            )
            x, y = agents(then).x[1], agents(then).y[1]
            where = transform_points(inverse(now), np.array([[x, y, 0.0]]))[0]
            np.testing.assert_allclose(sample["agents_future"][0, k, :2], where[:2], atol=1e-4)
    # number 11 came at step 5: before, it is not there
    assert not sample["agents_past_valid"][2, 1] and not sample["agents_past"][2, 1].any()
    past = inverse(now) @ pose(DT * (step - 2))
    np.testing.assert_allclose(sample["history_now_from_past"][0], past, atol=1e-9)


def test_sensors_are_put_where_they_were_at_their_own_time(log: Path) -> None:
    moved = LogSource([log], EVERYTHING).sample(5)
    step = int(moved["step"])
    then = inverse(pose(DT * step)) @ pose(DT * (step - 1))  # "left" is 0.1 s late
    np.testing.assert_allclose(
        moved["ego_from_camera"][1], then @ RIG.cameras[1].ego_from_camera, atol=1e-6
    )
    np.testing.assert_allclose(moved["ego_from_camera"][0], RIG.cameras[0].ego_from_camera)
    fixed = LogSource([log], dataclasses.replace(EVERYTHING, motion=False)).sample(5)
    np.testing.assert_allclose(fixed["ego_from_camera"][1], RIG.cameras[1].ego_from_camera)
    # two sweeps: the newest as it came, the one before moved by the ego's motion
    newest, older = (observation(k).lidars["top"].points for k in (step, step - 1))
    np.testing.assert_allclose(moved["points"][: len(newest), :4], newest, atol=1e-5)
    np.testing.assert_allclose(
        moved["points"][len(newest) :, :3], transform_points(then, older[:, :3]), atol=1e-4
    )
    assert moved["points"][len(newest) - 1, 4] == pytest.approx(0.0)
    assert moved["points"][-1, 4] == pytest.approx(-0.1, abs=1e-6)


def test_map_pieces_lie_on_the_map_and_near(log: Path) -> None:
    sample = LogSource([log], EVERYTHING).sample(2)
    lines, kinds = sample["map_lines"], sample["map_line_kind"]
    assert set(kinds.tolist()) == {int(kind) for kind in MapLine} - {int(MapLine.DIVIDER)}
    assert (np.linalg.norm(lines[..., :2], axis=-1).min(1) <= 40.0).all()
    steps = np.linalg.norm(np.diff(lines, axis=1), axis=-1)
    assert steps.max() <= 2.01
    world = transform_points(sample["world_from_ego"], lines.reshape(-1, 3)).reshape(lines.shape)
    centres = world[kinds == MapLine.CENTRELINE].reshape(-1, 3)
    gap = np.linalg.norm(centres[:, None, :2] - ROAD.point_xyz[None, :, :2], axis=-1).min(1)
    assert gap.max() < 0.5
    assert (sample["map_line_width"][kinds == MapLine.CENTRELINE] == 3.5).all()
    np.testing.assert_allclose(
        transform_points(sample["world_from_ego"], sample["light_poses"][:, :3]),
        ROAD.signal_xyz, atol=1e-3,
    )  # fmt: skip


def test_borders_between_lanes_of_one_way_are_dividers() -> None:
    right = np.full(ROAD.lanes, -1, np.int32)
    right[0] = 2  # as if they lay side by side
    pieces = MapPieces(dataclasses.replace(ROAD, lane_right=right), 5, 2.0)
    length = float(ROAD.lane_length[0])
    dividers = pieces.points[pieces.kind == MapLine.DIVIDER]
    assert len(dividers) == np.ceil(length / 8.0)
    assert not len(MapPieces(None, 5, 2.0).near(np.eye(4), 50.0)["map_lines"])


@settings(max_examples=30, derandomize=True, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=2, max_size=8),
    st.integers(2, 9),
    st.floats(0.5, 4.0),
)
def test_pieces_hang_together_and_are_fine_enough(
    line: list[tuple[float, float]], points: int, spacing: float
) -> None:
    pieces = pieces_of(np.array(line), points, spacing)
    for piece, following in pairwise(pieces):
        np.testing.assert_allclose(piece[-1], following[0])
    if len(pieces):
        assert np.linalg.norm(np.diff(pieces, axis=1), axis=-1).max() <= spacing + 1e-9
        np.testing.assert_allclose(pieces[0, 0], line[0])
        np.testing.assert_allclose(pieces[-1, -1], line[-1], atol=1e-9)


# --- views --------------------------------------------------------------------------------------

LENS = CameraSensor("cam", Mount(1.0, 0.0, 1.5, yaw=0.1), 400, 300, 250.0, 255.0, 198.0, 150.0)
BENT = dataclasses.replace(LENS, model="brown-conrady", distortion=(-0.2, 0.03, 0.001, -0.002))
FISH = dataclasses.replace(LENS, model="fisheye", distortion=(0.02, -0.003, 0.001, 0.0))
PLACES = np.array([[20.0, y, z] for y in (-8.0, -3.0, 1.0, 6.0) for z in (-2.0, 0.5, 3.5)])


def dotted(sensor: CameraSensor) -> CameraImage:
    """Dots where the places are seen."""
    local = transform_points(inverse(sensor.ego_from_camera), PLACES)
    v, u = np.mgrid[: sensor.height, : sensor.width]
    image = np.zeros((sensor.height, sensor.width))
    for x, y in sensor.camera.project(local)[0]:
        image = np.maximum(image, np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * 2.5**2)))
    rgb = np.repeat(np.rint(250 * image).astype(np.uint8)[..., None], 3, axis=-1)
    depth = np.full(image.shape, 18.0, np.float32)
    return CameraImage(rgb, sensor.camera, sensor.ego_from_camera, 0, depth=depth)


VIEWS: list[tuple[str, CameraSensor, dict[str, Any]]] = [
    ("as it is", BENT, {}),
    ("cover", LENS, {"size": (240, 120)}),
    ("cover, wide and bent", BENT, {"size": (240, 90), "keep": "middle"}),
    ("stretch", BENT, {"size": (300, 150), "fit": "stretch"}),
    ("larger", LENS, {"size": (600, 300), "keep": "top"}),
    ("rectify", BENT, {"rectify": True}),
    ("rectify a fisheye", FISH, {"rectify": True, "size": (320, 240)}),
    ("virtual", LENS, {"virtual": "RIG"}),
    ("virtual from bent", BENT, {"virtual": "RIG", "size": (200, 100)}),
    ("virtual from a fisheye", FISH, {"virtual": "RIG"}),
]


@pytest.mark.parametrize(("name", "sensor", "changes"), VIEWS, ids=[name for name, *_ in VIEWS])
def test_what_is_seen_stays_where_the_new_lens_projects_it(
    name: str, sensor: CameraSensor, changes: dict[str, Any], plain: Path, tmp_path: Path
) -> None:
    rig = tmp_path / "slot.yaml"
    rig.write_text(
        "name: slot\ncameras: [{name: slot, mount: {x: 0.5, y: 0, z: 1.2, yaw: -0.05, roll: 0.04},"
        " width: 320, height: 200, fx: 180, fy: 180, cx: 160, cy: 99}]\n"
    )
    if "virtual" in changes:
        changes = {**changes, "virtual": str(rig)}
    recording = open_drive(plain, "a")
    frame = dataclasses.replace(recording.frames[0], sensor="cam", read=partial(dotted, sensor))
    recording = dataclasses.replace(
        recording, rig=SensorRig("one", cameras=(sensor,)), frames=(frame,)
    )
    spec = SampleSpec(products=("rgb", "depth"), boxes=False, **changes)
    sample = LogSource([recording], spec).sample(0)
    lens = (Pinhole, type(BENT.camera), type(FISH.camera))[sample["lens"][0]]
    k = sample["intrinsics"][0]
    height, width = sample["images"].shape[-2:]
    count = {0: 0, 1: 8, 2: 4}[int(sample["lens"][0])]
    made = lens(width, height, k[0, 0], k[1, 1], k[0, 2], k[1, 2], *sample["distortion"][0][:count])
    # the camera's place stays: turning it moves no ray
    np.testing.assert_allclose(sample["ego_from_camera"][0, :3, 3], sensor.ego_from_camera[:3, 3])
    uv, seen = made.project(transform_points(inverse(sample["ego_from_camera"][0]), PLACES))
    found = 0
    for x, y in uv[seen]:
        u, v = round(x), round(y)
        if 8 <= u < width - 8 and 8 <= v < height - 8:
            part = sample["images"][0, 0, v - 7 : v + 8, u - 7 : u + 8].astype(float)
            rows, columns = np.mgrid[v - 7 : v + 8, u - 7 : u + 8]
            assert abs((columns * part).sum() / part.sum() - x) < 0.4, name
            assert abs((rows * part).sum() / part.sum() - y) < 0.4, name
            found += 1
    assert found >= 6
    if "virtual" in changes:
        # a wall 18 m along the old axis, seen along the new one
        middle = np.array([width // 2, height // 2])
        ray = made.unproject(middle)[0] @ sample["ego_from_camera"][0, :3, :3].T
        away = 18.0 / (ray @ sensor.ego_from_camera[:3, 2])
        z = away * ray @ sample["ego_from_camera"][0, :3, 2]
        assert sample["depth"][0, middle[1], middle[0]] == pytest.approx(z, rel=1e-3)


def test_a_virtual_camera_that_nothing_looks_like_stays_black(plain: Path) -> None:
    sample = LogSource([plain], SampleSpec(virtual="nuscenes-704x256")).sample(0)
    assert sample["cameras"][3] == "cam-back"
    assert sample["image_valid"].tolist() == [True, False, True, False, True, False]
    assert not sample["images"][3].any() and sample["images"].shape == (6, 3, 256, 704)


# --- what fits ----------------------------------------------------------------------------------


def test_steps_without_a_picture_are_no_samples_unless_asked_for(log: Path) -> None:
    assert len(LogSource([log], SampleSpec())) == 11  # "left" comes a step late
    incomplete = LogSource([log], SampleSpec(complete=False))
    assert len(incomplete) == 12
    first = incomplete.sample(0)
    assert first["image_valid"].tolist() == [True, False]
    assert not first["images"][1].any()
    front = LogSource([log], SampleSpec(cameras=("front",), every=5))
    assert [int(front.sample(k)["step"]) for k in range(len(front))] == [0, 5, 10]


def test_only_labelled_steps_and_no_old_pictures(plain: Path) -> None:
    recording = open_drive(plain, "a")
    some = dataclasses.replace(recording, labelled=np.arange(9) % 4 == 0)
    assert [d.steps.tolist() for d in LogSource([some], SampleSpec()).drives] == [[0, 4, 8]]
    assert len(LogSource([some], SampleSpec(labelled=False))) == 9
    early = tuple(f for f in recording.frames if f.step < 2)
    gone = dataclasses.replace(recording, frames=early)
    assert len(LogSource([gone], SampleSpec(max_age=0.25))) == 4  # 0.1 s, and up to 0.2 s old
    single = dataclasses.replace(recording, continuous=False)
    sample = LogSource([single], SampleSpec(history=1, future=1, spacing=0.1)).sample(3)
    assert not sample["history_valid"].any() and not sample["ego_future_valid"].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cameras": ("rear",)}, 'has no camera "rear"; it has front, left'),
        ({"lidars": ("roof",)}, 'has no LiDAR "roof"; it has none'),
        ({"size": (0, 5)}, "size is 0 x 5: give both above 0, or 0, 0"),
        ({"spacing": 0.0}, "spacing is 0.0: it must be above 0"),
        ({"products": ()}, "cameras without products"),
        ({"max_age": 1e-9, "every": 9}, "no step of .* fits: see complete, max_age"),
    ],
)
def test_mistakes_in_a_spec(plain: Path, changes: dict[str, Any], message: str) -> None:
    recording = open_drive(plain, "a")
    late = tuple(dataclasses.replace(f, step=f.step + 1) for f in recording.frames)
    if "max_age" in changes:
        recording = dataclasses.replace(recording, frames=late)
    with pytest.raises(RoadloopError, match=message) as caught:
        LogSource([recording], SampleSpec(**changes))
    assert "\n" not in str(caught.value)


def test_products_that_were_not_recorded(plain: Path) -> None:
    source = LogSource([plain], SampleSpec(products=("rgb", "depth")))
    with pytest.raises(RoadloopError, match="front at 0 us was recorded without depth"):
        source.sample(0)


# --- batches ------------------------------------------------------------------------------------


def test_batches_are_padded_with_masks(log: Path) -> None:
    source = LogSource([log], EVERYTHING)
    samples = [source.sample(k) for k in (0, 5, 10)]
    batch = collate(samples, {"boxes": 8})
    assert batch["boxes"].shape == (3, 8, 9)
    assert batch["boxes_valid"].sum(1).tolist() == [2, 3, 3]
    assert batch["agents_future"].shape == (3, 8, 3, 5)
    for group in RAGGED:
        valid = batch[f"{group}_valid"]
        assert valid.sum(1).tolist() == [len(s[group]) for s in samples]
        assert not batch[group][~valid].any()
        for row, sample in enumerate(samples):
            kept = batch[group][row][valid[row]].numpy()
            np.testing.assert_array_equal(kept, sample[group])
    assert batch["images"].dtype == torch.uint8 and batch["intrinsics"].dtype == torch.float32
    assert batch["world_from_ego"].dtype == torch.float64
    assert batch["images"][0].is_contiguous(memory_format=torch.channels_last)
    for value in batch.values():
        assert not isinstance(value, torch.Tensor) or torch.isfinite(value).all()
    with pytest.raises(RoadloopError, match="a sample has 3 boxes, pad_to says 2: raise it"):
        collate(samples, {"boxes": 2})
    with pytest.raises(RoadloopError, match="only one has"):
        collate([samples[0], {k: v for k, v in samples[1].items() if k != "depth"}])
    small = LogSource([log], dataclasses.replace(EVERYTHING, size=(48, 32))).sample(0)
    with pytest.raises(RoadloopError, match=r"images has the shapes .* give size"):
        collate([samples[0], small])


def test_workers_change_nothing_and_kept_batches_stay_as_they_are(log: Path) -> None:
    source = LogSource([log], EVERYTHING)
    alone = list(make_loader(source, 2, seed=4))
    loader = make_loader(source, 2, seed=4, workers=2, prefetch=1)
    kept = [*loader, *loader]  # more batches than the ring has blocks
    assert len(alone) == len(loader) == 5
    for a, b in zip(alone, kept):
        same(a, b)
    second = [*make_loader_at(source, epoch=1)]
    for a, b in zip(second, kept[5:]):
        same(a, b)
    assert loader._ring is not None
    view = kept[-1]["images"][0, :, 0]
    before = view.clone()
    del kept, a, b
    gc.collect()
    list(loader)
    assert torch.equal(view, before)  # a view of a batch keeps its memory
    del view
    gc.collect()
    assert int(loader._ring._busy.sum()) == 0


def make_loader_at(source: LogSource, epoch: int) -> Any:
    loader = make_loader(source, 2, seed=4)
    loader.epoch = epoch
    return loader


def key_of(batch: dict[str, Any]) -> list[tuple[str, int]]:
    return list(zip(batch["drive"], batch["step"].tolist()))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_state_goes_on_with_the_very_next_sample(plain: Path, workers: int) -> None:
    source = LogSource([plain], SampleSpec())
    make = partial(make_loader, source, 3, seed=7, workers=workers)
    whole = make()
    expected = [key_of(batch) for _ in range(2) for batch in whole]
    assert len(expected) == 14 and expected[:7] != expected[7:]
    broken = make()
    stream = (batch for _ in range(2) for batch in broken)
    first = [key_of(next(stream)) for _ in range(9)]
    state = pickle.loads(pickle.dumps(broken.state_dict()))
    assert state["epoch"] == 1 and state["done"] == 2
    again = make_loader(source, 3, seed=7, workers=2 - workers)  # of other workers
    again.load_state_dict(state)
    assert first + [key_of(batch) for batch in again] == expected


def test_a_state_of_another_order_is_refused(plain: Path) -> None:
    source = LogSource([plain], SampleSpec())
    state = make_loader(source, 3, seed=7).state_dict()
    for changes, what in (
        ({"seed": 8}, "seed 7, this one has 8"),
        ({"batch_size": 4}, "batch_size"),
    ):
        loader = make_loader(source, **{"batch_size": 3, "seed": 7, **changes})
        with pytest.raises(RoadloopError, match=f"the state is of a loader with {what}"):
            loader.load_state_dict(state)
    with pytest.raises(RoadloopError, match="no state of a loader"):
        make_loader(source, 3).load_state_dict({"epoch": 1})


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_see_disjoint_samples_that_together_are_all(plain: Path, world: int) -> None:
    source = LogSource([plain], SampleSpec())
    parts = [
        [key for batch in make_loader(source, 2, drop_last=False, rank=r, world_size=world)
         for key in key_of(batch)]
        for r in range(world)
    ]  # fmt: skip
    together = [key for part in parts for key in part]
    assert len(together) == len(set(together)) == 23
    counts = {len(make_loader(source, 2, rank=r, world_size=world)) for r in range(world)}
    assert counts == {23 // world // 2}  # training together needs the same number


def test_orders() -> None:
    common = {"seed": 1, "shuffle": True, "batch_size": 4, "rank": 0, "world_size": 1}
    once = picked_jobs(40, 0, drop_last=True, **common)
    assert once == picked_jobs(40, 0, drop_last=True, **common)
    assert once != picked_jobs(40, 1, drop_last=True, **common)
    assert sorted(i for job in once for i in job.indices) == list(range(40))
    jobs = stream_jobs([[5, 9], [20, 2]], 0, batch_size=4, drop_last=False, rank=0)
    assert [(j.stream, j.first, j.count) for j in jobs] == [
        (0, 0, 4), (1, 0, 4), (0, 4, 1), (1, 4, 4), (0, 8, 0), (1, 8, 1),
    ]  # fmt: skip
    for rank in (0, 1):  # streams of 5 + 9 and 20 + 2 samples: three whole batches each
        jobs = stream_jobs([[5, 9], [20, 2]], 0, batch_size=4, drop_last=True, rank=rank)
        assert [j.count for j in jobs if j.is_real] == [4, 4, 4]


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.integers(0, 200), st.integers(0, 50), st.integers(0, 9))
def test_a_shuffle_buffer_gives_everything_once_and_nothing_too_early(
    samples: int, buffer: int, seed: int
) -> None:
    order = buffered_order(samples, buffer, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(samples))
    assert (order - np.arange(samples) < max(buffer, 1)).all()


# --- sources of one's own, faults, transforms ----------------------------------------------------


class Rendered:
    """A source that makes its samples, with two that fail."""

    def __init__(self, bad: tuple[int, ...] = ()) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 10

    def sample(self, index: int) -> Sample:
        if index in self.bad:
            raise RoadloopError(f"world {index} is damaged")
        return {"step": np.int64(index), "images": np.full((1, 3, 2, 4), index, np.uint8)}


def noisy(sample: Sample, rng: np.random.Generator) -> Sample:
    return {**sample, "drawn": rng.integers(0, 2**40)}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_source_needs_no_more_than_a_length_and_samples(workers: int) -> None:
    loader = make_loader(Rendered(), 5, workers=workers, transform=noisy)
    batches = [batch for _ in range(2) for batch in loader]
    steps = [batch["step"].tolist() for batch in batches]
    assert sorted(steps[0] + steps[1]) == list(range(10))
    assert batches[0]["images"][:, 0, 0, 0, 0].tolist() == steps[0]
    drawn = torch.cat([batch["drawn"] for batch in batches])
    assert len(drawn.unique()) == 20  # every sample of every epoch has numbers of its own
    state = make_loader(Rendered(), 5, transform=noisy)
    next(iter(state))
    rest = make_loader(Rendered(), 5, transform=noisy)
    rest.load_state_dict(state.state_dict())
    assert torch.equal(next(iter(rest))["drawn"], batches[1]["drawn"])


def fault_of(loader: Any) -> str:
    """What is wrong; nothing holds on to the loader, whose workers end at once then."""
    try:
        list(loader)
    except RoadloopError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_sample_is_an_error_of_one_line_or_passed_over(workers: int) -> None:
    strict = make_loader(Rendered((3, 4)), 5, workers=workers, shuffle=False)
    assert fault_of(strict) == "world 3 is damaged"
    lenient = make_loader(Rendered((3, 4)), 5, workers=workers, shuffle=False, skip_damaged=True)
    assert [batch["step"].tolist() for batch in lenient] == [[0, 1, 2, 5, 5], [5, 6, 7, 8, 9]]
    assert lenient.damaged == ["world 3 is damaged", "world 4 is damaged", "world 4 is damaged"]
    nothing = make_loader(Rendered(tuple(range(10))), 5, workers=workers, skip_damaged=True)
    assert fault_of(nothing).startswith("no sample of 10 can be read")


def test_a_truncated_picture_names_its_file(tmp_path: Path) -> None:
    record(tmp_path / "log", 4, PLAIN)
    (tmp_path / "log" / "SHA256SUMS").unlink()
    file = tmp_path / "log" / "rgb" / "front" / "000002.jpg"
    file.write_bytes(file.read_bytes()[:-40])
    source = LogSource([tmp_path], SampleSpec())
    with pytest.raises(RoadloopError, match=r"rgb/front/000002\.jpg is truncated"):
        source.sample(2)
    file.unlink()
    with pytest.raises(RoadloopError, match=r"rgb/front/000002\.jpg is missing"):
        source.sample(2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size 0"),
        ({"workers": 2, "streams": 3}, "streams 3"),
        ({"rank": 2, "world_size": 2}, "rank 2 of 2 processes"),
        ({"batch_size": 11}, "10 samples give process 0 of 1 no batch of 11"),
    ],
)
def test_mistakes_in_a_loader(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RoadloopError, match=message):
        make_loader(Rendered(), **{"batch_size": 5, **changes})


def test_too_little_shared_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import training.shared_batches as shared

    class Full:
        f_bavail, f_frsize = 10, 4096

    monkeypatch.setattr(shared.os, "statvfs", lambda path: Full)
    with pytest.raises(RoadloopError, match=r"/dev/shm has 0 MB left, a batch needs 12 MB"):
        shared.Ring(1, 2).take(10_000_000)


def test_waiting_and_working_are_told_apart() -> None:
    now = [0.0]
    lines: list[str] = []

    def slow() -> Any:
        for _ in range(4):
            now[0] += 0.03
            yield {"step": torch.zeros(8)}

    for _ in DataTimer(slow(), every=2, write=lines.append, clock=lambda: now[0]):
        now[0] += 0.09
    assert lines == [
        f"step {k}: data 30.0 ms, compute 90.0 ms a step (25% waiting), 66.7 samples/s"
        for k in (2, 4)
    ]


@pytest.mark.slow
def test_torchrun_shares_the_samples(plain: Path, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import torch.distributed as dist
            from training.data import LogSource, SampleSpec, make_loader

            dist.init_process_group("gloo")
            source = LogSource([{str(plain)!r}], SampleSpec())
            loader = make_loader(source, 2, workers=1, drop_last=False, seed=5)
            seen = [key for b in loader for key in zip(b["drive"], b["step"].tolist())]
            everyone = [None, None]
            dist.all_gather_object(everyone, seen)
            if dist.get_rank() == 0:
                together = everyone[0] + everyone[1]
                print(len(everyone[0]), len(everyone[1]), len(set(together)))
            dist.destroy_process_group()
            """
        )
    )
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    root = Path(__file__).resolve().parents[1]
    run = subprocess.run(
        [*words, str(script)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["12", "11", "23"]


# --- data sets of others --------------------------------------------------------------------------


def test_nuscenes_boxes_stay_on_what_they_mark() -> None:
    """Resized and cropped: LiDAR points in a box are seen in the box's outline."""
    root = DATA / "nuscenes" / "one_sample"
    if not root.is_dir():
        pytest.skip(f"{root} is missing")
    sample = LogSource([root], SampleSpec(size=(704, 256), lidars=("all",))).sample(0)
    assert sample["images"].shape == (6, 3, 256, 704) and sample["image_valid"].all()
    assert len(sample["points"]) > 30_000 and sample["points"][:, 3].max() <= 1.0
    inside = 0
    for box, count in zip(sample["boxes"], sample["box_lidar_points"]):
        local = sample["points"][:, :3] - box[:3]
        c, s = np.cos(box[6]), np.sin(box[6])
        turned = np.stack(
            [c * local[:, 0] + s * local[:, 1], c * local[:, 1] - s * local[:, 0]], -1
        )
        held = (np.abs(turned) < box[3:5] / 2 + 0.05).all(-1) & (
            np.abs(local[:, 2]) < box[5] / 2 + 0.05
        )
        inside += bool(count < 10 or 0.7 * count <= held.sum() <= 1.5 * count)
    assert inside > 0.9 * len(sample["boxes"])
