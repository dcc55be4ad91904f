"""Real faults: killed and stalled processes, a database that is locked or unreachable, servers that drip or vanish."""

from __future__ import annotations

import contextlib
import random
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import DataError, OperationalError, connection, transaction
from django.utils import timezone

import delivery.batches
import delivery.coordinator
import delivery.session
import emailconfig.connection.setup
from delivery.backoff import pause_after
from delivery.config import DeliveryConfig
from delivery.leases import DEATHS_UNTIL_FAILED
from delivery.models import StageBackoff
from delivery.worker import sweep
from organization.credentials import create_credential
from outbox.models import Attempt, Message, Recipient, Status
from testlists.services import in_flight_count
from tests.support.outbox import deliver, hold_the_line, leases_run_out, now_due, outcomes, send, set_list, statuses, take
from tests.support.portal import OPERATOR, ROOT, configure, environment, eventually, mail, manage, running, running_gateway
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)


@contextlib.contextmanager
def worker() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "manage.py", "deliver"], cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_workers_killed_again_and_again_lose_nothing_and_repeat_little(crm, qa, smtp_server):
    """SIGKILL at any instruction. At most two messages of each connection may arrive twice, with the same Message-ID."""
    connections = 4
    smtp_server.data = lambda _: time.sleep(0.01)
    configure(qa, smtp_server, from_domains="*", connections=connections)
    accepted = {send(crm, qa).message_id for _ in range(200)}
    kills = 0
    dice = random.Random(7)
    # One death fewer than what makes a mail the suspect: on a busy machine the same few may be on the wire each time.
    while Message.objects.exclude(status=Status.SENT).exists() and kills < DEATHS_UNTIL_FAILED - 1:
        before = len(smtp_server.arrived)
        with worker():
            eventually(lambda seen=before: len(smtp_server.arrived) > seen or not _waiting())
            time.sleep(dice.uniform(0.0, 0.3))
        kills += 1
        leases_run_out()
        sweep()
        now_due()
    deliver()
    arrived = Counter(arrival.mail["Message-ID"] for arrival in smtp_server.arrived)
    assert set(arrived) == accepted
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}
    assert max(arrived.values()) <= 1 + kills
    assert sum(arrived.values()) - len(accepted) <= 2 * connections * kills
    assert kills > 1


def _waiting() -> bool:
    return Message.objects.filter(status__in=[Status.QUEUED, Status.SENDING]).exists()


def test_mail_of_an_active_list_stays_there_while_workers_die_and_people_toggle(crm, qa, smtp_server):
    smtp_server.data = lambda _: time.sleep(0.01)
    configure(qa, smtp_server, from_domains="*", connections=4)
    protected: set[str] = set()
    stop = threading.Event()

    def apps_send() -> None:
        try:
            while not stop.is_set():
                if Message.objects.filter(status=Status.QUEUED).count() < 100:  # while there is no worker, too
                    send(crm, qa, "real@example.com")
                time.sleep(0.005)
        finally:
            connection.close()

    sender = threading.Thread(target=apps_send)
    sender.start()
    try:
        for _ in range(4):
            with worker():
                set_list(crm, qa, active=False)
                eventually(lambda: any("real@example.com" in arrival.recipients for arrival in smtp_server.arrived[-20:]))
                set_list(crm, qa, "tester@acme.example")
                eventually(lambda: not Message.objects.filter(status=Status.SENDING, route="recipients").exists())
                # Nothing is leaving any more: from here on nobody else may get anything.
                mark = len(smtp_server.arrived)
                eventually(lambda seen=mark: len(smtp_server.arrived) > seen + 20)
                protected |= {address for arrival in smtp_server.arrived[mark:] for address in arrival.recipients}
            leases_run_out()
            # A hand-over that was under way when the worker died goes again, to the list.
            sweep()
            now_due()
    finally:
        stop.set()
        sender.join()
    assert protected == {"tester@acme.example"}
    deliver()
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}
    assert {arrival.mail["Message-ID"] for arrival in smtp_server.arrived} == set(
        Message.objects.values_list("message_id", flat=True)
    )


def test_a_stalled_worker_that_wakes_up_overwrites_nothing(crm, qa, smtp_server):
    on_the_wire, answer = hold_the_line(smtp_server)
    configure(qa, smtp_server, from_domains="*")
    message = send(crm, qa)
    with worker() as stalled:
        assert on_the_wire.wait(60)
        with transaction.atomic():  # not in the middle of a write: that would lock everybody else out
            Message.objects.select_for_update().get(pk=message.pk)
            stalled.send_signal(signal.SIGSTOP)
        leases_run_out()
        answer.set()
        smtp_server.data = lambda _: None
        deliver()
        assert statuses(message) == {"customer@example.com": "sent"}
        stalled.send_signal(signal.SIGCONT)
        time.sleep(1.0)
    message.refresh_from_db()
    assert (message.status, message.owner) == (Status.SENT, "")
    assert [attempt.outcome for attempt in message.attempts.all()] == ["unknown", "sent"]


