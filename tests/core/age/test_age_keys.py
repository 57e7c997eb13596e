"""Goal: keys are read exactly as the `age` program reads them, and no secret shows anywhere but in `secret()`.

Method: round trips and every one-letter typo of a key; each way in which a Python value tends to leak (repr, str,
format, errors with their chain, pickle, copy, asdict) is searched for each form of the secret, with a leaky class
as control.
"""

import copy
import dataclasses
import itertools
import pickle
import traceback
from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antsmem.core import age
from antsmem.core.age import bech32
from antsmem.core.errors import UsageError

PASSPHRASE = "correct horse " + "battery staple"


@dataclasses.dataclass(frozen=True)
class Plain:
    """A key class as one writes it without a second thought."""

    content: bytes


def identities():
    return [age.X25519Identity.generate(), age.HybridIdentity.generate()]


def raw(identity) -> bytes:
    return bech32.decode(identity.secret())[1]


@pytest.mark.parametrize("kind", [age.X25519Identity, age.HybridIdentity])
def test_keys_survive_their_text(kind):
    identity = kind.generate()
    assert age.parse_identity(identity.secret()) == identity
    assert age.parse_recipient(str(identity.recipient)) == identity.recipient
    assert identity != kind.generate()


def test_keys_are_values_that_do_not_change():
    identity = age.X25519Identity.generate()
    twin = age.parse_identity(identity.secret())
    assert {identity, twin} == {twin}
    assert {identity.recipient, twin.recipient} == {twin.recipient}
    assert identity != identity.recipient
    for key in (identity, identity.recipient, age.ScryptRecipient(PASSPHRASE), age.ScryptIdentity(PASSPHRASE)):
        with pytest.raises(AttributeError):
            key._content = b"other"
        with pytest.raises(AttributeError):
            del key._content
        with pytest.raises(AttributeError):
            key.something = 1


def test_texts_look_as_age_writes_them():
    x25519, hybrid = identities()
    assert x25519.secret().startswith("AGE-SECRET-KEY-1")
    assert str(x25519.recipient).startswith("age1")
    assert len(str(x25519.recipient)) == 62
    assert hybrid.secret().startswith("AGE-SECRET-KEY-PQ-1")
    assert str(hybrid.recipient).startswith("age1pq1")
    assert len(str(hybrid.recipient)) == 1959


@given(st.binary(max_size=80), st.sampled_from(["age", "age1pq", "age-secret-key-", "!~"]))
@settings(deadline=None)
def test_bech32_round_trips_in_both_cases(data, prefix):
    text = bech32.encode(prefix, data)
    assert bech32.decode(text) == (prefix, data)
    assert bech32.decode(text.upper()) == (prefix.upper(), data)


@pytest.mark.parametrize("kind", [age.X25519Identity, age.HybridIdentity])
def test_every_typo_of_one_letter_is_refused(kind):
    identity = kind.generate()
    for good in (identity.secret(), str(identity.recipient)[-70:]):
        start = str(identity.recipient)[:-70] if good.islower() else ""
        for place, letter in itertools.product(range(len(good)), "q1Q!é "):
            text = start + good[:place] + letter + good[place + 1 :]
            if text != start + good:
                for parse in (age.parse_identity, age.parse_recipient):
                    with pytest.raises(UsageError):
                        parse(text)


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        str.title,
        lambda text: text[:-1],
        lambda text: " " + text,
        lambda text: text + "\n",
        lambda text: "",
    ],
)
def test_a_recipient_is_read_strictly(change):
    with pytest.raises(UsageError):
        age.parse_recipient(change(str(age.X25519Identity.generate().recipient)))


@pytest.mark.parametrize("text", ["", "age1", "1", "ssh-ed25519 AAAA", "age1pq1qqqqqq", "AGE-SECRET-KEY-1", "ü"])
def test_what_is_no_key_is_refused(text):
    for parse in (age.parse_identity, age.parse_recipient, age.parse_identity_file):
        with pytest.raises(UsageError):
            parse(text)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_sound_text_of_the_wrong_size_is_refused(size):
    for prefix in ("age", "age1pq"):
        with pytest.raises(UsageError, match="bytes"):
            age.parse_recipient(bech32.encode(prefix, bytes(size)))
    for prefix in ("age-secret-key-", "age-secret-key-pq-"):
        with pytest.raises(UsageError, match="bytes"):
            age.parse_identity(bech32.encode(prefix, bytes(size)).upper())
    with pytest.raises(UsageError, match="begins neither"):
        age.parse_recipient(bech32.encode("agf", bytes(32)))
    for text in (bech32.encode("age-secret-key-", bytes(32)), bech32.encode("age-plugin-x-", b"").upper()):
        with pytest.raises(UsageError, match="begins neither"):
            age.parse_identity(text)


