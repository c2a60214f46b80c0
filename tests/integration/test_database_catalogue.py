"""The whole catalogue of the database, table by table and function by function: under the API's role nothing is read but one's own."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from storage.database import API_ROLE, IDENTITY_ROLE, JOBS_ROLE, SERVICE_ROLE, SINK_ROLE
from tests.integration.api_service import Api, another
from tests.integration.test_isolation import MARK, fall_due, fill, manage

OURS = "n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"
NOT_AN_EXTENSIONS = (
    "not exists (select from pg_depend d where d.classid = {}::regclass and d.objid = {}.oid and d.deptype = 'e')"
)
NOBODYS = UUID(int=0)

ROLES = (API_ROLE, IDENTITY_ROLE, SERVICE_ROLE, SINK_ROLE, JOBS_ROLE)
PEOPLE = {
    "account", "membership", "api_key", "browser_session", "sign_in_link", "stream_ticket", "refresh_family", "invitation",
    "external_subject", "profile", "audit", "organization",
}  # fmt: skip
"""Tables of identity. All but the events and rollups, which cannot, have row-level security that holds for their owner too."""
BUSINESS = {
    "deployment", "report_run", "report_schedule", "report_due", "report_delivery", "report_alert", "archived_file", "export",
}  # fmt: skip
FIGURES = ("event_", "rollup_", "creator_", "video_", "_hyper_", "compress_hyper_")
OPEN_TO_THE_API = {"organization()", "unfilled(wanted text)", "standings_refresh()"}


def relations(connection: psycopg.Connection[Any]) -> list[tuple[str, str, str]]:
    """Schema, name and kind of every relation that is not the server's or an extension's own: chunks are among them."""
    return connection.execute(
        "select n.nspname, c.relname, c.relkind from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        f" where c.relkind in ('r', 'v', 'm', 'p', 'f', 'S') and {OURS} and {NOT_AN_EXTENSIONS.format(chr(39) + 'pg_class' + chr(39), 'c')}"
        " order by 1, 2"
    ).fetchall()


def asked(connection: psycopg.Connection[Any], role: str, query: Any, organization: Any = None) -> list[Any] | None:
    """The rows that a role reads for an organization; None where it may not."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
            if organization is not None:
                connection.execute("select set_config('app.organization', %s, true)", (str(organization),))
            return connection.execute(query).fetchall()
    except psycopg.errors.InsufficientPrivilege:
        return None


def texts(schema: str, name: str) -> sql.Composed:
    """Every row as one text."""
    return sql.SQL("select r::text from {} as r").format(sql.Identifier(schema, name))


def archive_a_file(connection: psycopg.Connection[Any], organization: UUID) -> None:
    """Writes a file of the organization into the archive's books."""
    with connection.transaction():
        connection.execute(sql.SQL("set local role {}").format(sql.Identifier(JOBS_ROLE)))
        connection.execute(
            "insert into store.archived_day (kind, day, rows, batch) values ('view', '2001-01-01', 2, 1) on conflict do nothing"
        )
        connection.execute(
            "insert into store.archived_file (organization, kind, day, path, rows, bytes, sha256, first_time, last_time)"
            " values (%(o)s::uuid, 'view', '2001-01-01', 'view/2001-01-01/' || %(o)s::text, 1, 1, repeat('0', 64), now(), now())",
            {"o": str(organization)},
        )


