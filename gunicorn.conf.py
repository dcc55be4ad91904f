"""What gunicorn reads when it starts `portal.wsgi` in this folder."""

import sys

from django.core.exceptions import ImproperlyConfigured

try:
    from portal.settings import LOGGING
except ImproperlyConfigured as error:
    sys.exit(str(error))

logconfig_dict = LOGGING
# Pages that wait for the database leave one thread for probes and static files (see portal/database_gate.py).
threads = 4
