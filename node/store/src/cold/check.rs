//! Reading every pack again. One that is not what its name says is damaged; healed, it is forgotten,
//! and of those that lean on it what they cannot give any more.

use std::{fs::File, io::ErrorKind};

use caravan_pack::{Pack, PackError, PackId};

use super::{
    Packs,
    files::{self, PACKS, orphans, remove_orphan},
    table,
};
use crate::{
    check::{Finding, FindingKind},
    error::Result,
    store::Inner,
};

/// Reads every pack and compares it with its name. Says what is wrong and how many were looked at;
/// with `heal`, damaged packs are forgotten and orphans removed. `progress` hears of each pack.
pub(crate) fn check(
    inner: &Inner,
    heal: bool,
    progress: &mut dyn FnMut(),
) -> Result<(u64, Vec<Finding>)> {
    let mut findings = Vec::new();
    let packs = table::all(inner)?;
    let mut forgotten = Vec::new();
    for (id, _) in &packs {
        if let Err((kind, reason)) = compare(inner, *id) {
            findings.push(Finding {
                kind,
                path: format!("{PACKS}/{id}"),
                reason,
            });
            if heal && kind == FindingKind::DamagedPack {
                files::forget(inner, *id)?;
                forgotten.push(id.blob());
            }
        }
        progress();
    }
    // Whatever leaned on one that is gone lacks parts of its files.
    for (id, facts) in &packs {
        let leaned = facts.leans_on.iter().any(|pack| forgotten.contains(pack));
        if leaned && !forgotten.contains(&id.blob()) {
            lose_parts(inner, *id)?;
        }
    }
    for name in orphans(inner)? {
        findings.push(Finding {
            kind: FindingKind::Orphan,
            path: format!("{PACKS}/{name}"),
            reason: "nothing names it".to_owned(),
        });
        if heal {
            remove_orphan(inner, &name)?;
        }
    }
    Ok((packs.len() as u64, findings))
}

/// Forgets of a pack what it cannot give any more.
fn lose_parts(inner: &Inner, id: PackId) -> Result<()> {
    let Ok(pack) = files::open(inner, id) else {
        return Ok(());
    };
    for flaw in pack.verify(&Packs(inner)) {
        // Trouble of the moment says nothing about what it has.
        if matches!(flaw.error, PackError::Io { .. }) {
            tracing::warn!(pack = %id, blob = %flaw.blob, error = %flaw.error, "could not be read");
            continue;
        }
        tracing::debug!(pack = %id, blob = %flaw.blob, error = %flaw.error, "lost");
        table::lose(inner, flaw.blob, id)?;
    }
    Ok(())
}

/// The hash of the whole says it all: what the pack holds was compared when it was placed.
/// What could not be read is no damage: the next check may be able to.
fn compare(inner: &Inner, id: PackId) -> Result<(), (FindingKind, String)> {
    let damaged = |reason| (FindingKind::DamagedPack, reason);
    let unread = |error: &std::io::Error| (FindingKind::UnreadPack, error.to_string());
    let flaw = |error: PackError| match &error {
        // A file that ends too early is no trouble of the disk.
        PackError::Io { source, .. } if source.kind() != ErrorKind::UnexpectedEof => unread(source),
        _ => damaged(error.to_string()),
    };
    let file = File::open(files::path(inner, id)).map_err(|error| match error.kind() {
        ErrorKind::NotFound => damaged("the file is gone".to_owned()),
        _ => unread(&error),
    })?;
    let found = PackId::of(&file).map_err(flaw)?;
    if found != id {
        return Err(damaged(format!("its bytes hash to {found}")));
    }
    // One that cannot be opened gives nothing, whatever it is called.
    Pack::open(file).map(drop).map_err(flaw)
}
