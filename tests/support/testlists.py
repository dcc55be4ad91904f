from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from common.addresses import NamedAddress
from common.clock import database_now
from organization.models import App, Member, Stage
from testlists.models import TestList
from testlists.services import ListChange, save_test_list, test_list_of
from tests.support.portal import OPERATOR

SECTION = "/apps/crm/configuration/emails/qa/"
EDIT = f"{SECTION}edit/"


def people(*addresses: str) -> list[NamedAddress]:
    return [NamedAddress(address) for address in addresses]


def numbered(count: int) -> list[str]:
    return [f"person{number}@example.com" for number in range(count)]


def keep_list(app: App, stage: Stage, *addresses: str, members: tuple[Member, ...] = (), active: bool = False) -> TestList:
    """Replace the people on the list with these addresses and members, as an operator."""
    return save_test_list(app, stage, ListChange(active, False, members, people(*addresses)), OPERATOR)


def time_goes_by(app: App, stage: Stage) -> None:
    """Move the list's end to a second ago. Nothing else changes, and its version stays."""
    test_list = test_list_of(app, stage)
    test_list.active_until = database_now() - timedelta(seconds=1)
    test_list.save(update_fields=["active_until"])


def on_list(app: App, stage: Stage) -> list[str]:
    return [person.email for person in test_list_of(app, stage).people()]


def typed(test_list: TestList, **values: Any) -> dict[str, Any]:
    """What a browser sends when nothing was changed, and then `values`."""
    keep = [entry.key for entry in test_list.present_entries()]
    return {"version": test_list.version, "keep": keep, **({"active": "on"} if test_list.active else {}), **values}


@pytest.fixture
def ana_and_bob(crm: App, qa: Stage) -> TestList:
    return keep_list(crm, qa, "ana@example.com", "bob@example.com")
