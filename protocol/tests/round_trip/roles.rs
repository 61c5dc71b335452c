//! What nodes say of roles.

use caravan_protocol::{
    identity::{Key, Signed},
    ids::{NodeId, RunId},
    offer::Priority,
    policy::Params,
    role::{Charge, Content, Message, Repository, Subject, run_id},
    time::Stamp,
};
use proptest::{collection::vec, option, prelude::*};

use super::{check, coded, id, tree_id, word};

fn node() -> impl Strategy<Value = NodeId> {
    id().prop_map(NodeId::from_bytes)
}

fn run() -> impl Strategy<Value = RunId> {
    id().prop_map(RunId::from_bytes)
}

fn charge() -> impl Strategy<Value = Charge> {
    let repository = (word(), id(), any::<bool>()).prop_map(|(name, bytes, packed)| Repository {
        name,
        state: caravan_protocol::ids::BlobId::from_bytes(bytes),
        content: match packed {
            true => Content::Packed(caravan_protocol::ids::BlobId::from_bytes(bytes)),
            false => Content::Tree(caravan_protocol::ids::TreeId::from_bytes(bytes)),
        },
    });
    let subject = (word(), word(), word(), vec(word(), 0..3), tree_id()).prop_map(
        |(branch, commit, title, notes, tree)| Subject {
            branch,
            commit,
            title,
            notes,
            tree,
        },
    );
    let place = (option::of(node()), vec(node(), 0..3));
    let dates = any::<(u64, u64)>();
    let params = (vec(word(), 0..3), vec(word(), 0..3));
    (
        (word(), word(), subject, vec(repository, 0..3)),
        (params, any::<bool>(), place, dates),
    )
        .prop_map(|((role, project, subject, repositories), rest)| {
            let ((named, overlays), again, (on, not_on), (issued, expires)) = rest;
            let requester = Key::from_secret(&[1; 32]).node();
            let issued = Stamp::from_ms(issued);
            Charge {
                mesh: caravan_protocol::ids::MeshId::from_bytes([9; 32]),
                run: run_id(requester, &role, &project, issued),
                role,
                project,
                subject,
                repositories,
                bases: Vec::new(),
                params: Params {
                    repositories: named,
                    overlays,
                },
                again,
                on,
                not_on: not_on.into_iter().collect(),
                requester,
                priority: Priority::Normal,
                issued,
                expires: Stamp::from_ms(expires),
            }
        })
}

fn message() -> impl Strategy<Value = Message> {
    let keep = (charge(), option::of(node())).prop_map(|(charge, lead)| Message::Keep {
        charge: Signed::sign(&Key::from_secret(&[1; 32]), &charge).expect("small"),
        lead,
    });
    let held = (run(), any::<u64>()).prop_map(|(run, since)| (run, Stamp::from_ms(since)));
    prop_oneof![
        keep,
        run().prop_map(|run| Message::Kept { run }),
        run().prop_map(|run| Message::Unable { run }),
        vec(held, 0..20).prop_map(|mut runs| {
            runs.sort();
            runs.dedup_by_key(|run| run.0);
            Message::Hold { runs }
        }),
        (run(), node()).prop_map(|(run, by)| Message::Held { run, by }),
        run().prop_map(|run| Message::Yield { run }),
        run().prop_map(|run| Message::Settled { run }),
        run().prop_map(|run| Message::Cancel { run }),
        run().prop_map(|run| Message::Noted { run }),
        (run(), any::<u64>(), vec(any::<u8>(), 0..400))
            .prop_map(|(run, seq, patch)| Message::Shown { run, seq, patch }),
        (run(), any::<u64>()).prop_map(|(run, seq)| Message::Seen { run, seq }),
    ]
}

proptest! {
    #[test]
    fn what_is_said_of_roles_is_read_as_it_was_written(
        message in message(),
        at: prop::sample::Index,
    ) {
        check(&message, Message::encode, Message::decode, at)?;
    }

    #[test]
    fn charges_are_read_as_they_were_written(charge in charge(), at: prop::sample::Index) {
        coded(&charge, at)?;
    }
}
