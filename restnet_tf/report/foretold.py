"""What rankings of plans are worth, in sentences: one of them proposes, and this says how well."""

from __future__ import annotations

from collections.abc import Mapping


def sentences(count: int, rankings: Mapping[str, float], sums: float | None) -> list[str]:
    """How each ranking foretold the loss of so many pairs of cuts, and the sums of single jumps that of paths.

    Spearman's correlations, the higher the better; nothing where too few were tried.
    """
    figures = ", ".join(f"{name} {value:+.2f}" for name, value in rankings.items())
    title = f"how well each ranking foretold the loss of {count} pairs that were tried (1 is best, 0 is chance)"
    lines = [f"{title}: {figures}"] if figures else []
    if sums is not None:
        lines.append(
            "how well what each jump does alone foretold the loss of paths of several (1 is best, 0 is chance):"
            f" {sums:+.2f}"
        )
    return lines
