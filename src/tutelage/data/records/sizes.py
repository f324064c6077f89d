"""Sizes of files and records for people."""


def human(size: int) -> str:
    """Return a number of bytes as text, in decimal units: ``"41 bytes"``, ``"3.1 kB"``, ``"268 MB"``."""
    if size < 1000:
        return "1 byte" if size == 1 else f"{size} bytes"
    value, units = size / 1000, iter(("kB", "MB", "GB", "TB", "PB"))
    for unit in units:
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} EB"
