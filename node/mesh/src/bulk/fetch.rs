//! The asking side of bulk: one task that knows what is wanted, asks the engine who is to be asked
//! for what, and keeps a link to each provider. Dropping it ends all links.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    sync::{Arc, atomic::Ordering},
};

use caravan_protocol::ids::{BlobId, NodeId};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use super::{
    FetchError, Fetched, Order, Wanted,
    groups::{Hash, Mask, Shape},
    link::{Failure, Job, Note, Teller},
    plan::{self, Large, Spec},
    shelf::{Growing, Shelf},
    swarm::{Blob, Command, Event, Swarm, Unit},
    words::Standing,
};
use crate::{
    handle::Handle,
    limits::{
        BUSY_TRIES_MAX, FETCH_TICK, FLIGHTS_PER_PROVIDER_MAX, LARGE_AT_ONCE, PROVIDERS_MAX,
        STRIKES_MAX,
    },
};

mod peers;

use peers::Peer;

/// Jobs that wait for a link: all that it may hold, and as many that are taken back.
const JOBS_MAX: usize = 8 * FLIGHTS_PER_PROVIDER_MAX;
/// Notes of all links that wait for the fetch.
const NOTES_MAX: usize = 256;
/// Looks at what is late after which the actor is told who is alive.
const ALIVE_TICKS: u32 = 20;

/// What grows is served no longer than the fetch, or until the store has it.
struct Shown(Arc<Shelf>, Vec<Arc<Growing>>);

impl Drop for Shown {
    fn drop(&mut self) {
        for growing in &self.1 {
            self.0.end(growing);
        }
    }
}

pub(crate) struct Fetch {
    handle: Handle,
    order: Order,
    swarm: Swarm,
    specs: Vec<Spec>,
    large: Vec<Large>,
    waiting: VecDeque<(Wanted, u64)>,
    /// Large blobs being opened or finished on the disk.
    busy: usize,
    left: BTreeSet<BlobId>,
    fetched: Fetched,
    peers: BTreeMap<NodeId, Peer>,
    links: JoinSet<()>,
    teller: Teller,
    interest: mpsc::Sender<NodeId>,
    shown: Shown,
    began: Instant,
    moved_at: Instant,
}

