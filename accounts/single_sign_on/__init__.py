"""Single sign-on with OpenID Connect, step by step.

1. `views.py` leads to the provider, and takes the browser back from it.
2. `client.py` speaks with the provider. Authlib checks what it answers.
3. `linking.py` decides which member the identity belongs to.
4. `group_grants.py` gives and takes the roles that the provider's groups stand for.
5. `sign_in/completion.py` opens the session, as for a password.
"""
