"""Waymo's messages for google.protobuf, written down apart from roadloop's own tables."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# Field numbers and types of scenario.proto, map.proto, dataset.proto, label.proto; enums are int32.
# "*" repeated, "#" repeated and packed. Submessages no test looks into are bytes.
MESSAGES = """
MapPoint: double x 1, double y 2, double z 3
BoundarySegment: int32 lane_start_index 1, int32 lane_end_index 2, int64 boundary_feature_id 3,
  int32 boundary_type 4
LaneNeighbor: int64 feature_id 1, int32 self_start_index 2, int32 self_end_index 3,
  int32 neighbor_start_index 4, int32 neighbor_end_index 5, *BoundarySegment boundaries 6
LaneCenter: double speed_limit_mph 1, int32 type 2, bool interpolating 3, *MapPoint polyline 8,
  #int64 entry_lanes 9, #int64 exit_lanes 10, *LaneNeighbor left_neighbors 11,
  *LaneNeighbor right_neighbors 12, *BoundarySegment left_boundaries 13,
  *BoundarySegment right_boundaries 14
RoadLine: int32 type 1, *MapPoint polyline 2
RoadEdge: int32 type 1, *MapPoint polyline 2
StopSign: *int64 lane 1, MapPoint position 2
Polygon: *MapPoint polygon 1
MapFeature: int64 id 1, LaneCenter lane 3, RoadLine road_line 4, RoadEdge road_edge 5,
  StopSign stop_sign 7, Polygon crosswalk 8, Polygon speed_bump 9, Polygon driveway 10
TrafficSignalLaneState: int64 lane 1, int32 state 2, MapPoint stop_point 3
DynamicMapState: *TrafficSignalLaneState lane_states 1
ObjectState: double center_x 2, double center_y 3, double center_z 4, float length 5, float width 6,
  float height 7, float heading 8, float velocity_x 9, float velocity_y 10, bool valid 11
Track: int32 id 1, int32 object_type 2, *ObjectState states 3
RequiredPrediction: int32 track_index 1, int32 difficulty 2
Scenario: *double timestamps_seconds 1, *Track tracks 2, *int32 objects_of_interest 4,
  string scenario_id 5, int32 sdc_track_index 6, *DynamicMapState dynamic_map_states 7,
  *MapFeature map_features 8, int32 current_time_index 10, *RequiredPrediction tracks_to_predict 11,
  *bytes compressed_frame_laser_data 12, *bytes frame_camera_tokens 13
Box: double center_x 1, double center_y 2, double center_z 3, double width 4, double length 5,
  double height 6, double heading 7
Metadata: double speed_x 1, double speed_y 2, double accel_x 3, double accel_y 4, double speed_z 5,
  double accel_z 6
Association: string laser_object_id 1
Label: Box box 1, Metadata metadata 2, int32 type 3, string id 4,
  int32 detection_difficulty_level 5, int32 tracking_difficulty_level 6,
  int32 num_lidar_points_in_box 7, bytes laser_keypoints 8, bytes camera_keypoints 9,
  Association association 10, string most_visible_camera_name 11, Box camera_synced_box 12,
  int32 num_top_lidar_points_in_box 13
CameraLabels: int32 name 1, *Label labels 2
Transform: *double transform 1
CameraCalibration: int32 name 1, *double intrinsic 2, Transform extrinsic 3, int32 width 4,
  int32 height 5, int32 rolling_shutter_direction 6
LaserCalibration: int32 name 1, *double beam_inclinations 2, double beam_inclination_min 3,
  double beam_inclination_max 4, Transform extrinsic 5
ObjectCount: int32 type 1, int32 count 2
Stats: *ObjectCount laser_object_counts 1, string time_of_day 2, string location 3,
  string weather 4, *ObjectCount camera_object_counts 5
Context: string name 1, *CameraCalibration camera_calibrations 2,
  *LaserCalibration laser_calibrations 3, Stats stats 4
MatrixShape: *int32 dims 1
MatrixFloat: #float data 1, MatrixShape shape 2
MatrixInt32: #int32 data 1, MatrixShape shape 2
RangeImage: MatrixFloat range_image 1, bytes range_image_compressed 2,
  bytes camera_projection_compressed 3, bytes range_image_pose_compressed 4,
  bytes range_image_flow_compressed 5, bytes segmentation_label_compressed 6
Laser: int32 name 1, RangeImage ri_return1 2, RangeImage ri_return2 3
InstanceID: int32 local_instance_id 1, int32 global_instance_id 2, bool is_tracked 3
CameraSegmentationLabel: int32 panoptic_label_divisor 1, bytes panoptic_label 2,
  *InstanceID instance_id_to_global_id_mapping 3, string sequence_id 4, bytes num_cameras_covered 5
Velocity: float v_x 1, float v_y 2, float v_z 3, double w_x 4, double w_y 5, double w_z 6
CameraImage: int32 name 1, bytes image 2, Transform pose 3, Velocity velocity 4,
  double pose_timestamp 5, double shutter 6, double camera_trigger_time 7,
  double camera_readout_done_time 8, CameraSegmentationLabel camera_segmentation_label 10
Vector3d: double x 1, double y 2, double z 3
Zone: *double x 1, *double y 2, string id 3
Frame: Context context 1, int64 timestamp_micros 2, Transform pose 3, *CameraImage images 4,
  *Laser lasers 5, *Label laser_labels 6, *Zone no_label_zones 7, *CameraLabels camera_labels 8,
  *CameraLabels projected_lidar_labels 9, *MapFeature map_features 10, Vector3d map_pose_offset 11
BytesList: *bytes value 1
FloatList: #float value 1
Int64List: #int64 value 1
Feature: BytesList bytes_list 1, FloatList float_list 2, Int64List int64_list 3
Entry: string key 1, Feature value 2
Features: *Entry feature 1
Example: Features features 1
"""

_SCALARS = {
    "double": 1, "float": 2, "int64": 3, "int32": 5, "bool": 8, "string": 9, "bytes": 12,
}  # fmt: skip


@cache
def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="waymo_test.proto", package="w", syntax="proto2")
    for line in re.sub(r",\n\s+", ", ", MESSAGES.strip()).splitlines():
        name, fields = line.split(": ")
        message = file.message_type.add(name=name)
        for text in fields.split(", "):
            kind, field, number = text.split()
            made = message.field.add(name=field, number=int(number))
            made.label = 3 if kind[0] in "*#" else 1
            if kind[0] == "#":
                made.options.packed = True
            kind = kind.lstrip("*#")
            made.type = _SCALARS.get(kind, 11)
            if kind not in _SCALARS:
                made.type_name = f".w.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = [message.name for message in file.message_type]
    found = {name: pool.FindMessageTypeByName(f"w.{name}") for name in names}
    return {name: message_factory.GetMessageClass(kind) for name, kind in found.items()}


def message(name: str, /, **fields: Any) -> Any:
    """A message of google.protobuf."""
    return _classes()[name](**fields)


def parsed(name: str, data: bytes) -> Any:
    """The message in ``data``."""
    return _classes()[name].FromString(data)
