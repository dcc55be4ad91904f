import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """The models get the field's words. The tables keep their names, so nothing changes in the database."""

    dependencies = [
        ("delivery", "0002_defaults_in_the_database"),
    ]

    operations = [
        migrations.RenameModel(old_name="StageQueue", new_name="StageBackoff"),
        migrations.RenameModel(old_name="Connection", new_name="ConnectionSlot"),
        migrations.AlterField(
            model_name="stagebackoff",
            name="stage",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE,
                primary_key=True,
                related_name="backoff",
                serialize=False,
                to="organization.stage",
            ),
        ),
    ]
