"""What an HTML body refers to: pictures within the email, and files on other hosts. Pure.

The frame's policy keeps the browser from loading anything. This module only counts what it would load, so text patterns are
enough. Each pattern passes over the text once, whatever the text is.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator
from html import unescape
from urllib.parse import unquote, urlsplit

from common.addresses import printable
from emaillog.mime_parts import Part

# The limit for all pictures in one page together, as base64. The HTML may refer to one picture thousands of times.
PICTURES_AT_MOST = 10 * 1024 * 1024
_PICTURE_TYPES = ("image/png", "image/jpeg", "image/jpg", "image/gif", "image/webp")
_REFERENCE = re.compile(
    r"""(\b(?:src|background|poster)\s*=\s*["']?\s*|\burl\(\s*(?:["']|&quot;|&\#39;)?\s*)cid:([^"'\s>)&]{1,300})""",
    re.IGNORECASE | re.VERBOSE,
)
_COMMENT = re.compile(r"<!--(?:.*?-->|.*)", re.DOTALL)
_TAG = re.compile(r"""<([a-z][^\s/>]*)((?:[^"'>]+|"[^"]*"|'[^']*')*)""", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([a-z:-]+)\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+)""", re.IGNORECASE)
_IN_STYLE = re.compile(r"""(?:\burl\(|@import\b)\s*(?:["']|&quot;|&\#39;)?\s*([^"'()\s;]+)""", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:^|[\s,])((?:https?:)?//[^\s,]+)", re.IGNORECASE)
_LOADING_ATTRIBUTES = ("src", "srcset", "poster", "background", "data")
# In other tags the browser follows a link only when it is clicked.
_TAGS_THAT_LOAD_LINKS = ("link", "image", "use", "feimage")
_LINK_ATTRIBUTES = ("href", "xlink:href")


def with_pictures(html: str, parts: Iterable[Part]) -> tuple[str, bool]:
    """Replace `cid:` references by the pictures of the email. Returns the HTML, and whether there was room for all."""
    pictures = {part.content_id: part for part in parts if part.content_id and part.content_type in _PICTURE_TYPES}
    urls: dict[str, str] = {}
    left, complete = PICTURES_AT_MOST, True

    def picture(match: re.Match[str]) -> str:
        nonlocal left, complete
        content_id = unquote(match[2])
        if content_id not in pictures:
            return match[0]
        if content_id not in urls:
            urls[content_id] = _data_url(pictures[content_id])
        if len(urls[content_id]) > left:
            complete = False
            return match[0]
        left -= len(urls[content_id])
        return match[1] + urls[content_id]

    return _REFERENCE.sub(picture, html), complete


def remote_hosts(html: str) -> list[tuple[str, int]]:
    """Return the hosts from which the HTML would load files, with the number of files. The most files come first."""
    urls = {url for reference in _references(_COMMENT.sub("", html)) for url in _remote_urls(reference)}
    return Counter(filter(None, map(_host, urls))).most_common()


def _references(html: str) -> Iterator[str]:
    """Yield the values in the places where a browser looks for a file to load."""
    for tag in _TAG.finditer(html):
        loads_links = tag[1].lower() in _TAGS_THAT_LOAD_LINKS
        for name, value in _ATTRIBUTE.findall(tag[2]):
            if name.lower() in _LOADING_ATTRIBUTES or (loads_links and name.lower() in _LINK_ATTRIBUTES):
                yield value.strip("\"'")
    yield from _IN_STYLE.findall(html)


def _remote_urls(reference: str) -> list[str]:
    address = unescape(reference).replace("\\", "/").strip()
    return [] if address.startswith("data:") else _ADDRESS.findall(address)


def _host(url: str) -> str:
    try:
        return printable(urlsplit(url).hostname or "")
    except ValueError:
        return ""


def _data_url(picture: Part) -> str:
    return f"data:{picture.content_type};base64,{b64encode(picture.data()).decode()}"
