"""What gunicorn reads when it starts `portal.wsgi` in this folder."""

from outbox.long_running import places_for_connections

# With more of them than file handles a web process would end, and the requests that it is answering with it.
worker_connections = min(1000, places_for_connections())