@pytest.mark.parametrize("window", [1, 2])
def test_no_more_mails_of_a_connection_than_the_window_are_sent_before_the_first_is_marked(
    crm, qa, smtp_server, monkeypatch, window
):
    monkeypatch.setenv("DELIVERY_WINDOW", str(window))
    sending, answer = hold_the_line(smtp_server)
    configure(qa, smtp_server, from_domains="*", connections=1)
    for _ in range(6):
        send(crm, qa)
    with worker():
        assert sending.wait(60)
        eventually(
            lambda: Message.objects.filter(status=Status.SENDING).count() == DeliveryConfig(window=window).claims_per_connection
        )
        with transaction.atomic():  # from here on nothing can be marked
            list(Message.objects.select_for_update().order_by("pk"))
            answer.set()
            time.sleep(1.0)
            assert len(smtp_server.arrived) == window
        eventually(lambda: len(smtp_server.arrived) == 6)


def test_a_gateway_killed_under_load_has_stored_everything_it_said_250_to(crm, qa):
    configure(qa)
    new = create_credential(crm, qa, OPERATOR)
    confirmed: list[str] = []

    def send_until_it_dies(port: int) -> None:
        with contextlib.suppress(smtplib.SMTPException, OSError), smtplib.SMTP("127.0.0.1", port, timeout=120) as smtp:
            smtp.login(new.credential.username, new.password)
            for number in range(10_000):
                subject = f"{threading.get_ident()}-{number}"
                smtp.sendmail("crm@acme.example", ["a@example.com"], mail(subject=subject))
                confirmed.append(subject)

    with running_gateway() as port:
        clients = [threading.Thread(target=send_until_it_dies, args=(port,)) for _ in range(4)]
        for client in clients:
            client.start()
        eventually(lambda: len(confirmed) > 40)
        pid = int(subprocess.run(["pgrep", "-f", f"smtp_gateway --port {port}"], capture_output=True, check=True).stdout)
        subprocess.run(["kill", "-9", str(pid)], check=True)
        for client in clients:
            client.join(60)
    stored = set(Message.objects.values_list("subject", flat=True))
    assert set(confirmed) <= stored
    assert len(stored) - len(confirmed) <= 4


@pytest.mark.requires_sqlite  # PostgreSQL locks rows
def test_a_database_that_is_locked_for_seconds_delays_and_loses_nothing(crm, qa, configured, smtp_server):
    new = create_credential(crm, qa, OPERATOR)
    import sqlite3

    with running("deliver"), running_gateway() as port:
        holder = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN IMMEDIATE")
        threading.Timer(2.5, holder.rollback).start()
        with smtplib.SMTP("127.0.0.1", port, timeout=120) as smtp:
            smtp.login(new.credential.username, new.password)
            smtp.sendmail("crm@acme.example", ["a@example.com"], mail())
        eventually(lambda: len(smtp_server.arrived) == 1)
        holder.close()


@pytest.mark.requires_postgresql  # SQLite has no connections to cut
def test_database_connections_that_are_cut_are_made_again(crm, qa, configured, smtp_server):
    new = create_credential(crm, qa, OPERATOR)

    others = "datname = current_database() AND pid <> pg_backend_pid()"

    def cut_all() -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")

    with running("deliver"), running_gateway() as port, smtplib.SMTP("127.0.0.1", port, timeout=120) as smtp:
        smtp.login(new.credential.username, new.password)
        for number in range(3):
            cut_all()
            with contextlib.suppress(smtplib.SMTPDataError):  # 451: not accepted, and said so
                smtp.sendmail("crm@acme.example", ["a@example.com"], mail(subject=str(number)))
            smtp.sendmail("crm@acme.example", ["a@example.com"], mail(subject=f"{number} again"))
            eventually(lambda: not _waiting())
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}
    assert len(smtp_server.arrived) >= 3


def test_a_turn_that_was_rolled_back_is_done_again(crm, qa, configured, smtp_server, monkeypatch):
    """The outcome of the messages before it is recorded once, and the tries are counted once."""
    real, failures = delivery.batches.query_claim, iter([False, True, False, True])

    def query_claim(*request):
        claimed = real(*request)
        if next(failures, False):
            raise OperationalError("the connection went away before the commit")
        return claimed

    monkeypatch.setattr(delivery.batches, "query_claim", query_claim)
    smtp_server.rcpt = lambda _: "451 4.7.1 greylisted"
    for _ in range(10):
        send(crm, qa)
    deliver()
    assert set(Recipient.objects.values_list("status", "tries")) == {(Status.DEFERRED, 1)}
    assert Attempt.objects.count() == 10


