//! What nodes say to each other, as bytes: greetings (the only thing that strangers may say) in the
//! protocol's codec, and control frames, which carry the driver's bytes and are framed by hand.

use caravan_protocol::{
    codec::{self, CodecError},
    identity::{NodeCert, Signed},
    ids::{MeshId, NodeId},
    member::Revocation,
    platform::Platform,
    time::Stamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    event::{Contact, Refusal, Welcome},
    limits::{BATCH_MESSAGES_MAX, GREETING_BYTES_MAX},
};

/// Hello and admission. A newer version of it keeps answering in this one, and [`too_old`] is how
/// every version tells older ones that they are not spoken to any more.
pub(crate) const ADMIT: &str = "/caravan/admit/2";
/// What versions before this one spoke.
pub(crate) const OLDER_ADMIT: &str = "/caravan/admit/1";
/// Messages and questions between members.
pub(crate) const CONTROL: &str = "/caravan/control/2";
/// Blobs between members.
pub(crate) const BLOBS: &str = "/caravan/blobs/2";
/// Frames between the membership engines of members.
pub(crate) const MEMBER: &str = "/caravan/member/1";

/// How a member shows itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Differs each time that the sender, having had no connection with the receiver, has one
    /// again: so the receiver notices that what it takes for one meeting was broken or restarted.
    pub(crate) meeting: u64,
    /// Differs each time that the sender is started: so two machines with one key are told from one
    /// that was started again.
    pub(crate) life: u64,
    /// The sender's clock.
    pub(crate) now: Stamp,
    pub(crate) cert: Signed<NodeCert>,
    pub(crate) addresses: Vec<String>,
    pub(crate) contacts: Vec<Contact>,
    /// Who is out, newest first, as many as fit. The rest comes by the engine.
    pub(crate) revoked: Vec<Signed<Revocation>>,
}

/// How a stranger asks to become a member.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Admit {
    pub(crate) node: NodeId,
    pub(crate) secret: [u8; 32],
    pub(crate) platforms: Vec<Platform>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Greeting {
    Hello(Hello),
    Admit(Admit),
}

/// The numbers of `Unwelcome` and `Refused`, and that of [`Refusal::Other`], stay the same in all
/// versions, and so does what they hold: words.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Answer {
    Hello(Hello),
    /// The other node is not taken for a member.
    Unwelcome(String),
    Welcome(Welcome),
    Refused(Refusal),
}

impl Greeting {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode::<GREETING_BYTES_MAX>(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode::<GREETING_BYTES_MAX, _>(bytes)
    }
}

impl Answer {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode::<GREETING_BYTES_MAX>(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode::<GREETING_BYTES_MAX, _>(bytes)
    }
}

/// What a peer of an older version is answered, whatever it asked: words that it can read, as a
/// refusal of a joining node or of a member.
pub(crate) fn too_old(request: &[u8]) -> Answer {
    let words =
        "this node's caravan is newer and does not speak your version any more; update yours";
    let joins = request.first() == Some(&1);
    if joins {
        Answer::Refused(Refusal::Other(words.to_owned()))
    } else {
        Answer::Unwelcome(words.to_owned())
    }
}

/// A frame of the control protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    Batch(Vec<Vec<u8>>),
    Ask(Vec<u8>),
}

/// The answer to a control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ControlAnswer {
    /// The batch was read; so many of its messages were dropped.
    Taken {
        dropped: u32,
    },
    Answered(Vec<u8>),
    /// The question is not answered.
    Unanswered,
}

const BATCH: u8 = 0;
const ASK: u8 = 1;
const TAKEN: u8 = 0;
const ANSWERED: u8 = 1;
const UNANSWERED: u8 = 2;

impl Control {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Batch(messages) => {
                let mut bytes = vec![BATCH];
                for message in messages {
                    let length = u32::try_from(message.len()).expect("messages are bounded");
                    bytes.extend_from_slice(&length.to_be_bytes());
                    bytes.extend_from_slice(message);
                }
                bytes
            }
            Self::Ask(question) => tagged(ASK, question),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&BATCH, rest) => batch(rest).map(Self::Batch),
            (&ASK, rest) => Some(Self::Ask(rest.to_vec())),
            _ => None,
        }
    }
}

