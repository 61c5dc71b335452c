//! What an attempt is told about the canaries that wait for it.
//!
//! One line of `key=value` words, made by the driver when it plants them, read by the program
//! inside. Holds no path of a real machine and no secret but the canaries' own token.

use std::{collections::BTreeMap, fmt, str::FromStr};

/// Where the canaries are.
#[derive(Debug, Clone, Default)]
pub struct Ground {
    words: BTreeMap<String, String>,
    /// Descriptors beyond 0, 1 and 2 that were open when the program began.
    pub inherited: Vec<i32>,
}

impl Ground {
    /// The value of a word; empty if it is not there.
    pub fn get(&self, key: &str) -> &str {
        self.words.get(key).map_or("", String::as_str)
    }

    /// The value of a word as a number; 0 if it is not there.
    pub fn number(&self, key: &str) -> i64 {
        self.get(key).parse().unwrap_or(0)
    }

    /// Adds a word.
    pub fn set(&mut self, key: &str, value: impl fmt::Display) {
        self.words.insert(key.to_owned(), value.to_string());
    }

    /// What only somebody outside knows.
    pub fn token(&self) -> &str {
        self.get("token")
    }

    /// The canary process of the host, as the host numbers it.
    pub fn canary(&self) -> i64 {
        self.number("pid")
    }

    /// Whether the process is in the host's namespace of this kind (`net`, `uts`, ...).
    pub fn is_host_namespace(&self, kind: &str) -> bool {
        let own = namespace("self", kind);
        !own.is_empty() && own == self.get(&format!("ns-{kind}"))
    }
}

/// Which namespace a process is in.
pub fn namespace(process: &str, kind: &str) -> String {
    let link = std::fs::read_link(format!("/proc/{process}/ns/{kind}"));
    link.map_or_else(|_| String::new(), |link| link.display().to_string())
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self
            .words
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        f.write_str(&words.join(" "))
    }
}

impl FromStr for Ground {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words = text
            .split(' ')
            .filter_map(|word| word.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Ok(Self {
            words,
            inherited: Vec::new(),
        })
    }
}
