"""Argoverse 2: sensor logs, scenario mining, motion forecasting."""
