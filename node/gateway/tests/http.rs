//! Every address over a real socket: what it shows, what it refuses, and that text of strangers
//! stays text.

#[path = "support/addresses.rs"]
mod addresses;
#[path = "support/client.rs"]
mod client;
#[path = "support/hostile.rs"]
mod hostile;
#[path = "support/sample.rs"]
mod sample;

use std::sync::Arc;

use addresses::{FAILED_VARIANT, HELLO, MISSING, addresses, run};
use caravan_gateway::FixedSource;
use caravan_protocol::{policy::WantId, view::State};
use client::Server;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

async fn sample_server() -> Server {
    Server::start(Arc::new(sample::source())).await
}

fn assert_hardened(reply: &client::Reply, path: &str) {
    assert_eq!(
        reply.header("content-security-policy"),
        "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; connect-src 'self'; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        "{path}"
    );
    assert_eq!(reply.header("x-content-type-options"), "nosniff", "{path}");
    assert_eq!(reply.header("referrer-policy"), "no-referrer", "{path}");
    assert!(!reply.header("cache-control").is_empty(), "{path}");
    assert!(
        !String::from_utf8_lossy(&reply.body).contains("evil.example"),
        "{path}: the host was reflected"
    );
}

#[tokio::test]
async fn every_address_answers_with_its_type_and_hardened_headers() {
    let server = sample_server().await;
    for (path, kind) in addresses() {
        let reply = server.get(&path).await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, kind),
            "{path}"
        );
        assert!(!reply.body.is_empty(), "{path}");
        assert_hardened(&reply, &path);
    }
    server.stop().await;
}

#[tokio::test]
async fn head_answers_without_a_body_and_other_methods_are_refused() {
    let server = sample_server().await;
    for (path, kind) in addresses() {
        let reply = server.ask("HEAD", &path).await;
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, kind),
            "{path}"
        );
        assert!(reply.body.is_empty(), "{path}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"] {
            let reply = server.ask(method, &path).await;
            assert_eq!(
                (reply.status, reply.header("allow")),
                (405, "GET, HEAD"),
                "{method} {path}"
            );
            assert_hardened(&reply, &path);
        }
    }
}

