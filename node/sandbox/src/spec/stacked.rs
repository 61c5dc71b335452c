//! How a root's layers are stacked: an image in place of the lowest, and the calls that do it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{SpecError, number, relative};

/// An image that shows the same as the lowest layers of a root. Where the kernel can mount it, one
/// look-up in it does for one in each of them; elsewhere the layers themselves are stacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The image, an EROFS file system, relative to the store.
    pub file: PathBuf,
    /// The directory, relative to the store, below which the image names the bytes of its files.
    pub files: PathBuf,
    /// For how many of the root's lowest layers it stands.
    pub covers: usize,
}

impl Image {
    pub(super) fn check(&self, lowers: usize) -> Result<(), SpecError> {
        relative("image", &self.file)?;
        relative("image's files", &self.files)?;
        let fits = (1..=lowers).contains(&self.covers);
        number(
            "covers",
            self.covers as u64,
            fits,
            "1 to the number of layers",
        )
    }
}

/// How a root is mounted. A job sees the same in each way; a test asks for a worse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Mounts {
    /// With the image, if there is one and the kernel takes it.
    #[default]
    Best,
    /// With the layers themselves.
    Layers,
    /// With the layers themselves by the older mount call, as kernels before 6.8 need it.
    OptionPage,
}
