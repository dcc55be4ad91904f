"""The state of a test list that routing uses."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from common.addresses import NamedAddress
from organization.models import Stage
from organization.recipient_policy.policy import RecipientPolicy
from testlists.models import TestList, TestListAddress


@dataclass(frozen=True)
class ListState:
    """The state of a test list that routing uses.

    `version` and `active_version` tell whether the list was Active since an earlier version. If `exists` is false, the row is
    missing, and the list may have been Active. `expired` says that it was Active until its end, and isn't any more.
    """

    active: bool
    people: tuple[NamedAddress, ...]
    version: int = 0
    active_version: int = 0
    exists: bool = True
    expired: bool = False

    def was_active_since(self, version: int) -> bool:
        """Whether the list was Active after `version`.

        It is also true for a list that was deleted and made again since, because that one may have been Active.
        """
        return self.active_version > version or self.version < version


NO_LIST = ListState(active=False, people=(), exists=False)


def holds_after_end(policy: RecipientPolicy, *, is_production: bool) -> bool:
    """Whether a list's end holds the app's mail until a person decides.

    Elsewhere it opens nothing, or, in Production, what it opens is usual.
    """
    return policy == RecipientPolicy.AS_APPS_ASK and not is_production


def state_of(test_list: TestList, now: datetime) -> ListState:
    """The list's state for routing at `now`, which is a time of the database's clock."""
    if test_list.pk is None:
        return NO_LIST
    people = tuple(test_list.people()) if test_list.active_version else ()  # those on a list that was never Active don't matter
    is_expired = test_list.is_expired(now)
    active = test_list.active and not is_expired
    return ListState(active, people, test_list.version, test_list.active_version, expired=is_expired)


def states_of_stage(stage: Stage, now: datetime) -> dict[int, ListState]:
    """The state of every list in the stage, by app, in two queries."""
    people = defaultdict(list)
    for entry in TestListAddress.objects.filter(test_list__stage=stage).select_related("member"):
        if entry.member is None or entry.member.is_active:
            people[entry.test_list_id].append(entry.person)
    return {
        test_list.app_id: ListState(
            test_list.is_active(now),
            tuple(people[test_list.pk]),
            test_list.version,
            test_list.active_version,
            expired=test_list.is_expired(now),
        )
        for test_list in TestList.objects.filter(stage=stage)
    }
