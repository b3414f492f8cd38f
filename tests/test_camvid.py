"""CamVid read as recordings: both layouts, every colour, pictures that are not of it."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from roadloop.datasets.camvid import COLOURS, NUMBERS, classes_of
from roadloop.datasets.formats import list_drives, open_recording
from roadloop.errors import RoadloopError
from roadloop.semantics import SemanticClass

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "camvid"
WIDTH, HEIGHT = 48, 36


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


def picture(value: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), (value, 20, 30), np.uint8)


def numbers() -> np.ndarray:
    """A label of SegNet's: class k in column k, the rest unlabelled."""
    label = np.full((HEIGHT, WIDTH), 11, np.uint8)
    label[:, :12] = np.arange(12)
    return label


def colours() -> np.ndarray:
    """A label of the original: class k in column k, in the order of the table."""
    label = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    label[:, : len(COLOURS)] = np.array(list(COLOURS))
    return label


@pytest.fixture
def segnet(tmp_path: Path) -> Path:
    for k in range(3):
        write(tmp_path / "train" / f"0001TP_{k}.png", picture(40 * k))
        write(tmp_path / "val" / f"0006R0_{k}.png", picture(40 * k))
    for k in range(2):  # the last one of both without a label
        write(tmp_path / "trainannot" / f"0001TP_{k}.png", numbers())
        write(tmp_path / "valannot" / f"0006R0_{k}.png", numbers())
    return tmp_path


def test_the_copy_of_segnet(segnet: Path) -> None:
    assert list_drives(segnet) == ("camvid", ["train", "val"])
    assert list_drives(segnet / "val") == ("camvid", ["val"])
    drive = pickle.loads(pickle.dumps(open_recording(segnet, "val")))
    assert len(drive) == 2 and not drive.continuous and drive.agents is None
    assert drive.road_map is None and "1 of 3 pictures without labels left out" in drive.notes
    image = drive.observation(1).cameras["camera"]
    assert (image.rgb == picture(40)).all()
    assert image.semantic.dtype == np.uint8
    assert image.semantic[5, :12].tolist() == list(NUMBERS)
    assert drive.rig.cameras[0].products == ("rgb", "semantic")


def test_the_original_with_its_colours(tmp_path: Path) -> None:
    write(tmp_path / "701_StillsRaw_full" / "Seq05VD_f0.png", picture(9))
    write(tmp_path / "LabeledApproved_full" / "Seq05VD_f0_L.png", colours())
    found, names = list_drives(tmp_path)
    assert (found, names) == ("camvid", ["701_StillsRaw_full"])
    seen = open_recording(tmp_path).observation(0).cameras["camera"].semantic
    assert seen is not None
    assert seen[0, : len(COLOURS)].tolist() == [kind for _, kind in COLOURS.values()]
    assert (seen[:, len(COLOURS) :] == SemanticClass.NONE).all()


def test_the_table_has_every_class_once() -> None:
    words = [word for word, _ in COLOURS.values()]
    assert len(COLOURS) == len(set(words)) == 32 and len(NUMBERS) == 12
    assert [k for k, (w, _) in COLOURS.items() if w == "Void"] == [(0, 0, 0)]


def test_labels_of_something_else_are_said() -> None:
    with pytest.raises(RoadloopError, match=r"^a.png holds class 12: expected 0 to 11"):
        classes_of("a.png", np.full((4, 4), 12, np.uint8))
    strange = colours()
    strange[: HEIGHT // 2] = (1, 2, 3)
    with pytest.raises(RoadloopError, match=r"^a.png: 50% of .* e.g. \[1, 2, 3\]; is it of CamVid"):
        classes_of("a.png", strange)
    with pytest.raises(RoadloopError, match="no label picture of CamVid"):
        classes_of("a.png", np.zeros((4, 4), np.uint16))
    strange = colours()
    strange[0, 0] = (1, 2, 3)  # a stray pixel is not labelled
    assert classes_of("a.png", strange)[0, 0] == SemanticClass.NONE


def test_a_picture_of_another_size_is_said(segnet: Path) -> None:
    write(segnet / "valannot" / "0006R0_1.png", numbers()[:-1])
    drive = open_recording(segnet, "val")
    with pytest.raises(RoadloopError, match=r"0006R0_1\.png has 48 x 35 px, the first .* 48 x 36"):
        _ = drive.observation(1).cameras["camera"].semantic


def test_the_real_pictures() -> None:
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is not here")
    assert list_drives(DATA) == ("camvid", ["test", "train", "val"])
    drive = open_recording(DATA, "val")
    assert len(drive) == 6 and not any("without labels" in note for note in drive.notes)
    seen = drive.observation(0).cameras["camera"].semantic
    assert seen is not None and seen.shape == (360, 480)
    road, sky = (seen == SemanticClass.ROAD), (seen == SemanticClass.SKY)
    assert road[200:].mean() > 0.3 and road[:120].mean() == 0.0 and sky[:120].mean() > 0.2
