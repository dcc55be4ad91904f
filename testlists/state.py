"""A test list as routing sees it."""

from __future__ import annotations

from dataclasses import dataclass

from common.addresses import NamedAddress
from testlists.models import TestList


@dataclass(frozen=True)
class ListState:
    """A test list as routing sees it. `version` and `active_version` tell whether it was Active since some earlier look.

    `exists` is false when its row is missing: nobody knows then whether it was Active.
    """

    active: bool
    people: tuple[NamedAddress, ...]
    version: int = 0
    active_version: int = 0
    exists: bool = True

    def was_active_since(self, version: int) -> bool:
        """Also true for a list that was deleted and made again since, which nobody can tell any more."""
        return self.active_version > version or self.version < version


NO_LIST = ListState(active=False, people=(), exists=False)


def state_of(test_list: TestList) -> ListState:
    """The list as routing sees it. The people on a list that never was Active don't matter, and are not read."""
    if test_list.pk is None:
        return NO_LIST
    people = tuple(test_list.people()) if test_list.active_version else ()
    return ListState(test_list.active, people, test_list.version, test_list.active_version)
