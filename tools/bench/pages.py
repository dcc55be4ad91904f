"""python -m tools.bench.pages MESSAGES [APPS]: measure the portal's pages with so many messages in the database of DATABASE_URL.

Fills that database, which must be one of its own, unless it did so before, like an organization with APPS apps (200) in 10 stages
whose mail is kept for a year. Then it prints of 20 requests of each page the median and the 95th percentile: first of the time
they took, ms, then of the processor's time in this process and, on PostgreSQL, in the one that serves it, ms. The last two are
that processor's time as a multiple of a fixed piece of Python that ran just before: a machine's speed changes within minutes.
"""

from __future__ import annotations

import base64
import os
import statistics
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

SETTINGS = {
    "DJANGO_SETTINGS_MODULE": "portal.settings",
    "SECRET_KEY": "for-the-bench-only-" * 4,
    "ENCRYPTION_KEYS": base64.urlsafe_b64encode(b"for-the-bench-only-32-bytes-long").decode(),
    "ALLOWED_HOSTS": "localhost",
    "LOG_LEVEL": "ERROR",
}
for name, value in SETTINGS.items():
    os.environ.setdefault(name, value)

import django

django.setup()

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from analytics.latency import bucket_of
from analytics.models import RollUpPosition
from common.process import freeze_gc
from delivery.models import Worker
from emailconfig.models import SmtpSettings
from organization.models import App, Member, Role, RoleGrant, Stage
from outbox.models import Message
from testlists.models import TestList, TestListAddress

STAGES = 10
# Five million messages reach back 347 days.
SECONDS_PER_MAIL = 6
CONTENT_DAYS = 30
REQUESTS = 20
LOG = "/monitor/email-log/qa/"


def main(emails: int, app_count: int = 200) -> None:
    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    if not Message.objects.exists():
        organization(app_count)
        fill(emails, app_count)
    everybody = signed_in(Member.objects.get(email="bench@example.com"))
    import_module(settings.ROOT_URLCONF)
    freeze_gc()  # as portal.wsgi does
    measure_the_log(emails, everybody)
    measure_the_others(emails, everybody)


def measure_the_log(emails: int, everybody: Client) -> None:
    developer = Member.objects.get(email="developer@example.com")
    then, later = (f"{timezone.now() - timedelta(days=days):%Y-%m-%dT%H:%M}" for days in (300, 299))
    middle, nowhere = emails // 2, "nothing like it"
    for name, query in {
        "first page": {},
        "in the middle": {"before": middle},
        "failed": {"status": "failed"},
        "sending (none)": {"status": "sending"},
        "a word that all have": {"q": "invoice"},
        "a word that none has": {"q": nowhere},
        "a recipient of the newest": {"recipient": f"customer{emails - 40}@"},
        "a recipient of none": {"recipient": "nobody@"},
        "the last hour": {"range": "1h"},
        "a day 300 days ago": {"range": "custom", "start": then, "end": later},
        "none of the last 30 days": {"range": "30d", "q": nowhere},
        "further back": {"q": nowhere, "before": middle},
        "upward": {"q": nowhere, "after": middle},
        "an app": {"app": "app-007"},
    }.items():
        measure(f"log: {name}", everybody, LOG, query)
    measure("log: of a quiet stage", everybody, "/monitor/email-log/stage-03/")
    measure("log: developer of a rare app", signed_in(developer), LOG)
    measure("log: is there new mail", everybody, f"{LOG}new/", {"above": middle, "q": nowhere})
    measure("log: the export's first 200 lines", everybody, f"{LOG}export/")
    number = Message.objects.filter(stage__key="qa", status="sent").order_by("-pk").values_list("pk", flat=True)[100]
    measure("one mail", everybody, f"{LOG}{number}/")
    measure("one mail, asked whether to resend it", everybody, f"{LOG}{number}/resend/")


