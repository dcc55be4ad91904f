"""The time from the acceptance of a message to the server's 250. It is counted in buckets, which give the percentiles."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate

# The end of each bucket in seconds, which belongs to the bucket. One more bucket has no end and contains the rest. Stored
# counts rely on the order, so new bounds would need new counts.
BOUNDS = (
    *(0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
    *(minutes * 60.0 for minutes in (1, 2, 5, 10, 30)),
    *(hours * 3600.0 for hours in (1, 2, 6, 12, 24, 48)),
)
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


def bucket_of(seconds: float) -> int:
    """Return the number of the bucket. If a clock was set back, a negative time counts as fast."""
    return bisect_left(BOUNDS, seconds)


def percentile(histogram: Mapping[int, int], share: float) -> float | None:
    """Return the time in seconds within which that share (such as 0.95) was sent, or None if nothing was.

    Within a bucket, the times are assumed to be spread evenly. For the bucket without an end, the result is its beginning.
    """
    counts = sorted((bucket, count) for bucket, count in histogram.items() if count)
    if not counts:
        return None
    rank = share * sum(count for _, count in counts)
    upto = accumulate(count for _, count in counts)
    (bucket, count), reached = next(pair for pair in zip(counts, upto, strict=True) if pair[1] >= rank)
    begin, end = edges(bucket)
    return begin + (end - begin) * (rank - (reached - count)) / count


def edges(bucket: int) -> tuple[float, float]:
    """Return where a bucket begins and ends."""
    bounds = (0.0, *BOUNDS, BOUNDS[-1])
    return bounds[bucket], bounds[bucket + 1]


def label_of(bucket: int) -> str:
    """Return a bucket in words, such as “1 s to 2 s”."""
    begin, end = edges(bucket)
    if begin == end:
        return f"over {in_words(begin)}"
    return f"{in_words(begin)} to {in_words(end)}" if begin else f"up to {in_words(end)}"


def in_words(seconds: float) -> str:
    """Return a time in short form, such as 75 ms, 1.2 s, 35 min."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    for unit, length, below in (("s", 1.0, _MINUTE), ("min", _MINUTE, _HOUR), ("h", _HOUR, 2 * _DAY + 1)):
        if seconds < below:
            return f"{_short(seconds / length)} {unit}"
    return f"{_short(seconds / _DAY)} days"


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0") if number < 10 else f"{number:.0f}"
