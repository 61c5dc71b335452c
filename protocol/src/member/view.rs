//! One node's view: a few bytes for each member in dense arrays by slot, and the hashes by which
//! two views are compared. A member's entry only ever grows (a later certificate, a higher
//! incarnation, an obituary of it, a revocation above all), so the order of records does not
//! matter. It decides nothing about records; they were believed before they came here.

use super::{BUCKETS, Incarnation, Line, Mode, Slot, Static, Status};

const MODE: u8 = 0b111;
const DEAD: u8 = 0b1000;
const REVOKED: u8 = 0b1_0000;
const EXPIRED: u8 = 0b10_0000;

/// What a view holds of one member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Entry {
    /// The second in which its certificate expires; of a revoked node, when to forget it. Zero
    /// before there is one.
    pub(super) cert: u32,
    /// Zero before it spoke for itself.
    pub(super) incarnation: u32,
    flags: u8,
}

impl Entry {
    /// A revoked node, remembered until that second.
    pub(super) const fn revoked_until(second: u32) -> Self {
        Self {
            cert: second,
            incarnation: 0,
            flags: REVOKED,
        }
    }

    /// With another certificate, which is valid.
    pub(super) const fn with_cert(self, cert: u32) -> Self {
        Self {
            cert,
            flags: self.flags & !EXPIRED,
            ..self
        }
    }

    /// With the node's own word.
    pub(super) const fn with_presence(self, incarnation: u32, mode: Mode) -> Self {
        let flags = (self.flags & !(DEAD | MODE)) | mode as u8;
        Self {
            incarnation,
            flags,
            ..self
        }
    }

    /// With an obituary of its incarnation.
    pub(super) const fn buried(self) -> Self {
        Self {
            flags: self.flags | DEAD,
            ..self
        }
    }

    /// With its certificate out of date.
    pub(super) const fn expired(self) -> Self {
        Self {
            flags: self.flags | EXPIRED,
            ..self
        }
    }

    pub(super) const fn is_revoked(self) -> bool {
        self.flags & REVOKED != 0
    }

    pub(super) const fn is_dead(self) -> bool {
        self.flags & DEAD != 0
    }

    pub(super) const fn mode(self) -> Option<Mode> {
        if self.incarnation == 0 || self.is_revoked() {
            return None;
        }
        match self.flags & MODE {
            0 => Some(Mode::Open),
            1 => Some(Mode::Paused),
            2 => Some(Mode::Draining),
            3 => Some(Mode::Leaving),
            _ => Some(Mode::Left),
        }
    }

    pub(super) fn status(self) -> Status {
        if self.is_revoked() {
            Status::Revoked
        } else if self.cert == 0 {
            Status::Unknown
        } else if self.flags & EXPIRED != 0 {
            Status::Expired
        } else if self.incarnation == 0 {
            Status::Certified
        } else if self.mode() == Some(Mode::Left) {
            Status::Left
        } else if self.is_dead() {
            Status::Dead
        } else {
            Status::Live
        }
    }

    /// Whether other nodes are told of it: it spoke for itself, and may, or must not any more.
    pub(super) fn is_told(self) -> bool {
        !matches!(
            self.status(),
            Status::Unknown | Status::Certified | Status::Expired
        )
    }

    pub(super) const fn line(self, seed: u64) -> Line {
        Line {
            seed,
            cert: if self.is_revoked() { 0 } else { self.cert },
            incarnation: Incarnation::new(self.incarnation),
            dead: self.is_dead(),
            revoked: self.is_revoked(),
        }
    }

    /// What it adds to the hash of a view.
    fn hash(self, seed: u64) -> u64 {
        if !self.is_told() {
            return 0;
        }
        if self.is_revoked() {
            return mix(seed ^ 0x7265_766f_6b65_6421);
        }
        let versions = u64::from(self.cert) << 32 | u64::from(self.incarnation);
        mix(mix(seed ^ versions).wrapping_add(u64::from(self.is_dead())))
    }
}

/// Splitmix's finaliser: near values come out unlike each other.
pub(super) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The bucket of a member: the top bits of its seed, so that a bucket is a stretch of ring 0.
pub(super) const fn bucket(seed: u64) -> usize {
    (seed >> (u64::BITS - BUCKETS.trailing_zeros())) as usize
}

/// The first and last seed of a bucket.
pub(super) const fn stretch(bucket: usize) -> (u64, u64) {
    let bits = u64::BITS - BUCKETS.trailing_zeros();
    let first = (bucket as u64) << bits;
    (first, first | ((1 << bits) - 1))
}

/// The view of one node.
#[derive(Debug, Clone)]
pub(super) struct View {
    certs: Vec<u32>,
    incarnations: Vec<u32>,
    flags: Vec<u8>,
    buckets: Box<[u64; BUCKETS]>,
    hash: u64,
    live: usize,
}

impl View {
    pub(super) fn new() -> Self {
        Self {
            certs: Vec::new(),
            incarnations: Vec::new(),
            flags: Vec::new(),
            buckets: Box::new([0; BUCKETS]),
            hash: 0,
            live: 0,
        }
    }

    pub(super) fn entry(&self, slot: Slot) -> Entry {
        let at = slot.index();
        if at >= self.flags.len() {
            return Entry::default();
        }
        Entry {
            cert: self.certs[at],
            incarnation: self.incarnations[at],
            flags: self.flags[at],
        }
    }

    pub(super) fn status(&self, slot: Slot) -> Status {
        self.entry(slot).status()
    }

    pub(super) fn is_live(&self, slot: Slot) -> bool {
        self.status(slot) == Status::Live
    }

    /// Replaces a member's entry; says where it stood and where it stands.
    pub(super) fn set(&mut self, slot: Slot, place: &Static, entry: Entry) -> (Status, Status) {
        let at = slot.index();
        if at >= self.flags.len() {
            self.grow(at + 1);
        }
        let before = self.entry(slot);
        let seed = place.positions[0];
        let change = before.hash(seed) ^ entry.hash(seed);
        self.buckets[bucket(seed)] ^= change;
        self.hash ^= change;
        self.certs[at] = entry.cert;
        self.incarnations[at] = entry.incarnation;
        self.flags[at] = entry.flags;
        let (was, is) = (before.status(), entry.status());
        match (was == Status::Live, is == Status::Live) {
            (false, true) => self.live += 1,
            (true, false) => self.live -= 1,
            _ => {}
        }
        (was, is)
    }

    /// Room for that many slots, and little more: a simulation holds thousands of views.
    fn grow(&mut self, slots: usize) {
        let more = slots - self.flags.len() + slots / 16;
        if slots > self.flags.capacity() {
            self.certs.reserve_exact(more);
            self.incarnations.reserve_exact(more);
            self.flags.reserve_exact(more);
        }
        self.certs.resize(slots, 0);
        self.incarnations.resize(slots, 0);
        self.flags.resize(slots, 0);
    }

    /// Members that are here.
    pub(super) const fn live(&self) -> usize {
        self.live
    }

    /// Slots that ever had an entry.
    pub(super) fn slots(&self) -> usize {
        self.flags.len()
    }

    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) const fn buckets(&self) -> &[u64; BUCKETS] {
        &self.buckets
    }

    /// All slots with an entry, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Slot, Entry)> + '_ {
        (0..self.flags.len()).filter_map(|at| {
            let slot = Slot::new(u32::try_from(at).ok()?);
            let entry = self.entry(slot);
            (entry != Entry::default()).then_some((slot, entry))
        })
    }
}
