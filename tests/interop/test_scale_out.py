"""The scaled-out form for real: PostgreSQL, a broker, beat, Celery's workers, several gateways and web processes."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection

from delivery.models import Worker
from organization.credentials import create_credential
from outbox.models import Message, Source, Status
from outbox.submission import Envelope, submit_together
from outbox.values import Submission
from tests.interop.processes import App, Portal, Sink, printed, rabbitmq, redis, sink
from tests.support.outbox import leases_run_out
from tests.support.portal import OPERATOR, configure, eventually, manage

pytestmark = [pytest.mark.interop, pytest.mark.django_db(transaction=True)]

# The stage's, in the tests in which something is killed: each may deliver two messages twice.
CONNECTIONS = 4


@pytest.fixture(autouse=True)
def _on_postgresql() -> None:
    assert connection.vendor == "postgresql", "run them with make interop"


@pytest.fixture
def server(folder) -> Iterator[Sink]:
    with sink(folder) as started:
        yield started


@pytest.fixture(params=["Redis", "RabbitMQ"])
def broker(request, folder) -> Iterator[str]:
    if request.param == "RabbitMQ":
        with rabbitmq(folder) as address:
            yield address
    else:
        with redis(folder) as (address, _):
            yield address


def apps(crm, qa, portal: Portal, ports: list[int], messages: int, pause: float) -> list[App]:
    new = create_credential(crm, qa, OPERATOR)
    return [App(port, new.credential.username, new.password, messages, pause) for port in ports]


def accepted_by(*senders: object) -> dict[str, float]:
    return {message_id: moment for sender in senders for message_id, moment in sender.accepted.items()}  # type: ignore[attr-defined]


def all_sent() -> bool:
    return not Message.objects.exclude(status=Status.SENT).exists()


def waits(server: Sink, accepted: dict[str, float]) -> str:
    """From acceptance to the server's 250, in words."""
    arrived = {message_id: moment for moment, message_id in reversed(server.arrivals)}
    delays = sorted(1000 * (arrived[message_id] - moment) for message_id, moment in accepted.items())
    p95 = delays[int(0.95 * len(delays))]
    return f"p50 {statistics.median(delays):.0f} ms, p95 {p95:.0f} ms, most {delays[-1]:.0f} ms ({len(delays)} messages)"


def test_mail_from_two_gateways_two_web_processes_and_commands_arrives_once(crm, qa, server, broker, start_portal):
    configure(qa, port=server.port, from_domains="*", connections=CONNECTIONS)
    portal = start_portal(broker)
    portal.worker(2)
    portal.beat()
    ports = [portal.gateway()[0] for _ in range(2)]
    senders = [*apps(crm, qa, portal, ports, 100, 0.01), *(portal.web(100, 0.01) for _ in range(2))]
    for number in range(2):
        done = manage("send_email", "crm", "qa", "--to", "a@example.com", "--subject", f"command {number}")
        assert done.returncode == 0, done.stderr
    for sender in senders:
        sender.thread.join(60) if isinstance(sender, App) else sender.wait()
    eventually(all_sent, 30)
    accepted = accepted_by(*senders)
    assert len(accepted) == 400
    assert server.counts == Counter(Message.objects.values_list("message_id", flat=True))
    assert set(accepted) <= set(server.counts)


def test_how_long_a_mail_takes_when_the_portal_is_idle(crm, qa, server, broker, start_portal):
    configure(qa, port=server.port, from_domains="*", connections=CONNECTIONS)
    portal = start_portal(broker)
    portal.worker(2)
    portal.beat()
    (sender,) = apps(crm, qa, portal, [portal.gateway()[0]], 40, 0.3)
    sender.thread.join(60)
    eventually(all_sent)
    printed(f"acceptance → 250 when idle, {broker.partition(':')[0]}: {waits(server, sender.accepted)}")


def test_how_long_it_takes_with_deliver_in_comparison(crm, qa, server, start_portal):
    configure(qa, port=server.port, from_domains="*", connections=CONNECTIONS)
    portal = start_portal("")
    portal.start("deliver", "manage.py", "deliver")
    (sender,) = apps(crm, qa, portal, [portal.gateway()[0]], 40, 0.3)
    sender.thread.join(60)
    eventually(all_sent)
    printed(f"acceptance → 250 when idle, manage.py deliver: {waits(server, sender.accepted)}")


def test_more_processes_deliver_more(crm, qa, folder, start_portal):
    """A server that answers each mail after 20 ms; every process brings four connections to it."""
    rows, first = ["processes  connections  messages/s  against one"], 0.0
    with redis(folder) as (address, _):
        for processes in (1, 2, 4):
            with sink(folder, delay=0.02) as server:
                configure(qa, port=server.port, connections=4 * processes, from_domains="*")
                submit_many(crm, qa, 1000 * processes)
                worker = start_portal(address).worker(processes)
                eventually(all_sent, 120)
                worker.end()
                assert Counter(server.counts.values()) == {1: 1000 * processes}
                rate = rate_of(server)
                first = first or rate
                rows.append(f"{processes:9}  {4 * processes:11}  {rate:7.0f}  {rate / first:11.2f}")
    printed("\n".join(rows))


def submit_many(crm, qa, messages: int) -> None:
    envelope = Envelope("crm@acme.example", ["customer@example.com"])
    content = b"From: crm@acme.example\r\nSubject: Hi\r\n\r\nHi\r\n"  # without a From each would get a note, which costs time
    for start in range(0, messages, 500):
        submit_together([Submission(crm, qa, envelope, content, Source.COMMAND)] * min(500, messages - start))


