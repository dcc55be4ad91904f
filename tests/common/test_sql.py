"""What the mechanics of hand-written statements promise, on both databases."""

from __future__ import annotations

from common import sql
from organization.models import Stage

AMONG = sql.query(int, lambda db: f"SELECT id FROM organization_stage WHERE id {db.any_of} ORDER BY id")


def test_a_list_of_any_length_is_one_parameter(qa: Stage, production: Stage) -> None:
    assert sql.fetch(AMONG, [production.pk, qa.pk, 0]) == sorted([qa.pk, production.pk])
    assert sql.fetch(AMONG, [qa.pk]) == [qa.pk]
    assert sql.fetch(AMONG, []) == []


def test_the_columns_that_a_statement_left_out_are_read_when_they_are_asked_for(
    production: Stage, django_assert_num_queries
) -> None:
    stage = sql.partly_read(Stage, name="Production", id=production.pk)
    with django_assert_num_queries(0):
        assert (stage.pk, str(stage)) == (production.pk, "Production")
    with django_assert_num_queries(1):
        assert stage.is_production
