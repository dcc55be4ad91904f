"""What the layers above answer or wait for."""

from dataclasses import dataclass

from django.dispatch import Signal

# Sent with `test_list`. A receiver returns how many mails of that app and stage are on the wire to a server right now
# and may still reach somebody who isn't on the list.
count_leaving = Signal()


@dataclass(frozen=True)
class RecentMail:
    """The app's mail in the stage during the last 24 hours, as far as was looked. Held mail is neither caught nor let by."""

    caught: int  # mails that the list caught
    others: int  # mails that it didn't
    recipients: int  # different addresses that those were for, counted up to `AT_MOST`
    complete: bool  # false: there may be more of each
    held: int = 0  # mails that wait for a person, so that nobody got them yet
    invitations: int = 0  # of those that the list caught

    AT_MOST = 1_000


# Sent with `test_list`. A receiver returns its RecentMail.
count_recent = Signal()

# Sent inside the transaction that stored a list, with `test_list`: the outbox looks again at what it holds.
test_list_saved = Signal()
