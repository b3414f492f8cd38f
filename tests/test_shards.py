"""Shards: the same samples as from logs, the same bytes every time, resumable, read by others."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from test_data import EVERYTHING, fault_of, key_of, same
from test_record import RIG as SIM_RIG
from test_record import Coast
from training_drive import PLAIN, record

from roadloop.cli import main
from roadloop.cli.shard import bytes_of
from roadloop.errors import RoadloopError
from sim.record import record_drive
from sim.scenarios import build_scenario
from sim.sensors.fitting import fitted
from sim.simulator import SimWorld
from training.data import LogSource, SampleSpec, ShardSource, make_loader, open_shards
from training.shard_index import read_index, verify_shards
from training.shards import ShardOptions, write_shards, writing_order

Capture = pytest.CaptureFixture[str]
SMALL = ShardOptions(size=40e3, mix=2)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three drives with 33 samples of everything."""
    folder = tmp_path_factory.mktemp("logs")
    for name in ("a", "b", "c"):
        record(folder / name)
    return folder


@pytest.fixture(scope="module")
def source(logs: Path) -> LogSource:
    return LogSource([logs], EVERYTHING)


@pytest.fixture(scope="module")
def shards(source: LogSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "all"
    write_shards(source, str(folder), SMALL)
    return folder


def in_order(source: Any, **options: Any) -> list[dict[str, Any]]:
    options = {"batch_size": 1, "shuffle": False, "drop_last": False, **options}
    return list(make_loader(source, **options))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# --- what is in them ----------------------------------------------------------------------------


def test_samples_from_shards_are_those_of_the_log(source: LogSource, shards: Path) -> None:
    order = writing_order([len(d.steps) for d in source.drives], SMALL)
    read = in_order(open_shards(str(shards)), workers=1)
    assert len(read) == len(order) == 33
    for index, batch in zip(order.tolist(), read):
        expected = make_loader(_Only(source, index), 1, drop_last=False)
        (direct,) = list(expected)
        assert sorted(direct) == sorted(batch)
        for key in direct:
            if key.endswith("depth"):  # whole centimetres, as in the log
                torch.testing.assert_close(batch[key], direct[key], rtol=0, atol=0.0051)
            elif isinstance(direct[key], torch.Tensor):
                assert batch[key].dtype == direct[key].dtype, key
                assert torch.equal(batch[key], direct[key]), key
            else:
                assert batch[key] == direct[key], key


class _Only:
    """One sample of a source."""

    def __init__(self, source: LogSource, index: int) -> None:
        self.source, self.index = source, index

    def __len__(self) -> int:
        return 1

    def sample(self, index: int) -> Any:
        return self.source.sample(self.index)


def test_pictures_are_copied_byte_by_byte(logs: Path, shards: Path) -> None:
    found = 0
    with tarfile.open(shards / "shard-000000.tar") as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    for name, content in members.items():
        if name.endswith(".front.jpg"):
            facts = json.loads(members[name.replace("front.jpg", "json")])
            file = logs / facts["drive"] / "rgb" / "front" / f"{facts['step']:06d}.jpg"
            assert file.read_bytes() == content
            found += 1
    assert found == json.loads((shards / "index.json").read_text())["shards"][0]["samples"]
    camera = facts["cameras"][1]
    assert camera["name"] == "left" and camera["model"] == "brown-conrady"
    assert camera["k1"] == -0.1 and camera["width"] == 96


def test_the_index_says_what_is_there(shards: Path) -> None:
    index = json.loads((shards / "index.json").read_text())
    assert index["samples"] == 33 == sum(shard["samples"] for shard in index["shards"])
    assert index["licences"] == {"roadloop": {"CC0": 33}}
    assert [name for name in contents(shards)] == [
        "index.json", *(shard["name"] for shard in index["shards"]),
    ]  # fmt: skip
    for shard in index["shards"]:
        assert (shards / shard["name"]).stat().st_size == shard["bytes"]
    assert len(index["shards"]) > 5 and verify_shards(str(shards)) == len(index["shards"])


def test_webdataset_and_tar_read_them(shards: Path) -> None:
    listing = subprocess.run(
        ["tar", "-tf", str(shards / "shard-000000.tar")], capture_output=True, check=True, text=True
    )
    assert "000000000.front.jpg" in listing.stdout.split()
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    from safetensors.numpy import load

    files = [str(path) for path in sorted(shards.glob("*.tar"))]
    read = webdataset.WebDataset(files, shardshuffle=False, empty_check=False).decode("rgb8")
    ours = in_order(open_shards(str(shards)))
    count = 0
    for theirs, batch in zip(read, ours):
        assert theirs["json"]["step"] == int(batch["step"])
        rgb = batch["images"][0, 0].permute(1, 2, 0).numpy()
        assert np.abs(theirs["front.jpg"].astype(int) - rgb).max() <= 2  # another JPEG decoder
        boxes = load(theirs["safetensors"])["boxes"]
        np.testing.assert_array_equal(boxes, batch["boxes"][0].numpy())
        count += 1
    assert count == 33


def test_from_the_simulator_to_a_batch(tmp_path: Path) -> None:
    scenario = build_scenario("cut_in", seed=1, duration=0.5)
    front = dataclasses.replace(SIM_RIG.cameras[0], products=("rgb", "depth", "semantic", "boxes"))
    rig = dataclasses.replace(SIM_RIG, cameras=(front,))
    for lossless in (True, False):
        folder = tmp_path / f"lossless-{lossless}"
        record_drive(scenario, Coast(), rig, folder / "drive", lossless=lossless)
        spec = SampleSpec(products=("rgb", "depth", "semantic"), lidars=("all",), map=True)
        write_shards(LogSource([folder], spec), str(folder / "shards"), ShardOptions(mix=0))
        batches = in_order(open_shards(str(folder / "shards")))
        world, driver = SimWorld(), Coast()
        observation = world.reset(scenario, ())
        suite = fitted(rig, scenario)
        for k, batch in enumerate(batches):
            if k:
                observation = world.step(driver.act(observation))
            readings = suite.observe(world.state) if k else suite.reset(world.state)
            image, sweep = readings["cameras"]["front"], readings["lidars"]["top"]
            rgb = batch["images"][0, 0].permute(1, 2, 0).numpy().astype(int)
            if lossless:
                np.testing.assert_array_equal(rgb, image.rgb)
            else:
                assert np.abs(rgb - image.rgb).mean() < 6.0  # sharp edges in 96 x 48 px
            depth = np.where(np.isinf(image.depth), 0.0, image.depth)
            np.testing.assert_allclose(batch["depth"][0, 0], depth, atol=0.0051)
            np.testing.assert_array_equal(batch["semantic"][0, 0], image.semantic)
            np.testing.assert_allclose(batch["points"][0, :, :4], sweep.points, atol=1e-4)
            assert batch["map_lines"].shape[1] > 3
        assert len(batches) == 6


# --- writing ------------------------------------------------------------------------------------


def test_the_same_bytes_with_any_number_of_workers(
    source: LogSource, shards: Path, tmp_path: Path
) -> None:
    write_shards(source, str(tmp_path / "again"), SMALL, workers=2)
    assert contents(tmp_path / "again") == contents(shards)


def test_an_interrupted_run_goes_on_to_the_same_bytes(
    source: LogSource, shards: Path, tmp_path: Path
) -> None:
    url = str(tmp_path / "broken")

    def stop(done: int) -> None:
        if done == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(source, url, SMALL, on_sample=stop)
    left = contents(tmp_path / "broken")
    assert "index.json" not in left and "index.part.json" in left
    whole = contents(shards)
    assert {name: whole[name] for name in left if name.endswith(".tar")} == {
        name: content for name, content in left.items() if name.endswith(".tar")
    }
    with pytest.raises(RoadloopError, match="no shards are there, or their writing was"):
        open_shards(url)
    with pytest.raises(RoadloopError, match="holds shards already; resume them"):
        write_shards(source, url, SMALL)
    other = ShardOptions(size=SMALL.size, mix=3)
    with pytest.raises(RoadloopError, match="holds shards with another mix"):
        write_shards(source, url, other, resume=True)
    seen: list[int] = []
    write_shards(source, url, SMALL, resume=True, on_sample=seen.append)
    assert contents(tmp_path / "broken") == whole
    assert 1 < seen[0] <= 14 and seen[-1] == 33  # finished shards were not made again
    write_shards(source, url, SMALL, resume=True, on_sample=seen.append)  # nothing is left
    assert len(seen) == 34 - seen[0]
    write_shards(source, url, ShardOptions(size=1e9), overwrite=True)
    assert sorted(contents(tmp_path / "broken")) == ["index.json", "shard-000000.tar"]


def test_any_file_system(source: LogSource, shards: Path) -> None:
    url = "memory://bucket/shards"
    write_shards(source, url, SMALL, overwrite=True)
    a = in_order(open_shards(url))
    for one, other in zip(a, in_order(open_shards(str(shards)))):
        same(one, other)
    assert len(a) == 33 and verify_shards(url) > 5
    with pytest.raises(RoadloopError, match=r"nosuch://x\S* cannot be opened: Protocol not known"):
        open_shards("nosuch://x")


def test_drives_are_mixed_and_each_is_opened_in_one_stretch() -> None:
    counts = [5, 7, 3, 8, 6, 4]
    starts = np.cumsum([0, *counts])
    order = writing_order(counts, ShardOptions(mix=2, seed=3))
    assert sorted(order.tolist()) == list(range(33))
    drives = np.searchsorted(starts, order, side="right") - 1
    for first in range(0, 6, 2):
        size = len([d for d in drives if d in drives_of(drives, first)])
        assert size == sum(counts[d] for d in drives_of(drives, first))
    assert (order != writing_order(counts, ShardOptions(mix=2, seed=4))).any()
    plain = writing_order(counts, ShardOptions(mix=0))
    np.testing.assert_array_equal(plain, np.arange(33))


def drives_of(drives: np.ndarray, first: int) -> list[int]:
    """The two drives that are mixed, of all in the order they come."""
    return list(dict.fromkeys(drives.tolist()))[first : first + 2]


def test_resized_once(logs: Path, tmp_path: Path) -> None:
    spec = SampleSpec(size=(48, 24), keep="middle")
    source = LogSource([logs / "a"], spec)
    write_shards(source, str(tmp_path / "small"), ShardOptions(mix=0))
    with tarfile.open(tmp_path / "small" / "shard-000000.tar") as tar:
        content = tar.extractfile("000000000.front.jpg").read()  # type: ignore[union-attr]
    assert cv2.imdecode(np.frombuffer(content, np.uint8), 1).shape == (24, 48, 3)
    read = in_order(open_shards(str(tmp_path / "small")))
    for index, batch in enumerate(read):
        sample = source.sample(index)
        difference = batch["images"][0].numpy().astype(int) - sample["images"]
        assert np.abs(difference).mean() < 3.0  # one more JPEG
        for key in ("intrinsics", "distortion", "ego_from_camera", "boxes"):
            np.testing.assert_allclose(batch[key][0], sample[key], rtol=1e-6, atol=1e-6)


def test_virtual_cameras_are_written_as_they_are_seen(logs: Path, tmp_path: Path) -> None:
    spec = SampleSpec(virtual="compact-3cam", size=(96, 48), history=1, spacing=0.2)
    source = LogSource([logs / "a"], spec)
    write_shards(source, str(tmp_path / "v"), ShardOptions(mix=0))
    read = in_order(open_shards(str(tmp_path / "v")))
    for index, batch in enumerate(read):
        sample = source.sample(index)
        assert batch["cameras"] == [sample["cameras"]] and len(sample["cameras"]) == 3
        for key in ("image_valid", "intrinsics", "ego_from_camera", "history_ego_from_camera"):
            np.testing.assert_allclose(batch[key][0], sample[key], rtol=1e-6, atol=1e-6)
        difference = batch["images"][0].numpy().astype(int) - sample["images"]
        assert np.abs(difference).mean() < 4.0


# --- reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_a_state_goes_on_with_the_very_next_sample(shards: Path, workers: int) -> None:
    def make(workers: int) -> Any:
        shards_ = open_shards(str(shards), buffer=5, products=("rgb",), history=0)
        return make_loader(shards_, 3, seed=7, streams=2, workers=workers)

    expected, whole = [], make(workers)
    for _ in range(2):
        expected.append([key_of(batch) for batch in whole])
    assert expected[0] != expected[1]
    seen = [key for keys in expected[0] for key in keys]
    assert len(seen) == len(set(seen)) >= 27
    for first in (1, 4, 8):
        broken = make(workers)
        stream = iter(broken)
        start = [key_of(next(stream)) for _ in range(first)]
        state = broken.state_dict()
        again = make(2 - workers)
        again.load_state_dict(state)
        rest = [[key_of(batch) for batch in again] for _ in range(2)]
        assert start + rest[0] == expected[0] and rest[1] == expected[1]
    other = make_loader(open_shards(str(shards), buffer=6), 3, seed=7, streams=2)
    with pytest.raises(RoadloopError, match="buffer 5, this one has 6"):
        other.load_state_dict(whole.state_dict())


def test_finished_shards_are_not_opened_when_going_on(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import training.shard_streams as streams

    opened: list[str] = []
    real = streams.opened
    monkeypatch.setattr(streams, "opened", lambda url: opened.append(url) or real(url))
    reading = open_shards(str(shards), buffer=2)
    order = (0, True, 1, 0, 1)
    numbers = [number for number, _ in reading.read(0, order, 0)]
    total = len(opened)
    opened.clear()
    assert [number for number, _ in reading.read(0, order, 0, 25)] == numbers[25:]
    assert len(opened) < total / 2


@pytest.mark.parametrize(("world", "streams"), [(1, 2), (2, 1), (2, 2), (3, 1)])
def test_processes_see_disjoint_samples_that_together_are_all(
    shards: Path, world: int, streams: int
) -> None:
    def part(rank: int, drop_last: bool) -> list[Any]:
        loader = make_loader(
            open_shards(str(shards), products=("rgb",)), 2, streams=streams, rank=rank,
            world_size=world, drop_last=drop_last,
        )  # fmt: skip
        return [key_of(batch) for batch in loader]

    together = [key for r in range(world) for keys in part(r, False) for key in keys]
    assert len(together) == len(set(together)) == 33
    counts = {len(part(r, True)) for r in range(world)}
    assert len(counts) == 1  # training together needs the same number
    assert all(len(keys) == 2 for keys in part(0, True))


def test_shards_of_several_folders_and_less_of_what_they_hold(shards: Path, tmp_path: Path) -> None:
    record(tmp_path / "logs" / "d", 4, PLAIN)
    write_shards(LogSource([tmp_path / "logs"], SampleSpec()), str(tmp_path / "more"))
    less: dict[str, Any] = {
        "cameras": ("left",), "products": ("rgb",), "size": (48, 32), "lidars": (),
        "radars": (), "map": False, "lights": False, "history": 0, "past": 0, "future": 0,
    }  # fmt: skip
    both = open_shards([str(shards), str(tmp_path / "more")], **less)
    assert isinstance(both, ShardSource) and len(both) == 37
    batches = in_order(both, batch_size=12)
    assert [len(batch["step"]) for batch in batches] == [12, 12, 12, 1]
    assert batches[0]["images"].shape == (12, 1, 3, 32, 48)
    assert batches[-1]["drive"] == ["d"]
    assert "points" not in batches[0] and "ego_future" not in batches[0]
    one = open_shards(str(shards), history=1, future=2, boxes=False, cameras=("left", "front"))
    batch = in_order(one)[0]
    full = in_order(open_shards(str(shards)))[0]
    assert torch.equal(batch["history_images"][:, :, 1], full["history_images"][:, :1, 0])
    assert torch.equal(batch["ego_future"], full["ego_future"][:, :2])
    assert torch.equal(batch["ego_from_camera"][:, 0], full["ego_from_camera"][:, 1])
    assert not [key for key in batch if key.startswith(("box", "agents"))]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"future": 4}, "was written with future 3, which cannot become 4"),
        ({"sweeps": 1}, "was written with sweeps 2, which cannot become 1"),
        ({"colours": 1}, 'a spec has no "colours"'),
    ],
)
def test_more_than_was_written_is_refused(
    shards: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RoadloopError, match=message):
        open_shards(str(shards), **changes)


