"""Count messages for Analytics.

New messages and tries are added to one row per stage, app and hour, so that no page ever counts messages. They are also
added to totals per stage and hour, and per stage, app and day, so that no page reads many rows.

“Held” is a state and not an event. Each call counts what is held now, and the largest number of an hour is kept.

Messages and tries are read in the order of their numbers, each exactly once. The last number is stored in the same
transaction as the counts. A row gets its number before its transaction ends, so only rows that are a minute old are read.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import Any, TypeVar

from django.db import models, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from analytics.causes import cause_of
from analytics.guarantee.rules import rule_additions
from analytics.latency import bucket_of
from analytics.models import (
    DailyCount,
    DailyLatency,
    DailyRuleCount,
    HourlyCause,
    HourlyCount,
    HourlyLatency,
    HourlyRuleCount,
    RollUpPosition,
    StageCount,
    StageLatency,
    StageRuleCount,
)
from analytics.rows import AttemptRow, CaptureRow, MessageRow
from common import sql
from common.clock import database_now
from common.inserts import Rows, insert
from organization.models import Stage
from outbox.counts.backlog import count_held
from outbox.models import GIVEN_UP, Attempt, HandOverCapture, Message, Recipient, RouteKind, Rule, Status

LAG = timedelta(minutes=1)
# The limit for messages and for tries in one call. An outbox that was never counted takes many calls.
ROWS_AT_ONCE = 20_000
_MESSAGES_PER_QUERY = 1000

_TRIES = ("sent", "deferred", "failed", "unknown")
_BY_RULE = ("to_test_list", "captured", "allowed")
_REACHED = ("recipients", "unknown")
_COUNTED_TRIES = ("first_try", "last_try")
_COLUMNS: dict[type[models.Model], tuple[tuple[str, ...], tuple[str, ...]]] = {
    HourlyCount: (("stage_id", "hour", "app_id"), ("accepted", *_BY_RULE, "held", *_TRIES)),
    StageCount: (("stage_id", "hour"), ("accepted", *_BY_RULE, "held", *_TRIES)),
    DailyCount: (("stage_id", "day", "app_id"), ("accepted", *_BY_RULE, *_TRIES)),
    HourlyLatency: (("stage_id", "hour", "app_id", "bucket"), ("sent",)),
    StageLatency: (("stage_id", "hour", "bucket"), ("sent",)),
    DailyLatency: (("stage_id", "day", "app_id", "bucket"), ("sent",)),
    HourlyCause: (("stage_id", "hour", "app_id", "code"), ("deferred", "failed", "unknown")),
    HourlyRuleCount: (("stage_id", "hour", "app_id", "rule"), _REACHED + _COUNTED_TRIES),
    StageRuleCount: (("stage_id", "hour", "rule"), _REACHED),
    DailyRuleCount: (("stage_id", "day", "app_id", "rule"), _REACHED + _COUNTED_TRIES),
}
# The totals to which the same counts are added.
_TOTALS: dict[type[models.Model], tuple[type[models.Model], ...]] = {
    HourlyCount: (StageCount, DailyCount),
    HourlyLatency: (StageLatency, DailyLatency),
    HourlyCause: (),
    HourlyRuleCount: (StageRuleCount,),
    DailyRuleCount: (),
}
# Only messages with these routes may have recipients that were captured, or are allowed. The others cost no query.
_WITH_EXCEPTIONS = (RouteKind.TEST_LIST, RouteKind.ALLOWED, RouteKind.CAPTURED)
# The limit for counting the held messages of a stage.
HELD_AT_MOST = 10_000
# These aren't added up. The largest value is kept, or the smallest.
_LARGEST, _SMALLEST = ("held", "last_try"), ("first_try",)


# Until where tries that were counted before are still to be counted by rule, and how far that is.
BY_RULE, BY_RULE_END = "by-rule", "rule-end"
Row = TypeVar("Row", MessageRow, AttemptRow, CaptureRow)
# What is added to the stored counts: for each table and row key, the amount for each column.
_Additions = dict[type[models.Model], dict[tuple[object, ...], Counter[str]]]


def roll_up() -> int:
    """Count what is new, at most ROWS_AT_ONCE messages and as many tries. Returns the number of rows.

    Several processes may call it at once. It skips what another process counted in the meantime. Database errors pass through.
    """
    now = database_now()
    _note_held(now)
    counted = _count("mails", _messages_after, _message_additions, now)
    counted += _count("tries", _tries_after, _try_additions, now)
    counted += _count("captures", _captures_after, _capture_additions, now)
    return counted + _count_earlier_tries(now)


def uncounted_since(now: datetime) -> datetime | None:
    """Return the time of the first message or try that should have been counted a while ago. None if counting keeps up."""
    first = first_uncounted()
    return first if first and first < now - 3 * LAG else None


def first_uncounted() -> datetime | None:
    """Return the time of the first message, try or capture that isn't counted yet. None if all are."""
    positions = dict(RollUpPosition.objects.values_list("counted", "last"))
    waiting = [
        model._default_manager.filter(pk__gt=positions.get(counted, 0)).order_by("pk").values_list("created", flat=True).first()
        for counted, model in (("mails", Message), ("tries", Attempt), ("captures", HandOverCapture))
    ]
    return min((created for created in waiting if created), default=None)


