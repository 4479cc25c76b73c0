# Runs as the machine's first process, on the host's file system. Each step writes its output and its exit code into /mnt.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb
step() {
    name=$1
    shift
    echo "step: $name"
    "$@" > "/mnt/$name.out" 2>&1
    echo $? > "/mnt/$name.code"
}
mount -t tmpfs run /run
mount -t cgroup2 cgroup /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
ip link set lo up
ulimit -n 65536
ulimit -l unlimited
cd "$(cat /mnt/folder)" || exit 1
. /mnt/environment
. /mnt/steps
dmesg > /mnt/dmesg.out
echo o > /proc/sysrq-trigger
# The first process must not end.
while :; do :; done
