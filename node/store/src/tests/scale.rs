use std::time::Instant;

use super::*;

/// Files of 50,000 bytes: 20,000 of them are what a base has. Prints what each step took.
#[test]
fn a_base_of_many_files_is_ingested_and_its_sibling_shares_it() {
    let files: u32 = std::env::var("CARAVAN_STORE_TEST_FILES")
        .map_or(1000, |files| files.parse().expect("a number"));
    let (_dir, store) = new_store();
    let workspace = store.workspace().expect("a workspace");
    let fill = |workspace: &Workspace| {
        let mut bytes = vec![0u8; 50_000];
        for n in 0..files {
            bytes[..4].copy_from_slice(&n.to_le_bytes());
            write(&workspace.upper(), &format!("d{}/f{n}", n / 20), &bytes);
        }
    };
    fill(&workspace);
    let start = Instant::now();
    let first = workspace.ingest().expect("good");
    println!("ingest of {files} new files: {:?}", start.elapsed());
    let workspace = store.workspace().expect("a workspace");
    fill(&workspace);
    write(&workspace.upper(), "d1/f20", b"changed");
    let start = Instant::now();
    let second = workspace.ingest().expect("good");
    println!("ingest with one file changed: {:?}", start.elapsed());
    assert_ne!(first.tree, second.tree);
    let start = Instant::now();
    assert!(store.missing(first.tree).expect("missing").is_empty());
    println!("missing: {:?}", start.elapsed());
    let start = Instant::now();
    let report = store.check(false, &mut |_, _| {}).expect("check");
    println!("check: {:?}", start.elapsed());
    assert_eq!(report.findings, []);
    let stat = store.stat().expect("stat");
    assert_eq!(
        stat.objects,
        u64::from(files) + 3,
        "files, the changed one, two listings"
    );
    let workspace = store.workspace().expect("a workspace");
    for n in 0..64 {
        write(&workspace.upper(), &format!("new{n}"), [n; 1000]);
    }
    let start = Instant::now();
    workspace.ingest().expect("good");
    println!("ingest of 64 new files: {:?}", start.elapsed());
    let start = Instant::now();
    for n in 0..100u32 {
        store.put_blob(&n.to_le_bytes()).expect("put");
    }
    println!("100 blobs one by one: {:?}", start.elapsed());
}
