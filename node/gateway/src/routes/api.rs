//! Handlers of the JSON addresses: the snapshot's own types, and badges. A list carries runs
//! without their steps and drawings; `/api/run/{run}` has those.

use axum::extract::{Path, Query, State};
use caravan_protocol::{
    policy::{Base, WantId},
    view::{Counters, NodeView, PolicyView, RunView, SeatView, StepView, StoreView, VariantView},
};
use serde::Serialize;

use super::{Answered, Gateway, Shared, pages::Search};
use crate::{
    answer::json,
    badge::Badge,
    limits,
    page::{self, error::Problem},
    slug,
};

#[derive(Debug, Serialize)]
struct Project<'a> {
    project: &'a str,
    slug: String,
    latest: Option<RunView>,
}

#[derive(Debug, Serialize)]
struct Runs<'a> {
    project: &'a str,
    slug: String,
    runs: Vec<RunView>,
}

#[derive(Debug, Serialize)]
struct Variant<'a> {
    variant: &'a VariantView,
    steps: Vec<&'a StepView>,
}

#[derive(Debug, Serialize)]
struct Mesh<'a> {
    mesh: String,
    node: String,
    version: &'a str,
    nodes: &'a [NodeView],
    seats: &'a [SeatView],
    bases: &'a [Base],
    store: &'a StoreView,
    counters: &'a Counters,
    running: u32,
    slots: u32,
    standing: Option<&'a str>,
    notices: &'a [String],
}

/// A run without its steps and drawing.
fn brief(run: &RunView) -> RunView {
    RunView {
        id: run.id,
        role: run.role.clone(),
        project: run.project.clone(),
        branch: run.branch.clone(),
        commit: run.commit.clone(),
        title: run.title.clone(),
        state: run.state,
        message: run.message.clone(),
        notes: run.notes.clone(),
        started: run.started,
        finished: run.finished,
        executed: run.executed,
        policy: PolicyView {
            variants: run.policy.variants.clone(),
            terms: Vec::new(),
            summary: run.policy.summary.clone(),
        },
        steps: std::collections::BTreeMap::new(),
    }
}

pub(super) async fn projects(State(gateway): Shared, Query(search): Query<Search>) -> Answered {
    let work = move |gateway: &Gateway| {
        let view = gateway.view();
        let projects: Vec<_> = page::by_project(&view.snapshot)
            .into_iter()
            .filter(|(project, _)| page::home::matches(project, &search.q))
            .take(limits::ROWS_MAX)
            .map(|(project, runs)| Project {
                project,
                slug: slug::of(project),
                latest: runs.first().map(|run| brief(run)),
            })
            .collect();
        json(&projects)
    };
    gateway.make(work).await
}

pub(super) async fn project(State(gateway): Shared, Path(name): Path<String>) -> Answered {
    let work = move |gateway: &Gateway| {
        let view = gateway.view();
        let runs = page::of_project(&view.snapshot, &name);
        let project = &runs.first().ok_or_else(Problem::no_project)?.project;
        json(&Runs {
            project,
            slug: slug::of(project),
            runs: runs
                .iter()
                .take(limits::ROWS_MAX)
                .map(|run| brief(run))
                .collect(),
        })
    };
    gateway.make(work).await
}

pub(super) async fn run(State(gateway): Shared, Path(run): Path<String>) -> Answered {
    let work = move |gateway: &Gateway| json(gateway.view().run(&run).ok_or_else(Problem::no_run)?);
    gateway.make(work).await
}

pub(super) async fn variant(
    State(gateway): Shared,
    Path((run, variant)): Path<(String, String)>,
) -> Answered {
    let work = move |gateway: &Gateway| {
        let view = gateway.view();
        let run = view.run(&run).ok_or_else(Problem::no_run)?;
        let variant = page::find_variant(run, &variant).ok_or_else(Problem::no_variant)?;
        let steps = variant
            .wants
            .iter()
            .filter_map(|want| run.steps.get(want))
            .collect();
        json(&Variant { variant, steps })
    };
    gateway.make(work).await
}

pub(super) async fn step(
    State(gateway): Shared,
    Path((run, want)): Path<(String, u64)>,
) -> Answered {
    let work = move |gateway: &Gateway| {
        let view = gateway.view();
        let run = view.run(&run).ok_or_else(Problem::no_run)?;
        json(run.steps.get(&WantId(want)).ok_or_else(Problem::no_page)?)
    };
    gateway.make(work).await
}

pub(super) async fn nodes(State(gateway): Shared) -> Answered {
    let work = |gateway: &Gateway| {
        let snapshot = gateway.source.snapshot();
        json(&Mesh {
            mesh: snapshot.mesh.to_string(),
            node: snapshot.node.to_string(),
            version: &snapshot.version,
            nodes: &snapshot.nodes,
            seats: &snapshot.seats,
            bases: &snapshot.bases,
            store: &snapshot.store,
            counters: &snapshot.counters,
            running: snapshot.running,
            slots: snapshot.slots,
            standing: snapshot.standing.as_deref(),
            notices: &snapshot.notices,
        })
    };
    gateway.make(work).await
}

pub(super) async fn roles(State(gateway): Shared) -> Answered {
    let work = |gateway: &Gateway| json(&gateway.source.snapshot().roles);
    gateway.make(work).await
}

pub(super) async fn queue(State(gateway): Shared) -> Answered {
    let work = |gateway: &Gateway| json(&*gateway.source.overview().ok_or_else(Problem::busy)?);
    gateway.make(work).await
}

pub(super) async fn badge(
    State(gateway): Shared,
    Path((project, branch)): Path<(String, String)>,
) -> Answered {
    let work = move |gateway: &Gateway| {
        let snapshot = gateway.source.snapshot();
        let runs = page::of_project(&snapshot, &project);
        json(&Badge::of(
            runs.into_iter().filter(|run| is_branch(run, &branch)),
        ))
    };
    gateway.make(work).await
}

/// Whether a run is of the branch that an address names, plainly or as a slug.
pub(super) fn is_branch(run: &RunView, name: &str) -> bool {
    run.branch == name || slug::of(&run.branch) == name
}
