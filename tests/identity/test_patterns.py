"""Goal: every rule finds what it is for wherever that stands, and clean text finds nothing.

Method: a maker per rule draws secrets by its service's documented form; ten of each are planted in the places
where agents leave them and must come back to the byte. A scanner without the rule must miss them (control). A
naive search that sees every keyword at every place is the oracle for keywords that hide one another.
"""

from __future__ import annotations

import base64
import functools
import json
import random
import re
import string
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antsmem.identity.patterns import MAX_KEYWORDS, RULES, Rule, plausible
from antsmem.identity.scanner import Scanner

KEY = bytes(range(32))
LOWER, UPPER, DIGITS = string.ascii_lowercase, string.ascii_uppercase, string.digits
WORD = DIGITS + UPPER + LOWER
ID = WORD + "_-"
HEX = DIGITS + "abcdef"
B64 = WORD + "+/"
BASE32 = UPPER + "234567"
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

Maker = Callable[[random.Random], tuple[str, str]]


def drawn(letters: str, count: int) -> Callable[[random.Random], str]:
    return lambda rng: "".join(rng.choices(letters, k=count))


def token(*parts: str | Callable[[random.Random], str]) -> Maker:
    """A maker whose whole text is the secret."""

    def make(rng: random.Random) -> tuple[str, str]:
        text = "".join(part if isinstance(part, str) else part(rng) for part in parts)
        return text, text

    return make


def beside(before: str, part: Maker, after: str = "") -> Maker:
    """A maker whose secret stands between other text."""

    def make(rng: random.Random) -> tuple[str, str]:
        text, secret = part(rng)
        return before + text + after, secret

    return make


def either(*makers: Maker) -> Maker:
    return lambda rng: rng.choice(makers)(rng)


def key_block(kind: str, header: str = "") -> Maker:
    def make(rng: random.Random) -> tuple[str, str]:
        code = base64.b64encode(b"0" + rng.randbytes(rng.choice((48, 121, 1190, 2350)))).decode()
        body = "\n".join(code[at : at + 64] for at in range(0, len(code), 64))
        return f"-----BEGIN {kind}-----\n{header}{body}\n-----END {kind}-----", body + "\n"

    return make


def json_web_token(rng: random.Random) -> tuple[str, str]:
    claims = {"sub": str(rng.randrange(10**9)), "name": drawn(LOWER, 12)(rng), "iat": rng.randrange(10**9)}
    parts = [json.dumps({"alg": "HS256", "typ": "JWT"}).encode(), json.dumps(claims).encode(), rng.randbytes(32)]
    text = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    return text, text


def discord(first: str) -> Maker:
    def make(rng: random.Random) -> tuple[str, str]:
        number = first + drawn(DIGITS, 18 if first.startswith("1") else 17)(rng)
        name = base64.urlsafe_b64encode(number.encode()).rstrip(b"=").decode()
        text = f"{name}.G{drawn(ID, 5)(rng)}.{drawn(WORD, 38)(rng)}"
        return text, text

    return make


def url_password(rng: random.Random) -> tuple[str, str]:
    scheme = rng.choice(("postgres", "mysql", "mongodb+srv", "redis", "amqp", "https", "ftp"))
    user = rng.choice(("", "kevin", "svc-agent"))
    password = drawn(WORD, rng.choice((12, 20, 40)))(rng) + rng.choice("x7-!.%")[0]
    password = password.replace("%", "%2F")
    return f"{scheme}://{user}:{password}@{rng.choice(('db.internal:5432', '10.0.0.7', '[::1]:80'))}/x", password


