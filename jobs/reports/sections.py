"""What a builder gives: the parts of a report that are its own."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.reports.report import Recommendation, Section


@dataclass(frozen=True)
class Made:
    """Title, a summary in a sentence or two, and the rest of a report that its type decides."""

    title: str
    summary: str
    sections: tuple[Section, ...]
    recommendations: tuple[Recommendation, ...] = ()
    footnotes: tuple[str, ...] = ()
