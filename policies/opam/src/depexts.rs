//! System packages that an opam package wants on a platform.

use std::collections::BTreeSet;

use crate::{opam::OpamFile, vars::Env};

/// The system packages that `opam` asks for on this platform. A filter that is undefined there asks
/// for nothing.
#[must_use]
pub fn depexts(opam: &OpamFile, env: &Env) -> BTreeSet<String> {
    opam.depexts
        .iter()
        .filter(|wanted| {
            wanted
                .filter
                .as_ref()
                .is_none_or(|filter| filter.holds(env))
        })
        .flat_map(|wanted| wanted.value.iter().map(|name| name.to_string()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_packages_of_this_platform_are_wanted() {
        let text = br#"depexts: [
            ["libgmp-dev" "m4"] {os-family = "debian"}
            ["gmp"] {os = "macos" & os-distribution = "homebrew"}
            ["old"] {os-distribution = "debian" & os-version <= "11"}
            [["debian"] ["by-tag"]]
            [["debian" "arm64"] ["by-other-tags"]]
        ]"#;
        let opam = OpamFile::parse(text, "opam").unwrap();
        let wanted = depexts(&opam, &Env::debian("x86_64", "12", "2.1.2"));
        assert_eq!(
            wanted.into_iter().collect::<Vec<_>>(),
            ["by-tag", "libgmp-dev", "m4"]
        );
    }
}
