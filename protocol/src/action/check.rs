//! What an action must be like before it gets a key: bounds, and paths that stay where they are.

use super::{Cache, Copy, CopyFrom, CopyTo, Declared, Fetch, Network, Run};
use crate::limits;

type Checked = Result<(), &'static str>;

/// Users and groups that a sandbox has.
const IDS: u32 = 65_536;

fn is_good_path(path: &str) -> bool {
    path.starts_with('/') && is_good_name(path)
}

fn is_good_name(path: &str) -> bool {
    !path.contains('\0') && !path.split('/').any(|name| name == "..")
}

/// A command, with the caches that it is lent.
pub(super) fn run(run: &Run, caches: &[Cache]) -> Checked {
    if run.layers.len() > limits::LAYERS_MAX {
        return Err("it stacks more layers than allowed");
    }
    if run.inputs.len() > limits::INPUTS_MAX {
        return Err("it mounts more inputs than allowed");
    }
    if run.outputs.len() > limits::OUTPUTS_MAX {
        return Err("it has more named outputs than allowed");
    }
    if run.secrets.len() > limits::SECRETS_MAX || caches.len() > limits::CACHES_MAX {
        return Err("it has more secrets or caches than allowed");
    }
    if run.argv.first().is_none_or(String::is_empty) {
        return Err("it names no command");
    }
    let variables = run.env.iter().flat_map(|(name, value)| [name, value]);
    if run
        .argv
        .iter()
        .chain(variables)
        .any(|text| text.contains('\0'))
    {
        return Err("its command or environment holds a NUL byte");
    }
    let is_bad_variable = |name: &str| name.is_empty() || name.contains('=');
    if run.env.iter().any(|(name, _)| is_bad_variable(name)) {
        return Err("a variable of its environment has no good name");
    }
    let secrets = run
        .secrets
        .iter()
        .map(|secret| (&secret.id, &secret.target));
    let lent = caches.iter().map(|cache| (&cache.id, &cache.target));
    let is_good_id = |id: &str| !id.is_empty() && id.len() <= limits::SPEC_NAME_BYTES_MAX;
    for (id, target) in secrets.chain(lent) {
        if !is_good_id(id) {
            return Err("a secret or a cache of it has no name, or one that is too long");
        }
        if !is_good_path(target) {
            return Err(
                "a secret or a cache of it has a path that is not absolute or has `..` in it",
            );
        }
    }
    let inputs = run.inputs.iter().map(|input| &input.target);
    let outputs = run.outputs.iter().map(|output| &output.path);
    if !inputs
        .chain([&run.workdir])
        .chain(outputs)
        .all(|path| is_good_path(path))
    {
        return Err("a path in it is not absolute or has `..` in it");
    }
    if let Network::Fetch(files) = &run.network {
        declared(files)?;
    }
    user(run.user)
}

/// A declared fetch.
pub(super) fn fetch(fetch: &Fetch) -> Checked {
    declared(&fetch.files)
}

fn declared(files: &[Declared]) -> Checked {
    if files.is_empty() || files.len() > limits::FETCH_FILES_MAX {
        return Err("a fetch declares no file or too many");
    }
    let mut counts = files.iter().map(|file| file.checksums.len());
    if counts.any(|count| count == 0 || count > 8) {
        return Err("a declared file needs one to eight checksums");
    }
    Ok(())
}

/// A copy.
pub(super) fn copy(copy: &Copy) -> Checked {
    if copy.src.is_empty() || copy.src.len() > limits::COPY_NAMES_MAX {
        return Err("a copy names no source or too many");
    }
    if copy.exclude.len() > limits::COPY_NAMES_MAX {
        return Err("a copy leaves out more names than allowed");
    }
    if let CopyFrom::Root { layers, .. } = &copy.from
        && layers.len() > limits::LAYERS_MAX
    {
        return Err("it stacks more layers than allowed");
    }
    if !copy
        .src
        .iter()
        .all(|path| !path.starts_with('/') && is_good_name(path))
    {
        return Err("a path that it copies is absolute or has `..` in it");
    }
    match &copy.dst {
        CopyTo::As(_) if copy.src.len() > 1 => {
            return Err("several things are to be copied to one name");
        }
        CopyTo::As(path) | CopyTo::Into(path) if !is_good_path(path) => {
            return Err("a path in it is not absolute or has `..` in it");
        }
        CopyTo::As(_) | CopyTo::Into(_) => {}
    }
    user(copy.user)
}

fn user((user, group): (u32, u32)) -> Checked {
    if user >= IDS || group >= IDS {
        return Err("its user is outside of 0..65536");
    }
    Ok(())
}
