//! A tree as a tar archive: for people and for programs that know nothing of stores. Names and
//! links of any length are written the GNU way, extended attributes the pax way; files that share
//! an inode are written apart, and what a layer hides is written as OCI images do, with `.wh.`
//! names. Equal trees give equal archives.

use std::io::{self, Read, Write};

use caravan_protocol::{
    ids::{BlobId, TreeId},
    tree::{Entry, Kind, MTIME_S, Tree},
};
use tar::{Builder, EntryType, Header};

use crate::{
    error::{Doing, Result, StoreError},
    store::Store,
};

const HIDDEN: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

impl Store {
    /// Writes `tree` to `to` as a tar archive. The tree is leased meanwhile.
    pub fn export(&self, tree: TreeId, to: &mut dyn Write) -> Result<()> {
        let _lease = self.lease(&[tree]);
        let listing = self.tree(tree)?;
        let missing = self.missing_of(&listing)?.len();
        if missing > 0 {
            return Err(StoreError::Incomplete { tree, missing });
        }
        let mut archive = Builder::new(to);
        for entry in listing.entries() {
            self.export_entry(&mut archive, &listing, entry)?;
        }
        archive
            .finish()
            .doing(|| format!("write the archive of tree {tree}"))
    }

    fn export_entry(
        &self,
        archive: &mut Builder<&mut dyn Write>,
        listing: &Tree,
        entry: &Entry,
    ) -> Result<()> {
        let what = || {
            format!(
                "write {:?} to the archive",
                String::from_utf8_lossy(&entry.path)
            )
        };
        let name = crate::beneath::split(&entry.path).1;
        // Such a name would mean something else to whoever unpacks it.
        if name.starts_with(HIDDEN) {
            return Err(StoreError::refused(
                &entry.path,
                "its name begins with `.wh.`, which in an archive says that something is hidden",
            ));
        }
        let mut header = header(entry);
        match &entry.kind {
            Kind::Dir { opaque } => {
                attributes(archive, entry).doing(what)?;
                let path = match entry.path.as_slice() {
                    b"" => b"./".to_vec(),
                    path => [path, b"/"].concat(),
                };
                append(archive, &mut header, &path, &mut io::empty()).doing(what)?;
                if *opaque {
                    let inside = join(&entry.path, OPAQUE);
                    append(archive, &mut marker(), &inside, &mut io::empty()).doing(what)?;
                }
            }
            Kind::File { blob, size } => {
                attributes(archive, entry).doing(what)?;
                header.set_size(*size);
                let mut bytes = Exactly {
                    file: self.open_blob(*blob)?.take(*size),
                    left: *size,
                    blob: *blob,
                    hasher: blake3::Hasher::new(),
                };
                append(archive, &mut header, &entry.path, &mut bytes).doing(what)?;
            }
            Kind::Symlink { target } => {
                long(archive, &mut header, target, EntryType::GNULongLink).doing(what)?;
                append(archive, &mut header, &entry.path, &mut io::empty()).doing(what)?;
            }
            Kind::Whiteout => {
                let (dir, name) = crate::beneath::split(&entry.path);
                let hidden = join(dir, &[HIDDEN, name].concat());
                if listing.get(&hidden).is_some() {
                    return Err(StoreError::refused(
                        &hidden,
                        "two files would have one name",
                    ));
                }
                append(archive, &mut marker(), &hidden, &mut io::empty()).doing(what)?;
            }
        }
        Ok(())
    }
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        name.to_vec()
    } else {
        [dir, b"/", name].concat()
    }
}

fn header(entry: &Entry) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(u32::from(entry.mode));
    header.set_uid(u64::from(entry.uid));
    header.set_gid(u64::from(entry.gid));
    header.set_mtime(u64::try_from(MTIME_S).unwrap_or(0));
    header.set_size(0);
    header.set_entry_type(match entry.kind {
        Kind::Dir { .. } => EntryType::Directory,
        Kind::Symlink { .. } => EntryType::Symlink,
        Kind::File { .. } | Kind::Whiteout => EntryType::Regular,
    });
    header
}

/// The empty file that says that something is hidden.
fn marker() -> Header {
    header(&Entry::file(b"", 0, BlobId::of(b""), 0))
}

fn append(
    archive: &mut Builder<&mut dyn Write>,
    header: &mut Header,
    path: &[u8],
    bytes: &mut dyn Read,
) -> io::Result<()> {
    long(archive, header, path, EntryType::GNULongName)?;
    header.set_cksum();
    archive.append(header, bytes)
}

/// Puts a name or a link's target into its field, or before the header if it has no room there.
fn long(
    archive: &mut Builder<&mut dyn Write>,
    header: &mut Header,
    text: &[u8],
    kind: EntryType,
) -> io::Result<()> {
    let fields = header.as_gnu_mut().ok_or(io::ErrorKind::InvalidInput)?;
    let field: &mut [u8] = match kind {
        EntryType::GNULongLink => &mut fields.linkname,
        _ => &mut fields.name,
    };
    if text.len() <= field.len() {
        field[..text.len()].copy_from_slice(text);
        return Ok(());
    }
    let short = field.len();
    field.copy_from_slice(&text[..short]);
    let mut before = Header::new_gnu();
    let name = b"././@LongLink";
    before.as_gnu_mut().ok_or(io::ErrorKind::InvalidInput)?.name[..name.len()]
        .copy_from_slice(name);
    before.set_mode(0o644);
    before.set_uid(0);
    before.set_gid(0);
    before.set_mtime(0);
    before.set_entry_type(kind);
    before.set_size(text.len() as u64 + 1);
    before.set_cksum();
    archive.append(&before, &mut text.chain(&b"\0"[..]))
}

fn attributes(archive: &mut Builder<&mut dyn Write>, entry: &Entry) -> io::Result<()> {
    if entry.xattrs.is_empty() {
        return Ok(());
    }
    let mut body = Vec::new();
    for (name, value) in &entry.xattrs {
        let pair = [
            b" SCHILY.xattr.",
            name.as_slice(),
            b"=",
            value.as_slice(),
            b"\n",
        ]
        .concat();
        // The length counts itself.
        let mut length = pair.len() + 1;
        while pair.len() + length.to_string().len() > length {
            length = pair.len() + length.to_string().len();
        }
        body.extend_from_slice(length.to_string().as_bytes());
        body.extend_from_slice(&pair);
    }
    let mut before = Header::new_ustar();
    before.set_path("PaxHeaders/attributes")?;
    before.set_mode(0o644);
    before.set_uid(0);
    before.set_gid(0);
    before.set_mtime(0);
    before.set_entry_type(EntryType::XHeader);
    before.set_size(body.len() as u64);
    before.set_cksum();
    archive.append(&before, body.as_slice())
}

/// A file's bytes, or an error where they are fewer or others: such an archive is none.
struct Exactly {
    file: io::Take<std::fs::File>,
    left: u64,
    blob: BlobId,
    hasher: blake3::Hasher,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file in the store is shorter than its tree says",
            ));
        }
        self.hasher.update(&buffer[..read]);
        let before = self.left;
        self.left = before.saturating_sub(read as u64);
        if before > 0 && self.left == 0 && self.hasher.finalize().as_bytes() != self.blob.as_bytes()
        {
            let words = "its bytes in the store are damaged; run `caravan store check --heal`";
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
        Ok(read)
    }
}
