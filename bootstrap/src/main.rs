//! The `caravan` binary: it parses flags, reads the configuration, hands policies to the node, and
//! shows people what the node says. Wiring only: nothing is decided or done here that another room
//! could.

use std::process::ExitCode;

use clap::Parser;

/// Prints a line; a reader that went away (`| head`) is no reason to die.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

mod cli;
mod commands;
mod config;
mod error;
mod lend;
mod progress;
mod rootless;
mod service;
mod show;
mod top;

fn main() -> ExitCode {
    // The sandbox helper is this same program; it must not have a single thread more.
    caravan_node::run_as_helper_if_asked();
    if let Err(error) = caravan_node::never_dump() {
        eprintln!("caravan: a crash of this process could leave its memory on the disk: {error}");
    }
    let cli = cli::Cli::parse();
    init_logs(cli.verbose);
    match commands::run(cli) {
        Ok(code) => code,
        Err(error) => {
            error.print();
            error.code()
        }
    }
}

/// The program's own log goes to standard error; `CARAVAN_LOG` chooses what of it.
fn init_logs(verbose: u8) {
    let default = match verbose {
        0 => "warn,caravan=info,caravan_node=info",
        1 => "warn,caravan=debug,caravan_node=debug,caravan_mesh=debug,caravan_store=debug",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("CARAVAN_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .without_time()
        .init();
}