def test_a_commit_that_happened_although_it_failed_strands_nothing(crm, qa, configured, smtp_server, monkeypatch):
    """The claim is stored, but its answer is lost with the connection. The message is sent when its lease has run out."""
    real, failures = delivery.coordinator.Coordinator._run_batch, iter([False, True])

    def serve(coordinator, requests):
        turns = real(coordinator, requests)
        if next(failures, False):
            raise OperationalError("the connection went away after the commit")
        return turns

    monkeypatch.setattr(delivery.coordinator.Coordinator, "_run_batch", serve)
    messages = [send(crm, qa) for _ in range(10)]
    deliver()
    leases_run_out()
    deliver()
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}
    assert {arrival.mail["Message-ID"] for arrival in smtp_server.arrived} == {message.message_id for message in messages}


@pytest.mark.batches_fail
def test_an_outcome_that_the_database_refuses_harms_no_other_mail_and_ends(crm, qa, configured, smtp_server, monkeypatch, caplog):
    real = delivery.batches.record
    messages = [send(crm, qa) for _ in range(6)]
    spoiled = messages[2].pk

    def record(finished):
        recorded = real(finished)
        if any(result.message.pk == spoiled for result in finished):
            raise DataError("a value that the database takes from nobody")
        return recorded

    monkeypatch.setattr(delivery.batches, "record", record)
    for _ in range(6):
        deliver()
        leases_run_out()
        sweep()
        now_due()
    assert "outcome_not_recorded" in caplog.text
    assert "coordinator_waits_for_the_database" not in caplog.text  # it would for a minute each time
    ends = dict(Message.objects.values_list("pk", "status"))
    assert ends.pop(spoiled) == Status.FAILED
    assert set(ends.values()) == {Status.SENT}
    assert Counter(arrival.mail["Message-ID"] for arrival in smtp_server.arrived)[messages[2].message_id] == 5


class NotReading:
    """A server that accepts the envelope and then stops reading, so that the content stays in buffers."""

    def __enter__(self) -> NotReading:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.got = 0
        self.data, self.read_on = threading.Event(), threading.Event()
        self.ended = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.read_on.set()
        self.server.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self.server.accept()
            with client:
                client.sendall(b"220 hello\r\n")
                lines = client.makefile("rb")
                for line in lines:
                    client.sendall(b"354 go on\r\n" if line == b"DATA\r\n" else b"250 Ok\r\n")
                    if line == b"DATA\r\n":
                        break
                self.data.set()
                self.read_on.wait(60)
                with contextlib.suppress(OSError):
                    while piece := client.recv(65536):
                        self.got += len(piece)
                self.ended.set()


def test_a_mail_whose_lease_cannot_be_renewed_is_cut_off_before_anybody_else_may_take_it(crm, qa):
    """Once its lease has run out, a message no longer counts as being sent. So it must not be sent either."""
    body = (b"x" * 78 + b"\r\n") * 250_000
    with NotReading() as server:
        configure(qa, port=server.port, from_domains="*", connections=1)
        message = send(crm, qa, content=b"From: crm@acme.example\r\n\r\n" + body)
        deliver(DeliveryConfig(lease=timedelta(seconds=5), lease_margin_seconds=1.0))
        assert server.data.is_set()
        server.read_on.set()
        assert server.ended.wait(60)
        assert server.got < len(body)
    assert outcomes(message) == [("customer@example.com", "unknown")]
    assert in_flight_count(set_list(crm, qa, "ana@acme.example")) == 0
    now_due()
    with SmtpServer() as other:
        configure(qa, other, from_domains="*")
        deliver()
        assert other.recipients == {"ana@acme.example"}


