"""The middleware of every request. MIDDLEWARE in portal/settings.py has the order."""
