# shellcheck shell=sh
# The life of the machine of boot.lib, read by its first process. Ends with the machine.
/busybox mkdir -p /proc /new
/busybox mount -t proc proc /proc
if [ ! -e /second ]; then
    # Not on the first file system: nothing can leave that one for a root of its own.
    /busybox mount -t tmpfs -o size=900m,mode=755 tmpfs /new
    cd /new || exit 1
    /busybox mkdir -p bin proc sys dev tmp data etc run var
    for file in busybox caravan overlay.ko guest.sh init; do /busybox cp -p /$file .; done
    /busybox --install -s /new/bin
    : > second
    # The links say /busybox or where it was started from: it is there either way.
    exec /busybox switch_root /new /init
fi
export PATH=/bin
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
insmod /overlay.ko
ip link set lo up
chmod 700 /data
echo "=== $(uname -sm), Linux $(uname -r)"
/caravan --data /data/node node run --http none --slots 1 > /data/log 2>&1 &
tries=0
until /caravan --data /data/node node status > /data/status 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] && kill -0 $! 2> /dev/null || break
    sleep 1
done
sleep 3
cat /data/log /data/status
/caravan --data /data/node nodes
if /caravan --data /data/node nodes --json | grep -q '"mode": "open"'; then
    echo '=== it takes work'
else
    dmesg | tail -n 25
fi
echo '=== done'
poweroff -f
