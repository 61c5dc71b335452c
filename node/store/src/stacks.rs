//! Stacks of layers, and images that make look-ups in them quick.
//!
//! A stack is mounted as it is: one directory for each layer, however many. A look-up that finds
//! nothing goes through all of them, though, so stacks that come again get an *image* of their
//! lowest layers: an EROFS file with all names, modes, owners and attributes, in which each file
//! names the object that has its bytes. It costs a few hundred bytes a file and no time of any
//! step: [`Store::make_images`] is called while others run.
//!
//! The key of an image is the ids of the trees that it shows. It points at objects: these are kept
//! for whoever leases the trees, and once anything at all is forgotten, no older image is handed out.
//! An image may vanish at any moment: whoever cannot mount it mounts the layers. None outlives the
//! process, so nothing on disk has to say that one is whole.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use caravan_protocol::ids::TreeId;

use crate::{
    check::{Finding, FindingKind},
    error::{Doing, Result, StoreError},
    leases::Lease,
    limits::{
        IMAGE_LAYERS_MIN, IMAGE_STEP, IMAGES_BYTES_MAX, IMAGES_MAX, IMAGES_WANTED_MAX,
        STACKS_SEEN_MAX,
    },
    store::Store,
};

mod image;
pub(crate) mod merged;

const DIR: &str = "images";
/// Begins the key of each image; another number when other bytes are made for the same trees.
const VERSION: &[u8] = b"caravan image 1\n";

/// What names an image.
pub(crate) type Id = [u8; 32];

/// Layers that are here, to be mounted one above the other.
#[derive(Debug)]
pub struct Stack {
    /// Their directories, the lowest first, all below [`Store::dir`].
    pub lowers: Vec<PathBuf>,
    /// What shows the same as the lowest of them.
    pub image: Option<Image>,
    /// Keeps the layers while it lives.
    pub lease: Lease,
}

/// An image of the lowest layers of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The file, an EROFS file system. It may be gone at any moment.
    pub file: PathBuf,
    /// The directory in which its files have their bytes: an overlay's data-only layer.
    pub files: PathBuf,
    /// How many of the lowest layers it shows.
    pub covers: usize,
}

/// The images of one store and what is known of the stacks that were asked for.
pub(crate) struct Images {
    dir: PathBuf,
    state: Mutex<State>,
    /// Held while images are made: that goes on once at a time.
    making: Mutex<()>,
}

#[derive(Default)]
struct State {
    tick: u64,
    made: BTreeMap<Id, Made>,
    seen: BTreeMap<Id, Seen>,
    wanted: VecDeque<(Id, Vec<TreeId>)>,
}

struct Made {
    bytes: u64,
    hash: Id,
    trees: Vec<TreeId>,
    used: u64,
    /// What nothing has been forgotten since, as the store counts.
    moment: u64,
}

#[derive(Default)]
struct Seen {
    times: u32,
    used: u64,
    /// There is no image of it, and making one again would change nothing.
    hopeless: bool,
}

