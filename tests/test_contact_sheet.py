"""Pictures of readings: where things land, which colours they have, and how a sheet is laid out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from roadloop.camera import Pinhole
from roadloop.errors import RoadloopError
from roadloop.readings import (
    CameraImage,
    GnssFix,
    ImageBoxes,
    ImuSamples,
    LidarSweep,
    RadarScan,
    WheelOdometry,
)
from roadloop.rig import LidarSensor, Mount, RadarSensor, SensorRig, load_rig, rig_names
from roadloop.semantics import COLOURS, SemanticClass
from roadloop.types import AgentStates, EgoState, Observation, Tracks
from roadloop.viz.camera_wall import as_they_look, camera_wall, wall_aspect
from roadloop.viz.contact_sheet import WIDTH, contact_sheet, write_jpeg
from roadloop.viz.film import Film
from roadloop.viz.from_above import Plan, lidar_above, lidar_ranges, plan_for, radar_above
from roadloop.viz.readings import (
    FAR,
    NEAR,
    PRODUCTS,
    camera_picture,
    distance_colours,
    instance_colour,
)

EGO_BLUE = (61, 139, 255)


def ego(x=0.0, y=0.0, heading=0.0):
    x, y, z, heading, speed, still = (np.asarray(v) for v in (x, y, 0.0, heading, 5.0, 0.0))
    return EgoState(x, y, z, heading, speed, still, still, still)


def observation(**fields):
    return Observation(step=1, time=0.1, dt=0.1, ego=fields.pop("ego", ego()), **fields)


def image(width=64, height=48, **labels):
    rng = np.random.default_rng(0)
    return CameraImage(
        rgb=rng.integers(0, 255, (height, width, 3), dtype=np.uint8),
        camera=Pinhole(width, height, 50.0, 50.0, width / 2 - 0.5, height / 2 - 0.5),
        ego_from_camera=np.eye(4),
        timestamp_us=0,
        **labels,
    )


def one_track(x, y):
    one = {"id": [7], "kind": [0], "z": [0], "heading": [0], "vx": [0], "vy": [0]}
    size = {"length": [4.0], "width": [2.0], "height": [1.5], "valid": [True]}
    states = AgentStates(**{k: np.array(v) for k, v in {**one, **size, "x": [x], "y": [y]}.items()})
    return Tracks(states, np.zeros(1), np.zeros(1))


# --- cameras ------------------------------------------------------------------------------------


def test_colours_stay_as_they_are_at_their_own_size():
    picture = image()
    np.testing.assert_array_equal(camera_picture(picture, "rgb", 64, 48), picture.rgb)


def test_classes_are_never_mixed():
    semantic = np.full((48, 64), SemanticClass.ROAD, np.uint8)
    semantic[:24] = SemanticClass.SKY
    drawn = camera_picture(image(semantic=semantic), "semantic", 200, 111)
    assert {tuple(c) for c in np.unique(drawn.reshape(-1, 3), axis=0)} == {
        tuple(COLOURS[SemanticClass.ROAD]),
        tuple(COLOURS[SemanticClass.SKY]),
    }


def test_near_is_lighter_than_far_and_the_sky_is_neither():
    metres = np.array([0.1, NEAR, 5.0, 20.0, 50.0, FAR, 1000.0])
    light = distance_colours(metres).astype(int) @ (299, 587, 114)
    assert light[0] == light[1] and light[-1] == light[-2]
    assert (np.diff(light[1:-1]) < 0).all()
    sky = tuple(distance_colours(np.array([np.inf]))[0])
    assert sky not in {tuple(c) for c in distance_colours(np.geomspace(NEAR, FAR, 500))}


def test_flow_shows_direction_by_hue():
    flow = np.zeros((48, 64, 2), np.float32)
    flow[:, :32, 0], flow[:, 32:, 0] = -4.0, 4.0
    drawn = camera_picture(image(flow=flow), "flow", 64, 48)
    left, right = drawn[5, 5], drawn[5, 60]
    assert left.argmax() != right.argmax() and right.argmax() == 0  # right is red
    still = camera_picture(image(flow=np.zeros_like(flow)), "flow", 64, 48)
    assert still.max() == 0


def test_every_instance_has_a_colour_of_its_own():
    instance = np.zeros((48, 64), np.int32)
    for k in range(1, 9):
        instance[:, 4 * k : 4 * k + 4] = k
    instance[:, 60:] = -3  # a traffic light
    drawn = camera_picture(image(instance=instance), "instance", 64, 48)
    shown = [tuple(drawn[10, 4 * k + 1]) for k in range(1, 9)] + [tuple(drawn[10, 62])]
    assert len(set(shown)) == 9
    assert tuple(drawn[10, 5]) == instance_colour(1)
    assert drawn[:, :4].max() <= 127  # what is no instance stays grey and dim
    assert (drawn[:, :4].std(axis=-1) == 0).all()


def test_boxes_lie_around_what_is_seen_and_scale_with_the_picture():
    def boxes(**more):
        edges = {"left": 10.0, "top": 12.0, "right": 29.0, "bottom": 31.0}
        seen = {f"visible_{name}": value for name, value in edges.items()}
        values = {"id": 7, "kind": 0, "pixels": 50, **edges, **seen, **more}
        return ImageBoxes(**{k: np.array([v]) for k, v in values.items()})

    black = replace(image(), rgb=np.zeros((48, 64, 3), np.uint8))
    drawn = camera_picture(replace(black, boxes=boxes()), "boxes", 128, 96)
    v, u = np.nonzero((drawn == instance_colour(7)).all(-1))
    assert (u.min(), u.max()) == (pytest.approx(20, abs=2), pytest.approx(59, abs=2))
    assert (v.min(), v.max()) == (pytest.approx(24, abs=2), pytest.approx(63, abs=2))
    hidden = camera_picture(replace(black, boxes=boxes(pixels=0)), "boxes", 128, 96)
    assert hidden.max() == 0


def test_a_missing_or_unknown_product_is_said_in_one_line():
    with pytest.raises(RoadloopError, match="no depth: add it"):
        camera_picture(image(), "depth", 64, 48)
    with pytest.raises(RoadloopError, match='"thermal"'):
        camera_picture(image(), "thermal", 64, 48)


# --- seen from above ----------------------------------------------------------------------------

LIDAR = LidarSensor("top", Mount(0.0, 0.0, 2.0), beams=(-10.0, -5.0, 0.0, 5.0), columns=360)
PLAN = Plan(front=50.0, rear=-50.0, left=50.0)


def sweep(points, **more):
    points = np.array([[*p, 0.5] for p in points], np.float32)
    return LidarSweep(points, 0, **more)


def test_ahead_is_up_and_left_is_left():
    drawn = lidar_above(sweep([(20.0, 0.0, 4.9), (0.0, 30.0, 4.9)]), PLAN, observation(), 400, 400)
    bright = (drawn[:300] == drawn[120, 200]).all(-1)  # the colour bar is below
    v, u = np.nonzero(bright)
    places = {(int(a) // 4, int(b) // 4) for a, b in zip(v, u)}
    assert places == {(30, 50), (50, 20)}  # cells of 1 m: 20 m ahead, 30 m to the left


def test_ego_and_agents_are_where_the_tracks_say():
    turned = ego(100.0, 50.0, np.pi / 2)
    around = observation(ego=turned, tracks=one_track(90.0, 50.0))  # 10 m to the left of the ego
    drawn = lidar_above(sweep([(49.0, 49.0, 0.0)]), PLAN, around, 400, 400)
    assert tuple(drawn[200, 200]) == EGO_BLUE
    v, u = np.nonzero((drawn[:300] > 150).all(-1))
    assert np.mean(u) == pytest.approx(160, abs=1.5) and np.mean(v) == pytest.approx(200, abs=1.5)
    # it heads east while the ego heads north: across the picture
    assert np.ptp(u) == pytest.approx(16, abs=2) and np.ptp(v) == pytest.approx(8, abs=2)


def test_a_plan_looks_ahead_where_no_sensor_looks_back():
    radar = RadarSensor("front", Mount(3.7, 0.0, 0.5), fov=2.0)
    ahead, around = plan_for([radar]), plan_for([LIDAR])
    assert ahead.rear > -0.2 * ahead.front
    assert around.front + around.rear == pytest.approx(4.0) and around.rear < -40.0


def test_distances_have_the_highest_beam_on_top_and_left_at_the_left():
    # ring 0 looks down by 10 deg; the point is 20 m away, 90 deg to the left
    down = 20.0 * np.array([0.0, np.cos(np.radians(10.0)), -np.sin(np.radians(10.0))])
    one = sweep([down + np.array([0.0, 0.0, 2.0])], ring=np.array([0], np.uint16))
    drawn = lidar_ranges(one, LIDAR, 360, 4)
    expected = distance_colours(np.array([20.0]))[0]
    v, u = np.nonzero((np.abs(drawn.astype(int) - expected) <= 2).all(-1))
    assert list(v) == [3] and abs(int(u[0]) - 90) <= 1
    with pytest.raises(RoadloopError, match="no ring numbers"):
        lidar_ranges(sweep([down]), LIDAR, 360, 4)


def scan(x, y, speed, instance=0):
    one = {"x": x, "y": y, "z": 0.5, "radial_speed": speed, "rcs": 10.0}
    arrays = {name: np.array([value]) for name, value in one.items()}
    return RadarScan(**arrays, timestamp_us=0, instance=np.array([instance]))


def test_radar_arrows_point_away_from_or_at_the_sensor():
    sensor = RadarSensor("front", Mount(0.0, 0.0, 0.5), fov=6.28, max_range=45.0)

    def rows(speed, instance=5):
        seen = {"front": scan(20.0, 0.0, speed, instance)}
        drawn = radar_above(seen, {"front": sensor}, PLAN, observation(), 400, 400).astype(int)
        # warm or cold: only targets have colours beside the ego's blue
        v, _ = np.nonzero(np.abs(drawn[:170, 190:210, 0] - drawn[:170, 190:210, 2]) > 60)
        return v

    away, near = rows(8.0), rows(-8.0)
    assert away.min() == pytest.approx(120 - 32, abs=4) and away.max() < 130
    assert near.max() == pytest.approx(120 + 32, abs=4) and near.min() > 110
    assert len(rows(0.0)) == 0  # what stands has no arrow and no colour


# --- layout -------------------------------------------------------------------------------------


def test_cameras_lie_as_they_look():
    rows = as_they_look(load_rig("nuscenes-704x256").cameras)
    assert [[c.name for c in row] for row in rows] == [
        ["cam-front-left", "cam-front", "cam-front-right"],
        ["cam-back-left", "cam-back", "cam-back-right"],
    ]
    rows = as_they_look(load_rig("surround-fisheye").cameras)
    assert [[c.name for c in row] for row in rows] == [
        ["fisheye-left", "fisheye-front", "fisheye-right"],
        ["fisheye-rear"],
    ]


def test_a_wall_shows_every_camera_and_leaves_out_what_is_not_there():
    rig = load_rig("compact-3cam")
    assert wall_aspect(rig) == pytest.approx(6.0)
    red = replace(image(256, 128), rgb=np.full((128, 256, 3), (200, 0, 0), np.uint8))
    wall = camera_wall(rig, {"front": red}, 600, 100)
    assert wall.shape == (100, 600, 3)
    assert (wall[:, 202:396] == (200, 0, 0)).all()
    assert not (wall[:, :196] == (200, 0, 0)).all(-1).any()


def every_reading(rig: SensorRig, products=("rgb",)) -> Observation:
    """Something of every sensor."""
    rng = np.random.default_rng(1)
    labels = {
        "depth": lambda w, h: np.full((h, w), 10.0, np.float32),
        "semantic": lambda w, h: np.full((h, w), SemanticClass.ROAD, np.uint8),
    }

    def picture(camera):
        more = {p: labels[p](camera.width, camera.height) for p in products if p in labels}
        return image(camera.width, camera.height, **more)

    def points(lidar):
        n = 100
        xyz = rng.uniform(-40.0, 40.0, (n, 3))
        return sweep(xyz, ring=rng.integers(0, len(lidar.beams), n).astype(np.uint16))

    return observation(
        cameras={c.name: picture(c) for c in rig.cameras},
        lidars={s.name: points(s) for s in rig.lidars},
        radars={s.name: scan(20.0, 3.0, -4.0) for s in rig.radars},
        imus={s.name: ImuSamples(np.zeros(1, int), np.ones((1, 3)), np.ones((1, 3)))
              for s in rig.imus},
        gnss={s.name: GnssFix(1.0, 2.0, 3.0, float("nan"), float("nan"), 5.0, 0.1, 1.0, 0)
              for s in rig.gnss},
        odometry={s.name: WheelOdometry(5.0, 0.1, 0.02, 0) for s in rig.odometry},
        tracks=one_track(10.0, 3.0),
    )  # fmt: skip


@pytest.mark.parametrize("name", rig_names())
def test_every_shipped_rig_fits_on_a_sheet(name):
    rig = load_rig(name)
    sheet = contact_sheet(rig, every_reading(rig), note="a note")
    height, width = sheet.shape[:2]
    assert sheet.dtype == np.uint8 and 600 < width <= WIDTH and height < 2500
    # every sensor leaves its traces: without its reading the sheet is another one
    for kind in ("cameras", "lidars", "radars"):
        for sensor in getattr(rig, kind)[:1]:
            seen = every_reading(rig)
            less = {k: v for k, v in getattr(seen, kind).items() if k != sensor.name}
            other = contact_sheet(rig, replace(seen, **{kind: less}), note="a note")
            assert other.shape != sheet.shape or (other != sheet).any()


def test_products_are_drawn_in_their_order_and_classes_are_named():
    rig = load_rig("compact-3cam")
    seen = every_reading(rig, ("depth", "semantic"))
    plain = contact_sheet(rig, seen, products=("rgb",))
    more = contact_sheet(rig, seen, products=("rgb", "depth", "semantic"))
    assert more.shape[0] > 2 * plain.shape[0] - 200
    road = (more == COLOURS[SemanticClass.ROAD]).all(-1)
    assert road[: more.shape[0] // 2].sum() < 1000 < road[more.shape[0] // 2 :].sum()
    assert road[-34:].sum() == 16 * 16  # the legend


def test_nothing_to_draw_is_said_in_one_line():
    with pytest.raises(RoadloopError, match="nothing to draw"):
        contact_sheet(SensorRig("bare"), observation())


def test_pictures_are_written_whole_or_not_at_all(tmp_path):
    picture = image().rgb
    for name in ("a.jpg", "sub/b.png"):
        path = write_jpeg(tmp_path / name, picture)
        assert Image.open(path).size == (64, 48)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "sub" / "b.png")), picture)
    with pytest.raises(RoadloopError, match=r"\.jpg or \.png"):
        write_jpeg(tmp_path / "a.gif", picture)
    with pytest.raises(RoadloopError, match="cannot write the picture"):
        write_jpeg(tmp_path / "a.jpg" / "b.jpg", picture)


# --- films --------------------------------------------------------------------------------------


def test_a_film_keeps_the_newest_picture_and_bounds_its_strip():
    rig = load_rig("compact-3cam")
    film = Film(rig)
    assert film.above and film.size == (1280, 214)
    for step in range(0, 40, 2):
        grey = np.full((128, 256, 3), 5 * step, np.uint8)
        film.add(step, {c.name: replace(image(256, 128), rgb=grey) for c in rig.cameras})
    for step, shown in ((0, 0), (1, 0), (2, 2), (11, 10), (99, 38)):
        assert film.picture(step)[100, 640].mean() == pytest.approx(5 * shown, abs=2)
    strip = film.strip(8, 10**9, 640)
    assert (strip.steps[0], strip.steps[-1], len(strip.pictures)) == (0, 38, 8)
    assert (strip.width, strip.height) == (640, 107)
    small = film.strip(8, sum(map(len, strip.pictures)) // 2, 640)
    assert 0 < len(small.pictures) < 8
    assert sum(map(len, small.pictures)) <= sum(map(len, strip.pictures)) // 2
    assert film.strip(8, 1, 640).pictures == []


def test_one_camera_stands_beside_the_birds_eye_view():
    film = Film(load_rig("carla-transfuser"))
    assert not film.above and film.size == (1080, 540)
    with pytest.raises(RoadloopError, match="no cameras to show"):
        Film(SensorRig("bare"))


def test_every_product_has_a_picture():
    boxes = ImageBoxes(*(np.zeros(0) for _ in range(11)))
    full = image(
        depth=np.ones((48, 64), np.float32),
        semantic=np.zeros((48, 64), np.uint8),
        instance=np.zeros((48, 64), np.int32),
        flow=np.zeros((48, 64, 2), np.float32),
        boxes=boxes,
    )
    for product in PRODUCTS:
        drawn = camera_picture(full, product, 300, 200)
        assert drawn.shape == (200, 300, 3) and drawn.dtype == np.uint8
