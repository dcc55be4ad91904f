from django.db import migrations, models

from common.online_index import AddIndexOnline


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("outbox", "0023_hold_reason_expired")]

    operations = [
        AddIndexOnline(
            model_name="message",
            index=models.Index(
                fields=["hold_reason", "route", "stage", "app"], condition=models.Q(status="held"), name="message_held"
            ),
        ),
    ]
