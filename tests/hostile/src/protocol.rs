//! What nodes say to each other, sign and name by its hash.

use caravan_protocol::{
    action::{Action, Checksum},
    claim::Claim,
    codec,
    facts::Facts,
    identity::{Genesis, NodeCert, Seat, Signed, cordon::Cordon, invite::Invite},
    ids::NodeId,
    index::{Answer, INDEX_BYTES_MAX, Question},
    limits,
    member::{
        Alert, MEMBER_BYTES_MAX, Message as MemberMessage, Obituary, Presence, RECORD_BYTES_MAX,
        Revocation,
    },
    offer::{Digest, Message},
    platform::Platform,
    policy::Base,
    role::{self, Charge},
    spec::{Dockerfile, Escape, Spec},
    tree::Tree,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Promise::{Exact, Settled},
    Target, target,
};

/// Bound of a signed record with its signature.
const SIGNED_MAX: usize = limits::CLAIM_BYTES_MAX + 1024;
/// Bound of what people type or paste.
const TEXT_MAX: usize = 4096;

pub(crate) const TARGETS: [Target; 24] = [
    target("action", "member", limits::ACTION_BYTES_MAX, Exact, action),
    target("base", "member", TEXT_MAX, Exact, value::<TEXT_MAX, Base>),
    target("digest", "member", limits::GOSSIP_BYTES_MAX, Exact, digest),
    target("facts", "member", RECORD_BYTES_MAX, Exact, facts),
    target(
        "genesis",
        "member, disk",
        1024,
        Exact,
        value::<1024, Genesis>,
    ),
    target(
        "index_answer",
        "member",
        INDEX_BYTES_MAX,
        Exact,
        index_answer,
    ),
    target(
        "index_question",
        "member",
        INDEX_BYTES_MAX,
        Exact,
        index_question,
    ),
    target("invite", "person", TEXT_MAX, Settled, invite),
    target("member", "member", MEMBER_BYTES_MAX, Exact, member),
    target(
        "message",
        "member",
        limits::MESSAGE_BYTES_MAX,
        Exact,
        message,
    ),
    target(
        "obituary",
        "member",
        RECORD_BYTES_MAX,
        Exact,
        value::<RECORD_BYTES_MAX, Obituary>,
    ),
    target(
        "record_alert",
        "member",
        limits::CLAIM_BYTES_MAX,
        Exact,
        record::<Alert>,
    ),
    target(
        "record_claim",
        "member, disk",
        limits::CLAIM_BYTES_MAX,
        Exact,
        record::<Claim>,
    ),
    target(
        "record_charge",
        "member",
        limits::CLAIM_BYTES_MAX,
        Exact,
        record::<Charge>,
    ),
    target(
        "record_cordon",
        "member, disk",
        limits::CLAIM_BYTES_MAX,
        Exact,
        record::<Cordon>,
    ),
    target(
        "record_node_cert",
        "stranger, disk",
        limits::CLAIM_BYTES_MAX,
        Exact,
        record::<NodeCert>,
    ),
    target(
        "record_presence",
        "member",
        limits::CLAIM_BYTES_MAX,
        Exact,
        record::<Presence>,
    ),
    target(
        "record_revocation",
        "member, disk",
        limits::CLAIM_BYTES_MAX,
        Exact,
        record::<Revocation>,
    ),
    target(
        "record_seat",
        "disk",
        limits::CLAIM_BYTES_MAX,
        Exact,
        record::<Seat>,
    ),
    target(
        "role",
        "member",
        role::limits::MESSAGE_BYTES_MAX,
        Exact,
        role_message,
    ),
    target(
        "signed",
        "member, disk",
        SIGNED_MAX,
        Exact,
        value::<SIGNED_MAX, Signed<Claim>>,
    ),
    target("spec", "project", limits::SPEC_BYTES_MAX, Settled, spec),
    target("text", "person, file", TEXT_MAX, Settled, text),
    target("tree", "member, disk", limits::TREE_BYTES_MAX, Exact, tree),
];

