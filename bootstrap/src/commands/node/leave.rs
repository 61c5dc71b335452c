//! `caravan node leave`: what `join` made is taken away again, in the other order. The mesh is told,
//! the service goes, then the directory. Cut off anywhere, it goes on when it is asked for again.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::ExitCode,
    time::Duration,
};

use caravan_node::{
    Launcher,
    control::Request,
    home::{Home, HomeError},
    leaving,
};
use caravan_protocol::{
    identity::Tier,
    view::{ModeView, NodeView},
};

use super::{block, drain::drained};
use crate::{
    cli::NodeLeave,
    commands::{node::with_one, setup, snapshot, socket},
    error::{CliError, chain},
    rootless,
    service::{self, Unit},
};

/// How long the directory of a node that has just stopped may still be held.
const HELD_MAX: Duration = Duration::from_secs(30);
const HELD: Duration = Duration::from_millis(100);

pub(super) fn run(data: &Path, flags: &NodeLeave) -> Result<ExitCode, CliError> {
    // Read while the configuration is there; a broken one is no reason to stay.
    let unit = Unit::of(data).unwrap_or_else(|_| Unit::bare(data));
    let has_unit = service::installed(&unit)?.is_some();
    if !leaving::is_node(data) {
        if has_unit && !rootless::has_outer_part() {
            return unserve(&unit).map(|()| ExitCode::SUCCESS);
        }
        let text = format!("leave: there is no node in {}", data.display());
        return Err(CliError::user(text).hint("--data names another directory"));
    }
    if rootless::is_outside() {
        if let Some(failed) = rootless::inner_part()? {
            return Ok(failed);
        }
        unserve(&unit)?;
        return Ok(ExitCode::SUCCESS);
    }
    let goes_on = leaving::is_begun(data);
    let runs = UnixStream::connect(socket(data)).is_ok();
    let mut is_founder = false;
    if !goes_on {
        let others = needed_by(data, runs)?;
        is_founder = others.is_some();
        if let Some(others @ 1..) = others
            && !flags.end_mesh
        {
            return Err(needed(others));
        }
        if !flags.yes {
            agreed(data, flags, has_unit)?;
        }
    }
    // Before any thread; a host that runs no sandboxes has left nothing of one.
    let launcher = Launcher::spawn();
    if !goes_on {
        let held = if runs { HELD_MAX } else { Duration::ZERO };
        if !runs && has_unit && !rootless::has_outer_part() {
            unserve(&unit)?;
        }
        if let Err(error) = told(data, flags, runs, is_founder) {
            error.print();
            eprintln!("the mesh could not be told; it notices by itself");
        }
        forgotten(data, held)?;
    }
    if !rootless::has_outer_part() {
        unserve(&unit)?;
    }
    removed(data, flags, launcher)?;
    Ok(ExitCode::SUCCESS)
}

/// How many others a founding node signs certificates for; nothing for any other node. What cannot be
/// found out keeps nobody.
fn needed_by(data: &Path, runs: bool) -> Result<Option<usize>, CliError> {
    if runs {
        let snapshot = block(snapshot(data))?;
        let is_founder = |node: &NodeView| node.here && node.tier == Tier::Council;
        if !snapshot.nodes.iter().any(is_founder) {
            return Ok(None);
        }
        let gone = [ModeView::Left, ModeView::Dead, ModeView::Revoked];
        let others = snapshot.nodes.iter().filter(|node| !node.here);
        let others = others.filter(|node| !gone.contains(&node.mode));
        return Ok(Some(others.count()));
    }
    let home = match Home::open(data) {
        Ok(home) => home,
        Err(error) if error.is_held() => return Err(in_use(&error)),
        Err(_) => return Ok(None),
    };
    let genesis = setup::genesis(&home)?;
    if genesis.is_none_or(|genesis| genesis.founder != home.key.node()) {
        return Ok(None);
    }
    let certs = home.store.records("cert");
    Ok(Some(certs.map_or(0, |certs| certs.len().saturating_sub(1))))
}

