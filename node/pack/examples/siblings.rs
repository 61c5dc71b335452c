//! Measures packs: generated siblings of a Debian base, as package upgrades would make them, in
//! the cold form beside one solid `zstd -19 --long`.
//!
//! ```text
//! siblings tar BASE COUNT                 writes one tar of all siblings, to be compressed
//! siblings pack BASE COUNT LEVEL FRAME_KIB DICTIONARY_KIB OUT
//! siblings read OUT READS                 reads random files, each from a frame not yet expanded
//! siblings verify OUT                     reads everything and compares it with its names
//! ```
//! BASE is a directory with a base's files. All of it is deterministic.
#![expect(clippy::unwrap_used, reason = "a failed measurement is no measurement")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    time::Instant,
};

use caravan_pack::{Alone, Blobs, Hint, Nowhere, Options, Pack, PackId, ReadAt, Want, write};
use caravan_protocol::{
    ids::BlobId,
    tree::{Entry, Tree},
};

/// What one sibling changes.
const TEXTS_EDITED: usize = 150;
const PROGRAMS_REBUILT: usize = 100;
const FILES_REPLACED: usize = 25;
const FILES_ADDED: usize = 25;
const FILES_REMOVED: usize = 25;

/// A small generator whose numbers never change.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

#[derive(Clone)]
enum Content {
    Disk(PathBuf),
    Memory(Vec<u8>),
}

impl Content {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Disk(path) => fs::read(path).unwrap(),
            Self::Memory(bytes) => bytes.clone(),
        }
    }
}

impl ReadAt for Content {
    fn size(&self) -> io::Result<u64> {
        match self {
            Self::Disk(path) => Ok(fs::metadata(path)?.len()),
            Self::Memory(bytes) => bytes.size(),
        }
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match self {
            Self::Disk(path) => File::open(path)?.read_exact_at(buffer, offset),
            Self::Memory(bytes) => bytes.read_exact_at(buffer, offset),
        }
    }
}

#[derive(Clone)]
struct Item {
    mode: u16,
    blob: BlobId,
    size: u64,
}

/// A base and what its siblings bring.
struct World {
    contents: BTreeMap<BlobId, Content>,
    links: Vec<(Vec<u8>, Vec<u8>)>,
    dirs: Vec<(Vec<u8>, u16)>,
    siblings: Vec<BTreeMap<Vec<u8>, Item>>,
}

impl Blobs for World {
    type Blob = Content;

    fn open(&self, blob: BlobId) -> io::Result<Content> {
        Ok(self.contents[&blob].clone())
    }
}

impl World {
    fn of(base: &Path, count: usize) -> Self {
        let mut world = Self {
            contents: BTreeMap::new(),
            links: Vec::new(),
            dirs: Vec::new(),
            siblings: Vec::new(),
        };
        let mut files = BTreeMap::new();
        world.walk(base, base, &mut files);
        for number in 0..count {
            let sibling = world.sibling(&files, number as u64);
            world.siblings.push(sibling);
        }
        world
    }

