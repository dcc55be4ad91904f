"""Search the documentation for sections that contain every word of the query. A query word may be the start of a word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from portal.help.pages import Page, Section, load_page, reading_order

LIMIT = 30  # results on the page
LONGEST_QUERY = 100
_AROUND = 110  # characters shown before and after the first match


@dataclass(frozen=True)
class Piece:
    """A part of a line, and whether it matches a word of the query."""

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
    """All results, in reading order. Those with the query as it is come first, then those with most words in their heading."""
    words = [_word_start(word) for word in query.split() if any(map(str.isalnum, word))]  # not “>”, as in Settings > Emails
    if not words:
        return []
    ranked = sorted(_matches(words), key=lambda match: (not _has_phrase(match[2], query), match[0]))
    any_word = re.compile("|".join(word.pattern for word in words), re.IGNORECASE)
    return [
        Result(page, section, _pieces(section.heading, any_word), _pieces(_excerpt(section.text, any_word), any_word))
        for _, page, section in ranked
    ]


def _has_phrase(section: Section, query: str) -> bool:
    """Whether several words are in the section as they were typed."""
    return " " in query and query.casefold() in f"{section.heading} {section.text}".casefold()


def _word_start(word: str) -> re.Pattern[str]:
    """“mail” matches “mailbox”, not “email”. An underscore separates words, as in DELIVERY_WINDOW."""
    return re.compile(rf"(?<![^\W_]){re.escape(word)}", re.IGNORECASE)


def _matches(words: list[re.Pattern[str]]) -> Iterator[tuple[int, Page, Section]]:
    """The sections with all words, and how many of these are not in the heading."""
    for page in map(load_page, reading_order()):
        for section in page.sections:
            own_text = f"{section.heading} {section.text}"
            missing = [word for word in words if not word.search(own_text)]
            # The page's title may have a word, but not all: it would find every section of the page.
            if len(missing) < len(words) and all(word.search(page.title) for word in missing):
                yield sum(not word.search(section.heading) for word in words), page, section


def _excerpt(text: str, any_word: re.Pattern[str]) -> str:
    """Some words around the first match."""
    text = " ".join(text.split()).lstrip("· ")
    match = any_word.search(text)
    start = max(0, match.start() - _AROUND) if match else 0
    end = (match.end() if match else 0) + _AROUND
    start = text.find(" ", start) + 1 if start else 0
    end = text.rfind(" ", 0, end) if end < len(text) else len(text)
    return f"{'… ' if start else ''}{text[start:end]}{' …' if end < len(text) else ''}"


def _pieces(text: str, any_word: re.Pattern[str]) -> list[Piece]:
    pieces, place = list[Piece](), 0
    for match in any_word.finditer(text):
        pieces += [Piece(text[place : match.start()], is_match=False), Piece(match[0], is_match=True)]
        place = match.end()
    return [piece for piece in (*pieces, Piece(text[place:], is_match=False)) if piece.text]
