"""Apart from the migration before, whose lock would be kept while the rows are read."""

from django.db import migrations

from common.check_constraints import ValidateChecks


class Migration(migrations.Migration):
    dependencies = [("outbox", "0018_forwarded_messages")]

    operations = [ValidateChecks("message", ["message_route"])]
