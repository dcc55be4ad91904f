"""All pages, without a browser: the list of them is whole, and none weighs too much."""

from __future__ import annotations

import gzip
import re
from functools import cache
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, resolve

from organization.models import Member
from tests.support.pages import PAGES, PUBLIC_PAGES
from tests.support.portal import signed_in

pytestmark = pytest.mark.django_db(transaction=True)

BUDGET = 150_000  # bytes of HTML, CSS and JavaScript together, compressed
BADGE = re.compile(r'<span class="badge[^>]*><svg.*?</svg> (?:Real recipients|Lists and allowed only|Captured)</span>', re.DOTALL)
LINKED = re.compile(r'<(?:link rel="stylesheet" href|script src)="/static/([^"]+)"')


def test_the_list_of_pages_is_whole(administrator: Member, busy_portal: dict[str, int]) -> None:
    """An address that answers GET with a page stands in PAGES or PUBLIC_PAGES."""
    client = signed_in(administrator)
    listed = {
        resolve(page.format(**busy_portal).partition("?")[0]).route
        for page in [*PAGES, *PUBLIC_PAGES]
        if not page.startswith("/no/")
    }
    numbers = dict.fromkeys(("number", "kept_id", "entry", "session_id", "passkey_id"), 1)
    fixed = {"app_key": "crm", "stage_key": "qa", "name": "index", **numbers}
    examples = {**fixed, **{f"{name}_id": pk for name, pk in busy_portal.items()}}
    routes = set(_routes())
    assert listed < routes
    for route in sorted(routes - listed):
        address = "/" + re.sub(r"<\w+:(\w+)>", lambda place: str(examples[place[1]]), route)
        answer = client.get(address)
        is_page = answer.status_code == 200 and not answer.streaming and b"<html" in answer.content
        assert not is_page, f"{address} is a page: it belongs into tests/support/pages.py"


def _routes(resolver: URLResolver | None = None, above: str = "") -> list[str]:
    """The route of every address but Django admin's."""
    routes = []
    for pattern in (resolver or get_resolver()).url_patterns:
        route = f"{above}{pattern.pattern}"
        if isinstance(pattern, URLPattern):
            routes.append(route)
        elif pattern.namespace != "admin":
            routes += _routes(pattern, route)
    return routes


def test_no_page_is_heavier_than_its_budget(administrator: Member, busy_portal: dict[str, int]) -> None:
    client = signed_in(administrator)
    weights = {}
    for page in [*PAGES, *PUBLIC_PAGES]:
        html = (Client() if page in PUBLIC_PAGES else client).get(page.format(**busy_portal)).content
        files = LINKED.findall(html.decode())
        assert files, page
        weights[page] = len(gzip.compress(html)) + sum(map(_weight_of_file, files))
    assert {page: weight for page, weight in weights.items() if weight > BUDGET} == {}


def test_every_page_of_a_stage_shows_its_recipient_policy(administrator: Member, busy_portal: dict[str, int]) -> None:
    """Home shows it beside each notice that names a stage, and in each stage's row."""
    client = signed_in(administrator)
    of_a_stage = ["/", *(page for page in PAGES if re.search("/(development|qa|production)/", page))]
    without = [page for page in of_a_stage if not BADGE.search(client.get(page.format(**busy_portal)).content.decode())]
    assert without == []
    home = client.get("/")
    of_notices = sum(notice.stage is not None for notice in home.context["waiting"])
    of_rows = len(home.context["stages"])
    assert of_notices > 0 and of_rows > 0
    assert len(BADGE.findall(home.content.decode())) == of_notices + of_rows


@cache
def _weight_of_file(name: str) -> int:
    return len(gzip.compress(Path(finders.find(name)).read_bytes()))