MAKERS: dict[str, Maker] = {
    "private-key": either(
        key_block("PRIVATE KEY"), key_block("RSA PRIVATE KEY"), key_block("OPENSSH PRIVATE KEY"),
        key_block("ENCRYPTED PRIVATE KEY"), key_block("PGP PRIVATE KEY BLOCK", "Version: GnuPG v2\n\n"),
        key_block("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A1B2C\n\n"),
    ),
    "age-secret-key": either(
        token("AGE-SECRET-KEY-1", drawn(BECH32.upper(), 58)),
        token("AGE-SECRET-KEY-PQ-1", drawn(BECH32.upper(), 58)),
    ),
    "nostr-secret-key": token("nsec1", drawn(BECH32, 58)),
    "wallet-private-key": token("xprv", drawn("".join(sorted(set(WORD) - set("0OIl"))), 107)),
    "github-token": lambda rng: token(f"gh{rng.choice('pousr')}_", drawn(WORD, rng.choice((36, 82))))(rng),
    "github-fine-grained-token": token("github_pat_", drawn(WORD, 22), "_", drawn(WORD, 59)),
    "gitlab-token": either(token("glpat-", drawn(ID, 20)), token("glrt-", drawn(ID, 27), ".01.", drawn(HEX, 9))),
    "docker-hub-token": token("dckr_pat_", drawn(ID, 27)),
    "npm-token": token("npm_", drawn(WORD, 36)),
    "npmrc-token": beside("//registry.npmjs.org/:_authToken=", token(drawn(HEX, 8), "-", drawn(HEX, 27))),
    "pypi-token": token("pypi-AgEIcHlwaS5vcmc", drawn(ID, 150)),
    "aws-access-key-id": either(token("AKIA", drawn(BASE32, 16)), token("ASIA", drawn(BASE32, 16))),
    "aws-secret-access-key": either(
        beside("aws_secret_access_key = ", token(drawn(B64, 40))),
        beside("AWS_SECRET_ACCESS_KEY=", token(drawn(B64, 40))),
        beside('"SecretAccessKey": "', token(drawn(B64, 40)), '"'),
    ),
    "aws-bedrock-key": token("ABSKQmVkcm9ja0FQSUtleS", drawn(B64, 90)),
    "google-api-key": token("AIza", drawn(ID, 35)),
    "google-bound-key": token("AQ.Ab", drawn(ID, 48)),
    "google-oauth-secret": token("GOCSPX-", drawn(ID, 28)),
    "google-access-token": token("ya29.", drawn(ID, 160)),
    "google-refresh-token": token("1//0", drawn(ID, 60)),
    "azure-storage-key": beside("AccountName=a;AccountKey=", token(drawn(B64, 86), "=="), ";EndpointSuffix=x"),
    "azure-shared-access-key": beside("SharedAccessKeyName=r;SharedAccessKey=", token(drawn(B64, 43), "=")),
    "azure-sas-signature": beside("https://a.windows.net/c?sv=1&sig=", token(drawn(WORD, 43), "%3D"), "&se=1"),
    "azure-client-secret": token(drawn(WORD, 3), "8Q~", drawn(ID, 34)),
    "azure-service-key": token(drawn(WORD, 52), "JQQJ9", drawn(WORD, 27)),
    "digitalocean-token": lambda rng: token(f"do{rng.choice('opr')}_v1_", drawn(HEX, 64))(rng),
    "vault-token": token("hvs.", drawn(ID, 90)),
    "tailscale-key": token("tskey-auth-", drawn(WORD, 17), "-", drawn(WORD, 32)),
    "supabase-token": token("sbp_", drawn(HEX, 40)),
    "supabase-secret-key": token("sb_secret_", drawn(WORD, 22), "_", drawn(WORD, 8)),
    "doppler-token": token("dp.pt.", drawn(WORD, 43)),
    "anthropic-key": lambda rng: token(f"sk-ant-{rng.choice(('api03', 'oat01'))}-", drawn(ID, 93), "AA")(rng),
    "openrouter-key": token("sk-or-v1-", drawn(HEX, 64)),
    "openai-key": either(
        token("sk-proj-", drawn(ID, 74), "T3BlbkFJ", drawn(ID, 74)),
        token("sk-", drawn(WORD, 20), "T3BlbkFJ", drawn(WORD, 20)),
    ),
    "model-provider-key": either(token("sk-", drawn(HEX, 32)), token("sk-", drawn(WORD, 48))),
    "xai-key": token("xai-", drawn(WORD, 80)),
    "groq-key": token("gsk_", drawn(WORD, 52)),
    "perplexity-key": token("pplx-", drawn(WORD, 48)),
    "nvidia-key": token("nvapi-", drawn(ID, 64)),
    "cerebras-key": token("csk-", drawn(DIGITS + LOWER, 48)),
    "huggingface-token": token("hf_", drawn(UPPER + LOWER, 34)),
    "replicate-token": token("r8_", drawn(WORD, 37)),
    "elevenlabs-key": token("sk_", drawn(HEX, 48)),
    "pinecone-key": token("pcsk_", drawn(WORD, 5), "_", drawn(WORD, 63)),
    "langsmith-key": token("lsv2_pt_", drawn(HEX, 32), "_", drawn(HEX, 10)),
    "tavily-key": either(token("tvly-", drawn(WORD, 32)), token("tvly-dev-", drawn(WORD, 32))),
    "brave-search-key": token("BSA", drawn(ID, 28)),
    "firecrawl-key": token("fc-", drawn(HEX, 32)),
    "slack-token": either(
        token("xoxb-", drawn(DIGITS, 12), "-", drawn(DIGITS, 13), "-", drawn(WORD, 24)),
        token("xoxe.xoxp-1-", drawn(WORD, 160)),
    ),
    "slack-app-token": token("xapp-1-A", drawn(DIGITS + UPPER, 10), "-", drawn(DIGITS, 13), "-", drawn(HEX, 64)),
    "slack-webhook": beside(
        "https://", token("hooks.slack.com/services/T", drawn(WORD, 8), "/B", drawn(WORD, 8), "/", drawn(WORD, 24))
    ),
    "telegram-bot-token": token("7", drawn(DIGITS, 9), ":AA", drawn(ID, 33)),
    "discord-bot-token": discord("1" + "3"),
    "discord-old-bot-token": either(
        beside("DISCORD_BOT_TOKEN=", discord("4")),
        beside('"discord": {"enabled": true, "token": "', discord("8"), '"}'),
    ),
    "discord-webhook": beside(
        "https://", token("discord.com/api/webhooks/", drawn("123456789", 19), "/", drawn(ID, 68))
    ),
    "twilio-secret": either(
        beside("TWILIO_AUTH_TOKEN=", token(drawn(HEX, 32))), beside('"authToken": "', token(drawn(HEX, 32)), '"')
    ),
    "sendgrid-key": token("SG.", drawn(ID, 22), ".", drawn(ID, 43)),
    "resend-key": token("re_", drawn(WORD, 8), "_", drawn(WORD, 24)),
    "stripe-key": either(token("sk_live_", drawn(WORD, 99)), token("rk_live_", drawn(WORD, 24))),
    "webhook-signing-secret": token("whsec_", drawn(B64, 32)),
    "square-token": either(token("sq0atp-", drawn(ID, 22)), token("sq0csp-", drawn(ID, 43))),
    "square-access-token": token("EAAA", drawn("El", 1), drawn(ID, 59)),
    "shopify-token": lambda rng: token(f"shp{rng.choice(('at', 'ca', 'pa', 'ss'))}_", drawn(HEX, 32))(rng),
    "linear-key": token("lin_api_", drawn(WORD, 40)),
    "notion-token": token("ntn_", drawn(DIGITS, 11), drawn(WORD, 35)),
    "notion-secret": token("secret_", drawn(WORD, 43)),
    "atlassian-token": token("ATATT3", drawn(ID, 180), "=", drawn(HEX.upper(), 8)),
    "postman-key": token("PMAK-", drawn(HEX, 24), "-", drawn(HEX, 34)),
    "agent-platform-key": token("moltx_sk_", drawn(WORD, 32)),
    "moltbook-key": token("moltbook_", drawn(WORD, 32)),
    "gateway-token": beside("OPENCLAW_GATEWAY_TOKEN=", token(drawn(HEX, 48))),
    "jwt": json_web_token,
    "bearer-token": beside("Authorization: Bearer ", token(drawn(WORD, 40))),
    "url-password": url_password,
}  # fmt: skip

