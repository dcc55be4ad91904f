from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('organization', '0017_audit_invitations'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='rolegrant',
            name='role_granted_once_per_app',
        ),
        migrations.RemoveConstraint(
            model_name='rolegrant',
            name='role_granted_once',
        ),
        migrations.AddField(
            model_name='rolegrant',
            name='from_single_sign_on',
            field=models.BooleanField(db_default=False, default=False, editable=False),
        ),
        migrations.AddConstraint(
            model_name='rolegrant',
            constraint=models.UniqueConstraint(fields=('member', 'role', 'app', 'from_single_sign_on'), name='role_granted_once_per_app'),
        ),
        migrations.AddConstraint(
            model_name='rolegrant',
            constraint=models.UniqueConstraint(condition=models.Q(('app', None)), fields=('member', 'role', 'from_single_sign_on'), name='role_granted_once'),
        ),
    ]
