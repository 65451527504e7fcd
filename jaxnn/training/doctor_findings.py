"""What the doctor says: a finding for each question that was asked, and the table of them all."""

import math
import textwrap
from typing import Any, NamedTuple

OUTCOMES = ("finding", "note", "healthy", "not examined")
WIDTH = 100  # columns of the text


class Finding(NamedTuple):
    """The answer to one question: what was measured, what is healthy, and what to do about it."""

    check: str
    outcome: str
    """`finding`: mend it. `note`: know it. `healthy`. `not examined`: the advice says what was missing."""
    value: float | None
    """The number that was compared; None where there was none."""
    measured: str
    healthy: str
    advice: str


class Diagnosis(NamedTuple):
    """All answers, in the order they were asked; its repr is a text table of at most 100 columns."""

    model: str
    examples: int
    findings: tuple[Finding, ...]

    def having(self, outcome: str) -> tuple[Finding, ...]:
        """Return the answers with this outcome."""
        return tuple(finding for finding in self.findings if finding.outcome == outcome)

    def __repr__(self) -> str:
        """Write the table, and below it the advice on all that is not healthy."""
        return _text(self)


def graded(check: str, value: float, wrong: Any, measured: str, healthy: str, advice: str) -> Finding:
    """Make the answer `finding` or `healthy`; a number that is NaN is never healthy. Healthy ones carry no advice.

    >>> graded("inputs", 0.5, False, "0.5", "up to 5", "scale them").outcome
    'healthy'
    """
    value = float(value)
    ill = bool(wrong) or math.isnan(value)
    return Finding(check, "finding" if ill else "healthy", value, measured, healthy, advice if ill else "")


def noted(finding: Finding, advice: str) -> Finding:
    """Turn an answer into a note with this advice.

    >>> noted(not_examined("overlap", ""), "know this").outcome
    'note'
    """
    return finding._replace(outcome="note", advice=advice)


def not_examined(check: str, advice: str) -> Finding:
    """Make the answer to a question that could not be asked.

    >>> not_examined("overlap", "give validation= or test=").value is None
    True
    """
    return Finding(check, "not examined", None, "", "", advice)


def _text(diagnosis: Diagnosis) -> str:
    counts = [f"{len(diagnosis.having(outcome))} {outcome}" for outcome in OUTCOMES if diagnosis.having(outcome)]
    title = f"{diagnosis.model}, {diagnosis.examples:,} examples: {', '.join(counts)}"
    widths = [max([len(f.check) for f in diagnosis.findings] + [5]), max(map(len, OUTCOMES))]
    rest = WIDTH - sum(widths) - 6
    widths.append(max(len("measured"), min(max(len(f.measured) for f in diagnosis.findings), rest * 3 // 5)))
    widths.append(rest - widths[2])
    rows = [_line(widths, "check", "outcome", "measured", "healthy"), "-" * WIDTH]
    for finding in diagnosis.findings:
        rows += _cells(widths, finding.check, finding.outcome, finding.measured, finding.healthy)
    advice = [
        textwrap.fill(f"{f.check} ({f.outcome}): {f.advice}", WIDTH, subsequent_indent="  ")
        for f in diagnosis.findings
        if f.advice
    ]
    return "\n".join([*textwrap.wrap(title, WIDTH), *rows, "-" * WIDTH, *advice])


def _cells(widths: list[int], *cells: str) -> list[str]:
    """Write one row on as many lines as its longest cell needs."""
    columns = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
    height = max(map(len, columns))
    filled = [column + [""] * (height - len(column)) for column in columns]
    return [_line(widths, *line) for line in zip(*filled, strict=True)]


def _line(widths: list[int], *cells: str) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
