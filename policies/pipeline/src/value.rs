//! What a term holds: a value of any type behind one pointer, a failure, or why there is neither
//! yet. Nothing here knows of the graph.

use std::{any::Any, fmt, sync::Arc};

use caravan_protocol::{policy::Outcome, view::State};

use crate::limits::{LABEL_BYTES_MAX, MESSAGE_BYTES_MAX, clip};

/// What can be the value of a term. Equality is what stops recomputation, so it must hold for
/// values that are interchangeable; it is implemented for every type that qualifies.
pub trait Value: Clone + PartialEq + fmt::Debug + Send + Sync + 'static {}

impl<T: Clone + PartialEq + fmt::Debug + Send + Sync + 'static> Value for T {}

/// A value whose type is known to its readers only.
pub(crate) trait Erased: Any + fmt::Debug + Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn same(&self, other: &dyn Erased) -> bool;
}

impl<T: Value> Erased for T {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn same(&self, other: &dyn Erased) -> bool {
        other.as_any().downcast_ref::<T>() == Some(self)
    }
}

/// Why a term failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fail {
    message: String,
    origin: String,
    outcome: Option<Arc<Outcome>>,
}

impl Fail {
    /// A failure with these words. The engine adds the label of the term at which it arose.
    #[must_use]
    pub fn new(message: impl AsRef<str>) -> Self {
        Self {
            message: clip(message.as_ref(), MESSAGE_BYTES_MAX).to_owned(),
            origin: String::new(),
            outcome: None,
        }
    }

    /// The failure that an outcome is, with these words.
    pub(crate) fn of_outcome(message: &str, outcome: Outcome) -> Self {
        Self {
            outcome: Some(Arc::new(outcome)),
            ..Self::new(message)
        }
    }

    /// How the action ended, where the failure is that of an action: for its log and its outputs.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_deref()
    }

    /// What went wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Label of the first labelled term that had this failure; empty as long as none had.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The same failure as arising at `label`, unless it is known where it arose.
    #[must_use]
    pub fn at(mut self, label: &str) -> Self {
        if self.origin.is_empty() {
            clip(label, LABEL_BYTES_MAX).clone_into(&mut self.origin);
        }
        self
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.origin, self.message)
        }
    }
}

impl std::error::Error for Fail {}

impl From<&str> for Fail {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<String> for Fail {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

/// How far something that has no value yet has come; later is further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Blocked,
    Ready,
    Running,
}

/// Where a term stands, with everything below it counted in: a term that waits for a running
/// action is `Running` here, while the drawing shows it as blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Nothing that it waits for has been asked for yet.
    Blocked,
    /// What it waits for waits for a node.
    Ready,
    /// Something that it waits for runs.
    Running,
    /// It has a value.
    Ok,
    /// It failed, or something that it needs did.
    Failed(Fail),
}

impl Status {
    /// The state as people are shown it.
    #[must_use]
    pub const fn state(&self) -> State {
        match self {
            Self::Blocked => State::Blocked,
            Self::Ready => State::Ready,
            Self::Running => State::Running,
            Self::Ok => State::Ok,
            Self::Failed(_) => State::Failed,
        }
    }

    /// Whether it has a value or failed.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Ok | Self::Failed(_))
    }
}

/// The content of a node.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    /// No value yet. `own` is set where the node itself is what is asked for or runs.
    Pending { stage: Stage, own: bool },
    /// A value.
    Ok(Arc<dyn Erased>),
    /// A failure.
    Failed(Arc<Fail>),
}

impl Cell {
    pub(crate) const BLOCKED: Self = Self::Pending {
        stage: Stage::Blocked,
        own: false,
    };

    pub(crate) fn ok<T: Value>(value: T) -> Self {
        Self::Ok(Arc::new(value))
    }

    pub(crate) fn failed(fail: impl Into<Fail>) -> Self {
        Self::Failed(Arc::new(fail.into()))
    }

    pub(crate) fn of<T: Value>(result: Result<T, Fail>) -> Self {
        result.map_or_else(Self::failed, Self::ok)
    }

    /// What a node that waits for this one holds.
    pub(crate) fn passed_on(&self) -> Self {
        match self {
            Self::Pending { stage, .. } => Self::Pending {
                stage: *stage,
                own: false,
            },
            done => done.clone(),
        }
    }

    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Pending { stage, own },
                Self::Pending {
                    stage: other_stage,
                    own: other_own,
                },
            ) => stage == other_stage && own == other_own,
            (Self::Ok(a), Self::Ok(b)) => Arc::ptr_eq(a, b) || a.same(&**b),
            (Self::Failed(a), Self::Failed(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => false,
        }
    }

    /// The value, or what a reader holds instead of one.
    pub(crate) fn value<T: Value>(&self) -> Result<&T, Self> {
        match self {
            Self::Ok(value) => value.as_any().downcast_ref().ok_or_else(|| {
                Self::failed("a term of another engine is used here; its value has another type")
            }),
            other => Err(other.passed_on()),
        }
    }

    /// Where it stands, with what is below it.
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Pending { stage, .. } => match stage {
                Stage::Blocked => Status::Blocked,
                Stage::Ready => Status::Ready,
                Stage::Running => Status::Running,
            },
            Self::Ok(_) => Status::Ok,
            Self::Failed(fail) => Status::Failed((**fail).clone()),
        }
    }

    /// The state that a drawing shows: only what asks for something itself is ready or running.
    pub(crate) fn shown(&self) -> State {
        match self {
            Self::Pending { own: false, .. } => State::Blocked,
            other => other.status().state(),
        }
    }
}

/// What a node that needs all of these holds as long as it cannot be computed: the first failure,
/// or else the furthest stage of those that are pending.
pub(crate) fn obstacle(cells: &[&Cell]) -> Option<Cell> {
    let mut furthest = None;
    for cell in cells {
        match cell {
            Cell::Failed(_) => return Some((*cell).clone()),
            Cell::Pending { stage, .. } => furthest = furthest.max(Some(*stage)),
            Cell::Ok(_) => {}
        }
    }
    furthest.map(|stage| Cell::Pending { stage, own: false })
}
