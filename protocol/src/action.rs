//! Actions: the one kind of work. An action is a stack of layers in, one command in a sandbox (or
//! one declared fetch), one layer out, all named by content. Its key is the BLAKE3 hash of all
//! its inputs; what only says where a source may be found is beside the key, never in it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, CodecError},
    ids::{ActionKey, TreeId},
    limits,
    platform::Platform,
};

/// Where results of this action may be read back: unreviewed code never writes what other
/// projects' actions read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrustDomain(String);

impl TrustDomain {
    /// Packages of an opam repository: definitions that its maintainers merged.
    #[must_use]
    pub fn packages() -> Self {
        Self("packages".to_owned())
    }

    /// The code of one project, named by its URL or path.
    #[must_use]
    pub fn project(name: &str) -> Self {
        Self(format!("project:{name}"))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which network a command sees: in any case a loopback of its own and no route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// Nothing else.
    None,
    /// A proxy to what the node lets commands reach: what OBuilder's `(network host)` asks for.
    Host,
    /// A proxy that has these files, by digest as a mirror of opam's archives has them, and by the
    /// `http://` addresses that the action's sources name for them. Nothing else is reached.
    Fetch(Vec<Declared>),
}

/// A read-only tree mounted into the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// What is mounted.
    pub tree: TreeId,
    /// Absolute path inside.
    pub target: String,
}

/// A small file that comes back beside the layer, as a blob of its own: how a policy learns results
/// without reading logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedOutput {
    /// What the policy calls it.
    pub name: String,
    /// Absolute path inside; a regular file of at most [`limits::OUTPUT_BYTES_MAX`], or nothing.
    pub path: String,
}

/// A file that a command sees and nobody else: its value comes from the node that runs it, never
/// from the action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// What the node knows it as.
    pub id: String,
    /// Absolute path inside.
    pub target: String,
}

/// A directory that outlives the command: the node lends it a copy of what the last one left. It
/// only makes work faster, so it is beside the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// Its name; caches of other trust domains are others, whatever their names.
    pub id: String,
    /// Absolute path inside.
    pub target: String,
}

/// What a command finds around its layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// For commands of our own making: no program gains rights, and `/tmp`, `/var/tmp` and `/run` are
    /// memory that goes with the command.
    Strict,
    /// As OBuilder has it: programs with set-user-id bits work, because its images use sudo, and the
    /// next command finds what this one leaves in `/tmp`.
    Spec,
}

/// One command in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The root below everything.
    pub base: TreeId,
    /// The layers above it, lowest first.
    pub layers: Vec<TreeId>,
    /// Read-only trees beside them.
    pub inputs: Vec<Input>,
    /// The command and its arguments.
    pub argv: Vec<String>,
    /// Its whole environment, in this order.
    pub env: Vec<(String, String)>,
    /// Numeric user and group inside.
    pub user: (u32, u32),
    /// Absolute working directory.
    pub workdir: String,
    /// The network it sees.
    pub network: Network,
    /// Whether what it leaves on its root is kept as its output layer.
    pub keep_layer: bool,
    /// Small files that come back by name, whether the command passes or fails.
    pub outputs: Vec<NamedOutput>,
    /// Files that hold secrets. A command that has any never leaves the node that wants it.
    pub secrets: Vec<Secret>,
    /// What it finds around its layers.
    pub profile: Profile,
}

/// Where copied files come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyFrom {
    /// A tree of its own, such as a build's context.
    Tree(TreeId),
    /// What a command on these layers would see.
    Root {
        /// The root below everything.
        base: TreeId,
        /// The layers above it, lowest first.
        layers: Vec<TreeId>,
    },
}

/// Where copied files go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyTo {
    /// Each into this directory, under the last name of its path. Absolute.
    Into(String),
    /// The one thing that is copied becomes this. Absolute.
    As(String),
}

/// Files copied into a layer of their own, without a command: OBuilder's `copy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Where from.
    pub from: CopyFrom,
    /// Paths below the source's root, `.` for all of it. No link on the way is followed.
    pub src: Vec<String>,
    /// Where to.
    pub dst: CopyTo,
    /// Names left out wherever they are.
    pub exclude: Vec<String>,
    /// Owner of what is copied.
    pub user: (u32, u32),
}

/// A checksum as opam files write it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "UncheckedChecksum")]
pub struct Checksum {
    kind: ChecksumKind,
    hex: String,
}

/// A checksum as it comes from elsewhere.
#[derive(Deserialize)]
struct UncheckedChecksum {
    kind: ChecksumKind,
    hex: String,
}

impl TryFrom<UncheckedChecksum> for Checksum {
    type Error = ParseChecksumError;

    fn try_from(from: UncheckedChecksum) -> Result<Self, ParseChecksumError> {
        let checksum = format!("{}={}", from.kind, from.hex).parse::<Self>()?;
        match checksum.hex == from.hex {
            true => Ok(checksum),
            false => Err(ParseChecksumError(from.hex.chars().take(160).collect())),
        }
    }
}

/// Hash functions that opam files use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ChecksumKind {
    /// MD5: all that some old archives are named by.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// Why a text is not a checksum.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read {0:?} as a checksum: want md5=, sha256= or sha512= and that many hexadecimal digits")]
pub struct ParseChecksumError(String);

