//! What founding a mesh and joining one have in common: the directory is opened, what is lent is
//! settled and written down, and the node becomes a service or its operator is told how to start it.

use std::{path::Path, process::ExitCode};

use caravan_node::{
    home::{Home, HomeError},
    leaving,
};
use caravan_protocol::identity::Genesis;

use crate::{
    cli::{Lend, Service, ServiceArg},
    config::written,
    error::CliError,
    lend::{self, Lent, Machine},
    rootless,
    service::{self, Unit},
};

/// Whether it can be done at all, asked before anything is.
pub(super) fn is_possible(data: &Path, flags: &Service) -> Result<(), CliError> {
    not_being_left(data)?;
    if flags.service == Some(ServiceArg::Install)
        && let Some(why) = service::obstacle()
    {
        return Err(CliError::user(format!("install a service: {why}"))
            .hint("leave --service out, and start the node yourself or by your own supervisor")
            .hint("--service=print shows the unit"));
    }
    Ok(())
}

/// Refuses a directory of which only a part is left.
pub(super) fn not_being_left(data: &Path) -> Result<(), CliError> {
    if !leaving::is_begun(data) {
        return Ok(());
    }
    let text = format!("use {}: its node is being taken away", data.display());
    Err(CliError::user(text).hint("`caravan node leave` ends that; then begin anew"))
}

/// Opens the node's directory.
pub(super) fn open(data: &Path) -> Result<Home, CliError> {
    Home::open(data).map_err(|error: HomeError| {
        let told = CliError::node(&error);
        match error {
            HomeError::Store(_) => {
                told.hint("a running node must be stopped first: caravan node stop")
            }
            _ => told,
        }
    })
}

/// What is to be written into `config.toml`.
pub(super) struct Wanted {
    lent: Option<Lent>,
}

impl Wanted {
    /// Settles what is lent, unless a file says it already and the command line says nothing that
    /// belongs there.
    pub(super) fn of(data: &Path, flags: &Lend, more: bool) -> Result<Self, CliError> {
        let write = written::wanted(data, flags.is_explicit() || more)?;
        let lent = write.then(|| lend::settle(flags, Machine::here(data)));
        Ok(Self {
            lent: lent.transpose()?,
        })
    }

    /// Writes the file, `head` first.
    pub(super) fn write(self, data: &Path, head: &str) -> Result<(), CliError> {
        let path = data.join("config.toml");
        match self.lent {
            Some(lent) => {
                written::write(data, &format!("{head}{}", lent.toml()))?;
                say!("lends {}", lent.words());
                say!(
                    "        ({} says so; it is yours to change)",
                    path.display()
                );
            }
            None => say!("lends what {} says", path.display()),
        }
        Ok(())
    }
}

/// The last step: a service, its unit's text, or words. Then how to undo it all.
pub(super) fn serve(data: &Path, flags: &Service) -> Result<ExitCode, CliError> {
    if rootless::has_outer_part() {
        return Ok(ExitCode::SUCCESS);
    }
    let unit = Unit::of(data)?;
    match flags.service {
        Some(ServiceArg::Print) => {
            say!("\n{}", unit.text()?);
            return Ok(ExitCode::SUCCESS);
        }
        Some(ServiceArg::Install) => {
            let path = service::install(&unit)?;
            say!(
                "runs as {}, now and at each boot ({})",
                unit.name(),
                path.display()
            );
            say!("look at it: caravan nodes; {}", unit.journal());
            if unit.scope == service::Scope::User {
                say!("to keep it when you are logged out: loginctl enable-linger");
            }
        }
        None => say!("start it: {}", unit.command()),
    }
    say!(
        "undo all of it: {}",
        unit.command().replace("node run", "node leave")
    );
    Ok(ExitCode::SUCCESS)
}

/// Whether the node has a mesh.
pub(super) fn genesis(home: &Home) -> Result<Option<Genesis>, CliError> {
    let genesis = home.load::<Genesis>("genesis", "mesh");
    genesis.map_err(|error| CliError::node(&error))
}
