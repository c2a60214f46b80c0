"""Two organizations with random data: no answer, header or refusal to one holds a byte of the other's."""

from __future__ import annotations

from uuid import UUID

from tests.integration.two_sides import NEEDED, Side, ask, gets, questions


async def test_no_answer_header_or_error_holds_a_byte_of_the_other(sides: tuple[Side, Side]) -> None:
    told: set[str] = set()
    for ours, theirs in (sides, sides[::-1]):
        for route in gets(ours.api):
            for path, parameters in questions(route, theirs.names):
                sent = f"{path} {parameters}"
                for caller in ours.callers if parameters == NEEDED.get(route.path, {}) else ["owner"]:
                    reply = await ask(ours, caller, path, parameters)
                    assert reply.status < 500 or route.path == "/health/detailed", (sent, reply.text)
                    shown = f"{reply.text}\n{reply.headers}"
                    assert theirs.foreign_to(shown, sent) == [], (caller, sent, shown[:1_000])
                    if ours.mark in shown:
                        told.add(route.path)
            # What names one's own must come, or there would have been nothing to hold back.
            for path, parameters in questions(route, ours.names):
                reply = await ask(ours, "owner", path, parameters)
                if ours.mark in reply.text.replace(f"{path} {parameters}", ""):
                    told.add(route.path)
    assert told >= {
        "/api/v1/query",
        "/api/v1/deployments",
        "/api/unify/v1/analytics/trades",
        "/api/unify/v1/analytics/strategies",
        "/api/v1/leaderboards/creators",
        "/users/top",
        "/users/{id}",
        "/api/v1/users/profile",
        "/api/unify/v1/user/profile",
        "/api/auth/me",
        "/api/v1/organizations/{organization}/members",
        "/api/v1/organizations/{organization}/invitations",
        "/api/v1/api-keys",
        "/api/v1/audit",
    }, told


async def test_another_organization_in_header_or_parameter_is_refused_in_the_same_words_as_none(
    sides: tuple[Side, Side],
) -> None:
    ours, theirs = sides
    for caller in ours.callers:
        for path, name in (("/api/v1/enterprise/metrics", "organization_id"), ("/users/top", "X-Organization-ID")):
            answers = []
            for organization in (theirs.api.organization, UUID(int=7)):
                given = {name: str(organization)}
                reply = await (
                    ask(ours, caller, path, given)
                    if name == "organization_id"
                    else ask(ours, caller, path, {}, **given)
                )
                answers.append((reply.status, reply.body))
            assert answers[0] == answers[1]
            assert answers[0][0] == 403
        for kind in ("", "/members", "/invitations"):
            found = [
                await ask(ours, caller, f"/api/v1/organizations/{organization}{kind}", {})
                for organization in (theirs.api.organization, UUID(int=7))
            ]
            assert found[0].status == found[1].status
            assert found[0].status in (403, 404)
            assert found[0].body == found[1].body
