"""Noisy perception: its statistics are those configured, and the same seed gives the same bytes."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from perception.false_positives import FARTHEST, FIRST_ID, NEAREST
from perception.ground_truth import GroundTruth
from perception.noise_config import NoiseConfig, load_noise, no_noise, presets
from perception.noisy import LIFE, NoisyPerception
from perception.occlusion import visible_share
from roadloop.config import dump_config, load_config
from roadloop.errors import RoadloopError
from roadloop.types import AgentKind, AgentStates, EgoState, Observation, Scenario, Tracks, at

DT = 0.1
FIELDS = [f.name for f in dataclasses.fields(AgentStates)]


def scenario(seed: int = 0) -> Scenario:
    return Scenario(
        **(dict.fromkeys(f.name for f in dataclasses.fields(Scenario)) | {"seed": seed})
    )


def users(x, y=0.0, vx=0.0, vy=0.0, **fields) -> AgentStates:
    x = np.atleast_1d(np.asarray(x, float))
    n = len(x)
    values = {
        "id": np.arange(n) + 1,
        "kind": np.zeros(n, np.uint8),
        "x": x,
        "y": np.full(n, y, float),
        "z": np.zeros(n),
        "heading": np.zeros(n),
        "vx": np.full(n, vx, float),
        "vy": np.full(n, vy, float),
        "length": np.full(n, 4.5),
        "width": np.full(n, 1.8),
        "height": np.full(n, 1.5),
        "valid": np.ones(n, bool),
    }
    return AgentStates(**(values | {k: np.asarray(v) for k, v in fields.items()}))


def observe(states: AgentStates, step: int = 0, heading: float = 0.0) -> Observation:
    zero = np.float64(0.0)
    ego = EgoState(zero, zero, zero, np.float64(heading), zero, zero, zero, zero)
    n = len(states.x)
    tracks = Tracks(states, np.zeros(n), np.full(n, step))
    return Observation(step=step, time=step * DT, dt=DT, ego=ego, tracks=tracks)


def run(states, steps: int, seed: int = 0, **config) -> list[Tracks]:
    """Tracks of every step; ``states`` is one AgentStates or a function of the time."""
    tracker = NoisyPerception(dataclasses.replace(no_noise(), **config))
    tracker.reset(scenario(seed))
    at_time = states if callable(states) else lambda time: states
    return [tracker.update(observe(at_time(k * DT), k)) for k in range(steps)]


def field(tracks: list[Tracks], name: str) -> np.ndarray:
    """(steps, tracks) of drives in which nobody is missed."""
    return np.stack([getattr(t.states, name) for t in tracks])


def same(a: Tracks, b: Tracks) -> bool:
    pairs = [(getattr(a.states, name), getattr(b.states, name)) for name in FIELDS]
    pairs += [(a.position_std, b.position_std), (a.age, b.age)]
    return all(p.dtype == q.dtype and p.tobytes() == q.tobytes() for p, q in pairs)


# --- zero is truth ------------------------------------------------------------------------------


def test_zeros_are_ground_truth_to_the_byte():
    tracker, truth = NoisyPerception(no_noise()), GroundTruth()
    tracker.reset(scenario())
    states = users([30.0, 10.0, 300.0, -5.0], heading=[0.1, 3.0, -2.0, np.pi])
    states = dataclasses.replace(states, valid=np.array([True, True, True, False]))
    for step in range(5):
        assert same(tracker.update(observe(states, step)), truth.update(observe(states, step)))


def test_almost_zero_is_almost_ground_truth():
    """The way the tracks take when something is disturbed changes nothing else."""
    states = users([30.0, 10.0, -20.0], vx=5.0, heading=[0.1, 3.0, -2.0], kind=[0, 6, 7])
    for tracks in run(states, 5, along_std=1e-9):
        for name in FIELDS:
            shown, true = getattr(tracks.states, name), getattr(states, name)
            np.testing.assert_allclose(shown, true, atol=1e-7)


def test_nobody_around_is_no_error():
    assert len(run(users([]), 3, along_std=1.0, latency=0.1, min_visible=0.5)[-1].age) == 0


# --- statistics ---------------------------------------------------------------------------------


def test_errors_have_the_configured_spread_and_grow_with_distance():
    """Straight ahead, along the line of sight is x and across it y."""
    n = 200
    near_far = users(np.repeat([10.0, 50.0], n), heading=np.ones(2 * n))
    tracks = run(
        near_far,
        30,
        along_std=0.2,
        along_std_per_m=0.01,
        across_std=0.1,
        across_std_per_m=0.002,
        heading_std=0.05,
        size_std=0.08,
        velocity_std=0.3,
    )

    def spread(error):
        """Standard deviation near and far."""
        return error.reshape(-1, 2, n).std(axis=(0, 2))

    along, across = field(tracks, "x") - near_far.x, field(tracks, "y")
    np.testing.assert_allclose(spread(along), [0.3, 0.7], rtol=0.04)
    np.testing.assert_allclose(spread(across), [0.12, 0.2], rtol=0.04)
    assert abs(along.mean()) < 0.02
    np.testing.assert_allclose(spread(field(tracks, "heading") - 1.0), 0.05, rtol=0.04)
    for name in ("length", "width", "height"):
        log = np.log(field(tracks, name) / getattr(near_far, name))
        np.testing.assert_allclose(spread(log), 0.08, rtol=0.04)
    for name in ("vx", "vy"):
        np.testing.assert_allclose(spread(field(tracks, name)), 0.3, rtol=0.04)
    # honest: the root mean square of the two axes
    honest = np.sqrt((spread(along) ** 2 + spread(across) ** 2) / 2.0)
    np.testing.assert_allclose(tracks[0].position_std[[0, n]], honest, rtol=0.04)


def test_velocity_errors_grow_with_speed_and_walkers_turn_more():
    kinds = np.repeat([AgentKind.CAR, AgentKind.PEDESTRIAN], 100).astype(np.uint8)
    states = users(np.full(200, 20.0), vx=np.repeat([0.0, 10.0], 100), kind=kinds)
    tracks = run(
        states,
        40,
        velocity_std=0.1,
        velocity_std_share=0.05,
        heading_std=0.05,
        walker_heading_std=0.4,
    )
    speed, heading = (field(tracks, k).reshape(40, 2, 100) for k in ("vx", "heading"))
    np.testing.assert_allclose(speed.std(axis=(0, 2)), [0.1, 0.6], rtol=0.05)
    np.testing.assert_allclose(heading.std(axis=(0, 2)), [0.05, 0.4], rtol=0.05)


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_errors_are_correlated_in_time_as_configured(seconds):
    tracks = run(users(np.full(200, 20.0)), 100, along_std=0.5, correlation_time=seconds)
    error = field(tracks, "x") - 20.0
    for lag in (1, 5, 10):
        measured = np.mean(error[lag:] * error[:-lag]) / np.mean(error**2)
        expected = math.exp(-lag * DT / seconds) if seconds else 0.0
        assert measured == pytest.approx(expected, abs=0.06)
    assert error.std() == pytest.approx(0.5, rel=0.06)


def test_velocity_errors_do_not_jump():
    tracks = run(users([20.0]), 500, velocity_std=0.3, velocity_correlation_time=1.0)
    steps = np.diff(field(tracks, "vx"), axis=0)
    # AR(1): the standard deviation of a step is std * sqrt(2 (1 - exp(-dt / time)))
    expected = 0.3 * math.sqrt(2 * (1 - math.exp(-DT)))
    assert steps.std() == pytest.approx(expected, rel=0.15)
    assert np.abs(steps).max() < 0.6


def test_misses_fill_their_share_of_the_time_and_last_as_long_as_configured():
    share, duration, n = 0.2, 0.8, 150
    states = users(np.full(n, 20.0))
    tracks = run(states, 300, miss_probability=share, miss_duration=duration)
    seen = np.array([np.isin(states.id, t.states.id % LIFE) for t in tracks])
    assert 1.0 - seen.mean() == pytest.approx(share, abs=0.015)
    # gaps as seen every dt: an end after each with probability (1 - share) (1 - exp(-dt / tau))
    end = (1.0 - share) * (1.0 - math.exp(-DT / (duration * (1.0 - share))))
    ended = seen[1:] & ~seen[:-1]
    assert ended.sum() / (~seen[:-1]).sum() == pytest.approx(end, rel=0.05)
    assert DT / end == pytest.approx(duration, rel=0.1)
    # road users are missed independently of one another
    together = np.corrcoef(seen.T.astype(float))[~np.eye(n, dtype=bool)]
    assert abs(together.mean()) < 0.01


def test_misses_grow_with_distance_up_to_always():
    states = users(np.repeat([10.0, 50.0, 200.0], 100))
    tracks = run(states, 50, miss_probability=0.05, miss_probability_per_m=0.005)
    missed = np.array([~np.isin(states.id, t.states.id % LIFE) for t in tracks])
    share = missed.reshape(50, 3, 100).mean(axis=(0, 2))
    np.testing.assert_allclose(share, [0.1, 0.3, 1.0], atol=0.02)


def test_false_positives_come_at_their_rate_and_stay_their_time():
    steps, rate, lifetime = 1500, 8.0, 0.8
    tracks = run(
        users([]),
        steps,
        false_positive_rate=rate,
        false_positive_lifetime=lifetime,
        false_positive_ahead=0.3,
    )
    ids = np.concatenate([t.states.id for t in tracks])
    assert (ids >= FIRST_ID).all()
    born = len(np.unique(ids))
    assert born / (steps * DT) == pytest.approx(rate, rel=0.1)
    # one is handed on from the first frame after its birth: on average lifetime / dt + 1/2 frames
    assert len(ids) / born == pytest.approx(lifetime / DT + 0.5, rel=0.1)
    x, y = (np.concatenate([getattr(t.states, name) for t in tracks]) for name in "xy")
    away = np.hypot(x, y)
    assert away.min() > NEAREST - 1.0 and away.max() < FARTHEST + 1.0
    assert np.mean((np.abs(y) < 5.0) & (x > 0.0)) == pytest.approx(0.3 + 0.7 * 0.06, abs=0.06)
    assert {AgentKind.CAR, AgentKind.PEDESTRIAN} <= set(
        np.concatenate([t.states.kind for t in tracks]).tolist()
    )


def test_kinds_are_confused_for_a_tracks_life():
    kinds = np.arange(400) % 8
    tracks = run(
        users(np.full(400, 20.0), kind=kinds.astype(np.uint8)), 3, confusion_probability=0.3
    )
    wrong = tracks[0].states.kind != kinds
    assert wrong.mean() == pytest.approx(0.3, abs=0.06)
    assert (tracks[2].states.kind == tracks[0].states.kind).all()


# --- tracks -------------------------------------------------------------------------------------


def test_a_track_is_born_after_hits_in_a_row_and_counts_its_age():
    tracks = run(users([20.0]), 6, birth_hits=3)
    assert [len(t.age) for t in tracks] == [0, 0, 1, 1, 1, 1]
    assert [int(t.age[0]) for t in tracks[2:]] == [0, 1, 2, 3]


def test_a_lost_track_is_carried_on_then_dropped_then_born_under_another_id():
    """Out of range from 1.0 s to 3.0 s; coasting takes 0.5 s."""

    def states(time):
        away = 0.95 < time < 3.05
        return users([200.0 if away else 20.0 + 5.0 * time], vx=5.0)

    tracks = run(states, 40, max_range=100.0, coast_time=0.5, velocity_std=0.2, birth_hits=2)
    there = [len(t.age) for t in tracks]
    assert there == [0] + 14 * [1] + 17 * [0] + 8 * [1]
    last, carried = tracks[9], tracks[14]
    assert carried.states.x - last.states.x == pytest.approx(0.5 * last.states.vx)
    assert carried.position_std > last.position_std
    assert carried.states.id == last.states.id == 1
    assert tracks[-1].states.id == 1 + LIFE


def test_range_and_blind_sector():
    states = users([20.0, -20.0, 70.0, 0.0], y=[0.0, 0.1, 0.0, 20.0])
    seen = run(states, 1, max_range=60.0, blind_angle=math.pi / 2)[0]
    assert seen.states.id.tolist() == [1, 4]
    turned = NoisyPerception(dataclasses.replace(no_noise(), blind_angle=math.pi / 2))
    turned.reset(scenario())
    assert 1 not in turned.update(observe(states, heading=np.pi)).states.id


# --- occlusion ----------------------------------------------------------------------------------


def test_a_nearer_box_hides_what_is_behind_it():
    """Beside each other, behind, half behind; and a low box does not hide a high one."""
    van = users([10.0, 20.0, 20.0, 5.0], y=[0.0, 0.0, 8.0, -8.0])
    np.testing.assert_allclose(visible_share(van, 0.0, 0.0, 1.5), [1.0, 0.0, 1.0, 1.0])
    # its left half stands out: the nearer one ends where the farther one's middle is
    half = users([10.0, 20.0], y=[-0.9 / 1.0, 0.0], length=[0.1, 0.1], width=[1.8, 1.8])
    assert visible_share(half, 0.0, 0.0, 1.5)[1] == pytest.approx(0.5, abs=0.1)
    high = users([10.0, 20.0], height=[1.0, 4.0])
    assert visible_share(high, 0.0, 0.0, 1.5)[1] == 1.0
    bridge = dataclasses.replace(van, z=np.array([8.0, 0.0, 0.0, 0.0]))
    assert visible_share(bridge, 0.0, 0.0, 1.5)[1] == 1.0


def test_two_narrow_boxes_together_hide_a_wide_one():
    states = users([10.0, 10.0, 30.0], y=[0.5, -0.5, 0.0], width=[1.1, 1.1, 1.8], length=0.5)
    states = dataclasses.replace(states, length=np.full(3, 0.5))
    assert visible_share(states, 0.0, 0.0, 1.5)[2] == 0.0
    one = at(states, np.array([0, 2]))
    assert 0.3 < visible_share(one, 0.0, 0.0, 1.5)[1] < 0.7


def test_occlusion_is_seen_from_the_sensor_and_can_be_switched_off():
    states = users([10.0, 20.0])
    assert run(states, 1, min_visible=0.2)[0].states.id.tolist() == [1]
    assert len(run(states, 1, along_std=1e-9)[0].age) == 2
    # a sensor at 15 m is past the one that hides
    assert run(states, 1, min_visible=0.2, sensor_forward=15.0)[0].states.id.tolist() == [1, 2]


def test_a_box_around_the_sensor_hides_nothing():
    assert visible_share(users([0.0, 20.0]), 0.0, 0.0, 1.5).tolist() == [1.0, 1.0]


# --- latency ------------------------------------------------------------------------------------


def moving(time: float) -> AgentStates:
    return users([20.0 + 8.0 * time], vx=8.0)


def test_latency_hands_on_what_was_seen_so_many_steps_ago():
    now, late = run(moving, 10, along_std=0.3), run(moving, 10, along_std=0.3, latency=0.3)
    assert [len(t.age) for t in late] == 3 * [0] + 7 * [1]
    for k in range(3, 10):
        assert same(late[k], now[k - 3])


def test_compensation_is_right_for_constant_velocity():
    late = run(moving, 10, latency=0.25, compensated=True)
    for k in range(3, 10):
        assert late[k].states.x == pytest.approx(moving(k * DT).x)
    uncertain = run(moving, 10, latency=0.3, compensated=True, velocity_std=0.5, along_std=0.1)[-1]
    assert uncertain.position_std == pytest.approx(math.hypot(0.1 / math.sqrt(2.0), 0.15))


# --- determinism --------------------------------------------------------------------------------


def typical(states_of, seed=0, config=None, steps=range(40), tracker=None) -> list[Tracks]:
    tracker = tracker or NoisyPerception(config or NoiseConfig())
    tracker.reset(scenario(seed))
    return [tracker.update(observe(states_of(k), k)) for k in steps]


def crowd(k: int) -> AgentStates:
    x = np.array([12.0, 25.0, -18.0, 40.0, 33.0]) + 0.5 * k
    return users(x, y=np.array([0.0, 3.5, -3.5, 9.0, -12.0]), vx=5.0)


def test_the_same_seed_gives_the_same_bytes_however_often_it_was_used():
    tracker = NoisyPerception()
    first = typical(crowd, tracker=tracker)
    again = typical(crowd, tracker=tracker)
    fresh = typical(crowd)
    assert all(same(a, b) and same(a, c) for a, b, c in zip(first, again, fresh, strict=True))
    for other in (typical(crowd, seed=1), typical(crowd, config=NoiseConfig(seed=1))):
        assert not same(first[-1], other[-1])


def test_order_and_others_do_not_change_the_noise_of_a_road_user():
    config = NoiseConfig(min_visible=0.0)
    plain = typical(crowd, config=config)
    order = np.array([3, 0, 4, 2, 1])
    shuffled = typical(lambda k: at(crowd(k), order), config=config)
    assert all(same(a, b) for a, b in zip(plain, shuffled, strict=True))
    fewer = typical(lambda k: at(crowd(k), np.array([0, 2])), config=config)
    for all_of_them, two in zip(plain, fewer, strict=True):
        mine = np.isin(all_of_them.states.id % LIFE, [1, 3]) | (all_of_them.states.id >= FIRST_ID)
        assert same(
            Tracks(
                at(all_of_them.states, mine), all_of_them.position_std[mine], all_of_them.age[mine]
            ),
            two,
        )


def test_dropped_frames_keep_the_noise_of_the_others():
    """White noise is a function of the step; correlated noise keeps its spread and memory."""
    config = dataclasses.replace(no_noise(), along_std=0.4)
    every, third = (
        typical(crowd, config=config),
        typical(crowd, config=config, steps=range(0, 40, 3)),
    )
    assert all(same(every[3 * k], tracks) for k, tracks in enumerate(third))
    slow = dataclasses.replace(config, correlation_time=1.0)
    tracks = typical(lambda k: users(np.full(200, 20.0)), config=slow, steps=range(0, 300, 7))
    error = field(tracks, "x") - 20.0
    assert error.std() == pytest.approx(0.4, rel=0.08)
    measured = np.mean(error[1:] * error[:-1]) / np.mean(error**2)
    assert measured == pytest.approx(math.exp(-0.7), abs=0.05)


# --- mistakes -----------------------------------------------------------------------------------


def test_mistakes_are_named():
    tracker = NoisyPerception()
    with pytest.raises(RoadloopError, match=r"call reset\(scenario\) first"):
        tracker.update(observe(users([1.0])))
    tracker.reset(scenario())
    with pytest.raises(RoadloopError, match='declare the sensor "tracks"'):
        tracker.update(dataclasses.replace(observe(users([1.0])), tracks=None))
    with pytest.raises(RoadloopError, match="the id 4 twice"):
        tracker.update(observe(users([1.0, 2.0], id=[4, 4])))
    tracker.update(observe(users([1.0]), 5))
    with pytest.raises(RoadloopError, match="before another drive"):
        tracker.update(observe(users([1.0]), 3))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("along_std", -0.1),
        ("latency", math.nan),
        ("max_range", math.inf),
        ("miss_probability", 1.2),
        ("blind_angle", 7.0),
        ("size_std", 3.0),
        ("seed", -1),
    ],
)
def test_impossible_values_are_refused_in_one_line(field, value):
    with pytest.raises(RoadloopError, match=f"{field} is {value}") as error:
        NoiseConfig(**{field: value})
    assert "\n" not in str(error.value)


# --- files --------------------------------------------------------------------------------------


def test_the_default_is_the_preset_typical_and_presets_say_everything():
    assert load_noise("typical") == NoiseConfig()
    assert set(presets()) == {"typical", "lidar", "poor"}
    named = {f.name for f in dataclasses.fields(NoiseConfig)} - {"seed"}
    for name, path in presets().items():
        keys = {line.partition(":")[0] for line in path.read_text().splitlines() if ": " in line}
        assert named <= keys, f"{name} leaves out {named - keys}"
        assert not load_noise(name).perfect


def test_a_file_lays_over_the_default_and_its_mistakes_are_named(tmp_path: Path):
    file = tmp_path / "rain.yaml"
    file.write_text("latency: 0.3\nmiss_probability: 0.1\n")
    config = load_noise(str(file))
    assert config == dataclasses.replace(NoiseConfig(), latency=0.3, miss_probability=0.1)
    file.write_text(dump_config(config))
    assert load_config(NoiseConfig, file) == config
    file.write_text("latency: 300 ms\n")
    with pytest.raises(RoadloopError, match=r"rain\.yaml:1: latency: .*write 0\.3"):
        load_noise(str(file))
    file.write_text("miss_probability: 2\n")
    with pytest.raises(RoadloopError, match=r"rain\.yaml:1: miss_probability is 2"):
        load_noise(str(file))
    with pytest.raises(RoadloopError, match='did you mean "typical"'):
        load_noise("tipical")
    with pytest.raises(RoadloopError, match="No such file"):
        load_noise("nowhere.yaml")


def test_the_table_on_the_page_holds_the_presets_numbers():
    page = Path(__file__).resolve().parents[1] / "docs" / "perception-noise.md"
    rows = [line.split("|")[1:-1] for line in page.read_text().splitlines() if line[:3] == "| `"]
    told = set()
    for fields, *cells in (row for row in rows if len(row) == 5):
        names = re.findall(r"`(\w+)`", fields)
        told.update(names)
        for preset, cell in zip(("typical", "lidar", "poor"), cells[:3], strict=True):
            values = [getattr(load_noise(preset), name) for name in names]
            written = re.findall(r"true|false|\d[\d.]*", cell)
            assert [float(json.loads(word)) for word in written] == [float(v) for v in values]
    assert told == {f.name for f in dataclasses.fields(NoiseConfig)} - {"seed"}
