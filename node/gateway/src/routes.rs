//! Which address answers what, and the checks that every request passes first. Everything is read:
//! a request with another method than GET or HEAD is refused before it reaches a handler.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, Method, header},
    middleware::{self, Next},
    routing::get,
};
use caravan_protocol::time::Stamp;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::{
    answer::{self, Answer},
    limits,
    page::{
        Place, View,
        error::{self, Problem},
    },
    source::Source,
};

mod api;
mod live;
mod old;
mod pages;

/// What all handlers share.
pub(crate) struct Gateway {
    source: Arc<dyn Source>,
    renders: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    now: fn() -> Stamp,
}

type Shared = State<Arc<Gateway>>;
type Answered = Result<Answer, Fault>;

/// A problem on its way to becoming an answer in the form that the reader asked for.
#[derive(Debug)]
pub(crate) struct Fault(Problem);

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl axum::response::IntoResponse for Fault {
    /// Only a mark: [`guard`] makes the page, because it knows the address and the node.
    fn into_response(self) -> Answer {
        let mut answer = answer::with_status(answer::answer(answer::PLAIN, ""), self.0.status);
        answer.extensions_mut().insert(self.0);
        answer
    }
}

impl Gateway {
    pub(crate) fn new(source: Arc<dyn Source>, now: fn() -> Stamp) -> Arc<Self> {
        Arc::new(Self {
            source,
            renders: Arc::new(Semaphore::new(limits::RENDERS_MAX)),
            streams: Arc::new(Semaphore::new(limits::STREAMS_MAX)),
            now,
        })
    }

    fn view(&self) -> View {
        View {
            snapshot: self.source.snapshot(),
            now: (self.now)(),
        }
    }

    /// Makes an answer where waiting and computing do not hold up other connections. At most a few
    /// are made at once; the others wait, for as long as a request may take.
    async fn make<F>(self: &Arc<Self>, work: F) -> Answered
    where
        F: FnOnce(&Self) -> Result<Answer, Problem> + Send + 'static,
    {
        let turn = Arc::clone(&self.renders).acquire_owned().await;
        let turn = turn.map_err(|_| Problem::busy())?;
        let gateway = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&gateway)
        });
        match made.await {
            Ok(answer) => Ok(answer?),
            Err(error) => {
                tracing::warn!(%error, "an answer could not be made");
                Err(Problem::broken().into())
            }
        }
    }
}

/// The wall clock, for ages on pages.
pub(crate) fn wall_clock() -> Stamp {
    Stamp::from_ms(u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0))
}

/// All addresses.
pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/", get(pages::home))
        .route("/projects/{project}", get(pages::project))
        .route("/run/{run}", get(pages::run))
        .route("/run/{run}/variant/{variant}", get(pages::variant))
        .route("/run/{run}/step/{want}", get(pages::step))
        .route("/run/{run}/step/{want}/log", get(live::log))
        .route("/run/{run}/step/{want}/tail", get(live::tail))
        .route("/queue", get(pages::queue))
        .route("/queue.json", get(api::queue))
        .route("/nodes", get(pages::nodes))
        .route("/roles", get(pages::roles))
        .route("/roles.json", get(api::roles))
        .route("/metrics", get(pages::metrics))
        .route("/events", get(live::events))
        .route("/assets/{name}", get(pages::asset))
        .route("/favicon.ico", get(pages::favicon))
        .route("/badge/{project}/{*branch}", get(api::badge))
        .route("/api/projects", get(api::projects))
        .route("/api/projects/{project}", get(api::project))
        .route("/api/run/{run}", get(api::run))
        .route("/api/run/{run}/variant/{variant}", get(api::variant))
        .route("/api/run/{run}/step/{want}", get(api::step))
        .route("/api/nodes", get(api::nodes))
        .route("/badge/github/{org}/{repo}/{*branch}", get(old::badge))
        .route("/github/{org}/{repo}", get(old::project))
        .route("/github/{org}/{repo}/commit/{commit}", get(old::commit))
        .route(
            "/github/{org}/{repo}/commit/{commit}/variant/{variant}",
            get(old::variant),
        )
        .fallback(async || Fault(Problem::no_page()))
        .layer(middleware::from_fn_with_state(Arc::clone(&gateway), guard))
        .with_state(gateway)
}

/// Refuses what is not a plain reading request, bounds its time, turns problems into pages and sets
/// the headers that every answer carries.
async fn guard(State(gateway): Shared, request: Request, next: Next) -> Answer {
    let wants_json = {
        let path = request.uri().path();
        path.starts_with("/api/")
            || path.starts_with("/badge/")
            || path == "/queue.json"
            || path == "/roles.json"
    };
    let length = request
        .uri()
        .path_and_query()
        .map_or(0, |text| text.as_str().len());
    let refused = if !matches!(*request.method(), Method::GET | Method::HEAD) {
        Some(Problem::method())
    } else if length > limits::URI_BYTES_MAX {
        Some(Problem::too_long())
    } else {
        None
    };
    let mut answer = match refused {
        Some(problem) => describe(&gateway, problem, wants_json),
        None => match tokio::time::timeout(limits::REQUEST, next.run(request)).await {
            Ok(mut answer) => match problem_of(&mut answer) {
                Some(problem) => describe(&gateway, problem, wants_json),
                None => answer,
            },
            Err(_) => describe(&gateway, Problem::busy(), wants_json),
        },
    };
    answer::harden(answer.headers_mut());
    answer
}

/// The problem that a handler, or axum before it, left in place of an answer.
fn problem_of(answer: &mut Answer) -> Option<Problem> {
    let problem = answer.extensions_mut().remove::<Problem>();
    let status = answer.status();
    problem.or_else(|| match status.as_u16() {
        405 => Some(Problem::method()),
        400..500 => Some(Problem::no_page()),
        500.. => Some(Problem::broken()),
        _ => None,
    })
}

fn describe(gateway: &Gateway, problem: Problem, wants_json: bool) -> Answer {
    let status = problem.status;
    let described = if wants_json {
        answer::json(&serde_json::json!({ "error": problem.what, "hint": problem.hint }))
    } else {
        let shell = gateway.view().shell(problem.word(), Place::Elsewhere);
        answer::page(&error::Page { shell, problem })
    };
    let mut answer =
        described.unwrap_or_else(|problem| answer::answer(answer::PLAIN, problem.what));
    let headers = answer.headers_mut();
    if status == 405 {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    if status == 503 {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    answer::with_status(answer, status)
}
