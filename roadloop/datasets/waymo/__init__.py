"""Waymo Open: Motion and Perception."""