#[tokio::test]
async fn what_is_missing_is_said_with_what_to_do() {
    let server = sample_server().await;
    for path in MISSING {
        let reply = server.get(path).await;
        let status = if path.starts_with("/?") {
            reply.status
        } else {
            404
        };
        assert_eq!(reply.status, status, "{path}");
        assert!(
            matches!(reply.status, 200 | 404),
            "{path}: {}",
            reply.status
        );
        assert_hardened(&reply, path);
        if path.starts_with("/api/") {
            let json: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
            assert!(
                json["error"].is_string() && json["hint"].is_string(),
                "{path}"
            );
        } else if reply.status == 404 {
            assert!(
                reply.text().contains("<a href=\"/\">Projects</a>"),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn long_addresses_and_heads_are_refused() {
    let server = sample_server().await;
    let reply = server.get(&format!("/?q={}", "x".repeat(3000))).await;
    assert_eq!(reply.status, 414);
    assert_hardened(&reply, "a long address");
    let head = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: {}\r\n\r\n",
        "x".repeat(64 * 1024)
    );
    let answer = server.raw(head.as_bytes()).await;
    assert!(
        !answer.starts_with(b"HTTP/1.1 200"),
        "a head of 64 KiB was taken"
    );
}

#[tokio::test]
async fn the_failing_step_is_open_with_its_error_first() {
    let server = sample_server().await;
    let page = server
        .get(&format!("{}/variant/{FAILED_VARIANT}", run("failed")))
        .await
        .text();
    let trouble = page
        .find("build and test</bdi> failed")
        .expect("the trouble");
    let steps = page.find("id=\"step-301\"").expect("the first step");
    assert!(trouble < steps, "the error does not come first");
    assert!(
        page.contains("id=\"step-350\" open"),
        "the failing step is folded"
    );
    assert_eq!(
        page.matches("\" open>").count(),
        1,
        "more than one step is open"
    );
    assert!(page.contains(
        "<span class=\"l e\" id=\"L28\"><a href=\"#L28\">28</a><span class=\"f1 sb\">Error</span>"
    ));
    assert!(
        page.contains("id=\"s301-L1\""),
        "lines of folded steps have no names of their own"
    );
    assert!(
        page.contains("docker build -f ../Dockerfile ."),
        "the recipe is missing"
    );
}

#[tokio::test]
async fn the_run_page_has_words_beside_colours_and_a_drawing() {
    let server = sample_server().await;
    let page = server.get(&run("failed")).await.text();
    for word in [
        "</svg>failed</span>",
        "</svg>ok</span>",
        "</svg>cancelled</span>",
        "class=\"drawing\"",
        ">L2</abbr>",
    ] {
        assert!(page.contains(word), "{word}");
    }
    assert!(
        !page.contains("data-live") && !page.contains("http-equiv"),
        "an ended run refreshes itself"
    );
    let page = server.get(&run("running")).await.text();
    assert!(
        page.contains("<body data-live>")
            && page.contains("<noscript><meta http-equiv=\"refresh\"")
    );
}

#[tokio::test]
async fn projects_are_found_by_words_of_their_names() {
    let server = sample_server().await;
    let page = server.get("/?q=astring").await.text();
    assert!(page.contains("astring.git") && !page.contains("data-encoding"));
    let page = server.get("/?q=github+hello").await.text();
    assert!(page.contains("mirage/hello") && !page.contains("dbuenzli"));
    assert!(server.get("/?q=zzz").await.text().contains("Show all 5"));
}

#[tokio::test]
async fn json_has_what_the_snapshot_has() {
    let server = sample_server().await;
    let snapshot = sample::snapshot();
    let reply = server.get(&format!("/api{}", run("failed"))).await;
    let shown: caravan_protocol::view::RunView = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(
        Some(&shown),
        snapshot
            .runs()
            .find(|run| run.id == sample::run_id("failed"))
    );
    let reply = server.get("/api/projects?q=hello").await;
    let list: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(list[0]["slug"], "https:~~github.com~mirage~hello");
    assert_eq!(list[0]["latest"]["state"], "running");
    assert_eq!(list.as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn badges_tell_the_newest_run_that_says_something() {
    let server = sample_server().await;
    for (path, message) in [
        ("/badge/https:~~github.com~mirage~hello/main", "building"),
        (
            "/badge/https:~~github.com~mirage~hello/feature/unicode-paths",
            "failing",
        ),
        (
            "/badge/https:~~github.com~mirage~hello/feature~unicode-paths",
            "failing",
        ),
        (
            "/badge/https:~~github.com~dbuenzli~astring.git/master",
            "passing",
        ),
        ("/badge/github/dbuenzli/astring/master", "passing"),
        ("/badge/github/dbuenzli/astring/nope", "unknown"),
        ("/badge/nope/nope", "unknown"),
    ] {
        let badge: serde_json::Value =
            serde_json::from_slice(&server.get(path).await.body).unwrap();
        assert_eq!(
            (&badge["schemaVersion"], &badge["message"]),
            (&1.into(), &message.into()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn old_addresses_lead_to_the_new_ones() {
    let server = sample_server().await;
    let reply = server.get("/github/mirage/hello").await;
    assert_eq!((reply.status, reply.header("location")), (307, HELLO));
    let snapshot = sample::snapshot();
    let failed = snapshot
        .runs
        .iter()
        .find(|run| run.state == State::Failed)
        .unwrap();
    let path = format!("/github/mirage/hello/commit/{}", failed.commit);
    assert_eq!(
        server.get(&path).await.header("location"),
        format!("/run/{}", failed.id)
    );
    let path = format!("{path}/variant/{FAILED_VARIANT}");
    let there = format!("/run/{}/variant/{FAILED_VARIANT}", failed.id);
    assert_eq!(server.get(&path).await.header("location"), there);
}

#[tokio::test]
async fn a_raw_log_is_given_byte_by_byte_from_any_offset() {
    let log: Vec<u8> = (0..3_000_000_u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    let source = sample::source();
    source.set_log(sample::run_id("failed"), WantId(350), &log, false);
    let server = Server::start(Arc::new(source)).await;
    let path = format!("{}/step/350/log", run("failed"));
    assert!(server.get(&path).await.body == log);
    assert!(server.get(&format!("{path}?offset=2999000")).await.body == log[2_999_000..]);
    assert!(server.get(&format!("{path}?offset=-1000")).await.body == log[log.len() - 1000..]);
    assert!(
        server
            .get(&format!("{path}?offset=-99999999999"))
            .await
            .body
            == log
    );
    let beyond = server.get(&format!("{path}?offset=99999999999")).await;
    assert_eq!((beyond.status, beyond.body.len()), (200, 0));
}

#[tokio::test]
async fn a_page_is_bounded_whatever_the_logs_hold() {
    let source = sample::source();
    let id = sample::run_id("failed");
    for want in 301..=312 {
        source.set_log(
            id,
            WantId(want),
            &b"\x1b[31mx\x1b[0m\n".repeat(400_000),
            false,
        );
    }
    source.set_log(id, WantId(350), &b"\n".repeat(6_000_000), false);
    let server = Server::start(Arc::new(source)).await;
    let page = server
        .get(&format!("{}/variant/{FAILED_VARIANT}", run("failed")))
        .await;
    assert_eq!(page.status, 200);
    assert!(
        page.body.len() < 24 * 1024 * 1024,
        "{} bytes",
        page.body.len()
    );
    let page = page.text();
    assert!(page.contains("id=\"L6000000\"") && !page.contains("id=\"L1\""));
    assert!(page.contains("The whole log</a> has 5.7 MiB"));
}

#[tokio::test]
async fn a_live_log_is_followed_line_by_line() {
    let source = Arc::new(sample::source());
    let (id, want) = (sample::run_id("running"), WantId(208));
    source.set_log(id, want, b"one\ntwo\nthr", true);
    let server = Server::start(Arc::clone(&source) as _).await;
    let page = server
        .get(&format!("{}/step/208", run("running")))
        .await
        .text();
    assert!(
        page.contains("data-next=\"8\" data-line=\"3\""),
        "a page does not say where to go on"
    );
    source.set_log(id, want, b"one\ntwo\nthree\n", false);
    let tail = server
        .get(&format!("{}/step/208/tail?offset=8&line=3", run("running")))
        .await;
    assert_eq!(
        tail.text(),
        "<span class=\"l\" id=\"L3\"><a href=\"#L3\">3</a>three</span>\n"
    );
    assert_eq!(
        (
            tail.header("x-next-offset"),
            tail.header("x-next-line"),
            tail.header("x-live")
        ),
        ("14", "4", "false")
    );
}

#[tokio::test]
async fn a_change_reaches_an_open_stream() {
    let source = Arc::new(sample::source());
    let server = Server::start(Arc::clone(&source) as _).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut seen = String::new();
    let mut changed = false;
    while seen.matches("event: change").count() < 2 {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.unwrap();
        assert!(count > 0, "the stream ended");
        seen.push_str(&String::from_utf8_lossy(&piece[..count]));
        if !changed && seen.contains("event: change") {
            source.set_snapshot(sample::snapshot());
            changed = true;
        }
    }
    assert!(seen.contains("text/event-stream") && seen.contains("no-store"));
}

#[tokio::test]
async fn streams_beyond_the_bound_are_turned_away() {
    let server = sample_server().await;
    let mut open = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream
            .write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        open.push(stream);
    }
    let reply = server.get("/events").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "5"));
    assert_eq!(
        server.get("/").await.status,
        200,
        "pages suffer from open streams"
    );
}

#[tokio::test]
async fn metrics_are_well_formed_and_have_the_known_names() {
    let server = sample_server().await;
    let text = server.get("/metrics").await.text();
    assert!(text.ends_with("# EOF\n"));
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = series.split('{').next().unwrap_or_default();
        assert!(
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
            "{line}"
        );
        assert!(!series.contains('{') || series.ends_with("\"}"), "{line}");
    }
    for line in [
        "caravan_actions_executed_total 1204",
        "caravan_store_bytes 9482113024",
        "caravan_runs{state=\"running\"} 1",
        "caravan_members{tier=\"trusted\",connected=\"true\"} 2",
        "ocluster_worker_running_jobs 3",
        "ocluster_worker_cache_hits 8031",
        "ocluster_pool_workers_connected{pool=\"linux-x86_64\"} 3",
        "ocluster_pool_workers_capacity{pool=\"linux-x86_64\"} 52",
        "ocurrent_core_active_jobs 4",
        "ocurrent_core_pipeline_stage_total{state=\"waiting_for_confirmation\"} 0",
    ] {
        assert!(
            text.lines().any(|got| got == line),
            "no {line:?} in\n{text}"
        );
    }
}

#[tokio::test]
async fn text_of_strangers_stays_text_everywhere() {
    for words in hostile::CORPUS {
        let source = hostile::source(words);
        let server = Server::start(Arc::new(source)).await;
        for path in hostile::addresses(words) {
            let reply = server.get(&path).await;
            assert_eq!(reply.status, 200, "{words:?} at {path}");
            assert_hardened(&reply, &path);
            if reply.header("content-type").starts_with("text/html") {
                hostile::assert_inert(&reply.text(), words, &path);
            } else if reply.header("content-type") == "application/json" {
                serde_json::from_slice::<serde_json::Value>(&reply.body).expect("whole JSON");
            }
        }
        let metrics = server.get("/metrics").await.text();
        for line in metrics.lines().filter(|line| !line.starts_with('#')) {
            let value = line.rsplit(' ').next().unwrap_or_default();
            assert!(
                value.parse::<f64>().is_ok(),
                "{words:?} broke the metrics: {line}"
            );
        }
    }
}

#[tokio::test]
async fn an_empty_node_has_pages_too() {
    let mut snapshot = sample::snapshot();
    snapshot.runs.clear();
    snapshot.seats.clear();
    snapshot.bases.clear();
    snapshot.nodes.clear();
    let server = Server::start(Arc::new(FixedSource::new(snapshot))).await;
    assert!(server.get("/").await.text().contains("No run yet."));
    assert!(
        server
            .get("/nodes")
            .await
            .text()
            .contains("No base is pinned here.")
    );
    assert_eq!(server.get("/metrics").await.status, 200);
}
