"""The guarantee as JSON, with a SHA-256 over its canonical bytes that the audit trail keeps.

Canonical: UTF-8, names in the order of their code points, no white space outside texts, and no numbers but integers.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from analytics.guarantee.changes import Entries, Entry
from analytics.guarantee.figures import Figures
from analytics.guarantee.report import Guarantee
from analytics.models import CountedRule
from organization import audit
from organization.access import Actor
from organization.installation import installation_id
from outbox.counts.backlog import Depth

FORMAT = 1


class Document(NamedTuple):
    """The guarantee's values, and the SHA-256 of their canonical bytes."""

    values: dict[str, Any]
    sha256: str

    @property
    def text(self) -> str:
        return canonical({"guarantee": self.values, "sha256": self.sha256}).decode()


def canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def export(guarantee: Guarantee, actor: Actor) -> Document:
    """Make the document of a guarantee that has the figures of each app, and write its SHA-256 to the audit trail."""
    values = _values(guarantee, actor)
    document = Document(values, hashlib.sha256(canonical(values)).hexdigest())
    kept = {"what": "guarantee", "since": values["since"], "promise": values["promise"], "sha256": document.sha256}
    audit.record(actor, audit.Operation.EXPORT, guarantee.stage, after=kept)
    return document


def _values(guarantee: Guarantee, actor: Actor) -> dict[str, Any]:
    access, stage, by_app = guarantee.access, guarantee.stage, guarantee.by_app
    assert by_app is not None
    return {
        "format": FORMAT,
        "installation": installation_id(),
        "made_by": actor.name,
        "stage": {"key": stage.key, "name": stage.name, "kind": stage.kind},
        "apps": sorted(app.key for app in access.apps),
        "every_app": access.every_app,
        "addresses_masked": not access.every_app_open,
        "since": _time(guarantee.since),
        "until": _time(guarantee.until),
        "not_counted_since": _time(guarantee.counted_until),
        "promise": guarantee.promise.value,
        "policy": guarantee.policy.value,
        "open": [{"since": _time(span.start), "until": _time(span.end)} for span in guarantee.open_spans],
        "apps_open_now": sorted(app.key for app in guarantee.open_apps),
        "total": _figures(guarantee.total),
        "by_app": {app.key: _figures(figures) for app, figures in by_app.items()},
        "waiting_now": _depth(guarantee.backlog.waiting),
        "held_now": _depth(guarantee.backlog.held),
        "emails_while_closed": list(guarantee.closed),
        "emails_on_the_wire": list(guarantee.closing),
        "changes": _entries(guarantee.changes),
        "acts": _entries(guarantee.acts),
    }


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "emails": figures.emails,
        "captured": figures.captured,
        "recipients": {rule.value: figures.recipients[rule] for rule in CountedRule},
        "maybe": {rule.value: figures.unknown[rule] for rule in CountedRule},
        "outside": figures.outside,
    }


def _depth(depth: Depth) -> dict[str, Any]:
    return {"emails": depth.messages, "more": depth.more}


def _entries(entries: Entries) -> dict[str, Any]:
    return {"entries": [_entry(entry) for entry in entries.rows], "more": entries.more}


def _entry(entry: Entry) -> dict[str, Any]:
    values: dict[str, Any] = {"at": _time(entry.at), "kind": entry.kind, "what": entry.what, "who": entry.who}
    return values | ({"app": entry.app} if entry.app else {}) | ({"email": entry.email} if entry.email else {})


def _time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment else None
