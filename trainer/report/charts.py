"""Small SVG charts for the report: lines, bars, a density and one stacked bar, coloured by the page's CSS.

No chart knows a colour, only class names, so that light, dark and print need no second drawing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from trainer.report.svg import element, join

Range = tuple[float, float]
Points = Sequence[tuple[float, float]]
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 14.0, 20.0, 44.0


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    Attributes:
        points: (x, y) from left to right; a y that is not finite breaks the line.
        style: CSS class: `first`, `second`, `guide`.
        titles: Hover text of each point; empty for a line without marks.
        marks: Draw a dot at each point.
    """

    points: Points
    style: str
    titles: Sequence[str] = ()
    marks: bool = False


@dataclass(frozen=True)
class Frame:
    """Axes: where a value lies on the drawing.

    Attributes:
        x, y: Ranges of the values.
        x_label, y_label: What the axes count, with the unit.
        width, height: Units of the drawing, about CSS pixels.
        x_text, y_text: How ticks are written.
        whole_x: Ticks at whole numbers only.
    """

    x: Range
    y: Range
    x_label: str
    y_label: str
    width: float = 420.0
    height: float = 290.0
    x_text: Callable[[float], str] | None = None
    y_text: Callable[[float], str] | None = None
    whole_x: bool = False

    def across(self, value: float) -> float:
        """The drawing's x of a value."""
        return _LEFT + (value - self.x[0]) / _span(self.x) * (self.width - _LEFT - _RIGHT)

    def down(self, value: float) -> float:
        """The drawing's y of a value."""
        return self.height - _BOTTOM - (value - self.y[0]) / _span(self.y) * (self.height - _TOP - _BOTTOM)

    def draw(self, label: str, *content: str) -> Markup:
        """The whole chart: grid, axes with labels, then the content. `label` is read out by screen readers."""
        return svg(self.width, self.height, label, self._grid(), *content, self._labels())

    def _grid(self) -> Markup:
        left, right, bottom = _LEFT, self.width - _RIGHT, self.height - _BOTTOM
        parts: list[Markup] = []
        y_ticks, x_ticks = ticks(self.y), ticks(self.x, 6, whole=self.whole_x)
        for value, text in zip(y_ticks, _texts(y_ticks, self.y_text), strict=True):
            y = self.down(value)
            parts.append(element("line", x1=left, x2=right, y1=y, y2=y, class_="grid"))
            parts.append(element("text", text, x=left - 7, y=y + 3.5, class_="tick end"))
        for value, text in zip(x_ticks, _texts(x_ticks, self.x_text), strict=True):
            x = self.across(value)
            parts.append(element("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="axis"))
            parts.append(element("text", text, x=x, y=bottom + 17, class_="tick middle"))
        parts.append(element("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
        return join(*parts)

    def _labels(self) -> Markup:
        middle_x, middle_y = (_LEFT + self.width - _RIGHT) / 2, (_TOP + self.height - _BOTTOM) / 2
        turned = f"rotate(-90 12 {middle_y:.1f})"
        return join(
            element("text", self.x_label, x=middle_x, y=self.height - 8, class_="label middle"),
            element("text", self.y_label, x=12, y=middle_y, transform=turned, class_="label middle"),
        )


def epochs_frame(label: str, points: Points) -> Frame:
    """Axes of values by epoch, from the first one to the last."""
    last = max((epoch for epoch, _ in points), default=1.0)
    x = (1.0, last) if last > 1 else (0.5, 1.5)
    return Frame(x, around(value for _, value in points), "epoch", label, whole_x=True)


def svg(width: float, height: float, label: str, *content: str, class_: str = "chart") -> Markup:
    """A drawing that scales with the page and says `label` to screen readers."""
    box = f"0 0 {width:g} {height:g}"
    return element("svg", *content, viewBox=box, class_=class_, role="img", aria_label=label)


def line(frame: Frame, series: Series) -> Markup:
    """A line through the points, with a hover title on each that has one."""
    path = element("path", d=_path(frame, series.points), class_=f"line {series.style}")
    marks = [
        _mark(frame, point, title, series)
        for point, title in zip(series.points, series.titles, strict=False)
        if math.isfinite(point[1])
    ]
    return join(path, *marks)


def _mark(frame: Frame, point: tuple[float, float], title: str, series: Series) -> Markup:
    x, y = frame.across(point[0]), frame.down(point[1])
    dot = element("circle", cx=x, cy=y, r=2.6, class_=f"dot {series.style}") if series.marks else ""
    return element("g", dot, element("circle", cx=x, cy=y, r=7, class_="hit"), element("title", title), class_="point")


def _path(frame: Frame, points: Points) -> str:
    words, pen_down = [], False
    for x, y in points:
        if math.isfinite(y):
            words.append(f"{'L' if pen_down else 'M'}{frame.across(x):.1f} {frame.down(y):.1f}")
        pen_down = math.isfinite(y)
    return "".join(words)


def rule(frame: Frame, x: float, text: str) -> Markup:
    """A dashed upright line at x with a word beside it, on the side that has room."""
    at = frame.across(x)
    left_half = at < frame.width / 2
    return join(
        element("line", x1=at, x2=at, y1=_TOP, y2=frame.height - _BOTTOM, class_="rule"),
        element(
            "text", text, x=at + (-4 if left_half else 4), y=_TOP - 6, class_="note" + ("" if left_half else " end")
        ),
    )


def bars(frame: Frame, edges: Sequence[float], values: Sequence[float], titles: Sequence[str], style: str) -> Markup:
    """Upright bars between neighbouring edges [K + 1], from 0 to values [K]."""
    base = frame.down(0.0)
    drawn = []
    for low, high, value, title in zip(edges, edges[1:], values, titles, strict=False):
        x, top = frame.across(low), frame.down(value)
        width = max(frame.across(high) - x - 0.8, 0.6)
        drawn.append(
            element("rect", element("title", title), x=x, y=top, width=width, height=base - top, class_=f"bar {style}")
        )
    return join(*drawn)


def cells(frame: Frame, boxes: Iterable[tuple[Range, Range, float, str]]) -> Markup:
    """Filled boxes ((x low, high), (y low, high), strength 0…1, title) of a density."""
    drawn = []
    for (x0, x1), (y0, y1), strength, title in boxes:
        x, y = frame.across(x0), frame.down(y1)
        width, height = frame.across(x1) - x + 0.2, frame.down(y0) - y + 0.2
        shade = f"{0.08 + 0.92 * strength:.2f}"
        box = element(
            "rect", element("title", title), x=x, y=y, width=width, height=height, fill_opacity=shade, class_="cell"
        )
        drawn.append(box)
    return join(*drawn)


def spark(values: Sequence[float], titles: Sequence[str], label: str) -> Markup:
    """Little bars without axes, for a row of a table."""
    width, height = 140.0, 30.0
    top, step = max(values, default=0.0) or 1.0, width / max(len(values), 1)
    drawn = [element("line", x1=0, x2=width, y1=height - 0.5, y2=height - 0.5, class_="axis")]
    for index, (value, title) in enumerate(zip(values, titles, strict=True)):
        tall = max(value / top * (height - 2), 1.0) if value else 0.0
        box = element("rect", x=index * step, y=0, width=step, height=height, class_="hit")
        bar = element(
            "rect", x=index * step + 0.4, y=height - 1 - tall, width=step - 0.8, height=tall, class_="bar first"
        )
        drawn.append(element("g", bar, box, element("title", title), class_="point"))
    return svg(width, height, label, *drawn, class_="spark")


def ticks(of: Range, about: int = 5, *, whole: bool = False) -> list[float]:
    """Round values inside a range, 1, 2 or 5 times a power of ten apart."""
    raw = _span(of) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(factor for factor in (1, 2, 5, 10) if raw <= factor * power * 1.0001)
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(of[0] / step - 1e-9), math.floor(of[1] / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def around(values: Iterable[float], margin: float = 0.06) -> Range:
    """A range that holds all finite values, with a little air; (0, 1) where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    air = (high - low) * margin or abs(high) * 0.1 or 1.0
    return low - air, high + air


def _span(of: Range) -> float:
    return of[1] - of[0] or 1.0


def _texts(values: Sequence[float], text: Callable[[float], str] | None) -> list[str]:
    if text is not None:
        return [text(value) for value in values]
    step = values[1] - values[0] if len(values) > 1 else 0.0
    return [axis_number(value, step) for value in values]


def axis_number(value: float, step: float) -> str:
    """A tick's text: as many decimals as the step needs, thousands as k, M, G."""
    size = max(abs(value), abs(step))
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= 10 * factor or (size >= factor and (step >= factor / 10 or not step)):
            return f"{value / factor:g}{letter}" if value else "0"
    if (step and step < 1e-3) or size >= 1e12:
        return f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.0e}".replace("e-0", "e−") if value else "0"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step else 3
    return f"{value:.{decimals}f}".replace("-", "−")


def axis_share(value: float) -> str:
    """A tick of a share, in percent."""
    return f"{value * 100:.3g}\u00a0%"
