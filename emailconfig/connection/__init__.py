"""A verified connection to a stage's SMTP server, and in words what kept it from coming about.

opening: the steps, one after the other. smtp: smtplib's client, which keeps what is said. networks: the way to an
address that is allowed. tokens: OAuth 2.0. sign_in: AUTH. trouble and explanations: what went wrong, why, and what to do.
"""

from emailconfig.connection.explanations import meaning_of
from emailconfig.connection.opening import connect
from emailconfig.connection.smtp import cut, words
from emailconfig.connection.trouble import ConnectionTrouble

__all__ = ["ConnectionTrouble", "connect", "cut", "meaning_of", "words"]
