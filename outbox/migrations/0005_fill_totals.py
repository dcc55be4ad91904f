from django.db import migrations

ROWS_AT_ONCE = 50_000
_COUNTS = ("accepted", "to_test_list", "sent", "deferred", "failed", "unknown")
# The totals, what they are summed up from, their keys and what they count.
TOTALS = (
    ("outbox_stagecount", "outbox_hourlycount", ("stage_id", "hour"), (*_COUNTS, "held")),
    ("outbox_dailycount", "outbox_hourlycount", ("stage_id", "day", "app_id"), _COUNTS),
    ("outbox_stagelatency", "outbox_hourlylatency", ("stage_id", "hour", "bucket"), ("sent",)),
    ("outbox_dailylatency", "outbox_hourlylatency", ("stage_id", "day", "app_id", "bucket"), ("sent",)),
)


def fill(apps, schema_editor):
    """Sum up what is counted already, some rows at a time. Begins anew when it was broken off."""
    day = "(hour AT TIME ZONE 'UTC')::date" if schema_editor.connection.vendor == "postgresql" else "date(hour)"
    with schema_editor.connection.cursor() as cursor:
        for total, hourly, keys, columns in TOTALS:
            cursor.execute(f"DELETE FROM {total}")
            cursor.execute(f"SELECT MIN(id), MAX(id) FROM {hourly}")
            first, last = cursor.fetchone()
            for start in range(first or 0, (last or -1) + 1, ROWS_AT_ONCE):
                cursor.execute(_summed_up(total, hourly, keys, columns, day), [start, start + ROWS_AT_ONCE])


def _summed_up(total, hourly, keys, columns, day):
    """A day, or an hour of many apps, may lie in two slices."""
    values = ", ".join([*(day if key == "day" else key for key in keys), *(f"SUM({column})" for column in columns)])
    places = ", ".join(str(number + 1) for number in range(len(keys)))
    added = ", ".join(f"{column} = {total}.{column} + excluded.{column}" for column in columns)
    return (
        f"INSERT INTO {total} ({', '.join(keys + columns)}) SELECT {values} FROM {hourly} WHERE id >= %s AND id < %s"
        f" GROUP BY {places} ORDER BY 2, 1 ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {added}"
    )


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("outbox", "0004_totals")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
