//! One layer, or one archive of a root file system: its members are laid over what is there.

use std::{collections::BTreeMap, io::Read};

use caravan_protocol::{
    ids::BlobId,
    limits::{XATTR_BYTES_MAX, XATTRS_MAX},
    tree::{Entry, Kind},
};

use crate::{
    archive::{Archive, Member, MemberKind},
    error::{Cause, Doing, ImageError, Result},
    facts::Facts,
    limits,
    merge::{self, Merged},
    unpack::Room,
};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names by which an old file system kept notes of its own.
const NOTES: &[u8] = b".wh..wh.";

/// Keeps contents while an image is read, and only the caller decides whether they stay.
pub trait Sink {
    /// Keeps what `reader` gives, at most `max` bytes; says what it was and how long.
    fn put(&mut self, reader: &mut dyn Read, max: u64)
    -> std::result::Result<(BlobId, u64), Cause>;
}

/// What an import gathers.
pub(crate) struct Gathered<'a> {
    pub(crate) sink: &'a mut dyn Sink,
    pub(crate) merged: Merged,
    pub(crate) facts: Facts,
    pub(crate) notes: Notes,
}

/// Things that a person should know and that are no errors.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    lines: Vec<String>,
    more: usize,
}

impl Notes {
    pub(crate) fn add(&mut self, line: impl FnOnce() -> String) {
        if self.lines.len() < limits::NOTES_MAX {
            self.lines.push(line());
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn into_lines(mut self) -> Vec<String> {
        if self.more > 0 {
            self.lines
                .push(format!("and {} more like these", self.more));
        }
        self.lines
    }
}

/// What a whiteout in an archive means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whiteouts {
    /// A file is gone.
    Hide,
    /// Nothing: the archive is no layer, and such a name has no place in it.
    Refuse,
}

/// Reads all members of an archive as a layer of the image.
pub(crate) fn read(
    of: &str,
    archive: &mut Archive<impl Read>,
    whiteouts: Whiteouts,
    room: &Room<'_, '_>,
    gathered: &mut Gathered<'_>,
) -> Result<()> {
    let damaged = || format!("read {of}");
    while let Some(member) = archive.next().doing(damaged)? {
        let name = member.path.clone();
        take(of, member, archive, whiteouts, room, gathered).map_err(|error| match error {
            Trouble::Refused(reason) => entry(of, &name, reason),
            Trouble::Failed(error) => error,
        })?;
    }
    let ended = gathered.merged.end_layer();
    ended.map_err(|reason| entry(of, b"", reason))?;
    archive.drain().doing(damaged)
}

pub(crate) fn entry(of: &str, path: &[u8], reason: impl Into<String>) -> ImageError {
    ImageError::Entry {
        of: of.to_owned(),
        path: String::from_utf8_lossy(path).chars().take(300).collect(),
        reason: reason.into(),
    }
}

enum Trouble {
    Refused(String),
    Failed(ImageError),
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Self::Refused(reason)
    }
}

fn take(
    of: &str,
    member: Member,
    archive: &mut Archive<impl Read>,
    whiteouts: Whiteouts,
    room: &Room<'_, '_>,
    gathered: &mut Gathered<'_>,
) -> std::result::Result<(), Trouble> {
    let path = normal(&member.path)?;
    let hidden = hides(&path, &member.kind)?;
    if hidden.is_some() && whiteouts == Whiteouts::Refuse {
        return Err(
            "it is a whiteout, and the archive is no layer of an image: give the image itself"
                .to_owned()
                .into(),
        );
    }
    if let Some(hidden) = hidden {
        return hide(&path, hidden, gathered).map_err(Trouble::from);
    }
    let at = gathered.merged.locate(&path)?;
    let xattrs = attributes(of, &member, &mut gathered.notes)?;
    let mut new = Entry {
        path: Vec::new(),
        mode: member.mode,
        uid: owner(member.uid)?,
        gid: owner(member.gid)?,
        xattrs,
        kind: Kind::Dir { opaque: false },
    };
    match member.kind {
        MemberKind::Dir => {}
        MemberKind::File { size } => {
            let hole = size.saturating_sub(archive.stored());
            room.take(hole)
                .doing(|| format!("read {of}"))
                .map_err(Trouble::Failed)?;
            let mut data = archive.data();
            let (blob, size) =
                content(of, &path, &mut data, size, gathered).map_err(Trouble::Failed)?;
            new.kind = Kind::File { blob, size };
        }
        MemberKind::Symlink { target } => {
            if target.is_empty() || target.contains(&0) {
                let reason = "it is a symbolic link to nothing, or to a name with a NUL byte";
                return Err(reason.to_owned().into());
            }
            (new.mode, new.kind) = (0o777, Kind::Symlink { target });
        }
        MemberKind::HardLink { target } => {
            // From the root of the image, however it is written.
            let target = normal(target.strip_prefix(b"/").unwrap_or(&target));
            let target = target.map_err(|reason| format!("its target: {reason}"))?;
            return gathered.merged.link(at, &target).map_err(Trouble::from);
        }
        MemberKind::Special(what) => {
            let path = String::from_utf8_lossy(&path).into_owned();
            gathered
                .notes
                .add(|| format!("{path:?} of {of} is left out: it is {what}"));
            return Ok(());
        }
    }
    gathered.merged.insert(at, new).map_err(Trouble::from)
}

