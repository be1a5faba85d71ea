"""nftables mode: a constant rule set, services as elements of its maps. See README.md."""
