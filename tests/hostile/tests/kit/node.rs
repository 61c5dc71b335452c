//! Good input for the decoders of the mesh, the driver and the control socket.

use caravan_node::control::{BuildRequest, LogFrom, Reply, Request, SecretValue};
use caravan_protocol::{
    claim::Claim,
    codec,
    identity::Signed,
    ids::{ActionKey, BlobId, NodeId, RunId, TreeId},
    platform::Platform,
    policy::{Base, WantId},
    time::Stamp,
    view::{PolicyView, RunView, State, StepView, TermView, VariantView},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{MAX, Seed, encoded, file};

/// All of them.
pub(super) fn all() -> Vec<Seed> {
    let mut all = mesh();
    all.extend(driver());
    all
}

fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> T {
    codec::decode::<MAX, T>(bytes).expect("golden bytes")
}

fn mesh() -> Vec<Seed> {
    let mut all: Vec<Seed> = caravan_mesh::doors::samples();
    let platform = Platform::new("linux", "x86_64").expect("good");
    let topic = caravan_mesh::doors::topic_of(&platform);
    all.push(("mesh_topic", topic.into_bytes()));
    let messages = file("control-2-message");
    let mut batch = vec![0];
    for message in &messages {
        batch.extend(u32::try_from(message.len()).expect("small").to_be_bytes());
        batch.extend(message);
    }
    let length = u32::try_from(batch.len()).expect("small").to_be_bytes();
    all.push(("mesh_frame", [&length, batch.as_slice()].concat()));
    all.push(("mesh_control", batch));
    all.push(("mesh_control", [&[1], [0; 4].as_slice()].concat()));
    all.push(("mesh_control_answer", vec![0, 0, 0, 0, 3]));
    all.push(("mesh_control_answer", vec![1, 7, 8]));
    all.push(("mesh_control_answer", vec![2]));
    all
}

fn driver() -> Vec<Seed> {
    let claim: Signed<Claim> = read(&file("claim-1")[1]);
    let base: Base = read(&file("control-1-base")[0]);
    let platform = Platform::new("linux", "x86_64").expect("good");
    let requests = [
        Request::Status,
        Request::Cancel(RunId::from_bytes([1; 32])),
        Request::Log {
            run: RunId::from_bytes([1; 32]),
            want: WantId(2),
            from: LogFrom::LastLines(3),
            follow: true,
        },
        Request::Build(BuildRequest {
            spec: "((from a))".to_owned(),
            secrets: vec![SecretValue {
                id: "s".to_owned(),
                value: vec![1],
            }],
            ..BuildRequest::default()
        }),
    ];
    let replies = [
        Reply::Done,
        Reply::Error("no".to_owned()),
        Reply::Run(run().into()),
        Reply::Base(base.clone()),
        Reply::Log {
            bytes: vec![1],
            next: 2,
        },
    ];
    let mut all: Vec<Seed> = vec![
        ("node_question", encoded(&0u32)),
        ("node_question", encoded(&(1u32, vec![platform]))),
        (
            "node_question",
            [encoded(&2u32), file("cordon-1")[0].clone()].concat(),
        ),
        ("node_answer", encoded(&(0u32, vec![base]))),
        (
            "node_answer",
            [encoded(&1u32), file("node-cert-1")[0].clone()].concat(),
        ),
        ("node_answer", encoded(&2u32)),
        ("node_answer", encoded(&(3u32, "no"))),
        ("node_report", encoded(&(claim, Some("words")))),
        ("run", encoded(&run())),
    ];
    for request in requests {
        let bytes = encoded(&request);
        let length = u32::try_from(bytes.len()).expect("small").to_le_bytes();
        all.push(("control_frame", [&length, bytes.as_slice()].concat()));
        all.push(("control_request", bytes));
    }
    all.extend(replies.map(|reply| ("control_reply", encoded(&reply))));
    all
}

fn run() -> RunView {
    let step = StepView {
        want: WantId(1),
        label: "build".to_owned(),
        action: ActionKey::from_bytes([2; 32]),
        state: State::Failed,
        node: Some(NodeId::from_bytes([3; 32])),
        level: None,
        cached: false,
        infra: false,
        attempt: 1,
        wall_ms: 4,
        log: Some(BlobId::of(b"log")),
        output: Some(TreeId::from(BlobId::of(b"out"))),
        message: Some("no".to_owned()),
    };
    RunView {
        id: RunId::from_bytes([1; 32]),
        role: "ci".to_owned(),
        project: "p".to_owned(),
        branch: "main".to_owned(),
        commit: "c".repeat(40),
        title: "t".to_owned(),
        state: State::Failed,
        message: None,
        notes: vec!["n".to_owned()],
        started: Stamp::from_ms(1),
        finished: Some(Stamp::from_ms(2)),
        executed: 1,
        policy: PolicyView {
            variants: vec![VariantView {
                name: "v".to_owned(),
                state: State::Ok,
                message: None,
                wants: vec![WantId(1)],
                recipe: None,
            }],
            terms: vec![TermView {
                id: 0,
                label: "l".to_owned(),
                state: State::Ok,
                inputs: Vec::new(),
                want: None,
            }],
            summary: "1 ok".to_owned(),
        },
        steps: [(WantId(1), step)].into(),
    }
}
