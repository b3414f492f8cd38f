"""An exported detector: PyTorch's numbers, mistakes of the export found, its manifest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import onnx
import torch
from onnx import TensorProto, helper
from tiny_detector import TINY, tiny_checkpoint

import deploy.export_graph
from deploy.drivers import make_driver
from deploy.export import Exported, export_checkpoint
from deploy.export_parity import check_detector, clear_peaks, compare, random_cases
from deploy.targets import find_target
from perception.fold_norms import fold_norms
from perception.network import DetectorNetwork
from perception.objects import decode_objects
from perception.onnx_engine import NO_PEAK, onnx_engine, with_maps
from roadloop.cli import main
from roadloop.errors import RoadloopError

FUSED = replace(TINY, rig="compact-fusion", lidar=True, radar=True)
Break = Callable[[DetectorNetwork], None]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("export") / "mine", config=FUSED)


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Exported:
    """For the CPU, in fp32."""
    out = checkpoint.parent / "mine.onnx"
    return export_checkpoint(str(checkpoint.parent), find_target("cpu"), out)


def test_onnx_runtime_gives_what_pytorch_gives(checkpoint: Path, exported: Exported) -> None:
    assert not exported.problems
    assert {each.case for each in exported.parity} == {"random", "random, sensors lost"}
    outputs = {each.output for each in exported.parity}
    assert {"heat", "box", "raster", "lane", "light_heat", "state"} <= outputs
    assert max(each.relative for each in exported.parity) < 1e-5
    engine, config, label = onnx_engine(exported.model)
    assert config == FUSED and label.startswith("mine@")
    # from other inputs too, and the state is one that can go on
    shapes = deploy.export_graph.detector_shapes(FUSED)
    first = random_cases(FUSED, shapes, seed=7)["random"]
    state = engine(first)["state"]
    again = {"again": {**first, "state": state}}
    assert all(each.holds("fp32") for each in check_detector(checkpoint, engine, again, "fp32"))


def test_a_typed_file_keeps_places_attention_and_outputs_in_fp32(checkpoint: Path) -> None:
    target = replace(find_target("orin-nano-8gb"), lift="gather4")
    made = export_checkpoint(str(checkpoint), target, checkpoint.parent / "half.onnx")
    assert not made.problems and made.precision == "fp16"
    assert 40.0 < min(each.decibel for each in made.parity) < 100.0  # it is not fp32 in disguise
    model = onnx.load(str(made.model))
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    convolved = [node for node in model.graph.node if node.op_type == "Conv"]
    assert convolved and all(types[n.input[1]] == TensorProto.FLOAT16 for n in convolved)
    leaving = {value.type.tensor_type.elem_type for value in model.graph.output}
    assert leaving == {TensorProto.FLOAT, TensorProto.INT32}
    operators = {node.op_type for node in model.graph.node}
    assert {"LayerNormalization", "Softmax", "GridSample", "TopK"} <= operators
    assert not {"Shape", "ScatterND", "If", "NonZero"} & operators


def test_the_manifest_says_all_and_the_references_repeat(exported: Exported) -> None:
    model, beside, reference = exported.files
    manifest = json.loads(beside.read_text())
    assert manifest["hashes"]["model"] == hashlib.sha256(model.read_bytes()).hexdigest()
    assert manifest["hashes"]["reference"] == hashlib.sha256(reference.read_bytes()).hexdigest()
    assert manifest["kind"] == "detector" and manifest["licence"]["roadloop"] == "Apache-2.0"
    assert "whoever" in manifest["licence"]["weights"]
    assert manifest["calibration"]["rig"] == "compact-fusion"
    assert np.shape(manifest["calibration"]["pixel_from_ego"]) == (4, 3, 4)
    assert all(each["unit"] and each["meaning"] for each in manifest["inputs"])
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    arrays = np.load(reference)
    for side in ("in", "out"):
        for each in manifest[f"{side}puts"]:
            held = arrays[f"random/{side}/{each['name']}"]
            assert list(held.shape) == each["shape"] and str(held.dtype) == each["dtype"]
    names = [value.name for value in session.get_inputs()]
    found = session.run(["raster"], {name: arrays[f"random/in/{name}"] for name in names})[0]
    np.testing.assert_allclose(found, arrays["random/out/raster"], atol=1e-4)


def test_it_drives(exported: Exported) -> None:
    driver = make_driver("route-follower", perception=str(exported.model))
    assert driver.name.startswith("route-follower+mine@") and driver.name.endswith(".onnx")
    assert driver.sensors == ("rig:compact-fusion",)


def test_maps_of_peaks_decode_to_the_same_objects() -> None:
    rng = np.random.default_rng(3)
    shape = FUSED.grid.shape
    heat = rng.normal(-2.0, 1.5, (4, *shape)).astype(np.float32)
    box = rng.normal(size=(11, *shape)).astype(np.float32)
    spread = rng.normal(size=(5, *shape)).astype(np.float32)
    maps = np.concatenate([box, spread]).reshape(16, -1)
    rows, cells = deploy.export_graph.peaks(
        torch.from_numpy(heat)[None], torch.from_numpy(maps), 256
    )
    peaks = {"objects": rows[0].numpy(), "object_cells": cells[0].numpy()}
    found = with_maps(peaks, FUSED)
    names = ("heat", "box", "box_log_var")
    a = decode_objects(heat, box, spread, FUSED.grid)
    b = decode_objects(*(found[name] for name in names), FUSED.grid)
    assert len(a.x) > 10
    for field in dataclasses.fields(a):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name), field.name)
    assert (found["heat"] > NO_PEAK).sum() < 256 < heat.size  # and the rest of the rows are none


# --- exports that are broken --------------------------------------------------------------------


def _normalised_wrongly(network: DetectorNetwork) -> None:
    network.pictures.mean.zero_()


def _calibration_transposed(network: DetectorNetwork) -> None:
    places = network.lift.places

    def swapped(pixel_from_ego: torch.Tensor, valid: torch.Tensor):
        u, v, depth = pixel_from_ego.unbind(2)
        return places(torch.stack([v, u, depth], 2), valid)

    network.lift.places = swapped  # type: ignore[method-assign]


def _sums_scattered(network: DetectorNetwork) -> None:
    finish = network.lift._joined

    def scattered(found: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        cameras, points = found.shape[1], found.shape[3]
        flat = found[0].permute(0, 2, 1).reshape(cameras * points, -1)
        index = torch.arange(points).repeat(cameras)
        total = torch.zeros(points, flat.shape[1]).index_put((index,), flat, accumulate=True)
        # the sum over cameras is in the first, nothing in the others
        first = total.T[None, None]
        return finish(torch.cat([first, torch.zeros_like(found[:, 1:])], 1), seen)

    network.lift._joined = scattered  # type: ignore[method-assign]


@pytest.mark.parametrize("damage", [_normalised_wrongly, _calibration_transposed, _sums_scattered])
def test_a_broken_export_is_found_and_nothing_is_written(
    damage: Break, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_it(network: DetectorNetwork) -> int:
        damage(network)
        return fold_norms(network)

    monkeypatch.setattr(deploy.export_graph, "fold_norms", break_it)
    made = export_checkpoint(str(checkpoint), find_target("rtx"), tmp_path / "broken.onnx")
    assert made.problems
    assert not list(tmp_path.iterdir())


def test_comparison_finds_lost_peaks_missing_outputs_and_nan() -> None:
    heat = np.full((1, 9, 9), -5.0, np.float32)
    heat[0, 4, 4] = heat[0, 1, 7] = 2.0
    assert clear_peaks(heat, 0.1, 10).sum() == 2
    peaks = np.full_like(heat, NO_PEAK)
    peaks[0, 4, 4] = 2.0
    boxes = {"box": np.ones((2, 9, 9), np.float32), "box_log_var": np.ones((1, 9, 9), np.float32)}
    (found, *_) = compare("x", {"heat": heat, **boxes}, {"heat": peaks, **boxes}, "fp32")
    assert found.missed == 1 and found.relative == 0.0 and not found.holds("fp32")
    good = {"raster": np.ones((2, 2), np.float32)}
    assert not compare("x", good, {}, "fp32")[0].holds("fp32")
    assert not compare("x", good, {"raster": np.full((2, 2), np.nan)}, "fp16")[0].holds("fp16")
    assert compare("x", good, {"raster": good["raster"] + 1e-5}, "fp32")[0].holds("fp32")


# --- other checkpoints, other files -------------------------------------------------------------


def test_a_forecaster_is_exported_too(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from perception.forecast_checkpoint import WEIGHTS
    from perception.forecast_config import ForecastConfig
    from perception.forecast_network import ForecastNetwork
    from perception.learned_forecaster import LearnedForecaster

    config = ForecastConfig(agents=4, history=3, polylines=4, points=3, width=16, heads=2, layers=1)
    header = {"format": 1, "kind": "forecaster", "config": dataclasses.asdict(config)}
    weights = {k: v.contiguous() for k, v in ForecastNetwork(config).state_dict().items()}
    save_file(weights, tmp_path / WEIGHTS, metadata={"roadloop": json.dumps(header)})
    out = tmp_path / "forecaster.onnx"
    made = export_checkpoint(str(tmp_path), find_target("orin-nano-8gb"), out)
    assert not made.problems and made.precision == "fp32"
    assert {each.output for each in made.parity} == {"position", "scale", "logit"}
    assert LearnedForecaster(tmp_path).config == config  # finds the file beside its weights


def test_files_that_are_no_detector_are_refused_in_one_line(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(exported.model.read_bytes()[:1000])
    with pytest.raises(RoadloopError, match="cannot be run by ONNX Runtime"):
        onnx_engine(broken)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    other = tmp_path / "other.onnx"
    onnx.save(model, str(other))
    with pytest.raises(RoadloopError, match="no detector of roadloop"):
        onnx_engine(other)
    out = ["--out", str(tmp_path / "a.onnx")]
    for words in (
        [str(tmp_path / "none"), "--target", "cpu", *out],
        [str(tmp_path), "--target", "orin", *out],
        ["compact", "--target", "cpu", "--out", str(tmp_path / "a.engine")],
        ["compact", *out],
        ["compact", "--target", "cpu", "--mcap", "a.mcap"],
    ):
        assert main(["export", *words]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 5 and 'unknown target "orin"; did you mean' in said[1]
    nearest = tiny_checkpoint(tmp_path / "nearest", config=replace(TINY, lift="gather1"))
    with pytest.raises(RoadloopError, match="gather1"):
        target = replace(find_target("cpu"), lift="sample")
        export_checkpoint(str(nearest), target, tmp_path / "b.onnx")
