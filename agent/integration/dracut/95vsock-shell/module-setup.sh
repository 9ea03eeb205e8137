#!/bin/bash
# `cargo xtask test` builds an image with it (dracut 059, Debian 12), boots it with rd.break and enters it over vsock.
#
# A dracut module: the agent, what starts it, and the drivers of vsock and virtio-serial. bash, because dracut sources it.
#
#   install -m 755 vsock-shell-agent agent/integration/vsock-shell-start /usr/sbin/
#   cp -r agent/integration/dracut/95vsock-shell /usr/lib/dracut/modules.d/
#   dracut --force           # with rd.break on the kernel's command line the agent is there while the boot stands still

# Only where there is something to put in.
check() {
    require_binaries /usr/sbin/vsock-shell-agent /usr/sbin/vsock-shell-start || return 1
    return 0
}

depends() {
    return 0
}

# Not for the machine that builds the image alone: the guest that boots it may have another device.
installkernel() {
    hostonly='' instmods virtio_pci virtio_mmio virtio_console vmw_vsock_virtio_transport vmw_vsock_vmci_transport hv_sock
}

install() {
    inst_multiple /usr/sbin/vsock-shell-agent /usr/sbin/vsock-shell-start modprobe ln sleep
    # The first of all hooks, so that the agent is also there when the boot ends because no root was named.
    inst_hook cmdline 00 "$moddir/vsock-shell.sh"
}