async def test_no_relation_shows_the_apis_role_anothers_row(api: Api, service_database: str) -> None:
    async with another(api, MARK) as other:
        await fill(other, MARK)
        await fill(api, "ours")
        await fall_due(other, MARK)
        await fall_due(api, "ours")
        await manage(api)
        theirs = (MARK, "7654321", str(other.organization))
        with psycopg.connect(service_database, autocommit=True) as connection:
            for organization in (api.organization, other.organization):
                archive_a_file(connection, organization)
            shown = []
            for schema, name, kind in relations(connection):
                query = texts(schema, name)
                assert not asked(connection, API_ROLE, query), f"{schema}.{name}: rows without an organization"
                assert not asked(connection, API_ROLE, query, ""), f"{schema}.{name}: rows with an empty organization"
                assert not asked(connection, API_ROLE, query, NOBODYS), f"{schema}.{name}: rows of nobody"
                rows = asked(connection, API_ROLE, query, api.organization)
                if schema != "app":
                    assert rows is None, f"{schema}.{name} is open to the API's role"
                    continue
                assert kind == "v"
                if rows:
                    shown.append(name)
                    assert not [text for (text,) in rows for word in theirs if word in text], name
                rows = asked(connection, API_ROLE, query, other.organization) or []
                assert not [text for (text,) in rows if "ours" in text or str(api.organization) in text], name
            # A view that shows nothing in all of this proves nothing.
            views = {name for schema, name, kind in relations(connection) if kind == "v" and schema == "app"}
            assert views - set(shown) <= {"profile", "profile_subject", "standing_stamp", "archive_gate"}


async def test_every_view_is_a_barrier_over_its_organization(service_database: str) -> None:
    with psycopg.connect(service_database, autocommit=True) as connection:
        found = connection.execute(
            "select c.relname, 'security_barrier=true' = any(coalesce(c.reloptions, '{}')), pg_get_viewdef(c.oid)"
            " from pg_class c where c.relnamespace = 'app'::regnamespace and c.relkind <> 'S'"
        ).fetchall()
        assert found
        for name, barrier, definition in found:
            assert barrier, f"app.{name} is no barrier view"
            assert "app.organization()" in definition, f"app.{name} does not compare with the organization"


async def test_row_level_security_is_forced_wherever_it_can_be(api: Api, service_database: str) -> None:
    with psycopg.connect(service_database, autocommit=True) as connection:
        tables = dict(
            connection.execute(
                "select relname, relrowsecurity and relforcerowsecurity from pg_class"
                " where relnamespace = 'store'::regnamespace and relkind in ('r', 'p')"
            ).fetchall()
        )
        secured = {name for name, forced in tables.items() if forced}
        assert secured == PEOPLE | BUSINESS
        with_organization = {
            name
            for (name,) in connection.execute(
                "select c.relname from pg_class c join pg_attribute a on a.attrelid = c.oid where a.attname = 'organization'"
                " and c.relnamespace = 'store'::regnamespace and c.relkind in ('r', 'p')"
            )
        }
        # What is left is the sink's, on which the API's role has no right: a table that is added must be in one of the two.
        counted = {
            "feed",
            "watermark",
            "source_sequence",
            "metric_name",
            "video_reaction",
            "standing_stamp",
            "dead_letter",
        }
        left = {name for name in with_organization - secured if not name.startswith(("event_", "rollup_"))}
        assert left == counted
        (hyper,) = connection.execute(
            "select count(*) from pg_class where relrowsecurity and relname ~ '^(event_|rollup_|_hyper_|compress_hyper_)'"
        ).fetchone() or (0,)
        assert hyper == 0, "row-level security on what TimescaleDB is to compress"


