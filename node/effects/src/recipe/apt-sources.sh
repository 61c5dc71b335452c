# Caravan host recipe, read by base.sh and debian-source.sh with `.`: prints this host's own
# Debian package sources for another suite. Names no archive host: only what apt is configured with.

# apt_sources TYPE SUITE ROLES
#   TYPE   deb or deb-src
#   SUITE  the suite wanted, e.g. bookworm
#   ROLES  which of the host's entries to take: "main" or "main updates security"
# Prints deb822 stanzas. Only entries that look like Debian's own are taken: a Debian suite name,
# the component main, "debian" somewhere in the address. Both file formats are understood.
apt_sources() {
    apt_sources_dir=${CARAVAN_APT_DIR:-/etc/apt}
    for apt_sources_file in "$apt_sources_dir/sources.list" "$apt_sources_dir"/sources.list.d/*.list \
        "$apt_sources_dir"/sources.list.d/*.sources; do
        [ -f "$apt_sources_file" ] || continue
        case $apt_sources_file in
            *.sources) apt_sources_deb822 < "$apt_sources_file" ;;
            *) apt_sources_lines < "$apt_sources_file" ;;
        esac
    done | awk -F '\t' -v type="$1" -v suite="$2" -v roles=" $3 " -v own="$(apt_sources_codename)" '
        function role(name,    base, suffix) {
            base = name; suffix = ""
            if (match(name, /(-updates|-security|\/updates)$/)) {
                base = substr(name, 1, RSTART - 1); suffix = substr(name, RSTART)
            }
            if (base !~ ("^(stable|oldstable|oldoldstable|testing|unstable|sid|bullseye|bookworm|trixie|forky|duke|" own ")$"))
                return ""
            if (suffix == "") return "main"
            return suffix == "-updates" ? "updates" : "security"
        }
        # fields: uris, suites, components, options (already as deb822 lines, separated by \001)
        $1 ~ /debian/ && (" " $3 " ") ~ / main / {
            count = split($2, names, " ")
            for (i = 1; i <= count; i++) {
                kind = role(names[i])
                if (kind == "" || index(roles, " " kind " ") == 0) continue
                wanted = suite (kind == "main" ? "" : "-" kind)
                entry = $1 "\t" wanted
                if (entry in seen) continue
                seen[entry] = 1
                printf "Types: %s\nURIs: %s\nSuites: %s\nComponents: main\n", type, $1, wanted
                options = $4; gsub(/\001/, "\n", options)
                printf "%s\n", options
            }
        }'
}

apt_sources_codename() {
    apt_sources_own=$(. /etc/os-release 2>/dev/null && printf %s "${VERSION_CODENAME:-}")
    printf %s "${apt_sources_own:-stable}"
}

# deb822 on standard input -> one line a stanza: uris TAB suites TAB components TAB options.
apt_sources_deb822() {
    awk '
        function flush() {
            if (field["types"] ~ /(^| )deb( |$)/ && tolower(field["enabled"]) !~ /^(no|false|0)$/)
                printf "%s\t%s\t%s\t%s\n", field["uris"], field["suites"], field["components"], options
            split("", field); options = ""; name = ""
        }
        /^#/ { next }
        /^[ \t]*$/ { flush(); next }
        /^[ \t]/ {
            if (name == "signed-by") options = options $0 "\001"
            else { sub(/^[ \t]+/, ""); field[name] = field[name] " " $0 }
            next
        }
        {
            colon = index($0, ":"); name = tolower(substr($0, 1, colon - 1))
            value = substr($0, colon + 1); gsub(/^[ \t]+|[ \t]+$/, "", value); gsub(/[ \t]+/, " ", value)
            field[name] = value
            if (name ~ /^(signed-by|trusted|check-valid-until)$/) options = options $0 "\001"
        }
        END { flush() }'
}

# One-line entries on standard input -> the same lines.
apt_sources_lines() {
    awk '
        { sub(/#.*/, "") }
        $1 != "deb" { next }
        {
            options = ""; rest = $0; sub(/^[ \t]*deb[ \t]+/, "", rest)
            if (rest ~ /^\[/) {
                inside = rest; sub(/\].*/, "", inside); sub(/^\[[ \t]*/, "", inside)
                sub(/^\[[^]]*\][ \t]*/, "", rest)
                count = split(inside, given, /[ \t]+/)
                for (i = 1; i <= count; i++) {
                    value = given[i]; sub(/^[^=]*=/, "", value); gsub(/,/, " ", value)
                    if (given[i] ~ /^signed-by=/) options = options "Signed-By: " value "\001"
                    if (given[i] ~ /^trusted=/) options = options "Trusted: " value "\001"
                    if (given[i] ~ /^check-valid-until=/) options = options "Check-Valid-Until: " value "\001"
                }
            }
            count = split(rest, word, /[ \t]+/); components = ""
            for (i = 3; i <= count; i++) components = components (components == "" ? "" : " ") word[i]
            printf "%s\t%s\t%s\t%s\n", word[1], word[2], components, options
        }'
}