impl Images {
    /// Removes all images of an earlier process.
    pub(crate) fn open(store: &Path) -> Result<Self> {
        let dir = store.join(DIR);
        let what = || format!("clear {}", dir.display());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .doing(what)?;
        for entry in fs::read_dir(&dir).doing(what)? {
            let entry = entry.doing(what)?;
            // Nobody puts a directory there.
            fs::remove_file(entry.path()).doing(what)?;
        }
        Ok(Self {
            dir,
            state: Mutex::default(),
            making: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, id: &Id) -> PathBuf {
        let hex = blake3::Hash::from_bytes(*id).to_hex();
        self.dir.join(format!("{hex}.erofs"))
    }

    /// How many of the lowest of `trees` have an image, with its key; notes that they are asked for.
    /// Those older than `moment` count no more.
    pub(crate) fn best(&self, trees: &[TreeId], moment: u64) -> Option<(usize, Id)> {
        let mut state = self.lock();
        let old = |made: &&Made| made.moment != moment;
        if state.made.values().any(|made| old(&made)) {
            self.clear(&mut state);
        }
        state.tick += 1;
        let now = state.tick;
        let candidates = prefixes(trees);
        let best = candidates
            .iter()
            .rev()
            .find(|(_, id)| state.made.contains_key(id))
            .copied();
        if let Some((_, id)) = best
            && let Some(made) = state.made.get_mut(&id)
        {
            made.used = now;
        }
        let covered = best.map_or(0, |(covers, _)| covers);
        let mut wanted = None;
        for (covers, id) in candidates {
            let seen = state.seen.entry(id).or_default();
            seen.times = seen.times.saturating_add(1);
            seen.used = now;
            if seen.times > 1 && !seen.hopeless && covers >= covered + IMAGE_LAYERS_MIN {
                wanted = Some((covers, id));
            }
        }
        if let Some((covers, id)) = wanted
            && state.wanted.len() < IMAGES_WANTED_MAX
            && !state.wanted.iter().any(|(other, _)| *other == id)
        {
            state.wanted.push_back((id, trees[..covers].to_vec()));
        }
        state.forget_old();
        best
    }

    /// How many parts of stacks are remembered.
    #[cfg(test)]
    pub(crate) fn seen(&self) -> usize {
        self.lock().seen.len()
    }

    /// How many images wait to be made.
    #[cfg(test)]
    pub(crate) fn wanted(&self) -> usize {
        self.lock().wanted.len()
    }

    /// Removes what is used least until the rest is within bounds.
    fn trim(&self, state: &mut State) {
        loop {
            let bytes: u64 = state.made.values().map(|made| made.bytes).sum();
            if bytes <= IMAGES_BYTES_MAX && state.made.len() <= IMAGES_MAX {
                return;
            }
            let oldest = state.made.iter().min_by_key(|(_, made)| made.used);
            let Some((id, _)) = oldest.map(|(id, made)| (*id, made.used)) else {
                return;
            };
            self.remove(state, &id);
        }
    }

    fn clear(&self, state: &mut State) {
        let ids: Vec<Id> = state.made.keys().copied().collect();
        for id in &ids {
            self.remove(state, id);
        }
    }

    fn remove(&self, state: &mut State, id: &Id) {
        state.made.remove(id);
        if let Err(error) = fs::remove_file(self.path(id))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "an image stays until the next start");
        }
    }
}

impl State {
    fn forget_old(&mut self) {
        while self.seen.len() > STACKS_SEEN_MAX {
            let mut ticks: Vec<u64> = self.seen.values().map(|seen| seen.used).collect();
            let middle = ticks.len() / 2;
            let (_, median, _) = ticks.select_nth_unstable(middle);
            let median = *median;
            self.seen.retain(|_, seen| seen.used > median);
        }
    }
}

/// The lengths of a stack's lower parts that may have an image, ascending, with their keys: those
/// that longer stacks of the same beginning have in common with it, and the whole of it.
fn prefixes(trees: &[TreeId]) -> Vec<(usize, Id)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(VERSION);
    let mut found = Vec::new();
    for (index, tree) in trees.iter().enumerate() {
        hasher.update(tree.as_bytes());
        let covers = index + 1;
        let shared = covers.is_multiple_of(IMAGE_STEP);
        if covers >= IMAGE_LAYERS_MIN && (shared || covers == trees.len()) {
            found.push((covers, *hasher.finalize().as_bytes()));
        }
    }
    found
}

/// The trees of a stack, the base first. Of equal ones the highest stays: it covers all that a lower
/// one has, and the kernel takes no directory twice.
pub(crate) fn distinct(base: TreeId, layers: &[TreeId]) -> Vec<TreeId> {
    let mut known = BTreeSet::new();
    let from_top = layers.iter().rev().chain([&base]);
    let mut trees: Vec<TreeId> = from_top
        .filter(|tree| known.insert(**tree))
        .copied()
        .collect();
    trees.reverse();
    trees
}

impl Store {
    /// The layers of a root, the base below all, laid out where they are not yet. A layer that comes
    /// twice is there once. Costs no look at any of their files, unless a layer is to be laid out.
    /// What repeats is noted for [`Store::make_images`].
    pub fn stack(&self, base: TreeId, layers: &[TreeId]) -> Result<Stack> {
        let trees = distinct(base, layers);
        // Before they are looked for, so that none goes in between.
        let lease = self.lease(&trees);
        let mut lowers = Vec::with_capacity(trees.len());
        for tree in &trees {
            lowers.push(self.materialise(*tree)?);
        }
        let images = &self.inner.images;
        let (_, moment) = self.inner.whole.has(base);
        let image = images.best(&trees, moment).map(|(covers, id)| Image {
            file: images.path(&id),
            files: self.inner.home.objects_path(),
            covers,
        });
        Ok(Stack {
            lowers,
            image,
            lease,
        })
    }

