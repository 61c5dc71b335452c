//! Serves a sample on a free port of the loopback interface and prints the address. One of its logs
//! grows for as long as it runs, to see a page follow.

use std::{sync::Arc, time::Duration};

use caravan_gateway::{FixedSource, serve};
use caravan_protocol::{policy::WantId, time::Stamp, view::State};
use tokio::net::TcpListener;

#[path = "../tests/support/sample.rs"]
mod sample;

/// Moves the sample to the present, so that ages make sense.
fn to_the_present(source: &FixedSource) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(sample::NOW_MS, |now| {
        u64::try_from(now.as_millis()).unwrap_or(sample::NOW_MS)
    });
    let moved = |stamp: Stamp| Stamp::from_ms(stamp.as_ms() + now - sample::NOW_MS);
    let mut snapshot = sample::snapshot();
    snapshot.started = moved(snapshot.started);
    for seat in &mut snapshot.seats {
        seat.since = moved(seat.since);
    }
    for node in &mut snapshot.nodes {
        node.since = node.since.map(moved);
        node.heard = node.heard.map(moved);
        node.expires = node.expires.map(moved);
    }
    for run in snapshot.runs.iter_mut().map(std::sync::Arc::make_mut) {
        run.started = moved(run.started);
        run.finished = run.finished.map(moved);
    }
    let mut overview = sample::overview(&snapshot);
    overview.at = moved(overview.at);
    for job in &mut overview.queue {
        job.since = moved(job.since);
    }
    for run in &mut overview.running {
        (run.began, run.phase_began) = (moved(run.began), moved(run.phase_began));
    }
    source.set_snapshot(snapshot);
    source.set_overview(overview);
}

/// The first step under way of the run under way, with what its log says.
fn growing() -> Option<(caravan_protocol::ids::RunId, WantId)> {
    let snapshot = sample::snapshot();
    let run = snapshot
        .runs
        .iter()
        .find(|run| run.state == State::Running)?;
    let step = run
        .steps
        .values()
        .find(|step| step.state == State::Running)?;
    Some((run.id, step.want))
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let source = Arc::new(sample::source());
    to_the_present(&source);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}/", listener.local_addr()?);
    let grower = Arc::clone(&source);
    let grow = async move {
        let mut log = String::from("\x1b[1;34m$ opam install -y astring.0.8.5\x1b[0m\n");
        let mut line = 1_u32;
        loop {
            if let Some((run, want)) = growing() {
                log.push_str(&format!(
                    "\x1b[2m[{line}]\x1b[0m ocamlfind ocamlopt -c src/module_{line}.ml\n"
                ));
                grower.set_log(run, want, log.as_bytes(), true);
            }
            line += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let stop = async {
        tokio::select! {
            () = grow => {}
            _ = std::future::pending::<()>() => {}
        }
    };
    serve(listener, source, stop).await
}