PLACES: dict[str, Callable[[str], str]] = {
    "a whole file": lambda text: text,
    "a line of prose": lambda text: f"# Today\n\nI was given {text} and wrote it down.\n",
    "an assignment": lambda text: f"export THING={text}\nother=1\n",
    "a code span": lambda text: f"- key: `{text}`\n- next\n",
    "an escaped query": lambda text: f"open?next%3D{text}\n",
    "a table": lambda text: f"| a | {text} | b |\n",
    "a log of JSON lines": lambda text: json.dumps({"role": "user", "content": f"here:\n{text}\nthanks"}) + "\n",
}


def scanner(rules: tuple[Rule, ...] = RULES) -> Scanner:
    return Scanner(fingerprint_key=KEY, rules=rules)


WHOLE = scanner()


def at(text: str, secret: str) -> tuple[int, int]:
    start = text.encode().index(secret.encode())
    return start, start + len(secret.encode())


def test_every_rule_has_a_maker() -> None:
    assert set(MAKERS) == {rule.name for rule in RULES}
    assert len(RULES) == len({rule.name for rule in RULES})


@pytest.mark.parametrize("name", MAKERS)
def test_ten_of_ten_planted_are_found_in_every_place(name: str) -> None:
    rng = random.Random(name)
    for _ in range(10):
        text, secret = MAKERS[name](rng)
        for place, put in PLACES.items():
            data = put(text)
            spelt = json.dumps(secret)[1:-1] if "JSON" in place else secret
            if "JSON" in place and secret not in spelt and name != "private-key":
                continue
            found = WHOLE.scan(data.encode())
            assert [(each.rule, *at(data, spelt)) for each in found] == [
                (each.rule, each.start, each.end) for each in found
            ], place
            assert [each.rule for each in found] == [name], place


