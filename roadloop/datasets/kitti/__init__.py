"""KITTI: object, tracking, raw, odometry."""