def measure_the_others(emails: int, everybody: Client) -> None:
    for name, path in {
        "home": "/",
        "apps": "/apps/",
        "apps: search": "/apps/?q=app-1",
        "an app's emails": "/apps/app-007/configuration/emails/qa/",
        "an app's emails, a rare app": "/apps/rare/configuration/emails/qa/",
        "an app's emails, edit": "/apps/app-007/configuration/emails/qa/edit/",
        "where would this mail go": "/apps/app-007/configuration/emails/qa/route/?to=customer@example.com",
        "email configurations": "/management/configure/emails/",
        "an email configuration": "/management/configure/emails/qa/",
        "stages": "/management/configure/stages/",
        "analytics of a stage, 24 hours": "/monitor/analytics/qa/",
        "analytics of a stage, 7 days": "/monitor/analytics/qa/?range=7d",
        "analytics of a stage, 30 days": "/monitor/analytics/qa/?range=30d",
        "analytics of all, 24 hours": "/monitor/analytics/",
        "analytics of all, 7 days": "/monitor/analytics/?range=7d",
        "analytics of all, 30 days": "/monitor/analytics/?range=30d",
        "audit trail": "/management/view/audit-trail/",
        "guarantee of a stage, 30 days": "/monitor/guarantee/qa/",
        "guarantee of a stage, everything": "/monitor/guarantee/qa/?range=all",
        "admin: audit trail": "/admin/organization/auditevent/",
        "admin: audit trail, updates": "/admin/organization/auditevent/?operation=Update",
        "admin: mail": "/admin/outbox/message/",
    }.items():
        measure(name, everybody, path)


def organization(app_count: int) -> None:
    """Apps in 10 stages, one stage not set up; members, test lists in QA, every tenth of them Active."""
    stages = [("qa", "QA"), *((f"stage-{number:02}", f"Stage {number}") for number in range(1, STAGES))]
    Stage.objects.bulk_create(
        Stage(key=key, name=name, kind=Stage.Kind.NON_PRODUCTION, order=order) for order, (key, name) in enumerate(stages)
    )
    SmtpSettings.objects.bulk_create(
        SmtpSettings(stage=stage, server="smtp.example.com", sender_address="a@acme.example", version=1)
        for stage in Stage.objects.exclude(key="stage-09")
    )
    apps = ["rare", *(f"app-{number:03}" for number in range(1, app_count))]
    App.objects.bulk_create(App(key=key, name=key.title(), version=1) for key in apps)
    qa, active = Stage.objects.get(key="qa"), range(0, app_count, 10)
    lists = TestList.objects.bulk_create(
        TestList(app=app, stage=qa, active=number in active, version=1, active_version=int(number in active))
        for number, app in enumerate(App.objects.order_by("pk"))
    )
    TestListAddress.objects.bulk_create(
        TestListAddress(test_list=test_list, email=f"tester{number}@acme.example") for test_list in lists for number in range(5)
    )
    Member.objects.create_superuser("bench@example.com", "x" * 20, name="Bench")
    developer = Member.objects.create_user("developer@example.com", "x" * 20, name="Developer")
    role = Role.objects.create(name="Reads", permissions=["access_asset_logs"])
    RoleGrant.objects.create(member=developer, role=role, app=App.objects.get(key="rare"))
    Worker.objects.create(name="bench", seen=timezone.now() + timedelta(days=1))
    Member.objects.bulk_create(Member(email=f"member{number}@acme.example", name=f"Member {number}") for number in range(300))


