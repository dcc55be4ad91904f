from django.db import migrations


def make_missing_lists(apps, schema_editor):
    """Until now a list was made when somebody asked for it: where there is none it never was Active."""
    App, Stage = apps.get_model("organization", "App"), apps.get_model("organization", "Stage")
    TestList = apps.get_model("testlists", "TestList")
    stages = list(Stage.objects.values_list("pk", flat=True))
    lists = [TestList(app_id=app, stage_id=stage) for app in App.objects.values_list("pk", flat=True) for stage in stages]
    TestList.objects.bulk_create(lists, batch_size=1_000, ignore_conflicts=True)


class Migration(migrations.Migration):
    dependencies = [("organization", "0001_initial"), ("testlists", "0001_initial")]

    operations = [migrations.RunPython(make_missing_lists, migrations.RunPython.noop)]
