"""How a member signs in, step by step.

1. `views.py` takes the name and the password.
2. `completion.py` opens the session. Nothing else does.
"""
