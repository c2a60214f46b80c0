"""What of an organization's data a caller may see: members see their own trades, owners, admins and API keys all of them."""

from __future__ import annotations

from dataclasses import replace

from api.auth.principal import Principal
from api.errors import Problem
from storage.rollup_query import Question


def own_trades(principal: Principal) -> tuple[str, ...] | None:
    """The names of the one person whose trades the caller may see, as events have them; None where all trades may be seen."""
    return principal.user_ids if principal.role == "member" else None


def sight(principal: Principal, *, personal: bool = False) -> str:
    """A name for what the caller may see of the organization: answers are shared by those who have the same.

    `personal`: the answer shows its caller something that others with the same role do not see.
    """
    if principal.role == "member" or personal:
        return f"{principal.role}:{principal.account or principal.key}"
    return principal.role


def narrowed(question: Question, principal: Principal) -> Question:
    """The question about what the caller may see. Raises Problem 403 where it asks for somebody else's trades."""
    own = own_trades(principal)
    if own is None or question.rollup.event != "trade":
        return question
    asked = question.filters.get("user_id", own)
    if not set(asked) <= set(own):
        raise Problem(403, "filter: members see their own trades", parameter="filter")
    return replace(question, filters={**question.filters, "user_id": asked})
