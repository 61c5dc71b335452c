//! A rule: a name, an address or all names below one, with or without a port.

use std::{fmt, str::FromStr};

use super::target::{Host, Spelling, Target};

/// The ports that a rule without one is about.
pub const WEB: [u16; 2] = [80, 443];

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The host or the port is not as they are written.
    #[error("{rule:?} is no rule (want HOST, HOST:PORT or *.DOMAIN): {source}")]
    Spelling {
        /// The text at fault.
        rule: String,
        /// What is wrong with it.
        source: Spelling,
    },
    /// A URL where a host is wanted.
    #[error("{0:?} is an address of a page; a rule names its host alone")]
    Url(String),
}

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Who {
    /// Every name; no address.
    Any,
    /// Every name below this one, not itself.
    Below(String),
    /// This one.
    Exact(Host),
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    who: Who,
    port: Option<u16>,
}

impl Rule {
    /// Whether the rule is about this host.
    #[must_use]
    pub fn names(&self, host: &Host) -> bool {
        match (&self.who, host) {
            (Who::Exact(own), other) => own == other,
            (Who::Any, Host::Name(_)) => true,
            (Who::Below(domain), Host::Name(name)) => name
                .strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            (Who::Any | Who::Below(_), Host::Address(_)) => false,
        }
    }

    /// Whether it is about this port, where none means those of the web.
    #[must_use]
    pub fn port_or_web(&self, port: u16) -> bool {
        self.port.map_or(WEB.contains(&port), |own| own == port)
    }

    /// Whether it is about this port, where none means all.
    #[must_use]
    pub fn port_or_any(&self, port: u16) -> bool {
        self.port.is_none_or(|own| own == port)
    }

    /// Whether it is about one host only.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        matches!(self.who, Who::Exact(_))
    }
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        let wrong = |source| RuleError::Spelling {
            rule: text.chars().take(300).collect(),
            source,
        };
        if text.contains('/') {
            return Err(RuleError::Url(text.chars().take(300).collect()));
        }
        // A port that no rule means stands for none.
        let read = |host: &str| -> Result<(Host, Option<u16>), RuleError> {
            let target = Target::parse(host, Some(0)).map_err(wrong)?;
            Ok((target.host, (target.port != 0).then_some(target.port)))
        };
        if let Some(below) = text.strip_prefix("*.") {
            let (host, port) = read(below)?;
            let Host::Name(domain) = host else {
                return Err(wrong(Spelling::Name(text.to_owned())));
            };
            let who = Who::Below(domain);
            return Ok(Self { who, port });
        }
        if let Some(port) = text.strip_prefix('*') {
            let (_, port) = read(&format!("any{port}"))?;
            if !text[1..].is_empty() && !text[1..].starts_with(':') {
                return Err(wrong(Spelling::Name(text.to_owned())));
            }
            return Ok(Self {
                who: Who::Any,
                port,
            });
        }
        let (host, port) = read(text)?;
        let who = Who::Exact(host);
        Ok(Self { who, port })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Who::Any => f.write_str("*")?,
            Who::Below(domain) => write!(f, "*.{domain}")?,
            Who::Exact(host) => write!(f, "{host}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}
