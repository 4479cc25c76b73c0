#!/bin/busybox sh
# The machine's first process. Its root is the host's file system, with all changes in memory; /mnt is the one folder that it shares with the
# host for writing, and has `guest.sh`, which goes on.
b=/bin/busybox
fail() {
    echo "init: $1 failed"
    $b poweroff -f
}
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
while read -r module; do
    $b insmod "/modules/$module" || fail "insmod $module"
done < /modules/order
options=trans=virtio,version=9p2000.L,msize=262144
$b mount -t 9p -o "$options,cache=loose,ro" host /host || fail "mount of the host"
$b mount -t tmpfs -o size=90% changes /changes
$b mkdir /changes/upper /changes/work
$b mount -t overlay -o lowerdir=/host,upperdir=/changes/upper,workdir=/changes/work overlay /root || fail "mount of the overlay"
$b mount -t 9p -o "$options,cache=none" shared /root/mnt || fail "mount of the shared folder"
read -r modules < /root/mnt/modules
$b mkdir -p /root/lib/modules
$b mount --bind "/host$modules" /root/lib/modules || fail "mount of the modules"
for folder in proc sys dev; do
    $b mount --move "/$folder" "/root/$folder"
done
exec $b switch_root /root /bin/sh /mnt/guest.sh
