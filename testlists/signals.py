"""What the layers above answer or wait for."""

from django.dispatch import Signal

# Sent with `test_list`. A receiver returns how many mails of that app and stage are on the wire to a server right now
# and may still reach somebody who isn't on the list.
count_leaving = Signal()

# Sent inside the transaction that stored a list, with `test_list`: the outbox looks again at what it holds.
test_list_saved = Signal()
