//! Addresses that ocaml-ci's users know. Pages answer with where they are now; badges answer
//! themselves, because those who show them do not all follow.

use axum::extract::{Path, State};
use caravan_protocol::view::RunView;

use super::{Answered, Gateway, Shared, api::is_branch};
use crate::{
    answer::{json, redirect},
    badge::Badge,
    page::{self, error::Problem},
};

/// Whether a project is the GitHub repository `org/repo`, however its address is written.
fn is_on_github(project: &str, org: &str, repo: &str) -> bool {
    let name = project.trim_end_matches('/');
    let name = name.strip_suffix(".git").unwrap_or(name);
    let path = [
        "https://github.com/",
        "ssh://git@github.com/",
        "git@github.com:",
        "git://github.com/",
        "github.com/",
    ]
    .iter()
    .find_map(|prefix| name.strip_prefix(prefix));
    path.and_then(|path| path.split_once('/')) == Some((org, repo))
}

fn runs<'a>(
    snapshot: &'a caravan_protocol::view::Snapshot,
    org: &'a str,
    repo: &'a str,
) -> impl Iterator<Item = &'a RunView> {
    snapshot
        .runs()
        .filter(move |run| is_on_github(&run.project, org, repo))
}

pub(super) async fn badge(
    State(gateway): Shared,
    Path((org, repo, branch)): Path<(String, String, String)>,
) -> Answered {
    let work = move |gateway: &Gateway| {
        let snapshot = gateway.source.snapshot();
        json(&Badge::of(
            runs(&snapshot, &org, &repo).filter(|run| is_branch(run, &branch)),
        ))
    };
    gateway.make(work).await
}

pub(super) async fn project(
    State(gateway): Shared,
    Path((org, repo)): Path<(String, String)>,
) -> Answered {
    let work = move |gateway: &Gateway| {
        let snapshot = gateway.source.snapshot();
        let run = runs(&snapshot, &org, &repo)
            .next()
            .ok_or_else(Problem::no_project)?;
        redirect(&page::project_url(&run.project))
    };
    gateway.make(work).await
}

pub(super) async fn commit(
    State(gateway): Shared,
    Path((org, repo, commit)): Path<(String, String, String)>,
) -> Answered {
    let work = move |gateway: &Gateway| {
        let snapshot = gateway.source.snapshot();
        let run = runs(&snapshot, &org, &repo).find(|run| run.commit == commit);
        redirect(&page::run_url(run.ok_or_else(Problem::no_run)?.id))
    };
    gateway.make(work).await
}

pub(super) async fn variant(
    State(gateway): Shared,
    Path((org, repo, commit, variant)): Path<(String, String, String, String)>,
) -> Answered {
    let work = move |gateway: &Gateway| {
        let snapshot = gateway.source.snapshot();
        let run = runs(&snapshot, &org, &repo).find(|run| run.commit == commit);
        let run = run.ok_or_else(Problem::no_run)?;
        let variant = page::find_variant(run, &variant).ok_or_else(Problem::no_variant)?;
        redirect(&page::variant_url(run.id, &variant.name))
    };
    gateway.make(work).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_known_by_every_address_of_it() {
        for project in [
            "https://github.com/mirage/astring",
            "https://github.com/mirage/astring.git",
            "git@github.com:mirage/astring.git",
            "github.com/mirage/astring/",
        ] {
            assert!(is_on_github(project, "mirage", "astring"), "{project}");
        }
        for project in [
            "https://evil.example/github.com/mirage/astring",
            "/github.com/mirage/astring",
            "astring",
        ] {
            assert!(!is_on_github(project, "mirage", "astring"), "{project}");
        }
    }
}
