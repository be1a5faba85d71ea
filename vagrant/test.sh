#!/usr/bin/env bash
# Run this machine's part of the tests; as root, in the machine, after provision.sh.
#
#   test.sh NAME NODES [ARGUMENT]...      arguments go to pytest
#
# A node runs its share of the kernel tests that tests/vm/chosen.py lists; the client runs tests/vm,
# for which it logs in to the nodes and starts them anew. What comes of it is left in
# /var/lib/netproxy-results.tar: junit.xml, pytest.log, the journal, and the exit code as verdict.
set -euo pipefail

name=${1:?usage: test.sh NAME NODES [ARGUMENT]...}
nodes=${2:?usage: test.sh NAME NODES [ARGUMENT]...}
shift 2
results=$(mktemp -d)
kept=/var/lib/netproxy-results.tar
scale=${NETPROXY_TIME_SCALE:-1}

export PATH=$PATH:/usr/sbin:/sbin
export NETPROXY_REQUIRE=netns NETPROXY_TIME_SCALE=$scale NETPROXY_VM_GUEST=$name
python=/opt/netproxy/bin/python

cd /netproxy
if [ "$name" = client ]; then
    chosen=(tests/vm)
else
    mapfile -t chosen < <("$python" -m tests.vm.chosen)
    chosen+=(-p tests.vm.chosen --share "${name#node}/$nodes")
fi

rm -f "$kept"
code=0
"$python" -m pytest "${chosen[@]}" --no-header --color=no -p no:cacheprovider \
    -o faulthandler_timeout=$((120 * scale)) -o junit_suite_name="$name" \
    --junitxml="$results/junit.xml" "$@" 2>&1 | tee "$results/pytest.log" || code=$?
journalctl --boot --no-pager >"$results/journal.log" || true
{ uname -a && nft --version && iptables --version && lsmod; } >"$results/machine.log" || true
echo "$code" >"$results/verdict"
tar -C "$results" --mode=a+r -cf "$kept.new" .
mv "$kept.new" "$kept"
rm -r "$results"