def test_a_key_that_ends_within_a_byte_is_refused():
    values = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqql"
    check = bech32._polymod([*bech32._expand("age"), *map(bech32._LETTERS.index, values), 0, 0, 0, 0, 0, 0]) ^ 1
    text = "age1" + values + "".join(bech32._LETTERS[check >> shift & 31] for shift in (25, 20, 15, 10, 5, 0))
    with pytest.raises(UsageError, match="whole byte"):
        age.parse_recipient(text)


def test_mixing_up_the_two_halves_of_a_key_is_told():
    identity = age.X25519Identity.generate()
    with pytest.raises(UsageError, match="this is a secret identity"):
        age.parse_recipient(identity.secret())
    with pytest.raises(UsageError, match="this is a recipient"):
        age.parse_identity(str(identity.recipient))


def test_an_identity_file_is_read_as_age_keygen_writes_it():
    first, second = identities()
    text = (
        f"# created: 2026-01-01\r\n# public key: {first.recipient}\r\n{first.secret()}\r\n\n#\n{second.secret()}"
    )
    assert age.parse_identity_file(text) == [first, second]


@pytest.mark.parametrize("bad", [" {secret}", "{secret} ", "{secret}{secret}", " # comment", "age1qqq", "\x00"])
def test_an_identity_file_names_the_line_that_is_wrong(bad):
    secret = age.X25519Identity.generate().secret()
    with pytest.raises(UsageError, match="line 3 of an identity file") as caught:
        age.parse_identity_file(f"# one\n{secret}\n{bad.format(secret=secret)}\n")
    assert secret not in everything_said(caught.value)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n"])
def test_an_identity_file_without_an_identity_is_refused(text):
    with pytest.raises(UsageError, match="without an identity"):
        age.parse_identity_file(text)


def everything_said(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + repr(error.args)


def forms(secret: bytes) -> list[str]:
    """What a search for `secret` looks for, in any text."""
    half = secret[: len(secret) // 2]
    return [half.hex(), repr(half)[2:-1], b64encode(half).decode()[:-4]]


def leaks(key, secret: bytes, text: str | None) -> list[str]:
    """The ways in which `key` shows `secret`."""

    @dataclasses.dataclass
    class Holder:
        key: object

    shown = {
        "repr": repr(key),
        "str": str(key),
        "format": f"{key} {key!r} {key!s} {key!a}",
        "asdict": repr(dataclasses.asdict(Holder(key))),
        "vars": repr(getattr(key, "__dict__", "")),
        "copy": repr(copy.copy(key)) + repr(copy.deepcopy(key)),
    }
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        try:
            shown[f"pickle {protocol}"] = repr(pickle.dumps(key, protocol))
        except TypeError as error:
            shown[f"pickle {protocol}"] = everything_said(error)
    looked_for = [*forms(secret), *([text[20:40], text[20:40].lower()] if text else [])]
    return [way for way, said in shown.items() if any(form in said for form in looked_for)]


def test_no_secret_shows_in_any_way_a_value_is_shown():
    for identity in identities():
        assert leaks(identity, raw(identity), identity.secret()) == []
        assert leaks(identity.recipient, raw(identity), identity.secret()) == []
        assert str(identity.recipient)[20:40] not in repr(identity.recipient)
    for kind in (age.ScryptRecipient, age.ScryptIdentity):
        assert leaks(kind(PASSPHRASE), PASSPHRASE.encode(), None) == []


def test_control_an_ordinary_class_leaks_and_is_caught():
    secret = raw(age.X25519Identity.generate())
    assert {"repr", "str", "format", "asdict", "vars", "copy", "pickle 5"} <= set(
        leaks(Plain(secret), secret, None)
    )


def test_errors_never_show_the_key_they_are_about():
    for identity in identities():
        good = identity.secret()
        for bad in (
            good[:-1],
            good + "q",
            good.lower(),
            good.replace("1", "2", 1),
            good + "\ud800",
            good[:-1] + "é",
        ):
            for parse in (age.parse_identity, age.parse_recipient, age.parse_identity_file):
                with pytest.raises(UsageError) as caught:
                    parse(bad)
                said = everything_said(caught.value)
                assert good[20:40] not in said
                assert good[20:40].lower() not in said
                assert caught.value.__cause__ is None


def test_an_error_over_a_passphrase_does_not_show_it():
    for kind in (age.ScryptRecipient, age.ScryptIdentity):
        with pytest.raises(UsageError, match="not valid Unicode") as caught:
            kind(PASSPHRASE + "\ud800")
        assert PASSPHRASE not in everything_said(caught.value)
        with pytest.raises(UsageError, match="protects nothing"):
            kind("")


def test_a_recipient_that_anybody_could_open_is_refused():
    for point in (bytes(32), b"\x01" + bytes(31)):
        with pytest.raises(UsageError, match="no valid key"):
            age.seal([b"text"], [age.X25519Recipient(point)])
    good = bech32.decode(str(age.HybridIdentity.generate().recipient))[1]
    for content in (good[:-32] + bytes(32), b"\xff" * 1184 + good[-32:]):
        with pytest.raises(UsageError, match="not a valid key"):
            age.seal([b"text"], [age.HybridRecipient(content)])
