"""The connection doctor: test SMTP settings and report on each step.

The settings may be unsaved. The doctor opens the connection as delivery does (connection.setup), and then checks the sender
and a recipient. It sends no message.
"""

from __future__ import annotations

import smtplib
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from django.db import transaction
from django.db.models.functions import Now

from common.addresses import wire_address
from emailconfig.connection.explanations import EXPLANATIONS
from emailconfig.connection.failure import ConnectionFailure
from emailconfig.connection.setup import ConnectionSetup, Step, perform
from emailconfig.connection.smtp import Smtp, abort_after
from emailconfig.connection.token_request import request_token
from emailconfig.models import LastTest, SmtpSettings
from organization import audit
from organization.access import Actor
from organization.models import AuditEvent

# For all steps together. Looking up a name and requesting a token have their own limits.
TOTAL_SECONDS = 40.0


@dataclass(frozen=True)
class Finding:
    """The result of one step.

    `ok` is None while it runs. `code` is "ok" or the code of an explanation; `cause` and `next` are that explanation's texts. A
    step that is ok can have an explanation too, if the server lacks something that it works without.
    """

    step: str
    ok: bool | None = None
    ms: int = 0
    evidence: str = ""
    code: str = ""
    cause: str = ""
    next: str = ""


def examine(
    settings: SmtpSettings,
    recipient: str = "",
    report: Callable[[Finding], None] = lambda finding: None,
    *,
    for_operator: bool = False,
) -> list[Finding]:
    """Take the steps until one fails, and return their findings.

    `settings` may be unsaved; then `new_secret` is the secret that was typed. With `recipient` the server is asked whether it
    accepts messages for that address. `report` is called when a step begins and when it ends. With `for_operator`, at the
    machine's shell, the finding says exactly why a name can't be used.
    """
    setup = ConnectionSetup(settings, lambda token_settings: request_token(token_settings)[0])
    findings: list[Finding] = []
    try:
        with abort_after(setup.smtp, TOTAL_SECONDS) as over:
            for step in (*setup.steps(), *_envelope_steps(setup, recipient)):
                report(Finding(step.name))
                findings.append(_run_step(setup, step, over.is_set, for_operator=for_operator))
                report(findings[-1])
                if not findings[-1].ok:
                    break
    finally:
        with suppress(smtplib.SMTPException, OSError):
            setup.smtp.close()
    return findings


def is_healthy(findings: list[Finding]) -> bool:
    return bool(findings) and all(finding.ok for finding in findings)


def record(actor: Actor, settings: SmtpSettings, findings: list[Finding]) -> None:
    """Record the connection test and its result in the audit trail, and as the stage's last test."""
    status = AuditEvent.Status.SUCCEEDED if is_healthy(findings) else AuditEvent.Status.FAILED
    failed = next((finding for finding in findings if not finding.ok), None)
    reason = {"step": failed.step, "reason": failed.cause} if failed else {}
    with transaction.atomic():
        audit.record(actor, audit.Operation.TEST, settings, after=reason, status=status)
        result = {"server": str(settings), "succeeded": is_healthy(findings), "at": Now()}
        LastTest.objects.update_or_create(stage=settings.stage, defaults=result)


def _envelope_steps(setup: ConnectionSetup, recipient: str) -> Iterator[Step]:
    """Begin a mail transaction and reset it."""
    smtp = setup.smtp
    sender, to = wire_address(setup.settings.sender_address), wire_address(recipient)
    yield Step("MAIL FROM", lambda: _offer(smtp, sender, to))
    if recipient:
        yield Step("RCPT TO", lambda: _expect_ok(smtp.docmd("RCPT", f"TO:<{to}>")))
    yield Step("RSET", lambda: _expect_ok(smtp.docmd("RSET")))


def _offer(smtp: Smtp, sender: str, recipient: str) -> None:
    """Send MAIL FROM as delivery does, with SMTPUTF8 if needed (RFC 6531)."""
    option = ""
    if not f"{sender}{recipient}".isascii():
        if not smtp.has_extn("smtputf8"):
            raise ConnectionFailure("MAIL FROM", "smtputf8_missing", "The server doesn't announce SMTPUTF8.")
        smtp.command_encoding, option = "utf-8", " SMTPUTF8"
    _expect_ok(smtp.docmd("MAIL", f"FROM:<{sender}>{option}"))


def _expect_ok(answer: tuple[int, bytes]) -> None:
    code, reply = answer
    if not 200 <= code < 300:
        raise smtplib.SMTPResponseException(code, reply)


def _run_step(setup: ConnectionSetup, step: Step, over_in_time: Callable[[], bool], *, for_operator: bool) -> Finding:
    started, evidence_before = time.monotonic(), len(setup.smtp.transcript)
    failure = None
    try:
        perform(step, over_in_time)
    except ConnectionFailure as error:
        failure = (for_operator and error.for_operator) or error
    ms = round((time.monotonic() - started) * 1000)
    evidence = setup.smtp.transcript[evidence_before:]
    if failure is None:
        return _passing_finding(step.name, ms, "\n".join(evidence), setup.smtp)
    if failure.evidence and not any(failure.evidence in line for line in evidence):
        evidence.append(failure.evidence)
    return Finding(step.name, False, ms, "\n".join(evidence), failure.code, failure.cause, failure.advice)


def _passing_finding(step: str, ms: int, evidence: str, smtp: Smtp) -> Finding:
    if step != "MAIL FROM" or smtp.has_extn("8bitmime"):
        return Finding(step, True, ms, evidence, "ok")
    lack = EXPLANATIONS["no_8bitmime"]
    return Finding(step, True, ms, evidence, "no_8bitmime", lack.cause, lack.advice)
