#!/bin/sh
# After all packages are installed ($1 is the root): makes a host of it that boots in a container, is like no other
# host, and runs no service that a role has not started.
set -eu
root="$1"

# Every host makes its own identity at its first start.
rm -f "$root"/etc/ssh/ssh_host_*
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id"
mkdir -p "$root/etc/systemd/system/ssh.service.d"
cat >"$root/etc/systemd/system/ssh.service.d/host-keys.conf" <<'UNIT'
[Service]
# An empty assignment first: the keys must be there before `sshd -t`, which is the packaged ExecStartPre.
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
UNIT
cat >"$root/etc/ssh/sshd_config.d/lab.conf" <<'CONF'
PasswordAuthentication no
PermitRootLogin prohibit-password
# Ansible opens many sessions over one connection, and tests open many connections at once.
MaxSessions 100
MaxStartups 100
UseDNS no
CONF
mkdir -p -m 700 "$root/root/.ssh"

# A container has no hardware, and a privileged one must not touch the machine's own settings and consoles.
for unit in systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket \
    systemd-udev-trigger.service systemd-modules-load.service systemd-logind.service \
    systemd-networkd-wait-online.service systemd-networkd.service systemd-sysctl.service \
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount systemd-remount-fs.service \
    systemd-timesyncd.service systemd-vconsole-setup.service systemd-pstore.service \
    systemd-oomd.service systemd-journald-audit.socket console-getty.service getty.target \
    dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount \
    sys-fs-fuse-connections.mount; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
ln -sf /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"

# Roles enable what a host is for. Package timers would hold dpkg's lock while a playbook installs.
for unit in haproxy postgresql redis-server prometheus prometheus-alertmanager prometheus-node-exporter \
    prometheus-postgres-exporter prometheus-redis-exporter pgbackrest e2scrub_reap; do
    chroot "$root" systemctl disable --quiet "$unit.service" 2>/dev/null || true
done
for unit in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all fstrim; do
    chroot "$root" systemctl disable --quiet "$unit.timer" 2>/dev/null || true
done

# Hosts are many on one disk: the journal stays in memory-sized bounds.
mkdir -p "$root/etc/systemd/journald.conf.d"
printf '%s\n' '[Journal]' 'SystemMaxUse=64M' 'RuntimeMaxUse=32M' 'RateLimitBurst=0' \
    >"$root/etc/systemd/journald.conf.d/lab.conf"
mkdir -p "$root/var/log/journal"

# Written by podman at every start.
rm -f "$root/etc/hostname" "$root/etc/resolv.conf"
: >"$root/etc/resolv.conf"
