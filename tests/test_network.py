"""The network's geometry: the lift looks where cells are seen, the memory moves with the ego."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from perception.bev import Memory  # noqa: E402
from perception.detector_config import BevGrid, DetectorConfig  # noqa: E402
from perception.lift import Lift  # noqa: E402
from perception.network import DetectorNetwork, with_sensors  # noqa: E402
from perception.point_grid import LIDAR_PLANES, RADAR_PLANES  # noqa: E402
from roadloop.errors import RoadloopError  # noqa: E402
from roadloop.geometry import inverse  # noqa: E402
from roadloop.rig import load_rig  # noqa: E402

RIG = load_rig("compact")
SMALL = DetectorConfig(
    grid=BevGrid(x_min=-3.2, y_min=-12.8, nx=32, ny=32),
    channels=16,
    bev_channels=16,
    bev_down=(24,),
    attention_tokens=8,
    heights=(0.0, 1.0),
)


def pixel_from_ego() -> torch.Tensor:
    """(1, N, 3, 4) of the rig."""
    made = [c.camera.matrix @ inverse(c.ego_from_camera)[:3] for c in RIG.cameras]
    return torch.from_numpy(np.array(made)).float()[None]


def frame(batch: int = 1, seed: int = 0, config: DetectorConfig = SMALL) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    n, (width, height) = len(RIG.cameras), config.size
    pictures = torch.randint(0, 255, (batch, n, 3, height, width), generator=rng)
    made = {
        "images": pictures.to(torch.uint8),
        "camera_valid": torch.ones(batch, n, dtype=torch.bool),
        "pixel_from_ego": pixel_from_ego().expand(batch, -1, -1, -1),
        "motion": torch.zeros(batch, 3),
        "motion_valid": torch.ones(batch, dtype=torch.bool),
    }
    return made


def pictures_of_rays() -> torch.Tensor:
    """(1, N, 2, h, w): each feature holds the pixel u, v it is the mean of, at stride 8."""
    rows = []
    for camera in RIG.cameras:
        u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        pixels = np.stack([u, v]).astype(np.float32)
        rows.append(pixels.reshape(2, camera.height // 8, 8, camera.width // 8, 8).mean((2, 4)))
    return torch.from_numpy(np.array(rows))[None]


@pytest.mark.parametrize("form", ["sample", "gather4"])
def test_lift_fetches_the_pixel_that_sees_the_point(form: str) -> None:
    config = dataclasses.replace(SMALL, lift=form)
    lift = Lift(config)
    only = torch.zeros(1, len(RIG.cameras))
    only[0, 0] = 1.0
    with torch.no_grad():
        found = lift(pictures_of_rays(), pixel_from_ego(), only)[0].numpy()
    camera = RIG.cameras[0]
    centres = config.grid.centres()
    checked = 0
    for k, z in enumerate(config.heights):
        points = np.concatenate([centres, np.full((*config.grid.shape, 1), z)], -1)
        ego_from_camera = camera.ego_from_camera
        in_camera = (points - ego_from_camera[:3, 3]) @ ego_from_camera[:3, :3]
        uv, seen = camera.camera.project(in_camera)
        # at the border bilinear sampling fades into nothing
        inner = seen & (uv > 4.0).all(-1) & (uv < (camera.width - 5, camera.height - 5)).all(-1)
        got = found[[k, len(config.heights) + k]]
        np.testing.assert_allclose(got[:, inner].T, uv[inner], atol=2e-2)
        assert (got[:, ~seen & (in_camera[..., 2] < 0)] == 0).all()
        checked += int(inner.sum())
    assert checked > 100


def lifted(config: DetectorConfig, *given: torch.Tensor) -> torch.Tensor:
    """As the car does."""
    with torch.no_grad():
        return Lift(config)(*given)


def test_the_table_gives_what_sampling_gives() -> None:
    features = torch.randn(2, len(RIG.cameras), 16, 12, 32)
    valid = torch.ones(2, len(RIG.cameras))
    valid[1, 2] = 0.0
    poses = pixel_from_ego().expand(2, -1, -1, -1)
    sampled, gathered = (
        lifted(dataclasses.replace(SMALL, lift=form), features, poses, valid)
        for form in ("sample", "gather4")
    )
    torch.testing.assert_close(sampled, gathered, atol=2e-5, rtol=1e-4)
    learning = features.clone().requires_grad_()
    multiplied = Lift(SMALL)(learning, poses, valid)
    torch.testing.assert_close(sampled, multiplied, atol=2e-5, rtol=1e-4)
    slope = torch.randn_like(multiplied)
    (multiplied * slope).sum().backward()
    eps = 1e-2 * torch.randn_like(features)
    with torch.no_grad():
        lift = Lift(SMALL)
        change = (lift(features + eps, poses, valid) - lift(features - eps, poses, valid)) * slope
    assert float(change.sum() / 2.0) == pytest.approx(float((learning.grad * eps).sum()), rel=1e-2)
    nearest = Lift(dataclasses.replace(SMALL, lift="gather1"))(features, poses, valid)
    assert not torch.allclose(nearest, sampled, atol=1e-2)


def test_a_camera_that_does_not_count_changes_only_what_it_alone_sees() -> None:
    lift, poses = Lift(SMALL), pixel_from_ego()
    features = torch.randn(1, len(RIG.cameras), 16, 12, 32)
    everything = torch.ones(1, len(RIG.cameras))
    without = everything.clone()
    left = [c.name for c in RIG.cameras].index("front-left")
    without[0, left] = 0.0
    changed = (lift(features, poses, everything) != lift(features, poses, without))[0].any(0)
    y = torch.from_numpy(SMALL.grid.centres()[..., 1])
    assert changed.any()
    assert float(y[changed].min()) > -1.0, "dropping the left camera touched the right"


def test_memory_stays_on_the_ground_while_the_ego_moves() -> None:
    grid = BevGrid(x_min=-6.4, y_min=-12.8, nx=32, ny=32)
    memory = Memory(4, grid)
    centres = torch.from_numpy(grid.centres()).float()
    state = centres.permute(2, 0, 1)[None].repeat(1, 2, 1, 1)  # x, y, x, y in the old frame
    yaw, x, y = 0.2, 3.0, -0.7
    moved, known = memory.moved(state, torch.tensor([[x, y, yaw]]))
    c, s = np.cos(yaw), np.sin(yaw)
    was_x = c * centres[..., 0] - s * centres[..., 1] + x
    was_y = s * centres[..., 0] + c * centres[..., 1] + y
    inner = (
        (was_x > grid.x_min + 1) & (was_x < grid.x_max - 1)
        & (was_y > grid.y_min + 1) & (was_y < grid.y_max - 1)
    )  # fmt: skip
    torch.testing.assert_close(moved[0, 0][inner], was_x[inner], atol=1e-3, rtol=0)
    torch.testing.assert_close(moved[0, 1][inner], was_y[inner], atol=1e-3, rtol=0)
    outside = (was_x < grid.x_min) | (was_x > grid.x_max) | (was_y < grid.y_min)
    assert known[0, 0][inner].min() == 1.0 and known[0, 0][outside].max() == 0.0


def test_in_bfloat16_cells_are_looked_up_where_they_are() -> None:
    lift, valid = Lift(SMALL), torch.ones(1, len(RIG.cameras))
    exact = lift.places(pixel_from_ego(), valid)
    with torch.autocast("cpu", torch.bfloat16):
        half = lift.places(pixel_from_ego(), valid)
    for a, b in zip(exact, half):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    torch.manual_seed(0)
    memory, motion = Memory(8, SMALL.grid), torch.tensor([[3.0, -0.7, 0.2]])
    state = torch.randn(1, 8, *SMALL.grid.shape).bfloat16()
    found, exactly = memory.moved(state, motion)[0], memory.moved(state.float(), motion)[0]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exactly, rtol=8e-3, atol=1e-3)


def test_a_state_that_is_not_valid_is_as_none() -> None:
    torch.manual_seed(0)
    network = DetectorNetwork(SMALL).eval()
    with torch.inference_mode():
        alone = network(frame())
        state = torch.randn_like(alone["state"])
        ignored = network(frame(), state, torch.zeros(1))
        used = network(frame(), state)
    torch.testing.assert_close(alone["heat"], ignored["heat"])
    assert not torch.allclose(alone["heat"], used["heat"], atol=1e-3)


def test_rows_of_a_batch_do_not_mix_and_outputs_have_their_shapes() -> None:
    torch.manual_seed(1)
    network = DetectorNetwork(SMALL).eval()
    two = frame(2, seed=5)
    with torch.inference_mode():
        both = network(two, auxiliary=True)
        first = network({k: v[:1] for k, v in two.items()}, auxiliary=True)
    grid, n, width, height = SMALL.grid.shape, len(RIG.cameras), 256 // 8, 96 // 8
    shapes = {
        "heat": (2, 4, *grid), "box": (2, 11, *grid), "box_log_var": (2, 5, *grid),
        "raster": (2, 6, *grid), "lane": (2, 3, *grid), "state": (2, 16, *grid),
        "light_heat": (2, 2, 1, height, width), "light_box": (2, 2, 4, height, width),
        "light_state": (2, 2, 4, height, width),
        "depth": (2, n, SMALL.depth_bins, height, width), "semantic": (2, n, 29, height, width),
    }  # fmt: skip
    assert {k: tuple(v.shape) for k, v in both.items()} == shapes
    for key, value in first.items():
        torch.testing.assert_close(value, both[key][:1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "changed",
    [
        {"neck": "bifpn", "neck_layers": 2},
        {"temporal": False},
        {"light_cameras": ()},
        {"attention_layers": 0, "bev_down": (24, 32), "depth_bins": 0, "semantics": False},
        {"lidar": True, "radar": True},
        {"backbone": "resnet18"},
        {"backbone": "mobilenetv4_conv_small_050"},
        {"backbone": "convnext_atto"},
        {"backbone": "vit_tiny_patch16_224"},
        {"backbone": "vit_small_patch16_dinov3"},
    ],
    ids=str,
)
def test_every_form_of_the_network_learns(changed: dict) -> None:
    from perception.point_grid import LIDAR_PLANES, RADAR_PLANES

    torch.manual_seed(2)
    config = dataclasses.replace(SMALL, **changed)
    network = DetectorNetwork(config)
    moment = frame()
    for name, planes in (("lidar", LIDAR_PLANES), ("radar", RADAR_PLANES)):
        moment[name] = torch.rand(1, len(planes), *config.grid.shape)
        moment[f"{name}_valid"] = torch.ones(1, dtype=torch.bool)
    first = network(moment, auxiliary=True)
    state = first.get("state")
    second = network(moment, state, auxiliary=True)
    sum(v.square().mean() for v in second.values()).backward()
    # timm keeps a few layers behind the last map that is used
    without = [
        n
        for n, p in network.named_parameters()
        if p.grad is None and not n.startswith("pictures.backbone.body.blocks.")
    ]
    assert not without, f"no gradient reaches {without[:3]}"


def test_mistakes_are_said_in_one_line() -> None:
    for changed, words in (
        ({"backbone": "regnetx_0022"}, "regnetx_002"),
        ({"backbone": "resnet18", "strides": (4, 8)}, None),
        ({"light_cameras": ("rear",)}, "rear"),
    ):
        config = dataclasses.replace(SMALL, **changed)
        if words is None:
            DetectorNetwork(config)
            continue
        with pytest.raises(RoadloopError, match=words) as error:
            DetectorNetwork(config)
        assert "\n" not in str(error.value)


def test_a_clip_at_once_is_its_moments_one_after_the_other() -> None:
    torch.manual_seed(3)
    network = DetectorNetwork(SMALL).eval()
    moments = [frame(2, seed=k) for k in range(3)]
    for k, moment in enumerate(moments):
        moment["motion"] = torch.tensor([[1.0 * k, 0.1, 0.02], [0.0, 0.0, 0.0]])
    usable = torch.tensor([[False, True, True], [False, True, False]])
    clip = {key: torch.stack([m[key] for m in moments], 1) for key in moments[0]}
    with torch.inference_mode():
        together = network.clip(clip, usable)
        state = None
        for t, moment in enumerate(moments):
            alone = network(moment, state, usable[:, t], auxiliary=True)
            state = alone.pop("state")
            for key, value in alone.items():
                part = together[key].unflatten(0, (2, 3))[:, t]
                torch.testing.assert_close(part, value, atol=1e-4, rtol=1e-4)


def test_a_detector_of_cameras_becomes_one_with_lidar_and_radar() -> None:
    torch.manual_seed(3)
    alone = DetectorNetwork(SMALL).eval()
    wider = dataclasses.replace(SMALL, lidar=True, radar=True)
    fused = DetectorNetwork(wider).eval()
    fused.load_state_dict(with_sensors(alone.state_dict(), SMALL, wider))
    seen = frame()
    for name, planes in (("lidar", len(LIDAR_PLANES)), ("radar", len(RADAR_PLANES))):
        seen[name] = torch.rand(1, planes, *SMALL.grid.shape)
        seen[f"{name}_valid"] = torch.ones(1, dtype=torch.bool)
    with torch.no_grad():
        alike = alone(seen)["heat"], fused(seen)["heat"]
    assert torch.allclose(*alike, atol=1e-5)  # at first it sees as it did
    back = with_sensors(fused.state_dict(), wider, SMALL)
    assert all(torch.equal(back[k], v) for k, v in alone.state_dict().items())
