//! Finding the one image that is wanted among the indexes and manifests of a layout or registry.

use std::{collections::BTreeSet, io::Read};

use caravan_protocol::platform::Platform;

use crate::{
    digest::{Digest, Tap, Tapped},
    document::{Config, Descriptor, Document, Index, Manifest},
    error::{Doing, ImageError, Result, document},
    limits,
};

/// Where documents and layers are read from. What it gives is checked by whoever asked.
pub(crate) trait Carrier {
    /// What it is called in words.
    fn name(&self) -> String;

    /// The bytes of an index or manifest.
    fn document(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>>;

    /// The bytes of a configuration or layer.
    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>>;
}

/// The image that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) digest: Digest,
    pub(crate) manifest: Manifest,
    pub(crate) config: Config,
}

/// Reads all of a small blob, which must be the one that is named.
pub(crate) fn read_small(
    what: &str,
    reader: impl Read,
    descriptor: &Descriptor,
    max: u64,
) -> Result<Vec<u8>> {
    let size = descriptor.length(what, max)?;
    let tap = Tap::new(descriptor.digest.algorithm());
    let mut bytes = Vec::new();
    let mut tapped = Tapped {
        inner: reader.take(size + 1),
        tap: &tap,
    };
    tapped
        .read_to_end(&mut bytes)
        .doing(|| format!("read {what}"))?;
    check_size(what, size, tap.count())?;
    tap.check(what, &descriptor.digest)?;
    Ok(bytes)
}

pub(crate) fn check_size(what: &str, expected: u64, found: u64) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    let found = match found > expected {
        true => "more".to_owned(),
        false => format!("{found} bytes"),
    };
    Err(ImageError::Mismatch {
        what: format!("the size of {what}"),
        expected: format!("{expected} bytes"),
        found,
    })
}

/// The search for one image.
pub(crate) struct Search<'a> {
    carrier: &'a dyn Carrier,
    wanted: &'a Platform,
    documents: usize,
    there: BTreeSet<String>,
}

impl<'a> Search<'a> {
    pub(crate) fn new(carrier: &'a dyn Carrier, wanted: &'a Platform) -> Self {
        Self {
            carrier,
            wanted,
            documents: 0,
            there: BTreeSet::new(),
        }
    }

    /// The image below this document, whose digest is given; or an error that says what there is.
    pub(crate) fn begin(mut self, what: &str, digest: Digest, root: Document) -> Result<Found> {
        let found = match root {
            Document::Index(index) => self.index(&index, 0)?,
            Document::Manifest(manifest) => self.manifest(what, digest, manifest)?,
        };
        found.ok_or_else(|| {
            let there: Vec<String> = self.there.into_iter().collect();
            ImageError::NoPlatform {
                what: what.to_owned(),
                wanted: self.wanted.to_string(),
                there: match there.is_empty() {
                    true => "none at all".to_owned(),
                    false => there.join(", "),
                },
            }
        })
    }

    fn index(&mut self, index: &Index, depth: usize) -> Result<Option<Found>> {
        if depth > limits::INDEX_DEPTH_MAX {
            return Err(document(
                &self.carrier.name(),
                format!(
                    "its indexes are nested more than {} deep",
                    limits::INDEX_DEPTH_MAX
                ),
            ));
        }
        let mut candidates = Vec::new();
        for entry in &index.manifests {
            match &entry.platform {
                // Said to be of another platform; attestations say `unknown/unknown`.
                Some(named) => match named.suits(self.wanted) {
                    Some(suits) => candidates.push((suits + 1, entry)),
                    None => {
                        self.there.insert(named.text());
                    }
                },
                None => candidates.push((0, entry)),
            }
        }
        // The first of those that suit best.
        candidates.sort_by_key(|(suits, _)| std::cmp::Reverse(*suits));
        for (_, entry) in candidates {
            if let Some(found) = self.entry(entry, depth)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn entry(&mut self, entry: &Descriptor, depth: usize) -> Result<Option<Found>> {
        let kind = if entry.is_index() {
            "the index"
        } else {
            "the manifest"
        };
        let what = format!(
            "{kind} {} of {}",
            entry.digest.fmt_short(),
            self.carrier.name()
        );
        self.count(&what)?;
        let max = limits::MANIFEST_BYTES_MAX;
        entry.length(&what, max)?;
        let bytes = read_small(&what, self.carrier.document(entry)?, entry, max)?;
        match Document::parse(&what, &bytes, &entry.media_type)? {
            Document::Index(index) => self.index(&index, depth + 1),
            Document::Manifest(manifest) => self.manifest(&what, entry.digest.clone(), manifest),
        }
    }

    fn manifest(
        &mut self,
        what: &str,
        digest: Digest,
        manifest: Manifest,
    ) -> Result<Option<Found>> {
        let what = format!("the configuration of {what}");
        self.count(&what)?;
        let max = limits::CONFIG_BYTES_MAX;
        manifest.config.length(&what, max)?;
        let bytes = read_small(
            &what,
            self.carrier.blob(&manifest.config)?,
            &manifest.config,
            max,
        )?;
        let config = Config::parse(&what, &bytes, manifest.layers.len())?;
        if config.platform.suits(self.wanted).is_none() {
            self.there.insert(config.platform.text());
            return Ok(None);
        }
        Ok(Some(Found {
            digest,
            manifest,
            config,
        }))
    }

    fn count(&mut self, what: &str) -> Result<()> {
        self.documents += 1;
        if self.documents > limits::DOCUMENTS_MAX {
            return Err(ImageError::TooMuch {
                what: what.to_owned(),
                max: limits::DOCUMENTS_MAX as u64,
                unit: "documents before it",
            });
        }
        Ok(())
    }
}
