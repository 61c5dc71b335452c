//! Extended attributes. Kept: `user.*` and `security.capability`. Understood: overlayfs's own mark
//! of an opaque directory, `trusted.overlay.opaque`, or `user.overlay.opaque` where the node is not
//! root: of the two only that which no job could have written itself. Removed: what overlayfs notes
//! for itself, and access lists, whose mask the mode shows. Refused: everything with which a lower
//! layer could be made to look elsewhere. What the host puts on files for itself (labels, integrity
//! hashes) is neither kept nor touched.

use std::collections::BTreeMap;

use caravan_protocol::limits::{XATTR_BYTES_MAX, XATTRS_MAX};
use rustix::{fd::AsFd, fs::XattrFlags, io::Errno};

use crate::{
    error::{Doing, Result, StoreError},
    owner,
};

/// Begins the attributes of an overlay that root of the host has mounted.
const BY_ROOT: &[u8] = b"trusted.overlay.";
/// Begins those of one that somebody else has mounted; it lets nobody inside see or set them.
const BY_OTHERS: &[u8] = b"user.overlay.";
const OPAQUE: &[u8] = b"opaque";
/// What overlayfs notes about files that it copied up.
const OVERLAY_NOTES: [&[u8]; 6] = [
    b"origin",
    b"impure",
    b"nlink",
    b"upper",
    b"uuid",
    b"protattr",
];
const LIST_BYTES_MAX: usize = 64 * 1024;

/// The attributes of one file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Xattrs {
    /// Those that the tree names.
    pub(crate) kept: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Whether lower layers are hidden below this directory.
    pub(crate) opaque: bool,
    /// Those that the store does not want on its files.
    pub(crate) dropped: Vec<Vec<u8>>,
}

/// Whether a file of the store may carry an attribute of this name, so that a tree from elsewhere
/// cannot set labels or access lists here.
pub(crate) fn is_kept(name: &[u8]) -> bool {
    (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
        || name == b"security.capability"
}

/// How the attributes of this node's overlays begin.
fn ours() -> &'static [u8] {
    if owner::is_rootless() {
        BY_OTHERS
    } else {
        BY_ROOT
    }
}

fn is_mark(name: &[u8]) -> bool {
    name.strip_prefix(ours()) == Some(OPAQUE)
}

fn is_note(name: &[u8]) -> bool {
    let note = name.strip_prefix(ours());
    note.is_some_and(|note| OVERLAY_NOTES.contains(&note))
}

/// Reads the attributes of an open file; `path` is for words only.
pub(crate) fn read(file: impl AsFd, path: &[u8]) -> Result<Xattrs> {
    let file = file.as_fd();
    let what = || format!("read the extended attributes of {:?}", lossy(path));
    let mut found = Xattrs::default();
    let mut list = match rustix::fs::flistxattr_query(file) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(found),
        Ok(size) => vec![0; size.min(LIST_BYTES_MAX)],
        Err(error) => return Err(error).doing(what),
    };
    let size = rustix::fs::flistxattr(file, list.as_mut_slice()).doing(what)?;
    list.truncate(size);
    for name in list.split(|&b| b == 0).filter(|name| !name.is_empty()) {
        if is_kept(name) {
            if found.kept.len() == XATTRS_MAX {
                return Err(StoreError::refused(
                    path,
                    "it has too many extended attributes",
                ));
            }
            let mut value = vec![0; XATTR_BYTES_MAX];
            let size = rustix::fs::fgetxattr(file, name, value.as_mut_slice()).doing(what)?;
            value.truncate(size);
            found.kept.insert(name.to_vec(), value);
        } else if is_mark(name) {
            let mut value = [0; 8];
            let size = rustix::fs::fgetxattr(file, name, &mut value[..]).doing(what)?;
            match &value[..size] {
                b"y" => found.opaque = true,
                _ => return Err(StoreError::refused(path, REDIRECTED)),
            }
        } else if is_note(name) || name.starts_with(b"system.posix_acl_") {
            found.dropped.push(name.to_vec());
        } else if name.starts_with(b"trusted.") || name.starts_with(b"user.overlay.") {
            return Err(StoreError::refused(path, REDIRECTED));
        }
    }
    Ok(found)
}

const REDIRECTED: &str = "it has an extended attribute by which an overlay would look elsewhere \
                          than in this file";

/// Removes attributes that [`read`] found unwanted.
pub(crate) fn drop_unwanted(file: impl AsFd, found: &Xattrs, path: &[u8]) -> Result<()> {
    for name in &found.dropped {
        match rustix::fs::fremovexattr(file.as_fd(), name) {
            Ok(()) | Err(Errno::NODATA) => {}
            other => {
                other.doing(|| format!("remove an extended attribute of {:?}", lossy(path)))?
            }
        }
    }
    Ok(())
}

/// Gives an open file these attributes.
pub(crate) fn write(
    file: impl AsFd,
    kept: &BTreeMap<Vec<u8>, Vec<u8>>,
    opaque: bool,
    path: &[u8],
) -> Result<()> {
    let what = || format!("set the extended attributes of {:?}", lossy(path));
    for (name, value) in kept {
        if !is_kept(name) {
            return Err(StoreError::refused(
                path,
                "it has an extended attribute of a kind that the store does not keep",
            ));
        }
        match rustix::fs::fsetxattr(file.as_fd(), name, value, XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) => return Err(StoreError::refused(path, NOT_KEPT)),
            // File systems say so too when one file has too much.
            Err(Errno::NOSPC | Errno::RANGE | Errno::TOOBIG) if has_room(&file) => {
                return Err(StoreError::refused(path, NO_ROOM));
            }
            other => other.doing(what)?,
        }
    }
    if opaque {
        let mark = [ours(), OPAQUE].concat();
        match rustix::fs::fsetxattr(file.as_fd(), &mark, b"y", XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) => return Err(StoreError::refused(path, NOT_HIDDEN)),
            other => other.doing(what)?,
        }
    }
    Ok(())
}

const NOT_KEPT: &str = "it has extended attributes, and the file system that holds the store \
                        keeps none of this kind; give the store a directory on one that does, \
                        such as ext4, xfs or btrfs";
const NOT_HIDDEN: &str = "it hides a directory of the layers below, and the file system that \
                          holds the store keeps no trusted extended attributes to say so; give \
                          the store a directory on one that does, such as ext4, xfs or btrfs";
const NO_ROOM: &str = "its extended attributes are larger than the file system that holds the \
                       store keeps; give the store a directory on one that takes more, such as \
                       xfs or btrfs";
/// Blocks that are free where attributes did not fail for lack of room.
const ROOM_BLOCKS: u64 = 16;

fn has_room(file: impl AsFd) -> bool {
    rustix::fs::fstatvfs(file).is_ok_and(|disk| disk.f_bavail > ROOM_BLOCKS)
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
