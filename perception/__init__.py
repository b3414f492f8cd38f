"""Perception turns sensors into detections, tracks and forecasts.

It speaks only the nouns of ``roadloop`` and knows neither planner nor simulator.
"""
