//! What a node says about its machine: the platforms that it builds for, its size, what its
//! sandbox can do, its version and its operator's labels. Facts are claims of the node about
//! itself: they choose where work goes, never what is trusted. Probing them is the node's
//! business; nothing here looks at a machine.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{limits, platform::Platform, time::Stamp};

/// A platform that a node builds for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Offered {
    /// The platform.
    pub platform: Platform,
    /// Whether it is only emulated there: right, but slower.
    pub emulated: bool,
}

/// What a node says about its machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// What it builds for; at most [`limits::FACTS_PLATFORMS_MAX`].
    pub platforms: BTreeSet<Offered>,
    /// Processor cores that it gives to work.
    pub cores: u32,
    /// Memory that it gives to work, bytes.
    pub memory_bytes: u64,
    /// Disk that it gives to the store, bytes.
    pub disk_bytes: u64,
    /// What of that was free when it last looked, bytes.
    pub disk_free_bytes: u64,
    /// Attempts that it runs at once.
    pub slots: u32,
    /// The variant of its own processors, such as `v3` of x86_64; empty where there is none to tell.
    pub variant: String,
    /// What its sandbox was found to be able to do when it started, by name.
    pub sandbox: BTreeSet<String>,
    /// The version of its program.
    pub version: String,
    /// Words that its operator gave it, such as `rack=3`, by which jobs exclude or require it.
    pub labels: BTreeSet<String>,
    /// When its program was started, by its clock.
    pub up_since: Stamp,
    /// Why it takes no work, in words for people; empty where it does.
    pub why: String,
}

/// Why facts are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("take a node's facts: {0}")]
pub struct FactsError(&'static str);

impl Facts {
    /// The platforms that the node runs itself.
    pub fn native(&self) -> impl Iterator<Item = &Platform> {
        self.platforms
            .iter()
            .filter(|offered| !offered.emulated)
            .map(|offered| &offered.platform)
    }

    /// The platforms that the node only emulates.
    pub fn emulated(&self) -> impl Iterator<Item = &Platform> {
        self.platforms
            .iter()
            .filter(|offered| offered.emulated)
            .map(|offered| &offered.platform)
    }

    /// Whether all bounds are kept and all words are printable.
    pub fn check(&self) -> Result<(), FactsError> {
        if self.platforms.len() > limits::FACTS_PLATFORMS_MAX {
            return Err(FactsError("it names more platforms than allowed"));
        }
        for offered in &self.platforms {
            let platform = &offered.platform;
            // A platform that was decoded has not gone through its constructor.
            if Platform::new(platform.os(), platform.arch()).is_err() {
                return Err(FactsError("it names a platform that is none"));
            }
        }
        for words in [&self.sandbox, &self.labels] {
            if words.len() > limits::FACTS_WORDS_MAX {
                return Err(FactsError("it has more words than allowed"));
            }
            if !words.iter().all(|word| plain(word)) {
                return Err(FactsError("a word is empty, too long or not printable"));
            }
        }
        if !plain(&self.version) && !self.version.is_empty() {
            return Err(FactsError("its version is too long or not printable"));
        }
        if !plain(&self.variant) && !self.variant.is_empty() {
            return Err(FactsError("its variant is too long or not printable"));
        }
        if self.why.len() > limits::FACTS_WHY_BYTES_MAX || self.why.chars().any(char::is_control) {
            return Err(FactsError("its reason is too long or not printable"));
        }
        Ok(())
    }
}

fn plain(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= limits::FACTS_WORD_BYTES_MAX
        && word.bytes().all(|byte| byte.is_ascii_graphic())
}
