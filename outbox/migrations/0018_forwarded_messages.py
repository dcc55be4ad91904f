"""A captured message can be forwarded as test mail: a route and a rule of its own."""

from django.db import migrations, models

ROUTES = {
    "test_list": "Test list",
    "recipients": "Recipients",
    "released": "Released to real recipients",
    "allowed": "Allowed addresses",
    "captured": "Captured",
    "forwarded": "Forwarded as test mail",
}
RULES = {
    "real": "Recipient that the app gave",
    "list": "Test list",
    "allowed": "Allowed address",
    "released": "Released by a person",
    "captured": "Captured",
    "forwarded": "Forwarded by a person",
}


class Migration(migrations.Migration):
    dependencies = [("outbox", "0017_list_time_over")]

    operations = [
        migrations.AlterField("message", "route", models.CharField(choices=list(ROUTES.items()), max_length=10)),
        migrations.AlterField(
            "recipient", "rule", models.CharField(blank=True, choices=list(RULES.items()), db_default="", max_length=10)
        ),
    ]
