//! What the system counts of a process and of the processes that it has started.

use std::{collections::BTreeMap, fs};

use crate::Failure;

/// Counted at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Seconds of processor time so far.
    pub(crate) processor_s: f64,
    /// Bytes of memory now.
    pub(crate) resident: u64,
    /// Bytes that its network namespace's cable has carried so far, out and in.
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

impl Usage {
    /// Of a process with all below it.
    pub(crate) fn of(process: u32) -> Result<Self, Failure> {
        let (sent, received) = carried(process)?;
        let mut usage = Self {
            sent,
            received,
            ..Self::default()
        };
        for one in with_children(process)? {
            // It may be gone by now.
            let Ok(stat) = stat(one) else { continue };
            usage.processor_s += stat.ticks / f64::from(rustix_ticks());
            usage.resident += stat.pages * rustix::param::page_size() as u64;
        }
        Ok(usage)
    }
}

fn rustix_ticks() -> u32 {
    u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100)
}

struct Stat {
    parent: u32,
    ticks: f64,
    pages: u64,
}

/// Of /proc/PID/stat: fields 4, 14 and 15, 24.
fn stat(process: u32) -> Result<Stat, Failure> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, rest) = text.rsplit_once(") ").ok_or("an odd /proc/PID/stat")?;
    let words: Vec<&str> = rest.split(' ').collect();
    let field = |number: usize| {
        words
            .get(number - 3)
            .copied()
            .ok_or("a short /proc/PID/stat")
    };
    Ok(Stat {
        parent: field(4)?.parse()?,
        ticks: field(14)?.parse::<f64>()? + field(15)?.parse::<f64>()?,
        pages: field(24)?.parse()?,
    })
}

fn with_children(process: u32) -> Result<Vec<u32>, Failure> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Ok(stat) = stat(id) {
            children.entry(stat.parent).or_default().push(id);
        }
    }
    let mut found = vec![process];
    let mut next = 0;
    while let Some(one) = found.get(next) {
        found.extend(children.remove(one).unwrap_or_default());
        next += 1;
    }
    Ok(found)
}

/// Bytes out and in of `eth0`, if the process has one.
fn carried(process: u32) -> Result<(u64, u64), Failure> {
    let text = fs::read_to_string(format!("/proc/{process}/net/dev"))?;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("eth0:"));
    let Some(line) = line else { return Ok((0, 0)) };
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| {
        words
            .get(at)
            .and_then(|word| word.parse().ok())
            .unwrap_or(0)
    };
    Ok((number(8), number(0)))
}
