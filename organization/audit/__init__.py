"""The audit trail; only `record()` writes to it."""

from organization.audit.trail import MASK, Operation, Values, record, scope_of, snapshot, stored_snapshot

__all__ = ["MASK", "Operation", "Values", "record", "scope_of", "snapshot", "stored_snapshot"]