@pytest.mark.parametrize("name", MAKERS)
def test_without_its_rule_a_secret_is_not_found_under_its_name(name: str) -> None:
    less = scanner(tuple(rule for rule in RULES if rule.name != name))
    text, _ = MAKERS[name](random.Random(name))
    assert name in {each.rule for each in WHOLE.scan(text.encode())}
    assert name not in {each.rule for each in less.scan(text.encode())}


FILLERS = (
    "x" * 99, "X" * 99, "0" * 99, "your-token-here-" * 6, "1234567890" * 10, "EXAMPLEKEY" * 10, "........" * 12,
    "abcdefghijklmnopqrstuvwxyz0123456789" * 4, "a1b2c3d4" * 12, "ExampleThisIsNotARealToken0123456789" * 4,
)  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"private-key", "url-password", "discord-old-bot-token"}))
def test_what_nobody_drew_by_lot_is_not_found(name: str) -> None:
    """The form of the rule, filled with what documentation puts there."""
    rule = next(rule for rule in RULES if rule.name == name)
    text, secret = MAKERS[name](random.Random(name))
    words = [keyword.decode() for keyword in rule.keywords if keyword.decode() in text]
    start = max(text.index(secret), *(text.index(word) + len(word) for word in words))
    for filler in FILLERS:
        kept = "".join(
            letter if not letter.isalnum() else put for letter, put in zip(text[start:], filler, strict=False)
        )
        data = (text[:start] + kept + text[start + len(kept) :]).encode()
        assert name not in {each.rule for each in WHOLE.scan(data)}, data


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + "IOSFODNN7EXAMPLE", "aws_secret_access_key = " + "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "export GITHUB_TOKEN=<your token>", "sk-ant-api03-...", "sk-ant-api03-your-key-here",
        "Authorization: Bearer $TOKEN", "DISCORD_BOT_TOKEN=your-bot-token", "task_sk_some_python_identifier_name",
        "https://user:password@example.com/", "postgres://postgres:postgres@localhost:5432/db",
        "mysql://root:${DB_PASSWORD}@db/x", "redis://:<password>@cache:6379", "http://user:pass%20word@host/",
        "amqp://guest:guest@localhost//", "http://localhost:3000/@vite/client", "mongodb://user:P4ssword@host",
        f"-----BEGIN RSA {'PRIVATE'} KEY-----\nMIIEpAIBAAKCAQEA...\n", "git@github.com:user/repository.git",
        f"-----BEGIN {'PRIVATE'} KEY-----\n" + "x" * 64, "client = Client(api_key=os.environ['OPENAI_API_KEY'])",
        "ossl_sk_ASN1_UTF8STRING2text", "secret_access_key_of_the_other_account_and_more", "disk-usage-of-a-host",
        "6fa459ea-ee8a-3ca4-894e-db77e160355e", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.<signature>",
    ],
)  # fmt: skip
def test_documentation_is_clean(text: str) -> None:
    assert WHOLE.scan(text.encode()) == []


VOCABULARY = (
    "the agent wrote a note about its token key secret password and api credentials for GitHub Slack Discord "
    "Telegram session login rotate revoke access auth bot webhook moltbook task disk risk today memory heartbeat "
    "review release commit branch merge deploy server database postgres redis queue user host https private public"
).split(" ")


