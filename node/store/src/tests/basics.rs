use caravan_protocol::{
    claim::{Claim, Environment, Verdict},
    identity::{Key, Signed},
    ids::{ActionKey, MeshId},
    time::Stamp,
};

use super::*;
use crate::{
    Edit,
    limits::{CLAIMS_PER_ACTION_MAX, CLAIMS_PER_SIGNER_MAX},
};

#[test]
fn a_blob_is_read_back_after_a_restart() {
    let (dir, store) = new_store();
    let blob = store.put_blob(b"some bytes").expect("put");
    assert_eq!(blob, BlobId::of(b"some bytes"));
    assert_eq!(store.put_blob(b"some bytes").expect("again"), blob);
    let empty = store.put_blob(b"").expect("no bytes are bytes too");
    drop(store);
    let store = Store::open(&dir.path().join("store")).expect("open again");
    assert_eq!(store.read_blob(blob, 100).expect("read"), b"some bytes");
    assert_eq!(store.read_blob(empty, 0).expect("read"), b"");
    assert_eq!(store.blob_size(blob).expect("size"), Some(10));
    assert!(!store.has_blob(BlobId::of(b"other")).expect("has"));
    let stat = store.stat().expect("stat");
    assert_eq!((stat.blobs, stat.bytes, stat.objects), (2, 10, 2));
    assert!(matches!(
        store.read_blob(blob, 9),
        Err(StoreError::TooLarge { .. })
    ));
    assert!(matches!(
        store.open_blob(BlobId::of(b"other")),
        Err(StoreError::NoBlob { .. })
    ));
    assert_clean(&store);
}

#[test]
fn wrong_or_too_many_bytes_are_refused_and_removed() {
    let (_dir, store) = new_store();
    let want = BlobId::of(b"good");
    let wrong = store.put_reader(&mut &b"evil"[..], Some(want), 100);
    assert!(
        matches!(wrong, Err(StoreError::WrongBytes { .. })),
        "{wrong:?}"
    );
    let long = store.put_reader(&mut std::io::repeat(7), None, 1_000_000);
    assert!(matches!(long, Err(StoreError::TooLarge { .. })), "{long:?}");
    assert!(!store.has_blob(want).expect("has"));
    assert_eq!(store.stat().expect("stat").objects, 0);
    assert_clean(&store);
    let good = store.put_reader(&mut &b"good"[..], Some(want), 4);
    assert_eq!(good.expect("the right bytes"), want);
}

#[test]
fn a_batch_is_kept_whole_or_not_at_all() {
    let (_dir, store) = new_store();
    let mut batch = store.batch();
    let blobs: Vec<BlobId> = (0..50u8)
        .map(|n| batch.put_blob(&[n; 30]).expect("put"))
        .collect();
    batch.put_blob(&[0; 30]).expect("the same again");
    assert!(
        !store.has_blob(blobs[0]).expect("has"),
        "it is not committed yet"
    );
    drop(batch);
    assert!(!store.has_blob(blobs[0]).expect("has"));
    assert_clean(&store);
    let mut batch = store.batch();
    for n in 0..50u8 {
        batch.put_blob(&[n; 30]).expect("put");
    }
    batch.commit().expect("commit");
    assert!(blobs.iter().all(|blob| store.has_blob(*blob).expect("has")));
    assert_clean(&store);
}

#[test]
fn a_store_that_is_open_is_refused_by_name() {
    let (_dir, store) = new_store();
    let error = Store::open(store.dir()).expect_err("it is locked");
    let text = error.to_string();
    assert!(matches!(error, StoreError::Locked { .. }));
    assert!(text.contains(&store.dir().display().to_string()), "{text}");
    assert!(text.contains(&std::process::id().to_string()), "{text}");
    let dir = store.dir().to_owned();
    drop(store);
    Store::open(&dir).expect("it is free again");
}

#[test]
fn a_later_layout_is_refused_and_left_alone() {
    let (_dir, store) = new_store();
    let dir = store.dir().to_owned();
    drop(store);
    const META: redb::TableDefinition<'static, &str, &[u8]> = redb::TableDefinition::new("meta");
    let db = redb::Database::open(dir.join("index.redb")).expect("the index");
    let txn = db.begin_write().expect("a transaction");
    txn.open_table(META)
        .expect("meta")
        .insert("version", &99u32.to_le_bytes()[..])
        .expect("insert");
    txn.commit().expect("commit");
    drop(db);
    let error = Store::open(&dir).expect_err("it is newer");
    assert!(
        matches!(error, StoreError::Newer { found: 99, .. }),
        "{error}"
    );
}

