"""Slow down those who guess passwords and codes. Every place that checks one goes through `attempts.py`.

Nothing is imported here, because `organization.models` needs `models.py` of this package.
"""
