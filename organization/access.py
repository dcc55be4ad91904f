"""Check who may do what, and where. Every entry point uses this check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from django.core.exceptions import PermissionDenied

if TYPE_CHECKING:
    from organization.models import App, Stage
from organization.permissions import Permission


@dataclass(frozen=True)
class Scope:
    """The place of an action.

    `None` requires the permission over all apps or all stages.
    """

    app: App | None = None
    stage: Stage | None = None


EVERYWHERE = Scope()


class Actor(Protocol):
    """The one who acts: a signed-in member, or an operator at the command line."""

    @property
    def name(self) -> str: ...

    def has_perm(self, perm: str, obj: object = None) -> bool: ...

    def has_perm_anywhere(self, perm: str) -> bool: ...


@dataclass(frozen=True)
class Operator:
    """The person at the machine's shell.

    Operators may do everything, because they have the database anyway. The audit trail names them.
    """

    name: str

    def has_perm(self, perm: str, obj: object = None) -> bool:
        return True

    def has_perm_anywhere(self, perm: str) -> bool:
        return True

    def __str__(self) -> str:
        return self.name


def allowed(actor: Actor, scope: Scope, *permissions: Permission) -> bool:
    """Whether `actor` holds at least one of `permissions` in `scope`."""
    return any(actor.has_perm(permission.path, scope) for permission in permissions)


def require(actor: Actor, scope: Scope, *permissions: Permission) -> None:
    """Raise PermissionDenied unless `actor` holds one of `permissions` in `scope`.

    It is a 403 in the browser.
    """
    if not allowed(actor, scope, *permissions):
        names = " or ".join(f"“{permission.label}”" for permission in permissions)
        raise PermissionDenied(f"You need the permission {names} for this. Ask an administrator of your organization.")
