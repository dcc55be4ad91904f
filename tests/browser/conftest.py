"""A real Chromium on a real server. Every page must stay free of script errors and of policy violations."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from organization.models import Member
from tests.support.browser import Person
from tests.support.pages import busy_portal  # noqa: F401
from tests.support.portal import eventually

expect.set_options(timeout=30_000)  # on a busy machine a page may take long; a limit that is never met costs nothing

# Chromium as root in a container, and without looking for its maker's hosts.
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
_ARGUMENTS += ["--disable-component-update", "--disable-sync"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/browser/" in str(item.path):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    result = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    return {**browser_type_launch_args, "args": _ARGUMENTS, **({"executable_path": result} if result else {})}


@pytest.fixture(autouse=True)
def no_request_outlives_its_database(transactional_db: None) -> Iterator[None]:
    """What a page asked for at last may still be answered when its window is closed."""
    yield
    eventually(lambda: not [thread for thread in threading.enumerate() if "process_request_thread" in thread.name])


@pytest.fixture
def people(administrator: Member, developer: Member, viewer: Member) -> None:
    """Who signs in."""


@pytest.fixture
def person(browser: Browser, live_server: Any, people: None) -> Iterator[Person]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    visitor = Person(context, live_server.url)
    yield visitor
    visitor.fault_free()
    context.close()


@pytest.fixture
def person_without_javascript(browser: Browser, live_server: Any, people: None) -> Iterator[Person]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, java_script_enabled=False)
    yield Person(context, live_server.url, scripted=False)
    context.close()


@pytest.fixture(params=["with JavaScript", "without JavaScript"])
def visitor(request: pytest.FixtureRequest) -> Person:
    """The same steps by either."""
    name = "person" if request.param == "with JavaScript" else "person_without_javascript"
    person: Person = request.getfixturevalue(name)
    return person
