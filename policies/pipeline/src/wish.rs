//! Wishes: what action nodes want of the world, each action once however many nodes ask for it.
//!
//! Who asks changes during a round; what is said about it is decided once, at the round's end. So a
//! sub-graph that is rebuilt and asks for the same action again neither drops nor repeats its wish.

use std::collections::{BTreeMap, BTreeSet};

use caravan_protocol::{
    action::Action,
    claim::Verdict,
    ids::{ActionKey, TreeId},
    level::Level,
    policy::{Command, Outcome, WantId, WantState},
    tree::Tree,
};

use crate::{
    limits::PROVIDED_MAX,
    term::Id,
    value::{Cell, Fail, Stage},
};

/// What an action node asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// A few words for people: `astring.0.8.5`.
    pub label: String,
    /// The work.
    pub action: Action,
    /// How far the result must be reliable.
    pub level: Level,
    /// Small trees of the policy's own making that the work names, with the bytes of their blobs.
    pub provide: Vec<(Tree, Vec<Vec<u8>>)>,
}

/// A wish as others may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WishView<'a> {
    /// Its name.
    pub id: WantId,
    /// A few words for people.
    pub label: &'a str,
    /// Where it stands; how it ended is in here, failures too.
    pub state: &'a WantState,
    /// How many terms share it.
    pub users: usize,
}

#[derive(Debug)]
struct Wish {
    key: (ActionKey, Level),
    label: String,
    /// What is to be said once; empty after that.
    unsaid: Option<(Action, Vec<Provided>)>,
    users: BTreeSet<Id>,
    state: WantState,
}

#[derive(Debug)]
struct Provided {
    id: TreeId,
    tree: Tree,
    blobs: Vec<Vec<u8>>,
}

/// All wishes of an engine and what is still to be said about them.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    next: u64,
    wishes: BTreeMap<WantId, Wish>,
    by_key: BTreeMap<(ActionKey, Level), WantId>,
    touched: BTreeSet<WantId>,
    provided: BTreeSet<TreeId>,
    commands: Vec<Command>,
}

impl Wishes {
    /// Makes `user` one of those who want this; gives the wish.
    pub(crate) fn join(&mut self, user: Id, request: &Request) -> Result<WantId, Fail> {
        let key = request.action.key().map_err(|error| {
            Fail::new(format!("{} cannot be asked for: {error}", request.label))
        })?;
        let key = (key, request.level);
        let id = if let Some(id) = self.by_key.get(&key) {
            *id
        } else {
            self.open(key, request)?
        };
        let wish = self.wishes.get_mut(&id).expect("by_key names live wishes");
        wish.users.insert(user);
        self.touched.insert(id);
        Ok(id)
    }

    fn open(&mut self, key: (ActionKey, Level), request: &Request) -> Result<WantId, Fail> {
        let mut provide = Vec::with_capacity(request.provide.len());
        for (tree, blobs) in &request.provide {
            let (id, _) = tree.seal().map_err(|error| {
                Fail::new(format!(
                    "files of {} cannot be kept: {error}",
                    request.label
                ))
            })?;
            provide.push(Provided {
                id,
                tree: tree.clone(),
                blobs: blobs.clone(),
            });
        }
        let id = WantId(self.next);
        self.next += 1;
        self.by_key.insert(key, id);
        self.wishes.insert(
            id,
            Wish {
                key,
                label: request.label.clone(),
                unsaid: Some((request.action.clone(), provide)),
                users: BTreeSet::new(),
                state: WantState::Queued,
            },
        );
        Ok(id)
    }

    /// `user` wants this no longer.
    pub(crate) fn leave(&mut self, user: Id, id: WantId) {
        if let Some(wish) = self.wishes.get_mut(&id) {
            wish.users.remove(&user);
            self.touched.insert(id);
        }
    }

    /// Says what the round has changed: first what is wanted now, so that work that stays wanted
    /// under another wish is never without one, then what is not wanted any more.
    pub(crate) fn settle(&mut self) {
        let mut over = Vec::new();
        for id in std::mem::take(&mut self.touched) {
            let Some(wish) = self.wishes.get_mut(&id) else {
                continue;
            };
            if wish.users.is_empty() {
                // Its user was computed when it was opened, and nothing computed later in a round
                // can remove that user before the round ends.
                debug_assert!(wish.unsaid.is_none(), "a wish is dropped unsaid");
                self.by_key.remove(&wish.key);
                self.wishes.remove(&id);
                over.push(Command::Unwant(id));
            } else if let Some((action, provide)) = wish.unsaid.take() {
                let (label, level) = (wish.label.clone(), wish.key.1);
                for provided in provide {
                    self.provide(provided);
                }
                self.commands.push(Command::Want {
                    id,
                    label,
                    action,
                    level,
                });
            }
        }
        self.commands.append(&mut over);
    }

    fn provide(&mut self, provided: Provided) {
        if self.provided.len() >= PROVIDED_MAX {
            self.provided.clear();
        }
        if self.provided.insert(provided.id) {
            self.commands.push(Command::Provide {
                tree: provided.tree,
                blobs: provided.blobs,
            });
        }
    }

    pub(crate) fn take_commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }

    /// Takes a report; gives those who want it if it says something new.
    pub(crate) fn report(&mut self, id: WantId, state: WantState) -> Vec<Id> {
        match self.wishes.get_mut(&id) {
            Some(wish) if wish.state != state => {
                wish.state = state;
                wish.users.iter().copied().collect()
            }
            _ => Vec::new(),
        }
    }

    /// What an action node with this wish holds.
    pub(crate) fn cell(&self, id: WantId) -> Cell {
        let own = |stage| Cell::Pending { stage, own: true };
        match self.wishes.get(&id).map(|wish| &wish.state) {
            None | Some(WantState::Queued) => own(Stage::Ready),
            Some(WantState::Running(_)) => own(Stage::Running),
            Some(WantState::Done(outcome)) => ended(outcome),
        }
    }

    pub(crate) fn get(&self, id: WantId) -> Option<WishView<'_>> {
        self.wishes.get(&id).map(|wish| view(id, wish))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = WishView<'_>> {
        self.wishes.iter().map(|(id, wish)| view(*id, wish))
    }

    /// Asserts that both indexes agree and that nobody is left over, after a round.
    pub(crate) fn check(&self, is_user: impl Fn(Id, WantId) -> bool) {
        assert!(
            self.touched.is_empty(),
            "a wish was touched after the round"
        );
        assert_eq!(
            self.by_key.len(),
            self.wishes.len(),
            "two wishes of one key"
        );
        for (id, wish) in &self.wishes {
            assert!(wish.unsaid.is_none(), "{id:?} was never said");
            assert!(!wish.users.is_empty(), "{id:?} is kept for nobody");
            assert!(
                wish.users.iter().all(|user| is_user(*user, *id)),
                "{id:?} is kept for a node that does not want it"
            );
        }
    }
}

fn view(id: WantId, wish: &Wish) -> WishView<'_> {
    WishView {
        id,
        label: &wish.label,
        state: &wish.state,
        users: wish.users.len(),
    }
}

fn ended(outcome: &Outcome) -> Cell {
    let default = match outcome.verdict {
        Verdict::Pass => return Cell::ok(outcome.clone()),
        Verdict::Fail => "the command failed",
        Verdict::Infra => "no node could run it",
    };
    let message = outcome.message.as_deref().unwrap_or(default);
    Cell::failed(Fail::of_outcome(message, outcome.clone()))
}
