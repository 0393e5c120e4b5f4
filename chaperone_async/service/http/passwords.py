"""scrypt password hashes as passlib writes them: `$scrypt$ln=14,r=8,p=1$salt$hash`, base64 without padding."""

import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Self

from chaperone_async.system.config.words import PasswordHash

LOG_COST, BLOCK_SIZE, PARALLELISM = 14, 8, 1
"""For new hashes: 16 MiB and some 40 ms for each look."""
MOST_MEMORY = 256 << 20
_FORM = re.compile(PasswordHash.form)


@dataclass(frozen=True, slots=True)
class ScryptHash:
    cost: int
    block_size: int
    parallelism: int
    salt: bytes
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, whose message does not repeat the hash."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError("is not of the form $scrypt$ln=14,r=8,p=1$salt$hash")
        log_cost, block_size, parallelism = int(match[1]), int(match[2]), int(match[3])
        if not (log_cost and block_size and parallelism):
            raise ValueError("has a zero among ln, r and p")
        if _memory(1 << log_cost, block_size, parallelism) > MOST_MEMORY:
            raise ValueError(f"needs more than {MOST_MEMORY >> 20} MiB for each look; use smaller ln, r or p")
        return cls(1 << log_cost, block_size, parallelism, _decode(match[4]), _decode(match[5]))

    @classmethod
    def of(cls, password: str) -> Self:
        salt = secrets.token_bytes(16)
        digest = _scrypt(password, salt, 1 << LOG_COST, BLOCK_SIZE, PARALLELISM, 32)
        return cls(1 << LOG_COST, BLOCK_SIZE, PARALLELISM, salt, digest)

    def matches(self, password: str) -> bool:
        """Slow, by intention: call it in a thread."""
        made = _scrypt(password, self.salt, self.cost, self.block_size, self.parallelism, len(self.digest))
        return hmac.compare_digest(made, self.digest)

    def __str__(self) -> str:
        settings = f"ln={self.cost.bit_length() - 1},r={self.block_size},p={self.parallelism}"
        return f"$scrypt${settings}${_encode(self.salt)}${_encode(self.digest)}"


def _scrypt(password: str, salt: bytes, cost: int, block_size: int, parallelism: int, length: int) -> bytes:
    secret = password.encode("utf-8", "surrogateescape")
    most = _memory(cost, block_size, parallelism)
    return hashlib.scrypt(secret, salt=salt, n=cost, r=block_size, p=parallelism, maxmem=most, dklen=length)


def _memory(cost: int, block_size: int, parallelism: int) -> int:
    return 128 * block_size * (cost + parallelism + 2)


def _decode(text: str) -> bytes:
    return b64decode(text.replace(".", "+") + "=" * (-len(text) % 4), validate=True)


def _encode(data: bytes) -> str:
    return b64encode(data).decode().rstrip("=")
