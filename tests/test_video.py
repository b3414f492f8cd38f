"""Videos: right length and picture, the same bytes twice, and nothing left behind on failure."""

from __future__ import annotations

import av
import numpy as np
import pytest
from drawn_scene import DT, STEPS, crossroads, drive

from roadloop.errors import RoadloopError
from roadloop.viz.draw import draw_frame
from roadloop.viz.video import frame_steps, write_video


@pytest.fixture(scope="module")
def road_map():
    return crossroads()


@pytest.fixture(scope="module")
def rollout(road_map):
    return drive(road_map, 40)


def test_video_holds_every_step_in_real_time(tmp_path, rollout, road_map):
    calls = []
    path = write_video(
        tmp_path / "drive.mp4",
        rollout,
        road_map,
        width=320,
        height=180,
        progress=lambda done, frames: calls.append((done, frames)),
    )
    assert calls == [(k + 1, 40) for k in range(40)]
    data = path.read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")  # plays before it has loaded
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == pytest.approx(1 / DT)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 40
    drawn = draw_frame(rollout, road_map, 20, width=320, height=180)
    assert np.abs(frames[20].astype(int) - drawn).mean() < 3.0


def test_same_drive_same_bytes(tmp_path, rollout, road_map):
    first, second = (
        write_video(tmp_path / name, rollout, road_map, width=320, height=180, fps=4).read_bytes()
        for name in ("a.mp4", "b.mp4")
    )
    assert first == second


def test_frames_follow_time():
    rate, steps = frame_steps(601, 0.1, None)
    assert float(rate) == 10
    np.testing.assert_array_equal(steps, np.arange(601))
    rate, steps = frame_steps(1201, 0.02, None)
    assert float(rate) == pytest.approx(50 / 3, rel=1e-3)
    np.testing.assert_array_equal(steps[:3], [0, 3, 6])
    rate, steps = frame_steps(101, 0.1, 5)
    assert len(steps) == 51
    np.testing.assert_array_equal(steps[:3], [0, 2, 4])
    assert steps[-1] == 100
    rate, steps = frame_steps(STEPS, 0.1, 30)
    assert np.all(np.diff(steps) >= 0)
    np.testing.assert_allclose(steps * 0.1, np.arange(len(steps)) / 30, atol=0.051)
    assert list(frame_steps(1, 0.1, None)[1]) == [0]


def test_bad_input_is_said_in_one_line(tmp_path, rollout, road_map):
    with pytest.raises(RoadloopError, match="even width and height"):
        write_video(tmp_path / "odd.mp4", rollout, road_map, width=321, height=180)
    with pytest.raises(RoadloopError, match="frames per second"):
        write_video(tmp_path / "none.mp4", rollout, road_map, fps=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(RoadloopError, match="cannot write the video"):
        write_video(tmp_path / "file" / "a.mp4", rollout, road_map)


def test_an_interrupted_video_leaves_nothing(tmp_path, rollout, road_map):
    def stop(done, frames):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a.mp4", rollout, road_map, width=320, height=180, progress=stop)
    assert list(tmp_path.iterdir()) == []
