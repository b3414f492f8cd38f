"""nuScenes and Lyft Level 5: tables, sensors, labels, map; and export to its schema."""
