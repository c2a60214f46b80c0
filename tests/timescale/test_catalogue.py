"""The walk over the catalogue on hypertables: chunks are relations too, and compression stays possible."""

from __future__ import annotations

import psycopg

from storage.edition import detect
from tests.integration.api_service import Api, another
from tests.integration.test_database_catalogue import *  # noqa: F403
from tests.integration.test_database_catalogue import test_no_relation_shows_the_apis_role_anothers_row
from tests.integration.test_isolation import MARK, fill


async def test_compressed_chunks_show_the_apis_role_no_more(api: Api, service_database: str) -> None:
    """On the Apache edition, which compresses nothing, the chunks stay as they are."""
    async with another(api, MARK) as other:
        await fill(other, MARK)
    await fill(api, "ours")
    with psycopg.connect(service_database, autocommit=True) as connection:
        if detect(connection).compression:
            compressed = connection.execute(
                "select compress_chunk(c, if_not_compressed => true)"
                " from unnest(array['system', 'enterprise', 'trade', 'view']) as kind,"
                " show_chunks(('store.event_' || kind)::regclass) as c"
            ).fetchall()
            assert compressed
    # Counting goes on in what is compressed, under the sink's role, and the catalogue is walked with all of it in place.
    await test_no_relation_shows_the_apis_role_anothers_row(api, service_database)
