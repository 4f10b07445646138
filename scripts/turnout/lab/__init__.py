"""The lab: real Debian hosts with systemd and sshd on this machine, in podman containers."""
