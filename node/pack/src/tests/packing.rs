//! What is packed comes back, the same on every machine, and shares what it can.

use super::*;

#[test]
fn everything_comes_back_from_the_cold_form_and_from_the_wire_form() {
    let files = sample();
    for options in [quick(), Options::wire(1), Options::cold(2)] {
        let pack = Pack::open(files.pack(options)).unwrap();
        files.assert_all_in(&pack, &Alone);
    }
}

#[test]
fn an_empty_pack_is_a_pack() {
    let pack = Pack::open(Files::default().pack(quick())).unwrap();
    assert_eq!(pack.blobs().count(), 0);
    let blob = BlobId::of(b"");
    let absent = pack.read(blob, 1, &Alone);
    assert!(matches!(absent, Err(PackError::Absent { blob: found }) if found == blob));
}

#[test]
fn bytes_depend_neither_on_threads_nor_on_asking_twice() {
    let mut files = sample();
    let one = files.pack(Options {
        threads: 1,
        ..quick()
    });
    files.paths.extend(files.paths.clone());
    assert_eq!(
        files.pack(Options {
            threads: 5,
            ..quick()
        }),
        one
    );
}

#[test]
fn dictionaries_are_learnt_and_used() {
    let files = sample();
    let with = Pack::open(files.pack(quick())).unwrap();
    assert!(!with.index.dictionaries.is_empty());
    assert!(with.index.frames.iter().any(|frame| frame.dictionary > 0));
    let without = files.pack(Options {
        dictionary_bytes: 0,
        ..quick()
    });
    assert!(Pack::open(without).unwrap().index.dictionaries.is_empty());
}

#[test]
fn a_version_of_a_large_file_shares_its_units_and_its_frames() {
    let mut files = Files::default();
    let old = noise(1, 400_000);
    files.add("bin/tool", old.clone());
    let (alone, _) = files.pack_with(&Nowhere, Options::cold(1));
    let mut new = old;
    new.splice(200_000..200_000, *b"a few more bytes in the middle");
    files.add("bin/tool", new);
    let (both, bytes) = files.pack_with(&Nowhere, Options::cold(1));
    assert!(both.units <= alone.units + 3, "{both:?} after {alone:?}");
    assert!(
        both.bytes < alone.bytes * 102 / 100,
        "{both:?} after {alone:?}"
    );
    files.assert_all_in(&Pack::open(bytes).unwrap(), &Alone);
}

#[test]
fn versions_of_small_files_lie_in_one_frame() {
    let mut files = Files::default();
    // Many others between the two trees' files, more than a frame holds.
    let mut versions = Vec::new();
    for version in 0..2 {
        for n in 0..20 {
            let mut bytes = noise(n, 10_000);
            bytes[usize::try_from(version).unwrap()] ^= 0x80;
            versions.push((n, files.add(&format!("lib/{n}.ml"), bytes)));
        }
    }
    let pack = Pack::open(files.pack(Options::cold(1))).unwrap();
    let frame = |blob: BlobId| {
        let units = &pack.index.units;
        units.iter().find(|unit| unit.id == blob).unwrap().frame
    };
    assert!(pack.index.frames.len() > 1);
    let (old, new) = versions.split_at(20);
    let apart = old
        .iter()
        .zip(new)
        .filter(|(old, new)| frame(old.1) != frame(new.1));
    // One pair may straddle the end of a frame.
    assert!(apart.count() < pack.index.frames.len());
}

/// One other pack, whose units may be left out.
struct Base(PackId, Pack<Vec<u8>>);

impl Elsewhere for Base {
    fn pack_of(&self, unit: BlobId) -> Option<PackId> {
        self.1.units().any(|known| known == unit).then_some(self.0)
    }
}

impl Others for Base {
    fn unit(&self, pack: PackId, unit: BlobId) -> Result<Vec<u8>> {
        assert_eq!(pack, self.0);
        self.1.read(unit, u64::MAX, &Alone)
    }
}

fn leaning() -> (Base, Files, Pack<Vec<u8>>) {
    let old = noise(1, 400_000);
    let mut files = Files::default();
    files.add("bin/tool", old.clone());
    let (written, bytes) = files.pack_with(&Nowhere, quick());
    let base = Base(written.id, Pack::open(bytes).unwrap());
    let mut files = Files::default();
    let mut new = old.clone();
    new[300_000] ^= 1;
    files.add("bin/tool", new);
    // A small file that equals a unit of the other pack is here nevertheless.
    let small = base
        .1
        .units()
        .find(|&id| base.1.size(id).unwrap() < 64 * 1024)
        .unwrap();
    files.add("copy", base.1.read(small, u64::MAX, &Alone).unwrap());
    let (written, bytes) = files.pack_with(&base, quick());
    assert!(written.units <= 3 && written.foreign > 5, "{written:?}");
    (base, files, Pack::open(bytes).unwrap())
}

