"""iptables mode: kube-proxy's chains, with a dispatch by address in front of long lists."""
