//! One overview on one screen. Pure: the same overview, state and size give the same cells.

use caravan_protocol::view::Overview;
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Table, TableState},
};

use super::{
    panels::{self, Column, Rows},
    state::{Detail, Panel, State},
};
use crate::show::{self, grid::Paint};

/// Below this there is room for one panel at a time.
const WIDE_MIN: u16 = 60;
const HIGH_MIN: u16 = 20;
/// From here on two panels stand beside each other.
const TWO_MIN: u16 = 150;
/// Between two columns.
const GAP: u16 = 1;
/// Least of the column that takes what is left.
const REST_MIN: u16 = 30;

/// Shows everything.
pub(crate) fn draw(frame: &mut Frame<'_>, overview: &Overview, state: &State) {
    let area = frame.area();
    if area.width < 10 || area.height < 4 {
        return;
    }
    let [head, main, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(header(overview, state), head);
    frame.render_widget(footer(state, foot.width), foot);
    for (panel, area) in places(main, state) {
        panel_at(frame, area, panel, overview, state);
    }
    if let Some(detail) = &state.detail {
        show_detail(frame, main, detail, overview, state);
    }
}

/// Where each panel that is shown is.
fn places(area: Rect, state: &State) -> Vec<(Panel, Rect)> {
    if area.width < WIDE_MIN || area.height < HIGH_MIN {
        return vec![(state.panel, area)];
    }
    let bottom = 6;
    if area.width >= TWO_MIN {
        let [upper, queue, lower] = Layout::vertical([
            Constraint::Fill(4),
            Constraint::Fill(3),
            Constraint::Length(bottom),
        ])
        .areas(area);
        let [running, nodes] = halves(upper);
        let [transfers, cache] = halves(lower);
        return vec![
            (Panel::Running, running),
            (Panel::Nodes, nodes),
            (Panel::Queue, queue),
            (Panel::Transfers, transfers),
            (Panel::Cache, cache),
        ];
    }
    let [running, queue, nodes, lower] = Layout::vertical([
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Fill(1),
        Constraint::Length(bottom),
    ])
    .areas(area);
    let [transfers, cache] = halves(lower);
    vec![
        (Panel::Running, running),
        (Panel::Queue, queue),
        (Panel::Nodes, nodes),
        (Panel::Transfers, transfers),
        (Panel::Cache, cache),
    ]
}

fn halves(area: Rect) -> [Rect; 2] {
    Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(area)
}

/// Blue, yellow and magenta are told apart by everybody; words say the same besides.
fn style(paint: Paint, colour: bool) -> Style {
    let plain = Style::new();
    match (paint, colour) {
        (Paint::None, _) => plain,
        (Paint::Dim, true) => plain.fg(Color::DarkGray),
        (Paint::Good, true) => plain.fg(Color::Cyan),
        (Paint::Warn, true) => plain.fg(Color::Yellow),
        (Paint::Bad, true) => plain.fg(Color::LightMagenta).add_modifier(Modifier::BOLD),
        (Paint::Dim, false) => plain.add_modifier(Modifier::DIM),
        (Paint::Bad, false) => plain.add_modifier(Modifier::BOLD),
        (Paint::Good | Paint::Warn, false) => plain,
    }
}

fn header(overview: &Overview, state: &State) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![
        Span::styled(" caravan", bold),
        Span::raw(format!(
            "  node {} of mesh {}",
            overview.node.fmt_short(),
            overview.mesh.fmt_short()
        )),
    ];
    let mut flag = |text: String, paint: Paint| {
        spans.push(Span::raw("  "));
        spans.push(Span::styled(text, style(paint, state.colour)));
    };
    if state.paused {
        flag("PAUSED".to_owned(), Paint::Warn);
    }
    if let Some(trouble) = &state.trouble {
        flag(format!("OLD: {}", show::plain(trouble)), Paint::Bad);
    } else if overview.at.as_ms() == 0 {
        flag("asking the node".to_owned(), Paint::Dim);
    }
    if let Some(why) = &overview.standing {
        flag(format!("takes no work: {}", show::plain(why)), Paint::Warn);
    }
    if let Some(notice) = overview.notices.first() {
        flag(show::plain(notice), Paint::Warn);
    }
    Line::from(spans)
}

fn footer(state: &State, width: u16) -> Line<'static> {
    let keys = match &state.detail {
        Some(_) => " Esc back  Up/Down scroll  p pause",
        None if width < WIDE_MIN => " q quit  <-/-> panel  Enter job  p pause",
        None => " q quit  Left/Right panel  Up/Down row  Enter job  p pause",
    };
    Line::styled(keys, style(Paint::Dim, state.colour))
}

fn panel_at(frame: &mut Frame<'_>, area: Rect, panel: Panel, overview: &Overview, state: &State) {
    let rows = match panel {
        Panel::Running => panels::running(overview),
        Panel::Queue => panels::queue(overview),
        Panel::Nodes => panels::nodes(overview),
        Panel::Transfers => panels::transfers(overview),
        Panel::Cache => {
            let lines = show::overview::cache(&overview.cache);
            let lines: Vec<Line<'_>> = lines.into_iter().map(Line::from).collect();
            let block = block(panel, "", state);
            return frame.render_widget(Paragraph::new(lines).block(block), area);
        }
    };
    table(frame, area, panel, &rows, state);
}

