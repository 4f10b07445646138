"""Filters that read the edge's variables."""

from __future__ import annotations

import ipaddress


def turnout_proxy_faults(proxies, proxy_protocol=False):
    """Return what is wrong with declared proxies, one text for each fault; none where all is well."""
    faults = []
    for proxy in proxies:
        try:
            network = ipaddress.ip_network(proxy)
        except ValueError as error:
            faults.append(f"edge_trusted_proxies has {proxy!r}: {error}")
            continue
        loopback = ipaddress.ip_network("127.0.0.0/8" if network.version == 4 else "::1/128")
        if network.overlaps(loopback):
            faults.append(f"edge_trusted_proxies has {proxy!r}, which holds loopback: smoke tests come from there")
    if proxy_protocol and not proxies:
        faults.append("edge_proxy_protocol is true, and edge_trusted_proxies declares nobody who may speak it")
    return faults


class FilterModule:
    """The filters of this role."""

    def filters(self):
        """Return the filters by name."""
        return {"turnout_proxy_faults": turnout_proxy_faults}
