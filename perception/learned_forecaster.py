"""A `roadloop.interfaces.Forecaster` that was learnt: several futures of everybody, with spread.

It remembers the last second of every track by its id. The nearest road users (`ForecastConfig`
``agents``, one of which is the ego) are forecast by the network; whoever is farther off goes on at
constant velocity. What cannot move (``AgentKind.STATIC``) stays where it is.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from perception.forecast_checkpoint import ONNX, fingerprint, forecaster_file, load_forecaster
from perception.forecast_config import HISTORY_STEP, ForecastConfig
from perception.forecast_inputs import MapPieces, cut_map, forecast_inputs, rows_for
from perception.forecast_paths import SLOW, headings_along, path_weights
from perception.kinematic_forecast import ConstantVelocity
from roadloop.errors import RoadloopError
from roadloop.geometry import wrap_angle
from roadloop.types import AgentKind, AgentStates, Forecasts, Observation, Scenario, Tracks

Array = np.ndarray
Engine = Callable[[Mapping[str, Array]], dict[str, Array]]
"""arrays of one scene to those of its forecast, by name (`ForecastConfig`)"""

LATE = 0.5 * HISTORY_STEP + 1e-6
"""s by which a step of the history may be off"""
SHIPPED = Path(__file__).parent / "weights" / "forecaster.safetensors"
"""the forecaster that comes with roadloop"""
_EGO = -1
"""id of the ego among the tracks"""


class LearnedForecaster:
    """Forecasts with ``config.modes`` futures, the most probable first.

    Beyond the network's horizon its futures go on as they ended, their spread grows as it did.

    Args:
        path: ``forecaster.safetensors`` or the folder of a run; empty: the forecaster that comes
            with roadloop. Where `export_forecaster` has written an .onnx beside it and ONNX Runtime
            is installed, that computes, else PyTorch.
        threads: of the processor.
        everybody: those who are farther off than the network takes in are forecast too, it is asked
            once for each neighbourhood.

    Raises:
        RoadloopError: no such file, one that is not a forecaster's, an .onnx beside it that was
            made of other weights, or neither ONNX Runtime nor PyTorch is installed.
    """

    def __init__(self, path: str | Path = "", threads: int = 1, *, everybody: bool = False) -> None:
        if threads < 1:
            raise RoadloopError(f"threads is {threads}; it must be 1 or more")
        self.file = forecaster_file(path or SHIPPED)
        self.everybody = everybody
        self.config, self._engine = open_engine(self.file, threads)
        self._pieces = cut_map(None, self.config.points, self.config.spacing)
        self._past: deque[tuple[float, AgentStates]] = deque()

    def reset(self, scenario: Scenario) -> None:
        """Start a scenario: on its map, nobody has been seen."""
        self._pieces = pieces_of(scenario, self.config)
        self._past.clear()

    def forecast(
        self, observation: Observation, tracks: Tracks, horizon: float, dt: float
    ) -> Forecasts:
        """The futures of all tracks; see the class.

        Raises RoadloopError for a horizon shorter than half a step.
        """
        now = tracks.states
        count = now.valid.shape[-1]
        self._remember(observation, now)
        past = self._history(observation.time)
        made = self._straight_on(observation, tracks, horizon, dt)
        times = dt * np.arange(made["x"].shape[-1])
        for rows, seats in self._neighbourhoods(_now(past), count):
            outputs = self._engine(
                forecast_inputs(self.config, past, rows, self._pieces, observation.lights)
            )
            picked = {name: value[seats] for name, value in outputs.items()}
            _fill(made, tracks, rows[seats], picked, times, self.config.step)
        return Forecasts(dt=dt, **made)

    def observe(self, observation: Observation, tracks: Tracks) -> None:
        """Remember a step without a forecast of it."""
        self._remember(observation, tracks.states)

    def _neighbourhoods(self, now: AgentStates, count: int) -> Iterator[tuple[Array, Array]]:
        """Rows that the network sees together, and which of these seats are forecast: tracks that
        move and were not before. The first neighbourhood is the ego's, row ``count``."""
        left = now.valid & (now.kind != AgentKind.STATIC)
        left[count] = False
        middle = count
        while left.any():
            rows = rows_for(self.config, now, float(now.x[middle]), float(now.y[middle]))
            seats = np.flatnonzero(left[rows])
            if len(seats):
                yield rows, seats
            left[rows] = left[middle] = False
            if not self.everybody:
                return
            middle = int(left.argmax())

    def _straight_on(
        self, observation: Observation, tracks: Tracks, horizon: float, dt: float
    ) -> dict[str, Array]:
        """Constant velocity, the same in all modes; the first has all the probability."""
        modes = self.config.modes
        plain = ConstantVelocity().forecast(observation, tracks, horizon, dt)
        made = {
            name: np.repeat(getattr(plain, name), modes, axis=1)
            for name in ("x", "y", "heading", "along_std", "across_std")
        }
        still = tracks.states.kind == AgentKind.STATIC
        for name in ("x", "y"):
            made[name][still] = made[name][still][..., :1]
        first = np.arange(modes) == 0
        return {**made, "probability": np.tile(first, (len(still), 1)).astype(np.float64)}

    def _remember(self, observation: Observation, now: AgentStates) -> None:
        """Keep this moment, the ego last, and forget what is older than the history."""
        ego = observation.ego
        x, y = ego.box_centre()
        own = {
            "id": _EGO, "kind": AgentKind.CAR, "x": x, "y": y, "z": ego.z, "heading": ego.heading,
            "vx": ego.speed * np.cos(ego.heading), "vy": ego.speed * np.sin(ego.heading),
            "length": ego.vehicle.length, "width": ego.vehicle.width,
            "height": ego.vehicle.height, "valid": True,
        }  # fmt: skip
        columns = {
            f.name: np.append(
                getattr(now, f.name), np.asarray(own[f.name], getattr(now, f.name).dtype)
            )
            for f in dataclasses.fields(AgentStates)
            if f.name != "id"
        }
        ids = np.append(np.asarray(now.id, np.int64), _EGO)
        time = observation.time
        if self._past and time == self._past[-1][0]:
            self._past.pop()  # the same moment once more
        elif self._past and time < self._past[-1][0]:
            self._past.clear()  # started again
        self._past.append((time, AgentStates(id=ids, **columns)))
        while self._past[0][0] < time - HISTORY_STEP * self.config.history:
            self._past.popleft()

    def _history(self, time: float) -> AgentStates:
        """(history, tracks + 1) of those that are there now, by id."""
        now = self._past[-1][1]
        steps = self.config.history
        columns = {
            f.name: np.repeat(getattr(now, f.name)[None], steps, axis=0)
            for f in dataclasses.fields(AgentStates)
        }
        columns["valid"][:-1] = False
        stamps = np.array([stamp for stamp, _ in self._past])
        for k in range(steps - 1):
            wanted = time - HISTORY_STEP * (steps - 1 - k)
            nearest = int(np.abs(stamps - wanted).argmin())
            if abs(stamps[nearest] - wanted) > LATE:
                continue
            then = self._past[nearest][1]
            seen = np.flatnonzero(then.valid)
            order = seen[np.argsort(then.id[seen], kind="stable")]
            if not len(order):
                continue
            place = np.minimum(np.searchsorted(then.id[order], now.id), len(order) - 1)
            source = order[place]
            same = then.id[source] == now.id
            for name in ("x", "y", "heading", "vx", "vy"):
                columns[name][k] = np.where(same, getattr(then, name)[source], columns[name][k])
            columns["valid"][k] = same & now.valid
        return AgentStates(**columns)


