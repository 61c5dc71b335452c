//! What a message is, in a word.

use caravan_protocol::offer::Message;

/// The kind of a message.
#[must_use]
pub const fn kind(message: &Message) -> &'static str {
    match message {
        Message::Bid { .. } => "bid",
        Message::Award { .. } => "award",
        Message::Decline { .. } => "decline",
        Message::Refuse { .. } => "refuse",
        Message::Beat { .. } => "beat",
        Message::Renew { .. } => "renew",
        Message::Cancel { .. } => "cancel",
        Message::Result { .. } => "result",
        Message::Ack { .. } => "ack",
        Message::Offer(_) => "offer",
        Message::Pass { .. } => "pass",
        Message::Resume { .. } => "resume",
        Message::Adopt { .. } => "adopt",
        Message::Release { .. } => "release",
    }
}
