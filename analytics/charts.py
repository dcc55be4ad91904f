"""Bar charts as inline SVG, computed on the server.

The page needs no script and no inline style. Colours and fonts are in the stylesheet. A chart is drawn on a canvas of
WIDTH × HEIGHT units, which the browser scales to the available space.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 460, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 6, 14, 54
_PLOT_HEIGHT = HEIGHT - _TOP - _BOTTOM
_FILLED = 0.72  # the share of a column's width that its bars fill
_TICKS = 4
_LABELS = 4
_LOWEST_BAR = 2.0  # so that one message is visible beside a million


@dataclass(frozen=True)
class Series:
    """Bars that belong together.

    `colour` is one of .chart--… in analytics.css. `striped` distinguishes two series without colour.
    """

    name: str
    colour: str
    values: Sequence[int]
    striped: bool = False

    @property
    def total(self) -> int:
        return sum(self.values)


@dataclass(frozen=True)
class Bar:
    series: Series
    x: float
    y: float
    width: float
    height: float

    @property
    def path(self) -> str:
        return f"M{self.x:.2f} {self.y:.2f}h{self.width:.2f}v{self.height:.2f}h-{self.width:.2f}z"


@dataclass(frozen=True)
class Column:
    """All bars at one place of the x axis.

    `x` and `width` belong to the whole column. `label` is shown if there is room for it. `values` has each series' number, as
    people read it, and `words` says them with their names.
    """

    label: str
    shown: bool
    x: float
    width: float
    bars: Sequence[Bar]
    values: Sequence[str]
    words: str

    @property
    def path(self) -> str:
        return f"M{self.x:.2f} {_TOP}h{self.width:.2f}v{_PLOT_HEIGHT}h-{self.width:.2f}z"

    @property
    def middle(self) -> float:
        return round(self.x + self.width / 2, 2)


@dataclass(frozen=True)
class Tick:
    """A line across the chart, and its number."""

    y: float
    value: int


@dataclass(frozen=True)
class Chart:
    """A bar chart. `key` is part of the ids in the page. `x_title` and `y_title` say what the axes count."""

    key: str
    title: str
    x_title: str
    y_title: str
    series: Sequence[Series]
    columns: Sequence[Column]
    ticks: Sequence[Tick]

    width, height = WIDTH, HEIGHT
    left, right, top, plot_height = _LEFT, WIDTH - _RIGHT, _TOP, _PLOT_HEIGHT
    center, middle = (_LEFT + WIDTH - _RIGHT) / 2, (_TOP + HEIGHT - _BOTTOM) / 2
    tick_x, label_y, title_x, title_y = _LEFT - 8, HEIGHT - _BOTTOM + 20, 14, HEIGHT - 8

    @property
    def drawn(self) -> Sequence[tuple[Series, str]]:
        """All bars of each series as one SVG path. An element for each bar took a fifth of the page's time."""
        bars = [bar for column in self.columns for bar in column.bars]
        return [(line, "".join(bar.path for bar in bars if bar.series is line)) for line in self.series]


def bar_chart(key: str, title: str, x_title: str, y_title: str, labels: Sequence[str], series: Sequence[Series]) -> Chart:
    """Return a chart with a column for each of `labels`. In a column, the bars of the series are side by side."""
    step = tick_step(max((max(line.values, default=0) for line in series), default=0))
    ticks = [Tick(_y(number * step, step), number * step) for number in range(_TICKS + 1)]
    columns = [_column(place, labels, series, step) for place in range(len(labels))]
    return Chart(key, title, x_title, y_title, series, columns, ticks)


def tick_step(highest: int) -> int:
    """Return the smallest of 1, 2, 5, 10, 20, … that lets the ticks reach `highest`."""
    least = max(1, math.ceil(highest / _TICKS))
    power: int = 10 ** (len(str(least)) - 1)
    return next(nice * power for nice in (1, 2, 5, 10) if nice * power >= least)


def _column(place: int, labels: Sequence[str], series: Sequence[Series], step: int) -> Column:
    width = (WIDTH - _LEFT - _RIGHT) / len(labels)
    x = _LEFT + place * width
    bar_width = width * _FILLED / len(series)
    first = x + width * (1 - _FILLED) / 2
    bars = [
        _bar(line, first + number * bar_width, bar_width, line.values[place], step)
        for number, line in enumerate(series)
        if line.values[place]
    ]
    shown = place % math.ceil(len(labels) / _LABELS) == 0
    values = [f"{line.values[place]:,}" for line in series]
    words = ", ".join(f"{line.name} {value}" for line, value in zip(series, values, strict=True))
    return Column(labels[place], shown, x, width, bars, values, words)


def _bar(series: Series, x: float, width: float, value: int, step: int) -> Bar:
    y = min(_y(value, step), HEIGHT - _BOTTOM - _LOWEST_BAR)
    return Bar(series, x, y, width, HEIGHT - _BOTTOM - y)


def _y(value: int, step: int) -> float:
    return HEIGHT - _BOTTOM - _PLOT_HEIGHT * value / (step * _TICKS)
