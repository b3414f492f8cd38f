"""The raster map: what its layers hold, the lane field, loss, score and picture."""

from __future__ import annotations

import numpy as np
import pytest
from hand_map import HandLane, HandMap, arc, straight

from perception.detector_config import BevGrid, DetectorConfig, ObjectClass, RasterLayer
from perception.lane_field import LaneScore
from perception.raster_map import (
    CENTRELINE,
    CROSSWALK,
    DIVIDER,
    EDGE,
    STOP_LINE,
    RasterHead,
    RasterScore,
    cells_in_view,
    raster_loss,
    raster_targets,
)
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse, rotation_from_euler, se3
from roadloop.maps.generate import generate_map
from roadloop.maps.locate import pose_at
from roadloop.maps.road_map import LaneKind
from roadloop.rig import load_rig
from roadloop.viz.raster_picture import COLOURS, raster_picture
from training.sample_map import MapPieces
from training.sample_spec import MapLine

GRID = BevGrid()


def pose(x: float, y: float, heading: float, z: float = 0.0) -> np.ndarray:
    return se3(rotation_from_euler(0.0, 0.0, heading), np.array([x, y, z]))


def targets(road_map, world_from_ego, grid: BevGrid = GRID, **more):
    return raster_targets(grid, **MapPieces(road_map, 11, 2.0).near(world_from_ego, 60.0), **more)


def lines(*given: tuple[int, np.ndarray], width: float = 3.5) -> dict[str, np.ndarray]:
    """Straight lines (2, 2 or 3) as the arrays of a sample."""
    points = np.array([np.column_stack([p, np.zeros(len(p))])[:, :3] for _, p in given])
    kinds = np.array([kind for kind, _ in given], np.uint8)
    return {
        "map_lines": points.astype(np.float32),
        "map_line_kind": kinds,
        "map_line_width": np.where(kinds == CENTRELINE, width, 0.0).astype(np.float32),
    }


def test_kinds_of_lines_are_those_of_samples():
    named = CENTRELINE, DIVIDER, EDGE, CROSSWALK, STOP_LINE
    assert named == tuple(int(kind) for kind in MapLine)


@pytest.mark.parametrize("angle", np.linspace(0.0, np.pi, 13))
@pytest.mark.parametrize("shift", [0.0, 0.4, 0.17])
def test_a_cell_is_on_a_line_within_half_a_cell_and_lines_do_not_break(angle, shift):
    import cv2

    along, aside = (
        np.array([np.cos(angle), np.sin(angle)]),
        np.array([-np.sin(angle), np.cos(angle)]),
    )
    middle = GRID.metres_of(np.array([32.0, 32.0])) + shift * aside
    made = raster_targets(GRID, **lines((DIVIDER, middle + np.outer([-20.0, 20.0], along))))
    layer = made["raster"][RasterLayer.LANE_LINE]
    gap = GRID.centres() - middle
    t, left = gap @ along, gap @ aside
    away = np.hypot(left, np.maximum(np.abs(t) - 20.0, 0.0))
    clear = np.abs(away - 0.5 * GRID.cell) > 1e-3
    assert (layer == (away < 0.5 * GRID.cell))[clear].all()
    assert cv2.connectedComponents(layer, connectivity=8)[0] == 2


def test_two_lanes_of_a_straight_road():
    two_way = HandMap(
        [
            HandLane(straight((-80.0, 0.0), (80.0, 0.0)), opposite=1),
            HandLane(straight((80.0, 3.5), (-80.0, 3.5)), number=1, opposite=0),
        ]
    ).build()
    made = targets(two_way, pose(0.0, 0.0, 0.0))
    y = GRID.centres()[..., 1]
    raster = made["raster"]
    assert (raster[RasterLayer.DRIVABLE] == ((y > -1.75) & (y < 5.25))).all()
    assert (raster[RasterLayer.LANE_LINE] == (np.abs(y - 1.75) < 0.4)).all()
    edges = (np.abs(y + 1.75) < 0.4) | (np.abs(y - 5.25) < 0.4)
    assert (raster[RasterLayer.ROAD_EDGE] == edges).all()
    mine, theirs = np.abs(y) < 1.5, np.abs(y - 3.5) < 1.5
    assert made["lane_weight"][mine | theirs].all()
    np.testing.assert_allclose(made["lane"][0][mine], 1.0, atol=1e-6)
    np.testing.assert_allclose(made["lane"][2][mine], y[mine], atol=1e-5)
    np.testing.assert_allclose(made["lane"][0][theirs], -1.0, atol=1e-6)
    np.testing.assert_allclose(made["lane"][2][theirs], 3.5 - y[theirs], atol=1e-5)
    assert not made["lane_weight"][raster[RasterLayer.DRIVABLE] == 0].any()
    assert made["raster_weight"][: RasterLayer.VEHICLE].all()
    assert not made["raster_weight"][RasterLayer.VEHICLE].any()  # nothing was labelled


