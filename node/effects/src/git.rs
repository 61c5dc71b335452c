//! Commits of git repositories. A local repository is read in place; a remote one is fetched by the
//! `git` program into a bare mirror of the node's own first. Objects are read by libgit2 without a
//! checkout, so no hook, filter or submodule helper ever runs.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use caravan_protocol::{
    ids::BlobId,
    limits,
    tree::{Entry, Tree, TreeError},
};
use git2::{ErrorCode, ObjectType, Oid, Repository};

use crate::program::{Program, ProgramError};

static FETCHING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
/// Largest file of a commit, bytes: it is read as a whole.
const FILE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Largest commit, bytes.
const COMMIT_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
const FETCH_BOUND: Duration = Duration::from_secs(600);
/// Deepest directory nesting of a commit.
const DEPTH_MAX: usize = 128;

/// Why there is no commit to build.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The path holds no repository.
    #[error(
        "read {path}: it is not a git repository; make one with `git init` and commit, or give a URL"
    )]
    NotARepository {
        /// The path.
        path: String,
    },
    /// The repository has no commit.
    #[error("read {path}: the repository has no commit yet; commit first")]
    NoCommit {
        /// The path.
        path: String,
    },
    /// Another user owns it.
    #[error(
        "read {path}: another user owns the repository; run as that user, or trust it with `git config --global --add safe.directory {path}`"
    )]
    OtherOwner {
        /// The path.
        path: String,
    },
    /// The ref does not exist.
    #[error("find {name:?} in {path}: no branch, tag or commit of that name")]
    NoSuchRef {
        /// The ref.
        name: String,
        /// The repository.
        path: String,
    },
    /// A URL of a kind that is not fetched.
    #[error("fetch {url}: only http, https, git and ssh URLs are fetched, and local paths read")]
    Scheme {
        /// The URL.
        url: String,
    },
    /// The commit is larger or deeper than allowed.
    #[error("read a commit: {0}")]
    TooLarge(&'static str),
    /// The fetch failed.
    #[error("fetch {url}")]
    Fetch {
        /// The URL.
        url: String,
        /// What git said.
        #[source]
        source: ProgramError,
    },
    /// libgit2 could not read an object.
    #[error("read git objects")]
    Git(#[from] git2::Error),
    /// The files make no tree.
    #[error("read the files of a commit")]
    Tree(#[from] TreeError),
    /// A file could not be kept.
    #[error("keep the files of a commit")]
    Io(#[from] io::Error),
}

/// A commit that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Where its objects are.
    pub repository: PathBuf,
    /// Branch, tag or ref that named it; `HEAD` where nothing did.
    pub branch: String,
    /// Its id.
    pub id: String,
    /// First line of its message.
    pub title: String,
    /// Whether the work tree has changes that are not part of it.
    pub dirty: bool,
}

/// Whether `subject` is a URL rather than a path.
#[must_use]
pub fn is_url(subject: &str) -> bool {
    subject.contains("://")
        || (subject.contains(':')
            && subject
                .split(':')
                .next()
                .is_some_and(|host| host.contains('@')))
}

/// The commit that `subject` (a path or URL) has at `name`, by default at its `HEAD`. Mirrors of
/// URLs are kept below `mirrors`.
pub async fn resolve(
    subject: &str,
    name: Option<&str>,
    mirrors: &Path,
) -> Result<Commit, GitError> {
    if is_url(subject) {
        let mirror = fetch(subject, name.unwrap_or("HEAD"), mirrors).await?;
        let mut commit = find(&mirror, Some(&own_ref(name.unwrap_or("HEAD"))))?;
        commit.branch = name.unwrap_or("HEAD").to_owned();
        return Ok(commit);
    }
    let (path, name) = (PathBuf::from(subject), name.map(str::to_owned));
    tokio::task::spawn_blocking(move || find(&path, name.as_deref()))
        .await
        .map_err(|_| io::Error::other("reading the repository was given up"))?
}

async fn fetch(url: &str, name: &str, mirrors: &Path) -> Result<PathBuf, GitError> {
    let known = ["https://", "http://", "git://", "ssh://"]
        .iter()
        .any(|kind| url.starts_with(kind));
    if (!known && url.contains("://")) || url.starts_with('-') {
        return Err(GitError::Scheme {
            url: url.to_owned(),
        });
    }
    if name.starts_with('-') || name.contains([':', '\0', ' ', '\n']) {
        return Err(GitError::NoSuchRef {
            name: name.to_owned(),
            path: url.to_owned(),
        });
    }
    let mirror = mirrors.join(BlobId::of(url.as_bytes()).to_string());
    let failed = |source| GitError::Fetch {
        url: url.to_owned(),
        source,
    };
    let git = || git(&mirror);
    // One at a time: a mirror is this node's own, so a lock in it was left by a killed fetch.
    let _one = FETCHING.lock().await;
    let _ = std::fs::remove_file(mirror.join("shallow.lock"));
    if !mirror.join("objects").exists() || !mirror.join("HEAD").exists() {
        let _ = std::fs::remove_dir_all(&mirror);
        std::fs::create_dir_all(&mirror)?;
        git()
            .args(["init", "--quiet", "--bare"])
            .arg(&mirror)
            .run()
            .await
            .map_err(failed)?;
    }
    let call = git()
        .arg("-C")
        .arg(&mirror)
        .args([
            "-c",
            "protocol.ext.allow=never",
            "-c",
            "transfer.fsckObjects=true",
        ])
        .args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "fetch.recurseSubmodules=false",
        ])
        .args([
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--depth=1",
            "--",
            url,
        ])
        .arg(format!("+{name}:{}", own_ref(name)));
    call.run().await.map_err(|source| match &source {
        ProgramError::Failed { words, .. } if words.contains("couldn't find remote ref") => {
            GitError::NoSuchRef {
                name: name.to_owned(),
                path: url.to_owned(),
            }
        }
        _ => failed(source),
    })?;
    Ok(mirror)
}

