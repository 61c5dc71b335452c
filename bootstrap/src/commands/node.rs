//! `caravan node`: running a node and asking how it is.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use caravan_build::BuildFactory;
use caravan_ci::CiFactory;
use caravan_node::{
    Config, Launcher, Node,
    control::{Reply, Request},
};
use caravan_protocol::{ids::NodeId, policy::Factory};

use super::{ask, block, find_node, print_json, setup, snapshot, unexpected};
use crate::{
    cli::{NodeRun, NodeVerb, Output},
    config,
    error::CliError,
    service, show,
};

mod drain;
mod init;
mod leave;

pub(super) fn run(data: &Path, verb: &NodeVerb) -> Result<ExitCode, CliError> {
    match verb {
        NodeVerb::Init(flags) => return init::run(data, flags),
        NodeVerb::Run(flags) => {
            setup::not_being_left(data)?;
            return host(config::read(data.to_owned(), flags)?);
        }
        NodeVerb::Status(output) => {
            let snapshot = block(snapshot(data))?;
            if output.json {
                return print_json(&snapshot);
            }
            show::status(&snapshot);
        }
        NodeVerb::Pause { why } => {
            let why = why.join(" ");
            standing(data, &Request::Pause { why })?;
        }
        NodeVerb::Resume => standing(data, &Request::Resume)?,
        NodeVerb::Drain(flags) => return drain::run(data, flags),
        NodeVerb::Leave(flags) => return leave::run(data, flags),
        NodeVerb::Cordon { node, why } => {
            let why = why.join(" ");
            of_member(data, node, "cordoned", |node| Request::Cordon { node, why })?;
        }
        NodeVerb::Uncordon { node } => {
            of_member(data, node, "uncordoned", |node| Request::Uncordon { node })?;
        }
        NodeVerb::Renew => match block(ask(data, &Request::Renew))? {
            Reply::Renewed { expires } => {
                say!(
                    "the node's certificate is good until {} UTC",
                    show::date(expires)
                );
            }
            _ => return Err(unexpected()),
        },
        NodeVerb::Revoke { node } => of_member(data, node, "revoked", Request::Revoke)?,
        NodeVerb::Stop => drop(block(ask(data, &Request::Stop))?),
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the node takes work now, and why not.
fn standing(data: &Path, request: &Request) -> Result<(), CliError> {
    match block(ask(data, request))? {
        Reply::Standing(None) => say!("the node takes work"),
        Reply::Standing(Some(why)) => say!("the node takes no work: {}", show::plain(&why)),
        _ => return Err(unexpected()),
    }
    Ok(())
}

/// Asks something about a member that is named by the first digits of its id.
fn of_member(
    data: &Path,
    prefix: &str,
    done: &str,
    request: impl FnOnce(NodeId) -> Request,
) -> Result<(), CliError> {
    block(async {
        let member = find_node(&snapshot(data).await?, prefix)?;
        ask(data, &request(member)).await?;
        say!("{done} {member}");
        Ok(())
    })
}

/// `caravan nodes`.
pub(super) fn members(data: &Path, output: &Output) -> Result<ExitCode, CliError> {
    let Reply::Nodes(nodes) = block(ask(data, &Request::Nodes))? else {
        return Err(unexpected());
    };
    if output.json {
        return print_json(&nodes);
    }
    show::nodes(&nodes, super::now());
    Ok(ExitCode::SUCCESS)
}

/// The policies that this program has.
pub(super) fn factories() -> Vec<Arc<dyn Factory>> {
    vec![Arc::new(CiFactory), Arc::new(BuildFactory)]
}

/// The sandbox helper; to be had before any thread exists.
pub(super) fn launcher() -> Result<Launcher, CliError> {
    Launcher::spawn().map_err(|error| CliError::node(&error))
}

/// A runtime for a whole node.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::node(&error))
}

/// Does something with the running node, or with one that is started inside for it.
pub(super) fn with_one<F, T>(data: &Path, work: impl FnOnce(PathBuf) -> F) -> Result<T, CliError>
where
    F: Future<Output = Result<T, CliError>>,
{
    let socket = super::socket(data);
    // Asked before anything is started: the helper of a node of our own must precede all threads.
    if UnixStream::connect(&socket).is_ok() {
        return runtime()?.block_on(work(socket));
    }
    let flags = NodeRun {
        http: "none".to_owned(),
        ..NodeRun::default()
    };
    let config = config::read(data.to_owned(), &flags)?;
    let launcher = launcher()?;
    runtime()?.block_on(async {
        let node = Node::start(config, launcher, factories())
            .await
            .map_err(|error| CliError::node(&error))?;
        let done = work(socket).await;
        node.shutdown().await;
        done
    })
}

fn host(config: Config) -> Result<ExitCode, CliError> {
    let launcher = launcher()?;
    runtime()?.block_on(async {
        let data = config.data.clone();
        let node = Node::start(config, launcher, factories())
            .await
            .map_err(|error| CliError::node(&error))?;
        let snapshot = node.handle().snapshot();
        say!(
            "node {} of mesh {} in {}",
            snapshot.node.fmt_short(),
            snapshot.mesh.fmt_short(),
            data.display()
        );
        for lack in &snapshot.sandbox.lacking {
            say!("runs with less: {lack}");
        }
        if let Some(http) = node.http() {
            say!("pages: http://{http}/");
        }
        service::tell("READY=1");
        tokio::select! {
            () = interrupted() => say!("stopping"),
            () = node.stopping() => {}
        }
        service::tell("STOPPING=1");
        node.shutdown().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Resolves at Ctrl-C or when the system asks the program to end.
pub(super) async fn interrupted() {
    let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    let terminate = async {
        match terminate {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}
