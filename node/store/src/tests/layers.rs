use caravan_protocol::files::Files;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::*;
use crate::TreeFiles;

fn layer(store: &Store, tree: TreeId) -> PathBuf {
    store.layer(tree).expect("look").expect("it is laid out")
}

fn entry(store: &Store, tree: TreeId, path: &str) -> Entry {
    let tree = store.tree(tree).expect("the tree");
    tree.get(path.as_bytes()).expect("the entry").clone()
}

#[test]
fn equal_files_of_different_layers_are_one_inode() {
    let (_dir, store) = new_store();
    let one = ingest_good(&store, |upper| {
        write(upper, "a/x", b"shared");
        write(upper, "a/y", b"shared");
        chmod(&write(upper, "a/z", b"shared"), 0o755);
    });
    let two = ingest_good(&store, |upper| {
        write(upper, "b", b"shared");
    });
    let inode = |tree, path: &str| stat(&layer(&store, tree).join(path)).ino();
    assert_eq!(inode(one, "a/x"), inode(one, "a/y"));
    assert_eq!(inode(one, "a/x"), inode(two, "b"));
    assert_ne!(inode(one, "a/x"), inode(one, "a/z"), "its mode is another");
    let object = stat(&object_path(&store, b"shared", "644.0.0"));
    if rustix::process::geteuid().is_root() {
        assert_eq!((object.ino(), object.nlink()), (inode(two, "b"), 4));
    }
    assert_eq!(object.mtime(), MTIME_S);
    for path in ["", "a", "a/x"] {
        let found = stat(&layer(&store, one).join(path));
        assert_eq!(
            (found.mtime(), found.mtime_nsec()),
            (MTIME_S, 0),
            "{path:?}"
        );
    }
    assert!(store.missing(one).expect("missing").is_empty());
    assert_clean(&store);
}

#[test]
fn order_time_and_links_do_not_change_the_id() {
    let (_dir, store) = new_store();
    let one = ingest_good(&store, |upper| {
        write(upper, "d/a", b"1");
        write(upper, "d/b", b"1");
        write(upper, "c", b"2");
    });
    let two = ingest_good(&store, |upper| {
        write(upper, "c", b"2");
        let b = write(upper, "d/b", b"1");
        fs::hard_link(&b, upper.join("d/a")).expect("a link");
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(86_400);
        File::open(&b)
            .and_then(|b| b.set_modified(old))
            .expect("its time");
    });
    assert_eq!(one, two);
    let other = ingest_good(&store, |upper| {
        write(upper, "d/a", b"1");
        write(upper, "d/b", b"1");
        chmod(&write(upper, "c", b"2"), 0o600);
    });
    assert_ne!(one, other, "a mode does");
    assert_eq!(store.stat().expect("stat").layers, 2);
    assert_clean(&store);
}

#[test]
fn a_tree_and_blobs_from_elsewhere_become_the_layer_that_was_ingested() {
    let (_dir, from) = new_store();
    let (_dir, to) = new_store();
    let fill = |upper: &Path| {
        chmod(&write(upper, "bin/tool", b"#!/bin/sh\n"), 0o755);
        chmod(&write(upper, "bin/same", b"#!/bin/sh\n"), 0o755);
        write(upper, "share/empty", b"");
        chmod(&write(upper, "bin/special", b"sticky"), 0o1755);
        std::os::unix::fs::symlink("../../../etc/passwd", upper.join("link")).expect("a link");
        chmod(&upper.join("share"), 0o500);
    };
    let id = ingest_good(&from, fill);
    assert_eq!(to.missing(id).expect("missing"), [id.blob()]);
    assert!(matches!(
        to.materialise(id),
        Err(StoreError::Incomplete { missing: 1, .. })
    ));
    let tree = from.tree(id).expect("the tree");
    to.put_tree(&tree, &[]).expect("put");
    let missing = to.missing(id).expect("missing");
    assert_eq!(missing.len(), 3);
    assert!(matches!(
        to.materialise(id),
        Err(StoreError::Incomplete { missing: 3, .. })
    ));
    for blob in missing {
        let mut file = from.open_blob(blob).expect("it has it");
        to.put_reader(&mut file, Some(blob), 1000).expect("put");
    }
    let path = to.materialise(id).expect("it is complete");
    assert_eq!(to.materialise(id).expect("again"), path);
    assert_eq!(
        stat(&path.join("bin/tool")).ino(),
        stat(&path.join("bin/same")).ino()
    );
    assert_eq!(stat(&path.join("bin/special")).mode() & 0o7777, 0o1755);
    assert_eq!(stat(&path.join("share")).mode() & 0o7777, 0o500);
    assert_clean(&to);
    // The way back: the same directory gives the same tree.
    let again = ingest_good(&to, fill);
    assert_eq!(again, id);
}

