//! OCI layouts on this machine: a directory, or a plain tar archive of one, read in place.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufReader, Read},
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    archive::{Archive, MemberKind},
    beneath,
    choose::Carrier,
    digest::Digest,
    document::{Descriptor, Document, INDEX, Index},
    error::{Doing, ImageError, Result, document},
    layer, limits,
};

pub(crate) const MARK: &str = "oci-layout";
pub(crate) const ROOT: &str = "index.json";
pub(crate) const VERSION: &str = "1.0.0";
/// Largest `oci-layout` file.
const MARK_BYTES_MAX: u64 = 4096;
/// Most files of a layout in an archive.
const FILES_MAX: usize = 100_000;

/// What the file `oci-layout` says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mark {
    pub(crate) image_layout_version: String,
}

/// An open layout.
#[derive(Debug)]
pub(crate) struct Layout {
    name: String,
    files: Files,
}

#[derive(Debug)]
enum Files {
    Dir(OwnedFd),
    /// Where each file is in the archive: offset and length.
    Archive(File, BTreeMap<Vec<u8>, (u64, u64)>),
}

/// What a plain tar archive holds.
#[derive(Debug)]
pub(crate) enum Held {
    Layout(Layout),
    /// Anything else; a root file system.
    Other,
}

impl Layout {
    /// The layout in a directory.
    pub(crate) fn dir(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let root = beneath::root(path).doing(|| format!("open the layout {name}"))?;
        let layout = Self {
            name,
            files: Files::Dir(root),
        };
        layout.check_mark()?;
        Ok(layout)
    }

    /// The layout in a plain tar archive, if that is what it is.
    pub(crate) fn archive(path: &Path) -> Result<Held> {
        let name = path.display().to_string();
        let what = || format!("read the archive {name}");
        // A named pipe would wait for a writer for ever.
        if !std::fs::metadata(path).doing(what)?.is_file() {
            return Err(document(&name, "it is neither a file nor a directory"));
        }
        let file = File::open(path).doing(what)?;
        let length = file.metadata().doing(what)?.len();
        let mut archive = Archive::new(BufReader::new(&file));
        let mut files = BTreeMap::new();
        let (mut twice, mut saved) = (BTreeSet::new(), false);
        while let Some(member) = archive.next().doing(what)? {
            let at = archive.position();
            let stored = archive.stored();
            archive.leap().doing(what)?;
            let Ok(path) = layer::normal(&member.path) else {
                continue;
            };
            saved |= path.ends_with(b"/layer.tar");
            let ours = [MARK.as_bytes(), ROOT.as_bytes()].contains(&path.as_slice())
                || path.starts_with(b"blobs/");
            match member.kind {
                MemberKind::File { size } if ours && size == stored => {
                    if at.saturating_add(size) > length {
                        let reason = io::Error::other("it is cut short");
                        return Err(reason).doing(what);
                    }
                    if files.insert(path.clone(), (at, size)).is_some() {
                        twice.insert(path);
                    }
                }
                _ => {}
            }
            if files.len() > FILES_MAX {
                return Err(ImageError::TooMuch {
                    what: name,
                    max: FILES_MAX as u64,
                    unit: "files",
                });
            }
        }
        if !files.contains_key(MARK.as_bytes()) {
            if saved {
                let reason = "it is of `docker save` before version 25 and no OCI layout: copy it \
                              with `skopeo copy docker-archive:FILE oci:DIR`";
                return Err(document(&name, reason));
            }
            return Ok(Held::Other);
        }
        // Readers would differ in which of the two they take.
        if let Some(path) = twice.first() {
            return Err(layer::entry(&name, path, "it is in the layout twice"));
        }
        drop(archive);
        let layout = Self {
            name,
            files: Files::Archive(file, files),
        };
        layout.check_mark()?;
        Ok(Held::Layout(layout))
    }

    /// The document at which the search begins: the images of that name, or all.
    pub(crate) fn root(&self, tag: Option<&str>) -> Result<(Digest, Document)> {
        let what = format!("{ROOT} of {}", self.name);
        let bytes = self.small(ROOT, limits::MANIFEST_BYTES_MAX)?;
        let document = Document::parse(&what, &bytes, INDEX)?;
        let Document::Index(index) = document else {
            return Err(crate::error::document(&what, "it is no index"));
        };
        let names: BTreeSet<&str> = index
            .manifests
            .iter()
            .filter_map(Descriptor::ref_name)
            .collect();
        let tag = match tag {
            Some(tag) => Some(tag.to_owned()),
            None if names.len() > 1 => {
                return Err(ImageError::Source {
                    text: self.name.clone(),
                    reason: format!(
                        "it holds several images; give one as oci:DIR:NAME of: {}",
                        names.into_iter().collect::<Vec<_>>().join(", ")
                    ),
                });
            }
            None => None,
        };
        let is_wanted = |entry: &&Descriptor| {
            tag.as_deref()
                .is_none_or(|tag| entry.ref_name() == Some(tag))
        };
        let manifests: Vec<Descriptor> =
            index.manifests.iter().filter(is_wanted).cloned().collect();
        if manifests.is_empty() {
            return Err(ImageError::Source {
                text: self.name.clone(),
                reason: match tag {
                    Some(tag) => format!(
                        "it holds no image called {tag:?}, but: {}",
                        names.into_iter().collect::<Vec<_>>().join(", ")
                    ),
                    None => "it holds no image".to_owned(),
                },
            });
        }
        Ok((
            Digest::of(&bytes),
            Document::Index(Index { manifests, ..index }),
        ))
    }

    fn check_mark(&self) -> Result<()> {
        let what = format!("{MARK} of {}", self.name);
        let bytes = self.small(MARK, MARK_BYTES_MAX)?;
        let mark: Mark =
            serde_json::from_slice(&bytes).map_err(|error| document(&what, error.to_string()))?;
        if mark.image_layout_version.split('.').next() != Some("1") {
            let version = &mark.image_layout_version;
            return Err(document(
                &what,
                format!("version {version:?} is not known here"),
            ));
        }
        Ok(())
    }

    fn small(&self, path: &str, max: u64) -> Result<Vec<u8>> {
        let what = || format!("read {path} of {}", self.name);
        let (reader, size) = self.open(path).doing(what)?;
        if size > max {
            return Err(ImageError::TooMuch {
                what: format!("{path} of {}", self.name),
                max,
                unit: "bytes",
            });
        }
        let mut bytes = Vec::new();
        reader.take(max).read_to_end(&mut bytes).doing(what)?;
        Ok(bytes)
    }

    fn open(&self, path: &str) -> io::Result<(Box<dyn Read + '_>, u64)> {
        match &self.files {
            Files::Dir(root) => {
                let (file, size) = beneath::file(root, path.as_bytes())?;
                Ok((Box::new(file), size))
            }
            Files::Archive(file, files) => {
                let (offset, left) = *files.get(path.as_bytes()).ok_or_else(|| {
                    io::Error::new(io::ErrorKind::NotFound, "it is not in the archive")
                })?;
                Ok((Box::new(Slice { file, offset, left }), left))
            }
        }
    }
}

impl Carrier for Layout {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>> {
        self.blob(descriptor)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>> {
        let path = descriptor.digest.path();
        let opened = self
            .open(&path)
            .doing(|| format!("open {path} of {}", self.name))?;
        Ok(opened.0)
    }
}

/// A part of a file.
struct Slice<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buffer[..want], self.offset)?;
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