# --- damage -------------------------------------------------------------------------------------


@pytest.fixture
def hurt(source: LogSource, tmp_path: Path) -> Path:
    """Shards of one's own to damage, of about four samples each."""
    write_shards(source, str(tmp_path / "hurt"), SMALL)
    return tmp_path / "hurt"


def loader_of(folder: Path, **options: Any) -> Any:
    source = open_shards(str(folder))
    return make_loader(source, 1, shuffle=False, drop_last=False, **options)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated", r"shard-000001\.tar is truncated in 0000"),
        ("missing", r"shard-000001\.tar is missing; copy it again"),
        ("header", r"shard-000001\.tar after sample -?\d+ is damaged: a wrong header"),
        ("picture", r"shard-000001\.tar: 0000\d+\.front\.\S*jpg is no whole picture"),
        ("short", r"shard-000001\.tar holds \d samples, index\.json says \d"),
    ],
)
def test_damage_is_said_in_one_line_or_passed_over(hurt: Path, how: str, message: str) -> None:
    path = hurt / "shard-000001.tar"
    content = bytearray(path.read_bytes())
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "missing":
        path.unlink()
    elif how == "header":
        content[3] ^= 1
        path.write_bytes(content)
    elif how == "picture":
        at = content.index(b"\xff\xd8")
        content[at + 600 : at + 700] = b"\xff" * 100
        path.write_bytes(content)
    else:
        made = io.BytesIO()
        with tarfile.open(path) as old, tarfile.open(fileobj=made, mode="w") as new:
            last = old.getnames()[-1].split(".")[0]
            for member in old:
                if not member.name.startswith(last):
                    new.addfile(member, old.extractfile(member))
        path.write_bytes(made.getvalue())
    fault = fault_of(loader_of(hurt))
    assert re.search(message, fault) and "\n" not in fault, fault
    with pytest.raises(RoadloopError, match=r"shard-000001\.tar"):
        verify_shards(str(hurt))
    lenient = loader_of(hurt, skip_damaged=True)
    steps = [key_of(batch)[0] for batch in lenient]
    assert len(steps) == 33  # as many as ever: a neighbour stands in
    assert 1 <= len(lenient.damaged) <= 6 and len(set(steps)) == 33 - len(lenient.damaged)