#[test]
fn parts_that_another_pack_has_are_left_out_and_found_there() {
    let (base, files, pack) = leaning();
    assert_eq!(pack.leans_on(), [base.0]);
    files.assert_all_in(&pack, &base);
    let large = files.paths[0].0;
    let alone = pack.read(large, u64::MAX, &Alone).unwrap_err();
    assert!(
        matches!(alone, PackError::Other { pack, .. } if pack == base.0),
        "{alone}"
    );
    assert_eq!(pack.verify(&Alone).len(), 1);
    let small = files.paths[1].0;
    assert!(pack.read(small, u64::MAX, &Alone).is_ok());
}

/// Gives bytes, but not those that were asked for.
struct Liar(usize);

impl Others for Liar {
    fn unit(&self, _: PackId, _: BlobId) -> Result<Vec<u8>> {
        Ok(vec![7; self.0])
    }
}

#[test]
fn a_lie_of_another_pack_is_seen() {
    let (base, files, pack) = leaning();
    let large = files.paths[0].0;
    let first = pack.index.foreign[0].bytes as usize;
    for liar in [Liar(first), Liar(0), Liar(1 << 20)] {
        let found = pack.read(large, u64::MAX, &liar).unwrap_err();
        assert!(matches!(found, PackError::Damaged { .. }), "{found}");
    }
    assert!(pack.read(large, u64::MAX, &base).is_ok());
}

#[test]
fn a_blob_larger_than_asked_for_is_not_expanded() {
    let files = sample();
    let pack = Pack::open(files.pack(quick())).unwrap();
    for (blob, bytes) in files.bytes.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        let size = bytes.len() as u64;
        let refused = pack.read(*blob, size - 1, &Alone).unwrap_err();
        assert!(matches!(refused, PackError::TooLarge { size: found, .. } if found == size));
    }
}

#[test]
fn what_is_not_the_wanted_blob_is_not_packed() {
    for count in [10, 200_000] {
        let mut files = Files::default();
        let blob = files.add("a", noise(1, count));
        files.bytes.get_mut(&blob).unwrap()[3] ^= 1;
        let failed = write(
            &files.wants(),
            &[],
            &files,
            &Nowhere,
            quick(),
            &mut Vec::new(),
        );
        assert!(matches!(failed, Err(PackError::WrongBlob { expected, .. }) if expected == blob));
        files.bytes.clear();
        let failed = write(
            &files.wants(),
            &[],
            &files,
            &Nowhere,
            quick(),
            &mut Vec::new(),
        );
        assert!(matches!(failed, Err(PackError::Blob { .. })));
    }
}

/// A blob that changes after it was read once.
struct Changing(std::cell::Cell<u8>);

impl Blobs for Changing {
    type Blob = Vec<u8>;

    fn open(&self, _: BlobId) -> io::Result<Vec<u8>> {
        let before = self.0.get();
        self.0.set(before + 1);
        Ok(vec![before; 100])
    }
}

#[test]
fn a_blob_that_changes_meanwhile_is_not_packed() {
    let wants = [Want {
        blob: BlobId::of(&[0; 100]),
        hint: Hint::Path(b"a"),
    }];
    let changing = Changing(std::cell::Cell::new(0));
    let failed = write(&wants, &[], &changing, &Nowhere, quick(), &mut Vec::new());
    assert!(
        matches!(failed, Err(PackError::WrongBlob { .. })),
        "{failed:?}"
    );
}

/// A disk with room for so many bytes.
struct Full(usize);

impl io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.0);
        self.0 -= count;
        match count {
            0 => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(count),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error_wherever_it_comes() {
    let files = sample();
    let all = files.pack(quick()).len();
    for room in (0..all).step_by(all / 50) {
        let failed = write(
            &files.wants(),
            &[],
            &files,
            &Nowhere,
            quick(),
            &mut Full(room),
        );
        let failed = failed.unwrap_err();
        assert!(
            matches!(&failed, PackError::Io { source, .. }
            if source.kind() == io::ErrorKind::StorageFull),
            "{failed}"
        );
    }
}

#[test]
fn many_threads_read_one_pack() {
    let files = sample();
    let pack = Pack::open(files.pack(quick())).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| files.assert_all_in(&pack, &Alone));
        }
    });
}

#[test]
fn blobs_are_read_as_streams_in_the_order_of_the_pack() {
    let files = sample();
    let pack = Pack::open(files.pack(quick())).unwrap();
    let mut blobs: Vec<BlobId> = files.bytes.keys().copied().collect();
    blobs.sort_by_key(|blob| pack.place(*blob));
    let mut reader = Reader::new(&pack, &Alone);
    for blob in blobs {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut reader.blob(blob).unwrap(), &mut bytes).unwrap();
        assert_eq!(bytes, files.bytes[&blob]);
    }
    assert!(reader.blob(BlobId::of(b"absent")).is_err());
    let (base, files, pack) = leaning();
    let mut bytes = Vec::new();
    let large = files.paths[0].0;
    io::Read::read_to_end(
        &mut Reader::new(&pack, &base).blob(large).unwrap(),
        &mut bytes,
    )
    .unwrap();
    assert_eq!(bytes, files.bytes[&large]);
    let mut alone = Reader::new(&pack, &Alone);
    let failed = io::Read::read_to_end(&mut alone.blob(large).unwrap(), &mut bytes).unwrap_err();
    assert_eq!(failed.kind(), io::ErrorKind::InvalidData);
}