def open_engine(file: Path, threads: int = 1) -> tuple[ForecastConfig, Engine]:
    """What a checkpoint is made of, and what computes it; see `LearnedForecaster`."""
    beside = file.with_suffix(ONNX)
    runtime = _installed("onnxruntime") if beside.is_file() else None
    if runtime is not None:
        return _onnx_engine(runtime, file, beside, threads)
    if _installed("torch") is None:
        raise RoadloopError(
            "a learned forecaster needs ONNX Runtime or PyTorch: pip install 'roadloop[onnx]', or "
            "'roadloop[train]'"
        )
    return _torch_engine(file, threads)


def _installed(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def _torch_engine(file: Path, threads: int) -> tuple[ForecastConfig, Engine]:
    import torch

    network, _ = load_forecaster(file)

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        with torch.inference_mode():
            outputs = network({name: torch.from_numpy(v)[None] for name, v in inputs.items()})
        return {name: value[0].numpy() for name, value in outputs.items()}

    return network.config, run


def _onnx_engine(
    runtime: ModuleType, file: Path, beside: Path, threads: int
) -> tuple[ForecastConfig, Engine]:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        session = runtime.InferenceSession(str(beside), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has exceptions of its own, without a common parent
        first = str(error).splitlines()[0]
        raise RoadloopError(
            f"{beside} cannot be read ({first}): delete it, or export again"
        ) from error
    about: dict[str, Any] = session.get_modelmeta().custom_metadata_map
    if about.get("weights", "") != fingerprint(file):
        raise RoadloopError(
            f"{beside} was not made of the weights in {file.name}: delete it, or export again"
        )
    try:
        config = ForecastConfig(**json.loads(about["config"]))
    except (KeyError, ValueError, TypeError) as error:
        raise RoadloopError(
            f"{beside} was made by another version of roadloop: delete it, or export again"
        ) from error
    names = list(config.outputs())

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        found = session.run(names, {name: value[None] for name, value in inputs.items()})
        return {name: value[0] for name, value in zip(names, found)}

    return config, run


def pieces_of(scenario: Scenario, config: ForecastConfig) -> MapPieces:
    """A scenario's map as the network reads it."""
    return cut_map(scenario.road_map, config.points, config.spacing)


def _now(past: AgentStates) -> AgentStates:
    last = {f.name: getattr(past, f.name)[-1] for f in dataclasses.fields(AgentStates)}
    return AgentStates(**last)


def _fill(
    made: dict[str, Array],
    tracks: Tracks,
    rows: Array,
    outputs: Mapping[str, Array],
    times: Array,
    step: float,
) -> None:
    """Put the network's futures, in each agent's frame, into the rows of the tracks."""
    order = np.argsort(-outputs["logit"], axis=1, kind="stable")
    logit = np.take_along_axis(outputs["logit"].astype(np.float64), order, 1)
    weight = np.exp(logit - logit[:, :1])
    made["probability"][rows] = weight / weight.sum(1, keepdims=True)
    pick = order[:, :, None, None]
    position = np.take_along_axis(outputs["position"].astype(np.float64), pick, 1)
    std = math.sqrt(2.0) * np.take_along_axis(outputs["scale"].astype(np.float64), pick, 1)

    now = tracks.states
    heading = now.heading[rows]
    c, s = np.cos(heading), np.sin(heading)
    velocity = np.stack([c * now.vx[rows] + s * now.vy[rows],
                         c * now.vy[rows] - s * now.vx[rows]], axis=-1)  # fmt: skip
    points, count = position.shape[2], len(times)
    curve, between = path_weights(points, step, count, float(times[1]))
    # (n, K, 2, T) @ (T, T')
    path = position.swapaxes(2, 3) @ curve[:-1] + velocity[:, None, :, None] * curve[-1]
    ahead, left = path[:, :, 0], path[:, :, 1]
    c, s = c[:, None, None], s[:, None, None]
    made["x"][rows] = now.x[rows][:, None, None] + c * ahead - s * left
    made["y"][rows] = now.y[rows][:, None, None] + s * ahead + c * left
    turned = headings_along(path.swapaxes(2, 3), times, backwards=velocity[:, 0] < -SLOW)
    made["heading"][rows] = wrap_angle(turned + heading[:, None, None])
    # the position now is not known exactly either
    first = tracks.position_std[rows][:, None, None]
    spread = std.swapaxes(2, 3) @ between[1:]
    made["along_std"][rows] = np.hypot(first, spread[:, :, 0])
    made["across_std"][rows] = np.hypot(first, spread[:, :, 1])
