//! Platforms as images name them (`linux/arm64/v8`) and as Caravan does (`linux-arm64`).

use caravan_protocol::platform::Platform;
use serde::{Deserialize, Serialize};

/// Pairs of Go's name of an architecture and opam's, where they differ.
const NAMES: [(&str, &str); 5] = [
    ("amd64", "x86_64"),
    ("386", "x86_32"),
    ("arm", "arm32"),
    ("ppc64le", "ppc64"),
    ("mips64le", "mips64"),
];

/// The platform of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) architecture: String,
    pub(crate) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) variant: Option<String>,
}

impl Named {
    /// How images name this platform.
    pub(crate) fn of(platform: &Platform) -> Self {
        let known = NAMES.iter().find(|(_, ours)| *ours == platform.arch());
        Self {
            architecture: known.map_or(platform.arch(), |(go, _)| go).to_owned(),
            os: platform.os().to_owned(),
            variant: None,
        }
    }

    /// How Caravan names it, if it can.
    pub(crate) fn platform(&self) -> Option<Platform> {
        let known = NAMES.iter().find(|(go, _)| *go == self.architecture);
        let arch = known.map_or(self.architecture.as_str(), |(_, ours)| ours);
        Platform::new(&self.os, arch).ok()
    }

    /// How well an image of this platform suits: more is better, nothing is not at all. Of 32-bit
    /// ARM every machine of today runs version 7 and what is below.
    pub(crate) fn suits(&self, wanted: &Platform) -> Option<u32> {
        if self.platform().as_ref() != Some(wanted) {
            return None;
        }
        match (wanted.arch(), self.variant.as_deref()) {
            ("arm32", Some(variant)) => match variant {
                "v7" => Some(7),
                "v6" => Some(6),
                "v5" => Some(5),
                _ => None,
            },
            // `v2` and higher of amd64 ask for more than every machine has.
            ("x86_64", Some(variant)) => matches!(variant, "" | "v1").then_some(1),
            ("arm64", Some(variant)) => matches!(variant, "" | "v8").then_some(1),
            (_, Some(_)) => Some(1),
            (_, None) => Some(2),
        }
    }

    pub(crate) fn text(&self) -> String {
        match &self.variant {
            Some(variant) => format!("{}/{}/{variant}", self.os, self.architecture),
            None => format!("{}/{}", self.os, self.architecture),
        }
    }
}

/// Reads a platform in either form: `linux-x86_64` or `linux/amd64`.
#[must_use]
pub fn parse(text: &str) -> Option<Platform> {
    match text.split_once('/') {
        Some((os, arch)) => Named {
            os: os.to_owned(),
            architecture: arch.split('/').next().unwrap_or_default().to_owned(),
            variant: None,
        }
        .platform(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(architecture: &str, variant: Option<&str>) -> Named {
        Named {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    #[test]
    fn names_of_both_worlds_meet() {
        for (go, ours) in [
            ("amd64", "linux-x86_64"),
            ("arm64", "linux-arm64"),
            ("riscv64", "linux-riscv64"),
            ("ppc64le", "linux-ppc64"),
        ] {
            let platform: Platform = ours.parse().expect("good");
            assert_eq!(Named::of(&platform).architecture, go);
            assert_eq!(parse(&format!("linux/{go}")), Some(platform.clone()));
            assert_eq!(parse(ours), Some(platform));
        }
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn what_a_machine_cannot_run_does_not_suit() {
        let arm: Platform = "linux-arm32".parse().expect("good");
        let amd: Platform = "linux-x86_64".parse().expect("good");
        assert!(named("arm", Some("v7")).suits(&arm) > named("arm", Some("v6")).suits(&arm));
        assert_eq!(named("arm", Some("v9")).suits(&arm), None);
        assert_eq!(named("amd64", Some("v3")).suits(&amd), None);
        assert_eq!(named("arm64", None).suits(&amd), None);
        assert!(named("amd64", None).suits(&amd).is_some());
    }
}
