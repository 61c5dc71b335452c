//! One value at least of each variant of everything that travels, is signed or is hashed.

use caravan_protocol::{
    action::Limits,
    codec,
    identity::Key,
    ids::{ActionKey, MeshId, NodeId},
    offer::JobId,
    platform::Platform,
};
use serde::{Serialize, de::DeserializeOwned};

mod index;
mod market;
mod member;
mod records;
mod roles;
mod work;

/// Everything of one form and version.
pub(crate) struct Kind {
    /// Name of its file: what it is, and its version.
    pub(crate) file: String,
    /// A few words.
    pub(crate) what: &'static str,
    /// Values by name, in their bytes.
    pub(crate) values: Vec<(&'static str, Vec<u8>)>,
    /// Reads bytes and writes what was read.
    pub(crate) again: fn(&[u8]) -> Option<Vec<u8>>,
}

const MAX: usize = 64 * 1024;

fn again<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<Vec<u8>> {
    let value: T = codec::decode::<MAX, _>(bytes).ok()?;
    codec::encode::<MAX>(&value).ok()
}

fn encoded(value: &impl Serialize) -> Vec<u8> {
    codec::encode::<MAX>(value).expect("small")
}

pub(crate) fn all() -> Vec<Kind> {
    let mut all = vec![
        market::messages(),
        market::digests(),
        member::members(),
        work::actions(),
        work::action_keys(),
        work::trees(),
        member::geneses(),
        member::invites(),
        work::bases(),
        records::obituaries(),
        index::questions(),
        index::answers(),
        roles::messages(),
    ];
    all.extend(records::records());
    all
}

fn key(number: u8) -> Key {
    Key::from_secret(&[number; 32])
}

fn node(number: u8) -> NodeId {
    key(number).node()
}

fn mesh() -> MeshId {
    MeshId::from_bytes([9; 32])
}

fn job(number: u8) -> JobId {
    JobId::from(ActionKey::from_bytes([number; 32]))
}

fn platform() -> Platform {
    Platform::new("linux", "x86_64").expect("good")
}

/// Each bound another number.
fn bounds() -> Limits {
    Limits {
        wall_ms: 1,
        memory_bytes: 2,
        pids: 3,
        log_bytes: 4,
        disk_bytes: 5,
        inodes: 6,
        cpu_ms: 7,
    }
}
