"""Who gets an export and its manifest, what is refused, and how long manifests are kept."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from api.auth.tokens import OwnTokens
from storage import identity
from storage.exports import ABANDONED_AFTER, prune_exports
from tests.integration.api_service import SECRET, Api, Reply, another, utc_now
from tests.integration.export_reader import exported, manifest_of


async def test_a_bad_question_is_refused_before_anything_is_sent(api: Api) -> None:
    for asked, parameter in (
        ({}, "rollup"),
        ({"rollup": "nothing"}, "rollup"),
        ({"rollup": "trade_pnl", "format": "pdf"}, "format"),
        ({"rollup": "trade_pnl", "measures": "nothing"}, "measures"),
        ({"rollup": "trade_pnl", "group_by": "nothing"}, "group_by"),
        ({"rollup": "trade_pnl", "limit": 5}, "limit"),
        ({"rollup": "trade_pnl", "fill": "zero"}, "fill"),
        ({"rollup": "trade_pnl", "from_": "1800-01-01"}, "from"),
    ):
        reply = await api.get("/api/v1/exports", **asked)
        assert (reply.status, reply.json["parameter"]) == (400, parameter), reply.text
    assert (await api.get(f"/api/v1/exports/{uuid4()}")).status == 404
    assert (await api.get("/api/v1/exports/none")).status == 404


async def test_who_may_see_what(api: Api) -> None:
    headers = []
    accounts = []
    api.clock.now = utc_now()
    for number in range(2):
        account = await identity.create_account(api.services.database, f"export{number}{uuid4()}@example.com", "hash")
        await identity.create_membership(api.services.database, account, api.organization, "member")
        accounts.append(str(account))
        headers.append({"Authorization": f"Bearer {OwnTokens(SECRET).issue(account, now=utc_now())}"})
    closed = api.clock.now - timedelta(minutes=1)
    await api.send([api.trade(closed, "1", user_id=accounts[0]), api.trade(closed, "10", user_id="somebody")])
    asked = {"rollup": "trade_pnl", "measures": "net"}
    own = await api.get("/api/v1/exports", headers=headers[0], **asked)
    everybodys = await api.get("/api/v1/exports", **asked)
    assert (own.text, everybodys.text) == ("net\r\n1\r\n", "net\r\n11\r\n")
    refused = await api.get("/api/v1/exports", headers=headers[0], filter="user_id:somebody", **asked)
    assert (refused.status, refused.json["parameter"]) == (403, "filter")
    shared = await api.get("/api/v1/exports", rollup="system_metrics")

    async def seen(reply: Reply, by: Api, headers: dict[str, str] | None = None) -> int:
        return (await by.get(f"/api/v1/exports/{reply.headers['X-Export-ID']}", headers=headers)).status

    async with another(api, "Other") as other:
        for reply in (own, everybodys, shared):
            assert await seen(reply, api) == 200
            assert await seen(reply, other) == 404
    assert await seen(own, api, headers[0]) == await seen(shared, api, headers[1]) == 200
    assert await seen(everybodys, api, headers[0]) == await seen(own, api, headers[1]) == 404
    assert (await manifest_of(api, own))["question"]["filter"] == {"user_id": [accounts[0]]}


async def test_old_manifests_go_and_those_left_behind_are_failed(many: Api) -> None:
    many.clock.now = now = utc_now()
    reply = await exported(many, "system_metrics")
    database, id_ = many.services.database, reply.headers["X-Export-ID"]
    async with database.write(many.organization) as connection:
        await connection.execute(
            "update app.export set status = 'running', finished_at = null, rows = null, bytes = null, sha256 = null"
        )
    await prune_exports(database, now=now + ABANDONED_AFTER - timedelta(minutes=1))
    assert (await many.get(f"/api/v1/exports/{id_}")).json["status"] == "running"
    await prune_exports(database, now=now + ABANDONED_AFTER + timedelta(minutes=1))
    found = (await many.get(f"/api/v1/exports/{id_}")).json
    assert (found["status"], found["error"]) == ("failed", "whoever made it ended, or lost the database")
    assert await prune_exports(database, now=now + timedelta(days=31)) >= 1
    assert (await many.get(f"/api/v1/exports/{id_}")).status == 404
