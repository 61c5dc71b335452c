//! Unpacking, with bounds: what a compressed byte may become, and what all layers together may.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    process::{Child, Command, Stdio},
};

use flate2::bufread::MultiGzDecoder;

use crate::{document::Packing, limits, meter::Meter};

/// What is read at once.
const READ_BYTES: usize = 128 * 1024;

/// How the first bytes of a file say that it is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Magic {
    Packed(Packing),
    Xz,
    Zip,
    Bzip2,
}

impl Magic {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0x1f, 0x8b, ..] => Self::Packed(Packing::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Packed(Packing::Zstd),
            // A skippable frame of zstd.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Packed(Packing::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'P', b'K', 3 | 5, ..] => Self::Zip,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            _ => Self::Packed(Packing::Plain),
        }
    }
}

/// Unpacks what `reader` gives.
pub(crate) fn unpacked<'a>(
    packing: Packing,
    reader: impl Read + 'a,
) -> io::Result<Box<dyn Read + 'a>> {
    let reader = BufReader::with_capacity(READ_BYTES, reader);
    Ok(match packing {
        Packing::Plain => Box::new(reader),
        // What follows the first stream is read too, as every program does that writes several.
        Packing::Gzip => Box::new(MultiGzDecoder::new(reader)),
        Packing::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(reader)?;
            decoder.window_log_max(limits::ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    })
}

/// A reader of unpacked bytes that ends with an error when there are too many of them.
pub(crate) struct Bounded<'a, 'm, R> {
    pub(crate) inner: R,
    pub(crate) room: &'a Room<'a, 'm>,
}

/// How much a layer may still unpack.
pub(crate) struct Room<'a, 'm> {
    meter: &'a Meter<'m>,
    /// How many compressed bytes there were so far.
    packed: &'a dyn Fn() -> u64,
    unpacked: std::cell::Cell<u64>,
}

impl<'a, 'm> Room<'a, 'm> {
    pub(crate) fn new(meter: &'a Meter<'m>, packed: &'a dyn Fn() -> u64) -> Self {
        Self {
            meter,
            packed,
            unpacked: std::cell::Cell::new(0),
        }
    }

    /// Takes unpacked bytes, or the bytes of a hole.
    pub(crate) fn take(&self, bytes: u64) -> io::Result<()> {
        let unpacked = self.unpacked.get().saturating_add(bytes);
        self.unpacked.set(unpacked);
        let packed = (self.packed)();
        if unpacked > limits::RATIO_FREE_BYTES
            && unpacked > packed.saturating_mul(limits::RATIO_MAX)
        {
            return Err(io::Error::other(format!(
                "its first {packed} bytes unpack to more than {} times as many: it may be made to \
                 fill disks",
                limits::RATIO_MAX
            )));
        }
        self.meter.unpack(bytes)
    }
}

impl<R: Read> Read for Bounded<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.room.take(read as u64)?;
        Ok(read)
    }
}

/// The program `xz`, unpacking a file. It dies with whoever reads it.
pub(crate) struct Xz {
    child: Child,
}

impl Xz {
    pub(crate) fn start(file: File) -> io::Result<Self> {
        let memory = format!("--memlimit-decompress={}MiB", limits::XZ_MEMORY_MIB);
        let child = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "--",
                "xz",
                "--decompress",
                "--stdout",
            ])
            .args([memory.as_str(), "--threads=1"])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .stdin(file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        Ok(Self { child })
    }

    fn end(&mut self) -> io::Result<()> {
        let status = self.child.wait()?;
        if status.success() {
            return Ok(());
        }
        let mut words = String::new();
        if let Some(errors) = self.child.stderr.take() {
            // What it says is short; more is not wanted.
            let _ = errors.take(4096).read_to_string(&mut words);
        }
        if status.code() == Some(127) {
            words = "it is not installed; `apt-get install xz-utils` brings it".to_owned();
        }
        Err(io::Error::other(format!("`xz` failed: {}", words.trim())))
    }
}

impl Read for Xz {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(out) = &mut self.child.stdout else {
            return Ok(0);
        };
        let read = out.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            self.child.stdout = None;
            self.end()?;
        }
        Ok(read)
    }
}

impl Drop for Xz {
    fn drop(&mut self) {
        if self.child.stdout.is_some() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
