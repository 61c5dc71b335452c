//! The form against itself, against the program of everybody else, and against those who lie.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
};

use proptest::prelude::*;

use super::*;

const MAX: u64 = 1 << 30;

/// Bytes that compress about as logs do.
pub(crate) fn words(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 64);
    let mut state = seed | 1;
    while bytes.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        writeln!(
            bytes,
            "\u{1b}[32mbuild\u{1b}[0m step {} of {}",
            bytes.len(),
            state >> 40
        )
        .expect("memory");
    }
    bytes.truncate(length);
    bytes
}

fn pack(log: &[u8], frame: usize) -> (Vec<u8>, Table) {
    let mut packer = Packer::new().expect("zstd");
    let (mut blob, mut table) = (Vec::new(), Table::default());
    for plain in log.chunks(frame) {
        let packed = packer.pack(plain).expect("zstd");
        table.push(packed.len() as u64, plain.len() as u64);
        blob.extend_from_slice(&packed);
    }
    blob.extend_from_slice(&table.encode());
    (blob, table)
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("write");
    file
}

fn open(bytes: &[u8], max: u64) -> Result<Option<(File, Table)>, FormatError> {
    let file = file(bytes);
    let table = Table::read(&file, bytes.len() as u64, max)?;
    Ok(table.map(|table| (file, table)))
}

/// All that a reader gets of these bytes.
fn read_all(bytes: &[u8], max: u64) -> Result<Option<Vec<u8>>, FormatError> {
    let Some((file, table)) = open(bytes, max)? else {
        return Ok(None);
    };
    let (range, mut out) = (0..table.plain(), Vec::new());
    gather(&file, &table.spans(&range), &range, &mut out)?;
    Ok(Some(out))
}

/// A blob with this body whose table has these lengths, whatever they are.
fn lying(body: &[u8], entries: &[(u32, u32)]) -> Vec<u8> {
    let mut blob = body.to_vec();
    blob.extend_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
    let length = entries.len() * ENTRY_BYTES + FOOTER_BYTES;
    blob.extend_from_slice(&short(length as u64).to_le_bytes());
    for (packed, plain) in entries {
        blob.extend_from_slice(&packed.to_le_bytes());
        blob.extend_from_slice(&plain.to_le_bytes());
    }
    blob.extend_from_slice(&short(entries.len() as u64).to_le_bytes());
    blob.push(0);
    blob.extend_from_slice(&TABLE_MAGIC.to_le_bytes());
    blob
}

fn pieces(of: &[usize]) -> Vec<(u32, u32)> {
    of.chunks(2)
        .map(|pair| (short(pair[0] as u64), short(pair[1] as u64)))
        .collect()
}

#[test]
fn everybodys_zstd_prints_a_log() {
    let log = words(3 * FRAME_BYTES + 17, 1);
    for log in [&log[..], &log[..5], b""] {
        let (blob, _) = pack(log, FRAME_BYTES);
        let child = Command::new("zstd")
            .args(["-d", "-c", "-q"])
            .stdin(file_at_start(&blob))
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("SKIPPED: there is no zstd program");
            return;
        };
        let mut printed = Vec::new();
        let mut out = child.stdout.take().expect("a pipe");
        out.read_to_end(&mut printed).expect("read");
        assert!(child.wait().expect("it ran").success());
        assert!(printed == log, "zstd printed something else");
    }
}

fn file_at_start(bytes: &[u8]) -> File {
    let mut file = file(bytes);
    std::io::Seek::rewind(&mut file).expect("seek");
    file
}

#[test]
fn the_form_is_what_the_public_words_say() {
    let (blob, _) = pack(b"abc", FRAME_BYTES);
    let table = &blob[blob.len() - 25..];
    assert_eq!(table[..8], [0x5e, 0x2a, 0x4d, 0x18, 17, 0, 0, 0]);
    assert_eq!(word(table, 8) as usize, blob.len() - 25);
    assert_eq!(table[12..16], [3, 0, 0, 0]);
    assert_eq!(table[16..], [1, 0, 0, 0, 0, 0xb1, 0xea, 0x92, 0x8f]);
    assert_eq!(blob[..4], [0x28, 0xb5, 0x2f, 0xfd]);
}