def test_no_shards_or_a_damaged_index(hurt: Path, tmp_path: Path) -> None:
    with pytest.raises(RoadloopError, match=r"holds no index\.json: no shards"):
        open_shards(str(tmp_path / "nothing"))
    (hurt / "index.json").write_text('{"format": "roadloop shards", "schema_version": 1}')
    with pytest.raises(RoadloopError, match=r"index\.json is damaged: 'plan'"):
        open_shards(str(hurt))
    (hurt / "index.json").write_text("{")
    with pytest.raises(RoadloopError, match=r"index\.json is damaged"):
        read_index(str(hurt))


def test_damaged_logs_stop_the_writing_or_are_left_out(tmp_path: Path) -> None:
    record(tmp_path / "logs" / "a", 6, PLAIN)
    (tmp_path / "logs" / "a" / "rgb" / "front" / "000003.jpg").write_bytes(b"\xff\xd8")
    source = LogSource([tmp_path / "logs"], SampleSpec())
    with pytest.raises(RoadloopError, match=r"000003\.jpg differs from its checksum"):
        write_shards(source, str(tmp_path / "s"), ShardOptions(mix=0))
    index = write_shards(source, str(tmp_path / "s"), ShardOptions(mix=0), skip_damaged=True)
    assert index.samples == 5 and len(index.left_out) == 1
    steps = [int(batch["step"]) for batch in in_order(open_shards(str(tmp_path / "s")))]
    assert steps == [0, 1, 2, 4, 5]


