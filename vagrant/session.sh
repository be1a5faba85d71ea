#!/usr/bin/env bash
# The first process of a session's namespaces: prepares them, says "ready", and waits.
# Started by session.py, which says what for.
#
#   session.sh STATE [libvirt]
#
# With "libvirt" there is a libvirtd that sees nothing of the real one, nor leaves anything to it.
set -euo pipefail

state=$(realpath "${1:?usage: session.sh STATE [libvirt]}")

# libvirt begins with nothing, and what it writes goes to STATE.
hide_directories() {
    local directory
    mount -t sysfs sysfs /sys # the network interfaces in /sys are those of whoever mounted it
    mount -t tmpfs tmpfs /run
    mkdir /run/lock
    for directory in /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
        mkdir -p "$directory" "$state$directory"
        mount --bind "$state$directory" "$directory"
    done
    mkdir -p /var/lib/libvirt/images
}

# qemu runs as root: where only root may open /dev/kvm, libvirtd can and another user cannot, and
# libvirt then looks at qemu anew for every command, half a minute each time. No controllers, no
# virtlogd, as there is neither systemd nor virtlogd in here.
configure_libvirt() {
    cat >/etc/libvirt/qemu.conf <<'CONF'
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
stdio_handler = "file"
CONF
}

start_libvirt() {
    libvirtd >"$state/libvirtd.log" 2>&1 </dev/null &
    for _ in $(seq 300); do
        ! virsh --quiet --connect qemu:///system version >/dev/null 2>&1 || return 0
        sleep 0.1
    done
    echo "libvirtd does not answer; see $state/libvirtd.log" >&2
    exit 1
}

ip link set lo up
# Guests without a hypervisor's network find each other by multicast.
ip route add 224.0.0.0/4 dev lo
if [ "${2:-}" = libvirt ]; then
    hide_directories
    configure_libvirt
    start_libvirt
fi
# Whoever is left by its parent in here becomes our child. A shell that waits takes leave of it when
# it ends; else libvirt would wait more than a minute for each machine that it has killed.
sleep infinity >/dev/null &
echo ready
wait
