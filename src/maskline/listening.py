"""Where a server listens: sockets that are opened before anything else, and may be shared by several processes."""

from __future__ import annotations

import errno
import socket
import ssl
from dataclasses import dataclass

import structlog

from maskline.settings import Settings, SettingsError

BACKLOG = 2048

_log = structlog.get_logger(__name__)


class CannotListen(Exception):
    """The address is taken or is not this machine's."""


@dataclass(frozen=True, slots=True)
class Listening:
    """`main` is the API's socket, which role worker has none of. `ops`: a socket for each process; None where the
    default port is taken.
    """

    main: socket.socket | None
    ops: list[socket.socket | None]

    @property
    def ops_urls(self) -> list[str]:
        return [f"http://127.0.0.1:{one.getsockname()[1]}" for one in self.ops if one is not None]

    def close(self) -> None:
        """Close what is open."""
        for one in (self.main, *self.ops):
            if one is not None:
                one.close()


def listen(settings: Settings) -> Listening:
    """Open all that these settings ask for. Raises CannotListen."""
    listening = Listening(None if settings.role == "worker" else _listen(settings.host, settings.port), [])
    for index in range(settings.workers):
        wanted = settings.ops_port
        if wanted is None:
            wanted = 0 if settings.port == 0 else settings.port + 1
        port = wanted + index if wanted else 0
        try:
            listening.ops.append(_listen("127.0.0.1", port))
        except (CannotListen, OverflowError):
            if settings.ops_port is not None:
                listening.close()
                raise
            _log.warning("ops.port_taken", port=port)
            listening.ops.append(None)
    return listening


def check_address(settings: Settings) -> None:
    """Whether a server could listen where these settings say. Raises CannotListen."""
    with _listen(settings.host, settings.port):
        if settings.ops_port is not None:
            _listen("127.0.0.1", settings.ops_port).close()


def check_tls(settings: Settings) -> None:
    """Whether the certificate and its key can be used. Raises SettingsError."""
    if settings.tls_cert is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"tls_cert and tls_key: not a certificate chain in PEM form and its key: {error}"
        ) from None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(
                f"port {port} on {host} is taken; stop what listens there or choose another"
            ) from None
        reason = str(error.strerror).partition(" (")[0]
        raise CannotListen(f"cannot listen on {host}, port {port}: {reason}") from None