#[test]
fn whiteouts_and_opaque_directories_survive_both_ways() {
    if !is_root("whiteouts_and_opaque_directories_survive_both_ways") {
        return;
    }
    let (_dir, store) = new_store();
    let id = ingest_good(&store, |upper| {
        let gone = upper.join("gone");
        let device = FileType::CharacterDevice;
        rustix::fs::mknodat(CWD, &gone, device, Mode::empty(), 0).expect("a whiteout");
        std::os::unix::fs::chown(&gone, Some(7), Some(7)).expect("an owner of no meaning");
        let hidden = upper.join("hidden");
        fs::create_dir(&hidden).expect("a directory");
        let set = |path: &Path, name: &str, value: &[u8]| {
            rustix::fs::setxattr(path, name, value, XattrFlags::empty()).expect("an attribute");
        };
        set(&hidden, "trusted.overlay.opaque", b"y");
        set(&hidden, "trusted.overlay.impure", b"y");
        set(
            &write(upper, "copied", b"up"),
            "trusted.overlay.origin",
            b"handle",
        );
    });
    let gone = entry(&store, id, "gone");
    assert_eq!((gone.kind, gone.uid, gone.mode), (Kind::Whiteout, 0, 0));
    assert_eq!(entry(&store, id, "hidden").kind, Kind::Dir { opaque: true });
    assert!(entry(&store, id, "copied").xattrs.is_empty());
    let read = |path: &Path, name: &str| {
        let mut value = vec![0; 16];
        let size = rustix::fs::lgetxattr(path, name, value.as_mut_slice());
        size.map(|size| value[..size].to_vec())
    };
    let check = |store: &Store| {
        let path = layer(store, id);
        let hidden = path.join("hidden");
        assert_eq!(read(&hidden, "trusted.overlay.opaque").expect("kept"), b"y");
        assert!(read(&hidden, "trusted.overlay.impure").is_err());
        assert!(read(&path.join("copied"), "trusted.overlay.origin").is_err());
        let gone = stat(&path.join("gone"));
        assert_eq!((gone.mode() & 0o170_000, gone.rdev()), (0o020_000, 0));
        assert_clean(store);
    };
    check(&store);
    let (_dir, other) = new_store();
    let tree = store.tree(id).expect("the tree");
    other.put_tree(&tree, &[b"up".to_vec()]).expect("put");
    other.materialise(id).expect("it is complete");
    check(&other);
}

#[test]
fn owners_setuid_bits_and_kept_attributes_are_part_of_a_layer() {
    if !is_root("owners_setuid_bits_and_kept_attributes_are_part_of_a_layer") {
        return;
    }
    let (_dir, store) = new_store();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let id = ingest_good(&store, |upper| {
        let su = write(upper, "su", b"program");
        std::os::unix::fs::chown(&su, Some(0), Some(42)).expect("an owner");
        chmod(&su, 0o4755);
        let ping = write(upper, "ping", b"program");
        let set = |name: &str, value: &[u8]| {
            rustix::fs::setxattr(&ping, name, value, XattrFlags::empty()).expect("an attribute");
        };
        set("security.capability", &capability);
        set("user.note", b"");
        // An access list: the mode shows its mask, the rest is not kept.
        let acl = write(upper, "acl", b"program");
        let list = [
            2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 5, 0, 0, 0, 4, 0, 4, 0, 255,
            255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
        ];
        let name = "system.posix_acl_access";
        rustix::fs::setxattr(&acl, name, &list, XattrFlags::empty()).expect("a list");
        std::os::unix::fs::chown(write(upper, "home/own", b"x"), Some(1000), Some(1000))
            .expect("an owner");
    });
    let su = entry(&store, id, "su");
    assert_eq!((su.mode, su.uid, su.gid), (0o4755, 0, 42));
    let ping = entry(&store, id, "ping");
    assert_eq!(
        ping.xattrs.get(&b"security.capability"[..]),
        Some(&capability.to_vec())
    );
    assert_eq!(ping.xattrs.get(&b"user.note"[..]), Some(&Vec::new()));
    assert!(entry(&store, id, "acl").xattrs.is_empty());
    let check = |store: &Store, path: &Path| {
        assert_eq!(stat(&path.join("su")).mode() & 0o7777, 0o4755);
        assert_eq!(
            stat(&path.join("su")).nlink(),
            1,
            "setuid files are not shared"
        );
        let object = stat(&object_path(store, b"program", "644.0.0"));
        assert_eq!((object.mode() & 0o7777, object.uid()), (0o644, 0));
        let mut value = [0; 64];
        let size = rustix::fs::getxattr(path.join("ping"), "security.capability", &mut value[..]);
        assert_eq!(&value[..size.expect("kept")], capability);
        assert_eq!(stat(&path.join("home/own")).uid(), 1000);
        assert_clean(store);
    };
    check(&store, &layer(&store, id));
    let (_dir, other) = new_store();
    let blobs = [b"program".to_vec(), b"x".to_vec()];
    other
        .put_tree(&store.tree(id).expect("tree"), &blobs)
        .expect("put");
    check(&other, &other.materialise(id).expect("it is complete"));
}

