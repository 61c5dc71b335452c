//! Every corpus again, and damage to it by a fixed seed: the bounded run of the fuzzers that needs
//! no fuzzer. `scripts/fuzz` looks further.

use std::{collections::BTreeSet, fs, panic, path::PathBuf, thread, time::Instant};

use caravan_hostile::{Dice, Promise, Target, mutated, targets};
use caravan_protocol::ids::BlobId;

#[path = "kit/seeds.rs"]
mod seeds;

/// Damaged inputs for each decoder.
const ROUNDS: usize = 10_000;
/// After so many seconds the rest of them are left out: a slow machine is not a failure.
const SECONDS_MAX: u64 = 60;

fn fuzz() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "..", "fuzz"]
        .iter()
        .collect()
}

/// Writes the seeds into the corpora, if that is asked for.
fn bless() {
    if std::env::var_os("CARAVAN_BLESS").is_none() {
        return;
    }
    for (target, bytes) in seeds::all() {
        let dir = fuzz().join("corpus").join(target);
        fs::create_dir_all(&dir).expect("writable");
        let name = &BlobId::of(&bytes).to_string()[..16];
        fs::write(dir.join(name), bytes).expect("writable");
    }
}

fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let dir = fuzz().join("corpus").join(target.name);
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(&dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let bytes = fs::read(&path).expect("readable");
            (path.display().to_string(), bytes)
        })
        .collect();
    files.sort();
    files
}

/// Runs `work` on all targets, on as many threads as there are processors.
fn on_all(work: impl Fn(&Target) + Sync) {
    let targets = targets();
    let threads = thread::available_parallelism()
        .map_or(2, usize::from)
        .min(8);
    thread::scope(|scope| {
        for first in 0..threads {
            let (targets, work) = (&targets, &work);
            scope.spawn(move || targets.iter().skip(first).step_by(threads).for_each(work));
        }
    });
}

fn hex(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(4096)];
    data_encoding::HEXLOWER.encode(shown)
}

/// Gives bytes to a decoder; when it breaks its promise they are in the message.
fn check(target: &Target, origin: &str, bytes: &[u8]) -> bool {
    panic::catch_unwind(|| target.check(bytes)).unwrap_or_else(|_| {
        panic!(
            "{} broke its promise on {origin}: {}",
            target.name,
            hex(bytes)
        )
    })
}

#[test]
fn what_a_corpus_holds_is_refused_or_read_soundly() {
    bless();
    on_all(|target| {
        let files = corpus(target);
        let taken = files
            .iter()
            .filter(|(name, bytes)| check(target, name, bytes))
            .count();
        assert!(
            taken > 0,
            "{}: nothing in its corpus is taken, so it tests nothing",
            target.name
        );
        let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes <= 1 << 20, "{}: its corpus is not small", target.name);
    });
}

#[test]
fn damaged_and_cut_bytes_are_refused_or_read_soundly() {
    let began = Instant::now();
    on_all(|target| {
        let files = corpus(target);
        let mut dice = Dice::new(target.name.bytes().map(u64::from).sum());
        for round in 0..ROUNDS {
            if began.elapsed().as_secs() > SECONDS_MAX {
                println!("{}: only {round} rounds", target.name);
                return;
            }
            let (_, bytes) = &files[round % files.len()];
            let (_, other) = &files[dice.below(files.len())];
            let damaged = mutated(bytes, other, &mut dice);
            check(target, "damaged bytes", &damaged);
        }
    });
}

#[test]
fn a_valid_value_that_is_cut_anywhere_is_not_that_value() {
    on_all(|target| {
        for (name, bytes) in corpus(target) {
            let step = bytes.len().div_ceil(512).max(1);
            for end in (0..bytes.len()).step_by(step) {
                let taken = check(target, &name, &bytes[..end]);
                // What is framed by its own length cannot be cut; texts can.
                if target.promise == Promise::Exact && target.name != "mesh_topic" {
                    let whole = (target.run)(&bytes).is_some();
                    let is_open = matches!(target.name, "mesh_control" | "mesh_control_answer");
                    assert!(
                        !(taken && whole) || is_open,
                        "{} took {end} bytes of {name}",
                        target.name
                    );
                }
            }
        }
    });
}

#[test]
fn bytes_without_any_sense_are_refused_or_read_soundly() {
    on_all(|target| {
        let mut dice = Dice::new(7);
        for length in 0..200 {
            let bytes: Vec<u8> = (0..length)
                .map(|_| u8::try_from(dice.below(256)).expect("a byte"))
                .collect();
            check(target, "random bytes", &bytes);
        }
        for byte in [0, 1, 0x20, 0x28, 0x7f, 0xff] {
            for length in [1, 8, 64, 4096] {
                check(target, "equal bytes", &vec![byte; length]);
            }
        }
    });
}

/// The table of docs/WIRE.md.
fn table() -> String {
    let mut table = "| decoder | its bytes come from | bytes at most | what it takes |\n\
        |---|---|---|---|\n"
        .to_owned();
    for target in targets() {
        let promise = match target.promise {
            Promise::Exact => "is written again as the same bytes",
            Promise::Settled => "is written in one form, which is read as the same",
            Promise::Sound => "is good",
        };
        let (name, from, max) = (target.name, target.from, target.bytes_max);
        table.push_str(&format!("| `{name}` | {from} | {max} | {promise} |\n"));
    }
    table
}

#[test]
fn the_docs_list_every_decoder() {
    let path = fuzz().join("../docs/WIRE.md");
    let docs = fs::read_to_string(&path).expect("docs/WIRE.md");
    let (begin, end) = ("<!-- decoders -->\n", "<!-- end of decoders -->\n");
    let (before, rest) = docs.split_once(begin).expect("the mark of the table");
    let (shown, after) = rest.split_once(end).expect("the mark of its end");
    if shown != table() && std::env::var_os("CARAVAN_BLESS").is_some() {
        let docs = [before, begin, &table(), end, after].concat();
        fs::write(&path, docs).expect("writable");
        return;
    }
    assert_eq!(shown, table(), "CARAVAN_BLESS=1 writes it anew");
}

#[test]
fn every_decoder_has_a_fuzzing_program_and_a_corpus() {
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("fuzz/Cargo.toml");
    let mut names = BTreeSet::new();
    for target in targets() {
        assert!(names.insert(target.name), "{} is there twice", target.name);
        let line = format!("name = \"{}\"", target.name);
        assert!(manifest.contains(&line), "fuzz/Cargo.toml lacks {line}");
        assert!(!corpus(&target).is_empty(), "{} has no corpus", target.name);
    }
    let programs = manifest.matches("[[bin]]").count();
    assert_eq!(programs, names.len(), "fuzz/Cargo.toml has others");
    for entry in fs::read_dir(fuzz().join("corpus")).expect("corpora") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_str().expect("a name");
        assert!(names.contains(name), "{name} is the corpus of nobody");
    }
}
