from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("testlists", "0004_defaults_in_the_database")]

    operations = [
        migrations.AddField(
            model_name="testlist",
            name="active_until",
            field=models.DateTimeField(blank=True, db_default=None, null=True),
        ),
    ]
