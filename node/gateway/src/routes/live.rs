//! Handlers of what grows: raw logs, new lines of a log as HTML, and the stream of changes.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::{Path, Query, State},
    http::{HeaderName, HeaderValue, header},
};
use caravan_protocol::{ids::RunId, policy::WantId};
use futures::{Stream, stream};
use serde::Deserialize;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, timeout},
};

use super::{Answered, Gateway, Shared};
use crate::{
    answer::{HTML, PLAIN, answer},
    limits,
    log::{self, LogPart},
    page::error::Problem,
    source::Source,
};

const NEXT_OFFSET: HeaderName = HeaderName::from_static("x-next-offset");
const NEXT_LINE: HeaderName = HeaderName::from_static("x-next-line");
const LIVE: HeaderName = HeaderName::from_static("x-live");

#[derive(Debug, Deserialize)]
pub(super) struct From {
    #[serde(default)]
    offset: i64,
}

/// The bytes of a log as they are, from `?offset=`, which is counted from the end if it is negative;
/// what comes later is not waited for.
pub(super) async fn log(
    State(gateway): Shared,
    Path((run, want)): Path<(String, u64)>,
    Query(from): Query<From>,
) -> Answered {
    let start = move |gateway: &Gateway| {
        let run = gateway.view().run(&run).ok_or_else(Problem::no_run)?.id;
        let want = WantId(want);
        let head = gateway
            .source
            .log(run, want, 0, 0)
            .ok_or_else(Problem::no_log)?;
        let source = Arc::clone(&gateway.source);
        let bytes_from = from.offset.unsigned_abs();
        let offset = match from.offset {
            ..0 => head.total.saturating_sub(bytes_from),
            _ => bytes_from.min(head.total),
        };
        let mut answer = answer(
            PLAIN,
            Body::from_stream(bytes(source, run, want, offset, head.total)),
        );
        answer
            .headers_mut()
            .insert(NEXT_OFFSET, HeaderValue::from(head.total));
        answer.headers_mut().insert(LIVE, truth(head.live));
        Ok(answer)
    };
    gateway.make(start).await
}

/// A log from `offset` to `end`, a piece at a time, so that no log is ever held whole.
fn bytes(
    source: Arc<dyn Source>,
    run: RunId,
    want: WantId,
    offset: u64,
    end: u64,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold((source, offset), move |(source, at)| async move {
        let ask = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        let ask = ask.min(limits::LOG_CHUNK_BYTES);
        if ask == 0 {
            return None;
        }
        let reader = Arc::clone(&source);
        let read = tokio::task::spawn_blocking(move || reader.log(run, want, at, ask));
        let piece = read.await.ok().flatten()?;
        if piece.bytes.is_empty() || piece.next <= at {
            return None;
        }
        Some((Ok(Bytes::from(piece.bytes)), (source, piece.next)))
    })
}

const fn truth(value: bool) -> HeaderValue {
    HeaderValue::from_static(if value { "true" } else { "false" })
}

#[derive(Debug, Deserialize)]
pub(super) struct After {
    offset: u64,
    line: u64,
    /// `1` for a log that is not the only one on its page.
    #[serde(default)]
    several: u8,
}

/// The lines of a log after those that a page has, as HTML; headers say where to go on.
pub(super) async fn tail(
    State(gateway): Shared,
    Path((run, want)): Path<(String, u64)>,
    Query(after): Query<After>,
) -> Answered {
    let work = move |gateway: &Gateway| {
        let run = gateway.view().run(&run).ok_or_else(Problem::no_run)?.id;
        let source = &*gateway.source;
        let window = log::after(source, run, WantId(want), after.offset, after.line);
        let prefix = if after.several == 1 {
            format!("s{want}-")
        } else {
            String::new()
        };
        let part = LogPart::new(&window.ok_or_else(Problem::no_log)?, &prefix);
        let mut answer = answer(HTML, part.html.0);
        let headers = answer.headers_mut();
        headers.insert(NEXT_OFFSET, HeaderValue::from(part.next));
        headers.insert(NEXT_LINE, HeaderValue::from(part.next_line));
        headers.insert(LIVE, truth(part.live));
        Ok(answer)
    };
    gateway.make(work).await
}

/// An event for every change, some hundreds of milliseconds apart at least. The stream ends after
/// a while; browsers open it anew by themselves.
pub(super) async fn events(State(gateway): Shared) -> Answered {
    let turn = Arc::clone(&gateway.streams).try_acquire_owned();
    let turn = turn.map_err(|_| Problem::busy())?;
    let ticker = Ticker {
        changed: gateway.source.changed(),
        ends: Instant::now() + limits::STREAM_LIFE,
        begun: false,
        _turn: turn,
    };
    let mut answer = answer(
        "text/event-stream",
        Body::from_stream(stream::unfold(ticker, Ticker::next)),
    );
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

/// One stream of changes.
struct Ticker {
    changed: watch::Receiver<u64>,
    ends: Instant,
    begun: bool,
    _turn: OwnedSemaphorePermit,
}

impl Ticker {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if !self.begun {
            self.begun = true;
            let revision = *self.changed.borrow_and_update();
            return self.say(format!("retry: 3000\n{}", event(revision)));
        }
        if Instant::now() >= self.ends {
            return None;
        }
        tokio::time::sleep(limits::STREAM_PAUSE).await;
        match timeout(limits::STREAM_BEAT, self.changed.changed()).await {
            Ok(Ok(())) => {
                let revision = *self.changed.borrow_and_update();
                self.say(event(revision))
            }
            // The source is gone, so the node is stopping.
            Ok(Err(_)) => None,
            Err(_) => self.say(":\n\n".to_owned()),
        }
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "an item of a stream that could fail"
    )]
    fn say(self, text: String) -> Option<(Result<Bytes, Infallible>, Self)> {
        Some((Ok(Bytes::from(text)), self))
    }
}

fn event(revision: u64) -> String {
    format!("event: change\ndata: {revision}\n\n")
}
