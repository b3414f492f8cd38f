"""Field tables of Waymo's Protocol Buffers messages, and facts both Waymo readers share.

Numbers and types are those of the public definitions, ``scenario.proto``, ``map.proto``,
``dataset.proto``, ``label.proto`` in github.com/waymo-research/waymo-open-dataset (v1.6). Fields
roadloop has no use for are left out.
"""

from __future__ import annotations

from roadloop.datasets.protobuf_wire import Field, Message
from roadloop.types import VehicleParameters

LICENCE = "Waymo Dataset License Agreement for Non-Commercial Use"

VEHICLE = VehicleParameters(
    length=5.286,
    width=2.332,
    height=2.33,
    wheelbase=3.089,
    rear_overhang=1.183,
)
"""Waymo's Chrysler Pacifica Hybrid with its sensors.

Length, width and height are those of every recording car's own track in the Motion data set. The
wheelbase, 121.6 in, is the maker's. Where the rear axle lies in the box no document says. A rear
axle slips sideways only by what its tyres give, in proportion to yaw rate and squared speed v, so
the lateral speed of the box centre over the yaw rate is ``d - k v^2``, d the distance between them:
on four turning scenes d is 1.46 m (1.44 m of those below 4 m/s), give or take 0.01 m. The front and
rear LiDAR, 4.07 m before and 1.155 m behind the origin, have their middle at 1.4575 m, too.
"""

# --- map.proto ----------------------------------------------------------------------------------

POINT = Message(
    "MapPoint",
    {1: Field("x", "double"), 2: Field("y", "double"), 3: Field("z", "double")},
    columns=True,
)
BOUNDARY = Message(
    "BoundarySegment",
    {
        1: Field("lane_start_index", "int32"),
        2: Field("lane_end_index", "int32"),
        3: Field("boundary_feature_id", "int64"),
        4: Field("boundary_type", "int32"),
    },
)
NEIGHBOUR = Message(
    "LaneNeighbor",
    {
        1: Field("feature_id", "int64"),
        2: Field("self_start_index", "int32"),
        3: Field("self_end_index", "int32"),
        4: Field("neighbor_start_index", "int32"),
        5: Field("neighbor_end_index", "int32"),
        6: Field("boundaries", BOUNDARY, many=True),
    },
)
LANE = Message(
    "LaneCenter",
    {
        1: Field("speed_limit_mph", "double"),
        2: Field("type", "int32"),
        3: Field("interpolating", "bool"),
        8: Field("polyline", POINT, many=True),
        9: Field("entry_lanes", "int64", many=True),
        10: Field("exit_lanes", "int64", many=True),
        11: Field("left_neighbors", NEIGHBOUR, many=True),
        12: Field("right_neighbors", NEIGHBOUR, many=True),
        13: Field("left_boundaries", BOUNDARY, many=True),
        14: Field("right_boundaries", BOUNDARY, many=True),
    },
)
LINE = Message("RoadLine", {1: Field("type", "int32"), 2: Field("polyline", POINT, many=True)})
EDGE = Message("RoadEdge", {1: Field("type", "int32"), 2: Field("polyline", POINT, many=True)})
ONE_POINT = Message("MapPoint", POINT.fields)
STOP_SIGN = Message(
    "StopSign", {1: Field("lane", "int64", many=True), 2: Field("position", ONE_POINT)}
)
OUTLINE = Message("polygon", {1: Field("polygon", POINT, many=True)})
FEATURE = Message(
    "MapFeature",
    {
        1: Field("id", "int64"),
        3: Field("lane", LANE),
        4: Field("road_line", LINE),
        5: Field("road_edge", EDGE),
        7: Field("stop_sign", STOP_SIGN),
        8: Field("crosswalk", OUTLINE),
        9: Field("speed_bump", OUTLINE),
        10: Field("driveway", OUTLINE),
    },
)
LANE_STATE = Message(
    "TrafficSignalLaneState",
    {1: Field("lane", "int64"), 2: Field("state", "int32"), 3: Field("stop_point", ONE_POINT)},
)

# --- scenario.proto -----------------------------------------------------------------------------

STATE = Message(
    "ObjectState",
    {
        2: Field("center_x", "double"),
        3: Field("center_y", "double"),
        4: Field("center_z", "double"),
        5: Field("length", "float"),
        6: Field("width", "float"),
        7: Field("height", "float"),
        8: Field("heading", "float"),
        9: Field("velocity_x", "float"),
        10: Field("velocity_y", "float"),
        11: Field("valid", "bool"),
    },
    columns=True,
)
TRACK = Message(
    "Track",
    {1: Field("id", "int32"), 2: Field("object_type", "int32"), 3: Field("states", STATE, True)},
)
DYNAMIC = Message("DynamicMapState", {1: Field("lane_states", LANE_STATE, many=True)})
PREDICTION = Message(
    "RequiredPrediction", {1: Field("track_index", "int32"), 2: Field("difficulty", "int32")}
)
SCENARIO = Message(
    "Scenario",
    {
        1: Field("timestamps_seconds", "double", many=True),
        2: Field("tracks", TRACK, many=True),
        4: Field("objects_of_interest", "int32", many=True),
        5: Field("scenario_id", "string"),
        6: Field("sdc_track_index", "int32"),
        7: Field("dynamic_map_states", DYNAMIC, many=True),
        8: Field("map_features", FEATURE, many=True),
        10: Field("current_time_index", "int32"),
        11: Field("tracks_to_predict", PREDICTION, many=True),
    },
)

