//! Frames of the control socket: a 32-bit little-endian length, then that many bytes.

use std::io;

use caravan_protocol::codec;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

/// Largest frame, bytes: a snapshot of many runs fits.
pub const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Writes one frame.
pub async fn write(to: &mut (impl AsyncWrite + Unpin), value: &impl Serialize) -> io::Result<()> {
    // It may hold a secret.
    let bytes = Zeroizing::new(codec::encode::<FRAME_BYTES_MAX>(value).map_err(io::Error::other)?);
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_all(&length.to_le_bytes()).await?;
    to.write_all(&bytes).await?;
    to.flush().await
}

/// Reads one frame; nothing where the other side is done.
pub async fn read<T: Serialize + DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::other(format!(
            "a frame of {length} bytes is more than is taken"
        )));
    }
    // Grown as bytes arrive: a length alone allocates nothing.
    let mut bytes = Zeroizing::new(Vec::new());
    from.take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    codec::decode::<FRAME_BYTES_MAX, T>(&bytes)
        .map(Some)
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Request;

    #[tokio::test]
    async fn frames_round_trip_and_damage_is_an_error() {
        let mut bytes = Vec::new();
        write(&mut bytes, &Request::Status).await.expect("memory");
        assert_eq!(
            read(&mut bytes.as_slice()).await.expect("good"),
            Some(Request::Status)
        );
        assert_eq!(
            read::<Request>(&mut [].as_slice()).await.expect("end"),
            None
        );
        assert!(
            read::<Request>(&mut &bytes[..bytes.len() - 1])
                .await
                .is_err(),
            "a torn frame was taken"
        );
        let huge = u32::MAX.to_le_bytes();
        assert!(
            read::<Request>(&mut huge.as_slice()).await.is_err(),
            "a huge frame was taken"
        );
        let odd = [4, 0, 0, 0, 255, 255, 255, 255];
        assert!(
            read::<Request>(&mut odd.as_slice()).await.is_err(),
            "an unknown request was taken"
        );
    }
}
