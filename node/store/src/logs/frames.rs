//! The form of a log that has ended: zstd frames that each stand alone, and behind them, in a
//! skippable frame, the table of their lengths, as the public "zstd seekable format" says. So
//! `zstd -dc` prints such a log, and a reader at any offset unpacks a frame or two. Frames are cut
//! at fixed offsets, so equal logs are equal blobs.
//!
//! What is unpacked here may have been written by another node. Nothing in it is believed: lengths
//! are compared with bounds before anything is allocated, and with what comes out.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt};

use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe::CParameter,
};

/// Plain bytes of each frame that is written here, except for the last.
pub(super) const FRAME_BYTES: usize = 128 * 1024;
/// Most plain bytes of a frame that is read.
pub(super) const FRAME_BYTES_MAX: usize = 256 * 1024;
/// Most bytes that such a frame is packed in: what zstd makes of bytes that do not compress, with
/// room for a writer that cuts its blocks smaller.
const PACKED_BYTES_MAX: usize = FRAME_BYTES_MAX + 8 * 1024;
/// Most frames of one log.
pub(super) const FRAMES_MAX: usize = 16 * 1024;
/// Logs compress tenfold at the lowest levels; above this one they gain little for their time.
const LEVEL: i32 = 3;

const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
const TABLE_MAGIC: u32 = 0x8F92_EAB1;
/// Magic number and length of a skippable frame.
const HEADER_BYTES: usize = 8;
/// Packed and plain length of a frame.
const ENTRY_BYTES: usize = 8;
/// The same with a checksum, which other writers may add.
const SUMMED_ENTRY_BYTES: usize = 12;
/// Number of entries, a byte of flags, magic number.
const FOOTER_BYTES: usize = 9;
/// The flag of tables with checksums.
const SUMMED: u8 = 0x80;
/// The flags that nobody may set.
const RESERVED: u8 = 0x7c;

/// Why bytes are not a log in this form.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The table contradicts itself or the bytes before it.
    #[error("its seek table is wrong: {0}")]
    Table(&'static str),
    /// There are more frames than a log may have.
    #[error("it has {found} frames and may have {FRAMES_MAX}")]
    Frames {
        /// How many.
        found: u32,
    },
    /// A frame is larger than a frame may be.
    #[error("its frame {frame} has {packed} bytes for {plain}, more than a frame may have")]
    FrameTooLarge {
        /// Which.
        frame: usize,
        /// Bytes that it takes.
        packed: u32,
        /// Bytes that it is said to unpack to.
        plain: u32,
    },
    /// The whole log is larger than its reader takes.
    #[error("it has {found} bytes and may have {max}")]
    TooLarge {
        /// Bytes that it is said to unpack to.
        found: u64,
        /// The bound.
        max: u64,
    },
    /// A frame unpacks to another length than the table says.
    #[error("its frame at {offset} has {found} bytes and not the {said} that its table says")]
    FrameLength {
        /// Where its bytes begin in the log.
        offset: u64,
        /// What the table says.
        said: usize,
        /// What came.
        found: usize,
    },
    /// A frame does not unpack, or to more than the table says.
    #[error("its frame at {offset} does not unpack to the {said} bytes that its table says")]
    Frame {
        /// Where its bytes begin in the log.
        offset: u64,
        /// What the table says.
        said: usize,
        /// The words of zstd.
        source: io::Error,
    },
    /// The disk refused.
    #[error("its bytes cannot be read from the disk")]
    Io(#[from] io::Error),
}

/// Where one frame is, in the blob and in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    packed: Range<u64>,
    pub(super) plain: Range<u64>,
}

/// Where all frames are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// Where each frame ends, in the blob and in the log.
    ends: Vec<(u64, u64)>,
}

impl Table {
    pub(super) fn push(&mut self, packed: u64, plain: u64) {
        let (packed_end, plain_end) = self.last();
        self.ends.push((packed_end + packed, plain_end + plain));
    }

    fn last(&self) -> (u64, u64) {
        self.ends.last().copied().unwrap_or_default()
    }

    /// Bytes of all frames in the blob.
    pub(super) fn packed(&self) -> u64 {
        self.last().0
    }

    /// Bytes of all frames in the log.
    pub(super) fn plain(&self) -> u64 {
        self.last().1
    }

    /// The frames that hold bytes of `range`, in order.
    pub(super) fn spans(&self, range: &Range<u64>) -> Vec<Span> {
        let first = self.ends.partition_point(|(_, end)| *end <= range.start);
        let mut before = match first.checked_sub(1) {
            Some(before) => self.ends[before],
            None => (0, 0),
        };
        let mut spans = Vec::new();
        for &(packed, plain) in &self.ends[first..] {
            if before.1 >= range.end {
                break;
            }
            if plain > before.1 && !range.is_empty() {
                spans.push(Span {
                    packed: before.0..packed,
                    plain: before.1..plain,
                });
            }
            before = (packed, plain);
        }
        spans
    }

