//! Packs of every version ever written stay readable.

use super::*;

/// A pack of [`sample_1`], written by the first program that knew version 1.
const VERSION_1: &[u8] = include_bytes!("golden-1.pack");

fn sample_1() -> Files {
    let mut files = Files::default();
    files.add("empty", "");
    for n in 0..40 {
        files.add(&format!("c/{n}.ml"), text(n + 10, 20));
    }
    files.add(
        "bin/tool",
        [b"\x7fELF".to_vec(), b"0123456789abcdef".repeat(9000)].concat(),
    );
    files.add_listing(b"listing".repeat(2000));
    files
}

#[test]
fn version_1_is_read() {
    let pack = Pack::open(VERSION_1.to_vec()).unwrap();
    let files = sample_1();
    files.assert_all_in(&pack, &Alone);
    assert!(!pack.index.dictionaries.is_empty() && !pack.index.large.is_empty());
    assert_eq!(
        PackId::of(&VERSION_1.to_vec()).unwrap().to_string(),
        "86714ddf32945e16aee364008f13e653a595eab6ac1e4377c256d8972404bcfe"
    );
}

#[test]
fn head_and_foot_are_as_they_were() {
    assert_eq!(VERSION_1[..16], *b"CARAPACK\x01\0\0\0\0\0\0\0");
    assert!(VERSION_1.ends_with(b"\0\0\0\0\0\0\0\0KCAPARAC"));
    let foot = &VERSION_1[VERSION_1.len() - 64..];
    let index_at = u64::from_le_bytes(foot[..8].try_into().unwrap()) as usize;
    let packed = u32::from_le_bytes(foot[8..12].try_into().unwrap()) as usize;
    let index = &VERSION_1[index_at..][..packed];
    assert_eq!(index_at + packed + 64, VERSION_1.len());
    assert_eq!(foot[16..48], *blake3::hash(index).as_bytes());
}

#[test]
fn an_index_is_written_as_it_was() {
    let files = sample_1();
    let options = Options {
        dictionary_bytes: 0,
        ..quick()
    };
    let pack = Pack::open(files.pack(options)).unwrap();
    // What the compressor makes of it may change with its version; the columns may not.
    let mut index = pack.index.clone();
    for frame in &mut index.frames {
        frame.span.packed_bytes = 1;
    }
    assert_eq!(
        BlobId::of(&index.encode()).to_string(),
        "a116d5e28cb3ae9aa5fdbdc5c5efdb1b1564c2238d58e87d44244d636ddbf2c4"
    );
}
