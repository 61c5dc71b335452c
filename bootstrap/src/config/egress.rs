//! `[egress]` of `config.toml`: what steps with a network may reach.

use caravan_node::keeping::Amount;
use serde::Deserialize;

/// What steps with a network may reach.
#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct EgressFile {
    allow: Option<Vec<String>>,
    deny: Option<Vec<String>>,
    private: Option<Vec<String>>,
    defaults: Option<bool>,
    bytes: Option<String>,
}

impl EgressFile {
    /// The configuration, if every rule of it can be read.
    pub(super) fn config(self) -> Result<caravan_egress::Config, String> {
        let usual = caravan_egress::Config::default();
        let bytes = match self.bytes.as_deref().map(str::parse::<Amount>).transpose() {
            Ok(None) => usual.bytes,
            Ok(Some(Amount::Bytes(bytes))) => bytes,
            Ok(Some(Amount::Percent(_))) => {
                return Err("`bytes` of [egress] is a size, as \"4GiB\"".to_owned());
            }
            Err(error) => return Err(format!("`bytes` of [egress]: {error}")),
        };
        let config = caravan_egress::Config {
            allow: self.allow.unwrap_or_default(),
            deny: self.deny.unwrap_or_default(),
            private: self.private.unwrap_or_default(),
            defaults: self.defaults.unwrap_or(usual.defaults),
            bytes,
        };
        // Said here, with the file's name, rather than when the node starts.
        caravan_egress::Policy::new(&config, Vec::new(), [])
            .map(|_| config)
            .map_err(|error| error.to_string())
    }
}
