# Part disks, read by scripts/check-real: a store on disks that fill up, turn read-only or stop while
# it is open, and on one without hard links, refuses by name and loses nothing acknowledged; and one
# that is killed anywhere while it freezes and collects is whole. Here a file system that is lacking is
# a failure.

missing=
for entry in exfat-fuse:/sbin/mount.exfat-fuse exfatprogs:/sbin/mkfs.exfat xfsprogs:/sbin/mkfs.xfs e2fsprogs:/sbin/mke2fs; do
    [ -e "${entry#*:}" ] || missing="$missing ${entry%%:*}"
done
[ -z "$missing" ] || DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet $missing
CARAVAN_CHECK_REAL=1 CARAVAN_STORE_TEST_EVERY=1 TMPDIR=$place \
    cargo test --quiet --locked -p caravan-store --lib -- \
    tests::hosts tests::full tests::freezing tests::cold_crashes
