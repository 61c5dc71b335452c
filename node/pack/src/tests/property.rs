//! Random files come back; random bytes never do harm.

use proptest::{collection::vec, prelude::*, sample::Index as At};

use super::{
    hostile::{try_all, with_index},
    *,
};
use crate::index::Index;

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(200)
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn files_come_back(
        small in vec(("[a-c]/[a-d]\\.(ml|so|txt)", vec(0_u8..5, 0..3000)), 0..20),
        large in vec((0_u64..4, 0_usize..400_000), 0..3),
        listings in vec(vec(any::<u8>(), 0..5000), 0..3),
    ) {
        let mut files = Files::default();
        for (path, bytes) in small {
            files.add(&path, bytes);
        }
        for (seed, count) in large {
            files.add("large", noise(seed, count));
        }
        for bytes in listings {
            files.add_listing(bytes);
        }
        let pack = Pack::open(files.pack(quick())).unwrap();
        files.assert_all_in(&pack, &Alone);
    }

    #[test]
    fn random_bytes_are_no_pack(bytes in vec(any::<u8>(), 0..500)) {
        prop_assert!(Pack::open(bytes.clone()).is_err());
        let mut framed = crate::format::header().to_vec();
        framed.extend_from_slice(&bytes);
        prop_assert!(Pack::open(framed).is_err());
    }

    #[test]
    fn random_columns_never_panic(bytes in vec(any::<u8>(), 0..300), end in any::<u64>()) {
        let _ = Index::decode(&bytes, end);
        let mut counted = vec![0; 32];
        for (column, byte) in bytes.iter().take(8).enumerate() {
            counted[column * 4] = byte % 3;
        }
        counted.extend_from_slice(&bytes);
        let _ = Index::decode(&counted, end);
    }

    #[test]
    fn mutations_of_a_pack_give_right_bytes_or_errors(
        changes in vec((any::<At>(), any::<u8>()), 1..8),
        is_index in any::<bool>(),
    ) {
        let mut files = Files::default();
        for n in 0..6 {
            files.add(&format!("{n}.ml"), text(n, 10));
        }
        files.add("tool", b"0123456789abcdef".repeat(9000));
        let whole = files.pack(quick());
        let changed = if is_index {
            let mut index = Pack::open(whole.clone()).unwrap().index.encode();
            for (at, value) in changes {
                let at = at.index(index.len());
                index[at] = value;
            }
            with_index(&whole, &index)
        } else {
            let mut bytes = whole.clone();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes
        };
        let _ = try_all(changed);
    }
}
