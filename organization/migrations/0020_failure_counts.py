from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('organization', '0019_second_factors'),
    ]

    operations = [
        migrations.AlterField(
            model_name='auditevent',
            name='operation',
            field=models.CharField(choices=[('Create', 'Create'), ('Update', 'Update'), ('Delete', 'Delete'), ('Revoke', 'Revoke'), ('Change password', 'Change password'), ('Change recipient policy', 'Change recipient policy'), ('Rotate key', 'Rotate key'), ('Test', 'Test'), ('Send test mail', 'Send test mail'), ('Export', 'Export'), ('Resume deliveries', 'Resume deliveries'), ('Pause', 'Pause'), ('Resume', 'Resume'), ('Deliver held emails', 'Deliver held emails'), ('Keep held emails', 'Keep held emails'), ('Discard held emails', 'Discard held emails'), ('Retry', 'Retry'), ('Cancel', 'Cancel'), ('Release to real recipients', 'Release to real recipients'), ('Resend', 'Resend'), ('Resend to real recipients', 'Resend to real recipients'), ('Forward to test list', 'Forward to test list'), ('Forward to oneself', 'Forward to oneself'), ('Empty inbox', 'Empty inbox'), ('Replace the original', 'Replace the original'), ('Make a test copy', 'Make a test copy'), ('View as member', 'View as member'), ('Sign in', 'Sign in'), ('Sign out', 'Sign out')], max_length=60),
        ),
        migrations.CreateModel(
            name='FailureCount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('secret', models.CharField(choices=[('password', 'Password'), ('code', 'Second factor'), ('reset', 'Password reset'), ('credential', 'App credential')], max_length=10)),
                ('name_digest', models.CharField(blank=True, max_length=64)),
                ('network', models.CharField(blank=True, max_length=45)),
                ('failures', models.PositiveIntegerField(default=0)),
                ('last_failure', models.DateTimeField(null=True)),
                ('blocked_until', models.DateTimeField(null=True)),
                ('last_success', models.DateTimeField(null=True)),
                ('changed', models.DateTimeField(db_index=True)),
            ],
            options={
                'verbose_name': 'count of failed sign-ins',
                'verbose_name_plural': 'counts of failed sign-ins',
                'constraints': [models.UniqueConstraint(fields=('network', 'name_digest', 'secret'), name='failure_count_once')],
            },
        ),
    ]
