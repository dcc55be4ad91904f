from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from hypothesis import example, given
from hypothesis import strategies as st

from common.addresses import (
    NamedAddress,
    domain_of,
    may_be_incomplete,
    parse_named_address,
    printable,
    same_address_key,
    split_addresses,
    validate_address,
    wire_address,
)
from common.exceptions import NotOneAddress

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too: a command line may carry them
NEARLY_AN_ADDRESS = st.text(st.sampled_from('aZ0ä@.-_"\\ <>()[]:,;\u200b\r\n\t\0\x85\ud800İß例'), max_size=40)


def refusal(text: str) -> str:
    with pytest.raises(ValidationError) as refused:
        validate_address(text)
    return refused.value.messages[0]


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("ana@example.com", "ana@example.com"),
        ("  ana@example.com ", "ana@example.com"),
        ("Ana.Silva+qa@EXAMPLE.Com", "Ana.Silva+qa@example.com"),
        ("ana@bücher.example", "ana@bücher.example"),
        ("ana@xn--bcher-kva.example", "ana@bücher.example"),
        ("josé@example.com", "josé@example.com"),
        ("jose\u0301@example.com", "josé@example.com"),
        ("root@localhost", "root@localhost"),
        ("ana@corp.local", "ana@corp.local"),
        ("qa@acme.test", "qa@acme.test"),
        ("x" * 64 + "@example.com", "x" * 64 + "@example.com"),
        ("ä" * 32 + "@example.com", "ä" * 32 + "@example.com"),
        # What real apps send: the server that gets the email decides.
        ("karl..kunde@docomo.example", "karl..kunde@docomo.example"),
        ("karl.@docomo.example", "karl.@docomo.example"),
        (".karl@docomo.example", ".karl@docomo.example"),
        ('"karl kunde"@Example.com', '"karl kunde"@example.com'),
        ('"karl..kunde"@docomo.example', '"karl..kunde"@docomo.example'),
        ('"karl"@example.com', "karl@example.com"),
        (r'"a\@\"b"@example.com', r'"a@\"b"@example.com'),
        ("karl@[192.0.2.1]", "karl@[192.0.2.1]"),
        ("karl@[ipv6:2001:DB8::1]", "karl@[IPv6:2001:db8::1]"),
        ("karl@customer.example.", "karl@customer.example."),
        ("karl@my_host.example", "karl@my_host.example"),
        ("karl@_mail.bücher.example", "karl@_mail.bücher.example"),
        ("karl@ශ්\u200dරී.example", "karl@ශ්\u200dරී.example"),
        ("karl@xn--10cl1a0b660p.example", "karl@ශ්\u200dරී.example"),
        ("karl@xn--ls8h.example", "karl@xn--ls8h.example"),
    ],
)
def test_an_address_is_kept_in_its_normal_form(typed: str, kept: str) -> None:
    assert validate_address(typed) == kept


@pytest.mark.parametrize(
    "typed",
    [
        "",
        " ",
        "ana",
        "ana@",
        "@example.com",
        "ana@@example.com",
        "ana@exa mple.com",
        "ana silva@example.com",
        "ana@example.com, bob@example.com",
        "ana@example.com bob@example.com",
        "ana@-example.com",
        "ana@example..com",
        '""@example.com',
        '"ana@example.com',
        "ana(Sales)@example.com",
        "ana@[192.0.2.300]",
        "ana@[example.com]",
        "ana@💩.example",
        "a\u2003na@example.com",
        "Ana <ana@example.com>",
        "x@" + "y" * 64 + ".com",
        "x@" + ".".join(["y" * 60] * 5),
    ],
)
def test_what_is_no_address_is_refused_and_named(typed: str) -> None:
    assert "isn't an email address" in refusal(typed)


@pytest.mark.parametrize(
    "hidden", ["\r", "\n", "\t", "\0", "\x7f", "\x85", "\u200b", "\u200d", "\u2028", "\u202e", "\u2066", "\ufeff", "\ud800"]
)
def test_line_breaks_and_invisible_characters_are_refused_and_shown_escaped(hidden: str) -> None:
    errors = refusal(f"an{hidden}a@example.com")
    assert "invisible character" in errors
    assert f"\\u{ord(hidden):04x}" in errors
    assert hidden not in errors


@pytest.mark.parametrize("domain", ["exam\u200bple.com", "exam\u200dple.com", "exam\u200eple.com", "ශ්\u200bරී.example"])
def test_a_joiner_is_accepted_in_a_domain_only_where_its_script_needs_it(domain: str) -> None:
    refusal(f"ana@{domain}")


def test_the_local_part_is_counted_in_bytes_not_characters() -> None:
    assert "at most 64 bytes" in refusal("ä" * 33 + "@example.com")
    assert "too long before the @-sign" in refusal("x" * 65 + "@example.com")


@given(ANY_TEXT | NEARLY_AN_ADDRESS)
@example("\ud800@example.com")
@example("a@[1.2.3.4]")
def test_no_text_brings_more_than_a_validation_error_and_an_address_is_its_own_normal_form(text: str) -> None:
    try:
        address = validate_address(text)
    except ValidationError as error:
        "".join(error.messages).encode()  # can be shown
    else:
        assert validate_address(address) == address
        assert wire_address(address).rpartition("@")[2].isascii()


