//! Importing: whatever the source, one tree comes out, with what the image says about itself. All
//! contents go to a sink that its owner commits only when the import has ended well.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use caravan_protocol::{platform::Platform, tree::Tree};

use crate::{
    archive::{Archive, Ended},
    choose::{Carrier, Found, Search, check_size},
    digest::{Algorithm, Digest, Tap, Tapped},
    directory,
    document::{Document, Packing},
    error::{Doing, Result, document},
    facts::Facts,
    layer::{self, Gathered, Notes, Sink, Whiteouts},
    layout::{self, Held, Layout},
    limits,
    merge::Merged,
    meter::{Meter, Metered, Observer},
    platform::Named,
    registry::Registry,
    source::Source,
    unpack::{self, Bounded, Magic, Room, Xz},
};

/// What is read of an archive at once.
const READ_BYTES: usize = 256 * 1024;

/// How an image is had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The platform it must be for.
    pub platform: Platform,
    /// Whether a registry may be asked without encryption, wherever it is.
    pub insecure: bool,
    /// Names and passwords of registries, as Docker's `config.json` has them.
    pub auth_file: Option<PathBuf>,
    /// Certificate authorities to believe instead of the system's.
    pub ca_file: Option<PathBuf>,
}

impl Options {
    /// An image for this platform, with nothing else said.
    #[must_use]
    pub fn of(platform: Platform) -> Self {
        Self {
            platform,
            insecure: false,
            auth_file: None,
            ca_file: None,
        }
    }
}

/// An image that was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Its files, all layers merged. Every blob that it names went to the sink.
    pub tree: Tree,
    /// What it runs on.
    pub platform: Platform,
    /// What its commands start with.
    pub env: Vec<(String, String)>,
    /// What it was made from and what is in it.
    pub facts: BTreeMap<String, String>,
    /// What a person should know: files that were left out.
    pub notes: Vec<String>,
}

/// Imports an image.
pub fn import(
    source: &Source,
    options: &Options,
    sink: &mut dyn Sink,
    observer: &mut dyn Observer,
) -> Result<Imported> {
    let meter = Meter::new(observer);
    let mut gathered = Gathered {
        sink,
        merged: Merged::default(),
        facts: Facts::default(),
        notes: Notes::default(),
    };
    let mut said = match source {
        Source::Registry(reference) => {
            meter
                .begin(&format!("asking for {reference}"))
                .doing(|| format!("pull {reference}"))?;
            let registry = Registry::open(reference, options)?;
            let (digest, root) = registry.root()?;
            image(&registry, digest, root, options, &meter, &mut gathered)?
        }
        Source::Layout { path, tag } => {
            let layout = match path.is_dir() {
                true => Layout::dir(path)?,
                false => match Layout::archive(path)? {
                    Held::Layout(layout) => layout,
                    Held::Other => {
                        let reason = format!("there is no {} in it", layout::MARK);
                        return Err(document(&path.display().to_string(), reason));
                    }
                },
            };
            of_layout(&layout, tag.as_deref(), options, &meter, &mut gathered)?
        }
        Source::Path(path) => of_path(path, options, &meter, &mut gathered)?,
    };
    let shown = match source {
        Source::Registry(_) => source.to_string(),
        // The rest of a path says something about this machine only.
        Source::Layout { path, .. } | Source::Path(path) => {
            let name = path.file_name().unwrap_or(path.as_os_str());
            name.to_string_lossy().into_owned()
        }
    };
    said.facts.insert("image.source".to_owned(), shown);
    said.facts
        .insert("os".to_owned(), options.platform.os().to_owned());
    said.facts
        .insert("arch".to_owned(), options.platform.arch().to_owned());
    said.facts.extend(gathered.facts.of(&gathered.merged));
    Ok(Imported {
        tree: gathered.merged.into_tree()?,
        platform: options.platform.clone(),
        env: said.env,
        facts: said.facts,
        notes: gathered.notes.into_lines(),
    })
}

/// What an image says besides its files.
#[derive(Debug, Default)]
struct Said {
    env: Vec<(String, String)>,
    facts: BTreeMap<String, String>,
}

fn of_path(
    path: &Path,
    options: &Options,
    meter: &Meter<'_>,
    gathered: &mut Gathered<'_>,
) -> Result<Said> {
    let what = || format!("look at {}", path.display());
    let kind = std::fs::metadata(path).doing(what)?;
    if kind.is_dir() {
        if path.join(layout::MARK).exists() {
            return of_layout(&Layout::dir(path)?, None, options, meter, gathered);
        }
        directory::read(path, meter, gathered)?;
        return Ok(Said::default());
    }
    if !kind.is_file() {
        return Err(document(
            &path.display().to_string(),
            "it is neither a file nor a directory",
        ));
    }
    let mut magic = Vec::new();
    let file = File::open(path).doing(what)?;
    file.take(8).read_to_end(&mut magic).doing(what)?;
    let magic = Magic::of(&magic);
    if magic == Magic::Packed(Packing::Plain)
        && let Held::Layout(layout) = Layout::archive(path)?
    {
        return of_layout(&layout, None, options, meter, gathered);
    }
    let digest = root_archive(path, magic, meter, gathered)?;
    Ok(Said {
        facts: BTreeMap::from([("archive".to_owned(), digest.to_string())]),
        ..Said::default()
    })
}

