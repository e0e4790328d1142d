"""What a look at something has found, and what the doctor looks at in either database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from maskline.api.render import render_date
from maskline.datadir import KEY_FILE
from maskline.settings import Settings
from maskline.store.backup import MARK
from maskline.store.migrate import SchemaTooNew, is_behind
from maskline.vault import Vault


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. A problem has a remedy."""

    name: str
    ok: bool
    says: str
    remedy: str | None = None


def schema_of(meta: Mapping[str, str], remedy: str) -> Finding:
    """`meta` is what the database notes about itself, `remedy` what helps an older one."""
    version = int(meta.get("schema_version", 0))
    try:
        behind = is_behind(version)
    except SchemaTooNew as error:
        return Finding("schema", False, str(error), "use the newer maskline")
    if behind:
        return Finding("schema", False, f"{version} is not the newest", remedy)
    return Finding("schema", True, f"{version}, the newest")


def key_of(meta: Mapping[str, str], settings: Settings) -> Finding:
    """Whether the secret key is there and is this database's."""
    file = Path(settings.data) / KEY_FILE
    source, key = "the secret key given", settings.secret_key
    remedy = "give the key that this database was made with; without it the auth tokens in it are lost"
    if key is None:
        source = str(file)
        if not file.exists():
            return Finding("secret key", False, f"{file} is not there and none is given", remedy)
        try:
            key = file.read_bytes().decode("ascii", "replace").strip()
        except OSError as error:
            said = f"{file} cannot be read: {error.strerror}"
            return Finding("secret key", False, said, "give it to the user that the server runs as")
    try:
        vault = Vault(key)
    except ValueError:
        return Finding("secret key", False, f"{source} is not 64 hexadecimal digits", remedy)
    if meta.get("key_id") not in (None, vault.key_id):
        return Finding(
            "secret key", False, f"{source} is not the one that this database was made with", remedy
        )
    return Finding("secret key", True, f"{source} fits the database")


def backup_of(meta: Mapping[str, str]) -> Iterator[Finding]:
    """Whether this is a backup on which no server has started yet."""
    if MARK in meta:
        said = f"is the one of {render_date(int(meta[MARK]))}; the first start gives up what waits in it"
        yield Finding("backup", True, f"{said} (delivery-unknown), or with --resend-restored sends it")
