"""Anonymised pictures: what is found is blurred for good, everything else stays to the byte."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
from recorded_drive import BACK, FRONT, recorded, without

from roadloop.datasets.formats import open_recording
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, transform_points
from roadloop.logs.anonymize import CELLS, Anonymizer, blur, check_finders
from roadloop.logs.lazy import LoggedImage
from roadloop.logs.writer import write_recording

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FACE = np.array([[40.0, 20.0, 70.0, 50.0]])


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def mine(monkeypatch):
    """A module with finders of one's own."""
    module = types.ModuleType("my_finders")
    plates = [[100, 60, 130, 70], [0, 90, 20, 400]]
    vars(module).update(
        face=lambda rgb: FACE,
        nobody=lambda rgb: np.zeros((0, 4)),
        both=lambda rgb: {"face": FACE, "plate": plates},
        bad=lambda rgb: np.zeros((2, 3)),
        turned=lambda rgb: np.array([[70.0, 20.0, 40.0, 50.0]]),
    )
    monkeypatch.setitem(sys.modules, "my_finders", module)


def noise(seed: int, height: int = 64, width: int = 96) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


# --- blurring -----------------------------------------------------------------------------------


def test_a_blurred_region_keeps_only_a_few_cells() -> None:
    """Pictures that agree in the means of the cells cannot be told apart afterwards."""
    side = 16 * CELLS
    fine = noise(1, side, side)
    means = fine.reshape(CELLS, 16, CELLS, 16, 3).mean((1, 3), keepdims=True).round()
    flat = np.broadcast_to(means, (CELLS, 16, CELLS, 16, 3)).reshape(side, side, 3).astype(np.uint8)
    blur(fine)
    blur(flat)
    assert np.abs(fine.astype(int) - flat).max() <= 1
    small = noise(2, 4, 5)
    blur(small)  # no region is too small
    edge = cv2.Laplacian(fine, cv2.CV_64F)
    assert np.abs(edge).max() < 40.0 < np.abs(cv2.Laplacian(noise(1), cv2.CV_64F)).max()


