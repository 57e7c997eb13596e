"""The age v1 file format (age-encryption.org/v1): seal bytes for recipients, unseal them with an identity.

age alone never says who wrote a file: whoever knows a recipient can seal for it. What matters is signed as well.
"""

from antsmem.core.age.armor import armor
from antsmem.core.age.hybrid import HybridIdentity, HybridRecipient
from antsmem.core.age.keys import (
    Identity,
    Recipient,
    X25519Identity,
    X25519Recipient,
    parse_identity,
    parse_identity_file,
    parse_recipient,
)
from antsmem.core.age.scrypt import ScryptIdentity, ScryptRecipient
from antsmem.core.age.source import AgeFileError
from antsmem.core.age.stream import (
    HeaderSummary,
    inspect,
    opened_by,
    rewrap,
    seal,
    seal_stream,
    unseal,
    unseal_stream,
)

__all__ = [
    "AgeFileError",
    "HeaderSummary",
    "HybridIdentity",
    "HybridRecipient",
    "Identity",
    "Recipient",
    "ScryptIdentity",
    "ScryptRecipient",
    "X25519Identity",
    "X25519Recipient",
    "armor",
    "inspect",
    "opened_by",
    "parse_identity",
    "parse_identity_file",
    "parse_recipient",
    "rewrap",
    "seal",
    "seal_stream",
    "unseal",
    "unseal_stream",
]
