"""What the portal's own emails to members need: links, messages with content, requests and reminders."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('outbox', '0022_source_own'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='OwnMessage',
            fields=[
                ('message', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='+', serialize=False, to='outbox.message')),
            ],
        ),
        migrations.CreateModel(
            name='ResetRequest',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('address', models.CharField(max_length=254, unique=True)),
                ('created', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name='AccountLink',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('purpose', models.CharField(choices=[('invitation', 'Invitation'), ('password-reset', 'Password reset')], max_length=20)),
                ('token_hash', models.CharField(max_length=64, unique=True)),
                ('account_state', models.CharField(max_length=64)),
                ('created', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('ends', models.DateTimeField()),
                ('used', models.DateTimeField(null=True)),
                ('member', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='account_links', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['-pk'],
            },
        ),
        migrations.CreateModel(
            name='Reminder',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('test-list', 'Test list'), ('policy', 'Recipient policy'), ('credential', 'Credential'), ('client-secret', 'Client secret')], max_length=20)),
                ('number', models.PositiveBigIntegerField()),
                ('ends', models.DateTimeField()),
                ('noticed', models.DateTimeField()),
                ('sent', models.DateTimeField(null=True)),
            ],
            options={
                'ordering': ['-pk'],
                'constraints': [models.UniqueConstraint(fields=('kind', 'number', 'ends'), name='reminder_once_per_end')],
            },
        ),
    ]
