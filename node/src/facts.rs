//! What this machine is and has, as its node tells others: probed at the start, the disk again now
//! and then. It looks and changes nothing; what it finds is no promise, and no peer trusts it.

use std::{collections::BTreeSet, path::Path};

use caravan_protocol::{
    facts::{Facts, Offered},
    limits::{FACTS_PLATFORMS_MAX, FACTS_WORD_BYTES_MAX, FACTS_WORDS_MAX},
    platform::Platform,
    time::Stamp,
    view::SandboxView,
};

use crate::config::{Config, machine};

/// Free disk below which a node takes no work of others: a step's layer has to fit somewhere.
pub(crate) const DISK_LEAST_BYTES: u64 = 1 << 30;
/// On a small disk that is one part of so many instead.
const DISK_LEAST_PART: u64 = 20;

/// The disk of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Disk {
    pub(crate) total: u64,
    pub(crate) free: u64,
}

impl Disk {
    /// That of the file system that holds a directory.
    pub(crate) fn of(dir: &Path) -> Self {
        let found = rustix::fs::statvfs(dir);
        found.map_or_else(
            |_| Self::default(),
            |disk| Self {
                total: disk.f_blocks.saturating_mul(disk.f_frsize),
                free: disk.f_bavail.saturating_mul(disk.f_frsize),
            },
        )
    }

    /// How much has to be free for work to be taken.
    pub(crate) fn least(self) -> u64 {
        DISK_LEAST_BYTES.min(self.total / DISK_LEAST_PART)
    }

    /// Whether there is too little left. What could not be looked at is not judged.
    pub(crate) fn is_low(self) -> bool {
        self.total > 0 && self.free < self.least()
    }

    /// Whether others should hear of it: every word about a node goes to all nodes.
    pub(crate) fn is_news(self, told: Self) -> bool {
        self.total != told.total
            || self.is_low() != told.is_low()
            || self.free.abs_diff(told.free) > told.free / 4
    }
}

/// What this machine is, and what its operator lets the node say about it.
pub(crate) fn probe(
    config: &Config,
    sandbox: &SandboxView,
    emulated: &BTreeSet<Platform>,
    up_since: Stamp,
) -> Facts {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let disk = Disk::of(&config.data);
    let here = Offered {
        platform: Platform::here(),
        emulated: false,
    };
    let others = emulated.iter().map(|platform| Offered {
        platform: platform.clone(),
        emulated: true,
    });
    let offered = std::iter::once(here).chain(others);
    Facts {
        platforms: match config.slots {
            0 => BTreeSet::new(),
            _ => offered.take(FACTS_PLATFORMS_MAX).collect(),
        },
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        memory_bytes: machine::memory_bytes().min(config.most.memory_bytes),
        disk_bytes: disk.total,
        disk_free_bytes: disk.free,
        slots: config.slots,
        variant: variant(),
        sandbox: words(sandbox.kept.iter().map(|kept| kept.name.as_str())),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        labels: words(config.labels.iter().map(String::as_str)),
        up_since,
        why: String::new(),
    }
}

/// Those words that others take.
fn words<'a>(all: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let good = |word: &&str| {
        (1..=FACTS_WORD_BYTES_MAX).contains(&word.len())
            && word.bytes().all(|byte| byte.is_ascii_graphic())
    };
    all.filter(good)
        .take(FACTS_WORDS_MAX)
        .map(str::to_owned)
        .collect()
}

/// What of its architecture this machine's processors have, in the architecture's own words.
#[cfg(target_arch = "x86_64")]
fn variant() -> String {
    macro_rules! has {
        ($($feature:tt)*) => { $(std::is_x86_feature_detected!($feature))&&* };
    }
    let levels = [
        has!("cmpxchg16b" "popcnt" "sse3" "sse4.1" "sse4.2" "ssse3"),
        has!("avx" "avx2" "bmi1" "bmi2" "f16c" "fma" "lzcnt" "movbe"),
        has!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl"),
    ];
    let level = 1 + levels.iter().take_while(|has| **has).count();
    format!("v{level}")
}

#[cfg(not(target_arch = "x86_64"))]
fn variant() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |wanted: &str| {
        info.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == wanted).then(|| value.trim().to_owned())
        })
    };
    let found = match std::env::consts::ARCH {
        "aarch64" => value("CPU architecture").map(|version| format!("armv{version}")),
        "riscv64" => value("isa").and_then(|isa| isa.split('_').next().map(str::to_owned)),
        _ => None,
    };
    found
        .filter(|word| !words(std::iter::once(word.as_str())).is_empty())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use caravan_protocol::view::PromiseView;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn config() -> Config {
        let mut config = Config::new(std::env::temp_dir());
        config.slots = 3;
        config
    }

    #[test]
    fn this_machine_says_what_others_take() {
        let mut config = config();
        config.labels = ["rack=3", "two words", "", &"x".repeat(4096), "gpu"]
            .map(str::to_owned)
            .into();
        let sandbox = SandboxView {
            kept: vec![PromiseView {
                name: "landlock".to_owned(),
                by: "the kernel".to_owned(),
            }],
            ..SandboxView::default()
        };
        let riscv: Platform = "linux-riscv64".parse().expect("a platform");
        let facts = probe(
            &config,
            &sandbox,
            &BTreeSet::from([riscv.clone()]),
            Stamp::from_ms(7),
        );
        assert_eq!(facts.check(), Ok(()));
        assert!(facts.cores > 0 && facts.memory_bytes > 0 && facts.disk_bytes > 0);
        assert!(facts.disk_free_bytes <= facts.disk_bytes);
        assert_eq!(facts.native().collect::<Vec<_>>(), [&Platform::here()]);
        assert_eq!(facts.emulated().collect::<Vec<_>>(), [&riscv]);
        let labels: Vec<&str> = facts.labels.iter().map(String::as_str).collect();
        assert_eq!(labels, ["gpu", "rack=3"]);
        assert_eq!((facts.slots, facts.sandbox.len()), (3, 1));
    }

    #[test]
    fn a_node_without_slots_offers_no_platform() {
        let mut config = config();
        config.slots = 0;
        let none = BTreeSet::new();
        let facts = probe(&config, &SandboxView::default(), &none, Stamp::from_ms(0));
        assert!(facts.platforms.is_empty());
    }

    #[test]
    fn a_disk_is_low_by_what_a_step_needs_or_by_its_own_size() {
        let disk = |total, free| Disk { total, free };
        assert!(!disk(1000 * GIB, 2 * GIB).is_low());
        assert!(disk(1000 * GIB, GIB - 1).is_low());
        assert!(!disk(10 * GIB, GIB / 2).is_low());
        assert!(disk(10 * GIB, GIB / 2 - 1).is_low());
        assert!(!disk(0, 0).is_low(), "it could not be looked at");
    }

    #[test]
    fn only_what_changes_where_work_goes_is_news() {
        let disk = |free| Disk {
            total: 1000 * GIB,
            free,
        };
        assert!(!disk(90 * GIB).is_news(disk(100 * GIB)));
        assert!(disk(70 * GIB).is_news(disk(100 * GIB)));
        assert!(disk(GIB - 1).is_news(disk(GIB)), "it is low now");
    }
}
