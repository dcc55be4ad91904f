"""Helpers of the tests. Each folder's conftest names the fixtures that its tests use."""
