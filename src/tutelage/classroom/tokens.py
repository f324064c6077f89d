"""Secrets of an experiment: what is random, what is derived from its key, and how they are compared."""

import base64
import hashlib
import hmac
import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError

KEY_FILE = Path("private") / "key"
"""Of an experiment's folder; holds 64 hexadecimal digits, readable by its owner only."""

_KEY_BYTES, _CODE_BYTES = 32, 10
_ID = re.compile(r"[0-9a-f]{32}")


def random_id() -> str:
    """Return 128 random bits as 32 hexadecimal digits."""
    return secrets.token_hex(16)


def is_id(text: str) -> bool:
    """Whether a text may come from :func:`random_id`."""
    return _ID.fullmatch(text) is not None


def bearer_hash(bearer: str) -> str:
    """Return what is stored of the secret that opens a session: its SHA-256."""
    return hashlib.sha256(bearer.encode()).hexdigest()


def same(given: str, known: str) -> bool:
    """Whether two texts are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(given.encode(), known.encode())


@dataclass(frozen=True)
class Key:
    """The key of an experiment.

    Attributes:
        secret: 32 bytes.
    """

    secret: bytes

    def __repr__(self) -> str:
        return "Key(...)"

    @classmethod
    def create(cls, folder: str | os.PathLike[str]) -> "Key":
        """Make a key in the folder of an experiment; nobody else may read the file.

        Raises:
            ConfigError: if there is one, or it cannot be written.
        """
        path = Path(folder) / KEY_FILE
        if path.exists():
            raise ConfigError(f"{path} exists; a new key would make all links and codes of the old one void.")
        key = cls(secrets.token_bytes(_KEY_BYTES))
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(key.secret.hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ConfigError(f"{path}: the key cannot be written ({error.strerror}).") from None
        return key

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> "Key":
        """Read the key in the folder of an experiment.

        Raises:
            ConfigError: if it is missing, others may read it, or it is no key, such as a placeholder.
        """
        path = Path(folder) / KEY_FILE
        try:
            mode, text = path.stat().st_mode, path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a key"
            raise ConfigError(
                f"{path}: cannot be read ({reason}); make an experiment with its key: tutelage classroom new FOLDER"
            ) from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(f"{path}: others may read it (mode {stat.S_IMODE(mode):o}); use: chmod 600 {path}")
        try:
            secret = bytes.fromhex(text)
        except ValueError:
            secret = b""
        if len(secret) != _KEY_BYTES or len(set(secret)) < _KEY_BYTES // 4:
            raise ConfigError(f"{path}: not a key: it needs 64 random hexadecimal digits.")
        return cls(secret)

    def _mac(self, purpose: str, *parts: str | int) -> bytes:
        told = "\0".join((purpose, *map(str, parts)))
        return hmac.digest(self.secret, told.encode(), "sha256")

    @property
    def check(self) -> str:
        """What tells two keys apart, 32 hexadecimal digits; says nothing about the key."""
        return self._mac("check")[:16].hex()

    def bearer(self, session_id: str) -> str:
        """Return the secret that opens a session, 128 bits as 32 hexadecimal digits; the same each time."""
        return self._mac("bearer", session_id)[:16].hex()

    def form(self, subject: str, position: int, stage: str) -> str:
        """Return the token of a form, 32 hexadecimal digits.

        Args:
            subject: id of the session, or of the visit.
            position: of the session.
            stage: of the session, or what the form is for.
        """
        return self._mac("form", subject, position, stage)[:16].hex()

    def check_form(self, token: str, subject: str, position: int, stage: str) -> bool:
        """Whether a token is that of a form, in constant time."""
        return same(token, self.form(subject, position, stage))

    def external(self, source: str, external_id: str) -> str:
        """Return what is stored in place of a platform's id of a person, 64 hexadecimal digits."""
        return self._mac("external", source, external_id).hex()

    def code(self, nonce: str) -> str:
        """Return a completion code: 80 bits in base32, 16 letters and digits.

        Args:
            nonce: of the row of the completion.
        """
        return base64.b32encode(self._mac("code", nonce)[:_CODE_BYTES]).decode()

    def code_hmac(self, code: str) -> str:
        """Return by what a completion code is found, 64 hexadecimal digits; blanks and case do not count."""
        return self._mac("code lookup", "".join(code.split()).upper()).hex()
