"""People: what one tells of oneself, and the profiles that the video feed shows."""

from __future__ import annotations

from api.routing import Route
from api.users import own_profile, profiles

ROUTES: list[Route] = [*own_profile.ROUTES, *profiles.ROUTES]
