"""What the store refuses, as answers: an organization of others and one that does not exist are told in the same words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import msgspec
from aiohttp import web

from api.auth.registration import invitation_gone
from api.errors import Problem
from storage.api_keys import MOST_KEYS, NoSuchKey, TooManyKeys
from storage.invitations import InvitationInvalid
from storage.members import LastOwner, NoSuchMember, NotInside, NotOwner, OrganizationFull
from storage.organizations import MOST_OWNED, TooManyOwned, UnknownTier


@contextmanager
def refusals_told() -> Iterator[None]:
    """Turns what the store refuses into Problem 403, 404, 409, 410 or 422."""
    try:
        yield
    except NotInside:
        raise no_organization() from None
    except NotOwner:
        raise Problem(403, "only the organization's owners may do this") from None
    except NoSuchMember:
        raise Problem(404, "the organization has no such member") from None
    except NoSuchKey:
        raise Problem(404, "the organization has no such key") from None
    except LastOwner:
        raise Problem(409, "an organization keeps at least one owner; make somebody else an owner first") from None
    except OrganizationFull as error:
        raise Problem(409, str(error)) from None
    except TooManyOwned:
        raise Problem(409, f"one account owns at most {MOST_OWNED} organizations") from None
    except TooManyKeys:
        raise Problem(409, f"an organization has at most {MOST_KEYS} keys; revoke one first") from None
    except InvitationInvalid:
        raise invitation_gone() from None
    except UnknownTier as error:
        known = f"subscription_tier: expected one of {error}"
        raise Problem(422, known, parameter="subscription_tier") from None


def no_organization() -> Problem:
    """The one answer to an id that is not an organization of the caller's."""
    return Problem(404, "there is no organization of yours with this id")


def path_id(request: web.Request, name: str) -> UUID | None:
    """The id in the path; None for a text that is none."""
    try:
        return msgspec.convert(request.match_info[name], UUID)
    except (msgspec.ValidationError, UnicodeEncodeError):
        return None


def organization_in_path(request: web.Request) -> UUID:
    """The organization that the path names; raises Problem 404 for a text that is no id."""
    found = path_id(request, "organization")
    if found is None:
        raise no_organization()
    return found
