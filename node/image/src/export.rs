//! Exporting: trees become the layers of an image in an OCI layout. The same trees, platform and
//! environment give the same bytes on every machine and at any time: entries are sorted, times are
//! the one of all trees, and nothing says who made it.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use caravan_protocol::{ids::BlobId, platform::Platform, tree::Tree};
use flate2::{Compression as Level, GzBuilder};

use crate::{
    digest::{Algorithm, Digest, Tap, Tapped},
    document::{
        CONFIG, Config, Descriptor, INDEX, Index, MANIFEST, Manifest, REF_NAME, Rootfs, Run,
    },
    error::{Cause, Doing, ImageError, Result},
    layout::{self, Mark},
    limits,
    meter::{Meter, Observer},
    platform::Named,
    source::is_tag,
};

mod target;
mod writer;

use target::Target;

/// How much work goes into a layer's size. Part of what makes manifests equal: never changed
/// without saying so.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 9;
const PIECE_BYTES: usize = 128 * 1024;
/// `os` of a gzip header: unknown.
const GZIP_OS: u8 = 255;

/// Gives the contents that trees name.
pub trait Contents {
    /// The bytes of a blob.
    fn open(&self, blob: BlobId) -> std::result::Result<Box<dyn Read + '_>, Cause>;
}

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// What every reader understands.
    #[default]
    Gzip,
    /// Smaller and quicker; for readers of today.
    Zstd,
}

/// What is exported.
#[derive(Debug, Clone, Copy)]
pub struct Export<'a> {
    /// The layers, lowest first; upper ones may have whiteouts.
    pub layers: &'a [Tree],
    /// What it runs on.
    pub platform: &'a Platform,
    /// What its commands start with.
    pub env: &'a [(String, String)],
    /// Its name in the layout.
    pub tag: &'a str,
    /// How layers are compressed.
    pub compression: Compression,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The digest of the manifest, by which the image is known.
    pub manifest: Digest,
    /// Bytes of all layers, compressed.
    pub bytes: u64,
}

/// Writes an image as an OCI layout: a directory that is not there yet or empty, or a tar archive
/// if the name ends in `.tar`. It is there whole or not at all.
pub fn export(
    export: &Export<'_>,
    contents: &dyn Contents,
    to: &Path,
    observer: &mut dyn Observer,
) -> Result<Exported> {
    check(export)?;
    let meter = Meter::new(observer);
    meter.set_total(
        export
            .layers
            .iter()
            .map(Tree::size)
            .fold(0, u64::saturating_add),
    );
    let target = Target::begin(to)?;
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for (at, tree) in export.layers.iter().enumerate() {
        let what = format!("layer {} of {}", at + 1, export.layers.len());
        meter
            .begin(&format!("writing {what}"))
            .doing(|| format!("write {what}"))?;
        let (layer, diff_id) =
            write_layer(&what, tree, export.compression, contents, &target, &meter)?;
        layers.push(layer);
        diff_ids.push(diff_id);
    }
    let bytes = layers.iter().map(|layer| layer.size.unsigned_abs()).sum();
    let config = Config {
        platform: Named::of(export.platform),
        config: Run {
            env: env(export.env)?,
            ..Run::default()
        },
        rootfs: Rootfs {
            kind: "layers".to_owned(),
            diff_ids,
        },
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST.to_owned(),
        config: put(&target, &config, CONFIG)?,
        layers,
    };
    let mut named = put(&target, &manifest, MANIFEST)?;
    let digest = named.digest.clone();
    named.platform = Some(config.platform);
    named
        .annotations
        .insert(REF_NAME.to_owned(), export.tag.to_owned());
    let index = Index {
        schema_version: 2,
        media_type: INDEX.to_owned(),
        manifests: vec![named],
    };
    let mark = Mark {
        image_layout_version: layout::VERSION.to_owned(),
    };
    target.write(layout::ROOT, &json(&index)?)?;
    target.write(layout::MARK, &json(&mark)?)?;
    target.finish()?;
    Ok(Exported {
        manifest: digest,
        bytes,
    })
}