#[test]
fn a_table_with_checksums_of_another_writer_is_read() {
    let (blob, table) = pack(b"hello", FRAME_BYTES);
    let mut blob = blob[..long(table.packed())].to_vec();
    let packed = short(table.packed());
    blob.extend_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
    blob.extend_from_slice(&21u32.to_le_bytes());
    for word in [packed, 5, 0x1234_5678, 1] {
        blob.extend_from_slice(&word.to_le_bytes());
    }
    blob.push(SUMMED);
    blob.extend_from_slice(&TABLE_MAGIC.to_le_bytes());
    assert_eq!(read_all(&blob, MAX).expect("good"), Some(b"hello".to_vec()));
}

#[test]
fn bytes_without_a_table_are_no_log_and_no_error() {
    for plain in [&b""[..], b"abc", b"ordinary bytes of some length\n"] {
        assert!(read_all(plain, MAX).expect("plain").is_none());
    }
}

#[test]
fn a_table_that_lies_is_refused() {
    let (blob, table) = pack(&words(1000, 1), 500);
    let body = &blob[..long(table.packed())];
    let [a, b] = [table.ends[0].0, table.ends[1].0 - table.ends[0].0].map(long);
    let good = lying(body, &pieces(&[a, 500, b, 500]));
    assert_eq!(good, blob);
    assert_eq!(read_all(&good, 1000).expect("good"), Some(words(1000, 1)));

    let refused = |what: &str, blob: &[u8], max: u64| {
        let error = read_all(blob, max).expect_err(what).to_string();
        assert!(error.starts_with("it"), "{what}: {error}");
        error
    };
    refused("a bound that is too small", &good, 999);
    refused(
        "frames that overlap",
        &lying(body, &pieces(&[a + b, 500, b, 500])),
        MAX,
    );
    refused("frames with a gap", &lying(body, &pieces(&[a, 500])), MAX);
    refused(
        "frames cut elsewhere",
        &lying(body, &pieces(&[a - 1, 500, b + 1, 500])),
        MAX,
    );
    refused(
        "more plain bytes than there are",
        &lying(body, &pieces(&[a, 501, b, 499])),
        MAX,
    );
    refused(
        "fewer plain bytes than there are",
        &lying(body, &pieces(&[a, 499, b, 501])),
        MAX,
    );
    refused(
        "no plain byte at all",
        &lying(body, &pieces(&[a, 0, b, 500])),
        499,
    );
    refused("frames together", &lying(body, &pieces(&[a + b, 999])), MAX);
    let huge = [(u32::MAX, 1), (1, u32::MAX)];
    for huge in huge {
        refused("a huge frame", &lying(body, &[huge]), MAX);
    }
    refused(
        "many frames",
        &lying(b"", &vec![(0, 1); FRAMES_MAX + 1]),
        MAX,
    );
    refused("frames of nothing", &lying(b"", &[(0, 1)]), MAX);
    for cut in [1, 10, b, a + b] {
        refused("a head that is cut off", &good[cut..], MAX);
    }
    let mut flags = good.clone();
    let at = flags.len() - 5;
    flags[at] = 4;
    refused("reserved flags", &flags, MAX);
    let mut magic = good.clone();
    let at = body.len();
    magic[at] ^= 1;
    refused("no skippable frame", &magic, MAX);
    let mut length = good.clone();
    length[at + 4] ^= 1;
    refused("a wrong length of the table", &length, MAX);
    let mut count = good.clone();
    let at = count.len() - 6;
    count[at] = 255;
    refused("a wrong number of frames", &count, MAX);
    refused("a table alone", &good[good.len() - 9..], MAX);
}

