//! Handlers of the pages for people, and of the files they refer to.

use axum::{
    extract::{Path, Query, State},
    http::{HeaderValue, header},
};
use caravan_protocol::policy::WantId;
use serde::Deserialize;

use super::{Answered, Shared};
use crate::{
    answer::{self, answer, page},
    metrics as figures,
    page::{self, assets, error::Problem},
};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Search {
    #[serde(default)]
    pub(super) q: String,
}

pub(super) async fn home(State(gateway): Shared, Query(search): Query<Search>) -> Answered {
    let work =
        move |gateway: &super::Gateway| page(&page::home::Page::new(&gateway.view(), &search.q));
    gateway.make(work).await
}

pub(super) async fn project(State(gateway): Shared, Path(name): Path<String>) -> Answered {
    let work = move |gateway: &super::Gateway| {
        page(&page::project::Page::new(&gateway.view(), &name).ok_or_else(Problem::no_project)?)
    };
    gateway.make(work).await
}

pub(super) async fn run(State(gateway): Shared, Path(run): Path<String>) -> Answered {
    let work = move |gateway: &super::Gateway| {
        let view = gateway.view();
        let run = view.run(&run).ok_or_else(Problem::no_run)?;
        page(&page::run::Page::new(&view, run))
    };
    gateway.make(work).await
}

#[derive(Debug, Deserialize)]
pub(super) struct Parts {
    /// `0` leaves the lines of the logs out.
    #[serde(default)]
    logs: Option<u8>,
}

pub(super) async fn variant(
    State(gateway): Shared,
    Path((run, variant)): Path<(String, String)>,
    Query(parts): Query<Parts>,
) -> Answered {
    let work = move |gateway: &super::Gateway| {
        let view = gateway.view();
        let run = view.run(&run).ok_or_else(Problem::no_run)?;
        let variant = page::find_variant(run, &variant).ok_or_else(Problem::no_variant)?;
        let logs = parts.logs != Some(0);
        page(&page::variant::Page::new(
            &view,
            &*gateway.source,
            run,
            variant,
            logs,
        ))
    };
    gateway.make(work).await
}

pub(super) async fn step(
    State(gateway): Shared,
    Path((run, want)): Path<(String, u64)>,
) -> Answered {
    let work = move |gateway: &super::Gateway| {
        let view = gateway.view();
        let run = view.run(&run).ok_or_else(Problem::no_run)?;
        let step = page::step::Page::new(&view, &*gateway.source, run, WantId(want));
        page(&step.ok_or_else(Problem::no_page)?)
    };
    gateway.make(work).await
}

pub(super) async fn nodes(State(gateway): Shared) -> Answered {
    gateway
        .make(|gateway| page(&page::nodes::Page::new(&gateway.view())))
        .await
}

pub(super) async fn roles(State(gateway): Shared) -> Answered {
    gateway
        .make(|gateway| page(&page::roles::Page::new(&gateway.view())))
        .await
}

pub(super) async fn queue(State(gateway): Shared) -> Answered {
    let work = |gateway: &super::Gateway| {
        let overview = gateway.source.overview().ok_or_else(Problem::busy)?;
        page(&page::queue::Page::new(&gateway.view(), &overview))
    };
    gateway.make(work).await
}

pub(super) async fn metrics(State(gateway): Shared) -> Answered {
    let work = |gateway: &super::Gateway| {
        let text = figures::text(&gateway.source.snapshot()).ok_or_else(Problem::broken)?;
        Ok(answer(figures::KIND, text))
    };
    gateway.make(work).await
}

/// Pages name assets with a hash of their bytes, so that a browser may keep them for good.
const KEEP: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

pub(super) async fn asset(Path(name): Path<String>) -> Answered {
    let asset = assets::find(&name).ok_or_else(Problem::no_page)?;
    let mut answer = answer::answer(asset.kind, asset.body.as_str());
    answer.headers_mut().insert(header::CACHE_CONTROL, KEEP);
    Ok(answer)
}

pub(super) async fn favicon() -> Answered {
    asset(Path("favicon.svg".to_owned())).await
}