    /// Its bytes, which end a blob.
    pub(super) fn encode(&self) -> Vec<u8> {
        let body = self.ends.len() * ENTRY_BYTES + FOOTER_BYTES;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body);
        bytes.extend_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
        bytes.extend_from_slice(&short(body as u64).to_le_bytes());
        let mut before = (0, 0);
        for &(packed, plain) in &self.ends {
            bytes.extend_from_slice(&short(packed - before.0).to_le_bytes());
            bytes.extend_from_slice(&short(plain - before.1).to_le_bytes());
            before = (packed, plain);
        }
        bytes.extend_from_slice(&short(self.ends.len() as u64).to_le_bytes());
        bytes.push(0);
        bytes.extend_from_slice(&TABLE_MAGIC.to_le_bytes());
        bytes
    }

    /// The table at the end of a file of `size` bytes whose log has at most `max`; nothing where no
    /// magic number says that there is one.
    pub(super) fn read(file: &File, size: u64, max: u64) -> Result<Option<Self>, FormatError> {
        let Some(footer_at) = size.checked_sub(FOOTER_BYTES as u64) else {
            return Ok(None);
        };
        let mut footer = [0; FOOTER_BYTES];
        file.read_exact_at(&mut footer, footer_at)?;
        if word(&footer, 5) != TABLE_MAGIC {
            return Ok(None);
        }
        let (found, flags) = (word(&footer, 0), footer[4]);
        if flags & RESERVED != 0 {
            return Err(FormatError::Table("it has flags that nobody may set"));
        }
        let frames = match usize::try_from(found) {
            Ok(frames) if frames <= FRAMES_MAX => frames,
            _ => return Err(FormatError::Frames { found }),
        };
        let entry = match flags & SUMMED {
            0 => ENTRY_BYTES,
            _ => SUMMED_ENTRY_BYTES,
        };
        let length = HEADER_BYTES + frames * entry + FOOTER_BYTES;
        let Some(start) = size.checked_sub(length as u64) else {
            return Err(FormatError::Table("it is longer than the log"));
        };
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, start)?;
        if word(&bytes, 0) != SKIPPABLE_MAGIC {
            return Err(FormatError::Table("it does not begin where it should"));
        }
        if word(&bytes, 4) as usize != length - HEADER_BYTES {
            return Err(FormatError::Table(
                "its own length is not that of its entries",
            ));
        }
        let entries = &bytes[HEADER_BYTES..length - FOOTER_BYTES];
        let table = Self::of(entries.chunks_exact(entry))?;
        if table.packed() != start {
            let why = "its frames are not as long as what is before it";
            return Err(FormatError::Table(why));
        }
        match table.plain() {
            found if found > max => Err(FormatError::TooLarge { found, max }),
            _ => Ok(Some(table)),
        }
    }

    fn of<'a>(entries: impl Iterator<Item = &'a [u8]>) -> Result<Self, FormatError> {
        let mut table = Self::default();
        for (frame, entry) in entries.enumerate() {
            let (packed, plain) = (word(entry, 0), word(entry, 4));
            if packed as usize > PACKED_BYTES_MAX || plain as usize > FRAME_BYTES_MAX {
                return Err(FormatError::FrameTooLarge {
                    frame,
                    packed,
                    plain,
                });
            }
            table.push(packed.into(), plain.into());
        }
        Ok(table)
    }
}

/// The little-endian word at an offset that is inside of `bytes`.
fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

/// A length of something that is written here.
fn short(length: u64) -> u32 {
    u32::try_from(length).expect("frames and tables written here are far below 4 GiB")
}

/// A length that a bound of this module holds down.
fn long(length: u64) -> usize {
    usize::try_from(length).expect("frames are bounded by FRAME_BYTES_MAX")
}

/// Makes frames.
pub(super) struct Packer(Compressor<'static>);

impl Packer {
    pub(super) fn new() -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        // What the disk damages is noticed by whoever reads that frame.
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Self(compressor))
    }

    /// One frame of `plain`.
    pub(super) fn pack(&mut self, plain: &[u8]) -> io::Result<Vec<u8>> {
        self.0.compress(plain)
    }
}

/// Appends the bytes `range` of a log, which `spans` hold, to `out`. Besides that no more is
/// allocated than a frame takes.
pub(super) fn gather(
    file: &File,
    spans: &[Span],
    range: &Range<u64>,
    out: &mut Vec<u8>,
) -> Result<(), FormatError> {
    let mut unpacker = Decompressor::new()?;
    let (mut packed, mut plain) = (Vec::new(), Vec::new());
    for span in spans {
        packed.resize(long(span.packed.end - span.packed.start), 0);
        plain.resize(long(span.plain.end - span.plain.start), 0);
        file.read_exact_at(&mut packed, span.packed.start)?;
        let (offset, said) = (span.plain.start, plain.len());
        // A frame is unpacked in one call into a slice: zstd makes no window for it, whatever its
        // header asks for, and stops at the end of the slice.
        let found = unpacker
            .decompress_to_buffer(&packed, &mut plain[..])
            .map_err(|source| FormatError::Frame {
                offset,
                said,
                source,
            })?;
        if found != said {
            return Err(FormatError::FrameLength {
                offset,
                said,
                found,
            });
        }
        let from = range.start.clamp(span.plain.start, span.plain.end) - offset;
        let to = range.end.clamp(span.plain.start, span.plain.end) - offset;
        out.extend_from_slice(&plain[long(from)..long(to)]);
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
