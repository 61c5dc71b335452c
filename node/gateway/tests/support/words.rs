//! What the sample says: logs with the colours of real tools, and recipes.

/// The log of a test that fails, with the colours that dune and alcotest give it.
pub(crate) const FAILED_LOG: &str = "\x1b[1;34m$ opam exec -- dune build @install @check @runtest\x1b[0m\n\
    \x1b[2mEntering directory '/src'\x1b[0m\n\
    Building 12%\rBuilding 57%\rBuilding 100%\n\
    \x1b[1mFile \"test/dune\", line 2, characters 7-11\x1b[0m:\n\
    2 |  (name paths)\n\
    \x20          \x1b[1;31m^^^^^\x1b[0m\n\
    Testing `\x1b[1mpaths\x1b[0m'.\n\
    This run has ID `K3WQ9ZP1'.\n\
    \n\
    \x20 \x1b[32m[OK]\x1b[0m          split             0   root.\n\
    \x20 \x1b[32m[OK]\x1b[0m          split             1   relative.\n\
    \x20 \x1b[32m[OK]\x1b[0m          join              0   empty.\n\
    > \x1b[31m[FAIL]\x1b[0m        normalise         0   composed.\n\
    \x20 \x1b[31m[FAIL]\x1b[0m        normalise         1   decomposed.\n\
    \n\
    \x1b[31m[FAIL]\x1b[0m normalise         0   composed.\n\
    ASSERT \x1b[4mcomposed and decomposed names are equal\x1b[0m\n\
    \x1b[31mFAIL composed and decomposed names are equal\x1b[0m\n\n\
    \x20  Expected: `\x1b[32m\"caf\u{e9}/menu\"\x1b[0m'\n\
    \x20  Received: `\x1b[31m\"cafe\u{301}/menu\"\x1b[0m'\n\n\
    Raised at Alcotest_engine__Test.check in file \"src/alcotest-engine/test.ml\", lines 216-226, characters 4-19\n\
    Called from Dune__exe__Paths.composed in file \"test/paths.ml\", line 31, characters 2-60\n\n\
    Logs saved to `/src/_build/default/test/_build/_tests/paths/normalise.000.output'.\n\
    \x1b[38;5;208m3 of 48 tests failed\x1b[0m in 0.412s.\n\
    \x1b[1;31mError\x1b[0m: dune build @runtest exited with code 1\n";

/// The log of a package's installation.
pub(crate) fn package_log(label: &str) -> String {
    format!(
        "\x1b[1;34m$ opam install -y {label}\x1b[0m\n\
         The following actions will be performed:\n\
         \x1b[36m===\x1b[0m install 1 package\n\
         \x20 \x1b[32m\u{2217}\x1b[0m {label}\n\n\
         <><> Processing actions <><><><><><><><><><><><><><><><><><><><><><><><><><><>\n\
         \u{2b07} retrieved {label}  (cached)\n\
         [{label}: dune build 1/3]\r[{label}: dune build 2/3]\r\x1b[K\u{2217} installed {label}\nDone.\n"
    )
}

/// How to build a variant by hand.
pub(crate) fn recipe(variant: &str) -> String {
    format!(
        "git clone --branch main https://github.com/mirage/hello && cd hello\n\
         git checkout 2f9d0c1b7e\n\
         cat > ../Dockerfile <<'END-OF-DOCKERFILE'\n\
         # {variant}\n\
         FROM debian:12\n\
         WORKDIR /src\n\
         RUN opam repository set-url default https://opam.ocaml.org\n\
         COPY --chown=1000:1000 . /src\n\
         RUN opam install --deps-only --with-test -y .\n\
         RUN opam exec -- dune build @install @check @runtest && rm -rf _build\n\
         END-OF-DOCKERFILE\n\
         docker build -f ../Dockerfile .\n"
    )
}
