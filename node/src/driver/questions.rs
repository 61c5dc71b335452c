//! What members ask each other directly: small questions with one answer, apart from the market.

use std::{collections::BTreeMap, sync::Arc};

use caravan_protocol::{
    codec,
    identity::{NodeCert, Signed, cordon::Cordon},
    ids::{ActionKey, NodeId},
    limits,
    platform::Platform,
    policy::Base,
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Driver, Shared, inputs};

/// A question. Variants are only ever appended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Question {
    /// Which bases are pinned there?
    Bases,
    /// My next certificate, please; I build for these.
    Renew {
        /// What the asker builds for.
        platforms: Vec<Platform>,
    },
    /// The council's word on whether you take work.
    Cordon(Signed<Cordon>),
    /// A question of the index, in its own encoding.
    Index(Vec<u8>),
    /// The log of this action, which runs there, from this offset on.
    Log {
        /// The action.
        action: ActionKey,
        /// Bytes of it that are known.
        offset: u64,
    },
}

/// An answer, of the question's own kind.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The bases that are pinned here.
    Bases(Vec<Base>),
    /// Your next certificate.
    Renewed(Signed<NodeCert>),
    /// It is so from now on.
    Taken,
    /// No, and why.
    Refused(String),
    /// An answer of the index, in its own encoding.
    Index(Vec<u8>),
    /// What comes next of a log; nothing where there is no more just now.
    Log(Vec<u8>),
}

/// The question for a piece of a log.
pub(super) fn log_question(action: ActionKey, offset: u64) -> Option<Vec<u8>> {
    codec::encode::<{ limits::MESSAGE_BYTES_MAX }>(&Question::Log { action, offset }).ok()
}

/// The answer that carries a piece of a log.
pub(super) fn log_answer(bytes: Vec<u8>) -> Option<Vec<u8>> {
    codec::encode::<{ limits::MESSAGE_BYTES_MAX }>(&Answer::Log(bytes)).ok()
}

/// What an answer carries of a log.
pub(super) fn of_log(answer: &[u8]) -> Option<Vec<u8>> {
    match codec::decode::<{ limits::MESSAGE_BYTES_MAX }, _>(answer).ok()? {
        Answer::Log(bytes) => Some(bytes),
        _ => None,
    }
}

/// The question that carries one of the index.
pub(super) fn index_question(bytes: Vec<u8>) -> Option<Vec<u8>> {
    codec::encode::<{ limits::MESSAGE_BYTES_MAX }>(&Question::Index(bytes)).ok()
}

/// The answer that carries one of the index.
pub(super) fn index_answer(bytes: Vec<u8>) -> Option<Vec<u8>> {
    codec::encode::<{ limits::MESSAGE_BYTES_MAX }>(&Answer::Index(bytes)).ok()
}

/// What an answer carries of the index.
pub(super) fn of_index(answer: &[u8]) -> Option<Vec<u8>> {
    match codec::decode::<{ limits::MESSAGE_BYTES_MAX }, _>(answer).ok()? {
        Answer::Index(bytes) => Some(bytes),
        _ => None,
    }
}

impl Driver {
    /// Answers a member's question, now or later; not at all if it is not understood.
    pub(crate) fn on_question(
        &mut self,
        from: NodeId,
        question: &[u8],
        reply: oneshot::Sender<Vec<u8>>,
    ) {
        match codec::decode::<{ limits::MESSAGE_BYTES_MAX }, _>(question) {
            Ok(Question::Index(bytes)) => self.serve_index(from, &bytes, reply),
            Ok(Question::Log { action, offset }) => self.serve_log(action, offset, reply),
            Ok(question) => {
                // No answer is a refusal.
                if let Some(answer) = self.answer(from, question) {
                    drop(reply.send(answer));
                }
            }
            Err(error) => tracing::debug!(peer = %from.fmt_short(), %error, "bad question"),
        }
    }

    fn answer(&mut self, from: NodeId, question: Question) -> Option<Vec<u8>> {
        let answer = match question {
            Question::Index(_) | Question::Log { .. } => return None,
            Question::Bases => Answer::Bases(self.bases.clone()),
            Question::Renew { platforms } => match self.renew_member(from, platforms) {
                Ok(cert) => Answer::Renewed(cert),
                Err(why) => Answer::Refused(why),
            },
            // It is signed: who brings it does not matter.
            Question::Cordon(cordon) => self.hear_cordon(&cordon),
        };
        codec::encode::<{ limits::MESSAGE_BYTES_MAX }>(&answer).ok()
    }
}

/// Whether facts are words: they end up in variables, names and recipes.
fn are_plain(facts: &BTreeMap<String, String>) -> bool {
    let plain = |text: &String| {
        (1..=128).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._+~:-".contains(&b))
    };
    facts.len() <= 64
        && facts
            .iter()
            .all(|(name, value)| plain(name) && plain(value))
}

/// A base of this name from the first connected member that has it pinned, brought here whole.
///
/// A base is below everything, so only members that are trusted are asked.
pub(crate) async fn base_of_a_member(
    shared: &Arc<Shared>,
    trusted: &[NodeId],
    name: &str,
) -> Option<Base> {
    let mesh = shared.mesh.as_ref()?;
    let question = codec::encode::<{ limits::MESSAGE_BYTES_MAX }>(&Question::Bases).ok()?;
    let here = caravan_protocol::platform::Platform::here();
    let connected = mesh.connected();
    for member in trusted
        .iter()
        .copied()
        .filter(|node| connected.contains(node))
    {
        let Ok(bytes) = mesh.request(member, question.clone()).await else {
            continue;
        };
        let Ok(Answer::Bases(bases)) = codec::decode::<{ limits::MESSAGE_BYTES_MAX }, _>(&bytes)
        else {
            continue;
        };
        let Some(base) = bases
            .into_iter()
            .find(|base| base.name == name && base.platform == here && are_plain(&base.facts))
        else {
            continue;
        };
        match inputs::fetch_all(shared, &[base.tree], &[], &[member]).await {
            Ok(bytes) => {
                tracing::info!(base = name, bytes, member = %member.fmt_short(), "took a base from a member");
                return Some(base);
            }
            Err(error) => tracing::info!(base = name, %error, "a member's base did not arrive"),
        }
    }
    None
}
