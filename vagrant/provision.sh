#!/usr/bin/env bash
# Make a Debian machine ready for the tests; run again, it changes nothing that is right.
#
#   provision.sh NAME NODES      NAME: node1, node2, ... or client; as root, in the machine
#
# Packages are fetched only where the box lacks them. Python packages come from /netproxy/build/vm/wheels
# when the host put them there, else from the network.
set -euo pipefail

name=${1:?usage: provision.sh NAME NODES}
nodes=${2:?usage: provision.sh NAME NODES}
source=/netproxy
venv=/opt/netproxy
wheels=$source/build/vm/wheels
lan=$source/build/vm/lan

note() { printf 'provision: %s (%s s)\n' "$*" "$SECONDS"; }

# number_of NAME : the last part of a machine's addresses.
number_of() {
    local digits=${1#node}
    [ "$1" != client ] || digits=0
    echo $((10 + digits))
}

everybody() {
    seq --format='node%g' "$nodes"
    [ "$nodes" -eq 1 ] || echo client
}

# installed PACKAGE... : those that are; dpkg-query fails when one is not.
installed() {
    dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
        sed -n 's/^installed //p' | sort || true
}

install_packages() {
    local wanted missing
    mapfile -t wanted < <(grep -v '^#' "$source/vagrant/packages.txt")
    mapfile -t missing < <(comm -23 <(printf '%s\n' "${wanted[@]}" | sort) <(installed "${wanted[@]}"))
    [ ${#missing[@]} -gt 0 ] || return 0
    note "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

# The network of the machines among themselves: names, and IPv6, which Vagrant does not give them.
join_lan() {
    local machine number
    number=$(number_of "$name")
    sed -i '/ # netproxy$/d' /etc/hosts
    for machine in $(everybody); do
        echo "192.168.56.$(number_of "$machine") $machine # netproxy"
        echo "fd00:56::$(number_of "$machine") $machine # netproxy"
    done >>/etc/hosts
    cat >/usr/local/sbin/netproxy-lan <<LAN
#!/bin/sh -eu
device=\$(ip -o -4 address show to 192.168.56.$number | awk '{print \$2; exit}')
ip address replace fd00:56::$number/64 dev "\${device:?192.168.56.$number is not here yet}" nodad
LAN
    cat >/etc/systemd/system/netproxy-lan.service <<'UNIT'
[Unit]
Description=IPv6 among the machines of the tests
After=network.target
Before=netproxy.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/netproxy-lan
Restart=on-failure
RestartSec=1s
[Install]
WantedBy=multi-user.target
UNIT
    chmod 755 /usr/local/sbin/netproxy-lan
    systemctl daemon-reload
    systemctl --quiet enable netproxy-lan
    systemctl restart netproxy-lan
}

forward() {
    printf 'net.ipv4.ip_forward=1\nnet.ipv6.conf.all.forwarding=1\n' >/etc/sysctl.d/90-netproxy.conf
    sysctl --quiet --load /etc/sysctl.d/90-netproxy.conf
}

# The client looks after the nodes, as root.
trust_client() {
    [ -e "$lan/key" ] || return 0
    install -d -m 700 /root/.ssh
    if [ "$name" = client ]; then
        install -m 600 "$lan/key" /root/.ssh/id_ed25519
    else
        install -m 600 "$lan/key.pub" /root/.ssh/authorized_keys
    fi
}

# Debian's pip, told to work for the environment: one of its own would have to be unpacked first.
pip() { python3 -m pip --python "$venv/bin/python" --disable-pip-version-check --quiet "$@"; }

install_netproxy() {
    local key
    [ -x "$venv/bin/python" ] || python3 -m venv --without-pip "$venv"
    if compgen -G "$wheels/netproxy-*.whl" >/dev/null; then
        key=$(cd "$wheels" && sha256sum ./*.whl | sha256sum)
        [ "$(cat "$venv/.installed" 2>/dev/null)" != "$key" ] || return 0
        # They fit each other already; looking for that again takes as long as the rest.
        pip install --no-index --no-deps --no-compile --force-reinstall "$wheels"/*.whl
        echo "$key" >"$venv/.installed"
    else
        pip install "${source}[guest]"
    fi
}

install_packages
join_lan
[ "$name" = client ] || forward
trust_client
note "installing Python packages"
install_netproxy
note "$name is ready: Linux $(uname -r), $(nft --version), $(python3 --version)"
