//! Writing a pack, front to back, in one go.

use std::{collections::BTreeMap, io::Write, thread};

use caravan_protocol::ids::{BlobId, TreeId};
use zstd::dict::EncoderDictionary;

use crate::{
    error::{Doing, PackError, Result},
    format::{self, Footer, HEADER_BYTES, PackId},
    frame,
    gather::{self, Elsewhere, LargePlan, Piece, Plan, Want, gather},
    index::{Foreign, Frame, Index, Large, Span, Unit, small},
    io::{Blobs, ReadAt},
    limits,
    order::{KINDS, Kind},
};

/// How a pack is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// zstd's level, 1 to 19.
    pub level: i32,
    /// What a frame holds at least before the next begins: more compresses better, less is quicker
    /// to read one file from.
    pub frame_bytes: u32,
    /// Size of the dictionary for each kind of file; zero for none.
    pub dictionary_bytes: u32,
    /// How many threads compress.
    pub threads: usize,
}

impl Options {
    /// To be kept: small, and quick to read one file from.
    #[must_use]
    pub const fn cold(threads: usize) -> Self {
        Self {
            level: 19,
            frame_bytes: 256 * 1024,
            dictionary_bytes: 256 * 1024,
            threads,
        }
    }

    /// To be sent: quick to write, and read as a whole.
    #[must_use]
    pub const fn wire(threads: usize) -> Self {
        Self {
            level: 3,
            frame_bytes: 2 * 1024 * 1024,
            dictionary_bytes: 0,
            threads,
        }
    }

    fn within_bounds(self) -> Self {
        Self {
            level: self.level.clamp(1, 19),
            frame_bytes: self
                .frame_bytes
                .clamp(1, limits::FRAME_BYTES_MAX - limits::UNIT_BYTES_MAX),
            dictionary_bytes: self.dictionary_bytes.min(limits::DICTIONARY_BYTES_MAX),
            threads: self.threads.clamp(1, limits::THREADS_MAX),
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The new pack's name.
    pub id: PackId,
    /// Length of its file.
    pub bytes: u64,
    /// Blobs that it holds.
    pub blobs: u64,
    /// Sum of their lengths.
    pub blob_bytes: u64,
    /// Units that it holds.
    pub units: u64,
    /// Sum of their lengths.
    pub unit_bytes: u64,
    /// Units that it leaves to other packs.
    pub foreign: u64,
    /// Length of its index in the file.
    pub index_bytes: u64,
    /// Length of its dictionaries in the file.
    pub dictionary_bytes: u64,
}

/// Packs what is wanted, made for `trees`, into `to`. Equal input gives equal bytes, whatever the
/// number of threads. What was written is not worth keeping if this fails.
pub fn write<B: Blobs>(
    wants: &[Want<'_>],
    trees: &[TreeId],
    from: &B,
    elsewhere: &impl Elsewhere,
    options: Options,
    to: &mut impl Write,
) -> Result<Written> {
    let options = options.within_bounds();
    gather::count(trees.len(), "trees", limits::TREES_MAX)?;
    let plan = gather(wants, from, elsewhere)?;
    let mut writer = Writer {
        to,
        hasher: blake3::Hasher::new(),
        at: 0,
        index: Index {
            trees: trees.to_vec(),
            ..Index::default()
        },
        blobs: Open {
            from,
            open: Vec::new(),
        },
        options,
        dictionaries: Default::default(),
    };
    writer.put(&format::header())?;
    writer.learn(&plan.pieces)?;
    let dictionary_bytes = writer.at - HEADER_BYTES;
    writer.frames(&plan.pieces)?;
    writer.name(&plan)?;
    let index_at = writer.at;
    writer.finish()?;
    let index_bytes = writer.at - index_at;
    Ok(Written {
        id: PackId::from(BlobId::from_bytes(*writer.hasher.finalize().as_bytes())),
        bytes: writer.at,
        blobs: plan.blobs,
        blob_bytes: plan.blob_bytes,
        units: plan.pieces.len() as u64,
        unit_bytes: plan.pieces.iter().map(|piece| u64::from(piece.bytes)).sum(),
        foreign: plan.foreign.len() as u64,
        index_bytes,
        dictionary_bytes,
    })
}

/// A dictionary by its number in the pack, ready for use.
type Dictionary = Option<(u8, EncoderDictionary<'static>)>;

struct Writer<'a, B: Blobs, W> {
    to: &'a mut W,
    hasher: blake3::Hasher,
    at: u64,
    index: Index,
    blobs: Open<'a, B>,
    options: Options,
    dictionaries: [Dictionary; KINDS],
}

/// The units of one frame and their bytes, end to end.
struct Loaded<'a> {
    pieces: &'a [Piece],
    bytes: Vec<u8>,
}

impl<B: Blobs, W: Write> Writer<'_, B, W> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.to.write_all(bytes).doing("write a pack")?;
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        if self.at > limits::PACK_BYTES_MAX {
            return Err(PackError::TooMany {
                what: "bytes",
                count: self.at,
                max: limits::PACK_BYTES_MAX,
            });
        }
        Ok(())
    }

