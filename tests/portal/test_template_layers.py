"""Templates keep the layers that imports keep: what one includes, extends, loads or links to belongs to its own app or below.

Two things of portal are for all: base.html and alone.html are the frames around every page, and its pages (home, help, an
app's page) may be linked to from everywhere.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from django.conf import settings
from django.template.engine import Engine
from django.urls import URLPattern, URLResolver, get_resolver

TEMPLATES = settings.BASE_DIR / "templates"
STATIC = settings.BASE_DIR / "static"
SHELL = "shell"  # the pieces that every app uses; below all apps
FRAMES = {"base.html", "alone.html"}
DJANGOS_FOLDERS = {"django": SHELL, "registration": "portal", "admin": "portal"}  # where Django looks for them
DJANGOS_LIBRARIES = {"static", "l10n", "django_htmx"}

# The quoted name after the tag; or, for what is computed, whatever is there.
TAG = re.compile(r"{%\s*(include|extends|load|url|static)\s+(.*?)\s*%}", re.DOTALL)
NAME = re.compile(r"""(["'])([^"']*)\1""")


class Arrow(NamedTuple):
    """That a template uses something: a template, a tag library, the name of a page, or a file in static/."""

    template: str
    tag: str
    target: str


def layers() -> list[set[str]]:
    """Of import-linter's contract, the highest first, and the shell below them."""
    contracts = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layered,) = (contract for contract in contracts if "portal" in contract.get("layers", ()))
    return [*({app.strip() for app in layer.split("|")} for layer in layered["layers"]), {SHELL}]


LEVELS = {app: level for level, apps in enumerate(layers()) for app in apps}


def owner(path: str) -> str:
    """The app in whose folder a template or a file in static/ lies. Those in no folder are portal's: the frame, the errors."""
    folder = path.partition("/")[0] if "/" in path else "portal"
    return DJANGOS_FOLDERS.get(folder, folder)


def arrows(template: str, text: str) -> Iterator[Arrow]:
    for tag, rest in TAG.findall(text):
        if tag == "load":
            yield from (Arrow(template, tag, library) for library in rest.split() if library not in DJANGOS_LIBRARIES)
        else:
            name = NAME.match(rest)
            target = name[2] if name else rest
            if not target.startswith("django/"):  # Django's own, for those of ours in their place
                yield Arrow(template, tag, target)


def owner_of_target(arrow: Arrow) -> str | None:
    """None for what doesn't exist, or can't be known before it is computed."""
    if arrow.tag == "load":
        return Engine.get_default().libraries.get(arrow.target, "").partition(".")[0] or None
    if arrow.tag == "url":
        return pages().get(arrow.target)
    folder = STATIC if arrow.tag == "static" else TEMPLATES
    return owner(arrow.target) if (folder / arrow.target).is_file() else None


@cache
def pages() -> dict[str, str]:
    """The app of each page: where its view is. Signing out is Django's, and counts as portal's."""
    return {name: app if app in LEVELS else "portal" for name, app in _pages_of(get_resolver())}


def _pages_of(resolver: URLResolver) -> Iterator[tuple[str, str]]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLPattern):
            yield pattern.name or "", pattern.callback.__module__.partition(".")[0]
        elif not pattern.namespace:
            yield from _pages_of(pattern)


def is_allowed(arrow: Arrow) -> bool:
    user, used = owner(arrow.template), owner_of_target(arrow)
    if used is None:
        return False
    is_for_all = (arrow.tag == "extends" and arrow.target in FRAMES) or (arrow.tag == "url" and used == "portal")
    return is_for_all or user == used or LEVELS[user] < LEVELS[used]


def all_templates() -> dict[str, str]:
    return {path.relative_to(TEMPLATES).as_posix(): path.read_text() for path in sorted(TEMPLATES.rglob("*.html"))}


def test_every_template_uses_its_own_app_and_lower_ones() -> None:
    used = [arrow for template, text in all_templates().items() for arrow in arrows(template, text)]
    assert {arrow.tag for arrow in used} == {"include", "extends", "load", "url", "static"}
    assert [arrow for arrow in used if not is_allowed(arrow)] == []


@pytest.mark.parametrize(
    ("template", "wrong"),
    [
        ("emailconfig/choose.html", '{% include "delivery/_trouble.html" %}'),
        ("emaillog/message.html", "{% include 'analytics/_chart.html' %}"),
        ("emailconfig/settings.html", "{% load l10n masking %}"),
        ("testlists/emails_edit.html", '{% extends "portal/app_emails.html" %}'),
        ("analytics/_apps.html", "{% url 'email-log' stage.key as log %}"),
        ("organization/apps.html", "{% static 'emaillog/log.css' %}"),
        ("shell/_banner.html", '{% include "organization/_app_icon.html" %}'),
        ("outbox/simulator.html", '{% include "outbox/no_such_fragment.html" %}'),
        ("outbox/simulator.html", "{% include card %}"),
        ("emaillog/message.html", "{% url 'no-such-page' %}"),
    ],
)
def test_an_arrow_up_across_or_into_nothing_is_noticed(template: str, wrong: str) -> None:
    assert not all(is_allowed(arrow) for arrow in arrows(template, wrong))


def test_every_template_and_style_lies_in_the_folder_of_an_app() -> None:
    files = [path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()]
    assert {owner(path) for path in [*all_templates(), *files]} <= set(LEVELS)
    assert [path for path in files if "/" not in path] == []


def test_a_fragment_is_named_as_one() -> None:
    """What is included starts with an underscore; what a page extends, or a view shows, does not."""
    used = [arrow for template, text in all_templates().items() for arrow in arrows(template, text)]
    files = [arrow for arrow in used if arrow.tag in ("include", "extends")]
    assert files
    assert [arrow for arrow in files if Path(arrow.target).name.startswith("_") != (arrow.tag == "include")] == []