def fill(emails: int, app_count: int) -> None:
    """Create a message each 6 seconds until now, 82% of them in QA.

    One in 20,000 belongs to the rare app, and one in 3,000 has failed. Messages of the stage that isn't set up are held, and
    so are those of three apps in another stage. The last 2,000 in QA wait.

    Each message has one recipient and one try, each tenth has two. Contents are kept for 30 days. The roll-ups are those that
    the worker would have made.
    """
    stages = list(Stage.objects.order_by("order").values_list("pk", flat=True))
    apps = list(App.objects.order_by("pk").values_list("pk", flat=True))
    postgresql = connection.vendor == "postgresql"
    series = "(SELECT n FROM generate_series(1, {0}) n) g" if postgresql else (
        "(WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < {0}) SELECT n FROM g) g"
    )  # fmt: skip
    numbers = series.format(emails)
    character, array = ("chr", "jsonb_build_array") if postgresql else ("char", "json_array")
    line, tab = f"{character}(10)", f"{character}(9)"
    moment = _moment(postgresql, f"({emails} - n) * {SECONDS_PER_MAIL}")
    stage = f"CASE WHEN n % 50 < 41 THEN {stages[0]} ELSE {stages[1]} + n % 50 - 41 END"
    others = f"(n / 50 + n) % {app_count - 1}"
    app = f"CASE WHEN n % 20000 = 7 THEN {apps[0]} ELSE {apps[1]} + {others} END"
    status = (
        f"CASE WHEN n % 50 = 49 OR (n % 50 = 48 AND {others} < 3) THEN 'held' WHEN n % 50 < 41 AND n > {emails - 2000}"
        " THEN CASE WHEN n % 2 = 0 THEN 'queued' ELSE 'deferred' END WHEN n % 3000 = 5 THEN 'failed' ELSE 'sent' END"
    )
    reason = "CASE WHEN status <> 'held' THEN '' WHEN n % 50 = 49 THEN 'stage_not_configured' ELSE 'test_list_empty' END"
    _run(
        "INSERT INTO outbox_message (id, app_id, stage_id, via, created, due, envelope_sender, requested, from_address, subject,"
        " message_id, size, search_text, route, list_version, notes, status, hold_reason, owner)"
        f" SELECT n, app, stage, 'gateway', moment, moment, 'crm@acme.example', {array}(address), 'crm@acme.example',"
        " 'Your invoice ' || n || ' of this month is ready', id, 2000,"
        f" 'your invoice ' || n || ' of this month is ready' || {line} || 'crm@acme.example' || {line} || {tab} || address"
        f" || {line} || id, CASE WHEN status = 'held' THEN 'test_list' ELSE 'recipients' END, 1, '[]', status, {reason}, ''"
        f" FROM (SELECT n, {app} AS app, {stage} AS stage, {moment} AS moment, {status} AS status,"
        " 'customer' || n || '@example' || (n % 97) || '.com' AS address,"
        f" '<' || n || '.abcdef0123456789@app.acme.example>' AS id FROM {numbers}) mail"
    )
    address = "'customer' || id || '@example' || (id % 97) || '.com'"
    _run(
        "INSERT INTO outbox_recipient (message_id, address, name, status, due, tries, last_reply, finished)"
        f" SELECT id, {address}, '', status, due, 1, '', created FROM outbox_message"
        f" UNION ALL SELECT id, 'second.' || {address}, '', status, due, 1, '', created FROM outbox_message WHERE id % 10 = 3"
    )
    _run(
        "INSERT INTO outbox_attempt (message_id, address, created, outcome, step, code, reply, server, settings_version, seconds)"
        " SELECT message_id, address, finished, status, CASE WHEN status = 'sent' THEN 'content' ELSE 'RCPT TO' END,"
        " CASE WHEN status = 'sent' THEN 250 WHEN status = 'failed' THEN 550 ELSE 451 END,"
        " CASE WHEN status = 'sent' THEN '250 2.0.0 Ok: queued as 4F2A1B3C5D' WHEN status = 'failed' THEN"
        " '550 5.1.1 User unknown' ELSE '451 4.7.1 Greylisted' END, 'smtp.example.com:587', 1, 0.2"
        " FROM outbox_recipient WHERE status IN ('sent', 'failed', 'deferred')"
    )
    body = "From: crm@acme.example\r\nTo: c@example.com\r\nSubject: Invoice\r\n\r\n" + "It is ready, and so on. " * 80
    _run(
        f"INSERT INTO outbox_content SELECT id, CAST(%s AS {'bytea' if postgresql else 'blob'})"
        " FROM outbox_message WHERE id > %s",
        body.encode(),
        emails - CONTENT_DAYS * 86400 // SECONDS_PER_MAIL,
    )
    _roll_up(postgresql)
    acts = "CASE n % 5 WHEN 0 THEN 'Update' WHEN 1 THEN 'Sign in' WHEN 2 THEN 'Retry' WHEN 3 THEN 'Export' ELSE 'Resend' END"
    _run(
        "INSERT INTO organization_auditevent (at, actor_name, operation, entity, entity_id, entity_name, app_id, stage_id,"
        " status, before, after, request_id) SELECT "
        f"{_moment(postgresql, f'({emails // 50} - n) * {SECONDS_PER_MAIL} * 50')}, 'Ada Admin', {acts},"
        f" CASE WHEN n % 2 = 0 THEN 'message' ELSE 'test list' END, '1', 'The mail ' || n, {apps[1]} + n % {app_count - 1},"
        f" {stages[0]}, 'succeeded', '{{}}', '{{\"recipients\": 3}}', '' FROM {series.format(emails // 50)}"  # words: quoted
    )
    if postgresql:  # the numbers were given by hand
        _run("SELECT setval(pg_get_serial_sequence('outbox_message', 'id'), %s)", emails)
    # PostgreSQL's autovacuum does this automatically soon after. Until then PostgreSQL skips the log's index for a small stage.
    _run("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def _moment(postgresql: bool, seconds_ago: str) -> str:
    if postgresql:
        return f"now() - make_interval(secs => {seconds_ago})"
    return f"strftime('%Y-%m-%d %H:%M:%S', 'now', '-' || ({seconds_ago}) || ' seconds')"


def _roll_up(postgresql: bool) -> None:
    hour = "date_trunc('hour', created)" if postgresql else "strftime('%Y-%m-%d %H:00:00', created)"
    _run(
        "INSERT INTO outbox_hourlycount (stage_id, app_id, hour, accepted, to_test_list, held, sent, deferred, failed, unknown)"
        f" SELECT stage_id, app_id, {hour}, count(*), 0, sum(CASE WHEN status = 'held' THEN 1 ELSE 0 END),"
        " sum(CASE WHEN status = 'sent' THEN 1 ELSE 0 END), sum(CASE WHEN status = 'deferred' THEN 1 ELSE 0 END),"
        " sum(CASE WHEN status = 'failed' THEN 1 ELSE 0 END), 0 FROM outbox_message GROUP BY 1, 2, 3 ORDER BY 3"
    )
    # Most of a mail's time to send is in one bucket, some in others.
    bucket = f"CASE WHEN id % 10 < 7 THEN {bucket_of(0.05)} WHEN id % 10 < 9 THEN {bucket_of(0.2)} ELSE {bucket_of(40)} END"
    _run(
        "INSERT INTO outbox_hourlylatency (stage_id, app_id, hour, bucket, sent)"
        f" SELECT stage_id, app_id, {hour}, {bucket}, count(*) FROM outbox_message WHERE status = 'sent'"
        " GROUP BY 1, 2, 3, 4 ORDER BY 3"
    )
    _run(
        "INSERT INTO outbox_hourlycause (stage_id, app_id, hour, code, deferred, failed, unknown)"
        f" SELECT stage_id, app_id, {hour}, CASE WHEN status = 'failed' THEN 'recipient_unknown' ELSE 'greylisted' END,"
        " sum(CASE WHEN status = 'deferred' THEN 1 ELSE 0 END), sum(CASE WHEN status = 'failed' THEN 1 ELSE 0 END), 0"
        " FROM outbox_message WHERE status IN ('failed', 'deferred') GROUP BY 1, 2, 3, 4 ORDER BY 3"
    )
    _sum_up(postgresql)
    tries = "(SELECT id AS try, message_id, created FROM outbox_attempt WHERE outcome = 'sent') attempt"
    mail = "(SELECT id, stage_id, app_id FROM outbox_message) mail"
    for table, period, moment in (("hourly", "hour", hour), ("daily", "day", "date(created)")):
        _run(
            f"INSERT INTO analytics_{table}rulecount (stage_id, app_id, {period}, rule, recipients, unknown, first_try, last_try)"
            f" SELECT stage_id, app_id, {moment}, 'open', count(*), 0, min(try), max(try) FROM {tries}"
            f" JOIN {mail} ON mail.id = message_id GROUP BY 1, 2, 3"
        )
    _run(
        "INSERT INTO analytics_stagerulecount (stage_id, hour, rule, recipients, unknown)"
        " SELECT stage_id, hour, rule, sum(recipients), sum(unknown) FROM analytics_hourlyrulecount GROUP BY 1, 2, 3 ORDER BY 2"
    )
    for counted in ("mails", "tries"):
        RollUpPosition.objects.create(counted=counted, last=10**12)


def _sum_up(postgresql: bool) -> None:
    """Fill the totals: per stage and hour, and per stage, app and day."""
    day = "(hour AT TIME ZONE 'UTC')::date" if postgresql else "date(hour)"
    counts = ("accepted", "to_test_list", "sent", "deferred", "failed", "unknown")
    for total, hourly, period, keys, columns in (
        ("stagecount", "hourlycount", "hour", ("stage_id",), (*counts, "held")),
        ("dailycount", "hourlycount", "day", ("stage_id", "app_id"), counts),
        ("stagelatency", "hourlylatency", "hour", ("stage_id", "bucket"), ("sent",)),
        ("dailylatency", "hourlylatency", "day", ("stage_id", "app_id", "bucket"), ("sent",)),
    ):
        names, sums = ", ".join(keys), ", ".join(f"sum({column})" for column in columns)
        start = day if period == "day" else "hour"
        _run(
            f"INSERT INTO outbox_{total} ({period}, {names}, {', '.join(columns)})"
            f" SELECT {start}, {names}, {sums} FROM outbox_{hourly} GROUP BY {start}, {names} ORDER BY 1"
        )


def _run(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)


def signed_in(member: Member) -> Client:
    client = Client(headers={"host": "localhost"})
    client.force_login(member)
    return client


def measure(name: str, client: Client, path: str, query: dict[str, object] | None = None) -> None:
    get: Callable[[], object] = lambda: _read(client.get(path, query, secure=True))  # noqa: E731
    get()
    elapsed, busy, multiples = [], [], []
    for _ in range(REQUESTS):
        fixed = _seconds_of_a_fixed_piece()
        began, worked = time.perf_counter(), _processor_seconds()
        get()
        busy.append((_processor_seconds() - worked) * 1000)
        elapsed.append((time.perf_counter() - began) * 1000)
        multiples.append(busy[-1] / fixed / 1000)
    print(f"{name:40}{_p50_and_p95(elapsed)}{_p50_and_p95(busy)}{_p50_and_p95(multiples)}", flush=True)


def _p50_and_p95(figures: list[float]) -> str:
    return f"{statistics.median(figures):8.1f}{sorted(figures)[int(len(figures) * 0.95) - 1]:8.1f}"


def _seconds_of_a_fixed_piece() -> float:
    began = time.process_time()
    for _ in range(100_000):
        pass
    return time.process_time() - began


def _processor_seconds() -> float:
    seconds = time.process_time()
    if connection.vendor == "postgresql":
        served_by = connection.connection.info.backend_pid
        seconds += int(Path(f"/proc/{served_by}/schedstat").read_text().split()[0]) / 1e9
    return seconds


def _read(answer: Any) -> None:
    """The page, or of a file the beginning."""
    assert answer.status_code == 200, answer
    if answer.streaming:
        list(islice(answer.streaming_content, 200))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