class Dripper:
    """A server that sends single bytes slowly and never ends a line."""

    def __enter__(self) -> Dripper:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.server.accept()
                threading.Thread(target=self._drip, args=(client,), daemon=True).start()

    def _drip(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            for _ in range(600):
                client.send(b"2")
                time.sleep(0.1)


def test_a_server_that_drips_cannot_hold_a_worker(crm, qa, monkeypatch):
    monkeypatch.setattr(emailconfig.connection.setup, "SETUP_SECONDS", 1.0)
    with Dripper() as dripper:
        configure(qa, port=dripper.port)
        message = send(crm, qa)
        deliver()
    assert StageBackoff.objects.get(stage=qa).failures == 1
    assert statuses(message) == {"customer@example.com": "queued"}


def test_a_server_that_never_answers_the_content_is_cut_and_the_outcome_is_unknown(crm, qa):
    release = threading.Event()
    with SmtpServer(data=lambda _: release.wait(60) and None) as server:
        configure(qa, server, from_domains="*")
        message = send(crm, qa)
        deliver(DeliveryConfig(exchange_seconds=2.0))
        release.set()
    assert [attempt.outcome for attempt in message.attempts.all()] == [Attempt.Outcome.UNKNOWN]
    assert statuses(message) == {"customer@example.com": "deferred"}


def test_a_server_that_closes_after_each_mail_gets_them_all_over_new_connections(crm, qa, smtp_server):
    smtp_server.data = lambda _: "250 Ok"
    text = Counter[str]()

    def one_per_connection(sender: str) -> str | None:
        text["mail"] += 1
        return "421 4.7.0 too many messages on this connection" if text["mail"] % 2 == 0 else None

    smtp_server.mail = one_per_connection
    configure(qa, smtp_server, from_domains="*", connections=1)
    messages = [send(crm, qa) for _ in range(4)]
    for _ in range(12):
        StageBackoff.objects.update(retry_at=timezone.now() - timedelta(seconds=1))
        deliver()
    assert [list(statuses(message).values()) for message in messages] == [["sent"]] * 4
    assert len(smtp_server.arrived) == 4


def test_a_poison_mail_fails_and_the_next_goes_on(crm, qa, configured, smtp_server, monkeypatch):
    poison, fine = send(crm, qa), send(crm, qa)
    real = delivery.session.prepare

    def prepare(claimed, *rest):
        if claimed.pk == poison.pk:
            raise RuntimeError("a header that breaks our own code")
        return real(claimed, *rest)

    monkeypatch.setattr(delivery.session, "prepare", prepare)
    deliver()
    assert statuses(poison) == {"customer@example.com": "failed"}
    assert statuses(fine) == {"customer@example.com": "sent"}


@pytest.mark.parametrize("instant", ["before DATA", "after the dot", "between 250 and commit"])
def test_a_worker_killed_at_any_instant_of_a_hand_over_leaves_a_mail_that_goes_again(crm, qa, smtp_server, instant):
    reached, never = threading.Event(), threading.Event()

    def stop_here(_: object) -> None:
        reached.set()
        never.wait(60)

    locked = contextlib.ExitStack()
    if instant == "before DATA":
        smtp_server.rcpt = stop_here
    elif instant == "after the dot":
        smtp_server.data = stop_here
    else:

        def accept_and_lock(_: object) -> None:
            locked.enter_context(nobody_writes())
            reached.set()

        smtp_server.data = accept_and_lock
    configure(qa, smtp_server, from_domains="*", connections=1)
    message = send(crm, qa)
    with worker() as process, locked:
        assert reached.wait(60)
        time.sleep(0.5)
        process.kill()
        process.wait()
    never.set()
    smtp_server.rcpt = smtp_server.data = lambda _: None
    if instant == "between 250 and commit" and connection.vendor == "postgresql":
        # PostgreSQL had all of the batch with its COMMIT, and ends it without the worker.
        eventually(lambda: outcomes(message) == [("customer@example.com", "sent")])
        return
    assert statuses(message) == {"customer@example.com": "sending"}
    arrived_before = 0 if instant == "before DATA" else 1
    eventually(lambda: len(smtp_server.arrived) == arrived_before)
    leases_run_out()
    deliver()
    assert outcomes(message) == [("customer@example.com", "unknown"), ("customer@example.com", "sent")]
    assert len(smtp_server.arrived) == arrived_before + 1
    assert len({arrival.mail["Message-ID"] for arrival in smtp_server.arrived}) == 1


@contextlib.contextmanager
def nobody_writes() -> Iterator[None]:
    """The database accepts no commit of a worker: another process holds SQLite's write lock, or the message table's lock."""
    if connection.vendor == "sqlite":
        import sqlite3

        holder = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            holder.rollback()
            holder.close()
    else:
        import psycopg

        parameters = connection.get_connection_params()
        names = {name: parameters[name] for name in ("dbname", "user", "host", "password", "port") if parameters.get(name)}
        with psycopg.connect(**names) as holder:
            holder.execute("LOCK TABLE outbox_message IN EXCLUSIVE MODE")
            yield
            holder.rollback()


@pytest.mark.parametrize("days", [-3, 3])
def test_a_clock_that_jumps_by_days_stops_no_mail(crm, qa, smtp_server, days):
    """The database's own clock can't be set here, so its times are moved instead: that looks the same from inside."""
    configure(qa, smtp_server, from_domains="*")
    waiting, being_sent = send(crm, qa), send(crm, qa)
    take(qa, 1)
    jump = timedelta(days=days)
    for moved in Message.objects.all():
        moved.due += jump
        if moved.lease_until:
            moved.lease_until += jump
        moved.save()
    for recipient in Recipient.objects.all():
        recipient.due += jump
        recipient.save()
    StageBackoff.objects.create(stage=qa, failures=1, retry_at=timezone.now() + jump)
    for _ in range(2):
        deliver()
        now_due()
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}
    assert {arrival.mail["Message-ID"] for arrival in smtp_server.arrived} == {waiting.message_id, being_sent.message_id}