@pytest.mark.parametrize(
    ("typed", "name", "email"),
    [
        ("ana@example.com", "", "ana@example.com"),
        ("<ana@example.com>", "", "ana@example.com"),
        ("Ana Silva <ana@example.com>", "Ana Silva", "ana@example.com"),
        (" Ana  Silva<ana@EXAMPLE.com> ", "Ana  Silva", "ana@example.com"),
        ('"Silva, Ana" <ana@example.com>', "Silva, Ana", "ana@example.com"),
        (r'"Ana \"Annie\" Silva" <ana@example.com>', 'Ana "Annie" Silva', "ana@example.com"),
        ('Ana "Annie" Silva <ana@example.com>', 'Ana "Annie" Silva', "ana@example.com"),
        ("Ana (Sales) <ana@example.com>", "Ana (Sales)", "ana@example.com"),
        ("ana@example.com <ana@example.com>", "ana@example.com", "ana@example.com"),
        ("José 👩‍💻 <jose@example.com>", "José 👩‍💻", "jose@example.com"),
        ('Ana <"a<b"@example.com>', "Ana", '"a<b"@example.com'),
    ],
)
def test_a_person_is_a_name_and_an_address(typed: str, name: str, email: str) -> None:
    assert parse_named_address(typed) == NamedAddress(email, name)


@pytest.mark.parametrize(
    "typed",
    [
        "Ana",
        "<>",
        "Ana <>",
        "Ana <ana@example.com",
        "Ana ana@example.com>",
        "Ana <ana@example.com> <bob@example.com>",
        "ana@example.com, <bob@example.com>",
        "ana@example.com; Bob <bob@example.com>",
        "Ana\r\nBcc: eve@example.com <ana@example.com>",
        "(" * 5000 + "<ana@example.com",
        "<" * 5000 + "ana@example.com>",
    ],
)
def test_two_people_in_one_entry_or_half_a_person_are_refused(typed: str) -> None:
    with pytest.raises(NotOneAddress):
        parse_named_address(typed)


def test_brackets_nested_without_end_are_just_a_name() -> None:
    assert parse_named_address("(" * 5000 + "<ana@example.com>").email == "ana@example.com"


@given(
    st.text(
        st.characters(
            exclude_categories=["Cc", "Cs", "Zl", "Zp"],
            exclude_characters="\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
        )
    )
)
@example('"')
@example('\\"')
@example("Silva, Ana")
@example('"a" "b"')
def test_a_person_written_out_is_read_back_as_the_same_person(name: str) -> None:
    person = NamedAddress("ana@example.com", name.strip())
    assert parse_named_address(str(person)) == person
    assert split_addresses(f"bob@example.com, {person}; eve@example.com")[1:-1] == [str(person)]


@pytest.mark.parametrize(
    ("pasted", "entries"),
    [
        ("", []),
        (" \n ,;\t\r\n", []),
        ("a@x.com\nb@x.com\r\nc@x.com", ["a@x.com", "b@x.com", "c@x.com"]),
        ("a@x.com, b@x.com;c@x.com\td@x.com", ["a@x.com", "b@x.com", "c@x.com", "d@x.com"]),
        ("a@x.com,,b@x.com,", ["a@x.com", "b@x.com"]),
        ('"Silva, Ana" <a@x.com>, b@x.com', ['"Silva, Ana" <a@x.com>', "b@x.com"]),
        (r'"Silva, \"A\"; Ana" <a@x.com>;b@x.com', [r'"Silva, \"A\"; Ana" <a@x.com>', "b@x.com"]),
        ('O"Brien <a@x.com>, b@x.com', ['O"Brien <a@x.com>', "b@x.com"]),
        ('a@x.com, O"Brien <b@x.com>', ["a@x.com", 'O"Brien <b@x.com>']),
        ('"Ana <a@x.com>\n"Bob <b@x.com>', ['"Ana <a@x.com>', '"Bob <b@x.com>']),
    ],
)
def test_a_pasted_list_is_split_into_its_entries(pasted: str, entries: list[str]) -> None:
    assert split_addresses(pasted) == entries


def test_a_line_of_a_hundred_thousand_entries_is_split_quickly() -> None:
    assert len(split_addresses(",".join(["a@x.com"] * 100_000))) == 100_000  # not in minutes: the work grows with the text


@pytest.mark.parametrize(
    ("address", "other", "same"),
    [
        ("ana@example.com", "ana@EXAMPLE.com", True),
        ("ana@example.com", "ana@example.com.", True),
        ("ana@example.com", "Ana@example.com", False),
        ("ana@example.com", "ana@example.org", False),
    ],
)
def test_the_case_of_the_domain_does_not_count_that_of_the_local_part_does(address: str, other: str, same: bool) -> None:
    assert (same_address_key(address) == same_address_key(other)) is same


def test_the_domain_is_what_follows_the_last_at_sign() -> None:
    assert [domain_of(address) for address in ('"a@b"@Example.com', "ana@example.com", "")] == ["example.com", "example.com", ""]


def test_on_the_wire_a_domain_is_ascii() -> None:
    assert wire_address("josé@bücher.example") == "josé@xn--bcher-kva.example"
    assert wire_address("karl@_mail.bücher.example") == "karl@_mail.xn--bcher-kva.example"
    assert wire_address("") == ""


@pytest.mark.parametrize(
    "stored",
    ["ana@example.com\r\nRCPT TO:<eve@example.com>", "ana@example.com> SIZE=1", "ana", "ana@example.com\n", "a b@c.example"],
)
def test_what_is_no_address_never_reaches_the_wire_however_it_was_stored(stored: str) -> None:
    with pytest.raises(ValueError, match="can't be used as an address"):
        wire_address(stored)


def test_a_domain_without_a_dot_may_be_incomplete() -> None:
    addresses = ["root@localhost", "ana@example.", "ana@example.com", "ana@[IPv6:::1]"]
    assert [may_be_incomplete(address) for address in addresses] == [True, True, False, False]


def test_a_long_text_is_shortened_where_it_is_shown() -> None:
    assert len(printable("x" * 5000)) == 100