#[test]
fn nobody_else_may_walk_into_the_store() {
    let (_dir, store) = new_store();
    for name in ["objects", "layers", "work"] {
        assert_eq!(
            stat(&store.dir().join(name)).mode() & 0o7777,
            0o700,
            "{name}"
        );
    }
}

#[test]
fn records_are_edited_together_and_listed_by_kind() {
    let (dir, store) = new_store();
    store.put_record("pin", "b", b"2").expect("put");
    store.put_record("pin", "a", b"1").expect("put");
    store.put_record("pi", "z", b"0").expect("put");
    store.put_record("pin2", "a", b"3").expect("put");
    let put = |kind: &str| Edit::Put {
        kind: kind.into(),
        key: "a".into(),
        bytes: b"9".to_vec(),
    };
    let remove = Edit::Remove {
        kind: "pin".into(),
        key: "b".into(),
    };
    store
        .edit_records(&[put(""), remove.clone()])
        .expect_err("an empty kind is refused");
    assert!(
        store.record("pin", "b").expect("get").is_some(),
        "nothing was done"
    );
    store
        .edit_records(&[put("pin"), remove.clone(), remove])
        .expect("edit");
    drop(store);
    let store = Store::open(&dir.path().join("store")).expect("open");
    assert_eq!(
        store.records("pin").expect("list"),
        [("a".to_owned(), b"9".to_vec())]
    );
    assert_eq!(store.records("none").expect("list"), []);
    store.remove_record("pin2", "a").expect("remove");
    assert_eq!(store.record("pin2", "a").expect("get"), None);
    assert_eq!(store.stat().expect("stat").records, 2);
    let long = "k".repeat(300);
    assert!(store.put_record("pin", &long, b"").is_err());
    let big = vec![0; crate::limits::RECORD_BYTES_MAX + 1];
    assert!(store.put_record("pin", "big", &big).is_err());
}

fn claim(node: u8, wall_ms: u64) -> Signed<Claim> {
    let claim = Claim {
        mesh: MeshId::from_bytes([1; 32]),
        action: ActionKey::from_bytes([2; 32]),
        verdict: Verdict::Pass,
        output: None,
        outputs: Default::default(),
        log: None,
        started: Stamp::from_ms(5),
        wall_ms,
        cpu_ms: 0,
        environment: Environment::default(),
    };
    Signed::sign(&Key::from_secret(&[node; 32]), &claim).expect("small")
}

#[test]
fn a_claim_is_kept_once_and_one_signer_cannot_crowd_out_others() {
    let (_dir, store) = new_store();
    let action = ActionKey::from_bytes([2; 32]);
    let other = ActionKey::from_bytes([3; 32]);
    store.put_claim(action, &claim(1, 0)).expect("put");
    store.put_claim(action, &claim(1, 0)).expect("put");
    assert_eq!(store.claims(action).expect("claims"), [claim(1, 0)]);
    for n in 0..20 {
        store.put_claim(action, &claim(2, n)).expect("put");
    }
    let kept = store.claims(action).expect("claims");
    assert_eq!(kept.len(), 1 + CLAIMS_PER_SIGNER_MAX);
    assert_eq!(kept[0], claim(1, 0), "the other signer's claim stays");
    assert_eq!(
        kept[CLAIMS_PER_SIGNER_MAX],
        claim(2, 19),
        "the newest is kept"
    );
    for n in 3..100 {
        store.put_claim(action, &claim(n, 0)).expect("put");
    }
    let kept = store.claims(action).expect("claims");
    assert_eq!(kept.len(), CLAIMS_PER_ACTION_MAX);
    assert_eq!(kept.last(), Some(&claim(99, 0)));
    assert_eq!(store.claims(other).expect("claims"), []);
    assert_eq!(
        store.stat().expect("stat").claims,
        CLAIMS_PER_ACTION_MAX as u64
    );
}