def clean_markdown(rng: random.Random, size: int) -> bytes:
    """Notes full of words about secrets, with links, hashes, images and code, and no secret in them."""
    lines: list[str] = []
    word = functools.partial(rng.choice, VOCABULARY)
    kinds: list[Callable[[], str]] = [
        lambda: " ".join(rng.choices(VOCABULARY, k=40)),
        lambda: "## " + " ".join(rng.choices(VOCABULARY, k=5)),
        lambda: f"- [{word()}](https://{word()}.io/{word()}?key=value)",
        lambda: f"commit {rng.randbytes(20).hex()} by agent@host.io, sha256:{rng.randbytes(32).hex()}",
        lambda: f"![image](data:image/png;base64,{base64.b64encode(rng.randbytes(900)).decode()})",
        lambda: json.dumps({"id": str(uuid.UUID(bytes=rng.randbytes(16))), "etag": rng.randbytes(16).hex()}),
        lambda: '```sh\nTOKEN="$(pass show api/token)"\ncurl -H "Authorization: Bearer $TOKEN" $HOST\n```',
        lambda: f"`{word()}_{word()}_{word()}` = <your token>",
        lambda: f"integrity sha512-{base64.b64encode(rng.randbytes(64)).decode()}",
    ]
    while size > 0:
        lines.append(rng.choice(kinds)())
        size -= len(lines[-1]) + 1
    return "\n".join(lines).encode()


def test_clean_markdown_raises_no_alarm_and_a_planted_secret_does() -> None:
    rng = random.Random(8)
    data = clean_markdown(rng, 3_000_000)
    assert WHOLE.scan(data) == []
    text, _ = MAKERS["github-token"](rng)
    assert [each.rule for each in WHOLE.scan(data + b"\n" + text.encode())] == ["github-token"]


def test_keywords_fit_one_pass_and_say_something() -> None:
    keywords = {keyword for rule in RULES for keyword in rule.keywords}
    assert len([keyword for keyword in keywords if len(keyword) >= 4]) <= MAX_KEYWORDS
    assert min(map(len, keywords)) >= 3


def everywhere(keywords: list[bytes]) -> Callable[[bytes], list[tuple[int, int, int]]]:
    """The oracle: every keyword at every place, in plain Python."""
    return lambda data: [
        (number, found.start(), found.start() + len(keyword))
        for number, keyword in enumerate(keywords)
        for found in re.finditer(b"(?=" + re.escape(keyword) + b")", data)
    ]


def oracle() -> Scanner:
    made = scanner()
    keywords = sorted({keyword for rule in RULES for keyword in rule.keywords})
    table = [tuple(rank for rank, rule in enumerate(RULES) if each in rule.keywords) for each in keywords]
    made._keywords = [(everywhere(keywords), table)]  # type: ignore[list-item]
    return made


ORACLE = oracle()
PIECES = st.one_of(
    st.sampled_from(sorted({keyword for rule in RULES for keyword in rule.keywords})),
    st.builds(
        lambda name, seed, cut: MAKERS[name](random.Random(seed))[0].encode()[:cut],
        st.sampled_from(sorted(MAKERS)),
        st.integers(0, 99),
        st.sampled_from([None, 20, -3]),
    ),
    st.sampled_from([b"\n", b" ", b'"', b"\\n", b"=", b"_", b"-", b".", b"A", b"x", b"do", b"pypi", b"%3D"]),
)


@given(st.lists(PIECES, max_size=12).map(b"".join))
def test_no_keyword_hides_another(data: bytes) -> None:
    assert WHOLE.scan(data) == ORACLE.scan(data)


@pytest.mark.parametrize("first", ["lin_", "Bearer ", "ghp_", "xai-", "AKIA", "hvs.", "sk-", "MTM", "eyJ"])
@pytest.mark.parametrize("name", ["jwt", "pypi-token", "digitalocean-token", "agent-platform-key", "npm-token"])
def test_a_keyword_before_a_secret_does_not_hide_it(first: str, name: str) -> None:
    text, _ = MAKERS[name](random.Random(name))
    for between in ("", " ", "\n"):
        data = (first + between + text).encode()
        assert WHOLE.scan(data) == ORACLE.scan(data)


def test_a_plain_word_is_not_a_password_however_it_is_spelt() -> None:
    for word in (b"P4ssword", b"pa55w0rd1", b"s3cret123", b"Changeme1", b"letmein99"):
        assert not plausible("password", word)
    assert plausible("password", b"x8QkWe9rT2")


def test_the_reference_lists_every_rule() -> None:
    """`docs/reference/leak-patterns.md` holds exactly the table that the rules make."""
    rows = [
        f"| `{rule.name}` | {rule.what} | {' '.join(f'`{keyword.decode()}`' for keyword in rule.keywords)} |"
        for rule in RULES
    ]
    table = "\n".join(["| rule | finds | searched for |", "|---|---|---|", *rows])
    page = Path(__file__).parents[2] / "docs" / "reference" / "leak-patterns.md"
    assert table in page.read_text(), f"put this table there:\n{table}"
