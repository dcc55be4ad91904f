"""Run connection tests that a member watches in the browser.

A few run at once on threads of the web process, so that a server that hangs blocks no request. Their findings are stored in a
row, which the page polls.
"""

from __future__ import annotations

import threading
from contextvars import copy_context
from dataclasses import asdict
from datetime import timedelta

import structlog
from django.db import connection
from django.db.models.functions import Now

from emailconfig.connection.networks import RESOLVE_SECONDS
from emailconfig.connection.token_request import ASK_SECONDS
from emailconfig.doctor.examination import TOTAL_SECONDS, Finding, examine, record
from emailconfig.exceptions import TooManyTests
from emailconfig.models import ConnectionTest, SmtpSettings
from organization.access import Scope, require
from organization.installation.seal import refuse_copy
from organization.models import Member
from organization.permissions import Permission

log = structlog.get_logger(__name__)

MAX_RUNNING = 4
# A test that is still unfinished after this time has lost its process.
INTERRUPTED_AFTER = timedelta(seconds=TOTAL_SECONDS + RESOLVE_SECONDS + 2 * ASK_SECONDS)
_KEPT_FOR = timedelta(days=1)
_places = threading.BoundedSemaphore(MAX_RUNNING)


def start(settings: SmtpSettings, recipient: str, member: Member) -> ConnectionTest:
    """Start a test of `settings` and return at once.

    The settings must be valid but may be unsaved. Raises PermissionDenied, UnansweredCopy or TooManyTests.
    """
    require(member, Scope(stage=settings.stage), Permission.MANAGE_EMAIL_CONFIGURATIONS)
    refuse_copy()
    if not _places.acquire(blocking=False):
        raise TooManyTests
    try:
        ConnectionTest.objects.filter(started__lt=Now() - _KEPT_FOR).delete()
        test = ConnectionTest.objects.create(
            stage=settings.stage, member=member, server=str(settings), sender=settings.sender_address, recipient=recipient
        )
        # In the request's context, so that the log and the audit trail know the request.
        threading.Thread(target=copy_context().run, args=(_run, test, settings), name="doctor", daemon=True).start()
    except BaseException:
        _places.release()
        raise
    return test


def is_interrupted(test: ConnectionTest) -> bool:
    """Whether its process ended before the test did, as after a restart of the portal."""
    return test.finished is None and ConnectionTest.objects.filter(pk=test.pk, started__lt=Now() - INTERRUPTED_AFTER).exists()


def _run(test: ConnectionTest, settings: SmtpSettings) -> None:
    findings: list[Finding] = []

    def report(finding: Finding) -> None:
        if findings and findings[-1].ok is None:
            findings.pop()
        findings.append(finding)
        ConnectionTest.objects.filter(pk=test.pk).update(findings=[asdict(finding) for finding in findings])

    try:
        record(test.member, settings, examine(settings, test.recipient, report))
        ConnectionTest.objects.filter(pk=test.pk).update(finished=Now())
    except Exception:
        log.exception("connection_test_failed", test=test.pk)
    finally:
        connection.close()
        _places.release()
