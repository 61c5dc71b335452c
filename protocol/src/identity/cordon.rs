//! Cordons: the council's word that a member takes no work for now, which the member keeps and
//! obeys. Unlike a revocation it can be taken back, and the member goes on to be one.

use serde::{Deserialize, Serialize};

use super::{Ends, Record, Refused, Roster, Signed};
use crate::{
    ids::{MeshId, NodeId},
    limits,
    time::Stamp,
};

/// Whether a member takes work, by the council's word. The latest counts, for
/// [`limits::CORDON_LIFE_MS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cordon {
    /// The mesh.
    pub mesh: MeshId,
    /// The member.
    pub node: NodeId,
    /// Whether it is cordoned from then on, or not any more.
    pub on: bool,
    /// Why, for people; it may be empty.
    pub why: String,
    /// Since when.
    pub at: Stamp,
}

impl Record for Cordon {
    const DOMAIN: &'static str = "caravan/cordon/1";
    fn mesh(&self) -> MeshId {
        self.mesh
    }

    fn ends(&self) -> Ends {
        Ends::after(self.at, limits::CORDON_LIFE_MS)
    }
}

impl Cordon {
    /// Whether it is time to say it anew: half of its life is over.
    #[must_use]
    pub fn is_due(&self, now: Stamp) -> bool {
        now.as_ms().saturating_sub(self.at.as_ms()) >= limits::CORDON_LIFE_MS / 2
    }

    /// A reason as it may be kept: no longer than allowed, and one line.
    #[must_use]
    pub fn plain(why: &str) -> String {
        let mut plain = String::new();
        for c in why.trim().chars() {
            let c = if c.is_control() { ' ' } else { c };
            if plain.len() + c.len_utf8() > limits::CORDON_WHY_BYTES_MAX {
                break;
            }
            plain.push(c);
        }
        plain
    }
}

impl Roster {
    /// What a cordon says, if the council signed it and it still counts at `now`.
    pub fn cordoned_by(&self, signed: &Signed<Cordon>, now: Stamp) -> Result<Cordon, Refused> {
        let signer = signed.signer();
        if signer != self.genesis.founder {
            return Err(Refused::NotCouncil { signer });
        }
        let cordon = signed.open_at(self.mesh, now)?;
        if Cordon::plain(&cordon.why) != cordon.why {
            return Err(Refused::Forged { signer });
        }
        Ok(cordon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Genesis, Key};

    const NOW: Stamp = Stamp::from_ms(6);

    fn world() -> (Key, Roster) {
        let founder = Key::from_secret(&[1; 32]);
        let genesis = Genesis {
            founder: founder.node(),
            created: Stamp::from_ms(0),
            nonce: [0; 32],
        };
        (founder, Roster::new(genesis).expect("small"))
    }

    fn cordon(roster: &Roster) -> Cordon {
        Cordon {
            mesh: roster.mesh(),
            node: NodeId::from_bytes([7; 32]),
            on: true,
            why: "its disk is being changed".to_owned(),
            at: Stamp::from_ms(5),
        }
    }

    #[test]
    fn only_the_council_cordons_and_only_in_its_mesh() {
        let (founder, roster) = world();
        let said = cordon(&roster);
        let good = Signed::sign(&founder, &said).expect("small");
        assert_eq!(roster.cordoned_by(&good, NOW), Ok(said.clone()));
        let other = Key::from_secret(&[2; 32]);
        let forged = Signed::sign(&other, &said).expect("small");
        assert!(matches!(
            roster.cordoned_by(&forged, NOW),
            Err(Refused::NotCouncil { .. })
        ));
        let elsewhere = Cordon {
            mesh: MeshId::from_bytes([9; 32]),
            ..said
        };
        let elsewhere = Signed::sign(&founder, &elsewhere).expect("small");
        assert!(matches!(
            roster.cordoned_by(&elsewhere, NOW),
            Err(Refused::OtherMesh { .. })
        ));
    }

    #[test]
    fn a_cordon_ends_unless_it_is_said_anew() {
        let (founder, roster) = world();
        let said = cordon(&roster);
        let signed = Signed::sign(&founder, &said).expect("small");
        let end = Stamp::from_ms(said.at.as_ms() + limits::CORDON_LIFE_MS);
        let before = Stamp::from_ms(end.as_ms() - 1);
        assert!(roster.cordoned_by(&signed, before).is_ok());
        assert!(matches!(
            roster.cordoned_by(&signed, end),
            Err(Refused::Expired { .. })
        ));
        assert!(!said.is_due(NOW) && said.is_due(before));
        // What is dated by a clock that was ahead counts at once.
        assert!(roster.cordoned_by(&signed, Stamp::from_ms(0)).is_ok());
        assert!(!said.is_due(Stamp::from_ms(0)));
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(Cordon::plain(" a\nb\x1b[31m "), "a b [31m");
        let long = "é".repeat(limits::CORDON_WHY_BYTES_MAX);
        let plain = Cordon::plain(&long);
        assert!(plain.len() <= limits::CORDON_WHY_BYTES_MAX && plain.len() > 100);
        let (founder, roster) = world();
        let why = "x".repeat(limits::CORDON_WHY_BYTES_MAX + 1);
        let said = Cordon {
            why,
            ..cordon(&roster)
        };
        let signed = Signed::sign(&founder, &said).expect("small");
        assert!(roster.cordoned_by(&signed, NOW).is_err());
    }
}
