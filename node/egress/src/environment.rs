//! How a job's programs learn of the gate: variables that they all know, and a line for sudo, which
//! would take them away.

/// What a job's environment has beside its own, for a gate at this port of its loopback. Programs are
/// divided over upper and lower case: curl reads `http_proxy` in lower case only, npm both.
#[must_use]
pub fn variables(port: u16) -> Vec<(String, String)> {
    let gate = format!("http://127.0.0.1:{port}");
    let own = "localhost,127.0.0.1,::1";
    let named = [
        ("http_proxy", gate.as_str()),
        ("https_proxy", &gate),
        ("no_proxy", own),
        ("HTTP_PROXY", &gate),
        ("HTTPS_PROXY", &gate),
        ("NO_PROXY", own),
    ];
    named
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

/// A file for `/etc/sudoers.d`, of root, by which `sudo apt-get` finds the gate.
pub const SUDOERS: &str =
    "Defaults env_keep += \"http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY\"\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_keeps_every_variable_that_is_set() {
        for (name, _) in variables(1) {
            assert!(SUDOERS.contains(&name), "{name}");
        }
    }
}