    /// Whether [`Store::make_images`] has something to do.
    #[must_use]
    pub fn wants_images(&self) -> bool {
        !self.inner.images.lock().wanted.is_empty()
    }

    /// Makes the images that repeated stacks would have had use of, and says how many. Meant to be
    /// called beside running steps; returns at once if another call is at it.
    pub fn make_images(&self) -> Result<usize> {
        let images = &self.inner.images;
        let Ok(_one) = images.making.try_lock() else {
            return Ok(0);
        };
        let mut count = 0;
        loop {
            let next = images.lock().wanted.pop_front();
            let Some((id, trees)) = next else {
                return Ok(count);
            };
            count += usize::from(self.make_image(id, &trees)?);
        }
    }

    /// Makes the image of a whole stack now, if it can have one.
    pub fn prepare(&self, base: TreeId, layers: &[TreeId]) -> Result<bool> {
        let trees = distinct(base, layers);
        let images = &self.inner.images;
        let _one = images.making.lock().unwrap_or_else(PoisonError::into_inner);
        match prefixes(&trees).pop() {
            Some((covers, id)) if covers == trees.len() => self.make_image(id, &trees),
            _ => Ok(false),
        }
    }

    /// Removes all images, to make room; running steps keep what they have mounted.
    pub fn drop_images(&self) {
        let images = &self.inner.images;
        images.clear(&mut images.lock());
    }

    /// Bytes of all images.
    pub(crate) fn image_bytes(&self) -> u64 {
        let state = self.inner.images.lock();
        state.made.values().map(|made| made.bytes).sum()
    }

    /// Reads every image again and compares it with what was written. Says what is wrong and how many
    /// were looked at; with `heal` a damaged one is dropped, and made again when images are.
    pub(crate) fn check_images(&self, heal: bool) -> (u64, Vec<Finding>) {
        let images = &self.inner.images;
        let state = images.lock();
        let all: Vec<(Id, Id)> = state
            .made
            .iter()
            .map(|(id, made)| (*id, made.hash))
            .collect();
        drop(state);
        let mut findings = Vec::new();
        for (id, hash) in &all {
            let path = images.path(id);
            let reason = match image::hash(&path) {
                Ok(found) if found == *hash => continue,
                Ok(_) => "its bytes are others than were written".to_owned(),
                Err(error) => error.to_string(),
            };
            let mut state = images.lock();
            // It may have been dropped while it was read.
            if state.made.get(id).is_none_or(|made| made.hash != *hash) {
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            findings.push(Finding {
                kind: FindingKind::DamagedImage,
                path: format!("{DIR}/{name}"),
                reason,
            });
            if heal {
                let trees = state.made.get(id).map(|made| made.trees.clone());
                images.remove(&mut state, id);
                if let Some(trees) = trees.filter(|_| state.wanted.len() < IMAGES_WANTED_MAX) {
                    state.wanted.push_back((*id, trees));
                }
            }
        }
        (all.len() as u64, findings)
    }

    fn make_image(&self, id: Id, trees: &[TreeId]) -> Result<bool> {
        let images = &self.inner.images;
        // All three before the trees are looked at, so that what is forgotten later shows.
        let (_, moment) = self.inner.whole.has(trees[0]);
        let is_there = |made: &Made| made.moment == moment;
        if images.lock().made.get(&id).is_some_and(is_there) {
            return Ok(true);
        }
        let _lease = self.lease(trees);
        let made = image::make(self, trees, &images.path(&id));
        let mut state = images.lock();
        match made {
            Ok((bytes, hash)) => {
                state.tick += 1;
                let used = state.tick;
                state.made.insert(
                    id,
                    Made {
                        bytes,
                        hash,
                        trees: trees.to_vec(),
                        used,
                        moment,
                    },
                );
                images.trim(&mut state);
                Ok(true)
            }
            Err(image::Failed::Hopeless(why)) => {
                tracing::debug!(%why, "a stack has no image");
                state.seen.entry(id).or_default().hopeless = true;
                Ok(false)
            }
            Err(image::Failed::Store(error)) => {
                drop(state);
                if let StoreError::Full { .. } = error {
                    self.drop_images();
                }
                Err(error)
            }
        }
    }
}
