"""What counts for TCP clients now: the credentials that they must show, and the certificate that they are shown. A
reload replaces both, or neither. No aiohttp here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaperone_async.service.http.access import Access
from chaperone_async.system.config.load import Config, Tls
from chaperone_async.system.config.watch import digest_of

if TYPE_CHECKING:
    import ssl

Users = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Admission:
    """What a configuration says, checked. `admit` puts it in force. `renewed`: digests of the certificate's files, old
    and new, where their contents have changed."""

    admit: Callable[[], None]
    renewed: tuple[str, str] | None = None


class Entrance:
    """Raises ConfigError for a password hash, or a certificate, that cannot be used."""

    def __init__(self, token: str | None = None, users: Users = (), tls: Tls | None = None) -> None:
        self.access = Access(token, users)
        self._known = (token, users)
        self._certificate = None if tls is None else _Certificate(tls)

    @property
    def tls(self) -> "ssl.SSLContext | None":
        """Stays the same for good. None: TCP speaks HTTP."""
        return None if self._certificate is None else self._certificate.context

    def ready(self, config: Config) -> Admission:
        """Raises ConfigError where something cannot be used. A certificate in other files than before, or none, is for
        the next start: listeners stay as they are."""
        known = (config.token, config.users)
        access = self.access if known == self._known else Access(*known)
        certificate = self._certificate
        if certificate is None or certificate.files != config.tls:
            return Admission(lambda: self._admit(known, access))
        renewal = certificate.read()

        def admit() -> None:
            self._admit(known, access)
            certificate.show(renewal)

        renewed = None if renewal.digest == certificate.digest else (certificate.digest, renewal.digest)
        return Admission(admit, renewed)

    def _admit(self, known: tuple[str | None, Users], access: Access) -> None:
        self._known, self.access = known, access


@dataclass(frozen=True, slots=True)
class _Renewal:
    context: "ssl.SSLContext"
    digest: str


class _Certificate:
    """`context` is given to listeners once; each new connection goes on with the one that was read last."""

    def __init__(self, files: Tls) -> None:
        self.files = files
        self._shown = self.read()
        self.context = self._shown.context
        self.context.sni_callback = self._go_on  # called whether or not the client names a server

    @property
    def digest(self) -> str:
        return self._shown.digest

    def read(self) -> _Renewal:
        """Raises ConfigError."""
        from chaperone_async.service.http.tls import server_context

        digest = " ".join(digest_of(name) or "none" for name in (self.files.cert, self.files.key))
        return _Renewal(server_context(self.files), digest)

    def show(self, renewal: _Renewal) -> None:
        self._shown = renewal

    def _go_on(self, connection: "ssl.SSLSocket | ssl.SSLObject", _name: str | None, _: "ssl.SSLContext") -> None:
        connection.context = self._shown.context
