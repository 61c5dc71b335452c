//! Finds and unpacks the snapshots, once per test process.

use std::{
    fs::File,
    io::Read,
    path::Path,
    sync::{Arc, OnceLock},
};

use caravan_opam::{Env, Name, Repository, Request, Version, Versions};
use caravan_protocol::files::MemFiles;

static WHOLE: OnceLock<Option<Arc<MemFiles>>> = OnceLock::new();
static REPOSITORY: OnceLock<Option<Repository>> = OnceLock::new();
static AVAILABLE: OnceLock<Option<Arc<MemFiles>>> = OnceLock::new();

/// All of opam-repository at one commit.
pub(crate) fn whole() -> Option<Arc<MemFiles>> {
    WHOLE
        .get_or_init(|| unpack("opam-repository.tar.zst"))
        .clone()
}

/// The same as a repository; shared, so that later solves are warm.
pub(crate) fn repository() -> Option<&'static Repository> {
    REPOSITORY
        .get_or_init(|| whole().map(|files| Repository::new(vec![files])))
        .as_ref()
}

/// The part whose sources can be had from Debian.
pub(crate) fn available() -> Option<Arc<MemFiles>> {
    AVAILABLE
        .get_or_init(|| unpack("opam-repository-available.tar.zst"))
        .clone()
}

fn unpack(name: &str) -> Option<Arc<MemFiles>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data")
        .join(name);
    let Ok(file) = File::open(&path) else {
        eprintln!("SKIPPED: tests over {name}: there is no {}", path.display());
        return None;
    };
    let mut files = MemFiles::new();
    let mut archive = tar::Archive::new(zstd::Decoder::new(file).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.insert(path, bytes);
    }
    Some(Arc::new(files))
}

/// A Debian 12 with the opam that Debian has.
pub(crate) fn debian() -> Env {
    let mut env = Env::debian("x86_64", "12", "2.1.2");
    env.set("sys-ocaml-version", "4.13.1");
    env
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn version(text: &str) -> Version {
    text.parse().unwrap()
}

/// Roots with the compiler bounded to one version, which nobody is made to install.
pub(crate) fn request(roots: &[&str], ocaml: &str) -> Request {
    let mut request = Request::new(debian(), roots.iter().map(|root| name(root)));
    request.constrain(name("ocaml"), Versions::exactly(version(ocaml)));
    request
}
