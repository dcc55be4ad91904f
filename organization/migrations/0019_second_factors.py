from django.db import migrations, models

_NEW = 'remove_second_factors'
_BEFORE = {
    'edit_asset_configurations', 'manage_email_configurations', 'access_asset_logs', 'access_user_information', 'resend_mail',
    'resend_to_real_recipients', 'view_stages', 'manage_stages', 'create_apps', 'change_apps', 'archive_apps', 'view_members',
    'manage_members', 'manage_roles', 'view_audit_trail',
}


def give_to_administrators(apps, schema_editor):
    """The role Administrator, and each role that has all permissions as it does, still has all of them."""
    for role in apps.get_model('organization', 'Role').objects.using(schema_editor.connection.alias).all():
        if _NEW not in role.permissions and _BEFORE.issubset(role.permissions):
            role.permissions = [*role.permissions, _NEW]
            role.save(update_fields=['permissions'])


def take_away(apps, schema_editor):
    for role in apps.get_model('organization', 'Role').objects.using(schema_editor.connection.alias).all():
        if _NEW in role.permissions:
            role.permissions = [code for code in role.permissions if code != _NEW]
            role.save(update_fields=['permissions'])


class Migration(migrations.Migration):

    dependencies = [
        ('organization', '0018_grants_from_single_sign_on'),
    ]

    operations = [
        migrations.AddField(
            model_name='role',
            name='requires_second_factor',
            field=models.BooleanField(db_default=False, default=False, editable=False, verbose_name='requires a second factor'),
        ),
        migrations.AlterField(
            model_name='auditevent',
            name='operation',
            field=models.CharField(choices=[('Create', 'Create'), ('Update', 'Update'), ('Delete', 'Delete'), ('Revoke', 'Revoke'), ('Change password', 'Change password'), ('Change recipient policy', 'Change recipient policy'), ('Rotate key', 'Rotate key'), ('Test', 'Test'), ('Send test mail', 'Send test mail'), ('Export', 'Export'), ('Resume deliveries', 'Resume deliveries'), ('Pause', 'Pause'), ('Resume', 'Resume'), ('Deliver held emails', 'Deliver held emails'), ('Keep held emails', 'Keep held emails'), ('Discard held emails', 'Discard held emails'), ('Retry', 'Retry'), ('Cancel', 'Cancel'), ('Release to real recipients', 'Release to real recipients'), ('Resend', 'Resend'), ('Resend to real recipients', 'Resend to real recipients'), ('Forward to test list', 'Forward to test list'), ('Forward to oneself', 'Forward to oneself'), ('Empty inbox', 'Empty inbox'), ('Replace the original', 'Replace the original'), ('Make a test copy', 'Make a test copy'), ('View as member', 'View as member'), ('Use recovery code', 'Use recovery code'), ('Remove second factors', 'Remove second factors')], max_length=60),
        ),
        migrations.RunPython(give_to_administrators, take_away),
    ]