    fn walk(&mut self, base: &Path, dir: &Path, files: &mut BTreeMap<Vec<u8>, Item>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(base)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec();
            let meta = fs::symlink_metadata(&path).unwrap();
            let mode = (meta.mode() & 0o7777) as u16;
            if meta.is_dir() {
                self.dirs.push((name, mode));
                self.walk(base, &path, files);
            } else if meta.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                self.links
                    .push((name, target.as_os_str().as_bytes().to_vec()));
            } else if meta.is_file() {
                let bytes = fs::read(&path).unwrap();
                let item = self.keep(&bytes, mode, Content::Disk(path));
                files.insert(name, item);
            }
        }
    }

    fn keep(&mut self, bytes: &[u8], mode: u16, content: Content) -> Item {
        let blob = BlobId::of(bytes);
        self.contents.entry(blob).or_insert(content);
        Item {
            mode,
            blob,
            size: bytes.len() as u64,
        }
    }

    /// The first sibling is the base itself.
    fn sibling(&mut self, base: &BTreeMap<Vec<u8>, Item>, number: u64) -> BTreeMap<Vec<u8>, Item> {
        let mut files = base.clone();
        if number == 0 {
            return files;
        }
        let mut random = Random(number);
        let mut texts: Vec<Vec<u8>> = Vec::new();
        let mut programs: Vec<Vec<u8>> = Vec::new();
        for (path, item) in base {
            let bytes = self.contents[&item.blob].bytes();
            if bytes.starts_with(b"\x7fELF") {
                programs.push(path.clone());
            } else if bytes.len() > 200 && !bytes[..bytes.len().min(512)].contains(&0) {
                texts.push(path.clone());
            }
        }
        let all: Vec<Vec<u8>> = base.keys().cloned().collect();
        let mut change = |world: &mut Self, from: &[Vec<u8>], how: Change, random: &mut Random| {
            let path = &from[random.below(from.len())];
            let item = &base[path];
            let old = world.contents[&item.blob].bytes();
            let new = how(&old, random);
            let item = world.keep(&new, item.mode, Content::Memory(new.clone()));
            files.insert(path.clone(), item);
        };
        for _ in 0..TEXTS_EDITED {
            change(self, &texts, edited, &mut random);
        }
        for _ in 0..PROGRAMS_REBUILT {
            change(self, &programs, rebuilt, &mut random);
        }
        for _ in 0..FILES_REPLACED {
            change(self, &all, replaced, &mut random);
        }
        for added in 0..FILES_ADDED {
            let like = &texts[random.below(texts.len())];
            let old = self.contents[&base[like].blob].bytes();
            let new = replaced(&old, &mut random);
            let item = self.keep(&new, 0o644, Content::Memory(new.clone()));
            let mut path = like.clone();
            path.extend_from_slice(format!("-new{added}").as_bytes());
            files.insert(path, item);
        }
        for _ in 0..FILES_REMOVED {
            files.remove(&all[random.below(all.len())]);
        }
        files
    }

    fn tree(&self, files: &BTreeMap<Vec<u8>, Item>) -> Tree {
        let dirs = self.dirs.iter().map(|(path, mode)| Entry::dir(path, *mode));
        let links = self.links.iter().map(|(path, to)| Entry::symlink(path, to));
        let files = files
            .iter()
            .map(|(path, item)| Entry::file(path, item.mode, item.blob, item.size));
        Tree::new(dirs.chain(links).chain(files).collect()).unwrap()
    }
}

type Change = fn(&[u8], &mut Random) -> Vec<u8>;

/// A few lines changed, added and removed.
fn edited(old: &[u8], random: &mut Random) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = old
        .split_inclusive(|&b| b == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    for _ in 0..1 + random.below(6) {
        let at = random.below(lines.len());
        match random.below(3) {
            0 => {
                let text = format!("# version 1.{}.{}\n", random.below(90), random.below(90));
                lines.insert(at, text.into_bytes());
            }
            1 if lines.len() > 1 => {
                lines.remove(at);
            }
            _ => lines[at].extend_from_slice(format!("{:x}\n", random.next()).as_bytes()),
        }
    }
    lines.concat()
}

/// The same program from another build: addresses differ all over it, and a piece has grown.
fn rebuilt(old: &[u8], random: &mut Random) -> Vec<u8> {
    let mut new = old.to_vec();
    let mut at = 64 + random.below(512);
    while at + 4 < new.len() {
        new[at] = random.next() as u8;
        new[at + 1] = random.next() as u8;
        at += 256 + random.below(1024);
    }
    let from = random.below(old.len());
    let count = (64 + random.below(512)).min(old.len() - from);
    let grown = old[from..from + count].to_vec();
    let to = random.below(new.len());
    new.splice(to..to, grown);
    new
}

/// Other content with the same words: pieces of the old in another order.
fn replaced(old: &[u8], random: &mut Random) -> Vec<u8> {
    let mut new = Vec::with_capacity(old.len());
    while new.len() < old.len() {
        let from = random.below(old.len());
        let count = (4 + random.below(28)).min(old.len() - from);
        new.extend_from_slice(&old[from..from + count]);
    }
    new
}

fn tar(world: &World, to: &mut impl Write) {
    for (number, files) in world.siblings.iter().enumerate() {
        let named = |path: &[u8]| [format!("{number:02}/").as_bytes(), path].concat();
        for (path, mode) in &world.dirs {
            member(to, &named(path), *mode, b'5', &[]);
        }
        for (path, _) in &world.links {
            member(to, &named(path), 0o777, b'2', &[]);
        }
        for (path, item) in files {
            let bytes = world.contents[&item.blob].bytes();
            member(to, &named(path), item.mode, b'0', &bytes);
        }
    }
    to.write_all(&[0; 1024]).unwrap();
}