#[test]
fn a_file_beyond_the_link_limit_is_kept_unshared() {
    let (dir, store) = new_store();
    store.put_blob(b"popular").expect("put");
    let object = object_path(&store, b"popular", "644.0.0");
    let links = dir.path().join("links");
    fs::create_dir(&links).expect("a directory");
    let full = (0..70_000).any(|n| fs::hard_link(&object, links.join(n.to_string())).is_err());
    if !full {
        eprintln!("SKIPPED: this file system has no limit of links");
        return;
    }
    let id = ingest_good(&store, |upper| {
        write(upper, "a", b"popular");
    });
    assert_ne!(
        stat(&layer(&store, id).join("a")).ino(),
        stat(&object).ino()
    );
    let tree = Tree::new(vec![Entry::file(b"b", 0o644, BlobId::of(b"popular"), 7)]).expect("tree");
    let other = store.put_tree(&tree, &[]).expect("put");
    let path = store.materialise(other).expect("complete");
    assert_eq!(fs::read(path.join("b")).expect("read"), b"popular");
    assert_clean(&store);
}

#[test]
fn a_directory_of_the_callers_own_is_taken_and_one_elsewhere_is_refused() {
    let (dir, store) = new_store();
    let own = dir.path().join("base");
    write(&own, "etc/os-release", b"ID=debian\n");
    let got = store.ingest_dir(&own).expect("the same file system");
    assert!(!own.exists());
    assert_eq!((got.files, got.size), (1, 10));
    let files = TreeFiles::open(&store, got.tree).expect("the tree");
    assert_eq!(
        files.read("etc/os-release").as_deref(),
        Some(&b"ID=debian\n"[..])
    );
    assert!(store.ingest_dir(&dir.path().join("none")).is_err());
    assert_clean(&store);
}

#[test]
fn tree_files_show_regular_files_only() {
    let (_dir, store) = new_store();
    let id = ingest_good(&store, |upper| {
        write(upper, "p/a.1/opam", b"1");
        write(upper, "p/a/x/deep", b"2");
        write(upper, "p/a/y", b"3");
        write(upper, "p/b", b"4");
        std::os::unix::fs::symlink("b", upper.join("p/link")).expect("a link");
        write(upper, "q", b"5");
        fs::create_dir(upper.join("r")).expect("a directory");
    });
    let files = TreeFiles::open(&store, id).expect("the tree");
    assert_eq!(files.list(""), ["p", "q", "r"]);
    assert_eq!(files.list("p"), ["a", "a.1", "b"]);
    assert_eq!(files.list("p/a"), ["x", "y"]);
    assert_eq!(files.list("r"), Vec::<String>::new());
    assert_eq!(files.list("none"), Vec::<String>::new());
    assert_eq!(files.read("p/a/x/deep").as_deref(), Some(&b"2"[..]));
    for path in ["p", "p/link", "p/link/..", "../q", "/q", ""] {
        assert!(files.read(path).is_none(), "{path:?} was read");
    }
}

#[test]
fn callers_that_lay_out_or_ingest_the_same_at_once_all_succeed() {
    let (_dir, store) = new_store();
    let blobs: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; 100]).collect();
    let entries = blobs
        .iter()
        .enumerate()
        .map(|(n, bytes)| Entry::file(format!("f{n}").as_bytes(), 0o755, BlobId::of(bytes), 100));
    let id = store
        .put_tree(&Tree::new(entries.collect()).expect("tree"), &blobs)
        .expect("put");
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (store, blobs) = (&store, &blobs);
            scope.spawn(move || {
                if n % 2 == 0 {
                    store.materialise(id).expect("it is complete");
                    return;
                }
                let same = ingest_good(store, |upper| {
                    for (n, bytes) in blobs.iter().enumerate() {
                        chmod(&write(upper, &format!("f{n}"), bytes), 0o755);
                    }
                });
                assert_eq!(same, id);
            });
        }
    });
    assert_eq!(store.stat().expect("stat").layers, 1);
    assert_clean(&store);
}
