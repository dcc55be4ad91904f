"""The documentation (docs/) in HTML. Links between its files become links between pages."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from urllib.parse import urldefrag

from django.conf import settings
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.anchors import anchors_plugin

DOCS = settings.BASE_DIR / "docs"
INDEX = "index"
# The pages by their name in the URL. No other file can be read.
FILES = {path.relative_to(DOCS).with_suffix("").as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
_LEVELS = (2, 3)  # of the headings that the contents of a page name
_CELLS = ("td_open", "th_open")  # of a table


@dataclass(frozen=True)
class Section:
    """What is below one heading, as plain text. The text before the first heading has an empty `anchor`."""

    anchor: str
    heading: str
    level: int
    text: str


@dataclass(frozen=True)
class Page:
    """One document."""

    name: str
    title: str
    body: SafeString
    sections: tuple[Section, ...]

    @property
    def url(self) -> str:
        return page_url(self.name)

    @property
    def contents(self) -> list[Section]:
        """The headings that a list of contents names. None for a page with few of them."""
        headings = [section for section in self.sections if section.level in _LEVELS]
        return headings if sum(section.level == 2 for section in headings) > 2 else []


def page_url(name: str) -> str:
    return reverse("help") if name == INDEX else reverse("help", args=[name])


@cache
def load_page(name: str) -> Page:
    """Read and render a page. The files are our own, and HTML in them is shown as text."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").use(anchors_plugin, max_level=4)
    tokens = markdown.parse(FILES[name].read_text(encoding="utf-8"))
    _resolve_links(tokens, name)
    title, rest = _plain_text(tokens[1]), tokens[3:]  # every page begins with its title
    # markdown-it escapes all text.
    body = mark_safe(markdown.renderer.render(rest, markdown.options, {}))  # noqa: S308
    return Page(name, title, body, tuple(_sections(rest, title)))


@cache
def reading_order() -> tuple[str, ...]:
    """The names of all pages in the order in which the index links to them."""
    tokens = MarkdownIt("commonmark").parse(FILES[INDEX].read_text(encoding="utf-8"))
    links = (child for token in tokens for child in token.children or [] if child.type == "link_open")
    names = (_target(str(link.attrs["href"]), INDEX) for link in links)
    return (INDEX, *dict.fromkeys(name for name in names if name in FILES and name != INDEX))


def neighbours(name: str) -> tuple[Page | None, Page | None]:
    """The pages before and after this one."""
    order = reading_order()
    if name not in order:
        return None, None
    place = order.index(name)
    before = load_page(order[place - 1]) if place else None
    after = load_page(order[place + 1]) if place + 1 < len(order) else None
    return before, after


def _sections(tokens: Sequence[Token], title: str) -> Iterator[Section]:
    """Cut a page at its headings."""
    anchor, heading, level, texts = "", title, 1, list[str]()
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            yield Section(anchor, heading, level, " ".join(texts))
            anchor, heading = str(token.attrs.get("id", "")), _plain_text(tokens[index + 1])
            level, texts = int(token.tag[1:]), []
        elif token.type in ("fence", "code_block"):
            texts.append(token.content)
        elif token.type == "inline" and tokens[index - 1].type in _CELLS:
            texts.append(f"· {_plain_text(token)}")
        elif token.type == "inline" and tokens[index - 1].type != "heading_open":
            texts.append(_plain_text(token))
    yield Section(anchor, heading, level, " ".join(texts))


def _plain_text(token: Token) -> str:
    """The words of a line, without its markup."""
    children = token.children or []
    return "".join(" " if child.type in ("softbreak", "hardbreak") else child.content for child in children)


def _resolve_links(tokens: Sequence[Token], name: str) -> None:
    """Turn links between files into links between pages, also those to pictures."""
    for token in tokens:
        if token.type == "image":
            token.attrs["src"] = reverse("help-picture", args=[posixpath.basename(str(token.attrs["src"]))])
            token.attrs["loading"] = "lazy"
        if token.type == "link_open":
            token.attrs["href"] = _link_url(str(token.attrs["href"]), name)
        _resolve_links(token.children or [], name)


def _link_url(link: str, name: str) -> str:
    """A link to a file outside the docs leads to the start of the help."""
    path, fragment = urldefrag(link)
    if not path or "://" in path:
        return link
    target = _target(link, name)
    if target not in FILES:
        return reverse("help")
    return f"{page_url(target)}#{fragment}" if fragment else page_url(target)


def _target(link: str, name: str) -> str:
    """The name of the page that a link on the page `name` leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), urldefrag(link)[0])).removesuffix(".md")
