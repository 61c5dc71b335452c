//! Whatever a value holds, it is read as it was written, its bytes are the only ones for it, and
//! bytes that were cut or followed by others are no value at all.

use std::fmt::Debug;

use caravan_protocol::{
    action::Limits,
    claim::Verdict,
    codec,
    ids::{ActionKey, TreeId},
    offer::JobId,
    platform::Platform,
};
use proptest::prelude::*;

#[path = "round_trip/index.rs"]
mod index;
#[path = "round_trip/market.rs"]
mod market;
#[path = "round_trip/member.rs"]
mod member;
#[path = "round_trip/roles.rs"]
mod roles;
#[path = "round_trip/work.rs"]
mod work;

const MAX: usize = 1 << 20;

fn check<T: PartialEq + Debug, E: Debug>(
    value: &T,
    encode: impl Fn(&T) -> Result<Vec<u8>, E>,
    decode: impl Fn(&[u8]) -> Result<T, E>,
    at: prop::sample::Index,
) -> Result<(), TestCaseError> {
    let bytes = encode(value).expect("within its bounds");
    let read = decode(&bytes).expect("it was written so");
    prop_assert_eq!(&read, value);
    prop_assert_eq!(&encode(&read).expect("as before"), &bytes);
    prop_assert!(
        decode(&bytes[..at.index(bytes.len())]).is_err(),
        "a cut value was taken"
    );
    let mut longer = bytes.clone();
    longer.push(0);
    prop_assert!(decode(&longer).is_err(), "bytes behind a value were taken");
    let mut changed = bytes;
    let at = at.index(changed.len());
    changed[at] ^= 1;
    if let Ok(other) = decode(&changed) {
        prop_assert!(&other != value, "two encodings of one value");
        prop_assert_eq!(encode(&other).expect("it was read"), changed);
    }
    Ok(())
}

fn coded<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + Debug>(
    value: &T,
    at: prop::sample::Index,
) -> Result<(), TestCaseError> {
    check(
        value,
        |value| codec::encode::<MAX>(value),
        codec::decode::<MAX, T>,
        at,
    )
}

fn word() -> impl Strategy<Value = String> {
    "[a-z0-9/é]{0,12}"
}

fn id() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn job() -> impl Strategy<Value = JobId> {
    id().prop_map(|bytes| JobId::from(ActionKey::from_bytes(bytes)))
}

fn tree_id() -> impl Strategy<Value = TreeId> {
    id().prop_map(TreeId::from_bytes)
}

fn platform() -> impl Strategy<Value = Platform> {
    ("[a-z]{1,8}", "[a-z0-9_]{1,8}").prop_map(|(os, arch)| Platform::new(&os, &arch).expect("good"))
}

fn bounds() -> impl Strategy<Value = Limits> {
    any::<(u64, u64, u32, u64, u64, u64, u64)>().prop_map(|all| Limits {
        wall_ms: all.0,
        memory_bytes: all.1,
        pids: all.2,
        log_bytes: all.3,
        disk_bytes: all.4,
        inodes: all.5,
        cpu_ms: all.6,
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Pass),
        Just(Verdict::Fail),
        Just(Verdict::Infra)
    ]
}