/// A member of a tar; long names are cut, which costs the archive nothing.
fn member(to: &mut impl Write, path: &[u8], mode: u16, kind: u8, bytes: &[u8]) {
    let mut head = [0_u8; 512];
    let count = path.len().min(99);
    head[..count].copy_from_slice(&path[..count]);
    head[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
    head[108..115].copy_from_slice(b"0000000");
    head[116..123].copy_from_slice(b"0000000");
    head[124..135].copy_from_slice(format!("{:011o}", bytes.len()).as_bytes());
    head[136..147].copy_from_slice(b"07053002200");
    head[156] = kind;
    head[257..265].copy_from_slice(b"ustar\x0000");
    to.write_all(&head).unwrap();
    to.write_all(bytes).unwrap();
    to.write_all(&vec![0; bytes.len().next_multiple_of(512) - bytes.len()])
        .unwrap();
}

fn pack(world: &mut World, options: Options, out: &Path) {
    let trees: Vec<Tree> = world
        .siblings
        .iter()
        .map(|files| world.tree(files))
        .collect();
    let mut listings = Vec::new();
    let mut ids = Vec::new();
    for tree in &trees {
        let (id, bytes) = tree.seal().unwrap();
        listings.push(id.blob());
        ids.push(id);
        world.contents.insert(id.blob(), Content::Memory(bytes));
    }
    let mut wants: Vec<Want<'_>> = Vec::new();
    for (files, listing) in world.siblings.iter().zip(&listings) {
        wants.push(Want {
            blob: *listing,
            hint: Hint::Tree,
        });
        wants.extend(files.iter().map(|(path, item)| Want {
            blob: item.blob,
            hint: Hint::Path(path),
        }));
    }
    let start = Instant::now();
    let mut file = BufWriter::new(File::create(out).unwrap());
    let written = write(&wants, &ids, world, &Nowhere, options, &mut file).unwrap();
    file.flush().unwrap();
    println!("{options:?}");
    println!("{written:?}");
    println!("packed in {:.1} s", start.elapsed().as_secs_f64());
}

fn read(out: &Path, reads: usize) {
    let start = Instant::now();
    let pack = Pack::open(File::open(out).unwrap()).unwrap();
    println!("opened in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    // Files as the siblings have them: by their listings, not by parts.
    let start = Instant::now();
    let mut files: BTreeSet<(BlobId, u64)> = BTreeSet::new();
    for tree in pack.trees() {
        let bytes = pack.read(tree.blob(), 1 << 30, &Alone).unwrap();
        files.extend(Tree::decode(&bytes).unwrap().blobs());
    }
    println!(
        "read {} listings in {:.1} ms",
        pack.trees().len(),
        start.elapsed().as_secs_f64() * 1e3
    );
    let files: Vec<(BlobId, u64)> = files.into_iter().collect();
    let mut random = Random(7);
    let (mut all, mut small, mut listings) = (Vec::new(), Vec::new(), Vec::new());
    // The first read of a kind prepares its dictionary, once for each open pack.
    for round in 0..2 {
        for _ in 0..reads {
            let (blob, size) = files[random.below(files.len())];
            let start = Instant::now();
            let bytes = pack.read(blob, size, &Alone).unwrap();
            let took_us = start.elapsed().as_secs_f64() * 1e6;
            assert_eq!(bytes.len() as u64, size);
            if round == 1 {
                all.push(took_us);
                if size <= 64 * 1024 {
                    small.push(took_us);
                }
            }
        }
    }
    for tree in pack.trees() {
        let start = Instant::now();
        pack.read(tree.blob(), 1 << 30, &Alone).unwrap();
        listings.push(start.elapsed().as_secs_f64() * 1e6);
    }
    for (what, mut times) in [
        ("all files", all),
        ("files up to 64 KiB", small),
        ("listings", listings),
    ] {
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        println!(
            "{what}: {} reads, min {:.0} median {:.0} p90 {:.0} p99 {:.0} max {:.0} us",
            times.len(),
            at(0.0),
            at(0.5),
            at(0.9),
            at(0.99),
            at(1.0),
        );
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["tar", base, count] => {
            let world = World::of(Path::new(base), count.parse().unwrap());
            tar(&world, &mut BufWriter::new(io::stdout().lock()));
        }
        ["pack", base, count, level, frame, dictionary, out] => {
            let mut world = World::of(Path::new(base), count.parse().unwrap());
            let options = Options {
                level: level.parse().unwrap(),
                frame_bytes: frame.parse::<u32>().unwrap() * 1024,
                dictionary_bytes: dictionary.parse::<u32>().unwrap() * 1024,
                threads: 2,
            };
            pack(&mut world, options, Path::new(out));
        }
        ["read", out, reads] => read(Path::new(out), reads.parse().unwrap()),
        ["verify", out] => {
            let file = File::open(out).unwrap();
            println!("{}", PackId::of(&file).unwrap());
            println!("{:?}", Pack::open(file).unwrap().verify(&Alone));
        }
        _ => panic!("see the head of this file for how to call it"),
    }
}
