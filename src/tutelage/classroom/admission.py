"""How the researcher is let in: by a password of which only a hash is stored, or by a link that works once.

Source of the hash: Percival and Josefsson, "The scrypt password-based key derivation function", RFC 7914, 2016.
"""

import base64
import hashlib
import os
import secrets
import stat
import time
from pathlib import Path

from ..data.records.atomic import AtomicWriter
from ..errors import ConfigError
from .tokens import random_id

PASSWORD_FILE = Path("private") / "password"
LINKS = Path("private") / "links"
"""Folder of the links that wait, each a file whose name is the hash of its secret."""
LINK_MINUTES = 15
LEAST_LETTERS = 12
_LEAST_DIFFERENT = 6
_COST, _BLOCK, _LANES = 2**15, 8, 1
_MEMORY = 64 * 2**20
_SALT_BYTES, _HASH_BYTES = 16, 32
_KIND = f"scrypt${_COST}${_BLOCK}${_LANES}$"
_PLACEHOLDERS = ("password", "passwort", "changeme", "change-me", "secret", "admin", "123456", "letmein", "example")


def set_password(folder: str | os.PathLike[str], password: str) -> None:
    """Store the hash of the researcher's password, in place of an earlier one; nobody else may read the file.

    Args:
        folder: of the experiment.
        password: at least 12 characters, 6 different ones, and no placeholder.

    Raises:
        ConfigError: for another password.
        DataError: if the file cannot be written.
    """
    plain = password.casefold()
    if len(password) < LEAST_LETTERS or len(set(plain)) < _LEAST_DIFFERENT:
        raise ConfigError(f"the password needs {LEAST_LETTERS} characters, {_LEAST_DIFFERENT} different ones.")
    if (found := next((word for word in _PLACEHOLDERS if word in plain), None)) is not None:
        raise ConfigError(f'the password contains "{found}", as placeholders do; choose another one.')
    salt = secrets.token_bytes(_SALT_BYTES)
    told = _KIND + "$".join(base64.b64encode(part).decode() for part in (salt, _digest(password, salt)))
    path = Path(folder) / PASSWORD_FILE
    AtomicWriter(path, told.encode() + b"\n").close()
    path.chmod(0o600)


def password_hash(folder: str | os.PathLike[str]) -> str | None:
    """Return what is stored of the password; None: there is none.

    Raises:
        ConfigError: if others may read the file, or it holds no hash, such as a placeholder.
    """
    path = Path(folder) / PASSWORD_FILE
    try:
        mode, told = path.stat().st_mode, path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); set a new one: tutelage classroom password.") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{path}: others may read it (mode {stat.S_IMODE(mode):o}); use: chmod 600 {path}")
    if _parts(told) is None:
        raise ConfigError(f"{path}: holds no hash of a password; set one: tutelage classroom password {folder}")
    return told


def is_password(given: str, told: str) -> bool:
    """Whether a text is the password of a hash that :func:`password_hash` returned; takes about 0.1 s."""
    parts = _parts(told)
    if parts is None:
        return False
    salt, digest = parts
    return secrets.compare_digest(_digest(given, salt), digest)


def make_link(folder: str | os.PathLike[str]) -> str:
    """Return the secret of a link that lets the researcher in once, within :data:`LINK_MINUTES`.

    Raises:
        DataError: if it cannot be stored.
    """
    secret, place = random_id(), Path(folder) / LINKS
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in place.iterdir():
        if _age_minutes(old) > LINK_MINUTES:
            old.unlink(missing_ok=True)
    AtomicWriter(place / _name(secret)).close()
    return secret


def use_link(folder: str | os.PathLike[str], secret: str) -> bool:
    """Whether a secret is that of a link that waits; it is used up."""
    path = Path(folder) / LINKS / _name(secret)
    try:
        fresh = _age_minutes(path) <= LINK_MINUTES
        path.unlink()  # of two at once only one can remove it
    except FileNotFoundError:
        return False
    return fresh


def _age_minutes(path: Path) -> float:
    return (time.time() - path.stat().st_mtime) / 60


def _name(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _digest(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=_COST, r=_BLOCK, p=_LANES, maxmem=_MEMORY, dklen=_HASH_BYTES)


def _parts(told: str) -> tuple[bytes, bytes] | None:
    """Salt and digest of a stored hash; None: it is none, or one of another cost."""
    if not told.startswith(_KIND):
        return None
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in told.removeprefix(_KIND).split("$"))
    except ValueError:
        return None
    return (salt, digest) if (len(salt), len(digest)) == (_SALT_BYTES, _HASH_BYTES) else None