def test_a_name_that_cannot_be_resolved_holds_up_its_stage_and_loses_nothing(crm, qa, smtp_server):
    configure(qa, server="mail.nowhere.invalid", port=587)
    message = send(crm, qa)
    deliver()
    queue = StageBackoff.objects.get(stage=qa)
    assert queue.code in ("name_not_usable", "name_servers_silent")  # as this machine's resolver has it
    assert not queue.paused
    assert statuses(message) == {"customer@example.com": "queued"}
    configure(qa, smtp_server)
    deliver()
    assert statuses(message) == {"customer@example.com": "sent"}


def test_migrating_while_mail_is_queued_and_delivered_loses_nothing(crm, qa, smtp_server):
    smtp_server.data = lambda _: time.sleep(0.01)
    configure(qa, smtp_server, from_domains="*")
    accepted = {send(crm, qa).message_id for _ in range(200)}
    with worker():
        eventually(lambda: smtp_server.arrived)
        done = manage("migrate")
        assert done.returncode == 0, done.stderr
        eventually(lambda: not _waiting())
    assert {arrival.mail["Message-ID"] for arrival in smtp_server.arrived} == accepted


@pytest.mark.requires_postgresql
def test_a_worker_that_started_with_an_empty_outbox_never_reads_all_of_a_full_one(crm, qa, smtp_server):
    """PostgreSQL keeps the plans it made in the beginning."""
    configure(qa, smtp_server, from_domains="*")
    connection.close()  # and with it the plans of earlier tests: what this one asks doesn't count
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")

    def send_and_see_scans(mails: int) -> dict[str, int]:
        for _ in range(mails):
            before = len(smtp_server.arrived)
            send(crm, qa)
            eventually(lambda before=before: len(smtp_server.arrived) > before)
        time.sleep(2)  # PostgreSQL counts once a second
        with connection.cursor() as cursor:
            cursor.execute("SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname LIKE 'outbox_%'")
            return dict(cursor.fetchall())

    with worker():
        early = send_and_see_scans(12)  # from the tenth time on a plan is kept
        late = send_and_see_scans(12)
    connection.close()
    tables = ("outbox_message", "outbox_recipient", "outbox_content", "outbox_attempt")
    assert {table: late[table] - early[table] for table in tables} == dict.fromkeys(tables, 0)


@pytest.mark.requires_postgresql
def test_a_column_that_changes_its_type_under_a_running_worker_holds_no_mail_up(crm, qa, smtp_server):
    """Over one connection, PostgreSQL always refuses a statement that was prepared for another type."""
    configure(qa, smtp_server, from_domains="*")
    with worker():
        for mails in range(1, 11):  # from the fifth time on they are prepared
            send(crm, qa)
            eventually(lambda mails=mails: len(smtp_server.arrived) == mails)
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE outbox_message ALTER size TYPE bigint")
        try:
            send(crm, qa)
            eventually(lambda: len(smtp_server.arrived) == 11)
            eventually(lambda: not _waiting())
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ALTER TABLE outbox_message ALTER size TYPE integer")


def test_a_long_outage_is_over_within_minutes_of_its_end(crm, qa, smtp_server):
    """While a server can't be reached for hours, no try is counted. The stage checks it once a minute."""
    configure(qa, smtp_server, from_domains="*")
    messages = [send(crm, qa) for _ in range(30)]
    StageBackoff.objects.create(
        stage=qa, failures=500, retry_at=timezone.now() + timedelta(seconds=59), since=timezone.now() - timedelta(hours=9)
    )
    deliver()
    assert smtp_server.connections == 0
    assert pause_after(501, needs_a_person=False) <= timedelta(minutes=1)
    StageBackoff.objects.update(retry_at=timezone.now())  # a minute later
    deliver()
    assert {status for message in messages for status in statuses(message).values()} == {"sent"}
