//! The bytes of answers, read and hashed where blocking is allowed.

use std::io;

use caravan_protocol::{ids::BlobId, limits::BLOB_BYTES_MAX};

use super::{
    ReadAt,
    groups::{Mask, PIECE, Shape},
    serve::{Shop, growing_with},
    words::{ABSENT, PRESENT},
};

/// A piece with the list of its groups: what an answer has after its word. None if the piece is not
/// here, or there is no such piece.
pub(crate) fn piece_of(
    shop: &Shop,
    blob: BlobId,
    piece: u32,
    groups: Mask,
) -> io::Result<Option<Vec<u8>>> {
    if let Some(growing) = growing_with(shop, blob, piece) {
        let place = growing.place.as_ref();
        return read_piece(place, growing.shape, piece, groups);
    }
    let Some((size, reader)) = shop.source.open(blob)? else {
        return Ok(None);
    };
    if size > BLOB_BYTES_MAX {
        return Ok(None);
    }
    read_piece(reader.as_ref(), Shape::of(size), piece, groups)
}

fn read_piece<R: ReadAt + ?Sized>(
    reader: &R,
    shape: Shape,
    piece: u32,
    groups: Mask,
) -> io::Result<Option<Vec<u8>>> {
    if piece >= shape.pieces() || groups & !shape.all(piece) != 0 {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    append(reader, shape, piece, &mut bytes)?;
    if groups != shape.all(piece) {
        let list = bytes.len() - shape.len(piece);
        let mut some = bytes[..list].to_vec();
        for group in (0..shape.groups(piece)).filter(|group| groups & (1 << group) != 0) {
            some.extend_from_slice(&bytes[list..][shape.group(piece, group)]);
        }
        bytes = some;
    }
    Ok(Some(bytes))
}

/// Appends a piece, with its list if it has one.
fn append<R: ReadAt + ?Sized>(
    reader: &R,
    shape: Shape,
    piece: u32,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let list = if shape.has_list(piece) {
        shape.groups(piece) as usize * 32
    } else {
        0
    };
    let at = out.len();
    out.resize(at + list + shape.len(piece), 0);
    let (head, body) = out[at..].split_at_mut(list);
    reader.read_exact_at(body, shape.at(piece))?;
    if !head.is_empty() {
        head.copy_from_slice(shape.list(piece, body).as_flattened());
    }
    Ok(())
}

/// Whole blobs on their way, a piece or some at a time.
pub(crate) struct Whole {
    shop: Shop,
    blobs: std::vec::IntoIter<BlobId>,
    /// The blob of which some was given, and the piece that comes next.
    open: Option<(Shape, Box<dyn ReadAt>, u32)>,
}

impl Whole {
    pub(crate) fn new(shop: Shop, blobs: Vec<BlobId>) -> Self {
        Self {
            shop,
            blobs: blobs.into_iter(),
            open: None,
        }
    }

    /// What comes next, about a piece; nothing at the end.
    pub(crate) fn more(&mut self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        while (out.len() as u64) < PIECE {
            if let Some((shape, reader, piece)) = &mut self.open {
                append(reader.as_ref(), *shape, *piece, &mut out)?;
                *piece += 1;
                if *piece == shape.pieces() {
                    self.shop.tally.blobs_out.add(1);
                    let size = usize::try_from(shape.size()).unwrap_or(usize::MAX);
                    self.shop.tally.bulk_out_bytes.add(size);
                    self.open = None;
                }
                continue;
            }
            let Some(id) = self.blobs.next() else {
                break;
            };
            self.begin(id, &mut out)?;
        }
        Ok(out)
    }

    fn begin(&mut self, id: BlobId, out: &mut Vec<u8>) -> io::Result<()> {
        // A blob that cannot be read is as good as not here; others may have it.
        let opened = self.shop.source.open(id).unwrap_or_else(|error| {
            tracing::warn!(blob = %id, %error, "a blob could not be opened");
            None
        });
        let Some((size, reader)) = opened.filter(|(size, _)| *size <= BLOB_BYTES_MAX) else {
            out.push(ABSENT);
            return Ok(());
        };
        let shape = Shape::of(size);
        let outline = if shape.pieces() > 1 {
            match self.shop.shelf.outline(id, shape, reader.as_ref()) {
                Ok(outline) => Some(outline),
                Err(error) => {
                    tracing::warn!(blob = %id, %error, "a blob could not be read");
                    out.push(ABSENT);
                    return Ok(());
                }
            }
        } else {
            None
        };
        out.push(PRESENT);
        out.extend_from_slice(&size.to_be_bytes());
        if let Some(outline) = outline {
            out.extend_from_slice(outline.as_flattened());
        }
        self.open = Some((shape, reader, 0));
        Ok(())
    }
}
