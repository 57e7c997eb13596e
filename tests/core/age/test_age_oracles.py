"""Goal: other age implementations open what we seal, and we open what they seal.

Method: the `age` program, pyrage (Rust) and, for hybrid keys, `age-encryption` (TypeScript, by age's author), both
ways, on sizes around the chunk; and files that we cut or change are refused by them as by us.
"""

import json
import random
import subprocess
from base64 import b64decode, b64encode

import pyrage
import pytest

from antsmem.core import age
from antsmem.core.errors import AntsmemError

SIZES = [0, 1, 65535, 65536, 65537, 131072, 200_000]
IDENTITY = age.X25519Identity.generate()


def b64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def sealed(plain: bytes, *recipients) -> bytes:
    return b"".join(age.seal([plain], recipients or [IDENTITY.recipient]))


@pytest.fixture
def age_program(need, tmp_path):
    """Run the `age` program on some input; None if it refuses."""
    program = need("age", "apt-get install age")
    keys = tmp_path / "keys.txt"
    keys.write_text(f"# a comment\n\n{IDENTITY.secret()}\n")

    def run(data: bytes, *arguments: str) -> bytes | None:
        line = [str(keys) if argument == "KEYS" else argument for argument in arguments]
        done = subprocess.run([program, *line], input=data, capture_output=True, timeout=60, check=False)
        return done.stdout if done.returncode == 0 else None

    return run


@pytest.mark.server
@pytest.mark.parametrize("size", SIZES)
def test_the_age_program_and_we_open_each_others_files(age_program, size):
    plain, recipient = content(size), str(IDENTITY.recipient)
    assert age_program(sealed(plain), "-d", "-i", "KEYS") == plain
    assert age_program(age.armor(sealed(plain)), "-d", "-i", "KEYS") == plain
    assert age.unseal(age_program(plain, "-r", recipient), [IDENTITY]) == plain
    assert age.unseal(age_program(plain, "-a", "-r", recipient), [IDENTITY]) == plain


@pytest.mark.server
def test_the_age_program_writes_armor_as_we_do(age_program):
    text = age_program(content(5000), "-a", "-r", str(IDENTITY.recipient))
    assert age.armor(b"".join(age.rewrap(text, [IDENTITY], [IDENTITY.recipient]))).count(b"\n") == text.count(
        b"\n"
    )


@pytest.mark.server
def test_the_age_program_opens_what_was_rewrapped_and_sealed_for_many(age_program):
    others = [age.X25519Identity.generate() for _ in range(20)]
    many = sealed(b"text", *(other.recipient for other in others), IDENTITY.recipient)
    assert age_program(many, "-d", "-i", "KEYS") == b"text"
    only_other = sealed(b"text", others[0].recipient)
    assert age_program(only_other, "-d", "-i", "KEYS") is None
    assert (
        age_program(b"".join(age.rewrap(only_other, others, [IDENTITY.recipient])), "-d", "-i", "KEYS") == b"text"
    )


@pytest.mark.server
def test_keys_of_age_keygen_are_ours(age_program, need, tmp_path):
    text = subprocess.run(
        [need("age-keygen", "apt-get install age")], capture_output=True, text=True, check=True
    ).stdout
    (identity,) = age.parse_identity_file(text)
    assert f"# public key: {identity.recipient}\n" in text
    assert identity.secret() in text
    assert age.unseal(age_program(b"text", "-r", str(identity.recipient)), [identity]) == b"text"


@pytest.mark.server
def test_the_age_program_and_we_refuse_the_same_cuts(age_program):
    data = sealed(content(65536 + 100))
    for size in (0, 30, 150, 190, 200, 250, 65750, 65736 + 16, len(data) - 100, len(data) - 1):
        assert age_program(data[:size], "-d", "-i", "KEYS") is None
        with pytest.raises(age.AgeFileError):
            age.unseal(data[:size], [IDENTITY])
    assert age_program(data + b"x", "-d", "-i", "KEYS") is None


