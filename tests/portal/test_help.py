"""The documentation as pages: every link leads somewhere, and a search finds the section."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urldefrag

import pytest
from django.test import Client

from portal.help.pages import FILES, INDEX, load_page, reading_order
from portal.help.search import LIMIT, search
from tests.support.portal import ROOT

# What GitHub shows of the repository, and people click through.
_OUTSIDE_THE_HELP = sorted(path for path in ROOT.glob("*.md"))


def _article(page: str) -> str:
    return page.partition('<article class="prose">')[2].partition("</article>")[0]


def test_it_is_for_members(as_viewer: Client) -> None:
    for url in "/help/", "/help/search/?q=held":
        assert as_viewer.get(url).status_code == 200
        assert Client().get(url).status_code == 302
        assert as_viewer.post(url).status_code == 405


@pytest.mark.parametrize("name", ["nothing", "../README", "..%2F..%2Fportal%2Fsettings", "how-to/../../README"])
def test_nothing_else_can_be_read(as_viewer: Client, name: str) -> None:
    assert as_viewer.get(f"/help/{name}/").status_code == 404


def test_every_link_leads_to_a_page_and_heading_that_are_there(as_viewer: Client) -> None:
    pages = {f"/help/{name}/": as_viewer.get(f"/help/{name}/").content.decode() for name in FILES}
    pages["/help/"] = as_viewer.get("/help/").content.decode()
    broken = []
    for url, page in pages.items():
        main = page.partition('<main class="page"')[2].partition("</main>")[0]
        for link in re.findall(r'href="([^"]*)"', main):
            path, _, heading = link.partition("#")
            if "://" in link:
                continue
            target = pages.get(path or url)
            if target is None or (heading and f'id="{heading}"' not in target):
                broken.append((url, link))
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


@pytest.mark.parametrize("document", [*FILES.values(), *_OUTSIDE_THE_HELP], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_and_heading_that_a_document_links_to_is_there(document: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)", document.read_text(encoding="utf-8")):
        path, heading = urldefrag(link)
        if "://" in link or link.startswith("mailto:"):
            continue
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (heading and heading not in _anchors(target)):
            broken.append(link)
    assert not broken


def _anchors(path: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.casefold()).replace(" ", "-") for heading in headings}


def test_the_index_links_to_every_page() -> None:
    assert sorted(reading_order()) == sorted(FILES)


def test_a_page_leads_to_those_before_and_after_it(as_viewer: Client) -> None:
    order = [load_page(name) for name in reading_order()]
    for before, page, after in zip([None, *order], order, [*order[1:], None], strict=False):
        shown = as_viewer.get(page.url).content.decode()
        links = dict(re.findall(r'<a href="([^"]+)" rel="(prev|next)"', shown))
        assert links == {other.url: rel for other, rel in ((before, "prev"), (after, "next")) if other}, page.name


def test_a_long_page_begins_with_its_contents(as_viewer: Client) -> None:
    page = as_viewer.get("/help/reference/statuses/").content.decode()
    contents = page.partition("On this page")[2].partition("</nav>")[0]
    assert re.findall(r'href="#([^"]+)"', contents) == re.findall(r'<h[23] id="([^"]+)"', _article(page))
    for name in INDEX, "reference/connection-problems":  # the one is contents itself, the other has no headings
        assert "On this page" not in as_viewer.get(load_page(name).url).content.decode()


def test_a_search_finds_the_section_and_marks_the_words(as_viewer: Client) -> None:
    page = as_viewer.get("/help/search/?q=Retry+SCHEDULE").content.decode()
    first = page.partition('<ol class="help-results">')[2].partition("</li>")[0]
    assert 'href="/help/reference/statuses/#the-retry-schedule"' in first
    assert "<mark>retry</mark> <mark>schedule</mark>" in first
    assert "Statuses" in first
    assert 'value="Retry SCHEDULE"' in page


def test_a_result_contains_every_word() -> None:
    assert {result.page.name for result in search("DELIVERY_WINDOW")} >= {"reference/settings", "reference/statuses"}
    assert search("DELIVERY_WINDOW greylisting nothing-like-this") == []


def test_a_word_is_found_by_its_start() -> None:
    def matches(query: str) -> set[str]:
        return {piece.text.casefold() for result in search(query) for piece in result.excerpt if piece.is_match}

    assert matches("mailb") == {"mailb"}  # mailbox
    assert search("ailbox") == []
    assert matches("window") == {"window"}  # DELIVERY_WINDOW


def test_a_page_title_alone_does_not_find_each_section_of_the_page() -> None:
    assert search("statuses")[0].section.heading == "Statuses"
    assert "The retry schedule" not in {result.section.heading for result in search("statuses")}
    assert search("Configurations > Emails")[0].section.heading == "Set up a stage"
    assert search(">") == []
    assert search("statuses greylisting")[0].section.heading == "Problems with the server"


def test_headings_come_before_text() -> None:
    in_heading = ["held" in result.section.heading.casefold() for result in search("held")]
    assert True in in_heading and False in in_heading
    assert in_heading == sorted(in_heading, reverse=True)


@pytest.mark.parametrize(
    ("query", "status", "shown"),
    [
        ("", 200, "Enter one or more words"),
        ("   ", 200, "Enter one or more words"),
        ("nothing-like-this", 200, "Nothing found"),
        ("[(*\\", 200, "Nothing found"),
        ("held\0", 200, "Nothing found"),
        ("<script>", 200, "&lt;script&gt;"),
        ("x" * 101, 422, "at most 100 characters"),
        ("e", 200, f"The first {LIMIT} of "),
    ],
)
def test_any_query_gets_a_clear_answer(as_viewer: Client, query: str, status: int, shown: str) -> None:
    response = as_viewer.get("/help/search/", {"q": query})
    assert response.status_code == status
    assert shown in response.content.decode()
    assert "<script>" not in response.content.decode()


def test_every_picture_is_shown_on_the_page_of_pictures(as_viewer: Client) -> None:
    page = as_viewer.get("/help/development/pictures/").content.decode()
    shown = re.findall(r'<img src="(/help/images/[^"]+)"', page)
    kept = sorted(f"/help/images/{path.name}" for path in (ROOT / "docs" / "images").iterdir())
    assert sorted(shown) == kept
    assert as_viewer.get(shown[0])["Content-Type"] == "image/png"
    for name in "nothing.png", "index.md", "..":
        assert as_viewer.get(f"/help/images/{name}").status_code == 404
    assert Client().get(shown[0]).status_code == 302
