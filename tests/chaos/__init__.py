"""Streams under real faults, counted exactly: `python -m tests.chaos`."""
