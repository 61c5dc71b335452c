//! Images in and out of the store: the room of images does the work, on a thread that may block,
//! and this gives it the store's blobs. A base is pinned when all of its image is on disk; a person
//! who goes away, and a node that stops, give the work up with nothing kept.

use std::{io::Read, path::PathBuf, sync::Arc};

use caravan_image::{
    Cause, Compression, Contents, Export, Imported, Observer, Options, Sink, Source, export,
    import, limits::LAYERS_MAX, parse_platform,
};
use caravan_protocol::{
    ids::{BlobId, TreeId},
    platform::Platform,
    policy::Base,
    tree::Tree,
};
use caravan_store::{Batch, Store};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Handle, Shared, bases};
use crate::{
    build::chain,
    control::Reply,
    images::{ImageExport, ImageImport, ImageTold},
};

/// Longest name of a base.
const NAME_BYTES_MAX: usize = 200;
/// Most facts that a person may add, and the longest of their texts.
const FACTS_MAX: usize = 32;
const FACT_BYTES_MAX: usize = 128;

/// Blobs of an image go into one batch.
struct IntoBatch<'a>(&'a mut Batch);

impl Sink for IntoBatch<'_> {
    fn put(&mut self, reader: &mut dyn Read, max: u64) -> Result<(BlobId, u64), Cause> {
        self.0.put_reader(reader, None, max).map_err(Cause::from)
    }
}

/// Blobs of the store.
struct OfStore<'a>(&'a Store);

impl Contents for OfStore<'_> {
    fn open(&self, blob: BlobId) -> Result<Box<dyn Read + '_>, Cause> {
        let file = self.0.open_blob(blob).map_err(Cause::from)?;
        Ok(Box::new(file))
    }
}

/// Tells whoever asked, and notices when nobody wants to know any more.
struct Told {
    progress: mpsc::Sender<Reply>,
    stop: CancellationToken,
}

impl Observer for Told {
    fn progress(&mut self, what: &str, done: u64, total: u64) -> bool {
        // Progress is for the eye: what finds no room is left out.
        if self.progress.capacity() > 0 {
            let what = what.to_owned();
            let _ = self
                .progress
                .try_send(Reply::Progress { what, done, total });
        }
        !self.progress.is_closed() && !self.stop.is_cancelled()
    }
}

impl Handle {
    /// Imports an image and pins it as a base.
    pub async fn import_image(
        &self,
        ask: ImageImport,
        progress: mpsc::Sender<Reply>,
    ) -> Result<Reply, String> {
        check_name(&ask.name)?;
        check_facts(&ask)?;
        let source: Source = ask.source.parse().map_err(|error| chain(&error))?;
        let platform = match &ask.platform {
            None => Platform::here(),
            Some(text) => parse_platform(text).ok_or_else(|| {
                format!("read {text:?} as a platform: want linux/amd64 or linux-x86_64")
            })?,
        };
        let options = Options {
            insecure: ask.insecure,
            auth_file: ask.auth_file.as_ref().map(PathBuf::from),
            ca_file: ask.ca_file.as_ref().map(PathBuf::from),
            ..Options::of(platform)
        };
        let _one = self.shared.importing.lock().await;
        // What comes here is nobody's until it is pinned.
        let _held = self.shared.home.store.hold();
        let store = self.shared.home.store.clone();
        let mut told = self.told(progress);
        let work = move || keep(&store, &source, &options, &mut told);
        let done = self.shared.tasks.blocking(work).await;
        let (tree, mut imported) = done.map_err(|_| "the import was given up".to_owned())??;
        let (files, bytes) = (imported.tree.entries().len() as u64, imported.tree.size());
        imported.facts.extend(ask.facts);
        let base = Base {
            name: ask.name,
            platform: imported.platform,
            tree,
            facts: imported.facts,
            env: imported.env,
        };
        let mut notes = imported.notes;
        if base.platform != Platform::here() {
            notes.push(format!(
                "it is for {}: this node cannot run it",
                base.platform
            ));
        }
        let base = pin(&self.shared, base).await?;
        Ok(Reply::ImageTold(Box::new(ImageTold::Imported {
            base,
            files,
            bytes,
            notes,
        })))
    }

