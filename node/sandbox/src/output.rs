//! The bound on a job's output, kept by whoever reads it.
//!
//! [`Meter`] decides and kills; [`OutputLimit`] is a blocking reader around it. Never stores
//! what it lets through.

use std::io::{self, Read};

use crate::sandbox::{Exit, Killer, Limit};

/// Counts the bytes of one job's output and kills the job at the first one too many.
#[derive(Debug)]
pub struct Meter {
    left: u64,
    exceeded: bool,
    killer: Killer,
}

impl Meter {
    /// For the job of `killer`, which may write `max` bytes.
    pub fn new(max: u64, killer: Killer) -> Self {
        Self {
            left: max,
            exceeded: false,
            killer,
        }
    }

    /// Takes note of `got` more bytes; says how many of them to keep.
    pub fn pass(&mut self, got: usize) -> usize {
        let wanted = u64::try_from(got).unwrap_or(u64::MAX);
        if wanted > self.left {
            self.exceeded = true;
            self.killer.kill();
        }
        let kept = wanted.min(self.left);
        self.left -= kept;
        usize::try_from(kept).unwrap_or(got)
    }

    /// Whether the job wrote too much.
    pub fn exceeded(&self) -> bool {
        self.exceeded
    }

    /// The job's end with this bound in it, if it is what ended the job.
    pub fn amend(&self, exit: Exit) -> Exit {
        if self.exceeded {
            Exit {
                limit: Some(Limit::Output),
                ..exit
            }
        } else {
            exit
        }
    }
}

/// Reads a job's output up to its bound; after that it reads as ended.
#[derive(Debug)]
pub struct OutputLimit<R> {
    inner: R,
    meter: Meter,
}

impl<R: Read> OutputLimit<R> {
    /// Reads from `inner` under `meter`.
    pub fn new(inner: R, meter: Meter) -> Self {
        Self { inner, meter }
    }

    /// The meter, to see what happened.
    pub fn into_meter(self) -> Meter {
        self.meter
    }
}

impl<R: Read> Read for OutputLimit<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.meter.exceeded() {
            return Ok(0);
        }
        let got = self.inner.read(buf)?;
        Ok(self.meter.pass(got))
    }
}