#[test]
fn a_bomb_gives_no_more_than_its_frame_may_have() {
    let zeros = vec![0; 64 << 20];
    let bomb = Packer::new().expect("zstd").pack(&zeros).expect("zstd");
    assert!(bomb.len() < 16 * 1024, "{}", bomb.len());
    let most = FRAME_BYTES_MAX;
    let error = read_all(&lying(&bomb, &pieces(&[bomb.len(), most])), MAX);
    assert!(matches!(error, Err(FormatError::Frame { .. })), "{error:?}");
    // A frame whose header asks for a window of gigabytes.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff, 0x01, 0x00, 0x00];
    let error = read_all(&lying(&window, &pieces(&[window.len(), most])), MAX);
    assert!(error.is_err(), "{error:?}");
}

#[test]
fn spans_are_those_that_hold_the_range() {
    let mut table = Table::default();
    for (packed, plain) in [(3, 0), (5, 10), (7, 10), (2, 0), (11, 10)] {
        table.push(packed, plain);
    }
    let plain = |range: Range<u64>| -> Vec<(Range<u64>, Range<u64>)> {
        let spans = table.spans(&range).into_iter();
        spans.map(|span| (span.packed, span.plain)).collect()
    };
    assert_eq!(plain(0..1), [(3..8, 0..10)]);
    assert_eq!(plain(9..11), [(3..8, 0..10), (8..15, 10..20)]);
    assert_eq!(plain(19..21), [(8..15, 10..20), (17..28, 20..30)]);
    assert_eq!(plain(29..30), [(17..28, 20..30)]);
    assert_eq!(plain(30..30), []);
    assert_eq!(plain(5..5), []);
}

proptest! {
    #[test]
    fn any_range_is_that_of_the_log(
        length in 0usize..5000,
        frame in 1usize..700,
        from in 0usize..5000,
        more in 0usize..5000,
    ) {
        let log = words(length, 7);
        let (blob, _) = pack(&log, frame);
        let (file, table) = open(&blob, MAX).expect("good").expect("a table");
        prop_assert_eq!(table.plain(), length as u64);
        let from = from.min(length);
        let to = (from + more).min(length);
        let range = from as u64..to as u64;
        let mut out = Vec::new();
        gather(&file, &table.spans(&range), &range, &mut out).expect("good");
        prop_assert!(out == log[from..to]);
    }

    #[test]
    fn random_bytes_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        count in 0u32..40,
        flags in any::<u8>(),
        tabled in any::<bool>(),
    ) {
        if tabled {
            bytes.extend_from_slice(&count.to_le_bytes());
            bytes.push(flags);
            bytes.extend_from_slice(&TABLE_MAGIC.to_le_bytes());
        }
        let _ = read_all(&bytes, MAX);
    }

    #[test]
    fn random_lengths_never_panic_nor_give_more_than_they_say(
        body in proptest::collection::vec(any::<u8>(), 0..100),
        entries in proptest::collection::vec((0u32..60, 0u32..60), 0..6),
    ) {
        if let Ok(Some(log)) = read_all(&lying(&body, &entries), MAX) {
            let said: u32 = entries.iter().map(|(_, plain)| plain).sum();
            prop_assert_eq!(log.len(), said as usize);
        }
    }

    #[test]
    fn a_damaged_log_is_an_error_or_the_log(
        at in any::<proptest::sample::Index>(),
        flip in 1u8..=255,
        cut in 0usize..40,
    ) {
        let log = words(3000, 3);
        let (mut blob, _) = pack(&log, 1000);
        blob.truncate(blob.len() - cut);
        let at = at.index(blob.len());
        blob[at] ^= flip;
        if let Ok(Some(read)) = read_all(&blob, MAX) {
            prop_assert!(read == log, "other bytes were shown");
        }
    }
}
