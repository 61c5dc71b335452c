//! Who is asked for what: a pure engine. Everything to fetch is cut into units of about 256 KiB; each
//! provider is kept busy with as many bytes as it moves in half a second, with those units first
//! that the fewest have. Of what only whole providers have, a node asks for its own share first,
//! drawn for each piece among all that fetch the same blob, so that a source gives each byte once
//! and the rest goes from one to the other. What a slow provider holds is asked of a second one
//! when nothing else is left, and whoever is later is told that it is not wanted any more.
//!
//! It knows neither bytes nor hashes: whether a unit has arrived is for its owner to say.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use caravan_protocol::ids::NodeId;

use super::words::Bits;
use crate::limits::{
    DRY_PAUSE, FLIGHT_BYTES_MAX, FLIGHTS_PER_PROVIDER_MAX, HOLDERS_MAX, LATE_MIN, UNIT_BYTES,
};

#[cfg(test)]
mod tests;

/// One unit of what is fetched.
pub(crate) type Unit = u32;
/// One blob of which units are pieces.
pub(crate) type Blob = u32;

/// Who may be asked for a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// Everybody who has not said that it is not there.
    Anyone,
    /// Who said that it has the blob, or this part of it. The number draws its owner.
    Blob(Blob, u64),
}

/// What happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// There is something to fetch. Numbers go up by one.
    Added { of: Of, bytes: u32 },
    /// A provider can be asked.
    Joined { node: NodeId },
    /// It is gone, or not to be asked again.
    Gone { node: NodeId },
    /// It has all of a blob.
    Whole { node: NodeId, blob: Blob },
    /// It fetches the blob itself and has these units.
    Has {
        node: NodeId,
        blob: Blob,
        units: Vec<Unit>,
    },
    /// It does not have a unit.
    Lacks { node: NodeId, unit: Unit },
    /// All of a unit is here.
    Arrived { node: NodeId, unit: Unit },
    /// Not all of a unit came: it is wanted again.
    Again { node: NodeId, unit: Unit },
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Ask a provider for a unit.
    Ask { node: NodeId, unit: Unit },
    /// Tell it that it is not wanted any more.
    Cancel { node: NodeId, unit: Unit },
}

#[derive(Debug)]
struct Piece {
    of: Of,
    bytes: u64,
    order: u64,
    /// How many that fetch the same have it.
    rarity: u32,
    is_mine: bool,
    is_done: bool,
    holders: Vec<NodeId>,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    since: Duration,
    /// When it should have been here.
    due: Duration,
}

#[derive(Debug, Default)]
struct Provider {
    flights: BTreeMap<Unit, Flight>,
    /// Bytes of the flights.
    bytes: u64,
    /// Bytes in a second, smoothed; none until something came.
    rate: Option<u64>,
    last: Duration,
    has: Bits,
    lacks: Bits,
    whole: BTreeSet<Blob>,
    parts: BTreeSet<Blob>,
    /// What had happened to the open units when it was seen that it has none of them.
    barren: Option<u64>,
    /// Since when a whole provider had nothing of this node's share.
    dry: Option<Duration>,
}

impl Provider {
    fn window(&self) -> u64 {
        let half = self.rate.map_or(4 * UNIT_BYTES, |rate| rate / 2);
        half.clamp(2 * UNIT_BYTES, FLIGHT_BYTES_MAX)
    }

    fn has_room(&self) -> bool {
        self.bytes < self.window() && self.flights.len() < FLIGHTS_PER_PROVIDER_MAX
    }

    fn may(&self, unit: Unit, of: Of) -> bool {
        !self.lacks.get(unit)
            && match of {
                Of::Anyone => true,
                Of::Blob(blob, _) => self.whole.contains(&blob) || self.has.get(unit),
            }
    }

    fn expects(&self, bytes: u64) -> Duration {
        let rate = self.rate.unwrap_or(UNIT_BYTES).max(1);
        Duration::from_millis(bytes.saturating_mul(1000) / rate)
    }

    fn moved(&mut self, now: Duration, since: Duration, bytes: u64) {
        let took = now.saturating_sub(self.last.max(since)).as_millis();
        let took = u64::try_from(took).unwrap_or(u64::MAX).max(1);
        let seen = bytes.saturating_mul(1000) / took;
        self.rate = Some(self.rate.map_or(seen, |rate| (rate * 3 + seen) / 4));
        self.last = now;
    }
}

/// The engine.
#[derive(Debug)]
pub(crate) struct Swarm {
    me: NodeId,
    pieces: Vec<Piece>,
    /// What nobody was asked for, the rarest and this node's own share first.
    open: BTreeSet<(u32, bool, u64, Unit)>,
    /// What is asked of one provider only.
    held: BTreeSet<Unit>,
    providers: BTreeMap<NodeId, Provider>,
    left: usize,
    /// Counts what may make a unit open to somebody.
    changes: u64,
}

/// A number that looks drawn.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn key(node: NodeId) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&node.as_bytes()[..8]);
    u64::from_le_bytes(first)
}

