"""Who may look at the live page, and what a browser is told to refuse."""

import base64
import contextlib
import hashlib
import hmac
import re
import secrets
import socket
from dataclasses import dataclass

LOCAL = ("127.0.0.1", "localhost", "::1")
_ANY = ("", "0.0.0.0")


@dataclass(frozen=True)
class Access:
    """Under which names the page may be asked, and with what token; what one measures of a person is nobody else's."""

    hosts: tuple[str, ...] = LOCAL
    token: str | None = None  # None where only this machine can ask

    def admits(self, given: str | None) -> bool:
        """Whether somebody who shows this token may look."""
        return self.token is None or (given is not None and hmac.compare_digest(given.encode(), self.token.encode()))


HERE = Access()  # this machine alone


def access(host: str) -> Access:
    """Of a page that is served at an address: never under any name at all, or other sites could reach it by one.

    Example:
        access("192.168.1.7").hosts == ("192.168.1.7", "127.0.0.1", "localhost", "::1")
    """
    if host in LOCAL:
        return HERE
    names = [*_own_addresses(), socket.gethostname()] if host in _ANY else [host, *_addresses(host)]
    return Access(tuple(dict.fromkeys((*names, *LOCAL))), secrets.token_urlsafe(16))


def link(host: str, port: int, access: Access) -> str:
    """Where a browser finds the page."""
    shown = access.hosts[0] if host in _ANY else host
    return f"http://{shown}:{port}/" + (f"?token={access.token}" if access.token else "")


def _addresses(host: str) -> list[str]:
    with contextlib.suppress(OSError):
        return [str(a[4][0]) for a in socket.getaddrinfo(host, None, socket.AF_INET)]
    return []


def _own_addresses() -> list[str]:
    """The address that other machines see first; nothing is sent."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.connect(("192.0.2.1", 9))  # no machine has it (RFC 5737)
        return [asked.getsockname()[0], *_addresses(socket.gethostname())]
    return _addresses(socket.gethostname())


def refusals(html: str, host: str) -> dict[str, str]:
    """What a browser is told to refuse: other pages around this one, scripts that are not its own, other addresses."""

    def hashes(tag: str) -> str:
        texts = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(t.encode()).digest()).decode()}'" for t in texts)

    policy = (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; "
        f"connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
