//! The sandbox as a program of its own, for operators and for the tests.
//!
//! `probe` says what this host can do. `run` reads a job as JSON from its input, runs it, and
//! ends as the command did.

use std::{
    fs::File,
    io::{self, Read as _},
    process::ExitCode,
};

use caravan_sandbox::{
    Launcher, Meter, OutputLimit, Sandbox as _, Spec, Status, probe, run_as_helper_if_asked,
};

/// Bytes of a job read from the input.
const JOB_MAX: u64 = 1 << 20;
/// Exit code for faults of the sandbox and of its user.
const EXIT_FAULT: u8 = 125;
/// What a shell adds to a signal's number.
const SIGNAL_BASE: i32 = 128;

fn main() -> ExitCode {
    run_as_helper_if_asked();
    let done = match std::env::args().nth(1).as_deref() {
        Some("probe") => show_abilities(),
        Some("run") => run(),
        _ => Err("understand the arguments: say `probe`, or `run` with a job on the input".into()),
    };
    done.unwrap_or_else(|error| {
        eprintln!("failed to {error}");
        ExitCode::from(EXIT_FAULT)
    })
}

type Failure = Box<dyn std::error::Error>;

fn show_abilities() -> Result<ExitCode, Failure> {
    let found = probe()?;
    println!("control groups: {}", found.cgroups);
    for (what, has) in [
        ("memory", found.memory_limit),
        ("processes", found.pids_limit),
        ("processor time", found.cpu_limit),
    ] {
        println!(
            "bound on {what} of a job: {}",
            if has { "yes" } else { "no" }
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn run() -> Result<ExitCode, Failure> {
    let mut text = String::new();
    io::stdin().take(JOB_MAX).read_to_string(&mut text)?;
    let spec: Spec = serde_json::from_str(&text)?;
    let launcher = Launcher::spawn()?;
    let mut running = launcher.start(&spec)?;
    let output = running
        .take_output()
        .ok_or("read the output: it is taken")?;
    let meter = Meter::new(spec.limits.output_bytes, running.killer());
    let mut output = OutputLimit::new(File::from(output), meter);
    io::copy(&mut output, &mut io::stdout())?;
    let exit = output.into_meter().amend(running.wait()?);
    if let Some(limit) = exit.limit {
        eprintln!("the job ran into its limit: {limit:?}");
    }
    let code = match exit.status {
        Status::Code(code) => code,
        Status::Signal(signal) => SIGNAL_BASE + signal,
    };
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(EXIT_FAULT)))
}
