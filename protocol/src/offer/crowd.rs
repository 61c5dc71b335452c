//! Whom an owner may ask: the nodes of each platform, those of them that are thought to have room,
//! their order for a lineage, and what their estimates were worth so far.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Engine, JobId, Layer, jobs::Job};
use crate::{
    ids::{NodeId, TreeId},
    limits,
    platform::Platform,
    rendezvous,
    time::Time,
};

/// Apart from what else is ranked by a layer.
const DOMAIN: &str = "caravan offer";
/// Lineages whose order is remembered.
const RANKS_MAX: usize = 1024;
/// Layers of which is remembered who has them.
const HOMES_MAX: usize = 8192;
/// Nodes of one lineage's order that are remembered: the first may all be busy.
const RANKED_MAX: usize = 32;
/// Holders among the candidates for one job.
const HOLDERS: usize = 2;
/// Candidates that are not drawn by chance, holders included.
const CHOSEN: usize = 3;
/// Draws for each place that is left to chance.
const DRAWS: usize = 4;

/// An estimate that came true, in thousandths.
const TRUE: u32 = 1000;
/// The worst that an estimate is taken to have been.
const WORST: u32 = 16_000;

/// The other nodes, as far as they matter to offers.
#[derive(Debug)]
pub(super) struct Crowd {
    all: BTreeMap<Platform, BTreeSet<NodeId>>,
    ready: BTreeMap<Platform, BTreeSet<NodeId>>,
    ranks: BTreeMap<(Platform, TreeId), Vec<NodeId>>,
    /// Keys of `ranks`, oldest first.
    rank_order: VecDeque<(Platform, TreeId)>,
    /// Nodes that were given jobs on top of a layer, the latest last: these have it.
    homes: BTreeMap<TreeId, VecDeque<NodeId>>,
    /// Keys of `homes`, oldest first.
    home_order: VecDeque<TreeId>,
    /// How many times longer than promised it took them, in thousandths, where that is not once.
    standing: BTreeMap<NodeId, u32>,
    dice: u64,
}

