"""A person's action on many emails: those that the log's query matches. The worker carries it out (see outbox.bulk)."""
