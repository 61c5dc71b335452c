#!/bin/sh
# Caravan host recipe: gets one upstream archive out of a Debian source package, through the
# archive that apt on this host is configured with. Gives out only bytes of the wanted checksum.
#
# debian-source.sh NAME SUITE SHA256 OUT CACHE_DIR
#   NAME, SUITE  the two words of `x-debian-source: "NAME SUITE"`
#   SHA256       64 hex digits of the archive wanted
#   OUT          file to write, whole or not at all
#   CACHE_DIR    keeps apt's lists between calls; calls that share it wait for each other
# Exit codes: 0 done, 2 wrong use, 3 something is missing on this host,
#   4 the archive does not hold it, 5 it holds another checksum, 6 the archive cannot be reached.
set -eu
export LC_ALL=C
umask 022
age_max_minutes=720

fail() {
    code=$1
    shift
    printf 'debian-source: %s\n' "$*" >&2
    exit "$code"
}

[ $# -eq 5 ] || fail 2 'usage: debian-source.sh NAME SUITE SHA256 OUT CACHE_DIR'
name=$1 suite=$2 wanted=$3 out=$4 cache=$5
# The words come from somebody's opam file: nothing that apt could read as an option or a path.
case $name in '' | [!a-z0-9]* | *[!a-z0-9.+-]*) fail 2 "'$name' is no Debian source package name" ;; esac
case $suite in '' | [!a-z]* | *[!a-z0-9-]*) fail 2 "'$suite' is no Debian suite name" ;; esac
case $wanted in *[!0-9a-f]*) fail 2 "'$wanted' is no sha256 in hex" ;; esac
[ "${#wanted}" -eq 64 ] || fail 2 "'$wanted' is no sha256 in hex"
for program in apt-get apt-cache flock sha256sum awk; do
    command -v "$program" > /dev/null || fail 3 "$program is not installed"
done

. "${CARAVAN_RECIPES:-$(dirname "$0")}/apt-sources.sh"

mkdir -p "$cache/$suite" "$(dirname "$out")"
state=$(cd "$cache/$suite" && pwd)
out=$(cd "$(dirname "$out")" && pwd)/$(basename "$out")
mkdir -p "$state/parts" "$state/lists/partial" "$state/archives/partial"
exec 9> "$state/lock"
flock 9
download=$(mktemp -d "$state/download.XXXXXX")
trap 'rm -rf "$download"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cat > "$state/apt.conf" <<CONF
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$state/parts";
Dir::State::Lists "$state/lists";
Dir::State::Status "/dev/null";
Dir::Cache "$state";
Dir::Cache::Archives "$state/archives";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "2";
APT::Get::Only-Source "true";
APT::Update::Post-Invoke-Success "";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::IndexTargets::deb-src::DEP-11;
CONF
export APT_CONFIG="$state/apt.conf"

update() {
    apt_sources deb-src "$suite" main > "$state/parts/debian.sources.new"
    [ -s "$state/parts/debian.sources.new" ] \
        || fail 3 'apt on this host has no entry for a Debian archive (component main)'
    mv "$state/parts/debian.sources.new" "$state/parts/debian.sources"
    apt-get --quiet=2 --error-on=any update > "$download/log" 2>&1 || {
        cat "$download/log" >&2
        rm -f "$state/updated"
        fail 6 "the source list of $suite could not be fetched from the archive that apt is configured with"
    }
    : > "$state/updated"
}

# One line per tar file of the source package: VERSION SHA256 FILE.
tars() {
    apt-cache showsrc --only-source "$name" 2> /dev/null | awk '
        /^Package: / { package = $2 }
        /^Version: / { version = $2 }
        /^[^ ]/ { listing = ($1 == "Checksums-Sha256:") }
        /^ / && listing && $3 ~ /\.orig(-[a-z0-9-]+)?\.tar\.[a-z0-9]+$/ { lines[++count] = $1 " " $3 }
        /^$/ { for (i = 1; i <= count; i++) print version, lines[i]; count = 0 }
        END { for (i = 1; i <= count; i++) print version, lines[i] }' | sort -u
}

fresh=no
if [ -z "$(find "$state/updated" -mmin "-$age_max_minutes" 2> /dev/null)" ]; then
    update
    fresh=yes
fi
found=$(tars)
case $found in
    *" $wanted "*) ;;
    # The list may be older than the archive: ask once more before giving up.
    *) [ "$fresh" = yes ] || { update; found=$(tars); } ;;
esac
[ -n "$found" ] || fail 4 "$suite has no source package $name with an upstream archive"
line=$(printf '%s\n' "$found" | grep -F " $wanted " | head -n 1) || true
if [ -z "$line" ]; then
    printf '%s\n' "$found" | sed 's/^\([^ ]*\) \([^ ]*\) \(.*\)/  \3 (version \1): sha256 \2/' >&2
    fail 5 "$name in $suite has no upstream archive with sha256 $wanted; it has those above"
fi
version=${line%% *} file=${line##* }

(cd "$download" && apt-get --quiet=2 source --download-only --tar-only "$name=$version") > "$download/log" 2>&1 || {
    cat "$download/log" >&2
    fail 4 "$file of $name $version is listed in $suite but the archive does not hand it out"
}
[ -f "$download/$file" ] || fail 4 "$file of $name $version was not among what the archive handed out"
got=$(sha256sum < "$download/$file")
got=${got%% *}
[ "$got" = "$wanted" ] || fail 5 "$file of $name $version has sha256 $got, wanted $wanted"
cp "$download/$file" "$out.partial"
mv "$out.partial" "$out"
