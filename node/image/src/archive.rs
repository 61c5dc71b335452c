//! Tar archives as a stream of members, safely: every number, name and extended header is checked
//! and bounded before it is believed, and nothing of it is ever a path of this machine. Understood
//! are the old, ustar, GNU and pax forms, with sparse files.
//!
//! Where readers of tar disagree about what bytes mean, they are refused: such archives are made to
//! show one thing to a scanner and another to a builder.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use crate::limits;

mod header;
mod pax;
mod sparse;

use header::{BLOCK, Block, Flavour};
use pax::Extended;
pub(crate) use sparse::Pieces;

/// What a member is, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MemberKind {
    /// A regular file of that length; its bytes follow.
    File {
        size: u64,
    },
    Dir,
    Symlink {
        target: Vec<u8>,
    },
    HardLink {
        target: Vec<u8>,
    },
    /// A device or named pipe, in words.
    Special(&'static str),
}

/// One member of an archive, as it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) path: Vec<u8>,
    pub(crate) mode: u16,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) kind: MemberKind,
}

/// A tar archive being read.
pub(crate) struct Archive<R> {
    reader: R,
    /// Stored bytes of the current member that are not read yet, and the padding behind them.
    stored: u64,
    padding: u64,
    pieces: Option<Pieces>,
    members: u64,
    position: u64,
    ended: Ended,
}

/// How far the archive is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// There may be more.
    No,
    /// The bytes ended between two members, without the mark that should be there.
    Unmarked,
    /// The mark of the end was read.
    Marked,
}

pub(crate) fn bad(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

fn cut_short() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the archive is cut short in the middle of a member",
    )
}