def first_uncounted_by_rule() -> datetime | None:
    """Likewise of the tries that were counted before they were counted by rule, too."""
    positions = dict(RollUpPosition.objects.filter(counted__in=(BY_RULE, BY_RULE_END)).values_list("counted", "last"))
    if BY_RULE_END not in positions:
        return None
    earlier = Attempt.objects.filter(pk__gt=positions.get(BY_RULE, 0), pk__lte=positions[BY_RULE_END])
    return earlier.order_by("pk").values_list("created", flat=True).first()


def forget_before(hour: datetime) -> None:
    """Remove the counts of earlier hours, and of days that had ended by then."""
    for model, (keys, _) in _COLUMNS.items():
        earlier = Q(day__lt=_day(hour)) if "day" in keys else Q(hour__lt=hour)
        model._default_manager.filter(earlier).delete()


def _note_held(now: datetime) -> None:
    """Record how many messages are held now."""
    held = count_held(Stage.objects.all(), HELD_AT_MOST).by_app()
    hours: dict[tuple[object, ...], Counter[str]]
    hours = {
        (stage, _hour(now), app): Counter(held=depth.messages) for stage, apps in held.items() for app, depth in apps.items()
    }
    _add({HourlyCount: hours})


def _count(
    counted: str, after: Callable[[int], list[Row]], counts_of: Callable[[Sequence[Row]], _Additions], now: datetime
) -> int:
    """Count the next rows. They are read outside of a transaction, so that others wait only while it writes."""
    last = RollUpPosition.objects.get_or_create(counted=counted)[0].last
    rows = list(takewhile(lambda row: _is_settled(row.created, now), after(last)))
    if not rows:
        return 0
    additions = counts_of(rows)
    with transaction.atomic():
        moved = RollUpPosition.objects.filter(counted=counted, last=last).update(last=rows[-1].pk)
        if not moved:  # another process moved the position, and counted these rows
            return 0
        _add(additions)
    return len(rows)


def _count_earlier_tries(now: datetime) -> int:
    """Count the tries by rule that were counted before that began: after an upgrade, until all are."""
    end = RollUpPosition.objects.filter(counted=BY_RULE_END).values_list("last", flat=True).first()
    if end is None:
        return 0
    rows = _count(BY_RULE, lambda last: [row for row in _tries_after(last) if row.pk <= end], rule_additions, now)
    if not rows:
        RollUpPosition.objects.filter(counted__in=(BY_RULE, BY_RULE_END)).delete()
    return rows


def _is_settled(created: datetime, now: datetime) -> bool:
    """Return whether a row is old enough. A time far ahead comes from a clock that jumped: waiting could take years."""
    return abs(now - created) >= LAG


def _messages_after(last: int) -> list[MessageRow]:
    rows = _slice(Message.objects.all(), last)
    return [MessageRow(*row) for row in rows.values_list("pk", "created", "stage_id", "app_id", "route")]


