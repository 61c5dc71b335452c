//! No decoder takes more memory than its input is worth: at rest at most twice its bound, and for
//! the moment in which a list moves once more. Lengths lie here as hard as they can.

use caravan_hostile::{Dice, Target, mutated, targets};

#[path = "kit/seeds.rs"]
mod seeds;

/// What small things take whatever the bound: words of errors, tables, buffers.
const SMALL: u64 = 64 * 1024;

/// What a decoder may take at once beyond its bound: buffers of a fixed size, named here.
fn allowance(target: &Target) -> u64 {
    match target.name {
        // A window of zstd, the buffer before it, and what is unpacked, each bounded by itself.
        "image_layer" => 16 << 20,
        "pack" => 40 << 20,
        "log" => 4 << 20,
        _ => SMALL,
    }
}

fn measured(target: &Target, bytes: &[u8]) -> u64 {
    let info = allocation_counter::measure(|| {
        let _ = (target.run)(bytes);
    });
    info.bytes_max
}

/// `bytes` with a huge number at each place in turn where a length may be.
fn lies(bytes: &[u8]) -> Vec<Vec<u8>> {
    let numbers = [1 << 16, 1 << 24, 1 << 32, 1 << 40, u64::MAX];
    let mut all = Vec::new();
    let step = bytes.len().div_ceil(256).max(1);
    for at in (0..bytes.len().saturating_sub(8)).step_by(step) {
        for number in numbers {
            let mut lie = bytes.to_vec();
            lie[at..at + 8].copy_from_slice(&u64::to_le_bytes(number));
            all.push(lie);
        }
    }
    all
}

#[test]
fn a_lying_length_takes_no_memory() {
    let all = seeds::all();
    for target in targets() {
        let most = 3 * target.bytes_max as u64 + allowance(&target);
        // Small inputs can only be worth little, whatever they say of themselves.
        for (name, bytes) in all.iter().filter(|(name, _)| *name == target.name) {
            for lie in lies(bytes) {
                let taken = measured(&target, &lie);
                assert!(
                    taken <= most,
                    "{name}: {taken} bytes of memory, may be {most}"
                );
                let worth = 64 * lie.len() as u64 + allowance(&target) + (1 << 20);
                assert!(
                    taken <= worth,
                    "{name}: {taken} bytes of memory for {} bytes",
                    lie.len()
                );
            }
        }
    }
}

#[test]
fn damage_takes_no_memory() {
    let all = seeds::all();
    for target in targets() {
        let most = 3 * target.bytes_max as u64 + allowance(&target);
        let own: Vec<_> = all
            .iter()
            .filter(|(name, _)| *name == target.name)
            .collect();
        let mut dice = Dice::new(11);
        for round in 0..300 {
            let (_, bytes) = own[round % own.len()];
            let damaged = mutated(bytes, bytes, &mut dice);
            let taken = measured(&target, &damaged);
            assert!(taken <= most, "{}: {taken}, may be {most}", target.name);
        }
    }
}

/// Inputs as large as they may be, of the things that are smallest on the wire and largest in
/// memory.
#[test]
fn dense_values_are_refused_before_they_take_more_than_twice_the_bound() {
    use caravan_protocol::codec::{self, CodecError};

    const MAX: usize = 256 * 1024;

    #[derive(Debug, Default, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Wide {
        texts: Vec<String>,
        map: std::collections::BTreeMap<String, Vec<u8>>,
        more: Option<Vec<u64>>,
    }

    fn peak<T: serde::Serialize + serde::de::DeserializeOwned>(bytes: &[u8]) -> (u64, bool) {
        let mut dense = false;
        let info = allocation_counter::measure(|| {
            let read = codec::decode::<MAX, T>(bytes);
            dense = matches!(read, Err(CodecError::TooDense { .. }));
        });
        (info.bytes_max, dense)
    }

    let many = |each: usize| {
        let count = (MAX - 8) / each;
        let mut bytes = (count as u64).to_le_bytes().to_vec();
        bytes.resize(8 + count * each, 0);
        bytes
    };
    let most = 3 * MAX as u64;
    let shapes = [
        ("texts", peak::<Vec<String>>(&many(8)), true),
        ("lists", peak::<Vec<Vec<u64>>>(&many(8)), true),
        ("wide", peak::<Vec<Wide>>(&many(17)), true),
        ("bytes", peak::<Vec<u8>>(&many(1)), false),
        ("numbers", peak::<Vec<u64>>(&many(8)), false),
    ];
    for (name, (taken, dense), refused) in shapes {
        assert!(taken <= most, "{name}: {taken} bytes, may be {most}");
        assert_eq!(dense, refused, "{name}: {taken} bytes");
    }
    // Maps of one key each: a leaf of a sorted map is made whole for its first key.
    let mut maps = ((MAX - 8) / 24).min(8000).to_le_bytes().to_vec();
    for _ in 0..8000 {
        maps.extend(1u64.to_le_bytes());
        maps.extend([0; 16]);
    }
    let (taken, dense) = peak::<Vec<std::collections::BTreeMap<String, Vec<u8>>>>(&maps);
    assert!(taken <= most && dense, "maps: {taken} bytes");
    // One map with as many keys as there is room for, in order.
    let mut keys = 10_000u64.to_le_bytes().to_vec();
    for key in 0..10_000u64 {
        keys.extend(key.to_le_bytes());
        keys.extend([0; 8]);
    }
    let (taken, _) = peak::<std::collections::BTreeMap<u64, String>>(&keys);
    assert!(taken <= most, "keys: {taken} bytes");
}
