//! How far an import or export is, whether it goes on, and how much it may still unpack.

use std::{
    cell::{Cell, RefCell},
    io::{self, Read},
};

use crate::limits;

/// Is told how far the work is.
pub trait Observer {
    /// Bytes done of all bytes, 0 where that is not known. The answer `false` gives the work up.
    /// Called for each piece that is read, so it must be quick.
    fn progress(&mut self, what: &str, done: u64, total: u64) -> bool;
}

/// Nobody is told, and nothing is given up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn progress(&mut self, _what: &str, _done: u64, _total: u64) -> bool {
        true
    }
}

/// Counts the bytes of one import or export.
pub(crate) struct Meter<'a> {
    observer: RefCell<&'a mut dyn Observer>,
    what: RefCell<String>,
    done: Cell<u64>,
    total: Cell<u64>,
    /// Bytes unpacked so far, of all layers.
    unpacked: Cell<u64>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(observer: &'a mut dyn Observer) -> Self {
        Self {
            observer: RefCell::new(observer),
            what: RefCell::default(),
            done: Cell::new(0),
            total: Cell::new(0),
            unpacked: Cell::new(0),
        }
    }

    /// Begins a piece of the work.
    pub(crate) fn begin(&self, what: &str) -> io::Result<()> {
        what.clone_into(&mut self.what.borrow_mut());
        self.tell()
    }

    pub(crate) fn set_total(&self, total: u64) {
        self.total.set(total);
    }

    pub(crate) fn add(&self, bytes: u64) -> io::Result<()> {
        self.done.set(self.done.get().saturating_add(bytes));
        // Each time, because the answer is how a person who has gone away is noticed.
        self.tell()
    }

    fn tell(&self) -> io::Result<()> {
        let done = self.done.get();
        let go_on =
            self.observer
                .borrow_mut()
                .progress(&self.what.borrow(), done, self.total.get());
        if go_on {
            Ok(())
        } else {
            Err(io::Error::other("the work was given up"))
        }
    }

    /// Counts unpacked bytes, which are bounded over all layers.
    pub(crate) fn unpack(&self, bytes: u64) -> io::Result<()> {
        let unpacked = self.unpacked.get().saturating_add(bytes);
        if unpacked > limits::IMAGE_BYTES_MAX {
            return Err(io::Error::other(format!(
                "unpacked, the image has more than {} bytes",
                limits::IMAGE_BYTES_MAX
            )));
        }
        self.unpacked.set(unpacked);
        Ok(())
    }
}

/// A reader whose bytes are progress.
pub(crate) struct Metered<'a, 'm, R> {
    pub(crate) inner: R,
    pub(crate) meter: &'a Meter<'m>,
}

impl<R: Read> Read for Metered<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.meter.add(read as u64)?;
        Ok(read)
    }
}
