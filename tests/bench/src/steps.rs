//! What a node asks of its store for each step: keeping a small layer, and finding a step that was
//! done before.

use std::{
    fs::{self, File},
    hint::black_box,
    io::Write,
    path::Path,
    time::Instant,
};

use caravan_protocol::{
    claim::{Claim, Environment, Verdict},
    identity::{Key, Signed},
    ids::{ActionKey, BlobId, MeshId, TreeId},
    limits,
    time::Stamp,
};
use caravan_store::Store;

use crate::{Failure, median, sample, tree::Numbers};

/// Files of a small layer and their directories.
const FILES: u64 = 64;
const DIRS: u64 = 8;
/// Bytes of each.
const BYTES: usize = 4096;
/// Steps that the store has before one is looked for.
const STEPS: u64 = 2000;
const OUTPUT: &str = "result";

/// Layers of 64 new files, adopted one after the other, against the same files written and synced
/// one by one as a program without a store would. Medians of `rounds`.
pub(crate) fn layer_commit(dir: &Path, rounds: u64) -> Result<(), Failure> {
    let store = Store::open(&dir.join("store"))?;
    let plain = dir.join("plain");
    fs::create_dir_all(&plain)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let workspace = store.workspace()?;
        write_layer(&workspace.upper(), round, false)?;
        let began = Instant::now();
        workspace.ingest()?;
        ours.push(began.elapsed());
        let place = plain.join(round.to_string());
        fs::create_dir(&place)?;
        let began = Instant::now();
        write_layer(&place, round, true)?;
        theirs.push(began.elapsed());
    }
    sample("layer_commit", "ours", median(&mut ours));
    sample("layer_commit", "theirs", median(&mut theirs));
    Ok(())
}

fn write_layer(dir: &Path, round: u64, sync: bool) -> Result<(), Failure> {
    let mut numbers = Numbers(round << 32);
    let mut bytes = vec![0; BYTES];
    for number in 0..FILES {
        let place = dir.join(format!("d{}", number % DIRS));
        fs::create_dir_all(&place)?;
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&numbers.next().to_le_bytes());
        }
        let mut file = File::create(place.join(format!("f{number}")))?;
        file.write_all(&bytes)?;
        if sync {
            file.sync_all()?;
        }
    }
    if sync {
        for number in 0..DIRS {
            File::open(dir.join(format!("d{number}")))?.sync_all()?;
        }
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Finding one step among many by its key: its claims, checked; whether its layer is whole; the
/// bytes of its named output. Against reading one small file, which is what a stamp costs.
pub(crate) fn cached_step(dir: &Path, rounds: u64) -> Result<(), Failure> {
    let store = Store::open(&dir.join("store"))?;
    let key = Key::from_secret(&[7; 32]);
    let mesh = MeshId::from_bytes([1; 32]);
    let workspace = store.workspace()?;
    write_layer(&workspace.upper(), u64::MAX >> 33, false)?;
    let layer = workspace.ingest()?.tree;
    let steps = STEPS.min(rounds.max(1));
    for number in 0..steps {
        let action = action(number);
        let output = store.put_blob(&number.to_le_bytes())?;
        let claim = claim(mesh, action, layer, output);
        store.put_claim(action, &Signed::sign(&key, &claim)?)?;
    }
    let stamp = dir.join("stamp");
    fs::write(&stamp, [1; 512])?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut numbers = Numbers(3);
    for _ in 0..rounds {
        let action = action(numbers.next() % steps);
        let began = Instant::now();
        black_box(find(&store, mesh, action)?);
        ours.push(began.elapsed());
        let began = Instant::now();
        black_box(fs::read(&stamp)?);
        theirs.push(began.elapsed());
    }
    sample("cached_step", "ours", median(&mut ours));
    sample("cached_step", "theirs", median(&mut theirs));
    Ok(())
}

/// What a node does for a wish that may be answered from claims.
fn find(store: &Store, mesh: MeshId, action: ActionKey) -> Result<(TreeId, Vec<u8>), Failure> {
    for signed in store.claims(action)? {
        let claim = signed.open(mesh)?;
        let Some(output) = claim.output else { continue };
        if claim.action != action || !store.missing(output)?.is_empty() {
            continue;
        }
        let blob = *claim
            .outputs
            .get(OUTPUT)
            .ok_or("the claim names no output")?;
        let bytes = store.read_blob(blob, limits::OUTPUT_BYTES_MAX)?;
        black_box(store.record("words", &signed.id().to_string())?);
        return Ok((output, bytes));
    }
    Err("a step that was done is not found".into())
}

fn action(number: u64) -> ActionKey {
    ActionKey::from_bytes(*BlobId::of(&number.to_le_bytes()).as_bytes())
}

fn claim(mesh: MeshId, action: ActionKey, output: TreeId, result: BlobId) -> Claim {
    Claim {
        mesh,
        action,
        verdict: Verdict::Pass,
        output: Some(output),
        outputs: [(OUTPUT.to_owned(), result)].into(),
        log: Some(result),
        started: Stamp::from_ms(1),
        wall_ms: 1,
        cpu_ms: 1,
        environment: Environment {
            version: "1.2.3".to_owned(),
            sandbox: "1".to_owned(),
            kernel: "6.1.0-18-amd64".to_owned(),
        },
    }
}
