# in-root.sh BASE ROOT TIME SCRIPT: runs SCRIPT as user opam in BASE with ROOT/upper above it, under
# time. Process 1 of namespaces of its own, so that all it mounts and starts goes away with it.
set -eu
base=$1 root=$2 time=$3 script=$4
mount -t overlay overlay -o "lowerdir=$base,upperdir=$root/upper,workdir=$root/work" "$root/merged"
mount -t proc proc "$root/merged/proc"
mount --rbind /dev "$root/merged/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/merged/tmp"
# Like a job's: what the host would tell of its own environment stays outside.
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /usr/bin/time --output "$time" --format %e \
    chroot --userspec=1000:1000 "$root/merged" /bin/sh -c ". /home/opam/opam.sh; $script"
