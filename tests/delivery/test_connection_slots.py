"""How many connections a stage has, over all workers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from delivery.connection_slots import acquire, register, unregister
from delivery.models import Worker
from tests.support.portal import configure

pytestmark = pytest.mark.django_db(transaction=True)


def test_workers_together_open_no_more_connections_than_the_stage_allows(crm, qa, smtp_server):
    configure(qa, smtp_server, from_domains="*", connections=3)
    register("one")
    register("two")
    assert [len(acquire(worker, qa.pk, 1)) for worker in ("one", "two", "one", "two")] == [1, 1, 1, 0]
    unregister("one")
    assert len(acquire("two", qa.pk, 5)) == 2  # with the one that it has, all three


def test_workers_share_a_stages_connections_evenly(crm, qa, smtp_server):
    """The first worker must not leave the others idle. A dead worker doesn't count."""
    configure(qa, smtp_server, from_domains="*", connections=4)
    register("one")
    register("two")
    assert [len(acquire("one", qa.pk, count)) for count in (1, 3, 3)] == [1, 1, 0]
    Worker.objects.filter(name="two").update(seen=timezone.now() - timedelta(minutes=1))
    assert [len(acquire("one", qa.pk, count)) for count in (3, 3)] == [2, 0]
