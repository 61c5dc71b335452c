//! `caravan top`: what the node and its mesh are at, on a terminal as it changes, elsewhere once.

use std::{
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use caravan_node::control::{Reply, Request};
use caravan_protocol::view::Overview;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::{ask, block, print_json, socket, unexpected};
use crate::{
    cli::Top,
    error::{CliError, Kind},
    show,
    top::{
        draw::draw,
        feed::{Feed, PERIOD, Told},
        screen::{self, Screen},
        state::{State, Wish},
    },
};

/// Longest time in which an answer or a signal is not noticed.
const LOOK: Duration = Duration::from_millis(100);
/// Shortest time between two pictures that no key has asked for.
const PICTURE: Duration = PERIOD;

pub(super) fn run(data: &Path, top: &Top) -> Result<ExitCode, CliError> {
    // Asked first: that there is no node is said in words, not on a screen that goes away.
    let Reply::Overview(first) = block(ask(data, &Request::Overview))? else {
        return Err(unexpected());
    };
    if top.output.json {
        return print_json(&*first);
    }
    if top.once || !screen::is_one() {
        show::overview(&first);
        return Ok(ExitCode::SUCCESS);
    }
    let failed = |error: std::io::Error| CliError::new(Kind::Node, format!("draw: {error}"));
    let feed = Feed::start(socket(data)).map_err(failed)?;
    let mut screen = Screen::open().map_err(failed)?;
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    follow(&mut screen, &feed, first, State::new(colour)).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

fn follow(
    screen: &mut Screen,
    feed: &Feed,
    first: Arc<Overview>,
    mut state: State,
) -> std::io::Result<()> {
    let mut overview = first;
    let (mut is_new, mut at_once, mut drawn) = (true, true, None::<Instant>);
    loop {
        while let Ok(told) = feed.told.try_recv() {
            match told {
                Told::Overview(newer) => {
                    if let Some(detail) = &state.detail {
                        feed.ask(detail.job);
                    }
                    state.trouble = None;
                    if !state.paused {
                        overview = newer;
                    }
                    is_new = true;
                }
                Told::Job(job, answer) => {
                    state.told(job, answer);
                    (is_new, at_once) = (true, true);
                }
                Told::Trouble(text) => {
                    state.trouble = Some(text);
                    is_new = true;
                }
                Told::End => return Ok(()),
            }
        }
        let due = drawn.is_none_or(|drawn| drawn.elapsed() >= PICTURE);
        if is_new && (due || at_once) {
            screen.draw(|frame| draw(frame, &overview, &state))?;
            (is_new, at_once, drawn) = (false, false, Some(Instant::now()));
        }
        if !event::poll(LOOK)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                match state.key(key, &overview) {
                    Wish::Quit => return Ok(()),
                    Wish::Job(job) => feed.ask(job),
                    Wish::Nothing => {}
                }
            }
            Event::Resize(..) => {}
            _ => continue,
        }
        (is_new, at_once) = (true, true);
    }
}
