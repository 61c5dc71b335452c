//! Members of the mesh, a line each.

use caravan_protocol::{
    identity::Tier,
    time::Stamp,
    view::{ModeView, NodeView, OfferView},
};

use super::{
    bytes,
    grid::{Cell, Column, Paint, Screen},
};

const COLUMNS: [Column; 12] = [
    ("NODE", 0),
    ("STATE", 0),
    ("OPERATOR", 0),
    ("TIER", 3),
    ("PLATFORMS", 2),
    ("CORES", 4),
    ("MEMORY", 5),
    ("DISK FREE", 6),
    ("RUNS", 7),
    ("SINCE", 8),
    ("VERSION", 9),
    ("NO WORK BECAUSE", 1),
];

/// The table of members: this node first, then those that are here, by operator.
pub(crate) fn table(nodes: &[NodeView], now: Stamp) -> String {
    let mut nodes: Vec<&NodeView> = nodes.iter().collect();
    nodes.sort_by_key(|node| {
        let gone = matches!(
            node.mode,
            ModeView::Left | ModeView::Dead | ModeView::Away | ModeView::Revoked
        );
        (!node.here, gone, node.operator.as_str(), node.node)
    });
    let rows: Vec<Vec<Cell>> = nodes.into_iter().map(|node| row(node, now)).collect();
    Screen::own().render(&COLUMNS, &rows)
}

fn row(node: &NodeView, now: Stamp) -> Vec<Cell> {
    let figure = |value: u64, text: String| if value == 0 { String::new() } else { text };
    let runs = match (node.running, node.slots) {
        (0, 0) => String::new(),
        (running, 0) => running.to_string(),
        (running, slots) => format!("{running}/{slots}"),
    };
    let since = node.since.map(|since| ago(since, now)).unwrap_or_default();
    vec![
        node.node.fmt_short().into(),
        state(node),
        node.operator.as_str().into(),
        tier(node.tier),
        platforms(&node.offers).into(),
        figure(node.cores.into(), node.cores.to_string()).into(),
        figure(node.memory_bytes, bytes(node.memory_bytes)).into(),
        figure(node.disk_bytes, bytes(node.disk_free_bytes)).into(),
        runs.into(),
        Cell::painted(since, Paint::Dim),
        Cell::painted(&node.version, Paint::Dim),
        Cell::painted(node.why.as_deref().unwrap_or_default(), Paint::Warn),
    ]
}

/// `here` for this node while nothing is wrong with it.
fn state(node: &NodeView) -> Cell {
    let paint = match node.mode {
        ModeView::Open => Paint::Good,
        ModeView::Paused | ModeView::Cordoned | ModeView::Draining => Paint::Warn,
        ModeView::Leaving | ModeView::Left | ModeView::Away => Paint::Dim,
        ModeView::Dead | ModeView::Revoked => Paint::Bad,
    };
    let word = node.mode.word();
    match (node.here, node.mode) {
        (true, ModeView::Open) => Cell::painted("here", paint),
        (true, _) => Cell::painted(format!("here, {word}"), paint),
        (false, ModeView::Open) => Cell::painted("up", paint),
        (false, _) => Cell::painted(word, paint),
    }
}

fn tier(tier: Tier) -> Cell {
    match tier {
        Tier::Donor => "donor".into(),
        other => Cell::painted(other.to_string(), Paint::Good),
    }
}

/// Emulated ones in brackets, last.
fn platforms(offers: &[OfferView]) -> String {
    let mut offers: Vec<&OfferView> = offers.iter().collect();
    offers.sort_by_key(|offer| (offer.emulated, *offer));
    let words = offers.into_iter().map(|offer| {
        let variant = if offer.variant.is_empty() {
            String::new()
        } else {
            format!("/{}", offer.variant)
        };
        let name = format!("{}{variant}", offer.platform);
        if offer.emulated {
            format!("({name})")
        } else {
            name
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// `20 s`, `3 min`, `5 h`, `12 d`.
pub(super) fn ago(then: Stamp, now: Stamp) -> String {
    let seconds = now.as_ms().saturating_sub(then.as_ms()) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_largest_unit_that_says_something() {
        let now = Stamp::from_ms(1_000_000_000);
        let told = [5, 65, 7300, 90_000, 500_000]
            .map(|seconds: u64| ago(Stamp::from_ms(now.as_ms() - seconds * 1000), now));
        assert_eq!(told, ["5 s", "1 min", "2 h", "25 h", "5 d"]);
        let ahead = ago(Stamp::from_ms(now.as_ms() + 5000), now);
        assert_eq!(ahead, "0 s", "a clock that is ahead made a large number");
    }

    #[test]
    fn emulated_platforms_come_last_in_brackets() {
        let offer = |name: &str, variant: &str, emulated| OfferView {
            platform: name.parse().expect("a platform"),
            variant: variant.to_owned(),
            emulated,
        };
        let told = platforms(&[
            offer("linux-arm64", "", true),
            offer("linux-x86_64", "v3", false),
        ]);
        assert_eq!(told, "linux-x86_64/v3 (linux-arm64)");
    }
}
