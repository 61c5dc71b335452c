//! Writing a tree as a tar archive: POSIX headers, with extended ones where a name, size or
//! attribute asks for it. Only the tree decides the bytes.

use std::io::{self, Read, Write};

use caravan_protocol::{
    ids::BlobId,
    tree::{Entry, Kind, MTIME_S, Tree},
};

use super::Contents;
use crate::{
    error::{Doing, ImageError, Result},
    layer::entry as refused,
    merge,
    meter::Meter,
};

const BLOCK: usize = 512;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Largest number of eleven octal digits.
const OCTAL_11_MAX: u64 = 0o777_7777_7777;
/// Largest number of seven octal digits.
const OCTAL_7_MAX: u64 = 0o777_7777;

/// One header.
struct Header<'a> {
    path: &'a [u8],
    flag: u8,
    mode: u16,
    uid: u32,
    gid: u32,
    size: u64,
    link: &'a [u8],
    pax: Vec<u8>,
}

/// Writes a tree as a layer.
pub(super) fn write(
    what: &str,
    tree: &Tree,
    contents: &dyn Contents,
    to: &mut impl Write,
    meter: &Meter<'_>,
) -> Result<()> {
    let words = || format!("write {what}");
    for entry in tree.entries() {
        check(entry).map_err(|reason| refused(what, &entry.path, reason))?;
        let mut header = Header::of(entry);
        match &entry.kind {
            Kind::Dir { opaque } => {
                let mut path = entry.path.clone();
                path.extend_from_slice(if path.is_empty() { b"./" } else { b"/" });
                header.path = &path;
                header.flag = b'5';
                header.write(to).doing(words)?;
                if *opaque {
                    let mut mark = entry.path.clone();
                    merge::push(&mut mark, OPAQUE);
                    Header::file(&mark).write(to).doing(words)?;
                }
            }
            Kind::Symlink { target } => {
                header.flag = b'2';
                header.link = target;
                header.write(to).doing(words)?;
            }
            Kind::Whiteout => {
                let mut mark = merge::parent(&entry.path).to_vec();
                let name = entry.path.rsplit(|&b| b == b'/').next();
                merge::push(&mut mark, &[WHITEOUT, name.unwrap_or_default()].concat());
                Header::file(&mark).write(to).doing(words)?;
            }
            Kind::File { blob, size } => {
                header.size = *size;
                header.write(to).doing(words)?;
                content(what, entry, (*blob, *size), contents, to, meter)?;
            }
        }
    }
    to.write_all(&[0; 2 * BLOCK]).doing(words)
}

/// What a layer cannot say.
fn check(entry: &Entry) -> std::result::Result<(), &'static str> {
    if entry
        .path
        .split(|&b| b == b'/')
        .any(|name| name.starts_with(WHITEOUT))
    {
        return Err("its name begins with `.wh.`, which means something else in an image's layer");
    }
    if entry.xattrs.keys().any(|name| name.contains(&b'=')) {
        return Err("the name of an attribute has a `=`, which tar cannot say");
    }
    Ok(())
}

fn content(
    what: &str,
    entry: &Entry,
    (blob, size): (BlobId, u64),
    contents: &dyn Contents,
    to: &mut impl Write,
    meter: &Meter<'_>,
) -> Result<()> {
    let words = || {
        let path = String::from_utf8_lossy(&entry.path);
        format!("write {path:?} of {what}")
    };
    let opened = contents.open(blob);
    let reader = opened.map_err(|source| ImageError::Kept {
        what: words(),
        source,
    })?;
    // One byte more would be noticed.
    let mut reader = reader.take(size + 1);
    let mut buffer = vec![0; 128 * 1024];
    let mut hasher = blake3::Hasher::new();
    let mut copied = 0;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).doing(words),
        };
        copied += read as u64;
        if copied > size {
            break;
        }
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read]).doing(words)?;
        meter.add(read as u64).doing(words)?;
    }
    if copied != size {
        return Err(ImageError::Mismatch {
            what: words(),
            expected: format!("{size} bytes"),
            found: format!("{copied} bytes or more"),
        });
    }
    let found = BlobId::from_bytes(*hasher.finalize().as_bytes());
    if found != blob {
        return Err(ImageError::Mismatch {
            what: words(),
            expected: blob.to_string(),
            found: found.to_string(),
        });
    }
    let padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).expect("less than a block");
    to.write_all(&[0; BLOCK][..padding]).doing(words)
}

impl<'a> Header<'a> {
    fn of(entry: &'a Entry) -> Self {
        let mut pax = Vec::new();
        for (name, value) in &entry.xattrs {
            record(
                &mut pax,
                &[b"SCHILY.xattr.", name.as_slice()].concat(),
                value,
            );
        }
        Self {
            path: &entry.path,
            flag: b'0',
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            size: 0,
            link: b"",
            pax,
        }
    }

    /// An empty file that only means something.
    fn file(path: &'a [u8]) -> Self {
        Self {
            path,
            flag: b'0',
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            link: b"",
            pax: Vec::new(),
        }
    }

    fn write(mut self, to: &mut impl Write) -> io::Result<()> {
        if self.path.len() > 100 {
            record(&mut self.pax, b"path", self.path);
        }
        if self.link.len() > 100 {
            record(&mut self.pax, b"linkpath", self.link);
        }
        for (name, value, max) in [
            (&b"size"[..], self.size, OCTAL_11_MAX),
            (b"uid", u64::from(self.uid), OCTAL_7_MAX),
            (b"gid", u64::from(self.gid), OCTAL_7_MAX),
        ] {
            if value > max {
                record(&mut self.pax, name, value.to_string().as_bytes());
            }
        }
        if !self.pax.is_empty() {
            let size = self.pax.len();
            let extended = Header {
                flag: b'x',
                size: size as u64,
                ..Header::file(b"pax")
            };
            to.write_all(&extended.block())?;
            to.write_all(&self.pax)?;
            to.write_all(&[0; BLOCK][..size.wrapping_neg() % BLOCK])?;
        }
        to.write_all(&self.block())
    }

    fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.path[..self.path.len().min(100)]);
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(
            108,
            format!("{:07o}", u64::from(self.uid).min(OCTAL_7_MAX)).as_bytes(),
        );
        put(
            116,
            format!("{:07o}", u64::from(self.gid).min(OCTAL_7_MAX)).as_bytes(),
        );
        put(
            124,
            format!("{:011o}", self.size.min(OCTAL_11_MAX)).as_bytes(),
        );
        put(136, format!("{MTIME_S:011o}").as_bytes());
        put(148, b"        ");
        put(156, &[self.flag]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, b"ustar\x0000");
        let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// Writes the header of a file that is no part of a tree.
pub(super) fn header(
    to: &mut impl Write,
    path: &str,
    flag: u8,
    mode: u16,
    size: u64,
) -> io::Result<()> {
    let header = Header {
        flag,
        mode,
        size,
        ..Header::file(path.as_bytes())
    };
    header.write(to)
}

/// Adds `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record(pax: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    pax.extend_from_slice(length.to_string().as_bytes());
    pax.push(b' ');
    pax.extend_from_slice(key);
    pax.push(b'=');
    pax.extend_from_slice(value);
    pax.push(b'\n');
}
