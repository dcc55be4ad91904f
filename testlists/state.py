"""The state of a test list that routing uses."""

from __future__ import annotations

from dataclasses import dataclass

from common.addresses import NamedAddress
from testlists.models import TestList


@dataclass(frozen=True)
class ListState:
    """The state of a test list that routing uses.

    `version` and `active_version` tell whether the list was Active since an earlier version. If `exists` is false, the row is
    missing, and the list may have been Active.
    """

    active: bool
    people: tuple[NamedAddress, ...]
    version: int = 0
    active_version: int = 0
    exists: bool = True

    def was_active_since(self, version: int) -> bool:
        """Whether the list was Active after `version`.

        It is also true for a list that was deleted and made again since, because that one may have been Active.
        """
        return self.active_version > version or self.version < version


NO_LIST = ListState(active=False, people=(), exists=False)


def state_of(test_list: TestList) -> ListState:
    """The list's state for routing.

    The people on a list that was never Active don't matter and aren't read.
    """
    if test_list.pk is None:
        return NO_LIST
    people = tuple(test_list.people()) if test_list.active_version else ()
    return ListState(test_list.active, people, test_list.version, test_list.active_version)
