"""Totals of the counts by rule, per stage and hour. What is counted already is summed up."""

import django.db.models.deletion
from django.db import migrations, models


def sum_up(apps, schema_editor):
    schema_editor.execute(
        "INSERT INTO analytics_stagerulecount (stage_id, hour, rule, recipients, unknown)"
        " SELECT stage_id, hour, rule, SUM(recipients), SUM(unknown) FROM analytics_hourlyrulecount GROUP BY 1, 2, 3 ORDER BY 2, 1"
    )


class Migration(migrations.Migration):

    dependencies = [
        ('analytics', '0004_counts_by_rule'),
        ('organization', '0021_audit_operations'),
    ]

    operations = [
        migrations.CreateModel(
            name='StageRuleCount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('hour', models.DateTimeField(help_text='When it begins.')),
                ('rule', models.CharField(choices=[('list', 'Test list'), ('allowed', 'Allowed address'), ('released', 'Released by a person'), ('forwarded', 'Forwarded by a person'), ('open', 'Recipient that the app gave, while it could write to anyone'), ('closing', 'Recipient that the app gave, on the wire when it was closed'), ('closed', 'Recipient that the app gave, while it was closed')], max_length=10)),
                ('recipients', models.PositiveIntegerField(default=0)),
                ('unknown', models.PositiveIntegerField(default=0)),
                ('stage', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='organization.stage')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('stage', 'hour', 'rule'), name='stage_rule_count_once')],
            },
        ),
        migrations.RunPython(sum_up, migrations.RunPython.noop),
    ]
