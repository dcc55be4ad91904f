from django.db import migrations, models

# Each old permission, and the ones that it has become.
_SPLIT = {
    'manage_apps': ('create_apps', 'change_apps', 'archive_apps'),
    'manage_organization': (
        'view_stages', 'manage_stages', 'view_members', 'manage_members', 'manage_roles', 'view_audit_trail',
    ),
}


def add_named_permissions(apps, schema_editor):
    """Every role keeps its rights. The old code stays for the release before, which may come back."""
    for role in apps.get_model('organization', 'Role').objects.using(schema_editor.connection.alias).all():
        codes = [*role.permissions]
        for old, parts in _SPLIT.items():
            codes += parts if old in codes else ()
        if codes != role.permissions:
            role.permissions = list(dict.fromkeys(codes))
            role.save(update_fields=['permissions'])


def remove_named_permissions(apps, schema_editor):
    for role in apps.get_model('organization', 'Role').objects.using(schema_editor.connection.alias).all():
        codes = [code for code in role.permissions if not any(code in parts for parts in _SPLIT.values())]
        if codes != role.permissions:
            role.permissions = codes
            role.save(update_fields=['permissions'])


class Migration(migrations.Migration):

    dependencies = [
        ('organization', '0014_installation'),
    ]

    operations = [
        migrations.AddField(
            model_name='rolegrant',
            name='stages',
            field=models.ManyToManyField(blank=True, help_text='Leave empty for all stages of the role.', to='organization.stage'),
        ),
        migrations.RunPython(add_named_permissions, remove_named_permissions),
    ]
