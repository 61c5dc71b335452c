//! `[lend]` of `config.toml`: what a node gives to its mesh in all, while `[limits]` bounds one step.
//!
//! ```toml
//! [lend]
//! cores = 6               # steps that run at once, a core each; all cores, and all of each, if nothing is said
//! memory = "12GiB"        # of all steps together: those that declare none share it
//! disk = "100GiB"         # where the store is collected
//! hours = "22:00-06:00"   # when work of others and of one's own is taken, by the wall clock
//! ```

use caravan_node::{
    Config,
    config::{hours::Hours, machine},
    keeping::Amount,
};
use serde::Deserialize;

/// What a node gives to its mesh.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct LendFile {
    pub(crate) cores: Option<u32>,
    memory: Option<String>,
    disk: Option<String>,
    hours: Option<String>,
}

const MILLIS: u64 = 1000;

impl LendFile {
    /// Puts what the file says in the place of the defaults. What `slots`, `[limits]` and `[store]`
    /// say goes before it, and is applied later.
    pub(super) fn apply(&self, config: &mut Config) -> Result<(), String> {
        if let Some(cores) = self.cores {
            if cores == 0 {
                return Err(
                    "[lend] gives no core: leave the mesh instead, or pause the node".to_owned(),
                );
            }
            // Whoever lends all lets each step have all that the others leave.
            if cores < config.slots {
                config.cpu_millis = Some(MILLIS);
            }
            config.slots = cores;
        }
        if let Some(memory) = self.memory_bytes()? {
            // Everybody asks for the usual and uses less: nobody would run anything with less.
            let usual = caravan_protocol::action::Limits::default().memory_bytes;
            config.most.memory_bytes = memory.max(usual);
            config.memory_bytes = memory;
        }
        if let Some(disk) = &self.disk {
            let amount = disk.parse::<Amount>();
            let amount = amount.map_err(|error| format!("[lend] disk: {error}"))?;
            config.store.high = Some(amount);
        }
        if let Some(hours) = &self.hours {
            let hours = hours.parse::<Hours>();
            config.hours = Some(hours.map_err(|error| format!("[lend] hours: {error}"))?);
        }
        Ok(())
    }

    /// How much memory, bytes.
    pub(crate) fn memory_bytes(&self) -> Result<Option<u64>, String> {
        let Some(text) = &self.memory else {
            return Ok(None);
        };
        match text.parse::<Amount>() {
            Ok(Amount::Bytes(bytes)) => Ok(Some(bytes)),
            Ok(Amount::Percent(percent)) => {
                Ok(Some(machine::memory_bytes() / 100 * u64::from(percent)))
            }
            Err(error) => Err(format!("[lend] memory: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str) -> Result<Config, String> {
        let file: LendFile = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut config = Config::new("/tmp".into());
        config.slots = 8;
        file.apply(&mut config)?;
        Ok(config)
    }

    #[test]
    fn what_is_lent_bounds_the_node() {
        let text = "cores = 3\nmemory = \"12GiB\"\ndisk = \"100GiB\"\nhours = \"22:00-06:00\"\n";
        let config = applied(text).expect("good");
        assert_eq!((config.slots, config.cpu_millis), (3, Some(1000)));
        assert_eq!(config.most.memory_bytes, 12 << 30);
        assert_eq!(config.resources().memory_bytes, 12 << 30);
        assert_eq!(config.resources().cpu_millis, 3000);
        assert_eq!(config.store.high, Some(Amount::Bytes(100 << 30)));
        assert!(
            config
                .hours
                .is_some_and(|hours| hours.allows(0) && !hours.allows(720))
        );
        let all = applied("cores = 8").expect("good");
        assert_eq!((all.slots, all.cpu_millis), (8, None));
    }

    #[test]
    fn a_little_memory_does_not_stop_every_step() {
        let usual = caravan_protocol::action::Limits::default();
        let config = applied("memory = \"1GiB\"").expect("good");
        assert_eq!(usual.within(&config.most), Ok(()));
    }

    #[test]
    fn what_cannot_be_lent_is_named() {
        for (bad, named) in [
            ("cores = 0", "no core"),
            ("memory = \"lots\"", "lots"),
            ("disk = \"-1\"", "[lend] disk"),
            ("hours = \"noon\"", "[lend] hours"),
            ("core = 1", "core"),
        ] {
            let refused = applied(bad).expect_err(bad);
            assert!(refused.contains(named), "{bad}: {refused}");
        }
    }
}
