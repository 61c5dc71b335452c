//! Packs from other nodes: whatever the bytes, there is an error or the right bytes, in bounded
//! space, and never a panic.

use super::*;
use crate::{index::Index, limits};

fn footer(bytes: &Vec<u8>) -> Footer {
    Footer::read(bytes).unwrap()
}

/// The index of a pack, expanded.
fn index_of(bytes: &Vec<u8>) -> Vec<u8> {
    let footer = footer(bytes);
    let at = usize::try_from(footer.index_at).unwrap();
    let packed = &bytes[at..at + footer.packed_bytes as usize];
    let decoders = frame::Decoders::default();
    decoders.expand(packed, footer.index_bytes, None).unwrap()
}

/// The same pack with another index, sealed as its author would.
pub(super) fn with_index(bytes: &Vec<u8>, index: &[u8]) -> Vec<u8> {
    let index_at = footer(bytes).index_at;
    let packed = frame::compress(index, 1, None).unwrap();
    let footer = Footer {
        index_at,
        packed_bytes: u32::try_from(packed.len()).unwrap(),
        index_bytes: u32::try_from(index.len()).unwrap(),
        index_hash: *blake3::hash(&packed).as_bytes(),
    };
    let mut changed = bytes[..usize::try_from(index_at).unwrap()].to_vec();
    changed.extend_from_slice(&packed);
    changed.extend_from_slice(&footer.to_bytes());
    changed
}

