"""Does an exported file compute what the network computes? ONNX Runtime held against PyTorch.

The network is read anew from its checkpoint and run as it was trained, so a mistake of the export
cannot be on both sides: a picture normalised twice, a calibration turned round, a sum that the
exporter dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perception.detector_config import DetectorConfig
from perception.inputs import pixel_from_ego
from perception.onnx_engine import LIGHTS_KEPT, NO_PEAK, OBJECTS_KEPT
from roadloop.rig import load_rig

if TYPE_CHECKING:
    from perception.detector import Engine

Array = np.ndarray

RELATIVE = 1e-4
"""largest error of an fp32 output, as a share of its largest value"""
DECIBEL = 40.0
"""least signal to noise of an fp16 output: twice 33 dB, what places in fp16 cost a bird's-eye view
of 128 x 128 cells, would still be amiss by a fiftieth; with places in fp32 it is above 60"""
MARGIN = {"fp32": 1e-3, "fp16": 0.02}
"""a cell that exceeds its neighbours by this share of the largest logit must be among the peaks"""
LEAST = 0.1
"""score from which objects and lights are decoded"""
_PEAKS = {
    "heat": (("box", "box_log_var"), OBJECTS_KEPT),
    "light_heat": (("light_box", "light_state"), LIGHTS_KEPT),
}


@dataclass(frozen=True)
class Difference:
    """Of one output in one case."""

    case: str
    output: str
    relative: float
    """largest error as a share of the largest value"""
    decibel: float
    """signal to noise; inf where both are the same"""
    missed: int = 0
    """clear peaks that the file did not find"""

    def holds(self, precision: str) -> bool:
        """Whether the file may be used."""
        near = self.relative <= RELATIVE if precision == "fp32" else self.decibel >= DECIBEL
        return near and self.missed == 0

    def __str__(self) -> str:
        missed = f", {self.missed} peaks missed" if self.missed else ""
        return f"{self.case} {self.output}: {self.relative:.1e}, {self.decibel:.0f} dB{missed}"


def compare(
    case: str, wanted: Mapping[str, Array], found: Mapping[str, Array], precision: str
) -> list[Difference]:
    """Every output of a network beside that of its file, by name.

    Heads of which the file gives only the peaks are compared there; an output that is missing
    differs without bound.
    """
    made: list[Difference] = []
    done: set[str] = set()
    for heat, (maps, most) in _PEAKS.items():
        if heat not in wanted or heat not in found or (found[heat] != NO_PEAK).all():
            continue
        at = found[heat] > NO_PEAK
        margin = MARGIN[precision] * float(np.abs(wanted[heat][at]).max(initial=1.0))
        clear = clear_peaks(wanted[heat], margin, most // 2)
        missed = int((clear & ~at).sum())
        made.append(_difference(case, heat, wanted[heat][at], found[heat][at], missed))
        # a map is one for all classes, or for all of its own camera
        shown = at.any(0) if heat == "heat" else at[:, 0]
        for name in maps:
            a, b = (np.moveaxis(side[name], -3, 0)[..., shown] for side in (wanted, found))
            made.append(_difference(case, name, a, b))
        done |= {heat, *maps}
    for name in sorted(set(wanted) - done):
        if name not in found or found[name].shape != wanted[name].shape:
            made.append(Difference(case, name, np.inf, -np.inf))
        else:
            made.append(_difference(case, name, wanted[name], found[name]))
    return made


def clear_peaks(logit: Array, margin: float, most: int) -> Array:
    """Where maps (..., h, w) exceed all eight neighbours by a margin and are likely enough; the
    best ``most`` of them."""
    around = np.pad(logit, [(0, 0)] * (logit.ndim - 2) + [(1, 1), (1, 1)], constant_values=-np.inf)
    h, w = logit.shape[-2:]
    beside = [around[..., i : i + h, j : j + w] for i in range(3) for j in range(3)]
    highest = np.max([part for k, part in enumerate(beside) if k != 4], axis=0)
    clear = logit > highest + margin
    likely = logit > np.log(LEAST / (1.0 - LEAST)) + margin
    order = np.sort(logit[clear & likely])[::-1]
    enough = order[most] if len(order) > most else -np.inf
    return clear & likely & (logit >= enough)


def _difference(case: str, output: str, wanted: Array, found: Array, missed: int = 0) -> Difference:
    wanted, found = np.asarray(wanted, np.float64), np.asarray(found, np.float64)
    error = np.abs(wanted - found)
    if not wanted.size:
        return Difference(case, output, 0.0, np.inf, missed)
    if not np.isfinite(found).all():
        return Difference(case, output, np.inf, -np.inf, missed)
    relative = float(error.max() / max(float(np.abs(wanted).max()), 1e-6))
    noise, signal = float((error**2).sum()), float((wanted**2).sum())
    decibel = 10.0 * np.log10(max(signal, 1e-30) / noise) if noise else np.inf
    return Difference(case, output, relative, float(decibel), missed)


# --- cases --------------------------------------------------------------------------------------


def random_cases(
    config: DetectorConfig, shapes: Mapping[str, tuple[tuple[int, ...], str]], seed: int = 0
) -> dict[str, dict[str, Array]]:
    """Inputs without a batch: noise seen by the rig's cameras; the same with sensors lost."""
    rng = np.random.default_rng(seed)
    whole: dict[str, Array] = {}
    for name, ((_, *shape), dtype) in shapes.items():
        if dtype == "uint8":
            whole[name] = rng.integers(0, 256, shape, np.uint8)
        elif dtype == "bool":
            whole[name] = np.ones(shape, bool)
        else:
            whole[name] = rng.normal(size=shape).astype(np.float32)
    whole["pixel_from_ego"] = calibration(config)
    if config.temporal:
        whole["motion"] = np.array([4.0, 0.1, 0.03], np.float32)
    lost = {name: ~v if v.dtype == bool else v for name, v in whole.items()}
    lost["camera_valid"] = np.arange(len(whole["camera_valid"])) != 1
    return {"random": whole, "random, sensors lost": lost}


