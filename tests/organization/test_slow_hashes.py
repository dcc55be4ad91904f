"""Who may check a password now, who waits, and who is asked to come back."""

from __future__ import annotations

import runpy
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from organization.exceptions import TooManySignIns
from organization.throttle.slow_hashes import AT_ONCE, WAITING, WAITING_PER_NETWORK, HashQueue
from tests.support.portal import ROOT, eventually


class SignIns:
    """Threads that check passwords. Each notes its name at its turn."""

    def __init__(self, stack: ExitStack) -> None:
        self.queue = HashQueue(patience_seconds=60)
        self.turns: list[str] = []
        self._threads: list[threading.Thread] = []
        self._running = stack
        for _ in range(AT_ONCE):
            stack.enter_context(self.queue.turn("busy", has_failures=False))

    def wait(self, name: str, network: str, *, has_failures: bool = False) -> None:
        before = self.queue.waiting
        thread = threading.Thread(target=self._take_turn, args=(name, network, has_failures), daemon=True)
        thread.start()
        self._threads.append(thread)
        eventually(lambda: self.queue.waiting == before + 1)

    def _take_turn(self, name: str, network: str, has_failures: bool) -> None:
        with self.queue.turn(network, has_failures=has_failures):
            self.turns.append(name)

    def finish(self) -> list[str]:
        self._running.close()
        for thread in self._threads:
            thread.join(60)
        return self.turns

    def is_refused(self, network: str, *, has_failures: bool = False) -> bool:
        try:
            with self.queue.turn(network, has_failures=has_failures):
                return False
        except TooManySignIns:
            return True


@pytest.fixture
def sign_ins() -> Iterator[SignIns]:
    with ExitStack() as stack:
        yield SignIns(stack)


def test_a_network_without_failures_goes_before_one_with_failures(sign_ins: SignIns) -> None:
    sign_ins.wait("guesser", "192.0.2.1", has_failures=True)
    sign_ins.wait("first", "198.51.100.1")
    assert sign_ins.queue._waiting[0].network == "198.51.100.1"
    assert set(sign_ins.finish()) == {"first", "guesser"}


def test_only_one_guesser_waits_so_that_threads_stay_free(sign_ins: SignIns) -> None:
    sign_ins.wait("guesser", "192.0.2.1", has_failures=True)
    assert sign_ins.is_refused("192.0.2.2", has_failures=True)
    sign_ins.wait("member", "198.51.100.1")
    assert sorted(sign_ins.finish()) == ["guesser", "member"]


def test_the_queue_of_one_network_is_short_and_others_still_get_in(sign_ins: SignIns) -> None:
    for number in range(WAITING_PER_NETWORK):
        sign_ins.wait(f"colleague {number}", "192.0.2.1")
    assert sign_ins.is_refused("192.0.2.1")
    sign_ins.wait("elsewhere", "198.51.100.1")
    assert sign_ins.is_refused("203.0.113.1")
    assert len(sign_ins.finish()) == WAITING


def test_one_of_gunicorns_threads_is_left_for_other_pages() -> None:
    threads = runpy.run_path(str(ROOT / "gunicorn.conf.py"))["threads"]
    assert threads > AT_ONCE + WAITING


def test_no_one_waits_for_ever() -> None:
    queue = HashQueue(patience_seconds=0)
    with queue.turn("a", has_failures=False), queue.turn("b", has_failures=False), pytest.raises(TooManySignIns):
        queue.turn("c", has_failures=False).__enter__()
    assert queue.waiting == 0
