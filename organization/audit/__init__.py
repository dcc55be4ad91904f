"""The audit trail; only `record()` writes to it."""

from organization.audit.trail import MASK, Values, record, scope_of, snapshot, stored_snapshot

__all__ = ["MASK", "Values", "record", "scope_of", "snapshot", "stored_snapshot"]