def test_the_lane_field_of_a_bend_points_along_it():
    radius = 30.0
    bend = HandMap([HandLane(arc((0.0, radius), radius, -np.pi / 2 - 1.0, np.pi / 2))]).build()
    made = targets(bend, pose(0.0, 0.0, 0.0))
    on = made["lane_weight"] > 0
    gap = GRID.centres()[on] - (0.0, radius)
    angle = np.arctan2(gap[:, 1], gap[:, 0]) + np.pi / 2
    cos, sin, left = made["lane"][:, on]
    assert np.abs(np.arctan2(sin * np.cos(angle) - cos * np.sin(angle), 1.0)).max() < 0.02
    assert np.abs(left - (radius - np.hypot(*gap.T))).max() < 0.05
    ring = np.abs(np.hypot(*(GRID.centres() - (0.0, radius)).T) - radius).T
    inner = (ring < 1.6) & (GRID.centres()[..., 1] < radius)
    assert made["raster"][RasterLayer.DRIVABLE][inner].all()  # no gaps between the pieces


@pytest.mark.parametrize(("family", "seed"), [("four_way", 3), ("roundabout", 1), ("four_way", 8)])
def test_drivable_ground_is_that_of_the_polygons(family, seed):
    import shapely

    from roadloop.maps.area import drivable_polygons

    road_map = generate_map(family, seed=seed)
    kinds = (LaneKind.DRIVING, LaneKind.BIDIRECTIONAL)
    area = drivable_polygons(road_map, kinds)
    shapely.prepare(area)
    rng = np.random.default_rng(seed)
    lanes = np.flatnonzero(road_map.is_travel)
    pieces = MapPieces(road_map, 11, 2.0)
    both = either = 0
    for lane in rng.choice(lanes, 6):
        x, y, z, heading = pose_at(road_map, int(lane), 0.3 * float(road_map.lane_length[lane]))
        at = pose(x, y, heading, z)
        found = raster_targets(GRID, **pieces.near(at, 60.0))["raster"][RasterLayer.DRIVABLE] > 0
        world = GRID.centres() @ at[:2, :2].T + at[:2, 3]
        truth = shapely.contains_xy(area, world[..., 0], world[..., 1])
        both += (found & truth).sum()
        either += (found | truth).sum()
    assert both / either > 0.97


def test_lanes_that_cross_are_not_judged_and_other_levels_are_not_there():
    crossing = lines(
        (CENTRELINE, np.array([[-40.0, 0.0], [40.0, 0.0]])),
        (CENTRELINE, np.array([[20.0, -30.0], [20.0, 30.0]])),
    )
    made = raster_targets(GRID, **crossing)
    x, y = np.moveaxis(GRID.centres(), -1, 0)
    shared = (np.abs(x - 20.0) < 1.5) & (np.abs(y) < 1.5)
    assert not made["lane_weight"][shared].any()
    assert made["raster"][RasterLayer.DRIVABLE][shared].all()
    bridge = {**crossing, "map_lines": crossing["map_lines"].copy()}
    bridge["map_lines"][1, :, 2] = 5.0
    made = raster_targets(GRID, **bridge)
    assert made["lane_weight"][shared].all()
    assert not made["raster"][RasterLayer.DRIVABLE][np.abs(y) > 2.0].any()


def test_crosswalks_are_filled_and_stop_lines_drawn():
    ring = np.array([[10.2, -4.2], [14.2, -4.2], [14.2, 5.0], [10.2, 5.0], [10.2, -4.2]])
    sides = [(CROSSWALK, ring[k : k + 2]) for k in range(4)]
    other = [(CROSSWALK, ring[k : k + 2] + np.array([20.0, 1.0])) for k in range(4)]
    stop = (STOP_LINE, np.array([[8.0, -2.0], [8.0, 2.0]]))
    made = raster_targets(GRID, **lines(*sides, *other, stop))["raster"]
    x, y = np.moveaxis(GRID.centres(), -1, 0)
    inside = ((x > 10.2) & (x < 14.2) & (y > -4.2) & (y < 5.0)) | (
        (x > 30.2) & (x < 34.2) & (y > -3.2) & (y < 6.0)
    )
    assert (made[RasterLayer.CROSSING] == inside).all()
    assert made[RasterLayer.STOP_LINE][(np.abs(x - 8.0) < 0.39) & (np.abs(y) < 2.0)].all()
    assert not made[RasterLayer.LANE_LINE].any()


