"""What gunicorn reads when it starts `portal.wsgi` in this folder."""

import sys

from django.core.exceptions import ImproperlyConfigured

try:
    from portal.settings import LOGGING
except ImproperlyConfigured as error:
    sys.exit(str(error))

logconfig_dict = LOGGING
