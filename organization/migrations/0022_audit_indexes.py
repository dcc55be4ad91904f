from django.db import migrations, models

from common.online_index import AddIndexOnline

_ACTS = ["Release to real recipients", "Resend to real recipients", "Forward to test list", "Forward to oneself"]


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("organization", "0021_audit_operations")]

    operations = [
        AddIndexOnline(
            model_name="auditevent",
            index=models.Index(
                fields=["stage", "at"],
                condition=models.Q(entity="test list")
                & (models.Q(operation="Create") | models.Q(before__has_any_keys=["active", "active_until"])),
                name="audit_list_activity",
            ),
        ),
        AddIndexOnline(
            model_name="auditevent",
            index=models.Index(fields=["stage", "at"], condition=models.Q(operation__in=_ACTS), name="audit_acts"),
        ),
    ]
