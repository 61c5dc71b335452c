//! What the store says, as text for people.

use caravan_node::keeping::{
    Collected, Froze, Kept, Listed, Pin, Pinned, Row, Thawed, Used, Victim, Went,
};
use caravan_protocol::time::Stamp;

use crate::show::{bytes, date, duration, plain, table};

/// Victims that are listed one by one.
const VICTIMS_SHOWN: usize = 40;

pub(super) fn stat(kept: &Kept) {
    say!(
        "store    {} blobs in {} files, {}, {} mountable layers, {} claims",
        kept.blobs,
        kept.objects,
        bytes(kept.bytes),
        kept.layers,
        kept.claims
    );
    say!(
        "cold     {} packs, {}, with all of {} trees",
        kept.packs,
        bytes(kept.held.packs),
        kept.frozen
    );
    say!(
        "uses     {}: objects {} (logs {}), packs {}, images {}, {} caches {}; besides the index {}",
        bytes(kept.held.all()),
        bytes(kept.held.objects),
        bytes(kept.held.logs),
        bytes(kept.held.packs),
        bytes(kept.held.images),
        kept.caches,
        bytes(kept.held.caches),
        bytes(kept.held.index)
    );
    say!(
        "kept     {} pins; {} things are pinned or in use",
        kept.pins,
        kept.guarded
    );
    say!(
        "disk     {} of {} free; collected below {}",
        bytes(kept.disk.free),
        bytes(kept.disk.total),
        bytes(kept.reserve)
    );
}

fn used(last_s: u64) -> String {
    match last_s {
        0 => "-".to_owned(),
        last_s => date(Stamp::from_ms(last_s.saturating_mul(1000))),
    }
}

const fn kind(row: &Row) -> &'static str {
    match (row.kind, row.laid_out, row.frozen) {
        (Used::Tree, true, true) => "layer, cold",
        (Used::Tree, true, false) => "layer",
        (Used::Tree, false, true) => "cold",
        (Used::Tree, false, false) => "tree",
        (Used::Log, ..) => "log",
        (Used::Blob, ..) => "blob",
    }
}

const fn went(victim: &Victim) -> &'static str {
    match (victim.went, victim.kind) {
        (Went::Form, _) => "layer, stays cold",
        (Went::Pack, _) => "pack",
        (Went::Cache, _) => "cache",
        (Went::Forgotten, Used::Tree) => "tree",
        (Went::Forgotten, Used::Log) => "log",
        (Went::Forgotten, Used::Blob) => "blob",
    }
}

pub(super) fn rows(rows: &[Row]) {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let pinned = match (row.pins.as_slice(), row.leased) {
                ([], false) => String::new(),
                ([], true) => "in use".to_owned(),
                (pins, _) => pins.join(" "),
            };
            vec![
                row.blob.fmt_short(),
                kind(row).to_owned(),
                bytes(row.bytes),
                row.files.to_string(),
                used(row.last_s),
                duration(row.cost_ms),
                plain(&pinned),
                plain(&row.words),
            ]
        })
        .collect();
    let head = [
        "ID",
        "KIND",
        "SIZE",
        "FILES",
        "LAST USED (UTC)",
        "COST",
        "PINNED",
        "WHAT",
    ];
    table(&head, &cells);
}

pub(super) fn entries(listed: &[Listed], all: u64) {
    let cells: Vec<Vec<String>> = listed
        .iter()
        .map(|entry| {
            let target = entry
                .target
                .as_deref()
                .map(|target| format!(" -> {target}"));
            let name = format!("{}{}", entry.path, target.unwrap_or_default());
            vec![
                entry.kind.clone(),
                format!("{:04o}", entry.mode),
                format!("{}:{}", entry.uid, entry.gid),
                entry.size.to_string(),
                plain(&name),
            ]
        })
        .collect();
    table(&["KIND", "MODE", "OWNER", "BYTES", "PATH"], &cells);
    if all > listed.len() as u64 {
        say!("and {} more", all - listed.len() as u64);
    }
}