# --- label.proto, dataset.proto -----------------------------------------------------------------

BOX = Message(
    "Label.Box",
    {
        1: Field("center_x", "double"),
        2: Field("center_y", "double"),
        3: Field("center_z", "double"),
        4: Field("width", "double"),
        5: Field("length", "double"),
        6: Field("height", "double"),
        7: Field("heading", "double"),
    },
)
METADATA = Message(
    "Label.Metadata",
    {
        1: Field("speed_x", "double"),
        2: Field("speed_y", "double"),
        3: Field("accel_x", "double"),
        4: Field("accel_y", "double"),
        5: Field("speed_z", "double"),
        6: Field("accel_z", "double"),
    },
)
LABEL = Message(
    "Label",
    {
        1: Field("box", BOX),
        2: Field("metadata", METADATA),
        3: Field("type", "int32"),
        4: Field("id", "string"),
        7: Field("num_lidar_points_in_box", "int32"),
        11: Field("most_visible_camera_name", "string"),
        12: Field("camera_synced_box", BOX),
        13: Field("num_top_lidar_points_in_box", "int32"),
    },
)
CAMERA_LABELS = Message(
    "CameraLabels", {1: Field("name", "int32"), 2: Field("labels", LABEL, many=True)}
)
TRANSFORM = Message("Transform", {1: Field("transform", "double", many=True)})
CAMERA_CALIBRATION = Message(
    "CameraCalibration",
    {
        1: Field("name", "int32"),
        2: Field("intrinsic", "double", many=True),
        3: Field("extrinsic", TRANSFORM),
        4: Field("width", "int32"),
        5: Field("height", "int32"),
        6: Field("rolling_shutter_direction", "int32"),
    },
)
LASER_CALIBRATION = Message(
    "LaserCalibration",
    {
        1: Field("name", "int32"),
        2: Field("beam_inclinations", "double", many=True),
        3: Field("beam_inclination_min", "double"),
        4: Field("beam_inclination_max", "double"),
        5: Field("extrinsic", TRANSFORM),
    },
)
STATS = Message(
    "Context.Stats",
    {
        2: Field("time_of_day", "string"),
        3: Field("location", "string"),
        4: Field("weather", "string"),
    },
)
CONTEXT = Message(
    "Context",
    {
        1: Field("name", "string"),
        2: Field("camera_calibrations", CAMERA_CALIBRATION, many=True),
        3: Field("laser_calibrations", LASER_CALIBRATION, many=True),
        4: Field("stats", STATS),
    },
)
SHAPE = Message("MatrixShape", {1: Field("dims", "int32", many=True)})
MATRIX_FLOAT = Message(
    "MatrixFloat", {1: Field("data", "float", many=True), 2: Field("shape", SHAPE)}
)
MATRIX_INT = Message(
    "MatrixInt32", {1: Field("data", "int32", many=True), 2: Field("shape", SHAPE)}
)
RANGE_IMAGE = Message(
    "RangeImage",
    {
        2: Field("range_image_compressed", "bytes"),
        4: Field("range_image_pose_compressed", "bytes"),
        6: Field("segmentation_label_compressed", "bytes"),
    },
)
LASER = Message(
    "Laser",
    {
        1: Field("name", "int32"),
        2: Field("ri_return1", RANGE_IMAGE),
        3: Field("ri_return2", RANGE_IMAGE),
    },
)
INSTANCE = Message(
    "InstanceIDToGlobalIDMapping",
    {
        1: Field("local_instance_id", "int32"),
        2: Field("global_instance_id", "int32"),
        3: Field("is_tracked", "bool"),
    },
)
SEGMENTATION = Message(
    "CameraSegmentationLabel",
    {
        1: Field("panoptic_label_divisor", "int32"),
        2: Field("panoptic_label", "bytes"),
        3: Field("instance_id_to_global_id_mapping", INSTANCE, many=True),
        4: Field("sequence_id", "string"),
    },
)
VELOCITY = Message(
    "Velocity",
    {
        1: Field("v_x", "float"),
        2: Field("v_y", "float"),
        3: Field("v_z", "float"),
        4: Field("w_x", "double"),
        5: Field("w_y", "double"),
        6: Field("w_z", "double"),
    },
)
IMAGE = Message(
    "CameraImage",
    {
        1: Field("name", "int32"),
        2: Field("image", "bytes"),
        3: Field("pose", TRANSFORM),
        4: Field("velocity", VELOCITY),
        5: Field("pose_timestamp", "double"),
        6: Field("shutter", "double"),
        7: Field("camera_trigger_time", "double"),
        8: Field("camera_readout_done_time", "double"),
        10: Field("camera_segmentation_label", SEGMENTATION),
    },
)
VECTOR = Message(
    "Vector3d", {1: Field("x", "double"), 2: Field("y", "double"), 3: Field("z", "double")}
)
FRAME = Message(
    "Frame",
    {
        1: Field("context", CONTEXT),
        2: Field("timestamp_micros", "int64"),
        3: Field("pose", TRANSFORM),
        4: Field("images", IMAGE, many=True),
        5: Field("lasers", LASER, many=True),
        6: Field("laser_labels", LABEL, many=True),
        8: Field("camera_labels", CAMERA_LABELS, many=True),
        9: Field("projected_lidar_labels", CAMERA_LABELS, many=True),
        10: Field("map_features", FEATURE, many=True),
        11: Field("map_pose_offset", VECTOR),
    },
)
