//! One member as a row of `/nodes`: who it is, what it has, and why it takes no work.

use caravan_protocol::{
    identity::Tier,
    time::Stamp,
    view::{ModeView, NodeView},
};

use crate::{
    page::{View, Who},
    text::{self, Text, When},
};

const PLATFORMS_MAX: usize = 16;
const ABILITIES_MAX: usize = 32;
const LABELS_MAX: usize = 16;

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) who: Who,
    pub(crate) tier: Tier,
    /// The colour and the picture of its mode, which are those of a step's state.
    pub(crate) state: &'static str,
    pub(crate) mode: &'static str,
    pub(crate) why: Option<Text>,
    pub(crate) platforms: Vec<Offer>,
    pub(crate) seats: Vec<Text>,
    pub(crate) machine: Option<Machine>,
    pub(crate) abilities: Vec<Text>,
    pub(crate) labels: Vec<Text>,
    pub(crate) version: Text,
    pub(crate) since: Option<When>,
    pub(crate) heard: Option<When>,
    pub(crate) expires: Option<String>,
    pub(crate) running: u32,
    pub(crate) slots: u32,
    /// Width of the used part of a bar that is 100 wide.
    pub(crate) used: u32,
}

/// A platform as a node has it.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) platform: String,
    pub(crate) variant: Text,
    pub(crate) emulated: bool,
}

/// What a node has.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) cores: u32,
    pub(crate) memory: String,
    pub(crate) disk: String,
    pub(crate) free: String,
}

/// Whether a node takes work of others.
pub(super) fn takes_work(node: &NodeView) -> bool {
    node.mode == ModeView::Open && node.why.is_none()
}

impl Member {
    pub(super) fn new(view: &View, node: &NodeView) -> Self {
        let seats = view.snapshot.seats.iter();
        let seats = seats.filter(|seat| seat.holder == node.node);
        let labels = node.labels.iter().take(LABELS_MAX);
        let when = |stamp: Stamp| When::new(stamp, view.now);
        Self {
            id: node.node.to_string(),
            who: view.who(node.node),
            tier: node.tier,
            state: state(node),
            mode: node.mode.word(),
            why: node.why.as_deref().map(Text::line),
            platforms: offers(node),
            seats: seats
                .take(PLATFORMS_MAX)
                .map(|seat| Text::new(&seat.role))
                .collect(),
            machine: (node.cores > 0).then(|| Machine {
                cores: node.cores,
                memory: text::bytes(node.memory_bytes),
                disk: text::bytes(node.disk_bytes),
                free: text::bytes(node.disk_free_bytes),
            }),
            abilities: node
                .abilities
                .iter()
                .take(ABILITIES_MAX)
                .map(|name| Text::line(name))
                .collect(),
            labels: labels.map(|word| Text::line(word)).collect(),
            version: Text::line(&node.version),
            since: node.since.map(when),
            heard: node.heard.filter(|_| !node.here).map(when),
            expires: node.expires.map(|stamp| expiry(stamp, view.now)),
            running: node.running,
            slots: node.slots,
            used: used(node.running, node.slots),
        }
    }

    /// Whether there is more to tell than fits into the row.
    pub(crate) fn has_more(&self) -> bool {
        !self.abilities.is_empty() || !self.labels.is_empty() || self.expires.is_some()
    }
}

fn offers(node: &NodeView) -> Vec<Offer> {
    let offer = |offer: &caravan_protocol::view::OfferView| Offer {
        platform: offer.platform.to_string(),
        variant: Text::line(&offer.variant),
        emulated: offer.emulated,
    };
    node.offers.iter().take(PLATFORMS_MAX).map(offer).collect()
}

const fn state(node: &NodeView) -> &'static str {
    match node.mode {
        ModeView::Open if node.why.is_some() => "ready",
        ModeView::Open => "ok",
        ModeView::Paused | ModeView::Cordoned | ModeView::Draining | ModeView::Leaving => "ready",
        ModeView::Left | ModeView::Away => "blocked",
        ModeView::Dead | ModeView::Revoked => "failed",
    }
}

/// When a certificate ends, from now.
fn expiry(expires: Stamp, now: Stamp) -> String {
    match expires.as_ms().checked_sub(now.as_ms()) {
        Some(left) if left > 0 => format!("for another {}", text::duration(left)),
        _ => "no more".to_owned(),
    }
}

fn used(running: u32, slots: u32) -> u32 {
    let part = u64::from(running) * 100 / u64::from(slots.max(1));
    u32::try_from(part).unwrap_or(100).min(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_has_ended_is_said_to_have() {
        let now = Stamp::from_ms(1_000_000);
        assert_eq!(
            expiry(Stamp::from_ms(4_600_000), now),
            "for another 1 h 00 min"
        );
        assert_eq!(expiry(now, now), "no more");
        assert_eq!(expiry(Stamp::from_ms(0), now), "no more");
    }

    #[test]
    fn a_bar_is_never_wider_than_it_is() {
        assert_eq!(
            (used(0, 0), used(1, 4), used(9, 4), used(u32::MAX, 1)),
            (0, 25, 100, 100)
        );
    }
}
