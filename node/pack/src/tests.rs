use std::{collections::BTreeMap, io};

use caravan_protocol::ids::BlobId;

use crate::{
    Alone, Blobs, Elsewhere, Hint, Nowhere, Options, Others, Pack, PackError, PackId, ReadAt,
    Reader, Result, Want, Written, format::Footer, frame, write,
};

mod golden;
mod hostile;
mod packing;
mod property;

/// Blobs in memory, each wanted at a path.
#[derive(Default, Clone)]
struct Files {
    bytes: BTreeMap<BlobId, Vec<u8>>,
    paths: Vec<(BlobId, Option<String>)>,
}

impl Files {
    fn add(&mut self, path: &str, bytes: impl Into<Vec<u8>>) -> BlobId {
        let bytes = bytes.into();
        let blob = BlobId::of(&bytes);
        self.bytes.insert(blob, bytes);
        self.paths.push((blob, Some(path.to_owned())));
        blob
    }

    fn add_listing(&mut self, bytes: impl Into<Vec<u8>>) -> BlobId {
        let blob = self.add("", bytes);
        self.paths.last_mut().unwrap().1 = None;
        blob
    }

    fn wants(&self) -> Vec<Want<'_>> {
        self.paths
            .iter()
            .map(|(blob, path)| Want {
                blob: *blob,
                hint: match path {
                    Some(path) => Hint::Path(path.as_bytes()),
                    None => Hint::Tree,
                },
            })
            .collect()
    }

    fn pack_with(&self, elsewhere: &impl Elsewhere, options: Options) -> (Written, Vec<u8>) {
        let mut bytes = Vec::new();
        let written = write(&self.wants(), &[], self, elsewhere, options, &mut bytes).unwrap();
        assert_eq!(written.bytes, bytes.len() as u64);
        assert_eq!(PackId::of(&bytes).unwrap(), written.id);
        (written, bytes)
    }

    fn pack(&self, options: Options) -> Vec<u8> {
        self.pack_with(&Nowhere, options).1
    }

    fn assert_all_in(&self, pack: &Pack<Vec<u8>>, others: &impl Others) {
        for (blob, bytes) in &self.bytes {
            assert_eq!(pack.size(*blob), Some(bytes.len() as u64));
            assert_eq!(&pack.read(*blob, u64::MAX, others).unwrap(), bytes);
        }
        assert!(pack.verify(others).is_empty());
    }
}

impl Blobs for Files {
    type Blob = Vec<u8>;

    fn open(&self, blob: BlobId) -> io::Result<Vec<u8>> {
        self.bytes
            .get(&blob)
            .cloned()
            .ok_or(io::ErrorKind::NotFound.into())
    }
}

/// Quick, with several frames and a dictionary even for little.
fn quick() -> Options {
    Options {
        level: 3,
        frame_bytes: 32 * 1024,
        dictionary_bytes: 1024,
        threads: 2,
    }
}

/// Bytes that compress a little and repeat nowhere.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8 & 0x3f
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn text(seed: u64, lines: u64) -> Vec<u8> {
    let line = |n: u64| {
        format!(
            "let value_{} = {} + {seed};\n",
            n * 7919 % 1000,
            n * seed % 977
        )
    };
    (0..lines).map(line).collect::<String>().into_bytes()
}

/// A few of everything.
fn sample() -> Files {
    let mut files = Files::default();
    files.add("empty", "");
    files.add("a/one.ml", text(1, 30));
    files.add("a/two.ml", text(2, 40));
    files.add("b/one.ml", text(1, 30));
    for n in 0..40 {
        files.add(&format!("c/{n}.ml"), text(n + 10, 20));
    }
    files.add("dense.gz", [b"\x1f\x8b".to_vec(), noise(3, 3000)].concat());
    files.add(
        "bin/tool",
        [b"\x7fELF".to_vec(), noise(4, 300_000)].concat(),
    );
    files.add("bin/table", [vec![0; 4], noise(5, 70_000)].concat());
    files.add_listing(noise(6, 20_000));
    files
}
