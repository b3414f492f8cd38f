"""Logs on disk: our own format and readers of foreign ones."""
