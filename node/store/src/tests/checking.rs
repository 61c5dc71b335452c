use std::os::unix::fs::FileExt;

use super::*;
use crate::FindingKind::{self, DamagedLayer, DamagedObject, MissingObject, Orphan};

/// A store with one layer, damaged by `damage`: what a check finds, and that healing it leaves a
/// clean store in which the layer can be made again.
fn found(damage: impl FnOnce(&Store, &Path)) -> Vec<(FindingKind, String)> {
    let (_dir, store) = new_store();
    let fill = |upper: &Path| {
        write(upper, "dir/file", b"content");
        chmod(&write(upper, "dir/apart", b"sticky content"), 0o1755);
        std::os::unix::fs::symlink("file", upper.join("dir/link")).expect("a link");
    };
    let id = ingest_good(&store, fill);
    let other = ingest_good(&store, |upper| {
        write(upper, "other", b"untouched");
    });
    assert_clean(&store);
    damage(
        &store,
        &store.layer(id).expect("look").expect("it is there"),
    );
    let mut last = (0, 0);
    let report = store
        .check(false, &mut |done, total| last = (done, total))
        .expect("a check");
    assert_eq!(last.0, last.1, "progress ends at the total");
    assert_eq!(report.forgotten, 0, "nothing is changed unasked");
    let again = store.check(true, &mut |_, _| {}).expect("a check");
    assert_eq!(again.findings, report.findings);
    assert!(again.forgotten > 0);
    assert_clean(&store);
    assert!(
        store.layer(other).expect("look").is_some(),
        "what is whole stays"
    );
    assert_eq!(ingest_good(&store, fill), id);
    assert!(store.missing(id).expect("missing").is_empty());
    assert_clean(&store);
    let mut kinds: Vec<_> = report
        .findings
        .into_iter()
        .map(|finding| (finding.kind, finding.reason))
        .collect();
    kinds.sort();
    kinds
}

fn kinds(damage: impl FnOnce(&Store, &Path)) -> Vec<FindingKind> {
    found(damage).into_iter().map(|(kind, _)| kind).collect()
}

fn flip(path: &Path) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("open");
    let mut byte = [0];
    file.read_exact_at(&mut byte, 3).expect("read");
    byte[0] ^= 1;
    file.write_all_at(&byte, 3).expect("write");
    let time = std::time::UNIX_EPOCH
        + std::time::Duration::from_secs(u64::try_from(MTIME_S).expect("positive"));
    file.set_modified(time).expect("its time");
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let shared = kinds(|_, layer| flip(&layer.join("dir/file")));
    assert_eq!(shared, [DamagedObject, DamagedLayer]);
    let apart = found(|_, layer| {
        flip(&layer.join("dir/apart"));
        chmod(&layer.join("dir/apart"), 0o1755);
    });
    assert_eq!(apart[0].0, DamagedLayer);
    assert!(apart[0].1.contains("hash"), "{apart:?}");
    let tree = kinds(|store, _| {
        let name = store.dir().join("layers");
        let ids = fs::read_dir(name).expect("list");
        for id in ids {
            let id = id.expect("entry").file_name().into_string().expect("hex");
            let tree = store.tree(id.parse().expect("an id")).expect("tree");
            if tree.get(b"dir/file").is_some() {
                let path = format!("objects/{}/{}.644.0.0", &id[..2], &id[2..]);
                flip(&store.dir().join(path));
            }
        }
    });
    assert!(
        tree.contains(&DamagedObject) && tree.contains(&DamagedLayer),
        "{tree:?}"
    );
}

#[test]
fn a_missing_or_cut_file_is_found() {
    let gone = kinds(|store, _| {
        let path = object_path(store, b"content", "644.0.0");
        fs::remove_file(path).expect("remove");
    });
    assert_eq!(gone, [MissingObject, DamagedLayer]);
    let cut = kinds(|_, layer| {
        let file = File::options().write(true).open(layer.join("dir/file"));
        file.and_then(|file| file.set_len(2)).expect("cut");
    });
    assert_eq!(cut, [DamagedObject, DamagedLayer]);
    let swapped = kinds(|store, _| {
        let path = object_path(store, b"content", "644.0.0");
        fs::remove_file(&path).expect("remove");
        std::os::unix::fs::symlink("/etc/passwd", path).expect("a link");
    });
    assert_eq!(swapped, [DamagedObject, DamagedLayer]);
}

