"""Write failed guesses to the log and, far fewer of them, to the audit trail."""

from __future__ import annotations

from datetime import timedelta

import structlog

from common.clock import database_now
from organization import audit
from organization.access import Actor, Operator
from organization.models import AuditEvent, Member
from organization.throttle.counting import Failures, Pair

log = structlog.get_logger(__name__)

STRANGER = Operator("Not signed in")
# So that a flood from many addresses can't fill the audit trail. The log has every failure.
MAX_ENTRIES_PER_HOUR = 100


def record_failure(pair: Pair, failures: Failures, member: Member | None, actor: Actor, operation: audit.Operation) -> None:
    """Log the failure for fail2ban. An unknown name may be a password in the wrong field, so it is written nowhere."""
    who = member.pk if member else "unknown"
    log.info("sign_in_failed", client=pair.client, member=who, secret=pair.secret.value, failures=failures.of_pair)
    count = failures.of_pair if member else failures.of_network or failures.of_pair
    if _is_power_of_ten(count) and not _has_many_entries(operation):
        audit.record(
            actor,
            operation,
            member or Member,
            status=AuditEvent.Status.REFUSED,
            after={"how": pair.secret.value, "address": pair.client, "failures": count},
        )


def _is_power_of_ten(count: int) -> bool:
    """The 1st, 10th, 100th … failure has an entry. It says how many there were, so that no guess needs one of its own."""
    return str(count).strip("0") == "1"


def _has_many_entries(operation: audit.Operation) -> bool:
    refused = AuditEvent.objects.filter(operation=operation.value, status=AuditEvent.Status.REFUSED)
    newest = refused.order_by("-pk").values_list("at", flat=True)[MAX_ENTRIES_PER_HOUR - 1 : MAX_ENTRIES_PER_HOUR]
    return any(at > database_now() - timedelta(hours=1) for at in newest)
