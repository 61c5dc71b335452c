//! `caravan node`: running a node and asking how it is.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use caravan_build::BuildFactory;
use caravan_ci::CiFactory;
use caravan_node::{Config, Launcher, Node, control::Request};
use caravan_protocol::policy::Factory;

use super::{ask, block, print_json, snapshot};
use crate::{
    cli::{NodeRun, NodeVerb},
    config,
    error::CliError,
    show,
};

pub(super) fn run(data: &Path, verb: &NodeVerb) -> Result<ExitCode, CliError> {
    match verb {
        NodeVerb::Run(flags) => host(config::read(data.to_owned(), flags)?),
        NodeVerb::Status(output) => {
            let snapshot = block(snapshot(data))?;
            if output.json {
                return print_json(&snapshot);
            }
            show::status(&snapshot);
            Ok(ExitCode::SUCCESS)
        }
        NodeVerb::Revoke { node } => block(async {
            let snapshot = snapshot(data).await?;
            let mut found = snapshot
                .nodes
                .iter()
                .filter(|known| known.node.to_string().starts_with(node.as_str()));
            let (Some(member), None) = (found.next(), found.next()) else {
                return Err(
                    CliError::user(format!("find one member whose id begins with {node}"))
                        .hint("`caravan node status --json` has whole ids"),
                );
            };
            ask(data, &Request::Revoke(member.node)).await?;
            say!("revoked {}", member.node);
            Ok(ExitCode::SUCCESS)
        }),
        NodeVerb::Stop => {
            block(ask(data, &Request::Stop))?;
            Ok(ExitCode::SUCCESS)
        }
    }
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
        tokio::select! {
            () = interrupted() => say!("stopping"),
            () = node.stopping() => {}
        }
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
