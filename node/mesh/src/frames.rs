//! Length-prefixed bytes, for everything that is asked and answered. A length is checked before
//! anything is read, and memory is taken as bytes arrive, not as they are promised.

use std::io;

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::{StreamProtocol, request_response};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Frames {
    pub(crate) bytes_max: usize,
}

impl Frames {
    async fn read<T: AsyncRead + Unpin + Send>(self, io: &mut T) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        io.read_exact(&mut length).await?;
        let length = u32::from_be_bytes(length);
        let promised = usize::try_from(length).unwrap_or(usize::MAX);
        if promised > self.bytes_max {
            let words = format!(
                "read a frame of {length} bytes: at most {} fit",
                self.bytes_max
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, words));
        }
        let mut bytes = Vec::new();
        io.take(u64::from(length)).read_to_end(&mut bytes).await?;
        if bytes.len() != promised {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }

    async fn write<T: AsyncWrite + Unpin + Send>(self, io: &mut T, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > self.bytes_max {
            let words = format!(
                "write a frame of {} bytes: at most {} fit",
                bytes.len(),
                self.bytes_max
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        io.write_all(&length.to_be_bytes()).await?;
        io.write_all(bytes).await?;
        io.flush().await
    }
}

impl request_response::Codec for Frames {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.read(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.read(io).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.write(io, &bytes).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.write(io, &bytes).await
    }
}

#[cfg(test)]
mod tests {
    use futures::{executor::block_on, io::Cursor};

    use super::*;

    #[test]
    fn frames_round_trip_and_longer_ones_are_refused_either_way() {
        let frames = Frames { bytes_max: 8 };
        let mut wire = Cursor::new(Vec::new());
        block_on(frames.write(&mut wire, b"12345678")).expect("it fits");
        assert!(block_on(frames.write(&mut wire, b"123456789")).is_err());
        let wire = wire.into_inner();
        let read = block_on(frames.read(&mut wire.as_slice())).expect("it was written so");
        assert_eq!(read, b"12345678");
        let error = block_on(Frames { bytes_max: 7 }.read(&mut wire.as_slice()));
        assert_eq!(
            error.expect_err("too long").kind(),
            io::ErrorKind::InvalidData
        );
        let huge = u32::MAX.to_be_bytes();
        assert!(
            block_on(
                Frames {
                    bytes_max: usize::MAX
                }
                .read(&mut huge.as_slice())
            )
            .is_err()
        );
        assert!(block_on(frames.read(&mut &wire[..10])).is_err());
    }
}
