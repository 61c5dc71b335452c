//! Every file of the snapshot is read, printed and read again.

use std::time::Instant;

use caravan_opam::{File, OpamFile};

use crate::data;

const THREADS: usize = 4;

/// Runs a check over every opam file, on several threads; gives what it complains of.
fn complaints(check: impl Fn(&str, &[u8]) -> Result<(), String> + Sync) -> Option<Vec<String>> {
    let files = data::whole()?;
    let opam: Vec<_> = files
        .iter()
        .filter(|(path, _)| path.ends_with("/opam"))
        .collect();
    assert!(opam.len() > 18_000, "{} opam files", opam.len());
    let chunks = opam.chunks(opam.len().div_ceil(THREADS));
    let complain = |chunk: &[(&str, &std::sync::Arc<[u8]>)]| -> Vec<String> {
        chunk
            .iter()
            .filter_map(|(path, bytes)| check(path, bytes).err())
            .collect()
    };
    let found = std::thread::scope(|scope| {
        let threads: Vec<_> = chunks
            .map(|chunk| scope.spawn(|| complain(chunk)))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    Some(found)
}

#[test]
fn every_file_prints_to_a_file_that_is_equal() {
    let start = Instant::now();
    let found = complaints(|path, bytes| {
        let file = File::parse(bytes, path).map_err(|error| error.to_string())?;
        let again = File::parse(file.to_string().as_bytes(), path);
        if again.as_ref() == Ok(&file) {
            Ok(())
        } else {
            Err(format!("{path}: {again:?}"))
        }
    });
    eprintln!("read, printed and read again in {:?}", start.elapsed());
    assert_eq!(found.unwrap_or_default(), Vec::<String>::new());
}

#[test]
fn every_file_has_a_meaning_and_a_stable_effective_text() {
    let start = Instant::now();
    let found = complaints(|path, bytes| {
        let opam = OpamFile::parse(bytes, path).map_err(|error| error.to_string())?;
        let directory = path.rsplit('/').nth(1).unwrap_or_default();
        let package = directory
            .parse()
            .map_err(|error| format!("{path}: {error}"))?;
        let text = opam.identified(&package).effective();
        let again = OpamFile::parse(text.as_bytes(), path).map_err(|error| error.to_string())?;
        if again.effective() == text {
            Ok(())
        } else {
            Err(format!("{path}: {text}"))
        }
    });
    eprintln!("read with their meaning, twice, in {:?}", start.elapsed());
    assert_eq!(found.unwrap_or_default(), Vec::<String>::new());
}
