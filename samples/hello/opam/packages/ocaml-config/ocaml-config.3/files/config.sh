# config.sh NAME VERSION: writes NAME.config, the opam variables of the compiler in the path.
set -eu
setting() { ocamlc -config | sed -n "s/^$1: //p"; }
[ "$(setting version)" = "$2" ] || {
    echo "the compiler in the path is $(setting version), not $2" >&2
    exit 1
}
standard_library=$(setting standard_library)
stubsdir=$(sed "s|^\./|$standard_library/|; s|^\.$|$standard_library|" "$standard_library/ld.conf" | paste -s -d :)
native=false
if [ "$(setting native_compiler)" = true ] && command -v ocamlopt > /dev/null; then native=true; fi
native_tools=false
if command -v ocamlc.opt > /dev/null; then native_tools=true; fi
cat > "$1.config" <<CONFIG
opam-version: "2.0"
variables {
  native: $native
  native-tools: $native_tools
  native-dynlink: $(setting supports_shared_libraries)
  stubsdir: "$stubsdir"
  preinstalled: true
  compiler: "system"
}
CONFIG
