"""Goal: whatever bytes come in, only our errors come out, and nothing is accepted that was not sealed.

Method: seeded mutations of good files of every kind (flip, cut, insert, repeat, splice, and words of the format),
read in every way; ANTSMEM_FUZZ_MUTATIONS and ANTSMEM_TEST_SEED set how many and which. The control plants an
unguarded decoder and must be caught.
"""

import os
import random
from binascii import a2b_base64

import pytest
from seeds import SEED

from antsmem.core import age
from antsmem.core.age import header, keys
from antsmem.core.errors import AntsmemError, CannotUnlockError, UsageError

MUTATIONS = int(os.environ.get("ANTSMEM_FUZZ_MUTATIONS", "20000"))
PLAIN = b"what was sealed"
WORDS = [
    *(
        b"\n---",
        b"\n--- ",
        b"-> ",
        b"-> X25519 ",
        b"-> scrypt ",
        b"-> mlkem768x25519 ",
        b"-> a\n\n",
        b"\n",
        b"\r\n",
        b" ",
        b"=",
    ),
    *(b"age-encryption.org/v1\n", b"-----BEGIN AGE ENCRYPTED FILE-----\n", b"-----END AGE ENCRYPTED FILE-----\n"),
    *(b"\0", b"\xff", b"A" * 43, b"A" * 64, b"\x80" * 16, b" 4\n", b" 18\n", b" 0\n", bytes(65552)),
]


@pytest.fixture(autouse=True)
def same_keys_for_a_seed(monkeypatch):
    monkeypatch.setattr(os, "urandom", random.Random(SEED).randbytes)


def keys_and_files():
    x25519, hybrid = age.X25519Identity.generate(), age.HybridIdentity.generate()
    identities = [x25519, hybrid, age.ScryptIdentity("pass", max_work_factor=3)]
    files = [
        b"".join(age.seal([PLAIN], recipients))
        for recipients in (
            [x25519.recipient],
            [age.X25519Identity.generate().recipient, x25519.recipient],
            [hybrid.recipient],
            [age.ScryptRecipient("pass", 2)],
        )
    ]
    long = b"".join(age.seal([PLAIN * 5000], [x25519.recipient]))
    return identities, [*files * 4, *(age.armor(file) for file in files), long]


def mutate(dice: random.Random, files: list[bytes]) -> bytes:
    data = bytearray(dice.choice(files))
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        # Mostly the header: the payload has one check, the header many.
        at = dice.randrange(min(len(data), 400) if dice.random() < 0.9 else len(data)) if data else 0
        end = min(len(data), at + dice.choice((1, 2, 16, 64, 1000)))
        match dice.randrange(8):
            case 0 | 1 if data:
                data[at] ^= 1 << dice.randrange(8)
            case 2 if data:
                data[at] = dice.randrange(256)
            case 3:
                del data[at:end]
            case 4:
                data[at:at] = dice.choice(WORDS)
            case 5:
                data[at:at] = data[at:end]
            case 6:
                other = dice.choice(files)
                data[at:end] = other[at : dice.randrange(at, len(other) + at)]
            case 7:
                data[at : dice.choice((at, end))] = dice.choice(WORDS)
    return bytes(data)


def read(dice: random.Random, data: bytes, identities) -> bytes | None:
    """What `data` gives, read in one of the ways there are; None if it is refused, as it should be."""
    try:
        match dice.randrange(5):
            case 0:
                age.inspect(data)
                return None
            case 1:
                return b"".join(age.unseal_stream([data[:100], data[100:101], data[101:]], identities))
            case 2:
                list(age.rewrap(data, identities, [identities[0].recipient]))
                return None
            case _:
                return bytes(age.unseal(data, identities))
    except (age.AgeFileError, CannotUnlockError) as error:
        message = str(error)
        assert message.isprintable()
        assert message[0].islower()
        return None
    except Exception as error:
        error.add_note(f"reading {data[:2000].hex()} ({len(data)} bytes)")
        raise


def fuzz(mutations: int) -> int:
    """How many mutants were still good; raises what escapes."""
    dice = random.Random(SEED)
    identities, files = keys_and_files()
    accepted = 0
    for _ in range(mutations):
        plain = read(dice, mutate(dice, files), identities)
        if plain is not None:
            assert plain in {PLAIN, PLAIN * 5000}
            accepted += 1
    return accepted


def test_no_mutated_file_escapes_our_errors_or_gives_what_was_not_sealed(cipher):
    accepted = fuzz(MUTATIONS // 2)
    assert accepted <= MUTATIONS // 10


def test_control_an_unguarded_decoder_is_caught(monkeypatch):
    for module in (header, keys):
        monkeypatch.setattr(module, "decode64", lambda text: a2b_base64(text + "=" * (-len(text) % 4)))
    with pytest.raises(Exception) as caught:
        fuzz(5000)
    assert not isinstance(caught.value, AntsmemError)


def test_no_mutated_key_escapes_our_errors():
    dice = random.Random(SEED)
    identities = [age.X25519Identity.generate(), age.HybridIdentity.generate()]
    texts = [text for key in identities for text in (key.secret(), str(key.recipient)[:120])]
    texts.append(str(identities[0].recipient))
    for _ in range(MUTATIONS // 10):
        letters = list(dice.choice(texts))
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(letters))
            letters[at : at + dice.choice((0, 1, 1, 5))] = dice.choice(
                ["1", "q", "Q", "\n", "é", "\ud800", "", "K1", "\0"]
            )
            letters = letters or [""]
        text = "".join(letters)
        for parse in (age.parse_identity, age.parse_recipient, age.parse_identity_file):
            try:
                parse(text)
            except UsageError as error:
                assert str(error).isprintable()
