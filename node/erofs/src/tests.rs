use std::{
    collections::BTreeMap,
    fs,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::Path,
};

use proptest::prelude::*;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::{Error, Kind, Node, limits, write};

const MTIME_S: u64 = 946_684_800;

type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// A node that owns what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Made {
    mode: u16,
    uid: u32,
    gid: u32,
    xattrs: Xattrs,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Dir,
    File(u64),
    Link(Vec<u8>),
    Whiteout,
}

type Listing = BTreeMap<Vec<u8>, Made>;

fn plain(what: What) -> Made {
    Made {
        mode: 0o755,
        uid: 0,
        gid: 0,
        xattrs: Xattrs::new(),
        what,
    }
}

fn image(listing: &Listing) -> Result<Vec<u8>, Error> {
    let nodes: Vec<Node<'_>> = listing
        .iter()
        .map(|(path, made)| Node {
            path,
            mode: made.mode,
            uid: made.uid,
            gid: made.gid,
            xattrs: made
                .xattrs
                .iter()
                .map(|(name, value)| (name.as_slice(), value.as_slice()))
                .collect(),
            kind: match &made.what {
                What::Dir => Kind::Dir,
                What::File(size) => Kind::File { size: *size },
                What::Link(target) => Kind::Symlink { target },
                What::Whiteout => Kind::Whiteout,
            },
        })
        .collect();
    let mut bytes = Vec::new();
    let length = write(&nodes, MTIME_S, &mut bytes)?;
    assert_eq!(length, bytes.len() as u64);
    assert_eq!(length % 4096, 0);
    Ok(bytes)
}

fn listing(parts: &[(&str, What)]) -> Listing {
    let root = (Vec::new(), plain(What::Dir));
    let rest = parts.iter();
    let rest = rest.map(|(path, what)| (path.as_bytes().to_vec(), plain(what.clone())));
    [root].into_iter().chain(rest).collect()
}

/// Mounts an image where nobody else sees it; `None`, said loudly, where this host cannot.
fn mounted(file: &Path) -> Option<OwnedFd> {
    let mount = || {
        let fs = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&fs, "source", file)?;
        fsconfig_set_flag(&fs, "ro")?;
        fsconfig_create(&fs)?;
        let flags = MountAttrFlags::MOUNT_ATTR_RDONLY;
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, flags)
    };
    match mount() {
        Ok(mount) => Some(mount),
        Err(error) if is_old() || !rustix::process::geteuid().is_root() => {
            println!("SKIPPED: mounting an image of a file: {error}");
            None
        }
        Err(error) => panic!("mount a good image: {error}"),
    }
}

/// Whether the kernel has no EROFS on plain files, which 6.12 brought.
fn is_old() -> bool {
    let kinds = fs::read_to_string("/proc/filesystems").expect("a kernel");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    let mut parts = release
        .split(['.', '-'])
        .map(|part| part.trim().parse::<u32>());
    let version = (parts.next(), parts.next());
    let old = !matches!(version, (Some(Ok(a)), Some(Ok(b))) if (a, b) >= (6, 12));
    old || !kinds.contains("\terofs")
}

fn walk(top: &Path, inside: &[u8], found: &mut Listing) {
    let here = top.join(std::ffi::OsStr::from_bytes(inside));
    let stat = fs::symlink_metadata(&here).expect("it is there");
    assert_eq!((stat.mtime(), stat.mtime_nsec()), (MTIME_S as i64, 0));
    let kind = stat.file_type();
    let what = if kind.is_dir() {
        What::Dir
    } else if kind.is_symlink() {
        let target = fs::read_link(&here).expect("a target");
        What::Link(target.as_os_str().as_bytes().to_vec())
    } else if kind.is_file() {
        if stat.len() < 100_000 {
            let bytes = fs::read(&here).expect("a hole reads");
            assert!(bytes.len() as u64 == stat.len() && bytes.iter().all(|byte| *byte == 0));
        }
        What::File(stat.len())
    } else {
        assert_eq!(stat.rdev(), 0);
        What::Whiteout
    };
    let mut subdirs = 0;
    if what == What::Dir {
        for entry in fs::read_dir(&here).expect("a directory") {
            let entry = entry.expect("an entry");
            let name = entry.file_name();
            let path = match inside {
                b"" => name.as_bytes().to_vec(),
                _ => [inside, b"/", name.as_bytes()].concat(),
            };
            let listed = entry.file_type().expect("its kind");
            subdirs += u64::from(listed.is_dir());
            walk(top, &path, found);
        }
        assert_eq!(stat.nlink(), subdirs + 2, "{here:?}");
    }
    let made = Made {
        mode: (stat.mode() & 0o7777) as u16,
        uid: stat.uid(),
        gid: stat.gid(),
        xattrs: xattrs(&here),
        what,
    };
    found.insert(inside.to_vec(), made);
}

