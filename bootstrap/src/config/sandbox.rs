//! `[sandbox]` of `config.toml`: what starts the commands of steps, and what a node does without.
//!
//! ```toml
//! [sandbox]
//! runtime = "own"             # or "runc", "crun", or the absolute path of such a program
//! accept = ["memory-limit"]   # defences that this host lacks, by name; the start names them
//! ```

use caravan_node::{Config, config::sandbox::accepted};
use serde::Deserialize;

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct SandboxFile {
    runtime: Option<String>,
    accept: Option<Vec<String>>,
}

impl SandboxFile {
    /// Puts what the file says in the place of the defaults.
    pub(super) fn apply(&self, config: &mut Config) -> Result<(), String> {
        if let Some(Ok(runtime)) = self.runtime.as_deref().map(str::parse) {
            config.runtime = runtime;
        }
        let names = self.accept.iter().flatten().map(String::as_str);
        config.accept = accepted(names).map_err(|error| format!("[sandbox] cannot {error}"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let mut config = Config::new("/nowhere".into());
        let file: SandboxFile = toml::from_str(text).map_err(|error| error.to_string())?;
        file.apply(&mut config)?;
        Ok(config)
    }

    #[test]
    fn a_runtime_and_what_is_accepted_are_read() {
        let config = read("runtime = \"runc\"\naccept = [\"landlock\"]").expect("good");
        assert_eq!(config.runtime.to_string(), "runc");
        assert!(!config.accept.is_empty());
        let usual = read("").expect("nothing is said");
        assert_eq!(
            (usual.runtime.to_string().as_str(), usual.accept.is_empty()),
            ("own", true)
        );
    }

    #[test]
    fn what_cannot_be_accepted_is_named() {
        for name in ["user-namespace", "everything"] {
            let refused = read(&format!("accept = [\"{name}\"]")).expect_err(name);
            assert!(
                refused.contains(name) && refused.contains("memory-limit"),
                "{refused}"
            );
        }
        assert!(read("accept = \"landlock\"").is_err());
        assert!(read("runtimes = \"runc\"").is_err());
    }
}