pub(super) fn pins(pins: &[Pin]) {
    let cells: Vec<Vec<String>> = pins
        .iter()
        .map(|pin| {
            let kind = match pin.what {
                Pinned::Tree(_) => "tree",
                Pinned::Blob(_) => "blob",
            };
            vec![
                plain(&pin.name),
                kind.to_owned(),
                pin.what.blob().fmt_short(),
                used(pin.since_s),
                plain(&pin.why),
            ]
        })
        .collect();
    table(&["NAME", "KIND", "ID", "SINCE (UTC)", "WHY"], &cells);
}

pub(super) fn collected(done: &Collected, dry_run: bool) {
    let cells: Vec<Vec<String>> = done
        .victims
        .iter()
        .take(VICTIMS_SHOWN)
        .map(|victim| {
            vec![
                victim.blob.fmt_short(),
                went(victim).to_owned(),
                bytes(victim.bytes),
                used(victim.last_s),
                duration(victim.cost_ms),
                plain(&victim.words),
            ]
        })
        .collect();
    if !cells.is_empty() {
        table(
            &["ID", "KIND", "FREED", "LAST USED (UTC)", "COST", "WHAT"],
            &cells,
        );
    }
    let more = done.victims.len().saturating_sub(cells.len());
    if more > 0 {
        say!("and {more} more");
    }
    if done.frozen > 0 {
        say!(
            "froze {} trees first, into {} of packs",
            done.frozen,
            bytes(done.frozen_bytes)
        );
    }
    if done.cache_bytes + done.image_bytes > 0 {
        say!(
            "{} of caches and {} of images went, which are made again when they are wanted",
            bytes(done.cache_bytes),
            bytes(done.image_bytes)
        );
    }
    if done.forms + done.packs > 0 {
        say!(
            "{} trees stay in packs alone; {} packs dropped, {}",
            done.forms,
            done.packs,
            bytes(done.pack_bytes)
        );
    }
    say!(
        "{} {} in {} files, {} of which nothing named; {} trees and blobs forgotten, {} kept ({} pinned or in use)",
        if dry_run { "would free" } else { "freed" },
        bytes(done.freed_bytes),
        done.objects,
        bytes(done.garbage_bytes),
        done.evicted,
        done.kept,
        done.guarded
    );
    if done.stopped {
        say!("it ended early: a change of the store took too long, or it was stopped; try again");
    } else if done.short_bytes > 0 {
        say!(
            "{} more were wanted: what is left is pinned or in use",
            bytes(done.short_bytes)
        );
    }
}

pub(super) fn froze(froze: &Froze, dry_run: bool) {
    let cells: Vec<Vec<String>> = froze
        .trees
        .iter()
        .map(|tree| {
            vec![
                tree.tree.fmt_short(),
                bytes(tree.bytes),
                if tree.mountable { "yes" } else { "no" }.to_owned(),
                plain(&tree.words),
            ]
        })
        .collect();
    if !cells.is_empty() {
        table(&["ID", "SIZE", "MOUNTABLE", "WHAT"], &cells);
    }
    if dry_run {
        say!(
            "would freeze {} trees: {} of blobs that no pack has",
            froze.trees.len(),
            bytes(froze.blob_bytes)
        );
        return;
    }
    say!(
        "froze {} trees: {} of blobs became {} packs of {}; {} freed",
        froze.trees.len(),
        bytes(froze.blob_bytes),
        froze.packs,
        bytes(froze.pack_bytes),
        bytes(froze.freed_bytes)
    );
    if froze.stopped {
        say!("it was stopped before its end; what is listed is frozen");
    }
}

pub(super) fn thawed(thawed: &[Thawed]) {
    let cells: Vec<Vec<String>> = thawed
        .iter()
        .map(|tree| vec![tree.tree.fmt_short(), tree.blobs.to_string()])
        .collect();
    table(&["ID", "FILES THAWED"], &cells);
}