def _tries_after(last: int) -> list[AttemptRow]:
    return read_tries(_slice(Attempt.objects.all(), last))


def read_tries(tries: QuerySet[Attempt]) -> list[AttemptRow]:
    """These tries, as they are counted. A try whose message was removed meanwhile is left out."""
    columns = ("outcome", "step", "code", "reply", "message_id", "address", "rule", "claimed", "seconds")
    rows: list[Any] = list(tries.values_list("message_id", "pk", "created", *columns))
    messages = _messages_by_number(sorted({row[0] for row in rows}))
    return [AttemptRow(pk, created, *messages[mail], *values) for mail, pk, created, *values in rows if mail in messages]


def _captures_after(last: int) -> list[CaptureRow]:
    rows: list[Any] = list(_slice(HandOverCapture.objects.all(), last).values_list("message_id", "pk", "created"))
    messages = _messages_by_number(sorted({row[0] for row in rows}))
    return [CaptureRow(pk, created, *messages[mail][:2]) for mail, pk, created in rows if mail in messages]


def _messages_by_number(numbers: Sequence[int]) -> dict[int, tuple[int, int, datetime]]:
    """Return stage, app and time of acceptance of these messages, by number."""
    by_number: dict[int, tuple[int, int, datetime]] = {}
    for start in range(0, len(numbers), _MESSAGES_PER_QUERY):
        messages = Message.objects.filter(pk__in=numbers[start : start + _MESSAGES_PER_QUERY]).order_by()
        by_number.update(
            {pk: (stage, app, at) for pk, stage, app, at in messages.values_list("pk", "stage_id", "app_id", "created")}
        )
    return by_number


def _slice(rows: QuerySet[Any], last: int) -> QuerySet[Any]:
    """Return the next rows after that number.

    They are limited by their numbers and read without a join. Until PostgreSQL has analyzed how large a table became, it
    reads the whole table for a LIMIT or a join.
    """
    first = rows.filter(pk__gt=last).order_by("pk").values_list("pk", flat=True).first()
    return rows.none() if first is None else rows.filter(pk__gte=first, pk__lt=first + ROWS_AT_ONCE).order_by("pk")


def _message_additions(messages: Sequence[MessageRow]) -> _Additions:
    hours: defaultdict[tuple[object, ...], Counter[str]] = defaultdict(Counter)
    by_rule = _recipients_by_rule([mail.pk for mail in messages if mail.route in _WITH_EXCEPTIONS])
    for mail in messages:
        counts = hours[_key(mail)]
        counts["accepted"] += 1
        counts["to_test_list"] += mail.route == RouteKind.TEST_LIST
        counts.update(by_rule.get(mail.pk, {}))
    return {HourlyCount: hours}


def _recipients_by_rule(messages: Sequence[int]) -> dict[int, Counter[str]]:
    """How many recipients of each of these messages were captured, and how many got it as allowed addresses.

    Those that were captured at hand-over are counted with their own rows (see _capture_additions).
    """
    by_rule: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for start in range(0, len(messages), _MESSAGES_PER_QUERY):
        numbers = messages[start : start + _MESSAGES_PER_QUERY]
        at_hand_over = HandOverCapture.objects.filter(message=OuterRef("message"), address=OuterRef("address"))
        by_exception = Recipient.objects.filter(message__in=numbers, rule__in=(Rule.CAPTURED, Rule.ALLOWED))
        recipients = by_exception.exclude(Exists(at_hand_over)).order_by()
        for message, rule in recipients.values_list("message_id", "rule"):
            by_rule[message][rule] += 1
    return by_rule


