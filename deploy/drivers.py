"""The drivers by name: what perception, planner and controller each `Stack` is made of."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from deploy.detectors import SHIPPED, is_detector
from deploy.stack import RAISE, Sight, Stack
from perception.forecaster import make_forecaster
from perception.ground_truth import GroundTruth
from perception.noise_config import load_noise
from perception.noisy import NoisyPerception
from planning.constant_speed import ConstantSpeed
from planning.controllers import TrackingController
from planning.guard import Guard
from planning.idm_planner import IdmPlanner
from planning.longitudinal import DrivingStyle
from planning.lqr import Lqr
from planning.mpc import Mpc
from planning.pdm_closed import PdmClosed
from planning.policy import Policy
from planning.pure_pursuit import PurePursuit
from planning.r157_driver import R157Driver
from planning.recorded import ConstantVelocity, RecordedExpert, Stationary
from planning.route_follower import RouteFollower
from planning.rule_planner import RulePlanner
from planning.rule_style import rule_style
from roadloop.config import load_config, unknown
from roadloop.errors import RoadloopError
from roadloop.interfaces import Controller, Driver, Tracker
from roadloop.vehicles import ActuatorDelays, load_vehicle


class Builder(Protocol):
    """Makes a driver called ``name`` around a tracker.

    ``settings`` are overrides ``"field=value"`` of the planner's style; a builder without a style
    refuses them with `refuse_settings`.
    """

    def __call__(self, name: str, tracker: Tracker, settings: tuple[str, ...]) -> Driver: ...


def refuse_settings(name: str, settings: tuple[str, ...]) -> None:
    """Raise RoadloopError where a driver without settings is given some."""
    if settings:
        raise RoadloopError(f'driver "{name}" has no settings: leave out "{settings[0]}"')


def _route_follower(name: str, tracker: Tracker, settings: tuple[str, ...]) -> Driver:
    return Stack(name, tracker, RouteFollower(driving_style(settings)), TrackingController())


def _rule(name: str, tracker: Tracker, settings: tuple[str, ...]) -> Driver:
    planner = RulePlanner(rule_style(settings))
    forecaster = make_forecaster("lane-following")
    return Stack(name, tracker, planner, TrackingController(), forecaster, Guard())


def _pdm_closed(name: str, tracker: Tracker, settings: tuple[str, ...]) -> Driver:
    refuse_settings(name, settings)
    return Stack(name, tracker, PdmClosed(), TrackingController())


def _idm(name: str, tracker: Tracker, settings: tuple[str, ...]) -> Driver:
    refuse_settings(name, settings)
    return Stack(name, tracker, IdmPlanner(), TrackingController())


def _mapless(name: str, tracker: Tracker, settings: tuple[str, ...]) -> Driver:
    if not isinstance(tracker, Sight):
        raise RoadloopError(
            'driver "mapless" drives by the lanes that a detector sees: give --perception compact, '
            "or a checkpoint"
        )
    from deploy.mapless import Mapless

    planner = Mapless(lambda: tracker.percept, tracker.grid, driving_style(settings))
    return Stack(name, tracker, planner, TrackingController())


def _learned(path: str) -> Builder:
    def build(name: str, tracker: Tracker, settings: tuple[str, ...]) -> Driver:
        refuse_settings(LEARNED + path, settings)
        from planning.learned import LearnedPlanner
        from planning.learned_engine import planner_engine

        engine, config, _ = planner_engine(path)
        planner, forecaster = LearnedPlanner(engine, config), make_forecaster("lane-following")
        return Stack(name, tracker, planner, TrackingController(), forecaster, Guard())

    return build


def _constant_speed(name: str, tracker: Tracker, settings: tuple[str, ...]) -> Driver:
    refuse_settings("constant-speed", settings)
    return Stack(name, tracker, ConstantSpeed(), TrackingController())


def _recorded(make: type[RecordedExpert | Stationary | ConstantVelocity]) -> Builder:
    def build(name: str, tracker: Tracker, settings: tuple[str, ...]) -> Driver:
        refuse_settings(name, settings)
        return make(name)

    return build


def driving_style(settings: Sequence[str]) -> DrivingStyle:
    """The rule-based planner's style with overrides ``"time_headway=0.65"``.

    Raises RoadloopError for unknown fields and for values that are not finite and above 0.
    """
    style = load_config(DrivingStyle, overrides=settings)
    for key, value in dataclasses.asdict(style).items():
        if not (np.isfinite(value) and value > 0.0):
            raise RoadloopError(f"setting {key}={value:g}: expected a finite number above 0")
    return style


def _r157(model: str) -> Builder:
    def build(name: str, tracker: Tracker, settings: tuple[str, ...]) -> Driver:
        planner = R157Driver(model, style=driving_style(settings))
        return Stack(name, tracker, planner, TrackingController())

    return build


DRIVERS: dict[str, str] = {
    "rule": "ours: proposals under forecasts, weighed; with a guard",
    "route-follower": "one careful plan: IDM, lights, signs, right of way, passing",
    "pdm-closed": "the published planner that others are measured against (nuPlan 2023)",
    "idm": "nuPlan's plain IDM baseline: its lane, the car ahead, red lights",
    "mapless": "without a map: keeps the lane that the detector sees (with --perception)",
    "constant-speed": "follows the route at constant speed and ignores everybody: must fail",
    "recorded": "the recorded ego itself, for recorded drives",
    "stationary": "brakes and stays, the baseline that gets nowhere",
    "constant-velocity": "straight on as it began, blind: the baseline of recorded drives",
    "r157-cc": "UN R157's careful and competent human, for the alks scenarios",
    "r157-fsm": "UN R157's fuzzy safety model, likewise",
    "r157-rss": "responsibility-sensitive safety as UN R157 is compared with it, likewise",
    "r157-reg": "the braking UN R157 itself demands, likewise",
}
"""name -> one line on what it is"""

CONTROLLERS: dict[str, Callable[[ActuatorDelays], Controller]] = {
    "tracking": lambda delays: TrackingController(),
    "mpc": lambda delays: Mpc(delays=delays),
    "lqr": lambda delays: Lqr(delays=delays),
    "pure-pursuit": lambda delays: PurePursuit(delays=delays),
}
"""name -> how to make one for actuators that are late"""


@dataclass(frozen=True)
class Parts:
    """Settings that every `Stack` takes beside those of its planner."""

    controller: str = "tracking"
    """one of `CONTROLLERS`"""
    vehicle: str = ""
    """that is driven, `roadloop.vehicles.load_vehicle`; empty: the one the world says"""
    on_error: str = RAISE
    """what a `Stack` does where its planner raises: raise, or guard"""


NEEDED = {"safetensors": "train", "timm": "train", "torch": "train", "onnxruntime": "onnx"}
"""what seeing with a network takes -> the extra it is of"""
POLICY = "policy:"
"""what the name of a trained policy begins with; its path follows"""
LEARNED = "learned:"
"""likewise of a trained planner"""

_BUILDERS: dict[str, Builder] = {
    "rule": _rule,
    "route-follower": _route_follower,
    "pdm-closed": _pdm_closed,
    "idm": _idm,
    "mapless": _mapless,
    "constant-speed": _constant_speed,
    "recorded": _recorded(RecordedExpert),
    "stationary": _recorded(Stationary),
    "constant-velocity": _recorded(ConstantVelocity),
    "r157-cc": _r157("CC"),
    "r157-fsm": _r157("FSM"),
    "r157-rss": _r157("RSS"),
    "r157-reg": _r157("Reg157"),
}


def make_driver(
    name: str,
    *,
    perception: str = "truth",
    settings: Mapping[str, str] | Sequence[str] = (),
) -> Driver:
    """A new driver; its ``name`` says all of this: ``rule[time_headway=0.65]+noisy:poor``.

    Args:
        name: one of `DRIVERS`; ``"policy:PATH"``: a trained policy, its file or the folder of its
            run; ``"learned:PATH"``: a trained planner, likewise; or ``"module:callable"``: a
            function without arguments, of a module that Python finds, that returns a `Driver`.
        perception: what the planner sees: ``"truth"``; ``"noisy"`` or ``"noisy:PRESET"``
            (`perception.noise_config`); or the path of a YAML file with a NoiseConfig; or a
            detector (`deploy.seeing`): ``"compact"``, a checkpoint or the folder of a run. The
            driver's sensors then are those of the detector's rig.
        settings: of `Parts` and of the planner's style, as ``{"time_headway": "0.65"}`` or
            ``["controller=mpc", "time_headway=0.65"]``.

    Raises:
        RoadloopError: an unknown name, preset or setting, or one that this driver does not take.
    """
    overrides = _overrides(settings)
    if name.startswith(POLICY):
        refuse_settings(POLICY.rstrip(":"), overrides)
        tracker, sees = make_tracker(perception)
        if isinstance(tracker, Sight):
            raise RoadloopError(
                f'driver "{name}" sees tracks, not pictures: leave out "{perception}", or take '
                "another driver"
            )
        return Policy(name.removeprefix(POLICY), tracker, sees)
    builder = _BUILDERS.get(name)
    if name.startswith(LEARNED):
        builder = _learned(name.removeprefix(LEARNED))
    elif ":" in name:
        if perception != "truth":
            raise RoadloopError(
                f'driver "{name}" brings its own perception: leave out "{perception}"'
            )
        refuse_settings(name, overrides)
        return _import_driver(name)
    if builder is None:
        or_else = "(or give policy:PATH, learned:PATH or module:callable)"
        raise RoadloopError(f"{unknown('driver', name, DRIVERS)} {or_else}")
    tracker, sees = make_tracker(perception)
    full = name + (f"[{','.join(overrides)}]" if overrides else "") + (f"+{sees}" if sees else "")
    names = {f.name for f in dataclasses.fields(Parts)}
    chosen = [text for text in overrides if text.partition("=")[0].strip() in names]
    style = tuple(text for text in overrides if text not in chosen)
    return _with_parts(builder(full, tracker, style), chosen)


def _with_parts(driver: Driver, chosen: Sequence[str]) -> Driver:
    """``driver`` with the settings ``chosen`` of `Parts`."""
    if not chosen:
        return driver
    if not isinstance(driver, Stack):
        refuse_settings(driver.name, tuple(chosen))
        return driver
    parts = load_config(Parts, overrides=chosen)
    if parts.controller not in CONTROLLERS:
        raise RoadloopError(unknown("controller", parts.controller, CONTROLLERS))
    vehicle = load_vehicle(parts.vehicle) if parts.vehicle else None
    delays = vehicle.delays if vehicle is not None else ActuatorDelays()
    if parts.controller == "tracking" and delays != ActuatorDelays():
        raise RoadloopError(
            f'controller "tracking" makes up for no delays, vehicle "{parts.vehicle}" has some: '
            "take controller=mpc"
        )
    return Stack(
        driver.name,
        driver.tracker,
        driver.planner,
        CONTROLLERS[parts.controller](delays),
        driver.forecaster,
        driver.guard,
        parts.on_error,
        vehicle.parameters if vehicle is not None else None,
    )


def make_tracker(perception: str = "truth") -> tuple[Tracker, str]:
    """The tracker that `make_driver` calls ``perception``, and its label: empty for ground truth.

    Raises RoadloopError for an unknown name, preset or file, or a checkpoint that cannot be used.
    """
    if perception == "truth":
        return GroundTruth(), ""
    kind, colon, preset = perception.partition(":")
    if kind == "noisy" and not colon:
        preset = "typical"
    elif kind != "noisy":
        preset = perception if Path(perception).suffix in (".yaml", ".yml") else ""
    if preset:
        return NoisyPerception(load_noise(preset)), f"noisy:{Path(preset).stem}"
    if is_detector(perception):
        try:
            from deploy.seeing import open_seeing

            seeing = open_seeing(perception)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing not in NEEDED:
                raise
            extra = NEEDED[missing]
            raise RoadloopError(
                f'perception "{perception}" needs {missing}: pip install "roadloop[{extra}]"'
            ) from error
        return seeing, seeing.label
    raise RoadloopError(
        f'unknown perception "{perception}": expected truth, noisy, noisy:PRESET, the path of a '
        f".yaml, {', '.join(SHIPPED)}, a .safetensors, an .onnx or the folder of a detector's run"
    )


def _overrides(settings: Mapping[str, str] | Sequence[str]) -> tuple[str, ...]:
    if isinstance(settings, Mapping):
        return tuple(f"{key}={value}" for key, value in settings.items())
    return (settings,) if isinstance(settings, str) else tuple(text.strip() for text in settings)


def _import_driver(name: str) -> Driver:
    """The driver that the user's factory ``module:callable`` returns."""
    module_name, _, attribute = name.partition(":")
    if not attribute or not all(part.isidentifier() for part in module_name.split(".")):
        raise RoadloopError(f'driver "{name}": expected module:callable')
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise RoadloopError(
            f'driver "{name}": Python finds no module "{error.name}": install it, or put its '
            "folder on PYTHONPATH"
        ) from error
    factory = getattr(module, attribute, None)
    if not callable(factory):
        problem = "has no" if factory is None else "cannot call its"
        raise RoadloopError(f'driver "{name}": {module_name} {problem} "{attribute}"')
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise RoadloopError(
            f'driver "{name}": {attribute} must be callable without arguments: {error}'
        ) from error
    driver = factory()
    if isinstance(driver, type) or not isinstance(driver, Driver):
        parts = ("name", "sensors", "plan", "reset", "act")
        missing = [part for part in parts if not hasattr(driver, part)]
        what = f"without {', '.join(missing)}" if missing else "that is a class, not an object"
        raise RoadloopError(
            f'driver "{name}": {attribute}() returned a {type(driver).__name__} {what}: expected '
            "a Driver (roadloop/interfaces.py)"
        )
    return driver
