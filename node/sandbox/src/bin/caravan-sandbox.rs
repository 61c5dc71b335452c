//! The sandbox as a program of its own, for operators and for the tests.
//!
//! `probe` says what this host can do, and with a directory to make also tries it. `emulation` says of
//! which other processors jobs can be, and with a directory tries that. `run` reads a job as JSON from
//! its input, runs it, and ends as the command did. `unshare` runs a program in a namespace as a node without root has it.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    process::{Command, ExitCode},
};

use caravan_sandbox::{
    Launcher, Meter, OciRuntime, OutputLimit, Sandbox, Spec, Status, emulation, look,
    rootless::{self, RootlessError},
    run_as_helper_if_asked, trial,
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
        Some("probe") => show_promises(),
        Some("emulation") => show_emulation(),
        Some("run") => run(),
        Some("unshare") => unshare(),
        _ => Err(
            "understand the arguments: say `probe`, `emulation`, `run` with a job on the \
                  input, or `unshare` with a program"
                .into(),
        ),
    };
    done.unwrap_or_else(|error| {
        eprintln!("failed to {error}");
        ExitCode::from(EXIT_FAULT)
    })
}

type Failure = Box<dyn std::error::Error>;

fn show_promises() -> Result<ExitCode, Failure> {
    let promises = look(None)?;
    for kept in &promises.kept {
        println!("{}: {}", kept.name, kept.by);
    }
    for lack in &promises.lacking {
        println!("{lack}");
    }
    if let Some(dir) = std::env::args_os().nth(2) {
        trial(&Launcher::spawn()?, Path::new(&dir))?;
        println!("a trial job ran well");
    }
    Ok(ExitCode::SUCCESS)
}

fn show_emulation() -> Result<ExitCode, Failure> {
    let found = match std::env::args_os().nth(2) {
        Some(dir) => emulation::try_out(&Launcher::spawn()?, Path::new(&dir)),
        None => emulation::look(),
    };
    for emulated in &found.usable {
        println!("{}: {}", emulated.arch, emulated.interpreter.display());
    }
    for unusable in &found.unusable {
        println!("{unusable}");
    }
    Ok(ExitCode::SUCCESS)
}

fn unshare() -> Result<ExitCode, Failure> {
    let mut words = std::env::args_os().skip(2);
    let program = words.next().ok_or("start a program: none is named")?;
    let mut command = Command::new(program);
    command.args(words);
    let error = rootless::run_inside(command);
    if let RootlessError::Lacking { lacks, .. } = &error {
        for lack in lacks {
            eprintln!("hint: {}", lack.fix());
        }
    }
    Err(error.into())
}

fn run() -> Result<ExitCode, Failure> {
    let mut text = String::new();
    io::stdin().take(JOB_MAX).read_to_string(&mut text)?;
    let spec: Spec = serde_json::from_str(&text)?;
    let launcher = Launcher::spawn()?;
    let mut words = std::env::args().skip(2);
    let sandbox: Box<dyn Sandbox> = match (words.next().as_deref(), words.next()) {
        (None, _) => Box::new(launcher),
        (Some("--runtime"), Some(name)) => {
            Box::new(OciRuntime::new(launcher, &OciRuntime::find(&name)?)?)
        }
        _ => return Err("understand the arguments of `run`: --runtime NAME or nothing".into()),
    };
    let mut running = sandbox.start(&spec)?;
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
