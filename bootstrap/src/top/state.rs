//! What a person has chosen to look at.

use caravan_protocol::{
    ids::ActionKey,
    view::{JobView, Overview},
};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// A part of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Panel {
    Running,
    Queue,
    Nodes,
    Transfers,
    Cache,
}

impl Panel {
    /// All of them, in the order in which keys go through them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Running,
        Self::Queue,
        Self::Nodes,
        Self::Transfers,
        Self::Cache,
    ];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Queue => "Queue",
            Self::Nodes => "Nodes",
            Self::Transfers => "Transfers",
            Self::Cache => "Cache",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Running => 0,
            Self::Queue => 1,
            Self::Nodes => 2,
            Self::Transfers => 3,
            Self::Cache => 4,
        }
    }

    fn step(self, by: usize) -> Self {
        Self::ALL[(self.index() + by) % Self::ALL.len()]
    }
}

/// A job that is looked at more closely.
#[derive(Debug, Clone)]
pub(crate) struct Detail {
    pub(crate) job: ActionKey,
    /// What is known of it; nothing while it was not answered yet.
    pub(crate) view: Option<Box<JobView>>,
    /// Why it cannot be shown.
    pub(crate) trouble: Option<String>,
    /// Lines that are scrolled past.
    pub(crate) scroll: usize,
}

/// Everything that keys change.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) panel: Panel,
    /// The chosen row of each panel.
    rows: [usize; 5],
    pub(crate) paused: bool,
    pub(crate) detail: Option<Detail>,
    /// Why the node does not answer.
    pub(crate) trouble: Option<String>,
    /// Whether colours may be used.
    pub(crate) colour: bool,
}

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Nothing,
    Quit,
    /// Look at this job more closely.
    Job(ActionKey),
}

impl State {
    pub(crate) const fn new(colour: bool) -> Self {
        Self {
            panel: Panel::Running,
            rows: [0; 5],
            paused: false,
            detail: None,
            trouble: None,
            colour,
        }
    }

    /// The chosen row of a panel that has so many.
    pub(crate) fn row(&self, panel: Panel, rows: usize) -> usize {
        self.rows[panel.index()].min(rows.saturating_sub(1))
    }

    /// A key was pressed.
    pub(crate) fn key(&mut self, key: KeyEvent, overview: &Overview) -> Wish {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Wish::Quit;
        }
        if let Some(detail) = &mut self.detail {
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc | KeyCode::Enter => self.detail = None,
                KeyCode::Up => detail.scroll = detail.scroll.saturating_sub(1),
                KeyCode::Down => detail.scroll += 1,
                KeyCode::PageUp => detail.scroll = detail.scroll.saturating_sub(10),
                KeyCode::PageDown => detail.scroll += 10,
                KeyCode::Char('p') => self.paused = !self.paused,
                _ => {}
            }
            return Wish::Nothing;
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Wish::Quit,
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Left | KeyCode::BackTab => self.panel = self.panel.step(4),
            KeyCode::Right | KeyCode::Tab => self.panel = self.panel.step(1),
            KeyCode::Up => self.go(overview, -1),
            KeyCode::Down => self.go(overview, 1),
            KeyCode::PageUp => self.go(overview, -10),
            KeyCode::PageDown => self.go(overview, 10),
            KeyCode::Home => self.go(overview, isize::MIN),
            KeyCode::End => self.go(overview, isize::MAX),
            KeyCode::Enter => return self.look(overview),
            _ => {}
        }
        Wish::Nothing
    }

    fn go(&mut self, overview: &Overview, by: isize) {
        let rows = rows(overview, self.panel);
        let row = self.row(self.panel, rows).saturating_add_signed(by);
        self.rows[self.panel.index()] = row.min(rows.saturating_sub(1));
    }

    fn look(&mut self, overview: &Overview) -> Wish {
        let row = self.row(self.panel, rows(overview, self.panel));
        let job = match self.panel {
            Panel::Running => overview.running.get(row).map(|run| run.job),
            Panel::Queue => overview.queue.get(row).map(|job| job.job),
            Panel::Nodes | Panel::Transfers | Panel::Cache => None,
        };
        let Some(job) = job else { return Wish::Nothing };
        self.detail = Some(Detail {
            job,
            view: None,
            trouble: None,
            scroll: 0,
        });
        Wish::Job(job)
    }

    /// The node has told of a job.
    pub(crate) fn told(&mut self, job: ActionKey, answer: Result<Box<JobView>, String>) {
        // One that was closed again since, or another one, is of no interest.
        let Some(detail) = self.detail.as_mut().filter(|detail| detail.job == job) else {
            return;
        };
        match answer {
            Ok(view) => (detail.view, detail.trouble) = (Some(view), None),
            Err(text) => detail.trouble = Some(text),
        }
    }
}

/// How many rows a panel has.
fn rows(overview: &Overview, panel: Panel) -> usize {
    match panel {
        Panel::Running => overview.running.len(),
        Panel::Queue => overview.queue.len(),
        Panel::Nodes => overview.nodes.len(),
        Panel::Transfers => overview.links.len(),
        Panel::Cache => 0,
    }
}
