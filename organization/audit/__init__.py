"""The audit trail: `record()` is the one way to write to it."""

from organization.audit.trail import MASK, Operation, Values, record, scope_of, snapshot, stored_snapshot

__all__ = ["MASK", "Operation", "Values", "record", "scope_of", "snapshot", "stored_snapshot"]
