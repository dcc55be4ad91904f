"""Counts of who got email by which rule. What was counted before is counted by rule by the next roll-ups (see rollup)."""

import django.db.models.deletion
from django.db import migrations, models


def count_earlier_tries(apps, schema_editor):
    RollUpPosition = apps.get_model("analytics", "RollUpPosition")
    if tries := RollUpPosition.objects.filter(counted="tries", last__gt=0).first():
        RollUpPosition.objects.create(counted="rule-end", last=tries.last)


class Migration(migrations.Migration):

    dependencies = [
        ('analytics', '0003_captured_and_allowed'),
        ('organization', '0011_audit_pauses_and_held_mail'),
    ]

    operations = [
        migrations.CreateModel(
            name='DailyRuleCount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField()),
                ('rule', models.CharField(choices=[('list', 'Test list'), ('allowed', 'Allowed address'), ('released', 'Released by a person'), ('forwarded', 'Forwarded by a person'), ('open', 'Recipient that the app gave, while it could write to anyone'), ('closing', 'Recipient that the app gave, on the wire when it was closed'), ('closed', 'Recipient that the app gave, while it was closed')], max_length=10)),
                ('recipients', models.PositiveIntegerField(default=0)),
                ('unknown', models.PositiveIntegerField(default=0)),
                ('first_try', models.PositiveBigIntegerField(default=0)),
                ('last_try', models.PositiveBigIntegerField(default=0)),
                ('app', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='organization.app')),
                ('stage', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='organization.stage')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('stage', 'day', 'app', 'rule'), name='daily_rule_count_once')],
            },
        ),
        migrations.CreateModel(
            name='HourlyRuleCount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('hour', models.DateTimeField(help_text='When it begins.')),
                ('rule', models.CharField(choices=[('list', 'Test list'), ('allowed', 'Allowed address'), ('released', 'Released by a person'), ('forwarded', 'Forwarded by a person'), ('open', 'Recipient that the app gave, while it could write to anyone'), ('closing', 'Recipient that the app gave, on the wire when it was closed'), ('closed', 'Recipient that the app gave, while it was closed')], max_length=10)),
                ('recipients', models.PositiveIntegerField(default=0)),
                ('unknown', models.PositiveIntegerField(default=0)),
                ('first_try', models.PositiveBigIntegerField(default=0)),
                ('last_try', models.PositiveBigIntegerField(default=0)),
                ('app', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='organization.app')),
                ('stage', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='organization.stage')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('stage', 'hour', 'app', 'rule'), name='hourly_rule_count_once')],
            },
        ),
        migrations.RunPython(count_earlier_tries, migrations.RunPython.noop),
    ]