def rate_of(server: Sink) -> float:
    """Messages a second, in the middle half."""
    moments = [moment for moment, _ in server.arrivals]
    middle = moments[len(moments) // 4 : 3 * len(moments) // 4]
    return (len(middle) - 1) / (middle[-1] - middle[0])


@pytest.mark.parametrize("part", ["gateway", "worker", "beat", "web"])
def test_any_part_may_be_killed_and_started_again(crm, qa, folder, start_portal, part):
    with redis(folder) as (address, _), sink(folder, delay=0.01) as server:
        configure(qa, port=server.port, from_domains="*", connections=CONNECTIONS)
        portal = start_portal(address)
        worker, beat = portal.worker(2), portal.beat()
        gateways = [portal.gateway() for _ in range(2)]
        webs = [portal.web(300, 0.005) for _ in range(2)]
        senders = apps(crm, qa, portal, [port for port, _ in gateways], 300, 0.005)
        eventually(lambda: len(server.arrivals) > 100, 60)
        victim = {"gateway": gateways[0][1], "worker": worker, "beat": beat, "web": webs[0].process}[part]
        victim.kill()
        time.sleep(0.5)
        if part == "worker":
            leases_run_out()
        accepted_before_death = set(webs[0].accepted)
        victim.start()
        for sender in senders:
            sender.thread.join(90)
        for web in webs:
            web.wait()
        eventually(all_sent, 90)
        counts = server.counts
        accepted = accepted_by(*senders, *webs)
        assert len(accepted) >= 1200
        assert accepted_before_death | set(accepted) <= set(counts)
        assert set(counts) == set(Message.objects.values_list("message_id", flat=True))
        twice = sum(counts.values()) - len(counts)
        # A gateway killed between its commit and its 250 has stored what the app then sends again as another mail.
        asked_again = Message.objects.count() - Message.objects.values("message_id").distinct().count()
        assert twice <= 2 * CONNECTIONS + asked_again
        printed(f"{part} killed: {len(accepted)} messages accepted, none lost, {twice} arrived twice")


def test_a_single_process_of_a_worker_that_dies_is_replaced(crm, qa, folder, server, start_portal):
    configure(qa, port=server.port, from_domains="*", connections=CONNECTIONS)
    with redis(folder) as (address, _):
        portal = start_portal(address)
        pid = portal.worker(2).process.pid
        processes = Path(f"/proc/{pid}/task/{pid}/children")
        before = processes.read_text().split()
        os.kill(int(before[0]), signal.SIGKILL)
        eventually(lambda: len(set(processes.read_text().split()) - set(before)) == 1, 30)
        web = portal.web(20, 0.05)
        web.wait()
        eventually(all_sent)
        assert set(web.accepted) == set(server.counts)


def test_without_its_broker_the_portal_accepts_and_delivers(crm, qa, folder, server, start_portal):
    configure(qa, port=server.port, from_domains="*", connections=CONNECTIONS)
    with redis(folder) as (address, broker):
        portal = start_portal(address)
        portal.worker(2)
        portal.beat()
        port, _ = portal.gateway()

        def send() -> tuple[dict[str, float], list[float]]:
            web = portal.web(20, 0.1)
            (app,) = apps(crm, qa, portal, [port], 20, 0.1)
            web.wait()
            app.thread.join(60)
            eventually(all_sent, 30)
            return accepted_by(web, app), web.seconds

        for state in ("there", "gone", "back"):
            if state == "gone":
                broker.kill()
            elif state == "back":
                broker.start()
                time.sleep(8.0)  # the workers try again after 2, 4, 6 … seconds
            accepted, seconds = send()
            assert len(accepted) == 40
            assert set(accepted) <= set(server.counts)
            took = f"send_mail() p50 {1000 * statistics.median(seconds):.1f} ms, most {1000 * max(seconds):.1f} ms"
            printed(f"broker {state}: {took}; acceptance → 250: {waits(server, accepted)}")
        assert set(server.counts.values()) == {1}


def test_a_broker_that_was_never_there_stops_no_process(crm, qa, server, start_portal):
    configure(qa, port=server.port, from_domains="*", connections=CONNECTIONS)
    portal = start_portal("redis://127.0.0.1:1/0")
    portal.worker(1)
    web = portal.web(5, 0.0)
    web.wait()
    eventually(all_sent, 30)
    assert set(web.accepted) == set(server.counts)


def test_a_worker_told_to_stop_finishes_what_is_on_the_wire(crm, qa, folder, start_portal):
    with redis(folder) as (address, _), sink(folder, delay=0.2) as server:
        configure(qa, port=server.port, from_domains="*", connections=CONNECTIONS)
        portal = start_portal(address)
        worker = portal.worker(2)
        portal.web(200, 0.0).wait()
        eventually(lambda: len(server.arrivals) > 10)
        worker.end()
        assert not Message.objects.filter(status=Status.SENDING).exists()
        assert Message.objects.filter(status=Status.SENT).count() == len(server.arrivals)
        assert not Worker.objects.exists()


def test_celery_over_a_folder_on_one_machine(crm, qa, folder, server, start_portal):
    configure(qa, port=server.port, from_domains="*", connections=CONNECTIONS)
    portal = start_portal(f"filesystem://{folder}/broker")
    portal.worker(1)
    web = portal.web(20, 0.05)
    web.wait()
    eventually(all_sent)
    assert set(server.counts.values()) == {1}
    printed(f"acceptance → 250, a folder as broker: {waits(server, web.accepted)}")