impl Checksum {
    /// The hash function.
    #[must_use]
    pub const fn kind(&self) -> ChecksumKind {
        self.kind
    }

    /// The digits, lower case.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// Where opam's download cache keeps the archive: `sha256/ab/abcd...`.
    #[must_use]
    pub fn cache_path(&self) -> String {
        format!("{}/{}/{}", self.kind, &self.hex[..2], self.hex)
    }
}

impl fmt::Display for ChecksumKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "md5",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        })
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.hex)
    }
}

impl FromStr for Checksum {
    type Err = ParseChecksumError;

    fn from_str(text: &str) -> Result<Self, ParseChecksumError> {
        let refuse = || ParseChecksumError(text.chars().take(160).collect());
        let (name, hex) = text.split_once('=').ok_or_else(refuse)?;
        let (kind, digits) = match name {
            "md5" => (ChecksumKind::Md5, 32),
            "sha256" => (ChecksumKind::Sha256, 64),
            "sha512" => (ChecksumKind::Sha512, 128),
            _ => return Err(refuse()),
        };
        if hex.len() != digits || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refuse());
        }
        Ok(Self {
            kind,
            hex: hex.to_ascii_lowercase(),
        })
    }
}

/// A file declared by its checksums: all of them must hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// At least one.
    pub checksums: Vec<Checksum>,
}

/// Files declared by checksum, fetched by the node and never by a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// The files, at least one.
    pub files: Vec<Declared>,
}

/// Where the bytes of a [`Fetch`] may be had. Not part of the key: the checksum says what they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// An `http://`, `https://` or `ftp://` address.
    Url(String),
    /// The upstream archive of a Debian source package, through the host's apt configuration.
    Debian {
        /// Source package.
        package: String,
        /// Suite, such as `bookworm`.
        suite: String,
    },
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// A command in a sandbox. Its output is the layer that it made.
    Run(Run),
    /// A declared fetch. Its output is a tree with each file at each of its checksums' cache paths.
    Fetch(Fetch),
    /// A copy. Its output is a layer of what was copied and the directories above it.
    Copy(Copy),
}

/// A wanted piece of work with all its inputs named by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// What it runs on.
    pub platform: Platform,
    /// Who may read the result.
    pub domain: TrustDomain,
    /// What is done.
    pub work: Work,
    /// Bounds; part of the key of a command.
    pub limits: Limits,
    /// Where each of the files of a fetch, or of a command's network, may be found, in their order;
    /// beside the key.
    pub sources: Vec<Vec<Source>>,
    /// Caches that a command is lent; beside the key.
    pub caches: Vec<Cache>,
}

/// Version of the sandbox that actions ask for: part of every key, so that a change of what a
/// command sees never mixes with older results.
pub const SANDBOX_PROFILE: &str = "ns-1";

/// Why an action is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// It has no encoding within the limits, or its bytes are damaged.
    #[error("encode or decode an action")]
    Codec(#[from] CodecError),
    /// Something in it is out of bounds.
    #[error("take an action: {0}")]
    Invalid(&'static str),
}

#[derive(Serialize)]
struct Keyed<'a> {
    version: u8,
    profile: &'a str,
    platform: Option<&'a Platform>,
    domain: Option<&'a TrustDomain>,
    work: &'a Work,
    limits: Option<&'a Limits>,
}

impl Action {
    /// The name of this work: equal for equal inputs on every node.
    pub fn key(&self) -> Result<ActionKey, ActionError> {
        self.check()?;
        // Declared files and copies are the same for every platform and project.
        let own = matches!(self.work, Work::Run(_));
        let keyed = Keyed {
            version: 3,
            profile: SANDBOX_PROFILE,
            platform: own.then_some(&self.platform),
            domain: own.then_some(&self.domain),
            work: &self.work,
            limits: own.then_some(&self.limits),
        };
        let bytes = codec::encode::<{ limits::ACTION_BYTES_MAX }>(&keyed)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"caravan/action/3\0").update(&bytes);
        Ok(ActionKey::from_bytes(*hasher.finalize().as_bytes()))
    }

    /// The bytes by which an action travels.
    pub fn encode(&self) -> Result<Vec<u8>, ActionError> {
        self.check()?;
        Ok(codec::encode::<{ limits::ACTION_BYTES_MAX }>(self)?)
    }

    /// Reads and checks an action from anywhere.
    pub fn decode(bytes: &[u8]) -> Result<Self, ActionError> {
        let action: Self = codec::decode::<{ limits::ACTION_BYTES_MAX }, _>(bytes)?;
        action.check()?;
        Ok(action)
    }

    /// What this asks of the node that does it: the bounds of a command, and of other work nothing.
    #[must_use]
    pub const fn needs(&self) -> Limits {
        match &self.work {
            Work::Run(_) => self.limits,
            Work::Fetch(_) | Work::Copy(_) => Limits::NOTHING,
        }
    }

    fn check(&self) -> Result<(), ActionError> {
        let checked = match &self.work {
            Work::Run(run) => check::run(run, &self.caches),
            Work::Fetch(fetch) => check::fetch(fetch),
            Work::Copy(copy) => check::copy(copy),
        };
        checked.map_err(ActionError::Invalid)
    }
}

mod bounds;
mod check;

pub use bounds::{Bound, Limits, TooMuch};

#[cfg(test)]
mod tests;
