//! `caravan build`: a spec of OBuilder's language, built, planned or turned into a Dockerfile.
//! Without a running node one is started inside for the run.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use caravan_build::Plan;
use caravan_node::control::{BuildRequest, SECRET_BYTES_MAX, SecretValue};
use caravan_protocol::{
    limits::SPEC_BYTES_MAX,
    spec::{Dockerfile, Escape, Spec},
};

use super::{image::absolute, node};
use crate::{
    cli::{Build, EscapeArg},
    error::CliError,
};

mod follow;
mod printer;

pub(super) fn run(data: &Path, build: &Build) -> Result<ExitCode, CliError> {
    let text = read_spec(&build.spec)?;
    let name = build.spec.display();
    let spec = Spec::parse(&text);
    let spec = spec.map_err(|error| CliError::user(format!("use {name}: {error}")))?;
    if build.dockerfile {
        return dockerfile(build, &spec);
    }
    let plan = Plan::of(&spec);
    let plan = plan.map_err(|error| CliError::user(format!("use {name}: {error}")))?;
    if build.plan {
        print_text(&plan.text());
        return Ok(ExitCode::SUCCESS);
    }
    let text = String::from_utf8(text)
        .map_err(|_| CliError::user(format!("use {name}: it is not UTF-8")))?;
    let mut request = request(build, &spec, text)?;
    let json = build.output.json;
    let export = build.export.as_deref().map(absolute).transpose()?;
    let wanted = follow::Wanted { plan, export, json };
    node::with_one(data, |socket| async move {
        (request.on, request.not_on) = super::place(data, &build.place).await?;
        follow::follow(socket, request, wanted).await
    })
}

fn dockerfile(build: &Build, spec: &Spec) -> Result<ExitCode, CliError> {
    let form = Dockerfile {
        buildkit: build.buildkit,
        escape: match build.escape {
            EscapeArg::Unix => Escape::Unix,
            EscapeArg::Windows => Escape::Windows,
        },
    };
    let text = spec.to_dockerfile(form).map_err(|problem| {
        CliError::user(format!(
            "write {} as a Dockerfile: {problem}",
            build.spec.display()
        ))
    })?;
    say!("{text}");
    Ok(ExitCode::SUCCESS)
}

fn print_text(text: &str) {
    use std::io::Write as _;
    // A reader that went away has enough.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The spec's bytes, of which no more are read than a spec may have.
fn read_spec(path: &Path) -> Result<Vec<u8>, CliError> {
    let refuse = |error: std::io::Error| {
        CliError::user(format!("read the spec {}: {error}", path.display()))
    };
    let mut text = Vec::new();
    let max = SPEC_BYTES_MAX as u64 + 1;
    let read = match path == Path::new("-") {
        true => std::io::stdin().take(max).read_to_end(&mut text),
        false => File::open(path).and_then(|file| file.take(max).read_to_end(&mut text)),
    };
    read.map_err(refuse)?;
    Ok(text)
}

/// Paths are made absolute: the node has another working directory.
fn request(build: &Build, spec: &Spec, text: String) -> Result<BuildRequest, CliError> {
    let given = build.dir.as_deref().unwrap_or(Path::new("."));
    let bad = |words: &str| CliError::user(format!("use {}: {words}", given.display()));
    let dir = given.canonicalize().map_err(|error| {
        bad(&error.to_string()).hint("give the directory that `copy` copies from")
    })?;
    if !dir.is_dir() {
        return Err(bad("it is no directory").hint("give the directory that `copy` copies from"));
    }
    let dir = dir.into_os_string().into_string();
    let dir = dir.map_err(|_| bad("its path is not UTF-8"))?;
    let name = build.spec.file_name().unwrap_or(build.spec.as_os_str());
    Ok(BuildRequest {
        project: build.project.clone().unwrap_or_else(|| dir.clone()),
        dir,
        name: name.to_string_lossy().into_owned(),
        spec: text,
        secrets: secrets(&build.secret, spec)?,
        rebuild: build.rebuild,
        ..BuildRequest::default()
    })
}

/// The values of the secrets that the spec asks for.
fn secrets(given: &[String], spec: &Spec) -> Result<Vec<SecretValue>, CliError> {
    let wanted = spec.secrets();
    let mut seen = BTreeSet::new();
    let mut values = Vec::new();
    for secret in given {
        let (id, path) = secret
            .split_once(':')
            .ok_or_else(|| CliError::user(format!("take the secret {secret}: want ID:FILE")))?;
        if !seen.insert(id) {
            return Err(CliError::user(format!(
                "take the secret {id}: it is given twice"
            )));
        }
        let value = read_secret(id, &PathBuf::from(path))?;
        if wanted.contains(&id) {
            let id = id.to_owned();
            values.push(SecretValue { id, value });
        }
    }
    let missing = wanted.iter().find(|id| !seen.contains(**id));
    if let Some(id) = missing {
        let text = format!("find a value for the secret {id}, which the spec asks for");
        return Err(CliError::user(text).hint(format!("give it with --secret {id}:FILE")));
    }
    Ok(values)
}

fn read_secret(id: &str, path: &Path) -> Result<Vec<u8>, CliError> {
    let bad = |words: String| {
        CliError::user(format!(
            "read the secret {id} from {}: {words}",
            path.display()
        ))
    };
    let mut value = Vec::new();
    let max = SECRET_BYTES_MAX as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(max).read_to_end(&mut value));
    read.map_err(|error| bad(error.to_string()))?;
    if value.len() > SECRET_BYTES_MAX {
        return Err(bad(format!("it is longer than {SECRET_BYTES_MAX} bytes")));
    }
    Ok(value)
}
