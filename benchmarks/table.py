"""The figures of a run as one markdown table: medians side by side, and how ours compares with each of the others."""

import math
import statistics
from collections.abc import Mapping, Sequence

Results = dict[str, dict[str, list[float]]]  # label -> contender -> values of all rounds
ENOUGH_FOR_P99 = 50


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


def number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def cell(values: Sequence[float]) -> str:
    """The median; with the 99th percentile in brackets where there are values enough to have one."""
    if not values:
        return ""
    p99 = f" ({number(percentile(values, 0.99))})" if len(values) >= ENOUGH_FOR_P99 else ""
    return number(statistics.median(values)) + p99


def ratio(figures: Mapping[str, Sequence[float]], above: str, below: str) -> str:
    if not figures.get(above) or not figures.get(below):
        return ""
    divisor = statistics.median(figures[below])
    return f"{statistics.median(figures[above]) / divisor:.3g}" if divisor else ""


def markdown(results: Results, names: Sequence[str]) -> str:
    others = [name for name in names if name != "ours"] if "ours" in names else []
    rows = [["median (p99)", *names, *(f"ours ÷ {other}" for other in others)]]
    rows.append(["---"] * len(rows[0]))
    for label, figures in results.items():
        ratios = [ratio(figures, "ours", other) for other in others]
        rows.append([label, *(cell(figures.get(name, [])) for name in names), *ratios])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
