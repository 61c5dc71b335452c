//! The blocks of 512 bytes that a tar archive is made of.

use std::io;

use super::bad;
use crate::limits;

/// Length of a block.
pub(crate) const BLOCK: usize = 512;

/// Which dialect a header is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Before there was a standard.
    Old,
    /// POSIX.
    Ustar,
    /// GNU's.
    Gnu,
}

/// One block.
pub(crate) struct Block([u8; BLOCK]);

impl Block {
    pub(crate) const fn new(bytes: [u8; BLOCK]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.iter().all(|&b| b == 0)
    }

    /// Compares the checksum, as a sum of bytes or, as some wrote it, of signed ones.
    pub(crate) fn check(&self) -> io::Result<()> {
        let stored = number(&self.0[148..156])?;
        let own = |at: usize| (148..156).contains(&at);
        let byte = |(at, &b): (usize, &u8)| if own(at) { b' ' } else { b };
        let unsigned: u64 = self.0.iter().enumerate().map(byte).map(u64::from).sum();
        let signed: i64 = self
            .0
            .iter()
            .enumerate()
            .map(byte)
            .map(|b| i64::from(b.cast_signed()))
            .sum();
        if stored == unsigned || i64::try_from(stored) == Ok(signed) {
            return Ok(());
        }
        Err(bad(
            "a header's checksum does not match: it is no tar archive, or damaged",
        ))
    }

    pub(crate) fn flavour(&self) -> Flavour {
        match &self.0[257..265] {
            b"ustar  \0" => Flavour::Gnu,
            magic if magic.starts_with(b"ustar\0") => Flavour::Ustar,
            _ => Flavour::Old,
        }
    }

    pub(crate) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    pub(crate) fn path(&self) -> Vec<u8> {
        let name = until_nul(&self.0[..100]);
        let prefix = until_nul(&self.0[345..500]);
        if self.flavour() != Flavour::Ustar || prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(crate) fn link(&self) -> Vec<u8> {
        until_nul(&self.0[157..257]).to_vec()
    }

    pub(crate) fn mode(&self) -> io::Result<u16> {
        let mode = number(&self.0[100..108])? & 0o7777;
        Ok(u16::try_from(mode).expect("four octal digits fit"))
    }

    pub(crate) fn uid(&self) -> io::Result<u64> {
        number(&self.0[108..116])
    }

    pub(crate) fn gid(&self) -> io::Result<u64> {
        number(&self.0[116..124])
    }

    pub(crate) fn size(&self) -> io::Result<u64> {
        let size = number(&self.0[124..136])?;
        check_size(size)
    }

    /// The pieces in the header of a GNU sparse file, and whether blocks with more follow.
    pub(crate) fn sparse_pieces(&self) -> io::Result<(Vec<(u64, u64)>, bool)> {
        let mut list = Vec::new();
        pieces(&self.0[386..482], &mut list)?;
        Ok((list, self.0[482] != 0))
    }

    /// Reads this block as one with more pieces; whether yet another follows.
    pub(crate) fn more_pieces(&self, list: &mut Vec<(u64, u64)>) -> io::Result<bool> {
        pieces(&self.0[..504], list)?;
        Ok(self.0[504] != 0)
    }

    pub(crate) fn sparse_size(&self) -> io::Result<u64> {
        number(&self.0[483..495]).and_then(check_size)
    }
}

/// What is larger than a blob may be is refused before anything adds to it.
pub(crate) fn check_size(size: u64) -> io::Result<u64> {
    let max = caravan_protocol::limits::BLOB_BYTES_MAX;
    if size > max {
        return Err(bad(format!(
            "a member has {size} bytes: at most {max} are allowed"
        )));
    }
    Ok(size)
}

fn pieces(bytes: &[u8], list: &mut Vec<(u64, u64)>) -> io::Result<()> {
    for piece in bytes.chunks_exact(24) {
        // The first without an offset is the end.
        if piece[0] == 0 {
            break;
        }
        if list.len() >= limits::SPARSE_PIECES_MAX {
            return Err(bad("a sparse file has too many pieces"));
        }
        list.push((number(&piece[..12])?, number(&piece[12..])?));
    }
    Ok(())
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

/// A number: octal digits, or binary where the first bit says so.
fn number(bytes: &[u8]) -> io::Result<u64> {
    if bytes[0] & 0x80 != 0 {
        if bytes[0] & 0x40 != 0 {
            return Err(bad("a header holds a negative number"));
        }
        let mut value = u64::from(bytes[0] & 0x3f);
        for &b in &bytes[1..] {
            if value >> 56 != 0 {
                return Err(bad("a header holds a number of more than 64 bits"));
            }
            value = value << 8 | u64::from(b);
        }
        return Ok(value);
    }
    let digits = until_nul(bytes).trim_ascii();
    let mut value = 0u64;
    for &b in digits {
        if !(b'0'..=b'7').contains(&b) {
            return Err(bad(format!(
                "a header holds {:?} where a number should be",
                String::from_utf8_lossy(digits)
            )));
        }
        value = value << 3 | u64::from(b - b'0');
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_both_forms_are_read_and_odd_ones_are_refused() {
        assert_eq!(number(b"0000644\0").expect("octal"), 0o644);
        assert_eq!(number(b"   644 \0").expect("spaces"), 0o644);
        assert_eq!(number(b"\0\0\0\0\0\0\0\0").expect("nothing"), 0);
        let mut binary = [0; 12];
        (binary[0], binary[7]) = (0x80, 2);
        assert_eq!(number(&binary).expect("binary"), 2 << 32);
        for odd in [
            &b"-1\0\0"[..],
            b"\xff\xff\xff\xff",
            b"0x12\0",
            b"89\0\0",
            b"1 2\0",
            b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(number(odd).is_err(), "{odd:?} was taken");
        }
    }
}
