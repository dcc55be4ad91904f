"""Search in the documentation: the sections that contain every word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from portal.help_pages import Page, Section, load_page, reading_order

LIMIT = 30  # results on the page
LONGEST_QUERY = 100
_AROUND = 110  # characters shown before and after the first word
_IN_PAGE_TITLE, _IN_HEADING, _IN_TEXT = range(3)


@dataclass(frozen=True)
class Piece:
    """A part of a line, and whether it is one of the words searched for."""

    text: str
    is_match: bool


@dataclass(frozen=True)
class Result:
    page: Page
    section: Section
    heading: list[Piece]
    excerpt: list[Piece]

    @property
    def url(self) -> str:
        return f"{self.page.url}#{self.section.anchor}" if self.section.anchor else self.page.url


def search(query: str) -> list[Result]:
    """All results: first those with a word in the page's title, then in a heading, then in the text, each in reading order."""
    words = query.casefold().split()
    ranked = sorted(_matches(words), key=lambda match: match[0])
    pattern = re.compile("|".join(sorted(map(re.escape, words), key=len, reverse=True)), re.IGNORECASE)
    return [
        Result(page, section, _pieces(section.heading, pattern), _pieces(_excerpt(section.text, pattern), pattern))
        for _, page, section in ranked
    ]


def _matches(words: list[str]) -> Iterator[tuple[int, Page, Section]]:
    for page in map(load_page, reading_order()):
        for section in page.sections:
            text = f"{page.title} {section.heading} {section.text}".casefold()
            # The page's title alone finds the page, not each of its sections.
            own = f"{section.heading} {section.text}".casefold()
            if all(word in text for word in words) and any(word in own for word in words):
                yield _rank(words, section), page, section


def _rank(words: list[str], section: Section) -> int:
    heading = section.heading.casefold()
    if not any(word in heading for word in words):
        return _IN_TEXT
    return _IN_HEADING if section.anchor else _IN_PAGE_TITLE


def _excerpt(text: str, pattern: re.Pattern[str]) -> str:
    """Some words around the first match."""
    text = " ".join(text.split())
    match = pattern.search(text)
    start = max(0, match.start() - _AROUND) if match else 0
    end = (match.end() if match else 0) + _AROUND
    start = text.find(" ", start) + 1 if start else 0
    end = text.rfind(" ", 0, end) if end < len(text) else len(text)
    return f"{'… ' if start else ''}{text[start:end]}{' …' if end < len(text) else ''}"


def _pieces(text: str, pattern: re.Pattern[str]) -> list[Piece]:
    pieces, place = list[Piece](), 0
    for match in pattern.finditer(text):
        pieces += [Piece(text[place : match.start()], is_match=False), Piece(match[0], is_match=True)]
        place = match.end()
    return [piece for piece in (*pieces, Piece(text[place:], is_match=False)) if piece.text]