impl<R: Read> Archive<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            stored: 0,
            padding: 0,
            pieces: None,
            members: 0,
            position: 0,
            ended: Ended::No,
        }
    }

    /// How it ended.
    pub(crate) fn ended(&self) -> Ended {
        self.ended
    }

    /// Where the archive is read, bytes from its start: behind the header of the current member.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes that the archive holds of the current member and that are not read yet.
    pub(crate) fn stored(&self) -> u64 {
        self.stored
    }

    /// The next member; what is left of the one before is skipped.
    pub(crate) fn next(&mut self) -> io::Result<Option<Member>> {
        self.skip()?;
        let mut extended = Extended::default();
        loop {
            let Some(block) = self.header()? else {
                if extended != Extended::default() {
                    return Err(bad("it ends behind an extended header"));
                }
                return Ok(None);
            };
            self.members += 1;
            if self.members > limits::MEMBERS_MAX {
                let max = limits::MEMBERS_MAX;
                return Err(bad(format!("it has more than {max} members")));
            }
            match block.type_flag() {
                b'x' => {
                    let bytes = self.extension(&block, limits::PAX_BYTES_MAX)?;
                    extended.add_pax(&bytes)?;
                }
                b'g' => {
                    let bytes = self.extension(&block, limits::PAX_BYTES_MAX)?;
                    pax::check_global(&bytes)?;
                }
                b'L' => {
                    let bytes = self.extension(&block, limits::LONG_NAME_BYTES_MAX)?;
                    extended.add_name(&bytes)?;
                }
                b'K' => {
                    let bytes = self.extension(&block, limits::LONG_NAME_BYTES_MAX)?;
                    extended.add_link(&bytes)?;
                }
                // A label of the volume: for people.
                b'V' => {
                    self.stored = 0;
                }
                _ => return self.member(&block, extended).map(Some),
            }
        }
    }

    /// The bytes of the current member, holes and all.
    pub(crate) fn data(&mut self) -> Data<'_, R> {
        Data { archive: self }
    }

    /// Reads what comes behind the end, so that whoever hashes the bytes has seen all of them.
    pub(crate) fn drain(&mut self) -> io::Result<()> {
        io::copy(&mut self.reader, &mut io::sink()).map(drop)
    }

    fn header(&mut self) -> io::Result<Option<Block>> {
        let Some(block) = self.block()? else {
            self.ended = Ended::Unmarked;
            return Ok(None);
        };
        if !block.is_zero() {
            block.check()?;
            return Ok(Some(block));
        }
        match self.block()? {
            Some(second) if !second.is_zero() => {
                Err(bad("a lone block of zeros is in the middle of it"))
            }
            _ => {
                self.ended = Ended::Marked;
                Ok(None)
            }
        }
    }

    fn block(&mut self) -> io::Result<Option<Block>> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(cut_short()),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.position += BLOCK as u64;
        Ok(Some(Block::new(block)))
    }

    fn extension(&mut self, block: &Block, max: u64) -> io::Result<Vec<u8>> {
        let size = block.size()?;
        if size > max {
            return Err(bad(format!(
                "an extended header has {size} bytes: at most {max} are allowed"
            )));
        }
        self.set_stored(size);
        let mut bytes = Vec::new();
        self.read_stored_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn set_stored(&mut self, size: u64) {
        self.stored = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn read_stored_to_end(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let size = self.stored;
        let read = (&mut self.reader).take(size).read_to_end(bytes)? as u64;
        self.position += read;
        self.stored -= read;
        if read < size {
            return Err(cut_short());
        }
        self.skip()
    }

    /// Skips what is left of the current member.
    fn skip(&mut self) -> io::Result<()> {
        let left = self.stored + self.padding;
        let read = io::copy(&mut (&mut self.reader).take(left), &mut io::sink())?;
        self.position += read;
        (self.stored, self.padding, self.pieces) = (0, 0, None);
        if read < left {
            return Err(cut_short());
        }
        Ok(())
    }

    /// Passes over what is left of the current member without reading it.
    pub(crate) fn leap(&mut self) -> io::Result<()>
    where
        R: io::Seek,
    {
        let left = self.stored + self.padding;
        self.reader
            .seek_relative(i64::try_from(left).map_err(|_| cut_short())?)?;
        self.position += left;
        (self.stored, self.padding, self.pieces) = (0, 0, None);
        Ok(())
    }

    fn member(&mut self, block: &Block, mut extended: Extended) -> io::Result<Member> {
        let path = extended.path(block.path());
        let link = extended.link(block.link());
        let size = match extended.size {
            Some(size) => size,
            None => block.size()?,
        };
        let flag = block.type_flag();
        let is_dir = flag == 0 && path.last() == Some(&b'/');
        let kind = match flag {
            0 | b'0' | b'7' | b'S' if !is_dir => {
                self.set_stored(size);
                let size = self.sparse(block, &mut extended)?;
                MemberKind::File { size }
            }
            // Their size, where there is one, is no length of anything that follows.
            0 | b'5' => MemberKind::Dir,
            b'1' => MemberKind::HardLink { target: link },
            b'2' | b'3' | b'4' | b'6' if size != 0 => {
                return Err(bad(format!(
                    "{:?} has no content, and a size of {size}",
                    String::from_utf8_lossy(&path)
                )));
            }
            b'2' => MemberKind::Symlink { target: link },
            b'3' => MemberKind::Special("a character device"),
            b'4' => MemberKind::Special("a block device"),
            b'6' => MemberKind::Special("a named pipe"),
            b'M' => return Err(bad("it is a volume of several: join them first")),
            other => {
                return Err(bad(format!(
                    "{:?} is of type {:?}, which is not understood",
                    String::from_utf8_lossy(&path),
                    char::from(other)
                )));
            }
        };
        if extended.is_sparse() && !matches!(kind, MemberKind::File { .. }) {
            return Err(bad("what is no file is said to be sparse"));
        }
        Ok(Member {
            path: extended.sparse_name.take().unwrap_or(path),
            mode: block.mode()?,
            uid: extended.uid.map_or_else(|| block.uid(), Ok)?,
            gid: extended.gid.map_or_else(|| block.gid(), Ok)?,
            xattrs: extended.xattrs,
            kind,
        })
    }

    /// Reads where the pieces of a sparse file are, in whichever form; its whole length, or that of
    /// a file without holes.
    fn sparse(&mut self, block: &Block, extended: &mut Extended) -> io::Result<u64> {
        let (list, size) = if block.type_flag() == b'S' {
            if block.flavour() != Flavour::Gnu || extended.is_sparse() {
                return Err(bad("a sparse file is not as GNU tar writes it"));
            }
            let (mut list, mut more) = block.sparse_pieces()?;
            while more {
                let next = self.block()?.ok_or_else(cut_short)?;
                more = next.more_pieces(&mut list)?;
            }
            (list, block.sparse_size()?)
        } else if extended.is_sparse() {
            let size = extended.sparse_size()?;
            match extended.take_pieces()? {
                Some(list) => (list, size),
                None => (self.pieces_of_data()?, size),
            }
        } else {
            return Ok(self.stored);
        };
        self.pieces = Some(Pieces::new(list, self.stored, size)?);
        Ok(size)
    }

    /// The list of pieces that stands before the data, in decimal lines.
    fn pieces_of_data(&mut self) -> io::Result<Vec<(u64, u64)>> {
        let mut lines = sparse::Lines::default();
        loop {
            if self.stored < BLOCK as u64 {
                return Err(bad("the list of a sparse file's pieces is cut short"));
            }
            let block = self.block()?.ok_or_else(cut_short)?;
            self.stored -= BLOCK as u64;
            if let Some(list) = lines.add(block.bytes())? {
                return Ok(list);
            }
        }
    }
}

/// Reads the bytes of a member.
pub(crate) struct Data<'a, R> {
    archive: &'a mut Archive<R>,
}

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let archive = &mut *self.archive;
        let mut want = archive.stored.min(buffer.len() as u64) as usize;
        if let Some(pieces) = &mut archive.pieces {
            match pieces.next(buffer.len()) {
                sparse::Next::Hole(length) => {
                    buffer[..length].fill(0);
                    return Ok(length);
                }
                sparse::Next::Data(length) => want = length,
            }
        }
        if want == 0 {
            return Ok(0);
        }
        let read = archive.reader.read(&mut buffer[..want])?;
        if read == 0 {
            return Err(cut_short());
        }
        archive.stored -= read as u64;
        archive.position += read as u64;
        if let Some(pieces) = &mut archive.pieces {
            pieces.advance(read);
        }
        Ok(read)
    }
}