/// Keeps the content of a file, which must have just that many bytes.
pub(crate) fn content(
    of: &str,
    path: &[u8],
    reader: &mut dyn Read,
    size: u64,
    gathered: &mut Gathered<'_>,
) -> Result<(BlobId, u64)> {
    let words = || String::from_utf8_lossy(path).into_owned();
    let mut captured = gathered.facts.capture(path, reader);
    let put = gathered.sink.put(&mut captured, size);
    let (blob, found) = put.map_err(|source| ImageError::Kept {
        what: format!("keep {:?} of {of}", words()),
        source,
    })?;
    let bytes = captured.into_bytes();
    gathered.facts.captured(blob, bytes);
    if found != size {
        return Err(ImageError::Mismatch {
            what: format!("the size of {:?} of {of}", words()),
            expected: size.to_string(),
            found: found.to_string(),
        });
    }
    Ok((blob, found))
}

/// Applies a whiteout.
fn hide(
    path: &[u8],
    hidden: Hidden,
    gathered: &mut Gathered<'_>,
) -> std::result::Result<(), String> {
    match hidden {
        Hidden::File(name) => {
            let mut beside = merge::parent(path).to_vec();
            merge::push(&mut beside, &name);
            let at = gathered.merged.locate(&beside)?;
            gathered.merged.whiteout(&at);
        }
        Hidden::Below => {
            // What is hidden is below the directory that the name leads to.
            let at = gathered.merged.locate(path)?;
            gathered.merged.opaque(merge::parent(&at));
        }
        Hidden::Nothing => {}
    }
    Ok(())
}

/// What a whiteout hides.
enum Hidden {
    File(Vec<u8>),
    Below,
    Nothing,
}

/// Whether a member is a whiteout. A name that begins so is never a file.
fn hides(path: &[u8], kind: &MemberKind) -> std::result::Result<Option<Hidden>, String> {
    let mut names = path.rsplit(|&b| b == b'/');
    let own = names.next().unwrap_or_default();
    if names.any(|name| name.starts_with(WHITEOUT) && !name.starts_with(NOTES)) {
        return Err("it is below a whiteout".to_owned());
    }
    if own == OPAQUE {
        return match kind {
            MemberKind::File { .. } => Ok(Some(Hidden::Below)),
            _ => Err("a whiteout is a file, and this is none".to_owned()),
        };
    }
    if path
        .split(|&b| b == b'/')
        .any(|name| name.starts_with(NOTES))
    {
        return Ok(Some(Hidden::Nothing));
    }
    let Some(name) = own.strip_prefix(WHITEOUT) else {
        return Ok(None);
    };
    if !matches!(kind, MemberKind::File { .. }) {
        return Err("a whiteout is a file, and this is none".to_owned());
    }
    if name.is_empty() || name == b"." || name == b".." {
        return Err("it is a whiteout of no file".to_owned());
    }
    Ok(Some(Hidden::File(name.to_vec())))
}

/// The path below the root, with what says nothing taken out.
pub(crate) fn normal(path: &[u8]) -> std::result::Result<Vec<u8>, String> {
    if path.is_empty() {
        return Err("it has no name".to_owned());
    }
    if path[0] == b'/' {
        return Err("its name is absolute".to_owned());
    }
    if path.contains(&0) {
        return Err("its name holds a NUL byte".to_owned());
    }
    let mut normal = Vec::with_capacity(path.len());
    for name in path.split(|&b| b == b'/') {
        match name {
            b"" | b"." => {}
            b".." => return Err("its name leads upwards with `..`".to_owned()),
            _ => merge::push(&mut normal, name),
        }
    }
    Ok(normal)
}

/// An owner that a sandbox has.
pub(crate) fn owner(id: u64) -> std::result::Result<u32, String> {
    if id > limits::OWNER_MAX {
        return Err(format!(
            "its owner or group is {id}: a sandbox has none above {}",
            limits::OWNER_MAX
        ));
    }
    Ok(u32::try_from(id).expect("it is bounded"))
}

/// The attributes that files of the store may have; the others are left out.
fn attributes(
    of: &str,
    member: &Member,
    notes: &mut Notes,
) -> std::result::Result<BTreeMap<Vec<u8>, Vec<u8>>, String> {
    let mut kept = BTreeMap::new();
    for (name, value) in &member.xattrs {
        let may = match member.kind {
            MemberKind::File { .. } => is_kept(name, value) || is_capability(name, value),
            MemberKind::Dir => is_kept(name, value),
            _ => false,
        };
        if may {
            kept.insert(name.clone(), value.clone());
            continue;
        }
        notes.add(|| {
            format!(
                "the attribute {:?} of {:?} of {of} is left out",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(&member.path)
            )
        });
    }
    if kept.len() > XATTRS_MAX {
        return Err(format!("it has more than {XATTRS_MAX} attributes"));
    }
    Ok(kept)
}

pub(crate) fn is_kept(name: &[u8], value: &[u8]) -> bool {
    let name_only = name.strip_prefix(b"user.");
    name_only.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(b"overlay."))
        && !name.contains(&0)
        && name.len() <= caravan_protocol::limits::NAME_BYTES_MAX
        && value.len() <= XATTR_BYTES_MAX
}

/// Whether this is a file's capabilities in a form that the kernel takes.
pub(crate) fn is_capability(name: &[u8], value: &[u8]) -> bool {
    let version = value.get(3).copied();
    name == b"security.capability"
        && matches!((version, value.len()), (Some(2), 20) | (Some(3), 24))
}
