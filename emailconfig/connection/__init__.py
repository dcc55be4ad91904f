"""Open a verified connection to a stage's SMTP server, or explain why it failed.

setup: the steps, one after the other. smtp: smtplib's client, which records the conversation. networks: connects to allowed
addresses only. tokens: OAuth 2.0. sign_in: AUTH. failure and explanations: what went wrong, why, and how to fix it.
"""

from emailconfig.connection.explanations import meaning_of
from emailconfig.connection.failure import ConnectionFailure
from emailconfig.connection.setup import connect
from emailconfig.connection.smtp import abort, words

__all__ = ["ConnectionFailure", "abort", "connect", "meaning_of", "words"]
