//! The program that runs inside: makes the attempts, plays the canary, throws the bombs, leaves what
//! is not to be collected.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use caravan_corpus::{CANARY_NAME, attempts, bombs, gate, ground::Ground, leavings, plant::Canary};

fn main() -> ExitCode {
    // Before anything is opened.
    let inherited: Vec<i32> = (3..1024)
        .filter(|fd| std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok())
        .collect();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ground = |text: &str| {
        let mut ground: Ground = text.parse().unwrap_or_default();
        ground.inherited.clone_from(&inherited);
        let parent = rustix::process::getppid();
        ground.set(
            "init",
            parent.map_or(0, |parent| parent.as_raw_nonzero().get()),
        );
        ground
    };
    let done = match args.as_slice() {
        ["run", about, prefix] => attempts::run_all(&ground(about), prefix),
        ["canary", about] => canary(&ground(about), ""),
        ["neighbour", about] => canary(&ground(about), "n-"),
        ["whoami", _] => whoami(),
        ["bomb", name, about] => bombs::throw(name, &ground(about)),
        ["gate", about] => gate::ask_all(&ground(about)),
        ["tick", count] => bombs::tick(count.parse().unwrap_or(1)),
        ["leave", name] => leavings::leave(name),
        _ => return ExitCode::from(2),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Plants the canaries of one side, tells where they are, and serves.
fn canary(ground: &Ground, prefix: &str) -> io::Result<()> {
    if prefix.is_empty() {
        let name = std::ffi::CString::new(CANARY_NAME)?;
        rustix::thread::set_name(&name)?;
    }
    // With whoever started it, so that no place has to be waited for.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let canary = Canary::plant(ground, prefix);
    let mut out = io::stdout();
    writeln!(
        out,
        "address={:x} open={}",
        canary.address(),
        canary.open_number()
    )?;
    out.flush()?;
    canary.serve()
}

/// Who a program has become by being started.
fn whoami() -> io::Result<()> {
    let root = rustix::process::geteuid().is_root();
    let rights = !rustix::thread::capabilities(None)?.effective.is_empty();
    println!(
        "{} {}",
        if root { "root" } else { "plain" },
        if rights { "rights" } else { "no-rights" }
    );
    Ok(())
}
