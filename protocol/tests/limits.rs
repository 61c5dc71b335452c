//! The table of what nodes must agree on, in docs/WIRE.md, is the one in the sources.

use std::{fmt::Write as _, fs, path::Path};

/// Limits outside of the sections of the wire that nodes must agree on all the same.
const ALSO: [&str; 14] = [
    "ACTION_BYTES_MAX",
    "BLOB_BYTES_MAX",
    "CERT_LIFE_MS",
    "WORD_LIFE_MS",
    "CORDON_LIFE_MS",
    "REVOCATION_LIFE_MS",
    "CLAIM_BYTES_MAX",
    "DIGEST_JOBS_MAX",
    "GOSSIP_BYTES_MAX",
    "INVITE_LIFE_MS",
    "MESSAGE_BYTES_MAX",
    "OUTCOME_BYTES_MAX",
    "TREE_BYTES_MAX",
    "TREE_ENTRIES_MAX",
];

/// The limits of a source that are wanted, as rows of a table.
fn rows(source: &str, all: bool) -> String {
    let (mut rows, mut about, mut is_wire) = (String::new(), String::new(), all);
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if let Some(words) = line.strip_prefix("// ") {
            is_wire = all || words.starts_with("The wire");
        } else if let Some(words) = line.strip_prefix("///") {
            about.push_str(words);
        } else if let Some(rest) = line.strip_prefix("pub const ") {
            let mut rest = rest.to_owned();
            while !rest.ends_with(';') {
                rest.push_str(lines.next().expect("its end").trim_start());
            }
            let (name, rest) = rest.split_once(':').expect("a type");
            let (_, value) = rest.split_once('=').expect("a value");
            let (value, words) = (value.trim().trim_end_matches(';'), about.trim());
            if is_wire || ALSO.contains(&name) {
                writeln!(rows, "| `{name}` | {value} | {words} |").expect("memory");
            }
            about.clear();
        } else {
            about.clear();
        }
    }
    rows
}

fn table(here: &Path) -> String {
    let read = |file| fs::read_to_string(here.join(file)).expect("a source");
    let mut table = "| limit | value | of what |\n|---|---|---|\n".to_owned();
    table.push_str(&rows(&read("src/limits.rs"), false));
    table.push_str(&rows(&read("src/member.rs"), true));
    table
}

#[test]
fn the_docs_show_the_limits_of_the_wire() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = table(here);
    let some = ["GREETING_BYTES_MAX", "MESSAGES_PER_S", "MEMBER_BYTES_MAX"];
    for name in some.iter().chain(&ALSO) {
        assert!(
            table.contains(&format!("`{name}`")),
            "{name} is missing:\n{table}"
        );
    }
    assert!(
        !table.contains("OPAM_FILE_BYTES_MAX"),
        "it has more than the wire"
    );
    let path = here.join("../docs/WIRE.md");
    let docs = fs::read_to_string(&path).expect("docs/WIRE.md");
    let (begin, end) = ("<!-- limits -->\n", "<!-- end of limits -->\n");
    let (before, rest) = docs.split_once(begin).expect("the mark of the table");
    let (shown, after) = rest.split_once(end).expect("the mark of its end");
    if shown != table && std::env::var_os("CARAVAN_BLESS").is_some() {
        let docs = [before, begin, &table, end, after].concat();
        fs::write(&path, docs).expect("writable");
        return;
    }
    assert_eq!(shown, table, "CARAVAN_BLESS=1 writes it anew");
}
