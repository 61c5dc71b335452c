//! Claims by action. The store keeps what it is given; whoever gives a claim has opened it for this
//! mesh and found that it is about that action.

use std::sync::{MutexGuard, PoisonError};

use caravan_protocol::{
    claim::Claim,
    codec,
    identity::Signed,
    ids::{ActionKey, BlobId, NodeId},
    limits::CLAIM_BYTES_MAX,
};
use redb::{ReadableTable, WriteTransaction};

use crate::{
    error::Result,
    index::{CLAIMS, Index},
    journal::Journal,
    limits::{CLAIMS_PER_ACTION_MAX, CLAIMS_PER_SIGNER_MAX},
    store::Store,
};

/// A signed claim with its signer, signature and place in line.
const ROW_BYTES_MAX: usize = CLAIM_BYTES_MAX + 1024;

/// Counts up with each claim of an action, so that the oldest is known.
type Row = (u64, Signed<Claim>);

impl Store {
    /// Keeps a claim about `action`; the same claim twice is kept once. Beyond
    /// [`CLAIMS_PER_SIGNER_MAX`] of one signer or [`CLAIMS_PER_ACTION_MAX`] in all, the oldest
    /// such claim goes.
    pub fn put_claim(&self, action: ActionKey, claim: &Signed<Claim>) -> Result<()> {
        let bytes = codec::encode::<ROW_BYTES_MAX>(claim)?;
        let mut journal = self.journal();
        if journal.get(action).is_some_and(|known| known == bytes) {
            return Ok(());
        }
        // By all its bytes: a copy with another signature must not keep the true one out.
        let id = BlobId::of(&bytes);
        let known = rows(self, action)?;
        if known.iter().any(|row| row.id == id) {
            return Ok(());
        }
        let is_first = known.is_empty() && journal.get(action).is_none();
        if is_first && !journal.has_room(bytes.len()) {
            self.take_in(&mut journal)?;
        }
        if is_first && journal.append(action, &bytes) {
            return Ok(());
        }
        self.take_in(&mut journal)?;
        self.inner.index.write(|txn| insert(txn, action, claim))
    }

    /// The claims about `action`, oldest first.
    pub fn claims(&self, action: ActionKey) -> Result<Vec<Signed<Claim>>> {
        // What waits is about an action that has no other.
        if let Some(bytes) = self.journal().get(action) {
            return Ok(vec![codec::decode::<ROW_BYTES_MAX, _>(bytes)?]);
        }
        Ok(rows(self, action)?
            .into_iter()
            .map(|row| row.claim)
            .collect())
    }

    /// Actions about which something is claimed, at most so many, in no order of time.
    pub fn claimed(&self, max: usize) -> Result<Vec<ActionKey>> {
        self.settle_claims()?;
        self.inner.index.read(|txn| {
            let table = txn.open_table(CLAIMS)?;
            let mut actions: Vec<ActionKey> = Vec::new();
            for row in table.iter()? {
                let (key, _) = row?;
                let action = key.value().get(..32).and_then(|key| key.try_into().ok());
                let Some(action) = action.map(ActionKey::from_bytes) else {
                    continue;
                };
                if actions.last() != Some(&action) {
                    actions.push(action);
                }
                if actions.len() >= max {
                    break;
                }
            }
            Ok(actions)
        })
    }

    /// Has the index take in what the journal has.
    pub(crate) fn settle_claims(&self) -> Result<()> {
        self.take_in(&mut self.journal())
    }

    /// Claims that the index does not have yet.
    pub(crate) fn pending_claims(&self) -> u64 {
        self.journal().pending().len() as u64
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        let journal = self.inner.journal.lock();
        journal.unwrap_or_else(PoisonError::into_inner)
    }

    fn take_in(&self, journal: &mut Journal) -> Result<()> {
        if journal.pending().is_empty() {
            return Ok(());
        }
        let taken = self.inner.index.write(|txn| {
            for (action, claim) in journal.pending() {
                let claim = codec::decode::<ROW_BYTES_MAX, _>(claim)?;
                insert(txn, *action, &claim)?;
            }
            Index::set_journal(txn, &journal.next())
        });
        match taken {
            Ok(()) => journal.taken_in(),
            // The commit may have come as far as the disk all the same.
            Err(_) => journal.give_up(),
        }
        taken
    }

    /// Hands every claim on, in no order of time.
    pub fn for_each_claim(&self, each: &mut dyn FnMut(&Signed<Claim>)) -> Result<()> {
        self.settle_claims()?;
        self.inner.index.read(|txn| {
            let table = txn.open_table(CLAIMS)?;
            for row in table.iter()? {
                let (_, value) = row?;
                let (_, claim) = codec::decode::<ROW_BYTES_MAX, Row>(value.value())?;
                each(&claim);
            }
            Ok(())
        })
    }
}

/// Enters a claim into the index, unless it is there.
fn insert(txn: &WriteTransaction, action: ActionKey, claim: &Signed<Claim>) -> Result<()> {
    let id = BlobId::of(&codec::encode::<ROW_BYTES_MAX>(claim)?);
    let mut table = txn.open_table(CLAIMS)?;
    let mut rows = rows_of(&table, action)?;
    if rows.iter().any(|row| row.id == id) {
        return Ok(());
    }
    let next = rows.iter().map(|row| row.number + 1).max().unwrap_or(0);
    let mut surplus: Vec<BlobId> = Vec::new();
    let same: Vec<BlobId> = of_signer(&rows, claim.signer());
    if same.len() >= CLAIMS_PER_SIGNER_MAX {
        surplus.extend(&same[..=same.len() - CLAIMS_PER_SIGNER_MAX]);
    }
    rows.retain(|row| !surplus.contains(&row.id));
    if rows.len() >= CLAIMS_PER_ACTION_MAX {
        let over = rows.len() + 1 - CLAIMS_PER_ACTION_MAX;
        surplus.extend(rows[..over].iter().map(|row| row.id));
    }
    for id in surplus {
        table.remove(key(action, id).as_slice())?;
    }
    let row = codec::encode::<ROW_BYTES_MAX>(&(next, claim))?;
    table.insert(key(action, id).as_slice(), row.as_slice())?;
    Ok(())
}

struct Kept {
    id: BlobId,
    number: u64,
    claim: Signed<Claim>,
}

fn rows(store: &Store, action: ActionKey) -> Result<Vec<Kept>> {
    store
        .inner
        .index
        .read(|txn| rows_of(&txn.open_table(CLAIMS)?, action))
}

/// The claims of an action, oldest first.
fn rows_of(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    action: ActionKey,
) -> Result<Vec<Kept>> {
    let first = key(action, BlobId::from_bytes([0; 32]));
    let last = key(action, BlobId::from_bytes([255; 32]));
    let mut rows = Vec::new();
    for row in table.range::<&[u8]>(first.as_slice()..=last.as_slice())? {
        let (key, value) = row?;
        let mut id = [0; 32];
        id.copy_from_slice(&key.value()[32..]);
        let (number, claim) = codec::decode::<ROW_BYTES_MAX, Row>(value.value())?;
        rows.push(Kept {
            id: BlobId::from_bytes(id),
            number,
            claim,
        });
    }
    rows.sort_by_key(|row| row.number);
    Ok(rows)
}

fn of_signer(rows: &[Kept], signer: NodeId) -> Vec<BlobId> {
    rows.iter()
        .filter(|row| row.claim.signer() == signer)
        .map(|row| row.id)
        .collect()
}

fn key(action: ActionKey, id: BlobId) -> [u8; 64] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(action.as_bytes());
    key[32..].copy_from_slice(id.as_bytes());
    key
}
