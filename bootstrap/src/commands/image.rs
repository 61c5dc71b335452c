//! `caravan image`: images in and out of the node's store.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use caravan_node::{
    control::{Reply, Request},
    images::{ImageExport, ImageImport, ImageTold},
};

use super::{
    base::{Long, interrupted, long},
    print_json, unexpected,
};
use crate::{
    cli::{self, ImageVerb},
    error::CliError,
    show,
};

pub(super) fn run(data: &Path, verb: &ImageVerb) -> Result<ExitCode, CliError> {
    let (request, json) = match verb {
        ImageVerb::Import(import) => (import_request(import)?, import.output.json),
        ImageVerb::Export(export) => (export_request(export)?, export.output.json),
    };
    let told = match long(data, &request)? {
        Long::Done(Reply::ImageTold(told)) => told,
        Long::Interrupted => return Ok(interrupted()),
        Long::Done(_) => return Err(unexpected()),
    };
    if json {
        return print_json(&*told);
    }
    match *told {
        ImageTold::Imported {
            base,
            files,
            bytes,
            notes,
        } => {
            for note in notes {
                eprintln!("note: {}", show::plain(&note));
            }
            show::bases(&[base]);
            say!("  {files} files, {}", show::bytes(bytes));
        }
        ImageTold::Exported { manifest, bytes } => {
            say!("{manifest}");
            eprintln!("{} of layers", show::bytes(bytes));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn import_request(import: &cli::ImageImport) -> Result<Request, CliError> {
    let mut facts = BTreeMap::new();
    for fact in &import.fact {
        let (name, value) = fact
            .split_once('=')
            .ok_or_else(|| CliError::user(format!("read the fact {fact:?}: want NAME=VALUE")))?;
        facts.insert(name.to_owned(), value.to_owned());
    }
    let file = |file: &Option<PathBuf>| file.as_deref().map(absolute).transpose();
    Ok(Request::ImportImage(ImageImport {
        name: import.name.clone(),
        source: source(&import.source)?,
        platform: import.platform.clone(),
        insecure: import.insecure,
        auth_file: file(&import.auth_file)?,
        ca_file: file(&import.ca_file)?,
        facts,
    }))
}

fn export_request(export: &cli::ImageExport) -> Result<Request, CliError> {
    let tree = |text: &String| {
        text.parse()
            .map_err(|error: caravan_protocol::ids::ParseIdError| CliError::user(error.to_string()))
    };
    Ok(Request::ExportImage(ImageExport {
        what: export.what.clone(),
        layers: export.layer.iter().map(tree).collect::<Result<_, _>>()?,
        to: absolute(&export.to)?,
        tag: export.tag.clone(),
        zstd: export.zstd,
    }))
}

/// Paths are made absolute: the node has another working directory.
fn source(text: &str) -> Result<String, CliError> {
    for scheme in ["oci:", "oci-archive:"] {
        if let Some(rest) = text.strip_prefix(scheme) {
            return Ok(format!("{scheme}{}", absolute(Path::new(rest))?));
        }
    }
    if text.contains("://") || text.starts_with("registry:") {
        return Ok(text.to_owned());
    }
    absolute(Path::new(text))
}

pub(super) fn absolute(path: &Path) -> Result<String, CliError> {
    let shown = path.display();
    let whole = std::path::absolute(path)
        .map_err(|error| CliError::user(format!("find {shown}: {error}")))?;
    let text = whole.to_str().map(str::to_owned);
    text.ok_or_else(|| CliError::user(format!("find {shown}: its name is no text")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_path_stays_as_it_is() {
        let taken = |text: &str| source(text).expect("good");
        assert_eq!(taken("docker://h.example/x"), "docker://h.example/x");
        assert_eq!(taken("registry:h.example/x"), "registry:h.example/x");
        assert_eq!(taken("oci:/a/b:v1"), "oci:/a/b:v1");
        assert!(taken("rootfs.tar").starts_with('/'));
    }
}
