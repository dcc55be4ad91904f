"""However many ask whether the database answers, one thread finds out, and nobody waits for long."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from portal import watch
from tests.support.portal import eventually


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(watch, "FRESH_SECONDS", 0.0)


def test_twelve_probes_of_a_database_that_hangs_take_one_thread() -> None:
    answers, looks = threading.Event(), []

    def look() -> str:
        looks.append(threading.current_thread())
        answers.wait(60)
        return "answers"

    watched = watch.Watch(look, hangs="hangs")
    assert not watched.hangs
    with ThreadPoolExecutor(12) as probes:
        assert {probe.result() for probe in [probes.submit(watched.latest) for _ in range(12)]} == {"hangs"}
    assert watched.hangs
    assert len(looks) == 1
    answers.set()
    eventually(lambda: watched.latest() == "answers")
    assert not watched.hangs
    assert len(set(looks)) == 1


def test_what_goes_wrong_while_looking_is_told_and_the_next_look_is_a_new_one() -> None:
    results = iter([ZeroDivisionError(), "answers"])

    def look() -> str:
        if isinstance(result := next(results), Exception):
            raise result
        return result

    watched = watch.Watch(look, hangs="hangs")
    with pytest.raises(ZeroDivisionError):
        watched.latest()
    assert watched.latest() == "answers"