async def test_each_role_has_what_its_work_needs_and_no_more(service_database: str) -> None:
    with psycopg.connect(service_database, autocommit=True) as connection:
        may: dict[str, set[str]] = {role: set() for role in ROLES}
        for schema, name, kind in relations(connection):
            if schema not in ("store", "public") or kind == "S":
                continue
            for role in ROLES:
                if connection.execute(
                    "select has_table_privilege(%s, %s, 'select, insert, update, delete, truncate, references, trigger')"
                    " or has_any_column_privilege(%s, %s, 'select, insert, update')",
                    (role, f'{schema}."{name}"') * 2,
                ).fetchone() == (True,):
                    may[role].add(name)
        assert may[API_ROLE] == set()
        assert may[IDENTITY_ROLE] == PEOPLE | {"subscription_tier", "report_schedule"}
        # Whoever ends a membership pauses that person's schedules, and sees nothing of what is in them.
        seen = connection.execute(
            "select attname from pg_attribute where attrelid = 'store.report_schedule'::regclass and attnum > 0 and not attisdropped"
            " and has_column_privilege(%s, attrelid, attname, 'select') order by attname",
            (IDENTITY_ROLE,),
        ).fetchall()
        assert seen == [("created_by",), ("organization",), ("paused_reason",)]
        assert not {name for name in may[SERVICE_ROLE] if name in PEOPLE or name.startswith(FIGURES)}
        assert may[SINK_ROLE].isdisjoint(PEOPLE | BUSINESS)
        # Of identity the jobs delete what is over, and read no more of it than when it ends.
        assert may[JOBS_ROLE] & PEOPLE == {
            "browser_session", "sign_in_link", "stream_ticket", "refresh_family", "invitation", "audit",
        }  # fmt: skip
        for name in may[JOBS_ROLE] & PEOPLE:
            time = "happened_at" if name == "audit" else "expires_at"
            columns = connection.execute(
                "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped"
                " and has_column_privilege(%s, attrelid, attname, 'select')",
                (f"store.{name}", JOBS_ROLE),
            ).fetchall()
            assert columns == [(time,)], name
            assert asked(connection, JOBS_ROLE, texts("store", name)) is None
        for statement in ("update store.audit set actor = null", "delete from store.audit"):
            assert asked(connection, IDENTITY_ROLE, sql.SQL(statement)) is None


async def test_no_role_makes_anything_and_none_passes_row_level_security_by(service_database: str) -> None:
    with psycopg.connect(service_database, autocommit=True) as connection:
        for role in ROLES:
            flags = connection.execute(
                "select rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication from pg_roles"
                " where rolname = %s",
                (role,),
            ).fetchone()
            assert flags == (False,) * 6, role
            assert connection.execute(
                "select count(*) from pg_auth_members where member = %s::regrole", (role,)
            ).fetchone() == (0,), f"{role} is a member of another role"
            for schema in ("public", "app", "store"):
                found = connection.execute("select has_schema_privilege(%s, %s, 'create')", (role, schema)).fetchone()
                assert found == (False,), f"{role} may create in {schema}"


async def test_no_function_opens_what_tables_do_not(service_database: str) -> None:
    with psycopg.connect(service_database, autocommit=True) as connection:
        found = connection.execute(
            "select n.nspname, p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', p.prosecdef,"
            " coalesce(p.proconfig, '{}'), has_function_privilege('streamgauge_api', p.oid, 'execute'),"
            " exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0)"
            f" from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {OURS}"
            f" and {NOT_AN_EXTENSIONS.format(chr(39) + 'pg_proc' + chr(39), 'p')}"
        ).fetchall()
        assert {name for schema, name, *_ in found if schema == "app"} == OPEN_TO_THE_API | {"feed_tail()"}
        for schema, name, definer, configuration, by_api, by_everybody in found:
            assert not by_everybody, f"{schema}.{name} is open to everybody"
            assert by_api == (schema == "app" and name in OPEN_TO_THE_API), f"{schema}.{name}"
            if definer:
                path = [setting for setting in configuration if setting.startswith("search_path=")]
                assert path, f"{schema}.{name} runs with its owner's rights and its caller's search path"
                assert path[0].endswith("pg_temp"), f"{schema}.{name}: temporary objects must be looked for last"


async def test_the_organization_of_a_transaction_is_not_left_behind(api: Api) -> None:
    """A connection goes back to the pool with neither role nor organization."""
    database = api.services.database
    for _ in range(20):
        async with database.read(api.organization) as connection:
            await connection.execute("select 1")
        async with database.owner() as connection:
            row = await (
                await connection.execute(
                    "select coalesce(current_setting('app.organization', true), ''), current_user = session_user"
                )
            ).fetchone()
            assert row == ("", True)


@pytest.mark.parametrize("setting", ["'; select 1; --", "null", "*", "%", "00000000-0000-0000-0000-00000000000", "{}"])
async def test_a_setting_that_is_no_organization_is_an_error(service_database: str, setting: str) -> None:
    with (
        psycopg.connect(service_database, autocommit=True) as connection,
        pytest.raises(psycopg.errors.InvalidTextRepresentation),
    ):
        asked(connection, API_ROLE, texts("app", "organization_profile"), setting)
