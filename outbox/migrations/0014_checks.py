"""The database holds messages to what the code relies on."""

from django.db import migrations, models
from django.db.models import Q

from common.check_constraints import AddChecks

STATUSES = ["queued", "sending", "deferred", "sent", "failed", "held", "captured"]


def repair_messages(apps, schema_editor):
    """No program of ours wrote such rows. Each goes to where the portal looks at it again."""
    messages = apps.get_model("outbox", "Message").objects
    # Nobody's message counts as one whose worker died: the sweep sends it again, and says so.
    messages.filter(status="sending", owner="").update(owner="unknown", lease_until=None)
    # The sweep releases it as soon as its stage has settings. Its route is decided once more then.
    messages.filter(status="held", hold_reason="").update(hold_reason="stage_not_configured")
    messages.exclude(status="held").exclude(hold_reason="").update(hold_reason="")


class Migration(migrations.Migration):
    dependencies = [
        ("organization", "0009_audit_operations_and_stage_kinds"),
        ("outbox", "0013_label_rejected"),
    ]

    operations = [
        migrations.RunPython(repair_messages, migrations.RunPython.noop),
        AddChecks(
            "message",
            [
                models.CheckConstraint(condition=Q(status__in=STATUSES), name="message_status"),
                models.CheckConstraint(condition=Q(route__in=["test_list", "recipients", "released", "allowed", "captured", "forwarded"]), name="message_route"),
                models.CheckConstraint(condition=~Q(status="sending") | ~Q(owner=""), name="message_sending_has_owner"),
                models.CheckConstraint(
                    condition=Q(Q(status="held"), ~Q(hold_reason="")) | Q(~Q(status="held"), Q(hold_reason="")),
                    name="message_held_has_reason",
                ),
            ],
        ),
        AddChecks("recipient", [models.CheckConstraint(condition=Q(status__in=STATUSES), name="recipient_status")]),
        AddChecks(
            "attempt",
            [
                models.CheckConstraint(
                    condition=Q(outcome__in=["sent", "deferred", "failed", "unknown"]), name="attempt_outcome"
                )
            ],
        ),
    ]
