"""Apart from the migration before, whose locks would be kept while the rows are read."""

from django.db import migrations

from common.check_constraints import ValidateChecks


class Migration(migrations.Migration):
    dependencies = [("outbox", "0014_checks")]

    operations = [
        ValidateChecks(
            "message", ["message_status", "message_route", "message_sending_has_owner", "message_held_has_reason"]
        ),
        ValidateChecks("recipient", ["recipient_status"]),
        ValidateChecks("attempt", ["attempt_outcome"]),
    ]
