use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, XattrFlags};

use super::*;

/// The refusal, which must name the file and leave nothing behind.
fn refusal(fill: impl FnOnce(&Path), name: &str) -> String {
    let (_dir, store) = new_store();
    let error = ingest(&store, fill).expect_err("it must be refused");
    let text = error.to_string();
    assert!(text.contains(name), "{text:?} does not name {name}");
    let kept = store.stat().expect("stat");
    assert_eq!((kept.objects, kept.layers), (0, 0));
    assert_clean(&store);
    text
}

#[test]
fn devices_pipes_and_sockets_are_refused_by_name() {
    let text = refusal(
        |upper| {
            write(upper, "good", b"1");
            let path = upper.join("pipe");
            rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
        },
        "pipe",
    );
    assert!(text.contains("FIFO"), "{text}");
    let text = refusal(
        |upper| {
            drop(std::os::unix::net::UnixListener::bind(upper.join("sock")).expect("a socket"));
        },
        "sock",
    );
    assert!(text.contains("socket"), "{text}");
    if !is_root("devices_pipes_and_sockets_are_refused_by_name") {
        return;
    }
    for (kind, device) in [
        (FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        (FileType::BlockDevice, rustix::fs::makedev(8, 0)),
        (FileType::BlockDevice, 0),
    ] {
        let text = refusal(
            |upper| {
                let path = upper.join("dev");
                rustix::fs::mknodat(CWD, path, kind, Mode::RWXU, device).expect("a device");
            },
            "dev",
        );
        assert!(text.contains("it is a device"), "{text}");
    }
}

#[test]
fn forged_overlay_attributes_are_refused() {
    let set = |path: &Path, name: &str, value: &[u8]| {
        rustix::fs::setxattr(path, name, value, XattrFlags::empty()).expect("an attribute");
    };
    refusal(
        |upper| {
            set(
                &write(upper, "forged", b"1"),
                "user.overlay.redirect",
                b"/etc",
            )
        },
        "forged",
    );
    if !is_root("forged_overlay_attributes_are_refused") {
        return;
    }
    for (name, value) in [
        ("trusted.overlay.redirect", &b"/etc"[..]),
        ("trusted.overlay.metacopy", b""),
        ("trusted.overlay.whiteout", b"y"),
        ("trusted.overlay.opaque", b"x"),
        ("trusted.overlay.new-invention", b""),
        ("trusted.md5sum", b""),
    ] {
        let fill = |upper: &Path| {
            let dir = upper.join("forged");
            fs::create_dir(&dir).expect("a directory");
            set(&dir, name, value);
        };
        refusal(fill, "forged");
    }
}

#[test]
fn a_sparse_file_of_a_tebibyte_is_refused_without_reading_it() {
    let text = refusal(
        |upper| {
            let file = File::create(upper.join("huge")).expect("a file");
            file.set_len(1 << 40).expect("a hole");
        },
        "huge",
    );
    assert!(text.contains("larger"), "{text}");
    let (_dir, store) = new_store();
    let many = ingest(&store, |upper| {
        for n in 0..5 {
            let file = File::create(upper.join(n.to_string())).expect("a file");
            file.set_len(15 << 30).expect("a hole");
        }
    });
    assert!(matches!(many, Err(StoreError::TooLarge { .. })), "{many:?}");
    assert_clean(&store);
}

#[test]
fn symbolic_links_are_kept_as_they_are_and_never_followed() {
    let (dir, store) = new_store();
    let outside = dir.path().join("outside");
    write(&outside, "secret", b"secret");
    let before = stat(&outside.join("secret"));
    let id = ingest_good(&store, |upper| {
        std::os::unix::fs::symlink(&outside, upper.join("dir")).expect("a link");
        std::os::unix::fs::symlink("/proc/self/root", upper.join("magic")).expect("a link");
        std::os::unix::fs::symlink("loop", upper.join("loop")).expect("a link");
    });
    let tree = store.tree(id).expect("tree");
    assert_eq!(tree.entries().len(), 4);
    assert!(tree.blobs().is_empty());
    let after = stat(&outside.join("secret"));
    assert_eq!(
        (before.mtime_nsec(), before.mode(), before.nlink()),
        (after.mtime_nsec(), after.mode(), after.nlink())
    );
    assert_clean(&store);
    // Even the upper directory itself may have been swapped for a link.
    let workspace = store.workspace().expect("a workspace");
    fs::remove_dir(workspace.upper()).expect("remove");
    std::os::unix::fs::symlink(&outside, workspace.upper()).expect("a link");
    workspace.ingest().expect_err("a link is no directory");
    assert!(outside.join("secret").exists());
    assert_clean(&store);
}

#[test]
fn a_directory_swapped_for_a_link_leads_nowhere() {
    let (dir, store) = new_store();
    let outside = dir.path().join("outside");
    write(&outside, "file", b"secret");
    let workspace = store.workspace().expect("a workspace");
    let upper = workspace.upper();
    write(&upper, "dir/file", b"plain");
    let root = crate::beneath::open_trusted_dir(&upper).expect("open");
    let items = crate::walk::walk(std::os::fd::AsFd::as_fd(&root)).expect("walk");
    fs::rename(upper.join("dir"), upper.join("moved")).expect("rename");
    std::os::unix::fs::symlink(&outside, upper.join("dir")).expect("a link");
    let item = items
        .iter()
        .find(|item| item.path == b"dir/file")
        .expect("it was there");
    let mut parents = crate::beneath::Parents::new(std::os::fd::AsFd::as_fd(&root));
    let hashed = crate::walk::hash(&mut parents, item, &mut [0; 100]);
    assert!(hashed.is_err(), "it was read through a link");
    assert!(parents.of(b"dir/file").is_err());
    assert!(parents.of(b"../../x").is_err());
    assert!(
        parents.clamp_times(b"dir").is_ok(),
        "a link's own times are set"
    );
    assert_ne!(stat(&outside).mtime(), MTIME_S);
}

#[test]
fn names_of_any_bytes_are_kept() {
    let (_dir, store) = new_store();
    let names: [&[u8]; 5] = [b"new\nline", b"\xff\xfe", b" ", b"-rf", &[b'n'; 255]];
    let id = ingest_good(&store, |upper| {
        for name in names {
            fs::write(upper.join(OsStr::from_bytes(name)), name).expect("a file");
        }
    });
    let tree = store.tree(id).expect("tree");
    assert!(names.iter().all(|name| tree.get(name).is_some()));
    assert_clean(&store);
}

/// Makes directories inside each other, further down than a path can name.
fn nest(upper: &Path, levels: usize) {
    let mut dir = crate::beneath::open_trusted_dir(upper).expect("open");
    for _ in 0..levels {
        rustix::fs::mkdirat(&dir, "d", Mode::RWXU).expect("a directory");
        dir = rustix::fs::openat(&dir, "d", OFlags::DIRECTORY, Mode::empty()).expect("open");
    }
    let file = rustix::fs::openat(&dir, "f", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR);
    rustix::io::write(file.expect("a file"), b"deep").expect("write");
}

#[test]
fn two_thousand_levels_are_kept_and_more_than_a_path_can_name_are_refused() {
    let (_dir, store) = new_store();
    let id = ingest_good(&store, |upper| nest(upper, 2000));
    assert_eq!(store.tree(id).expect("tree").entries().len(), 2002);
    assert_clean(&store);
    let text = refusal(|upper| nest(upper, 5000), "d/d/d");
    assert!(text.contains("PATH_MAX"), "{text}");
}

#[test]
fn a_job_may_leave_directories_that_nobody_can_enter() {
    let (_dir, store) = new_store();
    let workspace = store.workspace().expect("a workspace");
    write(&workspace.upper(), "locked/inside/file", b"1");
    chmod(&workspace.upper().join("locked/inside"), 0o000);
    chmod(&workspace.upper().join("locked"), 0o555);
    drop(workspace);
    assert_clean(&store);
}

#[test]
fn trees_from_elsewhere_cannot_set_labels_or_have_no_owner() {
    let (_dir, store) = new_store();
    let file = || Entry::file(b"f", 0o644, BlobId::of(b"x"), 1);
    let with = |name: &[u8], mut entry: Entry| {
        entry.xattrs.insert(name.to_vec(), b"v".to_vec());
        entry
    };
    let link = Entry::symlink(b"l", b"f");
    for entry in [
        with(b"security.selinux", file()),
        with(b"security.ima", file()),
        with(b"system.posix_acl_access", file()),
        with(b"user.x", link),
        Entry {
            uid: u32::MAX,
            ..file()
        },
        Entry {
            gid: u32::MAX,
            ..Entry::dir(b"d", 0o755)
        },
    ] {
        let shown = format!("{entry:?}");
        let tree = Tree::new(vec![entry]).expect("the protocol takes it");
        let id = store.put_tree(&tree, &[b"x".to_vec()]).expect("put");
        let refused = store.materialise(id);
        assert!(
            matches!(refused, Err(StoreError::Refused { .. })),
            "{shown}: {refused:?}"
        );
    }
    assert_eq!(store.stat().expect("stat").layers, 0);
    assert_clean(&store);
}

#[test]
fn a_tree_that_lies_about_a_size_is_not_laid_out() {
    let (_dir, store) = new_store();
    let tree = Tree::new(vec![Entry::file(b"f", 0o755, BlobId::of(b"x"), 1000)]).expect("tree");
    let id = store.put_tree(&tree, &[b"x".to_vec()]).expect("put");
    assert!(store.materialise(id).is_err());
    let tree = Tree::new(vec![Entry::file(b"f", 0o644, BlobId::of(b"x"), 1000)]).expect("tree");
    let id = store.put_tree(&tree, &[b"x".to_vec()]).expect("put");
    assert!(store.materialise(id).is_err());
    assert_clean(&store);
}

#[test]
fn mounts_below_an_upper_directory_are_not_crossed() {
    if !is_root("mounts_below_an_upper_directory_are_not_crossed") {
        return;
    }
    let (_dir, store) = new_store();
    let workspace = store.workspace().expect("a workspace");
    let point = workspace.upper().join("mounted");
    fs::create_dir(&point).expect("a directory");
    let mounted = full::Tmpfs::mount(&point, "64k");
    write(&point, "file", b"1");
    let upper = workspace.upper();
    let root = crate::beneath::open_trusted_dir(&upper).expect("open");
    let walked = crate::walk::walk(std::os::fd::AsFd::as_fd(&root));
    assert!(walked.is_err(), "it walked into a mount");
    drop(mounted);
    let file = root;
    rustix::fs::statat(&file, "mounted", AtFlags::empty()).expect("it is still there");
}