    /// Exports a base or trees as an image.
    pub async fn export_image(
        &self,
        ask: ImageExport,
        progress: mpsc::Sender<Reply>,
    ) -> Result<Reply, String> {
        let store = self.shared.home.store.clone();
        let named = self.named(&ask.what)?;
        if ask.layers.len() >= LAYERS_MAX {
            return Err(format!(
                "export {} layers: an image has at most {LAYERS_MAX}",
                ask.layers.len() + 1
            ));
        }
        let trees: Vec<TreeId> = std::iter::once(named.tree).chain(ask.layers).collect();
        // Nothing of it goes while it is read.
        let _lease = store.lease(&trees);
        let mut told = self.told(progress);
        let work = move || {
            let layers = load(&store, &trees)?;
            let wanted = Export {
                layers: &layers,
                platform: &named.platform,
                env: &named.env,
                tag: &ask.tag,
                compression: match ask.zstd {
                    true => Compression::Zstd,
                    false => Compression::Gzip,
                },
            };
            let to = PathBuf::from(ask.to);
            export(&wanted, &OfStore(&store), &to, &mut told).map_err(|error| chain(&error))
        };
        let done = self.shared.tasks.blocking(work).await;
        let exported = done.map_err(|_| "the export was given up".to_owned())??;
        Ok(Reply::ImageTold(Box::new(ImageTold::Exported {
            manifest: exported.manifest.to_string(),
            bytes: exported.bytes,
        })))
    }

    fn told(&self, progress: mpsc::Sender<Reply>) -> Told {
        Told {
            progress,
            stop: self.shared.tasks.stopping(),
        }
    }

    /// The tree of a base's name or of an id, with what it runs on and with.
    fn named(&self, what: &str) -> Result<Named, String> {
        if let Some(base) = bases::known(&self.shared, what)? {
            return Ok(Named {
                tree: base.tree,
                platform: base.platform,
                env: base.env,
            });
        }
        let tree = what.parse().map_err(|_| {
            format!("find {what:?}: it is neither a base that is here nor the id of a tree")
        })?;
        let base = bases::pinned(&self.shared.home)
            .into_iter()
            .find(|base| base.tree == tree);
        let (platform, env) = base.map_or_else(
            || (Platform::here(), Vec::new()),
            |base| (base.platform, base.env),
        );
        Ok(Named {
            tree,
            platform,
            env,
        })
    }
}

/// What an image begins with.
struct Named {
    tree: TreeId,
    platform: Platform,
    env: Vec<(String, String)>,
}

/// Imports into a batch, and makes it part of the store at the end.
fn keep(
    store: &Store,
    source: &Source,
    options: &Options,
    told: &mut Told,
) -> Result<(TreeId, Imported), String> {
    let mut batch = store.batch();
    let imported = import(source, options, &mut IntoBatch(&mut batch), told);
    let imported = imported.map_err(|error| chain(&error))?;
    let tree = batch
        .put_tree(&imported.tree)
        .map_err(|error| chain(&error))?;
    batch.commit().map_err(|error| chain(&error))?;
    Ok((tree, imported))
}

/// Trees with all that they name.
fn load(store: &Store, trees: &[TreeId]) -> Result<Vec<Tree>, String> {
    let mut layers = Vec::new();
    for tree in trees {
        let missing = store.missing(*tree).map_err(|error| chain(&error))?;
        if !missing.is_empty() {
            return Err(format!("export the tree {tree}: not all of it is here"));
        }
        layers.push(store.tree(*tree).map_err(|error| chain(&error))?);
    }
    Ok(layers)
}

/// Pins a base to the end, even if whoever asked goes away in the middle.
async fn pin(shared: &Arc<Shared>, base: Base) -> Result<Base, String> {
    let (reply, answer) = oneshot::channel();
    let own = Arc::clone(shared);
    shared.tasks.spawn_to_end("pin an image", async move {
        drop(reply.send(bases::pin(&own, base).await));
    });
    answer
        .await
        .map_err(|_| "the node is stopping".to_owned())?
}

fn check_name(name: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-+/:@".contains(&b);
    let good = name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(plain);
    // A name that could be an id would hide the tree of that id.
    if !good || name.parse::<TreeId>().is_ok() {
        return Err(format!(
            "call a base {name:?}: want letters, digits and `.`, `_`, `-`, `+`, `/`, `:`, `@`"
        ));
    }
    Ok(())
}

fn check_facts(ask: &ImageImport) -> Result<(), String> {
    let plain = |text: &String| {
        let may = |b: u8| b.is_ascii_alphanumeric() || b"._+~:-".contains(&b);
        (1..=FACT_BYTES_MAX).contains(&text.len()) && text.bytes().all(may)
    };
    let mut facts = ask.facts.iter();
    if ask.facts.len() > FACTS_MAX || !facts.all(|(name, value)| plain(name) && plain(value)) {
        return Err(format!(
            "take these facts: at most {FACTS_MAX} are allowed, of letters, digits and `._+~:-`"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
