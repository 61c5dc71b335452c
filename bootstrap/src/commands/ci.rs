//! `caravan ci`: a project through CI. Without a running node one is started inside for the run.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use caravan_node::control::{CiRequest, Reply, Request, client::Call};
use caravan_protocol::view::{RunView, State};

use super::{node, print_json, unexpected};
use crate::{
    cli::Ci,
    error::{CliError, Kind},
    progress::Progress,
    show,
};

/// Exit code of a project that failed.
const FAILED: u8 = 1;
/// Exit code after Ctrl-C.
const INTERRUPTED: u8 = 130;

pub(super) fn run(data: &Path, ci: &Ci) -> Result<ExitCode, CliError> {
    let mut request = request(ci)?;
    let json = ci.output.json;
    node::with_one(data, |socket| async move {
        (request.on, request.not_on) = super::place(data, &ci.place).await?;
        follow(socket, Request::Ci(request), json).await
    })
}

/// Paths are made absolute: the node has another working directory.
fn request(ci: &Ci) -> Result<CiRequest, CliError> {
    let absolute = |name: &String| -> Result<String, CliError> {
        if name.contains("://") || (name.contains('@') && name.contains(':')) {
            return Ok(name.clone());
        }
        let path = Path::new(name).canonicalize().map_err(|error| {
            CliError::user(format!("use {name}: {error}"))
                .hint("give the directory of a git repository, or a URL such as https://example.org/x.git")
        })?;
        path.into_os_string()
            .into_string()
            .map_err(|_| CliError::user(format!("use {name}: its path is not UTF-8")))
    };
    Ok(CiRequest {
        project: absolute(&ci.project)?,
        reference: ci.reference.clone(),
        repositories: ci
            .opam_repository
            .iter()
            .map(absolute)
            .collect::<Result<_, _>>()?,
        overlays: ci.overlay.iter().map(absolute).collect::<Result<_, _>>()?,
        bases: ci.base.clone(),
        rebuild: ci.rebuild,
        ..CiRequest::default()
    })
}

/// Shows a run that a request begins until it has ended.
pub(super) async fn follow(
    socket: PathBuf,
    request: Request,
    json: bool,
) -> Result<ExitCode, CliError> {
    let call = Call::start(&socket, &request).await;
    let mut call = call.map_err(|error| CliError::node(&error))?;
    let mut progress = Progress::new(!json);
    let mut last: Option<Arc<RunView>> = None;
    loop {
        let reply = tokio::select! {
            reply = call.next() => reply.map_err(|error| CliError::node(&error))?,
            () = node::interrupted() => {
                // Hanging up gives the run up.
                progress.finish();
                eprintln!("interrupted; finished steps are kept");
                return Ok(ExitCode::from(INTERRUPTED));
            }
        };
        match reply {
            Some(Reply::Run(run)) => {
                progress.update(&run);
                last = Some(run);
            }
            Some(Reply::Error(text)) => {
                return Err(CliError::new(Kind::Node, format!("run: {text}")));
            }
            Some(_) => return Err(unexpected()),
            None => break,
        }
    }
    progress.finish();
    let Some(run) = last else {
        return Err(unexpected());
    };
    if json {
        print_json(&*run)?;
    } else {
        show::verdict(&run);
    }
    Ok(match run.state {
        State::Ok => ExitCode::SUCCESS,
        State::Cancelled => ExitCode::from(INTERRUPTED),
        _ if run.message.is_some() || run.steps.values().any(|step| step.infra) => {
            ExitCode::from(3)
        }
        _ => ExitCode::from(FAILED),
    })
}
