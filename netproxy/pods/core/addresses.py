"""Which address a new Pod gets out of its node's prefix.

The next one after the last that was given out, so that an address which has just become free is
used by somebody else as late as possible: who still remembers the old Pod does not meet a new one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from netproxy.model.ip import IPAddress, Prefix


def next_address(
    prefix: Prefix, taken: Collection[IPAddress], last: IPAddress | None
) -> IPAddress | None:
    """An address that nobody has; None: all are taken.

    The first address of a prefix names the network, and of IPv4 the last one everybody in it.

    Args:
        prefix: The node's.
        taken: What Pods have.
        last: What was given out last; None, or of another prefix: begin at the beginning.

    Example:
        >>> from netproxy.model.ip import parse_prefix
        >>> next_address(parse_prefix("10.1.2.0/24"), {"10.1.2.1"}, None)
        '10.1.2.2'
    """
    network = ipaddress.ip_network(str(prefix))
    first = int(network.network_address) + 1
    count = network.num_addresses - (2 if network.version == 4 else 1)
    make = type(network.network_address)
    start = 0
    if last is not None and (known := ipaddress.ip_address(last)) in network:
        start = int(known) - first + 1
    # Among one more than are taken there is a free one, if there is any.
    for step in range(min(count, len(taken) + 1)):
        found = IPAddress(str(make(first + (start + step) % count)))
        if found not in taken:
            return found
    return None