fn of_layout(
    layout: &Layout,
    tag: Option<&str>,
    options: &Options,
    meter: &Meter<'_>,
    gathered: &mut Gathered<'_>,
) -> Result<Said> {
    let (digest, root) = layout.root(tag)?;
    image(layout, digest, root, options, meter, gathered)
}

fn image(
    carrier: &dyn Carrier,
    digest: Digest,
    root: Document,
    options: &Options,
    meter: &Meter<'_>,
    gathered: &mut Gathered<'_>,
) -> Result<Said> {
    let name = carrier.name();
    let found = Search::new(carrier, &options.platform).begin(&name, digest, root)?;
    let env = found.config.env(&name)?;
    let layers = &found.manifest.layers;
    let sizes = layers.iter().map(|layer| layer.size.unsigned_abs());
    meter.set_total(sizes.fold(0, u64::saturating_add));
    for at in 0..layers.len() {
        image_layer(carrier, &found, at, meter, gathered)?;
    }
    let mut facts = BTreeMap::from([("image".to_owned(), found.digest.to_string())]);
    let run = found.config.config;
    for (fact, value) in [("image.user", run.user), ("image.workdir", run.working_dir)] {
        if !value.is_empty() {
            facts.insert(fact.to_owned(), value.chars().take(300).collect());
        }
    }
    Ok(Said { env, facts })
}

/// Reads one layer, once: its compressed bytes, what they unpack to and the files in that are
/// checked as they pass.
fn image_layer(
    carrier: &dyn Carrier,
    found: &Found,
    at: usize,
    meter: &Meter<'_>,
    gathered: &mut Gathered<'_>,
) -> Result<()> {
    let layer = &found.manifest.layers[at];
    let diff_id = &found.config.rootfs.diff_ids[at];
    let count = found.manifest.layers.len();
    let what = format!(
        "layer {} of {count} ({}) of {}",
        at + 1,
        layer.digest.fmt_short(),
        carrier.name()
    );
    let words = || format!("read {what}");
    meter.begin(&what).doing(words)?;
    let size = layer.length(&what, limits::LAYER_BYTES_MAX)?;
    let (packed, plain) = (
        Tap::new(layer.digest.algorithm()),
        Tap::new(diff_id.algorithm()),
    );
    let so_far = || packed.count();
    let room = Room::new(meter, &so_far);
    let raw = Tapped {
        inner: Metered {
            inner: carrier.blob(layer)?.take(size + 1),
            meter,
        },
        tap: &packed,
    };
    let unpacked = unpack::unpacked(layer.packing(&what)?, raw).doing(words)?;
    let bounded = Bounded {
        inner: unpacked,
        room: &room,
    };
    let tapped = Tapped {
        inner: bounded,
        tap: &plain,
    };
    let mut archive = Archive::new(BufReader::with_capacity(READ_BYTES, tapped));
    layer::read(&what, &mut archive, Whiteouts::Hide, &room, gathered)?;
    drop(archive);
    check_size(&what, size, packed.count())?;
    packed.check(&what, &layer.digest)?;
    plain.check(&format!("the unpacked {what}"), diff_id)
}

/// Reads an archive of a root file system; the digest of the file.
fn root_archive(
    path: &Path,
    magic: Magic,
    meter: &Meter<'_>,
    gathered: &mut Gathered<'_>,
) -> Result<Digest> {
    let of = path.display().to_string();
    let words = || format!("read {of}");
    let file = File::open(path).doing(words)?;
    let length = file.metadata().doing(words)?.len();
    meter.begin(&format!("reading {of}")).doing(words)?;
    let tap = Tap::new(Algorithm::Sha256);
    let so_far = || {
        if magic == Magic::Xz {
            length
        } else {
            tap.count()
        }
    };
    let room = Room::new(meter, &so_far);
    let unpacked: Box<dyn Read> = match magic {
        Magic::Packed(packing) => {
            meter.set_total(length);
            let metered = Metered { inner: file, meter };
            let raw = Tapped {
                inner: metered,
                tap: &tap,
            };
            unpack::unpacked(packing, raw).doing(words)?
        }
        // What the program reads is not seen here; what it writes is.
        Magic::Xz => {
            let metered = Metered {
                inner: Xz::start(file).doing(words)?,
                meter,
            };
            Box::new(Tapped {
                inner: metered,
                tap: &tap,
            })
        }
        Magic::Zip | Magic::Bzip2 => {
            let reason = "it is compressed with neither gzip, zstd nor xz: unpack it first";
            return Err(document(&of, reason));
        }
    };
    let bounded = Bounded {
        inner: unpacked,
        room: &room,
    };
    let mut archive = Archive::new(BufReader::with_capacity(READ_BYTES, bounded));
    layer::read(&of, &mut archive, Whiteouts::Refuse, &room, gathered)?;
    // Nobody else vouches for a length.
    if archive.ended() != Ended::Marked {
        let reason = "it ends without the mark of a tar archive's end: it may be cut short";
        return Err(document(&of, reason));
    }
    drop(archive);
    let is_layout = gathered.merged.get(layout::MARK.as_bytes()).is_some()
        && gathered.merged.get(layout::ROOT.as_bytes()).is_some();
    if is_layout {
        let reason = "it is a compressed OCI layout: uncompress it first, so that its layers can \
                      be found in it";
        return Err(document(&of, reason));
    }
    Ok(tap.digest())
}

/// The name of a platform as images have it: `linux/amd64`.
#[must_use]
pub fn platform_text(platform: &Platform) -> String {
    Named::of(platform).text()
}