def calibration(config: DetectorConfig) -> Array:
    """(N, 3, 4) ``pixel_from_ego`` of the detector's own rig at rest."""
    cameras = load_rig(config.rig).cameras
    lenses = np.array([camera.camera.matrix for camera in cameras])
    return pixel_from_ego(lenses, np.array([camera.ego_from_camera for camera in cameras]))


def check_detector(
    checkpoint: Path, engine: Engine, cases: Mapping[str, Mapping[str, Array]], precision: str
) -> list[Difference]:
    """A detector's file, as an engine, beside the network of its checkpoint, case by case.

    Args:
        cases: inputs of an engine.
    """
    import torch

    from perception.checkpoint import load_detector

    network, _ = load_detector(checkpoint)
    made: list[Difference] = []
    for case, inputs in cases.items():
        frame = {name: torch.from_numpy(np.asarray(v))[None] for name, v in inputs.items()}
        state, valid = frame.pop("state", None), frame.pop("state_valid", None)
        with torch.inference_mode():
            outputs = network(frame, state, valid)
        wanted = {name: value[0].numpy() for name, value in outputs.items()}
        if network.lights is not None:  # of a camera that is not trusted nothing is decoded
            blind = ~np.asarray(inputs["camera_valid"], bool)[network.light_rows]
            wanted["light_heat"][blind] = NO_PEAK
        made += compare(case, wanted, engine(inputs), precision)
    return made


def check_arrays(
    module: Any, session: Any, cases: Mapping[str, Mapping[str, Array]]
) -> list[Difference]:
    """A file beside a module with the same inputs and outputs, both with a batch."""
    import torch

    made: list[Difference] = []
    for case, inputs in cases.items():
        with torch.inference_mode():
            outputs = module(*(torch.from_numpy(inputs[name]) for name in module.inputs))
        found = dict(zip(module.outputs, session.run(list(module.outputs), dict(inputs))))
        wanted = {name: value.numpy() for name, value in zip(module.outputs, outputs)}
        made += compare(case, wanted, found, "fp32")
    return made


def failures(differences: Sequence[Difference], precision: str) -> list[str]:
    """One line per output that is not what it should be."""
    bound = f"at most {RELATIVE:g}" if precision == "fp32" else f"at least {DECIBEL:g} dB"
    return [f"{each} ({bound})" for each in differences if not each.holds(precision)]