impl Swarm {
    pub(crate) const fn new(me: NodeId) -> Self {
        Self {
            me,
            pieces: Vec::new(),
            open: BTreeSet::new(),
            held: BTreeSet::new(),
            providers: BTreeMap::new(),
            left: 0,
            changes: 0,
        }
    }

    /// The number that the next unit gets.
    pub(crate) fn next(&self) -> Unit {
        u32::try_from(self.pieces.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn is_done(&self, unit: Unit) -> bool {
        self.pieces[unit as usize].is_done
    }

    /// Whether nothing is on its way, and nobody has anything of what is left.
    pub(crate) fn is_stuck(&self) -> bool {
        let providers = || self.providers.values();
        providers().all(|one| one.flights.is_empty())
            && !self.open.iter().any(|&(.., unit)| {
                let of = self.pieces[unit as usize].of;
                providers().any(|one| one.may(unit, of))
            })
    }

    /// Takes an event and says what is to be done.
    pub(crate) fn handle(&mut self, now: Duration, event: Event, out: &mut Vec<Command>) {
        match event {
            Event::Added { of, bytes } => self.added(of, bytes),
            Event::Joined { node } => {
                self.providers.entry(node).or_default();
                self.fill(now, node, out);
            }
            Event::Gone { node } => self.gone(node),
            Event::Whole { node, blob } => {
                self.stands(node, blob, true);
                self.fill(now, node, out);
            }
            Event::Has { node, blob, units } => {
                self.stands(node, blob, false);
                for unit in units {
                    self.has(node, unit);
                }
                self.fill(now, node, out);
            }
            Event::Lacks { node, unit } => {
                if let Some(provider) = self.providers.get_mut(&node) {
                    provider.lacks.set(unit);
                }
                self.release(node, unit);
                self.fill(now, node, out);
            }
            Event::Arrived { node, unit } => {
                self.arrived(now, node, unit, out);
                self.fill(now, node, out);
            }
            Event::Again { node, unit } => {
                self.release(node, unit);
                self.fill(now, node, out);
            }
            Event::Tick => {
                let nodes: Vec<NodeId> = self.providers.keys().copied().collect();
                for node in nodes {
                    self.fill(now, node, out);
                }
            }
        }
        #[cfg(test)]
        if self.pieces.len() < 300 {
            self.check();
        }
    }

    fn added(&mut self, of: Of, bytes: u32) {
        let unit = self.next();
        self.pieces.push(Piece {
            of,
            bytes: u64::from(bytes),
            order: match of {
                // In the order in which they were wanted: neighbours lie together on disks.
                Of::Anyone => u64::from(unit),
                Of::Blob(..) => mix(key(self.me) ^ u64::from(unit)),
            },
            rarity: 0,
            is_mine: true,
            is_done: false,
            holders: Vec::new(),
        });
        self.left += 1;
        self.changes += 1;
        self.pieces[unit as usize].is_mine = self.owns(of);
        self.open.insert(self.place(unit));
    }

    fn place(&self, unit: Unit) -> (u32, bool, u64, Unit) {
        let piece = &self.pieces[unit as usize];
        (piece.rarity, !piece.is_mine, piece.order, unit)
    }

    /// Whether this node is the one of all that fetch a blob that is to ask its source for a unit.
    fn owns(&self, of: Of) -> bool {
        let Of::Blob(blob, number) = of else {
            return true;
        };
        let weight = |node: NodeId| (mix(key(node) ^ mix(number)), node);
        let mine = weight(self.me);
        let others = self
            .providers
            .iter()
            .filter(|(_, one)| one.parts.contains(&blob));
        others
            .map(|(node, _)| weight(*node))
            .all(|other| other < mine)
    }

    /// Draws the owners of a blob's units anew: somebody came or went.
    fn draw(&mut self, blob: Blob) {
        self.changes += 1;
        for unit in 0..self.next() {
            let of = self.pieces[unit as usize].of;
            if self.pieces[unit as usize].is_done || !matches!(of, Of::Blob(b, _) if b == blob) {
                continue;
            }
            let was_open = self.open.remove(&self.place(unit));
            self.pieces[unit as usize].is_mine = self.owns(of);
            if was_open {
                self.open.insert(self.place(unit));
            }
        }
    }

    fn stands(&mut self, node: NodeId, blob: Blob, is_whole: bool) {
        let Some(provider) = self.providers.get_mut(&node) else {
            return;
        };
        provider.barren = None;
        let changed = if is_whole {
            provider.whole.insert(blob);
            provider.parts.remove(&blob)
        } else {
            !provider.whole.contains(&blob) && provider.parts.insert(blob)
        };
        if changed {
            self.draw(blob);
        }
    }

    fn has(&mut self, node: NodeId, unit: Unit) {
        let Some(provider) = self.providers.get_mut(&node) else {
            return;
        };
        if self.pieces.len() <= unit as usize || !provider.has.set(unit) {
            return;
        }
        let was_open = self.open.remove(&self.place(unit));
        self.pieces[unit as usize].rarity += 1;
        if was_open {
            self.open.insert(self.place(unit));
        }
    }

    fn gone(&mut self, node: NodeId) {
        let Some(provider) = self.providers.get(&node) else {
            return;
        };
        let flights: Vec<Unit> = provider.flights.keys().copied().collect();
        for unit in flights {
            self.release(node, unit);
        }
        let Some(provider) = self.providers.remove(&node) else {
            return;
        };
        for unit in provider.has.iter(self.next()) {
            let was_open = self.open.remove(&self.place(unit));
            self.pieces[unit as usize].rarity -= 1;
            if was_open {
                self.open.insert(self.place(unit));
            }
        }
        for blob in provider.parts {
            self.draw(blob);
        }
    }

    /// A provider does not hold a unit any more. Answers since when it did.
    fn release(&mut self, node: NodeId, unit: Unit) -> Option<Flight> {
        let provider = self.providers.get_mut(&node)?;
        let flight = provider.flights.remove(&unit)?;
        let piece = &mut self.pieces[unit as usize];
        provider.bytes -= piece.bytes;
        piece.holders.retain(|holder| *holder != node);
        if piece.is_done {
            return Some(flight);
        }
        if piece.holders.is_empty() {
            self.held.remove(&unit);
            self.changes += 1;
            self.open.insert(self.place(unit));
        } else {
            self.held.insert(unit);
        }
        Some(flight)
    }

    fn arrived(&mut self, now: Duration, node: NodeId, unit: Unit, out: &mut Vec<Command>) {
        let flight = self.release(node, unit);
        let Some(piece) = self.pieces.get(unit as usize) else {
            return;
        };
        let bytes = piece.bytes;
        if let (Some(provider), Some(flight)) = (self.providers.get_mut(&node), flight) {
            provider.moved(now, flight.since, bytes);
        }
        if piece.is_done {
            return;
        }
        self.open.remove(&self.place(unit));
        self.held.remove(&unit);
        self.left -= 1;
        self.pieces[unit as usize].is_done = true;
        let others = std::mem::take(&mut self.pieces[unit as usize].holders);
        for other in others {
            if let Some(provider) = self.providers.get_mut(&other)
                && provider.flights.remove(&unit).is_some()
            {
                provider.bytes -= bytes;
                out.push(Command::Cancel { node: other, unit });
            }
        }
    }

    /// Asks a provider for as much as it has room for.
    fn fill(&mut self, now: Duration, node: NodeId, out: &mut Vec<Command>) {
        while let Some(unit) = self.pick(now, node) {
            let piece = &mut self.pieces[unit as usize];
            piece.holders.push(node);
            let (bytes, holders) = (piece.bytes, piece.holders.len());
            self.open.remove(&self.place(unit));
            if holders < HOLDERS_MAX {
                self.held.insert(unit);
            } else {
                self.held.remove(&unit);
            }
            let Some(provider) = self.providers.get_mut(&node) else {
                return;
            };
            provider.bytes += bytes;
            let patience = (provider.expects(provider.bytes) * 2).max(LATE_MIN);
            let flight = Flight {
                since: now,
                due: now + patience,
            };
            provider.flights.insert(unit, flight);
            out.push(Command::Ask { node, unit });
        }
    }

    fn pick(&mut self, now: Duration, node: NodeId) -> Option<Unit> {
        let provider = self.providers.get(&node)?;
        if !provider.has_room() {
            return None;
        }
        if provider.barren == Some(self.changes) {
            return self.second(now, node);
        }
        let mut spare = None;
        let mut found = None;
        for &(.., unit) in &self.open {
            let piece = &self.pieces[unit as usize];
            if !provider.may(unit, piece.of) {
                continue;
            }
            let others_do = match piece.of {
                Of::Blob(blob, _) => !piece.is_mine && provider.whole.contains(&blob),
                Of::Anyone => false,
            };
            if others_do {
                // Somebody else asks this provider for it, and then gives it to us.
                spare = spare.or(Some(unit));
                continue;
            }
            found = Some(unit);
            break;
        }
        let is_idle = provider.flights.is_empty();
        let provider = self.providers.get_mut(&node)?;
        if found.is_some() || spare.is_none() {
            provider.dry = None;
            provider.barren = found.is_none().then_some(self.changes);
            return found.or_else(|| self.second(now, node));
        }
        let dry = *provider.dry.get_or_insert(now);
        spare.filter(|_| is_idle && now.saturating_sub(dry) >= DRY_PAUSE)
    }

    /// What another provider is late with.
    fn second(&self, now: Duration, node: NodeId) -> Option<Unit> {
        let provider = self.providers.get(&node)?;
        self.held.iter().copied().find(|unit| {
            let piece = &self.pieces[*unit as usize];
            let is_late = |holder: &NodeId| {
                let holder = self.providers.get(holder);
                let flight = holder.and_then(|holder| holder.flights.get(unit));
                flight.is_none_or(|flight| flight.due <= now)
            };
            !piece.holders.contains(&node)
                && provider.may(*unit, piece.of)
                && piece.holders.iter().all(is_late)
        })
    }
}
