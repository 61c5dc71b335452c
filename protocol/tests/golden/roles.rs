//! What nodes say to each other about roles.

use std::{collections::BTreeMap, time::Duration};

use caravan_protocol::{
    identity::Signed,
    ids::{BlobId, RunId, TreeId},
    offer::Priority,
    policy::{Base, Params},
    role::{Charge, Content, Message, Repository, Subject, run_id},
    time::Stamp,
};

use super::{Kind, key, mesh, node, platform};

pub(super) fn charge() -> Charge {
    let (requester, issued) = (node(1), Stamp::from_ms(3));
    let base = Base {
        name: "debian-12".to_owned(),
        platform: platform(),
        tree: TreeId::from_bytes([4; 32]),
        facts: BTreeMap::from([("opam".to_owned(), "2.3".to_owned())]),
        env: vec![("A".to_owned(), "b".to_owned())],
    };
    let repository = |content| Repository {
        name: "opam".to_owned(),
        state: BlobId::from_bytes([5; 32]),
        content,
    };
    Charge {
        mesh: mesh(),
        run: run_id(requester, "ci", "a", issued),
        role: "ci".to_owned(),
        project: "a".to_owned(),
        subject: Subject {
            branch: "main".to_owned(),
            commit: "0".repeat(40),
            title: "t".to_owned(),
            notes: vec!["n".to_owned()],
            tree: TreeId::from_bytes([6; 32]),
        },
        repositories: vec![
            repository(Content::Tree(TreeId::from_bytes([5; 32]))),
            repository(Content::Packed(BlobId::from_bytes([7; 32]))),
        ],
        bases: vec![base],
        params: Params {
            repositories: vec!["r".to_owned()],
            overlays: vec!["o".to_owned()],
        },
        again: true,
        on: Some(node(2)),
        not_on: [node(3)].into(),
        requester,
        priority: Priority::Normal,
        issued,
        expires: issued.after(Duration::from_millis(9)),
    }
}

pub(super) fn messages() -> Kind {
    let run = RunId::from_bytes([8; 32]);
    let by = node(2);
    let keep = Message::Keep {
        charge: Signed::sign(&key(1), &charge()).expect("small"),
        lead: Some(by),
    };
    let runs = vec![(run, Stamp::from_ms(4))];
    let patch = vec![1, 2];
    let values = [
        ("keep", keep),
        ("kept", Message::Kept { run }),
        ("unable", Message::Unable { run }),
        ("hold", Message::Hold { runs }),
        ("held", Message::Held { run, by }),
        ("yield", Message::Yield { run }),
        ("settled", Message::Settled { run }),
        ("cancel", Message::Cancel { run }),
        ("noted", Message::Noted { run }),
        ("shown", Message::Shown { run, seq: 2, patch }),
        ("seen", Message::Seen { run, seq: 2 }),
    ];
    Kind {
        file: "roles-1-message".to_owned(),
        what: "what nodes say of roles, in batches of /caravan/control/1",
        values: values
            .map(|(name, message)| (name, message.encode().expect("good")))
            .to_vec(),
        again: |bytes| Message::decode(bytes).ok()?.encode().ok(),
    }
}
