"""Percentiles from a histogram of how long emails took."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.latency import BOUNDS, bucket_of, edges, in_words, label_of, percentile


def test_no_mail_has_no_percentile():
    assert percentile({}, 0.5) is None
    assert percentile({3: 0}, 0.5) is None


@pytest.mark.parametrize(
    ("histogram", "share", "seconds"),
    [
        ({bucket_of(0.08): 100}, 0.5, 0.075),
        ({bucket_of(0.08): 100}, 1.0, 0.1),
        ({bucket_of(0.08): 90, bucket_of(90): 10}, 0.5, 0.05 + 0.05 * 50 / 90),
        ({bucket_of(0.08): 90, bucket_of(90): 10}, 0.95, 90),
        ({bucket_of(0.0): 1}, 1.0, 0.02),
        ({len(BOUNDS): 7}, 0.5, 48 * 3600),
    ],
)
def test_percentiles(histogram, share, seconds):
    assert percentile(histogram, share) == pytest.approx(seconds)


@given(times=st.lists(st.floats(0, 300_000), min_size=1, max_size=200), share=st.sampled_from([0.01, 0.5, 0.95, 1.0]))
def test_a_percentile_lies_in_the_bucket_of_the_true_one(times: list[float], share: float):
    true = sorted(times)[max(0, -int(-share * len(times) // 1) - 1)]
    begin, end = edges(bucket_of(true))
    assert begin <= percentile(Counter(map(bucket_of, times)), share) <= end + 1e-6


def test_buckets_have_no_gaps():
    assert bucket_of(-5) == bucket_of(0) == bucket_of(0.02) == 0
    assert bucket_of(0.021) == 1
    assert bucket_of(10**9) == len(BOUNDS)
    assert list(BOUNDS) == sorted(set(BOUNDS))
    assert [label_of(bucket) for bucket in (0, 6, len(BOUNDS))] == ["up to 20 ms", "1 s to 2 s", "over 48 h"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 ms"), (0.0754, "75 ms"), (0.9999, "1 s"), (1.25, "1.2 s"), (59, "59 s"), (60, "1 min"), (5400, "1.5 h"),
     (172_800, "48 h"), (400_000, "4.6 days")],
)  # fmt: skip
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words
