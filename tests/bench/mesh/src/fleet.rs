//! Programs that know each other, of one kind: what the measurements need to do with them.

use std::{
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use crate::Failure;

/// Longest that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(180);
/// Pause between two looks at those that are not there yet.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

/// Programs of one kind, by number. Dropping it ends them all.
pub(crate) trait Fleet {
    /// `ours` or `theirs`.
    fn side(&self) -> &'static str;
    /// What its figures of joining and dying are called apart from others of this side.
    fn kind(&self) -> &'static str {
        ""
    }
    /// How many there are when all run.
    fn count(&self) -> usize;
    /// Starts one; it need not be up when this returns.
    fn start(&mut self, number: usize) -> Result<(), Failure>;
    /// As `kill -9` does it.
    fn kill(&mut self, number: usize);
    /// The process of a running one.
    fn process(&self, number: usize) -> Option<u32>;
    /// Whom one takes to be alive, itself among them; nobody while it does not answer.
    fn alive(&self, viewer: usize) -> Result<Vec<bool>, Failure>;
    /// How often anyone was taken for dead by anyone since the start, killed ones too.
    fn deaths(&self) -> Result<u64, Failure>;
}

/// Starts all.
pub(crate) fn start_all(fleet: &mut dyn Fleet) -> Result<(), Failure> {
    (0..fleet.count()).try_for_each(|number| fleet.start(number))
}

/// Waits until every viewer says of each whether it lives as `wanted` does; how long that took since
/// `began`. A dead viewer is not asked.
pub(crate) fn settled(
    fleet: &dyn Fleet,
    began: Instant,
    wanted: impl Fn(usize) -> bool,
) -> Result<Duration, Failure> {
    let mut left: Vec<usize> = (0..fleet.count())
        .filter(|viewer| wanted(*viewer))
        .collect();
    loop {
        let mut behind = Vec::new();
        for viewer in left {
            let seen = fleet.alive(viewer)?;
            let agrees = |number: usize| seen.get(number).is_some_and(|is| *is == wanted(number));
            if !(0..fleet.count()).all(agrees) {
                behind.push(viewer);
            }
        }
        let took = began.elapsed();
        if behind.is_empty() {
            return Ok(took);
        }
        if took > PATIENCE {
            return Err(format!("after {took:?} these do not agree yet: {behind:?}").into());
        }
        left = behind;
        thread::sleep(LOOK);
    }
}

/// A call of `program`, in a network namespace if one is named.
pub(crate) fn inside(namespace: Option<&str>, program: &std::path::Path) -> Command {
    match namespace {
        None => Command::new(program),
        Some(name) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/run/netns/{name}")).arg(program);
            command
        }
    }
}

/// Ends a program for good.
pub(crate) fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}
