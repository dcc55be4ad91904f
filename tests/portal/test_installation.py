"""Which installation this is, and at which URL people find it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from organization.installation import installation_id, portal_host, portal_url
from portal.checks import check_installation_id, check_installation_id_is_shared, check_portal_url

Settings = Any


@pytest.fixture
def database(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set which database the settings name; there is none behind it."""
    settings.INSTALLATION_ID = ""

    def name(engine: str, database: object) -> None:
        monkeypatch.setitem(settings.DATABASES, "default", {"ENGINE": f"django.db.backends.{engine}", "NAME": database})

    return name


def test_all_who_start_at_once_agree_on_the_id_and_keep_it(
    settings: Settings, database: Callable[..., None], tmp_path: Path
) -> None:
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        database("sqlite3", folder / "portal.sqlite3")
        start = Barrier(8)
        with ThreadPoolExecutor(8) as pool:
            ids = set(pool.map(lambda _, start=start: (start.wait(), installation_id())[1], range(8)))
        assert ids == {(folder / "installation-id").read_text()}
        assert [file.name for file in folder.iterdir()] == ["installation-id"]
    settings.INSTALLATION_ID = "acme-production"
    assert installation_id() == "acme-production"


def test_what_cant_be_an_id_is_found_before_anything_starts(
    settings: Settings, database: Callable[..., None], tmp_path: Path
) -> None:
    assert check_installation_id() == []
    settings.INSTALLATION_ID = "acme\r\nBcc: x"
    assert [error.id for error in check_installation_id()] == ["portal.E021"]
    settings.INSTALLATION_ID = ""
    (tmp_path / "file").write_text("")
    database("sqlite3", tmp_path / "file" / "portal.sqlite3")
    (error,) = check_installation_id()
    assert error.id == "portal.E021"
    assert error.hint


def test_with_postgresql_production_names_its_installation(settings: Settings, database: Callable[..., None]) -> None:
    database("postgresql", "portal")
    assert [error.id for error in check_installation_id_is_shared()] == ["portal.E022"]
    settings.INSTALLATION_ID = "acme-production"
    assert check_installation_id_is_shared() == []


@pytest.mark.parametrize(
    ("url", "is_right"),
    [
        ("https://portal.acme.example", True),
        ("https://portal.acme.example/mail/", True),
        ("http://127.0.0.1:8000", False),
        ("portal.acme.example", False),
        ("", False),
    ],
)
def test_production_says_where_people_find_it(settings: Settings, url: str, is_right: bool) -> None:
    settings.PORTAL_URL = url
    assert (check_portal_url() == []) is is_right


def test_links_begin_with_the_portals_url(settings: Settings) -> None:
    settings.PORTAL_URL = "https://portal.acme.example/"
    assert portal_url("email-log-message", "qa", 17) == "https://portal.acme.example/monitor/email-log/qa/17/"
    assert portal_host() == "portal.acme.example"