/// The ref of the mirror that holds what `name` was at the remote.
fn own_ref(name: &str) -> String {
    format!("refs/caravan/{}", BlobId::of(name.as_bytes()))
}

/// git without the host's configuration, prompts or keys' passphrases.
fn git(home: &Path) -> Program {
    Program::new("git", "git", FETCH_BOUND)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
        .env(
            "HOME",
            std::env::var_os("HOME").unwrap_or_else(|| home.into()),
        )
        .env(
            "SSH_AUTH_SOCK",
            std::env::var_os("SSH_AUTH_SOCK").unwrap_or_default(),
        )
}

fn open(path: &Path) -> Result<Repository, GitError> {
    let text = || path.display().to_string();
    Repository::discover(path).map_err(|error| match error.code() {
        ErrorCode::NotFound => GitError::NotARepository { path: text() },
        ErrorCode::Owner => GitError::OtherOwner { path: text() },
        _ => GitError::Git(error),
    })
}

fn find(path: &Path, name: Option<&str>) -> Result<Commit, GitError> {
    let repository = open(path)?;
    let text = || path.display().to_string();
    let (branch, id) = match name {
        None => match repository.head() {
            Ok(head) => {
                let branch = head.shorthand().unwrap_or("HEAD").to_owned();
                let id = head
                    .peel_to_commit()
                    .map_err(|_| GitError::NoCommit { path: text() })?
                    .id();
                (branch, id)
            }
            Err(_) => return Err(GitError::NoCommit { path: text() }),
        },
        Some(name) => {
            let missing = || GitError::NoSuchRef {
                name: name.to_owned(),
                path: text(),
            };
            let object = repository.revparse_single(name).map_err(|_| missing())?;
            let commit = object.peel(ObjectType::Commit).map_err(|_| missing())?;
            (name.to_owned(), commit.id())
        }
    };
    let commit = repository.find_commit(id)?;
    let title = String::from_utf8_lossy(commit.summary_bytes().unwrap_or_default()).into_owned();
    let dirty = name.is_none() && !repository.is_bare() && is_dirty(&repository);
    let title = title.chars().take(200).collect();
    Ok(Commit {
        repository: repository.path().to_owned(),
        branch,
        id: id.to_string(),
        title,
        dirty,
    })
}

fn is_dirty(repository: &Repository) -> bool {
    let mut options = git2::StatusOptions::new();
    options.include_untracked(false).exclude_submodules(true);
    repository
        .statuses(Some(&mut options))
        .is_ok_and(|statuses| !statuses.is_empty())
}

/// All files of a commit as a tree. `keep` takes each file's bytes and names them; it is called
/// once per file. Submodules are empty directories.
pub fn export(
    repository: &Path,
    commit: &str,
    keep: &mut dyn FnMut(&[u8]) -> io::Result<BlobId>,
) -> Result<Tree, GitError> {
    let repository = open(repository)?;
    let root = repository.find_commit(Oid::from_str(commit)?)?.tree()?;
    let mut walk = Export {
        repository: &repository,
        keep,
        entries: Vec::new(),
        bytes: 0,
    };
    walk.dir(&root, &mut Vec::new(), 0)?;
    Ok(Tree::new(walk.entries)?)
}

struct Export<'a> {
    repository: &'a Repository,
    keep: &'a mut dyn FnMut(&[u8]) -> io::Result<BlobId>,
    entries: Vec<Entry>,
    bytes: u64,
}

impl Export<'_> {
    fn dir(
        &mut self,
        tree: &git2::Tree<'_>,
        path: &mut Vec<u8>,
        depth: usize,
    ) -> Result<(), GitError> {
        if depth > DEPTH_MAX {
            return Err(GitError::TooLarge("its directories are nested too deeply"));
        }
        for item in tree {
            let length = path.len();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(item.name_bytes());
            if self.entries.len() >= limits::TREE_ENTRIES_MAX {
                return Err(GitError::TooLarge("it has too many files"));
            }
            match item.filemode() {
                0o040_000 => {
                    self.entries.push(Entry::dir(path, 0o755));
                    let below = self.repository.find_tree(item.id())?;
                    self.dir(&below, path, depth + 1)?;
                }
                0o160_000 => self.entries.push(Entry::dir(path, 0o755)),
                mode => self.file(item.id(), mode, path)?,
            }
            path.truncate(length);
        }
        Ok(())
    }

    fn file(&mut self, id: Oid, mode: i32, path: &[u8]) -> Result<(), GitError> {
        // Its size is asked first: a small pack can hold a huge file.
        let (size, _) = self.repository.odb()?.read_header(id)?;
        self.bytes = self.bytes.saturating_add(size as u64);
        if size > FILE_BYTES_MAX || self.bytes > COMMIT_BYTES_MAX {
            return Err(GitError::TooLarge(
                "it has a file of more than 256 MiB, or more than 2 GiB in all",
            ));
        }
        let blob = self.repository.find_blob(id)?;
        let bytes = blob.content();
        if mode == 0o120_000 {
            self.entries.push(Entry::symlink(path, bytes));
            return Ok(());
        }
        let kept = (self.keep)(bytes)?;
        let mode = if mode & 0o111 != 0 { 0o755 } else { 0o644 };
        self.entries
            .push(Entry::file(path, mode, kept, bytes.len() as u64));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
