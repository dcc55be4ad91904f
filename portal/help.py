"""The portal's own documentation (docs/), as pages of the portal: where “Learn more” leads."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from functools import cache
from urllib.parse import urldefrag

from django.conf import settings
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.anchors import anchors_plugin

from organization.http import MemberRequest

_DOCS = settings.BASE_DIR / "docs"
# By the name in the address. Nothing else can be read.
_PAGES = {path.relative_to(_DOCS).with_suffix("").as_posix(): path for path in sorted(_DOCS.rglob("*.md"))}


@require_safe
def page(request: MemberRequest, name: str = "index") -> HttpResponse:
    if name not in _PAGES:
        raise Http404
    title, body = _rendered(name)
    return render(request, "portal/help.html", {"title": title, "body": body, "is_index": name == "index"})


@require_safe
def picture(request: MemberRequest, name: str) -> FileResponse:
    path = _DOCS / "images" / name  # a name has no slash
    if path.suffix != ".png" or not path.is_file():
        raise Http404
    return FileResponse(path.open("rb"))


@cache
def _rendered(name: str) -> tuple[str, SafeString]:
    """The page's title and the rest of it in HTML. The files are our own, and HTML in them is shown as text."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table").use(anchors_plugin, max_level=4)
    tokens = markdown.parse(_PAGES[name].read_text(encoding="utf-8"))
    _lead_to_pages(tokens, name)
    title, rest = tokens[1].content, tokens[3:]  # every page begins with its title
    # What markdown-it wrote: it escapes all text.
    return title, mark_safe(markdown.renderer.render(rest, markdown.options, {}))  # noqa: S308


def _lead_to_pages(tokens: Sequence[Token], name: str) -> None:
    """Links between files become links between pages; what lies outside the docs, the start of the help. Pictures too."""
    for token in tokens:
        if token.type == "image":
            token.attrs["src"] = reverse("help-picture", args=[posixpath.basename(str(token.attrs["src"]))])
            token.attrs["loading"] = "lazy"
        if token.type == "link_open":
            token.attrs["href"] = _address(str(token.attrs["href"]), name)
        _lead_to_pages(token.children or [], name)


def _address(link: str, name: str) -> str:
    path, fragment = urldefrag(link)
    if not path or "://" in path:
        return link
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path)).removesuffix(".md")
    page = reverse("help", args=[target]) if target in _PAGES else reverse("help")
    return f"{page}#{fragment}" if fragment and target in _PAGES else page
