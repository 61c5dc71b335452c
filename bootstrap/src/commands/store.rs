//! `caravan store`: the store of layers, through the node that holds it or, where none runs,
//! directly.

use std::{path::Path, process::ExitCode};

use caravan_node::{
    control::{Checked, Reply, Request},
    home::Home,
};

use super::{base::long, block, print_json, snapshot, socket, unexpected};
use crate::{cli::StoreVerb, error::CliError, progress::Bar, show};

pub(super) fn run(data: &Path, verb: &StoreVerb) -> Result<ExitCode, CliError> {
    let running = std::os::unix::net::UnixStream::connect(socket(data)).is_ok();
    match verb {
        StoreVerb::Stat(output) => {
            let stat = if running {
                block(snapshot(data))?.store
            } else {
                open(data)?.stat().map_err(|error| CliError::node(&error))?
            };
            if output.json {
                return print_json(&stat);
            }
            show::store(&stat);
            Ok(ExitCode::SUCCESS)
        }
        StoreVerb::Check { heal, output } => {
            let checked = if running {
                match block(long(data, &Request::CheckStore { heal: *heal }))? {
                    Reply::Check(checked) => checked,
                    _ => return Err(unexpected()),
                }
            } else {
                let mut bar = Bar::new();
                let home = open(data)?;
                let mut tell =
                    |done: u64, total: u64| bar.update("checking the store", done, total);
                let report = home
                    .store
                    .check(*heal, &mut tell)
                    .map_err(|error| CliError::node(&error))?;
                Checked::from(report)
            };
            if output.json {
                print_json(&checked)?;
            } else {
                show::checked(&checked, *heal);
            }
            Ok(if checked.clean {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(1)
            })
        }
    }
}

fn open(data: &Path) -> Result<Home, CliError> {
    if !data.join("store").exists() {
        return Err(CliError::user(format!(
            "open the store in {}: there is none yet",
            data.display()
        )));
    }
    Home::open(data).map_err(|error| CliError::node(&error))
}
