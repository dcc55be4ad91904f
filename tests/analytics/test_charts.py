"""Bars, axis and ticks of a chart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.charts import Series, bar_chart, tick_step


@pytest.mark.parametrize(
    ("highest", "step"), [(0, 1), (1, 1), (4, 1), (5, 2), (8, 2), (9, 5), (41, 20), (4001, 2000), (400, 100)]
)
def test_ticks_are_round_and_reach_up_to_the_highest(highest, step):
    assert tick_step(highest) == step


@given(values=st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)), min_size=1, max_size=31))
def test_every_bar_starts_at_the_axis_and_is_inside_its_column(values: list[tuple[int, int]]):
    series = [Series("A", "blue", [first for first, _ in values]), Series("B", "red", [second for _, second in values])]
    chart = bar_chart("k", "Title", "Hour", "Emails", [str(n) for n in range(len(values))], series)
    for column in chart.columns:
        assert len(column.bars) == sum(value != "0" for value in column.values)
        for bar in column.bars:
            assert column.x <= bar.x < bar.x + bar.width <= column.x + column.width + 1e-6
            assert chart.top <= bar.y
            assert bar.y + bar.height == pytest.approx(chart.top + chart.plot_height)
            assert bar.height >= 1
    assert 1 <= sum(column.shown for column in chart.columns) <= 5
    assert [path.count("M") for _, path in chart.drawn] == [sum(n > 0 for n in line.values) for line in series]


def test_a_column_says_its_numbers_as_people_read_them():
    chart = bar_chart("k", "Title", "Hour", "Emails", ["14:00"], [Series("Sent", "blue", [12_345]), Series("Failed", "red", [0])])
    (column,) = chart.columns
    assert (column.values, column.words) == (["12,345", "0"], "Sent 12,345, Failed 0")
