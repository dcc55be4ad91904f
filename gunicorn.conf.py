"""What gunicorn reads when it starts `portal.wsgi` in this folder."""

import sys

from django.core.exceptions import ImproperlyConfigured

try:
    from portal.settings import LOGGING
except ImproperlyConfigured as error:
    sys.exit(str(error))

from common.process import places_for_connections  # needs settings that can be used

logconfig_dict = LOGGING
# Pages that wait leave one thread for probes and static files: those that wait for the database (see
# portal/middleware/database_gate.py), and sign-ins (see organization/throttle/slow_hashes.py).
threads = 8
# With more of them than file handles a web process would end, and the requests that it is answering with it.
worker_connections = min(1000, places_for_connections())
