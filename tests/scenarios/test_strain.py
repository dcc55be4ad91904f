"""Strain: databases that restart, servers that answer oddly or not at all, processes killed with mail in the kernel."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

import delivery.batches
import delivery.receivers
import delivery.session
import delivery.wire.smtp_dialogue
import emailconfig.connection.setup
from delivery import backoff, connection_slots
from delivery.config import DeliveryConfig
from delivery.leases import recover_abandoned
from delivery.models import ConnectionSlot, StageBackoff
from delivery.worker import Worker, sweep
from emailconfig.connection import ConnectionFailure
from outbox.models import Message, Recipient, Status
from outbox.states import release_what_waits
from testlists.services import wait_until_none_in_flight
from tests.support.certificates import Authority
from tests.support.outbox import deliver, deliver_beside, hold_the_line, leases_run_out, outcomes, send, set_list, statuses, take
from tests.support.portal import configure, eventually, mail, running
from tests.support.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def smtp_server():
    with SmtpServer(pipelining=True) as server:
        yield server


@contextlib.contextmanager
def live(config=None):
    """A worker on a thread of this process, where a test can strain it."""
    worker = Worker(config=config)

    def run():
        try:
            worker.run()
        finally:
            connection.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(40)


def cut_all():
    """Cut all connections but this one, as a restart of PostgreSQL does."""
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")


@contextlib.contextmanager
def sending_first_of(app, stage, smtp_server):
    """A worker process on whose only connection a message waits for the server's answer. `go` lets the server answer."""
    on_the_wire, go = threading.Event(), threading.Event()

    def answer(_):
        on_the_wire.set()
        go.wait(60)

    smtp_server.data = answer
    configure(stage, smtp_server, from_domains="*", connections=1)
    first = send(app, stage)
    with running("deliver"):
        assert on_the_wire.wait(60)
        yield first, go


def sent(message):
    return statuses(message) == {"customer@example.com": "sent"}


SHORT_PATIENCE = DeliveryConfig(final_reply_seconds=1.0)


def no_connection_is_left():
    return not ConnectionSlot.objects.exists()


@pytest.mark.requires_postgresql  # SQLite has no connections to cut
def test_a_database_restart_leaves_the_stage_its_connections(crm, qa, smtp_server):
    with sending_first_of(crm, qa, smtp_server) as (first, go):
        cut_all()  # PostgreSQL restarts; it's back at once
        go.set()
        eventually(lambda: sent(first))
        eventually(no_connection_is_left)
        second = send(crm, qa)
        eventually(lambda: sent(second))
        eventually(no_connection_is_left)


def test_a_connection_whose_place_cannot_be_freed_now_is_freed_later(crm, qa, smtp_server, monkeypatch):
    """The same for both databases, with one DELETE that fails. Without the retry the stage would have no connection left."""
    configure(qa, smtp_server, from_domains="*", connections=1)
    real, failed = connection_slots.release, threading.Event()

    def free(place):
        if not failed.is_set():
            failed.set()
            raise OperationalError("database is locked")
        real(place)

    monkeypatch.setattr(connection_slots, "release", free)
    with live():
        first = send(crm, qa)
        eventually(lambda: sent(first))
        assert failed.wait(60)
        eventually(no_connection_is_left)
        second = send(crm, qa)
        eventually(lambda: sent(second))
        eventually(no_connection_is_left)


