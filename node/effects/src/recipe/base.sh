#!/bin/sh
# Caravan host recipe: makes a base, a Debian root with opam and an OCaml compiler but no OCaml
# library. Runs as root outside every job sandbox; two runs from one archive state give one tree.
#
# base.sh SUITE OUT REPORT
#   SUITE   bookworm or trixie (any Debian suite that the configured archive serves)
#   OUT     what to make: a directory, or a tar file when the name ends in .tar. Must not exist.
#           OUT.partial is used meanwhile and removed at the end (after a kill -9, by the caller).
#   REPORT  file to write: one `key value` a line (suite, architecture, inrelease.SUITE, package.NAME)
# Exit codes: 2 wrong use, 3 something is missing on this host, 1 the archive or a package failed.
set -eu
export LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-1577836800}"
umask 022

fail() {
    code=$1
    shift
    printf 'base: %s\n' "$*" >&2
    exit "$code"
}

[ $# -eq 3 ] || fail 2 'usage: base.sh SUITE OUT REPORT'
suite=$1 out=$2 report=$3
[ "$(id -u)" -eq 0 ] || fail 3 'making a base needs root'
for program in mmdebstrap apt-get sha256sum tar awk; do
    command -v "$program" > /dev/null || fail 3 "$program is not installed (scripts/setup-debian installs it)"
done
[ ! -e "$out" ] || fail 2 "$out is already there"

# Host-wide packages only. ocaml is the native compiler with its tools; dune, ocamlfind and every
# library come from opam, from source: one installed here would be found before the switch's own.
packages=opam,ocaml,build-essential,m4,pkg-config,git,ca-certificates,unzip,rsync,libgmp-dev

. "${CARAVAN_RECIPES:-$(dirname "$0")}/apt-sources.sh"

root=$out.partial work=$out.work
clean() { rm -rf --one-file-system "$root" "$work"; }
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
clean
mkdir -p "$work"

apt_sources deb "$suite" 'main updates security' > "$work/debian.sources"
[ -s "$work/debian.sources" ] || fail 3 'apt on this host has no entry for a Debian archive (component main)'
# Only what is needed to reach the archive the way this host does.
apt-config dump --format '%F "%v";%n' Acquire::http Acquire::https Acquire::Retries \
    Acquire::Check-Valid-Until Acquire::Check-Date | grep -v ' "";$' > "$work/apt.conf" || true

# Runs while apt's lists are still there: digests of what the archive signed, and its name.
cat > "$work/record" <<'HOOK'
set -eu
for file in "$1"/var/lib/apt/lists/*_InRelease; do
    codename=$(sed -n 's/^Codename: //p' "$file" | head -n 1)
    origin=$(sed -n 's/^Origin: //p' "$file" | head -n 1)
    if [ "$origin" != Debian ]; then
        echo "base: the archive calls itself '$origin', not Debian: ${file##*/}" >&2
        exit 1
    fi
    printf 'inrelease.%s %s\n' "$codename" "$(sha256sum < "$file" | cut -d ' ' -f 1)"
done > "$2"
HOOK

set -- --mode=root --variant=minbase --format=directory --quiet \
    --include="$packages" --aptopt="$work/apt.conf" \
    --aptopt='APT::Install-Recommends "false"' \
    --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/lintian/*' \
    --customize-hook="sh '$work/record' \"\$1\" '$work/inrelease'"
# Keeps usrmerge, a program of the upgrade, out of suites before trixie.
hooks=/usr/share/mmdebstrap/hooks/maybe-merged-usr
[ ! -d "$hooks" ] || set -- "$@" --hook-dir="$hooks"
mmdebstrap "$@" "$suite" "$root" "$work/debian.sources" >&2 \
    || fail 1 "mmdebstrap could not make $suite from the archive that apt is configured with"

# The one user of every step, with fixed ids and no password.
printf 'opam:x:1000:1000::/home/opam:/bin/sh\n' >> "$root/etc/passwd"
printf 'opam:x:1000:\n' >> "$root/etc/group"
printf 'opam:*:18262:0:99999:7:::\n' >> "$root/etc/shadow"
printf 'opam:*::\n' >> "$root/etc/gshadow"
mkdir -p "$root/home/opam" "$root/caravan/repo" "$root/caravan/sources" "$root/caravan/src"
chown 1000:1000 "$root/home/opam"

# What one machine or one moment leaves behind.
rm -f "$root"/etc/resolv.conf "$root"/etc/hostname "$root"/etc/machine-id "$root"/etc/.pwd.lock \
    "$root"/etc/passwd- "$root"/etc/group- "$root"/etc/shadow- "$root"/etc/gshadow- \
    "$root"/etc/subuid- "$root"/etc/subgid- \
    "$root"/var/lib/dpkg/lock "$root"/var/lib/dpkg/lock-frontend "$root"/var/lib/dpkg/*-old \
    "$root"/var/lib/dpkg/triggers/Lock "$root"/var/lib/dbus/machine-id \
    "$root"/etc/apt/sources.list "$root"/etc/apt/apt.conf.d/99mmdebstrap
for directory in dev run tmp var/tmp var/log var/cache var/lib/apt/lists etc/apt/sources.list.d; do
    [ ! -d "$root/$directory" ] || find "$root/$directory" -xdev -mindepth 1 -delete
done
rm -rf "$root"/usr/share/doc-base "$root"/usr/share/bug "$root"/usr/share/man "$root"/usr/share/info
find "$root" -xdev -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

{
    printf 'suite %s\n' "$suite"
    printf 'architecture %s\n' "$(dpkg --print-architecture)"
    sort "$work/inrelease"
    dpkg-query --admindir="$root/var/lib/dpkg" -W -f 'package.${Package} ${Version}\n' | sort
} > "$work/report"

case $out in
    *.tar)
        tar --create --file "$work/tar" --directory "$root" --sort=name --numeric-owner --one-file-system \
            --format=pax --pax-option=delete=atime,delete=ctime --xattrs --xattrs-include='*' .
        mv "$work/report" "$report"
        mv "$work/tar" "$out"
        ;;
    *)
        mv "$work/report" "$report"
        mv "$root" "$out"
        ;;
esac
