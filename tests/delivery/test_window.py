"""What one connection has in hand, from the claim to the record: no server, no thread and no database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from delivery.values import ClaimedMessage, DueRecipient, MessageResult, Outcome
from delivery.wire.smtp_dialogue import MailTransaction, OutgoingMessage, outcome_of
from delivery.wire.window import OfferedMessage, Window
from emailconfig.models import SmtpSettings

SETTINGS = SmtpSettings(server="mail.acme.example", port=25)


def message(number: int) -> ClaimedMessage:
    return ClaimedMessage(
        pk=number,
        owner="worker-1",
        app_key="crm",
        stage_key="qa",
        subject_tag="",
        via="gateway",
        envelope_sender="crm@acme.example",
        message_id=f"<{number}@acme.example>",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        size=100,
        content=b"",
        recipients=[DueRecipient(number, "customer@example.com", "", 0)],
        test_people=None,
        kept_headers=frozenset(),
        complete=True,
    )


def prepare(claimed: ClaimedMessage) -> OfferedMessage:
    transaction = MailTransaction(OutgoingMessage("crm@acme.example", claimed.recipients, (), claimed.size))
    return OfferedMessage(claimed, transaction, SETTINGS, [], started=10.0)


def conclude(offered: OfferedMessage) -> MessageResult:
    return offered.result(offered.transaction.outcomes, now=12.5)


def conclude_broken(offered: OfferedMessage, outcomes: Sequence[Outcome]) -> MessageResult:
    return offered.result(outcomes, now=12.5)


def window_with(*numbers: int) -> Window:
    """A window of three that has claimed these messages."""
    window = Window(3)
    window.take([message(number) for number in numbers])
    return window


def server_takes_the_envelope(window: Window) -> None:
    assert window.offered is not None
    window.offered.transaction.answered = window.offered.transaction.wants_content = True
    window.offered.transaction.accepted = list(window.offered.transaction.mail.recipients)


def server_answers_the_content(window: Window, code: int = 250) -> None:
    assert window.sending is not None
    transaction = window.sending.transaction
    transaction.outcomes = [outcome_of(recipient, "content", code, b"as it likes") for recipient in transaction.accepted]
    transaction.wants_content = False


def send_one(window: Window) -> None:
    """One exchange: the content of the message that is sending, and the envelope of the next."""
    window.next_offer(prepare)
    if window.offered is not None:
        server_takes_the_envelope(window)
    if window.sending is not None:
        server_answers_the_content(window)
    window.settle(conclude)


def numbers(results: Sequence[MessageResult]) -> list[int]:
    return [result.message.pk for result in results]


def results_by_message(results: Sequence[MessageResult]) -> dict[int, list[str]]:
    return {result.message.pk: [outcome.result.value for outcome in result.outcomes] for result in results}


def test_a_message_goes_from_the_claim_to_the_record():
    window = window_with(1)
    window.next_offer(prepare)
    assert window.offered is not None
    assert window.asked_about is window.offered
    server_takes_the_envelope(window)
    window.settle(conclude)
    assert window.sending is not None
    assert (window.sending.message.pk, window.offered) == (1, None)
    assert window.asked_about is window.sending
    server_answers_the_content(window)
    window.settle(conclude)
    assert window.is_settled is False
    (result,) = window.report()
    assert (result.message.pk, result.seconds, result.settings, result.all_sent) == (1, 2.5, SETTINGS, True)
    assert window.claimed == ()
    window.take([])
    assert window.is_settled
    assert window.unfinished(conclude_broken) == []


def test_it_has_room_for_what_it_holds_no_more():
    window = window_with(1, 2, 3)
    rooms = [window.room]
    for _ in range(4):
        send_one(window)
        rooms.append(window.room)
    # The message whose envelope was accepted still counts; one that the server has decided about doesn't.
    assert rooms == [0, 0, 1, 2, 3]
    assert numbers(window.report()) == [1, 2, 3]


def test_what_was_reported_counts_as_unfinished_until_it_is_recorded():
    window = window_with(1)
    send_one(window)
    send_one(window)
    assert numbers(window.report()) == [1]
    assert numbers(window.unfinished(conclude_broken)) == [1]
    window.take([message(2)])
    assert numbers(window.unfinished(conclude_broken)) == [2]
    assert [message.pk for message in window.claimed] == [2]


def test_a_message_that_cannot_be_sent_at_all_is_finished_and_the_next_is_offered():
    window = window_with(1, 2)
    window.next_offer(lambda claimed: MessageResult(claimed) if claimed.pk == 1 else prepare(claimed))
    assert window.offered is not None
    assert (window.offered.message.pk, numbers(window.to_report)) == (2, [1])


def test_a_message_whose_content_cannot_be_read_now_stays():
    """The database is away: nothing is known about the message, so it goes back to the queue."""
    window = window_with(1)

    def fail(_: ClaimedMessage) -> MessageResult:
        raise ConnectionError("the database is away")

    with pytest.raises(ConnectionError):
        window.next_offer(fail)
    assert window.has_unoffered
    assert results_by_message(window.unfinished(conclude_broken)) == {1: []}


def test_a_message_whose_envelope_is_refused_is_finished_without_its_content():
    window = window_with(1)
    window.next_offer(prepare)
    assert window.offered is not None
    transaction = window.offered.transaction
    transaction.outcomes = [outcome_of(recipient, "RCPT TO", 550, b"unknown") for recipient in transaction.mail.recipients]
    window.settle(conclude)
    assert (window.sending, window.offered) == (None, None)
    assert results_by_message(window.report()) == {1: ["failed"]}


def test_a_message_is_finished_once_also_when_the_next_one_cannot_be_concluded():
    window = window_with(1, 2)
    send_one(window)
    window.next_offer(prepare)
    server_answers_the_content(window)

    def fail_at_the_second(offered: OfferedMessage) -> MessageResult:
        if offered.message.pk == 2:
            raise ConnectionError("the database is away")
        return conclude(offered)

    with pytest.raises(ConnectionError):
        window.settle(fail_at_the_second)
    assert numbers(window.unfinished(conclude_broken)) == [1, 2]


@pytest.mark.parametrize(
    ("answered", "first", "second"),
    [
        ("nothing", "unknown", None),  # content on its way: it may have arrived. The next was not taken up
        ("the content", "sent", None),
        ("the content and the next MAIL FROM", "sent", "deferred"),
    ],
)
def test_when_the_connection_breaks_each_message_is_as_far_as_the_server_said(answered: str, first: str, second: str | None):
    window = window_with(1, 2, 3)
    send_one(window)
    window.next_offer(prepare)
    assert window.offered is not None
    if answered != "nothing":
        server_answers_the_content(window)
    window.offered.transaction.answered = "MAIL FROM" in answered
    results = window.unfinished(conclude_broken)
    assert results_by_message(results) == {1: [first], 2: [second] if second else [], 3: []}
    # One that the server hung up on goes behind the others: it may be the reason. One it never saw keeps its place.
    assert [result.requeue_last for result in results] == [False, second is None, False]


def test_what_was_not_offered_is_given_back_with_the_next_report():
    window = window_with(1, 2)
    window.give_back()
    assert not window.has_unoffered
    assert results_by_message(window.report()) == {1: [], 2: []}
    assert window.claimed == ()


@pytest.mark.parametrize("unsent", [True, False])
def test_while_the_server_hangs_over_a_message_the_others_are_let_go(unsent: bool):
    window = window_with(1, 2, 3)
    send_one(window)
    send_one(window)  # 1 is finished, 2 is sending
    window.next_offer(prepare)
    assert window.asked_about is window.sending
    let_go = window.let_go(unsent=unsent)
    assert numbers(let_go) == ([1, 3] if unsent else [1])
    assert (window.offered is None) == unsent  # its content must not leave any more
    assert [message.pk for message in window.claimed] == ([2] if unsent else [2, 3])
    assert window.let_go(unsent=unsent) == []


def test_a_message_about_which_the_server_is_asked_is_never_let_go():
    window = window_with(1, 2)
    window.next_offer(prepare)
    assert numbers(window.let_go(unsent=True)) == [2]
    assert window.offered is not None
    assert [message.pk for message in window.claimed] == [1]
