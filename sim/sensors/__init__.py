"""The sensors of a vehicle: cameras, LiDAR, radar, inertial, and the suite of a whole rig."""
