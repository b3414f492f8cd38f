"""Geometry truths: round trips, symmetry, circles, and boxes against shapely."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapely.geometry import Polygon

from roadloop import geometry as g
from roadloop.errors import RoadloopError

angle = st.floats(-50.0, 50.0)
coordinate = st.floats(-20.0, 20.0)
size = st.floats(0.1, 12.0)
box = st.tuples(coordinate, coordinate, angle, size, size)


def circle(radius: float, sweep: float, points: int) -> np.ndarray:
    """A left-hand arc that starts at the origin along +x."""
    phi = np.linspace(0.0, sweep, points)
    return np.stack([radius * np.sin(phi), radius * (1.0 - np.cos(phi))], axis=-1)


@given(angle)
def test_wrap_angle_keeps_the_direction_and_the_range(a):
    wrapped = g.wrap_angle(a)
    assert -np.pi < wrapped <= np.pi
    assert np.cos(wrapped) == pytest.approx(np.cos(a), abs=1e-12)
    assert np.sin(wrapped) == pytest.approx(np.sin(a), abs=1e-12)


def test_wrap_angle_ends():
    above = np.nextafter(np.pi, 4.0)
    np.testing.assert_allclose(g.wrap_angle(np.array([np.pi, -np.pi, above])), np.pi)


@given(coordinate, coordinate, angle)
def test_se2_round_trips(x, y, heading):
    world_from_body = g.se2(x, y, heading)
    np.testing.assert_allclose(world_from_body @ g.inverse(world_from_body), np.eye(3), atol=1e-12)
    px, py, ph = g.pose_from_se2(world_from_body)
    np.testing.assert_allclose([px, py], [x, y], atol=1e-12)
    assert abs(g.wrap_angle(ph - heading)) < 1e-12


def test_se3_composes_and_inverts_in_batches():
    rng = np.random.default_rng(1)
    a = g.se3(g.rotation_from_euler(*rng.normal(size=(3, 5))), rng.normal(size=(5, 3)))
    b = g.se3(g.rotation_from_euler(0.1, -0.2, 0.3), np.array([1.0, 2.0, 3.0]))
    points = rng.normal(size=(5, 7, 3))
    both = g.transform_points(a @ b, points)
    np.testing.assert_allclose(both, g.transform_points(a, g.transform_points(b, points)))
    np.testing.assert_allclose(g.transform_points(g.inverse(a @ b), both), points, atol=1e-12)


def test_rotation_from_euler_senses():
    x, y, z = np.eye(3)
    quarter = np.pi / 2.0
    np.testing.assert_allclose(g.rotation_from_euler(0, 0, quarter) @ x, y, atol=1e-15)
    np.testing.assert_allclose(g.rotation_from_euler(0, quarter, 0) @ x, -z, atol=1e-15)
    np.testing.assert_allclose(g.rotation_from_euler(quarter, 0, 0) @ y, z, atol=1e-15)


def test_box_corners_order():
    corners = g.box_corners(1.0, 2.0, np.pi / 2.0, 4.0, 2.0)  # facing north
    np.testing.assert_allclose(corners, [[0, 4], [0, 0], [2, 0], [2, 4]], atol=1e-12)
    assert Polygon(corners).exterior.is_ccw


@settings(max_examples=300)
@given(box, box)
def test_boxes_agree_with_shapely_and_are_symmetric(a, b):
    corners_a, corners_b = g.box_corners(*a), g.box_corners(*b)
    exact = Polygon(corners_a).distance(Polygon(corners_b))
    distance = g.box_distance(corners_a, corners_b)
    assert distance == pytest.approx(exact, abs=1e-9)
    assert distance == pytest.approx(float(g.box_distance(corners_b, corners_a)), abs=1e-12)
    overlap = g.boxes_overlap(corners_a, corners_b)
    assert overlap == g.boxes_overlap(corners_b, corners_a)
    if abs(exact) > 1e-6 or Polygon(corners_a).intersection(Polygon(corners_b)).area > 1e-6:
        assert overlap == (exact == 0.0)


def test_touching_boxes_overlap_and_batches_broadcast():
    ego = g.box_corners(0.0, 0.0, 0.0, 4.0, 2.0)
    others = g.box_corners(np.array([4.0, 4.001, 0.0, 1.0]), 0.0, 0.0, 4.0, 2.0)
    np.testing.assert_array_equal(g.boxes_overlap(ego, others), [True, False, True, True])
    np.testing.assert_allclose(g.box_distance(ego, others), [0.0, 0.001, 0.0, 0.0], atol=1e-12)


def test_boxes_of_no_size_are_points_and_segments():
    ego = g.box_corners(0.0, 0.0, 0.3, 4.0, 2.0)
    point = g.box_corners(10.0, 0.0, 1.0, 0.0, 0.0)
    wall = g.box_corners(3.0, 0.0, 0.0, 0.0, 50.0)
    assert not g.boxes_overlap(ego, point)
    assert g.box_distance(point, wall) == pytest.approx(7.0)


def test_circle_has_its_heading_and_curvature():
    line = circle(20.0, 2.0, 81)
    np.testing.assert_allclose(g.polyline_curvature(line), 1.0 / 20.0, rtol=1e-9)
    np.testing.assert_allclose(g.polyline_headings(line), np.linspace(0.0, 2.0, 81), atol=1e-9)
    np.testing.assert_allclose(g.polyline_arc_length(line)[-1], 40.0, rtol=1e-4)
    np.testing.assert_allclose(g.polyline_curvature(line[::-1]), -1.0 / 20.0, rtol=1e-9)


def test_headings_of_a_batch_cross_pi_without_a_jump():
    lines = np.stack([circle(10.0, 4.0, 60), circle(15.0, 4.0, 60)])
    heading = g.polyline_headings(lines)
    assert heading.shape == (2, 60)
    assert np.abs(g.wrap_angle(np.diff(heading))).max() < 0.1


def test_resample_keeps_ends_and_spacing():
    line = circle(30.0, 1.0, 400)
    even = g.polyline_resample(line, 0.5)
    step = np.linalg.norm(np.diff(even, axis=0), axis=-1)
    np.testing.assert_array_equal(even[[0, -1]], line[[0, -1]])
    assert step.max() <= 0.5 and np.ptp(step) < 1e-3
    assert len(g.polyline_resample(np.array([[0.0, 0.0], [10.0, 0.0]]), 0.5)) == 21


def test_project_on_a_straight_line():
    line = np.array([[0.0, 0.0], [5.0, 0.0], [10.0, 0.0]])
    xy = np.array([[2.0, 3.0], [7.0, -1.0], [-4.0, 3.0], [10.0, 0.0]])
    s, d, segment = g.polyline_project(line, xy)
    np.testing.assert_allclose(s, [2.0, 7.0, 0.0, 10.0])
    np.testing.assert_allclose(d, [3.0, -1.0, 5.0, 0.0])
    np.testing.assert_array_equal(segment, [0, 1, 0, 1])


@given(st.floats(-5.0, 80.0), st.floats(-8.0, 8.0), st.integers(0, 30))
def test_frenet_round_trip_on_a_winding_line(s, d, seed):
    rng = np.random.default_rng(seed)
    curvature = np.repeat(rng.uniform(-0.08, 0.08, 15), 10)
    heading = np.cumsum(curvature * 0.5)
    line = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], -1) * 0.5, axis=0)
    xy, _ = g.xy_from_frenet(line, s, d)
    # where the line comes near itself, the nearer part is the truth
    assume(abs(g.polyline_project(line, xy)[1]) > abs(d) - 0.02)
    s_back, d_back = g.frenet_from_xy(line, xy)
    assert float(s_back) == pytest.approx(s, abs=1e-6)
    assert float(d_back) == pytest.approx(d, abs=1e-6)
    xy_back, _ = g.xy_from_frenet(line, s_back, d_back)
    np.testing.assert_allclose(xy_back, xy, atol=1e-6)


def test_frenet_on_a_circle_is_polar():
    line = circle(20.0, 2.0, 81)
    phi = np.array([0.3, 1.0, 1.7])
    xy = np.stack([17.0 * np.sin(phi), 20.0 - 17.0 * np.cos(phi)], axis=-1)
    s, d = g.frenet_from_xy(line, xy)
    np.testing.assert_allclose(s, 20.0 * phi, atol=0.01)
    np.testing.assert_allclose(d, 3.0, atol=0.01)
    _, heading = g.xy_from_frenet(line, s, d)
    np.testing.assert_allclose(heading, phi, atol=1e-3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: g.polyline_arc_length(np.zeros((1, 2))), "at least 2 points"),
        (lambda: g.polyline_headings(np.array([[0.0, 0.0], [0.0, 0.0]])), "repeated points"),
        (lambda: g.polyline_arc_length(np.array([[0.0, 0.0], [np.nan, 0.0]])), "non-finite"),
        (lambda: g.polyline_resample(np.array([[0.0, 0.0], [1.0, 0.0]]), 0.0), "spacing"),
    ],
)
def test_bad_input_says_what_is_wrong(call, words):
    with pytest.raises(RoadloopError, match=words):
        call()
