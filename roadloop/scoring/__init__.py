"""Closed-loop safety terms of a rollout, independent of any simulator."""