@pytest.mark.parametrize("size", SIZES)
def test_pyrage_and_we_open_each_others_files(size):
    plain = content(size)
    identity = pyrage.x25519.Identity.from_str(IDENTITY.secret())
    recipient = pyrage.x25519.Recipient.from_str(str(IDENTITY.recipient))
    assert str(identity.to_public()) == str(IDENTITY.recipient)
    assert pyrage.decrypt(sealed(plain), [identity]) == plain
    assert pyrage.decrypt(age.armor(sealed(plain)), [identity]) == plain
    assert age.unseal(pyrage.encrypt(plain, [recipient]), [IDENTITY]) == plain
    assert age.unseal(pyrage.encrypt(plain, [recipient], armored=True), [IDENTITY]) == plain
    rewrapped = b"".join(age.rewrap(pyrage.encrypt(plain, [recipient]), [IDENTITY], [IDENTITY.recipient]))
    assert pyrage.decrypt(rewrapped, [identity]) == plain


def test_keys_of_pyrage_are_ours():
    for _ in range(20):
        other = pyrage.x25519.Identity.generate()
        assert age.parse_identity(str(other)).secret() == str(other)
        assert str(age.parse_identity(str(other)).recipient) == str(other.to_public())
        assert str(age.parse_recipient(str(other.to_public()))) == str(other.to_public())


def test_pyrage_opens_our_passphrase():
    data = sealed(b"text", age.ScryptRecipient("ünïcödé 🗝", 4))
    assert pyrage.passphrase.decrypt(data, "ünïcödé 🗝") == b"text"


def test_pyrage_and_we_agree_on_changed_files():
    data = sealed(b"text", IDENTITY.recipient, age.X25519Identity.generate().recipient)
    identity = pyrage.x25519.Identity.from_str(IDENTITY.secret())
    dice = random.Random(1)
    for _ in range(500):
        forged = bytearray(data)
        for _ in range(dice.randint(0, 2)):
            forged[dice.randrange(len(forged))] ^= 1 << dice.randrange(8)
        try:
            theirs = pyrage.decrypt(bytes(forged), [identity])
        except pyrage.DecryptError:
            theirs = None
        try:
            ours = bytes(age.unseal(forged, [IDENTITY]))
        except AntsmemError:
            ours = None
        assert ours == theirs


TYPESCRIPT = """
import * as age from "age-encryption"
import { readFileSync } from "node:fs"
const { secret, sealed, plain } = JSON.parse(readFileSync(0, "utf8"))
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"))
const base64 = (data) => Buffer.from(data).toString("base64")
const mine = await age.generateHybridIdentity()
const recipient = await age.identityToRecipient(secret)
const open = new age.Decrypter()
open.addIdentity(secret)
const seal = new age.Encrypter()
seal.addRecipient(recipient)
console.log(JSON.stringify({
  opened: base64(await open.decrypt(bytes(sealed))),
  sealed: base64(await seal.encrypt(bytes(plain))),
  recipient, secret: mine, public: await age.identityToRecipient(mine),
}))
"""


@pytest.mark.server
def test_the_typescript_age_and_we_open_each_others_hybrid_files(need, npm, registry_cache):
    node = need("node", "apt-get install nodejs")
    folder = registry_cache / "age-encryption-0.3.1"
    if not (folder / "done").exists():
        npm(
            "install",
            "--prefix",
            str(folder),
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "age-encryption@0.3.1",
        )
        (folder / "done").touch()
    script = folder / "oracle.mjs"
    script.write_text(TYPESCRIPT)
    identity, plain = age.HybridIdentity.generate(), content(70_000)
    question = {
        "secret": identity.secret(),
        "sealed": b64(sealed(plain, identity.recipient)),
        "plain": b64(plain),
    }
    done = subprocess.run([node, script], input=json.dumps(question), capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert answer["opened"] == b64(plain)
    assert age.unseal(b64decode(answer["sealed"]), [identity]) == plain
    assert answer["recipient"] == str(identity.recipient)
    assert str(age.parse_identity(answer["secret"]).recipient) == answer["public"]