impl Crowd {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            all: BTreeMap::new(),
            ready: BTreeMap::new(),
            ranks: BTreeMap::new(),
            rank_order: VecDeque::new(),
            homes: BTreeMap::new(),
            home_order: VecDeque::new(),
            standing: BTreeMap::new(),
            dice: seed,
        }
    }

    /// A node is up and builds for these.
    pub(super) fn up(&mut self, node: NodeId, platforms: &BTreeSet<Platform>) {
        self.down(node);
        for platform in platforms {
            self.all.entry(platform.clone()).or_default().insert(node);
        }
        self.wake(node, platforms);
    }

    /// A node is gone.
    pub(super) fn down(&mut self, node: NodeId) {
        self.rest(node);
        self.all.retain(|_, nodes| {
            nodes.remove(&node);
            !nodes.is_empty()
        });
        self.ranks.clear();
        self.rank_order.clear();
    }

    /// A node has a layer from now on, or will soon.
    pub(super) fn settles(&mut self, node: NodeId, top: TreeId) {
        if !self.homes.contains_key(&top) {
            if self.home_order.len() >= HOMES_MAX
                && let Some(oldest) = self.home_order.pop_front()
            {
                self.homes.remove(&oldest);
            }
            self.home_order.push_back(top);
        }
        let nodes = self.homes.entry(top).or_default();
        nodes.retain(|held| *held != node);
        nodes.push_back(node);
        if nodes.len() > limits::HOLDERS_MAX {
            nodes.pop_front();
        }
    }

    fn homes(&self, top: TreeId) -> impl Iterator<Item = NodeId> {
        let nodes = self.homes.get(&top).into_iter();
        nodes.flat_map(|nodes| nodes.iter().rev()).copied()
    }

    /// A node has no room for now.
    pub(super) fn rest(&mut self, node: NodeId) {
        self.ready.retain(|_, nodes| {
            nodes.remove(&node);
            !nodes.is_empty()
        });
    }

    /// A node may have room again.
    pub(super) fn wake(&mut self, node: NodeId, platforms: &BTreeSet<Platform>) {
        for platform in platforms {
            self.ready.entry(platform.clone()).or_default().insert(node);
        }
    }

    /// The nodes of a platform.
    pub(super) fn of(&self, platform: &Platform) -> impl Iterator<Item = NodeId> {
        self.all.get(platform).into_iter().flatten().copied()
    }

    pub(super) fn len(&self, platform: &Platform) -> usize {
        self.all.get(platform).map_or(0, BTreeSet::len)
    }

    /// Whether any node of a platform may have room.
    pub(super) fn any_ready(&self, platform: &Platform) -> bool {
        self.ready.contains_key(platform)
    }

    fn is_ready(&self, platform: &Platform, node: NodeId) -> bool {
        let ready = self.ready.get(platform);
        ready.is_some_and(|nodes| nodes.contains(&node))
    }

    /// The first nodes of a platform for a lineage. Costs a hash a node, once for a lineage as long
    /// as the same nodes are up.
    fn rank(&mut self, platform: &Platform, top: TreeId) -> Vec<NodeId> {
        let key = (platform.clone(), top);
        if let Some(ranked) = self.ranks.get(&key) {
            return ranked.clone();
        }
        let mut ranked = rendezvous::rank(DOMAIN, top.as_bytes(), self.of(platform));
        ranked.truncate(RANKED_MAX);
        if self.rank_order.len() >= RANKS_MAX
            && let Some(oldest) = self.rank_order.pop_front()
        {
            self.ranks.remove(&oldest);
        }
        self.rank_order.push_back(key.clone());
        self.ranks.insert(key, ranked.clone());
        ranked
    }

    /// A node with room, by chance.
    fn draw(&mut self, platform: &Platform) -> Option<NodeId> {
        let mut point = [0; 32];
        for chunk in point.chunks_mut(8) {
            chunk.copy_from_slice(&self.roll().to_be_bytes());
        }
        let ready = self.ready.get(platform)?;
        let after = ready.range(NodeId::from_bytes(point)..).next();
        after.or_else(|| ready.first()).copied()
    }

    /// The next of a sequence that looks random (Steele's splitmix).
    fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.dice;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// What a node's estimate is worth: what it says, by how wrong it was before. Nobody is taken
    /// to be many times as fast as thought, else no factor would ever tell against it.
    pub(super) fn believed_ms(&self, node: NodeId, eta_ms: u64, cost_ms: u64) -> u64 {
        let factor = self.standing.get(&node).copied().unwrap_or(TRUE);
        let least = (cost_ms / 4).max(1);
        eta_ms.max(least).saturating_mul(u64::from(factor)) / u64::from(TRUE)
    }

    /// What came of an estimate.
    pub(super) fn came_true(&mut self, node: NodeId, promised_ms: u64, took_ms: u64) {
        let times = took_ms.saturating_mul(u64::from(TRUE)) / promised_ms.max(1);
        let times = u32::try_from(times).unwrap_or(WORST).clamp(TRUE, WORST);
        let before = self.standing.get(&node).copied().unwrap_or(TRUE);
        let now = (before * 3 + times) / 4;
        if now <= TRUE + TRUE / 20 {
            self.standing.remove(&node);
            return;
        }
        if self.standing.len() >= limits::PEERS_MAX && !self.standing.contains_key(&node) {
            let best = self
                .standing
                .iter()
                .min_by_key(|(node, held)| (**held, **node));
            let best = best.map(|(node, _)| *node);
            best.map(|node| self.standing.remove(&node));
        }
        self.standing.insert(node, now);
    }

    /// Nothing came of an estimate.
    pub(super) fn came_to_nothing(&mut self, node: NodeId) {
        self.came_true(node, 1, u64::from(WORST));
    }
}

