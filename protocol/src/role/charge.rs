//! What a role's holder is charged with: everything that another node needs to do the very same.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{limits, run_id};
use crate::{
    identity::{Ends, Record, Refused, Signed},
    ids::{BlobId, MeshId, NodeId, RoleId, RunId, TreeId},
    limits::CLOCK_SKEW_MS,
    offer::Priority,
    policy::{Base, Params},
    time::Stamp,
};

/// The commit that a run is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Branch or ref that was resolved.
    pub branch: String,
    /// The commit, in hexadecimal digits.
    pub commit: String,
    /// First line of its message.
    pub title: String,
    /// What its user should know.
    pub notes: Vec<String>,
    /// All its files.
    pub tree: TreeId,
}

/// Where the files of a repository are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// They are a tree.
    Tree(TreeId),
    /// They are one archive that is not compressed.
    Packed(BlobId),
}

/// An opam repository at one state, to be had from any keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// What a user sees.
    pub name: String,
    /// Names the state: equal for equal content.
    pub state: BlobId,
    /// Its files.
    pub content: Content,
}

/// What is to be run, signed by whoever asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The mesh.
    pub mesh: MeshId,
    /// The run: [`run_id`] of the fields below.
    pub run: RunId,
    /// The role, as in `ci`.
    pub role: String,
    /// The project, as its user names it.
    pub project: String,
    /// What it is about.
    pub subject: Subject,
    /// The opam repositories that its policy asks for, first one first.
    pub repositories: Vec<Repository>,
    /// The bases that its policy asks for.
    pub bases: Vec<Base>,
    /// What the person who asked said.
    pub params: Params,
    /// Whether failures of earlier runs are tried again.
    pub again: bool,
    /// The only node on which its steps run.
    pub on: Option<NodeId>,
    /// Nodes on which none of its steps runs.
    pub not_on: BTreeSet<NodeId>,
    /// Who asked: whoever signed.
    pub requester: NodeId,
    /// Which work it goes before.
    pub priority: Priority,
    /// When it was asked for.
    pub issued: Stamp,
    /// When it is given up; at most [`limits::CHARGE_LIFE_MS`] later.
    pub expires: Stamp,
}

/// Why a charge is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is not believed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Something in it is out of bounds.
    #[error("take a charge: {0}")]
    Invalid(&'static str),
}

impl Record for Charge {
    const DOMAIN: &'static str = "caravan/charge/1";

    fn mesh(&self) -> MeshId {
        self.mesh
    }

    fn ends(&self) -> Ends {
        Ends::At(self.expires)
    }
}

impl Charge {
    /// The role's name for ranking.
    #[must_use]
    pub fn role_id(&self) -> RoleId {
        RoleId::of(&self.role, &self.project)
    }

    /// What a signed charge says, if it holds now.
    pub fn open(signed: &Signed<Self>, mesh: MeshId, now: Stamp) -> Result<Self, Unfit> {
        let charge = signed.open(mesh)?;
        if charge.requester != signed.signer() {
            return Err(Unfit::Invalid("another than the requester signed it"));
        }
        charge.check(now)?;
        Ok(charge)
    }

    /// Whether it may be signed, and taken, now.
    pub fn check(&self, now: Stamp) -> Result<(), Unfit> {
        let bad = |reason| Err(Unfit::Invalid(reason));
        let (issued, expires) = (self.issued.as_ms(), self.expires.as_ms());
        if issued > now.as_ms().saturating_add(CLOCK_SKEW_MS) {
            return bad("it is of a time to come");
        }
        if expires <= now.as_ms() {
            return bad("it has expired");
        }
        if expires <= issued || expires - issued > limits::CHARGE_LIFE_MS {
            return bad("it lives too long");
        }
        if self.run != run_id(self.requester, &self.role, &self.project, self.issued) {
            return bad("its run is not named after it");
        }
        let role = self.role.len();
        if !(1..=limits::ROLE_BYTES_MAX).contains(&role) {
            return bad("its role's name is empty or too long");
        }
        if self.project.is_empty() || self.project.len() > limits::PROJECT_BYTES_MAX {
            return bad("its project's name is empty or too long");
        }
        let (subject, params) = (&self.subject, &self.params);
        let lists = [
            subject.notes.len(),
            self.repositories.len(),
            self.bases.len(),
            params.repositories.len(),
            params.overlays.len(),
            self.not_on.len(),
        ];
        if lists.iter().any(|length| *length > limits::LIST_MAX) {
            return bad("it names too many things");
        }
        if self.texts().any(|text| {
            text.len() > limits::TEXT_BYTES_MAX || text.contains(|c: char| c.is_control())
        }) {
            return bad("a text of it is too long or not printable");
        }
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        if !matches!(subject.commit.len(), 40 | 64) || !subject.commit.bytes().all(hex) {
            return bad("its commit is none");
        }
        Ok(())
    }

    fn texts(&self) -> impl Iterator<Item = &String> {
        let (subject, params) = (&self.subject, &self.params);
        let bases = self.bases.iter().flat_map(|base| {
            let facts = base.facts.iter().flat_map(|(name, fact)| [name, fact]);
            let env = base.env.iter().flat_map(|(name, value)| [name, value]);
            std::iter::once(&base.name).chain(facts).chain(env)
        });
        let repositories = self.repositories.iter().map(|repository| &repository.name);
        [&self.role, &self.project, &subject.branch, &subject.title]
            .into_iter()
            .chain(&subject.notes)
            .chain(&params.repositories)
            .chain(&params.overlays)
            .chain(repositories)
            .chain(bases)
    }
}