/// Opens and reads everything that there is; whatever is given is what its name says.
pub(super) fn try_all(bytes: Vec<u8>) -> std::result::Result<usize, String> {
    let pack = Pack::open(bytes).map_err(|error| error.to_string())?;
    let mut errors = Vec::new();
    let mut good = 0;
    for (blob, size) in pack.blobs() {
        match pack.read(blob, 1 << 20, &Alone) {
            Ok(bytes) => {
                assert_eq!(BlobId::of(&bytes), blob);
                assert_eq!(bytes.len() as u64, size);
                good += 1;
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
    match errors.is_empty() {
        true => Ok(good),
        false => Err(errors.join("; ")),
    }
}

fn small() -> Files {
    let mut files = Files::default();
    for n in 0..12 {
        files.add(&format!("{n}.ml"), text(n, 20));
    }
    files.add("tool", b"0123456789abcdef".repeat(9000));
    files
}

#[test]
fn every_flipped_bit_is_seen_by_name_and_never_gives_other_bytes() {
    let whole = small().pack(quick());
    let id = PackId::of(&whole).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        assert_ne!(PackId::of(&changed).unwrap(), id);
        let _ = try_all(changed);
    }
}

#[test]
fn every_truncation_is_refused() {
    let whole = small().pack(quick());
    for length in 0..whole.len() {
        let refused = Pack::open(whole[..length].to_vec()).unwrap_err();
        assert!(
            matches!(refused, PackError::NotAPack { .. }),
            "{length}: {refused}"
        );
    }
    let mut longer = whole;
    longer.push(0);
    assert!(matches!(
        Pack::open(longer),
        Err(PackError::NotAPack { .. })
    ));
}

#[test]
fn a_newer_version_is_named() {
    let mut newer = small().pack(quick());
    newer[8] = 2;
    let refused = Pack::open(newer).unwrap_err();
    assert!(matches!(refused, PackError::Version { found: 2, known: 1 }));
    assert!(refused.to_string().contains("version 2"), "{refused}");
}

#[test]
fn every_word_of_an_index_may_lie() {
    let whole = small().pack(quick());
    let index = index_of(&whole);
    for at in (0..index.len()).step_by(2) {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = index.clone();
            changed[at] = value;
            let _ = try_all(with_index(&whole, &changed));
        }
        let _ = try_all(with_index(&whole, &index[..at]));
    }
}

fn refused(whole: &Vec<u8>, change: impl FnOnce(&mut Index)) -> String {
    let mut index = Index::decode(&index_of(whole), footer(whole).index_at).unwrap();
    change(&mut index);
    try_all(with_index(whole, &index.encode())).unwrap_err()
}

type Lie = fn(&mut Index);

#[test]
fn contradictions_are_told_apart() {
    let whole = small().pack(quick());
    let cases: [(&str, Lie); 10] = [
        ("twice", |index| index.units[1].id = index.units[0].id),
        ("twice", |index| index.large[0].id = index.units[0].id),
        ("names no unit", |index| index.parts[0] = u32::MAX),
        ("more parts", |index| index.large[0].parts.end += 1),
        ("no large file", |index| index.large[0].parts.end -= 1),
        ("the index begins", |index| {
            index.frames[0].span.packed_bytes -= 1
        }),
        ("no dictionary", |index| index.frames[0].dictionary = 200),
        ("hold more units", |index| {
            index.frames.last_mut().unwrap().units.end += 1
        }),
        ("units of no frame", |index| index.frames[0].units.end -= 1),
        ("has 4294967295 bytes", |index| {
            index.units[0].bytes = u32::MAX
        }),
    ];
    for (word, change) in cases {
        let reason = refused(&whole, change);
        assert!(reason.contains(word), "{word}: {reason}");
    }
}

#[test]
fn a_count_beyond_its_bound_is_refused_before_room_is_made() {
    let whole = small().pack(quick());
    for column in 0..8 {
        let mut index = index_of(&whole);
        index[column * 4..column * 4 + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let refused = Pack::open(with_index(&whole, &index)).unwrap_err();
        assert!(matches!(refused, PackError::TooMany { .. }), "{refused}");
    }
}

#[test]
fn an_index_that_would_expand_beyond_its_bound_is_refused() {
    let whole = small().pack(quick());
    let mut bomb = with_index(&whole, &vec![0; 10 << 20]);
    let at = bomb.len() - 64 + 12;
    // Says less than it expands to.
    bomb[at..at + 4].copy_from_slice(&100_u32.to_le_bytes());
    assert!(matches!(
        Pack::open(bomb.clone()),
        Err(PackError::Damaged { .. })
    ));
    let beyond = limits::INDEX_BYTES_MAX + 1;
    bomb[at..at + 4].copy_from_slice(&beyond.to_le_bytes());
    assert!(matches!(Pack::open(bomb), Err(PackError::TooMany { .. })));
}

#[test]
fn a_frame_that_expands_to_more_than_it_says_is_refused() {
    let mut files = Files::default();
    files.add("a", vec![b'a'; 1000]);
    let whole = files.pack(quick());
    let mut index = Index::decode(&index_of(&whole), footer(&whole).index_at).unwrap();
    let bomb = frame::compress(&vec![0; 64 << 20], 3, None).unwrap();
    // The frame in the file is replaced by one that expands to 64 MiB.
    index.frames[0].span.packed_bytes = u32::try_from(bomb.len()).unwrap();
    index.units[0].bytes = 100_000;
    let mut changed = whole[..16].to_vec();
    changed.extend_from_slice(&bomb);
    let index_at = changed.len() as u64;
    let index = index.encode();
    let packed = frame::compress(&index, 1, None).unwrap();
    let footer = Footer {
        index_at,
        packed_bytes: u32::try_from(packed.len()).unwrap(),
        index_bytes: u32::try_from(index.len()).unwrap(),
        index_hash: *blake3::hash(&packed).as_bytes(),
    };
    changed.extend_from_slice(&packed);
    changed.extend_from_slice(&footer.to_bytes());
    let reason = try_all(changed).unwrap_err();
    assert!(reason.contains("frame 0 is damaged"), "{reason}");
}

#[test]
fn a_file_that_names_one_unit_for_ever_is_bounded_by_what_is_asked() {
    let mut files = Files::default();
    files.add("tool", b"0123456789abcdef".repeat(9000));
    let whole = files.pack(quick());
    let mut index = Index::decode(&index_of(&whole), footer(&whole).index_at).unwrap();
    let blob = index.large[0].id;
    index.parts = vec![0; 100_000];
    index.large[0].parts = 0..100_000;
    let pack = Pack::open(with_index(&whole, &index.encode())).unwrap();
    assert!(pack.size(blob).unwrap() > 1 << 30);
    let refused = pack.read(blob, 144_000, &Alone).unwrap_err();
    assert!(matches!(refused, PackError::TooLarge { .. }), "{refused}");
    // Beyond what any blob may have, it is no pack.
    index.parts = vec![0; 1_000_000];
    index.large[0].parts = 0..1_000_000;
    let refused = Pack::open(with_index(&whole, &index.encode())).unwrap_err();
    assert!(
        refused.to_string().contains("more than a blob may"),
        "{refused}"
    );
}

#[test]
fn a_damaged_dictionary_is_an_error_of_each_read_that_needs_it() {
    let files = sample();
    let whole = files.pack(quick());
    let pack = Pack::open(whole.clone()).unwrap();
    let span = pack.index.dictionaries[0];
    let mut changed = whole;
    let from = usize::try_from(span.at).unwrap();
    changed[from..from + span.packed_bytes as usize].fill(0xaa);
    let pack = Pack::open(changed).unwrap();
    let flaws = pack.verify(&Alone);
    assert!(!flaws.is_empty() && flaws.len() < files.bytes.len());
    let text = flaws[0].error.to_string();
    assert!(text.contains("dictionary 1 is damaged"), "{text}");
}

#[test]
fn a_disk_that_fails_is_no_damage() {
    struct Broken;
    impl ReadAt for Broken {
        fn size(&self) -> io::Result<u64> {
            Ok(1000)
        }
        fn read_exact_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
            Err(io::Error::other("broken"))
        }
    }
    assert!(matches!(Pack::open(Broken), Err(PackError::Io { .. })));
}
