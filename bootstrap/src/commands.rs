//! One file per verb. Each asks the node over its control socket and shows the answer.

use std::{path::PathBuf, process::ExitCode};

use caravan_node::control::{Reply, Request, client::Call};
use caravan_protocol::{
    ids::{NodeId, RunId},
    time::Stamp,
    view::{NodeView, RunView, Snapshot},
};

use crate::{
    cli::{Cli, Place, Verb},
    config,
    error::{CliError, Kind},
    rootless,
};

mod base;
mod build;
mod ci;
mod image;
mod job;
mod join;
mod log;
mod node;
mod roles;
mod setup;
mod store;
mod top;

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, CliError> {
    let data = config::data(cli.data)?;
    rootless::enter_if_needed(&data, &cli.verb)?;
    match cli.verb {
        Verb::Node(verb) => node::run(&data, &verb),
        Verb::Ci(ci) => ci::run(&data, &ci),
        Verb::Build(build) => build::run(&data, &build),
        Verb::Roles(output) => roles::run(&data, &output),
        Verb::Nodes(output) => node::members(&data, &output),
        Verb::Job(verb) => job::run(&data, &verb),
        Verb::Top(top) => top::run(&data, &top),
        Verb::Log(log) => log::run(&data, &log),
        Verb::Invite(invite) => join::invite(&data, &invite),
        Verb::Join(join) => join::join(&data, &join),
        Verb::Base(verb) => base::run(&data, &verb),
        Verb::Store(verb) => store::run(&data, &verb),
        Verb::Image(verb) => image::run(&data, &verb),
        Verb::Unshare { command } => Err(rootless::unshare(&command)),
    }
}

/// The time on this machine's clock.
pub(crate) fn now() -> Stamp {
    let ms = jiff::Timestamp::now().as_millisecond();
    Stamp::from_ms(u64::try_from(ms).unwrap_or(0))
}

/// Runs one conversation on this thread.
fn block<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .map_err(|error| CliError::node(&error))?
        .block_on(work)
}

/// The socket of the node in `data`.
pub(crate) fn socket(data: &std::path::Path) -> PathBuf {
    caravan_node::Config::new(data.to_owned()).socket()
}

/// Asks for the one answer of a request.
async fn ask(data: &std::path::Path, request: &Request) -> Result<Reply, CliError> {
    let call = Call::start(&socket(data), request)
        .await
        .map_err(|error| CliError::node(&error))?;
    match call.only().await.map_err(|error| CliError::node(&error))? {
        Reply::Error(text) => Err(CliError::new(Kind::Node, text)),
        reply => Ok(reply),
    }
}

/// Asks for the snapshot.
async fn snapshot(data: &std::path::Path) -> Result<Snapshot, CliError> {
    match ask(data, &Request::Status).await? {
        Reply::Snapshot(snapshot) => Ok(*snapshot),
        _ => Err(unexpected()),
    }
}

/// The run whose id begins with `prefix`.
fn find_run<'a>(snapshot: &'a Snapshot, prefix: &str) -> Result<&'a RunView, CliError> {
    let mut found = snapshot
        .runs()
        .filter(|run| run.id.to_string().starts_with(prefix));
    match (found.next(), found.next()) {
        (Some(run), None) => Ok(run),
        (Some(_), Some(_)) => Err(CliError::user(format!(
            "find run {prefix}: several begin so; give more digits"
        ))),
        (None, _) => Err(CliError::user(format!("find run {prefix}: there is none"))
            .hint("`caravan job list` lists runs")),
    }
}

/// The member whose id begins with `prefix`.
fn find_node(snapshot: &Snapshot, prefix: &str) -> Result<NodeId, CliError> {
    let begins = |view: &&NodeView| view.node.to_string().starts_with(prefix);
    let mut found = snapshot.nodes.iter().filter(begins);
    match (found.next(), found.next()) {
        (Some(member), None) => Ok(member.node),
        (Some(_), Some(_)) => Err(CliError::user(format!(
            "find member {prefix}: several begin so; give more digits"
        ))),
        (None, _) => Err(
            CliError::user(format!("find member {prefix}: there is none"))
                .hint("`caravan nodes` lists them, with whole ids in `--json`"),
        ),
    }
}

/// Where steps are to run, and where not.
async fn place(
    data: &std::path::Path,
    place: &Place,
) -> Result<(Option<NodeId>, Vec<NodeId>), CliError> {
    if place.on.is_none() && place.not_on.is_empty() {
        return Ok((None, Vec::new()));
    }
    let snapshot = snapshot(data).await?;
    let on = place.on.as_deref().map(|on| find_node(&snapshot, on));
    let not_on = place.not_on.iter().map(|node| find_node(&snapshot, node));
    Ok((on.transpose()?, not_on.collect::<Result<_, _>>()?))
}

fn unexpected() -> CliError {
    CliError::new(
        Kind::Node,
        "understand the node's answer: it is of another version; restart it",
    )
}

/// Prints a value as JSON.
fn print_json(value: &impl serde::Serialize) -> Result<ExitCode, CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CliError::node(&error))?;
    say!("{text}");
    Ok(ExitCode::SUCCESS)
}

/// A run's full name.
fn full(id: RunId) -> String {
    id.to_string()
}
