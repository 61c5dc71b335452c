//! The bytes that released nodes speak outside of the protocol's own crate: greetings, frames,
//! questions and reports. Files beside the crate's sources hold them; see the test of the same name
//! in `protocol` for the rules.
#![cfg(feature = "node")]

use std::{fmt::Write as _, fs, path::Path};

#[path = "kit/seeds.rs"]
mod seeds;

/// What is kept of which decoder, and the protocol whose version counts.
fn kept() -> Vec<(&'static str, String)> {
    let [admit, control, blobs, member] = caravan_mesh::doors::protocols();
    let file = |protocol: &str, what: &str| {
        let name = protocol.strip_prefix("/caravan/").expect("ours");
        format!("{}-{what}", name.replace('/', "-"))
    };
    assert_eq!(
        member, "/caravan/member/1",
        "its golden bytes are the protocol crate's"
    );
    vec![
        ("mesh_greeting", file(admit, "greeting")),
        ("mesh_answer", file(admit, "answer")),
        ("mesh_frame", file(control, "framed")),
        ("mesh_control", file(control, "frame")),
        ("mesh_control_answer", file(control, "frame-answer")),
        ("mesh_blobs", file(blobs, "request")),
        ("mesh_blobs_answer", file(blobs, "answer")),
        ("node_question", file(control, "question")),
        ("node_answer", file(control, "answer")),
        ("node_report", file(control, "report")),
    ]
}

#[test]
fn every_message_has_the_bytes_that_it_had_when_its_version_was_released() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let all = seeds::all();
    for (target, file) in kept() {
        let mut now = format!("# {target}\n");
        for (_, bytes) in all.iter().filter(|(name, _)| *name == target) {
            let taken = caravan_hostile::find(target)
                .expect("a decoder")
                .check(bytes);
            assert!(taken, "{file}: a message is not read");
            writeln!(now, "{}", data_encoding::HEXLOWER.encode(bytes)).expect("memory");
        }
        let path = dir.join(format!("{file}.hex"));
        let Ok(golden) = fs::read_to_string(&path) else {
            let bless = std::env::var_os("CARAVAN_BLESS").is_some();
            assert!(bless, "{file} is missing: CARAVAN_BLESS=1 writes it");
            fs::create_dir_all(&dir).expect("writable");
            fs::write(&path, now).expect("writable");
            continue;
        };
        assert_eq!(
            golden, now,
            "{file}: nodes that were released speak the first. Another form is another version of \
             its protocol, with a file of its own; CARAVAN_BLESS=1 writes files that are missing"
        );
    }
    for entry in fs::read_dir(&dir).expect("the directory") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_str().expect("a name");
        let known = kept().iter().any(|(_, file)| format!("{file}.hex") == name);
        assert!(
            known,
            "{name} is read by no test: what was released once must be read for ever"
        );
    }
}
