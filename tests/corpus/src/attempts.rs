//! All attempts that run inside, and the runner that makes them one by one.
//!
//! Each runs in a process of its own, so that one that changes its namespaces, its rights or its
//! mounts, or that is killed, leaves the next as it was.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, Signal, WaitOptions, kill_process, waitpid},
};

use crate::{
    attempt::{Attempt, Verdict},
    ground::Ground,
    raw,
};

mod calls;
mod cgroups;
mod descriptors;
mod devices;
mod files;
mod ipc;
mod keys;
mod mounts;
mod namespaces;
mod neighbours;
mod network;
mod privileges;
mod proc;
mod resources;
mod sys;
mod tools;
mod tracing;

pub use devices::TERMINAL_SIZE;
pub use tools::CANARY_NAME;

/// The longest that one attempt may take.
const ATTEMPT_MAX: Timespec = Timespec {
    tv_sec: 3,
    tv_nsec: 0,
};

/// Every attempt that a program inside makes, by class.
pub fn all() -> Vec<&'static Attempt> {
    let classes = [
        descriptors::ATTEMPTS,
        proc::ATTEMPTS,
        proc::READS,
        sys::ATTEMPTS,
        cgroups::ATTEMPTS,
        devices::ATTEMPTS,
        mounts::ATTEMPTS,
        namespaces::ATTEMPTS,
        keys::ATTEMPTS,
        tracing::ATTEMPTS,
        ipc::ATTEMPTS,
        neighbours::ATTEMPTS,
        network::ATTEMPTS,
        files::ATTEMPTS,
        privileges::ATTEMPTS,
        resources::ATTEMPTS,
        calls::ATTEMPTS,
    ];
    classes.into_iter().flatten().collect()
}

/// Makes all attempts whose id begins with `prefix`, printing one line for each: its id, its
/// verdict and the reason, with tabs between.
///
/// # Errors
/// If nobody can be told.
pub fn run_all(ground: &Ground, prefix: &str) -> io::Result<()> {
    for attempt in all() {
        if !attempt.id.starts_with(prefix) {
            continue;
        }
        let verdict = run_apart(attempt, ground);
        // In one write, so that nothing of another process comes between.
        let line = format!("{}\t{verdict}\n", attempt.id);
        io::stdout().write_all(line.as_bytes())?;
    }
    Ok(())
}

fn run_apart(attempt: &Attempt, ground: &Ground) -> Verdict {
    match try_apart(attempt, ground) {
        Ok(verdict) => verdict,
        Err(error) => Verdict::Stopped(format!("the attempt could not begin: {error}")),
    }
}

fn try_apart(attempt: &Attempt, ground: &Ground) -> io::Result<Verdict> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    let Some(pid) = raw::fork()? else {
        drop(read);
        let _ = rustix::process::setsid();
        let line = attempt.run(ground).to_string();
        let _ = File::from(write).write_all(line.as_bytes());
        raw::exit(0);
    };
    drop(write);
    let said = listen(read);
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
    // What it started is in its session and goes with the job.
    let _ = kill_process(pid, Signal::KILL);
    let ended = waitpid(Some(pid), WaitOptions::empty())?;
    let verdict = said.and_then(|said| Verdict::parse(&said));
    let signal = ended.and_then(|(_, status)| status.terminating_signal());
    Ok(verdict.unwrap_or_else(|| match signal {
        Some(signal) if signal != Signal::KILL.as_raw() => {
            Verdict::Stopped(format!("ended by signal {signal}"))
        }
        _ => Verdict::Stopped("no answer in time".to_owned()),
    }))
}

/// What the attempt's process says until it ends or its time is up.
fn listen(pipe: OwnedFd) -> Option<String> {
    let mut fds = [PollFd::new(&pipe, PollFlags::IN)];
    if poll(&mut fds, Some(&ATTEMPT_MAX)).ok()? == 0 {
        return None;
    }
    let mut said = [0; 1024];
    let got = File::from(pipe).read(&mut said).ok()?;
    (got > 0).then(|| String::from_utf8_lossy(&said[..got]).into_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::all;
    use crate::attempt::Act;

    #[test]
    fn every_attempt_has_a_name_of_its_own_a_source_and_words() {
        let mut seen = BTreeSet::new();
        for attempt in all() {
            assert!(seen.insert(attempt.id), "{} is there twice", attempt.id);
            assert!(attempt.id.contains('.'), "{}", attempt.id);
            assert!(
                !attempt.source.is_empty() && !attempt.what.is_empty(),
                "{}",
                attempt.id
            );
        }
    }

    #[test]
    fn the_corpus_is_large_and_mostly_more_than_single_calls() {
        let attempts = all();
        let calls = attempts
            .iter()
            .filter(|attempt| matches!(attempt.act, Act::Call(..)))
            .count();
        assert!(attempts.len() >= 170, "{}", attempts.len());
        assert!(calls * 3 <= attempts.len(), "{calls} of {}", attempts.len());
    }
}