def test_only_what_is_found_changes(recording, mine) -> None:
    image = recording.frames_of("back")[2].read()  # a PNG: compared to the byte
    edit = Anonymizer(recording, "my_finders:face")
    changed = edit("back", image)
    region = np.zeros(image.rgb.shape[:2], bool)
    region[17:53, 37:73] = True  # FACE and its margin
    np.testing.assert_array_equal(changed.rgb[~region], image.rgb[~region])
    assert (changed.rgb[20:50, 40:70] != image.rgb[20:50, 40:70]).mean() > 0.5
    assert edit.regions == {"region": 1} and edit.pictures == 1
    assert isinstance(changed, LoggedImage) and changed.encoded is not None
    decoded = cv2.imdecode(np.frombuffer(changed.encoded(), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    np.testing.assert_array_equal(decoded[..., ::-1], changed.rgb)
    assert changed.timestamp_us == image.timestamp_us and changed.depth is None


def test_a_picture_without_a_find_is_the_very_same(recording, mine) -> None:
    image = recording.frames_of("front")[0].read()
    edit = Anonymizer(recording, "my_finders:nobody")
    assert edit("front", image) is image
    assert edit.pictures == 0 and not edit.regions


def test_counts_by_kind_and_several_finders(recording, mine) -> None:
    edit = Anonymizer(recording, "my_finders:both, my_finders:face")
    changed = edit("front", recording.frames_of("front")[0].read())
    assert edit.regions == {"face": 1, "plate": 2, "region": 1} and edit.pictures == 1
    assert isinstance(changed, LoggedImage) and changed.encoded is not None
    content = changed.encoded()
    assert content.startswith(b"\xff\xd8")  # as it came: a JPEG
    again = Anonymizer(recording, "my_finders:both, my_finders:face")
    same = again("front", recording.frames_of("front")[0].read())
    assert isinstance(same, LoggedImage) and same.encoded is not None
    assert same.encoded() == content


def test_logs_hold_the_changed_pictures(recording, mine, tmp_path: Path) -> None:
    edit = Anonymizer(recording, "my_finders:face")
    write_recording(recording, tmp_path / "log", edit=edit)
    assert edit.pictures == 18
    read = open_recording(tmp_path / "log").frames_of("back")[3].read()
    was = recording.frames_of("back")[3].read()
    np.testing.assert_array_equal(read.rgb[60:], was.rgb[60:])
    assert (read.rgb[20:50, 40:70] != was.rgb[20:50, 40:70]).any()


# --- finders ------------------------------------------------------------------------------------


def found(recording, camera, k: int) -> tuple[np.ndarray, dict]:
    """Where a picture changed, and what was counted."""
    image = recording.frames_of(camera.name)[k].read()
    edit = Anonymizer(recording, "labels")
    changed = edit(camera.name, image)
    return (changed.rgb != image.rgb).any(-1), dict(edit.regions)


def test_heads_and_plates_of_labelled_road_users_are_found(recording) -> None:
    changed, counts = found(recording, FRONT, 5)
    assert counts == {"face": 1, "plate": 2}  # the walker, the car's rear, the van's front
    frame = recording.frames_of("front")[5]
    now = frame.timestamp_us * 1e-6
    world = np.array(
        [
            [14.0, -3.0, 1.8 - 0.12],  # the walker's head
            [20.0 + 8.0 * now - 2.25, 0.0, 0.7],  # the car's rear plate
            [12.0 - 2.75, 3.15, 0.7],  # the van's, which comes towards the ego
            [14.0, -3.0, 0.3],  # the walker's feet
            [20.0 + 8.0 * now - 2.25, 0.85, 1.4],  # a corner of the car's rear window
        ]
    )
    camera_from_world = inverse(frame.world_from_ego @ FRONT.ego_from_camera)
    uv, seen = FRONT.camera.project(transform_points(camera_from_world, world))
    assert seen.all()
    u, v = np.rint(uv).astype(int).T
    near = [changed[b - 1 : b + 2, a - 1 : a + 2].any() for a, b in zip(u, v, strict=True)]
    assert near == [True, True, True, False, False]


def test_nobody_is_found_behind_the_camera(recording) -> None:
    changed, counts = found(recording, BACK, 1)
    assert not changed.any() and not counts


def test_labels_need_labels(recording) -> None:
    with pytest.raises(RoadloopError, match="has no labels"):
        Anonymizer(without(recording, "agents"), "labels")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("magic", "MODULE:FUNCTION"),
        (" , ", "no finder"),
        ("no_such_module:f", "PYTHONPATH"),
        ("my_finders:none", "none"),
        ("nothing.onnx", "no such file"),
    ],
)
def test_finders_that_do_not_exist(recording, mine, words: str, said: str) -> None:
    with pytest.raises(RoadloopError, match=said):
        Anonymizer(recording, words)


def test_a_file_that_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "face.onnx").write_bytes(b"not a network")
    with pytest.raises(RoadloopError, match="no face detector"):
        check_finders(str(tmp_path / "face.onnx"))


def test_finders_that_answer_wrongly(recording, mine) -> None:
    image = recording.frames_of("front")[0].read()
    with pytest.raises(RoadloopError, match=r"\(2, 3\): expected \(n, 4\)"):
        Anonymizer(recording, "my_finders:bad")("front", image)
    with pytest.raises(RoadloopError, match="left, top, right, bottom"):
        Anonymizer(recording, "my_finders:turned")("front", image)


# --- real streets -------------------------------------------------------------------------------


def test_a_real_street() -> None:
    """Each labelled person of the picture's size and each car that shows an end has a region."""
    root = DATA / "kitti" / "object"
    if not root.is_dir():
        pytest.skip("no KITTI object frames beside the checkout")
    total: dict[str, int] = {}
    for k in range(10):
        drive = open_recording(root, f"training_{k:06}", "kitti-object")
        edit = Anonymizer(drive, "labels")
        for frame in drive.frames_of("cam2"):
            edit("cam2", frame.read())
        for kind, count in edit.regions.items():
            total[kind] = total.get(kind, 0) + count
    assert total == {"face": 4, "plate": 22}
