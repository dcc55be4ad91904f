"""A member's sessions: where they are signed in, how long each lasts, and how to end it.

Django stores the session. A row of ours says whose it is and when it was used, and without that row it is over. The row's id is
in the session, so that no key has to be stored.
"""
