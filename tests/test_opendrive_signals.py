"""The OpenDRIVE reader: lights, signs, stop lines and crosswalks."""

from __future__ import annotations

import numpy as np
import pytest
from opendrive_text import (
    document,
    junction_map,
    road,
    row,
)

from roadloop.maps.opendrive import read_opendrive
from roadloop.maps.road_map import SignalKind

LIGHT = (
    '<signal id="{id}" s="{s}" t="-5" zOffset="4" orientation="{orientation}" dynamic="yes" '
    'type="1000001" country="OpenDRIVE">{inside}</signal>'
)


@pytest.mark.parametrize("contact", ["start", "end"])
def test_reference_on_a_connecting_road_governs_its_entry(contact):
    number = -1 if contact == "start" else 1
    reference = (
        f'<signals><signalReference id="L" s="10" t="0" orientation="+">'
        f'<validity fromLane="{number}" toLane="{number}"/></signalReference></signals>'
    )
    own = LIGHT.format(id="L", s=95, orientation="-", inside='<validity fromLane="0" toLane="0"/>')
    road_map = junction_map(contact, reference, f"<signals>{own}</signals>")
    turn = row(road_map, number, "5")
    assert road_map.signal_kind.tolist() == [SignalKind.TRAFFIC_LIGHT]
    assert road_map.stop_lane.tolist() == [turn] and road_map.stop_s.tolist() == [0.0]
    assert road_map.signal_heading[0] == pytest.approx(0.0, abs=1e-9)
    assert road_map.signal_controller.tolist() == [1]
    assert road_map.signal_junction.tolist() == [0]
    np.testing.assert_allclose(road_map.signal_xyz[0], [95, -5, 4], atol=1e-6)


def test_signal_beside_the_approach_governs_it_up_to_the_stop_line():
    light = f"<signals>{LIGHT.format(id='L', s=98, orientation='+', inside='')}</signals>"
    road_map = junction_map("start", approach=light)
    assert road_map.stop_lane.tolist() == [row(road_map, -1)]
    assert road_map.stop_s == pytest.approx([98.0])
    assert road_map.signal_junction.tolist() == [0]
    line = (
        '<objects><object id="3" name="StopLine" type="-1" s="94.5" t="-1.75" zOffset="0" '
        'hdg="1.5708" length="3.5" width="0.4"/></objects>'
    )
    road_map = junction_map("start", approach=line + light)
    assert road_map.stop_s == pytest.approx([94.5])


@pytest.mark.parametrize(("orientation", "number"), [("+", -1), ("-", 1)])
def test_orientation_picks_the_direction(orientation, number):
    s = 95 if orientation == "+" else 5
    signal = LIGHT.format(id="L", s=s, orientation=orientation, inside="")
    road_map = read_opendrive(document(road(inside=f"<signals>{signal}</signals>")))
    assert road_map.stop_lane.tolist() == [row(road_map, number)]
    assert road_map.stop_s == pytest.approx([95.0])


def test_reversed_orientation_is_recognised_by_validities():
    """RoadRunner writes "-" for signals that traffic along s sees."""
    lane_of = '<validity fromLane="-1" toLane="-1"/>'
    signals = LIGHT.format(id="A", s=95, orientation="-", inside=lane_of) + LIGHT.format(
        id="B", s=95, orientation="-", inside=""
    )
    road_map = read_opendrive(document(road(inside=f"<signals>{signals}</signals>")))
    assert road_map.stop_lane.tolist() == [row(road_map, -1)] * 2


def test_signs_and_their_values():
    def sign(number: int, code: str, extra: str = "") -> str:
        return (
            f'<signal id="{number}" s="90" t="-4" orientation="+" dynamic="no" type="{code}" '
            f"{extra}/>"
        )

    signals = (
        sign(0, "206") + sign(1, "205") + sign(2, "274", 'value="50"')
        + sign(3, "274", 'value="30" unit="mph"') + sign(4, "274", 'subtype="57"')
        + sign(5, "-1", 'name="Sign_Stop"') + sign(6, "-1", 'name="Speed_30"')
        + sign(7, "306") + sign(8, "274")
    )  # fmt: skip
    road_map = read_opendrive(document(road(inside=f"<signals>{signals}</signals>")))
    assert road_map.signal_kind.tolist() == [1, 2, 3, 3, 3, 1, 3, 4, 4]
    limits = [50 / 3.6, 13.4112, 70 / 3.6, 30 / 3.6]
    assert road_map.signal_value[[2, 3, 4, 6]] == pytest.approx(limits)
    assert sorted(road_map.stop_signal.tolist()) == [0, 1, 5]
    assert any("speed limit sign without a value" in m for m in road_map.unsupported)


def test_crosswalk_outlines_local_and_on_the_road_agree():
    head = '<object id="1" type="crosswalk" s="50" t="0" zOffset="0" hdg="1.5707963267948966">'
    local = "".join(
        f'<cornerLocal u="{u}" v="{v}" z="0"/>'
        for u, v in ((4, 2), (4, -2), (-4, -2), (-4, 2), (4, 2))
    )
    on_road = "".join(
        f'<cornerRoad s="{s}" t="{t}" dz="0"/>' for s, t in ((48, 4), (52, 4), (52, -4), (48, -4))
    )
    bare = '<object id="2" type="crosswalk" s="50" t="0" hdg="0" length="4" width="8"/>'
    for crosswalk in (
        f"{head}<outline>{local}</outline></object>",
        f"{head}<outlines><outline>{on_road}</outline></outlines></object>",
        bare,
    ):
        text = document(road(inside=f"<objects>{crosswalk}</objects>", pose=(0, 0, 0.0)))
        road_map = read_opendrive(text)
        assert road_map.crosswalk_start.tolist() == [0, 4]
        x, y = road_map.crosswalk_xyz[:, :2].T
        assert np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2 == pytest.approx(32)
        corners = np.sort(
            np.round(road_map.crosswalk_xyz[:, 0] + 1j * road_map.crosswalk_xyz[:, 1], 6)
        )
        np.testing.assert_allclose(corners, [48 - 4j, 48 + 4j, 52 - 4j, 52 + 4j], atol=1e-6)
        assert len(road_map.crossing_lane) == 2
