//! Handles: what policies hold of a graph. They are numbers with a type, free to copy; the engine
//! owns everything behind them.

use std::{cmp::Ordering, fmt, marker::PhantomData};

/// Names a node; never reused within an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(pub(crate) u64);

/// A term whose value, once there is one, is a `T`.
///
/// A handle outlives what it names: a term that was made inside of a `bind` or `list_map` is gone
/// when its sub-graph is, and whatever still reads it then fails.
pub struct Term<T> {
    pub(crate) id: Id,
    kind: PhantomData<fn() -> T>,
}

/// The other end of an input term: what [`crate::Engine::set`] sets.
pub struct Input<T> {
    pub(crate) id: Id,
    kind: PhantomData<fn(T)>,
}

macro_rules! handle {
    ($name:ident) => {
        impl<T> $name<T> {
            pub(crate) const fn new(id: Id) -> Self {
                Self {
                    id,
                    kind: PhantomData,
                }
            }
        }

        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<T> Copy for $name<T> {}

        impl<T> PartialEq for $name<T> {
            fn eq(&self, other: &Self) -> bool {
                self.id == other.id
            }
        }

        impl<T> Eq for $name<T> {}

        impl<T> PartialOrd for $name<T> {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl<T> Ord for $name<T> {
            fn cmp(&self, other: &Self) -> Ordering {
                self.id.cmp(&other.id)
            }
        }

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.id.0)
            }
        }
    };
}

handle!(Term);
handle!(Input);
