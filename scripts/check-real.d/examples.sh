# shellcheck shell=sh
# The example specs of OBuilder's repository, word for word, with the results that its manual promises.
# Their images are in a registry that this machine need not reach: others stand in under the same
# names, made from Debian's packages. Takes minutes, and Debian's mirror.
. scripts/check-real.d/node.lib

mkdir -p "$place/busybox/bin" "$place/busybox/tmp"
cp /bin/busybox "$place/busybox/bin/"
for tool in sh ls cat mkdir rm echo; do ln -s busybox "$place/busybox/bin/$tool"; done
start_node

hello=busybox@sha256:d366a4665ab44f0648d7a00ae3fae139d55e32f9712c67accd604bb55df9d05a
empty=patricoferris/empty@sha256:b95ca2b377dd736f609f0a10d63318c9f627a817823cf416402a29bfe9202bb9
for image in "$hello" "$empty" alpine:3.18; do
    caravan image import "$image" "$place/busybox" > /dev/null
done

built hello << 'SPEC'
((from busybox@sha256:d366a4665ab44f0648d7a00ae3fae139d55e32f9712c67accd604bb55df9d05a)
 (shell /bin/sh -c)
 (run (shell "echo hello world")))
SPEC
shows_line 'hello world'

# What an earlier step deleted is gone. (The original leaves the shell to macOS.)
built deleted << 'SPEC'
((from patricoferris/empty@sha256:b95ca2b377dd736f609f0a10d63318c9f627a817823cf416402a29bfe9202bb9)
 (shell /bin/sh -c)
 (run (shell "mkdir hello"))
 (run (shell "echo 'hello world' > ./hello/hello.txt"))
 (run (shell "cat ./hello/hello.txt"))
 (run (shell "rm -rf hello"))
 (run (shell "ls")))
SPEC
shows_line 'hello world'
! grep -qx hello "$place/log" || fail 'a deleted directory is back'

# Images of opam have a switch; the user opam is in every base of ours.
caravan base import debian-12 > /dev/null
built opam << 'SPEC'
((from debian-12)
 (user (uid 1000) (gid 1000))
 (env HOME /home/opam)
 (workdir /home/opam)
 (run (shell "mkdir repo && echo 'opam-version: \"2.0\"' > repo/repo \
    && opam init --bare --no-setup --disable-sandboxing --kind=local default ./repo \
    && opam switch create default --empty")))
SPEC
caravan build -f "$place/opam.spec" --export "$place/opam.tar" "$place/src" > "$place/log" 2>&1 ||
    { cat "$place/log" >&2; fail 'no image of opam'; }
for image in ocaml/opam:alpine-3.18-ocaml-5.0 ocaml/opam:debian; do
    caravan image import "$image" "oci-archive:$place/opam.tar" > /dev/null
done

built stages << 'SPEC'
((build dev
 ((from ocaml/opam:alpine-3.18-ocaml-5.0)
  (user (uid 1000) (gid 1000))
  (workdir /home/opam)
  (run (shell "echo 'print_endline {|Hello, world!|}' > main.ml"))
  (run (shell "opam exec -- ocamlopt -ccopt -static -o hello main.ml"))))
 (from alpine:3.18)
 (shell /bin/sh -c)
 (copy (from (build dev))
  (src /home/opam/hello)
  (dst /usr/local/bin/hello))
 (run (shell "hello")))
SPEC
shows_line 'Hello, world!'

# The second stage of example.spec: packages over the network, and a file of the first stage. The
# first stage builds OBuilder itself from sources that no mirror of Debian has.
# The image of Debian names its mirror; here it is the one of this host's apt, which the node lists.
archive_into "$place/src/debian.sources"
cat > "$place/debian.spec" << 'SPEC'
((from debian-12)
 (copy (src debian.sources) (dst /etc/apt/sources.list.d/)))
SPEC
caravan build -f "$place/debian.spec" --export "$place/debian.tar" "$place/src" > "$place/log" 2>&1 ||
    { cat "$place/log" >&2; fail 'no image of Debian'; }
caravan image import debian:12 "oci-archive:$place/debian.tar" > /dev/null
built second << 'SPEC'
((build dev
	((from ocaml/opam:debian)
	 (workdir /src)
	 (user (uid 1000) (gid 1000))
	 (env HOME /home/opam)
	 (run (shell "mkdir -p /tmp/x && cd /tmp/x && echo 'print_endline Sys.argv.(1)' > main.ml \
	    && opam exec -- ocamlopt -o main.exe main.ml"))))
 (from debian:12)
 (run
  (network host)
  (shell "apt-get update && apt-get install -y libsqlite3-0 --no-install-recommends"))
 (copy (from (build dev))
       (src /tmp/x/main.exe)
       (dst /usr/local/bin/obuilder))
 (run (shell "obuilder --help")))
SPEC
shows_line '--help'
echo 'check-real: examples: all give what the manual says'