/// Refuses what no layout can say.
fn check(export: &Export<'_>) -> Result<()> {
    if !is_tag(export.tag) {
        return Err(ImageError::Source {
            text: export.tag.to_owned(),
            reason: "it may be no tag: letters, digits, `.`, `_` and `-`".to_owned(),
        });
    }
    if export.layers.len() > limits::LAYERS_MAX {
        return Err(ImageError::TooMuch {
            what: "an image".to_owned(),
            max: limits::LAYERS_MAX as u64,
            unit: "layers",
        });
    }
    Ok(())
}

fn env(env: &[(String, String)]) -> Result<Vec<String>> {
    let line = |(name, value): &(String, String)| {
        if name.is_empty() || name.contains('=') {
            return Err(ImageError::Source {
                text: name.clone(),
                reason: "it is no name of a variable".to_owned(),
            });
        }
        Ok(format!("{name}={value}"))
    };
    env.iter().map(line).collect()
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(std::io::Error::from)
        .doing(|| "write a document".to_owned())
}

fn put(target: &Target, value: &impl serde::Serialize, media_type: &str) -> Result<Descriptor> {
    let bytes = json(value)?;
    let digest = Digest::of(&bytes);
    target.write(&digest.path(), &bytes)?;
    descriptor(media_type, digest, bytes.len() as u64)
}

fn descriptor(media_type: &str, digest: Digest, size: u64) -> Result<Descriptor> {
    let size = i64::try_from(size).map_err(|_| ImageError::TooMuch {
        what: digest.to_string(),
        max: limits::LAYER_BYTES_MAX,
        unit: "bytes",
    })?;
    Ok(Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        platform: None,
        annotations: std::collections::BTreeMap::new(),
    })
}

/// Hands bytes on in pieces of one length, however they come: what a compressor makes of bytes
/// depends on the pieces that it is given.
struct Even<W> {
    inner: W,
    piece: Vec<u8>,
}

impl<W: Write> Even<W> {
    fn new(inner: W) -> Self {
        Self {
            inner,
            piece: Vec::with_capacity(PIECE_BYTES),
        }
    }

    fn into_inner(mut self) -> io::Result<W> {
        self.inner.write_all(&self.piece)?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Even<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE_BYTES {
            self.inner.write_all(&self.piece)?;
            self.piece.clear();
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes one layer as a blob: its descriptor, and the digest of its plain bytes.
fn write_layer(
    what: &str,
    tree: &Tree,
    compression: Compression,
    contents: &dyn Contents,
    target: &Target,
    meter: &Meter<'_>,
) -> Result<(Descriptor, Digest)> {
    let words = || format!("write {what}");
    let (packed, plain) = (Tap::new(Algorithm::Sha256), Tap::new(Algorithm::Sha256));
    let (unfinished, file) = target.unfinished()?;
    let out = Tapped {
        inner: std::io::BufWriter::with_capacity(256 * 1024, file),
        tap: &packed,
    };
    let (media_type, out) = match compression {
        Compression::Gzip => {
            let encoder = GzBuilder::new()
                .mtime(0)
                .operating_system(GZIP_OS)
                .write(out, Level::new(GZIP_LEVEL));
            let mut to = Tapped {
                inner: Even::new(encoder),
                tap: &plain,
            };
            writer::write(what, tree, contents, &mut to, meter)?;
            let encoder = to.inner.into_inner().doing(words)?;
            let out = encoder.finish().doing(words)?;
            ("application/vnd.oci.image.layer.v1.tar+gzip", out)
        }
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(out, ZSTD_LEVEL).doing(words)?;
            encoder.include_checksum(false).doing(words)?;
            let mut to = Tapped {
                inner: Even::new(encoder),
                tap: &plain,
            };
            writer::write(what, tree, contents, &mut to, meter)?;
            let encoder = to.inner.into_inner().doing(words)?;
            let out = encoder.finish().doing(words)?;
            ("application/vnd.oci.image.layer.v1.tar+zstd", out)
        }
    };
    let file: File = out
        .inner
        .into_inner()
        .map_err(|error| error.into_error())
        .doing(words)?;
    let digest = packed.digest();
    target.place(&unfinished, &file, &digest.path())?;
    Ok((
        descriptor(media_type, digest, packed.count())?,
        plain.digest(),
    ))
}