fn needed(others: usize) -> CliError {
    let text = format!(
        "leave: this node has founded its mesh, and nobody else signs the certificates of the other \
         {others}"
    );
    CliError::user(text)
        .hint("`caravan node drain` stops it in order, for a while")
        .hint("--end-mesh goes all the same; the mesh ends when the last certificate does")
}

/// Asks once more, with what goes and what it means.
fn agreed(data: &Path, flags: &NodeLeave, has_unit: bool) -> Result<(), CliError> {
    if !io::stdin().is_terminal() {
        let text = format!(
            "remove the node in {}: nobody is there to be asked",
            data.display()
        );
        return Err(CliError::user(text).hint("--yes answers"));
    }
    let service = if has_unit { ", its service" } else { "" };
    let layers = if flags.keep_store {
        "but what was built and its key"
    } else {
        "with all that was built, and its key"
    };
    eprint!(
        "This node leaves its mesh for good{service} and the directory {} go, {layers}. Go on? [y/N] ",
        data.display()
    );
    let _ = io::stderr().flush();
    let mut line = String::new();
    let mut answer = io::Read::take(io::stdin().lock(), 100);
    let read = answer.read_line(&mut line);
    if read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(CliError::user("leave: nothing was done"))
}

/// Says good-bye to the mesh, by the running node or by one started for it.
fn told(data: &Path, flags: &NodeLeave, runs: bool, is_founder: bool) -> Result<(), CliError> {
    let request = Request::Drain {
        // A founding node gives its membership up by itself, when it is gone.
        leave: !is_founder,
        wait: !flags.now,
    };
    if runs {
        return block(drained(&socket(data), &request));
    }
    let home = setup::open(data)?;
    let has_mesh = setup::genesis(&home)?.is_some();
    let others = home.store.records("cert").map_or(0, |certs| certs.len());
    drop(home);
    if !has_mesh || others < 2 {
        // A mesh of one has nobody to tell.
        return Ok(());
    }
    with_one(
        data,
        |socket| async move { drained(&socket, &request).await },
    )
}

/// The membership goes first: from here on this machine is no member, whatever happens. A node that
/// has just stopped may hold its store for a moment.
fn forgotten(data: &Path, held: Duration) -> Result<(), CliError> {
    let begun = std::time::Instant::now();
    loop {
        match Home::open(data) {
            Ok(home) => return home.leave().map_err(|error| CliError::node(&error)),
            Err(_) if begun.elapsed() < held => std::thread::sleep(HELD),
            Err(error) if error.is_held() => return Err(in_use(&error)),
            Err(error) => {
                let why = chain(&error);
                eprintln!("caravan: removing what cannot be opened any more: {why}");
                return Ok(());
            }
        }
    }
}

fn in_use(error: &HomeError) -> CliError {
    CliError::node(error).hint("wait for it, or stop the node: caravan node stop")
}

fn removed(
    data: &Path,
    flags: &NodeLeave,
    launcher: Result<Launcher, impl std::error::Error>,
) -> Result<(), CliError> {
    let trouble = |error: leaving::LeavingError| {
        CliError::node(&error).hint("`caravan node leave` again goes on from here")
    };
    leaving::begin(data).map_err(trouble)?;
    if let Ok(launcher) = launcher {
        leaving::clean(data, &launcher).map_err(trouble)?;
    }
    let others = leaving::take_away(data, flags.keep_store).map_err(trouble)?;
    if flags.keep_store {
        say!(
            "kept {}/store; `caravan join` in this directory uses it again",
            data.display()
        );
    } else if others.is_empty() {
        say!("removed {}; nothing of the node is left", data.display());
    } else {
        say!("removed the node; what is not of it stays:");
    }
    for other in others {
        say!("  {}", other.display());
    }
    Ok(())
}

/// Stops the service and removes its unit.
fn unserve(unit: &Unit) -> Result<(), CliError> {
    match service::remove(unit) {
        Ok(Some(path)) => {
            say!("stopped and removed the service {}", path.display());
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error.hint("`caravan node leave` again goes on from here")),
    }
}
