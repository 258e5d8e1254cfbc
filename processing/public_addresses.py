"""Which internet addresses everybody can reach: the allocated ranges, minus every special one.

The tables are those of IANA, as of 2025-10: "IPv4 Special-Purpose Address Registry" and "IPv6 Special-Purpose Address
Registry" (iana.org/assignments), with multicast, the reserved IPv4 block and the deprecated site-local range beside
them. Ranges that the registries call globally reachable (AS112, AMT, anycast of protocols) are left out too: no video
is served there. An address that stands for an IPv4 address is public exactly when that one is, and only in the two
forms that hosts use; tunnels (6to4, Teredo) and local translation can lead anywhere.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


SPECIAL_IPV4 = {
    "0.0.0.0/8": "this network (RFC 791)",
    "10.0.0.0/8": "private use (RFC 1918)",
    "100.64.0.0/10": "shared address space (RFC 6598)",
    "127.0.0.0/8": "loopback (RFC 1122)",
    "169.254.0.0/16": "link local (RFC 3927)",
    "172.16.0.0/12": "private use (RFC 1918)",
    "192.0.0.0/24": "protocol assignments (RFC 6890)",
    "192.0.2.0/24": "documentation (RFC 5737)",
    "192.31.196.0/24": "AS112 (RFC 7535)",
    "192.52.193.0/24": "AMT (RFC 7450)",
    "192.88.99.0/24": "6to4 relay anycast (RFC 7526)",
    "192.168.0.0/16": "private use (RFC 1918)",
    "192.175.48.0/24": "AS112 (RFC 7534)",
    "198.18.0.0/15": "benchmarking (RFC 2544)",
    "198.51.100.0/24": "documentation (RFC 5737)",
    "203.0.113.0/24": "documentation (RFC 5737)",
    "224.0.0.0/4": "multicast (RFC 5771)",
    "240.0.0.0/4": "reserved (RFC 1112)",
}
# What IANA gives out for hosts of the internet; everything outside is special or not given out.
GLOBAL_IPV6 = "2000::/3"
SPECIAL_IPV6 = {
    "2001::/23": "protocol assignments: Teredo, benchmarking, AMT, AS112, ORCHID, DRIP (RFC 2928)",
    "2001:db8::/32": "documentation (RFC 3849)",
    "2002::/16": "6to4 (RFC 3056)",
    "2620:4f:8000::/48": "AS112 (RFC 7534)",
    "3ffe::/16": "6bone, returned (RFC 3701)",
    "3fff::/20": "documentation (RFC 9637)",
}
# The last 32 bits are an IPv4 address, which is where a packet goes.
MAPPED_IPV6 = {
    "::ffff:0:0/96": "IPv4-mapped (RFC 4291)",
    "64:ff9b::/96": "IPv4/IPv6 translation (RFC 6052)",
}

_SPECIAL_IPV4 = tuple(map(ip_network, SPECIAL_IPV4))
_SPECIAL_IPV6 = tuple(map(ip_network, SPECIAL_IPV6))
_MAPPED_IPV6 = tuple(map(ip_network, MAPPED_IPV6))
_GLOBAL_IPV6 = ip_network(GLOBAL_IPV6)


def is_public(address: str) -> bool:
    """Whether everybody can reach an address (`"93.184.216.34"`, `"2606:2800::1"`); what is none is not public."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return _is_public_ipv4(parsed)
    if any(parsed in network for network in _MAPPED_IPV6):
        return _is_public_ipv4(IPv4Address(int(parsed) & 0xFFFFFFFF))
    return _is_public_ipv6(parsed)


def _is_public_ipv4(address: IPv4Address) -> bool:
    return not any(address in network for network in _SPECIAL_IPV4)


def _is_public_ipv6(address: IPv6Address) -> bool:
    return address in _GLOBAL_IPV6 and not any(address in network for network in _SPECIAL_IPV6)
