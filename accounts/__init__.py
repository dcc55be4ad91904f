"""How a member comes in: sign-in, second factor, sessions, passwords, invitations."""