fn xattrs(path: &Path) -> Xattrs {
    let mut list = vec![0; 64 * 1024];
    let size = rustix::fs::llistxattr(path, list.as_mut_slice()).expect("a list");
    let names = list[..size].split(|byte| *byte == 0);
    names
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 64 * 1024];
            let size =
                rustix::fs::lgetxattr(path, name, value.as_mut_slice()).expect("an attribute");
            value.truncate(size);
            (name.to_vec(), value)
        })
        .collect()
}

/// Mounts the image of a listing and compares what is seen.
fn assert_seen(listing: &Listing) {
    let bytes = image(listing).expect("a good listing");
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), bytes).expect("written");
    let Some(mount) = mounted(file.path()) else {
        return;
    };
    let top = format!("/proc/self/fd/{}/", mount.as_raw_fd());
    let mut found = Listing::new();
    walk(Path::new(&top), b"", &mut found);
    for (path, made) in listing {
        let seen = found
            .get(path)
            .unwrap_or_else(|| panic!("{path:?} is not seen"));
        // The kernel gives a link these bits, whatever it was made with.
        assert_eq!(seen, made, "{:?}", String::from_utf8_lossy(path));
    }
    assert_eq!(found.len(), listing.len());
}

#[test]
fn the_kernel_sees_what_was_listed() {
    let mut all = listing(&[
        ("+before-dot", What::File(1)),
        ("a", What::Dir),
        ("a/empty", What::File(0)),
        ("a/huge", What::File(5 << 40)),
        ("a.b", What::Link(b"../..//etc".to_vec())),
        ("d", What::Dir),
        ("gone", What::Whiteout),
        ("long-link", What::Link(vec![b'l'; 4095])),
        ("most", What::File(u64::from(u32::MAX))),
        ("more", What::File(u64::from(u32::MAX) + 1)),
        ("\u{e9}\u{7}", What::Dir),
    ]);
    let mut dressed = plain(What::File(4096));
    (dressed.uid, dressed.gid, dressed.mode) = (70_000, 7, 0o4711);
    dressed.xattrs = [
        (&b"user.note"[..], &b"word"[..]),
        (b"trusted.overlay.metacopy", b""),
        (b"trusted.overlay.redirect", b"/somewhere/else"),
        (
            b"security.capability",
            &[1, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_vec(), value.to_vec()))
    .collect();
    all.insert(b"a/dressed".to_vec(), dressed);
    let mut large = plain(What::Dir);
    large
        .xattrs
        .insert(b"user.large".to_vec(), vec![b'v'; 9000]);
    all.insert(b"large".to_vec(), large);
    all.values_mut()
        .filter(|made| matches!(made.what, What::Link(_)))
        .for_each(|made| made.mode = 0o777);
    assert_seen(&all);
}

#[test]
fn directories_of_every_length_near_a_block_are_seen() {
    for count in [1, 15, 16, 17, 200, 230, 240, 250, 260, 5000] {
        let mut all = listing(&[("d", What::Dir)]);
        for index in 0..count {
            let name = format!("d/{index:04}{}", "x".repeat(index % 7));
            all.insert(name.into_bytes(), plain(What::File(index as u64)));
        }
        // One entry of exactly the length that fills a block.
        for length in [1, 254, 255] {
            let name = format!("d/{}", "y".repeat(length));
            all.insert(name.into_bytes(), plain(What::Dir));
        }
        assert_seen(&all);
    }
}

fn arbitrary() -> impl Strategy<Value = Listing> {
    let what = prop_oneof![
        3 => Just(What::Dir),
        3 => (0..20_000u64).prop_map(What::File),
        1 => proptest::collection::vec(1..=255u8, 1..5000).prop_map(|mut target| {
            target.truncate(limits::TARGET_BYTES_MAX);
            What::Link(target)
        }),
        1 => Just(What::Whiteout),
    ];
    let name =
        "[a-c!.-]{1,3}|[a-z]{200,255}".prop_filter("a name", |name| name != "." && name != "..");
    let values = proptest::collection::vec(any::<u8>(), 0..3000);
    let xattrs = proptest::collection::btree_map("user\\.[a-z]{1,200}", values, 0..3);
    let node = (
        name,
        any::<prop::sample::Index>(),
        what,
        (0..0o10000u16, 0..100_000u32),
        xattrs,
    );
    proptest::collection::vec(node, 0..60).prop_map(|nodes| {
        let mut listing = listing(&[]);
        for (name, parent, what, (mode, uid), xattrs) in nodes {
            let dirs: Vec<Vec<u8>> = listing
                .iter()
                .filter(|(_, made)| made.what == What::Dir)
                .map(|(path, _)| path.clone())
                .collect();
            let parent = &dirs[parent.index(dirs.len())];
            let path = match parent.as_slice() {
                b"" => name.into_bytes(),
                parent => [parent, b"/", name.as_bytes()].concat(),
            };
            if path.len() > 3000 || listing.contains_key(&path) {
                continue;
            }
            let mut made = plain(what);
            made.uid = uid;
            // The attributes of a link or a device cannot be of this class.
            if matches!(made.what, What::Dir | What::File(_)) {
                made.mode = mode;
                let named = xattrs.into_iter();
                made.xattrs = named
                    .map(|(name, value)| (name.into_bytes(), value))
                    .collect();
            } else if matches!(made.what, What::Link(_)) {
                made.mode = 0o777;
            }
            listing.insert(path, made);
        }
        listing
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_listing_is_seen_as_it_was_listed(listing in arbitrary()) {
        assert_seen(&listing);
    }

    #[test]
    fn equal_listings_give_equal_bytes(listing in arbitrary()) {
        prop_assert_eq!(image(&listing).expect("good"), image(&listing).expect("good"));
    }
}

#[test]
fn what_no_file_system_can_hold_is_refused_by_name() {
    let refused = |path: &[u8], made: Made| {
        let mut all = listing(&[("d", What::Dir), ("f", What::File(1))]);
        all.insert(path.to_vec(), made);
        match image(&all) {
            Err(Error::Node { path: named, .. }) => {
                assert_eq!(named, String::from_utf8_lossy(path), "it names another");
            }
            other => panic!(
                "{:?} was taken: {:?}",
                String::from_utf8_lossy(path),
                other.err()
            ),
        }
    };
    let file = || plain(What::File(1));
    for path in [
        &b"d/"[..],
        b"d/.",
        b"d/..",
        b"no/parent",
        b"f/below",
        b"d/nul\0",
        &[b'n'; 256],
    ] {
        refused(path, file());
    }
    for target in [vec![], vec![b'x'; 4096], b"a\0b".to_vec()] {
        refused(b"d/link", plain(What::Link(target)));
    }
    let mut odd = file();
    odd.mode = 0o10_000;
    refused(b"d/odd", odd);
    for (name, value) in [
        ("system.posix_acl_access", vec![]),
        ("user.", vec![]),
        ("user.large", vec![0; 70_000]),
    ] {
        let mut odd = file();
        odd.xattrs.insert(name.as_bytes().to_vec(), value);
        refused(b"d/odd", odd);
    }
    let mut many = file();
    for index in 0..5 {
        many.xattrs
            .insert(format!("user.{index}").into_bytes(), vec![0; 60_000]);
    }
    refused(b"d/many", many);
}

#[test]
fn a_listing_without_a_root_or_with_a_path_twice_is_refused() {
    let node = |path: &'static [u8]| Node {
        path,
        mode: 0o755,
        uid: 0,
        gid: 0,
        xattrs: Vec::new(),
        kind: Kind::Dir,
    };
    let refused = |nodes: &[Node<'_>]| write(nodes, 0, &mut Vec::new()).is_err();
    assert!(refused(&[]));
    assert!(refused(&[node(b"a")]));
    assert!(refused(&[node(b""), node(b"")]));
    assert!(refused(&[node(b""), node(b"a"), node(b"a")]));
    assert!(refused(&[node(b""), node(b"a/b"), node(b"a")]));
    assert!(
        !refused(&[node(b""), node(b"b"), node(b"a"), node(b"a/b")]),
        "any other order"
    );
}

#[test]
fn a_writer_that_fails_is_heard() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let root = Node {
        path: b"",
        mode: 0o755,
        uid: 0,
        gid: 0,
        xattrs: Vec::new(),
        kind: Kind::Dir,
    };
    assert!(matches!(write(&[root], 0, &mut Full), Err(Error::Write(_))));
}
