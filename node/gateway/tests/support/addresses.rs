//! The addresses of the sample.

use crate::sample;

/// The project with most runs.
pub(crate) const HELLO: &str = "/projects/https:~~github.com~mirage~hello";
/// The variant that fails.
pub(crate) const FAILED_VARIANT: &str = "debian-13-5.4_opam-2.4";

/// The address of a run.
pub(crate) fn run(name: &str) -> String {
    format!("/run/{}", sample::run_id(name))
}

/// Every kind of address, as the sample answers them.
pub(crate) fn addresses() -> Vec<(String, &'static str)> {
    let (failed, html, json) = (
        run("failed"),
        "text/html; charset=utf-8",
        "application/json",
    );
    vec![
        ("/".to_owned(), html),
        ("/?q=hello".to_owned(), html),
        (HELLO.to_owned(), html),
        (failed.clone(), html),
        (format!("{failed}/variant/{FAILED_VARIANT}"), html),
        (format!("{failed}/variant/(analysis)"), html),
        (format!("{failed}/step/350"), html),
        (
            format!("{failed}/step/350/log"),
            "text/plain; charset=utf-8",
        ),
        (format!("{failed}/step/350/tail?offset=0&line=1"), html),
        ("/queue".to_owned(), html),
        ("/queue.json".to_owned(), json),
        ("/roles".to_owned(), html),
        ("/roles.json".to_owned(), json),
        ("/nodes".to_owned(), html),
        (
            "/metrics".to_owned(),
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        ("/assets/style.css".to_owned(), "text/css; charset=utf-8"),
        (
            "/assets/caravan.js".to_owned(),
            "text/javascript; charset=utf-8",
        ),
        ("/favicon.ico".to_owned(), "image/svg+xml"),
        ("/api/projects".to_owned(), json),
        (format!("/api{HELLO}"), json),
        (format!("/api{failed}"), json),
        (format!("/api{failed}/variant/{FAILED_VARIANT}"), json),
        (format!("/api{failed}/step/350"), json),
        ("/api/nodes".to_owned(), json),
        (
            "/badge/https:~~github.com~mirage~hello/main".to_owned(),
            json,
        ),
        (
            "/badge/github/mirage/hello/feature/unicode-paths".to_owned(),
            json,
        ),
    ]
}

/// Addresses of what is not there.
pub(crate) const MISSING: [&str; 12] = [
    "/nope",
    "/projects/nope",
    "/run/0000000000000000000000000000000000000000000000000000000000000000",
    "/run/x",
    "/run/%ff",
    "/run/x/step/notanumber",
    "/run/x/variant/y",
    "/assets/nope",
    "/github/a/b",
    "/api/run/x",
    "/api/projects/%00",
    "/?q=%ff%ff",
];