def test_vehicles_are_where_visible_ones_stand():
    boxes = np.zeros((4, 9), np.float32)
    boxes[:, :7] = [
        [10.0, 0.0, 0.8, 4.6, 1.9, 1.6, 0.6],
        [25.0, 5.0, 0.8, 4.6, 1.9, 1.6, 0.0],  # hidden
        [30.0, -5.0, 0.8, 0.6, 0.6, 1.7, 0.0],  # somebody on foot
        [35.0, 0.0, 6.0, 4.6, 1.9, 1.6, 0.0],  # on a bridge
    ]
    kinds = np.array([0, 0, ObjectClass.PEDESTRIAN, 0], np.uint8)
    visible = np.array([True, False, True, True])
    made = raster_targets(GRID, map_lines=None, boxes=boxes, object_class=kinds, visible=visible)
    layer, weight = (made[key][RasterLayer.VEHICLE] for key in ("raster", "raster_weight"))
    i, j = np.nonzero(layer)
    centre = GRID.metres_of(np.column_stack([i, j])).mean(0)
    np.testing.assert_allclose(centre, (10.0, 0.0), atol=0.3)
    assert layer.sum() * GRID.cell**2 == pytest.approx(4.6 * 1.9, rel=0.3)
    x, y = np.moveaxis(GRID.centres(), -1, 0)
    for at, half in (((25.0, 5.0), (2.2, 0.9)), ((35.0, 0.0), (2.2, 0.9))):
        assert not weight[(np.abs(x - at[0]) < half[0]) & (np.abs(y - at[1]) < half[1])].any()
    assert weight[layer > 0].all() and weight.mean() > 0.98
    assert not made["raster_weight"][: RasterLayer.VEHICLE].any()  # there is no map


def test_only_cells_that_a_camera_looks_at_are_judged():
    cameras = load_rig("compact").cameras
    pixels = np.stack(
        [
            np.hstack([c.camera.matrix, np.zeros((3, 1))]) @ inverse(np.asarray(c.ego_from_camera))
            for c in cameras
        ]
    )
    seen = cells_in_view(pixels, np.ones(4, bool), (256, 128), GRID)
    x, y = np.moveaxis(GRID.centres(), -1, 0)
    assert seen[x > 2.5].all()  # 210 degrees, from the bumper on
    assert not seen[(x < -0.5) & (np.abs(y) < 5.0)].any()
    ahead = cells_in_view(pixels, np.array([True, False, False, False]), (256, 128), GRID)
    bearing = np.abs(np.arctan2(y, x - 1.7))
    assert ahead[bearing < 0.75].all() and not ahead[bearing > 0.82].any()
    made = targets(generate_map("four_way", seed=3), pose(0.0, 0.0, 0.0), in_view=ahead)
    assert not made["raster_weight"][:, ~ahead].any() and not made["lane_weight"][~ahead].any()


def test_what_is_missing_is_named():
    with pytest.raises(RoadloopError, match="map_line_kind"):
        raster_targets(GRID, map_lines=np.zeros((1, 2, 3)))
    with pytest.raises(RoadloopError, match="visible"):
        raster_targets(GRID, map_lines=None, boxes=np.zeros((1, 9)))
    with pytest.raises(RoadloopError, match="drivable"):
        raster_picture({"road": np.zeros((8, 8))})


# --- learning -----------------------------------------------------------------------------------


def small() -> tuple[BevGrid, dict]:
    import torch

    grid = BevGrid(nx=24, ny=24, y_min=-9.6)
    made = targets(generate_map("four_way", seed=3), pose(0.0, 0.0, 0.3), grid)
    frame = {key: torch.from_numpy(value)[None] for key, value in made.items()}
    return grid, frame


def test_the_loss_falls_to_nothing_at_the_truth_and_ignores_what_is_not_judged():
    import torch

    _, frame = small()
    truth = {"raster": (frame["raster"].float() - 0.5) * 40.0, "lane": frame["lane"].clone()}
    truth["lane"][:, 2].clamp_(-3.0, 3.0)
    best = raster_loss(truth, frame)
    assert best["raster"] < 0.01 and best["lane"] == 0.0
    off = {"raster": -truth["raster"], "lane": truth["lane"] + 1.0}
    worse = raster_loss(off, frame)
    assert worse["raster"] > 10.0 and worse["lane"] == pytest.approx(1.0)
    blind = {
        **frame,
        "raster_weight": frame["raster_weight"] * 0,
        "lane_weight": frame["lane_weight"] * 0,
    }
    nothing = raster_loss({k: v.requires_grad_() for k, v in off.items()}, blind)
    assert nothing["raster"] == 0.0 and nothing["lane"] == 0.0
    (nothing["raster"] + nothing["lane"]).backward()
    assert all(torch.isfinite(v.grad).all() for v in off.values())