# --- command line -------------------------------------------------------------------------------


def test_the_command_line(logs: Path, tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "cli")
    words = ["shard", str(logs), "--out", out, "--resize", "48x32", "--set", "future=4"]
    words += ["--size", "30kB", "--workers", "1", "--drives", "a,b"]
    assert main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["samples"] == 22 and facts["drives"] == 2 and facts["shards"] > 1
    assert in_order(open_shards(out))[0]["ego_future"].shape == (1, 4, 4)
    assert main(words) == 2
    assert "holds shards already" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    assert "22 samples of 2 drives" in capsys.readouterr().out
    assert main(["shard", "--check", out]) == 0
    assert "are as they were written" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give the folders of recorded drives"),
        (["x", "--size", "much"], 'size is "much": expected bytes such as 200MB'),
        (["x", "--resize", "704"], 'resize is "704": expected width and height'),
        (["x", "--resume", "--overwrite"], "give one of them"),
        (["/nonexistent"], "/nonexistent does not exist"),
        (["x", "--set", "futur=3"], 'unknown key "futur"; did you mean "future"?'),
        (["x", "--workers", "0"], "workers is 0"),
    ],
)
def test_mistakes_on_the_command_line(words: list[str], message: str, capsys: Capture) -> None:
    assert main(["shard", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_sizes() -> None:
    assert bytes_of("200MB") == 200e6 and bytes_of("1.5 GB") == 1.5e9 and bytes_of("5000") == 5e3
