//! The mark that everything carries which a test puts on the machine: who made it, so that whoever
//! comes later can tell the leavings of a dead test from what a live one uses.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::host::text;

const PREFIX: &str = "cvh";
/// Where `ip netns` keeps the names of namespaces.
const NAMESPACES: &str = "/run/netns";

/// Marks what one [`super::Lan`] puts on the machine; all of it goes when this is dropped.
#[derive(Debug)]
pub struct Mark(String);

impl Mark {
    /// A mark that nothing else has. What dead tests have left is removed.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let process = std::process::id();
        let begun = begun(process).expect("this process is alive");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{PREFIX}-{process}-{begun}-{number}"))
    }

    /// The name of one thing that carries this mark.
    #[must_use]
    pub fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.0)
    }
}

impl Default for Mark {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let own = format!("{}-", self.0);
        remove(|name| name.starts_with(&own));
    }
}

/// Removes what tests that are no more have left: their namespaces, and the programs in them.
pub fn sweep() {
    remove(|name| owner(name).is_some_and(|(process, then)| begun(process) != Some(then)));
}

/// The process that made a thing of this name, and when that process began.
fn owner(name: &str) -> Option<(u32, u64)> {
    let mut words = name.split('-');
    if words.next() != Some(PREFIX) {
        return None;
    }
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// When a living process began, in ticks since the machine did: its id alone may be used again.
fn begun(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    let state = words.next()?;
    let then = words.nth(18)?.parse().ok()?;
    (state != "Z").then_some(then)
}

fn remove(is_ours: impl Fn(&str) -> bool) {
    let Ok(entries) = fs::read_dir(NAMESPACES) else {
        return;
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names: Vec<String> = names.filter(|name| is_ours(name)).collect();
    for name in &names {
        kill_in(name);
    }
    for name in &names {
        // Another test may be faster.
        let _ = Command::new("ip").args(["netns", "del", name]).output();
    }
}

/// Kills every program in a namespace.
fn kill_in(name: &str) {
    let listed = Command::new("ip").args(["netns", "pids", name]).output();
    let Ok(listed) = listed else { return };
    let pids = text(&listed.stdout);
    let pids = pids.lines().filter_map(|line| line.trim().parse().ok());
    for pid in pids.filter_map(Pid::from_raw) {
        if pid != rustix::process::getpid() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_carries_a_mark_has_an_owner() {
        let own = std::process::id();
        let then = begun(own).expect("alive");
        assert_eq!(
            owner(&format!("{PREFIX}-{own}-{then}-0-h1")),
            Some((own, then))
        );
        for other in ["cv12a", "cvh", "cvh-x-1-0-h", "vpn", ""] {
            assert_eq!(owner(other), None, "{other}");
        }
        assert_eq!(begun(own), Some(then));
    }
}
