"""The invitation in an address: every spelling of it is removed, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatekeeper.policy.invitation_address import (
    FoundInvitation,
    find_invitation,
    line_may_hold_invitation,
    may_hold_invitation,
)

SPELLINGS = (
    "gk_invitation",
    "GK_Invitation",
    "gk%5Finvitation",
    "gk%5finvitation",
    "%67k_invitation",
    "gk_invit%61tion",
    "%67%6B%5F%69%6E%76%69%74%61%74%69%6F%6E",
    "gk%255Finvitation",
    "%2567k_invitation",
    "gk.invitation",
    "gk%2Einvitation",
    "gk+invitation",
    "gk%20invitation",
    "gk_invitation[]",
    "gk_invitation%5B%5D",
    "gk_invitation[0]",
    "gk[invitation",
    "%20gk_invitation",
    "+gk_invitation",
    "gk_invitation%00x",
    "gk_invitation%20",
    "%20%09+gk_invitation",
    "%2520gk_invitation",
    "%E3%80%80gk_invitation",
    "%67k%20invitation",
)


@pytest.mark.parametrize(
    ("before", "after", "rest"),
    [
        ("", "", ""),
        ("a=1&", "", "?a=1"),
        ("", "&b=2", "?b=2"),
        ("a=1&", "&b=%32", "?a=1&b=%32"),
        ("a=1;", ";b=2", "?a=1;b=2"),
        ("a=1?", "", "?a=1"),
        ("&", "&", "?&"),
        ("&", "", ""),
        ("", "&", ""),
        ("", "&&", "?&"),
        ("&&", "&&a", "?&&&a"),
        ("", "&&b", "?&b"),
        ("&a=&b&", "&c", "?&a=&b&c"),
        ("a=&b&", "&&c=&d", "?a=&b&&c=&d"),
        ("a=1&a=1&", "&a=2&", "?a=1&a=1&a=2&"),
        ("q=a+b%20c%2b&", ";d=%3D=%26;;", "?q=a+b%20c%2b;d=%3D=%26;;"),
        ("é=%C3%A9&", "&%zz=%", "?é=%C3%A9&%zz=%"),
        ("=&", "&=x&==", "?=&=x&=="),
        ("a[]=1&", "&a[]=2&b[c]=d", "?a[]=1&a[]=2&b[c]=d"),
    ],
)
def test_every_spelling_leaves_the_address(before: str, after: str, rest: str) -> None:
    for name in SPELLINGS:
        found = find_invitation(f"/a%2Fb/{chr(0x7E)}x?{before}{name}=ab.cd.e_f-g{after}")
        assert found is not None, name
        assert found.values == ("ab.cd.e_f-g",), name
        assert found.target == "/a%2Fb/~x" + rest, name
        assert find_invitation(found.target) is None


@pytest.mark.parametrize(
    "target",
    [
        "/gk_invitation=x",
        "/gk_invitation?a=1",
        "/?",
        "/?a=gk_invitation",
        "/?a=gk_invitation=x",
        "/?gk_invitations=x",
        "/?xgk_invitation=x",
        "/?invitation=x",
        "/?next=%2Fshop%3Fgk_invitation%3Dx",
        "/?gkinvitation=x",
        "/?gk__invitation=x",
    ],
)
def test_other_addresses_stay_as_they_are(target: str) -> None:
    assert find_invitation(target) is None


@given(
    st.lists(st.sampled_from(["", "a", "a=", "=b", "a=+%20", "%zz", "b[]=1", "="]), max_size=5),
    st.lists(st.sampled_from("&;?"), min_size=12, max_size=12),
    st.sets(st.integers(0, 5), min_size=1),
)
def test_rest_of_the_query_stays_byte_for_byte(
    parts: list[str], separators: list[str], places: set[int]
) -> None:
    """One separator is removed with each parameter, for all surrounding text."""
    query, rest = "", ""
    for at in range(6):
        for each in [*(["gk_invitation=x"] if at in places else []), *parts[at : at + 1]]:
            separator = separators.pop()
            query += separator + each
            rest += separator + each if each != "gk_invitation=x" else ""
    found = find_invitation("/p?" + query[1:])
    assert found is not None
    assert found.target == ("/p?" + rest[1:] if rest[1:] else "/p")


def test_parameter_without_a_value_is_removed_too() -> None:
    assert find_invitation("/?gk_invitation") == FoundInvitation("/", ("",))
    assert find_invitation("/?gk_invitation=&a=1") == FoundInvitation("/?a=1", ("",))


def test_repeated_parameters_are_all_removed() -> None:
    target = "/?gk_invitation=a&x=1&gk%5Finvitation=b&gk_invitation=a"
    assert find_invitation(target) == FoundInvitation("/?x=1", ("a", "b"))


def encoded(name: str, choices: list[int]) -> str:
    """Each letter unchanged, in the other case, or percent-encoded once or twice."""

    def forms(each: str) -> list[str]:
        code = f"{ord(each):02x}"
        return [each, each.swapcase(), f"%{code}", f"%{code.upper()}", f"%25{code}"]

    return "".join(forms(each)[choice] for each, choice in zip(name, choices, strict=True))


@given(
    st.lists(st.integers(0, 4), min_size=13, max_size=13),
    st.sampled_from("_. "),
    st.text("ab=&;?%5fgk_invto", max_size=12),
    st.sampled_from(["", "+", "%20", "%2520", "%00", "+%09"]),
)
def test_cheap_question_misses_no_invitation(
    choices: list[int], middle: str, rest: str, blanks: str
) -> None:
    name = encoded(f"gk{middle}invitation", choices).replace(" ", "+")
    target = f"/?{rest}&{blanks}{name}=x&{rest}"
    assert find_invitation(target) is not None
    assert may_hold_invitation(target)
    assert line_may_hold_invitation(f"GET {target} HTTP/1.1".encode())


@given(st.text("abgk_invitation%5fFE2.+;&?=[]", max_size=60))
def test_address_without_invitation_has_none(query: str) -> None:
    """One redirect suffices, and only parameters are removed."""
    found = find_invitation(f"/p?{query}")
    if found is not None:
        assert find_invitation(found.target) is None
        assert len(found.target) < len(f"/p?{query}")


@given(st.text("gGkK%67256Bb_.+ []invitatonINVT&;?=05fF", max_size=80))
def test_cheap_question_is_asked_of_every_spelling(query: str) -> None:
    """The quick check finds every address that `find_invitation` would change without it."""
    target = f"/?{query}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gatekeeper.policy.invitation_address.may_hold_invitation", lambda _: True)
        found = find_invitation(target)
    if found is not None:
        assert may_hold_invitation(target)
        assert line_may_hold_invitation(target.encode())