def _try_additions(tries: Sequence[AttemptRow]) -> _Additions:
    """Return the counts of these tries. The last try to reach an address that was given up counts as failed."""
    hours: defaultdict[tuple[object, ...], Counter[str]] = defaultdict(Counter)
    latencies: defaultdict[tuple[object, ...], Counter[str]] = defaultdict(Counter)
    causes: defaultdict[tuple[object, ...], Counter[str]] = defaultdict(Counter)
    given_up = _final_failures(tries)
    for attempt in tries:
        outcome = Attempt.Outcome.FAILED.value if attempt.pk in given_up else attempt.outcome
        hours[_key(attempt)][outcome] += 1
        if outcome == Attempt.Outcome.SENT:
            latencies[*_key(attempt), bucket_of((attempt.created - attempt.accepted).total_seconds())]["sent"] += 1
        else:
            causes[*_key(attempt), cause_of(attempt.step, attempt.code, attempt.reply)][outcome] += 1
    return {HourlyCount: hours, HourlyLatency: latencies, HourlyCause: causes, **rule_additions(tries)}


def _capture_additions(captures: Sequence[CaptureRow]) -> _Additions:
    hours: defaultdict[tuple[object, ...], Counter[str]] = defaultdict(Counter)
    for capture in captures:
        hours[_key(capture)]["captured"] += 1
    return {HourlyCount: hours}


def _final_failures(tries: Sequence[AttemptRow]) -> set[int]:
    """Return the last tries of recipients that were given up, although no server rejected the message."""
    if all(attempt.outcome in (Attempt.Outcome.SENT, Attempt.Outcome.FAILED) for attempt in tries):
        return set()
    later = Attempt.objects.filter(message=OuterRef("message"), address=OuterRef("address"), pk__gt=OuterRef("pk"))
    failed = Attempt.objects.filter(
        ~Exists(later),
        pk__range=(tries[0].pk, tries[-1].pk),
        outcome__in=(Attempt.Outcome.DEFERRED, Attempt.Outcome.UNKNOWN),
        message__recipients__address=F("address"),
        message__recipients__status=Status.FAILED,
        message__recipients__last_reply__startswith=GIVEN_UP,
    )
    return set(failed.order_by().values_list("pk", flat=True))


def _key(row: MessageRow | AttemptRow | CaptureRow) -> tuple[object, ...]:
    return row.stage_id, _hour(row.created), row.app_id


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _day(moment: datetime) -> date:
    """Return the day in UTC. A member's own day may begin or end in the middle of it (see report)."""
    return moment.astimezone(UTC).date()


def _add(additions: _Additions) -> None:
    """Add to the stored counts in the order of the keys, so that two processes at once don't wait for each other."""
    for model, rows in _with_totals(additions).items():
        table, (keys, columns) = model._meta.db_table, _COLUMNS[model]
        values = [[*map(_stored, key), *(rows[key][column] for column in columns)] for key in sorted(rows)]
        added = ", ".join(f"{column} = {_merged(table, column)}" for column in columns)
        insert(Rows(table, keys + columns, values, f"({', '.join(keys)}) DO UPDATE SET {added}"))


def _with_totals(additions: _Additions) -> _Additions:
    counts = dict(additions)
    for model, rows in additions.items():
        for total in _TOTALS[model]:
            counts[total] = _summed_up(rows, model, total)
    return counts


def _summed_up(
    rows: Mapping[tuple[object, ...], Counter[str]], model: type[models.Model], total: type[models.Model]
) -> dict[tuple[object, ...], Counter[str]]:
    """Return the rows of `model` as rows of `total`, which has fewer or wider keys. None if `total` counts nothing in them."""
    sums: defaultdict[tuple[object, ...], Counter[str]] = defaultdict(Counter)
    keys, columns = _COLUMNS[total]
    for key, counts in rows.items():
        named: dict[str, Any] = dict(zip(_COLUMNS[model][0], key, strict=True))
        named["day"] = _day(named["hour"])
        if any(counts[column] for column in columns):
            sums[tuple(named[name] for name in keys)].update(counts)
    return sums


def _merged(table: str, column: str) -> str:
    stored, added = f"{table}.{column}", f"excluded.{column}"
    if column in _LARGEST + _SMALLEST:
        return f"CASE WHEN {added} {'>' if column in _LARGEST else '<'} {stored} THEN {added} ELSE {stored} END"
    return f"{stored} + {added}"


def _stored(value: object) -> object:
    if isinstance(value, datetime):
        return sql.to_db_time(value)
    return value.isoformat() if isinstance(value, date) else value