def test_the_head_learns_a_map_by_heart():
    import torch

    torch.manual_seed(0)
    grid, frame = small()
    head = RasterHead(16, DetectorConfig(grid=grid))
    features = torch.nn.Parameter(0.1 * torch.randn(1, 16, *grid.shape))
    outputs = head(features)
    assert outputs["raster"].shape == (1, 6, *grid.shape) and outputs["lane"].shape[1] == 3
    assert outputs["raster"].sigmoid().mean() < 0.3  # most cells are of no layer
    steps = torch.optim.Adam([*head.parameters(), features], lr=0.03)
    for _ in range(25):
        loss = sum(raster_loss(head(features), frame).values())
        steps.zero_grad()
        loss.backward()
        steps.step()
    score = RasterScore(grid)
    with torch.no_grad():
        found = head(features)
    score.add(
        found["raster"].sigmoid().numpy(), frame["raster"].numpy(), frame["raster_weight"].numpy()
    )
    assert score.result()["drivable"]["iou"]["all"] > 0.9


def test_the_score_counts_unions_by_distance():
    score = RasterScore(GRID)
    truth = np.zeros((len(RasterLayer), *GRID.shape), np.uint8)
    x, y = np.moveaxis(GRID.centres(), -1, 0)
    truth[0] = np.abs(y) < 4.0
    found = np.zeros(truth.shape, np.float32)
    found[0] = np.where((np.abs(y) < 4.0) & (x < 16.0), 0.9, 0.1)  # nothing beyond 16 m ...
    found[0] = np.where((np.abs(y) < 4.0) & (x >= 32.0), 0.3, found[0])  # ... or hesitantly
    found[0] = np.where((y > 4.0) & (y < 8.0) & (x < 16.0), 0.6, found[0])
    weight = np.ones_like(truth)
    weight[0][y < 0.0] = 0
    score.add(found, truth, weight)
    result = score.result()["drivable"]
    assert result["iou"]["0-16"] == pytest.approx(0.5)  # as much to its left as it is wide
    assert result["iou"]["16-32"] == 0.0 and set(result["iou"]) == {"all", "0-16", "16-32", "32-48"}
    assert result["best_threshold"] in (0.15, 0.2, 0.25, 0.3) or result["best_iou"] > 0.5
    assert result["best_iou"] > result["iou"]["all"]
    assert result["share"] == pytest.approx(truth[0][y > 0].mean())
    twice = RasterScore(GRID)
    twice.add(np.stack([found, found]), np.stack([truth, truth]), np.stack([weight, weight]))
    assert (twice.counts == 2 * score.counts).all()
    empty = RasterScore(GRID)
    assert empty.result()["vehicle"]["iou"]["all"] is None


def test_the_lane_score_gives_mean_errors():
    made = targets(generate_map("four_way", seed=3), pose(0.0, 0.0, 0.0))
    turned = made["lane"].copy()
    c, s = np.cos(0.1), np.sin(0.1)
    turned[0], turned[1] = (
        (made["lane"][0] * c - made["lane"][1] * s) * 0.5,
        (made["lane"][0] * s + made["lane"][1] * c) * 0.5,
    )
    turned[2] += 0.25
    score = LaneScore(GRID)
    score.add(turned, made["lane"], made["lane_weight"])
    result = score.result()
    assert result["direction_error"]["all"] == pytest.approx(0.1, abs=1e-4)
    assert result["centreline_error"]["all"] == pytest.approx(0.25, abs=1e-4)


def test_the_picture_has_ahead_at_the_top_and_left_at_the_left():
    layers = {layer.name.lower(): np.zeros(GRID.shape) for layer in RasterLayer}
    assert set(layers) == set(COLOURS)
    i, j = np.floor(GRID.cells_of((40.0, 10.0)) + 0.5).astype(int)
    layers["drivable"][i, j] = 1.0
    picture = raster_picture(layers, scale=4)
    assert picture.shape == (256, 256, 3) and picture.dtype == np.uint8
    row, column = np.argwhere((picture == COLOURS["drivable"]).all(-1)).mean(0)
    assert row < 60 and column < 128
    made = targets(generate_map("four_way", seed=3), pose(0.0, 0.0, 0.0))
    plain = raster_picture(layers, judged=np.zeros(GRID.shape, bool))
    drawn = raster_picture(
        layers, judged=np.zeros(GRID.shape, bool), lane=made["lane"],
        lane_judged=made["lane_weight"], origin=(GRID.x_min, GRID.y_min),
    )  # fmt: skip
    assert (plain != drawn).any() and plain.max() < picture.max()
