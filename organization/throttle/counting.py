"""Count failures and successes in the database."""

from __future__ import annotations

import hashlib
import hmac
import math
from datetime import datetime, timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import transaction

from common.clock import database_now
from organization.throttle.delays import (
    ALLOWED_FOR_NETWORK,
    ALLOWED_FOR_PAIR,
    TRUSTED_AFTER_SUCCESS,
    remembered,
    wait_after,
)
from organization.throttle.models import FailureCount, Secret
from organization.throttle.networks import network_of

# A flood from many addresses may not fill the database between two runs of prune_counts().
MAX_ROWS = 100_000
_SLICE = 1000
_WHOLE_NETWORK = ""


class Pair(NamedTuple):
    """Whose secret is guessed, and from where."""

    secret: Secret
    name: str
    client: str

    @property
    def network(self) -> str:
        return "" if self.secret.counts_all_addresses else network_of(self.client)

    @property
    def name_digest(self) -> str:
        key = settings.SECRET_KEY.encode()
        return hmac.new(key, self.name.strip().casefold().encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


class State(NamedTuple):
    """What has been counted for a pair."""

    wait: timedelta
    has_failures: bool
    succeeded_lately: bool

    @property
    def wait_seconds(self) -> int:
        return math.ceil(self.wait.total_seconds())


class Failures(NamedTuple):
    """The counts after a failure. None if the network's isn't counted."""

    of_pair: int
    of_network: int | None
    wait: timedelta


def state_of(pair: Pair) -> State:
    """Whether the pair has to wait. Other names of its network count unless this one succeeded there within 24 hours."""
    now = database_now()
    rows = FailureCount.objects.filter(
        secret=pair.secret, network=pair.network, name_digest__in=[pair.name_digest, _WHOLE_NETWORK]
    )
    counts = {row.name_digest: row for row in rows}
    own, network = counts.get(pair.name_digest), counts.get(_WHOLE_NETWORK)
    lately = own is not None and own.last_success is not None and now - own.last_success < TRUSTED_AFTER_SUCCESS
    deciding = [row for row in (own, None if lately else network) if row is not None]
    return State(
        wait=_left(now, *deciding),
        has_failures=any(_still_counts(row, now) for row in counts.values()),
        succeeded_lately=lately,
    )


def count_failure(pair: Pair, *, also_network: bool) -> Failures:
    """Count one more failure of the pair, and of its network if `also_network`."""
    now = database_now()
    with transaction.atomic():
        own = _add_failure(pair, pair.name_digest, ALLOWED_FOR_PAIR, now)
        if not also_network or not pair.network:
            return Failures(own.failures, None, _left(now, own))
        network = _add_failure(pair, _WHOLE_NETWORK, ALLOWED_FOR_NETWORK, now)
    return Failures(own.failures, network.failures, _left(now, own, network))


def count_success(pair: Pair) -> None:
    """Forget the pair's failures. Those of the network stay, else one account of their own would help guessers."""
    now = database_now()
    values = {"failures": 0, "last_failure": None, "blocked_until": None, "last_success": now, "changed": now}
    FailureCount.objects.update_or_create(secret=pair.secret, network=pair.network, name_digest=pair.name_digest, defaults=values)


def prune_counts() -> None:
    """Remove what no longer counts, and the oldest rows of a flood."""
    oldest = database_now() - TRUSTED_AFTER_SUCCESS
    surplus = FailureCount.objects.order_by("-changed").values_list("changed", flat=True)[MAX_ROWS : MAX_ROWS + 1]
    oldest = max([oldest, *surplus])
    old = FailureCount.objects.filter(changed__lte=oldest).order_by("changed")
    while ids := list(old.values_list("pk", flat=True)[:_SLICE]):
        FailureCount.objects.filter(pk__in=ids).delete()


def _add_failure(pair: Pair, name_digest: str, allowed: int, now: datetime) -> FailureCount:
    count, _ = FailureCount.objects.select_for_update().get_or_create(
        secret=pair.secret, network=pair.network, name_digest=name_digest, defaults={"changed": now}
    )
    earlier = remembered(count.failures, now - count.last_failure) if count.last_failure else 0
    count.failures = earlier + 1
    count.last_failure = count.changed = now
    count.blocked_until = now + wait_after(count.failures, allowed)
    count.save()
    return count


def _still_counts(count: FailureCount, now: datetime) -> bool:
    return count.last_failure is not None and remembered(count.failures, now - count.last_failure) > 0


def _left(now: datetime, *counts: FailureCount) -> timedelta:
    """The longest wait that is left. Zero if none is."""
    return max([timedelta(0), *(count.blocked_until - now for count in counts if count.blocked_until)])
