"""What every request passes through, in the order of MIDDLEWARE in portal/settings.py."""
