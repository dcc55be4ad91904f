"""python -m tests.bench.log MAILS: what the email log's pages cost with so many mails in the database of DATABASE_URL.

Fills that database, which must be an empty one of its own, then prints the median and the slowest of nine requests, ms.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from datetime import timedelta

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

import django

django.setup()

from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from organization.models import App, Member, Role, RoleGrant, Stage
from outbox.models import Message

LOG = "/monitor/email-log/qa/"


def main(mails: int) -> None:
    call_command("migrate", verbosity=0)
    if Message.objects.exists():
        sys.exit("There is mail in this database already.")
    stage = Stage.objects.create(key="qa", name="QA", kind=Stage.Kind.NON_PRODUCTION)
    common, rare = (App.objects.create(key=key, name=key, version=1) for key in ("common", "rare"))
    fill(mails, stage, common, rare)
    everybody = signed_in(Member.objects.create_superuser("bench@example.com", "x" * 20, name="Bench"))
    developer = Member.objects.create_user("developer@example.com", "x" * 20, name="Developer")
    role = Role.objects.create(name="Reads", permissions=["access_asset_logs"])
    RoleGrant.objects.create(member=developer, role=role, app=rare)
    then, later = (f"{timezone.now() - timedelta(days=days):%Y-%m-%dT%H:%M}" for days in (300, 299))
    middle, nowhere = mails // 2, "nothing like it"
    for name, query in {
        "first page": {},
        "in the middle": {"before": middle},
        "failed": {"status": "failed"},
        "held (none)": {"status": "held"},
        "a word that all have": {"q": "invoice"},
        "a word that none has": {"q": nowhere},
        "a recipient of the newest": {"recipient": f"customer{mails - 40}@"},
        "a recipient of none": {"recipient": "nobody@"},
        "the last hour": {"since": "1h"},
        "a day 300 days ago": {"since": "custom", "start": then, "end": later},
        "none of the last 30 days": {"since": "30d", "q": nowhere},
        "further back": {"q": nowhere, "before": middle},
        "upward": {"q": nowhere, "after": middle},
    }.items():
        measure(name, everybody, LOG, query)
    measure("developer of a rare app", signed_in(developer), LOG, {})
    measure("is there new mail", everybody, f"{LOG}new/", {"above": middle, "q": nowhere})


def fill(mails: int, stage: Stage, common: App, rare: App) -> None:
    """A mail each 21 seconds until now; one in 20,000 is the rare app's, one in 3,000 has failed."""
    if connection.vendor == "postgresql":
        numbers, recipients = "generate_series(1, %s) g(n)", "jsonb_build_array(address)"
        moment = "now() - make_interval(secs => (%s - n) * 21)"
    else:
        numbers = "(WITH RECURSIVE g(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < %s) SELECT n FROM g) g"
        recipients, moment = (
            "json_array(address)",
            "strftime('%%Y-%%m-%%d %%H:%%M:%%S', 'now', '-' || ((%s - n) * 21) || ' seconds')",
        )
    character = "chr" if connection.vendor == "postgresql" else "char"
    line, tab = f"{character}(10)", f"{character}(9)"
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO outbox_message (app_id, stage_id, via, created, envelope_sender, requested, from_address, subject,"
            " message_id, size, search_text, route, list_version, notes, status, hold_reason, owner)"
            f" SELECT CASE WHEN n %% 20000 = 7 THEN {rare.pk} ELSE {common.pk} END, {stage.pk}, 'gateway', {moment},"
            f" 'crm@acme.example', {recipients}, 'crm@acme.example', 'Your invoice ' || n || ' of this month is ready', id, 2000,"
            f" 'your invoice ' || n || ' of this month is ready' || {line} || 'crm@acme.example' || {line} || {tab} || address"
            f" || {line} || id, 'recipients', 1, '[]', CASE WHEN n %% 3000 = 5 THEN 'failed' ELSE 'sent' END, '', ''"
            " FROM (SELECT n, 'customer' || n || '@example' || (n %% 97) || '.com' AS address,"
            f" '<' || n || '.abcdef0123456789@app.acme.example>' AS id FROM {numbers}) mail",
            [mails, mails],
        )
        cursor.execute("ANALYZE")


def signed_in(member: Member) -> Client:
    client = Client(headers={"host": "localhost"})
    client.force_login(member)
    return client


def measure(name: str, client: Client, path: str, query: dict[str, object]) -> None:
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        assert client.get(path, query).status_code == 200
        seconds.append(time.perf_counter() - began)
    print(f"{name:30}{statistics.median(seconds[1:]) * 1000:8.1f}{max(seconds[1:]) * 1000:8.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
