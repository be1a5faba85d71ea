#!/usr/bin/env bash
# Build a Vagrant box from Debian packages, where no catalogue of boxes can be reached.
#
#   vagrant/build-box.sh DIRECTORY
#
# DIRECTORY, which must not exist, gets
#   netproxy.box      for Vagrant with libvirt
#   disk.qcow2        the same image, for qemu alone
#   vmlinuz, initrd   the same kernel, to be started without a boot loader
#   key               with which one logs in as "vagrant"
# Needs root, mmdebstrap, e2fsprogs, fdisk, qemu-utils, and some 2 GiB of room for a minute.
#
# When this is killed nothing stays but DIRECTORY.new: no loop device is used, and whatever
# mmdebstrap mounts is mounted in namespaces that end with this script.
#
# SUITE, KERNEL, MIRROR and SECURITY choose another Debian, kernel package or mirror.
set -euo pipefail
umask 022

suite=${SUITE:-bookworm}
kernel=${KERNEL:-linux-image-cloud-amd64}
mirror=${MIRROR:-http://deb.debian.org/debian}
security=${SECURITY:-http://deb.debian.org/debian-security}

if [ "${1:-}" != --inside ]; then
    exec unshare --mount --pid --fork --kill-child "$0" --inside "$@"
fi
shift

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(realpath -m "${1:?usage: build-box.sh DIRECTORY}")
new=$out.new
root=$new/root
label=netproxy
# Sectors of 512 bytes: the boot loader has the first MiB to itself.
readonly first_sector=2048 size_mib=3072

note() { printf 'build-box: %s (%s s)\n' "$*" "$SECONDS"; }

# What a machine is at all; what the tests need is in packages.txt.
packages() {
    echo systemd-sysv udev dbus openssh-server sudo e2fsprogs ca-certificates
    echo initramfs-tools lz4 grub-common grub-pc-bin "$kernel"
    grep -v '^#' "$here/packages.txt"
}

# The initramfs needs no more than what finds the disk; it is made once, with the kernel.
configure_initramfs() {
    local etc=$new/files/etc/initramfs-tools
    mkdir -p "$etc/conf.d" "$etc/hooks"
    printf 'MODULES=list\nCOMPRESS=lz4\n' >"$etc/conf.d/netproxy"
    cat >"$etc/hooks/netproxy" <<'HOOK'
#!/bin/sh
[ "$1" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
for module in virtio_pci virtio_blk virtio_scsi virtio_net ext4 sd_mod ata_piix ahci; do
    manual_add_modules "$module"
done
HOOK
    chmod 755 "$etc/hooks/netproxy"
}

install_packages() {
    configure_initramfs
    mmdebstrap --quiet --mode=root --variant=minbase \
        --include="$(packages | xargs | tr ' ' ,)" \
        --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
        --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --essential-hook="sync-in '$new/files' /" \
        "$suite" "$root" \
        "deb $mirror $suite main" "deb $security $suite-security main"
}

make_user() {
    chroot "$root" useradd --create-home --shell /bin/bash vagrant
    echo 'vagrant ALL=(ALL) NOPASSWD:ALL' >"$root/etc/sudoers.d/vagrant"
    chmod 440 "$root/etc/sudoers.d/vagrant"
    ssh-keygen -q -t ed25519 -N '' -C "netproxy's box" -f "$new/key"
    install -d -m 700 "$root/home/vagrant/.ssh"
    install -m 600 "$new/key.pub" "$root/home/vagrant/.ssh/authorized_keys"
    chroot "$root" chown -R vagrant:vagrant /home/vagrant/.ssh
}

configure() {
    echo "$label" >"$root/etc/hostname"
    printf '127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost\n' "$label" >"$root/etc/hosts"
    echo "LABEL=$label / ext4 defaults,noatime 0 1" >"$root/etc/fstab"
    : >"$root/etc/machine-id" # each machine makes its own
    : >"$root/etc/resolv.conf" # the builder's own says nothing about where this will run
    cat >"$root/etc/systemd/network/20-eth0.network" <<'NETWORK'
[Match]
Name=eth0
[Network]
DHCP=ipv4
LinkLocalAddressing=no
[DHCPv4]
ClientIdentifier=mac
NETWORK
    printf 'UseDNS no\nGSSAPIAuthentication no\n' >"$root/etc/ssh/sshd_config.d/netproxy.conf"
    chroot "$root" systemctl --quiet enable systemd-networkd ssh
    # Nothing that waits for a network which is not there, or works while tests run.
    chroot "$root" systemctl --quiet mask systemd-networkd-wait-online.service \
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
        e2scrub_all.timer e2scrub_reap.service fstrim.timer
}

# A boot loader in a file, without a device: boot.img loads what begins in the second sector, and
# core.img goes on from there. Both are made to be used like that; grub-install would only write
# the same numbers into them.
write_boot_loader() {
    local version=$1 image=$2 grub=$root/usr/lib/grub/i386-pc
    mkdir -p "$root/boot/grub"
    cat >"$root/boot/grub/grub.cfg" <<GRUB
linux /boot/vmlinuz-$version $(kernel_arguments)
initrd /boot/initrd.img-$version
boot
GRUB
    chroot "$root" grub-mkimage --format=i386-pc --output=/boot/grub/core.img \
        --prefix='(hd0,msdos1)/boot/grub' biosdisk part_msdos ext2 linux normal
    echo "start=$first_sector, type=83, bootable" | sfdisk --quiet "$image"
    dd if="$grub/boot.img" of="$image" bs=440 count=1 conv=notrunc status=none
    dd if="$root/boot/grub/core.img" of="$image" bs=512 seek=1 conv=notrunc status=none
}

kernel_arguments() {
    echo "root=LABEL=$label ro net.ifnames=0 console=tty0 console=ttyS0,115200 quiet"
}

write_image() {
    local image=$new/disk.raw version
    version=$(cd "$root/boot" && echo vmlinuz-*)
    version=${version#vmlinuz-}
    truncate -s "${size_mib}M" "$image"
    write_boot_loader "$version" "$image"
    cp "$root/boot/vmlinuz-$version" "$new/vmlinuz"
    cp "$root/boot/initrd.img-$version" "$new/initrd"
    mke2fs -q -t ext4 -L "$label" -d "$root" \
        -E "offset=$((first_sector * 512)),lazy_itable_init=1,lazy_journal_init=1" \
        "$image" "$((size_mib - 1))M"
    note "$version, $(du -sm "$root" | cut -f1) MiB of files"
    rm -rf "$root"
    qemu-img convert -c -o compression_type=zstd -O qcow2 "$image" "$new/disk.qcow2"
    rm "$image"
}

write_box() {
    cat >"$new/metadata.json" <<JSON
{"provider": "libvirt", "format": "qcow2", "virtual_size": $((size_mib / 1024))}
JSON
    cat >"$new/Vagrantfile" <<'RUBY'
Vagrant.configure("2") do |config|
  config.ssh.private_key_path = File.expand_path("key", __dir__)
  config.ssh.insert_key = false
end
RUBY
    tar -C "$new" -cf "$new/netproxy.box" --transform='s/^disk.qcow2$/box.img/' \
        metadata.json Vagrantfile key disk.qcow2
    rm -r "$new/metadata.json" "$new/Vagrantfile" "$new/key.pub" "$new/files"
}

[ ! -e "$out" ] || { echo "build-box: $out is there already" >&2; exit 1; }
rm -rf "$new"
mkdir -p "$new"
note "$suite with $kernel from $mirror"
install_packages
note "configuring"
make_user
configure
note "writing the image"
write_image
write_box
mv "$new" "$out"
note "$out/netproxy.box, $(du -m "$out/netproxy.box" | cut -f1) MiB"
