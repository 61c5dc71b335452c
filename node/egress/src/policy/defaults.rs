//! The usual hosts of build steps: package mirrors, git hosts, registries.
//!
//! Only names under which their owners publish, and no domain below which anybody can get a name of
//! their own. A host that takes uploads can carry a job's words away: that is what the byte budget and
//! the operator's `deny` are for.

use super::rule::Rule;

/// Ports 80 and 443 of each.
const HOSTS: &[&str] = &[
    // Debian and Ubuntu.
    "deb.debian.org",
    "security.debian.org",
    "ftp.debian.org",
    "archive.debian.org",
    "snapshot.debian.org",
    "cdn-fastly.deb.debian.org",
    "cdn-aws.deb.debian.org",
    "archive.ubuntu.com",
    "*.archive.ubuntu.com",
    "security.ubuntu.com",
    "ports.ubuntu.com",
    "old-releases.ubuntu.com",
    // Alpine, Arch, openSUSE.
    "dl-cdn.alpinelinux.org",
    "dl-2.alpinelinux.org",
    "dl-3.alpinelinux.org",
    "dl-4.alpinelinux.org",
    "dl-5.alpinelinux.org",
    "geo.mirror.pkgbuild.com",
    "archlinux.org",
    "download.opensuse.org",
    "cdn.opensuse.org",
    // Fedora and its kin.
    "mirrors.fedoraproject.org",
    "download.fedoraproject.org",
    "dl.fedoraproject.org",
    "codecs.fedoraproject.org",
    "mirrorlist.centos.org",
    "mirror.centos.org",
    "mirrors.centos.org",
    "mirror.stream.centos.org",
    "vault.centos.org",
    "yum.oracle.com",
    // OCaml.
    "opam.ocaml.org",
    "ocaml.org",
    "get.dune.build",
    "download.camlcity.org",
    "erratique.ch",
    "caml.inria.fr",
    "coq.inria.fr",
    // Git hosts, with the names that they serve archives under.
    "github.com",
    "api.github.com",
    "codeload.github.com",
    "raw.githubusercontent.com",
    "objects.githubusercontent.com",
    "release-assets.githubusercontent.com",
    "media.githubusercontent.com",
    "gitlab.com",
    "gitlab.inria.fr",
    "gitlab.ocamlpro.com",
    "gitlab.freedesktop.org",
    "gitlab.gnome.org",
    "salsa.debian.org",
    "framagit.org",
    "codeberg.org",
    "bitbucket.org",
    "git.sr.ht",
    "git.savannah.gnu.org",
    "git.kernel.org",
    // Registries of other languages, and GNU's archive.
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    "nodejs.org",
    "pypi.org",
    "files.pythonhosted.org",
    "crates.io",
    "index.crates.io",
    "static.crates.io",
    "static.rust-lang.org",
    "sh.rustup.rs",
    "proxy.golang.org",
    "sum.golang.org",
    "hackage.haskell.org",
    "rubygems.org",
    "index.rubygems.org",
    "repo.maven.apache.org",
    "repo1.maven.org",
    "ftp.gnu.org",
    "ftpmirror.gnu.org",
];

pub(super) fn rules() -> impl Iterator<Item = Rule> {
    HOSTS.iter().map(|host| {
        host.parse()
            .expect("a test reads every rule that is built in")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_that_is_built_in_is_read_and_listed_once() {
        assert_eq!(rules().count(), HOSTS.len());
        let mut sorted = HOSTS.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), HOSTS.len());
    }
}