impl Engine {
    /// Whom to ask for a waiting job now.
    pub(super) fn candidates(&mut self, id: JobId, now: Time) -> Vec<NodeId> {
        let Some(job) = self.jobs.get(id) else {
            return Vec::new();
        };
        let platform = job.want.platform.clone();
        if let Some(only) = job.want.place.on {
            let may = self.may_ask(job, only, now);
            return may.then_some(only).into_iter().collect();
        }
        let few = usize::try_from(limits::CANDIDATES).unwrap_or(usize::MAX);
        if self.crowd.len(&platform) <= few {
            let all = self.crowd.of(&platform);
            return all.filter(|node| self.may_ask(job, *node, now)).collect();
        }
        let mut holders: Vec<NodeId> = self.holders(job).collect();
        holders.retain(|node| self.may_hold(job, *node, now));
        holders.sort_by_key(|node| {
            let held = self.jobs.held_len(*node) + self.auctions.kept_len(*node);
            (!self.crowd.is_ready(&platform, *node), held)
        });
        holders.dedup();
        holders.truncate(HOLDERS);
        let ranked = match job.want.lineage.last() {
            Some(top) if holders.is_empty() => self.crowd.rank(&platform, top.tree),
            _ => Vec::new(),
        };
        // No other node is better for it than another.
        let most = few - if ranked.is_empty() { 2 } else { 1 };
        let mut chosen = holders;
        self.choose_of(id, now, ranked, CHOSEN, &mut chosen);
        for _ in 0..most * DRAWS {
            if chosen.len() >= most {
                break;
            }
            let drawn = self.crowd.draw(&platform);
            self.choose_of(id, now, drawn.into_iter().collect(), most, &mut chosen);
        }
        chosen
    }

    fn choose_of(
        &self,
        id: JobId,
        now: Time,
        from: Vec<NodeId>,
        most: usize,
        chosen: &mut Vec<NodeId>,
    ) {
        let Some(job) = self.jobs.get(id) else {
            return;
        };
        for node in from {
            if chosen.len() >= most {
                return;
            }
            if !chosen.contains(&node) && self.may_ask(job, node, now) {
                chosen.push(node);
            }
        }
    }

    /// Nodes that have what is below a job, as far as is known here.
    fn holders(&self, job: &Job) -> impl Iterator<Item = NodeId> {
        let top = job.want.lineage.last();
        let homes = top.into_iter().flat_map(|top| self.crowd.homes(top.tree));
        let told = job.want.holders.iter().copied();
        let told = told.filter(move |_| top.is_some());
        homes.chain(told)
    }

    pub(super) fn is_holder(&self, job: &Job, node: NodeId) -> bool {
        self.holders(job).any(|holder| holder == node)
    }

    fn may_hold(&self, job: &Job, node: NodeId, now: Time) -> bool {
        self.allows(job, node) && self.may_award(job, node, now)
    }

    /// The layer that a waiting job runs on, where somebody has it who may do the job.
    pub(super) fn held_top(&self, job: &Job, now: Time) -> Option<Layer> {
        let top = job.want.lineage.last().copied()?;
        let here = job.want.missing_bytes == 0 && self.platforms.contains(&job.want.platform);
        let held = here && self.fits_here(job) && self.may_run(job, self.me, now);
        let mut holders = self.holders(job);
        (held || holders.any(|node| self.may_hold(job, node, now))).then_some(top)
    }

    /// Whether a node may as well have a job: it has what is below it, or nobody does, or who does
    /// has had enough time.
    pub(super) fn suits(&self, job: &Job, node: NodeId, now: Time) -> bool {
        let bytes = job.want.lineage.last().map_or(0, |top| top.bytes);
        // A node that has nothing to do says better how long it would fetch: this is the slowest.
        let fetch_ms = bytes.saturating_mul(4000) / limits::FETCH_BYTES_PER_S;
        let patience = u128::from(fetch_ms.min(limits::HOLD_MS_MAX));
        now.since(job.since).as_millis() >= patience
            || self.is_holder(job, node)
            || self.held_top(job, now).is_none()
    }

    /// Whether a node may be asked for a job now: it could be awarded it, allows what it asks for
    /// as far as is known, and is not known to have no room.
    fn may_ask(&self, job: &Job, node: NodeId, now: Time) -> bool {
        self.crowd.is_ready(&job.want.platform, node)
            && self.allows(job, node)
            && self.may_award(job, node, now)
    }

    /// Whether a node allows what a job asks for, as far as it has said.
    pub(super) fn allows(&self, job: &Job, node: NodeId) -> bool {
        let said = self.peers.get(&node).and_then(|peer| peer.most);
        said.is_none_or(|most| job.want.needs.within(&most).is_ok())
    }
}
