"""Who changed what decides about recipients, and who sent email to real recipients: from the audit trail, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from analytics.guarantee.history import LIST_ENTITY, History
from common.addresses import masked_address
from organization import audit
from organization.models import AllowedAddress, AuditEvent, KeptHeader
from organization.recipient_policy.policy import RecipientPolicy
from outbox.access.visibility import LogAccess
from outbox.models import Pause

Operation = audit.Operation
_POLICY = Operation.CHANGE_RECIPIENT_POLICY
_ALLOWED, _HEADER = str(AllowedAddress._meta.verbose_name), str(KeptHeader._meta.verbose_name)
_PAUSE = str(Pause._meta.verbose_name)
_ACTS = {
    Operation.RELEASE_TO_REAL_RECIPIENTS: "Released to its real recipients",
    Operation.RESEND_TO_REAL_RECIPIENTS: "Resent to its real recipients",
    Operation.FORWARD_TO_TEST_LIST: "Forwarded to the test list",
    Operation.FORWARD_TO_ONESELF: "Forwarded to the person who asked",
}
_NAMED_AT_MOST = 5


@dataclass(frozen=True)
class Entry:
    """One change, or one act of a person on an email. `who` is empty for the clock. `email`: the number of the email."""

    at: datetime
    kind: str
    what: str
    who: str
    app: str = ""
    email: int | None = None


@dataclass(frozen=True)
class Entries:
    """Newest first. `more`: there are older ones that weren't read."""

    rows: Sequence[Entry]
    more: bool


def changes_since(access: LogAccess, since: datetime, history: History, at_most: int) -> Entries:
    """Changes of policy, allowed addresses, kept header fields, test lists and pauses, and the ends that the clock brought."""
    about = Q(operation=_POLICY) | Q(entity__in=(_ALLOWED, _HEADER, LIST_ENTITY, _PAUSE))
    events, more = _newest(_events(access, since).filter(about), at_most)
    entries = [_change(event, access) for event in events]
    read_since = events[-1].at if more else since
    entries += _ends(history, read_since, {event.at for event in events if event.operation == _POLICY})
    return Entries(sorted(entries, key=lambda entry: entry.at, reverse=True), more)


def acts_since(access: LogAccess, since: datetime, at_most: int) -> Entries:
    """What people sent on purpose: past the test list and the policy, or on to a tester."""
    events, more = _newest(acts(_events(access, since)), at_most)
    return Entries([_act(event, access) for event in events], more)


def acts(events: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
    """Those of the events that sent email on purpose. They have an index, whose condition is this one."""
    return events.filter(operation__in=list(_ACTS))


def _events(access: LogAccess, since: datetime) -> QuerySet[AuditEvent]:
    visible = Q() if access.every_app else Q(app=None) | Q(app__in=[app.pk for app in access.apps])
    return AuditEvent.objects.filter(visible, stage=access.stage, at__gte=since, status=AuditEvent.Status.SUCCEEDED)


def _newest(events: QuerySet[AuditEvent], at_most: int) -> tuple[list[AuditEvent], bool]:
    rows = list(events.select_related("app").order_by("-at", "-pk")[: at_most + 1])
    return rows[:at_most], len(rows) > at_most


def _change(event: AuditEvent, access: LogAccess) -> Entry:
    if event.operation == _POLICY:
        kind, what = "policy", _policy_change(event)
    elif event.entity == _ALLOWED:
        kind, what = "allowed", _allowed_change(event, sees_addresses=access.every_app_open)
    elif event.entity == _HEADER:
        name = event.entity_name
        kind, what = "header", f"Test mail {'no longer keeps' if event.operation == Operation.DELETE else 'keeps'} {name}"
    elif event.entity == _PAUSE:
        reason = (event.after or event.before).get("reason", "")
        kind, what = "pause", f"Paused: {reason}" if event.operation == Operation.PAUSE else "Resumed"
    else:
        kind, what = "list", _list_change(event, sees_addresses=_sees_addresses(event, access))
    return Entry(event.at, kind, what, _who(event, access), str(event.app or ""))


def _ends(history: History, since: datetime, changed: set[datetime]) -> list[Entry]:
    """A wider policy that ended by the clock, which no one wrote into the trail."""
    now = timezone.now()
    spans = list(zip(history.policies, history.policies[1:], strict=False))
    return [
        Entry(span.start, "policy", f"“{before.policy.label}” expired: {span.policy.label}", "")
        for before, span in spans
        if since <= span.start <= now and span.start not in changed
    ]


def _policy_change(event: AuditEvent) -> str:
    before, after = event.before, event.after
    words = "New end of the policy"
    if "recipient_policy" in after:
        old, new = (RecipientPolicy(values["recipient_policy"]).label for values in (before, after))
        words = f"{old} → {new}"
    return words + _until(after.get("policy_until"), was_limited=bool(before.get("policy_until")) and "policy_until" in after)


def _allowed_change(event: AuditEvent, *, sees_addresses: bool) -> str:
    pattern = event.entity_name
    if "@" in pattern and not sees_addresses:
        pattern = masked_address(pattern)
    if event.operation == Operation.DELETE:
        return f"No longer allowed: {pattern}"
    return f"Allowed: {pattern}" + _until(event.after.get("until"), was_limited=bool(event.before.get("until")))


def _list_change(event: AuditEvent, *, sees_addresses: bool) -> str:
    before, after = event.before, event.after
    words = []
    if "active" in after:
        words.append("Active" if after["active"] else "Inactive")
    if "active_until" in after:
        words.append(_until(after["active_until"], was_limited=bool(before.get("active_until"))).strip(" ,"))
    old, new = (_addresses(values.get("addresses"), sees_addresses=sees_addresses) for values in (before, after))
    words += [f"{sign}{_named(names)}" for sign, names in (("+", new - old), ("−", old - new)) if names]
    return f"Test list: {', '.join(word for word in words if word) or 'other options'}"


def _act(event: AuditEvent, access: LogAccess) -> Entry:
    what, after = _ACTS[Operation(event.operation)], event.after
    if again := after.get("resent_as") or after.get("forwarded_as"):
        what += f" as #{again}"
    names = _addresses(after.get("recipients"), sees_addresses=_sees_addresses(event, access))
    what += f": {_named(names)}" if names else ""
    number = int(event.entity_id) if event.entity_id.isdecimal() else None
    return Entry(event.at, "act", what, _who(event, access), str(event.app or ""), number)


def _addresses(people: Any, *, sees_addresses: bool) -> set[str]:
    addresses = [str(person).rpartition("<")[2].removesuffix(">") for person in people or []]
    return {address if sees_addresses else masked_address(address) for address in addresses}


def _named(names: set[str]) -> str:
    shown = sorted(names)[:_NAMED_AT_MOST]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")


def _until(value: str | None, *, was_limited: bool) -> str:
    if value is None:
        return ", without an end" if was_limited else ""
    moment = parse_datetime(value)
    return f", until {timezone.localtime(moment):%Y-%m-%d %H:%M %Z}" if moment else ""


def _sees_addresses(event: AuditEvent, access: LogAccess) -> bool:
    return access.every_app_open or event.app in access.open_apps


def _who(event: AuditEvent, access: LogAccess) -> str:
    """With the member's address only for those who may know addresses."""
    return event.actor_name if access.every_app_open else event.actor_name.partition(" <")[0]
