//! Root file systems from directories and archives, and what other programs pack.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use caravan_image::{Options, Source, Unobserved, import};

use crate::kit::{Blobs, Tar, amd64, chain, gzip, listing, program, take};

fn run(program: &str, args: &[&str], dir: &Path) {
    let done = Command::new(program).args(args).current_dir(dir).output();
    let done = done.expect("it starts");
    assert!(
        done.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// A root with links, holes, odd modes and a pipe.
fn root(dir: &Path) {
    fs::create_dir_all(dir.join("usr/lib")).expect("writable");
    fs::create_dir_all(dir.join("etc")).expect("writable");
    fs::write(
        dir.join("usr/lib/os-release"),
        "ID=alpine\nVERSION_ID=3.20.1\n",
    )
    .expect("writable");
    symlink("../usr/lib/os-release", dir.join("etc/os-release")).expect("writable");
    fs::write(dir.join("usr/a"), "hello").expect("writable");
    fs::hard_link(dir.join("usr/a"), dir.join("usr/b")).expect("writable");
    fs::set_permissions(dir.join("usr/a"), fs::Permissions::from_mode(0o4755)).expect("ours");
    let sparse = fs::File::create(dir.join("usr/sparse")).expect("writable");
    sparse.set_len(300_000).expect("writable");
    std::os::unix::fs::FileExt::write_at(&sparse, b"in the middle", 150_000).expect("writable");
    std::os::unix::fs::FileExt::write_at(&sparse, b"end", 299_997).expect("writable");
    let long = dir.join("d".repeat(150)).join("e".repeat(150));
    fs::create_dir_all(&long).expect("writable");
    fs::write(long.join("f"), "deep").expect("writable");
}

#[test]
fn a_directory_and_every_form_of_its_archive_are_the_same_tree() {
    let dir = tempfile::tempdir().expect("writable");
    let at = dir.path().join("root");
    root(&at);
    let (imported, blobs) = take(&at.display().to_string()).expect("good");
    assert_eq!(imported.facts["os-distribution"], "alpine");
    assert_eq!(imported.facts["os-version"], "3.20.1");
    assert_eq!(imported.facts["image.source"], "root");
    let files = listing(&imported, &blobs);
    assert!(files.contains(&"usr/a=hello".to_owned()), "{files:?}");
    let want = imported.tree.seal().expect("small").0;
    for (name, args) in [
        ("gnu.tar", &["--format=gnu", "--sparse"][..]),
        ("posix.tar", &["--format=posix"]),
        (
            "sparse0.tar",
            &["--format=posix", "--sparse", "--sparse-version=0.0"],
        ),
        (
            "sparse1.tar",
            &["--format=posix", "--sparse", "--sparse-version=0.1"],
        ),
        (
            "sparse2.tar",
            &["--format=posix", "--sparse", "--sparse-version=1.0"],
        ),
        ("x.tar.gz", &["--gzip"]),
        ("x.tar.zst", &["--zstd"]),
        ("x.tar.xz", &["--xz"]),
    ] {
        let file = dir.path().join(name);
        let file = file.to_str().expect("text");
        let mut all = args.to_vec();
        all.extend(["--create", "--file", file, "-C", "root", "."]);
        run("tar", &all, dir.path());
        let (imported, _) = take(file).unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
        assert_eq!(imported.tree.seal().expect("small").0, want, "{name}");
        assert_eq!(imported.facts["os-distribution"], "alpine");
        assert!(imported.facts["archive"].starts_with("sha256:"));
    }
}

#[test]
fn what_is_no_file_is_left_out_of_a_directory_with_a_note() {
    let dir = tempfile::tempdir().expect("writable");
    let at = dir.path();
    fs::write(at.join("f"), "x").expect("writable");
    run("mkfifo", &["pipe"], at);
    run("mknod", &["null", "c", "1", "3"], at);
    let _socket = std::os::unix::net::UnixListener::bind(at.join("socket")).expect("writable");
    symlink("/etc", at.join("out")).expect("writable");
    let (imported, blobs) = take(&at.display().to_string()).expect("good");
    assert_eq!(listing(&imported, &blobs), ["f=x", "out>/etc"]);
    assert_eq!(imported.notes.len(), 3, "{:?}", imported.notes);
    std::os::unix::fs::chown(at.join("f"), Some(70_000), None).expect("root");
    let error = take(&at.display().to_string()).expect_err("an owner of no sandbox");
    assert!(chain(&error).contains("70000"), "{}", chain(&error));
}

#[test]
fn archives_that_end_early_or_are_none_are_refused() {
    let dir = tempfile::tempdir().expect("writable");
    let file = dir.path().join("x.tar");
    let refused = |bytes: &[u8], word: &str| {
        fs::write(&file, bytes).expect("writable");
        let error = take(&file.display().to_string()).expect_err("odd");
        assert!(chain(&error).contains(word), "{word}: {}", chain(&error));
    };
    let tar = Tar::default().file("a", "1").file("b", "2").end();
    fs::write(&file, &tar).expect("writable");
    assert!(take(&file.display().to_string()).is_ok());
    refused(&tar[..1024], "cut short");
    refused(&tar[..1536], "cut short");
    refused(&tar[..2048], "cut short");
    let packed = gzip(&tar);
    refused(&packed[..packed.len() / 2], "x.tar");
    refused(&packed[..packed.len() - 1], "x.tar");
    refused(b"PK\x03\x04 a zip", "neither gzip");
    refused(b"BZh9 bzip2", "neither gzip");
    refused(b"", "cut short");
    refused(b"hello", "cut short");
    refused(&Tar::default().file("etc/.wh.passwd", "").end(), "whiteout");
    refused(
        &Tar::default()
            .file("abc/layer.tar", "")
            .file("manifest.json", "[]")
            .end(),
        "docker save",
    );
    if program("xz").is_some() {
        fs::write(dir.path().join("y"), &tar).expect("writable");
        run("xz", &["y"], dir.path());
        let packed = fs::read(dir.path().join("y.xz")).expect("there");
        refused(&packed[..packed.len() - 8], "`xz` failed");
        let zeros = Tar::default().file("zeros", vec![0; 8 << 20]).end();
        fs::write(dir.path().join("z"), zeros).expect("writable");
        run("xz", &["z"], dir.path());
        let bomb = fs::read(dir.path().join("z.xz")).expect("there");
        refused(&bomb, "fill disks");
    }
    let error = take(&dir.path().join("nowhere").display().to_string()).expect_err("none");
    assert!(chain(&error).contains("nowhere"), "{}", chain(&error));
}

#[test]
fn a_person_who_goes_away_ends_the_import() {
    struct Gone(u32);
    impl caravan_image::Observer for Gone {
        fn progress(&mut self, _: &str, _: u64, _: u64) -> bool {
            self.0 += 1;
            self.0 < 3
        }
    }
    let dir = tempfile::tempdir().expect("writable");
    root(dir.path());
    let source: Source = dir.path().display().to_string().parse().expect("a path");
    let options = Options::of(amd64());
    let mut blobs = Blobs::default();
    let error = import(&source, &options, &mut blobs, &mut Gone(0)).expect_err("gone");
    assert!(chain(&error).contains("given up"), "{}", chain(&error));
    let done = import(&source, &options, &mut blobs, &mut Unobserved).expect("nobody went away");
    let again = import(&source, &options, &mut Blobs::default(), &mut Unobserved).expect("good");
    assert_eq!(
        done.tree.seal().expect("small").0,
        again.tree.seal().expect("small").0
    );
}