@pytest.mark.requires_postgresql  # SQLite has no connections to cut
def test_a_large_mail_survives_a_database_restart(crm, qa, smtp_server):
    with sending_first_of(crm, qa, smtp_server) as (_, go):
        large = send(crm, qa, content=mail(body="x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 10_000))
        cut_all()
        go.set()
        eventually(lambda: statuses(large)["customer@example.com"] not in ("queued", "sending"))
        assert statuses(large) != {"customer@example.com": "failed"}, large.recipients.get().last_reply


def short_leases(lease, renew_every):
    return DeliveryConfig(
        lease=timedelta(seconds=lease), renew_every=timedelta(seconds=renew_every), lease_margin_seconds=1.0, sweep_seconds=1.0
    )


def test_a_lost_lease_strands_none_of_the_connections_other_mails(crm, qa, smtp_server, monkeypatch):
    """The database is unreachable for nearly a lease: the older message's lease is lost, the new one's is renewed for ever."""
    configure(qa, smtp_server, from_domains="*", connections=1)
    real = delivery.batches.query_claim
    calls = [0]
    away = [0.0, 0.0]

    def query_claim(*request):
        calls[0] += 1
        if calls[0] == 3:
            away[:] = [time.monotonic(), time.monotonic() + 4.5]
        if calls[0] >= 3 and time.monotonic() < away[1]:
            raise OperationalError("the database is away")
        return real(*request)

    monkeypatch.setattr(delivery.batches, "query_claim", query_claim)
    [send(crm, qa) for _ in range(6)]

    def all_are_sent():
        Recipient.objects.filter(status="deferred").update(due=timezone.now())
        Message.objects.filter(status="deferred").update(due=timezone.now())
        return Counter(Message.objects.values_list("status", flat=True)) == {"sent": 6}

    with live(short_leases(lease=5.0, renew_every=1.0)):
        eventually(lambda: away[1] and time.monotonic() > away[1])
        eventually(all_are_sent)


@pytest.mark.requires_postgresql  # SQLite has one writer at a time
def test_emails_are_accepted_while_a_member_saves_the_settings(crm, qa, smtp_server, monkeypatch):
    configure(qa, smtp_server, from_domains="*")
    set_list(crm, qa, active=False)
    saving, accepted = threading.Event(), threading.Event()

    def save_slowly(stage_id):
        saving.set()
        assert accepted.wait(60), "nothing was accepted before the settings were saved"

    def accept():
        saving.wait(60)
        send(crm, qa)
        accepted.set()
        connection.close()

    monkeypatch.setattr(delivery.receivers.backoff, "reset", save_slowly)
    thread = threading.Thread(target=accept)
    thread.start()
    configure(qa, smtp_server, from_domains="*")
    thread.join(60)
    assert Message.objects.count() == 1


@pytest.mark.parametrize("count", [100, 1000])
def test_one_death_of_a_worker_counts_once_however_many_recipients_a_mail_has(crm, qa, smtp_server, count):
    configure(qa, smtp_server, from_domains="*")
    message = send(crm, qa, *[f"r{n}@example.com" for n in range(count)])
    assert take(qa, 1)
    leases_run_out()
    recover_abandoned()
    message.refresh_from_db()
    deaths = message.attempts.order_by().values("created").distinct().count()
    assert (message.status, deaths) == (Status.QUEUED, 1)


class SlowReader:
    """A server that accepts the envelope, then doesn't read until told. Its TCP window is small."""

    def __enter__(self):
        self.server = socket.socket()
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.server.bind(("127.0.0.1", 0))
        self.server.listen()
        self.port = self.server.getsockname()[1]
        self.got = b""
        self.data, self.read_on, self.ended = threading.Event(), threading.Event(), threading.Event()
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.read_on.set()
        self.server.close()

    def _run(self):
        with contextlib.suppress(OSError):
            client, _ = self.server.accept()
            client.sendall(b"220 hello\r\n")
            buffer = b""
            while b"DATA\r\n" not in buffer:
                piece = client.recv(100)
                buffer += piece
                for line in piece.split(b"\r\n")[:-1]:
                    client.sendall(b"354 go on\r\n" if line == b"DATA" else b"250 Ok\r\n")
            self.data.set()
            self.read_on.wait(60)
            try:
                while piece := client.recv(65536):
                    self.got += piece
            except OSError as error:
                self.got += f"[{error}]".encode()
            self.ended.set()


BODY = b"From: crm@acme.example\r\nTo: real@example.com\r\n\r\n" + (b"x" * 78 + b"\r\n") * 3000


def test_what_a_killed_worker_had_written_does_not_arrive_later(crm, qa):
    with SlowReader() as server:
        configure(qa, port=server.port, from_domains="*", connections=1)
        send(crm, qa, "real@example.com", content=BODY)
        with running("deliver") as process:
            assert server.data.wait(60)
            time.sleep(1.0)
            process.kill()
            process.wait()
        leases_run_out()
        activated = set_list(crm, qa, "ana@acme.example")
        sweep()
        assert wait_until_none_in_flight(activated) == 0
        server.read_on.set()
        assert server.ended.wait(60)
        assert not server.got.endswith(b"\r\n.\r\n"), f"{len(server.got)} bytes, the final dot included, for real@example.com"


def test_what_was_written_before_a_reply_timed_out_does_not_arrive_later(crm, qa):
    """Otherwise the outcome would be unknown, and no message would count as being sent, while the kernel still sends it."""
    with SlowReader() as server:
        configure(qa, port=server.port, from_domains="*", connections=1)
        message = send(crm, qa, "real@example.com", content=BODY)
        deliver(SHORT_PATIENCE)
        assert outcomes(message) == [("real@example.com", "unknown")]
        activated = set_list(crm, qa, "ana@acme.example")
        assert wait_until_none_in_flight(activated) == 0
        server.read_on.set()
        assert server.ended.wait(60)
        assert not server.got.endswith(b"\r\n.\r\n"), f"{len(server.got)} bytes, the final dot included, for real@example.com"


def test_a_server_that_never_answers_the_content_is_not_waited_for_longer_than_that(crm, qa, smtp_server):
    _, answer = hold_the_line(smtp_server)
    configure(qa, smtp_server, from_domains="*", connections=1)
    message = send(crm, qa, "real@example.com")
    deliver(SHORT_PATIENCE)
    answer.set()
    assert outcomes(message) == [("real@example.com", "unknown")]


def test_a_worker_that_ends_before_a_silent_server_answers_leaves_no_connection_behind(crm, qa, smtp_server):
    """A Celery process lives on. So the connection is cut when its message no longer belongs to this worker."""
    asked, answer = hold_the_line(smtp_server)
    configure(qa, smtp_server, from_domains="*", connections=1)
    message = send(crm, qa, "real@example.com")
    worker = Worker(config=short_leases(lease=4.0, renew_every=0.5))
    worker.drain(0.5)
    assert asked.is_set()
    (session,) = [running.thread for running in worker._sessions]
    assert session.is_alive()
    session.join(20)
    assert not session.is_alive()
    answer.set()
    leases_run_out()
    recover_abandoned()
    assert outcomes(message) == [("real@example.com", "unknown")]


def test_mail_of_a_list_of_removed_members_is_held_once_over_one_connection(crm, qa, smtp_server, viewer):
    configure(qa, smtp_server, from_domains="*")
    set_list(crm, qa, viewer.email)
    viewer.is_active = False
    viewer.save()
    for _ in range(40):
        send(crm, qa)
    deliver()
    assert Counter(Message.objects.values_list("status", flat=True)) == {"held": 40}
    release_what_waits()
    assert Counter(Message.objects.values_list("status", flat=True)) == {"held": 40}
    assert smtp_server.connections <= 4


def test_one_sender_that_the_server_turns_away_does_not_stop_the_stage(crm, qa, smtp_server):
    smtp_server.mail = lambda sender: "421 4.7.0 this sender sends too much" if sender == "bad@acme.example" else None
    configure(qa, smtp_server, from_domains="*", connections=1)
    send(crm, qa, sender="bad@acme.example")
    good = send(crm, qa)
    for _ in range(8):
        StageBackoff.objects.update(retry_at=timezone.now() - timedelta(seconds=1))
        deliver()
    assert statuses(good) == {"customer@example.com": "sent"}


def test_a_refused_connection_beside_one_that_works_is_no_lasting_trouble(crm, qa, monkeypatch):
    """Otherwise the back-off lasts: the session that works doesn't end it, and meanwhile no other session tries the server."""
    monkeypatch.setattr(backoff, "_UNREACHABLE", (timedelta(seconds=1), timedelta(seconds=2)))
    with SmtpServer() as server:
        server.data = lambda _: time.sleep(0.1)
        configure(qa, server, from_domains="*", connections=4)
        real, calls = delivery.session.connect, [0]

        def connect(settings):
            calls[0] += 1
            if calls[0] == 2:
                time.sleep(0.5)  # the first one is welcome by now
                raise ConnectionFailure("greeting", "too_many_connections", "421 too many connections")
            if calls[0] in (3, 4):
                time.sleep(0.4)
                raise ConnectionFailure("greeting", "too_many_connections", "421 too many connections")
            return real(settings)

        real_note, noted = backoff.record_failure, threading.Event()

        def record_failure(*trouble):
            real_note(*trouble)
            noted.set()

        monkeypatch.setattr(delivery.session, "connect", connect)
        monkeypatch.setattr(backoff, "record_failure", record_failure)
        for _ in range(150):
            send(crm, qa)
        with live():
            assert noted.wait(60)
            eventually(lambda: not StageBackoff.objects.filter(failures__gt=0).exists())
            assert len(server.arrived) < 150  # the first session still runs


def test_a_server_that_drips_after_a_slow_handshake_is_cut_off_too(crm, qa, tmp_path, monkeypatch):
    monkeypatch.setattr(emailconfig.connection.setup, "SETUP_SECONDS", 1.0)
    authority = Authority(tmp_path)
    context = authority.server_context("localhost")
    listener = socket.create_server(("localhost", 0))

    def serve():
        with contextlib.suppress(OSError):
            client, _ = listener.accept()
            time.sleep(2.0)  # a slow handshake: the timer fires meanwhile, and only once
            tls = context.wrap_socket(client, server_side=True)
            for _ in range(300):
                tls.send(b"2")
                time.sleep(0.1)

    threading.Thread(target=serve, daemon=True).start()
    configure(
        qa, port=listener.getsockname()[1], server="localhost", security="tls", ca_certificate=authority.pem, from_domains="*"
    )
    send(crm, qa)
    thread = threading.Thread(target=deliver_beside, daemon=True)
    thread.start()
    thread.join(25)  # the server drips for thirty seconds
    alive = thread.is_alive()
    listener.close()
    thread.join(60)
    assert not alive, "still in connect() after 25 s of a limit of 1 s"


@pytest.mark.batches_fail
def test_a_hand_over_that_the_database_refuses_is_not_tried_without_a_pause(crm, qa, smtp_server, monkeypatch):
    from django.db import DataError

    configure(qa, smtp_server, from_domains="*", connections=1)
    send(crm, qa)

    def query_claim(*request):
        raise DataError("value too long")

    monkeypatch.setattr(delivery.batches, "query_claim", query_claim)
    with live():
        time.sleep(3)
        assert smtp_server.connections < 10, smtp_server.connections


def test_a_large_mail_leaves_piece_by_piece():
    read = []

    def parts():
        for number in range(10):
            read.append(number)
            yield b"x" * 1_000_000

    class Smtp:
        sock = None
        first = None

        def has_extn(self, name):
            return False

        def send(self, data):
            if self.first is None:
                self.first = len(read)

    smtp = Smtp()
    dialogue = delivery.wire.smtp_dialogue.SmtpDialogue(smtp, lambda: None, time.monotonic, DeliveryConfig())
    dialogue._send_content(delivery.wire.smtp_dialogue.OutgoingMessage("", (), parts(), 10_000_000), b"")
    assert smtp.first <= 2, f"{smtp.first} of 10 pieces in memory before the first left"


def test_a_limit_of_recipients_said_as_552_fails_nobody(crm, qa, smtp_server):
    """RFC 5321 section 4.5.3.1.10: a client should treat a 552 to RCPT TO as a 452."""
    count = Counter()

    def rcpt(_):
        count["n"] += 1
        return "552 too many recipients" if count["n"] > 2 else None

    smtp_server.rcpt = rcpt
    configure(qa, smtp_server, from_domains="*")
    message = send(crm, qa, *[f"r{n}@example.com" for n in range(4)])
    deliver()
    assert Counter(statuses(message).values()) == {"sent": 2, "deferred": 2}


class Scripted:
    """A server that sends one line too many after the first content."""

    def __enter__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.close()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.server.accept()
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client):
        with contextlib.suppress(OSError), client, client.makefile("rb") as lines:
            client.sendall(b"220 hello\r\n")
            content = False
            for line in lines:
                if content:
                    if line == b".\r\n":
                        content = False
                        client.sendall(b"please wait\r\n250 Ok\r\n")
                elif line.startswith(b"RCPT") and b"nobody" in line:
                    client.sendall(b"550 5.1.1 no such user nobody\r\n")
                elif line == b"DATA\r\n":
                    content = True
                    client.sendall(b"354 go on\r\n")
                else:
                    client.sendall(b"250 Ok\r\n")


def test_an_answer_too_many_is_not_taken_for_the_next_mails(crm, qa):
    with Scripted() as server:
        configure(qa, port=server.port, from_domains="*", connections=1)
        send(crm, qa, "first@example.com")
        second = send(crm, qa, "fine@example.com", "nobody@example.com")
        deliver()
        assert statuses(second).get("fine@example.com") != "failed", [
            (recipient.address, recipient.status, recipient.last_reply) for recipient in second.recipients.all()
        ]


@pytest.mark.requires_postgresql  # SQLite has no connections to cut
def test_saving_the_settings_of_a_stage_in_trouble_and_its_workers_do_not_block_each_other(crm, qa, smtp_server, monkeypatch):
    configure(qa, smtp_server, from_domains="*")
    StageBackoff.objects.create(stage=qa, failures=1, retry_at=timezone.now())
    connection_slots.register("w")
    errors = []
    real_clear, real_create = backoff.reset, ConnectionSlot.objects.bulk_create
    locked, saving = threading.Event(), threading.Event()

    def clear(stage_id):
        saving.set()
        locked.wait(60)
        real_clear(stage_id)

    def create(places):
        locked.set()
        time.sleep(0.3)
        return real_create(places)

    def take_place():
        saving.wait(60)
        try:
            connection_slots.acquire("w", qa.pk, 1)
        except Exception as error:
            errors.append(("worker", str(error).splitlines()[0]))
        finally:
            connection.close()

    monkeypatch.setattr(delivery.receivers.backoff, "reset", clear)
    monkeypatch.setattr(ConnectionSlot.objects, "bulk_create", create)
    thread = threading.Thread(target=take_place)
    thread.start()
    try:
        configure(qa, smtp_server, from_domains="*")
    except Exception as error:
        errors.append(("admin", str(error).splitlines()[0]))
    thread.join(60)
    assert errors == []


def test_a_limit_of_mails_per_connection_costs_a_new_connection_and_no_pause(crm, qa, smtp_server):
    count = Counter()

    def mail_from(_):
        count["n"] += 1
        return "421 4.7.0 ten messages per connection, please reconnect" if count["n"] % 11 == 0 else None

    smtp_server.mail = mail_from
    configure(qa, smtp_server, from_domains="*", connections=1)
    for _ in range(30):
        send(crm, qa)
    with live():
        eventually(lambda: len(smtp_server.arrived) == 30)
    assert smtp_server.connections == 3
    assert not StageBackoff.objects.filter(failures__gt=0).exists()
