"""Helpers of the tests. Fixtures are brought by each folder's conftest."""
