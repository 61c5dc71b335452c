//! Doors for tests and fuzzers to this room's decoders of bytes that nobody vouches for. Each takes
//! such bytes, and answers what was read of them as it would be written again, or nothing where they
//! are refused. Nothing else calls them; they keep no state.

use caravan_protocol::codec;

use crate::control::{
    Reply, Request,
    wire::{self, FRAME_BYTES_MAX},
};
pub use crate::driver::doors::*;

/// Largest frame of the control socket, bytes.
pub const CONTROL_MAX: usize = FRAME_BYTES_MAX;

/// What is asked over the control socket.
#[must_use]
pub fn request(bytes: &[u8]) -> Option<Vec<u8>> {
    let request: Request = codec::decode::<FRAME_BYTES_MAX, _>(bytes).ok()?;
    codec::encode::<FRAME_BYTES_MAX>(&request).ok()
}

/// What is answered over the control socket.
#[must_use]
pub fn reply(bytes: &[u8]) -> Option<Vec<u8>> {
    let reply: Reply = codec::decode::<FRAME_BYTES_MAX, _>(bytes).ok()?;
    codec::encode::<FRAME_BYTES_MAX>(&reply).ok()
}

/// A frame of the control socket with a request in it.
#[must_use]
pub fn frame(bytes: &[u8]) -> Option<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    runtime.block_on(async {
        let mut from = bytes;
        let request: Request = wire::read(&mut from).await.ok()??;
        let mut again = Vec::new();
        wire::write(&mut again, &request).await.ok()?;
        again.extend_from_slice(from);
        Some(again)
    })
}
