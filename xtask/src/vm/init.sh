#!/bin/sh
# What a guest needs before the agent can listen, for images whose /init this is: mounts, and the modules in load order.
export PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=/root TERM=linux
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
if [ -e /etc/vsock-shell/modules ]; then
    while read -r module; do insmod "$module"; done < /etc/vsock-shell/modules
fi
if [ "$(uname -m)" = x86_64 ]; then set -- --listen serial:/dev/ttyS1; fi
exec /sbin/vsock-shell-agent --listen vsock --listen serial:agent.0 "$@"
