"""A try keeps its rule and the time of its claim, and a copy that is captured at hand-over leaves a row to be counted."""

from datetime import timedelta

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

# Analytics counts what is captured at acceptance a minute later, with its message.
_COUNTED_AFTER = timedelta(minutes=1)
_BATCH = 1000


def note_earlier_captures(apps, schema_editor):
    """Copies that were captured at hand-over before: they weren't counted."""
    Recipient, HandOverCapture = apps.get_model("outbox", "Recipient"), apps.get_model("outbox", "HandOverCapture")
    captured = Recipient.objects.filter(status="captured", rule="captured", finished__gt=models.F("message__created") + _COUNTED_AFTER)
    rows = captured.order_by("pk").values_list("message_id", "address", "finished")
    noted = (HandOverCapture(message_id=message, address=address, created=finished) for message, address, finished in rows)
    HandOverCapture.objects.bulk_create(noted, _BATCH)


class Migration(migrations.Migration):

    dependencies = [
        ('outbox', '0019_pauses_and_answers_for_held_mail'),
    ]

    operations = [
        migrations.AddField(
            model_name='attempt',
            name='claimed',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='attempt',
            name='rule',
            field=models.CharField(blank=True, choices=[('real', 'Recipient that the app gave'), ('list', 'Test list'), ('allowed', 'Allowed address'), ('released', 'Released by a person'), ('captured', 'Captured'), ('forwarded', 'Forwarded by a person')], db_default='', default='', max_length=10),
        ),
        migrations.CreateModel(
            name='HandOverCapture',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('address', models.CharField(max_length=254)),
                ('created', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('message', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='outbox.message')),
            ],
            options={
                'verbose_name': 'capture at hand-over',
                'verbose_name_plural': 'captures at hand-over',
                'ordering': ['pk'],
            },
        ),
        migrations.RunPython(note_earlier_captures, migrations.RunPython.noop),
    ]
