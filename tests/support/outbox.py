"""A configured stage, and short ways to say what apps and test-list editors do."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from common.addresses import NamedAddress
from delivery.batches import Batches, StageClaim
from delivery.config import DeliveryConfig
from delivery.models import StageBackoff
from delivery.models import Worker as WorkerRow
from delivery.outcomes import record
from delivery.values import ClaimedMessage, MessageResult, Outcome
from delivery.worker import Worker
from emailconfig.models import SmtpSettings
from organization.models import App, Stage
from outbox import models
from outbox.models import HoldReason, Message, Source, Status
from outbox.submission import Envelope, submit
from testlists.models import TestList
from testlists.services import ListChange, save_test_list
from tests.support.portal import OPERATOR, configure, eventually, mail
from tests.support.smtp_server import SmtpServer

# What a worker logs when its own code, not a server or the database's absence, keeps a turn from succeeding. It goes on
# another, slower way then, so that nothing but the log tells.
_FAULTS = (
    *("batch_failed", "coordinator_failed", "claim_failed", "outcome_not_recorded", "session_failed"),
    *("allowance_not_reserved", "allowance_not_given_back"),
)


@pytest.fixture(autouse=True)
def _no_turn_fails(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    if request.node.get_closest_marker("batches_fail") is None:
        result = [record.getMessage() for record in caplog.get_records("call")]
        assert [text for text in result if any(fault in text for fault in _FAULTS)] == []


@pytest.fixture(params=["step by step", "pipelining"])
def smtp_server(request: pytest.FixtureRequest) -> Iterator[SmtpServer]:
    """The stage's server, once without and once with PIPELINING. The same must arrive."""
    with SmtpServer(pipelining=request.param == "pipelining") as server:
        yield server


@pytest.fixture
def configured(qa: Stage, smtp_server: SmtpServer) -> SmtpSettings:
    """QA sends through the test's SMTP server; any sender is allowed."""
    return configure(qa, smtp_server, from_domains="*")


def bare_message(app: App, stage: Stage) -> dict[str, object]:
    """The columns that a message's row needs at least, for a table of thousands."""
    return {"app": app, "stage": stage, "via": Source.COMMAND, "message_id": "<1@x>", "size": 9, "route": "recipients"}


def send(app: App, stage: Stage, *to: str, content: bytes | None = None, sender: str = "crm@acme.example") -> Message:
    return submit(
        app, stage, Envelope(sender, to or ("customer@example.com",)), mail() if content is None else content, via=Source.COMMAND
    )


def in_state(status: str) -> dict[str, str]:
    """The columns of a message in that state, as the database asks for them (see outbox.models)."""
    return {
        "status": status,
        "owner": "a worker" if status == Status.SENDING else "",
        "hold_reason": HoldReason.STAGE_NOT_CONFIGURED if status == Status.HELD else "",
    }


def set_list(app: App, stage: Stage, *people: str, active: bool = True, **options: Any) -> TestList:
    change = ListChange(active, options.get("tag_subject", False), [], [NamedAddress(person) for person in people])
    return save_test_list(app, stage, change, OPERATOR)


def wait_for_thread(name: str) -> None:
    """Wait until the worker's jobs beside delivery have ended. They must not outlive their test's database."""
    eventually(lambda: name not in {thread.name for thread in threading.enumerate()})


def hold_the_line(server: SmtpServer) -> tuple[threading.Event, threading.Event]:
    """Make the server delay its answer to content. Returns two events: the first content has come; the server may answer."""
    on_the_wire, answer = threading.Event(), threading.Event()

    def wait(_: object) -> None:
        on_the_wire.set()
        answer.wait(60)

    server.data = wait
    return on_the_wire, answer


def deliver(config: DeliveryConfig | None = None) -> None:
    """Deliver as `manage.py deliver --once` does, in this process."""
    Worker(config=config).drain()


def deliver_beside(config: DeliveryConfig | None = None) -> None:
    """Deliver on another thread, which must leave no connection to the database behind."""
    try:
        deliver(config)
    finally:
        connection.close()


def take(stage: Stage, at_most: int) -> Sequence[ClaimedMessage]:
    """Claim some due messages as a worker does. From now on they are being sent."""
    claim = Batches(DeliveryConfig()).write({}, {stage.pk: at_most}).claims[stage.pk]
    assert isinstance(claim, StageClaim), claim
    return claim.messages


def report(claimed: ClaimedMessage, outcome: Outcome) -> None:
    """Record the outcome of a message as a worker does."""
    with transaction.atomic():
        record([MessageResult(claimed, [outcome])])


def leases_run_out() -> None:
    """Let all leases run out, as a minute after a worker died."""
    WorkerRow.objects.update(seen=timezone.now() - timedelta(minutes=1))
    Message.objects.exclude(lease_until=None).update(lease_until=timezone.now() - timedelta(seconds=1))


def now_due() -> None:
    """Make every waiting message due, as if its pause were over."""
    Message.objects.filter(status__in=models.WAITING).update(due=timezone.now() - timedelta(seconds=1))
    models.Recipient.objects.filter(status__in=models.WAITING).update(due=timezone.now() - timedelta(seconds=1))
    StageBackoff.objects.update(retry_at=timezone.now() - timedelta(seconds=1))


def statuses(message: Message) -> dict[str, str]:
    return dict(message.recipients.values_list("address", "status"))


def outcomes(message: Message) -> list[tuple[str, str]]:
    return list(message.attempts.values_list("address", "outcome"))
