"""The hint to Celery's workers, with a real broker on the file system: one after a commit, none otherwise, never in the way."""

from __future__ import annotations

import importlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from delivery import standby, worker
from delivery.models import Worker as LivingWorker
from outbox import retention, wakeup
from outbox.models import Message, Status
from portal import tasks
from tests.support.outbox import leases_run_out, send, take
from tests.support.portal import ROOT, configure, environment, eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def use_broker(settings, monkeypatch) -> Iterator[Callable[[str], Celery]]:
    """Celery with the broker at an address, as in a process that was started so."""
    hints = wakeup.Notifier()
    monkeypatch.setattr(wakeup, "_notifier", hints)

    def use(url: str) -> Celery:
        settings.CELERY_BROKER_URL = url
        sys.modules.pop("portal.celery", None)
        return importlib.import_module("portal.celery").app

    yield use
    sys.modules.pop("portal.celery", None)


@pytest.fixture
def broker(use_broker, tmp_path) -> Celery:
    return use_broker(f"filesystem://{tmp_path}/broker")


def hints(broker: Celery) -> int:
    with broker.connection_for_read() as connection:
        return connection.default_channel.queue_declare("email", durable=True, auto_delete=False).message_count


def read_hints(broker: Celery) -> list[str]:
    """Take all hints out of the broker. Returns the tasks' names."""
    tasks = []
    folder = Path(broker.conf.broker_transport_options["data_folder_in"])
    # A file is there a moment before what it says.
    eventually(lambda: all(file.stat().st_size for file in folder.iterdir() if file.is_file()))
    with broker.connection_for_read() as connection:
        queue = connection.SimpleQueue("email")
        while hints(broker):
            message = queue.get(block=False)
            tasks.append(message.headers["task"])
            message.ack()
        queue.close()
    return tasks


def test_without_a_broker_there_is_no_celery(crm, qa):
    configure(qa)
    code = (
        "import django; django.setup(); import sys; from organization.models import App, Stage;"
        "from outbox.submission import Envelope, submit; from outbox.models import Source;"
        "submit(App.objects.get(), Stage.objects.get(), Envelope('', ['a@example.com']), b'Subject: x', via=Source.COMMAND);"
        "import delivery.worker; assert not {'celery', 'kombu'} & set(sys.modules)"
    )
    variables = {**environment(), "DJANGO_SETTINGS_MODULE": "portal.settings", "CELERY_BROKER_URL": ""}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=variables, check=True, timeout=180)
    assert Message.objects.exists()


def test_celery_without_a_broker_says_so(use_broker):
    with pytest.raises(ImproperlyConfigured, match="CELERY_BROKER_URL is empty"):
        use_broker("")


def test_a_mail_that_was_committed_wakes_a_worker(broker, crm, qa):
    send(crm, qa)
    eventually(lambda: hints(broker) == 1)
    assert read_hints(broker) == ["portal.tasks.drain"]


def test_a_hint_comes_after_the_commit_and_none_after_a_rollback(broker, crm, qa):
    with transaction.atomic():
        send(crm, qa)
        time.sleep(0.3)
        assert hints(broker) == 0
    eventually(lambda: hints(broker) == 1)
    read_hints(broker)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        send(crm, qa)
        raise ZeroDivisionError
    time.sleep(0.3)
    assert hints(broker) == 0


def test_a_thousand_mails_in_a_moment_are_one_hint(broker, crm, qa):
    with transaction.atomic():
        for _ in range(1000):
            wakeup.notify_on_commit()
    eventually(lambda: hints(broker))
    time.sleep(0.5)
    assert hints(broker) == 1


def test_hints_of_one_process_are_a_tenth_of_a_second_apart(broker, monkeypatch):
    """Also when workers take each at once."""
    published: list[float] = []
    stop = threading.Event()

    def read_at_once() -> None:
        while not stop.is_set():
            try:
                published.extend(time.monotonic() for _ in read_hints(broker))
            except json.JSONDecodeError:  # a folder's file that is being written: a hint all the same
                published.append(time.monotonic())

    def more_are_wanted() -> bool:
        wakeup.notify_on_commit()
        return len(published) < 6

    reader = threading.Thread(target=read_at_once)
    began = time.monotonic()
    reader.start()
    try:
        while more_are_wanted():
            assert time.monotonic() < began + 60
    finally:
        stop.set()
        reader.join()
    assert published[-1] - began > 0.1 * (len(published) - 1)


