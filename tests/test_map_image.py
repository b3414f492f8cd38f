"""The picture of a map shows what is there, where it is; the figures count it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hand_map import HandLane, HandMap, HandSign, arc, straight

from roadloop.errors import RoadloopError
from roadloop.maps.conflicts import with_conflicts
from roadloop.maps.road_map import LaneKind, RoadMap, SignalKind
from roadloop.viz.ground import Paint
from roadloop.viz.map_image import _View, draw_map, map_statistics
from roadloop.viz.palette import LIGHT, rgb

Array = np.ndarray


@pytest.fixture(scope="module")
def road_map() -> RoadMap:
    quarter = [
        HandLane(
            arc((150, 0), 20, k * np.pi / 2, (k + 1) * np.pi / 2),
            road=f"ring{k}",
            junction=0,
            successors=((k + 1) % 4,),
        )
        for k in range(4)
    ]
    hand = HandMap(
        [
            *quarter,
            HandLane(straight((0, 0), (120, 0)), width=8.0),
            HandLane(straight((0, -7), (120, -7)), width=6.0, kind=LaneKind.SIDEWALK),
            HandLane(np.array([[60.0, -40, 8], [60, 40, 8]]), width=8.0),
        ],
        junctions=1,
        signs=[
            HandSign(SignalKind.STOP, 4, 110.0, xyz=(100, 20, 0)),
            HandSign(SignalKind.TRAFFIC_LIGHT, 4, 110.0, xyz=(110, 20, 0)),
        ],
        crosswalks=[np.array([[80.0, -4], [84, -4], [84, 4], [80, 4]])],
    )  # fmt: skip
    return with_conflicts(hand.build())


@pytest.fixture(scope="module")
def picture(road_map: RoadMap) -> Array:
    return draw_map(road_map, width=800)


def colour_at(picture: Array, road_map: RoadMap, x: float, y: float) -> Array:
    view = _View.of(road_map, picture.shape[1])
    u, v = view.px(np.array([[x, y]]))[0] / (2 << 4)
    return picture[round(float(v)), round(float(u))].astype(int)


def test_places_have_the_colours_of_what_lies_there(picture: Array, road_map: RoadMap) -> None:
    assert picture.dtype == np.uint8 and picture.shape[1:] == (800, 3)
    for x, y, name in [
        (30.0, 3.0, Paint.ROAD.name),
        (40.0, -7.0, Paint.SIDEWALK.name),
        (60.0, -7.0, Paint.ROAD.name),  # the bridge covers the pavement
        (150.0, 0.0, "ground"),  # island of the roundabout
        (20.0, 30.0, "ground"),
    ]:
        np.testing.assert_allclose(colour_at(picture, road_map, x, y), rgb(LIGHT[name]), atol=3)
    ring = colour_at(picture, road_map, 150 + 20 * np.cos(0.8), 20 * np.sin(0.8))
    road = np.array(rgb(LIGHT[Paint.ROAD.name]))
    assert (ring - road)[1] > (ring - road)[0] + 10  # greener than a plain road
    red, green, blue = colour_at(picture, road_map, 100.0, 20.0)
    assert red > 180 and green < 80 and blue < 80  # the stop sign


def test_picture_repeats_and_is_written_as_drawn(
    picture: Array, road_map: RoadMap, tmp_path: Path
) -> None:
    from PIL import Image

    target = tmp_path / "new folder" / "map.png"
    again = draw_map(road_map, target, width=800)
    assert (again == picture).all()
    assert (np.asarray(Image.open(target)) == picture).all()


def test_figures_count_what_is_there(road_map: RoadMap) -> None:
    figures = json.loads(json.dumps(map_statistics(road_map)))
    assert figures["driving lanes"] == 6 and figures["sidewalk lanes"] == 1
    assert figures["lanes"] == 7 and "parking lanes" not in figures
    assert figures["travel lane km"] == pytest.approx((40 * np.pi + 200) / 1000, abs=1e-3)
    assert figures["junctions"] == 1 and figures["roundabouts"] == 1
    assert figures["stop signals"] == 1 and figures["traffic light signals"] == 1
    assert figures["crosswalks"] == 1 and figures["unsupported"] == 0
    assert figures["disconnected travel lanes"] == 2 and figures["dead ends"] == 0
    np.testing.assert_allclose(figures["bounding box"], [0, -40, 170, 40], atol=0.02)


def test_a_straight_road_still_makes_a_picture() -> None:
    lone = HandMap([HandLane(straight((0, 0), (900, 0)))]).build()
    high, wide, _ = draw_map(lone, width=500).shape
    assert wide == 500 and 60 < high < 250


def test_bad_input_says_what_to_do(road_map: RoadMap, tmp_path: Path) -> None:
    with pytest.raises(RoadloopError, match="at least 400"):
        draw_map(road_map, width=100)
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    with pytest.raises(RoadloopError, match="cannot write the picture"):
        draw_map(road_map, blocked / "map.png", width=400)
