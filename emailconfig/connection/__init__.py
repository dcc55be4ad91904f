"""Open a verified connection to a stage's SMTP server, or explain why it failed.

opening: the steps, one after the other. smtp: smtplib's client, which records the conversation. networks: connects to allowed
addresses only. tokens: OAuth 2.0. sign_in: AUTH. trouble and explanations: what went wrong, why, and how to fix it.
"""

from emailconfig.connection.explanations import meaning_of
from emailconfig.connection.opening import connect
from emailconfig.connection.smtp import cut, words
from emailconfig.connection.trouble import ConnectionTrouble

__all__ = ["ConnectionTrouble", "connect", "cut", "meaning_of", "words"]
