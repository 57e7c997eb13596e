"""What the secrets of well-known services look like, written from their public documentation.

A rule names literal keywords, which are searched at memory speed; where one stands, `tail` must match from there
and `head` must end there. What is found must still look drawn by lot: documentation is full of `ghp_xxxxxxxx`.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

Check = Literal["token", "strict", "password", "block"]


class Rule(NamedTuple):  # not a dataclass: making the class alone takes a millisecond of every start
    """One kind of secret. Regular expressions are of bytes.

    `tail` begins with the keyword; its group `s` is the secret if it has one, else all that matched is. `head`
    is what must stand before the keyword, at most `before` bytes. `check`: see `plausible`.
    """

    name: str
    what: str
    keywords: tuple[bytes, ...]
    tail: bytes
    head: bytes = b""
    before: int = 0
    check: Check = "token"


MAX_KEYWORDS: Final = 64
"""Of four bytes and more; that many are searched in one pass (see `scanner`)."""

_WORD: Final = rb"[0-9A-Za-z]"
_ID: Final = rb"[0-9A-Za-z_-]"
_HEX: Final = rb"[0-9a-f]"
_END: Final = rb"(?![0-9A-Za-z])"
_ID_END: Final = rb"(?![0-9A-Za-z_-])"
# A token begins at a word's border; a letter before it may be the end of a JSON or URL escape (`\n`, `%3D`).
_EDGE: Final = (
    rb"(?:(?<![0-9A-Za-z\\])|(?<=\\)(?![bfnrtu])|(?<=\\[bfnrt])|(?<=%[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4}))"
)
# `=`, `: ` or `": "` between a name and its value, also inside a JSON string.
_IS: Final = rb"""[\\"']{0,4}\s{0,4}(?:=>|:=|[=:])\s{0,4}[\\"']{0,4}"""
# Between the lines of a key: white space, also escaped, and what quoting or joining strings leaves.
_GAP: Final = rb"""(?:\s|\\[nrt\\]|["'+,>|])"""
_KEY_FIELD: Final = rb"(?:(?:Version|Comment|Proc-Type|DEK-Info):[^\n\\]{0,120}+" + _GAP + rb"{1,20}+)"
_BECH32: Final = rb"[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]"
_BASE58: Final = rb"[1-9A-HJ-NP-Za-km-z]"
# A Discord token begins with decimal digits in base64, of which three make a group of four letters.
_DISCORD: Final = (
    rb"(?P<s>(?:[MNO][DTjz][AEIMQUYcgk][w-z0-5]){5}" + _ID + rb"{3,9}\." + _ID + rb"{6}\." + _ID + rb"{27,40})"
)
_USER: Final = rb"""[^\x00-\x20/?#:@"'<>`\\]{0,64}+"""
_PASSWORD: Final = rb"""[^\x00-\x20/,@"'<>`\\]{8,128}"""


def _plain(name: str, what: str, keyword: bytes, rest: bytes) -> Rule:
    """The usual kind: the keyword is how the token begins."""
    return Rule(name, what, (keyword,), _EDGE + re.escape(keyword) + rest)


def _bare(name: str, what: str, keyword: bytes, rest: bytes) -> Rule:
    """A token so plain that base64 holds it by chance: only where base64 cannot go on around it."""
    return _plain(name, what, keyword, rb"(?<![_+/-]" + keyword + rb")" + rest + rb"(?![0-9A-Za-z_+/=-])")


_KEYS: Final = (
    Rule("private-key", "Private key block: PEM, OpenSSH, PGP", (b"PRIVATE KEY",),
         rb"PRIVATE KEY(?: BLOCK)?-----" + _GAP + rb"{1,40}+" + _KEY_FIELD + rb"{0,4}+(?P<s>[0-9A-Za-z+/]{40}"
         rb"(?:[0-9A-Za-z+/=]|" + _GAP + rb"){0,5000})", rb"-----BEGIN (?:[0-9A-Z]+ ){0,3}", 40, "block"),
    _plain("age-secret-key", "age identity, X25519 and post-quantum", b"AGE-SECRET-KEY-",
           rb"(?:PQ-)?1" + _BECH32 + rb"{50,}"),
    _plain("nostr-secret-key", "Nostr secret key", b"nsec1",
           rb"[qpzry9x8gf2tvdw0s3jn54khce6mua7l]{58}" + _END),
    _plain("wallet-private-key", "Extended private key of a wallet (BIP 32)", b"xprv", _BASE58 + rb"{107}" + _END),
)  # fmt: skip

_CODE: Final = (
    Rule("github-token", "GitHub token: personal, OAuth, app, refresh",
         (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"), _EDGE + rb"gh[oprsu]_" + _WORD + rb"{36,251}"),
    Rule("github-fine-grained-token", "GitHub fine-grained personal token", (b"b_pat_",),
         rb"b_pat_[0-9A-Za-z_]{80,100}", _EDGE + rb"githu", 5),
    Rule("gitlab-token", "GitLab token: personal, deploy, runner", (b"glpat-", b"gldt-", b"glrt-"),
         _EDGE + rb"gl(?:pat|dt|rt)-" + _ID + rb"{20,300}(?:\.[0-9a-z]{2,12}){0,2}"),
    _plain("docker-hub-token", "Docker Hub token", b"dckr_", rb"[op]at_" + _ID + rb"{27,64}"),
    _plain("npm-token", "npm token", b"npm_", _WORD + rb"{36}" + _END),
    Rule("npmrc-token", "Registry token in an .npmrc", (b"hToken",),
         rb"hToken=[\"']?(?P<s>" + _ID + rb"{32,200})", rb"_aut", 4, "strict"),
    Rule("pypi-token", "PyPI token", (b"-AgE",), rb"-AgE" + _ID + rb"{80,400}", _EDGE + rb"pypi", 4),
)  # fmt: skip

_CLOUDS: Final = (
    Rule("aws-access-key-id", "AWS access key id, long-term and session", (b"AKIA", b"ASIA"),
         _EDGE + rb"A[KS]IA[2-7A-Z]{16}" + _END),
    Rule("aws-secret-access-key", "AWS secret access key beside its name", (b"ret_", b"RET_ACC", b"essKey"),
         rb"(?:ret_access_key|RET_ACCESS_KEY|essKey)" + _IS + rb"(?P<s>[0-9A-Za-z/+]{40})(?![0-9A-Za-z/+=])",
         rb"(?:sec|SEC|[Ss]ecretAcc)", 9, "strict"),
    _plain("aws-bedrock-key", "Amazon Bedrock API key", b"ABSKQmVkcm9ja0FQSUtleS",
           rb"[0-9A-Za-z+/]{60,200}={0,2}"),
    _plain("google-api-key", "Google API key", b"AIza", _ID + rb"{35}" + _ID_END),
    _plain("google-bound-key", "Google API key bound to a service account", b"AQ.Ab", _ID + rb"{45,100}"),
    _plain("google-oauth-secret", "Google OAuth client secret", b"GOCSPX-", _ID + rb"{28}" + _ID_END),
    _plain("google-access-token", "Google OAuth access token", b"ya29.", _ID + rb"{60,2000}"),
    _bare("google-refresh-token", "Google OAuth refresh token", b"1//0", _ID + rb"{40,200}"),
    Rule("azure-storage-key", "Azure storage account key", (b"ntKey=",),
         rb"ntKey=(?P<s>[0-9A-Za-z+/]{86}==)", rb"Accou", 5),
    Rule("azure-shared-access-key", "Azure Service Bus, Event Hubs or IoT Hub key", (b"essKey",),
         rb"essKey=(?P<s>[0-9A-Za-z+/]{43}=)", rb"SharedAcc", 9),
    Rule("azure-sas-signature", "Azure shared access signature in a URL", (b"sig=",),
         rb"sig=(?P<s>[0-9A-Za-z%_+/-]{43,90})", rb"(?:[?&]|&amp;|\\u0026)", 6, "strict"),
    Rule("azure-client-secret", "Microsoft Entra client secret", (b"7Q~", b"8Q~"),
         rb"[78]Q~[0-9A-Za-z_~.-]{31,34}(?![0-9A-Za-z_~.-])", rb"[0-9A-Za-z_~.-]{3}", 3),
    Rule("azure-service-key", "Azure key: OpenAI, AI services, Cosmos DB, Functions", (b"JQQJ9",),
         rb"JQQJ9" + _WORD + rb"{26,32}={0,2}", _WORD + rb"{52}", 52),
    Rule("digitalocean-token", "DigitalOcean token: personal, OAuth, refresh", (b"_v1_",),
         rb"_v1_" + _HEX + rb"{64}", _EDGE + rb"do[opr]", 3),
    _plain("vault-token", "HashiCorp Vault service token", b"hvs.", _ID + rb"{24,300}"),
    Rule("tailscale-key", "Tailscale key: auth, API", (b"key-a",),
         rb"key-(?:auth|api)-" + _WORD + rb"{8,40}-" + _WORD + rb"{16,64}", _EDGE + rb"ts", 2),
    _plain("supabase-token", "Supabase access token", b"sbp_", _HEX + rb"{40}" + _END),
    Rule("supabase-secret-key", "Supabase secret key", (b"ret_",),
         rb"ret_" + _ID + rb"{31,60}", _EDGE + rb"sb_sec", 6),
    _plain("doppler-token", "Doppler personal token", b"dp.pt.", _WORD + rb"{40,44}"),
)  # fmt: skip

_MODELS: Final = (
    _plain("anthropic-key", "Anthropic key: API, admin, OAuth", b"sk-",
           rb"ant-[a-z]{2,6}[0-9]{2}-" + _ID + rb"{60,200}"),
    _plain("openrouter-key", "OpenRouter key", b"sk-", rb"or-v1-" + _HEX + rb"{64}"),
    _plain("openai-key", "OpenAI key: project, service account, admin, user", b"sk-",
           rb"(?:(?:proj|svcacct|admin)-" + _ID + rb"{40,250}|" + _WORD + rb"{20}T3BlbkFJ" + _WORD + rb"{20})"),
    _plain("model-provider-key", "Key of a provider that speaks OpenAI's protocol", b"sk-",
           rb"(?:" + _HEX + rb"{32}|" + _WORD + rb"{48})" + _ID_END),
    _plain("xai-key", "xAI key", b"xai-", _WORD + rb"{60,100}"),
    _plain("groq-key", "Groq key", b"gsk_", _WORD + rb"{48,60}"),
    Rule("perplexity-key", "Perplexity key", (b"plx-",), rb"plx-" + _WORD + rb"{40,60}", _EDGE + rb"p", 1),
    _plain("nvidia-key", "NVIDIA API key", b"nvapi-", _ID + rb"{60,80}"),
    _plain("cerebras-key", "Cerebras key", b"csk-", rb"[0-9a-z]{40,60}"),
    _bare("huggingface-token", "Hugging Face token", b"hf_", _WORD + rb"{34,40}"),
    _bare("replicate-token", "Replicate token", b"r8_", _WORD + rb"{37,40}"),
    _plain("elevenlabs-key", "ElevenLabs key", b"sk_", _HEX + rb"{48}" + _END),
    Rule("pinecone-key", "Pinecone key", (b"csk_",), rb"csk_[0-9A-Za-z_]{60,80}", _EDGE + rb"p", 1),
    _plain("langsmith-key", "LangSmith key", b"lsv2_", rb"[ps][kt]_" + _HEX + rb"{32}_" + _HEX + rb"{10}"),
    Rule("tavily-key", "Tavily key", (b"vly-",), rb"vly-(?:[a-z]{3,5}-)?" + _ID + rb"{28,60}", _EDGE + rb"t", 1),
    _bare("brave-search-key", "Brave Search key", b"BSA", _ID + rb"{28}"),
    _plain("firecrawl-key", "Firecrawl key", b"fc-", _HEX + rb"{32}" + _END),
)  # fmt: skip

_CHAT: Final = (
    _plain("slack-token", "Slack token: bot, user, configuration, session", b"xox",
           rb"[a-z](?:\.xox[a-z])?-[0-9A-Za-z%-]{24,400}"),
    _plain("slack-app-token", "Slack app-level token", b"xapp-",
           rb"[0-9]-[0-9A-Z]{8,16}-[0-9]{8,16}-" + _HEX + rb"{32,80}"),
    Rule("slack-webhook", "Slack webhook address", (b"ks.slack.com/",),
         rb"ks\.slack\.com/(?:services|workflows|triggers)/[0-9A-Za-z/]{30,120}", rb"hoo", 3),
    Rule("telegram-bot-token", "Telegram bot token", (b":AA",), rb":AA" + _ID + rb"{33}" + _ID_END,
         rb"(?<![0-9])[0-9]{8,10}", 10),
    Rule("discord-bot-token", "Discord bot token", (b"MTA", b"MTE", b"MTI", b"MTM", b"MTQ", b"MTU"),
         _EDGE + _DISCORD + _ID_END),
    Rule("discord-old-bot-token", "Discord bot token of 2022 or before, beside its name",
         (b'iscord"', b"iscord\\", b"iscord_", b"ISCORD_"), rb"(?:(?i:iscord_[a-z_]{0,24})" + _IS
         + rb'|iscord\\?"\s{0,4}:\s{0,4}\{[^{}]{0,300}?token\\?"\s{0,4}:\s{0,4}\\?")' + _DISCORD + _ID_END),
    Rule("discord-webhook", "Discord webhook address", (b"i/webhooks/",),
         rb"i/webhooks/[0-9]{17,20}/" + _ID + rb"{60,80}", rb"discord(?:app)?\.com/ap", 17),
    Rule("twilio-secret", "Twilio auth token or API secret beside its name", (b"LIO_", b"lio_", b"hToken"),
         rb"(?:(?:LIO|lio)_[A-Za-z_]{3,24}|hToken)" + _IS + rb"(?P<s>" + _WORD + rb"{32})" + _END,
         rb"(?:TWI|twi|aut)", 3, "strict"),
    _plain("sendgrid-key", "SendGrid key", b"SG.", _ID + rb"{22}\." + _ID + rb"{43}" + _ID_END),
    _plain("resend-key", "Resend key", b"re_", _WORD + rb"{8}_" + _WORD + rb"{24}" + _END),
)  # fmt: skip

_WORK: Final = (
    Rule("stripe-key", "Stripe live key: secret, restricted", (b"sk_", b"rk_live_"),
         _EDGE + rb"[rs]k_live_" + _WORD + rb"{24,250}"),
    Rule("webhook-signing-secret", "Webhook signing secret of Stripe or Svix", (b"hsec_",),
         rb"hsec_[0-9A-Za-z+/]{32,80}={0,2}", _EDGE + rb"w", 1),
    _plain("square-token", "Square personal token or OAuth secret", b"sq0",
           rb"(?:atp-" + _ID + rb"{22}|csp-" + _ID + rb"{43})" + _ID_END),
    _bare("square-access-token", "Square access token", b"EAAA", rb"[El]" + _ID + rb"{59}"),
    _plain("shopify-token", "Shopify token: app, custom, private, shared secret", b"shp",
           rb"(?:at|ca|pa|ss)_[0-9a-fA-F]{32}" + _END),
    _plain("linear-key", "Linear key: API, OAuth", b"lin_", rb"(?:api|oauth)_" + _WORD + rb"{40,64}"),
    _plain("notion-token", "Notion token", b"ntn_", _WORD + rb"{40,60}"),
    Rule("notion-secret", "Notion integration secret, old form", (b"ret_",), rb"ret_" + _WORD + rb"{43}" + _ID_END,
         _EDGE + rb"sec", 3),
    _plain("atlassian-token", "Atlassian token", b"ATATT3", rb"[0-9A-Za-z_=-]{150,250}"),
    _plain("postman-key", "Postman key", b"PMAK-", _HEX + rb"{24}-" + _HEX + rb"{34}"),
)  # fmt: skip

_PLACES: Final = (
    Rule("agent-platform-key", "Key of an agents' platform: `name_sk_…`", (b"sk_",),
         rb"sk_" + _WORD + rb"{20,200}(?!_)", _EDGE + rb"[a-z][0-9a-z]{2,23}_", 25, "strict"),
    Rule("moltbook-key", "Moltbook key", (b"moltbook",),
         _EDGE + rb"moltbook_" + _ID + rb"{20,200}", check="strict"),
    Rule("gateway-token", "Access token of an agent's gateway", (b"WAY_TOKEN",),
         rb"WAY_TOKEN" + _IS + rb"(?P<s>" + _ID + rb"{24,200})", rb"GATE", 4, "strict"),
    _plain("jwt", "JSON Web Token with its signature", b"eyJ",
           _ID + rb"{8,1000}\.eyJ" + _ID + rb"{8,5000}\." + _ID + rb"{20,800}"),
    Rule("bearer-token", "Token in an Authorization header", (b"Bearer ",),
         rb"Bearer (?P<s>[0-9A-Za-z_~+/-]{24,800}={0,2})", check="strict"),
    Rule("url-password", "URL with a password: databases, brokers, git, proxies", (b"://",),
         rb"://(?P<u>" + _USER + rb"):(?!(?P=u)@)(?P<s>" + _PASSWORD + rb")@[0-9A-Za-z\[]", check="password"),
)  # fmt: skip

RULES: Final[tuple[Rule, ...]] = (*_KEYS, *_CODE, *_CLOUDS, *_MODELS, *_CHAT, *_WORK, *_PLACES)
"""Of two rules that match in the same place the one that stands first is reported."""

# What stands in a value that nobody drew by lot, and two published samples that look as if somebody had.
_FILLER: Final = (
    rb"(?i)example|placeholder|redacted|change_?me|dummy|sample|secret|token|passw|your[-_]"
    rb"|[-_](?:test|fake|mock|here)(?![0-9a-z])|(.)\1{6}|12345678|23456789|98765432|abcdefg|qwerty|deadbeef"
    rb"|a1b2c3d4|1a2b3c4d|SflKxwRJSMeKKF2QT4|dqTcvCH1vGWJxfSeofSA"
)
_TEMPLATE: Final = rb"[${}<>*\[\]|(]|%[^0-9A-Fa-f]|\.\.\."
_EASY: Final = (
    rb"(?:my|the|some|super|db|your|user|top)*(?:passw?or[dt]|passwd|passphrase|pass|pwd|secret|admin|root|guest"
    rb"|user|letmein|changeme|changeit|postgres|mysql|redis|rabbit|mongo|welcome|hunter|token|apikey|key|test|foobar"
    rb"|example|qwerty|[ :])+"
)
_UNLEET: Final = bytes.maketrans(b"013457@$!", b"oleastasi")
_CHECKED_BYTES: Final = 160


def plausible(check: Check, body: bytes) -> bool:
    """Whether `body`, the part of a match that the service draws by lot, looks so.

    `token`: no filler word, enough different letters. `strict`, where only a name beside it says what it is: also
    both cases and digits, or hex of 32 digits and more. `password`: no template; of capitals, small letters and
    digits two, and no easy word unless all three and a sign are in it. `block`: the first lines of a key.
    """
    body = body[-_CHECKED_BYTES:] if check != "block" else body[:64]
    kinds = len(set(body))
    if check == "block":
        return kinds >= 14
    if check == "password":
        return kinds >= 5 and _is_hard(body)
    if re.search(_FILLER, body):
        return False
    is_hex = not body.strip(b"0123456789abcdef-")
    if check == "strict" and is_hex:
        return kinds >= 8 and len(body) >= 32
    if check == "strict":
        mixed = not body.islower() and not body.isupper()
        return mixed and (kinds >= 22 or (kinds >= 12 and any(48 <= byte < 58 for byte in body)))
    return kinds >= (8 if len(body) >= 20 else 6)


def _is_hard(quoted: bytes) -> bool:
    password = re.sub(rb"%([0-9A-Fa-f]{2})", lambda code: bytes((int(code[1], 16),)), quoted)
    kinds = [re.search(kind, password) is not None for kind in (rb"[a-z]", rb"[A-Z]", rb"[0-9]", rb"[^0-9A-Za-z]")]
    if len(password) < 8 or sum(kinds[:3]) < 2 or re.search(_TEMPLATE, quoted):
        return False
    spelt, ends = password.lower(), b"0123456789.,!?_-"
    plain = (spelt.translate(_UNLEET).strip(ends), spelt.strip(ends).translate(_UNLEET))
    return all(kinds) or not (re.search(_FILLER, password) or any(re.fullmatch(_EASY, each) for each in plain))
