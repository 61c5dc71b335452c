//! Extended headers: what a member's own header has no room for, in pax records or, for names, as
//! GNU tar writes them.

use std::{collections::BTreeMap, io};

use super::{bad, header::check_size, sparse};
use crate::limits;

const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";

/// What stands before a member's header.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Extended {
    pax: bool,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) sparse_name: Option<Vec<u8>>,
    sparse: BTreeMap<Vec<u8>, Vec<u8>>,
    pieces: Vec<u64>,
}

impl Extended {
    pub(crate) fn add_pax(&mut self, bytes: &[u8]) -> io::Result<()> {
        if std::mem::replace(&mut self.pax, true) {
            return Err(bad("two extended headers stand before one member"));
        }
        records(bytes, |key, value| self.record(key, value))
    }

    pub(crate) fn add_name(&mut self, bytes: &[u8]) -> io::Result<()> {
        set_long(&mut self.long_path, bytes)
    }

    pub(crate) fn add_link(&mut self, bytes: &[u8]) -> io::Result<()> {
        set_long(&mut self.long_link, bytes)
    }

    /// The name of the member, where its header has this one.
    pub(crate) fn path(&mut self, own: Vec<u8>) -> Vec<u8> {
        let long = self.long_path.take();
        self.path.take().or(long).unwrap_or(own)
    }

    /// The target of the member, where its header has this one.
    pub(crate) fn link(&mut self, own: Vec<u8>) -> Vec<u8> {
        let long = self.long_link.take();
        self.link.take().or(long).unwrap_or(own)
    }

    pub(crate) fn is_sparse(&self) -> bool {
        !self.sparse.is_empty() || !self.pieces.is_empty() || self.sparse_name.is_some()
    }

    /// The length of a sparse file with its holes.
    pub(crate) fn sparse_size(&self) -> io::Result<u64> {
        let size = ["realsize", "size"]
            .iter()
            .find_map(|name| self.sparse.get(name.as_bytes()));
        let size = size.ok_or_else(|| bad("a sparse file does not say how long it is"))?;
        check_size(decimal(size)?)
    }

    /// The pieces of a sparse file, unless they stand before its data.
    pub(crate) fn take_pieces(&mut self) -> io::Result<Option<Vec<(u64, u64)>>> {
        let version = (
            self.sparse.get(b"major".as_slice()).map(Vec::as_slice),
            self.sparse.get(b"minor".as_slice()).map(Vec::as_slice),
        );
        let numbers = match (version, self.sparse.get(b"map".as_slice())) {
            ((Some(b"1"), Some(b"0")), None) if self.pieces.is_empty() => return Ok(None),
            ((None, None) | (Some(b"0"), Some(b"1")), Some(map)) if self.pieces.is_empty() => {
                let mut numbers = Vec::new();
                for number in map.split(|&b| b == b',') {
                    numbers.push(decimal(number)?);
                }
                numbers
            }
            ((None, None) | (Some(b"0"), Some(b"0")), None) => std::mem::take(&mut self.pieces),
            _ => return Err(bad("a sparse file is of a form that is not understood")),
        };
        sparse::pairs(&numbers).map(Some)
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        // An empty value takes back what was said before.
        let text = (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = text,
            b"linkpath" => self.link = text,
            b"size" => self.size = Some(check_size(decimal(value)?)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"GNU.sparse.name" => self.sparse_name = text,
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                let is_offset = key.ends_with(b"offset");
                if is_offset != self.pieces.len().is_multiple_of(2) {
                    return Err(bad("the pieces of a sparse file are not in pairs"));
                }
                if self.pieces.len() >= 2 * limits::SPARSE_PIECES_MAX {
                    return Err(bad("a sparse file has too many pieces"));
                }
                self.pieces.push(decimal(value)?);
            }
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    self.xattrs.insert(name.to_vec(), value.to_vec());
                } else if let Some(name) = key.strip_prefix(SPARSE) {
                    self.sparse.insert(name.to_vec(), value.to_vec());
                }
            }
        }
        Ok(())
    }
}

fn set_long(long: &mut Option<Vec<u8>>, bytes: &[u8]) -> io::Result<()> {
    let end = bytes.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
    let name = bytes[..end].to_vec();
    if name.is_empty() || long.replace(name).is_some() {
        return Err(bad("a member has two long names, or an empty one"));
    }
    Ok(())
}

/// Checks a global extended header. A comment, as git writes it, says nothing about members; what
/// would say something is refused, since readers disagree on what it means.
pub(crate) fn check_global(bytes: &[u8]) -> io::Result<()> {
    records(bytes, |key, _| {
        let says = [
            b"path".as_slice(),
            b"linkpath",
            b"size",
            b"uid",
            b"gid",
            b"hdrcharset",
        ];
        if says.contains(&key) || key.starts_with(XATTR) || key.starts_with(SPARSE) {
            return Err(bad(format!(
                "a global header sets {:?} of all members at once",
                String::from_utf8_lossy(key)
            )));
        }
        Ok(())
    })
}

/// Splits `LENGTH KEY=VALUE\n` records.
fn records(
    mut bytes: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let broken = || bad("an extended header is damaged");
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|&b| b == b' ');
        let space = space.ok_or_else(broken)?;
        let length = usize::try_from(decimal(&bytes[..space])?).map_err(|_| broken())?;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(broken());
        }
        let record = &bytes[space + 1..length - 1];
        let equals = record
            .iter()
            .position(|&b| b == b'=')
            .filter(|at| *at > 0)
            .ok_or_else(broken)?;
        each(&record[..equals], &record[equals + 1..])?;
        bytes = &bytes[length..];
    }
    Ok(())
}

/// A decimal number, which is not negative.
pub(crate) fn decimal(bytes: &[u8]) -> io::Result<u64> {
    let refuse = || {
        bad(format!(
            "an extended header holds {:?} where a number should be",
            String::from_utf8_lossy(bytes)
                .chars()
                .take(40)
                .collect::<String>()
        ))
    };
    if bytes.is_empty() || bytes.len() > 20 || !bytes.iter().all(u8::is_ascii_digit) {
        return Err(refuse());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| refuse())?;
    text.parse().map_err(|_| refuse())
}
