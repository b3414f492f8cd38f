"""A detector as an ONNX file: the same numbers as PyTorch's, and files that are something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

from tiny_detector import TINY, tiny_checkpoint

from deploy.drivers import make_driver
from deploy.export_detector import example, export_onnx, main
from perception.checkpoint import load_detector
from perception.onnx_engine import onnx_engine
from perception.torch_engine import torch_engine
from roadloop.errors import RoadloopError
from roadloop.geometry import inverse
from roadloop.rig import load_rig

FUSED = replace(TINY, rig="compact-fusion", lidar=True, radar=True)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint and the ONNX file of it."""
    folder = tmp_path_factory.mktemp("export")
    file = tiny_checkpoint(folder / "mine", config=FUSED)
    return file, export_onnx(str(file.parent), folder / "mine.onnx")


def inputs(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = {name: value[0].numpy() for name, value in example(FUSED).items()}
    cameras = load_rig(FUSED.rig).cameras
    made["images"] = rng.integers(0, 255, made["images"].shape, np.uint8)
    looks = [c.camera.matrix @ inverse(c.ego_from_camera)[:3] for c in cameras]
    made["pixel_from_ego"] = np.array(looks, np.float32)
    for name in ("lidar", "radar", "state"):
        made[name] = rng.normal(size=made[name].shape).astype(np.float32)
    made["motion"] = np.array([2.0, 0.1, 0.03], np.float32)
    made["motion_valid"] = np.bool_(True)
    return made


def test_onnx_runtime_gives_what_pytorch_gives(exported: tuple[Path, Path]) -> None:
    file, onnx = exported
    network, _ = load_detector(file)
    ours = torch_engine(network)
    engine, config, label = onnx_engine(onnx)
    assert config == FUSED and label.startswith("mine@")
    for seed in range(3):
        moment = inputs(seed)
        if seed == 1:
            moment["state_valid"] = np.bool_(False)
        if seed == 2:
            moment["camera_valid"] = np.array([True, False, True, True])
            moment["lidar_valid"] = np.bool_(False)
        a, b = ours(moment), engine(moment)
        assert set(a) == set(b) and "state" in a
        for name, value in a.items():
            assert np.abs(b[name] - value).max() <= 1e-4 * max(np.abs(value).max(), 1.0), name


def test_it_drives(exported: tuple[Path, Path]) -> None:
    driver = make_driver("route-follower", perception=str(exported[1]))
    assert driver.name.startswith("idm+mine@") and driver.name.endswith(".onnx")
    assert driver.sensors == ("rig:compact-fusion",)


def test_files_that_are_no_detector_are_refused_in_one_line(
    exported: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx
    from onnx import helper

    broken = tmp_path / "broken.onnx"
    broken.write_bytes(exported[1].read_bytes()[:1000])
    with pytest.raises(RoadloopError, match="cannot be run by ONNX Runtime"):
        onnx_engine(broken)
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    other = tmp_path / "other.onnx"
    onnx.save(model, str(other))
    with pytest.raises(RoadloopError, match="no detector of roadloop"):
        onnx_engine(other)
    assert main([str(tmp_path / "none"), "--out", str(tmp_path / "a.onnx")]) == 2
    assert main([str(exported[0]), "--out", str(tmp_path / "a.engine")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
