"""Draws docs/cost-of-streams.svg from JSON on standard input; runs in an environment with
matplotlib.

`python tests/bench/rivals/plot.py FILE`: `{"streams": […], "series": {name: {"delivery": […],
"idle": […]}}}`, CPU microseconds for each delivery, and for each idle stream and second.
"""

import json
import sys

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

mpl.rcParams["svg.hashsalt"] = "cost-of-streams"
mpl.rcParams["svg.fonttype"] = "none"


def main() -> None:
    found = json.load(sys.stdin)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axes, kind, title in (
        (left, "delivery", "CPU µs per delivered event, one target"),
        (right, "idle", "CPU µs per second and idle stream, a target each"),
    ):
        for name, series in found["series"].items():
            if kind in series:
                axes.plot(found["streams"], series[kind], marker="o", label=name)
        axes.set_xscale("log")
        if kind == "delivery":
            axes.set_ylim(bottom=0)
        else:
            axes.set_yscale("log")
        axes.set_xticks(found["streams"], [f"{streams:,}" for streams in found["streams"]])
        axes.minorticks_off()
        axes.set_xlabel("open streams")
        axes.set_title(title, fontsize=10)
        axes.grid(visible=True, alpha=0.3)
        axes.legend()
    figure.savefig(sys.argv[1], metadata={"Date": None, "Creator": None})


main()
