"""Where the server may connect to when a user names the address: nowhere inside, unless its owner allowed it.

A name is looked up once, every address it has is checked, and the connection goes to a checked one: a second look-up
could answer differently. Nobody is followed to another place.
"""

import asyncio
import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from tunesmith.core.errors import UserError

Network = IPv4Network | IPv6Network
PORTS = {"http": 80, "https": 443}
LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
"""This machine."""
DISGUISED = tuple(
    ip_network(n) for n in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96", "fec0::/10")
)
"""Networks that count as global but may lead inside: NAT64, 6to4, Teredo, IPv4 in IPv6, the old site-local ones."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A place that was looked up and found to be allowed."""

    scheme: str
    host: str
    """As the user wrote it; goes into the Host header and is what a certificate has to be for."""
    port: int
    address: str
    """IP address that was checked."""
    target: str
    """Path and query."""


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """The networks of an allow-list.

    Raises:
        UserError: a text that is none.
    """
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as e:
        raise UserError("allowed networks", str(e), "Give networks such as 192.168.7.0/24 or ::1/128") from None


def destination(where: str, url: str, allowed: Sequence[Network] = ()) -> Destination:
    """Look up a URL's host and check every address that it has.

    Args:
        where: names the setting in a refusal.
        allowed: networks that are allowed although they are inner ones.

    Raises:
        UserError: no http or https URL, a name that is not found, or an address that is not allowed.
    """
    host, port, scheme, target = _parts(where, url)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as e:
        raise UserError(where, f"{host!r} is not found: {e}", "Check the name") from None
    addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
    for address in addresses:
        if not is_allowed(address, allowed):
            problem = f"{host!r} is {address}, which is not a public address"
            raise UserError(where, problem, "Give a public one, or let the server's owner allow its network")
    return Destination(scheme, host, port, addresses[0], target)


def is_allowed(address: str, allowed: Sequence[Network] = ()) -> bool:
    """Whether an IP address is a public one or in an allowed network."""
    ip = ip_address(address)
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip in network for network in allowed):
        return True
    # "Global" counts multicast in, and addresses that lead to inner ones by way of a translator.
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in DISGUISED)


async def open_streams(to: Destination) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the checked address, under the name that was asked for. Close the writer when done."""
    tls = ssl.create_default_context() if to.scheme == "https" else None
    return await asyncio.open_connection(to.address, to.port, ssl=tls, server_hostname=to.host if tls else None)


def _parts(where: str, url: str) -> tuple[str, int, str, str]:
    """(host, port, scheme, path and query) of a URL."""
    mend = "Give one such as https://example.org/grade"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as e:
        raise UserError(where, f"is no URL: {e}", mend) from None
    if parts.scheme not in PORTS or not host:
        raise UserError(where, "is no http or https URL", mend)
    if parts.username is not None or parts.password is not None:
        raise UserError(where, "has a user or password in it", "Send them in a header")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise UserError(where, "has characters that a URL cannot have", "Write them as %xx")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return host, port or PORTS[parts.scheme], parts.scheme, target