/// Fetches what is wanted.
pub(crate) async fn run(handle: Handle, mut order: Order) -> Result<Fetched, FetchError> {
    let mut left = BTreeSet::new();
    order.wanted.retain(|wanted| left.insert(wanted.id));
    let (notes, mut noted) = mpsc::channel(NOTES_MAX);
    let (interest, mut interested) = mpsc::channel(PROVIDERS_MAX);
    let me = handle.me();
    let mut fetch = Fetch {
        swarm: Swarm::new(me),
        specs: Vec::new(),
        large: Vec::new(),
        waiting: VecDeque::new(),
        busy: 0,
        left,
        fetched: Fetched::default(),
        peers: BTreeMap::new(),
        links: JoinSet::new(),
        teller: Teller { node: me, notes },
        interest,
        shown: Shown(handle.shelf(), Vec::new()),
        began: Instant::now(),
        moved_at: Instant::now(),
        handle,
        order,
    };
    fetch.begin();
    let cancel = fetch.handle.terms().cancel.clone();
    let mut tick = tokio::time::interval(FETCH_TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = 0;
    while !fetch.is_over() {
        tokio::select! {
            () = cancel.cancelled() => return Err(FetchError::Closed),
            Some((node, note)) = noted.recv() => fetch.noted(node, note)?,
            Some(node) = interested.recv() => fetch.add(node),
            _ = tick.tick() => {
                ticks += 1;
                if ticks % ALIVE_TICKS == 0 {
                    fetch.tell_alive();
                }
                fetch.event(Event::Tick);
            }
        }
    }
    Ok(fetch.finish())
}

impl Fetch {
    fn begin(&mut self) {
        let (units, large) = plan::sort(&self.order.wanted);
        for unit in units {
            self.unit(Spec::Blobs(unit));
        }
        self.waiting = large.into();
        self.open_more();
        for node in std::mem::take(&mut self.order.providers) {
            self.add(node);
        }
    }

    fn unit(&mut self, spec: Spec) {
        let event = plan::added(&spec, &self.large);
        self.specs.push(spec);
        self.event(event);
    }

    /// Begins with large blobs, as many as are brought at once.
    fn open_more(&mut self) {
        let going = |one: &&Large| self.left.contains(&one.id()) && !one.parts.is_empty();
        let mut going = self.large.iter().filter(going).count();
        while going < LARGE_AT_ONCE
            && let Some((wanted, size)) = self.waiting.pop_front()
        {
            going += 1;
            let blob = u32::try_from(self.large.len()).unwrap_or(u32::MAX);
            self.large.push(Large {
                wanted,
                shape: Shape::of(size),
                outline: self.swarm.next(),
                grows: None,
                rest: BTreeMap::new(),
                parts: BTreeMap::new(),
            });
            self.unit(Spec::Outline(blob));
            let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
            for node in nodes {
                self.watch(node, blob);
            }
        }
    }

    fn watch(&mut self, node: NodeId, blob: Blob) {
        let wanted = self.large[blob as usize].wanted;
        let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.is_up) else {
            return;
        };
        let job = Job::Watch { blob, wanted };
        if peer
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.try_send(job).is_ok())
        {
            peer.unheard += 1;
        }
    }

    fn event(&mut self, event: Event) {
        let mut commands = Vec::new();
        self.swarm
            .handle(self.began.elapsed(), event, &mut commands);
        for command in commands {
            let (node, job) = match command {
                Command::Ask { node, unit } => (
                    node,
                    plan::job(&self.specs[unit as usize], unit, &self.large),
                ),
                Command::Cancel { node, unit } => (node, Some(Job::Cancel { unit })),
            };
            let jobs = self.peers.get(&node).and_then(|peer| peer.jobs.as_ref());
            if let (Some(job), Some(jobs)) = (job, jobs) {
                // A link that does not take jobs is late with all of them, and its units move on.
                let _ = jobs.try_send(job);
            }
        }
    }

    fn noted(&mut self, node: NodeId, note: Note) -> Result<(), FetchError> {
        match note {
            Note::Up => self.up(node),
            Note::Standing { blob, standing } => self.stands(node, blob, standing),
            Note::Have { blob, pieces } => {
                self.moved_at = Instant::now();
                let more = self.large[blob as usize].more(blob, node, &pieces);
                more.into_iter().for_each(|event| self.event(event));
            }
            Note::Outline { unit, outline } => self.outline(node, unit, outline),
            Note::Piece { unit, groups } => self.piece(node, unit, groups),
            Note::Blobs {
                unit,
                taken,
                is_all,
            } => self.blobs(node, unit, &taken, is_all),
            Note::No { unit } => self.lacks(node, unit),
            Note::Ended(Failure::Fatal(error)) => return Err(error),
            Note::Ended(failure) => self.ended(node, failure),
            Note::Opened { blob, growing } => self.opened(blob, &growing),
            Note::Finished { blob } => {
                self.busy -= 1;
                let large = &self.large[blob as usize];
                self.take(large.id(), large.shape.size());
                self.open_more();
            }
        }
        Ok(())
    }

    fn up(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.is_up = true;
        }
        for blob in 0..self.large.len() {
            if self.left.contains(&self.large[blob].id()) {
                self.watch(node, u32::try_from(blob).unwrap_or(u32::MAX));
            }
        }
        self.event(Event::Joined { node });
    }

    fn stands(&mut self, node: NodeId, blob: Blob, standing: Standing) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.unheard = peer.unheard.saturating_sub(1);
        }
        let event = self.large[blob as usize].stands(blob, node, standing);
        event.into_iter().for_each(|event| self.event(event));
    }

    fn take(&mut self, id: BlobId, size: u64) {
        if self.left.remove(&id) {
            self.fetched.blobs += 1;
            self.fetched.bytes += size;
            let tally = self.handle.tally();
            tally.blobs_in.add(1);
            let bytes = usize::try_from(size).unwrap_or(usize::MAX);
            tally.bulk_in_bytes.add(bytes);
        }
    }

    /// Something good came from a provider.
    fn gave(&mut self, node: NodeId) {
        self.moved_at = Instant::now();
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.gave = true;
        }
    }

    fn outline(&mut self, node: NodeId, unit: Unit, outline: Vec<Hash>) {
        self.gave(node);
        let is_new = !self.swarm.is_done(unit);
        self.event(Event::Arrived { node, unit });
        let Spec::Outline(blob) = self.specs[unit as usize] else {
            return;
        };
        if !is_new {
            return;
        }
        self.busy += 1;
        let large = &self.large[blob as usize];
        let (id, shape, interest) = (large.id(), large.shape, self.interest.clone());
        let sink = Arc::clone(&self.order.sink);
        self.beside(id, move || {
            let place = sink.begin(id, shape.size())?;
            let growing = Growing::resume(id, shape, outline.into(), place, interest)?;
            let growing = Arc::new(growing);
            Ok(Note::Opened { blob, growing })
        });
    }

    /// Does something on the disk and notes what comes of it.
    fn beside(&self, id: BlobId, work: impl FnOnce() -> io::Result<Note> + Send + 'static) {
        let teller = self.teller.clone();
        tokio::task::spawn_blocking(move || {
            let note = work().unwrap_or_else(|source| {
                Note::Ended(Failure::Fatal(FetchError::Sink { id, source }))
            });
            let _ = teller.notes.blocking_send((teller.node, note));
        });
    }

    fn opened(&mut self, blob: Blob, growing: &Arc<Growing>) {
        self.busy -= 1;
        let first = self.swarm.next();
        let pieces = growing.shape.pieces();
        self.handle.shelf().put(growing);
        self.shown.1.push(Arc::clone(growing));
        self.large[blob as usize].grows = Some((first, Arc::clone(growing)));
        for piece in 0..pieces {
            self.unit(Spec::Piece(blob, piece));
        }
        let me = self.teller.node;
        for piece in (0..pieces).filter(|piece| growing.has(*piece)) {
            let unit = first + piece;
            self.event(Event::Arrived { node: me, unit });
        }
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        for node in nodes {
            let known = self.large[blob as usize].known_of(blob, node);
            known.into_iter().for_each(|event| self.event(event));
        }
        self.finish_if_whole(blob);
    }

    fn finish_if_whole(&mut self, blob: Blob) {
        let large = &self.large[blob as usize];
        let Some((_, growing)) = large.grows.as_ref().filter(|(_, one)| one.is_whole()) else {
            return;
        };
        let growing = Arc::clone(growing);
        self.busy += 1;
        self.beside(large.id(), move || {
            growing.place.finish()?;
            Ok(Note::Finished { blob })
        });
    }

    fn piece(&mut self, node: NodeId, unit: Unit, groups: Mask) {
        self.gave(node);
        let Spec::Piece(blob, piece) = self.specs[unit as usize] else {
            return;
        };
        if self.swarm.is_done(unit) {
            return;
        }
        let large = &mut self.large[blob as usize];
        if !large.got(piece, groups) {
            return self.event(Event::Again { node, unit });
        }
        if let Some((_, growing)) = &large.grows {
            growing.add(piece);
        }
        self.event(Event::Arrived { node, unit });
        self.finish_if_whole(blob);
    }

    fn blobs(&mut self, node: NodeId, unit: Unit, taken: &[(BlobId, u64)], is_all: bool) {
        if !taken.is_empty() {
            self.gave(node);
        }
        for (id, size) in taken {
            self.take(*id, *size);
        }
        if let Spec::Blobs(wanted) = &mut self.specs[unit as usize] {
            wanted.retain(|wanted| self.left.contains(&wanted.id));
            let is_empty = wanted.is_empty();
            if is_empty {
                self.event(Event::Arrived { node, unit });
            } else if is_all {
                self.event(Event::Lacks { node, unit });
            }
        }
    }

    /// Who said that it has something and does not give it is believed a few times.
    fn lacks(&mut self, node: NodeId, unit: Unit) {
        let is_done = self.swarm.is_done(unit);
        self.event(Event::Lacks { node, unit });
        let Some(peer) = self.peers.get_mut(&node).filter(|_| !is_done) else {
            return;
        };
        peer.strikes += 1;
        if peer.strikes >= STRIKES_MAX {
            let words = "it does not give what it said it has".to_owned();
            peer.tries = BUSY_TRIES_MAX;
            self.ended(node, Failure::Lost(words));
        }
    }

    /// Whether all is here, or nobody can give what is missing.
    fn is_over(&mut self) -> bool {
        if self.left.is_empty() {
            return true;
        }
        let settled = |peer: &Peer| peer.is_over || (peer.is_up && peer.unheard == 0);
        if self.busy > 0 || !self.peers.values().all(settled) || !self.swarm.is_stuck() {
            return false;
        }
        if !self.waiting.is_empty() && self.peers.values().any(|peer| peer.is_up) {
            self.open_more();
            return false;
        }
        let patience = self.handle.terms().idle;
        let left = |large: &Large| self.left.contains(&large.id()) && large.is_hoped_for();
        !self.large.iter().any(left) || self.moved_at.elapsed() > patience
    }

    fn finish(mut self) -> Fetched {
        let moved = self
            .peers
            .values()
            .map(|peer| peer.moved.load(Ordering::Relaxed));
        let moved = usize::try_from(moved.sum::<u64>()).unwrap_or(usize::MAX);
        self.handle.tally().bulk_wire_bytes.add(moved);
        let wanted = self.order.wanted.iter().map(|wanted| wanted.id);
        self.fetched.missing = wanted.filter(|id| self.left.contains(id)).collect();
        std::mem::take(&mut self.fetched)
    }
}
