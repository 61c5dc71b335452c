//! A tree of files as a Debian system has them, the same for the same number of files on every
//! machine: sizes, depths and how well the bytes compress are those of `/usr` of a machine that
//! builds OCaml, without its few files larger than [`FILE_BYTES_MAX`].

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Largest file, bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Files of one directory, on average that of `/usr`.
const FILES_PER_DIR: u64 = 8;
/// Sizes at these shares of all files, ascending: between two of them sizes grow evenly in their
/// logarithm.
const SIZES: [(f64, f64); 8] = [
    (0.0, 1.0),
    (0.05, 210.0),
    (0.25, 969.0),
    (0.5, 2_110.0),
    (0.75, 7_379.0),
    (0.95, 60_496.0),
    (0.99, 337_212.0),
    (1.0, FILE_BYTES_MAX as f64),
];
/// Words that texts are made of.
const WORDS: usize = 8192;

/// Numbers that look random and are the same everywhere (splitmix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Where the file of this number is below the tree.
pub(crate) fn path(number: u64) -> PathBuf {
    let dir = number / FILES_PER_DIR;
    format!("d{:02}/d{:02}/d{dir}/f{number}", dir % 29, dir / 29 % 31).into()
}

/// Writes a tree of `files` files below `root`, which must not exist, and waits for the disk.
pub(crate) fn write(root: &Path, files: u64) -> io::Result<u64> {
    fs::create_dir(root)?;
    let words = words();
    let mut bytes = Vec::new();
    let mut sum = 0;
    for number in 0..files {
        let path = root.join(path(number));
        if number % FILES_PER_DIR == 0 {
            fs::create_dir_all(path.parent().unwrap_or(root))?;
        }
        fill(&mut bytes, number, &words);
        sum += bytes.len() as u64;
        File::create(&path)?.write_all(&bytes)?;
        if number % 20 == 7 {
            let name = format!("l{number}");
            std::os::unix::fs::symlink(format!("f{number}"), path.with_file_name(name))?;
        }
    }
    rustix::fs::syncfs(File::open(root)?)?;
    Ok(sum)
}

fn words() -> Vec<Vec<u8>> {
    let mut numbers = Numbers(1);
    let mut word = || {
        let length = 2 + numbers.next() % 9;
        let letters = (0..length).map(|_| b'a' + (numbers.next() % 26) as u8);
        letters.chain([b' ']).collect()
    };
    (0..WORDS).map(|_| word()).collect()
}

/// The bytes of the file of this number: three in four are text, the others like machine code.
fn fill(bytes: &mut Vec<u8>, number: u64, words: &[Vec<u8>]) {
    let mut numbers = Numbers(number << 20 | 0xf00d);
    let size = size(numbers.share());
    bytes.clear();
    bytes.extend_from_slice(format!("{number:x}\n").as_bytes());
    let is_text = number % 4 != 3;
    while bytes.len() < size {
        let next = numbers.next();
        if !is_text && next.is_multiple_of(8) {
            bytes.extend_from_slice(&next.to_le_bytes()[2..]);
        }
        // The lower a word's number, the more often it is used.
        let (one, other) = (next as u16 as usize, (next >> 16) as u16 as usize);
        let at = (((next >> 32) as usize % WORDS) * one) >> 16;
        bytes.extend_from_slice(&words[(at * other) >> 16]);
    }
    bytes.truncate(size.max(1));
}

fn size(share: f64) -> usize {
    let at = SIZES
        .partition_point(|(upto, _)| *upto <= share)
        .clamp(1, SIZES.len() - 1);
    let ((from, low), (to, high)) = (SIZES[at - 1], SIZES[at]);
    (low.ln() + (high.ln() - low.ln()) * (share - from) / (to - from)).exp() as usize
}
