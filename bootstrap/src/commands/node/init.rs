//! `caravan node init`: a mesh of this machine alone, founded in so many words.

use std::{path::Path, process::ExitCode};

use caravan_node::invites::check_operator;

use crate::{
    cli::NodeInit,
    commands::{now, setup},
    error::CliError,
    rootless,
};

pub(super) fn run(data: &Path, flags: &NodeInit) -> Result<ExitCode, CliError> {
    setup::is_possible(data, &flags.service)?;
    if rootless::is_outside() {
        if let Some(failed) = rootless::inner_part()? {
            return Ok(failed);
        }
        return setup::serve(data, &flags.service);
    }
    if let Some(operator) = &flags.operator {
        check_operator(operator).map_err(CliError::user)?;
    }
    let explicit = flags.operator.is_some();
    let wanted = setup::Wanted::of(data, &flags.lend, explicit)?;
    let home = setup::open(data)?;
    if let Some(genesis) = setup::genesis(&home)? {
        let mesh = genesis
            .mesh()
            .map(|mesh| mesh.fmt_short())
            .unwrap_or_default();
        let word = if genesis.founder == home.key.node() {
            "has founded"
        } else {
            "has joined"
        };
        let text = format!(
            "found a mesh: the node in {} {word} mesh {mesh} already",
            data.display()
        );
        return Err(CliError::user(text)
            .hint("invite others to it: caravan invite --operator NAME")
            .hint("or give another directory with --data"));
    }
    let operator = match &flags.operator {
        Some(operator) => operator.clone(),
        None => crate::config::operator(data)?,
    };
    // The file first: each start certifies the founder anew, as whom the file says.
    wanted.write(data, &head(&operator, flags.port))?;
    let mesh = home
        .init(&operator, now())
        .map_err(|error| CliError::node(&error))?;
    say!(
        "founded mesh {} with node {}, operator {operator}: a council of one",
        mesh.fmt_short(),
        home.key.node().fmt_short()
    );
    drop(home);
    let done = setup::serve(data, &flags.service)?;
    say!("then let others in: caravan invite --operator NAME");
    Ok(done)
}

/// What of `config.toml` is the founder's own.
fn head(operator: &str, port: u16) -> String {
    let listen = caravan_mesh::Config::every_interface(port);
    let listen: Vec<String> = listen
        .iter()
        .map(|address| format!("\"{address}\""))
        .collect();
    format!(
        "operator = \"{operator}\"\nlisten = [{}]\n\n",
        listen.join(", ")
    )
}
