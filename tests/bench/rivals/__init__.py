"""The peers of the fan-out benchmark, and what opens, feeds and reads their streams."""
