//! Reading every pack again. One that is not what its name says is damaged; healed, it is forgotten,
//! and of those that lean on it what they cannot give any more.

use std::{fs::File, io::ErrorKind};

use caravan_pack::{Pack, PackId};

use super::{
    Packs,
    files::{self, PACKS, orphans, unlink},
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
        if let Err(reason) = compare(inner, *id) {
            findings.push(Finding {
                kind: FindingKind::DamagedPack,
                path: format!("{PACKS}/{id}"),
                reason,
            });
            if heal {
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
            unlink(inner, &name)?;
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
        tracing::debug!(pack = %id, blob = %flaw.blob, error = %flaw.error, "lost");
        table::lose(inner, flaw.blob, id)?;
    }
    Ok(())
}

/// The hash of the whole says it all: what the pack holds was compared when it was placed.
fn compare(inner: &Inner, id: PackId) -> Result<(), String> {
    let file = File::open(files::path(inner, id)).map_err(|error| match error.kind() {
        ErrorKind::NotFound => "the file is gone".to_owned(),
        _ => error.to_string(),
    })?;
    let found = PackId::of(&file).map_err(|error| error.to_string())?;
    if found != id {
        return Err(format!("its bytes hash to {found}"));
    }
    // One that cannot be opened gives nothing, whatever it is called.
    Pack::open(file)
        .map(drop)
        .map_err(|error| error.to_string())
}