fn value<const N: usize, T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<Vec<u8>> {
    let value: T = codec::decode::<N, _>(bytes).ok()?;
    codec::encode::<N>(&value).ok()
}

/// A record as it is inside of its signature.
fn record<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<Vec<u8>> {
    value::<{ limits::CLAIM_BYTES_MAX }, T>(bytes)
}

fn action(bytes: &[u8]) -> Option<Vec<u8>> {
    let action = Action::decode(bytes).ok()?;
    // All of what a node derives from an action before it runs it.
    let _ = action.key().map(|key| key.to_string());
    for file in declared(&action) {
        assert!(file.cache_path().len() < 160, "a checksum of any length");
    }
    action.encode().ok()
}

fn declared(action: &Action) -> impl Iterator<Item = &Checksum> {
    use caravan_protocol::action::{Network, Work};
    let files = match &action.work {
        Work::Fetch(fetch) => fetch.files.as_slice(),
        Work::Run(run) => match &run.network {
            Network::Fetch(files) => files.as_slice(),
            _ => &[],
        },
        Work::Copy(_) => &[],
    };
    files.iter().flat_map(|file| &file.checksums)
}

fn digest(bytes: &[u8]) -> Option<Vec<u8>> {
    Digest::decode(bytes).ok()?.encode().ok()
}

fn role_message(bytes: &[u8]) -> Option<Vec<u8>> {
    role::Message::decode(bytes).ok()?.encode().ok()
}

fn message(bytes: &[u8]) -> Option<Vec<u8>> {
    Message::decode(bytes).ok()?.encode().ok()
}

fn index_question(bytes: &[u8]) -> Option<Vec<u8>> {
    Question::decode(bytes).ok()?.encode().ok()
}

fn index_answer(bytes: &[u8]) -> Option<Vec<u8>> {
    Answer::decode(bytes).ok()?.encode().ok()
}

fn member(bytes: &[u8]) -> Option<Vec<u8>> {
    MemberMessage::decode(bytes).ok()?.encode().ok()
}

fn facts(bytes: &[u8]) -> Option<Vec<u8>> {
    let facts: Facts = codec::decode::<RECORD_BYTES_MAX, _>(bytes).ok()?;
    let _ = facts.check();
    codec::encode::<RECORD_BYTES_MAX>(&facts).ok()
}

fn tree(bytes: &[u8]) -> Option<Vec<u8>> {
    let tree = Tree::decode(bytes).ok()?;
    for entry in tree.entries() {
        assert_eq!(tree.get(&entry.path), Some(entry), "an entry is not found");
    }
    tree.encode().ok()
}

fn spec(bytes: &[u8]) -> Option<Vec<u8>> {
    let spec = Spec::parse(bytes).ok()?;
    for escape in [Escape::Unix, Escape::Windows] {
        for buildkit in [false, true] {
            let _ = spec.to_dockerfile(Dockerfile { buildkit, escape });
        }
    }
    let _ = (spec.builds(), spec.images(), spec.secrets());
    for copy in spec.context_copies() {
        let _ = copy.sources();
    }
    Some(spec.to_string().into_bytes())
}

fn invite(bytes: &[u8]) -> Option<Vec<u8>> {
    let invite: Invite = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    Some(invite.to_string().into_bytes())
}

/// Small things that have a text: each is tried.
fn text(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let node = text.parse::<NodeId>().map(|node| node.to_string());
    let platform = text
        .parse::<Platform>()
        .map(|platform| platform.to_string());
    let checksum = text.parse::<Checksum>().map(|sum| {
        assert!(sum.cache_path().contains(sum.hex()), "its path lacks it");
        sum.to_string()
    });
    let written = node.ok().or(platform.ok()).or(checksum.ok())?;
    Some(written.into_bytes())
}
