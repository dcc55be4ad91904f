"""Measurements that need Django: run as `python -m tools.bench.inside NAME …` on the database of DATABASE_URL. Prints JSON."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

import django

django.setup()

from django.core.mail import EmailMessage, send_mail
from django.db import connection, transaction
from django.test import Client

from delivery.claims.claim import query_claim
from delivery.config import DeliveryConfig
from delivery.due_messages import stages_with_due_mail
from delivery.values import Claim
from emailconfig.models import SmtpSettings
from organization.models import App, Member, Stage
from outbox.models import Message, Source
from outbox.submission import Envelope, submit

BODY = ("x" * 76 + "\n") * 25


def p50_ms(work: Callable[[], object], times: int) -> float:
    for _ in range(max(3, times // 20)):
        work()
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1000


def enqueue(mails: int) -> dict[str, float]:
    """Measure send_mail() into the outbox, beside one durable INSERT of as many bytes, and rendering alone."""
    with connection.cursor() as cursor:
        blob = "bytea" if connection.vendor == "postgresql" else "blob"
        cursor.execute(f"CREATE TABLE IF NOT EXISTS bench_bare (data {blob})")
        data = BODY.encode()
        insert = p50_ms(lambda: cursor.execute("INSERT INTO bench_bare VALUES (%s)", [data]), mails)
    rendering = p50_ms(lambda: EmailMessage("Bench", BODY, "bench@example.com", ["to@example.com"]).message().as_bytes(), mails)
    ours = p50_ms(lambda: send_mail("Bench", BODY, "bench@example.com", ["to@example.com"]), mails)
    return {"insert": insert, "rendering": rendering, "send_mail": ours}


def fill(mails: int) -> dict[str, float]:
    """Queue messages to deliver."""
    for _ in range(mails):
        send_mail("Bench", BODY, "bench@example.com", ["to@example.com"])
    return {}


def fill_large(mails: int) -> dict[str, float]:
    """Queue messages of 25 MiB."""
    app, stage = App.objects.get(key="crm"), Stage.objects.get(key="production")
    content = b"From: bench@example.com\r\n\r\n" + (b"x" * 78 + b"\r\n") * (25 * 2**20 // 80 - 10)
    for _ in range(mails):
        submit(app, stage, Envelope("bench@example.com", ["to@example.com"]), content, via=Source.COMMAND)
    return {}


def idle(mails: int) -> dict[str, float]:
    """Send one message after the other and measure the seconds from its acceptance to its last attempt."""
    seconds = []
    for _ in range(mails):
        began = time.perf_counter()
        send_mail("Bench", BODY, "bench@example.com", ["to@example.com"])
        while Message.objects.exclude(status="sent").exists():
            time.sleep(0.002)
        seconds.append(time.perf_counter() - began)
        time.sleep(0.03)
    return {"p50": statistics.median(seconds) * 1000}


def grow(finished: int) -> dict[str, float]:
    """Measure a worker's poll, a claim of two messages and the log's pages, with so many finished messages stored."""
    _finished_rows(finished)
    stage = Stage.objects.get(key="production")
    if not Message.objects.filter(stage=stage, status="queued").exists():
        fill(50)
    member = Member.objects.filter(is_superuser=True).first() or Member.objects.create_superuser(
        "bench@example.com", "x" * 20, name="Bench"
    )
    client = Client(headers={"host": "localhost"})
    client.force_login(member)
    last = f"/monitor/email-log/production/?before={Message.objects.order_by('pk')[100].pk}"

    version = SmtpSettings.objects.get(stage=stage).version

    def take() -> None:
        with transaction.atomic():
            assert len(query_claim(stage.pk, 2, Claim("bench", DeliveryConfig().lease), version)().messages) == 2
            transaction.set_rollback(True)

    def page(path: str) -> None:
        assert client.get(path).status_code == 200

    return {
        "poll": p50_ms(lambda: stages_with_due_mail(), 200),
        "take": p50_ms(take, 200),
        "first page": p50_ms(lambda: page("/monitor/email-log/production/"), 30),
        "last page": p50_ms(lambda: page(last), 30),
    }


def _finished_rows(count: int) -> None:
    """Copy one sent message until there are so many."""
    have = Message.objects.filter(status="sent").count()
    app, stage = App.objects.get(key="crm"), Stage.objects.get(key="production")
    columns = (
        "app_id, stage_id, via, envelope_sender, requested, from_address, subject, message_id, size, search_text, route,"
        " list_version, notes, status, hold_reason, owner"
    )
    values = (
        f"{app.pk}, {stage.pk}, 'backend', 'bench@example.com', '[\"to@example.com\"]', 'bench@example.com', 'Bench', '<a@b>',"
        " 2000, 'bench', 'recipients', 0, '[]', 'sent', '', ''"
    )
    numbers = (
        "generate_series(1, %s) n"
        if connection.vendor == "postgresql"
        else "(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < %s) SELECT n FROM c)"
    )
    with connection.cursor() as cursor:
        if count > have:
            cursor.execute(f"INSERT INTO outbox_message ({columns}) SELECT {values} FROM {numbers}", [count - have])
            cursor.execute(
                "INSERT INTO outbox_recipient (message_id, address, name, status, tries, last_reply)"
                " SELECT id, 'to@example.com', '', 'sent', 1, '' FROM outbox_message m WHERE NOT EXISTS"
                " (SELECT 1 FROM outbox_recipient r WHERE r.message_id = m.id)"
            )
        cursor.execute("ANALYZE")


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](int(sys.argv[2]))))