fn block(panel: Panel, count: &str, state: &State) -> Block<'static> {
    let chosen = panel == state.panel;
    let title = match count {
        "" => format!(" {} ", panel.title()),
        count => format!(" {} {count} ", panel.title()),
    };
    let emphasis = match chosen {
        true => Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED),
        false => Style::new().add_modifier(Modifier::BOLD),
    };
    let border = if chosen { Paint::Good } else { Paint::Dim };
    Block::new()
        .borders(Borders::TOP)
        .border_style(style(border, state.colour))
        .title(Span::styled(title, emphasis))
}

fn table(frame: &mut Frame<'_>, area: Rect, panel: Panel, rows: &Rows, state: &State) {
    let block = block(panel, &rows.count, state);
    if rows.rows.is_empty() {
        let words = Line::styled(rows.empty, style(Paint::Dim, state.colour));
        return frame.render_widget(Paragraph::new(words).block(block), area);
    }
    let widths = widths(&rows.columns, &rows.rows, area.width);
    let shown = |at: &usize| widths[*at] > 0;
    let constraints: Vec<Constraint> = (0..widths.len())
        .filter(shown)
        .map(|at| Constraint::Length(widths[at]))
        .collect();
    let head = rows.columns.iter().enumerate();
    let head = head
        .filter(|(at, _)| shown(at))
        .map(|(_, column)| column.head);
    let head = Row::new(head).style(style(Paint::Dim, state.colour));
    let row = state.row(panel, rows.rows.len());
    let lines = rows.rows.iter().map(|cells| {
        let cells = cells.iter().enumerate().filter(|(at, _)| shown(at));
        Row::new(cells.map(|(at, (text, paint))| {
            let text = cut(text, usize::from(widths[at]));
            Cell::from(text).style(style(*paint, state.colour))
        }))
    });
    let table = Table::new(lines, constraints)
        .header(head)
        .column_spacing(GAP)
        .block(block)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let chosen = (panel == state.panel).then_some(row);
    let mut place = TableState::new().with_selected(chosen);
    frame.render_stateful_widget(table, area, &mut place);
}

/// As much as fits, and a sign that there is more.
fn cut(text: &str, room: usize) -> String {
    console::truncate_str(text, room, "…").into_owned()
}

/// The width of each column; 0 for those that there is no room for or that say nothing.
fn widths(columns: &[Column], rows: &[panels::Row], room: u16) -> Vec<u16> {
    let measure = |text: &str| u16::try_from(console::measure_text_width(text)).unwrap_or(u16::MAX);
    let mut widths: Vec<u16> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            match cells.map(|(text, _)| measure(text)).max() {
                None | Some(0) => 0,
                Some(widest) => widest.max(measure(column.head)).min(column.most),
            }
        })
        .collect();
    // The last of those that never go, or of all, may be cut.
    let rest = (0..columns.len()).rev().find(|at| widths[*at] > 0);
    loop {
        let needed = |at: usize| match widths[at] {
            0 => 0,
            width if Some(at) == rest => width.min(REST_MIN) + GAP,
            width => width + GAP,
        };
        let all: u32 = (0..columns.len()).map(|at| u32::from(needed(at))).sum();
        if all <= u32::from(room + GAP) {
            break;
        }
        let least = (0..columns.len()).filter(|at| widths[*at] > 0 && columns[*at].goes > 0);
        match least.max_by_key(|at| columns[*at].goes) {
            Some(goes) => widths[goes] = 0,
            None => break,
        }
    }
    // What is left is the last one's; what is missing is taken from the widest.
    let used = |widths: &[u16]| -> u32 {
        let shown = widths.iter().filter(|width| **width > 0);
        shown.map(|width| u32::from(width + GAP)).sum()
    };
    while used(&widths) > u32::from(room + GAP) {
        let last = rest.filter(|at| widths[*at] > REST_MIN);
        let widest = (0..widths.len()).max_by_key(|at| widths[*at]);
        match last.or(widest).filter(|at| widths[*at] > 1) {
            Some(at) => widths[at] -= 1,
            None => break,
        }
    }
    widths
}

fn show_detail(
    frame: &mut Frame<'_>,
    area: Rect,
    detail: &Detail,
    overview: &Overview,
    state: &State,
) {
    frame.render_widget(Clear, area);
    let title = format!(" Job {} ", detail.job.fmt_short());
    let block = Block::bordered()
        .border_style(style(Paint::Good, state.colour))
        .title(Span::styled(
            title,
            Style::new().add_modifier(Modifier::BOLD),
        ));
    let lines: Vec<Line<'_>> = match (&detail.trouble, &detail.view) {
        (Some(text), _) => vec![Line::styled(
            show::plain(text),
            style(Paint::Bad, state.colour),
        )],
        (None, None) => vec![Line::styled(
            "asking the node",
            style(Paint::Dim, state.colour),
        )],
        (None, Some(view)) => show::job::lines(view, overview.at)
            .into_iter()
            .map(|(text, paint)| Line::styled(text, style(paint, state.colour)))
            .collect(),
    };
    let most = lines
        .len()
        .saturating_sub(usize::from(area.height.saturating_sub(2)));
    let scroll = u16::try_from(detail.scroll.min(most)).unwrap_or(0);
    let words = Paragraph::new(lines).block(block).scroll((scroll, 0));
    frame.render_widget(words, area);
}
