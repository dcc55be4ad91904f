"""The documentation as pages: every link in it leads somewhere, also to the very heading."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from portal.help import _PAGES
from tests.support.portal import ROOT


def test_it_is_for_members(as_viewer: Client) -> None:
    assert as_viewer.get("/help/").status_code == 200
    assert Client().get("/help/").status_code == 302
    assert as_viewer.post("/help/").status_code == 405


@pytest.mark.parametrize("name", ["nothing", "../README", "..%2F..%2Fportal%2Fsettings", "how-to/../../README"])
def test_nothing_else_can_be_read(as_viewer: Client, name: str) -> None:
    assert as_viewer.get(f"/help/{name}/").status_code == 404


def test_every_link_leads_to_a_page_and_heading_that_are_there(as_viewer: Client) -> None:
    pages = {f"/help/{name}/": as_viewer.get(f"/help/{name}/").content.decode() for name in _PAGES}
    pages["/help/"] = as_viewer.get("/help/").content.decode()
    broken = []
    for address, page in pages.items():
        article = page.partition('<article class="prose">')[2]
        for link in re.findall(r'href="([^"]*)"', article):
            path, _, heading = link.partition("#")
            if "://" in link:
                continue
            target = pages.get(path or address)
            if target is None or (heading and f'id="{heading}"' not in target):
                broken.append((address, link))
    assert not broken


def test_learn_more_leads_to_headings_that_are_there(as_administrator: Client, qa: object, crm: object) -> None:
    configuration = "/management/configure/emails/"
    for path in ("/apps/", configuration, f"{configuration}qa/edit/", "/monitor/analytics/", "/monitor/email-log/qa/"):
        link = re.search(r'href="(/help/[^"#]*)(?:#([^"]*))?">Learn more', as_administrator.get(path).content.decode())
        assert link, path
        target = as_administrator.get(link[1]).content.decode()
        assert not link[2] or f'id="{link[2]}"' in target


def test_no_html_of_a_page_is_taken_for_markup(as_viewer: Client) -> None:
    page = as_viewer.get("/help/reference/commands/").content.decode()
    assert "set_smtp &lt;stage&gt;" in page


def test_every_file_that_the_docs_name_is_there() -> None:
    links = [(page, link) for page in _PAGES.values() for link in re.findall(r"\]\(([^)#\s]+)", page.read_text())]
    assert not [(page.name, link) for page, link in links if "://" not in link and not (page.parent / link).exists()]


def test_every_picture_is_shown_on_the_page_of_pictures(as_viewer: Client) -> None:
    page = as_viewer.get("/help/pictures/").content.decode()
    shown = re.findall(r'<img src="(/help/images/[^"]+)"', page)
    kept = sorted(f"/help/images/{path.name}" for path in (ROOT / "docs" / "images").iterdir())
    assert sorted(shown) == kept
    assert as_viewer.get(shown[0])["Content-Type"] == "image/png"
    for name in "nothing.png", "index.md", "..":
        assert as_viewer.get(f"/help/images/{name}").status_code == 404
    assert Client().get(shown[0]).status_code == 302
