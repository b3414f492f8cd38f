"""Frames: the right colours in the right places, north up and heading up, and bad input."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from drawn_scene import STEPS, crossroads, drive, score

from roadloop.errors import RoadloopError
from roadloop.types import LightState
from roadloop.viz.draw import FrameRenderer, draw_frame, write_png
from roadloop.viz.ground import Paint, ground_of
from roadloop.viz.palette import DARK, LAMP, rgb
from roadloop.viz.shapes import slab


@pytest.fixture(scope="module")
def road_map():
    return crossroads()


@pytest.fixture(scope="module")
def rollout(road_map):
    return drive(road_map)


@pytest.fixture(scope="module")
def renderer(rollout, road_map):
    return FrameRenderer(rollout, road_map, width=640, height=360, metres=80, score=score(rollout))


def pixel(image, rollout, step, x, y, metres=80.0):
    """Colour at a world point of a north-up frame."""
    scale = image.shape[1] / metres
    u = image.shape[1] / 2 + (x - rollout.ego.x[step]) * scale
    v = image.shape[0] / 2 - (y - rollout.ego.y[step]) * scale
    return image[round(v), round(u)].astype(int)


def close(colour, wanted, tolerance=12):
    return np.abs(colour - np.array(rgb(wanted))).max() <= tolerance


def area(ring):
    x, y = ring.T
    return np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2


def test_ground_keeps_areas_and_orientation(road_map):
    ground = ground_of(road_map, (-200, -200, 200, 200))
    rings = [
        ground.xy[ground.start[i] : ground.start[i + 1]] for i in np.flatnonzero(ground.width == 0)
    ]
    assert all(area(ring) > 0 for ring in rings)
    paved = sum(
        area(ring)
        for ring, paint in zip(rings, ground.paint[ground.width == 0], strict=True)
        if paint == Paint.SIDEWALK
    )
    assert paved == pytest.approx(8 * 3.0 * (150 - 12), rel=1e-3)
    assert len(ground.bar) == 8
    assert set(ground.bar_signal) == {0, 1, 2, 3}
    length = np.hypot(ground.bar[:, 0] - ground.bar[:, 2], ground.bar[:, 1] - ground.bar[:, 3])
    np.testing.assert_allclose(length, 3.3)


def test_broken_marks_are_painted_a_third_of_the_way(road_map):
    ground = ground_of(road_map, (-200, -200, 200, 200))
    lengths = [
        np.hypot(*np.diff(ground.xy[a:b], axis=0).T).sum()
        for a, b, paint in zip(ground.start, ground.start[1:], ground.paint, strict=False)
        if paint == Paint.MARK_WHITE
    ]
    dashes = [length for length in lengths if length < 4]
    assert sum(dashes) == pytest.approx(8 * 138 / 3, rel=0.05)


def test_ground_outside_the_box_is_left_out(road_map):
    near = ground_of(road_map, (100, -20, 140, 20))
    assert 0 < len(near.paint) < len(ground_of(road_map, (-200, -200, 200, 200)).paint)
    assert len(near.bar) == 0
    assert len(ground_of(road_map, (500, 500, 600, 600)).paint) == 0


def test_a_bridge_hides_the_marks_below_it_but_not_its_own(road_map):
    """The east arm raised by 6 m: every shape of it is painted after every shape of the rest."""
    raised = road_map.point_xyz.copy()
    raised[raised[:, 0] > 12.5, 2] = 6.0
    marks = road_map.mark_xyz.copy()
    marks[marks[:, 0] > 12.5, 2] = 6.0
    bridged = dataclasses.replace(road_map, point_xyz=raised, mark_xyz=marks)
    ground = ground_of(bridged, (-200, -200, 200, 200))
    above = ground.bounds()[:, 2] > 12.5
    lanes, lines = ground.paint == Paint.ROAD, ground.paint == Paint.MARK_WHITE
    assert ground.layer[lanes & above].min() > ground.layer[lines & ~above].max()
    assert ground.layer[lines & above].min() > ground.layer[lanes & above].max()


def test_frame_shows_ego_road_agents_and_lights(renderer, rollout):
    step = 60
    image = renderer.frame(step)
    assert image.shape == (360, 640, 3)
    assert image.dtype == np.uint8
    ego_x, ego_y = rollout.ego.box_centre()
    assert close(pixel(image, rollout, step, ego_x[step], ego_y[step]), DARK["ego"])
    assert close(pixel(image, rollout, step, 0.0, 2.5), DARK[Paint.ROAD.name])
    assert close(pixel(image, rollout, step, -25.0, 15.0), DARK["ground"])
    assert close(pixel(image, rollout, step, -12.0, -2.6), LAMP[LightState.GREEN])
    assert close(pixel(image, rollout, step, 1.0, -12.0), LAMP[LightState.RED])
    bus = rollout.agents.x[step, 2], rollout.agents.y[step, 2]
    assert close(pixel(image, rollout, step, *bus), "#d8b25a")


def test_agents_that_are_not_valid_are_not_drawn(rollout, road_map):
    gone = dataclasses.replace(
        rollout,
        agents=dataclasses.replace(rollout.agents, valid=np.zeros_like(rollout.agents.valid)),
    )
    step = 60
    image = draw_frame(gone, road_map, step, width=640, height=360, metres=80)
    bus = rollout.agents.x[step, 2], rollout.agents.y[step, 2]
    assert not close(pixel(image, rollout, step, *bus), "#d8b25a")


def test_heading_up_turns_the_picture_and_keeps_the_ego_upright(rollout, road_map):
    image = draw_frame(
        rollout, road_map, 60, width=640, height=360, metres=80, heading_up=True
    ).astype(int)
    # the ego's centre lies centre_offset ahead of its rear axle, so above it
    up = rollout.ego.vehicle.centre_offset * 640 / 80
    assert close(image[round(360 * 0.66 - up), 320], DARK["ego"])
    # the pavement on the left of the road, 8.5 m + 1.75 m to the left of the ego
    assert close(image[round(360 * 0.9), 320 - round(10.25 * 8)], DARK[Paint.SIDEWALK.name])


def test_frames_repeat_in_any_order(renderer):
    first = renderer.frame(80)
    renderer.frame(STEPS - 1)
    np.testing.assert_array_equal(first, renderer.frame(80))


def test_lost_terms_appear_when_they_are_lost(rollout, road_map):
    def corner(step, scored):
        kept = score(rollout) if scored else None
        return draw_frame(rollout, road_map, step, score=kept)[660:710, 10:300]

    # before any loss nothing is written at the lower left
    np.testing.assert_array_equal(corner(60, True), corner(60, False))
    assert (corner(84, True) != corner(84, False)).any()


def test_no_lights_agents_or_plan(rollout, road_map):
    empty = np.zeros((STEPS, 0))
    agents = dataclasses.replace(
        rollout.agents,
        **{f.name: empty for f in dataclasses.fields(rollout.agents)},
    )
    agents = dataclasses.replace(agents, valid=empty.astype(bool))
    bare = dataclasses.replace(rollout, agents=agents, plan=np.zeros((STEPS, 0, 3)))
    assert draw_frame(bare, road_map, 10, width=320, height=180).shape == (180, 320, 3)


def test_slab_has_the_size_asked_for():
    ring = slab(1.0, 2.0, 4.0, 2.0, 0.5)
    np.testing.assert_allclose(ring.min(axis=0), [-1, 1], atol=1e-12)
    np.testing.assert_allclose(ring.max(axis=0), [3, 3], atol=1e-12)
    assert area(ring) == pytest.approx(8 - (4 - np.pi) * 0.25, rel=0.01)


def test_png_round_trip(tmp_path, renderer):
    from PIL import Image

    image = renderer.frame(0)
    path = write_png(tmp_path / "deep" / "frame.png", image)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), image)


def test_bad_input_is_said_in_one_line(rollout, road_map, renderer):
    other = dataclasses.replace(road_map, content_hash="f" * 64)
    with pytest.raises(RoadloopError, match="was driven on map"):
        draw_frame(rollout, other, 0)
    with pytest.raises(RoadloopError, match=r"give 0 to 199"):
        renderer.frame(STEPS)
    with pytest.raises(RoadloopError, match="at least 64 px"):
        draw_frame(rollout, road_map, 0, width=10)
    with pytest.raises(RoadloopError, match="lights of shape"):
        draw_frame(dataclasses.replace(rollout, lights=rollout.lights[:, :2]), road_map, 0)
