//! Cutting large files where their content says so (FastCDC, 2020), so that an insertion changes
//! the pieces around it and no other. The parameters are part of what makes packs share pieces:
//! another choice is readable all the same, but shares nothing with what is there.

use std::io::{self, Read};

use fastcdc::v2020::StreamCDC;

use crate::{
    io::ReadAt,
    limits::{SMALL_BYTES_MAX, UNIT_BYTES_MAX},
};

/// Smallest, usual and largest piece, bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes(usize, usize, usize);

/// For files.
pub(crate) const FILES: Sizes = Sizes(8 * 1024, 32 * 1024, UNIT_BYTES_MAX as usize);
/// For listings of trees: a change of one entry is small, so the pieces are too.
pub(crate) const LISTINGS: Sizes = Sizes(2 * 1024, 8 * 1024, 32 * 1024);

/// Calls `piece` with the offset and bytes of each piece of `from`, in order.
pub(crate) fn cut<E: From<io::Error>>(
    from: &impl ReadAt,
    size: u64,
    sizes: Sizes,
    mut piece: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let reader = Front {
        from,
        at: 0,
        end: size,
    };
    if size <= SMALL_BYTES_MAX && sizes.2 == FILES.2 {
        let mut bytes = Vec::new();
        { reader }.read_to_end(&mut bytes)?;
        return piece(0, &bytes);
    }
    for found in StreamCDC::new(reader, sizes.0, sizes.1, sizes.2) {
        let found = found.map_err(io::Error::from)?;
        piece(found.offset, &found.data)?;
    }
    Ok(())
}

/// Reads from the front.
struct Front<'a, R> {
    from: &'a R,
    at: u64,
    end: u64,
}

impl<R: ReadAt> Read for Front<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let count = left.min(buffer.len());
        self.from.read_exact_at(&mut buffer[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
