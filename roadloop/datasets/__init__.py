"""Readers of other people's data sets: each gives a ``roadloop.logs.recording.Recording``."""
