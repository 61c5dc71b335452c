//! The runs of the sample, newest first.

use caravan_protocol::view::State;

/// How a run of the sample is to look.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) project: &'static str,
    pub(crate) branch: &'static str,
    pub(crate) title: &'static str,
    pub(crate) state: State,
    pub(crate) age_ms: u64,
    pub(crate) took_ms: u64,
}

const HELLO: &str = "https://github.com/mirage/hello";

/// All runs.
pub(crate) const SHAPES: [Shape; 12] = [
    Shape {
        name: "running",
        project: HELLO,
        branch: "main",
        title: "Read configuration from XDG directories",
        state: State::Running,
        age_ms: 74_000,
        took_ms: 0,
    },
    Shape {
        name: "failed",
        project: HELLO,
        branch: "feature/unicode-paths",
        title: "Normalise paths before they are compared",
        state: State::Failed,
        age_ms: 520_000,
        took_ms: 231_000,
    },
    Shape {
        name: "ok",
        project: "https://github.com/dbuenzli/astring.git",
        branch: "master",
        title: "Release 0.8.6",
        state: State::Ok,
        age_ms: 3_900_000,
        took_ms: 48_200,
    },
    Shape {
        name: "failed-2",
        project: "https://gitlab.com/nomadic-labs/data-encoding",
        branch: "main",
        title: "Binary reader: refuse trailing bytes (this used to be silently accepted by the streaming reader)",
        state: State::Failed,
        age_ms: 5_200_000,
        took_ms: 412_000,
    },
    Shape {
        name: "blocked",
        project: "https://github.com/ocaml/dune",
        branch: "main",
        title: "",
        state: State::Blocked,
        age_ms: 3_000,
        took_ms: 0,
    },
    Shape {
        name: "local",
        project: "/home/ann/src/calendar",
        branch: "HEAD",
        title: "wip: week numbers",
        state: State::Ok,
        age_ms: 9_000_000,
        took_ms: 6_100,
    },
    Shape {
        name: "cancelled",
        project: HELLO,
        branch: "main",
        title: "Read configuration",
        state: State::Cancelled,
        age_ms: 9_900_000,
        took_ms: 31_000,
    },
    Shape {
        name: "h1",
        project: HELLO,
        branch: "main",
        title: "Document the exit codes",
        state: State::Ok,
        age_ms: 86_500_000,
        took_ms: 95_000,
    },
    Shape {
        name: "h2",
        project: HELLO,
        branch: "main",
        title: "Fix the build with OCaml 5.4",
        state: State::Ok,
        age_ms: 99_000_000,
        took_ms: 143_000,
    },
    Shape {
        name: "h3",
        project: HELLO,
        branch: "feature/unicode-paths",
        title: "Add tests of composed and decomposed names",
        state: State::Failed,
        age_ms: 120_000_000,
        took_ms: 190_000,
    },
    Shape {
        name: "h4",
        project: HELLO,
        branch: "main",
        title: "Start a changelog",
        state: State::Ok,
        age_ms: 190_000_000,
        took_ms: 61_000,
    },
    Shape {
        name: "h5",
        project: HELLO,
        branch: "main",
        title: "Import",
        state: State::Ok,
        age_ms: 250_000_000,
        took_ms: 120_000,
    },
];
