"""iptables rules as data: pure reading and comparing of the text of iptables-save and -restore."""
