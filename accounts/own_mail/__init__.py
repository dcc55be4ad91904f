"""The portal's own emails to its members: invitations, password resets, reminders.

They go through the outbox as the emails of the built-in app *Portal* in the stage `PORTAL_STAGE`, and to members alone. They may
hold a link that lets its reader in. So nobody else sees their content, and it is removed as soon as they are finished.
"""
