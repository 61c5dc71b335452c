use std::fs;

use caravan_protocol::tree::Kind;

use super::*;

fn commit_all(repository: &Repository, message: &str) -> Oid {
    let mut index = repository.index().expect("an index");
    index
        .add_all(["*"], git2::IndexAddOption::DEFAULT, None)
        .expect("files are there");
    index.write().expect("writable");
    let tree = repository
        .find_tree(index.write_tree().expect("writable"))
        .expect("just written");
    let who = git2::Signature::new("A", "a@example.org", &git2::Time::new(0, 0)).expect("good");
    let parent = repository
        .head()
        .ok()
        .and_then(|head| head.peel_to_commit().ok());
    let parents: Vec<_> = parent.iter().collect();
    repository
        .commit(Some("HEAD"), &who, &who, message, &tree, &parents)
        .expect("writable")
}

fn refused(path: &Path, name: Option<&str>) -> String {
    find(path, name).expect_err("refused").to_string()
}

#[test]
fn a_commit_is_found_and_exported_without_its_work_tree() {
    let dir = tempfile::tempdir().expect("writable");
    let repository = Repository::init(dir.path()).expect("writable");
    fs::create_dir(dir.path().join("d")).expect("writable");
    fs::write(dir.path().join("d/x"), "one").expect("writable");
    std::os::unix::fs::symlink("d/x", dir.path().join("l")).expect("writable");
    let first = commit_all(&repository, "first\n\nbody");
    fs::write(dir.path().join("d/x"), "changed but not committed").expect("writable");

    let found = find(dir.path(), None).expect("there");
    assert_eq!(
        (found.id.as_str(), found.title.as_str()),
        (first.to_string().as_str(), "first")
    );
    assert!(found.dirty, "uncommitted changes went unnoticed");

    let mut kept = Vec::new();
    let tree = export(&found.repository, &found.id, &mut |bytes| {
        kept.push(bytes.to_vec());
        Ok(BlobId::of(bytes))
    })
    .expect("readable");
    assert_eq!(kept, [b"one".to_vec()]);
    let paths: Vec<_> = tree
        .entries()
        .iter()
        .map(|entry| entry.path.as_slice())
        .collect();
    assert_eq!(paths, [&b""[..], b"d", b"d/x", b"l"]);
    assert!(
        matches!(&tree.get(b"l").expect("there").kind, Kind::Symlink { target } if target == b"d/x")
    );
}

#[test]
fn what_is_no_repository_or_has_no_commit_says_so() {
    let dir = tempfile::tempdir().expect("writable");
    assert!(refused(dir.path(), None).contains("not a git repository"));
    let repository = Repository::init(dir.path()).expect("writable");
    assert!(refused(dir.path(), None).contains("no commit yet"));
    fs::write(dir.path().join("x"), "").expect("writable");
    commit_all(&repository, "one");
    assert!(refused(dir.path(), Some("nowhere")).contains("\"nowhere\""));
}

#[tokio::test]
async fn urls_that_could_run_something_are_refused() {
    let dir = tempfile::tempdir().expect("writable");
    for url in ["ext://sh -c id", "file:///etc", "foo://x/y"] {
        let refused = resolve(url, None, dir.path()).await.expect_err("refused");
        assert!(
            matches!(refused, GitError::Scheme { .. }),
            "{url}: {refused}"
        );
    }
    let option = resolve("https://example.org/x", Some("--upload-pack=x"), dir.path()).await;
    assert!(matches!(option, Err(GitError::NoSuchRef { .. })));
}