    /// Learns a dictionary for each kind of which there is enough, from units evenly spread.
    fn learn(&mut self, pieces: &[Piece]) -> Result<()> {
        let wanted = self.options.dictionary_bytes as usize;
        for kind in [Kind::Listing, Kind::Text, Kind::Program, Kind::Other] {
            let of_kind: Vec<&Piece> = pieces.iter().filter(|piece| piece.kind == kind).collect();
            let total: u64 = of_kind.iter().map(|piece| u64::from(piece.bytes)).sum();
            if wanted == 0 || total < (wanted * limits::SAMPLES_PER_DICTIONARY) as u64 {
                continue;
            }
            let budget = (wanted * 100).min(limits::SAMPLE_BYTES_MAX) as u64;
            let (mut all, mut lengths) = (Vec::new(), Vec::new());
            let mut passed = 0_u64;
            for piece in of_kind {
                // Taken as often as keeps the samples in step with what was passed.
                let due = u128::from(passed) * u128::from(budget.min(total)) / u128::from(total);
                passed += u64::from(piece.bytes);
                let room = limits::SAMPLE_BYTES_MAX - all.len();
                if (all.len() as u128) <= due && piece.bytes as usize <= room {
                    self.blobs.append(piece, &mut all)?;
                    lengths.push(piece.bytes as usize);
                }
            }
            let Some(learnt) = frame::learn(&all, &lengths, wanted) else {
                continue;
            };
            let packed = frame::compress(&learnt, self.options.level, None)?;
            self.index.dictionaries.push(Span {
                at: self.at,
                packed_bytes: small(packed.len()),
                bytes: small(learnt.len()),
            });
            self.put(&packed)?;
            let number = u8::try_from(self.index.dictionaries.len()).unwrap_or(u8::MAX);
            let ready = EncoderDictionary::copy(&learnt, self.options.level);
            self.dictionaries[kind as usize] = Some((number, ready));
        }
        Ok(())
    }

    /// Fills, compresses and writes frames, as many at once as there are threads.
    fn frames(&mut self, pieces: &[Piece]) -> Result<()> {
        let mut left = pieces;
        while !left.is_empty() {
            let mut batch = Vec::new();
            while batch.len() < self.options.threads && !left.is_empty() {
                let count = fill(left, self.options.frame_bytes);
                let (pieces, rest) = left.split_at(count);
                let mut bytes = Vec::new();
                for piece in pieces {
                    self.blobs.append(piece, &mut bytes)?;
                }
                batch.push(Loaded { pieces, bytes });
                left = rest;
            }
            let packed = compress(&batch, self.options.level, &self.dictionaries)?;
            for (loaded, packed) in batch.iter().zip(packed) {
                self.frame(loaded, &packed)?;
            }
        }
        Ok(())
    }

    fn frame(&mut self, loaded: &Loaded<'_>, packed: &[u8]) -> Result<()> {
        let dictionary = self.dictionaries[loaded.pieces[0].kind as usize].as_ref();
        let first = small(self.index.units.len());
        let frame = small(self.index.frames.len());
        let mut at = 0;
        for piece in loaded.pieces {
            self.index.units.push(Unit {
                id: piece.id,
                bytes: piece.bytes,
                frame,
                at,
            });
            at += piece.bytes;
        }
        self.index.frames.push(Frame {
            span: Span {
                at: self.at,
                packed_bytes: small(packed.len()),
                bytes: at,
            },
            dictionary: dictionary.map_or(0, |(number, _)| *number),
            units: first..small(self.index.units.len()),
        });
        self.put(packed)
    }

