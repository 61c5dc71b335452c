use std::{
    collections::BTreeMap,
    io::{Cursor, Read},
    process::Command,
};

use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::*;

fn exported(store: &Store, tree: TreeId) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.export(tree, &mut bytes).expect("an archive");
    bytes
}

fn long() -> String {
    format!("{}/{}", "d".repeat(200), "n".repeat(150))
}

fn sample(store: &Store) -> TreeId {
    ingest_good(store, |upper| {
        write(upper, "dir/file", b"some bytes");
        write(upper, &long(), b"far away");
        fs::hard_link(upper.join("dir/file"), upper.join("dir/twin")).expect("a link");
        chmod(&write(upper, "tool", b"#!/bin/sh\n"), 0o4755);
        std::os::unix::fs::symlink("t".repeat(300), upper.join("link")).expect("a link");
        fs::create_dir(upper.join("opaque")).expect("a directory");
        let set = |path: &str, name: &str, value: &[u8]| {
            let flags = XattrFlags::empty();
            rustix::fs::setxattr(upper.join(path), name, value, flags).expect("set");
        };
        set("opaque", "trusted.overlay.opaque", b"y");
        set("dir/file", "user.note", b"a\0b");
        let device = FileType::CharacterDevice;
        rustix::fs::mknodat(CWD, upper.join("dir/gone"), device, Mode::empty(), 0).expect("make");
    })
}

#[test]
fn an_archive_holds_all_of_a_tree() {
    if !is_root("an_archive_holds_all_of_a_tree") {
        return;
    }
    let (_dir, store) = new_store();
    let tree = sample(&store);
    let bytes = exported(&store, tree);
    assert_eq!(bytes, exported(&store, tree), "equal trees, equal archives");
    let mut found: BTreeMap<String, (u32, Vec<u8>)> = BTreeMap::new();
    let mut archive = tar::Archive::new(Cursor::new(&bytes));
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("an entry");
        let path = String::from_utf8(entry.path_bytes().into_owned()).expect("text");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("bytes");
        if let Some(target) = entry.link_name_bytes() {
            content = target.into_owned();
        }
        let mode = entry.header().mode().expect("a mode");
        assert_eq!(entry.header().mtime().expect("a time"), 946_684_800);
        if path == "dir/file" {
            let pax = entry.pax_extensions().expect("read").expect("some");
            let pairs: Vec<_> = pax.map(|pair| pair.expect("a pair")).collect();
            assert_eq!(pairs[0].key_bytes(), b"SCHILY.xattr.user.note");
            assert_eq!(pairs[0].value_bytes(), b"a\0b");
        }
        assert!(found.insert(path, (mode, content)).is_none());
    }
    let expected = [
        ("./", 0o755, ""),
        (&format!("{}/", "d".repeat(200)), 0o755, ""),
        (&long(), 0o644, "far away"),
        ("dir/", 0o755, ""),
        ("dir/file", 0o644, "some bytes"),
        ("dir/twin", 0o644, "some bytes"),
        ("dir/.wh.gone", 0, ""),
        ("opaque/", 0o755, ""),
        ("opaque/.wh..wh..opq", 0, ""),
        ("link", 0o777, &"t".repeat(300)),
        ("tool", 0o4755, "#!/bin/sh\n"),
    ];
    let expected: BTreeMap<String, (u32, Vec<u8>)> = expected
        .iter()
        .map(|(path, mode, content)| ((*path).to_owned(), (*mode, content.as_bytes().to_vec())))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn the_system_unpacks_an_archive_to_the_same_tree() {
    if !is_root("the_system_unpacks_an_archive_to_the_same_tree") {
        return;
    }
    let (dir, store) = new_store();
    let tree = ingest_good(&store, |upper| {
        write(upper, "dir/file", b"some bytes");
        write(upper, &long(), b"far away");
        chmod(&write(upper, "tool", b"#!/bin/sh\n"), 0o4755);
        std::os::unix::fs::symlink("t".repeat(300), upper.join("link")).expect("a link");
        let flags = XattrFlags::empty();
        rustix::fs::setxattr(upper.join("dir/file"), "user.note", b"1", flags).expect("set");
    });
    let archive = dir.path().join("a.tar");
    fs::write(&archive, exported(&store, tree)).expect("write");
    let workspace = store.workspace().expect("a workspace");
    let status = Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "-xpf"])
        .arg(&archive)
        .arg("-C")
        .arg(workspace.upper())
        .status();
    assert!(status.expect("tar runs").success());
    assert_eq!(workspace.ingest().expect("good").tree, tree);
}

#[test]
fn what_is_damaged_or_cannot_be_said_is_no_archive() {
    let (_dir, store) = new_store();
    let tree = ingest_good(&store, |upper| {
        write(upper, "file", b"some bytes");
    });
    fs::write(object_path(&store, b"some bytes", "644.0.0"), b"other byte").expect("damage");
    let text = store.export(tree, &mut Vec::new()).expect_err("damaged");
    let cause = std::error::Error::source(&text)
        .expect("a cause")
        .to_string();
    assert!(cause.contains("damaged"), "{cause}");
    for name in [".wh.a", "d/.wh..wh..opq"] {
        let tree = ingest_good(&store, |upper| {
            write(upper, name, b"");
        });
        let refused = store.export(tree, &mut Vec::new());
        assert!(
            matches!(refused, Err(StoreError::Refused { .. })),
            "{refused:?}"
        );
    }
    let absent = store.export(TreeId::from(BlobId::of(b"x")), &mut Vec::new());
    assert!(matches!(absent, Err(StoreError::NoBlob { .. })));
}
