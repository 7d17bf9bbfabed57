"""Patterns of access rules: globs, regular expressions and sets of networks.

Rules. Pure. Matching takes linear time on any input: RE2 for patterns, one lookup for each prefix
length for networks. Texts are matched as bytes, as received.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import re2

from gatekeeper.config.problems import shown

Network = IPv4Network | IPv6Network
Matcher = Callable[[str], bool]

_IPV4_MAPPED = IPv6Network("::ffff:0:0/96")  # RFC 4291 section 2.5.5.2
_MAX_MEMORY = 8 << 20  # bytes for one pattern; RE2's own default


def with_single_slashes(path: str) -> str:
    """Validate the path of a room or rule: paths of requests are matched with single slashes."""
    if "//" in path:
        raise ValueError(f'{shown(path)} has "//", which matches no path; expected a single "/"')
    return path


def glob_matcher(glob: str, *, separator: str = "", literal: Callable[[str], str] = str) -> Matcher:
    """A matcher of whole texts by a glob. `*` matches any text without `separator`, and `**` any
    text. `literal` maps each piece between the wildcards to its regular expression."""
    if "*" not in glob:
        return literal(glob).__eq__
    before, is_prefix = glob.removesuffix("**"), glob.endswith("**")
    if is_prefix and "*" not in before:
        prefix = literal(before)
        return lambda text: text.startswith(prefix)
    across, within = b".*", b"[^%b]*" % separator.encode() if separator else b".*"
    parts = [
        within.join(re2.escape(literal(piece).encode()) for piece in part.split("*"))
        for part in glob.split("**")
    ]
    return _full_match(across.join(parts))


def regex_matcher(pattern: str, *, ignore_case: bool = False) -> Matcher:
    """A matcher of whole texts by a regular expression in RE2's syntax. Raises ValueError."""
    return _full_match(pattern.encode(), ignore_case=ignore_case)


def _full_match(pattern: bytes, *, ignore_case: bool = False) -> Matcher:
    options = re2.Options()
    options.case_sensitive = not ignore_case
    options.encoding = re2.Options.Encoding.LATIN1  # bytes, in any encoding
    options.dot_nl = True
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(_reason(error)) from error
    return lambda text: compiled.fullmatch(text.encode("utf-8", "surrogateescape")) is not None


def _reason(error: re2.error) -> str:
    reason = error.args[0] if error.args else "invalid"
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)


def network_of(text: str) -> Network:
    """Parse a network or address. An IPv4-mapped IPv6 network becomes the IPv4 network, like the
    addresses of clients. Raises ValueError."""
    network = ip_network(text, strict=False)
    if isinstance(network, IPv6Network) and network.subnet_of(_IPV4_MAPPED):
        address = int(network.network_address) & 0xFFFFFFFF
        return IPv4Network((address, network.prefixlen - _IPV4_MAPPED.prefixlen))
    return network


class NetworkSet:
    """A set of networks, with one lookup for each prefix length that occurs."""

    def __init__(self, networks: Iterable[Network]) -> None:
        found: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            key = (network.version, shift)
            found.setdefault(key, set()).add(int(network.network_address) >> shift)
        self._networks = found

    def __len__(self) -> int:
        return sum(len(prefixes) for prefixes in self._networks.values())

    def __contains__(self, address: object) -> bool:
        """Whether the address, as text, is in one of the networks; False if it is not an
        address."""
        try:
            parsed = ip_address(str(address))
        except ValueError:
            return False
        return any(
            version == parsed.version and int(parsed) >> shift in prefixes
            for (version, shift), prefixes in self._networks.items()
        )