    /// Notes what is in other packs and of what the large files consist.
    fn name(&mut self, plan: &Plan) -> Result<()> {
        let units = self.index.units.iter().map(|unit| unit.id);
        let mut numbers: BTreeMap<BlobId, u32> = units.zip(0..).collect();
        let mut packs: BTreeMap<PackId, u32> = BTreeMap::new();
        for (&id, &(pack, bytes)) in &plan.foreign {
            let next = small(packs.len());
            let pack = *packs.entry(pack).or_insert_with_key(|&pack| {
                self.index.packs.push(pack);
                next
            });
            numbers.insert(id, small(self.index.units.len() + self.index.foreign.len()));
            self.index.foreign.push(Foreign { pack, bytes, id });
        }
        gather::count(packs.len(), "other packs", limits::PACKS_MAX)?;
        for LargePlan { id, parts } in &plan.large {
            // It may be a unit already, as a part of another file that was cut otherwise.
            if numbers
                .get(id)
                .is_some_and(|&unit| (unit as usize) < self.index.units.len())
            {
                continue;
            }
            let first = small(self.index.parts.len());
            for (part, _) in parts {
                self.index.parts.push(numbers[part]);
            }
            self.index.large.push(Large {
                id: *id,
                size: parts.iter().map(|(_, bytes)| u64::from(*bytes)).sum(),
                parts: first..small(self.index.parts.len()),
            });
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let index = self.index.encode();
        gather::count(index.len(), "bytes of index", limits::INDEX_BYTES_MAX)?;
        let packed = frame::compress(&index, self.options.level, None)?;
        let footer = Footer {
            index_at: self.at,
            packed_bytes: small(packed.len()),
            index_bytes: small(index.len()),
            index_hash: *blake3::hash(&packed).as_bytes(),
        };
        self.put(&packed)?;
        self.put(&footer.to_bytes())?;
        self.to.flush().doing("write a pack")
    }
}

fn compress(
    batch: &[Loaded<'_>],
    level: i32,
    dictionaries: &[Dictionary; KINDS],
) -> Result<Vec<Vec<u8>>> {
    let one = &|loaded: &Loaded<'_>| {
        let kind = loaded.pieces[0].kind;
        let level = if kind.is_dense() { 1 } else { level };
        let dictionary = dictionaries[kind as usize].as_ref();
        frame::compress(&loaded.bytes, level, dictionary.map(|(_, ready)| ready))
    };
    if let [only] = batch {
        return Ok(vec![one(only)?]);
    }
    thread::scope(|scope| {
        let start = |loaded| scope.spawn(move || one(loaded));
        let running: Vec<_> = batch.iter().map(start).collect();
        let joined = running.into_iter().map(thread::ScopedJoinHandle::join);
        joined
            .map(|done| done.expect("compressing does not panic"))
            .collect()
    })
}

/// How many of `pieces` make one frame: all of one kind.
fn fill(pieces: &[Piece], frame_bytes: u32) -> usize {
    let mut bytes = 0;
    let mut count = 0;
    for piece in pieces.iter().take(limits::FRAME_UNITS_MAX as usize) {
        if piece.kind != pieces[0].kind || (count > 0 && bytes + piece.bytes > frame_bytes) {
            break;
        }
        bytes += piece.bytes;
        count += 1;
    }
    count
}

/// The blobs that were read last, open.
struct Open<'a, B: Blobs> {
    from: &'a B,
    open: Vec<(BlobId, B::Blob)>,
}

impl<B: Blobs> Open<'_, B> {
    /// Appends the bytes of a unit, which must still be what they were.
    fn append(&mut self, piece: &Piece, to: &mut Vec<u8>) -> Result<()> {
        let failed = |source| PackError::Blob {
            blob: piece.blob,
            source,
        };
        let known = self.open.iter().position(|(blob, _)| *blob == piece.blob);
        let at = match known {
            Some(at) => at,
            None => {
                if self.open.len() == limits::OPEN_MAX {
                    self.open.remove(0);
                }
                let blob = self.from.open(piece.blob).map_err(failed)?;
                self.open.push((piece.blob, blob));
                self.open.len() - 1
            }
        };
        let start = to.len();
        to.resize(start + piece.bytes as usize, 0);
        let blob = &self.open[at].1;
        blob.read_exact_at(&mut to[start..], piece.at)
            .map_err(failed)?;
        let found = BlobId::of(&to[start..]);
        if found != piece.id {
            return Err(PackError::WrongBlob {
                expected: piece.id,
                found,
            });
        }
        Ok(())
    }
}
