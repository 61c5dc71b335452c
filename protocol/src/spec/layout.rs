//! Lays text out in lines of 78 columns by the rules of OCaml's `Format` module, because specs are
//! to look as OBuilder prints them, down to the odd corner.
//!
//! Boxes say how the breaks in them behave. A box's or break's width is only known once what it
//! holds has been seen, so pieces wait in a queue until it is, or until they can no longer fit.

use std::{borrow::Cow, collections::VecDeque};

const MARGIN: i64 = 78;
/// Boxes do not open and lines do not begin further right than this.
const INDENT_MAX: i64 = MARGIN - 10;
/// Wider than any line.
const INFINITE: i64 = i64::MAX / 4;

/// How the breaks of a box behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// All stay on one line.
    Horizontal,
    /// Each ends a line.
    Vertical,
    /// One line if all fits, else each ends a line.
    Either,
    /// A line is as full as it gets.
    Fill,
}

#[derive(Debug)]
enum Piece<'a> {
    Text(Cow<'a, str>),
    Begin(Flow),
    End,
    Break { spaces: i64 },
    Newline,
}

/// A piece that waits. A negative size is unknown: minus the total at which its measure began.
#[derive(Debug)]
struct Waiting<'a> {
    size: i64,
    length: i64,
    piece: Piece<'a>,
}

/// A piece whose size is being measured: the total when it came, and its number.
#[derive(Debug)]
struct Measured {
    total: i64,
    number: usize,
}

/// A box that is open: how its breaks behave now that it is known whether it fits.
#[derive(Debug)]
struct Open {
    flow: Flow,
    fits: bool,
    width: i64,
}

/// A page that is being filled.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    out: String,
    space_left: i64,
    left_total: i64,
    right_total: i64,
    queue: VecDeque<Waiting<'a>>,
    /// Number of the first piece in the queue.
    first: usize,
    measured: Vec<Measured>,
    boxes: Vec<Open>,
}

impl<'a> Layout<'a> {
    /// An empty page.
    pub(super) fn new() -> Self {
        let mut layout = Self {
            out: String::new(),
            space_left: MARGIN,
            left_total: 1,
            right_total: 1,
            queue: VecDeque::new(),
            first: 0,
            measured: Vec::new(),
            boxes: Vec::new(),
        };
        layout.open(Flow::Fill);
        layout
    }

    /// Puts text.
    pub(super) fn text(&mut self, text: impl Into<Cow<'a, str>>) {
        let text = text.into();
        let length = i64::try_from(text.len()).expect("a text fits into memory");
        self.enqueue(length, length, Piece::Text(text));
        self.advance();
    }

    /// Opens a box here.
    pub(super) fn open(&mut self, flow: Flow) {
        self.enqueue(-self.right_total, 0, Piece::Begin(flow));
        self.measure();
    }

    /// Closes the innermost box.
    pub(super) fn close(&mut self) {
        self.enqueue(0, 0, Piece::End);
        self.set_size(true);
        self.set_size(false);
    }

    /// A place where a line may end; otherwise so many spaces.
    pub(super) fn place_break(&mut self, spaces: i64) {
        self.enqueue(-self.right_total, spaces, Piece::Break { spaces });
        self.set_size(true);
        self.measure();
    }

    /// Ends the line whatever the box.
    pub(super) fn newline(&mut self) {
        self.enqueue(0, 0, Piece::Newline);
        self.advance();
    }

    /// The page. Breaks that nothing but the end follows end a line.
    pub(super) fn finish(mut self) -> String {
        self.right_total = INFINITE;
        self.advance();
        self.out
    }

    fn enqueue(&mut self, size: i64, length: i64, piece: Piece<'a>) {
        self.right_total += length;
        self.queue.push_back(Waiting {
            size,
            length,
            piece,
        });
    }

    /// Starts to measure the piece that came last.
    fn measure(&mut self) {
        self.measured.push(Measured {
            total: self.right_total,
            number: self.first + self.queue.len() - 1,
        });
    }

    /// The break or box that is being measured ends here.
    fn set_size(&mut self, of_break: bool) {
        let Some(last) = self.measured.last() else {
            return;
        };
        let waiting = last
            .number
            .checked_sub(self.first)
            .and_then(|index| self.queue.get_mut(index));
        let Some(waiting) = waiting.filter(|_| last.total >= self.left_total) else {
            // It has gone out unmeasured, so all that enclose it have too.
            self.measured.clear();
            return;
        };
        if matches!(waiting.piece, Piece::Break { .. }) == of_break {
            waiting.size += self.right_total;
            self.measured.pop();
        }
    }

    /// Lets out what is measured, and what can no longer fit on this line.
    fn advance(&mut self) {
        while let Some(next) = self.queue.front() {
            let pending = self.right_total - self.left_total;
            if next.size < 0 && pending < self.space_left {
                return;
            }
            let Some(next) = self.queue.pop_front() else {
                return;
            };
            self.first += 1;
            let size = if next.size < 0 { INFINITE } else { next.size };
            self.put(size, next.piece);
            self.left_total += next.length;
        }
    }

    fn put(&mut self, size: i64, piece: Piece<'a>) {
        match piece {
            Piece::Text(text) => {
                self.space_left -= size;
                self.out.push_str(&text);
            }
            Piece::Begin(flow) => {
                if MARGIN - self.space_left > INDENT_MAX {
                    self.force_line();
                }
                self.boxes.push(Open {
                    flow,
                    fits: flow != Flow::Vertical && size <= self.space_left,
                    width: self.space_left,
                });
            }
            Piece::End => {
                self.boxes.pop();
            }
            Piece::Newline => {
                let width = self.boxes.last().map_or(MARGIN, |open| open.width);
                self.end_line(width);
            }
            Piece::Break { spaces } => self.put_break(size, spaces),
        }
    }

    fn put_break(&mut self, size: i64, spaces: i64) {
        let Some(open) = self.boxes.last() else {
            return;
        };
        let ends_line = !open.fits
            && match open.flow {
                Flow::Horizontal => false,
                Flow::Vertical | Flow::Either => true,
                Flow::Fill => size > self.space_left,
            };
        if ends_line {
            self.end_line(open.width);
        } else {
            self.space_left -= spaces;
            self.spaces(spaces);
        }
    }

    /// A box would open too far right: it opens on the next line, where lines may end here.
    fn force_line(&mut self) {
        if let Some(open) = self.boxes.last()
            && open.width > self.space_left
            && !open.fits
            && open.flow != Flow::Horizontal
        {
            self.end_line(open.width);
        }
    }

    fn end_line(&mut self, width: i64) {
        let indent = (MARGIN - width).min(INDENT_MAX);
        self.space_left = MARGIN - indent;
        self.out.push('\n');
        self.spaces(indent);
    }

    fn spaces(&mut self, count: i64) {
        self.out.extend((0..count).map(|_| ' '));
    }
}
