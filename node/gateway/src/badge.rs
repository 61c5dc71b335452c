//! Badges: the state of a branch in the form that shields.io's endpoint badges read, with the
//! words that ocaml-ci used.

use caravan_protocol::view::{RunView, State};
use serde::Serialize;

/// shields.io's endpoint schema, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Badge {
    schema_version: u32,
    label: &'static str,
    message: &'static str,
    color: &'static str,
}

impl Badge {
    /// The badge of a branch whose newest run is this one. A cancelled run says nothing about its
    /// commit, so the newest other one is asked.
    pub(crate) fn of<'a>(mut runs: impl Iterator<Item = &'a RunView>) -> Self {
        let telling = runs.find(|run| run.state != State::Cancelled);
        let (message, color) = match telling.map(|run| run.state) {
            Some(State::Ok) => ("passing", "brightgreen"),
            Some(State::Failed) => ("failing", "red"),
            Some(State::Blocked | State::Ready | State::Running) => ("building", "yellow"),
            Some(State::Cancelled) | None => ("unknown", "lightgrey"),
        };
        Self {
            schema_version: 1,
            label: "caravan",
            message,
            color,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_badge_has_the_keys_that_shields_reads() {
        let badge = serde_json::to_string(&Badge::of(std::iter::empty())).unwrap();
        assert_eq!(
            badge,
            r#"{"schemaVersion":1,"label":"caravan","message":"unknown","color":"lightgrey"}"#
        );
    }
}
