//! Who may be reached: rules of names and ports, and what addresses may stand behind them.
//!
//! Pure: it is told names, ports and addresses, and answers. What no rule names is refused. An address
//! that is not everybody's is refused whatever its name, unless the name is one of those that the
//! operator (or the host's own list of package sources) says live there; and nobody can say so of the
//! addresses that clouds keep their credentials at, or of the node's own ports.

use std::{collections::BTreeSet, net::IpAddr};

use crate::limits::{BYTES_DEFAULT, RULES_MAX};

pub mod address;
pub mod apt;
mod defaults;
pub mod rule;
pub mod target;

pub use address::Kind;
pub use apt::Mirror;
pub use rule::{Rule, RuleError};
pub use target::{Host, Spelling, Target};

/// What a node is told about its jobs' network: `[egress]` of `config.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Names that jobs may reach, beside the usual ones.
    pub allow: Vec<String>,
    /// Names that no job may reach, whatever else is said.
    pub deny: Vec<String>,
    /// Names and addresses that jobs may reach although they are not public.
    pub private: Vec<String>,
    /// Whether the usual package mirrors, registries and git hosts are allowed, and the hosts that
    /// the machine's own apt is configured with.
    pub defaults: bool,
    /// Bytes that one job may move, both ways together.
    pub bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            private: Vec::new(),
            defaults: true,
            bytes: BYTES_DEFAULT,
        }
    }
}

/// Why a configuration is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A rule that cannot be read.
    #[error("read `{list}` of [egress]: {source}")]
    Rule {
        /// Which list it is in.
        list: &'static str,
        /// What is wrong.
        source: RuleError,
    },
    /// An entry that would open private addresses to names that nobody has looked at.
    #[error(
        "take {0:?} into `private` of [egress]: name each host that may be private by itself, without `*`"
    )]
    Wide(String),
    /// A list without end.
    #[error("take {count} rules in `{list}` of [egress]: at most {max}", max = RULES_MAX)]
    TooMany {
        /// Which list.
        list: &'static str,
        /// How many there are.
        count: usize,
    },
}

/// Why something is not reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No rule names it.
    #[error("{0} is not on this node's allow-list")]
    NotListed(Target),
    /// Its name is on the list, this port is not.
    #[error("{target} is not on this node's allow-list: the rule `{rule}` has another port")]
    Port {
        /// What was asked for.
        target: Target,
        /// The rule that has the name.
        rule: String,
    },
    /// The operator does not want it.
    #[error("{target} is denied by this node's rule `{rule}`")]
    Denied {
        /// What was asked for.
        target: Target,
        /// The rule.
        rule: String,
    },
    /// It is not spelled as names and addresses are.
    #[error("{0}")]
    Spelling(#[from] Spelling),
    /// Its address is not one for jobs.
    #[error("{target} is at {address}, {kind}, which no job may reach")]
    Address {
        /// What was asked for.
        target: Target,
        /// Where it is.
        address: IpAddr,
        /// What that is.
        kind: Kind,
    },
    /// It is the node itself.
    #[error("{target} is at {address}, this node's own port for other purposes")]
    OwnPort {
        /// What was asked for.
        target: Target,
        /// Where it is.
        address: IpAddr,
    },
}

/// What a listed target may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    /// At an address that is not public.
    pub private: bool,
    /// Reached without the host's own proxy.
    pub direct: bool,
    /// Reached by a tunnel, in which nobody looks.
    pub tunnel: bool,
}

/// The rules of one node.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
    private: Vec<Rule>,
    packages: Vec<Mirror>,
    own_ports: BTreeSet<u16>,
}

fn rules(list: &'static str, texts: &[String]) -> Result<Vec<Rule>, PolicyError> {
    if texts.len() > RULES_MAX {
        let count = texts.len();
        return Err(PolicyError::TooMany { list, count });
    }
    let read = |text: &String| {
        text.parse()
            .map_err(|source| PolicyError::Rule { list, source })
    };
    texts.iter().map(read).collect()
}

impl Policy {
    /// The rules of a configuration. `packages` are the hosts of the machine's package sources (see
    /// [`apt`]), `own_ports` those that the node itself listens on.
    ///
    /// # Errors
    /// If a rule cannot be read: nothing is left out in silence.
    pub fn new(
        config: &Config,
        packages: Vec<Mirror>,
        own_ports: impl IntoIterator<Item = u16>,
    ) -> Result<Self, PolicyError> {
        let mut allow = rules("allow", &config.allow)?;
        let private = rules("private", &config.private)?;
        if let Some(wide) = private.iter().find(|rule| !rule.is_exact()) {
            return Err(PolicyError::Wide(wide.to_string()));
        }
        if config.defaults {
            allow.extend(defaults::rules());
        }
        Ok(Self {
            allow,
            deny: rules("deny", &config.deny)?,
            private,
            packages: if config.defaults {
                packages
            } else {
                Vec::new()
            },
            own_ports: own_ports.into_iter().collect(),
        })
    }

    /// Whether a job may ask for this, and what it may turn out to be.
    ///
    /// # Errors
    /// Says which rule refuses it, or that none allows it.
    pub fn admit(&self, target: &Target) -> Result<Leave, Refusal> {
        let denies = |rule: &&Rule| rule.names(&target.host) && rule.port_or_any(target.port);
        if let Some(rule) = self.deny.iter().find(denies) {
            return Err(Refusal::Denied {
                target: target.clone(),
                rule: rule.to_string(),
            });
        }
        let allows = |rule: &Rule| rule.names(&target.host) && rule.port_or_web(target.port);
        let direct = self.private.iter().any(allows);
        let listed = direct || self.allow.iter().any(allows);
        let mirrors = || self.packages.iter().filter(|own| own.target == *target);
        let private = direct || mirrors().next().is_some();
        if private || listed {
            return Ok(Leave {
                private,
                direct,
                // What apt asks in the clear needs none.
                tunnel: listed || mirrors().any(|own| own.is_tls),
            });
        }
        let mut named = self.private.iter().chain(&self.allow);
        Err(match named.find(|rule| rule.names(&target.host)) {
            Some(rule) => Refusal::Port {
                target: target.clone(),
                rule: rule.to_string(),
            },
            None => Refusal::NotListed(target.clone()),
        })
    }

    /// Whether this address may stand behind a target that was admitted. `own` if it is one of this
    /// machine's.
    ///
    /// # Errors
    /// Says what the address is.
    pub fn admit_address(
        &self,
        target: &Target,
        leave: Leave,
        address: IpAddr,
        own: bool,
    ) -> Result<(), Refusal> {
        let denied = |address: IpAddr| {
            let host = Host::Address(address);
            let denies = |rule: &&Rule| rule.names(&host) && rule.port_or_any(target.port);
            self.deny.iter().find(denies)
        };
        // Whatever name stands before it.
        let behind = || denied(address::behind(address)?.into());
        if let Some(rule) = denied(address).or_else(behind) {
            return Err(Refusal::Denied {
                target: target.clone(),
                rule: rule.to_string(),
            });
        }
        let kind = match address::kind(address) {
            Kind::Public if own => Kind::Own,
            kind => kind,
        };
        if kind == Kind::Public {
            return Ok(());
        }
        if !leave.private || !kind.may_be_listed() {
            return Err(Refusal::Address {
                target: target.clone(),
                address,
                kind,
            });
        }
        if (own || kind == Kind::Loopback) && self.own_ports.contains(&target.port) {
            return Err(Refusal::OwnPort {
                target: target.clone(),
                address,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
