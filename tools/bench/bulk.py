"""python -m tools.bench.bulk EMAILS: resend so many failed emails at once, and see what the email log takes meanwhile.

It uses the database of DATABASE_URL, which `tools.bench.pages` has filled, with a worker and a server of its own. It prints how
long the action and the delivery took, and the times of the log's first page, ms: the median, the 95th percentile and the longest.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from tools.bench.pages import LOG, signed_in  # sets Django up

# isort: split

from emailconfig.models import SmtpSettings
from emaillog.bulk.service import Request, start
from emaillog.models import BulkAction
from organization.access import Operator
from organization.models import Member, Stage
from outbox.bulk.checks import Act
from outbox.models import Message, Recipient, Source, Status
from tests.support.smtp_server import free_port

_PAUSE = 0.1
_NICE = "5"  # as in the operator's unit of the worker


def main(emails: int) -> None:
    stage = Stage.objects.get(key="qa")
    fail_newest(stage, emails)
    port = free_port()
    settings = SmtpSettings.objects.filter(stage=stage)
    settings.update(server="127.0.0.1", port=port, security="none", authentication="none", connections=8, version=2)
    log = LogPage()
    print("quiet:", log.times_while(lambda: len(log.seconds) < 50), flush=True)
    server = subprocess.Popen([sys.executable, "-m", "tools.bench.server", str(port), "0"], stdout=subprocess.DEVNULL)
    worker = subprocess.Popen(
        ["nice", "-n", _NICE, sys.executable, "manage.py", "deliver"],
        env={**os.environ, "SMTP_ALLOWED_NETWORKS": "127.0.0.0/8"},
    )
    try:
        began = time.monotonic()
        action = start(Request(Act.RESEND, "stage=qa&status=failed", codes_minutes=None), Operator("bench"))
        print(f"started after {time.monotonic() - began:.1f} s", flush=True)
        print("meanwhile:", log.times_while(lambda: is_running(action)), flush=True)
        action.refresh_from_db()
        print(f"{action.state}: {action.done} of {emails} in {time.monotonic() - began:.0f} s, {action.left_out}")
    finally:
        worker.terminate()
        worker.wait()
        server.terminate()
        server.wait()
    resent = Message.objects.filter(via=Source.RESEND)
    print("sent:", resent.filter(status=Status.SENT).count(), "of", resent.count())


def fail_newest(stage: Stage, emails: int) -> None:
    Message.objects.filter(stage=stage, status=Status.FAILED).update(status=Status.SENT)
    newest = Message.objects.filter(stage=stage, status=Status.SENT).order_by("-pk").values_list("pk", flat=True)[:emails]
    first = list(newest)[-1]
    of_stage = Message.objects.filter(stage=stage, status=Status.SENT, pk__gte=first)
    Recipient.objects.filter(message__in=of_stage.values("pk")).update(status=Status.FAILED, last_reply="550 5.1.1 User unknown")
    of_stage.update(status=Status.FAILED)


def is_running(action: BulkAction) -> bool:
    return BulkAction.objects.filter(pk=action.pk, state=BulkAction.State.RUNNING).exists()


class LogPage:
    """Asks for the log's first page ten times a second."""

    def __init__(self) -> None:
        self.client = signed_in(Member.objects.get(email="bench@example.com"))
        self.seconds: list[float] = []

    def times_while(self, goes_on: Callable[[], bool]) -> str:
        self.seconds.clear()
        while goes_on():
            began = time.perf_counter()
            assert self.client.get(LOG, secure=True).status_code == 200
            self.seconds.append(time.perf_counter() - began)
            time.sleep(_PAUSE)
        ordered = sorted(self.seconds)
        median, late, longest = statistics.median(ordered), ordered[int(len(ordered) * 0.95) - 1], ordered[-1]
        return f"{len(ordered)} requests: {median * 1000:.0f} / {late * 1000:.0f} / {longest * 1000:.0f} ms"


if __name__ == "__main__":
    main(int(sys.argv[1]))