def test_hints_do_not_pile_up_while_no_worker_takes_them(broker, crm, qa):
    send(crm, qa)
    eventually(lambda: hints(broker) == 1)
    for _ in range(4):
        send(crm, qa)
        time.sleep(0.15)
    assert hints(broker) == 1


@pytest.fixture(params=["redis refuses", "redis hangs", "amqp refuses", "amqp hangs"])
def useless_broker(request, closed_port) -> Iterator[str]:
    """The address of a broker that doesn't listen, or that accepts a connection and never answers."""
    scheme, what = request.param.split()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if what == "hangs" else closed_port
        yield f"{scheme}://127.0.0.1:{port}//"


def test_a_broker_that_refuses_or_hangs_costs_those_who_submit_nothing(use_broker, crm, qa, useless_broker, monkeypatch):
    """Only a thread that nobody waits for ever turns to it."""
    turned_to_it, connect = set[str](), socket.socket.connect

    def watched(sock, address):
        turned_to_it.add(threading.current_thread().name)
        return connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    use_broker(useless_broker)
    for _ in range(20):
        send(crm, qa)
    eventually(lambda: turned_to_it)
    assert turned_to_it == {"wake-up"}
    assert Message.objects.count() == 20


def test_a_broker_that_comes_back_gets_hints_again(use_broker, crm, qa, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(wakeup, "BROKEN_SECONDS", 0.1)
    broker = use_broker(f"filesystem://{tmp_path}/broker")
    (tmp_path / "broker").rename(tmp_path / "away")
    send(crm, qa)
    eventually(lambda: "broker_unavailable" in caplog.text)
    (tmp_path / "away").rename(tmp_path / "broker")
    send(crm, qa)
    eventually(lambda: hints(broker) == 1)


def test_the_file_system_broker_keeps_to_its_folder(broker, tmp_path, crm, qa):
    send(crm, qa)
    eventually(lambda: hints(broker) == 1)
    assert list(tmp_path.iterdir()) == [tmp_path / "broker"]
    assert not [name for name in ("data_in", "data_out", "control") if Path(name).exists()]


def test_the_tasks_do_what_the_worker_does(crm, qa, configured, smtp_server, monkeypatch):
    message = send(crm, qa)
    tasks.drain()
    assert len(smtp_server.arrived) == 1
    assert not LivingWorker.objects.exists()

    Message.objects.filter(pk=message.pk).update(status=Status.QUEUED)
    message.recipients.update(status=Status.QUEUED)
    take(qa, 1)
    leases_run_out()
    tasks.run_job("sweep")
    message.refresh_from_db()
    assert message.status == Status.QUEUED

    pruned = []
    monkeypatch.setattr(retention, "prune", lambda: pruned.append(1))
    tasks.run_job("prune")
    assert pruned == [1]


def test_one_drain_at_a_time_in_a_process(crm, qa, configured, smtp_server):
    """The second waits for the first, and then delivers what came too late for it."""
    at_once, most = [0], [0]
    real = worker.Worker.drain

    def counted(self, *args):
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        try:
            real(self, *args)
        finally:
            at_once[0] -= 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.Worker, "drain", counted)
        for _ in range(20):
            send(crm, qa)
        threads = [threading.Thread(target=_drain_and_close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert most == [1]
    assert len(smtp_server.arrived) == 20


def _drain_and_close() -> None:
    from django.db import connection

    try:
        tasks.drain()
    finally:
        connection.close()


def test_a_process_that_stands_by_reports_that_it_lives_and_delivers_without_any_hint(crm, qa, configured, smtp_server):
    process = standby.Standby()
    process.start()
    try:
        eventually(lambda: LivingWorker.objects.count() == 1)
        send(crm, qa)
        eventually(lambda: len(smtp_server.arrived) == 1)
        eventually(lambda: Message.objects.get().status == Status.SENT)
        assert LivingWorker.objects.count() == 1
    finally:
        process.stop()
    assert not LivingWorker.objects.exists()


def test_a_drain_ends_in_time_also_when_there_is_more_to_do(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*", connections=1)
    smtp_server.data = lambda _: time.sleep(0.05)
    for _ in range(100):
        send(crm, qa)
    worker.Worker().drain(seconds=1.5)
    assert 0 < Message.objects.filter(status=Status.SENT).count() < 100
    assert not Message.objects.filter(status=Status.SENDING).exists()
