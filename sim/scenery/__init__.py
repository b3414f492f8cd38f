"""The static world in three dimensions, made from a RoadMap and a seed."""