#[test]
fn a_layer_that_is_not_its_tree_is_found() {
    for (word, damage) in [
        (
            "gone",
            &(|layer: &Path| fs::remove_file(layer.join("dir/link"))) as &dyn Fn(&Path) -> _,
        ),
        ("not of the tree", &|layer: &Path| {
            fs::write(layer.join("extra"), b"1")
        }),
        ("time", &|layer: &Path| {
            fs::write(layer.join("dir/x"), b"1")?;
            fs::remove_file(layer.join("dir/x"))
        }),
        ("mode", &|layer: &Path| {
            let mode = fs::Permissions::from_mode(0o777);
            fs::set_permissions(layer.join("dir"), mode)
        }),
        ("kind", &|layer: &Path| {
            fs::remove_file(layer.join("dir/link"))?;
            std::os::unix::fs::symlink("/etc", layer.join("dir/link"))
        }),
        ("kind", &|layer: &Path| {
            fs::remove_file(layer.join("dir/file"))?;
            fs::create_dir(layer.join("dir/file"))
        }),
        ("hash", &|layer: &Path| {
            fs::remove_file(layer.join("dir/file"))?;
            let path = write(layer, "dir/file", b"CONTENT");
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(946_684_800);
            File::open(layer.join("dir"))?.set_modified(time)?;
            File::open(path)?.set_modified(time)
        }),
        ("No such file", &|layer: &Path| fs::remove_dir_all(layer)),
    ] {
        let got = found(|_, layer| damage(layer).expect("damage is done"));
        assert_eq!(got.len(), 1, "{word}: {got:?}");
        assert_eq!(got[0].0, DamagedLayer);
        assert!(got[0].1.contains(word), "{word}: {got:?}");
    }
}

#[test]
fn another_owner_or_attribute_of_an_object_is_found() {
    if !is_root("another_owner_or_attribute_of_an_object_is_found") {
        return;
    }
    let owner = kinds(|_, layer| {
        std::os::unix::fs::chown(layer.join("dir/file"), Some(5), None).expect("chown");
    });
    assert_eq!(owner, [DamagedObject, DamagedLayer]);
    let attribute = kinds(|_, layer| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(layer.join("dir/file"), "user.x", b"1", flags).expect("set");
    });
    assert_eq!(attribute, [DamagedObject, DamagedLayer]);
}

#[test]
fn files_that_nothing_names_are_found_and_removed() {
    let orphans = kinds(|store, _| {
        write(&store.dir().join("objects"), "00/junk", b"1");
        write(&store.dir().join("objects"), "junk", b"1");
        write(&store.dir().join("layers"), "junk/file", b"1");
        write(
            &store.dir().join("layers"),
            &format!("{}/f", BlobId::of(b"no layer")),
            b"1",
        );
    });
    assert_eq!(orphans, [Orphan; 4]);
}

#[test]
fn damage_that_is_met_while_reading_is_forgotten_at_once() {
    let (_dir, store) = new_store();
    let blob = store.put_blob(b"some bytes").expect("put");
    flip(&object_path(&store, b"some bytes", "644.0.0"));
    assert!(matches!(
        store.read_blob(blob, 100),
        Err(StoreError::NoBlob { .. })
    ));
    assert!(
        !store.has_blob(blob).expect("has"),
        "so that it is fetched again"
    );
    store.put_blob(b"some bytes").expect("put again");
    assert_eq!(store.read_blob(blob, 100).expect("read"), b"some bytes");
    fs::remove_file(object_path(&store, b"some bytes", "644.0.0")).expect("remove");
    assert!(matches!(
        store.open_blob(blob),
        Err(StoreError::NoBlob { .. })
    ));
    store.put_blob(b"some bytes").expect("put again");
    assert_clean(&store);
    // A file that an earlier process left unfinished is not taken for the blob.
    let stray = object_path(&store, b"unfinished", "644.0.0");
    write(
        stray.parent().expect("objects"),
        stray.file_name().expect("name").to_str().expect("hex"),
        b"unf",
    );
    let blob = store.put_blob(b"unfinished").expect("put");
    assert_eq!(store.read_blob(blob, 100).expect("read"), b"unfinished");
    assert_clean(&store);
}
