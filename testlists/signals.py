"""Signals that the layers above receive, and some of which they answer."""

from dataclasses import dataclass

from django.dispatch import Signal

# Sent with `test_list`. A receiver returns how many messages of that app and stage are being sent to a server right now and
# may still reach people who aren't on the list.
count_leaving = Signal()


@dataclass(frozen=True)
class RecentMail:
    """Counts of the app's messages in the stage during the last 24 hours.

    A held message counts neither as caught nor as sent to others.
    """

    caught: int  # messages that the list caught
    others: int  # messages that it didn't catch
    recipients: int  # different recipients of those others, counted up to `AT_MOST`
    complete: bool  # if false, not all messages were counted
    held: int = 0  # messages that wait for a person and haven't been sent
    invitations: int = 0  # invitations among the caught messages

    AT_MOST = 1_000


# Sent with `test_list`. A receiver returns its RecentMail.
count_recent = Signal()

# Sent inside the transaction that stored a list, with `test_list`. The outbox then checks its held messages
# again.
test_list_saved = Signal()
