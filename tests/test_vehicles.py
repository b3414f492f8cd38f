"""Vehicle files: what ships can be driven, what cannot be is refused."""

from __future__ import annotations

import math

import pytest

from roadloop.config import dump_config
from roadloop.errors import RoadloopError
from roadloop.scoring.pdm_tracker import REFERENCE_VEHICLE
from roadloop.types import VehicleParameters
from roadloop.vehicles import ActuatorDelays, Vehicle, load_vehicle, vehicle_names


@pytest.mark.parametrize("name", vehicle_names())
def test_every_vehicle_shipped_is_plausible(name):
    vehicle = load_vehicle(name)
    car = vehicle.parameters
    assert vehicle.description
    assert 0.4 < car.length - car.wheelbase - car.rear_overhang < 3.0  # front overhang
    assert 4.0 < car.wheelbase / math.tan(car.max_steering) + car.width / 2.0 < 9.0 or (
        name == "nuplan"  # its devkit's 60 degrees
    )
    assert car.max_acceleration < car.max_deceleration
    assert vehicle.delays == ActuatorDelays()


def test_the_defaults_and_the_car_of_nuplan_are_files_too():
    assert load_vehicle("passenger-car").parameters == VehicleParameters()
    nuplan = load_vehicle("nuplan").parameters
    for name in ("length", "width", "height", "wheelbase", "rear_overhang", "max_steering"):
        assert getattr(nuplan, name) == pytest.approx(getattr(REFERENCE_VEHICLE, name), abs=1e-4)


def test_what_is_written_is_read(tmp_path):
    vehicle = Vehicle("mine", VehicleParameters(wheelbase=2.7), ActuatorDelays(0.12, 0.2))
    path = tmp_path / "mine.yaml"
    path.write_text(dump_config(vehicle))
    assert load_vehicle(path) == vehicle
    assert load_vehicle(str(path)) == vehicle


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parameters: {wheelbase: 4.2}", "axles lie inside"),
        ("parameters: {max_steering: 35}", "is it degrees"),
        ("parameters: {width: 0}", "vehicle width is 0"),
        ("parameters: {steering_lag: -0.1}", "vehicle steering_lag is -0.1"),
        ("delays: {steering: 200}", "expected 0 to 2 s"),
        ("parameters: {wheel_base: 2.8}", "wheelbase"),
        ("parameters: {length: 4.5 m}", "units are not written"),
    ],
)
def test_what_no_car_can_be_is_refused(tmp_path, text, message):
    path = tmp_path / "car.yaml"
    path.write_text(text)
    with pytest.raises(RoadloopError, match=message) as error:
        load_vehicle(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_unknown_names_get_the_nearest_one():
    with pytest.raises(RoadloopError, match='did you mean "passenger-car"'):
        load_vehicle("passengercar")
    with pytest.raises(RoadloopError, match="No such file"):
        load_vehicle("missing.yaml")
