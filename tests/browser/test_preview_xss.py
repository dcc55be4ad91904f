"""Hostile HTML in the preview, in a real Chromium: no script runs, nothing is asked of another host, no window is left."""

from __future__ import annotations

import socket
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from email.message import EmailMessage

import pytest
from playwright.sync_api import Page, expect

from tests.support.outbox import send
from tests.support.portal import configure
from tests.support.xss_bodies import XSS_BODIES, body_of

pytestmark = pytest.mark.django_db(transaction=True)

ONE_DOT = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


class EvilHost:
    """Counts who connects at all: some tricks need no request."""

    def __init__(self) -> None:
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._count, daemon=True).start()

    def _count(self) -> None:
        try:
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                connection.close()
        except OSError:
            return  # closed

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def evil_host_that_counts() -> Iterator[EvilHost]:
    with closing(EvilHost()) as host:
        yield host


class Watch:
    """What a page did that it must not do."""

    def __init__(self, page: Page, origin: str) -> None:
        self.misdeeds: list[str] = []
        page.on("dialog", lambda dialog: (self.misdeeds.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.on("console", lambda message: self.misdeeds.append("a script ran") if message.text == "owned" else None)
        page.on("popup", lambda _: self.misdeeds.append("a window opened"))
        page.on("download", lambda _: self.misdeeds.append("a download began"))
        harmless = (origin, "data:", "about:")
        for event in ("requestfinished", "response"):
            page.on(
                event, lambda request: None if request.url.startswith(harmless) else self.misdeeds.append(f"asked {request.url}")
            )


def test_hostile_html_does_nothing_in_the_preview(person, crm, qa, evil_host_that_counts):
    assert len(XSS_BODIES) >= 40
    configure(qa)
    evil = evil_host_that_counts
    header = "From: crm@acme.example\r\nSubject: evil\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    mails = {kind: send(crm, qa, content=f"{header}{body_of(kind, evil.url)}\r\n".encode()).pk for kind in XSS_BODIES}
    person.sign_in("ada.admin@acme.example")
    page, problems = person.page, []
    watch = Watch(page, person.url)
    for kind, number in mails.items():
        address = f"{person.url}/monitor/email-log/qa/{number}/"
        page.goto(address)
        frame = page.frame_locator("iframe.preview__frame")
        expect(frame.get_by_text("drawn")).to_be_attached()
        for link in frame.get_by_text("click").all():
            link.dispatch_event("click")
        if page.url != address or "owned" in page.title():
            problems.append(f"{kind}: left the page, or changed it")
        if "click" in XSS_BODIES[kind]:
            problems += _clicks_that_leave(page, f"{address}html/", kind)
        problems += [f"{kind}: {misdeed}" for misdeed in watch.misdeeds]
        if evil.connections:
            problems.append(f"{kind}: connected to the other host")
        evil.connections = 0
        watch.misdeeds.clear()
    page.wait_for_timeout(300)
    problems += [f"at last: {misdeed}" for misdeed in [*watch.misdeeds, *["connected"] * evil.connections]]
    person.faults.clear()  # the policies said what they stopped
    assert not problems, "\n".join(problems)


def _clicks_that_leave(page: Page, address: str, kind: str) -> list[str]:
    """Of the HTML opened as a page of its own, where nothing but the HTML itself is between a link and the other host."""
    page.goto(address)
    for link in page.get_by_text("click").all():
        link.dispatch_event("click")
    return [] if page.url == address else [f"{kind}: a click left the HTML's own page"]


@pytest.mark.parametrize("kind", ["script", "image that fails", "link hints", "refresh"])
def test_these_bodies_are_dangerous_where_nothing_holds_them(browser, evil_host_that_counts, kind):
    """So that the test above can fail."""
    page = browser.new_page()
    watch = Watch(page, "http://nowhere.example")
    page.route(
        "http://nowhere.example/",
        lambda route: route.fulfill(body=body_of(kind, evil_host_that_counts.url), content_type="text/html"),
    )
    page.goto("http://nowhere.example/")
    for _ in range(600):
        if watch.misdeeds or evil_host_that_counts.connections:
            break
        page.wait_for_timeout(50)
    page.close()
    assert watch.misdeeds or evil_host_that_counts.connections


def test_pictures_that_come_with_the_email_are_drawn_and_no_others(person, crm, qa, evil_host_that_counts):
    configure(qa)
    evil = evil_host_that_counts
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "crm@acme.example", "pictures"
    mail.set_content(f"<img id=own src='cid:dot'><img id=remote src='{evil.url}/x.png'>", subtype="html")
    mail.add_related(ONE_DOT, "image", "gif", cid="<dot>")
    number = send(crm, qa, content=mail.as_bytes()).pk
    person.sign_in("ada.admin@acme.example")
    person.open(f"/monitor/email-log/qa/{number}/")
    frame = person.page.frame_locator("iframe.preview__frame")
    expect(frame.locator("#own")).to_have_js_property("naturalWidth", 1)
    expect(frame.locator("#remote")).to_have_js_property("naturalWidth", 0)
    expect(person.page.get_by_text("1 remote file was blocked: 1 from 127.0.0.1.")).to_be_visible()
    assert evil.connections == 0
    person.faults.clear()  # the policy said what it stopped
