"""A stage's recipient policy as routing sees it. Pure: no database, no clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from django.db import models

from common.addresses import domain_of, same_address_key


class RecipientPolicy(models.TextChoices):
    """Who may get email from a stage. The labels are what its badge says."""

    AS_APPS_ASK = "as-apps-ask", "Real recipients"
    LISTED_ONLY = "listed-only", "Lists and allowed only"
    NOBODY = "nobody", "Captured"

    def is_wider_than(self, other: RecipientPolicy) -> bool:
        """Whether more people may get email under this policy than under `other`."""
        return _FROM_NARROW_TO_WIDE.index(self) > _FROM_NARROW_TO_WIDE.index(other)

    def narrower_of(self, other: RecipientPolicy) -> RecipientPolicy:
        """The one of the two under which fewer people may get email."""
        return other if self.is_wider_than(other) else self


_FROM_NARROW_TO_WIDE = (RecipientPolicy.NOBODY, RecipientPolicy.LISTED_ONLY, RecipientPolicy.AS_APPS_ASK)


def policy_of_new_stage(*, is_production: bool) -> RecipientPolicy:
    """What a stage starts with, unless its maker says otherwise."""
    return RecipientPolicy.AS_APPS_ASK if is_production else RecipientPolicy.LISTED_ONLY


def is_domain(pattern: str) -> bool:
    """Whether an allowed entry stands for every address of a domain."""
    return "@" not in pattern


@dataclass(frozen=True)
class AllowedPattern:
    """An address or a whole domain that may get email of its own, from the stage's policy `version` on."""

    pattern: str
    version: int = 0

    @property
    def key(self) -> str:
        return self.pattern if is_domain(self.pattern) else same_address_key(self.pattern)


@dataclass(frozen=True)
class PolicyState:
    """What is in force in a stage at one moment.

    `version` counts every change of policy and allowed addresses. `listed_since` is the version since which the policy was
    never *nobody*, `open_since` the one since which it was always *as apps ask*.
    """

    policy: RecipientPolicy
    allowed: tuple[AllowedPattern, ...] = ()
    version: int = 0
    listed_since: int = 0
    open_since: int = 0
    is_production: bool = False

    def allows(self, address: str) -> bool:
        """Whether the address may get email of its own, whatever policy and test list say about others."""
        key = same_address_key(address)
        return key in self._allowed_keys or domain_of(key) in self._allowed_keys

    @cached_property
    def _allowed_keys(self) -> frozenset[str]:
        """Addresses and domains alike: no domain looks like an address."""
        return frozenset(entry.key for entry in self.allowed)

    def allowed_of(self, addresses: Iterable[str]) -> tuple[str, ...]:
        if not self.allowed:  # most stages, for every email that they accept
            return ()
        return tuple(address for address in addresses if self.allows(address))

    def since(self, version: int) -> PolicyState:
        """What holds for an email that was accepted under `version`.

        The narrowest policy since then, and of the allowed addresses only those that were allowed then: a change to the
        wider frees nothing that was accepted before it.
        """
        if version >= self.version:  # nothing has changed since, as for most emails
            return self
        policy = self.policy
        if version < self.open_since:
            policy = policy.narrower_of(RecipientPolicy.LISTED_ONLY)
        if version < self.listed_since:
            policy = RecipientPolicy.NOBODY
        return replace(self, policy=policy, allowed=tuple(entry for entry in self.allowed if entry.version <= version))

    def at_most(self, policy: RecipientPolicy) -> PolicyState:
        """The same stage under no wider policy than this one."""
        return replace(self, policy=self.policy.narrower_of(policy))


OPEN = PolicyState(RecipientPolicy.AS_APPS_ASK)