impl ControlAnswer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Taken { dropped } => tagged(TAKEN, &dropped.to_be_bytes()),
            Self::Answered(answer) => tagged(ANSWERED, answer),
            Self::Unanswered => vec![UNANSWERED],
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&TAKEN, rest) => Some(Self::Taken {
                dropped: u32::from_be_bytes(rest.try_into().ok()?),
            }),
            (&ANSWERED, rest) => Some(Self::Answered(rest.to_vec())),
            (&UNANSWERED, []) => Some(Self::Unanswered),
            _ => None,
        }
    }
}

fn tagged(tag: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rest.len() + 1);
    bytes.push(tag);
    bytes.extend_from_slice(rest);
    bytes
}

fn batch(mut rest: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        if length > after.len() || messages.len() == BATCH_MESSAGES_MAX {
            return None;
        }
        let (message, after) = after.split_at(length);
        messages.push(message.to_vec());
        rest = after;
    }
    Some(messages)
}

/// Beginning of the names of all topics of a mesh.
fn topic_prefix(mesh: MeshId) -> String {
    format!("caravan/{mesh}/offers/2/")
}

/// The topic of a platform's offers.
pub(crate) fn topic(mesh: MeshId, platform: &Platform) -> String {
    format!("{}{platform}", topic_prefix(mesh))
}

/// The platform of a topic; none for any topic that is not of this mesh.
pub(crate) fn platform_of(mesh: MeshId, topic: &str) -> Option<Platform> {
    topic.strip_prefix(&topic_prefix(mesh))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_frames_round_trip() {
        let frames = [
            Control::Batch(Vec::new()),
            Control::Batch(vec![Vec::new(), b"abc".to_vec()]),
            Control::Ask(b"what?".to_vec()),
        ];
        for frame in frames {
            assert_eq!(Control::decode(&frame.encode()), Some(frame));
        }
        let answers = [
            ControlAnswer::Taken { dropped: 7 },
            ControlAnswer::Answered(b"that".to_vec()),
            ControlAnswer::Unanswered,
        ];
        for answer in answers {
            assert_eq!(ControlAnswer::decode(&answer.encode()), Some(answer));
        }
    }

    #[test]
    fn malformed_control_frames_are_refused() {
        let many = Control::Batch(vec![Vec::new(); BATCH_MESSAGES_MAX + 1]).encode();
        let bad: [&[u8]; 6] = [
            &[],
            &[9],
            &[BATCH, 0, 0],
            &[BATCH, 0, 0, 0, 2, 1],
            &[BATCH, 255, 255, 255, 255],
            &many,
        ];
        for bytes in bad {
            assert_eq!(Control::decode(bytes), None, "{bytes:?}");
        }
        for bytes in [
            &[][..],
            &[TAKEN],
            &[TAKEN, 1, 2, 3, 4, 5],
            &[UNANSWERED, 0],
            &[3],
        ] {
            assert_eq!(ControlAnswer::decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn words_for_older_versions_keep_their_bytes() {
        let words = |answer: Answer| match answer {
            Answer::Unwelcome(words) | Answer::Refused(Refusal::Other(words)) => words,
            _ => String::new(),
        };
        let hello = too_old(&[0, 0, 0, 0, 9]);
        let bytes = hello.encode().expect("it is short");
        assert_eq!(bytes[..4], [1, 0, 0, 0]);
        let join = too_old(&[1, 0, 0, 0, 9]);
        let bytes = join.encode().expect("it is short");
        assert_eq!(bytes[..8], [3, 0, 0, 0, 3, 0, 0, 0]);
        assert!(words(hello).contains("update yours"));
        assert!(words(join).contains("update yours"));
        assert!(words(too_old(&[])).contains("update yours"));
    }

    #[test]
    fn topics_of_other_meshes_and_odd_platforms_are_refused() {
        let mesh = MeshId::from_bytes([1; 32]);
        let here = Platform::here();
        assert_eq!(platform_of(mesh, &topic(mesh, &here)), Some(here.clone()));
        assert_eq!(
            platform_of(MeshId::from_bytes([2; 32]), &topic(mesh, &here)),
            None
        );
        assert_eq!(
            platform_of(mesh, &format!("{}../etc", topic_prefix(mesh))),
            None
        );
    }
}
