"""The seal: the database holds the identity of the installation that it belongs to.

A process whose identity differs has a copy before it. Then it claims no message and opens no connection to a stage's servers,
until a person has answered. Each process compares for itself, in the statement that claims, so that there is no state that could
be late. A database without a seal is no copy: the first process seals it.
"""

from __future__ import annotations

from datetime import timedelta

from django.db.models.functions import Now

from common import sql
from organization import statements
from organization.exceptions import UnansweredCopy
from organization.installation.identity import as_text, from_text, identity
from organization.models import Installation


def seal_new() -> None:
    """Seal the database if it has no seal. If several processes do so at once, the first one's counts."""
    if not Installation.objects.exists():
        Installation.objects.bulk_create([Installation(seal=current_seal())], ignore_conflicts=True)


def current_seal() -> str:
    """What the seal of this database must be, or else it is a copy."""
    return as_text(identity())


def is_copy() -> bool:
    """Whether the database is a copy that nobody has answered about yet. Nothing leaves then."""
    (is_no_copy,) = sql.fetch(statements.IS_NO_COPY, current_seal())
    return not is_no_copy


def refuse_copy() -> None:
    """For what connects to a stage's servers without a claim. Raises UnansweredCopy."""
    if is_copy():
        raise UnansweredCopy("This database is a copy, and nobody has answered about it yet. A copy connects to no server.")


def asking_copy() -> Installation | None:
    """The row of a copy that nobody has answered about yet. Each page asks."""
    return Installation.objects.exclude(seal=current_seal()).first() if is_copy() else None


def differences(installation: Installation) -> dict[str, tuple[str, str]]:
    """The parts of the identity that changed: what the seal says, and what is so now."""
    before, now = from_text(installation.seal), identity()
    return {name: (before.get(name, ""), now.get(name, "")) for name in {**before, **now} if before.get(name) != now.get(name)}


def is_taken_for_copy() -> bool:
    """Whether a process noticed a copy within the last minute, although the seal is this installation's."""
    return Installation.objects.filter(noticed__gt=Now() - timedelta(minutes=1)).exclude(noticed_by=current_seal()).exists()
