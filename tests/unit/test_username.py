"""Usernames: in one normal form, visible, and not too long."""

from __future__ import annotations

from typing import Any

import pytest

from api.username import username_from


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("ann", "ann"),
        (" Ann B. ", "Ann B."),
        ("\uff41nn", "ann"),
        ("Jürgen", "Jürgen"),
        ("Ju\u0308rgen", "Jürgen"),
        ("毛毛", "毛毛"),
        ("x" * 64, "x" * 64),
        ("x" * 65, None),
        ("\ufdfa" * 60, None),
        ("", None),
        ("  ", None),
        ("a\u200bb", None),
        ("a\u202eb", None),
        ("a\x00b", None),
        ("a\nb", None),
        ("\ud800", None),
        (None, None),
        (7, None),
        (["ann"], None),
    ],
)
def test_a_username_is_visible_text(given: Any, name: str | None) -> None:
    assert username_from(given) == name
