"""What a member shows besides their password: a code of an app (TOTP), a passkey (WebAuthn), or a recovery code.

1. `pending.py` keeps a sign-in that has shown the first factor.
2. `challenge_views.py` asks for the second one; `answer.py` checks what was given.
3. `views.py` adds and removes factors, after `confirmation.py` has asked who is there.
4. `gate.py` leads members whose role requires a factor to set one up.
"""
