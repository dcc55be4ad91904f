from django.db import migrations, models

from common.online_index import AddIndexOnline


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("outbox", "0024_message_held")]

    operations = [
        AddIndexOnline(
            model_name="message",
            index=models.Index(fields=["owner"], condition=models.Q(status="sending"), name="message_claimed"),
        ),
    ]
