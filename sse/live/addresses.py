"""Who is one caller, as far as addresses tell."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

# A network of this many bits is what a provider gives to one customer at least.
_IPV6_PREFIX = 64

UNKNOWN = "unknown"


def network(address: str) -> str:
    """What an address is counted by: itself, or for IPv6 its /64.

    An IPv4 address mapped into IPv6 is the same caller as by IPv4. All that is no address is
    one caller.
    """
    try:
        known: IPv4Address | IPv6Address = ip_address(address.strip())
    except ValueError:
        return UNKNOWN
    if isinstance(known, IPv6Address):
        if known.ipv4_mapped is None:
            bits = int(known) >> (128 - _IPV6_PREFIX) << (128 - _IPV6_PREFIX)
            return f"{IPv6Address(bits)}/{_IPV6_PREFIX}"
        known = known.ipv4_mapped
    return str(known)
