//! Declared files: bytes named by checksum, taken from the first source that has them. What a
//! source says is never believed: only bytes that match every checksum are handed over.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use caravan_protocol::{
    action::{Checksum, ChecksumKind, Source},
    limits,
};
use md5::{Digest, Md5};
use sha2::{Sha256, Sha512};

use crate::{
    base::Recipes,
    program::{Program, ProgramError},
};

const FETCH_BOUND: Duration = Duration::from_secs(600);

/// Why a declared file is not there.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody said where it could be.
    #[error("fetch {checksum}: no source is named for it")]
    NoSource {
        /// The file.
        checksum: Checksum,
    },
    /// Every source failed.
    #[error("fetch {checksum}:{}", list(tried))]
    Unavailable {
        /// The file.
        checksum: Checksum,
        /// Each source with what went wrong.
        tried: Vec<String>,
    },
    /// The disk failed.
    #[error("keep a fetched file")]
    Io(#[from] io::Error),
}

fn list(tried: &[String]) -> String {
    tried.iter().map(|line| format!("\n  {line}")).collect()
}

/// Where fetched files are kept on their way, and lists of package sources between calls.
#[derive(Debug, Clone)]
pub struct Fetcher {
    recipes: Recipes,
    scratch: PathBuf,
    mirrors: Vec<String>,
}

impl Fetcher {
    /// A fetcher that works below `scratch` and asks `mirrors` (addresses of opam archive mirrors,
    /// laid out by checksum) after the sources that a package names.
    #[must_use]
    pub const fn new(recipes: Recipes, scratch: PathBuf, mirrors: Vec<String>) -> Self {
        Self {
            recipes,
            scratch,
            mirrors,
        }
    }

    /// Brings the file to `to`, checked.
    pub async fn fetch(
        &self,
        checksums: &[Checksum],
        sources: &[Source],
        to: &Path,
    ) -> Result<(), FetchError> {
        let Some(first) = checksums.first() else {
            return Err(io::Error::other("no checksum").into());
        };
        let mirrored = self.mirrors.iter().map(|mirror| {
            Source::Url(format!(
                "{}/{}",
                mirror.trim_end_matches('/'),
                first.cache_path()
            ))
        });
        let sources: Vec<Source> = sources.iter().cloned().chain(mirrored).collect();
        if sources.is_empty() {
            return Err(FetchError::NoSource {
                checksum: first.clone(),
            });
        }
        let mut tried = Vec::new();
        for source in &sources {
            match self.from(source, checksums, to).await {
                Err(error) => tried.push(format!("{}: {}", name(source), reason(&error))),
                Ok(()) => match verify(to, checksums)? {
                    None => return Ok(()),
                    Some(wrong) => tried.push(format!("{}: {wrong}", name(source))),
                },
            }
            let _ = std::fs::remove_file(to);
        }
        Err(FetchError::Unavailable {
            checksum: first.clone(),
            tried,
        })
    }

    async fn from(
        &self,
        source: &Source,
        checksums: &[Checksum],
        to: &Path,
    ) -> Result<(), ProgramError> {
        match source {
            Source::Url(url) => {
                let size = limits::FETCH_BYTES_MAX.to_string();
                let call = Program::new("curl", "curl", FETCH_BOUND)
                    .args([
                        "--fail",
                        "--silent",
                        "--show-error",
                        "--location",
                        "--max-redirs",
                        "8",
                    ])
                    .args(["--proto", "=http,https,ftp", "--proto-redir", "=http,https"])
                    .args([
                        "--connect-timeout",
                        "15",
                        "--retry",
                        "2",
                        "--max-filesize",
                        &size,
                    ])
                    .args(["--speed-limit", "1024", "--speed-time", "60", "--output"])
                    .arg(to)
                    .args(["--", url]);
                call.run().await?;
            }
            Source::Debian { package, suite } => {
                let sha256 = checksums
                    .iter()
                    .find(|sum| sum.kind() == ChecksumKind::Sha256);
                let sha256 = sha256.map_or("", Checksum::hex);
                let call = self.recipes.call("debian-source.sh", FETCH_BOUND);
                let call = call
                    .args([package, suite, sha256])
                    .arg(to)
                    .arg(self.scratch.join("debian"));
                call.run().await?;
            }
        }
        Ok(())
    }
}

fn name(source: &Source) -> String {
    match source {
        Source::Url(url) => url.clone(),
        Source::Debian { package, suite } => format!("Debian source package {package} of {suite}"),
    }
}

fn reason(error: &ProgramError) -> String {
    match error {
        ProgramError::Failed { words, .. } => words.replace('\n', "; "),
        other => other.to_string(),
    }
}

/// What is wrong with the file, if anything.
fn verify(path: &Path, checksums: &[Checksum]) -> io::Result<Option<String>> {
    for checksum in checksums {
        let found = match checksum.kind() {
            ChecksumKind::Md5 => hash::<Md5>(path)?,
            ChecksumKind::Sha256 => hash::<Sha256>(path)?,
            ChecksumKind::Sha512 => hash::<Sha512>(path)?,
        };
        if found != checksum.hex() {
            return Ok(Some(format!(
                "wrong checksum: want {checksum}, got {found}"
            )));
        }
    }
    Ok(None)
}

fn hash<D: Digest>(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?.take(limits::FETCH_BYTES_MAX + 1);
    let mut digest = D::new();
    let mut piece = vec![0; 128 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            count => digest.update(&piece[..count]),
        }
    }
    Ok(digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn sum_of(text: &str) -> Checksum {
        let hex: String = Sha256::digest(text)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("sha256={hex}").parse().expect("good")
    }

    /// Serves `body` to `count` requests and ends.
    fn serve(body: &'static str, count: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        std::thread::spawn(move || {
            for _ in 0..count {
                let Ok((mut stream, _)) = listener.accept() else {
                    return;
                };
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = io::Write::write_all(&mut stream, format!("{head}{body}").as_bytes());
            }
        });
        format!("http://{address}/a.tar.gz")
    }

    #[tokio::test]
    async fn the_first_source_with_the_right_bytes_wins() {
        let dir = tempfile::tempdir().expect("writable");
        let recipes = Recipes::install(&dir.path().join("recipes")).expect("writable");
        let fetcher = Fetcher::new(recipes, dir.path().to_owned(), Vec::new());
        let sources = [
            Source::Url(serve("wrong", 1)),
            Source::Url(serve("right", 1)),
        ];
        let to = dir.path().join("out");
        fetcher
            .fetch(&[sum_of("right")], &sources, &to)
            .await
            .expect("the second has it");
        assert_eq!(std::fs::read(&to).expect("there"), b"right");
    }

    #[tokio::test]
    async fn wrong_bytes_are_named_and_not_kept() {
        let dir = tempfile::tempdir().expect("writable");
        let recipes = Recipes::install(&dir.path().join("recipes")).expect("writable");
        let fetcher = Fetcher::new(recipes, dir.path().to_owned(), Vec::new());
        let to = dir.path().join("out");
        let sources = [
            Source::Url(serve("wrong", 1)),
            Source::Url("file:///etc/passwd".to_owned()),
        ];
        let refused = fetcher
            .fetch(&[sum_of("right")], &sources, &to)
            .await
            .expect_err("refused");
        let text = refused.to_string();
        assert!(
            text.contains("wrong checksum") && text.contains("file"),
            "{text}"
        );
        assert!(!to.exists(), "refused bytes were kept");
    }
}
