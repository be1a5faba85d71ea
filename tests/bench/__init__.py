"""Measurements: ``./dev bench``. They say how fast, never whether it is right."""
