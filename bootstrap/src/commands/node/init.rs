//! `caravan node init`: a mesh of this machine alone, founded in so many words.

use std::{path::Path, process::ExitCode};

use caravan_node::invites::check_operator;

use crate::{
    cli::NodeInit,
    commands::{now, setup},
    error::{CliError, Kind},
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
    let operator = operator(data, flags.operator.as_deref())?;
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

/// Who runs the node: as the command line says, else as the file does. It is written into the file and
/// into certificates, so both are checked.
fn operator(data: &Path, given: Option<&str>) -> Result<String, CliError> {
    if let Some(given) = given {
        check_operator(given).map_err(CliError::user)?;
        return Ok(given.to_owned());
    }
    let said = crate::config::operator(data)?;
    let path = data.join("config.toml");
    check_operator(&said)
        .map_err(|text| CliError::new(Kind::Config, format!("read {}: {text}", path.display())))?;
    Ok(said)
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_operator_is_checked_wherever_it_comes_from() {
        let dir = tempfile::tempdir().expect("writable");
        let data = dir.path();
        assert_eq!(operator(data, None).expect("the usual"), "local");
        fs::write(data.join("config.toml"), "operator = \"ann\"\n").expect("writable");
        assert_eq!(operator(data, None).expect("a name"), "ann");
        assert_eq!(operator(data, Some("bob")).expect("a name"), "bob");
        let injected = "a\"\npeers = [\"/ip4/10.0.0.1/udp/1/quic-v1\"]\nx = \"";
        assert!(operator(data, Some(injected)).is_err());
        let text = format!("operator = '''{injected}'''\n");
        fs::write(data.join("config.toml"), text).expect("writable");
        let refused = operator(data, None).expect_err("more than a name");
        let said = format!("{refused:?}");
        assert!(
            said.contains("config.toml") && said.contains("Config"),
            "{said}"
        );
    }
}
