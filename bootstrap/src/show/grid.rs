//! A table that fits its terminal: columns that matter less go first, the last one is cut, and
//! colours are only for eyes. Text in a cell is a stranger's until it was made plain.

use console::{Term, measure_text_width};

/// Between two columns.
const GAP: usize = 2;
/// Least that is left of the last column before another one goes.
const LAST_MIN: usize = 16;

/// How a cell is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    None,
    Good,
    Warn,
    Bad,
    Dim,
}

impl Paint {
    const fn code(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
            Self::Dim => "2",
        }
    }
}

/// Text with its paint.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    pub(crate) fn painted(text: impl AsRef<str>, paint: Paint) -> Self {
        Self {
            text: super::plain(text.as_ref()),
            paint,
        }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::painted(text, Paint::None)
    }
}

/// A column's head and how soon it goes where there is too little room: 0 never, then the highest
/// first.
pub(crate) type Column = (&'static str, u8);

/// Where a table is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    /// Columns of characters; as many as it takes if nothing is known.
    width: Option<usize>,
    colour: bool,
}

impl Screen {
    /// Standard output.
    pub(crate) fn own() -> Self {
        let terminal = Term::stdout();
        let is_one = std::io::IsTerminal::is_terminal(&std::io::stdout());
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|name| name == "dumb");
        let size = terminal.size_checked().filter(|_| is_one);
        Self {
            width: size.map(|(_, width)| usize::from(width)),
            colour: is_one && !plain,
        }
    }

    /// The table's lines, each with its line end.
    pub(crate) fn render(self, columns: &[Column], rows: &[Vec<Cell>]) -> String {
        let widths: Vec<usize> = (0..columns.len())
            .map(|at| {
                let cells = rows.iter().filter_map(|row| row.get(at));
                let widest = cells.map(|cell| measure_text_width(&cell.text)).max();
                // A column that says nothing about anybody is no column.
                match widest {
                    Some(0) | None if !rows.is_empty() => 0,
                    widest => widest.unwrap_or(0).max(measure_text_width(columns[at].0)),
                }
            })
            .collect();
        let shown = self.shown(columns, &widths);
        let mut text = String::new();
        let head: Vec<Cell> = columns
            .iter()
            .map(|(head, _)| Cell::painted(head, Paint::Dim))
            .collect();
        for row in std::iter::once(&head).chain(rows) {
            self.line(&mut text, row, &shown, &widths);
        }
        text
    }

    /// Which columns there is room for.
    fn shown(self, columns: &[Column], widths: &[usize]) -> Vec<usize> {
        let mut shown: Vec<usize> = (0..columns.len()).filter(|at| widths[*at] > 0).collect();
        let Some(room) = self.width else { return shown };
        loop {
            let last = shown.last().copied();
            let needed = |at: &usize| {
                let width = widths[*at];
                GAP + if Some(*at) == last {
                    width.min(LAST_MIN)
                } else {
                    width
                }
            };
            if shown.iter().map(needed).sum::<usize>() <= room + GAP {
                return shown;
            }
            let least = shown.iter().filter(|at| columns[**at].1 > 0);
            let Some(goes) = least.max_by_key(|at| columns[**at].1).copied() else {
                return shown;
            };
            shown.retain(|at| *at != goes);
        }
    }

    fn line(self, text: &mut String, row: &[Cell], shown: &[usize], widths: &[usize]) {
        let mut used = 0;
        for (place, at) in shown.iter().enumerate() {
            let Some(cell) = row.get(*at) else { continue };
            let is_last = place + 1 == shown.len();
            let room = self
                .width
                .filter(|_| is_last)
                .map(|width| width.saturating_sub(used));
            let words = match room {
                Some(room) => cut(&cell.text, room),
                None => cell.text.clone(),
            };
            let width = measure_text_width(&words);
            if self.colour && cell.paint != Paint::None && !words.is_empty() {
                text.push_str(&format!("\u{1b}[{}m{words}\u{1b}[0m", cell.paint.code()));
            } else {
                text.push_str(&words);
            }
            if !is_last {
                let pad = widths[*at].saturating_sub(width) + GAP;
                text.extend(std::iter::repeat_n(' ', pad));
                used += widths[*at] + GAP;
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
}

/// As much as fits, and a sign that there is more.
fn cut(text: &str, room: usize) -> String {
    if measure_text_width(text) <= room {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if measure_text_width(&kept) + 1 > room {
            kept.pop();
            break;
        }
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [("NODE", 0), ("CORES", 2), ("DISK", 1), ("WHY", 0)];

    fn rows() -> Vec<Vec<Cell>> {
        vec![
            vec![
                "aaaaaaaaaa".into(),
                "16".into(),
                "10.0 GiB".into(),
                "its operator has paused it for the holidays".into(),
            ],
            vec!["bbbbbbbbbb".into(), "4".into(), "1.0 TiB".into(), "".into()],
        ]
    }

    fn rendered(width: Option<usize>) -> String {
        let screen = Screen {
            width,
            colour: false,
        };
        screen.render(&COLUMNS, &rows())
    }

    #[test]
    fn without_a_terminal_nothing_is_cut() {
        let text = rendered(None);
        assert!(
            text.starts_with("NODE        CORES  DISK      WHY\n"),
            "{text}"
        );
        assert!(text.contains("for the holidays\n"), "{text}");
        assert!(!text.lines().any(|line| line.ends_with(' ')), "{text:?}");
    }

    #[test]
    fn a_narrow_terminal_loses_what_matters_least_and_no_line_is_longer() {
        for width in 20..120 {
            let text = rendered(Some(width));
            for line in text.lines() {
                assert!(
                    measure_text_width(line) <= width.max(28),
                    "{width}: {line:?}"
                );
            }
        }
        assert!(!rendered(Some(44)).contains("CORES") && rendered(Some(44)).contains("DISK"));
        let tiny = rendered(Some(30));
        assert!(
            tiny.contains("its operator has …") && !tiny.contains("DISK"),
            "{tiny}"
        );
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(cut("漢字漢字", 5), "漢字…");
        let rows = vec![
            vec![Cell::from("漢字"), "x".into()],
            vec!["abcdef".into(), "y".into()],
        ];
        let screen = Screen {
            width: None,
            colour: false,
        };
        let text = screen.render(&[("A", 0), ("B", 0)], &rows);
        assert_eq!(text, "A       B\n漢字    x\nabcdef  y\n");
    }

    #[test]
    fn colours_are_for_terminals_and_strangers_have_none() {
        let rows = vec![vec![Cell::painted("up\u{1b}[31m", Paint::Good)]];
        let screen = Screen {
            width: None,
            colour: true,
        };
        let text = screen.render(&[("STATE", 0)], &rows);
        assert!(
            text.contains("\u{1b}[32mup\u{fffd}[31m\u{1b}[0m"),
            "{text:?}"
        );
        let plain = Screen {
            width: None,
            colour: false,
        };
        assert!(!plain.render(&[("STATE", 0)], &rows).contains('\u{1b}'));
    }

    #[test]
    fn a_column_that_says_nothing_is_left_out() {
        let rows = vec![vec![Cell::from("a"), "".into(), "b".into()]];
        let screen = Screen {
            width: None,
            colour: false,
        };
        assert_eq!(
            screen.render(&[("X", 0), ("LABELS", 0), ("Y", 0)], &rows),
            "X  Y\na  b\n"
        );
    }
}
