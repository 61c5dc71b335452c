//! Doors for tests and fuzzers to this room's decoders of bytes that nobody vouches for. Each takes
//! such bytes, and answers what was read of them as it would be written again, or nothing where they
//! are refused. Nothing else calls them; they keep no state.

use crate::{
    policy::{self, Target},
    proxy::{answer, head, hello},
};

/// The head of a job's request, written anew for the server that it is for.
#[must_use]
pub fn request(bytes: &[u8]) -> Option<Vec<u8>> {
    match head::parse(bytes).ok()? {
        head::Request::Tunnel(target) => Some(target.to_string().into_bytes()),
        head::Request::Plain(plain) => {
            let written = plain
                .target
                .as_ref()
                .map(|target| plain.written(target, None));
            Some(written.unwrap_or_default())
        }
    }
}

/// The head of a server's answer, written anew for the job.
#[must_use]
pub fn response(bytes: &[u8]) -> Option<Vec<u8>> {
    let target = Target::parse("example.org:80", None).ok()?;
    let head = answer::Head::parse(bytes, false, &target).ok()??;
    Some(head.written())
}

/// The first bytes of a tunnel, as far as the name that they ask for.
#[must_use]
pub fn greeting(bytes: &[u8]) -> Option<Vec<u8>> {
    match hello::read(bytes) {
        hello::Hello::For(name) => Some(name.unwrap_or_default().into_bytes()),
        hello::Hello::Partial | hello::Hello::Foreign => None,
    }
}

/// A host and port, as requests and configurations name them.
#[must_use]
pub fn target(bytes: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let _ = policy::apt::hosts_in(text);
    Some(Target::parse(text, None).ok()?.to_string().into_bytes())
}
