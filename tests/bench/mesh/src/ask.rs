//! A question to a running node by its control socket: the first of those in `caravan_node::control`,
//! written here once more so that measuring needs none of what a node is made of.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use caravan_protocol::{codec, view::Snapshot};
use serde::{Deserialize, Serialize};

const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A node that is starved of processor time takes its time.
const ANSWER_MAX: Duration = Duration::from_secs(60);

#[derive(Serialize)]
enum Request {
    Status,
}

#[derive(Serialize, Deserialize)]
enum Reply {
    Snapshot(Box<Snapshot>),
}

/// What the node of this directory shows.
pub(crate) fn status(data: &Path) -> io::Result<Box<Snapshot>> {
    let mut stream = UnixStream::connect(data.join("control.sock"))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let asked = codec::encode::<FRAME_BYTES_MAX>(&Request::Status).map_err(io::Error::other)?;
    let length = u32::try_from(asked.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_le_bytes(), asked.as_slice()].concat())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut bytes = Vec::new();
    let length = u64::from(u32::from_le_bytes(length));
    stream.take(length).read_to_end(&mut bytes)?;
    let Reply::Snapshot(snapshot) =
        codec::decode::<FRAME_BYTES_MAX, _>(&bytes).map_err(io::Error::other)?;
    Ok(snapshot)
}
