//! `[limits]` of `config.toml`: the most that a node allows one step to ask for.
//!
//! ```toml
//! [limits]
//! memory = "32GiB"    # or a share of the machine's: "50%"
//! disk = "100GiB"     # or a share of the file system that the store is on
//! files = 2000000     # files, directories and links
//! processes = 4096
//! log = "64MiB"
//! minutes = 240       # wall clock
//! cpu_minutes = 960   # processor time of all processes of a step
//! cores = 1.5         # how many one step gets at once; all of them if nothing is said
//! ```

use caravan_node::{Config, config::machine, keeping::Amount};
use serde::Deserialize;

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsFile {
    memory: Option<String>,
    disk: Option<String>,
    files: Option<u64>,
    processes: Option<u32>,
    log: Option<String>,
    minutes: Option<u64>,
    cpu_minutes: Option<u64>,
    cores: Option<f64>,
}

/// Fewest and most cores that one step can be given.
const CORES: std::ops::RangeInclusive<f64> = 0.01..=1000.0;
const MINUTE_MS: u64 = 60_000;

impl LimitsFile {
    /// Puts what the file says in the place of the defaults.
    pub(super) fn apply(&self, config: &mut Config) -> Result<(), String> {
        let most = &mut config.most;
        let disk = || machine::disk_bytes(&config.data);
        set(
            &mut most.memory_bytes,
            "memory",
            &self.memory,
            machine::memory_bytes,
        )?;
        set(&mut most.disk_bytes, "disk", &self.disk, disk)?;
        set(&mut most.log_bytes, "log", &self.log, || 0)?;
        let minutes = |count: u64| count.saturating_mul(MINUTE_MS);
        put(&mut most.inodes, "files", self.files)?;
        put(&mut most.pids, "processes", self.processes)?;
        put(&mut most.wall_ms, "minutes", self.minutes.map(minutes))?;
        put(
            &mut most.cpu_ms,
            "cpu_minutes",
            self.cpu_minutes.map(minutes),
        )?;
        if let Some(cores) = self.cores {
            if !CORES.contains(&cores) {
                return Err(format!(
                    "[limits] gives a step {cores} cores: want 0.01 to 1000"
                ));
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "10 to 1,000,000, as was just seen"
            )]
            let millis = (cores * 1000.0).round() as u64;
            config.cpu_millis = Some(millis);
        }
        Ok(())
    }
}

fn put<T: Default + PartialEq>(to: &mut T, what: &str, value: Option<T>) -> Result<(), String> {
    match value {
        Some(value) if value == T::default() => {
            Err(format!("[limits] allows no {what}: no step could run"))
        }
        Some(value) => {
            *to = value;
            Ok(())
        }
        None => Ok(()),
    }
}

fn set(
    to: &mut u64,
    what: &str,
    text: &Option<String>,
    whole: impl FnOnce() -> u64,
) -> Result<(), String> {
    let Some(text) = text else { return Ok(()) };
    let amount = text.parse::<Amount>();
    let bytes = match amount.map_err(|error| format!("[limits] {what}: {error}"))? {
        Amount::Bytes(bytes) => bytes,
        Amount::Percent(percent) => whole() / 100 * u64::from(percent),
    };
    put(to, what, Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str) -> Result<Config, String> {
        let file: LimitsFile = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut config = Config::new("/tmp".into());
        file.apply(&mut config)?;
        Ok(config)
    }

    #[test]
    fn what_is_said_is_taken_and_the_rest_stays() {
        let config =
            applied("memory = \"3GiB\"\nminutes = 5\ncores = 1.5\nfiles = 7\n").expect("good");
        let most = config.most;
        assert_eq!(
            (most.memory_bytes, most.wall_ms, most.inodes),
            (3 << 30, 300_000, 7)
        );
        assert_eq!(config.cpu_millis, Some(1500));
        let usual = Config::new("/tmp".into()).most;
        assert_eq!((most.pids, most.disk_bytes), (usual.pids, usual.disk_bytes));
        let half = applied("memory = \"50%\"").expect("good").most.memory_bytes;
        assert_eq!(half, machine::memory_bytes() / 100 * 50);
    }

    #[test]
    fn what_would_stop_every_step_is_refused() {
        for bad in [
            "memory = \"0\"",
            "memory = \"lots\"",
            "log = \"50%\"",
            "processes = 0",
            "cores = 0.0",
            "cores = nan",
            "files = -1",
            "colour = 1",
        ] {
            assert!(applied(bad).is_err(), "{bad} was taken");
        }
    }
}
