"""Which installation this is, and whether its database is a copy of another one's.

identifier: the id and the URL. identity: the id and the database together. seal: the identity that the database was sealed
with, which tells a copy. A copy's answers belong to the outbox (see outbox.copies).
"""

from organization.installation.identifier import EHLO_KEYWORD, installation_id, portal_host, portal_url

__all__ = ["EHLO_KEYWORD", "installation_id", "portal_host", "portal_url"]
