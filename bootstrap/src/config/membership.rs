//! `[membership]` of `config.toml`: what a node tells others of itself, and on the founding node how
//! long the certificates live that it signs.
//!
//! ```toml
//! [membership]
//! labels = ["rack=3", "gpu"]   # words that other members are shown
//! certificate_life = "3d"      # or hours, minutes, seconds: 12h, 90m, 60s; 7 days at most
//! ```

use std::time::Duration;

use caravan_node::Config;
use caravan_protocol::limits::{CERT_LIFE_MS, FACTS_WORD_BYTES_MAX, FACTS_WORDS_MAX};
use serde::Deserialize;

/// Shortest life: members ask again after half of it.
const LIFE_MIN: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct MembershipFile {
    labels: Option<Vec<String>>,
    certificate_life: Option<String>,
}

impl MembershipFile {
    /// Puts what the file says in the place of the defaults.
    pub(super) fn apply(&self, config: &mut Config) -> Result<(), String> {
        let labels = self.labels.iter().flatten();
        for label in labels {
            let good = (1..=FACTS_WORD_BYTES_MAX).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_graphic());
            if !good {
                return Err(format!(
                    "[membership] has the label {label:?}: want a word of 1 to {FACTS_WORD_BYTES_MAX} \
                     plain characters, such as rack=3"
                ));
            }
            config.labels.insert(label.clone());
        }
        if config.labels.len() > FACTS_WORDS_MAX {
            return Err(format!(
                "[membership] has more than {FACTS_WORDS_MAX} labels"
            ));
        }
        if let Some(text) = &self.certificate_life {
            let most = Duration::from_millis(CERT_LIFE_MS);
            let life = life(text).filter(|life| (LIFE_MIN..=most).contains(life));
            config.cert_life = life.ok_or_else(|| {
                format!("[membership] certificate_life is {text:?}: want 10s to 7d, such as 3d")
            })?;
        }
        Ok(())
    }
}

fn life(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = plain.then(|| number.parse().ok()).flatten()?;
    number.checked_mul(unit_s).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str) -> Result<Config, String> {
        let file: MembershipFile = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut config = Config::new("/tmp".into());
        file.apply(&mut config)?;
        Ok(config)
    }

    #[test]
    fn labels_and_the_life_of_certificates_are_read() {
        let text = "labels = [\"rack=3\", \"gpu\", \"gpu\"]\ncertificate_life = \"12h\"\n";
        let config = applied(text).expect("good");
        assert_eq!(config.labels.len(), 2);
        assert_eq!(config.cert_life, Duration::from_secs(12 * 3600));
        let usual = applied("").expect("nothing is said").cert_life;
        assert_eq!(usual, Duration::from_millis(CERT_LIFE_MS));
    }

    #[test]
    fn what_no_member_would_take_is_refused() {
        for bad in [
            "certificate_life = \"8d\"",
            "certificate_life = \"9s\"",
            "certificate_life = \"\"",
            "certificate_life = \"3é\"",
            "certificate_life = \"-3d\"",
            "certificate_life = \"99999999999999999999d\"",
            "labels = [\"two words\"]",
            "labels = [\"\"]",
            "colour = 1",
        ] {
            assert!(applied(bad).is_err(), "{bad} was taken");
        }
    }
}
